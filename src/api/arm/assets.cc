// Versioned assets: environments, data, models, components, codes. One set of rows for all kinds;
// what differs is in the table of kinds.
#include <algorithm>
#include <array>

#include "api/arm/reference.h"
#include "api/arm/registry.h"
#include "api/arm/resource.h"
#include "api/data_uri.h"
#include "base/hash.h"
#include "blob/blobs.h"
#include "control/jobs.h"
#include "environment/definition.h"

namespace turnout::api::arm {
namespace {

constexpr Span kUploadLife = 24h;

struct Kind {
    std::string_view name;  // as in the path
    std::string_view one;   // for messages
    // Looks at a new definition, may bring it into the form in which it is kept.
    Result<void> (*check)(Services& services, const Workspace& workspace, const std::string& name,
                          Json& properties);
    // Adds what the server says to an answer.
    void (*complete)(const Call& call, Json& properties);
};

Failure missing(std::string_view what, std::string field) {
    return invalid(std::string(what), "properties." + std::move(field));
}

// ---- environments

Result<void> check_environment(Services&, const Workspace&, const std::string& name,
                               Json& properties) {
    if (to_lower(name).starts_with("azureml-"))
        return fail(
            Code::InvalidArgument, "ReservedName",
            "names that begin with 'AzureML-' belong to curated environments: choose another",
            "name");
    const Json& image = properties.at("image");
    const Json& conda = properties.at("condaFile");
    for (const auto* member : {&image, &conda})
        if (!member->is_null() && !member->is_string())
            return missing("image and condaFile must be text", "image");
    if (image.as_view().empty() && conda.as_view().empty() && !properties.at("build").is_object())
        return missing("an environment needs an image, a condaFile or a build", "image");
    if (!conda.as_view().empty()) {
        environment::Definition definition;
        definition.name = name;
        definition.image = image.as_string();
        definition.conda_file = conda.as_string();
        TURNOUT_TRY(environment::resolve(definition));
    }
    return {};
}

void complete_environment(const Call&, Json& properties) {
    properties.set("environmentType", "UserCreated");
    if (!properties.at("osType").is_string()) properties.set("osType", "Linux");
    properties.set("provisioningState", "Succeeded");
}

// ---- data and models

// What a job made is kept as the place where it is: clients read no other form.
Result<void> locate_output(Services& services, const Workspace& workspace,
                           const Reference& reference, Json& properties, const std::string& field) {
    const auto output =
        TURNOUT_TRY(uri_of_output(services, workspace, reference.job, reference.output));
    if (!output) {
        const bool known =
            TURNOUT_TRY(read_job(services.store, workspace.id, reference.job)).has_value();
        return missing("'" + reference.text + "': job '" + reference.job + "' " +
                           (known ? "has no output '" + reference.output + "'" : "does not exist"),
                       field);
    }
    properties.set(field, output->uri + reference.path);
    return {};
}

// `uri` of the same place as `before` is kept in the words of the first time.
bool same_place(const Workspace& workspace, const std::string& before, const std::string& uri) {
    const auto one = parse_reference(before, workspace), other = parse_reference(uri, workspace);
    return one && other && one->form == Reference::Form::Path &&
           other->form == Reference::Form::Path && one->datastore == other->datastore &&
           one->path == other->path;
}

Result<void> check_location(Services& services, const Workspace& workspace, Json& properties,
                            const std::string& field) {
    const std::string uri = properties.at(field).as_string();
    const Reference reference = TURNOUT_TRY(parse_reference(uri, workspace));
    if (reference.form == Reference::Form::JobOutput)
        return locate_output(services, workspace, reference, properties, field);
    if (reference.form == Reference::Form::Local)
        return missing("'" + uri +
                           "' is a path of the client's machine: clients upload such files and "
                           "name them azureml://datastores/…",
                       field);
    if (reference.form == Reference::Form::Path) {
        std::vector<std::string> names;
        for (auto& [name, other] : TURNOUT_TRY(services.assets.list_datastores(workspace.id)))
            names.push_back(name);
        if (std::ranges::find(names, reference.datastore) == names.end())
            return missing("datastore '" + reference.datastore + "' does not exist" +
                               did_you_mean(reference.datastore, names),
                           field);
    }
    return {};
}

Result<void> check_data(Services& services, const Workspace& workspace, const std::string&,
                        Json& properties) {
    const std::string type = properties.at("dataType").as_string();
    if (type != "uri_file" && type != "uri_folder" && type != "mltable")
        return missing(
            "dataType is uri_file, uri_folder or mltable, not '" + type.substr(0, 40) + "'",
            "dataType");
    const std::string uri = properties.at("dataUri").as_string();
    if (uri.empty()) return missing("a data asset needs a dataUri", "dataUri");
    return check_location(services, workspace, properties, "dataUri");
}

void complete_data(const Call&, Json& properties) {
    for (const std::string_view member : {"tags", "properties"})
        if (!properties.at(member).is_object()) properties.set(member, Json::object());
}

Result<void> check_model(Services& services, const Workspace& workspace, const std::string&,
                         Json& properties) {
    const std::string uri = properties.at("modelUri").as_string();
    if (uri.empty()) return missing("a model needs a modelUri", "modelUri");
    return check_location(services, workspace, properties, "modelUri");
}

void complete_model(const Call& call, Json& properties) {
    complete_data(call, properties);
    if (!properties.at("flavors").is_object()) properties.set("flavors", Json::object());
    if (!properties.at("modelType").is_string()) properties.set("modelType", "custom_model");
}

// ---- components

Result<void> check_component(Services&, const Workspace&, const std::string&, Json& properties) {
    if (!properties.at("componentSpec").is_object())
        return missing("a component needs a componentSpec", "componentSpec");
    return {};
}

// ---- codes: the URI is kept without its origin, since ports and hosts change

Result<void> check_code(Services&, const Workspace& workspace, const std::string&,
                        Json& properties) {
    const std::string uri = properties.at("codeUri").as_string();
    const auto blobs = blob_of_url(uri);
    if (!blobs || workspace_of_container(blobs->container) != workspace.id)
        return missing("codeUri must be the place that startPendingUpload gave out", "codeUri");
    std::string path = "/blob/" + blobs->container;
    if (!blobs->prefix.empty()) path += "/" + blobs->prefix;
    properties.set("codeUri", path);
    return {};
}

void complete_code(const Call& call, Json& properties) {
    const auto blobs = blob_of_url(properties.at("codeUri").as_view());
    if (!blobs) return;
    std::string uri = call.plain_origin + "/blob/" + blobs->container;
    if (!blobs->prefix.empty()) uri += "/" + percent_encode(blobs->prefix, "/");
    properties.set("codeUri", uri);
}

constexpr std::array<Kind, 5> kKinds = {{
    {"environments", "environment", check_environment, complete_environment},
    {"data", "data asset", check_data, complete_data},
    {"models", "model", check_model, complete_model},
    {"components", "component", check_component, complete_data},
    {"codes", "code", check_code, complete_code},
}};

// Members that say where data is.
constexpr std::array<std::string_view, 2> kPlaces = {"dataUri", "modelUri"};

// ---- bodies

std::string id_of(const Workspace& workspace, const Kind& kind, std::string_view name) {
    return workspace_path(workspace) + "/" + std::string(kind.name) + "/" + std::string(name);
}

Result<Json> container_body(Services& services, const Workspace& workspace, const Kind& kind,
                            const AssetContainer& container) {
    Json properties = container.properties;
    for (const std::string_view member : {"tags", "properties"})
        if (!properties.at(member).is_object()) properties.set(member, Json::object());
    properties.set("isArchived", container.archived);
    properties.set("latestVersion",
                   container.latest_version.empty() ? Json() : Json(container.latest_version));
    properties.set("nextVersion", container.next_version);
    if (kind.name == "data" && !properties.at("dataType").is_string()) {
        const auto latest =
            TURNOUT_TRY(services.assets.resolve(workspace.id, kind.name, container.name, "latest"));
        properties.set("dataType", latest ? latest->properties.at("dataType") : Json("uri_folder"));
    }
    properties.set("provisioningState", "Succeeded");
    Json body = envelope(id_of(workspace, kind, container.name), container.name,
                         "workspaces/" + std::string(kind.name), std::move(properties));
    body.set("systemData", system_data(container.created, container.created));
    return body;
}

Json version_body(const Call& call, const Workspace& workspace, const Kind& kind,
                  const AssetVersion& version) {
    Json properties = version.properties;
    properties.set("isArchived", version.archived);
    if (!properties.at("isAnonymous").is_bool()) properties.set("isAnonymous", false);
    kind.complete(call, properties);
    for (const std::string_view uri : kPlaces)
        if (properties.at(uri).is_string())
            properties.set(uri, long_uri(workspace, properties.at(uri).as_view()));
    Json body = envelope(id_of(workspace, kind, version.name) + "/versions/" + version.version,
                         version.version, "workspaces/" + std::string(kind.name) + "/versions",
                         std::move(properties));
    body.set("systemData", system_data(version.created, version.created));
    return body;
}

// What the server adds to its answers is not part of what a client defines.
void remove_read_only(Json& properties) {
    for (const std::string_view member :
         {"provisioningState", "environmentType", "latestVersion", "nextVersion"})
        properties.erase(member);
}

Result<AssetContainer> find_container(Services& services, const Workspace& workspace,
                                      const Kind& kind, const std::string& name) {
    auto found = TURNOUT_TRY(services.assets.find_container(workspace.id, kind.name, name));
    if (found) return std::move(*found);
    std::vector<std::string> names;
    for (const AssetContainer& container :
         TURNOUT_TRY(services.assets.list_containers(workspace.id, kind.name)))
        names.push_back(container.name);
    return not_found(
        std::string(kind.one) + " '" + name + "' does not exist" + did_you_mean(name, names),
        "name");
}

// ---- containers

Answer list_containers(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const ListView view, list_view(call));
    TURNOUT_CO_TRY(auto containers, services.assets.list_containers(workspace.id, kind.name));
    std::erase_if(containers, [&](const AssetContainer& container) {
        // What the SDK makes for jobs without a name is not listed, as in Azure.
        return !shown(view, container.archived) || container.name == "CliV2AnonymousEnvironment" ||
               container.name == "azureml_anonymous";
    });
    std::vector<Json> bodies;
    for (const AssetContainer& container : containers) {
        TURNOUT_CO_TRY(Json body, container_body(services, workspace, kind, container));
        bodies.push_back(std::move(body));
    }
    co_return page_of(
        call, bodies.size(), [&](std::size_t i) { return containers[i].name; },
        [&](std::size_t i) { return bodies[i]; });
}

// A curated environment, which every workspace has without it being stored, unless it has one of
// its own of that name; nullptr if it is none.
const environment::Curated* curated_of(Services& services, const Workspace& workspace,
                                       const Kind& kind, const std::string& name) {
    if (kind.name != "environments") return nullptr;
    const auto own = services.assets.find_container(workspace.id, kind.name, name);
    return own && *own ? nullptr : environment::find_curated(name);
}
constexpr std::string_view kEnvironmentType = "workspaces/environments";

Answer get_container(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    if (const auto* curated = curated_of(services, workspace, kind, asset_name(call, "name")))
        co_return json_response(
            200, curated_container_body(*curated, id_of(workspace, kind, curated->name),
                                        kEnvironmentType));
    TURNOUT_CO_TRY(const AssetContainer container,
                   find_container(services, workspace, kind, asset_name(call, "name")));
    TURNOUT_CO_TRY(const Json body, container_body(services, workspace, kind, container));
    co_return json_response(200, body);
}

Answer put_container(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    if (!body.at("properties").is_object())
        co_return invalid("the body needs 'properties'", "properties");
    AssetContainer container;
    container.name = asset_name(call, "name");
    container.properties = body.at("properties");
    container.archived = container.properties.at("isArchived").as_bool();
    remove_read_only(container.properties);
    container.properties.erase("isArchived");
    const std::string name = container.name;
    TURNOUT_CO_TRY(const bool is_new,
                   co_await services.assets.put_container(workspace.id, std::string(kind.name),
                                                          std::move(container)));
    TURNOUT_CO_TRY(const AssetContainer saved, find_container(services, workspace, kind, name));
    TURNOUT_CO_TRY(const Json answer, container_body(services, workspace, kind, saved));
    co_return json_response(is_new ? 201 : 200, answer);
}

// ---- versions

Answer list_versions(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const ListView view, list_view(call));
    const std::string name = asset_name(call, "name");
    if (const auto* curated = curated_of(services, workspace, kind, name)) {
        const auto count = static_cast<std::size_t>(curated->versions);
        co_return page_of(
            call, count, [](std::size_t i) { return hex16(i); },
            [&](std::size_t i) {
                return curated_version_body(*curated, static_cast<int>(count - i),
                                            id_of(workspace, kind, curated->name),
                                            kEnvironmentType);
            });
    }
    std::vector<AssetVersion> versions;
    if (const std::string_view hash = call.query_value("hash");
        kind.name == "codes" && !hash.empty()) {
        // Whatever name the client made up: the question is whether this content is here already.
        TURNOUT_CO_TRY(auto code, services.assets.code_by_hash(workspace.id, hash));
        if (code) versions.push_back(std::move(*code));
    } else {
        TURNOUT_CO_TRY(versions, services.assets.list_versions(workspace.id, kind.name, name));
        if (versions.empty() && kind.name != "codes") {
            TURNOUT_CO_TRY([[maybe_unused]] const AssetContainer container,
                           find_container(services, workspace, kind, name));
        }
        std::erase_if(versions,
                      [&](const AssetVersion& version) { return !shown(view, version.archived); });
    }
    const bool ascending = to_lower(call.query_value("$orderBy")).ends_with(" asc");
    if (ascending) std::ranges::reverse(versions);
    const auto key = [&](std::size_t i) {
        const auto created = static_cast<std::uint64_t>(versions[i].created.micros);
        // Equal times keep their order: they are numbered.
        return (ascending ? hex16(created) : hex16_descending(created)) + "/" + hex16(i);
    };
    co_return page_of(call, versions.size(), key, [&](std::size_t i) {
        return version_body(call, workspace, kind, versions[i]);
    });
}

Answer get_version(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name");
    if (const auto* curated = curated_of(services, workspace, kind, name))
        for (int version = 1; version <= curated->versions; ++version)
            if (std::to_string(version) == call.param("version"))
                co_return json_response(
                    200,
                    curated_version_body(*curated, version, id_of(workspace, kind, curated->name),
                                         kEnvironmentType));
    TURNOUT_CO_TRY(const auto version, services.assets.find_version(workspace.id, kind.name, name,
                                                                    call.param("version")));
    if (version) co_return json_response(200, version_body(call, workspace, kind, *version));
    TURNOUT_CO_TRY([[maybe_unused]] const AssetContainer container,
                   find_container(services, workspace, kind, name));
    TURNOUT_CO_TRY(const auto others, services.assets.list_versions(workspace.id, kind.name, name));
    std::vector<std::string> names;
    for (const AssetVersion& other : others) names.push_back(other.version);
    co_return not_found(std::string(kind.one) + " '" + name + "' has no version '" +
                            call.param("version") + "'" +
                            did_you_mean(call.param("version"), names) +
                            (names.empty() ? "" : "; the newest is '" + names.front() + "'"),
                        "version");
}

Answer put_version(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(16 << 20));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    if (!body.at("properties").is_object())
        co_return invalid("the body needs 'properties'", "properties");
    AssetVersion version;
    version.name = asset_name(call, "name");
    version.version = call.param("version");
    version.properties = body.at("properties");
    version.archived = version.properties.at("isArchived").as_bool();
    remove_read_only(version.properties);
    version.properties.erase("isArchived");
    TURNOUT_CO_TRY_VOID(check_asset_name(version.name, kind.one));
    TURNOUT_CO_TRY_VOID(kind.check(services, workspace, version.name, version.properties));
    const std::string name = version.name;
    TURNOUT_CO_TRY(const auto before,
                   services.assets.find_version(workspace.id, kind.name, name, version.version));
    for (const std::string_view uri : kPlaces)
        if (before && same_place(workspace, before->properties.at(uri).as_string(),
                                 version.properties.at(uri).as_string()))
            version.properties.set(uri, before->properties.at(uri));
    TURNOUT_CO_TRY(const bool is_new,
                   co_await services.assets.put_version(workspace.id, std::string(kind.name),
                                                        std::move(version)));
    TURNOUT_CO_TRY(const auto saved, services.assets.find_version(workspace.id, kind.name, name,
                                                                  call.param("version")));
    if (!saved) co_return internal("the version that was just written is not there");
    co_return json_response(is_new ? 201 : 200, version_body(call, workspace, kind, *saved));
}

// A container of its own for each upload, and a link that reaches nothing else.
Answer start_upload(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name");
    TURNOUT_CO_TRY_VOID(check_asset_name(name, "code"));
    const std::string id = to_hex(sha256(name + "/" + call.param("version"))).substr(0, 32);
    SasGrant grant;
    grant.container = code_container(workspace.id, id);
    grant.permissions = "rwlcd";
    grant.expires = services.clock.now() + kUploadLife;
    const std::string uri = call.plain_origin + "/blob/" + grant.container;
    http::Response response = json_response(
        200, Json::object({
                 {"pendingUploadId", id},
                 {"pendingUploadType", "TemporaryBlobReference"},
                 {"blobReferenceForConsumption",
                  Json::object({
                      {"blobUri", uri},
                      {"storageAccountArmId",
                       "/subscriptions/" + workspace.subscription + "/resourceGroups/" +
                           workspace.resource_group +
                           "/providers/Microsoft.Storage/storageAccounts/turnout" + workspace.id},
                      {"credential",
                       Json::object({{"credentialType", "SAS"},
                                     {"sasUri", uri + "?" +
                                                    sign_sas(services.authority.link_key().reveal(),
                                                             grant)}})},
                  })},
             }));
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

}  // namespace

void add_asset_routes(Router& router, Services& services) {
    using KindAction = Answer (*)(Services&, Call&, const Kind&);
    for (const Kind& kind : kKinds) {
        const std::string base = in_workspace("/" + std::string(kind.name));
        const auto add = [&](std::string method, const std::string& pattern, KindAction action) {
            router.add(
                std::move(method), pattern, Access::User,
                [&services, &kind, action](Call& call) { return action(services, call, kind); });
        };
        add("GET", base, list_containers);
        add("GET", base + "/{name}", get_container);
        add("PUT", base + "/{name}", put_container);
        add("GET", base + "/{name}/versions", list_versions);
        add("GET", base + "/{name}/versions/{version}", get_version);
        add("PUT", base + "/{name}/versions/{version}", put_version);
    }
    row(router, services, "POST",
        in_workspace("/codes/{name}/versions/{version}/startPendingUpload"), Access::User,
        start_upload);
}

}  // namespace turnout::api::arm
