// From the definition of a command job to what a node is told to do. Whatever can never run is
// refused here, with the reason and the nearest thing that exists.
#pragma once

#include <string>
#include <string_view>

#include "api/api.h"
#include "base/json.h"
#include "base/result.h"
#include "control/assets.h"
#include "control/control.h"

namespace turnout::api::arm {

// The part of a job's "properties" that never changes, in the one form in which two of them can be
// compared: without what may change later, what the server adds, nulls and empty members.
// InvalidArgument if computeId cannot be read.
Result<Json> job_definition(const Json& properties, const Workspace& workspace);

// What may change later. Absent names get their defaults.
JobMeta job_meta(const Json& properties, std::string_view name);

// Properties of a job that are this server's to write: what a client sends under these names is
// dropped.
bool is_own_property(std::string_view name, JobType type);

// Name of the compute that computeId means; "serverless" if it is absent or "local".
Result<std::string> job_compute(const Json& properties, const Workspace& workspace);

// A new job; of a sweep, `task` is that of its trials. `task.mlflow_experiment_id` and
// AZUREML_EXPERIMENT_ID are still to be set.
Result<JobSubmission> resolve_sweep(Services& services, const Call& call,
                                    const Workspace& workspace, const std::string& name,
                                    const Json& properties);
Result<JobSubmission> resolve_job(Services& services, const Call& call, const Workspace& workspace,
                                  const std::string& name, const Json& properties);

}  // namespace turnout::api::arm
