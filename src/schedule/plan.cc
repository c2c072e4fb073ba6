#include "schedule/plan.h"

#include <algorithm>

namespace turnout::schedule {

namespace {

struct Counts {
    std::size_t starting = 0, idle = 0, busy = 0, leaving = 0, unreachable = 0;
    std::size_t present() const { return starting + idle + busy + unreachable; }
};

Counts count(const ClusterView& cluster) {
    Counts counts;
    for (const NodeView& node : cluster.nodes) {
        switch (node.is) {
            case NodeView::Is::Starting: ++counts.starting; break;
            case NodeView::Is::Idle: ++counts.idle; break;
            case NodeView::Is::Busy: ++counts.busy; break;
            case NodeView::Is::Leaving: ++counts.leaving; break;
            case NodeView::Is::Unreachable: ++counts.unreachable; break;
        }
    }
    return counts;
}

}  // namespace

Plan plan(const ClusterView& cluster, std::size_t free_slots, std::size_t wanted_elsewhere) {
    Plan result;
    const Counts counts = count(cluster);

    std::vector<std::size_t> idle;
    for (std::size_t i = 0; i < cluster.nodes.size(); ++i)
        if (cluster.nodes[i].is == NodeView::Is::Idle) idle.push_back(i);

    const std::size_t minimum =
        cluster.deleting ? 0 : static_cast<std::size_t>(std::max(0, cluster.min_nodes));
    const std::size_t maximum =
        cluster.deleting ? 0 : static_cast<std::size_t>(std::max(0, cluster.max_nodes));

    // Jobs to idle nodes, but never more nodes at work than the maximum that was just lowered.
    std::size_t waiting = cluster.deleting ? 0 : cluster.waiting_jobs;
    std::size_t taken = 0;
    while (waiting > 0 && taken < idle.size() &&
           counts.busy + counts.unreachable + taken < maximum) {
        result.assign.push_back(idle[taken++]);
        --waiting;
    }
    const std::size_t left_idle = idle.size() - taken;

    // Starting nodes will take waiting jobs; an unreachable one may hold a job and counts as there.
    const std::size_t useful = std::max(
        minimum, counts.busy + counts.unreachable + taken + left_idle + waiting);
    const std::size_t wanted = std::min(useful, maximum);
    const std::size_t present = counts.present();
    if (wanted > present && cluster.may_provision) {
        const std::size_t lacking = wanted - present;
        result.provision = std::min(lacking, free_slots);
        result.lacking_slots = lacking - result.provision;
    }

    // Let go: what is above the maximum at once, what idles too long, what others wait for.
    std::size_t remaining = present;
    std::size_t give = wanted_elsewhere;
    for (std::size_t k = taken; k < idle.size(); ++k) {
        if (remaining <= minimum) break;
        const NodeView& node = cluster.nodes[idle[k]];
        const bool over = remaining > maximum;
        const bool due = node.idle_for >= cluster.idle_before_scale_down;
        if (over || due || give > 0) {
            result.release.push_back(idle[k]);
            --remaining;
            if (!over && !due) --give;
        } else {
            const Span left = cluster.idle_before_scale_down - node.idle_for;
            result.next_release =
                result.next_release == Span{} ? left : std::min(result.next_release, left);
        }
    }
    return result;
}

std::string explain(const ClusterView& cluster, std::size_t free_slots, std::size_t slots,
                    std::size_t ahead) {
    const Counts counts = count(cluster);
    if (cluster.deleting) return "the compute is being deleted";
    if (counts.starting > ahead) return "a node is starting";
    std::string text;
    if (counts.present() >= static_cast<std::size_t>(std::max(0, cluster.max_nodes))) {
        text = cluster.max_nodes <= 0
                   ? "the compute allows no nodes (max_instances is 0)"
                   : "all " + std::to_string(cluster.max_nodes) + " nodes of the compute are in use";
        if (counts.unreachable > 0)
            text += ", " + std::to_string(counts.unreachable) + " of them not reachable";
    } else if (free_slots == 0) {
        text = "no free slot in the pool: all " + std::to_string(slots) + " are in use";
        if (counts.leaving > 0) text += ", " + std::to_string(counts.leaving) + " of them leaving";
    } else if (!cluster.may_provision) {
        text = "starting a node failed; it is tried again shortly";
    } else {
        text = "a node is being requested";
    }
    if (ahead > 0) text += "; " + std::to_string(ahead) + (ahead == 1 ? " job" : " jobs") + " ahead";
    return text;
}

}  // namespace turnout::schedule
