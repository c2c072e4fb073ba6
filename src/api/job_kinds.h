// What the API does for jobs of each kind: one row each, in the table of job_kinds.cc. What is the
// same for all, or follows from what model/job_kind.h says of them, asks for no kind.
#pragma once

#include "api/api.h"
#include "base/json.h"
#include "base/result.h"
#include "control/control.h"
#include "model/job.h"
#include "resources/compute_types.h"

namespace turnout::api {

namespace arm {
struct Lookup;
}
namespace portal {
struct PageData;
}

struct JobKindRow {
    JobType type;
    resources::Ability needs;  // of the compute that it runs on
    // A definition, and what it names, to what control is asked for (arm/job_resolution.h).
    Result<JobSubmission> (*resolve)(const arm::Lookup& lookup, JobType type,
                                     const Json& properties);
    // What its document has beside that of every job (arm/job_view.h). `own` are its "properties",
    // which are texts.
    void (*show)(const JobRecord& job, Json& properties, Json& own);
    // What its page has beside that of every job (portal/parts.h).
    Result<void> (*show_page)(Services& services, const Call& call, portal::PageData& page);
};

const JobKindRow& kind_row(JobType type);

}  // namespace turnout::api
