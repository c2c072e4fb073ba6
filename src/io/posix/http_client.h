// The HTTP/1.1 client. Without TLS unless a connector is given (io/tls/tls_client.h), so that the
// static agent does without OpenSSL's TLS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/http.h"
#include "io/posix/asio_loop.h"
#include "io/posix/connection.h"

namespace turnout::http {

// Puts TLS on a connected socket and verifies that the peer is `host` (a name or an IP address).
class TlsConnector {
public:
    virtual ~TlsConnector() = default;
    virtual std::unique_ptr<Connection> wrap(AsioLoop& loop, Fd socket,
                                             const std::string& host) = 0;
};

struct ClientOptions {
    std::string unix_socket;  // if set, every request goes there, whatever host its URL names
    std::string origin;       // "https://host:port" before URLs that start with '/'
    std::shared_ptr<TlsConnector>
        tls;  // shared: clients of one program verify alike. None: https is refused
    Span connect_timeout = 10s;  // per address
    // Asked for each address of a host (4 or 16 bytes, as it is going to be connected to); an error
    // keeps that connection from being made.
    std::function<Result<void>(const std::string& host, std::uint16_t port, std::string_view ip)>
        may_connect = {};
    // Instead of a socket to what the URL names: how its authority, "name:port" in lower case, is
    // reached (connection_of() takes the stream). Such URLs are http.
    std::function<Task<Result<std::unique_ptr<Stream>>>(std::string authority)> dial = {};
    Span idle_for = 50s;  // an idle connection older than that is not used again
    std::size_t idle_per_origin = 8;
    std::size_t header_bytes = 256 << 10;
};

// Errors: Unavailable when the server cannot be reached or the answer to a GET, HEAD, PUT, DELETE
// or OPTIONS was lost; Ambiguous when that of another method, or of a request to be sent `once`,
// was lost after it was sent. The loop outlives the client; requests under way outlive it too.
std::unique_ptr<Client> make_client(AsioLoop& loop, ClientOptions options);

}  // namespace turnout::http
