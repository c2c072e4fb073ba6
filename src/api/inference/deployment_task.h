// From the definition of a deployment to the task of its replicas: what it names is looked up as
// for a job (api/arm/job_lookup.h), and refused likewise.
#pragma once

#include <string>

#include "api/api.h"
#include "model/endpoint.h"
#include "model/workspace.h"
#include "protocol/agent_protocol.h"

namespace turnout::api {

// `properties` of the REST document and its `sku`: what they say without looking at anything, into
// the deployment. What does not work here is refused by its place.
Result<void> read_deployment(const Json& properties, const Json& sku,
                             const std::vector<std::string>& known_sizes,
                             OnlineDeployment& deployment);

// The VM size that it asks for; Azure's usual one if it says none.
std::string instance_type_of(const Json& properties);

// The compute of `deployment` is there.
Result<agent_protocol::TaskSpec> deployment_task(Services& services, const Call& call,
                                                 const Workspace& workspace,
                                                 const OnlineDeployment& deployment);

}  // namespace turnout::api
