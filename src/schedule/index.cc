// The index: what stands where, kept up to date by each event.
#include <algorithm>
#include <utility>

#include "schedule/state.h"

namespace turnout::schedule {

namespace {

// A node gets tasks for about this long ahead, if the tasks of its cluster are short.
constexpr Span backlog_span = 100ms;
constexpr std::int64_t max_depth = 64;

}  // namespace

std::size_t ClusterEntry::depth() const {
    // The first to end are the short ones: they say little until as many ended as are at work.
    if (!duration || ended < static_cast<std::size_t>(busy) * at_a_time()) return 0;
    const std::int64_t each = std::max<std::int64_t>(1, duration->count());
    return static_cast<std::size_t>(std::min(max_depth, backlog_span.count() / each));
}

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
    AccountEntry& entry = accounts->of(account);
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
        if (task.lasts > 0) ++c.lasting[task.lasts];
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
        if (task.lasts > 0)
            if (const auto at = c.lasting.find(task.lasts); --at->second == 0) c.lasting.erase(at);
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
            node->used = true;
            node->gang = task.exclusive();
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

}  // namespace turnout::schedule
