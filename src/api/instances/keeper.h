// What turns compute instances on and off by itself: their schedules, and one that is idle for as
// long as it may be is stopped.
#pragma once

#include <optional>
#include <string>

#include "api/api.h"
#include "base/json.h"
#include "base/time.h"

namespace turnout::api {

// When something was done there last, as a notebook server tells it: /api/kernels and
// /api/terminals. A kernel that computes does something now. Nothing: never, or it has none.
std::optional<Instant> last_activity(const Json& kernels, const Json& terminals, Instant now);

// Looks from some seconds after the start on: when a schedule is due, and three times a minute.
void keep_instances(Services& services);

}  // namespace turnout::api
