// Pools: where computes get their nodes from. `location` of a compute names one;
// `<data>/pools.yaml` describes them. Without that file there is one, this machine.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"

namespace turnout {

namespace resources {
struct Description;
}

// The one that is always there: what names no other is meant for it.
inline constexpr std::string_view kDefaultPool = "local";
inline constexpr int kMostSlots = 10'000;

// What the image of an environment means on its nodes.
enum class ImagePolicy {
    Host,   // nothing: the interpreter is the machine's own
    Engine  // the node is a container of it
};
std::string_view name_of(ImagePolicy policy);

// What keeps the tasks of one workspace from those of another on the same machine.
enum class Isolation {
    SharedUid,           // nothing: all run as one user, the pool is one trust domain
    WorkspaceUid,        // each workspace has a user of the machine; where the server is root
    WorkspaceNamespaces  // its nodes see nothing but what is their workspace's; where the server is
                         // root, as a user of its own, too
};
// Whether each workspace has folders, and a way to the server, of its own.
inline bool is_apart(Isolation level) {
    return level != Isolation::SharedUid;
}
std::string_view name_of(Isolation level);

// What an hour of one of its nodes costs, by tier, where its compute does not say; the unit is the
// user's own.
struct Prices {
    std::optional<double> dedicated, low_priority;
    bool operator==(const Prices&) const = default;
};

struct Pool {
    std::string name;
    std::string provider = "local";       // how its nodes are had: a folder of src/provider
    Json settings = Json::object();       // the provider's own; it reads them
    std::optional<int> slots;             // nodes it has room for; nothing: its provider's number
    std::optional<Span> lost_node_after;  // nothing: the server's
    ImagePolicy image = ImagePolicy::Host;
    Isolation isolation = Isolation::SharedUid;
    Prices price;
    bool operator==(const Pool&) const = default;
};

// Of which pools can be, and what each has to say in `settings`.
struct PoolProvider {
    std::string name;
    const resources::Description& settings;
    bool one_machine = false;  // all its pools are on it: how it is divided is said
    bool images = false;       // its nodes are containers: an image is what it says
};

// What a pools.yaml says, with the default pool, which may be left out, first. What is wrong is
// told all at once, each with its place, and what was expected there.
Result<std::vector<Pool>> read_pools(std::string_view text, const std::string& file,
                                     std::span<const PoolProvider> providers);

}  // namespace turnout
