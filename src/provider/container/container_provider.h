// Nodes that are containers of an engine that speaks Docker's API on a Unix socket. A node has one
// image and keeps it until another is asked for; then another container takes its place. The agent
// is put into it, and what it and the server say to each other goes through a relay that the engine
// carries: so a container needs no network, and no folder that both see.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/secret.h"
#include "base/task.h"
#include "io/posix/asio_loop.h"
#include "provider/container/image_builds.h"
#include "provider/provider.h"

namespace turnout {

struct ContainerProviderOptions {
    std::string agent;          // the turnout-agent executable that containers get
    std::string uv;             // and the uv; "": none
    std::string server_socket;  // what the agents there reach as their server
    std::string folder;         // our own: by which name our containers are found again
    std::function<Secret(const NodeId&)> node_token;
    FindImageContext context;  // none: no image is built from a Dockerfile
    Span leaving = 20s;        // then what has not left is killed
};

// A node's handle is its engine's socket.
class ContainerProvider : public Provider {
public:
    ContainerProvider(AsioLoop& loop, ContainerProviderOptions options, ProviderEvents events);
    ~ContainerProvider() override;

    Result<void> open();
    // The pools whose engines are asked what is there, besides those with nodes.
    void set_pools(std::span<const Pool> pools);

    Capabilities capabilities() const override;
    void provision(const NodeRequest& node) override;
    void release(const NodeId& node, const Json& handle) override;
    void list(Answer answer) override;

    // The engine of such settings as it is known: [{host, nodes, state, message, cores,
    // memoryBytes}].
    Json describe(const Json& settings) const;
    // Asks it, and says what it found.
    Task<Json> check(Json settings);

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with its coroutines
};

}  // namespace turnout
