// What becomes of pods, and the relay to them.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "model/waiting.h"
#include "provider/kubernetes/state.h"

namespace turnout {

namespace {

constexpr Span kPodTick = 200ms;
constexpr Span kLookWhileWaiting = 1s, kLookWhileRunning = 10s;
constexpr Span kSayAgain = 30s;
constexpr Span kSlowStart = 3s;     // then it is asked what is done for it
constexpr Span kTroubleHeld = 60s;  // of a container that is not started, for other reasons
constexpr Span kFirstRelay = 200ms, kLastRelay = 5s, kRelayWorked = 10s;
constexpr Span kPerhapsOver = 3s;  // after a relay that ended: so long pods are looked at often
constexpr Span kRemoveAgain = 2s;

}  // namespace

void KubernetesProvider::State::keep_watch(const KnownPtr& cluster) {
    if (over || std::exchange(cluster->watched, true)) return;
    start(watch(shared_from_this(), cluster), [] {});
}

Task<void> KubernetesProvider::State::watch(std::shared_ptr<State> self, KnownPtr cluster) {
    for (;;) {
        const Span looked = self->clock.since_boot();
        for (;;) {
            co_await self->loop.sleep(kPodTick);
            if (self->over) co_return;
            const Span now = self->clock.since_boot();
            bool any = false, waits = false;
            for (const auto& [id, place] : self->places) {
                if (place->cluster != cluster) continue;
                any = true;
                waits = waits || !place->seen.runs || place->seen.deleting;
            }
            if (!any) {
                cluster->watched = false;
                co_return;
            }
            if (now < cluster->quick_until ||
                now - looked >= (waits ? kLookWhileWaiting : kLookWhileRunning))
                break;
        }
        (void)co_await look(self, cluster);
        if (self->over) co_return;
    }
}

void KubernetesProvider::State::take_in(const KnownPtr& cluster, std::uint64_t question,
                                        const std::vector<PodSeen>& pods) {
    const std::map<NodeId, PlacePtr> now = places;
    for (const auto& [id, place] : now) {
        if (place->cluster != cluster || !place->made || place->ending) continue;
        if (question <= place->since) continue;  // it was asked before that pod was known
        const auto pod = std::ranges::find(pods, id, &PodSeen::node);
        if (pod != pods.end()) {
            take_in_one(id, place, *pod);
        } else {
            place->ending = true;
            start(see_end(shared_from_this(), id, place, false), [] {});
        }
    }
}

void KubernetesProvider::State::say_once(const NodeId& node, const PlacePtr& place,
                                         std::string words) {
    const Span now = clock.since_boot();
    if (words.empty() || (words == place->said && now - place->said_at < kSayAgain)) return;
    place->said = words;
    place->said_at = now;
    // An answer may come inside of a call to this provider.
    loop.post(
        [self = shared_from_this(), node, words = std::move(words)] { self->say(node, words); });
}

void KubernetesProvider::State::take_in_one(const NodeId& node, const PlacePtr& place,
                                            const PodSeen& pod) {
    if (place->ending) return;
    const bool was_deleting = place->seen.deleting;
    place->seen = pod;
    switch (pod.is()) {
        case PodSeen::Is::Waits:
            if (!leaving.contains(node)) say_once(node, place, waits_in_words(pod));
            return;
        case PodSeen::Is::Starts:
            if (!leaving.contains(node)) take_in_start(node, place, pod);
            return;
        case PodSeen::Is::Runs:
            place->trouble_since.reset();
            if (!std::exchange(place->begins, true))
                start(equip(shared_from_this(), node, place), [] {});
            return;
        case PodSeen::Is::Ends:
            if (!was_deleting && !leaving.contains(node))
                say_once(node, place, "its pod " + pod.name + " is being deleted");
            return;
        case PodSeen::Is::Over: {
            place->ending = true;
            if (image_trouble(pod) == ImageTrouble::Never) {
                Error why(Code::InvalidArgument, std::string(kImageNotThere),
                          trouble_in_words(pod, image_of(*place)), place->image);
                start(give_up(shared_from_this(), node, place, std::move(why)), [] {});
                return;
            }
            start(see_end(shared_from_this(), node, place, true), [] {});
            return;
        }
    }
}

// It has a machine, and its container does not run yet.
void KubernetesProvider::State::take_in_start(const NodeId& node, const PlacePtr& place,
                                              const PodSeen& pod) {
    const Span now = clock.since_boot();
    if (!place->starts_since) place->starts_since = now;
    const ImageTrouble trouble = image_trouble(pod);
    const std::string words = trouble_in_words(pod, image_of(*place));
    if (words.empty()) {
        // Its image is pulled, or its volumes are made: that has no state of its own.
        if (now - *place->starts_since > kSlowStart && !std::exchange(place->asks_news, true))
            start(say_news(shared_from_this(), node, place), [] {});
        return;
    }
    if (!place->trouble_since) place->trouble_since = now;
    const Span held = now - *place->trouble_since;
    say_once(node, place, words + (trouble == ImageTrouble::Never ? "" : "; it tries again"));
    const bool is_image = trouble != ImageTrouble::None;
    if (trouble != ImageTrouble::Never && held < (is_image ? options.image_tried : kTroubleHeld))
        return;
    place->ending = true;
    Error why = is_image
                    ? Error(Code::InvalidArgument, std::string(kImageNotThere), words, place->image)
                    : Error(Code::Unavailable, "NotStarted", words);
    start(give_up(shared_from_this(), node, place, std::move(why)), [] {});
}

Task<void> KubernetesProvider::State::say_news(std::shared_ptr<State> self, NodeId node,
                                               PlacePtr place) {
    const std::string news = co_await place->cluster->api->news_of(place->seen.name);
    place->asks_news = false;
    if (!self->is_now(node, place) || place->ending || place->seen.runs || news.empty()) co_return;
    // In the words that say that it takes its time: an image of many gigabytes.
    if (news.starts_with("Pulling image"))
        self->say_once(node, place, std::string(kPulling) + image_of(*place));
    else
        self->say_once(node, place, "Kubernetes says: " + news);
}

Task<void> KubernetesProvider::State::see_end(std::shared_ptr<State> self, NodeId node,
                                              PlacePtr place, bool was_there) {
    PodSeen last = place->seen;
    const bool may_run = !was_there && last.runs && !last.deleting;
    if (!was_there) last.phase.clear();
    if (last.name.empty()) last.name = pod_name(self->instance, node);
    const std::string why = ended_in_words(last);
    if (place->bridge) place->bridge->stop();
    // What is over is kept by Kubernetes until somebody deletes it.
    while (was_there) {
        const Result<void> cleared = co_await clear_way(self, node, place->cluster);
        if (self->over) co_return;
        if (cleared) break;
        co_await self->loop.sleep(kRemoveAgain);
        if (self->over) co_return;
    }
    // Of one that was taken off by force nobody has seen the end: its machine ends what it does not
    // find in the API any more.
    if (may_run) co_await self->loop.sleep(self->options.fenced);
    place->gone = true;
    if (self->unwanted(node)) co_return;
    if (!self->is_now(node, place)) co_return;  // another pod has taken its place
    self->forget(node);
    if (self->events.lost)
        self->events.lost(node, why);
    else
        self->events.gone(node);
}

Task<void> KubernetesProvider::State::give_up(std::shared_ptr<State> self, NodeId node,
                                              PlacePtr place, Error why) {
    if (place->bridge) place->bridge->stop();
    for (;;) {
        const Result<void> cleared = co_await clear_way(self, node, place->cluster);
        if (self->over) co_return;
        if (cleared || cleared.error().code == Code::FailedPrecondition) break;
        co_await self->loop.sleep(kRemoveAgain);
        if (self->over) co_return;
    }
    place->gone = true;
    if (self->unwanted(node) || !self->is_now(node, place)) co_return;
    self->forget(node);
    self->events.failed(node, std::move(why));
}

// ---- the relay ----

void KubernetesProvider::State::keep_relay(const NodeId& node, const PlacePtr& place) {
    if (over || std::exchange(place->relaying, true)) return;
    start(relay(shared_from_this(), node, place), [] {});
}

Task<void> KubernetesProvider::State::relay(std::shared_ptr<State> self, NodeId node,
                                            PlacePtr place) {
    const auto wanted = [self, node, place] { return self->is_now(node, place) && !place->ending; };
    Span pause = kFirstRelay;
    while (wanted()) {
        const Span began = self->clock.since_boot();
        std::vector<std::string> command = {std::string(kAgentInPod), "relay", "--stdio",
                                            "--socket", std::string(kSocketInPod)};
        Result<std::unique_ptr<http::Stream>> stream =
            co_await place->cluster->api->begin(place->seen.name, std::move(command));
        if (!wanted()) break;
        if (stream) {
            const auto bridge = std::make_shared<link::Bridge>(self->loop, self->clock,
                                                               std::move(*stream), self->offers);
            place->bridge = bridge;
            (void)co_await bridge->run();
            place->bridge.reset();
            if (!wanted()) break;
        }
        // Perhaps its pod is over.
        place->cluster->quick_until =
            std::max(place->cluster->quick_until, self->clock.since_boot() + kPerhapsOver);
        if (self->clock.since_boot() - began > kRelayWorked) pause = kFirstRelay;
        co_await self->loop.sleep(pause);
        pause = std::min(kLastRelay, pause * 2);
    }
    place->relaying = false;
}

}  // namespace turnout
