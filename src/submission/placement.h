// How many processes a job is, on how many nodes, and how soon: `resources`, `distribution` and
// `queueSettings` of a command job, or of a sweep's trial.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "base/result.h"

namespace turnout::submission {

struct Processes {
    int node_count = 1;
    std::int64_t shm_size_bytes = 0;  // 0: none of its own
    // How the command is started more than once, as a task says it.
    std::string distribution;
    int processes = 1;
    int worker_count = 0;
    int parameter_servers = 0;
};
Result<Processes> read_processes(const Json& resources, const Json& distribution);
// Whether so many nodes can ever be had at a time: the compute's most, and the pool's slots.
Result<void> check_node_count(int wanted, const std::string& compute, int most, int slots);
// A job on a cluster gets its nodes as they are.
Result<void> check_instance_type(const std::string& wanted, const std::string& compute,
                                 const std::string& vm_size);
// Azure's low, medium and high (1, 2, 3) as -1, 0 and 1.
Result<int> read_priority(const Json& queue_settings);

}  // namespace turnout::submission
