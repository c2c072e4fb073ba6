// MLflow's artifact service over the blobs of the artifact container: what MLflow logs and what
// the job writes to outputs/ are one tree. "{run}/artifacts/{path}" is
// ExperimentRun/dcid.{run}/{path}.
#include <algorithm>

#include "access/actions.h"
#include "api/history/log_link.h"
#include "api/mlflow/wire.h"
#include "api/upkeep/stored_use.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "submission/reference.h"

namespace turnout::api::mlflow {
namespace {

constexpr std::size_t kMaxFiles = 10'000;

struct Place {
    Workspace workspace;
    RunView view;
    std::string path;  // beneath the run; "" is its root
    std::optional<agent_protocol::BlobFolder>
        model;  // "registry/NAME/VERSION/{path}": of a registered model
    std::string blob() const {
        if (!model) return artifact_prefix(view.run->id) + path;
        return path.empty() || model->prefix.empty() ? model->prefix + path
                                                     : model->prefix + "/" + path;
    }
    std::string container() const {
        return model ? model->container : artifact_container(workspace.id);
    }
    std::string name() const {
        return model ? "the registered model" : "run '" + view.run->id + "'";
    }
};

// Where an asset's files are.
Result<agent_protocol::BlobFolder> folder_of_asset(Services& services, const Workspace& workspace,
                                                   const AssetVersion& version) {
    const auto reference = TURNOUT_TRY(
        submission::parse_reference(version.properties.at("modelUri").as_view(), workspace));
    if (reference.form != submission::Reference::Form::Path)
        return not_found("the files of '" + version.name + "' are outside of this server", "path");
    const auto store =
        TURNOUT_TRY(services.assets.find_datastore(workspace.id, reference.datastore));
    if (!store) return not_found("datastore '" + reference.datastore + "' does not exist", "path");
    return agent_protocol::BlobFolder{store->at("containerName").as_string(), reference.path};
}

// "{run}/artifacts/{path}", or "registry/{name}/{version}/{path}".
Result<Place> place_of(Services& services, const Call& call, std::string_view path,
                       bool writes = false) {
    const std::string checked = TURNOUT_TRY(checked_relative_path(path, "path"));
    Place place;
    place.workspace = TURNOUT_TRY(workspace_of_run(services, call));
    const std::size_t slash = checked.find('/');
    const std::string rest = slash == std::string::npos ? "" : checked.substr(slash + 1);
    if (const auto parts = split(checked, '/'); parts[0] == "registry" && parts.size() >= 3) {
        const auto version = TURNOUT_TRY(
            services.assets.find_version(place.workspace.id, "models", parts[1], parts[2]));
        if (!version || version->archived)
            return not_found("registered model '" + std::string(parts[1]) + "' has no version '" +
                                 std::string(parts[2]) + "'",
                             "path");
        place.model = TURNOUT_TRY(folder_of_asset(services, place.workspace, *version));
        for (std::size_t i = 3; i < parts.size(); ++i)
            place.path += (i == 3 ? "" : "/") + std::string(parts[i]);
        TURNOUT_TRY(check_reads_place(services, call, place.container(), place.blob()));
        return place;
    }
    if (rest != "artifacts" && !rest.starts_with("artifacts/"))
        return not_found(
            "'" + checked +
                "' is not the path of an artifact: those begin with '{run id}/artifacts/'",
            "path");
    if (rest.size() > 10) place.path = rest.substr(10);
    const std::string id = checked.substr(0, slash);
    if (writes) {
        TURNOUT_TRY(check_owns(services, call, access::action::kWriteRuns, id));
    } else {
        TURNOUT_TRY(check_reads_artifacts(services, call, id, place.path));
    }
    place.view = TURNOUT_TRY(item_of_id(services, place.workspace, id));
    return place;
}

// One level beneath a folder. `shown` is put before each name.
Result<Json> files_in(Services& services, const Place& place, const std::string& shown) {
    std::string folder = place.blob();
    if (!folder.empty() && !folder.ends_with('/')) folder += '/';
    Json files = Json::array();
    std::string marker;
    do {
        const BlobList list =
            TURNOUT_TRY(services.blobs.list(place.container(), folder, "/", marker, 1000));
        for (const std::string& prefix : list.prefixes)
            files.push(Json::object(
                {{"path", shown + prefix.substr(folder.size(), prefix.size() - folder.size() - 1)},
                 {"is_dir", true}}));
        for (const BlobInfo& blob : list.blobs)
            if (blob.name.size() > folder.size())
                files.push(Json::object({{"path", shown + blob.name.substr(folder.size())},
                                         {"is_dir", false},
                                         {"file_size", blob.size}}));
        marker = list.next_marker;
    } while (!marker.empty() && files.items().size() < kMaxFiles);
    return files;
}

Answer list_artifacts(Services& services, Call& call) {
    const std::string_view path = call.query_value("path");
    if (trim(path).empty())
        co_return invalid(
            "the list of all runs' artifacts is not served: name '{run id}/artifacts'", "path");
    TURNOUT_CO_TRY(const Place place, place_of(services, call, path));
    TURNOUT_CO_TRY(Json files, files_in(services, place, ""));
    Json body = Json::object();
    body.set("files", std::move(files));
    co_return json_response(200, body);
}

Answer list_of_run(Services& services, Call& call) {
    TURNOUT_CO_TRY(const std::string run_id, run_id_of(call));
    Place place;
    TURNOUT_CO_TRY(place.workspace, workspace_of_run(services, call));
    if (!call.query_value("path").empty()) {
        TURNOUT_CO_TRY(place.path, checked_relative_path(call.query_value("path"), "path"));
    }
    TURNOUT_CO_TRY_VOID(check_reads_artifacts(services, call, run_id, place.path));
    TURNOUT_CO_TRY(place.view, item_of_id(services, place.workspace, run_id));
    if (is_model(*place.view.run))
        co_return not_found("'" + run_id + "' is a logged model, not a run", run_id);
    TURNOUT_CO_TRY(Json files,
                   files_in(services, place, place.path.empty() ? "" : place.path + "/"));
    Json body = Json::object();
    body.set("root_uri", "mlflow-artifacts:/" + run_id + "/artifacts");
    body.set("files", std::move(files));
    co_return json_response(200, body);
}

Answer upload(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Place place, place_of(services, call, call.param("path"), true));
    if (place.model)
        co_return fail(Code::PermissionDenied, "AuthorizationFailed",
                       "the files of a registered model are not written to", "path");
    if (place.path.empty())
        co_return invalid("an artifact needs a name beneath '{run id}/artifacts/'", "path");
    if (place.view.job && place.path.starts_with("user_logs/"))
        co_return fail(Code::PermissionDenied, "AuthorizationFailed",
                       "'" + place.path + "' is the job's own log: choose another path", "path");
    BlobPut put;
    put.container = place.container();
    put.name = place.blob();
    put.owner = storer_of(services, call);
    const std::string wsid = workspace_of_container(put.container);
    const std::uint64_t more = call.request.content_length.value_or(0);
    TURNOUT_CO_TRY_VOID(co_await check_stored(services, call, wsid, more));
    if (const std::string_view type = call.request.headers.get("content-type"); !type.empty())
        put.content_type = type;
    TURNOUT_CO_TRY(const BlobInfo blob, co_await services.blobs.put(std::move(put), call.body));
    if (services.stored) services.stored->added(blob.owner, wsid, blob.size);
    co_return json_response(200, Json::object());
}

Answer download(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Place place, place_of(services, call, call.param("path")));
    TURNOUT_CO_TRY(const auto blob, services.blobs.head(place.container(), place.blob()));
    if (!blob) co_return not_found(place.name() + " has no artifact '" + place.path + "'", "path");
    const auto range = parse_range(call.request.headers.get("range"), blob->size);
    http::Response response;
    if (!range) {
        response = error_response(range.error());
        response.status = 416;
        response.headers.set("Content-Range", "bytes */" + std::to_string(blob->size));
        co_return response;
    }
    const std::uint64_t begin = *range ? (*range)->first : 0;
    const std::uint64_t end = *range ? (*range)->second : blob->size;
    TURNOUT_CO_TRY(response.stream, services.blobs.read(*blob, begin, end - begin));
    response.length = end - begin;
    response.status = *range ? 206 : 200;
    if (*range)
        response.headers.set("Content-Range", "bytes " + std::to_string(begin) + "-" +
                                                  std::to_string(end - 1) + "/" +
                                                  std::to_string(blob->size));
    response.headers.set("Accept-Ranges", "bytes");
    response.headers.set("Content-Type", "application/octet-stream");  // never shown by a browser
    response.headers.set("X-Content-Type-Options", "nosniff");
    response.headers.set("ETag", "\"" + blob->etag + "\"");
    co_return response;
}

}  // namespace

void add_artifact_rows(Router& router, Services& services) {
    add_mlflow_row(router, services, "GET", "/api/2.0/mlflow/artifacts/list", list_of_run);
    add_mlflow_row(router, services, "GET", "/api/2.0/mlflow-artifacts/artifacts", list_artifacts);
    add_mlflow_row(router, services, "GET", "/api/2.0/mlflow-artifacts/artifacts/{path...}",
                   download);
    add_mlflow_row(router, services, "PUT", "/api/2.0/mlflow-artifacts/artifacts/{path...}",
                   upload);
}

}  // namespace turnout::api::mlflow
