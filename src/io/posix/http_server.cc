#include "io/posix/http_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/text.h"
#include "io/posix/http_parser.h"
#include "io/posix/sockets.h"

namespace turnout::http {
namespace {

using Ticks = std::chrono::steady_clock::time_point;

constexpr std::uint64_t drained_at_most = 1 << 20;
constexpr Span linger_for = 2s;
constexpr int accepted_in_a_row = 64;

class Session;

// What the connections of one listener share; it lives until the last of them ended.
struct Shared : std::enable_shared_from_this<Shared> {
    Shared(AsioLoop& l, Handler h, Limits lim, Carrier c, Wrap w)
        : loop(l), handler(std::move(h)), limits(lim), carrier(c), wrap(std::move(w)) {}

    AsioLoop& loop;
    Handler handler;
    Limits limits;
    Carrier carrier;
    Wrap wrap;
    std::unordered_set<Session*> sessions;
    bool closing = false;
    bool ticking = false;
    std::time_t date_at = 0;
    std::string date;

    // Deadlines are looked at now and then instead of setting a timer for each read.
    Span tick() const {
        const Span least = std::min({limits.header_timeout, limits.idle_timeout,
                                     limits.body_timeout, limits.handshake_timeout, linger_for});
        return std::clamp<Span>(least / 4, 5ms, 1s);
    }
    void start_ticking();
    void sweep();
    bool make_room();

    // The accepting coroutine rests for a while, less if the listener closes.
    std::optional<Later<bool>::Settle> resting;
    Task<void> rest(Span span) {
        const Later<bool> over;
        resting = over.settle();
        const Loop::TimerId timer = loop.after(span, [this] { end_rest(); });
        co_await over;
        loop.cancel(timer);
    }
    void end_rest() {
        if (const auto settle = std::exchange(resting, std::nullopt)) (*settle)(true);
    }

    const std::string& date_header() {
        const std::time_t now = std::time(nullptr);
        if (now != date_at) {
            std::tm parts{};
            gmtime_r(&now, &parts);
            char text[64];
            std::strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
            date = text;
            date_at = now;
        }
        return date;
    }
};

// One connection from accept to its end. Shared by its coroutine and by the stream of an upgrade,
// whichever ends last.
class Session : public std::enable_shared_from_this<Session>, public Stop {
public:
    Session(std::shared_ptr<Shared> shared, std::unique_ptr<Connection> connection, Peer peer)
        : shared_(std::move(shared)),
          connection_(std::move(connection)),
          reader_(Role::Request, shared_->limits.header_bytes),
          body_(*this) {
        request_.peer = std::move(peer);
        request_.stop = this;
        shared_->sessions.insert(this);
    }
    ~Session() override { shared_->sessions.erase(this); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    static Task<void> run(std::shared_ptr<Session> self) { co_await self->serve(); }

    void abort() { connection_->abort(); }
    void end_if_idle() {
        if (idle_) connection_->abort();
    }
    void look_at_deadline(Ticks now) {
        if (!armed_ || now < deadline_) return;
        armed_ = false;
        connection_->expire();
    }

    bool stopped() override { return connection_->peer_left(); }
    void on_stop(std::function<void()> call) override { on_stop_ = std::move(call); }
    bool has_on_stop() const { return static_cast<bool>(on_stop_); }
    void look_at_peer() {
        if (on_stop_ && stopped()) std::exchange(on_stop_, {})();
    }

    // For who needs its place: asks for nothing since then.
    std::optional<Ticks> silent_since() const {
        if (serving_ || connection_->aborted()) return std::nullopt;
        return silent_since_;
    }
    bool never_asked() const { return fresh_; }
    std::string_view peer_host() const { return request_.peer.host(); }

private:
    class Body final : public BodyReader {
    public:
        explicit Body(Session& session) : session_(session) {}
        Task<Result<std::string>> read() override { return session_.read_body(); }

    private:
        Session& session_;
    };

    enum class After { KeepAlive, Close, Upgraded };
    enum class Framing { Length, Chunked, UntilClose };

    void arm(Span span) { arm_at(std::chrono::steady_clock::now() + span); }
    void arm_at(Ticks at) {
        deadline_ = at;
        armed_ = true;
    }
    void disarm() { armed_ = false; }

    Task<void> serve();
    Task<Result<bool>> read_head();
    void fill_request();
    Task<Result<std::string>> read_body();
    Task<bool> drain();
    Task<After> respond(Response response, bool keep);
    Task<bool> send_stream(std::unique_ptr<BodyReader> stream, std::string head, Framing framing,
                           std::uint64_t length);
    Task<void> refuse(Error error);
    Task<void> linger();
    Task<Result<void>> write(std::string_view first, std::string_view second = {});

    std::shared_ptr<Shared> shared_;
    std::shared_ptr<Connection> connection_;
    MessageReader reader_;
    Body body_;
    Request request_;
    bool expects_continue_ = false;
    bool body_failed_ = false;
    bool idle_ = true;      // between two requests
    bool fresh_ = true;     // before the first one
    bool serving_ = false;  // a request has come, its response has not left
    Ticks silent_since_ = std::chrono::steady_clock::now();
    std::function<void()> on_stop_;
    bool armed_ = false;
    Ticks deadline_{};
};

void Shared::start_ticking() {
    if (ticking) return;
    ticking = true;
    loop.after(tick(), [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->sweep();
    });
}

void Shared::sweep() {
    ticking = false;
    const Ticks now = std::chrono::steady_clock::now();
    std::vector<Session*> watched;
    for (Session* session : sessions) {
        session->look_at_deadline(now);
        if (session->has_on_stop()) watched.push_back(session);
    }
    for (Session* session : watched)  // which may end another
        if (sessions.contains(session)) session->look_at_peer();
    if (!sessions.empty()) start_ticking();
}

// Ends some connections that ask for nothing, where all places are taken.
bool Shared::make_room() {
    const Ticks since = std::chrono::steady_clock::now() - limits.patience;
    std::vector<Session*> silent;
    bool any_fresh = false;
    for (Session* session : sessions)
        if (const auto at = session->silent_since(); at && *at <= since) {
            silent.push_back(session);
            any_fresh |= session->never_asked();
        }
    if (any_fresh) std::erase_if(silent, [](Session* one) { return !one->never_asked(); });
    std::unordered_map<std::string_view, std::size_t> of_peer;
    for (Session* session : silent) ++of_peer[session->peer_host()];
    // Several at a time, so that looking at all of them is not the price of each newcomer.
    const std::size_t count = std::min(silent.size(), limits.connections / 64 + 1);
    std::partial_sort(
        silent.begin(), silent.begin() + static_cast<std::ptrdiff_t>(count), silent.end(),
        [&](Session* a, Session* b) {
            const std::size_t of_a = of_peer[a->peer_host()], of_b = of_peer[b->peer_host()];
            return of_a != of_b ? of_a > of_b : *a->silent_since() < *b->silent_since();
        });
    for (std::size_t i = 0; i < count; ++i) silent[i]->abort();
    return count > 0;
}

// `first` is small; `second` goes in slices, so that a slow peer has the time for each of them.
Task<Result<void>> Session::write(std::string_view first, std::string_view second) {
    for (;;) {
        arm(shared_->limits.body_timeout);
        Result<void> written = co_await connection_->write(first, second.substr(0, kSlice));
        disarm();
        if (!written || second.size() <= kSlice) co_return written;
        first = {};
        second.remove_prefix(kSlice);
    }
}

// True with a request; false when the connection ended where it may.
Task<Result<bool>> Session::read_head() {
    reader_.begin();
    bool began = !reader_.empty();
    serving_ = false;
    silent_since_ = std::chrono::steady_clock::now();
    Ticks header_deadline = std::chrono::steady_clock::now() + shared_->limits.header_timeout;
    for (;;) {
        Result<bool> complete = reader_.parse_head();
        if (!complete) co_return complete;
        if (*complete) {
            fresh_ = false;
            serving_ = true;
            co_return true;
        }
        idle_ = !began;
        if (idle_ && shared_->closing) co_return false;
        if (began || fresh_)
            arm_at(header_deadline);
        else
            arm(shared_->limits.idle_timeout);
        Result<std::string_view> bytes = co_await connection_->read();
        disarm();
        idle_ = false;
        if (!bytes) {
            if (began && bytes.error().reason == "Timeout")
                co_return fail(Code::Unavailable, "RequestTimeout",
                               "the request header took too long");
            co_return false;
        }
        if (bytes->empty()) co_return false;
        if (!began) {
            began = true;
            header_deadline = std::chrono::steady_clock::now() + shared_->limits.header_timeout;
        }
        reader_.give(*bytes);
    }
}

void Session::fill_request() {
    MessageHead& head = reader_.head();
    request_.method = std::move(head.method);
    request_.target = std::move(head.target);
    if (request_.target[0] != '/' && request_.target != "*") {  // "http://host/path", as to a proxy
        const std::size_t host = request_.target.find("://") + 3;
        const std::size_t path = request_.target.find_first_of("/?", host);
        request_.target.erase(0, std::min(path, request_.target.size()));
        if (request_.target.empty() || request_.target[0] != '/') request_.target.insert(0, "/");
    }
    const std::size_t question = request_.target.find('?');
    request_.path = request_.target.substr(0, question);
    request_.query =
        question == std::string::npos ? std::string() : request_.target.substr(question + 1);
    request_.headers = std::move(head.headers);
    request_.content_length = head.content_length;
    expects_continue_ = head.expects_continue && !reader_.done();
    body_failed_ = false;
}

Task<Result<std::string>> Session::read_body() {
    if (expects_continue_) {
        expects_continue_ = false;
        Result<void> told = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
        if (!told) {
            body_failed_ = true;
            co_return Failure(std::move(told).error());
        }
    }
    for (;;) {
        Result<std::optional<std::string>> piece = reader_.take_body();
        if (!piece) {
            body_failed_ = true;
            co_return Failure(std::move(piece).error());
        }
        if (*piece) co_return std::move(**piece);
        arm(shared_->limits.body_timeout);
        Result<std::string_view> bytes = co_await connection_->read();
        disarm();
        if (bytes && !bytes->empty()) {
            reader_.give(*bytes);
            continue;
        }
        body_failed_ = true;
        if (!bytes) co_return Failure(std::move(bytes).error());
        Result<void> ended = reader_.end_of_stream();
        if (!ended) co_return Failure(std::move(ended).error());
    }
}

// What the handler left unread, so that the next request can be: true if nothing is left.
Task<bool> Session::drain() {
    if (reader_.done()) co_return true;
    if (body_failed_ || expects_continue_) co_return false;
    if (!reader_.head().chunked && reader_.left() <= drained_at_most) {
        while (!reader_.done()) {
            Result<std::string> piece = co_await read_body();
            if (!piece) co_return false;
        }
        co_return true;
    }
    // A chunked body has no known end: only what has arrived is looked at.
    std::uint64_t seen = 0;
    while (!reader_.done() && seen < drained_at_most) {
        Result<std::optional<std::string>> piece = reader_.take_body();
        if (!piece) {
            body_failed_ = true;
            co_return false;
        }
        if (*piece) {
            seen += (*piece)->size();
            continue;
        }
        if (!connection_->readable_now()) co_return false;
        Result<std::string> more = co_await read_body();
        if (!more) co_return false;
        seen += more->size();
    }
    co_return reader_.done();
}

// Closing with unread bytes in the socket would reset the connection and could take the response
// away from the peer, so what it still sends is read for a while.
Task<void> Session::linger() {
    connection_->finish_writing();
    arm(linger_for);
    const Ticks end = deadline_;
    std::uint64_t seen = 0;
    while (seen < 16 * drained_at_most) {
        Result<std::string_view> bytes = co_await connection_->read();
        if (!bytes || bytes->empty()) break;
        seen += bytes->size();
        if (std::chrono::steady_clock::now() >= end) break;
    }
    disarm();
}

Task<void> Session::refuse(Error error) {
    int status = 400;
    if (error.reason == "HeaderTooLarge") status = 431;
    if (error.reason == "VersionNotSupported") status = 505;
    if (error.reason == "NotImplemented") status = 501;
    if (error.reason == "RequestTimeout") status = 408;
    Response response;
    response.status = status;
    response.headers.set("Content-Type", "text/plain");
    response.body = error.message + "\n";
    request_.method = "GET";  // whatever was read of it, the answer has a body
    co_await respond(std::move(response), false);
    co_await linger();
}

Task<Session::After> Session::respond(Response response, bool keep) {
    const int status = response.status;
    const bool upgrade = status == 101;
    const bool bodyless = status < 200 || status == 204 || status == 304;
    const bool head_only = request_.method == "HEAD";
    if (equal_ignoring_case(response.headers.get("Connection"), "close")) keep = false;
    if (shared_->closing) keep = false;
    const bool streamed = response.stream && !bodyless;
    Framing framing = Framing::Length;
    if (streamed && !response.length) {
        framing = reader_.head().http_1_0 ? Framing::UntilClose : Framing::Chunked;
        if (framing == Framing::UntilClose) keep = false;
    }

    std::string head;
    head.reserve(512 + (response.body.size() <= kJoinedAtMost ? response.body.size() : 0));
    head += "HTTP/1.1 ";
    head += std::to_string(status);
    head += ' ';
    head += reason_phrase(status);
    head += "\r\n";
    head += shared_->date_header();
    std::string_view own_length;
    for (const auto& [name, value] : response.headers.all()) {
        if (equal_ignoring_case(name, "Content-Length")) {
            own_length = value;
            continue;
        }
        if (equal_ignoring_case(name, "Transfer-Encoding") || equal_ignoring_case(name, "Date"))
            continue;
        if (!upgrade && equal_ignoring_case(name, "Connection")) continue;
        append_header(head, name, value);
    }
    if (upgrade) {
        if (!response.headers.has("Connection")) head += "Connection: Upgrade\r\n";
        if (!response.headers.has("Upgrade"))
            append_header(head, "Upgrade", request_.headers.get("Upgrade"));
    } else if (!keep) {
        head += "Connection: close\r\n";
    } else if (reader_.head().http_1_0) {
        head += "Connection: keep-alive\r\n";
    }
    if (framing == Framing::Chunked) {
        head += "Transfer-Encoding: chunked\r\n";
    } else if (framing == Framing::Length && !bodyless) {
        head += "Content-Length: ";
        if (response.length)
            head += std::to_string(*response.length);
        else if (head_only && response.body.empty() && !own_length.empty())
            head += own_length;
        else
            head += std::to_string(response.body.size());
        head += "\r\n";
    }
    head += "\r\n";

    if (upgrade) {
        Result<void> written = co_await write(head);
        if (!written) co_return After::Close;
        if (response.upgraded) {
            auto stream = make_stream(connection_, reader_.take_rest(), shared_from_this());
            co_await response.upgraded(std::move(stream));
        }
        co_return After::Upgraded;
    }
    if (streamed && !head_only) {
        const bool whole = co_await send_stream(std::move(response.stream), std::move(head),
                                                framing, response.length.value_or(0));
        if (!whole) {
            connection_->abort();  // the peer must not take what it has for the whole
            co_return After::Close;
        }
        co_return keep ? After::KeepAlive : After::Close;
    }
    std::string_view body = bodyless || head_only ? std::string_view() : response.body;
    if (response.length && !head_only && !bodyless && *response.length != body.size()) {
        connection_->abort();
        co_return After::Close;
    }
    if (!body.empty() && body.size() <= kJoinedAtMost) {
        head += body;  // one TLS record, one packet
        body = {};
    }
    Result<void> written = co_await write(head, body);
    if (!written) co_return After::Close;
    co_return keep ? After::KeepAlive : After::Close;
}

// True if all of it went out.
Task<bool> Session::send_stream(std::unique_ptr<BodyReader> stream, std::string head,
                                Framing framing, std::uint64_t length) {
    if (framing != Framing::Length) {  // nobody knows when the first piece comes
        Result<void> begun = co_await write(head);
        if (!begun) co_return false;
    }
    std::uint64_t sent = 0;
    for (;;) {
        Result<std::string> piece = co_await stream->read();
        if (!piece) co_return false;
        Result<void> written;
        if (framing == Framing::Length) {
            if (piece->size() > length - sent) co_return false;
            sent += piece->size();
            if (!head.empty() && piece->size() <= kJoinedAtMost) {
                head += *piece;
                written = co_await write(head);
            } else {
                written = co_await write(head, *piece);
            }
            head.clear();
            if (!written) co_return false;
            if (piece->empty()) co_return sent == length;
        } else if (framing == Framing::UntilClose) {
            if (piece->empty()) co_return true;
            written = co_await write({}, *piece);
            if (!written) co_return false;
        } else {
            if (piece->empty()) {
                written = co_await write("0\r\n\r\n");
                co_return written.has_value();
            }
            char size[24];
            std::snprintf(size, sizeof size, "%zx\r\n", piece->size());
            *piece += "\r\n";
            written = co_await write(size, *piece);
            if (!written) co_return false;
        }
    }
}

Task<void> Session::serve() {
    arm(std::min(shared_->limits.handshake_timeout, shared_->limits.header_timeout));
    Result<void> ready = co_await connection_->prepare();
    disarm();
    if (!ready) co_return;
    for (;;) {
        Result<bool> head = co_await read_head();
        if (!head) {
            co_await refuse(std::move(head).error());
            co_return;
        }
        if (!*head) co_return;
        fill_request();
        const bool keep_alive = reader_.head().keep_alive;
        Response response = co_await shared_->handler(request_, body_);
        on_stop_ = {};
        if (connection_->aborted()) co_return;  // the response dies here, its stream with it
        bool drained = true;
        if (!reader_.done() && response.status != 101) drained = co_await drain();
        const After after = co_await respond(std::move(response), keep_alive && drained);
        if (after == After::Upgraded) co_return;
        if (!drained) {
            co_await linger();
            co_return;
        }
        if (after != After::KeepAlive) break;
    }
    connection_->finish_writing();
}

class ListenerOnSocket final : public Listener {
public:
    ListenerOnSocket(std::shared_ptr<Shared> shared, Fd socket, std::string address,
                     std::string unlink_at)
        : shared_(std::move(shared)),
          socket_(std::make_shared<Fd>(std::move(socket))),
          watch_(shared_->loop.watch(socket_->get())),
          address_(std::move(address)),
          unlink_at_(std::move(unlink_at)) {
        TURNOUT_CHECK(watch_, "a listening socket can be watched");
        turnout::start(accept(shared_, socket_, watch_), [] {});
    }
    ~ListenerOnSocket() override {
        close();
        const auto sessions = shared_->sessions;  // abort() may end one
        for (Session* session : sessions)
            if (shared_->sessions.contains(session)) session->abort();
    }

    std::string address() const override { return address_; }
    std::size_t connections() const override { return shared_->sessions.size(); }
    Result<std::unique_ptr<Stream>> connect_inside(Peer peer) override {
        if (shared_->closing || shared_->sessions.size() >= shared_->limits.connections)
            return fail(Code::Unavailable, "TooManyConnections",
                        "no more connections are taken just now");
        auto [ours, theirs] = TURNOUT_TRY(socket_pair());
        peer.carrier = shared_->carrier;
        serve(shared_, std::move(ours), std::move(peer));
        return make_stream(std::make_shared<Connection>(shared_->loop, std::move(theirs)), "",
                           nullptr);
    }
    void close() override {
        if (shared_->closing) return;
        shared_->closing = true;
        watch_->cancel();
        shared_->end_rest();
        if (!unlink_at_.empty()) ::unlink(unlink_at_.c_str());
        ::shutdown(socket_->get(), SHUT_RDWR);  // whoever waits in the backlog is told
        for (Session* session : shared_->sessions) session->end_if_idle();
    }

private:
    static void serve(const std::shared_ptr<Shared>& shared, Fd socket, Peer peer) {
        auto session = std::make_shared<Session>(
            shared, shared->wrap(shared->loop, std::move(socket)), std::move(peer));
        turnout::start(Session::run(std::move(session)), [] {});
        shared->start_ticking();
    }

    // Socket and watch are shared because this coroutine ends a little after the listener does.
    static Task<void> accept(std::shared_ptr<Shared> shared, std::shared_ptr<Fd> socket,
                             std::shared_ptr<Watch> watch) {
        int in_a_row = 0;
        while (!shared->closing) {
            if (shared->sessions.size() >= shared->limits.connections) {
                co_await shared->rest(shared->make_room() ? Span(0) : 20ms);
                continue;
            }
            Result<Accepted> next = accept_one(socket->get());
            if (next) {
                Peer peer;
                peer.carrier = shared->carrier;
                peer.loopback = next->loopback;
                peer.address = std::move(next->address);
                serve(shared, std::move(next->socket), std::move(peer));
                if (++in_a_row < accepted_in_a_row) continue;
                in_a_row = 0;
                co_await shared->rest(Span(0));
                continue;
            }
            in_a_row = 0;
            if (next.error().reason == "WouldBlock") {
                const bool ready = co_await watch->readable();
                if (!ready && !shared->closing) co_await shared->rest(20ms);
            } else {
                co_await shared->rest(100ms);  // out of descriptors or memory: later
            }
        }
    }

    std::shared_ptr<Shared> shared_;
    std::shared_ptr<Fd> socket_;
    std::shared_ptr<Watch> watch_;
    std::string address_;
    std::string unlink_at_;
};

std::unique_ptr<Connection> plain(AsioLoop& loop, Fd socket) {
    return std::make_unique<Connection>(loop, std::move(socket));
}

}  // namespace

Result<std::unique_ptr<Listener>> listen_wrapped(AsioLoop& loop, std::string address, Wrap wrap,
                                                 Carrier carrier, Handler handler, Limits limits) {
    Listening bound = TURNOUT_TRY(listen_tcp(address));
    auto shared =
        std::make_shared<Shared>(loop, std::move(handler), limits, carrier, std::move(wrap));
    return std::make_unique<ListenerOnSocket>(std::move(shared), std::move(bound.socket),
                                              std::move(bound.address), "");
}

Result<std::unique_ptr<Listener>> listen_plain(AsioLoop& loop, std::string address, Handler handler,
                                               Limits limits) {
    return listen_wrapped(loop, std::move(address), plain, Carrier::Plain, std::move(handler),
                          limits);
}

Result<std::unique_ptr<Listener>> listen_unix(AsioLoop& loop, std::string path, Handler handler,
                                              Limits limits) {
    Listening bound = TURNOUT_TRY(listen_unix_socket(path));
    auto shared = std::make_shared<Shared>(loop, std::move(handler), limits, Carrier::Unix, plain);
    return std::make_unique<ListenerOnSocket>(std::move(shared), std::move(bound.socket),
                                              std::move(bound.address), path);
}

}  // namespace turnout::http
