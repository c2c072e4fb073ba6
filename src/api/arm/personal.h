// Compute instances (model/compute.h, PersonalInstance): a notebook server of one person, which is
// a service of the workspace's on a compute of its own. How it is reached: api/instances.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/arm/resource.h"
#include "model/compute.h"
#include "model/timetable.h"

namespace turnout::api::arm {

// Whether that PUT is about one.
bool is_personal(const Json& body);

// What a PUT makes of what there was. It belongs to `by`, or to whom it is made on behalf of.
Result<Compute> read_personal(Services& services, const Call& call, const Workspace& workspace,
                              const std::string& name, const Json& body,
                              const std::optional<Compute>& before);

// Sees to it that what is under way with it comes to its end, which is a change of the compute.
void look_at_personal(Services& services, const Compute& compute);

// What changes when it is told to "start", "stop" or "restart". Conflict: it cannot now.
Result<Compute> with_power(const Services& services, const Compute& compute, std::string_view verb,
                           std::string_view trigger);

// When it is turned on or off by itself.
struct StartStop {
    bool start = false;
    Timetable when;
};
// Those that are enabled, of its definition; without those that can't be read now, such as one
// whose zone's rules are gone.
std::vector<StartStop> start_stops_of(const Services& services, const Compute& compute);

// "Running", "Stopped", …: Azure's words.
std::string_view state_of_personal(const Services& services, const Compute& compute);
// Whether that is one in which its notebook server answers.
bool is_ready(std::string_view state);
// "properties.properties" of its resource.
Json personal_properties(const Services& services, const Call& call, const Compute& compute);
// What a client may say again: the body of a PUT.
Json personal_definition(const Compute& compute);

// Whether a job of that user may run there now.
Result<void> check_personal(const Compute& compute, std::string_view user);

}  // namespace turnout::api::arm
