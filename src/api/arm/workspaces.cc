// Subscriptions, resource groups and workspaces.
#include <algorithm>

#include "access/actions.h"
#include "api/arm/regions.h"
#include "api/arm/resource.h"
#include "api/upkeep/removal.h"
#include "catalog/default_workspace.h"
#include "resources/resources.h"

namespace turnout::api::arm {
namespace {

// Of those there are, those that whoever asks may look at.
Result<std::vector<Workspace>> visible_workspaces(Services& services, const Call& call,
                                                  std::string_view subscription,
                                                  std::string_view group) {
    auto all = TURNOUT_TRY(services.assets.list_workspaces(subscription, group));
    std::erase_if(all, [&](const Workspace& workspace) {
        return !may(services, call, access::action::kReadWorkspace, workspace.id);
    });
    return all;
}

Json body_of(const Services& services, const Call& call, const Workspace& workspace) {
    const std::string path = workspace_path(workspace);
    const std::string group = "/subscriptions/" + workspace.subscription + "/resourceGroups/" +
                              workspace.resource_group + "/providers/";
    Json properties = Json::object({
        {"friendlyName",
         workspace.friendly_name.empty() ? workspace.name : workspace.friendly_name},
        {"description", workspace.description},
        {"workspaceId", workspace.guid},
        {"storageAccount", group + "Microsoft.Storage/storageAccounts/turnout" + workspace.id},
        {"keyVault", group + "Microsoft.KeyVault/vaults/turnout" + workspace.id},
        {"applicationInsights", group + "Microsoft.Insights/components/turnout" + workspace.id},
        {"provisioningState", "Succeeded"},
        {"publicNetworkAccess", "Enabled"},
        {"hbiWorkspace", false},
        {"creationTime", to_iso8601(workspace.created)},
        {"discoveryUrl", call.origin + "/discovery/workspaces/" + workspace.name},
        {"mlFlowTrackingUri", "azureml://" + tls_host(services, call) + "/mlflow/v1.0" + path},
        {"tenantId", services.authority.tenant()},
    });
    Json body = envelope(path, workspace.name, "workspaces", std::move(properties));
    body.set("location", workspace.location);
    body.set("kind", "Default");
    body.set("identity", Json::object({{"type", "SystemAssigned"},
                                       {"principalId", workspace.guid},
                                       {"tenantId", services.authority.tenant()}}));
    body.set("sku", Json::object({{"name", "Basic"}, {"tier", "Basic"}}));
    body.set("tags", workspace.tags);
    body.set("systemData", system_data(workspace.created, workspace.modified, workspace.made));
    return body;
}

Answer get_workspace(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    co_return json_response(200, body_of(services, call, workspace));
}

Answer list_workspaces(Services& services, Call& call) {
    TURNOUT_CO_TRY(const auto workspaces,
                   visible_workspaces(services, call, call.param("sub"), call.param("rg")));
    co_return page_of(
        call, workspaces.size(),
        [&](std::size_t i) {
            return to_lower(workspaces[i].resource_group) + "/" + to_lower(workspaces[i].name);
        },
        [&](std::size_t i) { return body_of(services, call, workspaces[i]); });
}

// Where none is named.
Answer get_default_workspace(Services& services, Call& call) {
    TURNOUT_CO_TRY(auto workspace, default_workspace(services.assets));
    if (workspace && !may(services, call, access::action::kReadWorkspace, workspace->id)) {
        TURNOUT_CO_TRY(const auto others, visible_workspaces(services, call, "", ""));
        workspace = others.empty() ? std::nullopt : std::optional(others.front());
    }
    if (!workspace)
        co_return not_found("there is no workspace yet: create one with 'turnout workspace create'",
                            "workspace");
    co_return json_response(200, body_of(services, call, *workspace));
}

void read_tags(const Json& tags, Workspace& workspace) {
    if (tags.is_object()) workspace.tags = tags;
}

// `changes`: the body of a PUT or PATCH.
void apply_changes(const Json& changes, Workspace& workspace) {
    const Json& properties = changes.at("properties");
    if (properties.at("friendlyName").is_string())
        workspace.friendly_name = properties.at("friendlyName").as_string();
    if (properties.at("description").is_string())
        workspace.description = properties.at("description").as_string();
    read_tags(changes.at("tags"), workspace);
}

Task<Result<Workspace>> change(Services& services, Workspace workspace, Json changes, Author by) {
    return services.assets.update_workspace(workspace.subscription, workspace.resource_group,
                                            workspace.name, [changes, by](Workspace& now) {
                                                apply_changes(changes, now);
                                                now.made.modified = by;
                                            });
}

Answer put_workspace(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY_VOID(resources::check_rest(resources::workspace(), body));
    TURNOUT_CO_TRY(auto existing, services.assets.find_workspace(
                                      call.param("sub"), call.param("rg"), call.param("ws")));
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    if (existing) {
        TURNOUT_CO_TRY(const Workspace changed, co_await change(services, *existing, body, by));
        co_return json_response(200, body_of(services, call, changed));
    }
    Workspace wanted;
    wanted.subscription = call.param("sub");
    wanted.resource_group = call.param("rg");
    wanted.name = call.param("ws");
    TURNOUT_CO_TRY(wanted.location, checked_location(body.at("location").as_view()));
    if (wanted.location.empty()) wanted.location = "local";
    apply_changes(body, wanted);
    wanted.made.created = by;
    TURNOUT_CO_TRY(const Workspace created,
                   co_await services.assets.create_workspace(std::move(wanted)));
    co_return json_response(201, body_of(services, call, created));
}

Answer patch_workspace(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY_VOID(resources::check_rest(resources::workspace(), body));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    TURNOUT_CO_TRY(const Workspace changed, co_await change(services, workspace, body, by));
    co_return json_response(200, body_of(services, call, changed));
}

Answer delete_workspace(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const bool living_too = equal_ignoring_case(call.query_value("forceToPurge"), "true");
    TURNOUT_CO_TRY_VOID(co_await upkeep::begin_removal_of(services, workspace, living_too));
    http::Response response;
    response.status = 202;
    const std::string where = call.origin + "/turnout/removals/" + workspace.id;
    response.headers.set("Azure-AsyncOperation", where);
    response.headers.set("Location", where);
    response.headers.set("Retry-After", "1");
    co_return response;
}

// Of a workspace that is not there any more.
Answer get_removal(Services& services, Call& call) {
    TURNOUT_CO_TRY(const bool over, upkeep::is_removed(services, call.param("wsid")));
    http::Response response =
        json_response(200, Json::object({{"status", over ? "Succeeded" : "InProgress"}}));
    response.headers.set("Retry-After", "1");
    co_return response;
}

// ---- what Azure has beside a workspace, and clients delete with it: here it is a part of it

Result<const char*> part_of_workspace(Services& services, const Call& call, const char* type) {
    for (const Workspace& workspace :
         TURNOUT_TRY(visible_workspaces(services, call, call.param("sub"), call.param("rg"))))
        if (call.param("part") == "turnout" + workspace.id) return type;
    return not_found("there is no '" + call.param("part") + "' of type " + type + " here", "name");
}

Answer show_part(Services& services, Call& call, const char* type) {
    TURNOUT_CO_TRY([[maybe_unused]] const auto found, part_of_workspace(services, call, type));
    Json body = envelope(call.request.path, call.param("part"), "", Json::object());
    body.set("type", type);
    body.set("location", "local");
    co_return json_response(200, body);
}

Answer delete_part(Services& services, Call& call, const char* type) {
    const auto found = part_of_workspace(services, call, type);
    if (!found && found.error().code != Code::NotFound) co_return Failure(found.error());
    http::Response response;
    response.status = found ? 200 : 204;
    co_return response;
}

Answer list_workspace_keys(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    // There is no account key: storage is reached with signed links (datastores' listSecrets).
    co_return json_response(
        200, Json::object({
                 {"userStorageKey", ""},
                 {"userStorageResourceId",
                  "/subscriptions/" + workspace.subscription + "/resourceGroups/" +
                      workspace.resource_group +
                      "/providers/Microsoft.Storage/storageAccounts/turnout" + workspace.id},
                 {"appInsightsInstrumentationKey", ""},
             }));
}

Answer list_connections(Services& services, Call& call) {
    TURNOUT_CO_TRY([[maybe_unused]] const Workspace workspace, workspace_of(services, call));
    co_return json_response(200, Json::object({{"value", Json::array()}}));
}

// ---- the ARM template that the SDK's workspaces.begin_create deploys

Json deployment_body(const Call& call) {
    return Json::object({
        {"id", call.request.path},
        {"name", call.param("deployment")},
        {"type", "Microsoft.Resources/deployments"},
        {"properties", Json::object({{"provisioningState", "Succeeded"}, {"mode", "Incremental"}})},
    });
}

Answer put_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    const Json& parameters = body.at("properties").at("parameters");
    const auto value = [&](std::string_view name) -> const Json& {
        return parameters.at(name).at("value");
    };
    Workspace wanted;
    wanted.subscription = call.param("sub");
    wanted.resource_group = call.param("rg");
    wanted.name = value("workspaceName").as_string();
    if (wanted.name.empty())
        co_return fail(Code::InvalidArgument, "DeploymentNotSupported",
                       "only the template that creates a workspace is understood: it has a "
                       "parameter 'workspaceName'",
                       "properties.parameters");
    if (const std::string kind = value("kind").as_string("Default");
        !equal_ignoring_case(kind, "Default"))
        co_return fail(Code::InvalidArgument, "WorkspaceKindNotSupported",
                       "workspaces of kind '" + kind + "' do not work yet, only 'Default'", "kind");
    TURNOUT_CO_TRY(wanted.location, checked_location(value("location").as_view()));
    if (wanted.location.empty()) wanted.location = "local";
    wanted.friendly_name = value("friendlyName").as_string();
    wanted.description = value("description").as_string();
    read_tags(value("tagValues"), wanted);
    TURNOUT_CO_TRY(wanted.made.created, author_of(services, call));
    TURNOUT_CO_TRY(auto existing, services.assets.find_workspace(
                                      wanted.subscription, wanted.resource_group, wanted.name));
    if (existing) {
        TURNOUT_CO_TRY(
            [[maybe_unused]] const Workspace changed,
            co_await services.assets.update_workspace(wanted.subscription, wanted.resource_group,
                                                      wanted.name, [wanted](Workspace& now) {
                                                          now.friendly_name = wanted.friendly_name;
                                                          now.description = wanted.description;
                                                          now.tags = wanted.tags;
                                                          now.made.modified = wanted.made.created;
                                                      }));
    } else {
        TURNOUT_CO_TRY([[maybe_unused]] const Workspace created,
                       co_await services.assets.create_workspace(std::move(wanted)));
    }
    co_return json_response(200, deployment_body(call));
}

Answer get_deployment(Services&, Call& call) {
    co_return json_response(200, deployment_body(call));
}

Answer list_deployment_operations(Services&, Call&) {
    co_return json_response(200, Json::object({{"value", Json::array()}}));
}

// ---- subscriptions and resource groups: they exist as far as a workspace is in them

Json subscription_body(const Services& services, const std::string& subscription) {
    return Json::object({
        {"id", "/subscriptions/" + subscription},
        {"subscriptionId", subscription},
        {"displayName", "Turnout"},
        {"state", "Enabled"},
        {"tenantId", services.authority.tenant()},
    });
}

Json group_body(const Workspace& workspace) {
    return Json::object({
        {"id", "/subscriptions/" + workspace.subscription + "/resourceGroups/" +
                   workspace.resource_group},
        {"name", workspace.resource_group},
        {"type", "Microsoft.Resources/resourceGroups"},
        {"location", workspace.location},
        {"properties", Json::object({{"provisioningState", "Succeeded"}})},
    });
}

Answer list_subscriptions(Services& services, Call& call) {
    TURNOUT_CO_TRY(const auto workspaces, visible_workspaces(services, call, "", ""));
    std::vector<std::string> names;
    for (const Workspace& workspace : workspaces) names.push_back(to_lower(workspace.subscription));
    std::ranges::sort(names);
    names.erase(std::unique(names.begin(), names.end()), names.end());
    co_return page_of(
        call, names.size(), [&](std::size_t i) { return names[i]; },
        [&](std::size_t i) { return subscription_body(services, names[i]); });
}

Answer get_subscription(Services& services, Call& call) {
    TURNOUT_CO_TRY(const auto workspaces,
                   visible_workspaces(services, call, call.param("sub"), ""));
    if (workspaces.empty())
        co_return fail(Code::NotFound, "SubscriptionNotFound",
                       "subscription '" + call.param("sub") +
                           "' has no workspace here ('turnout config' prints what to use)",
                       "subscription");
    co_return json_response(200, subscription_body(services, workspaces.front().subscription));
}

Answer list_groups(Services& services, Call& call) {
    TURNOUT_CO_TRY(const auto workspaces,
                   visible_workspaces(services, call, call.param("sub"), ""));
    std::vector<Workspace> groups;  // one workspace of each; the listing is in the order of groups
    for (const Workspace& workspace : workspaces)
        if (groups.empty() ||
            !equal_ignoring_case(groups.back().resource_group, workspace.resource_group))
            groups.push_back(workspace);
    co_return page_of(
        call, groups.size(), [&](std::size_t i) { return to_lower(groups[i].resource_group); },
        [&](std::size_t i) { return group_body(groups[i]); });
}

Answer get_group(Services& services, Call& call) {
    TURNOUT_CO_TRY(const auto workspaces,
                   visible_workspaces(services, call, call.param("sub"), call.param("rg")));
    if (workspaces.empty())
        co_return fail(Code::NotFound, "ResourceGroupNotFound",
                       "resource group '" + call.param("rg") +
                           "' has no workspace here ('turnout config' prints what to use)",
                       "resourceGroup");
    co_return json_response(200, group_body(workspaces.front()));
}

}  // namespace

void add_workspace_routes(Router& router, Services& services) {
    const std::string subscription = "/subscriptions/{sub}";
    const std::string group = subscription + "/resourceGroups/{rg}";
    const std::string provider = "/providers/" + std::string(kProvider);
    const std::string deployment =
        group + "/providers/Microsoft.Resources/deployments/{deployment}";

    row(router, services, "GET", "/subscriptions", Access::User, list_subscriptions);
    row(router, services, "GET", subscription, Access::User, get_subscription);
    row(router, services, "GET", subscription + "/resourceGroups", Access::User, list_groups);
    row(router, services, "GET", group, Access::User, get_group);

    row(router, services, "GET", subscription + provider + "/workspaces", Access::User,
        list_workspaces);
    row(router, services, "GET", group + provider + "/workspaces", Access::User, list_workspaces);
    row(router, services, "GET", in_workspace(""), Access::Run, get_workspace);
    row(router, services, "PUT", in_workspace(""), Access::User, put_workspace);
    row(router, services, "PATCH", in_workspace(""), Access::User, patch_workspace);
    row(router, services, "DELETE", in_workspace(""), Access::User, delete_workspace);
    row(router, services, "GET", "/turnout/workspace", Access::User, get_default_workspace);
    row(router, services, "GET", "/turnout/removals/{wsid}", Access::User, get_removal);
    for (const char* type : {"Microsoft.Insights/components", "Microsoft.Storage/storageAccounts",
                             "Microsoft.KeyVault/vaults"}) {
        const std::string part = group + "/providers/" + type + "/{part}";
        router.add("GET", part, Access::User,
                   [&services, type](Call& call) { return show_part(services, call, type); });
        router.add("DELETE", part, Access::User,
                   [&services, type](Call& call) { return delete_part(services, call, type); });
    }
    row(router, services, "POST", in_workspace("/listKeys"), Access::User, list_workspace_keys);
    row(router, services, "GET", in_workspace("/connections"), Access::Run, list_connections);

    row(router, services, "PUT", deployment, Access::User, put_deployment);
    row(router, services, "GET", deployment, Access::User, get_deployment);
    row(router, services, "GET", group + "/deployments/{deployment}/operations", Access::User,
        list_deployment_operations);
}

}  // namespace turnout::api::arm
