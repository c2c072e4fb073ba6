// A sweep as its definition says it, read once. Its trials are one command job under a stand-in for
// their names, which each trial replaces by its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/sweep.h"
#include "submission/command_job.h"

namespace turnout::submission {

struct SweepJob {
    Sweep sweep;
    JobMetaChange meta;
    std::optional<CommandJob> trial;  // nothing: it could not be read
    bool own_resources = false;       // they are said of the trial
};

// Reads on behind what is wrong, as `read_command_job` does, and into the trial where there is one.
std::optional<SweepJob> read_sweep_job(const Json& properties, const std::string& name,
                                       std::vector<Error>& problems);

// A problem of the trial's command job, at the place where the client wrote it.
Error in_trial(Error error, bool own_resources);

}  // namespace turnout::submission
