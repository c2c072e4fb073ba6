#include "io/posix/connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace turnout::http {
namespace {

// After so many steps without waiting the loop serves others: one busy peer does not starve them.
constexpr int most_in_a_row = 16;

class ConnectionStream final : public Stream {
public:
    ConnectionStream(std::shared_ptr<Connection> connection, std::string rest,
                     std::shared_ptr<void> keep)
        : keep_(std::move(keep)), connection_(std::move(connection)), rest_(std::move(rest)) {}
    ~ConnectionStream() override {
        if (connection_) connection_->abort();
    }

    Task<Result<std::string>> read() override {
        if (!rest_.empty()) co_return std::exchange(rest_, {});
        const auto connection = connection_;  // lives on if the stream is destroyed meanwhile
        Result<std::string_view> bytes = co_await connection->read();
        if (!bytes) co_return Failure(std::move(bytes).error());
        co_return std::string(*bytes);
    }
    Task<Result<void>> write(std::string bytes) override {
        const auto connection = connection_;
        Result<void> written = co_await connection->write(bytes);
        co_return written;
    }
    void close() override { connection_->abort(); }
    // Null where something was read already.
    std::shared_ptr<Connection> take() {
        if (!rest_.empty()) return nullptr;
        auto both = std::make_shared<Both>(std::move(keep_), std::move(connection_));
        Connection* const connection = both->connection.get();
        return {std::move(both), connection};
    }

private:
    struct Both {
        Both(std::shared_ptr<void> k, std::shared_ptr<Connection> c)
            : keep(std::move(k)), connection(std::move(c)) {}
        std::shared_ptr<void> keep;
        std::shared_ptr<Connection> connection;
    };
    std::shared_ptr<void> keep_;
    std::shared_ptr<Connection> connection_;
    std::string rest_;
};

}  // namespace

Connection::Connection(AsioLoop& loop, Fd socket)
    : loop_(loop), socket_(std::move(socket)), watch_(loop.watch(socket_.get())) {
    TURNOUT_CHECK(watch_, "a socket can be watched");
}

Connection::~Connection() = default;

Failure Connection::stopped(const char* doing) {
    if (aborted_) return fail(Code::Canceled, "Canceled", "the connection was closed here");
    return fail(Code::Unavailable, "Timeout", std::string("timed out while ") + doing);
}

Task<Result<void>> Connection::wait(Next next) {
    in_a_row_ = 0;
    const unsigned before = expired_;
    bool ready = false;
    if (next == Next::Readable)
        ready = co_await watch_->readable();
    else
        ready = co_await watch_->writable();
    if (aborted_ || !ready || expired_ != before)
        co_return stopped(next == Next::Readable ? "reading" : "writing");
    co_return Result<void>();
}

Task<void> Connection::be_fair() {
    in_a_row_ = 0;
    Later<bool> turn;
    loop_.post([settle = turn.settle()] { settle(true); });
    co_await turn;
}

Task<Result<void>> Connection::prepare() {
    for (;;) {
        if (aborted_) co_return stopped("connecting");
        Attempt attempt = try_prepare();
        if (attempt.next == Next::Done) co_return Result<void>();
        if (attempt.next == Next::Failed || attempt.next == Next::Closed)
            co_return fail(Code::Unavailable, "HandshakeFailed", std::move(attempt.what));
        Result<void> waited = co_await wait(attempt.next);
        if (!waited) co_return waited;
    }
}

Task<Result<std::string_view>> Connection::read(std::size_t most) {
    if (++in_a_row_ >= most_in_a_row) co_await be_fair();
    for (;;) {
        if (aborted_) co_return stopped("reading");
        const std::span<char> scratch = loop_.scratch();
        Attempt attempt = try_read(scratch.data(), std::min(most, scratch.size()));
        if (attempt.next == Next::Done) co_return std::string_view(scratch.data(), attempt.count);
        if (attempt.next == Next::Closed) co_return std::string_view();
        if (attempt.next == Next::Failed)
            co_return fail(Code::Unavailable, "ConnectionLost",
                           "the connection was lost: " + attempt.what);
        Result<void> waited = co_await wait(attempt.next);
        if (!waited) co_return Failure(std::move(waited).error());
    }
}

Task<Result<void>> Connection::write(std::string_view first, std::string_view second) {
    if (++in_a_row_ >= most_in_a_row) co_await be_fair();
    while (!first.empty() || !second.empty()) {
        if (aborted_) co_return stopped("writing");
        Attempt attempt = try_write(first, second);
        if (attempt.next == Next::Done) {
            const std::size_t of_first = std::min(attempt.count, first.size());
            first.remove_prefix(of_first);
            second.remove_prefix(attempt.count - of_first);
            continue;
        }
        if (attempt.next == Next::Failed || attempt.next == Next::Closed)
            co_return fail(Code::Unavailable, "ConnectionLost",
                           "the connection was lost: " + attempt.what);
        Result<void> waited = co_await wait(attempt.next);
        if (!waited) co_return waited;
    }
    co_return Result<void>();
}

void Connection::expire() {
    ++expired_;
    watch_->cancel();
}

void Connection::abort() {
    if (aborted_) return;
    aborted_ = true;
    watch_->cancel();
    ::shutdown(socket_.get(), SHUT_RDWR);
}

void Connection::reset() {
    if (aborted_) return;
    aborted_ = true;
    const linger none{.l_onoff = 1, .l_linger = 0};
    (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    watch_->cancel();
}

void Connection::finish_writing() {
    ::shutdown(socket_.get(), SHUT_WR);
}

bool Connection::quiet() {
    if (aborted_) return false;
    char byte = 0;
    return try_read(&byte, 1).next == Next::Readable;
}

bool Connection::readable_now() {
    char byte = 0;
    const ssize_t got = ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool Connection::peer_left() const {
    pollfd look{socket_.get(), POLLRDHUP, 0};
    return aborted_ || ::poll(&look, 1, 0) == 1;
}

Connection::Attempt Connection::try_read(char* to, std::size_t size) {
    for (;;) {
        const ssize_t got = ::recv(socket_.get(), to, size, MSG_DONTWAIT);
        if (got > 0) return {Next::Done, static_cast<std::size_t>(got), {}};
        if (got == 0) return {Next::Closed, 0, "the peer closed it"};
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return {Next::Readable, 0, {}};
        return {Next::Failed, 0, std::strerror(errno)};
    }
}

Connection::Attempt Connection::try_write(std::string_view first, std::string_view second) {
    iovec pieces[2];
    std::size_t count = 0;
    for (const std::string_view piece : {first, second})
        if (!piece.empty()) pieces[count++] = {const_cast<char*>(piece.data()), piece.size()};
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = count;
    for (;;) {
        const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) return {Next::Done, static_cast<std::size_t>(sent), {}};
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return {Next::Writable, 0, {}};
        return {Next::Failed, 0, std::strerror(errno)};
    }
}

Task<Result<Fd>> connect_socket(AsioLoop& loop, SocketAddress address, Span timeout) {
    Result<Fd> socket = begin_connect(address);
    if (!socket) co_return Failure(std::move(socket).error());
    bool late = false;
    {
        const std::unique_ptr<Watch> watch = loop.watch(socket->get());
        const Loop::TimerId timer = loop.after(timeout, [&] {
            late = true;
            watch->cancel();
        });
        const bool ready = co_await watch->writable();
        loop.cancel(timer);
        late = late || !ready;
    }
    if (late)
        co_return fail(Code::Unavailable, "ConnectFailed",
                       "cannot connect to " + address.text + ": it does not answer");
    Result<void> connected = connect_result(socket->get(), address);
    if (!connected) co_return Failure(std::move(connected).error());
    co_return socket;
}

std::unique_ptr<Stream> make_stream(std::shared_ptr<Connection> connection, std::string rest,
                                    std::shared_ptr<void> keep) {
    return std::make_unique<ConnectionStream>(std::move(connection), std::move(rest),
                                              std::move(keep));
}

Result<std::shared_ptr<Connection>> connection_of(std::unique_ptr<Stream> stream) {
    if (auto* ours = dynamic_cast<ConnectionStream*>(stream.get()))
        if (auto connection = ours->take()) return connection;
    return invalid("the stream is no fresh connection", "stream");
}

}  // namespace turnout::http
