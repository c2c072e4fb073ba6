// Deployments of a batch endpoint (2024-01-01-preview).
//
//   GET PUT PATCH DELETE {W}/batchEndpoints/{endpoint}/deployments[/{name}]
#include <algorithm>

#include "api/arm/regions.h"
#include "api/batch/batch.h"
#include "api/inference/routes.h"
#include "base/text.h"
#include "catalog/catalog.h"

namespace turnout::api::batch {

Result<std::vector<Deployment>> deployments_of(Services& services, const Workspace& workspace,
                                               const std::string& endpoint) {
    std::vector<Deployment> found;
    const std::string prefix = endpoint + ".";
    for (auto& [name, row] :
         TURNOUT_TRY(services.assets.list_singles(workspace.id, kBatchDeployments)))
        if (name.starts_with(prefix))
            found.push_back({endpoint, name.substr(prefix.size()), std::move(row)});
    return found;
}

Result<Deployment> find_deployment(Services& services, const Workspace& workspace,
                                   const std::string& endpoint, const std::string& name) {
    auto row = TURNOUT_TRY(
        services.assets.find_single(workspace.id, kBatchDeployments, endpoint + "." + name));
    if (row) return Deployment{endpoint, name, std::move(*row)};
    std::vector<std::string> names;
    for (const Deployment& one : TURNOUT_TRY(deployments_of(services, workspace, endpoint)))
        names.push_back(one.name);
    return fail(Code::NotFound, "ResourceNotFound",
                "batch endpoint '" + endpoint + "' has no deployment '" + name.substr(0, 64) + "'" +
                    did_you_mean(name, names),
                "deployment");
}

namespace {

constexpr std::size_t kMaxBatchDeployment = 1 << 20;

Json batch_deployment_body(const Workspace& workspace, const Deployment& deployment) {
    return document(
        endpoint_path(workspace, deployment.endpoint) + "/deployments/" + deployment.name,
        deployment.name, "workspaces/batchEndpoints/deployments", deployment.row,
        deployment.row.at("properties"));
}

Answer save_deployment(Services& services, Call& call, Workspace workspace, Json body) {
    TURNOUT_CO_TRY(const Endpoint endpoint,
                   find_endpoint(services, workspace, call.param("endpoint")));
    Deployment deployment{endpoint.name, call.param("name"), {}};
    TURNOUT_CO_TRY_VOID(inference::check_endpoint_name(deployment.name, "a deployment"));
    std::string location = body.at("location").as_string();
    if (location.empty())
        location = endpoint.row.at("envelope").at("location").as_string(workspace.location);
    TURNOUT_CO_TRY(deployment.row, row_of(body, location, {"provisioningState"}));
    TURNOUT_CO_TRY_VOID(submission::check_batch_deployment(deployment.row.at("properties")));
    TURNOUT_CO_TRY_VOID(co_await look_up(services, call, workspace, deployment));
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    TURNOUT_CO_TRY(const bool is_new,
                   co_await services.assets.put_single(workspace.id, kBatchDeployments,
                                                       deployment.endpoint + "." + deployment.name,
                                                       deployment.row, by));
    TURNOUT_CO_TRY(const Deployment saved,
                   find_deployment(services, workspace, deployment.endpoint, deployment.name));
    co_return json_response(is_new ? 201 : 200, batch_deployment_body(workspace, saved));
}

Answer list_batch_deployments(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(const Endpoint endpoint,
                   find_endpoint(services, workspace, call.param("endpoint")));
    TURNOUT_CO_TRY(const auto all, deployments_of(services, workspace, endpoint.name));
    co_return arm::page_of(
        call, all.size(), [&](std::size_t i) { return all[i].name; },
        [&](std::size_t i) { return batch_deployment_body(workspace, all[i]); });
}

Answer get_batch_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(
        const Deployment deployment,
        find_deployment(services, workspace, call.param("endpoint"), call.param("name")));
    co_return json_response(200, batch_deployment_body(workspace, deployment));
}

Answer put_batch_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(Json body, co_await call.json(kMaxBatchDeployment));
    TURNOUT_CO_TRY(Workspace workspace, arm::workspace_of(services, call));
    co_return co_await save_deployment(services, call, std::move(workspace), std::move(body));
}

Answer patch_batch_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBatchDeployment));
    TURNOUT_CO_TRY(Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(
        const Deployment deployment,
        find_deployment(services, workspace, call.param("endpoint"), call.param("name")));
    if (!body.is_object()) co_return invalid("expected an object of changes", "body");
    Json whole = batch_deployment_body(workspace, deployment);
    whole.merge(body);
    co_return co_await save_deployment(services, call, std::move(workspace), std::move(whole));
}

// Its endpoint has no default then, if it was that.
Answer delete_batch_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(
        const Deployment deployment,
        find_deployment(services, workspace, call.param("endpoint"), call.param("name")));
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    auto endpoint = find_endpoint(services, workspace, deployment.endpoint);
    if (endpoint && endpoint->row.at("properties").at("defaults").at("deploymentName").as_view() ==
                        deployment.name) {
        endpoint->row["properties"]["defaults"].set("deploymentName", Json());
        TURNOUT_CO_TRY([[maybe_unused]] const bool is_new,
                       co_await services.assets.put_single(workspace.id, kBatchEndpoints,
                                                           endpoint->name, endpoint->row, by));
    }
    TURNOUT_CO_TRY_VOID(co_await services.assets.delete_single(
        workspace.id, kBatchDeployments, deployment.endpoint + "." + deployment.name));
    co_return json_response(200, Json::object());
}

}  // namespace

void add_deployment_rows(Router& router, Services& services) {
    const auto add = [&](const char* method, std::string_view rest,
                         Answer (*action)(Services&, Call&)) {
        arm::row(router, services, method,
                 arm::in_workspace("/batchEndpoints/{endpoint}/deployments" + std::string(rest)),
                 Access::Behalf, action);
    };
    add("GET", "", list_batch_deployments);
    add("GET", "/{name}", get_batch_deployment);
    add("PUT", "/{name}", put_batch_deployment);
    add("PATCH", "/{name}", patch_batch_deployment);
    add("DELETE", "/{name}", delete_batch_deployment);
}

}  // namespace turnout::api::batch
