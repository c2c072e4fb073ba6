// Where `uv` is, the program that builds environments; and how to get it where it is not.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "environment/prepare.h"

namespace turnout::environment {

// setting, else TURNOUT_UV of settings.environment, else beside the agent or server, else in the
// `.venv` beside its folder, else PATH. "" if absent.
std::string find_uv(const Settings& settings);

// Puts the server's finding where its agents look: a link `bin`/uv. What was found once, or was
// fetched, stays known when it is not found again. The path that agents will use, or "".
std::string remember_uv(const std::string& bin, const Settings& settings);

// Blocking, once per folder: the newest wheel of uv for this machine from the package index that is
// configured for uv or pip, checked by the index's hash; the program becomes settings.beside/uv.
// Returns its path. FailedPrecondition says why it cannot be had, and what to do instead.
Result<std::string> fetch_uv(const Settings& settings,
                             const std::function<void(std::string_view)>& log,
                             const std::atomic<bool>& cancel);

}  // namespace turnout::environment
