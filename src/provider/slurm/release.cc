// How a node ends: until Slurm says that no pilot of it is left.
#include <algorithm>
#include <utility>

#include "provider/slurm/state.h"

namespace turnout {

namespace {

constexpr Span kLookAtPilotsEnd = 300ms;
constexpr Span kFirstAsk = 500ms, kLastAsk = 30s;  // of a Slurm that does not answer
constexpr Span kCanceledAgain = 10s;

}  // namespace

// Its agent was told to leave; what has not left in time is canceled.
Task<void> SlurmProvider::State::let_go(std::shared_ptr<State> self, NodeId id) {
    while (self->starting.contains(id) && !self->over) co_await self->loop.sleep(20ms);
    if (self->over) co_return;
    // Of one without a handle nobody knows where it is, or whether it ever was.
    std::vector<ClusterPtr> asked;
    const auto known = self->places.find(id);
    const PlacePtr place = known == self->places.end() ? nullptr : known->second;
    if (place)
        asked.push_back(place->cluster);
    else
        for (const auto& [config, cluster] : self->clusters) asked.push_back(cluster);
    const Span until = self->clock.since_boot() + self->options.leaving;
    Span pause = kFirstAsk;
    std::map<std::string, Span> canceled;
    for (;;) {
        bool left = place && place->ending && !place->gone, unknown = false;
        for (const ClusterPtr& cluster : asked) {
            const Result<std::vector<Pilot>> pilots = co_await look(self, cluster);
            if (self->over) co_return;
            unknown = unknown || !pilots;
            if (!pilots) continue;
            for (const Pilot& pilot : *pilots) {
                if (pilot.node != id || pilot.phase() == Pilot::Phase::Over) continue;
                left = true;
                const Span now = self->clock.since_boot();
                const bool may_leave = pilot.phase() == Pilot::Phase::Runs && place &&
                                       place->job == pilot.job && now < until;
                if (may_leave || pilot.phase() == Pilot::Phase::Ends) continue;
                if (canceled.contains(pilot.job) && now - canceled[pilot.job] < kCanceledAgain)
                    continue;
                canceled[pilot.job] = now;
                const Result<void> done = co_await cancel(self, cluster, pilot.job);
                if (self->over) co_return;
                if (!done) canceled.erase(pilot.job);
            }
        }
        // What was told to end is perhaps over by now, and that takes a while to be seen through.
        left = left || (place && place->ending && !place->gone);
        if (!left && !unknown) break;
        const Span wait = unknown ? pause : kLookAtPilotsEnd;
        co_await self->loop.sleep(wait);
        if (self->over) co_return;
        pause = unknown ? std::min(kLastAsk, pause * 2) : kFirstAsk;
    }
    std::string folder;
    if (place) folder = place->folder;
    co_await remove_folder(self, id, std::move(folder));
    if (self->over) co_return;
    if (place) self->tell_no_more(place->job);
    self->forget(id);
    self->leaving.erase(id);
    self->events.gone(id);
}

void SlurmProvider::release(const NodeId& node, const Json& handle) {
    State& s = *state_;
    if (!s.leaving.insert(node).second) return;
    if (handle.at("config").is_string()) (void)s.place_of(node, handle, Json::object());
    s.loop.post([state = state_, node] {
        if (!state->over) start(State::let_go(state, node), [] {});
    });
}

}  // namespace turnout
