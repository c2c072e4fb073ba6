#include "io/ssh/session.h"

#include <fcntl.h>
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/text.h"
#include "io/posix/connection.h"
#include "io/posix/fd.h"
#include "io/posix/sockets.h"

namespace turnout::ssh {
namespace {

constexpr std::size_t kMostKept = 1 << 20;
constexpr std::size_t kPiece = 32 << 10;
constexpr std::size_t kInARow = 256 << 10;  // bytes written, then the loop serves others
constexpr std::size_t kLastWords = 4 << 10;

// What one descriptor says on its own socket, as a stream: for a machine that is reached through
// another one.
class SocketStream final : public http::Stream {
public:
    SocketStream(AsioLoop& loop, Fd socket)
        : socket_(std::make_shared<http::Connection>(loop, std::move(socket))) {}
    ~SocketStream() override { close(); }
    Task<Result<std::string>> read() override {
        const auto socket = socket_;
        Result<std::string_view> got = co_await socket->read();
        if (!got) co_return Failure(got.error());
        co_return std::string(*got);
    }
    Task<Result<void>> write(std::string bytes) override {
        const auto socket = socket_;
        co_return co_await socket->write(bytes);
    }
    void close() override { socket_->abort(); }

private:
    std::shared_ptr<http::Connection> socket_;
};

std::string fingerprint_of(ssh_session session) {
    ssh_key key = nullptr;
    if (ssh_get_server_publickey(session, &key) != SSH_OK) return {};
    unsigned char* hash = nullptr;
    std::size_t size = 0;
    std::string text;
    if (ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &size) == SSH_OK) {
        if (char* const shown = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, size)) {
            text = shown;
            ssh_string_free_char(shown);
        }
        ssh_clean_pubkey_hash(&hash);
    }
    ssh_key_free(key);
    return text;
}

struct PrivateKey {
    ssh_key key = nullptr;
    PrivateKey() = default;
    PrivateKey(const PrivateKey&) = delete;
    ~PrivateKey() { ssh_key_free(key); }
};

}  // namespace

std::string fit_for_message(std::string_view said) {
    constexpr std::size_t most = 400;  // bytes
    said = trim(said);
    std::string out;
    std::size_t at = 0;
    while (at < said.size() && out.size() < most) {
        const std::size_t length = utf8_sequence(said, at);
        const auto first = static_cast<unsigned char>(said[at]);
        // C1 too: some terminals obey them.
        const bool control =
            first < 0x20 || first == 0x7f ||
            (first == 0xc2 && length == 2 && static_cast<unsigned char>(said[at + 1]) < 0xa0);
        if (length == 0 || control)
            out += '?';
        else
            out += said.substr(at, length);
        at += std::max<std::size_t>(length, 1);
    }
    return at < said.size() ? out + "…" : out;
}

struct Session::State : std::enable_shared_from_this<Session::State> {
    State(AsioLoop& a_loop, std::string a_name)
        : loop(a_loop), name(std::move(a_name)), session(ssh_new()) {}
    ~State() {
        watch.reset();
        if (event) {
            ssh_event_remove_session(event, session);
            ssh_event_free(event);
        }
        ssh_disconnect(session);
        // What it was given it does not close, unless the connection broke.
        const Fd left(ssh_get_fd(session));
        ssh_free(session);
    }

    AsioLoop& loop;
    const std::string name;  // for messages
    ssh_session const session;
    ssh_event event = nullptr;  // once it is connected
    ssh_counter_struct counted{};
    // Its own descriptor of the same socket: libssh closes the other one when it likes.
    Fd socket;
    std::unique_ptr<Watch> watch;
    std::shared_ptr<Session> through;
    std::vector<Later<bool>::Settle> waiting;
    bool reading = false, writing = false, waking = false;
    bool closed = false;
    std::uint64_t seen = 0;  // bytes, when those who wait were woken last

    // ---- who waits for what comes
    //
    // Any call of libssh may take from the socket what another one waits for, so after each all of
    // them look again.

    void wake() {
        for (const auto& one : std::exchange(waiting, {})) one(true);
    }
    void wake_soon() {
        if (std::exchange(waking, true)) return;
        loop.post([self = shared_from_this()] {
            self->waking = false;
            self->wake();
        });
    }
    void called() {
        if (std::exchange(seen, counted.in_bytes) != counted.in_bytes) wake_soon();
    }
    // Takes what is there. Reading from a channel does that too, but only where nothing is left of
    // what came before.
    void take() {
        if (event) (void)ssh_event_dopoll(event, 0);
        called();
    }
    // Until something came, or may have.
    Task<void> activity() {
        if (closed) co_return;
        const auto self = shared_from_this();
        Later<bool> woken;
        waiting.push_back(woken.settle());
        called();
        if (!std::exchange(reading, true)) start(watch_reading(self), [] {});
        if ((ssh_get_poll_flags(session) & SSH_WRITE_PENDING) && !std::exchange(writing, true))
            start(watch_writing(self), [] {});
        (void)co_await woken;
    }
    static Task<void> watch_reading(std::shared_ptr<State> self) {
        bool ready = true;
        while (ready && !self->closed && !self->waiting.empty()) {
            ready = co_await self->watch->readable();
            if (ready) self->wake();
        }
        self->reading = false;
        if (self->closed) self->wake_soon();
    }
    static Task<void> watch_writing(std::shared_ptr<State> self) {
        const bool ready = co_await self->watch->writable();
        self->writing = false;
        if (ready)
            self->wake();
        else
            self->wake_soon();
    }

    bool is_open() const { return !closed && ssh_is_connected(session) != 0; }
    void close() {
        if (std::exchange(closed, true)) return;
        if (socket) ::shutdown(socket.get(), SHUT_RDWR);
        watch.reset();
        wake_soon();
    }
    Failure lost() {
        const std::string why = closed ? "" : fit_for_message(ssh_get_error(session));
        return fail(Code::Unavailable, "ConnectionLost",
                    "the connection to " + name + " was lost" + (why.empty() ? "" : ": " + why));
    }

    // ---- a deadline of what is being done

    class Deadline {
    public:
        Deadline(std::shared_ptr<State> state, Span timeout) : state_(std::move(state)) {
            timer_ = state_->loop.after(timeout, [over = over_, state = std::weak_ptr(state_)] {
                *over = true;
                if (const auto here = state.lock()) here->wake();
            });
        }
        Deadline(const Deadline&) = delete;
        ~Deadline() { state_->loop.cancel(timer_); }
        bool passed() const { return *over_; }

    private:
        std::shared_ptr<State> state_;
        std::shared_ptr<bool> over_ = std::make_shared<bool>(false);
        Loop::TimerId timer_ = 0;
    };

    // Calls until it says something else than "again". Nothing: it was too late. (Whoever calls has
    // `call` in a variable: g++ 12 destroys twice what a function object that is made within a
    // co_await expression has captured.)
    using Call = std::function<int()>;
    static Task<std::optional<int>> until(std::shared_ptr<State> self, Call call, int again,
                                          const Deadline* deadline) {
        for (;;) {
            if (self->closed) co_return SSH_ERROR;
            const int said = call();
            self->called();
            if (said != again) co_return said;
            if (deadline->passed()) co_return std::nullopt;
            co_await self->activity();
            if (deadline->passed()) co_return std::nullopt;
        }
    }

    static Task<Result<void>> greet(std::shared_ptr<State> self, Target target, Span timeout);
};

// ---- channels

// A channel of libssh, which goes before its session.
class Session::Channel {
public:
    explicit Channel(std::shared_ptr<State> state)
        : state_(std::move(state)), channel_(ssh_channel_new(state_->session)) {
        if (!channel_) return;
        ssh_callbacks_init(&callbacks_);
        callbacks_.userdata = this;
        callbacks_.channel_exit_status_function = [](ssh_session, ssh_channel, int code,
                                                     void* self) {
            static_cast<Channel*>(self)->exit_code_ = code;
        };
        ssh_set_channel_callbacks(channel_, &callbacks_);
    }
    Channel(const Channel&) = delete;
    ~Channel() {
        if (!channel_) return;
        ssh_remove_channel_callbacks(channel_, &callbacks_);
        ssh_channel_free(channel_);
    }
    ssh_channel get() const { return channel_; }
    int exit_code() const { return exit_code_; }  // -1: it is not known, or was a signal's
    State& state() const { return *state_; }
    const std::shared_ptr<State>& shared_state() const { return state_; }

    // Some of it, as much as there is room for; below 0: the connection is broken.
    int write_some(std::string_view bytes) {
        const std::size_t room =
            std::min<std::size_t>({bytes.size(), ssh_channel_window_size(channel_), kPiece});
        if (room == 0) {
            state_->take();  // what comes may give more room
            return 0;
        }
        const int sent =
            ssh_channel_write(channel_, bytes.data(), static_cast<std::uint32_t>(room));
        state_->called();
        return sent;
    }
    // What is there; 0: nothing now, or never again (at_end()).
    int read_some(std::span<char> to, bool of_errors) {
        const int got = ssh_channel_read_nonblocking(
            channel_, to.data(), static_cast<std::uint32_t>(to.size()), of_errors ? 1 : 0);
        state_->called();
        return got == SSH_EOF ? 0 : got;
    }
    bool at_end() const { return ssh_channel_is_eof(channel_) || ssh_channel_is_closed(channel_); }

    static Task<Result<std::shared_ptr<Channel>>> open(std::shared_ptr<State> state,
                                                       std::function<int(ssh_channel)> how,
                                                       const State::Deadline* deadline) {
        if (!state->is_open()) co_return state->lost();
        auto channel = std::make_shared<Channel>(state);
        if (!channel->get()) co_return internal("there is no memory for a channel");
        State::Call call = [how = std::move(how), channel] { return how(channel->get()); };
        const std::optional<int> opened =
            co_await State::until(state, std::move(call), SSH_AGAIN, deadline);
        if (!opened) co_return late(*state);
        if (*opened != SSH_OK) {
            if (!state->is_open()) co_return state->lost();
            co_return fail(
                Code::Unavailable, "ChannelRefused",
                state->name + " refuses it: " + fit_for_message(ssh_get_error(state->session)));
        }
        co_return channel;
    }
    static Task<Result<std::shared_ptr<Channel>>> begin(std::shared_ptr<State> state,
                                                        std::string command,
                                                        const State::Deadline* deadline) {
        std::function<int(ssh_channel)> how = ssh_channel_open_session;
        auto opened = co_await open(state, std::move(how), deadline);
        if (!opened) co_return Failure(opened.error());
        const std::shared_ptr<Channel> channel = *opened;
        State::Call call = [channel, &command] {
            return ssh_channel_request_exec(channel->get(), command.c_str());
        };
        const std::optional<int> begun =
            co_await State::until(state, std::move(call), SSH_AGAIN, deadline);
        if (!begun) co_return late(*state);
        if (*begun != SSH_OK) {
            if (!state->is_open()) co_return state->lost();
            co_return fail(Code::Unavailable, "CommandRefused",
                           state->name + " runs no commands: " +
                               fit_for_message(ssh_get_error(state->session)));
        }
        co_return channel;
    }
    static Failure late(const State& state) {
        return fail(Code::Unavailable, "Timeout", state.name + " does not answer any more");
    }

private:
    std::shared_ptr<State> state_;
    ssh_channel channel_;
    ssh_channel_callbacks_struct callbacks_{};
    int exit_code_ = -1;
};

class Session::ChannelStream final : public http::Stream {
public:
    explicit ChannelStream(std::shared_ptr<Channel> channel)
        : held_(std::make_shared<Held>(Held{std::move(channel)})) {}
    ~ChannelStream() override { close(); }

    Task<Result<std::string>> read() override {
        const auto held = held_;
        Channel& channel = *held->channel;
        State& state = channel.state();
        if (++held->in_a_row >= 16) {
            held->in_a_row = 0;
            co_await state.loop.sleep(Span(0));
        }
        for (;;) {
            if (held->closed) co_return closed_here();
            if (state.closed) co_return state.lost();
            const std::span<char> scratch = state.loop.scratch();
            int got = channel.read_some(scratch, true);
            if (got > 0) {
                held->words.append(scratch.data(), static_cast<std::size_t>(got));
                if (held->words.size() > kLastWords)
                    held->words.erase(0, held->words.size() - kLastWords);
            }
            got = channel.read_some(scratch, false);
            if (got > 0) co_return std::string(scratch.data(), static_cast<std::size_t>(got));
            if (got < 0 || !state.is_open()) co_return state.lost();
            if (channel.at_end()) {
                if (held->words.empty()) co_return std::string();
                while (!held->words.empty() && held->words.back() == '\n') held->words.pop_back();
                co_return fail(Code::Unavailable, "Ended",
                               state.name + ": " + fit_for_message(held->words));
            }
            held->in_a_row = 0;
            co_await state.activity();
        }
    }
    Task<Result<void>> write(std::string bytes) override {
        const auto held = held_;
        Channel& channel = *held->channel;
        State& state = channel.state();
        std::string_view left = bytes;
        while (!left.empty()) {
            if (held->closed) co_return closed_here();
            if (state.closed) co_return state.lost();
            if (channel.at_end())
                co_return fail(Code::Unavailable, "ConnectionLost",
                               "the stream's other end is gone");
            const int sent = channel.write_some(left);
            if (sent < 0 || !state.is_open()) co_return state.lost();
            left.remove_prefix(static_cast<std::size_t>(sent));
            if (sent == 0) co_await state.activity();
        }
        co_return Result<void>();
    }
    void close() override {
        if (std::exchange(held_->closed, true)) return;
        State& state = held_->channel->state();
        if (state.is_open()) ssh_channel_close(held_->channel->get());
        state.wake_soon();
    }

private:
    struct Held {
        std::shared_ptr<Channel> channel;
        bool closed = false;
        int in_a_row = 0;
        std::string words = {};
    };
    static Failure closed_here() {
        return fail(Code::Canceled, "Canceled", "the stream was closed here");
    }
    std::shared_ptr<Held> held_;  // lives on while a read or write of it is pending
};

// ---- the session

Task<Result<void>> Session::State::greet(std::shared_ptr<State> self, Target target, Span timeout) {
    const Deadline deadline(self, timeout);
    const auto no_answer = [&](const std::string& why) {
        return fail(Code::Unavailable, "NoSsh", self->name + " does not answer by SSH" + why);
    };
    Call call = [self] { return ssh_connect(self->session); };
    std::optional<int> said = co_await until(self, std::move(call), SSH_AGAIN, &deadline);
    if (!said) co_return no_answer(" in time");
    if (*said != SSH_OK) co_return no_answer(": " + fit_for_message(ssh_get_error(self->session)));
    self->event = ssh_event_new();
    if (!self->event || ssh_event_add_session(self->event, self->session) != SSH_OK)
        co_return internal("there is no memory for a connection");

    const Result<void> known = target.is_known(fingerprint_of(self->session));
    if (!known) co_return Failure(known.error());

    if (!target.key.empty()) {
        const auto key = std::make_shared<PrivateKey>();
        if (ssh_pki_import_privkey_base64(target.key.reveal().c_str(), nullptr, nullptr, nullptr,
                                          &key->key) != SSH_OK)
            co_return invalid("the key for " + self->name +
                              " cannot be read: a private key without passphrase is expected, as "
                              "`ssh-keygen -t ed25519 -N ''` makes it");
        call = [self, key] { return ssh_userauth_publickey(self->session, nullptr, key->key); };
    } else {
        call = [self, &target] {
            return ssh_userauth_password(self->session, nullptr, target.password.reveal().c_str());
        };
    }
    said = co_await until(self, std::move(call), SSH_AUTH_AGAIN, &deadline);
    if (!said) co_return no_answer(" in time");
    if (*said == SSH_AUTH_SUCCESS) co_return Result<void>();
    if (!self->is_open()) co_return self->lost();
    co_return fail(Code::PermissionDenied, "NotLetIn",
                   self->name + " does not let '" + target.user + "' in with the " +
                       (target.key.empty() ? "password" : "key") + " that it was given");
}

Task<Result<std::shared_ptr<Session>>> Session::open(AsioLoop& loop, Target target,
                                                     std::shared_ptr<Session> through,
                                                     Span timeout) {
    const auto state = std::make_shared<State>(
        loop, target.port == 22 ? target.host : target.host + ":" + std::to_string(target.port));
    if (!state->session) co_return internal("there is no memory for a connection");
    state->through = through;
    Fd socket;
    std::unique_ptr<http::Stream> there;
    if (through) {
        TURNOUT_CO_TRY(there,
                       co_await through->connect_from_there(target.host, target.port, timeout));
        TURNOUT_CO_TRY(auto ends, http::socket_pair());
        socket = std::move(ends.first);
        start(http::join_streams(std::make_unique<SocketStream>(loop, std::move(ends.second)),
                                 std::move(there)),
              [] {});
    } else {
        struct Looked {
            Result<std::vector<http::SocketAddress>> addresses =
                fail(Code::Unavailable, "NoHost", "");
        };
        const auto looked = std::make_shared<Looked>();  // shared with the pool's thread
        Later<bool> done;
        loop.blocking(
            [looked, where = http::HostPort{target.host, target.port}] {
                looked->addresses = http::resolve(where);
            },
            [settle = done.settle()] { settle(true); });
        (void)co_await done;
        TURNOUT_CO_TRY(const auto addresses, std::move(looked->addresses));
        Result<Fd> connected =
            fail(Code::Unavailable, "NoHost", "'" + target.host + "' is the name of no machine");
        for (const http::SocketAddress& one : addresses) {
            connected = co_await http::connect_socket(loop, one, timeout);
            if (connected) break;
        }
        if (!connected) {
            Error why = connected.error();
            why.code = Code::Unavailable;
            co_return Failure(std::move(why));
        }
        socket = std::move(*connected);
        const int on = 1;
        (void)setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    state->socket = Fd(fcntl(socket.get(), F_DUPFD_CLOEXEC, 3));
    state->watch = state->socket ? loop.watch(state->socket.get()) : nullptr;
    if (!state->watch) co_return internal("the connection cannot be watched");

    ssh_session const session = state->session;
    const bool no = false;
    socket_t descriptor = socket.release();
    const unsigned port = target.port;
    const long long seconds = std::max<long long>(1, timeout / 1s);
    ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &no);
    // Nor the files of who runs the server: `is_known` decides.
    ssh_options_set(session, SSH_OPTIONS_KNOWNHOSTS, "/dev/null");
    ssh_options_set(session, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, "/dev/null");
    ssh_options_set(session, SSH_OPTIONS_FD, &descriptor);
    ssh_options_set(session, SSH_OPTIONS_HOST, target.host.c_str());
    ssh_options_set(session, SSH_OPTIONS_PORT, &port);
    ssh_options_set(session, SSH_OPTIONS_USER, target.user.c_str());
    const long whole = static_cast<long>(seconds);
    ssh_options_set(session, SSH_OPTIONS_TIMEOUT, &whole);
    ssh_set_blocking(session, 0);
    ssh_set_counters(session, &state->counted, nullptr);
    const Result<void> greeted = co_await State::greet(state, std::move(target), timeout);
    if (!greeted) {
        state->close();
        co_return Failure(greeted.error());
    }
    co_return std::shared_ptr<Session>(new Session(state));
}

Session::~Session() {
    close();
}

bool Session::is_open() const {
    return state_->is_open();
}

void Session::close() {
    state_->close();
}

Task<Result<Ran>> Session::run(std::string command, std::string input, Span timeout) {
    const std::shared_ptr<State> state = state_;
    const State::Deadline deadline(state, timeout);
    auto begun = co_await Channel::begin(state, std::move(command), &deadline);
    if (!begun) co_return Failure(begun.error());
    const std::shared_ptr<Channel> channel = *begun;
    Ran ran;
    std::string_view left = input;
    bool ended = false;
    std::size_t in_a_row = 0;
    for (;;) {
        if (deadline.passed()) co_return Channel::late(*state);
        if (state->closed) co_return state->lost();
        std::size_t done = 0;
        if (!left.empty()) {
            const int sent = channel->write_some(left);
            if (sent < 0 && !(state->is_open() && ssh_channel_is_closed(channel->get())))
                co_return state->lost();
            if (sent < 0) {  // the command has ended, and read no more
                left = {};
                ended = true;
            } else {
                left.remove_prefix(static_cast<std::size_t>(sent));
                done += static_cast<std::size_t>(sent);
            }
        } else if (!std::exchange(ended, true)) {
            ssh_channel_send_eof(channel->get());
        }
        for (const bool of_errors : {false, true}) {
            const std::span<char> scratch = state->loop.scratch().first(kPiece);
            const int got = channel->read_some(scratch, of_errors);
            if (got <= 0) continue;
            std::string& to = of_errors ? ran.err : ran.out;
            to.append(scratch.data(),
                      std::min(static_cast<std::size_t>(got), kMostKept - to.size()));
            done += static_cast<std::size_t>(got);
        }
        if (!state->is_open() && done == 0) co_return state->lost();
        if (done == 0 && channel->at_end()) {
            state->take();
            ran.code = channel->exit_code();
            if (ran.code >= 0 || ssh_channel_is_closed(channel->get())) co_return ran;
        }
        in_a_row += done;
        if (done == 0) {
            in_a_row = 0;
            co_await state->activity();
        } else if (in_a_row >= kInARow) {
            in_a_row = 0;
            co_await state->loop.sleep(Span(0));
        }
    }
}

Task<Result<std::unique_ptr<http::Stream>>> Session::begin(std::string command, Span timeout) {
    const std::shared_ptr<State> state = state_;
    const State::Deadline deadline(state, timeout);
    auto begun = co_await Channel::begin(state, std::move(command), &deadline);
    if (!begun) co_return Failure(begun.error());
    co_return std::unique_ptr<http::Stream>(std::make_unique<ChannelStream>(std::move(*begun)));
}

Task<Result<std::unique_ptr<http::Stream>>> Session::connect_from_there(std::string host,
                                                                        std::uint16_t port,
                                                                        Span timeout) {
    const std::shared_ptr<State> state = state_;
    const State::Deadline deadline(state, timeout);
    std::function<int(ssh_channel)> how = [host, port](ssh_channel channel) {
        return ssh_channel_open_forward(channel, host.c_str(), port, "127.0.0.1", 0);
    };
    auto opened = co_await Channel::open(state, std::move(how), &deadline);
    if (!opened) co_return Failure(opened.error());
    co_return std::unique_ptr<http::Stream>(std::make_unique<ChannelStream>(std::move(*opened)));
}

}  // namespace turnout::ssh
