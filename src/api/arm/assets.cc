// Documents with versions: environments, data, models, components, codes. One set of routes for all
// kinds; what differs is in their rows (resources/documents.cc) and in asset_hooks.cc.
#include <algorithm>

#include "access/actions.h"
#include "api/arm/asset_hooks.h"
#include "api/arm/registry.h"
#include "api/arm/resource.h"
#include "api/data_uri.h"
#include "api/run_reach.h"
#include "api/upkeep/needs.h"
#include "api/upkeep/removal.h"
#include "api/upkeep/stored_use.h"
#include "api/upkeep/upkeep.h"
#include "base/hash.h"
#include "blob/blobs.h"
#include "control/jobs.h"
#include "submission/reference.h"
#include "submission/registered.h"

namespace turnout::api::arm {
namespace {

using submission::blob_of_url;
using submission::parse_reference;
using submission::Reference;

constexpr Span kUploadLife = 24h;

using Kind = resources::DocumentKind;

// `uri` of the same place as `before` is kept in the words of the first time.
bool same_place(const Workspace& workspace, const std::string& before, const std::string& uri) {
    const auto one = parse_reference(before, workspace), other = parse_reference(uri, workspace);
    return one && other && one->form == Reference::Form::Path &&
           other->form == Reference::Form::Path && one->datastore == other->datastore &&
           one->path == other->path;
}

// ---- bodies

std::string id_of(const Workspace& workspace, const Kind& kind, std::string_view name) {
    return workspace_path(workspace) + "/" + std::string(kind.path) + "/" + std::string(name);
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
    if (kind.path == "data" && !properties.at("dataType").is_string()) {
        const auto latest =
            TURNOUT_TRY(services.assets.resolve(workspace.id, kind.path, container.name, "latest"));
        properties.set("dataType", latest ? latest->properties.at("dataType") : Json("uri_folder"));
    }
    properties.set("provisioningState", "Succeeded");
    Json body = envelope(id_of(workspace, kind, container.name), container.name,
                         "workspaces/" + std::string(kind.path), std::move(properties));
    body.set("systemData", system_data(container.created, container.modified, container.made));
    return body;
}

Json version_body(const Call& call, const Workspace& workspace, const Kind& kind,
                  const AssetVersion& version) {
    Json properties = version.properties;
    properties.set("isArchived", version.archived);
    if (!properties.at("isAnonymous").is_bool()) properties.set("isAnonymous", false);
    complete(call, kind, properties);
    if (properties.at(kind.location).is_string())
        properties.set(kind.location, long_uri(workspace, properties.at(kind.location).as_view()));
    Json body = envelope(id_of(workspace, kind, version.name) + "/versions/" + version.version,
                         version.version, "workspaces/" + std::string(kind.path) + "/versions",
                         std::move(properties));
    body.set("systemData", system_data(version.created, version.modified, version.made));
    return body;
}

// What the server adds to its answers is not part of what a client defines.
void remove_read_only(Json& properties) {
    for (const std::string_view member :
         {"provisioningState", "environmentType", "resolved", "latestVersion", "nextVersion"})
        properties.erase(member);
}

Result<AssetContainer> find_container(Services& services, const Workspace& workspace,
                                      const Kind& kind, const std::string& name) {
    auto found = TURNOUT_TRY(services.assets.find_container(workspace.id, kind.path, name));
    if (found) return std::move(*found);
    std::vector<std::string> names;
    for (const AssetContainer& container :
         TURNOUT_TRY(services.assets.list_containers(workspace.id, kind.path)))
        names.push_back(container.name);
    return not_found(
        std::string(kind.one) + " '" + name + "' does not exist" + did_you_mean(name, names),
        "name");
}

// ---- containers

constexpr std::string_view kEnvironmentType = "workspaces/environments";

Answer list_containers(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const ListView view, list_view(call));
    TURNOUT_CO_TRY(auto containers, services.assets.list_containers(workspace.id, kind.path));
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
    const std::size_t own = bodies.size();
    // Every workspace has the curated ones as well; they cannot be archived.
    if (kind.path == "environments" && shown(view, false))
        for (const auto& curated : environment::curated_environments())
            if (std::ranges::none_of(containers, [&](const AssetContainer& container) {
                    return equal_ignoring_case(container.name, curated.name);
                }))
                bodies.push_back(curated_container_body(
                    curated, id_of(workspace, kind, curated.name), kEnvironmentType));
    co_return page_of(
        call, bodies.size(),
        [&](std::size_t i) { return i < own ? "0/" + containers[i].name : "1/" + hex16(i - own); },
        [&](std::size_t i) { return bodies[i]; });
}

// A curated environment, which every workspace has without it being stored, unless it has one of
// its own of that name; nullptr if it is none.
const environment::Curated* curated_of(Services& services, const Workspace& workspace,
                                       const Kind& kind, const std::string& name) {
    if (kind.path != "environments") return nullptr;
    const auto own = services.assets.find_container(workspace.id, kind.path, name);
    return own && *own ? nullptr : environment::find_curated(name);
}
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
    if (kind.path == "environments" && submission::is_reserved(container.name))
        co_return invalid("environment '" + container.name +
                              "' is curated: names that begin with 'AzureML-' stay as they are",
                          "name");
    TURNOUT_CO_TRY_VOID(resources::check_rest(resources::any_document(), body));
    container.properties = body.at("properties");
    container.archived = container.properties.at("isArchived").as_bool();
    remove_read_only(container.properties);
    container.properties.erase("isArchived");
    const std::string name = container.name;
    TURNOUT_CO_TRY(container.made.modified, author_of(services, call));
    TURNOUT_CO_TRY(const bool is_new,
                   co_await services.assets.put_container(workspace.id, std::string(kind.path),
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
        kind.path == "codes" && !hash.empty()) {
        // Whatever name the client made up: the question is whether this content is here already.
        TURNOUT_CO_TRY(auto code, services.assets.code_by_hash(workspace.id, hash));
        if (code) versions.push_back(std::move(*code));
    } else {
        TURNOUT_CO_TRY(versions, services.assets.list_versions(workspace.id, kind.path, name));
        if (versions.empty() && kind.path != "codes") {
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
    TURNOUT_CO_TRY(const auto version, services.assets.find_version(workspace.id, kind.path, name,
                                                                    call.param("version")));
    if (version) co_return json_response(200, version_body(call, workspace, kind, *version));
    TURNOUT_CO_TRY([[maybe_unused]] const AssetContainer container,
                   find_container(services, workspace, kind, name));
    TURNOUT_CO_TRY(const auto others, services.assets.list_versions(workspace.id, kind.path, name));
    std::vector<std::string> names;
    for (const AssetVersion& other : others) names.push_back(other.version);
    co_return not_found(std::string(kind.one) + " '" + name + "' has no version '" +
                            call.param("version") + "'" +
                            did_you_mean(call.param("version"), names) +
                            (names.empty() ? "" : "; the newest is '" + names.front() + "'"),
                        "version");
}

// Over when its rows are durable, or will never be.
struct Seal {
    Blobs* blobs = nullptr;
    std::string container;
    std::vector<Write> rows;
    Seal() = default;
    Seal(const Seal&) = delete;
    Seal& operator=(const Seal&) = delete;
    ~Seal() {
        if (blobs) blobs->seal_settled(container);
    }
};

// The code of a version is what it was when it was registered: jobs read it, and nodes keep it by
// its content.
Task<Result<void>> seal_code(Services& services, Call& call, const std::string& wsid,
                             AssetVersion& version, Seal& seal) {
    const auto place = blob_of_url(version.properties.at("codeUri").as_view());
    // Code elsewhere may change, so what nodes keep of it goes by its place and ETags.
    if (!place || !upkeep::is_code_container(place->container, wsid)) co_return Result<void>();
    seal.blobs = &services.blobs;
    seal.container = place->container;
    Write row = services.blobs.seal(place->container);
    // What was written before is seen after this.
    TURNOUT_CO_TRY([[maybe_unused]] const auto revision, co_await services.store.commit(Batch{}));
    Turn turn(services, call);
    Sha256 hash;
    std::string marker;
    bool empty = true;
    do {
        TURNOUT_CO_TRY(const BlobList page,
                       services.blobs.list(place->container, place->prefix, "", marker, 500));
        for (const BlobInfo& blob : page.blobs) {
            hash.update(blob.name.substr(place->prefix.size()) + "\n" + blob.sha256 + "\n");
            empty = false;
        }
        marker = page.next_marker;
        if (turn.over()) {
            TURNOUT_CO_TRY_VOID(co_await turn.pass());
        }
    } while (!marker.empty());
    if (empty) co_return Result<void>();  // its files are still to come
    version.content = to_hex(hash.finish());
    seal.rows.push_back(std::move(row));
    co_return Result<void>();
}

// Where the code of that name and version is uploaded to.
std::string container_of_upload(const std::string& wsid, const std::string& name,
                                const std::string& version) {
    return code_container(wsid, to_hex(sha256(name + "/" + version)).substr(0, 32));
}

// A run registers what it was given a place for, and not what others upload.
Result<void> check_own_upload(Services& services, const Call& call, const Workspace& workspace,
                              const AssetVersion& version) {
    if (TURNOUT_TRY(may_all(services, call, access::action::kWriteCodes))) return {};
    const auto place = blob_of_url(version.properties.at("codeUri").as_view());
    if (place &&
        place->container == container_of_upload(workspace.id, version.name, version.version))
        return {};
    return beyond_reach(call.principal);
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
    if (!kind.location.empty()) {
        TURNOUT_CO_TRY_VOID(check_reads_uri(services, call, workspace,
                                            version.properties.at(kind.location).as_view()));
    }
    if (kind.path == "codes") {
        TURNOUT_CO_TRY_VOID(check_own_upload(services, call, workspace, version));
    }
    TURNOUT_CO_TRY_VOID(
        check_definition(services, workspace, kind, version.name, version.properties));
    if (const Json& built = version.properties.at(kind.context).at("contextUri");
        built.is_string()) {
        TURNOUT_CO_TRY_VOID(check_reads_uri(services, call, workspace, built.as_view()));
    }
    const std::string name = version.name;
    TURNOUT_CO_TRY(const auto before,
                   services.assets.find_version(workspace.id, kind.path, name, version.version));
    if (!before) {
        TURNOUT_CO_TRY_VOID(co_await check_stored(services, call, workspace.id, 0));
    }
    if (before && !kind.location.empty() &&
        same_place(workspace, before->properties.at(kind.location).as_string(),
                   version.properties.at(kind.location).as_string()))
        version.properties.set(kind.location, before->properties.at(kind.location));
    TURNOUT_CO_TRY(version.made.modified, author_of(services, call));
    Seal seal;
    if (kind.path == "codes" && !before) {
        TURNOUT_CO_TRY_VOID(co_await seal_code(services, call, workspace.id, version, seal));
    }
    TURNOUT_CO_TRY(const bool is_new,
                   co_await services.assets.put_version(workspace.id, std::string(kind.path),
                                                        std::move(version), seal.rows));
    TURNOUT_CO_TRY(const auto saved, services.assets.find_version(workspace.id, kind.path, name,
                                                                  call.param("version")));
    if (!saved) co_return internal("the version that was just written is not there");
    co_return json_response(is_new ? 201 : 200, version_body(call, workspace, kind, *saved));
}

// ---- changes of words, tags and archiving, each made to what is there in its turn

Answer patch_asset(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name"), version = call.param("version");
    if (curated_of(services, workspace, kind, name) != nullptr)
        co_return invalid("environment '" + name + "' is curated: it stays as it is", "name");
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    TURNOUT_CO_TRY_VOID(co_await services.assets.update(workspace.id, std::string(kind.path), name,
                                                        version, body.at("properties"), by));
    if (version.empty()) {
        TURNOUT_CO_TRY(const AssetContainer saved, find_container(services, workspace, kind, name));
        TURNOUT_CO_TRY(const Json answer, container_body(services, workspace, kind, saved));
        co_return json_response(200, answer);
    }
    co_return co_await get_version(services, call, kind);
}

// ---- deletion: of the rows. What they point at goes when nothing names it any more (api/upkeep).

// Whether a job of that definition uses this version, or any of them if it is "".
bool uses(const Json& definition, const Workspace& workspace, const Kind& kind,
          const std::string& name, const std::string& version) {
    const auto is_it = [&](const Json& text) {
        if (!text.is_string()) return false;
        const auto reference = parse_reference(text.as_view(), workspace);
        return reference && reference->form == Reference::Form::Asset && reference->name == name &&
               (reference->kind.empty() || reference->kind == kind.path) &&
               (version.empty() || reference->version == version || reference->version == "latest");
    };
    const Json& trial = definition.at("trial");
    if (!kind.job_member.empty())
        for (const Json* part : {&definition, &trial})
            if (is_it(part->at(kind.job_member))) return true;
    if (!kind.location.empty())
        for (const auto& [input, given] : definition.at("inputs").members())
            if (is_it(given.at("uri"))) return true;
    return false;
}

Task<Result<void>> check_unused(Services& services, const Call& call, const Workspace& workspace,
                                const Kind& kind, std::string name, std::string version) {
    Turn turn(services, call);
    const auto by = [&](const Json& definition) {
        return uses(definition, workspace, kind, name, version);
    };
    TURNOUT_CO_TRY(const std::string job,
                   co_await upkeep::living_job(services, turn, workspace.id, by));
    if (job.empty()) co_return Result<void>();
    co_return fail(Code::FailedPrecondition, "AssetInUse",
                   std::string(kind.one) + " '" + name + "'" +
                       (version.empty() ? "" : " version '" + version + "'") + " stays: job '" +
                       job + "', which has not ended, uses it",
                   "name");
}

http::Response gone(const Result<void>& deleted) {
    http::Response response;
    response.status = deleted ? 200 : 204;  // as ARM has it for what was not there
    return response;
}

Answer delete_version(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name"), version = call.param("version");
    TURNOUT_CO_TRY_VOID(co_await check_unused(services, call, workspace, kind, name, version));
    const Result<void> deleted = co_await services.assets.delete_version(
        workspace.id, std::string(kind.path), name, version);
    if (!deleted && deleted.error().code != Code::NotFound) co_return Failure(deleted.error());
    co_return gone(deleted);
}

Answer delete_container(Services& services, Call& call, const Kind& kind) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name");
    TURNOUT_CO_TRY_VOID(co_await check_unused(services, call, workspace, kind, name, ""));
    const auto deleted =
        co_await services.assets.delete_container(workspace.id, std::string(kind.path), name);
    if (!deleted && deleted.error().code != Code::NotFound) co_return Failure(deleted.error());
    co_return gone(deleted ? Result<void>() : Result<void>(Failure(deleted.error())));
}

// A container of its own for each upload, and a link that reaches nothing else.
Answer start_upload(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name");
    TURNOUT_CO_TRY_VOID(check_asset_name(name, "code"));
    SasGrant grant;
    grant.container = container_of_upload(workspace.id, name, call.param("version"));
    const std::string id = grant.container.substr(workspace.id.size() + 1);
    TURNOUT_CO_TRY(const bool all, may_all(services, call, access::action::kWriteCodes));
    if (!all) {  // what is there is not its own
        TURNOUT_CO_TRY(const BlobList there, services.blobs.list(grant.container, "", "", "", 1));
        TURNOUT_CO_TRY(const auto known, services.assets.find_version(workspace.id, "codes", name,
                                                                      call.param("version")));
        if (!there.blobs.empty() || known) co_return beyond_reach(call.principal);
    }
    grant.permissions = "rwlcd";
    grant.expires = services.clock.now() + kUploadLife;
    grant.holder = services.authority.holder(call.principal);
    grant.action = access::action::kWriteCodes;
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
    for (const Kind& kind : resources::document_kinds()) {
        if (kind.keys != Kind::Keys::Versioned) continue;
        const std::string base = in_workspace("/" + std::string(kind.path));
        const auto add = [&](std::string method, const std::string& pattern, KindAction action,
                             Access access = Access::Run) {
            router.add(std::move(method), pattern, access, [&services, &kind, action](Call& call) {
                return action(services, call, kind);
            });
        };
        add("GET", base, list_containers);
        add("GET", base + "/{name}", get_container);
        add("PUT", base + "/{name}", put_container);
        add("PATCH", base + "/{name}", patch_asset);
        add("GET", base + "/{name}/versions", list_versions);
        add("GET", base + "/{name}/versions/{version}", get_version);
        add("PUT", base + "/{name}/versions/{version}", put_version);
        add("PATCH", base + "/{name}/versions/{version}", patch_asset);
        add("DELETE", base + "/{name}", delete_container, Access::Behalf);
        add("DELETE", base + "/{name}/versions/{version}", delete_version, Access::Behalf);
    }
    row(router, services, "POST",
        in_workspace("/codes/{name}/versions/{version}/startPendingUpload"), Access::Run,
        start_upload);
}

}  // namespace turnout::api::arm
