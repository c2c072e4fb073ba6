#include "api/arm/automl.h"

#include <string_view>
#include <utility>

#include "api/arm/job_resolution.h"
#include "api/arm/resource.h"
#include "api/history/run_view.h"
#include "blob/blobs.h"
#include "model/automl.h"
#include "model/group.h"
#include "submission/automl_job.h"
#include "submission/draft.h"

namespace turnout::api::arm {
namespace {

// The files of python/automl as they were built.
#define TURNOUT_AUTOML_MODULE(name)                      \
    extern "C" {                                         \
    extern const char turnout_automl_##name##_begin[];   \
    extern const char turnout_automl_##name##_end[];     \
    }                                                    \
    asm("    .pushsection .rodata\n"                     \
        "    .global turnout_automl_" #name              \
        "_begin\n"                                       \
        "    .global turnout_automl_" #name              \
        "_end\n"                                         \
        "turnout_automl_" #name                          \
        "_begin:\n"                                      \
        "    .incbin \"" TURNOUT_AUTOML_FOLDER "/" #name \
        ".py\"\n"                                        \
        "turnout_automl_" #name                          \
        "_end:\n"                                        \
        "    .byte 0\n"                                  \
        "    .popsection\n")

TURNOUT_AUTOML_MODULE(begin);
TURNOUT_AUTOML_MODULE(tables);
TURNOUT_AUTOML_MODULE(setup);
TURNOUT_AUTOML_MODULE(features);
TURNOUT_AUTOML_MODULE(spaces);
TURNOUT_AUTOML_MODULE(planner);
TURNOUT_AUTOML_MODULE(scores);
TURNOUT_AUTOML_MODULE(charts);
TURNOUT_AUTOML_MODULE(trial);
TURNOUT_AUTOML_MODULE(ensemble);
TURNOUT_AUTOML_MODULE(forecaster);
TURNOUT_AUTOML_MODULE(series);
TURNOUT_AUTOML_MODULE(forecasts);
TURNOUT_AUTOML_MODULE(script);

struct Module {
    const char* name;
    const char *begin, *end;
};
#define TURNOUT_AUTOML_ROW(name) {#name, turnout_automl_##name##_begin, turnout_automl_##name##_end}
const Module kModules[] = {
    TURNOUT_AUTOML_ROW(tables),     TURNOUT_AUTOML_ROW(setup),   TURNOUT_AUTOML_ROW(features),
    TURNOUT_AUTOML_ROW(spaces),     TURNOUT_AUTOML_ROW(planner), TURNOUT_AUTOML_ROW(scores),
    TURNOUT_AUTOML_ROW(charts),     TURNOUT_AUTOML_ROW(trial),   TURNOUT_AUTOML_ROW(ensemble),
    TURNOUT_AUTOML_ROW(forecaster), TURNOUT_AUTOML_ROW(series),  TURNOUT_AUTOML_ROW(forecasts),
    TURNOUT_AUTOML_ROW(script)};
#undef TURNOUT_AUTOML_ROW
#undef TURNOUT_AUTOML_MODULE

Error of_automl(Error error) {
    return submission::in_automl(std::move(error));
}

}  // namespace

Result<JobSubmission> resolve_automl(const Lookup& lookup, JobType type, const Json& properties) {
    std::vector<Error> problems;
    auto said = submission::read_automl_job(properties, lookup.job, problems);
    if (!problems.empty()) return Failure(std::move(problems.front()));
    JobSubmission job;
    job.meta = TURNOUT_TRY(changed({}, type, said->meta));
    AutoML& automl = said->automl;
    automl.compute = TURNOUT_TRY(submission::compute_named(said->compute, lookup.workspace));
    // What the first of its children would run, so that nothing is begun whose data, compute or
    // environment is not there. Those after it take what is not there yet.
    const std::string first = child_name(lookup.job, 0);
    const Lookup of_first{lookup.services, lookup.call, lookup.workspace, first};
    const auto resolved = resolve_step_said(of_first, type, automl.setup);
    if (!resolved) return Failure(of_automl(resolved.error()));
    automl.priority = resolved->priority;
    for (Json* const definition : {&automl.setup, &automl.trial, &automl.ensemble}) {
        *definition = TURNOUT_TRY(job_definition(*definition, lookup.workspace));
        definition->set("jobType", name_of(kFirstJobType));
    }
    job.compute = automl.compute;
    job.plan = to_json(automl);
    job.task.environment = resolved->task.environment;
    job.task.artifacts = {artifact_container(lookup.workspace.id),
                          "ExperimentRun/dcid." + lookup.job + "/"};
    job.task.mlflow_path = "/mlflow/v2.0" + workspace_path(lookup.workspace);
    return job;
}

void show_automl(const JobRecord& job, Json& properties, Json& own) {
    const auto count = [&](const char* name, std::int64_t children) {
        own.set("turnout.children." + std::string(name), std::to_string(children));
    };
    count("created", job.sweep.created);
    count("completed", job.sweep.completed);
    count("failed", job.sweep.failed);
    count("canceled", job.sweep.canceled);
    const Json& metric = job.plan.at("metric");
    own.set("turnout.metric", metric);
    own.set("turnout.goal", job.plan.at("maximize").as_bool(true) ? "maximize" : "minimize");
    if (job.sweep.best < 0) return;
    show_best_child(job, own);
    Json tags = properties.at("tags");
    show_best_tag(job, tags);
    properties.set("tags", std::move(tags));
}

void add_automl_program(const JobRecord& child, agent_protocol::TaskSpec& task) {
    if (!is_of_automl(child.child.role)) return;
    const auto text = [](const char* begin, const char* end) {
        return std::string(begin, static_cast<std::size_t>(end - begin));
    };
    task.variables.emplace_back(submission::kAutoMLProgram,
                                text(turnout_automl_begin_begin, turnout_automl_begin_end));
    for (const Module& module : kModules)
        task.variables.emplace_back("AZUREML_AUTOML_MODULE_" + std::string(module.name),
                                    text(module.begin, module.end));
}

}  // namespace turnout::api::arm
