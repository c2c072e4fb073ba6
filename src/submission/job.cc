#include "submission/job.h"

#include <array>
#include <optional>

#include "base/text.h"
#include "model/job_kind.h"
#include "submission/automl_job.h"
#include "submission/limits.h"
#include "submission/pipeline_job.h"
#include "submission/refusal.h"

namespace turnout::submission {
namespace {

using agent_protocol::TaskEnvironment;
using Problems = std::vector<Error>;

template <class T>
void check(const Result<T>& result, Problems& problems) {
    if (!result) problems.push_back(result.error());
}

// Of a command job and of all trials. `own` is the environment that is defined in place.
void check_command(CommandJob job, const Json& own, const Workspace& workspace,
                   const std::string& name, Problems& problems) {
    const bool read = problems.empty();
    std::optional<TaskEnvironment> environment;
    if (own.is_object()) {
        const std::string anonymous(kAnonymousEnvironment);
        const Json& members = own.at("properties");
        Result<TaskEnvironment> made = environment_of("inline environment", members);
        if (const auto good = check_environment(anonymous, members); !good)
            check(Result<void>(refuse(good.error(), "InvalidEnvironment", "environmentId")),
                  problems);
        else
            check(made, problems);
        if (made) environment = std::move(*made);
        job.environment = "azureml:" + anonymous + ":1";
    }
    Draft draft = draft_of(std::move(job), workspace, name, problems);
    if (!read || !problems.empty()) return;
    if (own.at("properties").at("build").is_object() && draft.compute == kServerless &&
        !draft.instance)
        problems.push_back(no_engine_for("inline environment", "local").error());
    if (environment) draft.task.environment = std::move(*environment);
    check(check_limits(draft.task), problems);
}

void check_command_job(JobType type, const Json& properties, const Workspace& workspace,
                       const std::string& name, Problems& problems) {
    auto job = read_command_job(properties, name, problems);
    if (!job) return;
    check(changed({}, type, job->meta), problems);
    check_command(std::move(*job), properties.at("environment"), workspace, name, problems);
}

void check_sweep_job(JobType type, const Json& properties, const Workspace& workspace,
                     const std::string& name, Problems& problems) {
    auto job = read_sweep_job(properties, name, problems);
    if (!job) return;
    check(changed({}, type, job->meta), problems);
    if (!job->trial) return;
    const std::size_t before = problems.size();
    check_command(std::move(*job->trial), properties.at("trial").at("environment"), workspace,
                  std::string(agent_protocol::kJobPlaceholder), problems);
    for (std::size_t i = before; i < problems.size(); ++i)
        problems[i] = in_trial(std::move(problems[i]), job->own_resources);
}

void check_pipeline_job(JobType type, const Json& properties, const Workspace& workspace,
                        const std::string& name, Problems& problems) {
    // Components that are registered are the server's to know.
    const auto said = read_pipeline_job(
        properties, workspace, name, [](const std::string&) { return Result<Json>(Json()); },
        problems);
    if (!said || !problems.empty()) return;
    check(changed({}, type, said->meta), problems);
    for (std::size_t i = 0; i < said->pipeline.steps.size(); ++i) {
        const PipelineStep& step = said->pipeline.steps[i];
        Problems own;
        if (auto job = read_command_job(step.definition, name, own))
            check_command(std::move(*job), Json(), workspace, name, own);
        for (Error& problem : own)
            problems.push_back(in_step(std::move(problem), said->places[i], step.name));
    }
}

void check_automl_job(JobType type, const Json& properties, const Workspace& workspace,
                      const std::string& name, Problems& problems) {
    const auto said = read_automl_job(properties, name, problems);
    if (!said || !problems.empty()) return;
    check(changed({}, type, said->meta), problems);
    Problems own;
    if (auto job = read_command_job(said->automl.setup, name, own))
        check_command(std::move(*job), Json(), workspace, name, own);
    for (Error& problem : own) problems.push_back(in_automl(std::move(problem)));
}

// How the definition of a job of each kind is checked.
struct Kind {
    JobType type;
    void (*check)(JobType type, const Json& properties, const Workspace& workspace,
                  const std::string& name, Problems& problems);
};
constexpr std::array<Kind, kJobTypeCount> kChecks{{
    {JobType::Command, check_command_job},
    {JobType::Sweep, check_sweep_job},
    {JobType::Pipeline, check_pipeline_job},
    {JobType::AutoML, check_automl_job},
}};
static_assert(is_table_of_kinds(kChecks));

}  // namespace

Result<JobType> job_type_of(const Json& properties) {
    const std::string said = properties.at("jobType").as_string();
    if (const JobKind* kind = find_job_kind(said)) return kind->type;
    std::string known;
    for (const JobKind& kind : kJobKinds)
        known += (known.empty()                ? "'"
                  : &kind == &kJobKinds.back() ? " and '"
                                               : ", '") +
                 std::string(kind.name) + "'";
    return refuse("JobTypeNotSupported",
                  (said.empty() ? std::string("the job has no jobType")
                                : "jobs of type '" + said.substr(0, 40) + "' do not run yet") +
                      ": this server runs jobs of type " + known,
                  "jobType");
}

std::vector<Error> problems_of(const Json& properties, const Workspace& workspace,
                               const std::string& name) {
    const auto type = job_type_of(properties);
    if (!type) return {type.error()};
    std::vector<Error> problems;
    row_of(kChecks, *type).check(*type, properties, workspace, name, problems);
    return problems;
}

}  // namespace turnout::submission
