#include "control/job_kinds.h"

#include "model/automl_plan.h"
#include "model/pipeline_plan.h"
#include "model/sweep_plan.h"

namespace turnout::control {

constexpr KindTable kKinds{{{
    {.type = JobType::Command, .split = split_task},
    {.type = JobType::Sweep, .split = base_of_children, .plan = sweep_plan},
    {.type = JobType::Pipeline, .split = base_of_children, .plan = pipeline_plan},
    {.type = JobType::AutoML, .split = base_of_children, .plan = automl_plan},
}}};
static_assert(is_table_of_kinds(kKinds.rows));

}  // namespace turnout::control
