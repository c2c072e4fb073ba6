// How many processes a job is, on how many nodes, and how soon: `resources`, `distribution` and
// `queueSettings` of a command job, or of a sweep's trial.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "spec/agent_protocol.h"

namespace turnout::api::arm {

// Node count, shared memory, and the processes of the distribution, into the task.
Result<void> read_processes(const Json& resources, const Json& distribution,
                            agent_protocol::TaskSpec& task);
// Whether so many nodes can ever be had at a time: the compute's most, and the pool's slots.
Result<void> check_node_count(int wanted, const std::string& compute, int most, int slots);
// A job on a cluster gets its nodes as they are.
Result<void> check_instance_type(const Json& resources, const std::string& compute,
                                 const std::string& vm_size);
// Azure's low, medium and high (1, 2, 3) as -1, 0 and 1.
Result<int> read_priority(const Json& queue_settings);

}  // namespace turnout::api::arm
