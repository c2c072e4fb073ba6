// A container for one job (`compute: containerinstance`), as the job's resources say it:
// `properties.container_instance`. Where it can be had is the server's to know.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace turnout::submission {

struct InstanceSaid {
    std::string region;  // "" if none is named
    int cores = 1;
    double memory_gb = 4;
};
// Whether a computeId means that: its last part, in any case.
bool names_container_instance(std::string_view compute_id);
inline constexpr std::string_view kInstancePlace = "resources.properties.container_instance";
Result<InstanceSaid> read_container_instance(const Json& resources);

}  // namespace turnout::submission
