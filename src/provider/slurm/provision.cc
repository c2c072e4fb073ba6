// How a node begins: its pilot is found in Slurm's queue, or submitted.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "provider/slurm/state.h"

namespace turnout {

namespace {

constexpr Span kBeginsSoon = 3s;  // so long a fresh pilot is looked at often

// Nobody sees half of it, and who has it open keeps it. Blocks.
Result<std::string> copy_program(const std::string& from, const std::string& root,
                                 const std::string& name) {
    const std::string bytes = TURNOUT_TRY(read_file(from));
    const std::string folder = "bin/" + to_hex(sha256(bytes)).substr(0, 16);
    const std::string path = root + "/" + folder + "/" + name;
    struct stat there{};
    if (::stat(path.c_str(), &there) == 0 &&
        static_cast<std::size_t>(there.st_size) == bytes.size())
        return folder + "/" + name;
    TURNOUT_TRY(make_directories(root + "/" + folder, 0700));
    TURNOUT_TRY(write_file_atomically(path, bytes, 0700));
    return folder + "/" + name;
}

// What the pilot finds there. Nothing runs in it: Slurm has no pilot of that node. Blocks.
Result<void> make_node_folder(const std::string& folder, const std::string& agent,
                              const std::string& token, const std::string& variables) {
    TURNOUT_TRY(remove_tree(folder));
    TURNOUT_TRY(make_directories(folder, 0700));
    // The relay is of the version of the pilot, whatever the server is by then.
    if (::symlink(agent.c_str(), (folder + "/turnout-agent").c_str()) != 0)
        return file_failure("cannot make", folder + "/turnout-agent", errno);
    TURNOUT_TRY(write_file_atomically(folder + "/node.token", token, 0600));
    return write_file_atomically(folder + "/variables", variables, 0600);
}

}  // namespace

Task<Result<void>> SlurmProvider::State::equip(std::shared_ptr<State> self, NodeId node,
                                               std::string root) {
    std::function<bool()> has_it = [path = root + "/" + self->agent_name] {
        return ::access(path.c_str(), X_OK) == 0;
    };
    if (self->equipped.contains(root) && co_await apart(self->loop, std::move(has_it)))
        co_return Result<void>();
    self->say(node, "copying the agent to " + root);
    std::function<Result<std::string>()> agent = [from = self->options.agent, root] {
        return copy_program(from, root, "turnout-agent");
    };
    TURNOUT_CO_TRY(const std::string agent_name, co_await apart(self->loop, std::move(agent)));
    self->agent_name = agent_name;
    if (!self->options.uv.empty()) {
        std::function<Result<std::string>()> uv = [from = self->options.uv, root] {
            return copy_program(from, root, "uv");
        };
        const Result<std::string> name = co_await apart(self->loop, std::move(uv));
        // If it has gone from here: the agent gets one itself, if it can.
        self->uv_name = name.value_or("");
    }
    self->equipped.insert(root);
    co_return Result<void>();
}

Task<Result<void>> SlurmProvider::State::begin(std::shared_ptr<State> self, NodeRequest request) {
    const NodeId id = request.id;
    const SlurmSettings settings = read_slurm_settings(request.settings);
    const PlacePtr place = self->places.at(id);
    const ClusterPtr cluster = place->cluster;
    // Perhaps it was submitted, and nobody heard of it.
    const Result<std::vector<Pilot>> pilots = co_await look(self, cluster);
    if (self->unwanted(id)) co_return self->ended();
    if (place->ending) co_return Result<void>();  // its pilot is over, and that is told
    if (!pilots && !place->job.empty()) {
        self->keep_watch(cluster);  // it is somewhere: Slurm will tell
        co_return Result<void>();
    }
    if (!pilots) co_return Failure(pilots.error());
    const Pilot* there = nullptr;
    for (const Pilot& one : *pilots)
        if (one.node == id && one.phase() != Pilot::Phase::Over &&
            (there == nullptr || one.job == place->job))
            there = &one;
    if (there != nullptr) {
        if (place->job != there->job) {
            place->job = there->job;
            if (self->events.handle) self->events.handle(id, self->handle_of(*place));
        }
        self->take_in_one(id, place, *there);
        self->keep_watch(cluster);
        co_return Result<void>();
    }
    const std::string root = self->root_of(settings.folder);
    place->folder = self->folder_of(settings.folder, id);
    self->shared_folders.insert(settings.folder);
    // A shared folder may hang.
    std::function<bool()> is_folder = [path = settings.folder] {
        struct stat folder{};
        return ::stat(path.c_str(), &folder) == 0 && S_ISDIR(folder.st_mode);
    };
    const bool there_it_is = co_await apart(self->loop, std::move(is_folder));
    if (self->unwanted(id)) co_return self->ended();
    if (!there_it_is)
        co_return fail(Code::Unavailable, "NoFolder",
                       "the folder " + settings.folder +
                           ", which the server and the compute nodes have to share, is not there");
    Result<void> equipped = co_await equip(self, id, root);
    if (self->unwanted(id)) co_return self->ended();
    if (!equipped) {
        Error why = equipped.error();
        why.code = Code::Unavailable;
        co_return Failure(std::move(why));
    }
    // Everybody there may see a command; a variable may be a password.
    std::string variables;
    for (const auto& [name, value] : settings.variables) variables += name + "=" + value + '\0';
    std::function<Result<void>()> make =
        [folder = place->folder, agent = root + "/" + self->agent_name,
         token = self->options.node_token(id).reveal(),
         variables] { return make_node_folder(folder, agent, token, variables); };
    Result<void> made = co_await apart(self->loop, std::move(make));
    if (self->unwanted(id)) co_return self->ended();
    if (!made) {
        Error why = made.error();
        why.code = Code::Unavailable;
        co_return Failure(std::move(why));
    }
    self->say(id, "submitting a pilot to Slurm");
    std::vector<std::string> words = submit_words(request, settings, self->instance, place->folder);
    std::string script = pilot_script(
        request, settings, root + "/" + self->agent_name,
        self->uv_name.empty() ? std::string() : root + "/" + self->uv_name, root, place->folder);
    TURNOUT_CO_TRY(const ProgramRan ran, co_await run(self, cluster->config, "sbatch",
                                                      std::move(words), std::move(script)));
    if (ran.code != 0) co_return Failure(refused_by_slurm(ran.err));
    TURNOUT_CO_TRY(place->job, parse_submitted(ran.out));
    place->since = cluster->asked;
    if (self->events.handle) self->events.handle(id, self->handle_of(*place));
    self->say(id, "its pilot is Slurm job " + place->job);
    cluster->quick_until = self->clock.since_boot() + kBeginsSoon;
    self->keep_watch(cluster);
    co_return Result<void>();
}

Task<void> SlurmProvider::State::provide(std::shared_ptr<State> self, NodeId id) {
    const NodeRequest request = self->starting.at(id);
    Result<void> done = co_await begin(self, request);
    self->starting.erase(id);
    if (self->unwanted(id) || done) co_return;
    const PlacePtr place = self->places.contains(id) ? self->places.at(id) : nullptr;
    // What was perhaps submitted is found when it is asked for, or let go, again.
    if (place && place->job.empty()) {
        if (done.error().code == Code::InvalidArgument)
            co_await remove_folder(self, id, place->folder);
        if (self->unwanted(id)) co_return;
        self->forget(id);
    }
    self->events.failed(id, done.error());
}

void SlurmProvider::provision(const NodeRequest& node) {
    State& s = *state_;
    if (s.leaving.contains(node.id) || s.starting.contains(node.id)) return;
    const State::PlacePtr place = s.place_of(node.id, node.handle, node.settings);
    if (place->ending) return;
    s.starting[node.id] = node;
    s.loop.post([state = state_, id = node.id] {
        if (!state->over) start(State::provide(state, id), [] {});
    });
}

}  // namespace turnout
