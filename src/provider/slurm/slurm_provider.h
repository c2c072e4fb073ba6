// Nodes that are pilots in a Slurm cluster: a job of one compute node each, in which an agent runs
// until it is let go or its walltime is over. Slurm's own programs are run here, and nothing else
// of Slurm is needed. What agent and server say to each other goes through a step of the pilot
// (`srun --overlap`), so compute nodes need not reach the server; a folder that both see has the
// agent's program, and of each node its token and its files.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/secret.h"
#include "base/task.h"
#include "io/posix/asio_loop.h"
#include "provider/provider.h"

namespace turnout {

struct SlurmProviderOptions {
    std::string agent;                     // the turnout-agent executable that compute nodes get
    std::string uv;                        // and the uv; "": none
    std::string server_socket;             // what the agents there reach as their server
    std::string folder;                    // our own: by which name our pilots are found again
    std::vector<std::string> environment;  // ours, of which Slurm's programs get what they need
    std::function<Secret(const NodeId&)> node_token;
    Span leaving = 20s;  // then what has not left is canceled
    Span answer = 60s;   // of Slurm's programs
    Span fenced = 6s;    // then a pilot that Slurm cannot end has seen that its folder is gone
};

// A node's handle is its pilot's number, its Slurm's configuration and its folder.
class SlurmProvider : public Provider {
public:
    SlurmProvider(AsioLoop& loop, SlurmProviderOptions options, ProviderEvents events);
    ~SlurmProvider() override;

    Result<void> open();
    // The pools whose Slurm is asked what is there, besides those with nodes.
    void set_pools(std::span<const Pool> pools);

    Capabilities capabilities() const override;
    void provision(const NodeRequest& node) override;
    void release(const NodeId& node, const Json& handle) override;
    void list(Answer answer) override;

    // The Slurm of such settings as it is known: [{host, nodes, state, message}].
    Json describe(const Json& settings) const;
    // Asks it, and says what it found.
    Task<Json> check(Json settings);

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with its coroutines
};

}  // namespace turnout
