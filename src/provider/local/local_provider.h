// Nodes on this machine: a node is an agent process with a folder of its own. The default pool.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/secret.h"
#include "io/loop.h"
#include "provider/provider.h"

namespace turnout {

struct LocalProviderOptions {
    std::string agent;          // path of the turnout-agent executable
    std::string server_socket;  // Unix socket of the server
    std::string nodes_folder;   // one folder per node beneath it
    std::string cache_folder;   // snapshots, inputs and environments, shared by the nodes
    std::string uv;             // path of uv, "" = the agent looks for it
    std::string python;         // the pool's interpreter, "" = python3 of PATH
    std::function<Secret(const NodeId&)> node_token;
};

// A node's folder holds `agent.json` {pid, started, bootId}: written when the agent was started,
// read after a restart of the server, so that a node is never started twice.
class LocalProvider : public Provider {
public:
    LocalProvider(Loop& loop, LocalProviderOptions options, ProviderEvents events);
    ~LocalProvider() override;

    void provision(const Node& node) override;
    void release(const Node& node) override;

    std::string folder_of(const NodeId& id) const;

private:
    struct Known;
    void start_agent(const NodeId& id);
    void watch_leaving(const NodeId& id, int round);

    Loop& loop_;
    LocalProviderOptions options_;
    ProviderEvents events_;
    std::map<NodeId, Known> nodes_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // weakly held by timers and pool work
};

}  // namespace turnout
