// What takes space on this machine beside the store's content: the nodes' cache, running attempts,
// the database's files. Implemented by app/.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace turnout {

// Kinds: "inputs", "code", "environments", "pythons", "unfinished" (what a build that ended left).
struct KeptThing {
    std::string kind;
    std::string name;         // the folder's
    std::string label;        // for people
    std::uint64_t bytes = 0;  // on the disk; what several have in common counts for the first
    std::uint64_t frees = 0;  // if it goes: what no other name on the disk has
    Instant used{};           // last
    bool in_use = false;      // now, by a task
};

struct MachineSpace {
    std::vector<KeptThing> cache;  // the one unused for longest first
    std::uint64_t running =
        0;  // folders of nodes: what tasks have written there and is not uploaded
    std::uint64_t database = 0;
    std::uint64_t database_copies = 0;  // made before an upgrade
    std::uint64_t reserve = 0;          // kept for when the disk is full
    std::uint64_t packages =
        0;  // the cache of uv, elsewhere, beyond what environments share with it
    std::string packages_folder;
    std::uint64_t disk = 0, disk_free = 0;  // of the data folder
};

class Space {
public:
    template <class T>
    using Reply = std::function<void(Result<T>)>;
    virtual ~Space() = default;

    virtual void measure(Reply<MachineSpace> reply) = 0;
    struct Eviction {
        std::vector<std::string> kinds;
        Instant before{};  // what was not used since then goes, if nothing uses it now
        // Beyond that what was not used for longest goes until those kinds take no more than that.
        std::uint64_t down_to = UINT64_MAX;
        bool dry_run = false;
    };
    // What went, or would go.
    virtual void evict(Eviction what, Reply<std::vector<KeptThing>> reply) = 0;

    // What the operator says about all that: see api/upkeep/retention.h.
    struct RetentionFile {
        std::string path;
        std::optional<std::string> text;  // nothing: there is no such file
        std::uint64_t disk = 0;           // bytes, of the data folder's
    };
    virtual void read_retention(Reply<RetentionFile> reply) = 0;
};

}  // namespace turnout
