// A compute target is a way to get nodes, and this is the whole of it: start an agent there, see
// that it goes. Everything else happens between the agent and the server.
#pragma once

#include <functional>

#include "base/result.h"
#include "model/compute.h"

namespace turnout {

// How a provider reports; called on the loop, never inside a call to the provider.
struct ProviderEvents {
    std::function<void(const NodeId&, Error)> failed;  // the node could not be had
    std::function<void(const NodeId&)> gone;           // proof: nothing of that node runs any more
};

// Both calls are idempotent on the node's id and may be repeated at any time, after a restart too.
// Success of `provision` shows itself by the agent's connection.
class Provider {
public:
    virtual ~Provider() = default;
    // Have an agent running for this node: start one if there is none, or none any more.
    virtual void provision(const Node& node) = 0;
    // The agent was told to leave; see that it and all it started are gone, then report `gone`.
    virtual void release(const Node& node) = 0;
};

}  // namespace turnout
