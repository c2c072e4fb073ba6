// Which words server and agent use with each other. An upgrade of the server meets agents of the
// build before, since nodes survive a restart; a server that is taken back meets newer ones.
//
// N is the version of a build, kVersion. It changes when a message says something else by the same
// words, or the same by other words, or more that must not be ignored; another member is no new
// version, since unknown ones are ignored. Each build speaks N and N-1, and back to kOldestVersion,
// so two builds that follow each other understand each other whichever of them is the server.
//
//   * The server says what it speaks with its answer to the agent's request for a link, in the
//     header kVersionsHeader; a server that says nothing speaks 1.
//   * The agent takes the newest version that both speak, says its Hello in it, and all that
//     follows. `Hello.protocol` names it. Where words differ between versions is said in one place,
//     the description of that message (descriptions.h).
//   * An agent that has no version in common with the server says Hello in its own nearest one. Of
//     such a Hello only `protocol`, `build` and `node` are read, which no version may change. The
//     server refuses it by a sentence that is seen in the events, at the node and in `explain`; it
//     is told nothing, so it counts as without contact from then on. A node with nothing on it is
//     let go at once. One that runs something keeps it: the provider is asked for an agent there,
//     and one that can puts its own in the place of the other, which takes over what runs (the
//     journal's format is frozen); where that does not happen the node is lost after its lost-node
//     time, as any that is out of reach, and its jobs begin anew elsewhere.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

namespace turnout::agent_protocol {

// 2: the Hello has `facts` in place of `cores` and `memory_bytes`; a task may be a service.
// 3: a task may name secrets, and its lease brings them.
// 4: the server may ask for a connection to a service's port (Reach).
inline constexpr int kVersion = 4;
inline constexpr int kOldestVersion = 1;
inline constexpr int kServicesSince = 2;  // an agent of an earlier one knows no services
inline constexpr int kSecretsSince = 3;   // … and no secrets
inline constexpr int kReachSince = 4;     // … and cannot be asked for connections
inline constexpr std::string_view kVersionsHeader = "Turnout-Agent-Protocol";

struct Speaks {
    int oldest = kOldestVersion;
    int newest = kVersion;
    bool has(int version) const { return version >= oldest && version <= newest; }
    bool operator==(const Speaks&) const = default;
};

std::string to_text(const Speaks& speaks);  // "1-2"
// What a header says; "" and what cannot be read: of a server that says nothing.
Speaks parse_speaks(std::string_view text);

// The newest that both speak.
inline std::optional<int> common_version(const Speaks& a, const Speaks& b) {
    const int newest = std::min(a.newest, b.newest);
    if (newest < std::max(a.oldest, b.oldest)) return std::nullopt;
    return newest;
}
// What an agent says its Hello in.
inline int version_of_hello(const Speaks& agent, const Speaks& server) {
    if (const auto both = common_version(agent, server)) return *both;
    return agent.oldest > server.newest ? agent.oldest : agent.newest;
}

// Why an agent of that version is not spoken with, for people.
std::string why_refused(int version, std::string_view build, const Speaks& server);

}  // namespace turnout::agent_protocol
