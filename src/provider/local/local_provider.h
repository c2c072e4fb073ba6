// Nodes on this machine: a node is an agent process with a folder of its own. The default pool.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/secret.h"
#include "io/posix/asio_loop.h"
#include "provider/local/processors.h"
#include "provider/local/users.h"
#include "provider/provider.h"
#include "resources/describe.h"

namespace turnout {

struct LocalProviderOptions {
    std::string agent;          // path of the turnout-agent executable
    std::string server_socket;  // Unix socket of the server
    std::string nodes_folder;   // one folder per node beneath it
    std::string homes_folder;   // of the people who have compute instances
    std::string cache_folder;   // snapshots, inputs and environments, shared by the nodes
    std::string uv;             // path of uv, "" = the agent looks for it
    std::string python;         // a pool's interpreter where it does not say, "" = python3 of PATH
    // Files of the server besides its data folder: nodes in namespaces find them empty.
    std::vector<std::string> hidden;
    std::function<Secret(const NodeId&)> node_token;
    // Opens that user's way to the server, `NodeUser::socket()`.
    std::function<Result<void>(const NodeUser&)> open_way;
    Span leaving = 20s;  // then what has not left is killed
    // An agent that lives and that the server asks for again and again over so long a time does not
    // work: stopped, or stuck. It is replaced; what it began goes on.
    Span silent_agent = 45s;
};

// What a pool of this provider has to say in its `settings`.
const resources::Description& local_settings();

// A node's folder holds `agent.json` {pid, started, bootId, processors}: written when the agent was
// started, read after a restart of the server, so that a node is never started twice, and what one
// that runs has of the machine is given to no other. Of a node that runs as its workspace's user
// (provider/local/users.h) this and its token lie beside its folder, in one that is root's.
class LocalProvider : public Provider, private Drills {
public:
    LocalProvider(Loop& loop, LocalProviderOptions options, ProviderEvents events);
    ~LocalProvider() override;

    Capabilities capabilities() const override;
    void provision(const NodeRequest& node) override;
    void release(const NodeId& node, const Json& handle) override;
    void list(Answer answer) override;
    Drills* drills() override { return this; }

    std::string folder_of(const NodeId& id) const;
    // From now on the nodes of those pools have their workspace's user or namespaces, and those
    // that had one before are found. Once.
    Result<void> use_users(NodeUsers users, std::map<std::string, Isolation> pools);
    std::vector<NodeUser> users() const;

private:
    struct Known;
    struct Paths;
    std::vector<DrillKind> kinds() const override;
    void begin(const NodeId& node, std::string_view name, Span how_long, Reply reply) override;
    Paths place_of(const NodeId& id) const;
    void keep_processors(const Paths& node);
    Result<void> be_had_by_user(const NodeId& id);
    void start_agent(const NodeId& id);
    void watch_leaving(const NodeId& id, Span since, int round);

    Loop& loop_;
    PosixClock clock_;
    LocalProviderOptions options_;
    ProviderEvents events_;
    std::map<NodeId, Known> nodes_;
    std::optional<NodeUsers> users_;
    std::map<std::string, Isolation> pools_of_users_;
    std::set<std::string> ways_;  // workspaces for whose users the server listens
    Processors processors_{usable_processors()};
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // weakly held by timers and pool work
};

}  // namespace turnout
