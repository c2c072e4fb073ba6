#include "api/arm/pipeline.h"

#include <algorithm>
#include <map>
#include <utility>

#include "api/arm/automl.h"
#include "api/arm/job_resolution.h"
#include "api/arm/resource.h"
#include "api/arm/reuse.h"
#include "api/own_call.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/jobs.h"
#include "model/automl.h"
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

namespace {

// The steps of the pipeline that is resumed, by their names: what they gave is taken again.
Result<std::map<std::string, std::string>> steps_before(const Lookup& lookup,
                                                        const std::string& resumes) {
    std::map<std::string, std::string> steps;
    if (resumes.empty()) return steps;
    const auto before = TURNOUT_TRY(read_job(lookup.services.store, lookup.workspace.id, resumes));
    if (!before)
        return submission::refuse("JobNotFound", "job '" + resumes + "' does not exist", "resumes");
    const JobRecord& job = before->record;
    const Json::Array& said = job.plan.at("steps").items();
    if (said.empty())
        return submission::refuse(
            "NotAPipeline", "resumes: expected a pipeline, found job '" + resumes + "'", "resumes");
    if (!is_terminal(job.status) || job.status == JobStatus::Completed)
        return submission::refuse("NothingToResume",
                                  "resumes: expected a pipeline that failed or was canceled, '" +
                                      resumes + "' is " + std::string(name_of(job.status)),
                                  "resumes");
    for (std::size_t i = 0; i < said.size(); ++i)
        steps.emplace(said[i].at("name").as_string(),
                      child_name(resumes, static_cast<std::int64_t>(i)));
    return steps;
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
    const auto before = TURNOUT_TRY(steps_before(lookup, said->resumes));
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
        if (const auto same = before.find(step.name); same != before.end())
            step.definition.set("resumes", same->second);
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
    if (const Json& before = job.definition.at("resumes"); before.is_string())
        own.set("turnout.resumes", before);
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
    add_automl_program(step, job.task);
    return std::move(job.task);
}

}  // namespace

bool may_work_later(const Error& error) {
    return error.code == Code::Unavailable || error.code == Code::ResourceExhausted;
}

namespace {

Task<void> resolve_now(Services& services, std::string wsid, std::string job) {
    const auto again = [&services, wsid, job] {
        services.loop.after(kAgain, [&services, wsid, job] { resolve_step(services, wsid, job); });
    };
    const auto step = read_job(services.store, wsid, job);
    if (step && !*step) co_return;  // deleted
    auto task = step ? task_of_step(services, (*step)->record)
                     : Result<agent_protocol::TaskSpec>(Failure(step.error()));
    Result<Control::KnownTask> known = Failure(Error{});
    if (task && is_of_automl((*step)->record.child.role))
        known = std::move(*task);  // what a trial does follows from those before it
    else if (task)
        known = co_await run_or_reuse(services, (*step)->record, std::move(*task));
    else
        known = Failure(task.error());
    // What may be read a moment later has not failed the step.
    if (!known && may_work_later(known.error())) co_return again();
    services.control.resolve_job(
        wsid, job, [known = std::move(known)](const JobRecord&) { return known; },
        [again](const Result<Put>& put) {
            // Nobody asks for it a second time.
            if (!put && (may_work_later(put.error()) || put.error().code == Code::Internal))
                again();
        });
}

}  // namespace

void resolve_step(Services& services, const std::string& wsid, const std::string& job) {
    start(resolve_now(services, wsid, job), [] {});
}

}  // namespace turnout::api::arm
