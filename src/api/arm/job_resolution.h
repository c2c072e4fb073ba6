// From the definition of a job to what a node is told to do: what it says by itself
// (submission/job.h), and what it names, looked up here. What is not there is refused, with the
// nearest thing that is.
#pragma once

#include <string>
#include <string_view>

#include "api/api.h"
#include "base/json.h"
#include "base/result.h"
#include "catalog/catalog.h"
#include "control/control.h"

namespace turnout::api::arm {

// The part of a job's "properties" that never changes, in the one form in which two of them can be
// compared: without what may change later, what the server adds, nulls and empty members.
// InvalidArgument if computeId cannot be read.
Result<Json> job_definition(const Json& properties, const Workspace& workspace);

// A new job; of a sweep, `task` is that of its trials. `task.mlflow_experiment_id` and
// AZUREML_EXPERIMENT_ID are still to be set.
Result<JobSubmission> resolve_job(Services& services, const Call& call, const Workspace& workspace,
                                  const std::string& name, const Json& properties);

// The same of each kind: what `resolve_job` does not set of any.
struct Lookup;
Result<JobSubmission> resolve_command(const Lookup& lookup, JobType type, const Json& properties);
Result<JobSubmission> resolve_sweep(const Lookup& lookup, JobType type, const Json& properties);
// A command job that is a step of a group of that type.
Result<JobSubmission> resolve_step_said(const Lookup& lookup, JobType group,
                                        const Json& properties);

}  // namespace turnout::api::arm
