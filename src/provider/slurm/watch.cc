// What becomes of pilots: Slurm's queue is looked at, and what it says is told. While a pilot runs
// its agent and the server talk through a step of it.
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "provider/slurm/state.h"

namespace turnout {

namespace {

constexpr Span kTick = 100ms;
constexpr Span kLookWaiting = 2s, kLookRunning = 15s;
constexpr Span kSaidAgain = 30s;
constexpr Span kWalltimeMoved = 10s;  // a change that is told
constexpr Span kFirstStep = 200ms, kLastStep = 5s, kStepWorked = 10s;
constexpr int kMostRemovals = 20;
constexpr Span kRemovedAgain = 500ms;
constexpr Span kMayBeOver = 3s;  // after a step that ended: so long the queue is looked at often

std::string last_line_of(const std::string& path) {
    const Result<std::string> text = read_file(path, 1 << 20);
    if (!text) return "";
    const std::string_view all = trim(*text);
    return shortened(all.substr(all.rfind('\n') + 1), 300);
}

}  // namespace

void SlurmProvider::State::keep_watch(const ClusterPtr& cluster) {
    if (over || std::exchange(cluster->watched, true)) return;
    start(watch(shared_from_this(), cluster), [] {});
}

Task<void> SlurmProvider::State::watch(std::shared_ptr<State> self, ClusterPtr cluster) {
    for (;;) {
        const Span looked = self->clock.since_boot();
        for (;;) {
            co_await self->loop.sleep(kTick);
            if (self->over) co_return;
            const Span now = self->clock.since_boot();
            bool any = false, wait = false;
            for (const auto& [id, place] : self->places) {
                if (place->cluster != cluster) continue;
                any = true;
                wait = wait || !place->ends;
            }
            if (!any) {
                cluster->watched = false;
                co_return;
            }
            if (now < cluster->quick_until || now - looked >= (wait ? kLookWaiting : kLookRunning))
                break;
        }
        (void)co_await look(self, cluster);
        if (self->over) co_return;
    }
}

void SlurmProvider::State::take_in(const ClusterPtr& cluster, std::uint64_t question,
                                   const std::vector<Pilot>& pilots) {
    const std::map<NodeId, PlacePtr> now = places;
    for (const auto& [id, place] : now) {
        if (place->cluster != cluster || place->job.empty() || place->ending) continue;
        if (question <= place->since) continue;  // it was asked before that pilot was known
        Pilot pilot;
        pilot.job = place->job;
        pilot.node = id;
        for (const Pilot& one : pilots)
            if (one.job == place->job) pilot = one;
        take_in_one(id, place, pilot);
        // One that an earlier life of the server submitted and did not hear of.
        for (const Pilot& one : pilots)
            if (one.node == id && one.job != place->job && one.phase() != Pilot::Phase::Over)
                start(cancel(shared_from_this(), cluster, one.job), [](const Result<void>&) {});
    }
}

void SlurmProvider::State::take_in_one(const NodeId& node, const PlacePtr& place,
                                       const Pilot& pilot) {
    if (place->ending) return;
    const Span now = clock.since_boot();
    switch (pilot.phase()) {
        case Pilot::Phase::Waits: {
            if (leaving.contains(node)) return;
            if (waits_for_ever(pilot.reason)) {
                place->ending = true;
                start(give_up(shared_from_this(), node, place, pilot), [] {});
                return;
            }
            // Slurm looks at a fresh one soon, and then it has a reason.
            if (pilot.reason == "None" && now < place->cluster->quick_until) return;
            std::string words = waits_in_words(pilot);
            if (words == place->said && now - place->said_at < kSaidAgain) return;
            place->said = words;
            place->said_at = now;
            // An answer may come inside of a call to this provider.
            loop.post([self = shared_from_this(), node, words] { self->say(node, words); });
            return;
        }
        case Pilot::Phase::Runs: {
            const Span ends = pilot.left ? now + *pilot.left : Span::max();
            const bool moved =
                !place->ends ||
                (ends > *place->ends ? ends - *place->ends : *place->ends - ends) > kWalltimeMoved;
            if (moved) {
                if (!place->ends)
                    say(node, "its pilot, Slurm job " + pilot.job + ", runs on " + pilot.where);
                place->ends = ends;
                if (pilot.left && events.ends) events.ends(node, *pilot.left);
            }
            return keep_relay(node, place);
        }
        case Pilot::Phase::Ends: return;
        case Pilot::Phase::Over:
            place->ending = true;
            start(see_end(shared_from_this(), node, place, pilot), [] {});
            return;
    }
}

Task<void> SlurmProvider::State::remove_folder(std::shared_ptr<State> self, NodeId node,
                                               std::string folder) {
    std::vector<std::string> all;
    // Of one without a handle nobody knows to which pool it belongs.
    for (const std::string& shared : self->shared_folders)
        if (const std::string one = self->folder_of(shared, node); folder.empty() || one == folder)
            all.push_back(one);
    if (all.empty() && folder.find("/turnout-" + self->instance + "/n/") != std::string::npos)
        all.push_back(folder);
    // While a step of a pilot lives that Slurm cannot end, it puts its socket there again.
    for (int i = 0; i < kMostRemovals; ++i) {
        std::function<bool()> remove = [all] {
            bool done = true;
            for (const std::string& one : all) {
                (void)::unlink((one + "/variables").c_str());  // which its pilot looks for
                done = remove_tree(one) && done;
            }
            return done;
        };
        const bool done = co_await apart(self->loop, std::move(remove));
        if (done || self->over) co_return;
        co_await self->loop.sleep(kRemovedAgain);
        if (self->over) co_return;
    }
}

Task<void> SlurmProvider::State::see_end(std::shared_ptr<State> self, NodeId node, PlacePtr place,
                                         Pilot pilot) {
    std::string why = ended_in_words(pilot);
    if (place->bridge) place->bridge->stop();
    if (pilot.state == "FAILED") {
        std::function<std::string()> read = [path = place->folder + "/pilot.log"] {
            return last_line_of(path);
        };
        const std::string words = co_await apart(self->loop, std::move(read));
        if (!words.empty()) why += "; it said " + shown(words);
    }
    co_await remove_folder(self, node, place->folder);
    // Slurm cannot end what runs on a node that does not answer, and does not say how any more of
    // one that it has forgotten: that pilot ends itself when it sees that its folder is gone.
    if (pilot.state == "NODE_FAIL" || pilot.state.empty())
        co_await self->loop.sleep(self->options.fenced);
    place->gone = true;
    self->tell_no_more(place->job);
    if (self->unwanted(node)) co_return;
    self->forget(node);
    if (self->events.lost)
        self->events.lost(node, why);
    else
        self->events.gone(node);
}

Task<void> SlurmProvider::State::give_up(std::shared_ptr<State> self, NodeId node, PlacePtr place,
                                         Pilot pilot) {
    (void)co_await cancel(self, place->cluster, pilot.job);
    co_await remove_folder(self, node, place->folder);
    place->gone = true;
    self->tell_no_more(place->job);
    if (self->unwanted(node)) co_return;
    self->forget(node);
    self->events.failed(
        node, Error(Code::InvalidArgument, "RefusedBySlurm",
                    "Slurm would let its pilots wait for ever: " + reason_in_words(pilot.reason)));
}

// ---- the relay ----

void SlurmProvider::State::keep_relay(const NodeId& node, const PlacePtr& place) {
    // One that is found without a handle is nobody's, and is to end.
    if (over || place->folder.empty() || std::exchange(place->relaying, true)) return;
    start(relay(shared_from_this(), node, place), [] {});
}

Task<void> SlurmProvider::State::relay(std::shared_ptr<State> self, NodeId node, PlacePtr place) {
    const auto wanted = [self, node, place] {
        const auto found = self->places.find(node);
        return !self->over && !place->ending && found != self->places.end() &&
               found->second == place;
    };
    Span pause = kFirstStep;
    while (wanted()) {
        const std::string root = place->folder.substr(0, place->folder.rfind("/n/"));
        const Span began = self->clock.since_boot();
        Result<SpawnRequest> srun =
            self->program(place->cluster->config, "srun",
                          {"--jobid=" + place->job, "--overlap", "--nodes=1", "--ntasks=1",
                           "--unbuffered", "--quiet", "--export=ALL", "--job-name=turnout-relay",
                           "--chdir=" + place->folder, place->folder + "/turnout-agent", "relay",
                           "--stdio", "--socket", place->folder + "/server.sock"});
        if (srun) {
            Result<std::unique_ptr<http::Stream>> stream =
                co_await begin_program(self->loop, std::move(*srun));
            if (!wanted()) break;
            if (stream) {
                const auto bridge = std::make_shared<link::Bridge>(
                    self->loop, self->clock, std::move(*stream), self->offers);
                place->bridge = bridge;
                (void)co_await bridge->run();
                place->bridge.reset();
                if (!wanted()) break;
            }
        }
        // Perhaps its pilot is over.
        place->cluster->quick_until =
            std::max(place->cluster->quick_until, self->clock.since_boot() + kMayBeOver);
        (void)co_await look(self, place->cluster);
        if (!wanted()) break;
        if (self->clock.since_boot() - began > kStepWorked) pause = kFirstStep;
        co_await self->loop.sleep(pause);
        pause = std::min(kLastStep, pause * 2);
    }
    place->relaying = false;
}

}  // namespace turnout
