// How a node ends: until Kubernetes says that no pod of it is left.
#include <algorithm>
#include <utility>

#include "provider/kubernetes/state.h"

namespace turnout {

namespace {

constexpr Span kLookAtPodsEnd = 200ms;
constexpr Span kFirstAskAgain = 500ms, kLastAskAgain = 30s;  // of a cluster that does not answer
constexpr Span kDeletedAgain = 10s;

}  // namespace

// Its agent was told to leave; what has not left in time is deleted.
Task<void> KubernetesProvider::State::let_go(std::shared_ptr<State> self, NodeId id) {
    while (self->starting.contains(id) && !self->over) co_await self->loop.sleep(20ms);
    if (self->over) co_return;
    // Of one without a handle nobody knows where it is, or whether it ever was.
    std::vector<KnownPtr> asked;
    const auto known = self->places.find(id);
    const PlacePtr place = known == self->places.end() ? nullptr : known->second;
    if (place)
        asked.push_back(place->cluster);
    else
        for (const auto& [where, cluster] : self->clusters) asked.push_back(cluster);
    const Span until = self->clock.since_boot() + self->options.leaving;
    Span pause = kFirstAskAgain;
    std::map<KnownPtr, Span> deleted;
    for (;;) {
        bool left = false, unknown = false;
        for (const KnownPtr& cluster : asked) {
            const Result<std::vector<PodSeen>> pods = co_await look(self, cluster);
            if (self->over) co_return;
            unknown = unknown || !pods;
            if (!pods) continue;
            for (const PodSeen& pod : *pods) {
                if (pod.node != id) continue;
                left = true;
                const Span now = self->clock.since_boot();
                // What it is told goes through its relay, which a later server has to begin.
                if (pod.is() == PodSeen::Is::Runs && place && !place->empty && now < until) {
                    place->made = true;
                    self->take_in_one(id, place, pod);
                    continue;
                }
                if (pod.deleting) continue;
                if (deleted.contains(cluster) && now - deleted[cluster] < kDeletedAgain) continue;
                deleted[cluster] = now;
                const Result<void> done = co_await cluster->api->remove(pod.name);
                if (self->over) co_return;
                if (!done) {
                    deleted.erase(cluster);
                    unknown = true;
                }
            }
        }
        // What was told to end is perhaps over by now, and that takes a while to be seen through.
        left = left || (place && place->ending && !place->gone);
        if (!left && !unknown) break;
        const Span wait = unknown ? pause : kLookAtPodsEnd;
        co_await self->loop.sleep(wait);
        if (self->over) co_return;
        pause = unknown ? std::min(kLastAskAgain, pause * 2) : kFirstAskAgain;
    }
    self->forget(id);
    self->leaving.erase(id);
    self->events.gone(id);
}

void KubernetesProvider::release(const NodeId& node, const Json& handle) {
    State& s = *state_;
    if (!s.leaving.insert(node).second) return;
    if (handle.at("kubeconfig").is_string()) (void)s.place_of(node, handle, Json());
    s.loop.post([state = state_, node] {
        if (!state->over) start(State::let_go(state, node), [] {});
    });
}

}  // namespace turnout
