// What a cluster should do next: which waiting jobs go to which nodes, which nodes to get and which
// to let go. Pure: the same view gives the same plan, and `explain` reads the same view, so that an
// explanation cannot disagree with a decision.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/time.h"

namespace turnout::schedule {

struct NodeView {
    enum class Is { Starting, Idle, Busy, Leaving, Unreachable } is = Is::Idle;
    Span idle_for{};  // of an Idle one
};

struct ClusterView {
    int min_nodes = 0;
    int max_nodes = 1;
    Span idle_before_scale_down{};
    bool deleting = false;
    std::size_t waiting_jobs = 0;
    bool may_provision = true;  // false while it backs off after a failure
    std::vector<NodeView> nodes;
};

struct Plan {
    std::vector<std::size_t> assign;   // nodes that take the first, second … waiting job
    std::size_t provision = 0;         // nodes to get now
    std::size_t lacking_slots = 0;     // nodes it would get if the pool had slots
    std::vector<std::size_t> release;  // nodes to let go
    Span next_release{};               // an idle node is due in this long; 0 = none
};

// `free_slots` of the pool are nobody's. `wanted_elsewhere`: other clusters wait for that many
// slots, so idle nodes above the minimum go at once instead of after the idle time.
Plan plan(const ClusterView& cluster, std::size_t free_slots, std::size_t wanted_elsewhere);

// Why a job with `ahead` others before it does not run yet, for people.
std::string explain(const ClusterView& cluster, std::size_t free_slots, std::size_t slots,
                    std::size_t ahead);

}  // namespace turnout::schedule
