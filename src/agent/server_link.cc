#include "agent/server_link.h"

#include <utility>

namespace turnout::agent {

using namespace agent_protocol;

namespace {
constexpr std::size_t kMaxOutbox = 64 << 20;  // an unread link is closed: it is told anew
constexpr Span kFirstPause = 50ms;
constexpr Span kLongestPause = 5s;
constexpr Span kLookAtLink = 5s;
constexpr Span kSilentLink = 60s;
}  // namespace

struct ServerLink::State : std::enable_shared_from_this<State> {
    Loop& loop;
    const Clock& clock;
    Server& server;
    Secret token;
    Events events;
    std::unique_ptr<http::Stream> stream;
    std::string outbox;
    bool writing = false;
    bool held = false;
    bool closing = false;
    Span heard_at{};  // last bytes over the link

    State(Loop& l, const Clock& c, Server& s, Secret t, Events e)
        : loop(l), clock(c), server(s), token(std::move(t)), events(std::move(e)) {}

    void begin_writing() {
        if (stream && !outbox.empty() && !std::exchange(writing, true))
            start(write_out(shared_from_this()), [] {});
    }
    void read_frames(FrameReader& frames, bool& fine, bool& welcomed);
    static Task<void> write_out(std::shared_ptr<State> self);
    static Task<void> serve(std::shared_ptr<State> self, std::shared_ptr<void> owner);
    static Task<void> watch(std::shared_ptr<State> self, std::shared_ptr<void> owner);
};

Task<void> ServerLink::State::write_out(std::shared_ptr<State> self) {
    while (self->stream && !self->outbox.empty()) {
        auto written = co_await self->stream->write(std::exchange(self->outbox, {}));
        if (!written) {
            if (self->stream) self->stream->close();  // the reader notices
            break;
        }
    }
    self->writing = false;
}

Task<void> ServerLink::State::serve(std::shared_ptr<State> self, std::shared_ptr<void>) {
    Backoff backoff(self->loop, kFirstPause, kLongestPause);
    std::string trouble;
    while (!self->closing) {
        http::ClientRequest request;
        request.url = "/agent/v1/link";
        request.headers.set("Upgrade", "turnout-agent");
        request.headers.set("Connection", "Upgrade");
        auto response = co_await self->server.send(std::move(request), self->token);
        if (self->closing) co_return;
        if (!response || response->status != 101 || !response->stream) {
            std::string why = response ? "the server answered " + std::to_string(response->status)
                                       : response.error().message;
            if (why != trouble) self->events.trouble("no link to the server: " + why);
            trouble = why;
            if (!self->events.unreachable()) co_return;
            co_await backoff.wait();
            continue;
        }
        trouble.clear();
        // The writer of the earlier link ends first.
        while (self->writing) co_await self->loop.sleep(1ms);
        self->stream = std::move(response->stream);
        self->heard_at = self->clock.since_boot();
        self->outbox.clear();
        FrameReader frames;
        co_await self->events.standing();
        if (self->closing) co_return;
        const Speaks theirs = parse_speaks(response->headers.get(kVersionsHeader));
        if (!common_version(Speaks(), theirs))
            self->events.trouble("the server speaks versions " + to_text(theirs) +
                                 " of the agent protocol, this agent " + to_text(Speaks()) +
                                 ": it will not give this node work");
        self->events.connected(theirs);
        self->events.told();
        bool fine = true, welcomed = false;
        while (fine && !self->closing) {
            auto bytes = co_await self->stream->read();
            if (!bytes || bytes->empty() || self->closing) break;
            self->heard_at = self->clock.since_boot();
            frames.feed(*bytes);
            self->read_frames(frames, fine, welcomed);
            if (!self->closing) self->events.told();
        }
        if (self->closing) co_return;
        self->stream->close();
        while (self->writing) co_await self->loop.sleep(1ms);
        if (self->closing) co_return;
        self->stream.reset();
        self->events.disconnected();
        self->events.told();
        if (welcomed) backoff.reset();
        co_await backoff.wait();
    }
}

void ServerLink::State::read_frames(FrameReader& frames, bool& fine, bool& welcomed) {
    while (!closing) {
        auto frame = frames.next();
        if (!frame || !*frame) {
            fine = frame.has_value();
            return;
        }
        auto message = decode_to_agent(**frame);
        if (message) {
            welcomed = true;
            events.message(*message);
            continue;
        }
        events.trouble("a message of the server was not understood: " + message.error().message);
        // A newer server may say what this agent does not know; but nobody waits for it in vain.
        if (const Unreadable seen = look_at_unreadable(**frame); seen.id)
            events.unreadable(*seen.id, message.error().message);
    }
}

// The server pings every 15 s. Only what comes over the link counts as contact (an answer to some
// other request would not be contact for the server's side of the fence), and a link that says
// nothing is broken, whatever the kernel thinks of it.
Task<void> ServerLink::State::watch(std::shared_ptr<State> self, std::shared_ptr<void>) {
    for (;;) {
        co_await self->loop.sleep(kLookAtLink);
        if (self->closing) co_return;
        if (self->stream && self->clock.since_boot() - self->heard_at > kSilentLink)
            self->stream->close();
    }
}

ServerLink::ServerLink(Loop& loop, const Clock& clock, Server& server, Secret token, Events events)
    : state_(std::make_shared<State>(loop, clock, server, std::move(token), std::move(events))) {}

ServerLink::~ServerLink() {
    close();
}

void ServerLink::begin(std::shared_ptr<void> owner) {
    start(State::serve(state_, owner), [] {});
    start(State::watch(state_, owner), [] {});
}

void ServerLink::stop() {
    state_->closing = true;
}

void ServerLink::close() {
    stop();
    if (state_->stream) state_->stream->close();
}

bool ServerLink::connected() const {
    return state_->stream != nullptr;
}

void ServerLink::put(std::string frame) {
    State& s = *state_;
    if (!s.stream) return;
    if (!fits(frame))
        return s.events.trouble("a message of " + std::to_string(frame.size()) +
                                " bytes is too large for the server");
    s.outbox += frame;
    if (s.outbox.size() > kMaxOutbox) return s.stream->close();
    if (!s.held) s.begin_writing();
}

void ServerLink::hold() {
    state_->held = true;
}

void ServerLink::release() {
    state_->held = false;
    state_->begin_writing();
}

}  // namespace turnout::agent
