#include "api/mlflow/wire.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "access/actions.h"
#include "base/text.h"

namespace turnout::api::mlflow {
namespace {

std::string prefix_of(std::string_view version) {
    return "/mlflow/" + std::string(version) + std::string(kWorkspacePattern);
}

// azureml-mlflow reaches artifacts by run history, under URIs of its own form.
std::string azureml_uri(const Call& call, std::string_view place) {
    const std::string_view origin(call.origin);
    std::string uri = "azureml://" + std::string(origin.substr(origin.find("://") + 3)) +
                      "/mlflow/v2.0/subscriptions/" + call.param("sub") + "/resourceGroups/" +
                      call.param("rg") +
                      "/providers/Microsoft.MachineLearningServices/workspaces/" + call.param("ws");
    return place.empty() ? uri : uri + "/experiments/_/runs/" + std::string(place);
}

void speak_azureml(const Call& call, std::string& body) {
    // Inside of a text the quotes would be escaped: these are members.
    for (const std::string_view member :
         {"\"artifact_uri\":\"", "\"artifact_location\":\"", "\"root_uri\":\""}) {
        const std::string wanted = std::string(member) + "mlflow-artifacts:/";
        for (std::size_t at = 0; (at = body.find(wanted, at)) != std::string::npos;
             at += member.size()) {
            const std::size_t begin = at + wanted.size(), end = body.find('"', begin);
            body.replace(at + member.size(), end - at - member.size(),
                         azureml_uri(call, std::string_view(body).substr(begin, end - begin)));
        }
    }
}

// `action` is the router's.
Answer in_mlflow_shape(Services& services, Call& call, const MlflowAction& action) {
    auto result = co_await action(services, call);
    if (!result) co_return error_response(result.error());
    // It signs whatever MLflow asks for; of its own store, which knows those URIs, is only what
    // comes by TLS.
    const bool azureml =
        call.request.peer.carrier == http::Carrier::Tls &&
        call.request.headers.get("user-agent").find("azureml-mlflow/") != std::string_view::npos;
    if (azureml && !call.param("ws").empty()) speak_azureml(call, result->body);
    co_return result;
}

Json pairs_document(const Json& object) {
    Json list = Json::array();
    for (const auto& [key, value] : object.members())
        list.push(Json::object({{"key", key}, {"value", value}}));
    return list;
}

}  // namespace

Failure not_implemented(std::string message) {
    return fail(Code::FailedPrecondition, "NotImplemented", std::move(message));
}

http::Response error_response(const Error& error) {
    std::string_view code = "INTERNAL_ERROR";
    int status = http_status(error.code);
    switch (error.code) {
        case Code::InvalidArgument: code = "INVALID_PARAMETER_VALUE"; break;
        case Code::NotFound: code = "RESOURCE_DOES_NOT_EXIST"; break;
        case Code::Conflict:
            code =
                error.reason == "ResourceExists" ? "RESOURCE_ALREADY_EXISTS" : "RESOURCE_CONFLICT";
            if (error.reason == "ResourceExists") status = 400;
            break;
        case Code::FailedPrecondition:  // MLflow's clients would repeat a 5xx, so that it is 400
            code = "INVALID_PARAMETER_VALUE";
            status = 400;
            break;
        case Code::PermissionDenied: code = "PERMISSION_DENIED"; break;
        case Code::Unauthenticated: code = "UNAUTHENTICATED"; break;
        case Code::ResourceExhausted: code = "RESOURCE_EXHAUSTED"; break;
        case Code::Unavailable: code = "TEMPORARILY_UNAVAILABLE"; break;
        case Code::Canceled: code = "CANCELLED"; break;
        case Code::Ambiguous:
        case Code::Internal: break;
    }
    if (error.reason == "NotImplemented") {
        code = "NOT_IMPLEMENTED";
        status = 501;
    } else if (error.reason == "EndpointNotFound") {
        code = "ENDPOINT_NOT_FOUND";
    } else if (error.reason == "RequestBodyTooLarge") {
        code = "REQUEST_LIMIT_EXCEEDED";
        status = 413;
    } else if (error.reason == "TooManyKeys") {
        code = "RESOURCE_LIMIT_EXCEEDED";
        status = 400;
    }
    return json_response(status, Json::object({{"error_code", code}, {"message", error.message}}));
}

void add_mlflow_row(Router& router, Services& services, std::string_view method,
                    std::string_view path, MlflowAction action, Access access) {
    for (const std::string& prefix : {prefix_of("v1.0"), prefix_of("v2.0"), std::string()})
        router.add(
            std::string(method), prefix + std::string(path), access,
            [&services, action](Call& call) { return in_mlflow_shape(services, call, action); });
}

std::optional<std::int64_t> to_int64(const Json& value) {
    if (value.is_int()) return value.as_int();
    if (value.is_number()) {
        const double number = value.as_double();
        if (std::floor(number) == number && std::abs(number) < 9.2e18)
            return static_cast<std::int64_t>(number);
        return std::nullopt;
    }
    return parse_whole_number(value.as_view());
}

std::optional<double> to_double(const Json& value) {
    if (value.is_number()) return value.as_double();
    const std::string_view text = value.as_view();
    if (text.empty()) return std::nullopt;
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (equal_ignoring_case(text, "nan")) return std::numeric_limits<double>::quiet_NaN();
    if (equal_ignoring_case(text, "infinity") || equal_ignoring_case(text, "inf")) return infinity;
    if (equal_ignoring_case(text, "-infinity") || equal_ignoring_case(text, "-inf"))
        return -infinity;
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

Result<std::vector<std::pair<std::string, std::string>>> parse_pairs(const Json& list,
                                                                     std::string_view what) {
    std::vector<std::pair<std::string, std::string>> pairs;
    if (list.is_null()) return pairs;
    if (!list.is_array())
        return invalid("'" + std::string(what) + "' is not a list", std::string(what));
    for (const Json& item : list.items()) {
        if (!item.at("key").is_string())
            return invalid("an entry of '" + std::string(what) + "' has no 'key'",
                           std::string(what));
        const Json& value = item.at("value");
        if (!value.is_string() && !value.is_null())
            return invalid("the value of '" + item.at("key").as_string() + "' in '" +
                               std::string(what) + "' is not a text",
                           std::string(what));
        pairs.emplace_back(item.at("key").as_string(), value.as_string());
    }
    return pairs;
}

Result<Metric> parse_metric(const Json& json) {
    Metric metric;
    metric.key = json.at("key").as_string();
    const auto value = to_double(json.at("value"));
    if (!value)
        return invalid("metric '" + metric.key + "' needs a number as its 'value'", "value");
    metric.value = *value;
    const auto timestamp = to_int64(json.at("timestamp"));
    if (!timestamp)
        return invalid(
            "metric '" + metric.key + "' needs a whole number of milliseconds as its 'timestamp'",
            "timestamp");
    metric.timestamp_ms = *timestamp;
    if (json.has("step") && !json.at("step").is_null()) {
        const auto step = to_int64(json.at("step"));
        if (!step)
            return invalid("metric '" + metric.key + "' needs a whole number as its 'step'",
                           "step");
        metric.step = *step;
    }
    return metric;
}

Json experiment_document(const Experiment& experiment) {
    const std::int64_t created = experiment.created.micros / 1000;
    return Json::object({{"experiment_id", experiment.id},
                         {"name", experiment.name},
                         {"artifact_location", "mlflow-artifacts:/"},
                         {"lifecycle_stage", "active"},
                         {"creation_time", created},
                         {"last_update_time", created},
                         {"tags", pairs_document(experiment.tags)}});
}

Json metric_document(const Metric& metric) {
    return Json::object({{"key", metric.key},
                         {"value", metric.value},
                         {"timestamp", metric.timestamp_ms},
                         {"step", metric.step}});
}

Json run_info(const RunView& view) {
    const Run& run = *view.run;
    Json info = Json::object({{"run_id", run.id},
                              {"run_uuid", run.id},
                              {"run_name", run.name},
                              {"experiment_id", run.experiment_id},
                              {"user_id", run.user},
                              {"status", mlflow_status_of(view)},
                              {"start_time", start_ms_of(view)},
                              {"artifact_uri", "mlflow-artifacts:/" + run.id + "/artifacts"},
                              {"lifecycle_stage", run.deleted ? "deleted" : "active"}});
    if (const std::int64_t end = end_ms_of(view); end > 0) info.set("end_time", end);
    return info;
}

Json run_document(const RunView& view) {
    const Run& run = *view.run;
    Json metrics = Json::array();
    for (const Metric& metric : run.latest) metrics.push(metric_document(metric));
    Json tags = Json::array();
    Json datasets = Json::array();
    Json models = Json::array();
    for (const auto& [key, value] : run.tags.members()) {
        if (key.starts_with(kDatasetTag)) {
            if (auto dataset = parse_json(value.as_view())) datasets.push(std::move(*dataset));
        } else if (key.starts_with(kModelTag)) {
            models.push(Json::object({{"model_id", key.substr(kModelTag.size())},
                                      {"step", to_int64(value).value_or(0)}}));
        } else {
            tags.push(Json::object({{"key", key}, {"value", value}}));
        }
    }
    Json of_job = view.job ? view.job->meta.tags : Json();
    if (view.job) show_best_tag(*view.job, of_job);
    if (view.job)
        for (const auto& [key, value] : of_job.members())
            if (!run.tags.has(key))
                tags.push(Json::object(
                    {{"key", key}, {"value", value.is_string() ? value : Json(value.dump())}}));
    return Json::object({{"info", run_info(view)},
                         {"data", Json::object({{"metrics", std::move(metrics)},
                                                {"params", pairs_document(run.params)},
                                                {"tags", std::move(tags)}})},
                         {"inputs", Json::object({{"dataset_inputs", std::move(datasets)}})},
                         {"outputs", Json::object({{"model_outputs", std::move(models)}})}});
}

Result<std::string> text_of(const Json& body, const std::string& field) {
    const Json& value = body.at(field);
    if (!value.is_string() && !value.is_null())
        return invalid("'" + field + "' is a text, not " + value.dump().substr(0, 40), field);
    return value.as_string();
}

Result<std::string> run_id_of(const Json& body) {
    std::string id = body.at("run_id").as_string();
    if (id.empty()) id = body.at("run_uuid").as_string();
    if (id.empty()) return invalid("missing value for required parameter 'run_id'", "run_id");
    return id;
}

Result<std::string> run_id_of(const Call& call) {
    std::string_view id = call.query_value("run_id");
    if (id.empty()) id = call.query_value("run_uuid");
    if (id.empty()) return invalid("missing value for required parameter 'run_id'", "run_id");
    return std::string(id);
}

bool is_model(const Run& run) {
    return run.experiment_id.ends_with(kModelShelf);
}

Result<RunView> item_of_id(Services& services, const Workspace& workspace, std::string_view id) {
    RunView view;
    view.run = TURNOUT_TRY(services.tracking.find_run(workspace.id, id));
    if (!view.run)
        return not_found("run '" + std::string(id) + "' does not exist", std::string(id));
    if (view.run->of_job) view.job = TURNOUT_TRY(load_job(services.store, workspace.id, id));
    return view;
}

namespace {

Result<RunView> run_for(Services& services, const Call& call, std::string_view action,
                        const Workspace& workspace, std::string_view run_id) {
    TURNOUT_TRY(check_owns(services, call, action, run_id));
    RunView view = TURNOUT_TRY(item_of_id(services, workspace, run_id));
    if (is_model(*view.run))
        return not_found("'" + std::string(run_id) + "' is a logged model, not a run",
                         std::string(run_id));
    return view;
}

}  // namespace

Result<RunView> readable_run(Services& services, const Call& call, const Workspace& workspace,
                             std::string_view run_id) {
    return run_for(services, call, access::action::kReadRuns, workspace, run_id);
}

Result<RunView> writable_run(Services& services, Call& call, const Workspace& workspace,
                             std::string_view run_id) {
    call.about = "run " + std::string(run_id);
    return run_for(services, call, access::action::kWriteRuns, workspace, run_id);
}

Task<Result<Experiment>> experiment_of_id(Services& services, std::string wsid, std::string id) {
    if (id.empty())
        co_return invalid("missing value for required parameter 'experiment_id'", "experiment_id");
    if (id == "0") co_return co_await services.tracking.ensure_experiment(wsid, "Default");
    if (!parse_whole_number(id))
        co_return invalid(
            "'" + id.substr(0, 40) + "' is not the id of an experiment: it is a whole number",
            "experiment_id");
    TURNOUT_CO_TRY(const auto found, services.tracking.experiment_by_id(wsid, id));
    if (!found) co_return not_found("experiment '" + id + "' does not exist", id);
    co_return *found;
}

}  // namespace turnout::api::mlflow
