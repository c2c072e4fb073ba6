// The one route of the nodes' agents: the link of spec/agent_protocol.h.
#include "api/agent/agent_routes.h"

#include "base/text.h"

namespace turnout::api {

namespace {

Task<Result<http::Response>> open_link(AgentLinks& links, Call& call) {
    if (!equal_ignoring_case(call.request.headers.get("upgrade"), "turnout-agent"))
        co_return invalid("this path takes 'Upgrade: turnout-agent'", "upgrade");
    http::Response response;
    response.status = 101;
    response.headers.set("Upgrade", "turnout-agent");
    response.headers.set("Connection", "Upgrade");
    response.upgraded = [&links, node = call.principal.name](std::unique_ptr<http::Stream> stream) {
        return links.serve(node, std::move(stream));
    };
    co_return response;
}

}  // namespace

void add_agent_routes(Router& router, AgentLinks& links) {
    router.add("GET", "/agent/v1/link", Access::Node,
               [&links](Call& call) { return open_link(links, call); });
}

}  // namespace turnout::api
