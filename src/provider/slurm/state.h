// What SlurmProvider holds, and its steps, by the source that has them. Only provider/slurm/*.cc
// sees this.
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
#include "io/posix/programs.h"
#include "link/bridge.h"
#include "provider/slurm/settings.h"
#include "provider/slurm/slurm_provider.h"
#include "provider/slurm/wire.h"

namespace turnout {

struct SlurmProvider::State : std::enable_shared_from_this<SlurmProvider::State> {
    // One Slurm, by its configuration.
    struct Cluster {
        std::string config;
        std::optional<Error> trouble;  // of what was asked last
        // What it was asked last, and who waits for an answer to a question that is not asked yet.
        bool asking = false;
        std::uint64_t asked = 0, answered = 0;
        std::vector<std::function<void()>> waiting;
        Result<std::vector<Pilot>> answer = std::vector<Pilot>();
        bool watched = false;  // somebody looks at its queue now and then
        Span quick_until{};    // and often until then
    };
    using ClusterPtr = std::shared_ptr<Cluster>;
    struct Place {
        ClusterPtr cluster;
        std::string folder;       // of the node
        std::string job;          // its pilot's number, "" until it is submitted
        std::uint64_t since = 0;  // the last question that was asked before the pilot was known
        std::string said;         // why it waits, as it was told last, and when
        Span said_at{};
        std::optional<Span> ends;  // since boot, as it was told
        bool relaying = false;
        bool ending = false, gone = false;  // its pilot is over; and all of it is
        std::shared_ptr<link::Bridge> bridge;
    };
    using PlacePtr = std::shared_ptr<Place>;

    State(AsioLoop& a_loop, SlurmProviderOptions an_options, ProviderEvents some_events)
        : loop(a_loop), options(std::move(an_options)), events(std::move(some_events)) {}

    AsioLoop& loop;
    PosixClock clock;
    const SlurmProviderOptions options;
    const ProviderEvents events;
    std::string instance, user;
    std::vector<std::string> environment;  // of Slurm's programs; a pool's config comes on top
    link::Offers offers;
    std::map<std::string, ClusterPtr> clusters;  // by configuration
    std::map<NodeId, PlacePtr> places;
    std::map<NodeId, NodeRequest> starting;
    std::set<NodeId> leaving;
    std::set<std::string> equipped;   // our folders in which the programs are
    std::string agent_name, uv_name;  // beneath such a folder
    std::set<std::string> told;       // pilots whose end was told: who asks again means another one
    std::set<std::string> shared_folders;  // folders of pools
    bool over = false;

    Failure ended() const { return fail(Code::Canceled, "Canceled", "the provider has ended"); }
    bool unwanted(const NodeId& node) const { return over || leaving.contains(node); }
    void say(const NodeId& node, std::string text) const {
        if (!over && events.says) events.says(node, std::move(text));
    }

    // ---- slurm_provider.cc: who is where ----
    ClusterPtr cluster_of(const std::string& config);
    std::string root_of(const std::string& folder) const;  // ours beneath a shared folder
    std::string folder_of(const std::string& shared, const NodeId& node) const;
    Json handle_of(const Place& place) const;
    PlacePtr place_of(const NodeId& node, const Json& handle, const Json& settings);
    void forget(const NodeId& node);
    void tell_no_more(const std::string& job);  // its end was told
    static Task<void> list_all(std::shared_ptr<State> self, Answer answer);

    // ---- commands.cc: Slurm's programs ----
    Result<SpawnRequest> program(const std::string& config, const std::string& name,
                                 std::vector<std::string> words) const;
    // FailedPrecondition: it is not installed; Unavailable: it did not answer. A program that says
    // no has answered.
    static Task<Result<ProgramRan>> run(std::shared_ptr<State> self, std::string config,
                                        std::string name, std::vector<std::string> words,
                                        std::string input = {});
    // All pilots of ours, as squeue tells after this call: who asks at the same time shares one.
    static Task<Result<std::vector<Pilot>>> look(std::shared_ptr<State> self, ClusterPtr cluster);
    static Task<Result<void>> cancel(std::shared_ptr<State> self, ClusterPtr cluster,
                                     std::string job);

    // ---- provision.cc ----
    static Task<void> provide(std::shared_ptr<State> self, NodeId id);
    static Task<Result<void>> begin(std::shared_ptr<State> self, NodeRequest request);
    // The programs are there.
    static Task<Result<void>> equip(std::shared_ptr<State> self, NodeId node, std::string root);

    // ---- watch.cc: what becomes of pilots ----
    void keep_watch(const ClusterPtr& cluster);
    static Task<void> watch(std::shared_ptr<State> self, ClusterPtr cluster);
    // What that answer means for our nodes.
    void take_in(const ClusterPtr& cluster, std::uint64_t question,
                 const std::vector<Pilot>& pilots);
    void take_in_one(const NodeId& node, const PlacePtr& place, const Pilot& pilot);
    static Task<void> see_end(std::shared_ptr<State> self, NodeId node, PlacePtr place,
                              Pilot pilot);
    static Task<void> give_up(std::shared_ptr<State> self, NodeId node, PlacePtr place,
                              Pilot pilot);
    // The node's; what a pilot that Slurm cannot end sees.
    static Task<void> remove_folder(std::shared_ptr<State> self, NodeId node, std::string folder);
    void keep_relay(const NodeId& node, const PlacePtr& place);
    static Task<void> relay(std::shared_ptr<State> self, NodeId node, PlacePtr place);

    // ---- release.cc ----
    static Task<void> let_go(std::shared_ptr<State> self, NodeId id);
};

}  // namespace turnout
