#include "submission/sweep_job.h"

#include <array>

#include "protocol/secret_reference.h"
#include "resources/resources.h"
#include "submission/limits.h"
#include "submission/refusal.h"
#include "submission/types.h"

namespace turnout::submission {
namespace {

// What has a rule of its own.
constexpr std::array<std::string_view, 6> kOfSweep = {
    "limits.",        "objective.",       "earlyTermination.", "resources.instanceCount",
    "queueSettings.", "resources.shmSize"};
constexpr std::array<std::string_view, 5> kOfTrial = {"command", "resources.instanceCount",
                                                      "resources.shmSize", "distribution.",
                                                      "environmentVariables"};

Result<Sweep> check_sweep(const Json& properties, const std::string& name) {
    Sweep sweep = TURNOUT_TRY(parse_sweep(properties, name));
    if (!properties.at("trial").is_object())
        return refuse("InvalidSweep", "a sweep needs a trial: its command and environment",
                      "trial");
    if (agent_protocol::mentions_secrets(properties.at("searchSpace").dump()))
        return no_secrets_here("the search space", "searchSpace");
    TURNOUT_TRY(check_search_space_references(properties));
    TURNOUT_TRY(check_sweep_limits(properties));
    return sweep;
}

}  // namespace

std::optional<SweepJob> read_sweep_job(const Json& properties, const std::string& name,
                                       std::vector<Error>& problems) {
    const Json& trial = properties.at("trial");
    Types types(properties, problems);
    types.of(resources::sweep_job(), kOfSweep);
    types.texts({"computeId"});
    types.objects({"inputs", "outputs", "services"});
    Types of_trial(trial, problems, "trial.");
    of_trial.of(resources::sweep_trial(), kOfTrial);
    of_trial.texts({"codeId", "environmentId"});
    if (!types.good()) return std::nullopt;
    SweepJob job;
    job.meta = said_meta(properties, name);
    auto sweep = check_sweep(properties, name);
    if (sweep)
        job.sweep = std::move(*sweep);
    else
        problems.push_back(sweep.error());
    if (!trial.is_object()) return job;
    job.own_resources = !trial.at("resources").members().empty();
    Json command = trial_of(properties);
    command.erase("displayName");  // each has its own
    command.erase("limits");       // read with the sweep's
    const std::size_t before = problems.size();
    job.trial = read_command_job(command, agent_protocol::kJobPlaceholder, problems);
    for (std::size_t i = before; i < problems.size(); ++i)
        problems[i] = in_trial(std::move(problems[i]), job.own_resources);
    if (!job.trial) return job;
    for (const OutputSaid& output : job.trial->outputs)
        if (!output.asset.empty())
            problems.push_back(
                refuse("OutputRegistrationNotSupported",
                       "output '" + output.name +
                           "' of a sweep is one of each trial, and cannot be registered by it: "
                           "leave its name out, and create the asset from "
                           "azureml://jobs/SWEEP/outputs/" +
                           output.name + ", the best trial's",
                       "outputs." + output.name + ".assetName")
                    .error());
    job.trial->timeout = job.sweep.limits.trial_timeout;
    job.trial->declared.search_space.emplace();
    for (const auto& [parameter, expression] : properties.at("searchSpace").members())
        job.trial->declared.search_space->push_back(parameter);
    types.refuse_the_rest();
    return job;
}

Error in_trial(Error error, bool own_resources) {
    constexpr std::string_view before = "properties.";
    if (!error.subject.starts_with(before)) return error;
    const std::string_view place = std::string_view(error.subject).substr(before.size());
    bool of_trial = own_resources && place.starts_with("resources");
    for (const std::string_view member :
         {"command", "codeId", "environmentId", "environmentVariables", "distribution"})
        of_trial = of_trial || place.starts_with(member);
    if (of_trial) error.subject.insert(before.size(), "trial.");
    return error;
}

}  // namespace turnout::submission
