// Reuse: a step of a pipeline that would give what an earlier one has given is not run, and its
// outputs are that one's. Here a step's recipe is made (model/recipe.h), the earlier one is looked
// for, and it is said why a step was run again.
#pragma once

#include "api/api.h"
#include "base/result.h"
#include "base/task.h"
#include "control/control.h"

namespace turnout::api::arm {

// What control is to do with a step whose task is known. Where an earlier one stands for it, the
// step's outputs are there when this ends: the same content under other names, so that either job
// may be deleted. Errors: of the store.
Task<Result<Control::KnownTask>> run_or_reuse(Services& services, JobRecord step,
                                              agent_protocol::TaskSpec task);

// GET …/jobs/{name}/reuse[?against=OTHER]
void add_reuse_routes(Router& router, Services& services);

}  // namespace turnout::api::arm
