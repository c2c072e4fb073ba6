#include "api/arm/job_resolution.h"

#include "api/arm/job_lookup.h"
#include "api/arm/registration.h"
#include "api/arm/resource.h"
#include "api/data_uri.h"
#include "api/job_kinds.h"
#include "blob/blobs.h"
#include "submission/job.h"
#include "submission/limits.h"

namespace turnout::api::arm {
namespace {

// A command job, or all the trials of a sweep.
Result<JobSubmission> resolve_said(const Lookup& lookup, JobType type,
                                   submission::CommandJob said) {
    std::vector<Error> problems;
    const std::vector<submission::OutputSaid> said_outputs = said.outputs;
    submission::Draft draft =
        submission::draft_of(std::move(said), lookup.workspace, lookup.job, problems);
    if (!problems.empty()) return Failure(std::move(problems.front()));
    TURNOUT_TRY(check_capability(lookup, draft.compute, type));
    TURNOUT_TRY(find_compute(lookup, draft));
    TURNOUT_TRY(find_environment(lookup, draft));
    TURNOUT_TRY(find_code(lookup, draft));
    TURNOUT_TRY(place_inputs(lookup, draft));
    TURNOUT_TRY(place_outputs(lookup, draft));
    TURNOUT_TRY(check_registrations(lookup, said_outputs));
    TURNOUT_TRY(find_secrets(lookup, draft));
    TURNOUT_TRY(submission::check_limits(draft.task));
    JobSubmission job;
    job.compute = std::move(draft.compute);
    if (const auto& asked = draft.instance)
        job.instance = ContainerInstance{asked->region, asked->cores, asked->memory_gb,
                                         draft.task.environment.image};
    job.priority = draft.priority;
    job.task = std::move(draft.task);
    job.task.artifacts = {artifact_container(lookup.workspace.id),
                          "ExperimentRun/dcid." + lookup.job + "/"};
    job.task.mlflow_path = "/mlflow/v2.0" + workspace_path(lookup.workspace);
    return job;
}

}  // namespace

Result<JobSubmission> resolve_command(const Lookup& lookup, JobType type, const Json& properties) {
    std::vector<Error> problems;
    auto said = submission::read_command_job(properties, lookup.job, problems);
    if (!problems.empty()) return Failure(std::move(problems.front()));
    JobMeta meta = TURNOUT_TRY(changed({}, type, said->meta));
    JobSubmission job = TURNOUT_TRY(resolve_said(lookup, type, std::move(*said)));
    job.meta = std::move(meta);
    return job;
}

Result<JobSubmission> resolve_step_said(const Lookup& lookup, JobType group,
                                        const Json& properties) {
    std::vector<Error> problems;
    auto said = submission::read_command_job(properties, lookup.job, problems);
    if (!problems.empty()) return Failure(std::move(problems.front()));
    return resolve_said(lookup, group, std::move(*said));
}

// All trials are one job, but for their names and parameters: it is resolved under the stand-in
// ${{turnout.job}} for a name, which each trial replaces by its own.
Result<JobSubmission> resolve_sweep(const Lookup& lookup, JobType type, const Json& properties) {
    std::vector<Error> problems;
    auto said = submission::read_sweep_job(properties, lookup.job, problems);
    if (!problems.empty()) return Failure(std::move(problems.front()));
    const std::string stand_in(agent_protocol::kJobPlaceholder);
    auto job = resolve_said({lookup.services, lookup.call, lookup.workspace, stand_in}, type,
                            std::move(*said->trial));
    if (!job) return Failure(submission::in_trial(job.error(), said->own_resources));
    for (auto& [variable, value] : job->task.variables)
        if (variable == "AZUREML_ROOT_RUN_ID") value = lookup.job;
    job->meta = TURNOUT_TRY(changed({}, type, said->meta));
    if (said->sweep.sampling.kind != Sampling::Kind::Grid)
        job->meta.properties.set("turnout.seed", std::to_string(said->sweep.sampling.seed));
    return job;
}

Result<JobSubmission> resolve_job(Services& services, const Call& call, const Workspace& workspace,
                                  const std::string& name, const Json& properties) {
    const JobType type = TURNOUT_TRY(submission::job_type_of(properties));
    JobSubmission job =
        TURNOUT_TRY(kind_row(type).resolve({services, call, workspace, name}, type, properties));
    job.type = type;
    job.workspace = workspace.id;
    job.name = name;
    job.definition = TURNOUT_TRY(job_definition(properties, workspace));
    job.principal = call.principal.name;
    if (job.instance) job.meta.properties.set("turnout.container", words_of(*job.instance));
    return job;
}

}  // namespace turnout::api::arm
