#include "fetch/addresses.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/text.h"

namespace turnout::fetch {
namespace {

struct Network {
    const char* network;
    int bits;
    const char* what;
    bool link_local = false;  // also for a name that a person has allowed
};

// The registries of special addresses (RFC 6890 and its successors), and where clouds serve the
// credentials of a machine.
constexpr Network kSpecial4[] = {
    {"169.254.169.254", 32, "the address where clouds serve a machine's credentials", true},
    {"168.63.129.16", 32, "the address of Azure's own services for a machine", true},
    {"0.0.0.0", 8, "an unspecified address"},
    {"10.0.0.0", 8, "a private address"},
    {"100.64.0.0", 10, "a shared address (carrier-grade NAT)"},
    {"127.0.0.0", 8, "a loopback address"},
    {"169.254.0.0", 16, "a link-local address", true},
    {"172.16.0.0", 12, "a private address"},
    {"192.0.0.0", 24, "a reserved address"},
    {"192.0.2.0", 24, "an address for documentation"},
    {"192.88.99.0", 24, "a reserved address"},
    {"192.168.0.0", 16, "a private address"},
    {"198.18.0.0", 15, "an address for benchmarks"},
    {"198.51.100.0", 24, "an address for documentation"},
    {"203.0.113.0", 24, "an address for documentation"},
    {"224.0.0.0", 4, "a multicast address"},
    {"240.0.0.0", 4, "a reserved address"},
};
constexpr Network kSpecial6[] = {
    {"fd00:ec2::254", 128, "the address where clouds serve a machine's credentials", true},
    {"fd20:ce::254", 128, "the address where clouds serve a machine's credentials", true},
    {"::", 128, "an unspecified address"},
    {"::1", 128, "a loopback address"},
    {"fc00::", 7, "a private address"},
    {"fe80::", 10, "a link-local address", true},
    {"ff00::", 8, "a multicast address"},
    {"2001::", 23, "a reserved address"},
    {"2001:db8::", 32, "an address for documentation"},
    {"3fff::", 20, "an address for documentation"},
};

bool is_in(std::string_view ip, std::string_view network, int bits) {
    if (ip.size() != network.size()) return false;
    for (std::size_t i = 0; i < ip.size() && bits > 0; ++i, bits -= 8) {
        const unsigned mask = bits >= 8 ? 0xFFu : 0xFFu << (8 - bits) & 0xFFu;
        if ((static_cast<unsigned char>(ip[i]) & mask) !=
            (static_cast<unsigned char>(network[i]) & mask))
            return false;
    }
    return true;
}

// The IPv4 address that an IPv6 one leads to.
std::optional<std::string_view> inner_ipv4(std::string_view ip) {
    if (ip.size() != 16) return std::nullopt;
    static const Ip mapped = *parse_ip("::ffff:0:0"), translated = *parse_ip("64:ff9b::"),
                    local = *parse_ip("64:ff9b:1::"), six_to_four = *parse_ip("2002::"),
                    siit = *parse_ip("::ffff:0:0:0"), compatible(16, '\0');
    if (is_in(ip, mapped, 96) || is_in(ip, translated, 96) || is_in(ip, siit, 96) ||
        is_in(ip, local, 48) || is_in(ip, compatible, 96))
        return ip.substr(12);
    if (is_in(ip, six_to_four, 16)) return ip.substr(2, 4);
    return std::nullopt;
}

const Network* special(std::string_view ip) {
    const auto within = [&](const Network& one) {
        return is_in(ip, *parse_ip(one.network), one.bits);
    };
    if (ip.size() == 4) {
        const auto* found = std::ranges::find_if(kSpecial4, within);
        return found == std::end(kSpecial4) ? nullptr : found;
    }
    const auto* found = std::ranges::find_if(kSpecial6, within);
    if (found != std::end(kSpecial6)) return found;
    if (const auto inner = inner_ipv4(ip)) return special(*inner);
    static constexpr Network kOther{"::", 0, "an address that is not of the public internet"};
    return is_in(ip, *parse_ip("2000::"), 3) ? nullptr : &kOther;
}

bool usual(std::uint16_t port) {
    return port == 80 || port == 443;
}

}  // namespace

std::optional<Ip> parse_ip(std::string_view text) {
    const std::string zero_ended(text);
    Ip ip(16, '\0');
    if (text.find('\0') != std::string_view::npos) return std::nullopt;
    if (inet_pton(AF_INET6, zero_ended.c_str(), ip.data()) == 1) return ip;
    ip.resize(4);
    if (inet_pton(AF_INET, zero_ended.c_str(), ip.data()) == 1) return ip;
    return std::nullopt;
}

std::string ip_text(std::string_view ip) {
    char text[INET6_ADDRSTRLEN] = "";
    if (ip.size() == 4 || ip.size() == 16)
        inet_ntop(ip.size() == 4 ? AF_INET : AF_INET6, ip.data(), text, sizeof text);
    return text;
}

std::optional<std::string> not_public(std::string_view ip) {
    if (ip.size() != 4 && ip.size() != 16) return "no address";
    const Network* found = special(ip);
    if (!found) return std::nullopt;
    return found->what;
}

Result<Allowed> Allowed::parse(std::string_view text) {
    Allowed allowed;
    const auto refuse = [&] {
        return invalid("'" + std::string(text.substr(0, 100)) +
                       "' is not HOST, HOST:PORT or HOST:* (the host may be a name, an address or "
                       "a network such as 10.0.0.0/8; IPv6 goes into brackets)");
    };
    std::string_view host = text, port;
    if (host.starts_with('[')) {
        const std::size_t end = host.find(']');
        if (end == std::string_view::npos) return refuse();
        port = host.substr(end + 1);
        host = host.substr(1, end - 1);
        if (!port.empty() && !port.starts_with(':')) return refuse();
        if (!port.empty()) port.remove_prefix(1);
        if (port.empty() && text.ends_with(':')) return refuse();
    } else if (const std::size_t colon = host.find(':');
               colon != std::string_view::npos &&
               host.find(':', colon + 1) == std::string_view::npos) {
        port = host.substr(colon + 1);
        host = host.substr(0, colon);
        if (port.empty()) return refuse();
    }
    if (port == "*") {
        allowed.any_port_ = true;
    } else if (!port.empty()) {
        const auto number = parse_whole_number(port);
        if (!number || *number < 1 || *number > 65'535) return refuse();
        allowed.port_ = static_cast<std::uint16_t>(*number);
    }
    const std::size_t slash = host.find('/');
    if (const auto ip = parse_ip(host.substr(0, slash))) {
        allowed.network_ = *ip;
        allowed.bits_ = static_cast<int>(ip->size()) * 8;
        if (slash != std::string_view::npos) {
            const auto bits = parse_whole_number(host.substr(slash + 1));
            if (!bits || *bits < 0 || *bits > allowed.bits_) return refuse();
            allowed.bits_ = static_cast<int>(*bits);
        }
        return allowed;
    }
    allowed.name_ = to_lower(host);
    if (allowed.name_.empty() ||
        allowed.name_.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") !=
            std::string::npos)
        return refuse();
    return allowed;
}

bool Allowed::opens(std::string_view host, std::uint16_t port, std::string_view ip) const {
    if (!any_port_ && !(port_ ? *port_ == port : usual(port))) return false;
    if (name_.empty()) return is_in(ip, network_, bits_);
    const Network* found = special(ip);
    return equal_ignoring_case(name_, host) && !(found && found->link_local);
}

Result<void> Reach::check(const std::string& host, std::uint16_t port, std::string_view ip) const {
    if (std::ranges::any_of(allowed_,
                            [&](const Allowed& one) { return one.opens(host, port, ip); }))
        return {};
    const auto special_kind = not_public(ip);
    if (!special_kind && usual(port)) return {};
    const std::string shown = ip_text(ip),
                      named = host == shown ? shown : host + " (" + shown + ")";
    const std::string open = (ip.size() == 16 ? "[" + shown + "]" : shown) +
                             (usual(port) ? "" : ":" + std::to_string(port));
    std::string why =
        special_kind ? named + " is " + *special_kind
                     : "port " + std::to_string(port) + " of " + named + " is neither 80 nor 443";
    return fail(Code::PermissionDenied, "AddressNotAllowed",
                why +
                    ", and the server fetches nothing from there: whoever runs it can open it with "
                    "`turnout up --allow-fetch " +
                    open + "`",
                host);
}

}  // namespace turnout::fetch
