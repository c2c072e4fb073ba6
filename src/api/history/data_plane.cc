// The data plane: where data is, for the SDK, and for what reads it without the SDK
// (azureml-fsspec, mltable, their engine).
#include "access/actions.h"
#include "api/data_uri.h"
#include "api/history/log_link.h"
#include "api/history/run_view.h"
#include "api/run_reach.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "submission/reference.h"

namespace turnout::api {
namespace {

constexpr std::size_t kMaxIds = 1000;
// The engine asks once in its process's life, and does not ask again.
constexpr Span kUserLife = 7 * 24h;

// "azureml://jobs/{job}/outputs/{name}", "azureml:{name}:{version}", or a path that ends with
// ".../data/{name}/versions/{version}".
Result<std::optional<Json>> resolve_data(Services& services, const Call& call,
                                         const Workspace& workspace, std::string_view id) {
    constexpr std::string_view of_job = "azureml://jobs/";
    if (id.starts_with(of_job)) {
        TURNOUT_TRY(check_reads_uri(services, call, workspace, id));
        // By the very reading that the check goes by.
        const auto asked = submission::parse_reference(id, workspace);
        if (!asked || asked->form != submission::Reference::Form::JobOutput)
            return std::optional<Json>();
        const auto output =
            TURNOUT_TRY(uri_of_output(services, workspace, asked->job, asked->output));
        if (!output) return std::optional<Json>();
        return std::optional(Json::object({{"uri", output->uri}, {"type", output->type}}));
    }
    std::string name, version;
    if (const auto parts = split(id, '/'); parts.size() >= 4 && parts[parts.size() - 4] == "data" &&
                                           parts[parts.size() - 2] == "versions") {
        name = parts[parts.size() - 3];
        version = parts.back();
    } else if (const auto words = split(id, ':'); words.size() == 3 && words[0] == "azureml") {
        name = words[1];
        version = words[2];
    } else {
        return std::optional<Json>();
    }
    const auto asset = TURNOUT_TRY(services.assets.resolve(workspace.id, "data", name, version));
    if (!asset) return std::optional<Json>();
    const std::string uri = asset->properties.at("dataUri").as_string();
    return std::optional(Json::object(
        {{"uri", long_uri(workspace, uri)}, {"type", asset->properties.at("dataType")}}));
}

Answer resolve_uris(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    const auto& ids = body.at("values").items();
    if (ids.size() > kMaxIds)
        co_return invalid("at most " + std::to_string(kMaxIds) + " ids can be resolved at a time",
                          "values");
    Json values = Json::object();
    for (const Json& id : ids) {
        TURNOUT_CO_TRY(auto resolved, resolve_data(services, call, workspace, id.as_view()));
        if (!resolved)
            co_return not_found(
                "'" + id.as_string() +
                    "' is neither an output of a job nor a data asset of this workspace",
                "values");
        values.set(id.as_view(), std::move(*resolved));
    }
    co_return json_response(200, Json::object({{"values", std::move(values)}}));
}

// As this service writes it; the others have "uri_file".
std::string_view type_here(std::string_view type) {
    if (type == "uri_file") return "UriFile";
    return type == "mltable" ? "MLTable" : "UriFolder";
}

Answer get_data_version(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    const std::string& name = call.param("name");
    const std::string& version = call.param("version");
    TURNOUT_CO_TRY(const auto asset, services.assets.resolve(workspace.id, "data", name, version));
    if (!asset)
        co_return not_found("data asset '" + name + "' has no version '" + version + "'",
                            "version");
    const Json& properties = asset->properties;
    const std::string uri = long_uri(workspace, properties.at("dataUri").as_view());
    const Json tags = properties.at("tags").is_object() ? properties.at("tags") : Json::object();
    Json data = Json::object({
        {"assetId", "azureml://locations/" + workspace.location + "/workspaces/" + workspace.guid +
                        "/data/" + name + "/versions/" + asset->version},
        {"dataContainerName", name},
        {"dataType", type_here(properties.at("dataType").as_view())},
        {"dataUri", uri},
        {"versionId", asset->version},
        {"mutableProps", Json::object({{"dataExpiryTime", Json()},
                                       {"description", properties.at("description")},
                                       {"tags", tags},
                                       {"isArchived", asset->archived}})},
        {"referencedDataUris", properties.at("referencedUris").is_array()
                                   ? properties.at("referencedUris")
                                   : Json::array()},
        {"properties", Json::object()},
    });
    co_return json_response(
        200, Json::object({
                 {"dataVersion", std::move(data)},
                 {"entityMetadata", Json::object({{"etag", ""},
                                                  {"createdTime", to_iso8601(asset->created)},
                                                  {"modifiedTime", to_iso8601(asset->created)}})},
                 {"isV2", true},
             }));
}

// Its engine puts a URL together as https://{accountName}.blob.{endpoint}/{containerName}: what is
// before an '@' is a user's name in a URL, and what is behind it leads here.
Answer get_data_store(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    const std::string& name = call.param("name");
    TURNOUT_CO_TRY(const auto stored, services.assets.find_datastore(workspace.id, name));
    if (!stored) co_return not_found("datastore '" + name + "' does not exist", "datastore");
    const std::string container = stored->at("containerName").as_string();
    std::string link;
    if (call.principal.kind == Principal::Kind::Run) {
        link = link_of_run(services, call.principal);
    } else {
        SasGrant grant;
        grant.container = container;
        // Who may write all of it, or read it; its table says that they may look at the datastore.
        const bool writes =
            may(services, call, access::action::kListDatastoreSecrets, workspace.id);
        if (!writes) {
            TURNOUT_CO_TRY_VOID(permit(services, call, access::action::kReadBlobs, workspace.id));
        }
        grant.permissions = writes ? "rwlcd" : "rl";
        if (writes) call.gave = access::action::kListDatastoreSecrets;
        grant.expires = services.clock.now() + kUserLife;
        grant.holder = services.authority.holder(call.principal);
        grant.action = writes ? access::action::kListDatastoreSecrets : access::action::kReadBlobs;
        link = sign_sas(services.authority.link_key().reveal(), grant);
    }
    const std::size_t scheme = call.origin.find("://") + 3;
    http::Response response = json_response(
        200,
        Json::object({
            {"name", name},
            {"dataStoreType", "AzureBlob"},
            {"isDefault", stored->at("isDefault").as_bool()},
            {"tags", Json::object()},
            {"azureStorageSection", Json::object({
                                        {"accountName", "turnout"},
                                        {"containerName", container},
                                        {"endpoint", "store.turnout@" + call.origin.substr(scheme)},
                                        {"protocol", call.origin.substr(0, scheme - 3)},
                                        {"credentialType", "Sas"},
                                        {"credential", link},
                                        {"sasToken", link},
                                        {"isSas", true},
                                        {"accountKey", Json()},
                                        {"clientCredentials", Json()},
                                        {"blobCacheTimeout", Json()},
                                        {"areWorkspaceManagedIdentitiesAllowed", false},
                                        {"serviceDataAccessAuthIdentity", "None"},
                                        {"subscriptionId", Json()},
                                        {"resourceGroup", Json()},
                                    })},
        }));
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

}  // namespace

void add_data_plane_routes(Router& router, Services& services) {
    const std::string data = "/data/v1.0" + std::string(kWorkspacePattern) + "/dataversion/";
    add_row(router, services, "POST", data + "batchGetResolvedUris", Access::Run, resolve_uris);
    add_row(router, services, "GET", data + "{name}/versions/{version}", Access::Run,
            get_data_version);
    add_row(router, services, "GET",
            "/datastore/v1.0" + std::string(kWorkspacePattern) + "/datastores/{name}", Access::Run,
            get_data_store);
}

}  // namespace turnout::api
