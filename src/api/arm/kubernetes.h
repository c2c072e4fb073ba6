// Clusters of Kubernetes that are attached: computes whose nodes are pods of a pool of pools.yaml.
#pragma once

#include <optional>
#include <string>

#include "api/arm/resource.h"
#include "model/compute.h"

namespace turnout::api::arm {

// Whether that PUT, or that compute, is about one.
bool is_kubernetes(const Json& body);
bool is_kubernetes(const Compute& compute);

// What a PUT of one makes of what there was. Conflict: the name is that of something else, or of
// one in another pool or with another instance type.
Result<Compute> read_kubernetes(Services& services, const Workspace& workspace,
                                const std::string& name, const Json& body,
                                const std::optional<Compute>& before);

// "properties.properties" of its resource.
Json kubernetes_properties(const Services& services, const Compute& compute);
// What a client may say again: the body of a PUT.
Json kubernetes_definition(const Compute& compute);

// Whether a job may ask for that instance type there.
Result<void> check_kubernetes_type(const Services& services, const Compute& compute,
                                   const std::string& wanted);

}  // namespace turnout::api::arm
