// Runs and what is logged to them.
#include <algorithm>
#include <charconv>

#include "access/actions.h"
#include "api/mlflow/wire.h"
#include "api/studio_link.h"
#include "base/text.h"

namespace turnout::api::mlflow {
namespace {

constexpr std::size_t kMaxHistory = 25'000;
constexpr std::size_t kMaxDatasetText = 6'000;
constexpr std::string_view kModelHistory = "mlflow.log-model.history";

// "<attempt>:<number>" of an agent that ships what it had accepted: only a job's own agent says it.
Result<std::optional<LogBatch::Origin>> origin_of(const Call& call) {
    const std::string_view text = call.request.headers.get("x-turnout-sequence");
    if (text.empty() || call.principal.kind != Principal::Kind::Run)
        return std::optional<LogBatch::Origin>();
    LogBatch::Origin origin;
    const char* const end = text.data() + text.size();
    const auto attempt = std::from_chars(text.data(), end, origin.attempt);
    if (attempt.ec == std::errc() && attempt.ptr != end && *attempt.ptr == ':') {
        auto sequence = std::from_chars(attempt.ptr + 1, end, origin.sequence);
        if (sequence.ec == std::errc() && sequence.ptr != end && *sequence.ptr == ':')
            sequence = std::from_chars(sequence.ptr + 1, end, origin.rank);
        if (sequence.ec == std::errc() && sequence.ptr == end && origin.rank >= 0 &&
            origin.attempt == call.principal.attempt)
            return std::optional(origin);
    }
    return invalid("'" + std::string(text) +
                       "' is not '<this attempt>:<number>' or '<this attempt>:<number>:<rank>'",
                   "x-turnout-sequence");
}

// A time in milliseconds, as number or text; nothing if it is not said.
Result<std::optional<std::int64_t>> time_of(const Json& body, const std::string& field) {
    const Json& value = body.at(field);
    if (value.is_null()) return std::optional<std::int64_t>();
    if (const auto number = to_int64(value)) return number;
    if (value.is_number())
        return std::optional<std::int64_t>();  // a part of a millisecond: MLflow keeps none either
    return invalid(
        "'" + field + "' is a whole number of milliseconds, not " + value.dump().substr(0, 40),
        field);
}

// Whose a run is says the server alone.
Failure own_tag() {
    return invalid("the tag '" + std::string(kCreatorTag) + "' is the server's own", "key");
}

Answer log_to(Services& services, Call& call, std::string run_id, LogBatch batch) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY_VOID(writable_run(services, call, workspace, run_id));
    for (const auto& [key, value] : batch.tags)
        if (key == kCreatorTag) co_return own_tag();
    TURNOUT_CO_TRY(batch.origin, origin_of(call));
    TURNOUT_CO_TRY_VOID(co_await services.tracking.log(workspace.id, run_id, std::move(batch)));
    co_return json_response(200, Json::object());
}

Answer create_run(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    std::string experiment_id = body.at("experiment_id").as_string();
    if (experiment_id.empty()) experiment_id = "0";
    TURNOUT_CO_TRY(const Experiment experiment,
                   co_await experiment_of_id(services, workspace.id, experiment_id));
    TURNOUT_CO_TRY(const auto tags, parse_pairs(body.at("tags"), "tags"));
    RunView view;
    Run wanted;
    wanted.experiment_id = experiment.id;
    TURNOUT_CO_TRY(wanted.name, text_of(body, "run_name"));
    // Whoever is logged in, whatever the client believes: MLflow's sends the name of the process's
    // user.
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    wanted.user = by.user.empty() ? body.at("user_id").as_string() : by.user;
    TURNOUT_CO_TRY(const auto started, time_of(body, "start_time"));
    wanted.start_ms = started.value_or(0);
    for (const auto& [key, value] : tags) wanted.tags.set(key, value);
    if (const Json* tagged = wanted.tags.find("mlflow.runName");
        tagged && !wanted.name.empty() && tagged->as_view() != wanted.name)
        co_return invalid("'run_name' is '" + wanted.name + "' and the tag 'mlflow.runName' is '" +
                              tagged->as_string() + "': a run has one name",
                          "run_name");
    if (call.principal.kind == Principal::Kind::Run)
        wanted.tags.set(kCreatorTag, call.principal.job);
    if (wanted.name.empty()) wanted.name = wanted.tags.at("mlflow.runName").as_string();
    if (wanted.name.empty()) wanted.name = "run-" + to_hex(services.random.bytes(4));
    wanted.tags.set("mlflow.runName", wanted.name);
    wanted.tags.set("mlflow.user", wanted.user);
    TURNOUT_CO_TRY(view.run,
                   co_await services.tracking.create_run(workspace.id, std::move(wanted)));
    call.about = "run " + view.run->id;
    co_return json_response(200, Json::object({{"run", run_document(view)}}));
}

Answer get(Services& services, Call& call) {
    TURNOUT_CO_TRY(const std::string run_id, run_id_of(call));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(const RunView view, readable_run(services, call, workspace, run_id));
    co_return json_response(200, Json::object({{"run", run_document(view)}}));
}

Answer update(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const std::string run_id, run_id_of(body));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(RunView view, writable_run(services, call, workspace, run_id));
    RunEdit edit;
    if (body.at("status").is_string()) edit.status = body.at("status").as_string();
    // As MLflow's protocol numbers them.
    constexpr std::string_view numbered[] = {"RUNNING", "SCHEDULED", "FINISHED", "FAILED",
                                             "KILLED"};
    if (const Json& number = body.at("status"); number.is_int()) {
        if (number.as_int() < 1 || number.as_int() > 5)
            co_return invalid("'status' is a name or a number from 1 to 5, not " + number.dump(),
                              "status");
        edit.status = numbered[number.as_int() - 1];
    }
    TURNOUT_CO_TRY(edit.end_ms, time_of(body, "end_time"));
    // A run that goes on has no end; of a job's run the status itself stays with the job.
    if (edit.status == "RUNNING" || edit.status == "SCHEDULED") edit.end_ms = 0;
    if (body.at("run_name").is_string()) edit.name = body.at("run_name").as_string();
    const bool ends = edit.status && *edit.status != "RUNNING" && *edit.status != "SCHEDULED";
    TURNOUT_CO_TRY(view.run,
                   co_await services.tracking.edit_run(workspace.id, run_id, std::move(edit)));
    http::Response response = json_response(200, Json::object({{"run_info", run_info(view)}}));
    // MLflow would name a page behind the node's listener; the node names this one.
    if (ends && view.job && call.principal.kind == Principal::Kind::Run)
        response.headers.set(
            "x-turnout-page",
            call.page_origin +
                sign_studio_link(services.authority.link_key(), workspace.id, run_id,
                                 services.clock.now(),
                                 services.authority.holder(
                                     {Principal::Kind::User, view.job->principal, {}, {}, 0})));
    co_return response;
}

Answer set_deleted(Services& services, Call& call, bool deleted) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const std::string run_id, run_id_of(body));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(const RunView view, writable_run(services, call, workspace, run_id));
    if (view.job && !is_terminal(view.job->status))
        co_return fail(Code::FailedPrecondition, "JobNotEnded",
                       "the job of run '" + run_id + "' has not ended: cancel it first", run_id);
    RunEdit edit;
    edit.deleted = deleted;
    TURNOUT_CO_TRY_VOID(co_await services.tracking.edit_run(workspace.id, run_id, std::move(edit)));
    co_return json_response(200, Json::object());
}
Answer remove(Services& services, Call& call) {
    return set_deleted(services, call, true);
}
Answer restore(Services& services, Call& call) {
    return set_deleted(services, call, false);
}

Answer log_metric(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(std::string run_id, run_id_of(body));
    TURNOUT_CO_TRY(Metric metric, parse_metric(body));
    LogBatch batch;
    batch.metrics.push_back(std::move(metric));
    co_return co_await log_to(services, call, std::move(run_id), std::move(batch));
}

// Key and value of a body. A value that is no text would be kept as an empty one: it is refused, as
// MLflow's server does.
Result<std::pair<std::string, std::string>> pair_of(const Json& body) {
    const Json& key = body.at("key");
    const Json& value = body.at("value");
    if (!key.is_string()) return invalid("'key' must be a text", "key");
    if (!value.is_string() && !value.is_null())
        return invalid("'value' of '" + key.as_string() + "' must be a text, not " +
                           value.dump().substr(0, 40),
                       "value");
    return std::pair(key.as_string(), value.as_string());
}

Answer log_parameter(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(std::string run_id, run_id_of(body));
    LogBatch batch;
    TURNOUT_CO_TRY(auto param, pair_of(body));
    batch.params.push_back(std::move(param));
    co_return co_await log_to(services, call, std::move(run_id), std::move(batch));
}

Answer set_tag(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(std::string run_id, run_id_of(body));
    LogBatch batch;
    TURNOUT_CO_TRY(auto tag, pair_of(body));
    batch.tags.push_back(std::move(tag));
    co_return co_await log_to(services, call, std::move(run_id), std::move(batch));
}

Answer delete_tag(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const std::string run_id, run_id_of(body));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY_VOID(writable_run(services, call, workspace, run_id));
    TURNOUT_CO_TRY(const std::string key, text_of(body, "key"));
    if (key.empty()) co_return invalid("missing value for required parameter 'key'", "key");
    if (key == kCreatorTag) co_return own_tag();
    RunEdit edit;
    edit.erase_tags.push_back(key);
    TURNOUT_CO_TRY_VOID(co_await services.tracking.edit_run(workspace.id, run_id, std::move(edit)));
    co_return json_response(200, Json::object());
}

Answer log_batch(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(std::string run_id, run_id_of(body));
    LogBatch batch;
    if (!body.at("metrics").is_null() && !body.at("metrics").is_array())
        co_return invalid("'metrics' is not a list", "metrics");
    batch.metrics.reserve(body.at("metrics").items().size());
    for (const Json& item : body.at("metrics").items()) {
        TURNOUT_CO_TRY(Metric metric, parse_metric(item));
        batch.metrics.push_back(std::move(metric));
    }
    TURNOUT_CO_TRY(batch.params, parse_pairs(body.at("params"), "params"));
    TURNOUT_CO_TRY(batch.tags, parse_pairs(body.at("tags"), "tags"));
    co_return co_await log_to(services, call, std::move(run_id), std::move(batch));
}

// Datasets become tags, one each, which a reader sees as the run's inputs again.
Answer log_inputs(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(std::string run_id, run_id_of(body));
    LogBatch batch;
    for (const Json& input : body.at("datasets").items()) {
        const Json& dataset = input.at("dataset");
        std::string digest;
        for (const char c : dataset.at("digest").as_string())
            if (digest.size() < 64)
                digest += (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                              ? c
                              : '_';
        if (digest.empty()) co_return invalid("an input dataset has no 'digest'", "datasets");
        Json kept = Json::object({{"name", dataset.at("name")},
                                  {"digest", dataset.at("digest")},
                                  {"source_type", dataset.at("source_type")},
                                  {"source", dataset.at("source").as_string()}});
        Json document =
            Json::object({{"tags", input.at("tags").is_array() ? input.at("tags") : Json::array()},
                          {"dataset", std::move(kept)}});
        for (const std::string_view optional : {"schema", "profile"})
            if (const Json* text = dataset.find(optional);
                text && text->as_view().size() + document.dump().size() < kMaxDatasetText)
                document["dataset"].set(optional, *text);
        std::string text = document.dump();
        if (text.size() > kMaxDatasetText)
            co_return invalid("the source of input dataset '" + dataset.at("name").as_string() +
                                  "' is too long to be kept",
                              "datasets");
        batch.tags.emplace_back(std::string(kDatasetTag) + digest, std::move(text));
    }
    if (!body.at("models").items().empty())
        co_return not_implemented(
            "models as inputs of a run are not kept yet: log the datasets alone");
    co_return co_await log_to(services, call, std::move(run_id), std::move(batch));
}

// MLflow's record of the models of a run is a tag with a list, newest last.
Answer log_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(std::string run_id, run_id_of(body));
    TURNOUT_CO_TRY(const Json model, parse_json(body.at("model_json").as_view()));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY_VOID(writable_run(services, call, workspace, run_id));
    RunEdit edit;
    edit.tags.emplace_back(kModelHistory, [model](std::string_view now) {
        Json history = Json::array();
        if (auto before = parse_json(now); before && before->is_array())
            history = std::move(*before);
        history.push(model);
        while (history.items().size() > 1 && history.dump().size() > 8'000)
            history.items().erase(history.items().begin());
        return std::optional(history.dump());
    });
    TURNOUT_CO_TRY_VOID(co_await services.tracking.edit_run(workspace.id, run_id, std::move(edit)));
    co_return json_response(200, Json::object());
}

Answer get_history(Services& services, Call& call) {
    TURNOUT_CO_TRY(const std::string run_id, run_id_of(call));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY_VOID(check_owns(services, call, access::action::kReadRuns, run_id));
    const std::string_view key = call.query_value("metric_key");
    if (key.empty())
        co_return invalid("missing value for required parameter 'metric_key'", "metric_key");
    const std::int64_t asked =
        to_int64(Json(call.query_value("max_results"))).value_or(kMaxHistory);
    if (asked < 1)
        co_return invalid("max_results is a number from 1, not " + std::to_string(asked),
                          "max_results");
    const std::size_t limit =
        static_cast<std::size_t>(std::clamp<std::int64_t>(asked, 1, kMaxHistory));
    TURNOUT_CO_TRY(const MetricPage page,
                   services.tracking.metric_page(workspace.id, run_id, key,
                                                 call.query_value("page_token"), limit));
    Json metrics = Json::array();
    for (const Metric& metric : page.metrics) metrics.push(metric_document(metric));
    Json body = Json::object({{"metrics", std::move(metrics)}});
    if (!page.next.empty()) body.set("next_page_token", page.next);
    co_return json_response(200, body);
}

Answer refuse(Services&, Call& call) {
    co_return fail(Code::NotFound, "EndpointNotFound",
                   "'" + call.param("rest") +
                       "' is not served here: experiments, runs, metrics, params, tags, models and "
                       "artifacts are");
}

}  // namespace

void add_run_rows(Router& router, Services& services) {
    const auto row = [&](std::string_view method, std::string_view path,
                         Answer (*action)(Services&, Call&)) {
        add_mlflow_row(router, services, method, "/api/2.0/mlflow/" + std::string(path), action);
    };
    row("POST", "runs/create", create_run);
    row("GET", "runs/get", get);
    row("POST", "runs/update", update);
    row("POST", "runs/delete", remove);
    row("POST", "runs/restore", restore);
    row("POST", "runs/log-metric", log_metric);
    row("POST", "runs/log-parameter", log_parameter);
    row("POST", "runs/log-batch", log_batch);
    row("POST", "runs/set-tag", set_tag);
    row("POST", "runs/delete-tag", delete_tag);
    row("POST", "runs/log-inputs", log_inputs);
    row("POST", "runs/log-model", log_model);
    row("GET", "metrics/get-history", get_history);
    for (const std::string_view method : {"GET", "POST", "PUT", "PATCH", "DELETE"})
        for (const std::string_view version : {"2.0", "3.0"})
            add_mlflow_row(router, services, method,
                           "/api/" + std::string(version) + "/mlflow/{rest...}", refuse);
}

}  // namespace turnout::api::mlflow

namespace turnout::api {

void add_mlflow_routes(Router& router, Services& services) {
    mlflow::add_experiment_rows(router, services);
    mlflow::add_run_rows(router, services);
    mlflow::add_search_rows(router, services);
    mlflow::add_model_rows(router, services);
    mlflow::add_artifact_rows(router, services);
    mlflow::add_registry_rows(router, services);
}

}  // namespace turnout::api
