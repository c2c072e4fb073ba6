// What the files of api/upkeep share.
#pragma once

#include <string_view>

#include "api/api.h"

namespace turnout::api::upkeep {

inline constexpr std::string_view kUploads =
    "LocalUpload/";  // of the workspace's blob store: what clients upload, by its hash

// One that startPendingUpload made for the code of jobs.
bool is_code_container(std::string_view container, std::string_view wsid);

// What the retention says, and would remove if it were applied now:
// {"file", "limits", "next": [rows as prune answers them]}.
Task<Result<Json>> next_of_retention(Services& services);

void add_space_routes(Router& router, Services& services);
void add_prune_routes(Router& router, Services& services);

}  // namespace turnout::api::upkeep
