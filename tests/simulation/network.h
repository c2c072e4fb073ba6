// Connections between simulated machines: in order, with delays, and whatever was on its way when
// one breaks is lost.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "io/http.h"
#include "timeline.h"

namespace turnout::simulation {

class Connection : public std::enable_shared_from_this<Connection> {
public:
    struct End {
        std::function<void(std::string)> on_bytes;
        std::function<void()> on_closed;  // the peer is gone, or the connection is found broken
        bool open = true;
        Span arrival{};  // of the last bytes sent to this end
    };
    Connection(Timeline& timeline, Dice& dice) : timeline_(timeline), dice_(dice) {}

    End& end(int which) { return ends_[static_cast<std::size_t>(which)]; }
    bool whole() const { return !broken_ && ends_[0].open && ends_[1].open; }

    void send(int from, std::string bytes) {
        if (broken_ || !end(from).open) return;
        End& to = end(1 - from);
        const Span delay = dice_.chance(0.02) ? dice_.pause(100ms, 4s) : dice_.span(200us, 20ms);
        to.arrival = std::max(to.arrival + 1us, timeline_.now() + delay);
        timeline_.at(to.arrival, [self = shared_from_this(), from, bytes = std::move(bytes)] {
            End& there = self->end(1 - from);
            // A copy: what it does may end this connection and the function with it.
            if (const auto receive = there.on_bytes; !self->broken_ && there.open && receive)
                receive(bytes);
        });
    }
    // An orderly end: what was sent before it still arrives.
    void close(int from) {
        if (!end(from).open) return;
        end(from).open = false;
        end(from).on_bytes = nullptr;
        end(from).on_closed = nullptr;
        if (broken_) return;
        End& to = end(1 - from);
        to.arrival = std::max(to.arrival + 1us, timeline_.now() + dice_.span(200us, 20ms));
        timeline_.at(to.arrival, [self = shared_from_this(), from] { self->notice(1 - from); });
    }
    // It breaks: all that is on its way is lost. Each side notices after a while, or never.
    void cut(std::optional<Span> first_notices, std::optional<Span> second_notices) {
        if (broken_) return;
        broken_ = true;
        const std::optional<Span> delays[2] = {first_notices, second_notices};
        for (int side = 0; side < 2; ++side)
            if (delays[side])
                timeline_.in(*delays[side],
                             [self = shared_from_this(), side] { self->notice(side); });
    }
    // Everything on its way, and everything sent from now on, arrives not before that.
    void stall(Span until) {
        for (End& one : ends_) one.arrival = std::max(one.arrival, until);
    }

private:
    void notice(int side) {
        End& there = end(side);
        if (!there.open) return;
        if (const auto closed = there.on_closed) closed();
    }

    Timeline& timeline_;
    Dice& dice_;
    std::array<End, 2> ends_;
    bool broken_ = false;
};

// The server's end (0) as the stream that its code reads and writes.
class ServerStream : public http::Stream {
public:
    ServerStream(Timeline& timeline, Dice& dice, std::shared_ptr<Connection> connection)
        : timeline_(timeline),
          dice_(dice),
          state_(std::make_shared<State>()),
          connection_(std::move(connection)) {
        connection_->end(0).on_bytes = [state = state_](std::string bytes) {
            state->arrived += bytes;
            state->wake();
        };
        connection_->end(0).on_closed = [state = state_] {
            state->over = true;
            state->wake();
        };
    }
    ~ServerStream() override { close(); }

    Task<Result<std::string>> read() override { return read_from(state_); }
    Task<Result<void>> write(std::string bytes) override {
        connection_->send(0, std::move(bytes));
        Later<bool> written;
        if (dice_.chance(0.9))
            written.settle()(true);
        else
            timeline_.in(dice_.pause(1ms, 500ms), [settle = written.settle()] { settle(true); });
        return wait(std::move(written), state_);
    }
    void close() override {
        connection_->close(0);
        if (state_->over) return;
        state_->over = true;
        // Later, and whoever lives then: the reading coroutine may be the one who closes.
        timeline_.in(Span{}, [state = state_] { state->wake(); });
    }

private:
    struct State {
        std::string arrived;
        bool over = false;
        std::optional<Later<bool>::Settle> reader;
        void wake() {
            if (!reader) return;
            const auto settle = *std::exchange(reader, std::nullopt);
            settle(true);
        }
    };
    static Task<Result<std::string>> read_from(std::shared_ptr<State> state) {
        if (state->arrived.empty() && !state->over) {
            Later<bool> more;
            state->reader = more.settle();
            co_await more;
        }
        co_return std::exchange(state->arrived, {});  // "" when it is over
    }
    static Task<Result<void>> wait(Later<bool> written, std::shared_ptr<State> state) {
        co_await written;
        if (state->over) co_return fail(Code::Canceled, "Closed", "the connection was closed");
        co_return Result<void>{};
    }

    Timeline& timeline_;
    Dice& dice_;
    std::shared_ptr<State>
        state_;  // shared with the reading coroutine, which may outlive the stream
    std::shared_ptr<Connection> connection_;
};

}  // namespace turnout::simulation
