// Nodes that are pods of a Kubernetes cluster, one each. A node has one image and keeps it until
// another is asked for; then another pod takes its place. The agent is put into the pod, and what
// it and the server say to each other goes through a relay that the API server's exec carries: so
// a pod needs no network, no registry has to have the agent, and no volume is shared.
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

struct KubernetesProviderOptions {
    std::string agent;                     // the turnout-agent executable that pods get
    std::string uv;                        // and the uv; "": none
    std::string server_socket;             // what the agents there reach as their server
    std::string folder;                    // our own: by which name our pods are found again
    std::vector<std::string> environment;  // ours, for the programs that a kubeconfig names
    std::function<Secret(const NodeId&)> node_token;
    Span leaving = 20s;       // then what has not left is deleted
    Span fenced = 15s;        // a pod that nobody saw end has been ended by its machine then
    Span image_tried = 3min;  // then an image that cannot be pulled is given up
};

// A node's handle is its kubeconfig, context and namespace.
class KubernetesProvider : public Provider {
public:
    KubernetesProvider(AsioLoop& loop, KubernetesProviderOptions options, ProviderEvents events);
    ~KubernetesProvider() override;

    Result<void> open();
    // The pools whose clusters are asked what is there, besides those with nodes.
    void set_pools(std::span<const Pool> pools);

    Capabilities capabilities() const override;
    void provision(const NodeRequest& node) override;
    void release(const NodeId& node, const Json& handle) override;
    void list(Answer answer) override;

    // The cluster of such settings as it is known: [{host, nodes, state, message}].
    Json describe(const Json& settings) const;
    // Asks it, and says what it found.
    Task<Json> check(Json settings);

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with its coroutines
};

}  // namespace turnout
