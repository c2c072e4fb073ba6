// What the files of api/upkeep share.
#pragma once

#include <cstdint>
#include <functional>
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

// What each job's logs take, stream by stream.
using UseLog =
    std::function<Result<void>(std::string_view wsid, std::string_view job, std::uint64_t bytes)>;
Task<Result<void>> each_log(Services& services, Turn& turn, UseLog use);

void add_space_routes(Router& router, Services& services);
void add_prune_routes(Router& router, Services& services);

}  // namespace turnout::api::upkeep
