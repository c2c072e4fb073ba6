// Azure's regions by name. All of them mean the default pool: this machine.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace turnout::api::arm {

// The region as ARM writes it ("westus" for "West US"). Ok for "", "local" and Azure's regions;
// else InvalidArgument with the nearest one.
Result<std::string> checked_location(std::string_view location);

}  // namespace turnout::api::arm
