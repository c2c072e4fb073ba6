// What the definition of a job names, looked up: each refused with the nearest thing that is there.
#pragma once

#include <string>

#include "api/api.h"
#include "base/result.h"
#include "model/job_kind.h"
#include "submission/draft.h"

namespace turnout::api::arm {

// What one job is resolved with.
struct Lookup {
    Services& services;
    const Call& call;
    const Workspace& workspace;
    const std::string& job;
    // Of a step of a pipeline that is looked at before it can run: its inputs that are outputs of
    // the pipeline's other steps, which are not there yet.
    bool outputs_to_come = false;
    // It is what stays up on its compute instance: not told that that is off.
    bool own_service = false;
};

// Where its data lies and goes to, into the task (job_places.cc).
Result<void> place_inputs(const Lookup& lookup, submission::Draft& draft);
Result<void> place_outputs(const Lookup& lookup, submission::Draft& draft);

// Whether that blob, or anything beneath that folder, exists; and which of the two it is.
enum class Found { Nothing, File, Folder };
Result<Found> look(const Lookup& lookup, const std::string& container, const std::string& path);

// Its code, the environment (with the notices that the task has), and the limits of the compute
// that it runs on, into the task (job_lookup.cc).
Result<void> find_code(const Lookup& lookup, submission::Draft& draft);
Result<void> find_environment(const Lookup& lookup, submission::Draft& draft);
Result<void> find_compute(const Lookup& lookup, submission::Draft& draft);
// The same of a replica of a deployment, whose compute is there (model/endpoint.h).
Result<void> find_inference_compute(const Lookup& lookup, submission::Draft& draft);
// Whether a compute of that kind runs jobs of that kind at all (resources/compute_types.h).
Result<void> check_capability(const Lookup& lookup, const std::string& compute, JobType type);

// Whether the secrets that it names are there, and whoever asks may use them (secrets.cc).
Result<void> find_secrets(const Lookup& lookup, const submission::Draft& draft);

}  // namespace turnout::api::arm
