// Batch endpoints as Azure has them (2023-10-01).
//
//   GET PUT PATCH DELETE {W}/batchEndpoints[/{name}]
#include <algorithm>

#include "api/arm/regions.h"
#include "api/batch/batch.h"
#include "api/inference/routes.h"
#include "base/text.h"
#include "catalog/catalog.h"

namespace turnout::api::batch {

Result<Endpoint> find_endpoint(Services& services, const Workspace& workspace,
                               const std::string& name) {
    auto row = TURNOUT_TRY(services.assets.find_single(workspace.id, kBatchEndpoints, name));
    if (row) return Endpoint{name, std::move(*row)};
    std::vector<std::string> names;
    for (const auto& [other, one] :
         TURNOUT_TRY(services.assets.list_singles(workspace.id, kBatchEndpoints)))
        names.push_back(other);
    return fail(
        Code::NotFound, "ResourceNotFound",
        "batch endpoint '" + name.substr(0, 64) + "' does not exist" + did_you_mean(name, names),
        "endpoint");
}

std::string endpoint_path(const Workspace& workspace, const std::string& endpoint) {
    return workspace_path(workspace) + "/batchEndpoints/" + endpoint;
}

Json document(const std::string& id, std::string_view name, std::string_view type, const Json& row,
              Json properties) {
    properties.set("provisioningState", "Succeeded");
    if (!properties.at("properties").is_object()) properties.set("properties", Json::object());
    Json body = arm::envelope(id, name, type, std::move(properties));
    for (const auto& [member, value] : row.at("envelope").members()) body.set(member, value);
    if (body.at("tags").is_null()) body.set("tags", Json::object());
    body.set("systemData", arm::system_data({row.at("created").as_int()},
                                            {row.at("modified").as_int()}, authorship_of(row)));
    return body;
}

Result<Json> row_of(const Json& body, const std::string& location,
                    const std::vector<std::string>& said_by_server) {
    const Json& properties = body.at("properties");
    if (!properties.is_object()) return invalid("the body needs 'properties'", "properties");
    for (const char* const member : {"tags", "identity"})
        if (const Json& value = body.at(member); !value.is_null() && !value.is_object())
            return invalid(
                std::string(member) + ": expected an object, found " + value.dump().substr(0, 80),
                member);
    return Json::object({{"properties", inference::kept_properties(properties, said_by_server)},
                         {"envelope", inference::kept_envelope(body, location)}});
}

namespace {

constexpr std::size_t kMaxBatchBody = 1 << 20;

Json batch_endpoint_body(const Call& call, const Workspace& workspace, const Endpoint& endpoint) {
    Json properties = endpoint.row.at("properties");
    const std::string path = endpoint_path(workspace, endpoint.name);
    properties.set("authMode", "AADToken");
    if (!properties.at("defaults").is_object()) properties.set("defaults", Json::object());
    if (!properties["defaults"].has("deploymentName"))
        properties["defaults"].set("deploymentName", Json());
    properties.set("scoringUri", call.origin + path + "/jobs?api-version=2023-10-01");
    properties.set("swaggerUri", Json());
    return document(path, endpoint.name, "workspaces/batchEndpoints", endpoint.row,
                    std::move(properties));
}

Answer save_endpoint(Services& services, Call& call, Workspace workspace, std::string name,
                     Json body) {
    TURNOUT_CO_TRY_VOID(inference::check_endpoint_name(name, "a batch endpoint"));
    const Json& properties = body.at("properties");
    if (const std::string mode = properties.at("authMode").as_string("AADToken");
        !equal_ignoring_case(mode, "AADToken"))
        co_return invalid("properties.authMode: expected AADToken, found '" + mode.substr(0, 40) +
                              "': a batch endpoint is opened by a user's own token",
                          "properties.authMode");
    const Json& defaults = properties.at("defaults");
    if (!defaults.is_null() && !defaults.is_object())
        co_return invalid("properties.defaults: expected an object with deploymentName, found " +
                              defaults.dump().substr(0, 80),
                          "properties.defaults");
    if (const std::string usual = defaults.at("deploymentName").as_string(); !usual.empty()) {
        TURNOUT_CO_TRY(const auto before,
                       services.assets.find_single(workspace.id, kBatchEndpoints, name));
        // Clients send back what they were told.
        if (!before ||
            before->at("properties").at("defaults").at("deploymentName").as_view() != usual) {
            TURNOUT_CO_TRY_VOID(find_deployment(services, workspace, name, usual));
        }
    }
    std::string wanted = body.at("location").as_string();
    if (wanted.empty()) wanted = workspace.location;
    TURNOUT_CO_TRY(const arm::Location location,
                   arm::find_location(wanted, services.control.pool_names()));
    TURNOUT_CO_TRY(Json row, row_of(body, location.name,
                                    {"authMode", "scoringUri", "swaggerUri", "provisioningState"}));
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    TURNOUT_CO_TRY(const bool is_new, co_await services.assets.put_single(
                                          workspace.id, kBatchEndpoints, name, std::move(row), by));
    TURNOUT_CO_TRY(const Endpoint saved, find_endpoint(services, workspace, name));
    co_return json_response(is_new ? 201 : 200, batch_endpoint_body(call, workspace, saved));
}

Answer list_batch_endpoints(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(auto all, services.assets.list_singles(workspace.id, kBatchEndpoints));
    co_return arm::page_of(
        call, all.size(), [&](std::size_t i) { return all[i].first; },
        [&](std::size_t i) {
            return batch_endpoint_body(call, workspace, {all[i].first, all[i].second});
        });
}

Answer get_batch_endpoint(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(const Endpoint endpoint, find_endpoint(services, workspace, call.param("name")));
    co_return json_response(200, batch_endpoint_body(call, workspace, endpoint));
}

Answer put_batch_endpoint(Services& services, Call& call) {
    TURNOUT_CO_TRY(Json body, co_await call.json(kMaxBatchBody));
    TURNOUT_CO_TRY(Workspace workspace, arm::workspace_of(services, call));
    co_return co_await save_endpoint(services, call, std::move(workspace), call.param("name"),
                                     std::move(body));
}

Answer patch_batch_endpoint(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBatchBody));
    TURNOUT_CO_TRY(Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(const Endpoint endpoint, find_endpoint(services, workspace, call.param("name")));
    if (!body.is_object()) co_return invalid("expected an object of changes", "body");
    Json whole = batch_endpoint_body(call, workspace, endpoint);
    whole.merge(body);
    co_return co_await save_endpoint(services, call, std::move(workspace), endpoint.name,
                                     std::move(whole));
}

// With its deployments; jobs that it began stay.
Answer delete_batch_endpoint(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(const Endpoint endpoint, find_endpoint(services, workspace, call.param("name")));
    TURNOUT_CO_TRY(const auto all, deployments_of(services, workspace, endpoint.name));
    for (const Deployment& one : all) {
        const auto gone = co_await services.assets.delete_single(workspace.id, kBatchDeployments,
                                                                 one.endpoint + "." + one.name);
        if (!gone && gone.error().code != Code::NotFound) co_return Failure(gone.error());
    }
    TURNOUT_CO_TRY_VOID(
        co_await services.assets.delete_single(workspace.id, kBatchEndpoints, endpoint.name));
    co_return json_response(200, Json::object());
}

}  // namespace
}  // namespace turnout::api::batch

namespace turnout::api {

void add_batch_routes(Router& router, Services& services) {
    using namespace batch;
    const auto add = [&](const char* method, std::string_view rest,
                         Answer (*action)(Services&, Call&)) {
        arm::row(router, services, method, arm::in_workspace("/batchEndpoints" + std::string(rest)),
                 Access::Behalf, action);
    };
    add("GET", "", list_batch_endpoints);
    add("GET", "/{name}", get_batch_endpoint);
    add("PUT", "/{name}", put_batch_endpoint);
    add("PATCH", "/{name}", patch_batch_endpoint);
    add("DELETE", "/{name}", delete_batch_endpoint);
    add_deployment_rows(router, services);
    add_job_rows(router, services);
}

}  // namespace turnout::api
