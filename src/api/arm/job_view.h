// A job's record as ARM shows it.
#pragma once

#include <string>
#include <string_view>

#include "api/api.h"
#include "base/json.h"
#include "base/time.h"
#include "catalog/catalog.h"
#include "control/jobs.h"
#include "schedule/scheduler.h"

namespace turnout::api::arm {

struct JobViewer {
    std::string origin;      // of the page
    std::string tls_host;    // of the tracking URI
    const Secret& link_key;  // signs the link to the studio page
    std::string holder;      // on whose rights that rests
    Instant now{};
    std::optional<schedule::Waiting> waiting{};  // where the job stands, if it waits for a place
    Waited waited{};                             // for what, so far
};

// `waiting_for`: why it has no slot just now; "" if it has one.
Json job_body(const JobRecord& job, const Workspace& workspace, const JobViewer& viewer,
              std::string_view waiting_for);

// What jobs of each kind have beside that (see JobKindRow).
void show_command(const JobRecord& job, Json& properties, Json& own);
void show_sweep(const JobRecord& job, Json& properties, Json& own);

}  // namespace turnout::api::arm
