#include "model/job_kind.h"

#include "base/text.h"

namespace turnout {

constexpr std::array<JobKind, kJobTypeCount> kJobKinds{{
    {.type = JobType::Command,
     .name = "Command",
     .noun = "command job",
     .run_type = "azureml.scriptrun",
     .default_log = "user_logs/std_log.txt"},
    {.type = JobType::Sweep,
     .name = "Sweep",
     .noun = "sweep",
     .run_type = "hyperdrive",
     .default_log = "azureml-logs/hyperdrive.txt",  // where Azure has it
     .group = true,
     .child = "trial",
     .own_properties = {"best_child_run_id", "score", "best_metric_status",
                        "best_data_container_id"}},
    {.type = JobType::Pipeline,
     .name = "Pipeline",
     .noun = "pipeline",
     .run_type = "azureml.PipelineRun",
     .default_log = "logs/azureml/executionlogs.txt",  // where Azure has it
     .group = true,
     .child = "step"},
    {.type = JobType::AutoML,
     .name = "AutoML",
     .noun = "AutoML job",
     .run_type = "automl",
     .default_log = "logs/azureml/azureml_automl.log",
     .group = true,
     .child = "trial",
     .best_tag = "automl_best_child_run_id",  // where Azure has it
     .own_properties = {"best_child_run_id", "score"}},
}};
static_assert(is_table_of_kinds(kJobKinds));

const JobKind* find_job_kind(std::string_view name) {
    for (const JobKind& kind : kJobKinds)
        if (equal_ignoring_case(kind.name, name)) return &kind;
    return nullptr;
}

Result<JobType> parse_job_type(std::string_view text) {
    std::string known;
    for (const JobKind& kind : kJobKinds) {
        if (kind.name == text) return kind.type;
        known += known.empty() ? "" : ", ";
        known += kind.name;
    }
    return invalid("'" + std::string(text) + "' is no job type (one of " + known + ")");
}

}  // namespace turnout
