// What a Scheduler keeps. Every change of a node goes: detach, change, attach; so that all sums and
// lists that depend on it are kept in two places only.
#pragma once

#include <algorithm>
#include <climits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "schedule/line.h"

namespace turnout::schedule {

using NodeList = std::list<NodeEntry*>;

// An account: what it may have, and what it has.
struct AccountEntry {
    Handle handle = 0;
    Allowance allowance;
    std::string called;
    int jobs = 0, slots = 0;  // on nodes
    std::size_t waiting = 0;
    // Where it has tasks, and whose tasks are all on it: of scheduler and cluster.
    std::map<std::pair<std::uint64_t, Handle>, Stake*> stakes;
    std::map<std::pair<std::uint64_t, Handle>, std::pair<Scheduler::State*, ClusterEntry*>>
        clusters;

    bool limited() const { return allowance.jobs || allowance.slots; }
    int jobs_left() const { return allowance.jobs ? std::max(0, *allowance.jobs - jobs) : INT_MAX; }
    int slots_left() const {
        return allowance.slots ? std::max(0, *allowance.slots - slots) : INT_MAX;
    }
    bool fits(int nodes) const { return jobs_left() >= 1 && slots_left() >= nodes; }
    // Of gangs of these sizes, how many nodes can be had for them at most.
    long room_for(int smallest, int largest) const {
        if (jobs_left() == 0 || smallest > slots_left()) return 0;
        return std::min<long>(slots_left(), static_cast<long>(jobs_left()) * largest);
    }
    // If nothing of it were on nodes.
    bool could_fit(int nodes) const { return !allowance.slots || *allowance.slots >= nodes; }
};

struct Accounts::State {
    std::map<Handle, AccountEntry> by_handle;
    std::uint64_t last_scheduler = 0;

    AccountEntry& of(Handle handle);
};

// The tasks of one account in one cluster. While the account has no room for what a sharer has next
// that sharer is out of its turn there, so that others come; the account's other sharers then wait
// behind it.
struct Stake {
    AccountEntry* account = nullptr;
    Scheduler::State* scheduler = nullptr;
    ClusterEntry* cluster = nullptr;
    std::size_t sharers = 0;
    std::size_t singles = 0;  // that wait
    // The waiting gangs, but for those that are out: by size, and what they ask for together.
    std::multiset<int> gangs;
    long gang_ranks = 0;
    std::set<std::pair<int, TurnKey>> held;  // out of their turn, by falling priority
    // Of those that wait, how many could not begin if all the others did.
    std::size_t singles_over = 0;
    long ranks_over = 0;
    // Of the gang for which the cluster keeps nodes, if it is on this account: the others leave it
    // the room, but for those that go before it.
    int promised = 0, promised_priority = 0;

    bool fits(int nodes, int priority) const {
        const int kept = priority > promised_priority ? 0 : promised;
        return account->jobs_left() > (kept > 0 ? 1 : 0) && account->slots_left() - kept >= nodes;
    }
};

// Why a node is given no more tasks, and let go when the last on it ends.
enum class Drain {
    No,
    Over,   // its cluster has more nodes than it may have
    Given,  // another cluster lacks the slot
};

struct NodeEntry {
    Handle handle = 0;
    ClusterEntry* cluster = nullptr;
    NodeIs is = NodeIs::Starting;
    Drain drain = Drain::No;
    bool gang = false;      // a rank of a gang, or what has it alone, is on it: nothing else comes
    bool reserved = false;  // kept for the gang that its cluster reserves for
    std::vector<TaskIndex> tasks;  // in the order in which it got them
    Span since{};                  // when it got into this state, or what runs on it changed
    std::optional<Span> ends;      // by itself
    bool used = false;             // something was on it since it was Ready
    NodeList* in = nullptr;
    NodeList::iterator at;  // its place in `in`: lists are changed by splicing, without allocations
};

struct ClusterEntry {
    ClusterEntry(Handle cluster, Tasks& tasks) : handle(cluster), line(tasks), by_load(8) {}
    Handle handle;
    Cluster as;
    Line line;
    std::map<Handle, Sharer> sharers;
    std::map<Handle, Stake> stakes;   // by account
    AccountEntry* account = nullptr;  // of all its tasks; nullptr: none
    std::size_t singles_over = 0;     // sums over the stakes
    long ranks_over = 0;

    // Gangs that wait, by size. Those with more than `gang_limit` nodes cannot be placed at all and
    // are not in line.
    std::set<std::pair<int, TaskIndex>> gangs;
    int gang_limit = 0;
    TaskIndex reserving =
        no_task;  // the gang that was first in line and found too few nodes; not in line
    std::uint64_t reserving_since = 0;
    Handle reserved_for = 0;  // that gang, or the last one
    std::size_t singles = 0;  // waiting tasks of one node
    // How many of them say how long they last, by how long: seconds.
    std::map<std::uint32_t, std::size_t> lasting;
    long gang_ranks = 0;  // nodes that the waiting gangs ask for together, within the limit

    // Nodes. By number of tasks those that may get more (least recently used first), else apart.
    std::vector<NodeList> by_load;
    NodeList reserved, apart;
    int starting = 0, idle = 0, busy = 0, unreachable = 0, leaving = 0;
    int draining = 0;  // of the present ones
    int used = 0;      // kept nodes that the waiting tasks cannot have: at work or not reachable
    int reserved_used = 0;  // of them reserved
    int reserved_idle = 0;
    // Idle nodes of which none is there for as long as the head of the line lasts, and as how many
    // tasks that is so for.
    int too_short = 0;
    long too_long = 0;
    long room = 0;                               // tasks that nodes in by_load could begin at once
    int revoking = 0;                            // tasks that are being taken back
    std::set<std::pair<Span, Handle>> backlogs;  // nodes with a backlog by when it last moved
    std::vector<Handle> freed;                   // nodes whose load fell since the last plan
    std::set<Handle> over;                       // nodes with Drain::Over
    int promised = 0;                            // by the plan that is being made, or was made last

    // What it wants and does not have: see State::claim.
    Span held_until{};
    int wanted = 0;
    int lack = 0;
    int gang_lack = 0;
    std::tuple<int, Handle> claim_key;
    std::tuple<std::uint64_t, Handle> gang_key;
    bool gang_claims = false;
    bool claimed_low = false;

    std::optional<Span> duration;  // moving average of what tasks keep a node busy
    std::size_t ended = 0;         // tasks that are in it
    std::optional<Span> start;     // moving average of what nodes take to start
    std::optional<Span> timer;
    std::optional<Span> next_look;  // at backlogs
    bool dirty = false;

    bool shut() const { return as.deleting || as.closed; }
    int minimum() const { return shut() ? 0 : std::max(0, std::min(as.min_nodes, as.max_nodes)); }
    int maximum() const { return shut() ? 0 : std::max(0, as.max_nodes); }
    std::size_t at_a_time() const {
        return static_cast<std::size_t>(std::max(1, as.jobs_per_node));
    }
    int kept() const { return starting + idle + busy + unreachable - draining + promised; }
    std::size_t depth() const;  // tasks that may wait on a node behind those that run
};

struct Scheduler::State {
    std::unique_ptr<Accounts> own_accounts;  // if it shares none
    Accounts::State* accounts = nullptr;
    std::uint64_t number = 0;  // among those that share them
    int slots = 0;             // that can be filled: the pool's, or its supply if that is less
    int pool_slots = 0;
    std::optional<int> supply;
    std::string pool;  // what it is called
    Span last{};       // the latest instant that was heard of
    std::uint64_t stamp = 0;
    Tasks tasks;
    std::map<Handle, ClusterEntry> clusters;
    std::unordered_map<Handle, NodeEntry> nodes;
    int leaving = 0, draining = 0, promised = 0;

    // Claims of clusters that want nodes and have no slot for them; [0] dedicated, [1] low
    // priority.
    std::set<std::tuple<int, Handle>> claims[2];                 // fewest nodes first
    std::set<std::tuple<std::uint64_t, Handle>> gang_claims[2];  // who reserves longest first
    long lack[2] = {0, 0};

    std::set<Handle> with_idle;  // clusters
    std::set<std::pair<std::uint64_t, Handle>>
        victims;             // nodes of low priority at work, by their newest task
    std::set<Handle> given;  // nodes that drain for others
    std::set<std::pair<Span, Handle>> timers;  // clusters to look at then
    std::vector<Handle> dirty;                 // clusters to settle
    std::vector<Handle> promising;             // clusters that were promised nodes

    ClusterEntry& cluster(Handle handle);
    const ClusterEntry& cluster(Handle handle) const;
    NodeEntry& node(Handle handle);
    Sharer& sharer(ClusterEntry& cluster, Handle handle, Handle account);
    void set_slots(int pools, std::optional<int> supplied);
    void touch(ClusterEntry& cluster);
    void saw(Span now) { last = std::max(last, now); }
    int free() const { return std::max(0, slots - static_cast<int>(nodes.size()) - promised); }
    // Nodes that are too many for the slots and are not on their way out.
    int excess() const {
        return static_cast<int>(nodes.size()) + promised - leaving - draining - slots;
    }
    // Slots that come free or are.
    int incoming() const {
        return std::max(0, slots - static_cast<int>(nodes.size()) - promised + leaving + draining);
    }

    void detach(NodeEntry& node);
    void attach(NodeEntry& node);
    NodeList& list_for(NodeEntry& node);
    template <class Change>
    void change(NodeEntry& node, Change&& apply) {
        detach(node);
        apply();
        attach(node);
    }

    // Waiting tasks. A task is enlisted while it waits, whether it is in line, reserves or cannot
    // be placed.
    TaskIndex make(Handle task, Handle cluster, const Demand& demand);
    void enlist(TaskIndex index);
    void delist(TaskIndex index);
    void forget(TaskIndex index);
    void stop_reserving(ClusterEntry& cluster);
    void set_gang_limits();
    bool is_out(const TaskEntry& gang) const;  // it could never be placed
    void reline(TaskIndex gang);               // whether it is in line follows from that
    // Accounts.
    void waits(const TaskEntry& task, int count);       // it does from now on, or no more
    void gang_counts(const TaskEntry& gang, int sign);  // it is in line, or no more
    void uses(const TaskEntry& task, int more_jobs, int more_slots);  // of both its accounts
    void recount(Stake& stake);
    bool fits(const TaskEntry& task) const;  // its accounts have room for it
    long allowed_singles(const ClusterEntry& cluster) const;
    long allowed_ranks(const ClusterEntry& cluster) const;
    bool waits_for_node(const ClusterEntry& cluster) const;  // somebody who may begin
    // Whose account keeps a waiting task from a node; nullptr: nobody's does.
    const AccountEntry* kept_by(const TaskEntry& task) const;
    void put_on(TaskIndex index, const std::vector<NodeEntry*>& nodes, Span now);

    // Planning.
    void settle(ClusterEntry& cluster, Span now, Decisions& out);
    void trim(ClusterEntry& cluster, Decisions& out);
    void assign(ClusterEntry& cluster, Span now, Decisions& out);
    bool assign_one(ClusterEntry& cluster, TaskIndex index, Span now, Decisions& out);
    bool assign_gang(ClusterEntry& cluster, TaskIndex index, Span now, Decisions& out);
    void take_back(ClusterEntry& cluster, Span now, Decisions& out);
    bool revoke_newest(ClusterEntry& cluster, NodeEntry& node, Decisions& out);
    void keep_where_it_is(TaskIndex index);
    void let_idle_go(ClusterEntry& cluster, Span now, Decisions& out);
    bool gives(const ClusterEntry& cluster) const;
    void claim(ClusterEntry& cluster);
    ClusterEntry* first_claim(int tier);
    ClusterEntry* first_gang_claim(int tier);
    void grant(Decisions& out);
    void shrink(Decisions& out);
    void take_idle(Decisions& out);
    void preempt(Decisions& out);
    bool keep_given();
    void release(NodeEntry& node, Decisions& out);
    void set_timer(ClusterEntry& cluster);
    NodeEntry* least_loaded(ClusterEntry& cluster, std::size_t below);
    // The same of those that are there long enough for that task.
    NodeEntry* least_loaded_for(const TaskEntry& task, std::size_t below, Span now);
    // Idle nodes that are not there long enough for the head of the line give their room to new
    // ones, as many as tasks need them.
    void replace_short_lived(ClusterEntry& cluster, const TaskEntry& head, Decisions& out);
};

}  // namespace turnout::schedule
