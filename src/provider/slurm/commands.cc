// Slurm's programs: how they are run, and squeue's answer that all share.
#include <unistd.h>

#include <utility>

#include "base/text.h"
#include "provider/slurm/state.h"

namespace turnout {

namespace {

// Where they are besides the server's PATH.
constexpr std::string_view kMorePlaces =
    ":/usr/local/bin:/usr/bin:/opt/slurm/bin:/usr/local/slurm/bin";

}  // namespace

Result<SpawnRequest> SlurmProvider::State::program(const std::string& config,
                                                   const std::string& name,
                                                   std::vector<std::string> words) const {
    SpawnRequest request;
    request.environment = environment;
    if (!config.empty()) {
        std::erase_if(request.environment,
                      [](const std::string& one) { return one.starts_with("SLURM_CONF="); });
        request.environment.push_back("SLURM_CONF=" + config);
    }
    std::string path;
    for (const std::string& one : environment)
        if (one.starts_with("PATH=")) path = one.substr(5);
    for (const std::string& place : split(path + std::string(kMorePlaces), ':'))
        if (place.starts_with('/') && ::access((place + "/" + name).c_str(), X_OK) == 0) {
            request.program = place + "/" + name;
            break;
        }
    if (request.program.empty())
        return fail(Code::FailedPrecondition, "NoSlurm",
                    name + " is not in PATH (" + shown(path) +
                        "): install Slurm's client programs on the server's machine");
    request.arguments = std::move(words);
    request.arguments.insert(request.arguments.begin(), name);
    return request;
}

Task<Result<ProgramRan>> SlurmProvider::State::run(std::shared_ptr<State> self, std::string config,
                                                   std::string name, std::vector<std::string> words,
                                                   std::string input) {
    TURNOUT_CO_TRY(SpawnRequest request, self->program(config, name, std::move(words)));
    Result<ProgramRan> ran = co_await run_program(self->loop, std::move(request), std::move(input),
                                                  self->options.answer);
    if (self->over) co_return self->ended();
    if (!ran) {
        Error why = ran.error();
        why.code = Code::Unavailable;
        co_return Failure(std::move(why));
    }
    co_return ran;
}

Task<Result<std::vector<Pilot>>> SlurmProvider::State::look(std::shared_ptr<State> self,
                                                            ClusterPtr cluster) {
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
        std::vector<std::string> words = queue_words(self->instance, self->user);
        Result<ProgramRan> ran = co_await run(self, cluster->config, "squeue", std::move(words));
        Result<std::vector<Pilot>> answer = std::vector<Pilot>();
        if (!ran)
            answer = Failure(ran.error());
        else if (ran->code != 0)
            answer = fail(Code::Unavailable, "SlurmAway",
                          "Slurm does not answer: " + slurm_says(ran->err));
        else
            answer = parse_queue(ran->out, self->instance);
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

Task<Result<void>> SlurmProvider::State::cancel(std::shared_ptr<State> self, ClusterPtr cluster,
                                                std::string job) {
    std::vector<std::string> words = {std::move(job)};
    TURNOUT_CO_TRY(const ProgramRan ran,
                   co_await run(self, cluster->config, "scancel", std::move(words)));
    // One that has ended meanwhile is what was wanted; the queue tells.
    if (ran.code != 0 && ran.err.find("nvalid job id") == std::string::npos)
        co_return fail(Code::Unavailable, "SlurmSays", "Slurm says: " + slurm_says(ran.err));
    co_return Result<void>();
}

}  // namespace turnout
