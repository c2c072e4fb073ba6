// What could never run, or could not be told to a node, is refused where it is asked for.
#pragma once

#include "base/json.h"
#include "base/result.h"
#include "protocol/agent_protocol.h"

namespace turnout::submission {

// The sizes of a job's values, and what its command becomes with them as far as that is known.
Result<void> check_limits(const agent_protocol::TaskSpec& task);
// The same of the values that a sweep tries.
Result<void> check_sweep_limits(const Json& properties);

}  // namespace turnout::submission
