#include "api/job_kinds.h"

#include <array>

#include "api/arm/automl.h"
#include "api/arm/job_resolution.h"
#include "api/arm/job_view.h"
#include "api/arm/pipeline.h"
#include "api/portal/parts.h"

namespace turnout::api {
namespace {

constexpr std::array<JobKindRow, kJobTypeCount> kJobKindRows{{
    {.type = JobType::Command,
     .needs = &resources::Abilities::train,
     .resolve = arm::resolve_command,
     .show = arm::show_command,
     .show_page = portal::show_outputs},
    {.type = JobType::Sweep,
     .needs = &resources::Abilities::sweep,
     .resolve = arm::resolve_sweep,
     .show = arm::show_sweep,
     .show_page = portal::show_trials},
    {.type = JobType::Pipeline,
     .needs = &resources::Abilities::pipeline,
     .resolve = arm::resolve_pipeline,
     .show = arm::show_pipeline,
     .show_page = portal::show_steps},
    {.type = JobType::AutoML,
     .needs = &resources::Abilities::automl,
     .resolve = arm::resolve_automl,
     .show = arm::show_automl,
     .show_page = portal::show_children},
}};
static_assert(is_table_of_kinds(kJobKindRows));

}  // namespace

const JobKindRow& kind_row(JobType type) {
    return row_of(kJobKindRows, type);
}

}  // namespace turnout::api
