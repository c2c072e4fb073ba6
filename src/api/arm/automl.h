// AutoML jobs: what their children are told to do, looked up when they are submitted; and the
// program that each of them runs, which is a part of this executable.
#pragma once

#include "api/api.h"
#include "api/arm/job_lookup.h"
#include "base/json.h"
#include "base/result.h"
#include "control/control.h"

namespace turnout::api::arm {

Result<JobSubmission> resolve_automl(const Lookup& lookup, JobType type, const Json& properties);
void show_automl(const JobRecord& job, Json& properties, Json& own);

// What a child of an AutoML job has in its environment beside what its definition says: the modules
// of python/automl, a variable each. Nothing of other jobs.
void add_automl_program(const JobRecord& child, agent_protocol::TaskSpec& task);

}  // namespace turnout::api::arm
