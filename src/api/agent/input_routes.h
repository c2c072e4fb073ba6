#pragma once

#include "api/api.h"
#include "fetch/fetcher.h"

namespace turnout::api {

// POST /turnout/workspaces/{wsid}/jobs/{job}/inputs/{input}, by the run itself: the input of that
// name is brought in from outside. Answers how that stands, at the latest after a second.
void add_input_routes(Router& router, Services& services, fetch::Fetcher& fetcher);

}  // namespace turnout::api
