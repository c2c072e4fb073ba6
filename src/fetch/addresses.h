// To which addresses the server may connect to fetch something. It is asked with the address that
// is really connected to, so a name that leads somewhere else the next time gains nothing.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::fetch {

// 4 or 16 bytes, in the order of the network.
using Ip = std::string;

std::optional<Ip> parse_ip(std::string_view text);
std::string ip_text(std::string_view ip);

// What kind of address that is, if it is none of the public internet: "a loopback address". IPv4
// within IPv6 counts as what it leads to.
std::optional<std::string> not_public(std::string_view ip);

// What a person has opened: "HOST", "HOST:PORT", "HOST:*", the host being a name, an address or a
// network such as 10.0.0.0/8. Without a port it is 80 and 443.
class Allowed {
public:
    static Result<Allowed> parse(std::string_view text);
    bool opens(std::string_view host, std::uint16_t port, std::string_view ip) const;

private:
    std::string name_;  // "" = a network
    Ip network_;
    int bits_ = 0;
    std::optional<std::uint16_t> port_;
    bool any_port_ = false;
};

// Public addresses on the ports 80 and 443, and what is allowed besides.
class Reach {
public:
    Reach() = default;
    explicit Reach(std::vector<Allowed> allowed) : allowed_(std::move(allowed)) {}
    // PermissionDenied says what it is and how it can be opened.
    Result<void> check(const std::string& host, std::uint16_t port, std::string_view ip) const;

private:
    std::vector<Allowed> allowed_;
};

}  // namespace turnout::fetch
