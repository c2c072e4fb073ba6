#include "api/arm/pipeline.h"

#include <algorithm>
#include <utility>

#include "api/arm/job_resolution.h"
#include "api/arm/resource.h"
#include "api/own_call.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/jobs.h"
#include "model/group.h"
#include "model/pipeline.h"
#include "submission/pipeline_job.h"
#include "submission/refusal.h"
#include "tracking/tracking.h"

namespace turnout::api::arm {
namespace {

constexpr Span kAgain = 1s;
constexpr std::string_view kAnonymousComponent = "azureml_anonymous";

// The definition of a registered component.
Result<Json> component_of(const Lookup& lookup, const std::string& id) {
    std::string text = id;
    if (text.find('/') == std::string::npos && !text.starts_with("azureml:"))
        text = "azureml:" + text;
    const auto reference = TURNOUT_TRY(submission::parse_reference(text, lookup.workspace));
    using Form = submission::Reference::Form;
    if (reference.form == Form::Registry)
        return fail(Code::InvalidArgument, "RegistryNotFound",
                    "registry '" + reference.registry + "' has no components here");
    if (reference.form != Form::Asset ||
        (!reference.kind.empty() && reference.kind != "components"))
        return fail(Code::InvalidArgument, "ComponentNotFound",
                    "expected azureml:NAME:VERSION, azureml:NAME@latest or the id of a component, "
                    "found '" +
                        id.substr(0, 300) + "'");
    const auto asset = TURNOUT_TRY(lookup.services.assets.resolve(
        lookup.workspace.id, "components", reference.name, reference.version));
    if (asset) return asset->properties.at("componentSpec");
    std::vector<std::string> names;
    for (const auto& container :
         TURNOUT_TRY(lookup.services.assets.list_containers(lookup.workspace.id, "components")))
        if (container.name != kAnonymousComponent) names.push_back(container.name);
    const bool known = std::ranges::find(names, reference.name) != names.end();
    return fail(Code::InvalidArgument, "ComponentNotFound",
                "component '" + reference.name + "' " +
                    (known ? "has no version '" + reference.version + "'"
                           : "does not exist" + did_you_mean(reference.name, names)));
}

// That of all steps, which is looked at also if each has one of its own.
Result<std::string> default_compute(const Lookup& lookup, JobType type,
                                    const submission::PipelineJob& said) {
    const auto in_settings = [](Error why) {
        if (why.subject == "properties.computeId")
            why.subject = "properties.settings.default_compute";
        return Failure(std::move(why));
    };
    const auto named = submission::compute_named(said.compute, lookup.workspace);
    if (!named) return in_settings(named.error());
    submission::Draft draft;
    draft.compute = *named;
    if (const auto can = check_capability(lookup, draft.compute, type); !can)
        return in_settings(can.error());
    if (const auto there = find_compute(lookup, draft); !there) return in_settings(there.error());
    return *named;
}

}  // namespace

Result<JobSubmission> resolve_pipeline(const Lookup& lookup, JobType type, const Json& properties) {
    std::vector<Error> problems;
    auto said = submission::read_pipeline_job(
        properties, lookup.workspace, lookup.job,
        [&](const std::string& id) { return component_of(lookup, id); }, problems);
    if (!problems.empty()) return Failure(std::move(problems.front()));
    JobSubmission job;
    job.meta = TURNOUT_TRY(changed({}, type, said->meta));
    job.compute = TURNOUT_TRY(default_compute(lookup, type, *said));
    for (std::size_t i = 0; i < said->pipeline.steps.size(); ++i) {
        PipelineStep& step = said->pipeline.steps[i];
        const std::string name = child_name(lookup.job, static_cast<std::int64_t>(i));
        const Lookup of_step{lookup.services, lookup.call, lookup.workspace, name, true};
        // What it would run, so that nothing is begun of a pipeline that cannot go to its end.
        const auto resolved = resolve_step_said(of_step, type, step.definition);
        if (!resolved)
            return Failure(submission::in_step(resolved.error(), said->places[i], step.name));
        step.priority = resolved->priority;
        step.definition = TURNOUT_TRY(job_definition(step.definition, lookup.workspace));
        // It is told to the step's page; its own definition does not have it.
        step.definition.set("jobType", name_of(kFirstJobType));
    }
    job.plan = to_json(said->pipeline);
    // It lies deeper in its row than it came.
    if (!parse_json(Json::object({{"plan", job.plan}}).dump()))
        return submission::refuse(
            "TooDeep", "jobs: lists and mappings of a step lie too deep within each other", "jobs");
    job.task.artifacts = {artifact_container(lookup.workspace.id),
                          "ExperimentRun/dcid." + lookup.job + "/"};
    job.task.mlflow_path = "/mlflow/v2.0" + workspace_path(lookup.workspace);
    return job;
}

void show_pipeline(const JobRecord& job, Json&, Json& own) {
    const auto count = [&](const char* name, std::int64_t steps) {
        own.set("turnout.steps." + std::string(name), std::to_string(steps));
    };
    count("total", static_cast<std::int64_t>(job.plan.at("steps").items().size()));
    count("created", job.sweep.created);
    count("completed", job.sweep.completed);
    count("failed", job.sweep.failed);
    count("canceled", job.sweep.canceled);
}

namespace {

Result<agent_protocol::TaskSpec> task_of_step(Services& services, const JobRecord& step) {
    const auto workspace = TURNOUT_TRY(services.assets.workspace_by_id(step.workspace));
    if (!workspace) return not_found("the workspace of step '" + step.name + "' is gone");
    // Of what the step says itself this was looked at when its pipeline was submitted.
    const OwnCall own(step.principal);
    JobSubmission job = TURNOUT_TRY(
        resolve_step_said({services, own.call, *workspace, step.name}, step.type, step.definition));
    const auto experiment =
        TURNOUT_TRY(services.tracking.experiment_by_name(step.workspace, step.meta.experiment));
    if (!experiment) return not_found("experiment '" + step.meta.experiment + "' is gone");
    job.task.mlflow_experiment_id = experiment->id;
    job.task.variables.emplace(job.task.variables.begin(), "AZUREML_EXPERIMENT_ID", experiment->id);
    for (auto& [variable, value] : job.task.variables)
        if (variable == "AZUREML_ROOT_RUN_ID") value = step.child.group;
    return std::move(job.task);
}

}  // namespace

void resolve_step(Services& services, const std::string& wsid, const std::string& job) {
    const auto step = read_job(services.store, wsid, job);
    if (step && !*step) return;  // deleted
    auto task = step ? task_of_step(services, (*step)->record)
                     : Result<agent_protocol::TaskSpec>(Failure(step.error()));
    // What may be read a moment later has not failed the step.
    if (!task &&
        (task.error().code == Code::Unavailable || task.error().code == Code::ResourceExhausted)) {
        services.loop.after(kAgain, [&services, wsid, job] { resolve_step(services, wsid, job); });
        return;
    }
    services.control.resolve_job(
        wsid, job, [task = std::move(task)](const JobRecord&) { return task; },
        [&services, wsid, job](const Result<Put>& put) {
            // Nobody asks for it a second time.
            if (!put &&
                (put.error().code == Code::Unavailable ||
                 put.error().code == Code::ResourceExhausted || put.error().code == Code::Internal))
                services.loop.after(kAgain,
                                    [&services, wsid, job] { resolve_step(services, wsid, job); });
        });
}

}  // namespace turnout::api::arm
