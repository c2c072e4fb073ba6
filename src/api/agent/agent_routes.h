#pragma once

#include "api/api.h"
#include "control/agent_links.h"

namespace turnout::api {

// GET /agent/v1/link. `links` outlives the router.
void add_agent_routes(Router& router, AgentLinks& links);

}  // namespace turnout::api
