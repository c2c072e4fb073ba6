// The curated environments of the `azureml` registry by their names, each with its declared modern
// equivalent: which packages a node installs for it, on any Python >= 3.10 of the machine.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "spec/agent_protocol.h"

namespace turnout::environment {

struct Curated {
    std::string_view name;         // "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu"
    std::string_view description;  // one sentence, for listings
    std::string_view image;        // as Azure's definition names it
    int versions = 1;              // "1" … this; label "latest" is the last one
    std::vector<std::string> requirements;
    std::string_view notice;  // "" if it is what its name says
};

// In the order in which listings show them.
std::span<const Curated> curated_environments();
// Without regard to case, and to the prefix "AzureML-".
const Curated* find_curated(std::string_view name);

// `version`: "1" … "N", or "latest" or "" for the last. NotFound names what exists and the nearest.
Result<agent_protocol::TaskEnvironment> resolve_curated(std::string_view name,
                                                        std::string_view version);

}  // namespace turnout::environment
