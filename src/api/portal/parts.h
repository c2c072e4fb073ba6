// What goes onto the page of a job beside that which is the same for all: read here, drawn in
// page.cc and sweep_page.cc.
#pragma once

#include <cstdint>
#include <string>

#include "api/api.h"
#include "api/portal/page.h"
#include "base/result.h"

namespace turnout::api::portal {

// Whether whoever asks for a page beneath /studio/jobs/{wsid}/{job} may: who is logged in (the
// router has looked at their roles), or has a signed link of that job that still holds.
Result<void> check_reader(Services& services, const Call& call);

// All that is known of the job in the path; with the course of its metrics where that is asked for.
enum class Histories { No, Yes };
Result<PageData> page_data(Services& services, const Call& call, Histories histories);

// For jobs of each kind (see JobKindRow): the named outputs of a command job, the trials of a
// sweep, the steps of a pipeline, what an AutoML job has tried.
Result<void> show_outputs(Services& services, const Call& call, PageData& page);
Result<void> show_trials(Services& services, const Call& call, PageData& page);
Result<void> show_steps(Services& services, const Call& call, PageData& page);
Result<void> show_children(Services& services, const Call& call, PageData& page);
// To the page of a child: as long, and for whom, the link to this page holds.
std::string link_to_child(Services& services, const Call& call, const JobRecord& group,
                          const std::string& child);

// Whether outputs are where those go that the user gave no path: nobody else's are there.
bool is_own_place(const JobRecord& job, const agent_protocol::BlobFolder& place);

// Whole lines from the end of a log.
Result<std::string> end_of_log(Services& services, const std::string& wsid, const std::string& job,
                               const std::string& path, std::uint64_t length, std::uint64_t limit);

}  // namespace turnout::api::portal
