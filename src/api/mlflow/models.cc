// Logged models: what MLflow 3 makes of a model that a run logs. Their files lie in the tree of the
// run that made them, under the model's name, so that whoever downloads the job has them.
#include <algorithm>

#include "access/actions.h"
#include "api/mlflow/filter.h"
#include "api/mlflow/wire.h"
#include "base/text.h"
#include "blob/blobs.h"

namespace turnout::api::mlflow {

using access::action::kReadRuns;
using access::action::kWriteRuns;

namespace {

constexpr std::string_view kModelSource = "turnout.model-source";  // the run that made it
constexpr std::string_view kType = "turnout.model-type";
constexpr std::string_view kFolder =
    "turnout.model-folder";                 // of its files: "{run or model}/artifacts/{name}"
constexpr std::size_t kMaxModels = 10'000;  // of one experiment that a search looks at
constexpr std::size_t kMostModels = 50;

bool is_ours(std::string_view key) {
    return key == kModelSource || key == kType || key == kFolder || key == kCreatorTag;
}

std::string_view model_status(const Run& run) {
    if (run.status == "FINISHED") return "LOGGED_MODEL_READY";
    if (run.status == "FAILED") return "LOGGED_MODEL_UPLOAD_FAILED";
    return "LOGGED_MODEL_PENDING";
}

Json model_document(const Run& run) {
    Json tags = Json::array();
    for (const auto& [key, value] : run.tags.members())
        if (!is_ours(key)) tags.push(Json::object({{"key", key}, {"value", value}}));
    Json params = Json::array();
    for (const auto& [key, value] : run.params.members())
        params.push(Json::object({{"key", key}, {"value", value}}));
    Json info =
        Json::object({{"model_id", run.id},
                      {"experiment_id",
                       run.experiment_id.substr(0, run.experiment_id.size() - kModelShelf.size())},
                      {"name", run.name},
                      {"creation_timestamp_ms", run.start_ms},
                      {"last_updated_timestamp_ms", std::max(run.start_ms, run.end_ms)},
                      {"artifact_uri", "mlflow-artifacts:/" + run.tags.at(kFolder).as_string()},
                      {"status", model_status(run)},
                      {"model_type", run.tags.at(kType).as_string()},
                      {"source_run_id", source_of_model(run)},
                      {"tags", std::move(tags)}});
    return Json::object(
        {{"info", std::move(info)},
         {"data", Json::object({{"params", std::move(params)}, {"metrics", Json::array()}})}});
}

}  // namespace

std::string source_of_model(const Run& model) {
    return model.tags.at(kModelSource).as_string();
}

std::string folder_of_model(const Run& run) {
    return run.tags.at(kFolder).as_string();
}

Result<void> check_reads_model(Services& services, const Call& call, const Run& model) {
    if (call.principal.kind != Principal::Kind::Run ||
        TURNOUT_TRY(owns(services, call.principal, model.id)))
        return {};
    const std::string folder = folder_of_model(model);  // "{run}/artifacts[/name]"
    const std::size_t slash = std::min(folder.find('/'), folder.size());
    return check_reads_artifacts(services, call, folder.substr(0, slash),
                                 folder.substr(std::min(folder.size(), slash + 11)));
}

namespace {

http::Response model_response(const Run& run) {
    return json_response(200, Json::object({{"model", model_document(run)}}));
}

struct AskedModel {
    Workspace workspace;
    RunView view;
};
enum class For { Reading, Writing };
Result<AskedModel> asked_model(Services& services, const Call& call, For what) {
    AskedModel asked;
    asked.workspace = TURNOUT_TRY(workspace_of_run(services, call));
    const std::string& id = call.param("model_id");
    if (what == For::Writing) TURNOUT_TRY(check_owns(services, call, kWriteRuns, id));
    const auto run = TURNOUT_TRY(services.tracking.find_run(asked.workspace.id, id));
    if (!run || !is_model(*run) || run->deleted) {
        TURNOUT_TRY(check_owns(services, call, kReadRuns, id));
        return not_found("logged model '" + id + "' does not exist", id);
    }
    if (what == For::Reading) TURNOUT_TRY(check_reads_model(services, call, *run));
    asked.view.run = *run;
    return asked;
}

// All models of an experiment, newest first.
Result<std::vector<Run>> models_of(Services& services, const std::string& wsid,
                                   const std::string& experiment) {
    std::vector<Run> models;
    std::string next;
    do {
        RunPage page = TURNOUT_TRY(
            services.tracking.page_runs(wsid, experiment + std::string(kModelShelf), next, 500));
        for (Run& run : page.runs)
            if (!run.deleted) models.push_back(std::move(run));
        next = page.next;
    } while (!next.empty() && models.size() < kMaxModels);
    return models;
}

Answer create_logged_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(
        const Experiment experiment,
        co_await experiment_of_id(services, workspace.id, body.at("experiment_id").as_string()));
    TURNOUT_CO_TRY(const auto tags, parse_pairs(body.at("tags"), "tags"));
    TURNOUT_CO_TRY(const auto params, parse_pairs(body.at("params"), "params"));
    Run model;
    model.id = "m-" + to_hex(services.random.bytes(16));
    model.experiment_id = experiment.id + std::string(kModelShelf);
    model.name = body.at("name").as_string();
    if (model.name.empty()) model.name = "model-" + model.id.substr(2, 8);
    TURNOUT_CO_TRY(model.name, checked_relative_path(model.name, "the model's name"));
    if (model.name.find('/') != std::string::npos)
        co_return invalid("the name of a logged model has no '/'", "name");
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    model.user = by.user;
    model.status = "SCHEDULED";
    for (const auto& [key, value] : tags) model.tags.set(key, value);
    model.tags.set(kType, body.at("model_type").as_string());
    const std::string source = body.at("source_run_id").as_string();
    std::string folder = model.id + "/artifacts";
    if (!source.empty()) {
        TURNOUT_CO_TRY_VOID(writable_run(services, call, workspace, source));
        folder = source + "/artifacts/" + model.name;
        TURNOUT_CO_TRY(const auto others, models_of(services, workspace.id, experiment.id));
        for (const Run& other : others)
            if (other.tags.at(kFolder).as_view() == folder) {  // the earlier one keeps its files
                folder += "-" + model.id.substr(2, 8);
                break;
            }
    }
    model.tags.set(kModelSource, source);
    model.tags.set(kFolder, folder);
    if (call.principal.kind == Principal::Kind::Run)
        model.tags.set(kCreatorTag, call.principal.job);
    TURNOUT_CO_TRY(Run made, co_await services.tracking.create_run(workspace.id, std::move(model)));
    if (!params.empty()) {
        LogBatch batch;
        batch.params = params;
        TURNOUT_CO_TRY_VOID(
            co_await services.tracking.log(workspace.id, made.id, std::move(batch)));
        for (const auto& [key, value] : params) made.params.set(key, value);
    }
    co_return model_response(made);
}

Answer get_logged_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const AskedModel asked, asked_model(services, call, For::Reading));
    co_return model_response(*asked.view.run);
}

Answer finalize(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const AskedModel asked, asked_model(services, call, For::Writing));
    const std::string status = body.at("status").is_int()
                                   ? std::to_string(body.at("status").as_int())
                                   : body.at("status").as_string();
    RunEdit edit;
    if (status == "LOGGED_MODEL_READY" || status == "2")
        edit.status = "FINISHED";
    else if (status == "LOGGED_MODEL_UPLOAD_FAILED" || status == "3")
        edit.status = "FAILED";
    else if (status == "LOGGED_MODEL_PENDING" || status == "1")
        edit.status = "SCHEDULED";
    else
        co_return invalid("'" + status + "' is not a status of a logged model", "status");
    edit.end_ms = services.clock.now().micros / 1000;
    TURNOUT_CO_TRY(const Run model, co_await services.tracking.edit_run(
                                        asked.workspace.id, asked.view.run->id, std::move(edit)));
    co_return model_response(model);
}

Answer add_to(Services& services, Call& call, AskedModel asked, LogBatch batch) {
    for (const auto& [key, value] : batch.tags)
        if (is_ours(key)) co_return invalid("tag '" + key + "' is the server's own", "tags");
    TURNOUT_CO_TRY_VOID(
        co_await services.tracking.log(asked.workspace.id, asked.view.run->id, std::move(batch)));
    co_return co_await get_logged_model(services, call);
}

Answer set_tags(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(AskedModel asked, asked_model(services, call, For::Writing));
    LogBatch batch;
    TURNOUT_CO_TRY(batch.tags, parse_pairs(body.at("tags"), "tags"));
    co_return co_await add_to(services, call, std::move(asked), std::move(batch));
}

Answer set_params(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(AskedModel asked, asked_model(services, call, For::Writing));
    LogBatch batch;
    TURNOUT_CO_TRY(batch.params, parse_pairs(body.at("params"), "params"));
    co_return co_await add_to(services, call, std::move(asked), std::move(batch));
}

Answer delete_model_tag(Services& services, Call& call) {
    TURNOUT_CO_TRY(const AskedModel asked, asked_model(services, call, For::Writing));
    if (is_ours(call.param("key")))
        co_return invalid("tag '" + call.param("key") + "' is the server's own", "key");
    RunEdit edit;
    edit.erase_tags.push_back(call.param("key"));
    TURNOUT_CO_TRY_VOID(co_await services.tracking.edit_run(asked.workspace.id, asked.view.run->id,
                                                            std::move(edit)));
    co_return json_response(200, Json::object());
}

Answer delete_logged_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const AskedModel asked, asked_model(services, call, For::Writing));
    RunEdit edit;
    edit.deleted = true;
    TURNOUT_CO_TRY_VOID(co_await services.tracking.edit_run(asked.workspace.id, asked.view.run->id,
                                                            std::move(edit)));
    co_return json_response(200, Json::object());
}

Result<Cell> model_cell(const Run& run, const Column& column) {
    const auto text = [](const Json& value) {
        return value.is_string() ? Cell(value.as_string()) : Cell();
    };
    if (column.entity == Entity::Param) return text(run.params.at(column.name));
    if (column.entity == Entity::Tag) return text(run.tags.at(column.name));
    if (column.entity == Entity::Attribute) {
        if (column.name == "name") return Cell(run.name);
        if (column.name == "model_id") return Cell(run.id);
        if (column.name == "model_type") return text(run.tags.at(kType));
        if (column.name == "source_run_id") return text(run.tags.at(kModelSource));
        if (column.name == "status") return Cell(std::string(model_status(run).substr(13)));
    }
    return invalid(
        "logged models cannot be searched by '" + column.name +
            "': name, model_id, model_type, source_run_id, status, params.x and tags.x can be",
        "filter");
}

Answer search_logged_models(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(const auto conditions, parse_filter(body.at("filter").as_view()));
    bool oldest_first = false;
    for (const Json& order : body.at("order_by").items()) {
        const std::string field = order.at("field_name").as_string();
        if (field != "creation_timestamp" && field != "creation_time" &&
            field != "creation_timestamp_ms")
            co_return invalid(
                "logged models cannot be ordered by '" + field + "': creation_timestamp can be",
                "order_by");
        oldest_first = order.at("ascending").as_bool(true);
    }
    const std::size_t limit = static_cast<std::size_t>(std::clamp<std::int64_t>(
        to_int64(body.at("max_results")).value_or(kMostModels), 1, kMostModels));
    std::vector<Run> found;
    TURNOUT_CO_TRY(const bool all, may_all(services, call, kReadRuns));
    for (const Json& id : body.at("experiment_ids").items()) {
        TURNOUT_CO_TRY(const Experiment experiment,
                       co_await experiment_of_id(services, workspace.id, id.as_string()));
        TURNOUT_CO_TRY(auto models, models_of(services, workspace.id, experiment.id));
        for (Run& model : models) {
            bool fits = all || model.tags.at(kCreatorTag).as_view() == call.principal.job;
            for (const Condition& condition : conditions) {
                TURNOUT_CO_TRY(const Cell cell, model_cell(model, condition.column));
                fits = fits && holds(condition, cell);
            }
            if (fits) found.push_back(std::move(model));
        }
    }
    std::stable_sort(found.begin(), found.end(), [&](const Run& a, const Run& b) {
        return oldest_first ? a.start_ms < b.start_ms : a.start_ms > b.start_ms;
    });
    std::size_t at = 0;
    if (const std::string token = body.at("page_token").as_string(); !token.empty()) {
        const auto number = to_int64(Json(token));
        if (!number || *number < 0)
            co_return invalid("'" + token + "' is not a page_token of this search", "page_token");
        at = std::min(static_cast<std::size_t>(*number), found.size());
    }
    Json models = Json::array();
    for (; at < found.size() && models.items().size() < limit; ++at)
        models.push(model_document(found[at]));
    Json answer = Json::object();
    answer.set("models", std::move(models));
    if (at < found.size()) answer.set("next_page_token", std::to_string(at));
    co_return json_response(200, answer);
}

Answer list_files(Services& services, Call& call) {
    TURNOUT_CO_TRY(const AskedModel asked, asked_model(services, call, For::Reading));
    const std::string place =
        asked.view.run->tags.at(kFolder).as_string();  // "{run}/artifacts[/name]"
    const std::size_t slash = place.find('/');
    std::string folder =
        artifact_prefix(place.substr(0, slash)) + place.substr(std::min(place.size(), slash + 11));
    if (!folder.ends_with('/')) folder += "/";
    std::string beneath;
    if (const std::string_view path = call.query_value("artifact_directory_path"); !path.empty()) {
        TURNOUT_CO_TRY(beneath, checked_relative_path(path, "artifact_directory_path"));
        beneath += "/";
    }
    TURNOUT_CO_TRY(const BlobList list,
                   services.blobs.list(artifact_container(asked.workspace.id), folder + beneath,
                                       "/", call.query_value("page_token"), 1000));
    Json files = Json::array();
    for (const std::string& prefix : list.prefixes)
        files.push(
            Json::object({{"path", prefix.substr(folder.size(), prefix.size() - folder.size() - 1)},
                          {"is_dir", true}}));
    for (const BlobInfo& blob : list.blobs)
        files.push(Json::object({{"path", blob.name.substr(folder.size())},
                                 {"is_dir", false},
                                 {"file_size", blob.size}}));
    Json answer = Json::object();
    answer.set("root_uri", "mlflow-artifacts:/" + place);
    answer.set("files", std::move(files));
    if (!list.next_marker.empty()) answer.set("next_page_token", list.next_marker);
    co_return json_response(200, answer);
}

// The models that a run made, kept as tags of the run.
Answer log_outputs(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const std::string run_id, run_id_of(body));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY_VOID(writable_run(services, call, workspace, run_id));
    LogBatch batch;
    for (const Json& model : body.at("models").items())
        batch.tags.emplace_back(std::string(kModelTag) + model.at("model_id").as_string(),
                                std::to_string(to_int64(model.at("step")).value_or(0)));
    TURNOUT_CO_TRY_VOID(co_await services.tracking.log(workspace.id, run_id, std::move(batch)));
    co_return json_response(200, Json::object());
}

}  // namespace

void add_model_rows(Router& router, Services& services) {
    const std::string models = "/api/2.0/mlflow/logged-models";
    add_mlflow_row(router, services, "POST", models, create_logged_model);
    add_mlflow_row(router, services, "POST", models + "/search", search_logged_models);
    add_mlflow_row(router, services, "GET", models + "/{model_id}", get_logged_model);
    add_mlflow_row(router, services, "PATCH", models + "/{model_id}", finalize);
    add_mlflow_row(router, services, "DELETE", models + "/{model_id}", delete_logged_model);
    add_mlflow_row(router, services, "PATCH", models + "/{model_id}/tags", set_tags);
    add_mlflow_row(router, services, "DELETE", models + "/{model_id}/tags/{key}", delete_model_tag);
    add_mlflow_row(router, services, "POST", models + "/{model_id}/params", set_params);
    add_mlflow_row(router, services, "GET", models + "/{model_id}/artifacts/directories",
                   list_files);
    add_mlflow_row(router, services, "POST", "/api/2.0/mlflow/runs/outputs", log_outputs);
}

}  // namespace turnout::api::mlflow
