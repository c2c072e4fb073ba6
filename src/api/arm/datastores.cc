// Datastores: names for containers of this server's blob service.
#include <algorithm>

#include "access/actions.h"
#include "api/arm/resource.h"
#include "blob/blobs.h"
#include "resources/resources.h"

namespace turnout::api::arm {
namespace {

constexpr Span kDefaultLife = 1h;
constexpr std::int64_t kMaxHours = 24 * 7;

std::string datastore_id(const Workspace& workspace, std::string_view name) {
    return workspace_path(workspace) + "/datastores/" + std::string(name);
}

// The account name is what the SDK puts before ".blob.{suffix}": with our host and a path in it,
// its URLs lead here without any name to resolve.
std::string account_name(const Services& services, const Call& call) {
    return tls_host(services, call) + "/store";
}

// A signed link may do what its maker may with a whole container: a run comes as itself instead,
// as does who may only read, and each request is looked at.
std::string credentials_for(const Services& services, const Call& call, const Workspace& workspace,
                            const Json& stored) {
    if (call.principal.kind == Principal::Kind::Run ||
        !may(services, call, access::action::kListDatastoreSecrets, workspace.id))
        return "None";
    return stored.at("credentials").at("credentialsType").as_string("Sas");
}

Json body_of(const Services& services, const Call& call, const Workspace& workspace,
             std::string_view name, const Json& stored) {
    Json properties = Json::object({
        {"datastoreType", "AzureBlob"},
        {"accountName", account_name(services, call)},
        {"containerName", stored.at("containerName")},
        {"endpoint", "store.turnout"},
        {"protocol", "https"},
        {"serviceDataAccessAuthIdentity", "None"},
        {"isDefault", stored.at("isDefault").as_bool()},
        {"credentials",
         Json::object({{"credentialsType", credentials_for(services, call, workspace, stored)}})},
        {"description", stored.at("description")},
        {"tags", stored.at("tags").is_object() ? stored.at("tags") : Json::object()},
        {"properties",
         stored.at("properties").is_object() ? stored.at("properties") : Json::object()},
    });
    Json body = envelope(datastore_id(workspace, name), name, "workspaces/datastores",
                         std::move(properties));
    const Instant created{stored.at("created").as_int()};
    body.set("systemData",
             system_data(created, Instant{stored.at("modified").as_int()}, authorship_of(stored)));
    return body;
}

Result<Json> find_datastore(Services& services, const Workspace& workspace,
                            const std::string& name) {
    auto found = TURNOUT_TRY(services.assets.find_datastore(workspace.id, name));
    if (found) return std::move(*found);
    std::vector<std::string> names;
    for (auto& [other, properties] : TURNOUT_TRY(services.assets.list_datastores(workspace.id)))
        names.push_back(other);
    return not_found("datastore '" + name + "' does not exist" + did_you_mean(name, names),
                     "datastore");
}

Answer list_datastores(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(auto datastores, services.assets.list_datastores(workspace.id));
    const bool only_default = equal_ignoring_case(call.query_value("isDefault"), "true");
    std::erase_if(datastores, [&](const auto& item) {
        return only_default && !item.second.at("isDefault").as_bool();
    });
    co_return page_of(
        call, datastores.size(), [&](std::size_t i) { return datastores[i].first; },
        [&](std::size_t i) {
            return body_of(services, call, workspace, datastores[i].first, datastores[i].second);
        });
}

Answer get_datastore(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name");
    TURNOUT_CO_TRY(const Json stored, find_datastore(services, workspace, name));
    co_return json_response(200, body_of(services, call, workspace, name, stored));
}

Result<Json> checked(const Services& services, const Call& call, const Workspace& workspace,
                     const Json& properties) {
    const std::string type = properties.at("datastoreType").as_string();
    if (type != "AzureBlob")
        return fail(Code::InvalidArgument, "DatastoreTypeNotSupported",
                    "datastores of type '" + type +
                        "' do not work yet: use 'AzureBlob' with a container of this server",
                    "properties.datastoreType");
    TURNOUT_TRY(resources::check_rest(resources::blob_datastore(),
                                      Json::object({{"properties", properties}})));
    const std::string account = properties.at("accountName").as_string();
    if (!account.empty() && account != account_name(services, call) && account != "store" &&
        account != "turnout" + workspace.id)
        return fail(
            Code::InvalidArgument, "DatastoreAccountNotSupported",
            "storage account '" + account +
                "' is not of this server: data outside is not reached yet; give account_name '" +
                account_name(services, call) + "'",
            "properties.accountName");
    const std::string container = properties.at("containerName").as_string();
    const bool fits = container.size() >= 3 && container.size() <= 63 &&
                      std::ranges::all_of(container, [](char c) {
                          return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
                      });
    if (!fits || workspace_of_container(container) != workspace.id)
        return fail(Code::InvalidArgument, "DatastoreContainerNotSupported",
                    "container '" + container +
                        "' is not of this workspace: choose a name that begins with '" +
                        workspace.id + "-', of 3 to 63 small letters, digits and '-'",
                    "properties.containerName");
    std::string credentials = properties.at("credentials").at("credentialsType").as_string("Sas");
    if (credentials != "None")
        credentials = "Sas";  // keys and tokens that were sent are not needed and not kept
    return Json::object({
        {"datastoreType", "AzureBlob"},
        {"containerName", container},
        {"isDefault", properties.at("isDefault").as_bool()},
        {"credentials", Json::object({{"credentialsType", credentials}})},
        {"description", properties.at("description")},
        {"tags", properties.at("tags")},
        {"properties", properties.at("properties")},
    });
}

Answer put_datastore(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name");
    TURNOUT_CO_TRY(Json properties, checked(services, call, workspace, body.at("properties")));
    TURNOUT_CO_TRY(const auto before, services.assets.find_datastore(workspace.id, name));
    if ((name == kBlobStore || name == kArtifactStore) && before &&
        before->at("containerName") != properties.at("containerName"))
        co_return fail(Code::FailedPrecondition, "DatastoreInUse",
                       "datastore '" + name + "' belongs to the workspace and keeps its container",
                       "properties.containerName");
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    TURNOUT_CO_TRY(const bool is_new,
                   co_await services.assets.put_single(workspace.id, "datastores", name,
                                                       std::move(properties), by));
    TURNOUT_CO_TRY(const Json stored, find_datastore(services, workspace, name));
    co_return json_response(is_new ? 201 : 200, body_of(services, call, workspace, name, stored));
}

Answer delete_datastore(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY_VOID(co_await services.assets.delete_single(workspace.id, "datastores",
                                                               asset_name(call, "name")));
    co_return json_response(200, Json::object());
}

Answer list_secrets(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Json stored,
                   find_datastore(services, workspace, asset_name(call, "name")));
    const std::int64_t hours = std::clamp<std::int64_t>(
        body.at("expireAfterHours")
            .as_int(std::chrono::duration_cast<std::chrono::hours>(kDefaultLife).count()),
        1, kMaxHours);
    SasGrant grant;
    grant.container = stored.at("containerName").as_string();
    grant.permissions = "rwlcd";
    grant.expires = services.clock.now() + std::chrono::hours(hours);
    grant.holder = services.authority.holder(call.principal);
    grant.action = access::action::kListDatastoreSecrets;
    http::Response response = json_response(
        200, Json::object({{"secretsType", "Sas"},
                           {"sasToken", sign_sas(services.authority.link_key().reveal(), grant)}}));
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

}  // namespace

void add_datastore_routes(Router& router, Services& services) {
    row(router, services, "GET", in_workspace("/datastores"), Access::Run, list_datastores);
    row(router, services, "GET", in_workspace("/datastores/{name}"), Access::Run, get_datastore);
    row(router, services, "PUT", in_workspace("/datastores/{name}"), Access::User, put_datastore);
    row(router, services, "DELETE", in_workspace("/datastores/{name}"), Access::User,
        delete_datastore);
    row(router, services, "POST", in_workspace("/datastores/{name}/listSecrets"), Access::User,
        list_secrets);
}

}  // namespace turnout::api::arm
