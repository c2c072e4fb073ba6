// Who runs where next. An index of clusters, nodes and waiting tasks that is kept up to date by
// events, and a plan that looks only at what those events touched: an event costs a few steps of a
// tree, whether ten tasks wait or a million. Pure: no clock, no I/O; the same calls give the same
// plan. `explain` reads the same index, so an explanation cannot disagree with a decision.
//
// Handles are the caller's numbers for its clusters, nodes, tasks and sharers; never 0, never used
// twice for different things of one kind while the first is known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "schedule/accounts.h"

namespace turnout::schedule {

// A cluster of a pool. All clusters share the pool's slots; a node holds one slot from add_node to
// remove_node, whatever its state.
struct Cluster {
    int min_nodes = 0;
    int max_nodes = 1;
    Span idle_before_scale_down{};
    bool low_priority = false;  // gives way to dedicated clusters
    bool deleting = false;      // starts nothing, keeps nothing
    bool closed = false;        // the same for a while: what waits goes on later
    int jobs_per_node = 1;      // tasks that run at a time on a node of it
    Handle account = 0;         // of all its tasks; 0 = none. Never changes
    bool operator==(const Cluster&) const = default;
};

// What a task asks for.
struct Demand {
    int nodes = 1;            // all at once or not at all; more than one: each node is its alone
    int priority = 0;         // higher first
    Handle sharer = 1;        // who shares fairly with the others of the same priority
    Handle account = 0;       // of that sharer, always the same; 0 = none
    std::uint64_t order = 0;  // of submission; smaller first within one sharer
    bool alone = false;       // it has its node to itself: it waits there behind nobody, and nobody
                              // behind it
    // For so long its node has to be there, of those that end by themselves; 0: nobody knows.
    std::chrono::seconds lasts{};
};

enum class NodeIs { Starting, Ready, Unreachable, Leaving };

// Decisions. The index already reflects them when `plan` returns, except `provision`: a node is
// known from add_node on.
struct Decisions {
    struct Assign {
        Handle task = 0;
        std::vector<Handle>
            nodes;  // by rank; a task of one node may wait there behind others (backlog)
    };
    std::vector<Assign> assign;
    std::vector<std::pair<Handle, int>> provision;  // cluster, nodes to get now
    std::vector<Handle> release;  // nodes to let go: nothing runs on them; they are Leaving now
    std::vector<Handle>
        preempt;  // tasks on low-priority nodes that must give way; said once per task
    // Tasks in a node's backlog that another node could begin at once; said once per task, and
    // again when its node is Ready anew. The caller has one that has not begun given back (`left`,
    // then `add_task`), and lets be one that has.
    std::vector<std::pair<Handle, Handle>> revoke;  // task, node
    std::optional<Span> next;  // since boot: plan again then, even if nothing happens
    bool empty() const {
        return assign.empty() && provision.empty() && release.empty() && preempt.empty() &&
               revoke.empty();
    }
};

// Why a task waits.
struct Waiting {
    enum class For {
        Nothing,    // it would start with the next plan
        NodeStart,  // a node of its cluster is starting
        Nodes,      // the cluster's nodes are in use and it may not have more
        Quota,      // the pool has no free slot
        Backoff,    // starting a node failed; it is tried again later
        Gang,       // it, or one before it, waits for several nodes to be free at once
        Allowance,  // its account, or that of its cluster, has as much as it may
        Deleting,   // the cluster is being deleted
        Closed,     // it is closed for a while
        NoNodes,    // the cluster allows none
    } what = For::Nothing;
    std::size_t ahead =
        0;  // tasks that will be placed before it; exact within its sharer, else an estimate
    std::optional<Span>
        expected;  // from now, when the durations seen so far go on; nullopt: nobody knows
};

// Numbers of a cluster, for people and for `explain`.
struct Counts {
    int starting = 0, idle = 0, busy = 0, unreachable = 0, leaving = 0;
    std::size_t waiting = 0;
    int present() const { return starting + idle + busy + unreachable; }
};

class Scheduler {
public:
    // `pool`: what an explanation calls it. `accounts` are shared with others, and outlive it;
    // null: it has its own.
    explicit Scheduler(int slots, std::string pool = "the pool", Accounts* accounts = nullptr);
    ~Scheduler();
    // From now on. Nodes that are too many then go when nothing is on them: idle ones at once, of
    // the others those that are done first.
    void set_slots(int slots);
    void set_name(std::string pool);  // what an explanation calls it from now on
    // No more nodes than these can be had for now, whatever the slots say: whoever lacks one gets
    // what others let go, and a gang that needs more does not stand in the way. Nothing: as many as
    // there are slots.
    void set_supply(std::optional<int> nodes);

    // ---- clusters ----
    void put_cluster(Handle cluster, const Cluster& as);
    void remove_cluster(Handle cluster);                 // without nodes and tasks
    void hold_provisioning(Handle cluster, Span until);  // since boot; after a failure

    // ---- tasks. A task waits, or is on nodes, or is unknown. ----
    void add_task(Handle task, Handle cluster, const Demand& demand);
    void remove_task(Handle task);  // one that waits
    // After a restart: it is on these nodes already.
    void restore_task(Handle task, Handle cluster, const Demand& demand,
                      const std::vector<Handle>& nodes);
    // It has left this node (its last node: it is unknown from then on). `ran`: how long the node
    // was busy with it; nothing if it never began there.
    void left(Handle task, Handle node, Span now, std::optional<Span> ran);

    // ---- nodes ----
    void add_node(Handle node, Handle cluster, NodeIs is, Span now);
    // Ready: also each time its agent has said Hello, for then it may not know what it was told
    // before.
    void node_is(Handle node, NodeIs is, Span now);
    // It ends by itself then, whatever is on it. What would not be over by then does not come to
    // it; where that is what waits, it is let go for one that begins anew.
    void node_ends(Handle node, Span at);
    void remove_node(Handle node);  // nothing is on it

    // ---- decisions ----
    Decisions plan(Span now);
    Waiting waiting(Handle task, Span now) const;
    // In words, for people: "all 4 nodes of the compute are in use; 12 jobs ahead".
    std::string explain(Handle task, Span now) const;
    Counts counts(Handle cluster) const;
    // Whether any of those that wait there could begin, as far as their accounts go.
    bool any_allowed(Handle cluster) const;
    // The account that keeps a waiting task from a node; 0 = none does.
    Handle kept_by(Handle task) const;
    // Whether another cluster has a better right to the slot of a node that becomes free there now.
    bool would_lose_slot(Handle cluster) const;
    int slots() const;
    int free_slots() const;

    struct State;

private:
    std::unique_ptr<State> state_;
};

}  // namespace turnout::schedule
