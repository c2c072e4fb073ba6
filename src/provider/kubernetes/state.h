// What KubernetesProvider holds, and its steps, by the source that has them. Only
// provider/kubernetes/*.cc sees this.
//
// All of it is used on the loop, which outlives it. Its coroutines hold it as `self`. Once the
// provider has ended it is `over`: no event is told any more, since whoever heard them may be gone;
// so a coroutine looks at `over` after it has waited.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "io/posix/asio_loop.h"
#include "link/bridge.h"
#include "provider/kubernetes/cluster.h"
#include "provider/kubernetes/kubernetes_provider.h"
#include "provider/kubernetes/settings.h"
#include "provider/kubernetes/wire.h"

namespace turnout {

struct KubernetesProvider::State : std::enable_shared_from_this<KubernetesProvider::State> {
    // One namespace of one cluster.
    struct Known {
        std::shared_ptr<KubeCluster> api;
        std::optional<Error> trouble;  // of what was asked last
        // What it was asked last, and who waits for an answer to a question that is not asked yet.
        bool asking = false;
        std::uint64_t asked = 0, answered = 0;
        std::vector<std::function<void()>> waiting;
        Result<std::vector<PodSeen>> answer = std::vector<PodSeen>();
        bool watched = false;  // somebody looks at its pods now and then
        Span quick_until{};    // and often until then
    };
    using KnownPtr = std::shared_ptr<Known>;
    // A node, and its pod: another pod has another Place.
    struct Place {
        KnownPtr cluster;
        NodeRequest request;      // as its pod was asked for
        std::string image;        // of the pod, as it was asked for
        bool made = false;        // there is a pod of it, or was
        std::uint64_t since = 0;  // the last question that was asked before the pod was known
        PodSeen seen;             // as it was seen last
        std::string said;         // what it waits for, as it was told last, and when
        Span said_at{};
        std::optional<Span> trouble_since, starts_since;
        bool begins = false, relaying = false, asks_news = false;
        bool empty = false;                 // it is to end, and no agent was begun in it
        bool ending = false, gone = false;  // its pod is over; and all of it is
        std::shared_ptr<link::Bridge> bridge;
    };
    using PlacePtr = std::shared_ptr<Place>;

    State(AsioLoop& a_loop, KubernetesProviderOptions an_options, ProviderEvents some_events)
        : loop(a_loop), options(std::move(an_options)), events(std::move(some_events)) {}

    AsioLoop& loop;
    PosixClock clock;
    const KubernetesProviderOptions options;
    const ProviderEvents events;
    std::string instance;
    link::Offers offers;
    std::map<KubeCluster::Place, KnownPtr> clusters;
    std::map<NodeId, PlacePtr> places;
    std::map<NodeId, NodeRequest> starting;  // as said last
    std::set<NodeId> leaving;
    std::string agent, uv;  // their bytes, once they are needed
    bool over = false;

    Failure ended() const { return fail(Code::Canceled, "Canceled", "the provider has ended"); }
    bool unwanted(const NodeId& node) const { return over || leaving.contains(node); }
    bool is_now(const NodeId& node, const PlacePtr& place) const {
        const auto found = places.find(node);
        return !over && found != places.end() && found->second == place;
    }
    void say(const NodeId& node, std::string text) const {
        if (!over && events.says) events.says(node, std::move(text));
    }

    // ---- kubernetes_provider.cc: who is where ----
    KnownPtr cluster_of(const KubeCluster::Place& where);
    static KubeCluster::Place where_of(const Json& handle, const Json& settings);
    static Json handle_of(const Place& place);
    PlacePtr place_of(const NodeId& node, const Json& handle, const Json& settings);
    static std::string image_of(const Place& place);  // the pool's own where none was asked for
    void forget(const NodeId& node);
    static Task<void> list_all(std::shared_ptr<State> self, Answer answer);
    // All pods of ours there, as they are after this call: who asks at the same time shares one.
    static Task<Result<std::vector<PodSeen>>> look(std::shared_ptr<State> self, KnownPtr cluster);

    // ---- provision.cc ----
    static Task<void> provide(std::shared_ptr<State> self, NodeId id);
    static Task<Result<void>> begin(std::shared_ptr<State> self, NodeRequest request);
    static Task<Result<void>> read_programs(std::shared_ptr<State> self);
    // Deletes it, and waits until it is not there any more.
    static Task<Result<void>> clear_way(std::shared_ptr<State> self, NodeId id, KnownPtr cluster);
    // The agent is put into a pod whose container runs, and begins.
    static Task<void> equip(std::shared_ptr<State> self, NodeId id, PlacePtr place);
    static Task<Result<void>> put(std::shared_ptr<State> self, PlacePtr place, std::string path,
                                  std::string bytes, bool program);

    // ---- watch.cc: what becomes of pods ----
    void keep_watch(const KnownPtr& cluster);
    static Task<void> watch(std::shared_ptr<State> self, KnownPtr cluster);
    // What that answer means for our nodes.
    void take_in(const KnownPtr& cluster, std::uint64_t question, const std::vector<PodSeen>& pods);
    void take_in_one(const NodeId& node, const PlacePtr& place, const PodSeen& pod);
    void take_in_start(const NodeId& node, const PlacePtr& place, const PodSeen& pod);
    void say_once(const NodeId& node, const PlacePtr& place, std::string words);
    static Task<void> say_news(std::shared_ptr<State> self, NodeId node, PlacePtr place);
    static Task<void> see_end(std::shared_ptr<State> self, NodeId node, PlacePtr place,
                              bool was_there);
    static Task<void> give_up(std::shared_ptr<State> self, NodeId node, PlacePtr place, Error why);
    void keep_relay(const NodeId& node, const PlacePtr& place);
    static Task<void> relay(std::shared_ptr<State> self, NodeId node, PlacePtr place);

    // ---- release.cc ----
    static Task<void> let_go(std::shared_ptr<State> self, NodeId id);
};

}  // namespace turnout
