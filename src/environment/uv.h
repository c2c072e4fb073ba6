// Where `uv` is, the program that builds environments.
#pragma once

#include <string>

#include "environment/settings.h"

namespace turnout::environment {

// setting, else TURNOUT_UV of settings.environment, else beside the agent or server, else in the
// `.venv` beside its folder, else PATH. "" if absent.
std::string find_uv(const Settings& settings);

// Puts the server's finding where its agents look: a link `bin`/uv. What was found once, or was
// fetched, stays known when it is not found again. The path that agents will use, or "".
std::string remember_uv(const std::string& bin, const Settings& settings);

}  // namespace turnout::environment
