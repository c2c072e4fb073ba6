// What can be said against a job by looking at nothing but its definition. The server reads it so
// when it is submitted, before it looks for what it names; `turnout job validate` reads it so
// without a server. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/job.h"
#include "model/workspace.h"
#include "submission/draft.h"
#include "submission/registered.h"
#include "submission/sweep_job.h"

namespace turnout::submission {

// Of the "properties" of a job; JobTypeNotSupported if it is none that runs here.
Result<JobType> job_type_of(const Json& properties);

// All that can be said against a job of any type, an environment of its own included
// ("environment": what `turnout job create` would register first). Empty members of `workspace` are
// not known, and match any.
std::vector<Error> problems_of(const Json& properties, const Workspace& workspace,
                               const std::string& name);

}  // namespace turnout::submission
