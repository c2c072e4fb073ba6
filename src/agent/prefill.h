// The outputs of an attempt that is not the first: they begin with what the earlier ones wrote, so
// that a command that keeps its state there goes on where it was stopped.
#pragma once

#include "agent/server.h"
#include "agent/work.h"
#include "base/result.h"
#include "base/task.h"

namespace turnout::agent {

// Fetches outputs/ and the named outputs into the attempt's folder. What is not changed afterwards
// is not uploaded again. May be repeated.
Task<Result<void>> prefill_outputs(Server& server, WorkPtr work);
// Adds to `uploaded` what an earlier life of the agent fetched, as it was then.
void remember_prefilled(Work& work);

}  // namespace turnout::agent
