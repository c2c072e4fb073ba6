// How to get `uv` where it is not.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "environment/settings.h"

namespace turnout::environment {

// Blocking, once per folder: the newest wheel of uv for this machine from the package index that is
// configured for uv or pip, checked by the index's hash; the program becomes settings.beside/uv.
// Returns its path. FailedPrecondition says why it cannot be had, and what to do instead; so does
// Unavailable, after several tries, of what may pass.
Result<std::string> fetch_uv(const Settings& settings,
                             const std::function<void(std::string_view)>& log,
                             const std::atomic<bool>& cancel);

}  // namespace turnout::environment
