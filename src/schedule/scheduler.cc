#include "schedule/scheduler.h"

#include <algorithm>
#include <utility>

#include "schedule/state.h"

namespace turnout::schedule {

namespace {

Span averaged(std::optional<Span> average, Span sample) {
    return average ? *average + (sample - *average) / 8 : sample;
}

}  // namespace

// ---- events ----

Scheduler::Scheduler(int slots, std::string pool, Accounts* accounts)
    : state_(std::make_unique<State>()) {
    state_->slots = state_->pool_slots = slots;
    state_->pool = std::move(pool);
    if (!accounts) {
        state_->own_accounts = std::make_unique<Accounts>();
        accounts = state_->own_accounts.get();
    }
    state_->accounts = accounts->state_.get();
    state_->number = ++state_->accounts->last_scheduler;
}

Scheduler::~Scheduler() {
    State& s = *state_;
    if (s.own_accounts) return;
    for (auto& [handle, c] : s.clusters) {
        if (c.account) c.account->clusters.erase({s.number, handle});
        for (auto& [account, stake] : c.stakes) stake.account->stakes.erase({s.number, handle});
    }
}

void Scheduler::State::set_slots(int pools, std::optional<int> supplied) {
    pool_slots = pools;
    supply = supplied;
    const int before = std::exchange(slots, std::min(pools, supplied.value_or(pools)));
    if (slots == before) return;
    set_gang_limits();
    for (auto& [handle, c] : clusters) touch(c);
}

void Scheduler::set_slots(int slots) {
    state_->set_slots(slots, state_->supply);
}

void Scheduler::set_name(std::string pool) {
    state_->pool = std::move(pool);
}

void Scheduler::set_supply(std::optional<int> nodes) {
    state_->set_slots(state_->pool_slots, nodes);
}

void Scheduler::put_cluster(Handle handle, const Cluster& as) {
    State& s = *state_;
    const auto [at, fresh] = s.clusters.try_emplace(handle, handle, s.tasks);
    ClusterEntry& c = at->second;
    if (!fresh && c.as == as) return s.touch(c);  // so what is kept for a gang stays
    TURNOUT_CHECK(fresh || c.as.account == as.account, "a cluster stays on its account");
    if (fresh && as.account != 0) {
        c.account = &s.accounts->of(as.account);
        c.account->clusters[{s.number, handle}] = {&s, &c};
    }
    s.stop_reserving(c);
    std::vector<NodeEntry*> all;
    for (NodeList& list : c.by_load) all.insert(all.end(), list.begin(), list.end());
    all.insert(all.end(), c.apart.begin(), c.apart.end());
    for (NodeEntry* node : all) s.detach(*node);
    c.as = as;
    for (NodeEntry* node : all) {
        node->drain = Drain::No;
        s.attach(*node);
        for (std::size_t i = 0; i < std::min(node->tasks.size(), c.at_a_time()); ++i)
            s.keep_where_it_is(node->tasks[i]);
    }
    s.set_gang_limits();
    s.touch(c);
}

void Scheduler::remove_cluster(Handle handle) {
    State& s = *state_;
    ClusterEntry& c = s.cluster(handle);
    TURNOUT_CHECK(c.sharers.empty() && c.apart.empty(),
                  "a cluster that is removed has no nodes and tasks");
    for (const NodeList& list : c.by_load)
        TURNOUT_CHECK(list.empty(), "a cluster that is removed has no nodes");
    c.as.deleting = true;
    s.claim(c);
    if (c.timer) s.timers.erase({*c.timer, handle});
    if (c.account) c.account->clusters.erase({s.number, handle});
    s.promised -= c.promised;
    std::erase(s.dirty, handle);
    std::erase(s.promising, handle);
    s.with_idle.erase(handle);
    s.clusters.erase(handle);
    s.set_gang_limits();
}

void Scheduler::hold_provisioning(Handle handle, Span until) {
    ClusterEntry& c = state_->cluster(handle);
    c.held_until = until;
    state_->touch(c);
}

void Scheduler::add_task(Handle handle, Handle cluster, const Demand& demand) {
    state_->enlist(state_->make(handle, cluster, demand));
}

void Scheduler::remove_task(Handle handle) {
    State& s = *state_;
    const TaskIndex index = s.tasks.find(handle);
    TURNOUT_CHECK(index != no_task && !s.tasks[index].placed, "a task that is removed waits");
    s.delist(index);
    s.forget(index);
}

void Scheduler::restore_task(Handle handle, Handle cluster, const Demand& demand,
                             const std::vector<Handle>& nodes) {
    State& s = *state_;
    TURNOUT_CHECK(!nodes.empty(), "a restored task is on nodes");
    std::vector<NodeEntry*> on;
    for (const Handle node : nodes) on.push_back(&s.node(node));
    s.put_on(s.make(handle, cluster, demand), on, s.last);
}

void Scheduler::left(Handle handle, Handle from, Span now, std::optional<Span> ran) {
    State& s = *state_;
    s.saw(now);
    const TaskIndex index = s.tasks.find(handle);
    TURNOUT_CHECK(index != no_task && s.tasks[index].placed, "a task that left was on a node");
    TaskEntry& task = s.tasks[index];
    ClusterEntry& c = *task.cluster;
    NodeEntry& node = s.node(from);
    TURNOUT_CHECK(std::erase(task.placed->nodes, &node) == 1,
                  "a task left a node that it was not on");
    s.change(node, [&] {
        std::erase(node.tasks, index);
        node.gang = false;
        node.since = now;
    });
    // Its turn has come: what was said to take it back came too late, or soon shows in `left`.
    if (node.tasks.size() >= c.at_a_time()) s.keep_where_it_is(node.tasks[c.at_a_time() - 1]);
    c.freed.push_back(from);
    c.line.turn(*task.sharer, -1, 0);
    s.uses(task, task.placed->nodes.empty() ? -1 : 0, -1);
    if (!task.placed->nodes.empty()) return;
    if (ran) {
        c.duration = averaged(c.duration, std::max(Span{}, *ran));
        ++c.ended;
    }
    s.keep_where_it_is(index);
    s.forget(index);
}

void Scheduler::add_node(Handle handle, Handle cluster, NodeIs is, Span now) {
    State& s = *state_;
    s.saw(now);
    const auto [at, fresh] = s.nodes.try_emplace(handle);
    TURNOUT_CHECK(fresh, "a node is added once");
    NodeEntry& node = at->second;
    node.handle = handle;
    node.cluster = &s.cluster(cluster);
    node.is = is;
    node.since = now;
    NodeList& list = node.cluster->apart;
    node.in = &list;
    node.at = list.insert(list.end(), &node);
    s.attach(node);
    node.cluster->freed.push_back(handle);
}

void Scheduler::node_is(Handle handle, NodeIs is, Span now) {
    State& s = *state_;
    s.saw(now);
    NodeEntry& node = s.node(handle);
    ClusterEntry& c = *node.cluster;
    // What it was told before may not have reached it.
    if (is == NodeIs::Ready)
        for (const TaskIndex index : node.tasks) s.keep_where_it_is(index);
    if (node.is == is) return s.touch(c);
    if (node.is == NodeIs::Starting && is == NodeIs::Ready)
        c.start = averaged(c.start, now - node.since);
    s.change(node, [&] {
        node.is = is;
        node.since = now;
        node.reserved = false;
        node.drain = Drain::No;
    });
    c.freed.push_back(handle);
}

void Scheduler::node_ends(Handle handle, Span at) {
    NodeEntry& node = state_->node(handle);
    node.ends = at;
    state_->touch(*node.cluster);
}

void Scheduler::remove_node(Handle handle) {
    State& s = *state_;
    NodeEntry& node = s.node(handle);
    TURNOUT_CHECK(node.tasks.empty(), "nothing is on a node that is removed");
    s.detach(node);
    s.touch(*node.cluster);
    node.in->erase(node.at);
    s.nodes.erase(handle);
}

TaskIndex Scheduler::State::make(Handle handle, Handle in, const Demand& demand) {
    TURNOUT_CHECK(tasks.find(handle) == no_task, "a task is added once");
    TURNOUT_CHECK(demand.nodes >= 1, "a task asks for a node at least");
    ClusterEntry& c = cluster(in);
    const TaskIndex index = tasks.add(handle);
    TaskEntry& task = tasks[index];
    task.order = demand.order;
    task.cluster = &c;
    task.sharer = &sharer(c, demand.sharer, demand.account);
    ++task.sharer->tasks;
    task.nodes = demand.nodes;
    task.priority = demand.priority;
    task.alone = demand.alone;
    task.lasts = static_cast<std::uint32_t>(demand.lasts.count());
    return index;
}

// ---- the plan, and what is asked ----

Decisions Scheduler::plan(Span now) {
    State& s = *state_;
    s.saw(now);
    Decisions out;
    for (const Handle handle : std::exchange(s.promising, {})) {
        ClusterEntry& c = s.cluster(handle);
        s.promised -= std::exchange(c.promised, 0);
        s.touch(c);
    }
    while (!s.timers.empty() && s.timers.begin()->first <= now) {
        ClusterEntry& c = s.cluster(s.timers.begin()->second);
        s.timers.erase(s.timers.begin());
        c.timer.reset();
        s.touch(c);
    }
    for (bool again = true; again;) {
        const std::vector<Handle> settled = std::exchange(s.dirty, {});
        for (const Handle handle : settled) s.settle(s.cluster(handle), now, out);
        for (const Handle handle : settled) s.set_timer(s.cluster(handle));
        again = s.keep_given() || !s.dirty.empty();  // who was placed took room of an account
    }
    s.shrink(out);
    s.grant(out);
    s.take_idle(out);
    s.preempt(out);
    for (const Handle handle : s.promising) s.set_timer(s.cluster(handle));
    for (const Handle handle : s.dirty) s.set_timer(s.cluster(handle));
    if (!s.timers.empty()) out.next = s.timers.begin()->first;
    return out;
}

Counts Scheduler::counts(Handle cluster) const {
    const ClusterEntry& c = std::as_const(*state_).cluster(cluster);
    return {c.starting, c.idle, c.busy, c.unreachable, c.leaving, c.singles + c.gangs.size()};
}

bool Scheduler::any_allowed(Handle cluster) const {
    const State& s = *state_;
    const ClusterEntry& c = s.cluster(cluster);
    if (c.singles_over == 0 && c.ranks_over == 0 && (!c.account || !c.account->limited()))
        return c.singles + c.gangs.size() > 0;
    return s.allowed_singles(c) + s.allowed_ranks(c) > 0;
}

Handle Scheduler::kept_by(Handle task) const {
    const TaskIndex index = state_->tasks.find(task);
    const AccountEntry* const account =
        index == no_task ? nullptr : state_->kept_by(std::as_const(*state_).tasks[index]);
    return account ? account->handle : 0;
}

int Scheduler::slots() const {
    return state_->pool_slots;
}
int Scheduler::free_slots() const {
    return std::max(0, state_->slots - static_cast<int>(state_->nodes.size()));
}

}  // namespace turnout::schedule
