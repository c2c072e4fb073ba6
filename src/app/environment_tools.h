// What builds environments, as far as it is found where `turnout up` was called: the environment
// of this process is looked at here, once, at the start.
#pragma once

#include <string>

#include "app/instance.h"
#include "base/result.h"
#include "io/loop.h"

namespace turnout {

// Finds uv, and leaves it beside the agents' executable: they look there, in this life of the
// server and in the next ones. `wanted`: a program, "" = where there is one, see ServerOptions.
// InvalidArgument, reason "NoUv": there is no such program.
Result<void> provide_uv(const Instance& instance, const std::string& wanted);

// Which Pythons can be had is known when a job is submitted. Programs have to run for that, which
// is for an agent's executable to do; it is waited for apart from the loop.
void survey_pythons(Loop& loop, const Instance& instance);

}  // namespace turnout
