// What the rows of endpoints and of their deployments have in common.
#pragma once

#include <string>
#include <vector>

#include "api/arm/resource.h"
#include "api/inference/inference.h"

namespace turnout::api::inference {

using arm::Answer;

// Unavailable: this server keeps no endpoints.
Result<Inference*> inference_of(const Services& services);

// NotFound with the nearest name.
Result<OnlineEndpoint> find_endpoint(Inference& inference, const Workspace& workspace,
                                     const std::string& name);
Result<OnlineDeployment> find_deployment(Inference& inference, const Workspace& workspace,
                                         const std::string& endpoint, const std::string& name);

// What a request's path names: {W}, and the endpoint (by that parameter) or its deployment.
struct EndpointAt {
    Inference& inference;
    Workspace workspace;
    OnlineEndpoint endpoint;
};
Result<EndpointAt> endpoint_at(Services& services, const Call& call, std::string_view parameter);
struct DeploymentAt {
    Inference& inference;
    Workspace workspace;
    OnlineDeployment deployment;
};
Result<DeploymentAt> deployment_at(Services& services, const Call& call);

// Names that may be given to one.
Result<void> check_endpoint_name(std::string_view name, std::string_view what);

// The members beside "properties" that are kept as they are: location, tags, identity, kind, sku.
Json kept_envelope(const Json& body, const std::string& location);
// "properties" without what the server says itself.
Json kept_properties(const Json& properties, const std::vector<std::string>& said_by_server);

// "/inference/{sub}/{rg}/{ws}/{endpoint}": where it is asked.
std::string scoring_path(const Workspace& workspace, std::string_view endpoint);

void add_deployment_rows(Router& router, Services& services);

}  // namespace turnout::api::inference
