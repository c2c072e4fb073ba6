// One byte connection: a non-blocking stream socket, plain here, with TLS in io/tls. What the HTTP
// server and client are written on. Used on the loop only.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/task.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "io/posix/fd.h"
#include "io/posix/sockets.h"

namespace turnout::http {

inline constexpr std::size_t kJoinedAtMost = 16 << 10;  // header and body copied into one piece
inline constexpr std::size_t kMaxRead = 256 << 10;      // the loop's scratch memory
inline constexpr std::size_t kSlice = 256 << 10;        // written under one timeout

class Connection {
public:
    Connection(AsioLoop& loop, Fd socket);
    virtual ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // What comes before the first byte: the TLS handshake.
    Task<Result<void>> prepare();
    // Some bytes, in the loop's scratch memory: use them before the next suspension. "" = the peer
    // closed. One read at a time.
    Task<Result<std::string_view>> read(std::size_t most = kMaxRead);
    // All of both. The text stays the caller's and must live until the end. One write at a time.
    Task<Result<void>> write(std::string_view first, std::string_view second = {});

    // The pending read or write ends with Unavailable, reason "Timeout"; later ones work.
    void expire();
    // Everything pending and later ends with Canceled, and the peer sees the end.
    void abort();
    // As abort(), but the peer is not to take it for the end of what it reads: TCP says that the
    // connection was reset, once this object is gone. A Unix socket can't say so, unless bytes
    // of the peer were never read.
    void reset();
    bool aborted() const { return aborted_; }
    // Tells the peer that nothing more comes; it may go on sending.
    virtual void finish_writing();

    // For an idle connection of a client: nothing came, so it can be used again.
    bool quiet();
    // Bytes of the peer's program have arrived that nobody has read (or the end).
    virtual bool readable_now();
    // The peer has ended its side, or the connection is broken.
    bool peer_left() const;

    AsioLoop& loop() { return loop_; }

protected:
    enum class Next { Done, Readable, Writable, Closed, Failed };
    struct Attempt {
        Next next = Next::Done;  // Done, or what to wait for
        std::size_t count = 0;
        std::string what;  // why it failed
    };
    // One step without waiting. A read of 0 bytes is `Closed`.
    virtual Attempt try_prepare() { return {}; }
    virtual Attempt try_read(char* to, std::size_t size);
    virtual Attempt try_write(std::string_view first, std::string_view second);

    int socket() const { return socket_.get(); }

private:
    Task<Result<void>> wait(Next next);
    Task<void> be_fair();
    Failure stopped(const char* doing);

    AsioLoop& loop_;
    Fd socket_;
    std::unique_ptr<Watch> watch_;  // after the socket: it is destroyed first
    bool aborted_ = false;
    int in_a_row_ = 0;  // steps that did not have to wait
    // Counts expire(); a wait that sees it change has timed out.
    unsigned expired_ = 0;
};

// Connects, or says Unavailable after that time.
Task<Result<Fd>> connect_socket(AsioLoop& loop, SocketAddress address, Span timeout);

// The connection as the stream of an upgrade. `rest` was read already. `keep` lives as long.
std::unique_ptr<Stream> make_stream(std::shared_ptr<Connection> connection, std::string rest,
                                    std::shared_ptr<void> keep);
// The other way round: for who speaks HTTP over a stream that make_stream() made and nobody has
// read. InvalidArgument for any other.
Result<std::shared_ptr<Connection>> connection_of(std::unique_ptr<Stream> stream);

}  // namespace turnout::http
