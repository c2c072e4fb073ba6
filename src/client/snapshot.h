// What of a folder goes to the server, and its fingerprint: the same files and the same hashes as
// Azure's SDK takes, so that either finds again what the other has uploaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "client/ignore.h"

namespace turnout::client {

struct SnapshotFile {
    std::string path;      // to open
    std::string relative;  // name in the snapshot, with '/'
    std::uint64_t size = 0;
};

struct Snapshot {
    std::string root;  // absolute, resolved
    std::string name;  // its last part
    std::vector<SnapshotFile> files;
    std::uint64_t bytes = 0;
    bool single_file = false;
};

// The files of a folder (or the one file) after the ignore rules in its root. A link to a file or
// folder inside is followed; one that points outside, or to nothing, is refused, as are pipes,
// sockets and names that are not UTF-8. An empty folder is refused.
Result<Snapshot> take_snapshot(const std::string& path);

// Of a code asset ("hashVersion" 202208): count, names and sizes, then contents.
Result<std::string> content_hash(const Snapshot& snapshot);

// Of data, models and build contexts: names and contents, folder by folder.
Result<std::string> object_hash(const std::string& path);

}  // namespace turnout::client
