// What a pool of a Slurm cluster says in its `settings`.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/time.h"
#include "resources/describe.h"

namespace turnout {

struct SlurmSettings {
    std::string folder;  // that the server and all compute nodes see under this path
    std::string config;  // of Slurm's programs, as SLURM_CONF; "": their usual one
    std::string partition, account, qos, constraint, gres;  // as sbatch's options; "": not said
    Span walltime{};     // of a pilot; 0: what the partition gives to who does not say
    std::string python;  // interpreter of jobs without an environment
    std::vector<std::pair<std::string, std::string>> variables;
};

// The names of `settings`, checked as a part of pools.yaml.
const resources::Description& slurm_settings();
// Of checked settings.
SlurmSettings read_slurm_settings(const Json& settings);

}  // namespace turnout
