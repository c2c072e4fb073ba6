// A compute target is a way to get nodes, and this is the whole of it: start an agent there, see
// that it goes, say what is there. Everything else happens between the agent and the server.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/compute.h"
#include "model/drills.h"
#include "model/pool.h"

namespace turnout {

// How a provider reports; called on the loop, never inside a call to the provider.
struct ProviderEvents {
    // The node could not be had. With the reason kImageNotThere: not with that image, which is the
    // error's subject. Ambiguous: or perhaps it could, see what is there;
    // ResourceExhausted: its pool has no more for now; InvalidArgument: not as it was asked for,
    // ever; all else is worth another try later.
    std::function<void(const NodeId&, Error)> failed;
    // Proof: nothing of that node runs any more.
    std::function<void(const NodeId&)> gone;
    // What the provider has to know to find that node again: it is stored, and given back with
    // every later call. Only of a provider that cannot go by the id alone.
    std::function<void(const NodeId&, Json)> handle = {};
    // What is done for a node that is not there yet, for people. Where getting one takes steps.
    std::function<void(const NodeId&, std::string)> says = {};
    // Proof as `gone`, of a node that nobody let go, and what became of it, for people. Where it
    // can be known at once.
    std::function<void(const NodeId&, std::string why)> lost = {};
    // So much time is left to it: then it ends, whatever is on it. Told again when that changes.
    std::function<void(const NodeId&, Span left)> ends = {};
};

struct Capabilities {
    int slots = 0;  // nodes that it has room for where the pool does not say; 0: it cannot know
    bool images = false;   // its nodes can have the image that a job asks for
    bool handles = false;  // it tells a handle of each of its nodes
    // Of the machine that carries all its nodes; 0 where they have machines of their own.
    int cores = 0, gpus = 0;
    double memory_gb = 0;
};

// All calls are made on the loop, do not block, and may be repeated at any time, after a restart
// too. One provider serves all pools that name it. Success of `provision` shows itself by the
// agent's connection.
class Provider {
public:
    using Answer = std::function<void(Result<std::vector<FoundNode>>)>;

    virtual ~Provider() = default;
    virtual Capabilities capabilities() const = 0;
    // Have an agent running for this node: start one if there is none, or none any more.
    virtual void provision(const NodeRequest& node) = 0;
    // The agent was told to leave; see that it and all it started are gone, then report `gone`,
    // also of a node that was never there.
    virtual void release(const NodeId& node, const Json& handle) = 0;
    // All nodes of which something may run, or may begin to: who is not among them is gone.
    // Answers once, on the loop, never inside this call; an error says nothing about any node.
    virtual void list(Answer answer) = 0;
    // What harm it can do to its nodes on purpose; null: none. It lives as long as the provider.
    virtual Drills* drills() { return nullptr; }
};

}  // namespace turnout
