// How a node begins: its pod is found, or made, and the agent is put into it.
#include <algorithm>
#include <functional>
#include <utility>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "provider/container/settings.h"
#include "provider/kubernetes/state.h"

namespace turnout {

namespace {

constexpr Span kBeginsSoon = 10s;  // so long a fresh pod is looked at often
constexpr Span kClearLook = 200ms;
constexpr Span kFirstEquip = 100ms, kLastEquip = 2s;
constexpr Span kAskTime = 20s, kPutTime = 10min;
constexpr int kMostConflicts = 10;
constexpr std::string_view kBegun = "begun";

}  // namespace

Task<Result<void>> KubernetesProvider::State::read_programs(std::shared_ptr<State> self) {
    for (const bool is_agent : {true, false}) {
        const std::string path = is_agent ? self->options.agent : self->options.uv;
        if (path.empty() || !(is_agent ? self->agent : self->uv).empty()) continue;
        std::function<Result<std::string>()> read = [path] { return read_file(path, 256 << 20); };
        Result<std::string> bytes = co_await apart(self->loop, std::move(read));
        if (bytes)
            (is_agent ? self->agent : self->uv) = std::move(*bytes);
        else if (is_agent)
            co_return Failure(bytes.error());
    }
    co_return Result<void>();
}

Task<Result<void>> KubernetesProvider::State::clear_way(std::shared_ptr<State> self, NodeId id,
                                                        KnownPtr cluster) {
    const std::string pod = pod_name(self->instance, id);
    bool told = false;
    for (;;) {
        const Result<std::vector<PodSeen>> pods = co_await look(self, cluster);
        if (!pods) co_return Failure(pods.error());
        const auto there = std::ranges::find(*pods, id, &PodSeen::node);
        if (there == pods->end()) co_return Result<void>();
        if (!there->deleting && !std::exchange(told, true)) {
            TURNOUT_CO_TRY_VOID(co_await cluster->api->remove(pod));
        } else {
            told = told && !there->deleting;
            co_await self->loop.sleep(kClearLook);
        }
        if (self->over) co_return self->ended();
    }
}

Task<Result<void>> KubernetesProvider::State::begin(std::shared_ptr<State> self,
                                                    NodeRequest request) {
    const NodeId id = request.id;
    const KubernetesSettings settings = read_kubernetes_settings(request.settings);
    // An image is a job's word: what no engine could be asked for ends those that want it.
    if (!request.image.empty() && !fits_as_image(request.image))
        co_return fail(
            Code::InvalidArgument, kImageNotThere,
            "expected the name of an image, such as python:3.11, found " + shown(request.image),
            request.image);
    if (request.cores <= 0 && settings.find(request.size) == nullptr)
        co_return fail(Code::InvalidArgument, "NoInstanceType",
                       "pool '" + request.pool + "' has no instance type " + shown(request.size) +
                           " any more: say it in pools.yaml, or attach the pool with another one",
                       request.size);
    const auto known = self->places.find(id);
    if (known == self->places.end()) co_return self->ended();
    PlacePtr place = known->second;
    const KnownPtr cluster = place->cluster;
    const Result<std::vector<PodSeen>> pods = co_await look(self, cluster);
    if (self->unwanted(id)) co_return self->ended();
    if (place->ending) co_return Result<void>();  // its pod is over, and that is told
    if (!pods) {
        // An earlier server asked for it, or this one: it may run, and Kubernetes will tell.
        if (!place->made && request.handle.is_null()) co_return Failure(pods.error());
        place->made = true;
        self->keep_watch(cluster);
        co_return Result<void>();
    }
    for (const PodSeen& one : *pods) {
        if (one.node != id || one.image != request.image) continue;
        place->made = true;
        place->image = request.image;
        place->request = request;
        // What became of it is told before another one takes its place.
        if (one.is() == PodSeen::Is::Ends) {
            place->ending = true;
            place->seen = one;
            start(see_end(self, id, place, true), [] {});
            co_return Result<void>();
        }
        if (self->events.handle) self->events.handle(id, handle_of(*place));
        self->take_in_one(id, place, one);
        self->keep_watch(cluster);
        co_return Result<void>();
    }
    // What the old one was told, or its relay, is not this one's.
    if (place->bridge) place->bridge->stop();
    place = std::make_shared<Place>();
    place->cluster = cluster;
    place->image = request.image;
    place->request = request;
    self->places[id] = place;
    // One with another image, or that is over: it has the name of the one that is to come.
    if (std::ranges::find(*pods, id, &PodSeen::node) != pods->end()) {
        TURNOUT_CO_TRY_VOID(co_await clear_way(self, id, cluster));
        if (self->unwanted(id)) co_return self->ended();
    }
    self->say(id, "asking Kubernetes for a pod of " +
                      (request.image.empty() ? settings.image : request.image));
    // Before anything of it is there.
    if (self->events.handle) self->events.handle(id, handle_of(*place));
    const Json document = pod_document(request, settings, self->instance);
    for (int i = 0;; ++i) {
        const Result<void> made = co_await cluster->api->create(document);
        if (self->unwanted(id)) co_return self->ended();
        if (made) break;
        // Its own predecessor is on its way out still, or an answer was lost.
        if (made.error().code != Code::Conflict || i == kMostConflicts)
            co_return Failure(made.error());
        TURNOUT_CO_TRY_VOID(co_await clear_way(self, id, cluster));
        if (self->unwanted(id)) co_return self->ended();
    }
    place->made = true;
    place->since = cluster->asked;
    cluster->quick_until = self->clock.since_boot() + kBeginsSoon;
    self->keep_watch(cluster);
    co_return Result<void>();
}

Task<void> KubernetesProvider::State::provide(std::shared_ptr<State> self, NodeId id) {
    for (;;) {
        const NodeRequest request = self->starting.at(id);
        Result<void> done = co_await begin(self, request);
        if (self->over) co_return;
        const bool again = self->starting.at(id).image != request.image;
        if (!again || self->leaving.contains(id)) self->starting.erase(id);
        if (self->leaving.contains(id)) co_return;
        // What was given up since another image is wanted did not fail.
        if (!done && done.error().code != Code::Canceled) {
            // What was perhaps made is found when it is asked for, or let go, again.
            if (const auto found = self->places.find(id);
                found != self->places.end() && !found->second->made)
                self->forget(id);
            self->events.failed(id, done.error());
        }
        if (!again || self->over) co_return;
        (void)self->place_of(id, self->starting.at(id).handle, self->starting.at(id).settings);
    }
}

void KubernetesProvider::provision(const NodeRequest& node) {
    State& s = *state_;
    if (s.leaving.contains(node.id)) return;
    const State::PlacePtr place = s.place_of(node.id, node.handle, node.settings);
    const bool fresh = !s.starting.contains(node.id);
    if (fresh && place->ending) return;
    s.starting[node.id] = node;
    if (!fresh) return;
    s.loop.post([state = state_, id = node.id] {
        if (!state->over) start(State::provide(state, id), [] {});
    });
}

// ---- the agent ----

Task<Result<void>> KubernetesProvider::State::put(std::shared_ptr<State> self, PlacePtr place,
                                                  std::string path, std::string bytes,
                                                  bool program) {
    std::vector<std::string> words = put_words(path, bytes.size(), program);
    const Result<std::string> said = co_await place->cluster->api->run(
        place->seen.name, std::move(words), std::move(bytes), kPutTime);
    if (self->over) co_return self->ended();
    if (!said) co_return Failure(said.error());
    co_return Result<void>();
}

Task<void> KubernetesProvider::State::equip(std::shared_ptr<State> self, NodeId id,
                                            PlacePtr place) {
    Span pause = kFirstEquip;
    bool told = false;
    while (self->is_now(id, place) && !place->ending) {
        std::vector<std::string> words = {
            "sh", "-c", "[ -s " + std::string(kBeginInPod) + " ] && echo begun || echo waits"};
        Result<std::string> said =
            co_await place->cluster->api->run(place->seen.name, std::move(words), "", kAskTime);
        if (!self->is_now(id, place) || place->ending) break;
        Result<void> done;
        if (said && said->find(kBegun) == std::string::npos) {
            if (self->leaving.contains(id)) {
                place->empty = true;
                break;
            }
            done = co_await read_programs(self);
            if (done && !std::exchange(told, true))
                self->say(id, "copying the agent into pod " + place->seen.name + " on " +
                                  place->seen.where);
            if (done) done = co_await put(self, place, std::string(kAgentInPod), self->agent, true);
            if (done && !self->uv.empty())
                done = co_await put(self, place, std::string(kUvInPod), self->uv, true);
            std::string script =
                begin_script(place->request, read_kubernetes_settings(place->request.settings),
                             self->options.node_token(id), !self->uv.empty());
            if (done)
                done =
                    co_await put(self, place, std::string(kBeginInPod), std::move(script), false);
        } else if (!said) {
            done = Failure(said.error());
        }
        if (!self->is_now(id, place) || place->ending) break;
        if (done) {
            if (told) self->say(id, "its agent was started in pod " + place->seen.name);
            self->keep_relay(id, place);
            co_return;
        }
        // It will not be another time, and a node that is not reached is of no use.
        if (done.error().reason == "Forbidden" || done.error().reason == "NotLetIn") {
            place->ending = true;
            start(give_up(self, id, place, done.error()), [] {});
            co_return;
        }
        // Its container does not run yet, or the way to it was lost.
        if (place->seen.runs && done.error().code == Code::FailedPrecondition)
            self->say_once(id, place,
                           "the agent cannot be put into pod " + place->seen.name + ": " +
                               done.error().message);
        co_await self->loop.sleep(pause);
        pause = std::min(kLastEquip, pause * 2);
    }
    place->begins = false;
}

}  // namespace turnout
