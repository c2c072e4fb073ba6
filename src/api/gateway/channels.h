// Connections to replicas of services. The server may have no way to a node, so the node is asked
// for one (agent_protocol::Reach) and brings it beside its link.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/api.h"
#include "base/result.h"
#include "base/task.h"
#include "control/agent_links.h"
#include "io/http.h"

namespace turnout::api {

// A replica that runs: Control::service says which there are.
struct ReplicaAddress {
    NodeId node;
    agent_protocol::AttemptId attempt;
    bool operator==(const ReplicaAddress&) const = default;
};

// As the authority of a URL, and back. It says all, so nothing has to be kept of it.
std::string authority_of(const ReplicaAddress& address);
Result<ReplicaAddress> address_of(std::string_view authority);

// Used on the loop only; its parts outlive it.
class Channels {
public:
    Channels(Loop& loop, Random& random, AgentLinks& links)
        : loop_(loop), random_(random), links_(links) {}

    // Unavailable: its node is not connected, or cannot reach the port; within some seconds.
    Task<Result<std::unique_ptr<http::Stream>>> open(ReplicaAddress to);

    // GET /agent/v1/channels/{channel}: where nodes bring them.
    void add_to(Router& router);

private:
    using Opened = Result<std::unique_ptr<http::Stream>>;
    struct Wanted {
        NodeId node;
        std::unique_ptr<Later<Opened>::Settle> settle;
        Loop::TimerId timer = 0;
    };
    Task<Result<http::Response>> take(Call& call);
    void settle(const std::string& channel, Opened opened);

    Loop& loop_;
    Random& random_;
    AgentLinks& links_;
    std::map<std::string, Wanted> wanted_;  // by the name that the node was told
};

}  // namespace turnout::api
