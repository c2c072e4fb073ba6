// The artifacts of runs in run history's shapes, which azureml-mlflow reads: each answer carries a
// SAS link to the blob itself.
#include <algorithm>

#include "access/actions.h"
#include "api/history/log_link.h"
#include "api/history/run_view.h"
#include "api/run_reach.h"
#include "base/text.h"
#include "blob/blobs.h"

namespace turnout::api {
namespace {

constexpr std::size_t kMaxPaths = 1000;
constexpr Span kLinkLife = 24h;

struct Place {
    Workspace workspace;
    std::string run;
};
Result<Place> place_of(Services& services, const Call& call, std::string_view action) {
    Place place{TURNOUT_TRY(workspace_of_run(services, call)), call.param("id")};
    if (action == access::action::kReadRuns) {
        TURNOUT_TRY(check_reads_artifacts(services, call, place.run, call.query_value("path")));
    } else {
        TURNOUT_TRY(check_owns(services, call, action, place.run));
    }
    TURNOUT_TRY(load_run_view(services, place.workspace.id, place.run));
    return place;
}

Json artifact_document(const Place& place, const std::string& path) {
    return Json::object({{"artifactId", "ExperimentRun/dcid." + place.run + "/" + path},
                         {"origin", "ExperimentRun"},
                         {"container", "dcid." + place.run},
                         {"path", path}});
}

Json content_document(Services& services, const Call& call, const Place& place,
                      const std::string& path, std::string_view permissions) {
    SasGrant grant;
    grant.container = artifact_container(place.workspace.id);
    grant.prefix = artifact_prefix(place.run) + path;
    grant.permissions = permissions;
    grant.expires = services.clock.now() + kLinkLife;
    grant.holder = services.authority.holder(call.principal);
    grant.action = permissions == "r" ? access::action::kReadRuns : access::action::kWriteRuns;
    // A run's link is the run: it opens what the run may, and nothing once its attempt is over.
    const bool of_run = call.principal.kind == Principal::Kind::Run;
    const std::string link = of_run ? link_of_run(services, call.principal)
                                    : sign_sas(services.authority.link_key().reveal(), grant);
    Json json = artifact_document(place, path);
    // azureml-mlflow fetches nothing from a URL that is not https.
    json.set("contentUri", call.origin + "/store.blob.store.turnout/" + grant.container + "/" +
                               percent_encode(grant.prefix, "/") + "?" + link);
    return json;
}

Answer list_artifacts(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Place place, place_of(services, call, access::action::kReadRuns));
    std::string prefix = artifact_prefix(place.run);
    const std::size_t cut = prefix.size();
    if (const std::string_view path = call.query_value("path"); !path.empty()) {
        TURNOUT_CO_TRY(const std::string folder, checked_relative_path(path, "path"));
        prefix += folder + "/";
    }
    TURNOUT_CO_TRY(const BlobList list,
                   services.blobs.list(artifact_container(place.workspace.id), prefix, "",
                                       call.query_value("continuationToken"), 1000));
    Json value = Json::array();
    for (const BlobInfo& blob : list.blobs) {
        Json json = artifact_document(place, blob.name.substr(cut));
        json.set("etag", blob.etag);
        json.set("contentLength", blob.size);
        json.set("createdTime", to_iso8601(blob.created));
        value.push(std::move(json));
    }
    Json body = Json::object({{"value", std::move(value)}});
    if (!list.next_marker.empty()) body.set("continuationToken", list.next_marker);
    co_return json_response(200, body);
}

Answer get_content_info(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Place place, place_of(services, call, access::action::kReadRuns));
    TURNOUT_CO_TRY(const std::string path, checked_relative_path(call.query_value("path"), "path"));
    TURNOUT_CO_TRY(const auto blob, services.blobs.head(artifact_container(place.workspace.id),
                                                        artifact_prefix(place.run) + path));
    if (!blob)
        co_return not_found("run '" + place.run + "' has no artifact '" + path + "'", "path");
    co_return json_response(200, content_document(services, call, place, path, "r"));
}

Answer create_batch(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Place place, place_of(services, call, access::action::kWriteRuns));
    const auto& paths = body.at("paths").items();
    if (paths.size() > kMaxPaths)
        co_return invalid("at most " + std::to_string(kMaxPaths) + " paths can be given at a time",
                          "paths");
    Json artifacts = Json::object();
    Json contents = Json::object();
    for (const Json& item : paths) {
        TURNOUT_CO_TRY(const std::string path,
                       checked_relative_path(item.at("path").as_view(), "paths.path"));
        artifacts.set(path, artifact_document(place, path));
        contents.set(path, content_document(services, call, place, path, "rwc"));
    }
    co_return json_response(200, Json::object({{"artifacts", std::move(artifacts)},
                                               {"artifactContentInformation", std::move(contents)},
                                               {"errors", Json::object()}}));
}

}  // namespace

void add_artifact_routes(Router& router, Services& services) {
    for (const std::string_view run : {"/runs/{id}", "/experiments/{exp}/runs/{id}"}) {
        const std::string at =
            "/history/v1.0" + std::string(kWorkspacePattern) + std::string(run) + "/artifacts";
        add_row(router, services, "GET", at, Access::Run, list_artifacts);
        add_row(router, services, "GET", at + "/contentinfo", Access::Run, get_content_info);
        add_row(router, services, "POST", at + "/batch/metadata", Access::Run, create_batch);
    }
}

}  // namespace turnout::api
