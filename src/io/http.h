// HTTP/1.1 as the rest of the program sees it: plain values and coroutines. The implementation
// (Boost.Beast, Asio, OpenSSL) is in io/posix and nowhere else.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "base/stop.h"
#include "base/task.h"
#include "base/time.h"

namespace turnout::http {

// Names compare without regard to case; order and duplicates are kept.
class Headers {
public:
    std::string_view get(std::string_view name) const;  // first value, "" if absent
    bool has(std::string_view name) const;
    void set(std::string_view name, std::string value);  // replaces all of that name
    void add(std::string_view name, std::string value);
    const std::vector<std::pair<std::string, std::string>>& all() const { return items_; }

private:
    std::vector<std::pair<std::string, std::string>> items_;
};

enum class Carrier { Plain, Tls, Unix };

struct Peer {
    Carrier carrier = Carrier::Plain;
    bool loopback = false;  // from this machine (Unix sockets too)
    bool through_node =
        false;            // a task's, over its node's link: what it calls us, others may not reach
    std::string address;  // "127.0.0.1:5123", "unix"

    std::string_view host() const {  // without the port
        return std::string_view(address).substr(0, address.rfind(':'));
    }
};

struct Request {
    std::string method;  // upper case
    std::string target;  // as sent: "/a%20b?c=d"
    std::string path;    // before '?', NOT decoded
    std::string query;   // after '?', NOT decoded
    Headers headers;
    Peer peer;
    std::optional<std::uint64_t> content_length;  // absent if chunked or without body
    Stop* stop = nullptr;  // the client has left: what it waits for is not wanted any more
};

// Pieces of a body; "" is the end. An error ends the connection.
class BodyReader {
public:
    virtual ~BodyReader() = default;
    virtual Task<Result<std::string>> read() = 0;
    // The whole body, or ResourceExhausted (HTTP 413) beyond `limit` bytes.
    Task<Result<std::string>> all(std::size_t limit);
};

// A two-way byte stream after "101 Switching Protocols".
class Stream {
public:
    virtual ~Stream() = default;
    virtual Task<Result<std::string>> read() = 0;             // "" = the peer closed
    virtual Task<Result<void>> write(std::string bytes) = 0;  // one write at a time
    virtual void close() = 0;  // a pending read or write ends with Canceled
};

struct Response {
    int status = 200;
    Headers headers;
    std::string body;
    // Instead of `body`: pieces until "". With `length` it is sent as Content-Length, else chunked.
    // Destroyed when the response ended or the peer went away.
    std::unique_ptr<BodyReader> stream;
    std::optional<std::uint64_t>
        length;  // also: Content-Length of a HEAD reply, whose body is empty
    // With status 101: called with the connection after the response was written.
    std::function<Task<void>(std::unique_ptr<Stream>)> upgraded;
};

// Carries bytes both ways until one side has ended, then ends the other.
Task<void> join_streams(std::unique_ptr<Stream> one, std::unique_ptr<Stream> other);

// Called on the loop for each request; `body` and `request` live until the returned task ends. A
// body that was not read is drained (up to 1 MiB) or the connection is closed.
using Handler = std::function<Task<Response>(const Request& request, BodyReader& body)>;

struct TlsFiles {  // PEM files
    std::string certificate;
    std::string key;
};

struct Limits {
    std::size_t header_bytes = 64 << 10;
    std::size_t connections = 10'000;
    Span header_timeout =
        30s;  // from accept or previous response's next first byte, to the end of the header
    Span idle_timeout = 120s;  // keep-alive without a request
    Span body_timeout = 120s;  // between two pieces
    Span handshake_timeout = 10s;
    // Where `connections` are there already, those that have asked for nothing for so long are
    // closed for new ones: first of the address that has most of them, first those that never
    // asked.
    Span patience = 1s;
};

// A listening socket. Destroying it stops accepting and ends its connections; a handler that is
// still running then runs to its end, and its response is dropped.
class Listener {
public:
    virtual ~Listener() = default;
    virtual std::string address() const = 0;  // "127.0.0.1:8443" with the real port, or the path
    // Stops accepting and ends idle connections; the others end after their current response.
    virtual void close() {}
    virtual std::size_t connections() const { return 0; }
    // A connection to this listener that comes from inside of this process: its other end.
    virtual Result<std::unique_ptr<Stream>> connect_inside(Peer peer) = 0;
};

struct ClientRequest {
    std::string method = "GET";
    std::string url;  // "https://host:port/path?query", or "/path" on a client bound to one origin
    Headers headers;
    std::string body;
    std::unique_ptr<BodyReader> stream;  // instead of body, with `length`
    std::optional<std::uint64_t> length;
    Span timeout = 100s;  // until the response header; the body has it between two pieces
    // It is sent on one connection only, and what fails once that was begun is Ambiguous, whatever
    // the method.
    bool once = false;
    // Nobody wants the answer any more: what is under way ends with Canceled. Until the response
    // header; it lives as long.
    Stop* stop = nullptr;
};

struct ClientResponse {
    int status = 0;
    Headers headers;
    std::unique_ptr<BodyReader> body;  // destroy it unread and the connection is closed, not reused
    std::unique_ptr<Stream> stream;    // set when status is 101
};

// Keeps idle connections for reuse, per origin. A request that fails on a reused connection before
// any byte of the answer came is repeated once on a new one if it has no streamed body and is not
// to be sent `once`.
class Client {
public:
    virtual ~Client() = default;
    virtual Task<Result<ClientResponse>> send(ClientRequest request) = 0;
};

}  // namespace turnout::http
