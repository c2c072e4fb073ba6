// `variables` of a pool's settings: of the environment of its agents.
#pragma once

#include <string>

#include "base/json.h"
#include "resources/describe.h"

namespace turnout {

// Refuses what is no variable's name. `value`: the settings, which are at `pointer`.
void check_variables(resources::Reading& reading, const std::string& pointer, const Json& value);

}  // namespace turnout
