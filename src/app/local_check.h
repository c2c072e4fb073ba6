// What a pool of this machine is like: asked of the agent that its nodes have, so that it is known
// to start.
#pragma once

#include <string>

#include "base/json.h"
#include "base/task.h"
#include "io/loop.h"

namespace turnout {

// A list of one, as ServerPools::Hosts::check says it. `folder`: where its nodes are.
Task<Json> check_this_machine(Loop& loop, std::string agent, std::string folder);

}  // namespace turnout
