// The cache that the nodes of a machine share: code snapshots and inputs, each a folder that is
// whole as soon as it is there.
#pragma once

#include <string>

#include "base/result.h"

namespace turnout::agent {

// Whether it is there, and whole.
bool is_cached(const std::string& folder);
// The same, for an attempt that goes on to use it: as long as the attempt's folder is there, nobody
// takes it out of the cache (see provider/local/cache.h).
Result<bool> use_cached(const std::string& folder, const std::string& attempt_folder);
// Moves what was `built` beside it into its place. If another node was faster, its folder stays,
// since tasks may be reading it, and `built` goes.
Result<void> put_in_cache(const std::string& built, const std::string& folder);

}  // namespace turnout::agent
