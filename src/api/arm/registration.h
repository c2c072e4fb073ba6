// Outputs that become assets: `name` and `version` of an output, as it is said of a job (assetName,
// assetVersion on the wire). When the job has completed the output is registered, as data or as a
// model by its type, under that version or the next one.
//
// Exactly once: control writes a row of Table::Registration in the commit that records the end, and
// it goes in the commit that registers. A server that dies between them finds the row.
#pragma once

#include <string>
#include <vector>

#include "api/api.h"
#include "api/arm/job_lookup.h"
#include "base/result.h"
#include "submission/command_job.h"

namespace turnout::api::arm {

// Whether they can be: whoever asks may write such assets, and a version that is named is not there
// yet. PermissionDenied, InvalidArgument.
Result<void> check_registrations(const Lookup& lookup,
                                 const std::vector<submission::OutputSaid>& outputs);

// Effects::to_register. On the loop, outside of control's turn.
void register_outputs(Services& services, const std::string& wsid, const std::string& job);
// Once, when the server starts.
Result<void> register_what_is_left(Services& services);

}  // namespace turnout::api::arm
