#include "io/posix/sockets.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace turnout::http {
namespace {

constexpr int backlog = 1024;
constexpr int kMostNames = 100;  // tried before one is taken

Failure system_failure(const std::string& doing, int error = errno) {
    const Code code = error == EADDRINUSE || error == EACCES || error == EADDRNOTAVAIL
                          ? Code::FailedPrecondition
                          : Code::Unavailable;
    return fail(code, "SocketError", doing + ": " + std::strerror(error));
}

std::string to_text(const sockaddr_storage& address) {
    char host[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, &address, sizeof in);
        inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
        return std::string(host) + ":" + std::to_string(ntohs(in.sin_port));
    }
    if (address.ss_family == AF_INET6) {
        sockaddr_in6 in{};
        std::memcpy(&in, &address, sizeof in);
        inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host);
        return "[" + std::string(host) + "]:" + std::to_string(ntohs(in.sin6_port));
    }
    return "unix";
}

bool is_loopback(const sockaddr_storage& address) {
    if (address.ss_family == AF_UNIX) return true;
    if (address.ss_family == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, &address, sizeof in);
        return (ntohl(in.sin_addr.s_addr) >> 24) == 127;
    }
    sockaddr_in6 in{};
    std::memcpy(&in, &address, sizeof in);
    if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) return in.sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&in.sin6_addr);
}

const sockaddr* as_sockaddr(const std::string& raw) {
    return reinterpret_cast<const sockaddr*>(raw.data());
}

SocketAddress make_address(const void* data, std::size_t size, int family) {
    SocketAddress out;
    out.family = family;
    out.raw.assign(static_cast<const char*>(data), size);
    sockaddr_storage storage{};
    std::memcpy(&storage, data, size);
    out.text = to_text(storage);
    return out;
}

SocketAddress ipv4(in_addr host, std::uint16_t port) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_addr = host;
    in.sin_port = htons(port);
    return make_address(&in, sizeof in, AF_INET);
}

SocketAddress ipv6(in6_addr host, std::uint16_t port) {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_addr = host;
    in.sin6_port = htons(port);
    return make_address(&in, sizeof in, AF_INET6);
}

// What is written leaves at once. A peer that vanished without a word (its power, its network) is
// found out, though nothing is written to it: a WebSocket may be silent for hours.
void set_tcp_options(int socket) {
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const int idle = 60, between = 15, times = 4;  // seconds
    const unsigned unheard = 120'000;              // ms: of what was written nothing arrives
    ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
    ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
    ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard, sizeof unheard);
}

// At `path` is a socket, or nothing.
Result<void> check_for_socket(const std::string& path) {
    struct stat there{};
    if (::lstat(path.c_str(), &there) != 0 || S_ISSOCK(there.st_mode)) return {};
    return fail(Code::FailedPrecondition, "SocketError",
                "cannot listen on '" + path + "': something that is not a socket is there");
}

Result<Listening> bind_unix(const std::string& path, const std::string& doing) {
    const SocketAddress at = TURNOUT_TRY(unix_address(path));
    Listening out;
    out.socket = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!out.socket) return system_failure(doing);
    // The mode of the file that bind() makes is the socket's own, so nobody gets in meanwhile.
    ::fchmod(out.socket.get(), 0600);
    if (::bind(out.socket.get(), as_sockaddr(at.raw), static_cast<socklen_t>(at.raw.size())) != 0)
        return system_failure(doing);
    if (::chmod(path.c_str(), 0600) != 0 || ::listen(out.socket.get(), backlog) != 0)
        return system_failure(doing);
    out.address = path;
    return out;
}

}  // namespace

Result<HostPort> parse_host_port(const std::string& text, std::uint16_t default_port) {
    HostPort out;
    std::string port;
    bool has_port = false;
    if (text.starts_with("[")) {
        const std::size_t end = text.find(']');
        if (end == std::string::npos) return invalid("the address '" + text + "' lacks its ']'");
        out.host = text.substr(1, end - 1);
        if (end + 1 < text.size()) {
            if (text[end + 1] != ':') return invalid("the address '" + text + "' is not host:port");
            port = text.substr(end + 2);
            has_port = true;
        }
    } else {
        const std::size_t colon = text.rfind(':');
        out.host = text.substr(0, colon);
        if (colon != std::string::npos) {
            port = text.substr(colon + 1);
            has_port = true;
        }
        if (out.host.find(':') != std::string::npos)
            return invalid("write an IPv6 address in brackets: '[" + out.host + "]:port'");
    }
    if (out.host.empty()) return invalid("the address '" + text + "' has no host");
    if (!has_port && default_port != 0) {
        out.port = default_port;
        return out;
    }
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (error != std::errc() || end != port.data() + port.size() || port.empty())
        return invalid("the address '" + text + "' needs a port from 0 to 65535, as in '" +
                       out.host + ":8443'");
    return out;
}

bool needs_resolver(const std::string& host) {
    in_addr four{};
    in6_addr six{};
    return host != "localhost" && inet_pton(AF_INET, host.c_str(), &four) != 1 &&
           inet_pton(AF_INET6, host.c_str(), &six) != 1;
}

Result<std::vector<SocketAddress>> resolve(const HostPort& where) {
    std::vector<SocketAddress> out;
    in_addr four{};
    in6_addr six{};
    if (where.host == "localhost") {
        out.push_back(ipv4({htonl(INADDR_LOOPBACK)}, where.port));
        out.push_back(ipv6(in6addr_loopback, where.port));
    } else if (inet_pton(AF_INET, where.host.c_str(), &four) == 1) {
        out.push_back(ipv4(four, where.port));
    } else if (inet_pton(AF_INET6, where.host.c_str(), &six) == 1) {
        out.push_back(ipv6(six, where.port));
    } else {
        addrinfo wanted{};
        wanted.ai_socktype = SOCK_STREAM;
        wanted.ai_flags = AI_ADDRCONFIG;
        addrinfo* found = nullptr;
        const int error =
            ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &wanted, &found);
        if (error != 0)
            return fail(Code::Unavailable, "HostNotFound",
                        "host '" + where.host + "' was not found: " + gai_strerror(error));
        for (const addrinfo* one = found; one != nullptr; one = one->ai_next)
            if (one->ai_family == AF_INET || one->ai_family == AF_INET6)
                out.push_back(make_address(one->ai_addr, one->ai_addrlen, one->ai_family));
        ::freeaddrinfo(found);
        if (out.empty())
            return fail(Code::Unavailable, "HostNotFound",
                        "host '" + where.host + "' has no address");
    }
    return out;
}

std::string ip_of(const SocketAddress& address) {
    const auto bytes = [](const auto& ip) {
        return std::string(reinterpret_cast<const char*>(&ip), sizeof ip);
    };
    if (address.family == AF_INET && address.raw.size() >= sizeof(sockaddr_in)) {
        sockaddr_in at{};
        std::memcpy(&at, address.raw.data(), sizeof at);
        return bytes(at.sin_addr);
    }
    if (address.family == AF_INET6 && address.raw.size() >= sizeof(sockaddr_in6)) {
        sockaddr_in6 at{};
        std::memcpy(&at, address.raw.data(), sizeof at);
        return bytes(at.sin6_addr);
    }
    return {};
}

Result<SocketAddress> unix_address(const std::string& path) {
    sockaddr_un at{};
    if (path.empty() || path.size() >= sizeof at.sun_path)
        return invalid("the socket path '" + path + "' must have 1 to " +
                       std::to_string(sizeof at.sun_path - 1) + " bytes");
    at.sun_family = AF_UNIX;
    std::memcpy(at.sun_path, path.data(), path.size());
    SocketAddress out;
    out.family = AF_UNIX;
    out.raw.assign(reinterpret_cast<const char*>(&at), sizeof at);
    out.text = path;
    return out;
}

std::vector<std::string> names_of_this_machine() {
    std::vector<std::string> out;
    char name[256] = "";
    const auto is_plain = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '.'; };
    if (::gethostname(name, sizeof name - 1) == 0 && name[0] != 0 &&
        std::all_of(name, name + std::strlen(name), is_plain))
        out.emplace_back(name);
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) return out;
    for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
        if (one->ifa_addr == nullptr || (one->ifa_flags & IFF_UP) == 0) continue;
        sockaddr_storage address{};
        char text[INET6_ADDRSTRLEN] = "";
        if (one->ifa_addr->sa_family == AF_INET) {
            std::memcpy(&address, one->ifa_addr, sizeof(sockaddr_in));
            inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text,
                      sizeof text);
        } else if (one->ifa_addr->sa_family == AF_INET6) {
            std::memcpy(&address, one->ifa_addr, sizeof(sockaddr_in6));
            const in6_addr& six = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
            if (!IN6_IS_ADDR_LINKLOCAL(&six)) inet_ntop(AF_INET6, &six, text, sizeof text);
        }
        if (text[0] != 0 && !is_loopback(address)) out.emplace_back(text);
    }
    ::freeifaddrs(all);
    return out;
}

Result<Listening> listen_tcp(const std::string& address) {
    const HostPort where = TURNOUT_TRY(parse_host_port(address));
    const std::vector<SocketAddress> addresses = TURNOUT_TRY(resolve(where));
    const SocketAddress& at = addresses.front();
    Listening out;
    out.socket = Fd(::socket(at.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!out.socket) return system_failure("cannot listen on " + address);
    // The port of a server that just ended can be taken again at once.
    const int on = 1;
    ::setsockopt(out.socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(out.socket.get(), as_sockaddr(at.raw), static_cast<socklen_t>(at.raw.size())) != 0 ||
        ::listen(out.socket.get(), backlog) != 0)
        return system_failure("cannot listen on " + address);
    sockaddr_storage real{};
    socklen_t size = sizeof real;
    if (::getsockname(out.socket.get(), reinterpret_cast<sockaddr*>(&real), &size) != 0)
        return system_failure("cannot listen on " + address);
    out.address = to_text(real);
    return out;
}

bool is_port_free(int port) {
    for (const int family : {AF_INET6, AF_INET}) {
        const Fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (!socket) continue;  // this machine has no such addresses
        const int yes = 1, no = 0;
        // A connection that ended a moment ago is in nobody's way.
        (void)setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (family == AF_INET6)
            (void)setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
        sockaddr_storage address{};
        address.ss_family = static_cast<sa_family_t>(family);
        (family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                            : reinterpret_cast<sockaddr_in&>(address).sin_port) =
            htons(static_cast<std::uint16_t>(port));
        const socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
        if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 &&
            errno == EADDRINUSE)
            return false;
    }
    return true;
}

Result<Listening> listen_unix_socket(const std::string& path) {
    const SocketAddress at = TURNOUT_TRY(unix_address(path));
    const std::string doing = "cannot listen on '" + path + "'";
    struct stat there{};
    if (::lstat(path.c_str(), &there) == 0) {
        TURNOUT_TRY(check_for_socket(path));
        const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!probe) return system_failure(doing);
        if (::connect(probe.get(), as_sockaddr(at.raw), static_cast<socklen_t>(at.raw.size())) ==
                0 ||
            errno == EAGAIN)
            return fail(Code::FailedPrecondition, "SocketInUse",
                        doing + ": another process serves it");
        ::unlink(path.c_str());
    }
    return bind_unix(path, doing);
}

Result<Listening> listen_beside(const std::string& path) {
    TURNOUT_TRY(unix_address(path));
    TURNOUT_TRY(check_for_socket(path));
    const std::size_t folder = path.rfind('/') + 1;
    // Not longer than the name at `path`, so it fits wherever that one fits.
    const std::size_t length = std::clamp<std::size_t>(path.size() - folder, 1, 8);
    std::string beside = path.substr(0, folder);
    struct stat there{};
    for (int tries = 0; tries < kMostNames; ++tries) {
        std::uint64_t random = 0;
        if (::getrandom(&random, sizeof random, 0) != sizeof random) continue;
        beside.resize(folder);
        for (std::size_t i = 0; i < length; ++i, random /= 26)
            beside += static_cast<char>('a' + random % 26);
        if (::lstat(beside.c_str(), &there) != 0) break;
    }
    return bind_unix(beside, "cannot listen on '" + path + "'");
}

Result<void> move_unix_socket(const std::string& from, const std::string& path) {
    TURNOUT_TRY(check_for_socket(path));
    if (::rename(from.c_str(), path.c_str()) != 0)
        return system_failure("cannot listen on '" + path + "'");
    return {};
}

Result<Accepted> accept_one(int listening) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    Accepted out;
    out.socket = Fd(::accept4(listening, reinterpret_cast<sockaddr*>(&peer), &size,
                              SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!out.socket) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED)
            return fail(Code::Unavailable, "WouldBlock", "nobody is waiting");
        return system_failure("cannot accept a connection");
    }
    if (peer.ss_family != AF_UNIX) set_tcp_options(out.socket.get());
    out.loopback = is_loopback(peer);
    out.address = to_text(peer);
    return out;
}

Result<std::pair<Fd, Fd>> socket_pair() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return system_failure("cannot make a pair of sockets");
    return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Result<Fd> begin_connect(const SocketAddress& address) {
    Fd socket(::socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket) return system_failure("cannot connect to " + address.text);
    if (address.family != AF_UNIX) set_tcp_options(socket.get());
    if (::connect(socket.get(), as_sockaddr(address.raw),
                  static_cast<socklen_t>(address.raw.size())) != 0 &&
        errno != EINPROGRESS)
        return fail(Code::Unavailable, "ConnectFailed",
                    "cannot connect to " + address.text + ": " + std::strerror(errno));
    return socket;
}

Result<void> connect_result(int socket, const SocketAddress& address) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) return {};
    return fail(Code::Unavailable, "ConnectFailed",
                "cannot connect to " + address.text + ": " + std::strerror(error));
}

}  // namespace turnout::http
