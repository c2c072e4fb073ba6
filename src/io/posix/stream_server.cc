#include "io/posix/stream_server.h"

namespace turnout::http {
namespace {

constexpr Span kRest = 20ms;  // where there is no room, or no descriptor

struct State {
    AsioLoop& loop;
    Fd socket;
    std::unique_ptr<Watch> watch;
    std::size_t most;
    std::function<Task<void>(std::shared_ptr<Connection>)> serve;
    std::size_t count = 0;
    bool closing = false;
};

Task<void> accept(std::shared_ptr<State> state) {
    while (!state->closing) {
        Result<Accepted> next = state->count < state->most
                                    ? accept_one(state->socket.get())
                                    : Result<Accepted>(fail(Code::ResourceExhausted, "Full", ""));
        if (next) {
            ++state->count;
            auto connection = std::make_shared<Connection>(state->loop, std::move(next->socket));
            start(state->serve(std::move(connection)), [state] { --state->count; });
        } else if (next.error().reason == "WouldBlock") {
            (void)co_await state->watch->readable();
        } else {
            co_await state->loop.sleep(kRest);
        }
    }
}

class OnSocket final : public StreamListener {
public:
    OnSocket(std::shared_ptr<State> state, std::string address)
        : state_(std::move(state)), address_(std::move(address)) {
        start(accept(state_), [] {});
    }
    ~OnSocket() override {
        state_->closing = true;
        state_->watch->cancel();
    }
    std::string address() const override { return address_; }

private:
    std::shared_ptr<State> state_;  // shared with the accepting coroutine and the connections
    std::string address_;
};

}  // namespace

std::unique_ptr<StreamListener> listen_connections(
    AsioLoop& loop, Listening bound, std::size_t most,
    std::function<Task<void>(std::shared_ptr<Connection>)> serve) {
    auto watch = loop.watch(bound.socket.get());
    TURNOUT_CHECK(watch, "a listening socket can be watched");
    auto state = std::make_shared<State>(
        State{loop, std::move(bound.socket), std::move(watch), most, std::move(serve)});
    return std::make_unique<OnSocket>(std::move(state), std::move(bound.address));
}

Result<std::unique_ptr<StreamListener>> listen_streams(
    AsioLoop& loop, const std::string& address, std::size_t most,
    std::function<Task<void>(std::unique_ptr<Stream>)> serve) {
    Listening bound = TURNOUT_TRY(listen_tcp(address));
    return listen_connections(loop, std::move(bound), most,
                              [serve = std::move(serve)](std::shared_ptr<Connection> connection) {
                                  return serve(make_stream(std::move(connection), "", nullptr));
                              });
}

}  // namespace turnout::http
