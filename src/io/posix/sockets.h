// Making sockets: the system calls, as values. Everything made is non-blocking and close-on-exec.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/posix/fd.h"

namespace turnout::http {

struct Listening {
    Fd socket;
    std::string address;  // with the real port
};
// How other machines may call this one: its host name, and the addresses of its interfaces.
std::vector<std::string> names_of_this_machine();

Result<Listening> listen_tcp(const std::string& address);
Result<Listening> listen_unix_socket(const std::string& path);
// One that is to be found at `path`, but not yet: it listens under a name beside it that nobody
// knows, which `address` is. move_unix_socket() puts it there.
Result<Listening> listen_beside(const std::string& path);
// Takes the place of a socket that another process serves, or fails where something else is.
Result<void> move_unix_socket(const std::string& from, const std::string& path);

// Whether nobody on this machine listens on that port, on any of its addresses.
bool is_port_free(int port);

struct Accepted {
    Fd socket;
    std::string address;
    bool loopback = false;
};
// An error with reason "WouldBlock" when nobody is waiting.
Result<Accepted> accept_one(int listening);

// "host:port", "[::1]:port". The port may be missing if `default_port` is not 0.
struct HostPort {
    std::string host;  // without brackets
    std::uint16_t port = 0;
};
Result<HostPort> parse_host_port(const std::string& text, std::uint16_t default_port = 0);

// A socket address, ready for connect().
struct SocketAddress {
    int family = 0;
    std::string raw;   // the bytes of the sockaddr
    std::string text;  // for messages
};
// Blocks on the resolver unless `host` is numeric or "localhost".
Result<std::vector<SocketAddress>> resolve(const HostPort& where);
bool needs_resolver(const std::string& host);
std::string ip_of(const SocketAddress& address);  // its 4 or 16 bytes; "" if it has none
Result<SocketAddress> unix_address(const std::string& path);

// Two ends of one connection inside of this process.
Result<std::pair<Fd, Fd>> socket_pair();

// Starts to connect: wait until the socket is writable, then ask connect_result.
Result<Fd> begin_connect(const SocketAddress& address);
Result<void> connect_result(int socket, const SocketAddress& address);

}  // namespace turnout::http
