// What is decided between the clusters of a pool: who of those who lack nodes gets a slot, and
// which nodes give theirs.
#include <algorithm>
#include <utility>

#include "schedule/state.h"

namespace turnout::schedule {

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

}  // namespace turnout::schedule
