#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/api.h"
#include "control/agent_links.h"

namespace turnout::api {

// What nodes ask of the server beside their link.
struct NodeServices {
    std::string authority;  // the certificate authority of this instance, PEM
    // A connection to the listener with TLS, for that node's tasks.
    std::function<Result<std::unique_ptr<http::Stream>>(const NodeId&)> connect_tls;
};

// GET /agent/v1/link, authority and tls. `links` outlives the router.
void add_agent_routes(Router& router, AgentLinks& links, NodeServices node_services);

}  // namespace turnout::api
