#include "protocol/surroundings.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace turnout::agent_protocol {

bool allowed_variable(std::string_view name) {
    static constexpr std::array kExact = {"PATH",
                                          "HOME",
                                          "USER",
                                          "LOGNAME",
                                          "LANG",
                                          "LANGUAGE",
                                          "TZ",
                                          "SHELL",
                                          "http_proxy",
                                          "https_proxy",
                                          "no_proxy",
                                          "all_proxy",
                                          "HTTP_PROXY",
                                          "HTTPS_PROXY",
                                          "NO_PROXY",
                                          "ALL_PROXY",
                                          "SSL_CERT_FILE",
                                          "SSL_CERT_DIR",
                                          "REQUESTS_CA_BUNDLE",
                                          "CURL_CA_BUNDLE",
                                          "TURNOUT_UV",
                                          "TURNOUT_HOMES",
                                          "PYENV_ROOT"};
    for (const char* exact : kExact)
        if (name == exact) return true;
    return name.starts_with("LC_") || name.starts_with("PIP_") || name.starts_with("UV_");
}

bool neutral_variable(std::string_view name) {
    static constexpr std::array<std::string_view, 4> kExact = {"PATH", "LANG", "LANGUAGE", "TZ"};
    return name.starts_with("LC_") || std::ranges::find(kExact, name) != kExact.end();
}

}  // namespace turnout::agent_protocol
