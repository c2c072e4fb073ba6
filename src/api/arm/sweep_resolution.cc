// From the definition of a sweep to the one task that all its trials are.
#include "api/arm/job_limits.h"
#include "api/arm/job_resolution.h"
#include "model/sweep.h"

namespace turnout::api::arm {
namespace {

// A trial's own part is shown where the client wrote it.
Error in_trial(Error error) {
    constexpr std::string_view before = "properties.";
    for (const std::string_view member :
         {"command", "codeId", "environmentId", "environmentVariables", "distribution"})
        if (error.subject.starts_with(before) &&
            std::string_view(error.subject).substr(before.size()).starts_with(member))
            error.subject.insert(before.size(), "trial.");
    return error;
}

}  // namespace

// All trials are this job, but for their names and parameters: it is resolved under the stand-in
// ${{turnout.job}} for a name, which each trial replaces by its own.
Result<JobSubmission> resolve_sweep(Services& services, const Call& call,
                                    const Workspace& workspace, const std::string& name,
                                    const Json& properties) {
    const Sweep sweep = TURNOUT_TRY(parse_sweep(properties, name));
    if (!properties.at("trial").is_object())
        return fail(Code::InvalidArgument, "InvalidSweep",
                    "a sweep needs a trial: its command and environment", "properties.trial");
    TURNOUT_TRY(check_search_space_references(properties));
    TURNOUT_TRY(check_sweep_limits(properties));
    Json trial = trial_of(properties);
    trial.erase("displayName");
    trial.set("searchSpace", properties.at("searchSpace"));  // the command names it
    auto job =
        resolve_job(services, call, workspace, std::string(agent_protocol::kJobPlaceholder), trial);
    if (!job) return Failure(in_trial(job.error()));
    for (auto& [variable, value] : job->task.variables)
        if (variable == "AZUREML_ROOT_RUN_ID") value = name;
    job->type = JobType::Sweep;
    job->name = name;
    job->definition = TURNOUT_TRY(job_definition(properties, workspace));
    job->meta = job_meta(properties, name);
    if (sweep.sampling.kind != Sampling::Kind::Grid)
        job->meta.properties.set("turnout.seed", std::to_string(sweep.sampling.seed));
    return job;
}

}  // namespace turnout::api::arm
