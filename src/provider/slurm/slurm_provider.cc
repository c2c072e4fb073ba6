// The provider as others see it; its steps are in sources of their own, see state.h.
#include "provider/slurm/slurm_provider.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "provider/slurm/state.h"

namespace turnout {

namespace {

// What Slurm's programs need of the server's surroundings. What a Slurm job has in its own
// environment, if the server runs in one, is not for others.
std::vector<std::string> surroundings_of_slurm(const std::vector<std::string>& all) {
    std::vector<std::string> passed;
    for (const std::string& one : all)
        for (const char* const name : {"PATH=", "HOME=", "USER=", "LOGNAME=", "SLURM_CONF="})
            if (one.starts_with(name)) passed.push_back(one);
    passed.push_back("LC_ALL=C");
    return passed;
}

}  // namespace

SlurmProvider::SlurmProvider(AsioLoop& loop, SlurmProviderOptions options, ProviderEvents events)
    : state_(std::make_shared<State>(loop, std::move(options), std::move(events))) {}

SlurmProvider::~SlurmProvider() {
    state_->over = true;
    for (const auto& [id, place] : state_->places)
        if (place->bridge) place->bridge->stop();
}

Result<void> SlurmProvider::open() {
    State& s = *state_;
    TURNOUT_TRY(make_directories(s.options.folder, 0700));
    const std::string name_file = s.options.folder + "/instance";
    if (::access(name_file.c_str(), F_OK) != 0) {
        PosixRandom random;
        TURNOUT_TRY(write_file_atomically(name_file, to_hex(random.bytes(6)) + "\n", 0600));
    }
    const std::string name = TURNOUT_TRY(read_file(name_file));
    s.instance = std::string(trim(name));
    const passwd* const own = ::getpwuid(::geteuid());
    s.user = own ? own->pw_name : std::to_string(::geteuid());
    s.environment = surroundings_of_slurm(s.options.environment);
    s.offers["server"] = TURNOUT_TRY(http::unix_address(s.options.server_socket));
    return {};
}

void SlurmProvider::set_pools(std::span<const Pool> pools) {
    for (const Pool& pool : pools) {
        const SlurmSettings settings = read_slurm_settings(pool.settings);
        (void)state_->cluster_of(settings.config);
        state_->shared_folders.insert(settings.folder);
    }
}

Capabilities SlurmProvider::capabilities() const {
    Capabilities can;
    can.handles = true;
    return can;
}

SlurmProvider::State::ClusterPtr SlurmProvider::State::cluster_of(const std::string& config) {
    ClusterPtr& one = clusters[config];
    if (!one) {
        one = std::make_shared<Cluster>();
        one->config = config;
    }
    return one;
}

std::string SlurmProvider::State::root_of(const std::string& folder) const {
    return folder + "/turnout-" + instance;
}

std::string SlurmProvider::State::folder_of(const std::string& shared, const NodeId& node) const {
    return root_of(shared) + "/n/" + to_hex(sha256(node)).substr(0, 12);
}

Json SlurmProvider::State::handle_of(const Place& place) const {
    return Json::object(
        {{"job", place.job}, {"config", place.cluster->config}, {"folder", place.folder}});
}

SlurmProvider::State::PlacePtr SlurmProvider::State::place_of(const NodeId& node,
                                                              const Json& handle,
                                                              const Json& settings) {
    PlacePtr& place = places[node];
    if (place) return place;
    place = std::make_shared<Place>();
    const SlurmSettings pool = read_slurm_settings(settings);
    place->cluster = cluster_of(handle.at("config").as_string(pool.config));
    place->folder = handle.at("folder").as_string();
    if (place->folder.empty() && !pool.folder.empty()) place->folder = folder_of(pool.folder, node);
    place->job = handle.at("job").as_string();
    if (told.contains(place->job)) place->job.clear();
    place->since = place->cluster->asked;
    return place;
}

void SlurmProvider::State::forget(const NodeId& node) {
    const auto found = places.find(node);
    if (found == places.end()) return;
    if (found->second->bridge) found->second->bridge->stop();
    places.erase(found);
}

void SlurmProvider::State::tell_no_more(const std::string& job) {
    constexpr std::size_t most = 10'000;
    if (told.size() >= most) told.clear();  // whose nodes nobody asks for any more
    told.insert(job);
}

Task<void> SlurmProvider::State::list_all(std::shared_ptr<State> self, Answer answer) {
    std::map<NodeId, FoundNode> found;
    std::vector<ClusterPtr> asked;
    for (const auto& [config, cluster] : self->clusters) asked.push_back(cluster);
    for (const ClusterPtr& cluster : asked) {
        // Nobody may be left out of whom something may run.
        std::map<NodeId, PlacePtr> before;
        for (const auto& [id, place] : self->places)
            if (place->cluster == cluster) before.emplace(id, place);
        const Result<std::vector<Pilot>> pilots = co_await look(self, cluster);
        if (self->over) co_return;
        if (pilots) {
            for (const Pilot& pilot : *pilots) {
                if (pilot.phase() == Pilot::Phase::Over) continue;
                FoundNode one;
                one.is = pilot.phase() == Pilot::Phase::Runs    ? FoundNode::Is::Alive
                         : pilot.phase() == Pilot::Phase::Waits ? FoundNode::Is::Starting
                                                                : FoundNode::Is::Ending;
                one.id = pilot.node;
                const auto known = self->places.find(pilot.node);
                one.handle = known != self->places.end()
                                 ? self->handle_of(*known->second)
                                 : Json::object({{"job", pilot.job}, {"config", cluster->config}});
                found[pilot.node] = std::move(one);
            }
        } else {
            for (const auto& [id, place] : before)
                found[id] = {FoundNode::Is::Unknown, id, self->handle_of(*place)};
        }
        for (const auto& [id, place] : self->places) {
            if (place->cluster != cluster) continue;
            const bool leaves = self->leaving.contains(id);
            if (!leaves && !place->ending && (!self->starting.contains(id) || found.contains(id)))
                continue;
            found[id] = {leaves || place->ending ? FoundNode::Is::Ending : FoundNode::Is::Starting,
                         id, self->handle_of(*place)};
        }
    }
    std::vector<FoundNode> nodes;
    for (auto& [id, one] : found) nodes.push_back(std::move(one));
    answer(std::move(nodes));
}

void SlurmProvider::list(Answer answer) {
    state_->loop.post([state = state_, answer = std::move(answer)] {
        if (!state->over) start(State::list_all(state, answer), [] {});
    });
}

}  // namespace turnout
