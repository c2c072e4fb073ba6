// The provider as others see it; its steps are in sources of their own, see state.h.
#include "provider/kubernetes/kubernetes_provider.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "provider/kubernetes/state.h"

namespace turnout {

KubernetesProvider::KubernetesProvider(AsioLoop& loop, KubernetesProviderOptions options,
                                       ProviderEvents events)
    : state_(std::make_shared<State>(loop, std::move(options), std::move(events))) {}

KubernetesProvider::~KubernetesProvider() {
    state_->over = true;
    for (const auto& [id, place] : state_->places)
        if (place->bridge) place->bridge->stop();
}

Result<void> KubernetesProvider::open() {
    State& s = *state_;
    TURNOUT_TRY(make_directories(s.options.folder, 0700));
    const std::string name_file = s.options.folder + "/instance";
    if (::access(name_file.c_str(), F_OK) != 0) {
        PosixRandom random;
        TURNOUT_TRY(write_file_atomically(name_file, to_hex(random.bytes(6)) + "\n", 0600));
    }
    const std::string name = TURNOUT_TRY(read_file(name_file));
    s.instance = std::string(trim(name));
    s.offers["server"] = TURNOUT_TRY(http::unix_address(s.options.server_socket));
    return {};
}

void KubernetesProvider::set_pools(std::span<const Pool> pools) {
    for (const Pool& pool : pools) (void)state_->cluster_of(State::where_of(Json(), pool.settings));
}

Capabilities KubernetesProvider::capabilities() const {
    Capabilities can;
    can.images = true;
    can.handles = true;
    return can;
}

KubernetesProvider::State::KnownPtr KubernetesProvider::State::cluster_of(
    const KubeCluster::Place& where) {
    KnownPtr& one = clusters[where];
    if (!one) {
        one = std::make_shared<Known>();
        one->api = std::make_shared<KubeCluster>(loop, where, options.environment);
    }
    return one;
}

KubeCluster::Place KubernetesProvider::State::where_of(const Json& handle, const Json& settings) {
    const Json& from = handle.at("kubeconfig").is_string() ? handle : settings;
    return {from.at("kubeconfig").as_string(), from.at("context").as_string(),
            from.at("namespace").as_string()};
}

Json KubernetesProvider::State::handle_of(const Place& place) {
    const KubeCluster::Place& where = place.cluster->api->place();
    return Json::object({{"kubeconfig", where.kubeconfig},
                         {"context", where.context},
                         {"namespace", where.name_space}});
}

KubernetesProvider::State::PlacePtr KubernetesProvider::State::place_of(const NodeId& node,
                                                                        const Json& handle,
                                                                        const Json& settings) {
    PlacePtr& place = places[node];
    if (place) return place;
    place = std::make_shared<Place>();
    place->cluster = cluster_of(where_of(handle, settings));
    return place;
}

std::string KubernetesProvider::State::image_of(const Place& place) {
    return place.image.empty() ? read_kubernetes_settings(place.request.settings).image
                               : place.image;
}

void KubernetesProvider::State::forget(const NodeId& node) {
    const auto found = places.find(node);
    if (found == places.end()) return;
    if (found->second->bridge) found->second->bridge->stop();
    places.erase(found);
}

Task<Result<std::vector<PodSeen>>> KubernetesProvider::State::look(std::shared_ptr<State> self,
                                                                   KnownPtr cluster) {
    // An answer to what was asked before may not know what has been done since.
    const std::uint64_t wanted = cluster->asked + 1;
    while (cluster->answered < wanted) {
        if (cluster->asking) {
            Later<bool> turn;
            cluster->waiting.push_back([settle = turn.settle()] { settle(true); });
            (void)co_await turn;
            if (self->over) co_return self->ended();
            continue;
        }
        cluster->asking = true;
        const std::uint64_t question = ++cluster->asked;
        Result<std::vector<PodSeen>> answer = co_await cluster->api->pods(self->instance);
        cluster->asking = false;
        cluster->answered = question;
        cluster->answer = std::move(answer);
        cluster->trouble = cluster->answer ? std::nullopt : std::optional(cluster->answer.error());
        if (!self->over && cluster->answer) self->take_in(cluster, question, *cluster->answer);
        for (const auto& go_on : std::exchange(cluster->waiting, {})) self->loop.post(go_on);
    }
    if (self->over) co_return self->ended();
    co_return cluster->answer;
}

Task<void> KubernetesProvider::State::list_all(std::shared_ptr<State> self, Answer answer) {
    std::map<NodeId, FoundNode> found;
    std::vector<KnownPtr> asked;
    for (const auto& [where, cluster] : self->clusters) asked.push_back(cluster);
    for (const KnownPtr& cluster : asked) {
        // Nobody may be left out of whom something may run.
        std::map<NodeId, PlacePtr> before;
        for (const auto& [id, place] : self->places)
            if (place->cluster == cluster) before.emplace(id, place);
        const Result<std::vector<PodSeen>> pods = co_await look(self, cluster);
        if (self->over) co_return;
        const Json handle = handle_of({.cluster = cluster});
        if (pods) {
            for (const PodSeen& pod : *pods) {
                if (pod.is() == PodSeen::Is::Over) {
                    // Nothing runs in it; of a node that nobody knows here it goes at once.
                    if (!self->places.contains(pod.node))
                        start(cluster->api->remove(pod.name),
                              [api = cluster->api](const Result<void>&) {});
                    continue;
                }
                found[pod.node] = {pod.is() == PodSeen::Is::Runs   ? FoundNode::Is::Alive
                                   : pod.is() == PodSeen::Is::Ends ? FoundNode::Is::Ending
                                                                   : FoundNode::Is::Starting,
                                   pod.node, handle};
            }
        } else {
            for (const auto& [id, place] : before) found[id] = {FoundNode::Is::Unknown, id, handle};
        }
        for (const auto& [id, place] : self->places) {
            if (place->cluster != cluster) continue;
            const bool ends = self->leaving.contains(id) || place->ending;
            if (!ends && (!self->starting.contains(id) || found.contains(id))) continue;
            found[id] = {ends ? FoundNode::Is::Ending : FoundNode::Is::Starting, id, handle};
        }
    }
    std::vector<FoundNode> nodes;
    for (auto& [id, one] : found) nodes.push_back(std::move(one));
    answer(std::move(nodes));
}

void KubernetesProvider::list(Answer answer) {
    state_->loop.post([state = state_, answer = std::move(answer)] {
        if (!state->over) start(State::list_all(state, answer), [] {});
    });
}

}  // namespace turnout
