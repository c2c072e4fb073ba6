// Harm on purpose: what `turnout drill` does to the node of a running job, so that one can see what
// is lost and what goes on. Implemented by app/ for nodes of this machine.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "base/time.h"
#include "model/compute.h"

namespace turnout {

class Drills {
public:
    template <class T>
    using Reply = std::function<void(Result<T>)>;

    virtual ~Drills() = default;
    // Kills every process of that node at one moment: agent, supervisor, tasks. Answers how many.
    virtual void kill_node(const NodeId& node, Reply<int> reply) = 0;
    // The node's agent cannot reach the server for so long.
    virtual void cut_link(const NodeId& node, Span how_long) = 0;
    // Fills the file system of the node's folder but for a reserve, and frees it after so long.
    // Answers how many bytes. FailedPrecondition, with the reason, if others would suffer.
    virtual void fill_disk(const NodeId& node, Span how_long, Reply<std::uint64_t> reply) = 0;
};

}  // namespace turnout
