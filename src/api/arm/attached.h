// Machines that are attached: VirtualMachine computes, each with one node there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/arm/resource.h"
#include "model/compute.h"

namespace turnout::api::arm {

inline constexpr std::string_view kHostKeyTag = "turnout.host_key";

// Whether that PUT is about a machine.
bool is_machine(const Json& body);

// What a PUT of a machine makes of what there was. Conflict: the name is that of another machine or
// of a cluster. `together` gets the row of what opens it, which is nowhere in the compute.
Result<Compute> read_machine(Services& services, const Workspace& workspace,
                             const std::string& name, const Json& body,
                             const std::optional<Compute>& before, std::vector<Write>& together);
// Begins the check of one that waits for it; it ends with a change of the compute.
void look_at_machine(Services& services, const Compute& compute);

// "properties.properties" of its resource.
Json machine_properties(const Compute& compute);
// What a client may say again: the body of a PUT.
Json machine_definition(const Compute& compute);

}  // namespace turnout::api::arm
