// A job that is submitted: by a request, or because the time of a schedule has come.
#pragma once

#include <string>

#include "api/api.h"
#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "catalog/catalog.h"
#include "control/control.h"
#include "model/audit_chain.h"

namespace turnout::api::arm {

struct SubmittedJob {
    Put put = Put::Created;
    JobRecord job;  // as it is right after; of one that was there already, what was asked for
};

// As the call's principal, who may do that. Nobody has that name, as far as the caller has seen.
// `more`: properties that the server adds to those of the definition. `act`: what the audit is to
// say of it where no request does; recorded with the job (`call.recorded`).
Task<Result<SubmittedJob>> submit_job(Services& services, Call& call, const Workspace& workspace,
                                      const std::string& name, const Json& properties,
                                      const Json& more, const Act* act = nullptr);

}  // namespace turnout::api::arm
