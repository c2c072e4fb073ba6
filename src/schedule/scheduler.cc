#include "schedule/scheduler.h"

#include <algorithm>
#include <utility>

#include "schedule/state.h"

namespace turnout::schedule {

namespace {

// A node gets tasks for about this long ahead, if the tasks of its cluster are short.
constexpr Span backlog_span = 100ms;
constexpr std::int64_t max_depth = 64;
// A backlog that would be done sooner is left where it is: to take it back costs a round trip.
constexpr Span worth_revoking = 10ms;
// A backlog that has not moved for so long shows that the tasks are not short any more.
constexpr Span stalled = 500ms;

Span averaged(std::optional<Span> average, Span sample) {
    return average ? *average + (sample - *average) / 8 : sample;
}

}  // namespace

std::size_t ClusterEntry::depth() const {
    // The first to end are the short ones: they say little until as many ended as are at work.
    if (!duration || ended < static_cast<std::size_t>(busy) * at_a_time()) return 0;
    const std::int64_t each = std::max<std::int64_t>(1, duration->count());
    return static_cast<std::size_t>(std::min(max_depth, backlog_span.count() / each));
}

// ---- the index ----

ClusterEntry& Scheduler::State::cluster(Handle handle) {
    const auto found = clusters.find(handle);
    TURNOUT_CHECK(found != clusters.end(), "no such cluster");
    return found->second;
}

const ClusterEntry& Scheduler::State::cluster(Handle handle) const {
    const auto found = clusters.find(handle);
    TURNOUT_CHECK(found != clusters.end(), "no such cluster");
    return found->second;
}

NodeEntry& Scheduler::State::node(Handle handle) {
    const auto found = nodes.find(handle);
    TURNOUT_CHECK(found != nodes.end(), "no such node");
    return found->second;
}

Sharer& Scheduler::State::sharer(ClusterEntry& cluster, Handle handle, Handle account) {
    const auto [at, fresh] = cluster.sharers.try_emplace(handle);
    Sharer& sharer = at->second;
    TURNOUT_CHECK(fresh || (sharer.stake ? sharer.stake->account->handle : 0) == account,
                  "a sharer stays on its account");
    if (!fresh) return sharer;
    sharer.handle = handle;
    if (account == 0) return sharer;
    const auto [stake, is_new] = cluster.stakes.try_emplace(account);
    sharer.stake = &stake->second;
    ++sharer.stake->sharers;
    if (!is_new) return sharer;
    AccountEntry& entry = account_of(account);
    sharer.stake->account = &entry;
    sharer.stake->scheduler = this;
    sharer.stake->cluster = &cluster;
    entry.stakes[{number, cluster.handle}] = sharer.stake;
    return sharer;
}

void Scheduler::State::touch(ClusterEntry& cluster) {
    if (std::exchange(cluster.dirty, true)) return;
    dirty.push_back(cluster.handle);
}

NodeList& Scheduler::State::list_for(NodeEntry& node) {
    ClusterEntry& c = *node.cluster;
    if (node.reserved) return c.reserved;
    if (node.is != NodeIs::Ready || node.gang || node.drain != Drain::No) return c.apart;
    if (c.by_load.size() <= node.tasks.size()) {
        // Lists do not move well: their ends are part of them.
        std::vector<NodeList> more(node.tasks.size() + 8);
        for (std::size_t i = 0; i < c.by_load.size(); ++i) {
            more[i].splice(more[i].end(), c.by_load[i]);
            for (NodeEntry* each : more[i]) each->in = &more[i];
        }
        c.by_load.swap(more);
    }
    return c.by_load[node.tasks.size()];
}

void Scheduler::State::detach(NodeEntry& node) {
    ClusterEntry& c = *node.cluster;
    const std::size_t load = node.tasks.size();
    const bool ready = node.is == NodeIs::Ready;
    switch (node.is) {
        case NodeIs::Starting: --c.starting; break;
        case NodeIs::Ready: load == 0 ? --c.idle : --c.busy; break;
        case NodeIs::Unreachable: --c.unreachable; break;
        case NodeIs::Leaving: --c.leaving, --leaving; break;
    }
    if (node.drain != Drain::No)
        --c.draining, --draining;
    else if ((ready && load > 0) || node.is == NodeIs::Unreachable)
        --c.used;
    if (node.drain == Drain::Given) given.erase(node.handle);
    if (node.drain == Drain::Over) c.over.erase(node.handle);
    if (node.reserved)
        load == 0 ? --c.reserved_idle : --c.reserved_used;
    else if (ready && !node.gang && node.drain == Drain::No && load < c.at_a_time())
        c.room -= static_cast<long>(c.at_a_time() - load);
    if (ready && !node.gang && load > c.at_a_time()) c.backlogs.erase({node.since, node.handle});
    if (ready && load > 0 && node.drain == Drain::No && c.as.low_priority)
        victims.erase({tasks[node.tasks.back()].placed->stamp, node.handle});
    if (ready && c.idle == 0) with_idle.erase(c.handle);
}

void Scheduler::State::attach(NodeEntry& node) {
    ClusterEntry& c = *node.cluster;
    const std::size_t load = node.tasks.size();
    const bool ready = node.is == NodeIs::Ready;
    switch (node.is) {
        case NodeIs::Starting: ++c.starting; break;
        case NodeIs::Ready: load == 0 ? ++c.idle : ++c.busy; break;
        case NodeIs::Unreachable: ++c.unreachable; break;
        case NodeIs::Leaving: ++c.leaving, ++leaving; break;
    }
    if (node.drain != Drain::No)
        ++c.draining, ++draining;
    else if ((ready && load > 0) || node.is == NodeIs::Unreachable)
        ++c.used;
    if (node.drain == Drain::Given) given.insert(node.handle);
    if (node.drain == Drain::Over) c.over.insert(node.handle);
    if (node.reserved)
        load == 0 ? ++c.reserved_idle : ++c.reserved_used;
    else if (ready && !node.gang && node.drain == Drain::No && load < c.at_a_time())
        c.room += static_cast<long>(c.at_a_time() - load);
    if (ready && !node.gang && load > c.at_a_time()) c.backlogs.insert({node.since, node.handle});
    if (ready && load > 0 && node.drain == Drain::No && c.as.low_priority)
        victims.insert({tasks[node.tasks.back()].placed->stamp, node.handle});
    if (ready && load == 0) with_idle.insert(c.handle);
    NodeList& to = list_for(node);
    to.splice(to.end(), *node.in, node.at);
    node.in = &to;
    touch(c);
}

void Scheduler::State::enlist(TaskIndex index) {
    TaskEntry& task = tasks[index];
    ClusterEntry& c = *task.cluster;
    touch(c);
    waits(task, 1);
    if (task.nodes == 1) {
        ++c.singles;
        c.line.add(index);
        return;
    }
    c.gangs.insert({task.nodes, index});
    task.out = is_out(task);
    if (task.out) return;
    gang_counts(task, 1);
    c.line.add(index);
}

void Scheduler::State::delist(TaskIndex index) {
    TaskEntry& task = tasks[index];
    ClusterEntry& c = *task.cluster;
    touch(c);
    if (c.reserving == index) stop_reserving(c);
    waits(task, -1);
    if (task.nodes == 1) {
        --c.singles;
        c.line.remove(index);
        return;
    }
    c.gangs.erase({task.nodes, index});
    if (std::exchange(task.out, false)) return;
    gang_counts(task, -1);
    c.line.remove(index);
}

void Scheduler::State::forget(TaskIndex index) {
    TaskEntry& task = tasks[index];
    if (--task.sharer->tasks == 0) {
        ClusterEntry& c = *task.cluster;
        if (Stake* const stake = task.sharer->stake; stake && --stake->sharers == 0) {
            stake->account->stakes.erase({number, c.handle});
            c.stakes.erase(stake->account->handle);
        }
        c.sharers.erase(task.sharer->handle);
    }
    tasks.remove(index);
}

// The gang goes back into line, its nodes to whoever is next.
void Scheduler::State::stop_reserving(ClusterEntry& c) {
    if (c.reserving == no_task) return;
    Stake* const stake = tasks[c.reserving].sharer->stake;
    c.line.add(std::exchange(c.reserving, no_task));
    if (stake) {
        stake->promised = 0;
        c.line.wake(*stake);
    }
    while (!c.reserved.empty()) {
        NodeEntry& node = *c.reserved.front();
        change(node, [&] {
            node.reserved = false;
            if (node.tasks.empty()) node.since = last;
        });
        c.freed.push_back(node.handle);
    }
}

// A gang that needs more than its cluster can ever have must not stand in the way of others.
void Scheduler::State::set_gang_limits() {
    int dedicated = 0, all = 0;
    for (const auto& [handle, c] : clusters) {
        all += c.minimum();
        if (!c.as.low_priority) dedicated += c.minimum();
    }
    for (auto& [handle, c] : clusters) {
        const int others = (c.as.low_priority ? all : dedicated) - c.minimum();
        const int limit = std::max(0, std::min(std::max(0, c.as.max_nodes), slots - others));
        if (limit == c.gang_limit) continue;
        if (c.reserving != no_task && tasks[c.reserving].nodes > limit) stop_reserving(c);
        const int low = std::min(limit, c.gang_limit), high = std::max(limit, c.gang_limit);
        c.gang_limit = limit;
        for (auto it = c.gangs.upper_bound({low, no_task});
             it != c.gangs.end() && it->first <= high; ++it)
            reline(it->second);
        touch(c);
    }
}

void Scheduler::State::put_on(TaskIndex index, const std::vector<NodeEntry*>& on, Span now) {
    TaskEntry& task = tasks[index];
    ClusterEntry& c = *task.cluster;
    task.placed = std::make_unique<Placed>();
    task.placed->nodes = on;
    task.placed->stamp = ++stamp;
    for (NodeEntry* node : on)
        change(*node, [&] {
            if (node->tasks.size() <= c.at_a_time()) node->since = now;
            node->tasks.push_back(index);
            node->gang = task.alone();
            node->reserved = false;
        });
    c.line.turn(*task.sharer, static_cast<int>(on.size()), stamp);
    uses(task, 1, static_cast<int>(on.size()));
}

NodeEntry* Scheduler::State::least_loaded(ClusterEntry& c, std::size_t below) {
    for (std::size_t load = 0; load < std::min(below, c.by_load.size()); ++load)
        if (!c.by_load[load].empty())
            return c.by_load[load].back();  // the one used last: the others may go
    return nullptr;
}

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
        c.account = &s.account_of(as.account);
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
    task.stays = demand.stays;
    return index;
}

// ---- one cluster ----

void Scheduler::State::release(NodeEntry& node, Decisions& out) {
    change(node, [&] {
        node.is = NodeIs::Leaving;
        node.drain = Drain::No;
        node.reserved = false;
    });
    out.release.push_back(node.handle);
}

// More nodes than it may have: idle ones go now, others when they are done.
void Scheduler::State::trim(ClusterEntry& c, Decisions& out) {
    const int maximum = c.maximum();
    if (c.kept() > maximum && c.reserving != no_task && c.idle > 0 && c.reserved_idle == c.idle)
        stop_reserving(c);
    while (c.kept() > maximum && !c.by_load[0].empty()) release(*c.by_load[0].front(), out);
    while (c.kept() - c.starting > maximum) {
        NodeEntry* node = least_loaded(c, c.by_load.size());
        if (!node && c.reserving != no_task) {
            stop_reserving(c);
            continue;
        }
        if (!node) break;
        change(*node, [&] { node->drain = Drain::Over; });
    }
    // Not those that were chosen go, but those that are done first.
    while (!c.over.empty() && !c.by_load[0].empty()) {
        NodeEntry& stays = node(*c.over.begin());
        NodeEntry& goes = *c.by_load[0].front();
        change(stays, [&] { stays.drain = Drain::No; });
        release(goes, out);
    }
}

// Does another cluster have a better right to the slot of a node that just became free here?
bool Scheduler::State::gives(const ClusterEntry& c) const {
    if (excess() > 0) return true;
    const long others = lack[0] + lack[1] - c.lack;
    if (others <= incoming()) return false;
    long entitled = 0;
    for (int tier = 0; tier <= (c.as.low_priority ? 1 : 0); ++tier) {
        const bool must = c.as.low_priority && tier == 0;
        if (!must && c.kept() <= c.minimum()) break;
        const ClusterEntry* first = nullptr;
        if (!gang_claims[tier].empty()) first = &cluster(std::get<1>(*gang_claims[tier].begin()));
        if (first == &c && !must) break;  // it is its turn to get many at once
        if (first) entitled += first->gang_lack;
        for (const auto& [kept, handle] : claims[tier]) {
            if (entitled > incoming()) return true;
            const ClusterEntry& other = cluster(handle);
            if (&other == &c) continue;
            const int lacking = other.lack - (&other == first ? other.gang_lack : 0);
            if (must) {
                entitled += lacking;
                continue;
            }
            const int fair = (c.kept() - kept) / 2;
            if (fair <= 0) break;
            entitled += std::min(lacking, fair);
        }
    }
    return entitled > incoming();
}

bool Scheduler::would_lose_slot(Handle handle) const {
    return state_->gives(std::as_const(*state_).cluster(handle));
}

void Scheduler::State::settle(ClusterEntry& c, Span now, Decisions& out) {
    c.dirty = true;  // what is changed here need not be looked at again
    if (c.shut()) stop_reserving(c);
    trim(c, out);
    const std::vector<Handle> freed = std::exchange(c.freed, {});
    for (const Handle handle : freed) {
        const auto found = nodes.find(handle);
        if (found == nodes.end()) continue;
        NodeEntry& node = found->second;
        if (node.is != NodeIs::Ready || node.gang) continue;
        if (node.tasks.empty() && node.drain == Drain::Over) {
            release(node, out);
            continue;
        }
        if (node.tasks.empty() && node.drain == Drain::Given)
            change(node, [&] { node.drain = Drain::No; });
        if (node.drain != Drain::No || node.tasks.size() >= c.at_a_time() || !gives(c)) continue;
        if (node.tasks.empty())
            release(node, out);
        else if (!node.reserved)
            change(node, [&] { node.drain = Drain::Given; });
    }
    if (!c.shut()) assign(c, now, out);
    take_back(c, now, out);
    claim(c);
    let_idle_go(c, now, out);
    c.dirty = false;
}

void Scheduler::State::assign(ClusterEntry& c, Span now, Decisions& out) {
    while (true) {
        if (c.reserving != no_task && !fits(tasks[c.reserving])) stop_reserving(c);
        const TaskIndex head = c.line.head();
        const bool gang_first =
            c.reserving != no_task &&
            (head == no_task || tasks[head].priority <= tasks[c.reserving].priority);
        if (gang_first) {
            if (assign_gang(c, c.reserving, now, out)) continue;
            // It keeps what it needs; what is beyond that is for the others.
            if (static_cast<int>(c.reserved.size()) < tasks[c.reserving].nodes) return;
        }
        if (head == no_task || (c.account && !c.account->fits(tasks[head].nodes))) return;
        if (!(tasks[head].nodes == 1 ? assign_one(c, head, now, out)
                                     : assign_gang(c, head, now, out)))
            return;
    }
}

bool Scheduler::State::assign_one(ClusterEntry& c, TaskIndex index, Span now, Decisions& out) {
    // Behind those that run on a node that is to go soon nothing is to wait.
    const std::size_t free = tasks[index].stays ? 1 : c.at_a_time();
    NodeEntry* node =
        least_loaded(c, tasks[index].stays ? free : free + (excess() > 0 ? 0 : c.depth()));
    if ((!node || node->tasks.size() >= free) && c.reserving != no_task &&
        tasks[index].priority > tasks[c.reserving].priority) {
        // It goes before the gang, so it may have one of the gang's nodes.
        for (NodeEntry* each : c.reserved)
            if (each->tasks.size() < free && (!node || each->tasks.size() < node->tasks.size()))
                node = each;
    }
    if (!node) return false;
    delist(index);
    put_on(index, {node}, now);
    out.assign.push_back({tasks[index].handle, {node->handle}});
    return true;
}

// Places a gang or, if it is the first in line, keeps nodes for it.
bool Scheduler::State::assign_gang(ClusterEntry& c, TaskIndex index, Span now, Decisions& out) {
    const TaskEntry& task = tasks[index];
    const auto wanted = static_cast<std::size_t>(task.nodes);
    const bool reserves = c.reserving == index;
    const std::size_t idle =
        (reserves ? static_cast<std::size_t>(c.reserved_idle) : 0) + c.by_load[0].size();
    if (idle >= wanted) {
        std::vector<NodeEntry*> on;
        if (reserves)
            for (NodeEntry* node : c.reserved)
                if (node->tasks.empty() && on.size() < wanted) on.push_back(node);
        for (auto node = c.by_load[0].rbegin(); on.size() < wanted; ++node) on.push_back(*node);
        Decisions::Assign placed{task.handle, {}};
        for (const NodeEntry* node : on) placed.nodes.push_back(node->handle);
        delist(index);
        if (reserves) c.reserved_for = 0;  // if it comes back it has had its turn
        put_on(index, on, now);
        out.assign.push_back(std::move(placed));
        return true;
    }
    if (!reserves) {
        if (c.reserving != no_task && tasks[c.reserving].priority >= task.priority) return false;
        stop_reserving(c);
        c.line.remove(index);
        c.reserving = index;
        if (Stake* const stake = task.sharer->stake) {
            stake->promised = task.nodes;
            stake->promised_priority = task.priority;
        }
        // One that had to let go for a moment keeps its place among the clusters.
        if (std::exchange(c.reserved_for, task.handle) != task.handle) c.reserving_since = ++stamp;
    }
    // Idle nodes first; where several tasks share a node, then those that are nearest to it.
    while (c.reserved.size() < wanted || (c.reserved_used > 0 && !c.by_load[0].empty())) {
        NodeEntry* node = least_loaded(c, c.at_a_time());
        if (!node) break;
        if (c.reserved.size() >= wanted) {
            NodeEntry* used = *std::find_if(c.reserved.begin(), c.reserved.end(),
                                            [](NodeEntry* each) { return !each->tasks.empty(); });
            change(*used, [&] { used->reserved = false; });
        }
        change(*node, [&] { node->reserved = true; });
    }
    return !reserves;
}

bool Scheduler::State::revoke_newest(ClusterEntry& c, NodeEntry& node, Decisions& out) {
    for (std::size_t i = node.tasks.size(); i > c.at_a_time(); --i) {
        const TaskEntry& task = tasks[node.tasks[i - 1]];
        if (task.placed->revoking) continue;
        task.placed->revoking = true;
        ++c.revoking;
        out.revoke.emplace_back(task.handle, node.handle);
        return true;
    }
    return false;
}

// It is not being taken back, or no longer.
void Scheduler::State::keep_where_it_is(TaskIndex index) {
    TaskEntry& task = tasks[index];
    if (std::exchange(task.placed->revoking, false)) --task.cluster->revoking;
}

// Tasks that wait on a node although they need not.
void Scheduler::State::take_back(ClusterEntry& c, Span now, Decisions& out) {
    while (!c.backlogs.empty() && c.backlogs.begin()->first + stalled <= now) {
        NodeEntry& late = node(c.backlogs.begin()->second);
        c.duration = std::max(c.duration.value_or(Span{}), now - late.since);
        while (revoke_newest(c, late, out)) {
        }
        change(late, [&] { late.since = now; });
    }
    if (waits_for_node(c) || c.reserving != no_task || c.backlogs.empty()) return;
    const auto running = static_cast<std::int64_t>(c.at_a_time());
    for (std::size_t load = c.by_load.size(); load-- > c.at_a_time() + 1 && c.room > c.revoking;) {
        const auto behind = static_cast<std::int64_t>(load) - running;
        if (c.duration && *c.duration * behind / running < worth_revoking) return;
        for (NodeEntry* each : c.by_load[load]) {
            while (c.room > c.revoking && revoke_newest(c, *each, out)) {
            }
            if (c.room <= c.revoking) return;
        }
    }
}

// What the cluster wants and does not have, among the claims of its tier.
void Scheduler::State::claim(ClusterEntry& c) {
    if (c.lack > 0) {
        claims[c.claimed_low].erase(c.claim_key);
        lack[c.claimed_low] -= c.lack;
    }
    if (c.gang_claims) gang_claims[c.claimed_low].erase(c.gang_key);
    const int at_work = c.used - c.reserved_used;
    const auto each = static_cast<long>(c.at_a_time());
    const long useful = at_work + allowed_ranks(c) + (allowed_singles(c) + each - 1) / each;
    c.wanted = static_cast<int>(std::clamp<long>(useful, c.minimum(), c.maximum()));
    const bool held = c.held_until > last || c.shut();
    c.lack = held ? 0 : std::max(0, c.wanted - c.kept());
    c.gang_lack = 0;
    if (c.lack > 0 && c.reserving != no_task)
        c.gang_lack = std::clamp(at_work + tasks[c.reserving].nodes - c.kept(), 0, c.lack);
    c.claimed_low = c.as.low_priority;
    // Once it claims it does so until the gang is placed: while the last nodes start, nobody may
    // take the first ones.
    const std::tuple<std::uint64_t, Handle> gang_key{c.reserving_since, c.handle};
    c.gang_claims = !held && c.reserving != no_task &&
                    (c.gang_lack > 0 || (c.gang_claims && c.gang_key == gang_key));
    c.gang_key = gang_key;
    if (c.gang_claims) gang_claims[c.claimed_low].insert(c.gang_key);
    if (c.lack == 0) return;
    c.claim_key = {c.kept(), c.handle};
    claims[c.claimed_low].insert(c.claim_key);
    lack[c.claimed_low] += c.lack;
}

void Scheduler::State::let_idle_go(ClusterEntry& c, Span now, Decisions& out) {
    while (c.kept() > std::max(c.minimum(), c.wanted) && !c.by_load[0].empty()) {
        NodeEntry& node = *c.by_load[0].front();
        if (now - node.since < c.as.idle_before_scale_down && c.kept() <= c.maximum()) break;
        release(node, out);
    }
}

void Scheduler::State::set_timer(ClusterEntry& c) {
    std::optional<Span> due;
    const auto at = [&](Span when) { due = due ? std::min(*due, when) : when; };
    if (c.held_until > last && c.wanted > c.kept()) at(c.held_until);
    if (c.kept() > std::max(c.minimum(), c.wanted) && !c.by_load[0].empty())
        at(c.by_load[0].front()->since + c.as.idle_before_scale_down);
    if (c.backlogs.empty()) {
        c.next_look.reset();
    } else {
        // A look too early costs little; a timer that moves with every task costs more.
        if (!c.next_look || *c.next_look <= last) c.next_look = c.backlogs.begin()->first + stalled;
        at(*c.next_look);
    }
    if (due == c.timer) return;
    if (c.timer) timers.erase({*c.timer, c.handle});
    c.timer = due;
    if (c.timer) timers.insert({*c.timer, c.handle});
}

// ---- between clusters ----

ClusterEntry* Scheduler::State::first_gang_claim(int tier) {
    return gang_claims[tier].empty() ? nullptr : &cluster(std::get<1>(*gang_claims[tier].begin()));
}

ClusterEntry* Scheduler::State::first_claim(int tier) {
    if (ClusterEntry* gang = first_gang_claim(tier); gang && gang->gang_lack > 0) return gang;
    return claims[tier].empty() ? nullptr : &cluster(std::get<1>(*claims[tier].begin()));
}

void Scheduler::State::grant(Decisions& out) {
    for (int tier = 0; tier < 2; ++tier)
        while (free() > 0) {
            ClusterEntry* c = first_claim(tier);
            if (!c) break;
            if (c->promised++ == 0) promising.push_back(c->handle);
            ++promised;
            claim(*c);
        }
    for (const Handle handle : promising)
        out.provision.emplace_back(handle, cluster(handle).promised);
}

// The pool has fewer slots than nodes: idle ones go, first those that nobody wants, then those of
// low priority.
void Scheduler::State::shrink(Decisions& out) {
    for (int round = 0; round < 3 && excess() > 0; ++round)
        for (const Handle handle : std::vector<Handle>(with_idle.begin(), with_idle.end())) {
            ClusterEntry& c = cluster(handle);
            while (excess() > 0 && c.idle > 0 &&
                   (round == 2 || (round == 1 ? c.as.low_priority
                                              : c.kept() > std::max(c.minimum(), c.wanted)))) {
                NodeList& list = !c.by_load[0].empty() ? c.by_load[0] : c.reserved;
                const auto node = std::find_if(list.begin(), list.end(),
                                               [](NodeEntry* each) { return each->tasks.empty(); });
                if (node == list.end()) break;
                release(**node, out);
            }
            claim(c);
        }
}

// Idle nodes of those who do without, for those who lack slots.
void Scheduler::State::take_idle(Decisions& out) {
    const auto lacking = [&] { return lack[0] + lack[1] - incoming(); };
    if (lacking() <= 0) return;
    const std::vector<Handle> idle(with_idle.begin(), with_idle.end());
    for (const Handle handle : idle) {
        ClusterEntry& c = cluster(handle);
        while (lacking() > 0 && c.kept() > std::max(c.minimum(), c.wanted) && !c.by_load[0].empty())
            release(*c.by_load[0].front(), out);
    }
    for (const Handle handle : idle) {
        ClusterEntry& c = cluster(handle);
        while (c.as.low_priority && c.idle > 0 && lack[0] > incoming()) {
            NodeList& list = !c.by_load[0].empty() ? c.by_load[0] : c.reserved;
            const auto node = std::find_if(list.begin(), list.end(),
                                           [](NodeEntry* each) { return each->tasks.empty(); });
            if (node == list.end()) break;
            release(**node, out);
            claim(c);
        }
    }
    // Of gangs that wait for slots the first gets what the others keep: else none would ever start.
    for (int tier = 0; tier < 2; ++tier) {
        const ClusterEntry* first = first_gang_claim(tier);
        if (!first) continue;
        std::vector<Handle> others;
        for (const auto& [since, handle] : gang_claims[tier])
            if (handle != first->handle) others.push_back(handle);
        for (auto other = others.rbegin(); other != others.rend(); ++other) {
            ClusterEntry& c = cluster(*other);
            while (first->gang_lack > incoming() && c.reserved_idle > 0 && c.kept() > c.minimum()) {
                release(**std::find_if(c.reserved.begin(), c.reserved.end(),
                                       [](NodeEntry* each) { return each->tasks.empty(); }),
                        out);
                claim(c);
            }
        }
    }
}

void Scheduler::State::preempt(Decisions& out) {
    while (lack[0] > incoming() && !victims.empty()) {
        NodeEntry& newest = node(victims.rbegin()->second);
        for (const TaskIndex index :
             std::vector<TaskIndex>(newest.tasks.rbegin(), newest.tasks.rend())) {
            Placed& placed = *tasks[index].placed;
            if (std::exchange(placed.preempting, true)) continue;
            out.preempt.push_back(tasks[index].handle);
            for (NodeEntry* each : placed.nodes)
                if (each != &newest && each->is == NodeIs::Ready && each->drain == Drain::No)
                    change(*each, [&] { each->drain = Drain::Given; });
        }
        change(newest, [&] { newest.drain = Drain::Given, newest.reserved = false; });
        claim(*newest.cluster);
    }
}

// Nobody lacks slots any more: the nodes that were to be given away go on.
bool Scheduler::State::keep_given() {
    bool some = false;
    while (lack[0] + lack[1] == 0 && !given.empty() && excess() < 0) {
        NodeEntry& each = node(*given.begin());
        change(each, [&] { each.drain = Drain::No; });
        some = true;
    }
    return some;
}

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

std::size_t Scheduler::allowed(Handle cluster) const {
    const State& s = *state_;
    const ClusterEntry& c = s.cluster(cluster);
    if (c.singles_over == 0 && c.ranks_over == 0 && (!c.account || !c.account->limited()))
        return c.singles + c.gangs.size();
    return static_cast<std::size_t>(s.allowed_singles(c) + s.allowed_ranks(c));
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
