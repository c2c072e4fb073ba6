#include "protocol/versions.h"

#include <charconv>

namespace turnout::agent_protocol {

std::string to_text(const Speaks& speaks) {
    return std::to_string(speaks.oldest) + "-" + std::to_string(speaks.newest);
}

Speaks parse_speaks(std::string_view text) {
    constexpr Speaks kSilent{1, 1};
    Speaks speaks;
    const char* const end = text.data() + text.size();
    const auto oldest = std::from_chars(text.data(), end, speaks.oldest);
    if (oldest.ec != std::errc() || oldest.ptr == end || *oldest.ptr != '-') return kSilent;
    const auto newest = std::from_chars(oldest.ptr + 1, end, speaks.newest);
    if (newest.ec != std::errc() || newest.ptr != end || speaks.oldest < 1 ||
        speaks.newest < speaks.oldest)
        return kSilent;
    return speaks;
}

std::string why_refused(int version, std::string_view build, const Speaks& server) {
    const std::string spoken =
        server.oldest == server.newest
            ? "version " + std::to_string(server.newest)
            : "versions " + std::to_string(server.oldest) + " to " + std::to_string(server.newest);
    return "its agent" + (build.empty() ? "" : " (build " + std::string(build) + ")") +
           " speaks version " + std::to_string(version) +
           " of the agent protocol and this server " + spoken + ": it is too " +
           (version < server.oldest ? "old" : "new") +
           " to be given work, and the node needs an agent of this server's build";
}

}  // namespace turnout::agent_protocol
