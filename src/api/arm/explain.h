// Why a job waits, and where its time went.
#pragma once

#include "api/api.h"
#include "base/json.h"
#include "model/job.h"

namespace turnout::api::arm {

// What …/jobs/{name}/explain answers.
Json explain_document(Services& services, const JobRecord& job);

}  // namespace turnout::api::arm
