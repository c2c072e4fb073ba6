// Batch endpoints: an address at which jobs are begun that score data, and the deployments behind
// it. Both are documents without a life of their own, kept by the catalog; what runs is a pipeline
// job like any other (submission/batch_job.h).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/api.h"
#include "api/arm/resource.h"
#include "submission/batch_job.h"

namespace turnout::api {

// Their kinds in the catalog. A deployment's name there is "{endpoint}.{deployment}".
inline constexpr const char* kBatchEndpoints = "batchEndpoints";
inline constexpr const char* kBatchDeployments = "batchDeployments";

namespace batch {

using arm::Answer;

// The properties of a job that an endpoint began.
inline constexpr std::string_view kEndpointOf = "turnout.batch.endpoint",
                                  kDeploymentOf = "turnout.batch.deployment";

struct Endpoint {
    std::string name;
    Json row;  // "properties" of the REST document, with what the catalog adds; "envelope"
};
struct Deployment {
    std::string endpoint, name;
    Json row;  // the same, and "model": what batch_job needs to know of it
};

// NotFound with the nearest name.
Result<Endpoint> find_endpoint(Services& services, const Workspace& workspace,
                               const std::string& name);
Result<Deployment> find_deployment(Services& services, const Workspace& workspace,
                                   const std::string& endpoint, const std::string& name);
Result<std::vector<Deployment>> deployments_of(Services& services, const Workspace& workspace,
                                               const std::string& endpoint);

std::string endpoint_path(const Workspace& workspace, const std::string& endpoint);
Json document(const std::string& id, std::string_view name, std::string_view type, const Json& row,
              Json properties);
// A row of what a PUT says.
Result<Json> row_of(const Json& body, const std::string& location,
                    const std::vector<std::string>& said_by_server);

// What the deployment names is there; an MLflow model without an environment gets one of its own.
// Into the row (deployment_check.cc).
Task<Result<void>> look_up(Services& services, Call& call, const Workspace& workspace,
                           Deployment& deployment);

void add_deployment_rows(Router& router, Services& services);
void add_job_rows(Router& router, Services& services);

}  // namespace batch

// {W}/batchEndpoints …
void add_batch_routes(Router& router, Services& services);

}  // namespace turnout::api
