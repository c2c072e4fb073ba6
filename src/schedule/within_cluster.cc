// What is decided within one cluster: who gets which of its nodes, what is taken back, which nodes
// it wants and which it lets go.
#include <algorithm>
#include <utility>

#include "model/walltime.h"
#include "schedule/state.h"

namespace turnout::schedule {

namespace {

// A backlog that would be done sooner is left where it is: to take it back costs a round trip.
constexpr Span worth_revoking = 10ms;
// A backlog that has not moved for so long shows that the tasks are not short any more.
constexpr Span stalled = 500ms;
// A node that nothing was on yet will not be there for longer if another takes its place.
constexpr Span fresh = 60s;

}  // namespace

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
    c.too_short = 0;
    c.too_long = 0;
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

NodeEntry* Scheduler::State::least_loaded_for(const TaskEntry& task, std::size_t below, Span now) {
    ClusterEntry& c = *task.cluster;
    const auto lasts = [&](const NodeEntry& node, std::size_t load) {
        if (!node.ends) return true;
        // Of what takes longer than any of them lives the first try says so.
        if (!node.used && now - node.since < fresh) return true;
        const Span before = c.duration.value_or(Span{}) * static_cast<std::int64_t>(load);
        return now + before + std::chrono::seconds(task.lasts) + kBeforeNodeEnds <= *node.ends;
    };
    for (std::size_t load = 0; load < std::min(below, c.by_load.size()); ++load) {
        NodeList& nodes_of_load = c.by_load[load];
        for (auto at = nodes_of_load.rbegin(); at != nodes_of_load.rend(); ++at)
            if (lasts(**at, load)) return *at;
    }
    return nullptr;
}

void Scheduler::State::replace_short_lived(ClusterEntry& c, const TaskEntry& head, Decisions& out) {
    if (c.by_load[0].empty()) return;
    std::size_t as_long = 0;
    for (auto at = c.lasting.lower_bound(std::max(head.lasts, 1u)); at != c.lasting.end(); ++at)
        as_long += at->second;
    if (head.lasts == 0) as_long = c.singles;  // all of them are about to end
    c.too_long = std::min(static_cast<long>(std::max<std::size_t>(as_long, 1)), allowed_singles(c));
    const auto each = static_cast<long>(c.at_a_time());
    const long nodes_for_them = (c.too_long + each - 1) / each;
    while (!c.by_load[0].empty() &&
           c.starting + c.promised + std::min(c.maximum() - c.kept(), incoming()) < nodes_for_them)
        release(*c.by_load[0].front(), out);
    c.too_short = static_cast<int>(c.by_load[0].size());
}

bool Scheduler::State::assign_one(ClusterEntry& c, TaskIndex index, Span now, Decisions& out) {
    // Behind those that run on a node that is to go soon nothing is to wait.
    const std::size_t free = tasks[index].alone ? 1 : c.at_a_time();
    NodeEntry* node = least_loaded_for(
        tasks[index], tasks[index].alone ? free : free + (excess() > 0 ? 0 : c.depth()), now);
    if ((!node || node->tasks.size() >= free) && c.reserving != no_task &&
        tasks[index].priority > tasks[c.reserving].priority) {
        // It goes before the gang, so it may have one of the gang's nodes.
        for (NodeEntry* each : c.reserved)
            if (each->tasks.size() < free && (!node || each->tasks.size() < node->tasks.size()))
                node = each;
    }
    if (!node) {
        replace_short_lived(c, tasks[index], out);
        return false;
    }
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
    const long useful =
        at_work + std::max(allowed_ranks(c) + (allowed_singles(c) + each - 1) / each,
                           c.too_short + (c.too_long + each - 1) / each);
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

}  // namespace turnout::schedule
