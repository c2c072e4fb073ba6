// The routes of the nodes' agents: the link of protocol/agent_protocol.h, and what their tasks need
// to reach the server as Azure's clients do. A node may have no other way to it than this one.
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
    response.headers.set(agent_protocol::kVersionsHeader, to_text(links.speaks()));
    response.headers.set("Connection", "Upgrade");
    response.upgraded = [&links, node = call.principal.name](std::unique_ptr<http::Stream> stream) {
        return links.serve(node, std::move(stream));
    };
    co_return response;
}

Task<void> serve_tls(std::unique_ptr<http::Stream> outer, std::unique_ptr<http::Stream> inner) {
    co_await http::join_streams(std::move(outer), std::move(inner));
}

// From here on the node's task speaks TLS with this server, and the node does not read it.
Task<Result<http::Response>> open_tls(const NodeServices& node_services, Call& call) {
    if (!equal_ignoring_case(call.request.headers.get("upgrade"), "turnout-tls"))
        co_return invalid("this path takes 'Upgrade: turnout-tls'", "upgrade");
    TURNOUT_CO_TRY(auto inner, node_services.connect_tls(call.principal.name));
    http::Response response;
    response.status = 101;
    response.headers.set("Upgrade", "turnout-tls");
    response.headers.set("Connection", "Upgrade");
    auto held =
        std::make_shared<std::unique_ptr<http::Stream>>(std::move(inner));  // std::function copies
    response.upgraded = [held](std::unique_ptr<http::Stream> outer) {
        return serve_tls(std::move(outer), std::move(*held));
    };
    co_return response;
}

Task<Result<http::Response>> get_authority(const NodeServices& node_services) {
    http::Response response;
    response.headers.set("Content-Type", "application/x-pem-file");
    response.body = node_services.authority;
    co_return response;
}

}  // namespace

void add_agent_routes(Router& router, AgentLinks& links, NodeServices node_services) {
    const auto shared = std::make_shared<NodeServices>(std::move(node_services));
    router.add("GET", "/agent/v1/authority", Access::Node,
               [shared](Call&) { return get_authority(*shared); });
    router.add("GET", "/agent/v1/tls", Access::Node,
               [shared](Call& call) { return open_tls(*shared, call); });
    router.add("GET", "/agent/v1/link", Access::Node,
               [&links](Call& call) { return open_link(links, call); });
}

}  // namespace turnout::api
