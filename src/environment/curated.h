// The curated environments of the `azureml` registry by their names, each with its declared modern
// equivalent: which packages a node installs for it, on any Python >= 3.10 of the machine. They
// stand in curated.yml.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/agent_protocol.h"

namespace turnout::environment {

struct Curated {
    std::string name;         // "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu"
    std::string description;  // one sentence, for listings
    std::string image;        // as Azure's definition names it
    int versions = 1;         // "1" … this; label "latest" is the last one
    std::vector<std::string> requirements;
    std::string notice;   // "" if it is what its name says
    std::string refused;  // why it cannot be had; "" if it can
};

// Those that can be had, in the order in which listings show them.
std::span<const Curated> curated_environments();
// Without regard to case, and to the prefix "AzureML-".
const Curated* find_curated(std::string_view name);
// InvalidArgument with the reason if Azure has one of that name that cannot be had here.
Result<void> check_curated(std::string_view name);

// `version`: "1" … "N", or "latest" or "" for the last. NotFound names what exists and the nearest.
Result<agent_protocol::TaskEnvironment> resolve_curated(std::string_view name,
                                                        std::string_view version);

}  // namespace turnout::environment
