// Pipelines: what their steps name, looked up when they are submitted; and a step's task, when the
// outputs that it takes are there.
#pragma once

#include <string>

#include "api/api.h"
#include "api/arm/job_lookup.h"
#include "base/json.h"
#include "base/result.h"
#include "control/control.h"

namespace turnout::api::arm {

Result<JobSubmission> resolve_pipeline(const Lookup& lookup, JobType type, const Json& properties);
void show_pipeline(const JobRecord& job, Json& properties, Json& own);

// What the server does by itself is then tried again a moment later.
bool may_work_later(const Error& error);

// Effects::resolve. On the loop, outside of control's turn.
void resolve_step(Services& services, const std::string& wsid, const std::string& job);

}  // namespace turnout::api::arm
