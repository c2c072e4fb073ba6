// What a pool's Slurm is like: as it is known, and as its own programs tell.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <set>
#include <utility>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "provider/slurm/state.h"

namespace turnout {

namespace {

std::string name_of_slurm(const SlurmSettings& settings) {
    return "slurm" + (settings.config.empty() ? std::string() : " " + settings.config) +
           (settings.partition.empty() ? std::string() : ", partition " + settings.partition);
}

// One partition's line of sinfo: %R|%a|%l|%D|%c|%m|%T.
struct PartitionLine {
    std::string name, available, limit, state;
    std::int64_t nodes = 0, cores = 0, memory_mb = 0;
};

std::optional<PartitionLine> parse_partition(std::string_view line) {
    const std::vector<std::string> parts = split(trim(line), '|');
    if (parts.size() != 7) return std::nullopt;
    // "4+": some have more.
    const auto number = [](std::string_view text) {
        return parse_whole_number(text.substr(0, text.find('+'))).value_or(0);
    };
    return PartitionLine{parts[0],         parts[1],         parts[2],        parts[6],
                         number(parts[3]), number(parts[4]), number(parts[5])};
}

}  // namespace

Json SlurmProvider::describe(const Json& settings) const {
    State& s = *state_;
    const SlurmSettings pool = read_slurm_settings(settings);
    Json one = Json::object({{"host", name_of_slurm(pool)}});
    const auto found = s.clusters.find(pool.config);
    std::int64_t nodes = 0;
    for (const auto& [id, place] : s.places) nodes += place->cluster->config == pool.config;
    one.set("nodes", nodes);
    const bool trouble = found != s.clusters.end() && found->second->trouble;
    one.set("state", trouble ? "avoided" : nodes > 0 ? "connected" : "unused");
    if (trouble) one.set("message", found->second->trouble->message);
    return Json::array({std::move(one)});
}

Task<Json> SlurmProvider::check(Json settings) {
    const std::shared_ptr<State> state = state_;
    const SlurmSettings pool = read_slurm_settings(settings);
    Json one = Json::object({{"host", name_of_slurm(pool)}});
    const auto answer = [&one](bool reachable, std::string message) {
        one.set("reachable", reachable);
        if (!message.empty()) one.set("message", std::move(message));
        return Json::array({one});
    };
    std::vector<std::string> words = {"--version"};
    const Result<ProgramRan> version =
        co_await State::run(state, pool.config, "sinfo", std::move(words));
    if (!version) co_return answer(false, version.error().message);
    words = {"--noheader", "--format=%R|%a|%l|%D|%c|%m|%T"};
    if (!pool.partition.empty()) words.push_back("--partition=" + pool.partition);
    const Result<ProgramRan> info =
        co_await State::run(state, pool.config, "sinfo", std::move(words));
    if (!info) co_return answer(false, info.error().message);
    if (info->code != 0) co_return answer(false, "Slurm does not answer: " + slurm_says(info->err));
    std::int64_t nodes = 0, cores = 0, memory_mb = 0;
    std::set<std::string> limits, states;
    for (const std::string& line : split(info->out, '\n'))
        if (const auto part = parse_partition(line)) {
            nodes += part->nodes;
            cores = std::max(cores, part->cores);
            memory_mb = std::max(memory_mb, part->memory_mb);
            limits.insert(part->name + " (" + part->available + ", at most " + part->limit + ")");
            states.insert(std::to_string(part->nodes) + " " + part->state);
        }
    if (nodes == 0)
        co_return answer(false, pool.partition.empty()
                                    ? "this Slurm has no partition with nodes"
                                    : "there is no partition '" + pool.partition + "' with nodes");
    one.set("system", std::string(trim(version->out)) + " with " + std::to_string(nodes) +
                          (nodes == 1 ? " node (" : " nodes (") +
                          join(std::vector<std::string>(states.begin(), states.end()), ", ") +
                          "), partition " +
                          join(std::vector<std::string>(limits.begin(), limits.end()), ", "));
    one.set("cores", cores);
    one.set("memoryBytes", memory_mb << 20);
    // Whether this user and account may, by what a pilot of one core would say.
    NodeRequest request;
    request.id = "check/pool/node-0";
    request.cores = 1;
    const std::string folder = state->folder_of(pool.folder, request.id);
    words = submit_words(request, pool, state->instance, folder);
    words.push_back("--test-only");
    const Result<ProgramRan> test =
        co_await State::run(state, pool.config, "sbatch", std::move(words), "#!/bin/sh\ntrue\n");
    if (!test) co_return answer(false, test.error().message);
    if (test->code != 0)
        co_return answer(false,
                         "a pilot may not be submitted: " + refused_by_slurm(test->err).message);
    one.set("submits", slurm_says(test->err));
    std::function<Result<std::uint64_t>()> space_in = [folder =
                                                           pool.folder]() -> Result<std::uint64_t> {
        if (::access(folder.c_str(), W_OK | X_OK) != 0)
            return file_failure("cannot write to", folder, errno);
        return free_space(folder);
    };
    const Result<std::uint64_t> space = co_await apart(state->loop, std::move(space_in));
    if (!space)
        co_return answer(false, "the folder that the server and the compute nodes have to share: " +
                                    space.error().message);
    one.set("freeBytes", static_cast<std::int64_t>(*space));
    const auto known = state->clusters.find(pool.config);
    if (known != state->clusters.end()) {
        const State::ClusterPtr cluster = known->second;
        const Result<std::vector<Pilot>> pilots = co_await State::look(state, cluster);
        if (pilots)
            one.set("nodes", static_cast<std::int64_t>(
                                 std::ranges::count_if(*pilots, [](const Pilot& pilot) {
                                     return pilot.phase() != Pilot::Phase::Over;
                                 })));
    }
    co_return answer(true, "");
}

}  // namespace turnout
