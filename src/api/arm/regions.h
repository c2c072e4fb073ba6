// Where a `location` is: a pool of this server by its name. Azure's regions that are no pool mean
// the default one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout::api::arm {

// The region as ARM writes it ("westus" for "West US"). Ok for "", "local" and Azure's regions;
// else InvalidArgument with the nearest one.
Result<std::string> checked_location(std::string_view location);

struct Location {
    std::string name;  // as ARM writes it
    std::string pool;
};
// Ok for the names of `pools` and for what `checked_location` takes; else the same with the nearest
// pool or region.
Result<Location> find_location(std::string_view location, const std::vector<std::string>& pools);

}  // namespace turnout::api::arm
