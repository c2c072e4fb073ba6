// The cache that the nodes of this machine share (code snapshots, inputs, environments,
// interpreters), as the server sees it: how large it is, and how it gives space back. All of it
// blocks.
//
// A task that uses a snapshot or an input has the name in a file `uses` of its attempt's folder,
// written under the lock of that part of the cache; an environment is locked as long as it is used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace turnout {

struct CachedFolder {
    std::string kind;  // "inputs" "code" "environments" "pythons" "unfinished"
    std::string path;
    std::string label;             // for people: the environment's name
    std::uint64_t bytes = 0;       // on the disk; what several have in common counts for the first
    std::uint64_t frees = 0;       // if it goes
    std::int64_t used_micros = 0;  // last
    bool in_use = false;
};

class LocalCache {
public:
    LocalCache(std::string cache_folder, std::string nodes_folder)
        : cache_(std::move(cache_folder)), nodes_(std::move(nodes_folder)) {}

    // The one unused for longest first. `sizes`: counts bytes, which takes long where there are
    // many files.
    std::vector<CachedFolder> list(bool sizes) const;
    // Removes it unless it is in use by now; false if it is, or is gone.
    Result<bool> remove(const CachedFolder& folder) const;
    // Removes what an interrupted removal left.
    void finish_removals() const;
    // Down to so many bytes, the longest unused first. What went.
    std::vector<CachedFolder> shrink(std::uint64_t limit) const;

private:
    std::vector<std::string> uses() const;
    bool agents_run() const;

    std::string cache_, nodes_;
};

// Bytes on the disk of a folder with all in it; what has several names counts once. `skip`: the
// path of a folder beneath it that does not count.
std::uint64_t space_of(const std::string& path, const std::string& skip = {});
// The same for several, one after another: what the earlier ones have does not count again.
std::vector<std::uint64_t> spaces_of(const std::vector<std::string>& paths);

}  // namespace turnout
