#include "io/posix/http_client.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/http_parser.h"
#include "io/posix/sockets.h"

namespace turnout::http {
namespace {

using Ticks = std::chrono::steady_clock::time_point;

struct Url {
    bool tls = false;
    std::string authority;  // "host:port", as in the Host header
    HostPort where;
    std::string target;
};

Result<Url> parse_url(const std::string& text) {
    // They would end the request's line, or begin another header.
    if (std::ranges::any_of(
            text, [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; }))
        return invalid("a URL with a space or a control character in it is not supported");
    Url url;
    std::string_view rest = text;
    if (rest.starts_with("https://")) {
        url.tls = true;
        rest.remove_prefix(8);
    } else if (rest.starts_with("http://")) {
        rest.remove_prefix(7);
    } else {
        return invalid("the URL '" + text + "' must start with http:// or https://");
    }
    const std::size_t end = rest.find_first_of("/?#");
    url.authority = rest.substr(0, end);
    const std::size_t at = url.authority.rfind('@');
    if (at != std::string::npos) return invalid("a URL with a user name is not supported");
    url.where = TURNOUT_TRY(parse_host_port(url.authority, url.tls ? 443 : 80));
    if (end != std::string_view::npos) url.target = rest.substr(end);
    url.target = url.target.substr(0, url.target.find('#'));
    if (url.target.empty() || url.target[0] != '/') url.target.insert(0, "/");
    return url;
}

bool may_repeat(std::string_view method) {
    return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" ||
           method == "OPTIONS";
}

// While it lives, the connection is told to give up after `span`.
class Deadline {
public:
    Deadline(AsioLoop& loop, const std::shared_ptr<Connection>& connection, Span span)
        : loop_(loop), timer_(loop.after(span, [weak = std::weak_ptr(connection)] {
              if (const auto alive = weak.lock()) alive->expire();
          })) {}
    ~Deadline() { loop_.cancel(timer_); }
    Deadline(const Deadline&) = delete;
    Deadline& operator=(const Deadline&) = delete;

private:
    AsioLoop& loop_;
    Loop::TimerId timer_;
};

// While it lives, the connection ends when nobody wants the answer any more.
class Wanted {
public:
    Wanted(Stop* stop, const std::shared_ptr<Connection>& connection) : stop_(stop) {
        if (stop_)
            stop_->on_stop([weak = std::weak_ptr(connection)] {
                if (const auto alive = weak.lock()) alive->abort();
            });
    }
    ~Wanted() {
        if (stop_) stop_->on_stop({});
    }
    Wanted(const Wanted&) = delete;
    Wanted& operator=(const Wanted&) = delete;

private:
    Stop* stop_;
};

// What requests share. Lives as long as the client or any response of it.
struct Core : std::enable_shared_from_this<Core> {
    Core(AsioLoop& l, ClientOptions o) : loop(l), options(std::move(o)) {}

    struct Idle {
        std::shared_ptr<Connection> connection;
        Ticks since;
    };

    AsioLoop& loop;
    ClientOptions options;
    std::map<std::string, std::vector<Idle>> idle;  // by origin; the last used at the end
    bool closed = false;
    bool sweeping = false;

    std::shared_ptr<Connection> take_idle(const std::string& origin) {
        const auto found = idle.find(origin);
        if (found == idle.end()) return nullptr;
        std::vector<Idle>& list = found->second;
        const Ticks oldest = std::chrono::steady_clock::now() - options.idle_for;
        std::erase_if(list, [&](const Idle& one) { return one.since < oldest; });
        while (!list.empty()) {
            auto connection = std::move(list.back().connection);
            list.pop_back();
            if (connection->quiet()) return connection;
        }
        idle.erase(found);
        return nullptr;
    }

    void keep(const std::string& origin, std::shared_ptr<Connection> connection) {
        if (closed || connection->aborted()) return;
        std::vector<Idle>& list = idle[origin];
        const Ticks now = std::chrono::steady_clock::now();
        std::erase_if(list, [&](const Idle& one) { return one.since < now - options.idle_for; });
        if (list.size() >= options.idle_per_origin) list.erase(list.begin());
        list.push_back({std::move(connection), now});
        sweep_later();
    }

    // An origin may never be asked again: what is kept of it goes all the same, and sooner if its
    // other end is gone.
    void sweep_later() {
        if (std::exchange(sweeping, true)) return;
        loop.after(options.idle_for, [weak = weak_from_this()] {
            if (const auto self = weak.lock()) self->sweep();
        });
    }
    void sweep() {
        sweeping = false;
        const Ticks oldest = std::chrono::steady_clock::now() - options.idle_for;
        for (auto& [origin, list] : idle)
            std::erase_if(list, [&](const Idle& one) {
                return one.since <= oldest || !one.connection->quiet();
            });
        std::erase_if(idle, [](const auto& entry) { return entry.second.empty(); });
        if (!idle.empty()) sweep_later();
    }
};

// A request and its response on one connection.
struct Exchange {
    Exchange(std::shared_ptr<Core> c, std::shared_ptr<Connection> conn, std::string o, Span t)
        : core(std::move(c)),
          connection(std::move(conn)),
          origin(std::move(o)),
          reader(Role::Response, core->options.header_bytes),
          timeout(t) {}

    std::shared_ptr<Core> core;  // shared: see Core
    std::shared_ptr<Connection> connection;
    std::string origin;
    MessageReader reader;
    Span timeout;
    bool sent_whole = false;  // the request
    bool answered = false;    // some byte of the answer came
};

class ResponseBody final : public BodyReader {
public:
    explicit ResponseBody(std::unique_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {
        give_back_if_done();
    }
    ~ResponseBody() override {
        if (exchange_) exchange_->connection->abort();
    }

    Task<Result<std::string>> read() override {
        while (exchange_) {
            Result<std::optional<std::string>> piece = exchange_->reader.take_body();
            if (!piece) co_return lose(std::move(piece).error());
            if (*piece) {
                std::string bytes = std::move(**piece);
                if (bytes.empty())
                    give_back();
                else
                    give_back_if_done();
                co_return bytes;
            }
            const std::shared_ptr<Connection> connection = exchange_->connection;
            Result<std::string_view> bytes = std::string_view();
            {
                const Deadline deadline(connection->loop(), connection, exchange_->timeout);
                bytes = co_await connection->read();
            }
            if (!bytes) co_return lose(std::move(bytes).error());
            if (!bytes->empty()) {
                exchange_->reader.give(*bytes);
                continue;
            }
            Result<void> ended = exchange_->reader.end_of_stream();
            if (!ended) co_return lose(std::move(ended).error());
        }
        if (lost_) co_return Failure(*lost_);
        co_return std::string();
    }

private:
    Failure lose(Error error) {
        exchange_->connection->abort();
        exchange_.reset();
        lost_ = error;
        return Failure(std::move(error));
    }
    void give_back_if_done() {
        if (exchange_->reader.done()) give_back();
    }
    void give_back() {
        const std::unique_ptr<Exchange> over = std::move(exchange_);
        const bool reusable =
            over->reader.head().keep_alive && over->sent_whole && over->reader.empty();
        if (reusable)
            over->core->keep(over->origin, std::move(over->connection));
        else
            over->connection->abort();
    }

    std::unique_ptr<Exchange> exchange_;  // gone once the body ended
    std::optional<Error> lost_;
};

Task<Result<std::shared_ptr<Connection>>> connect_to(std::shared_ptr<Core> core,
                                                     SocketAddress address, bool tls,
                                                     std::string host) {
    Result<Fd> socket = co_await connect_socket(core->loop, address, core->options.connect_timeout);
    if (!socket) co_return Failure(std::move(socket).error());
    std::shared_ptr<Connection> connection;
    if (tls)
        connection = core->options.tls->wrap(core->loop, std::move(*socket), host);
    else
        connection = std::make_shared<Connection>(core->loop, std::move(*socket));
    Result<void> ready;
    {
        const Deadline deadline(core->loop, connection, core->options.connect_timeout);
        ready = co_await connection->prepare();
    }
    if (!ready) {
        Error error = std::move(ready).error();
        error.message = "cannot connect to " + address.text + ": " + error.message;
        co_return Failure(std::move(error));
    }
    co_return connection;
}

Task<Result<std::shared_ptr<Connection>>> connect(std::shared_ptr<Core> core, Url url) {
    if (core->options.dial) {
        Result<std::unique_ptr<Stream>> stream = co_await core->options.dial(url.authority);
        if (!stream) co_return Failure(std::move(stream).error());
        co_return connection_of(std::move(*stream));
    }
    std::vector<SocketAddress> addresses;
    if (!core->options.unix_socket.empty()) {
        Result<SocketAddress> address = unix_address(core->options.unix_socket);
        if (!address) co_return Failure(std::move(address).error());
        addresses.push_back(std::move(*address));
    } else {
        Result<std::vector<SocketAddress>> found = std::vector<SocketAddress>();
        if (needs_resolver(url.where.host)) {
            std::function<Result<std::vector<SocketAddress>>()> ask = [where = url.where] {
                return resolve(where);
            };
            found = co_await apart(core->loop, std::move(ask));
        } else {
            found = resolve(url.where);
        }
        if (!found) co_return Failure(std::move(found).error());
        addresses = std::move(*found);
    }
    Error last;
    for (const SocketAddress& address : addresses) {
        if (const auto& may = core->options.may_connect)
            if (const auto allowed = may(url.where.host, url.where.port, ip_of(address));
                !allowed) {
                last = allowed.error();
                continue;
            }
        Result<std::shared_ptr<Connection>> connection = co_await connect_to(
            core, address, url.tls && core->options.unix_socket.empty(), url.where.host);
        if (connection) co_return connection;
        last = std::move(connection).error();
    }
    co_return Failure(std::move(last));
}

std::string write_head(const ClientRequest& request, const Url& url) {
    std::string head;
    head.reserve(512);
    head += request.method;
    head += ' ';
    head += url.target;
    head += " HTTP/1.1\r\n";
    if (!request.headers.has("Host")) append_header(head, "Host", url.authority);
    for (const auto& [name, value] : request.headers.all())
        if (!equal_ignoring_case(name, "Content-Length") &&
            !equal_ignoring_case(name, "Transfer-Encoding"))
            append_header(head, name, value);
    if (request.stream && !request.length)
        head += "Transfer-Encoding: chunked\r\n";
    else if (request.stream)
        head += "Content-Length: " + std::to_string(*request.length) + "\r\n";
    else if (!request.body.empty() || request.method == "POST" || request.method == "PUT" ||
             request.method == "PATCH")
        head += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
    head += "\r\n";
    return head;
}

// `first` is small; `second` goes in slices, each with the whole timeout.
Task<Result<void>> write_piece(Exchange& exchange, std::string_view first,
                               std::string_view second) {
    for (;;) {
        Result<void> written;
        {
            const Deadline deadline(exchange.connection->loop(), exchange.connection,
                                    exchange.timeout);
            written = co_await exchange.connection->write(first, second.substr(0, kSlice));
        }
        if (!written || second.size() <= kSlice) co_return written;
        first = {};
        second.remove_prefix(kSlice);
    }
}

// The body from a stream. Stops early, without an error, when the server already answers.
Task<Result<void>> send_stream(Exchange& exchange, BodyReader& body,
                               std::optional<std::uint64_t> length) {
    std::uint64_t sent = 0;
    for (;;) {
        Result<std::string> piece = co_await body.read();
        if (!piece) co_return Failure(std::move(piece).error());
        if (exchange.connection->readable_now()) co_return Result<void>();
        Result<void> written;
        if (length) {
            if (piece->size() > *length - sent)
                co_return invalid("the body is longer than its declared length");
            sent += piece->size();
            if (piece->empty()) {
                if (sent != *length)
                    co_return invalid("the body is shorter than its declared length");
                exchange.sent_whole = true;
                co_return Result<void>();
            }
            written = co_await write_piece(exchange, {}, *piece);
        } else if (piece->empty()) {
            written = co_await write_piece(exchange, "0\r\n\r\n", {});
            exchange.sent_whole = written.has_value();
            co_return written;
        } else {
            char size[24];
            std::snprintf(size, sizeof size, "%zx\r\n", piece->size());
            *piece += "\r\n";
            written = co_await write_piece(exchange, size, *piece);
        }
        if (!written) co_return written;
    }
}

Task<Result<void>> send_request(Exchange& exchange, ClientRequest& request, const Url& url) {
    std::string head = write_head(request, url);
    std::string_view body = request.body;
    if (request.stream) body = {};
    if (body.size() <= kJoinedAtMost) {
        head += body;
        body = {};
    }
    Result<void> written = co_await write_piece(exchange, head, body);
    if (!written) co_return written;
    if (!request.stream) {
        exchange.sent_whole = true;
        co_return written;
    }
    Result<void> streamed = co_await send_stream(exchange, *request.stream, request.length);
    co_return streamed;
}

Task<Result<void>> read_head(Exchange& exchange) {
    const Deadline deadline(exchange.connection->loop(), exchange.connection, exchange.timeout);
    for (;;) {
        Result<bool> complete = exchange.reader.parse_head();
        if (!complete) {
            Error error = std::move(complete).error();
            error.code = Code::Unavailable;
            error.message = "the server's answer is not understood: " + error.message;
            co_return Failure(std::move(error));
        }
        if (*complete) {
            const int status = exchange.reader.head().status;
            if (status >= 200 || status == 101) co_return Result<void>();
            exchange.reader.begin();  // an interim answer
            continue;
        }
        Result<std::string_view> bytes = co_await exchange.connection->read();
        if (!bytes) co_return Failure(std::move(bytes).error());
        if (bytes->empty())
            co_return fail(Code::Unavailable, "ConnectionLost",
                           "the server closed the connection without an answer");
        exchange.answered = true;
        exchange.reader.give(*bytes);
    }
}

Task<Result<ClientResponse>> send(std::shared_ptr<Core> core, ClientRequest request) {
    if (request.url.starts_with("/")) {
        std::string origin = core->options.origin;
        if (origin.empty() && !core->options.unix_socket.empty()) origin = "http://localhost";
        while (origin.ends_with('/')) origin.pop_back();
        request.url.insert(0, origin);
    }
    Result<Url> url = parse_url(request.url);
    if (!url) co_return Failure(std::move(url).error());
    const bool over_unix = !core->options.unix_socket.empty();
    if (url->tls && !over_unix && !core->options.tls)
        co_return fail(Code::FailedPrecondition, "NoTls",
                       "this program speaks no https, use http for '" + url->authority + "'");
    const std::string origin =
        over_unix ? std::string("unix") : (url->tls ? "https://" : "http://") + url->authority;

    const bool harmless = may_repeat(request.method) && !request.once;
    bool sent_before = false;
    for (;;) {
        std::shared_ptr<Connection> connection;
        bool reused = false;
        if (!sent_before) {
            connection = core->take_idle(origin);
            reused = connection != nullptr;
        }
        if (!connection) {
            Result<std::shared_ptr<Connection>> made = co_await connect(core, *url);
            if (!made) {
                Error error = std::move(made).error();
                if (sent_before && !harmless) error.code = Code::Ambiguous;
                co_return Failure(std::move(error));
            }
            connection = std::move(*made);
        }
        auto exchange = std::make_unique<Exchange>(core, connection, origin, request.timeout);
        Result<void> sent, answered;
        {
            const Wanted wanted(request.stop, connection);
            sent = co_await send_request(*exchange, request, *url);
            // Even when the request could not be written, the server may have said why.
            answered = sent;
            if (sent || sent.error().reason == "ConnectionLost")
                answered = co_await read_head(*exchange);
        }
        const bool ours = !sent && sent.error().reason != "ConnectionLost" &&
                          sent.error().reason != "Timeout";  // the caller's stream failed
        if (!answered) {
            connection->abort();
            Error error = sent ? std::move(answered).error() : std::move(sent).error();
            if (reused && !exchange->answered && !request.stream && !request.once &&
                error.reason == "ConnectionLost") {
                sent_before = true;
                continue;
            }
            if (!ours && !harmless && error.code == Code::Unavailable) error.code = Code::Ambiguous;
            if (!ours)
                error.message += " (" + request.method + " " + origin +
                                 url->target.substr(0, url->target.find('?')) + ")";
            co_return Failure(std::move(error));
        }
        MessageHead& head = exchange->reader.head();
        ClientResponse response;
        response.status = head.status;
        response.headers = std::move(head.headers);
        if (head.status == 101) {
            response.stream = make_stream(connection, exchange->reader.take_rest(), nullptr);
        } else {
            if (request.method == "HEAD") exchange->reader.expect_no_body();
            response.body = std::make_unique<ResponseBody>(std::move(exchange));
        }
        co_return response;
    }
}

class PooledClient final : public Client {
public:
    PooledClient(AsioLoop& loop, ClientOptions options)
        : core_(std::make_shared<Core>(loop, std::move(options))) {}
    ~PooledClient() override {
        core_->closed = true;
        core_->idle.clear();
    }
    Task<Result<ClientResponse>> send(ClientRequest request) override {
        return http::send(core_, std::move(request));
    }

private:
    std::shared_ptr<Core> core_;  // shared with responses that are still read
};

}  // namespace

std::unique_ptr<Client> make_client(AsioLoop& loop, ClientOptions options) {
    return std::make_unique<PooledClient>(loop, std::move(options));
}

}  // namespace turnout::http
