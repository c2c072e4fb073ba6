#include "app/address.h"

namespace turnout {

std::string port_of(const std::string& address) {
    return address.substr(address.rfind(':') + 1);
}
std::string host_of(const std::string& address) {
    return address.substr(0, address.rfind(':'));
}

std::string without_brackets(const std::string& host) {
    return host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
}

bool is_everywhere(const std::string& host) {
    return host == "0.0.0.0" || host == "[::]";
}

bool is_this_machine_only(const std::string& host) {
    return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

std::string reached_here(const std::string& address) {
    const std::string host = host_of(address);
    if (!is_everywhere(host)) return address;
    return (host == "[::]" ? "[::1]:" : "127.0.0.1:") + port_of(address);
}

}  // namespace turnout
