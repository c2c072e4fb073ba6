#include "link/bridge.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/text.h"
#include "io/posix/connection.h"
#include "io/posix/stream_server.h"

namespace turnout::link {
namespace {

using http::Connection;

constexpr std::size_t kMaxAtDoor = 256;    // connections; more wait to be accepted
constexpr std::size_t kOutput = 64 << 10;  // more is not taken from the relay than the stream takes
constexpr std::size_t kPiece = 64 << 10;   // smaller ones of a channel are joined
constexpr Span kConnectTimeout = 10s;
constexpr Span kLastWords = 1s;

// Where one coroutine waits for another. Who waits goes on later, from the loop.
class Bell {
public:
    Later<bool>::Awaiter wait() {
        waiting_.emplace();
        return waiting_->operator co_await();
    }
    void ring(Loop& loop) {
        if (!waiting_) return;
        loop.post([settle = waiting_->settle()] { settle(true); });
        waiting_.reset();
    }

private:
    std::optional<Later<bool>> waiting_;
};

// The end of a channel on this machine.
struct Local {
    std::shared_ptr<Connection> socket;  // null until it is connected
    std::deque<std::string> arrived;     // bounded by the channel's window
    bool ended = false;                  // nothing more arrives
    bool cut = false;                    // the channel was reset, here or there
    Bell arrival, room;

    void cut_off(Loop& loop) {
        cut = true;
        arrived.clear();
        if (socket) socket->reset();
        arrival.ring(loop);
        room.ring(loop);
    }
};
using LocalPtr = std::shared_ptr<Local>;

Task<void> nothing() {
    co_return;
}

// A socket file that goes with its listener, unless another has taken its place.
class Door {
public:
    using Listen = std::function<std::unique_ptr<http::StreamListener>(http::Listening)>;

    Door(std::string path, Listen listen) : path_(std::move(path)), listen_(std::move(listen)) {}
    Door(Door&&) = default;
    ~Door() {
        struct stat there{};
        if (listener_ && ::lstat(file_.c_str(), &there) == 0 && there.st_ino == ours_.st_ino &&
            there.st_dev == ours_.st_dev)
            ::unlink(file_.c_str());
    }

    // Listens, where nobody finds it yet.
    Result<void> make() {
        http::Listening bound = TURNOUT_TRY(http::listen_beside(path_));
        file_ = bound.address;
        (void)::lstat(file_.c_str(), &ours_);
        listener_ = listen_(std::move(bound));
        return {};
    }
    Result<void> put_at_its_path() {
        TURNOUT_TRY(http::move_unix_socket(file_, path_));
        file_ = path_;
        return {};
    }
    // What removed the file may be an older relay's end, which took it for its own.
    void look() {
        struct stat there{};
        if (file_ != path_ || ::lstat(path_.c_str(), &there) == 0 || errno != ENOENT) return;
        if (!make()) return;                         // the next time
        (void)::link(file_.c_str(), path_.c_str());  // never over what came meanwhile
        ::unlink(file_.c_str());
        file_ = path_;
    }

private:
    std::string path_;
    Listen listen_;
    std::string file_;    // path_, or beside it
    struct stat ours_{};  // its number is taken as long as the listener lives
    std::unique_ptr<http::StreamListener> listener_;
};

}  // namespace

Result<http::SocketAddress> parse_place(const std::string& text) {
    if (text.starts_with("unix:")) return http::unix_address(text.substr(5));
    const http::HostPort where = TURNOUT_TRY(http::parse_host_port(text));
    if (!http::needs_resolver(where.host)) {
        const http::SocketAddress address = TURNOUT_TRY(http::resolve(where)).front();
        const std::string ip = http::ip_of(address);
        const bool loopback = ip.size() == 4 ? ip[0] == 127 : ip == std::string(15, '\0') + '\1';
        if (loopback && where.port != 0) return address;
    }
    return invalid("'" + text + "' is not unix:PATH or a port of this machine, as 127.0.0.1:8888");
}

Result<void> check_target(std::string_view name) {
    const auto fits = [](char c) {
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
               c == '.' || c == '_';
    };
    if (!name.empty() && name.size() <= kMaxTarget && std::all_of(name.begin(), name.end(), fits))
        return {};
    return invalid("the name " + shown(name) + " is not 1 to " + std::to_string(kMaxTarget) +
                   " letters, digits, '-', '.' or '_'");
}

struct Bridge::State : std::enable_shared_from_this<Bridge::State> {
    State(AsioLoop& a_loop, const Clock& a_clock, std::shared_ptr<http::Stream> a_stream,
          Offers an_offers, Limits limits)
        : loop(a_loop),
          clock(a_clock),
          stream(std::move(a_stream)),
          offers(std::move(an_offers)),
          relay(limits, clock.since_boot()) {}

    AsioLoop& loop;
    const Clock& clock;
    const std::shared_ptr<http::Stream> stream;
    const Offers offers;
    Relay relay;
    std::optional<Error> over;
    std::vector<Door> doors;
    bool ready = false;  // the other side's hello came
    std::unordered_map<Channel, LocalPtr> locals;
    // Came in at a door and may not be opened yet.
    struct Waiting {
        std::string target;
        LocalPtr local;
        Later<bool>::Settle opened;  // or not: it is over
        Channel* channel;
    };
    std::deque<Waiting> waiting;
    Bell output;
    Loop::TimerId timer = 0;
    Span rings{};

    // After every call of the relay: what follows from it.
    void turn() {
        if (over) return;
        for (Event& one : relay.take_events())
            if (!over) std::visit([&](auto& event) { on(event); }, one);
        if (over) return;
        while (!waiting.empty() && relay.may_open()) {
            Waiting first = std::move(waiting.front());
            waiting.pop_front();
            *first.channel = relay.open(first.target);
            locals[*first.channel] = first.local;
            loop.post([opened = first.opened] { opened(true); });
        }
        output.ring(loop);
        set_timer();
    }
    void set_timer() {
        const Span next = relay.next_tick();
        if (timer != 0 && rings <= next) return;
        if (timer != 0) loop.cancel(timer);
        rings = next;
        timer = loop.after(std::max(next - clock.since_boot(), 1000us),
                           [self = shared_from_this()] { self->on_timer(); });
    }
    void on_timer() {
        timer = 0;
        if (over) return;
        const Result<void> fine = relay.tick(clock.since_boot());
        if (!fine) return end(fine.error());
        for (Door& door : doors) door.look();
        turn();
    }
    void end(Error why) {
        if (over) return;
        over = std::move(why);
        stream->close();
        if (timer != 0) loop.cancel(std::exchange(timer, 0));
        doors.clear();
        output.ring(loop);
        for (auto& [channel, local] : std::exchange(locals, {})) local->cut_off(loop);
        for (const Waiting& one : std::exchange(waiting, {})) one.opened(false);
    }

    void on(const event::Ready&) {
        ready = true;
        for (Door& door : doors)
            if (const auto there = door.put_at_its_path(); !there) return end(there.error());
    }
    void on(const event::Opened& opened) {
        const auto offer = offers.find(opened.target);
        if (offer == offers.end())
            return relay.reset(opened.channel, shown(opened.target) + " is not offered here");
        const auto local = std::make_shared<Local>();
        locals[opened.channel] = local;
        start(serve(shared_from_this(), opened.channel, local, offer->second), [] {});
    }
    void on(event::Bytes& bytes) {
        const LocalPtr local = local_of(bytes.channel);
        if (!local) return;
        auto& arrived = local->arrived;
        if (!arrived.empty() && arrived.back().size() + bytes.bytes.size() <= kPiece)
            arrived.back() += bytes.bytes;
        else
            arrived.push_back(std::move(bytes.bytes));
        local->arrival.ring(loop);
    }
    void on(const event::Ended& ended) {
        const LocalPtr local = local_of(ended.channel);
        if (!local) return;
        local->ended = true;
        local->arrival.ring(loop);
    }
    void on(const event::Closed& closed) {
        const LocalPtr local = local_of(closed.channel);
        locals.erase(closed.channel);
        // One that ended well has had all its bytes, and needs nothing more.
        if (local && !closed.reason.empty()) local->cut_off(loop);
    }
    void on(const event::Room& room) {
        if (const LocalPtr local = local_of(room.channel)) local->room.ring(loop);
    }
    LocalPtr local_of(Channel channel) const {
        const auto found = locals.find(channel);
        return found == locals.end() ? nullptr : found->second;
    }
    void cut(Channel channel, const LocalPtr& local, const std::string& why) {
        if (local->cut) return;
        relay.reset(channel, why);
        locals.erase(channel);
        local->cut_off(loop);
        turn();
    }

    static Task<void> write_stream(std::shared_ptr<State> self) {
        while (!self->over) {
            std::string bytes;
            self->relay.output(bytes, kOutput, self->clock.since_boot());
            if (bytes.empty()) {
                co_await self->output.wait();
                continue;
            }
            self->turn();
            const Result<void> written = co_await self->stream->write(std::move(bytes));
            if (written) continue;
            // Whoever reads the stream may still hear why the other side has gone.
            self->loop.after(kLastWords, [self, why = written.error()] { self->end(why); });
            co_return;
        }
    }

    // What came in at a door.
    static Task<void> enter(std::shared_ptr<State> self, std::string target,
                            std::shared_ptr<Connection> socket) {
        if (self->over) co_return;
        const auto local = std::make_shared<Local>();
        local->socket = std::move(socket);
        Channel channel = 0;
        Later<bool> opened;
        self->waiting.push_back({std::move(target), local, opened.settle(), &channel});
        self->turn();
        const bool is_open = co_await opened;
        if (is_open) co_await carry(self, channel, local);
    }
    // What the other side opened.
    static Task<void> serve(std::shared_ptr<State> self, Channel channel, LocalPtr local,
                            http::SocketAddress place) {
        Result<Fd> socket = co_await http::connect_socket(self->loop, place, kConnectTimeout);
        if (local->cut) co_return;
        if (!socket) co_return self->cut(channel, local, socket.error().message);
        local->socket = std::make_shared<Connection>(self->loop, std::move(*socket));
        co_await carry(self, channel, local);
    }
    static Task<void> carry(std::shared_ptr<State> self, Channel channel, LocalPtr local) {
        Later<bool> delivered;
        start(deliver(self, channel, local), [settle = delivered.settle()] { settle(true); });
        co_await collect(self, channel, local);
        co_await delivered;
    }
    // From the channel to the socket.
    static Task<void> deliver(std::shared_ptr<State> self, Channel channel, LocalPtr local) {
        while (!local->cut) {
            if (local->arrived.empty()) {
                if (local->ended) co_return local->socket->finish_writing();
                co_await local->arrival.wait();
                continue;
            }
            const std::string piece = std::move(local->arrived.front());
            local->arrived.pop_front();
            const Result<void> written = co_await local->socket->write(piece);
            if (local->cut) co_return;
            if (!written) co_return self->cut(channel, local, written.error().message);
            self->relay.consumed(channel, piece.size());
            self->turn();
        }
    }
    // From the socket to the channel.
    static Task<void> collect(std::shared_ptr<State> self, Channel channel, LocalPtr local) {
        while (!local->cut) {
            const std::size_t room = self->relay.room(channel);
            if (room == 0) {
                co_await local->room.wait();
                continue;
            }
            const Result<std::string_view> bytes = co_await local->socket->read(room);
            if (local->cut) co_return;
            if (!bytes) co_return self->cut(channel, local, bytes.error().message);
            if (bytes->empty())
                self->relay.end(channel);
            else
                self->relay.write(channel, *bytes);
            const bool ended = bytes->empty();
            self->turn();
            if (ended) co_return;
        }
    }
};

Bridge::Bridge(AsioLoop& loop, const Clock& clock, std::unique_ptr<http::Stream> stream,
               Offers offers, Limits limits)
    : state_(std::make_shared<State>(loop, clock, std::shared_ptr<http::Stream>(std::move(stream)),
                                     std::move(offers), limits)) {}

Bridge::~Bridge() {
    stop();
}

void Bridge::stop() {
    state_->end(Error(Code::Canceled, "RelayStopped", "the relay was stopped"));
}

Result<void> Bridge::open_door(const std::string& path, const std::string& target) {
    TURNOUT_TRY(check_target(target));
    // Weak: the doors are the state's own.
    auto enter = [weak = std::weak_ptr(state_), target](std::shared_ptr<Connection> socket) {
        auto self = weak.lock();
        return self ? State::enter(std::move(self), target, std::move(socket)) : nothing();
    };
    Door door(path, [&loop = state_->loop, enter](http::Listening bound) {
        return http::listen_connections(loop, std::move(bound), kMaxAtDoor, enter);
    });
    TURNOUT_TRY(door.make());
    if (state_->ready) TURNOUT_TRY(door.put_at_its_path());
    state_->doors.push_back(std::move(door));
    return {};
}

Task<Error> Bridge::run() {
    const auto state = state_;
    start(State::write_stream(state), [] {});
    state->set_timer();
    while (!state->over) {
        const Result<std::string> bytes = co_await state->stream->read();
        if (state->over) break;
        if (!bytes) {
            state->end(bytes.error());
        } else if (bytes->empty()) {
            state->end(state->relay.stream_ended());
        } else if (const auto fine = state->relay.receive(*bytes, state->clock.since_boot());
                   !fine) {
            state->end(fine.error());
        } else {
            state->turn();
        }
    }
    co_return *state->over;
}

}  // namespace turnout::link
