// Run history, as the SDK needs it to stream and download a job.
#include <algorithm>

#include "access/actions.h"
#include "api/data_uri.h"
#include "api/history/log_link.h"
#include "api/history/run_view.h"
#include "api/run_reach.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "control/control.h"
#include "control/jobs.h"
#include "model/sweep.h"

namespace turnout::api {
namespace {

constexpr std::int64_t kMaxChildren = 10'000;

std::string history(std::string_view rest) {
    return "/history/v1.0" + std::string(kWorkspacePattern) + std::string(rest);
}

struct Asked {
    Workspace workspace;
    RunView view;
};
Result<Asked> asked_run(Services& services, const Call& call) {
    Asked asked;
    asked.workspace = TURNOUT_TRY(workspace_of_run(services, call));
    asked.view = TURNOUT_TRY(load_run_view(services, asked.workspace.id, call.param("id")));
    return asked;
}

Answer get_run(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked asked, asked_run(services, call));
    co_return json_response(200, history_document(asked.view));
}

Answer get_details(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked asked, asked_run(services, call));
    // The streams after the status: a job that is seen as ended is shown with its whole log.
    Json files = Json::object();
    const auto add = [&](std::string_view path) {
        files.set(path, call.plain_origin +
                            log_link(services, call, asked.workspace.id, asked.view.id(), path));
    };
    // A job's own log from the first, so that one can wait at it for its first line.
    if (asked.view.job) add(first_log_of(*asked.view.job));
    TURNOUT_CO_TRY(const auto streams,
                   services.tracking.log_streams(asked.workspace.id, asked.view.id()));
    for (const auto& [path, length] : streams) add(path);
    Json json = history_document(asked.view);
    json.set("inputDatasets", Json::array());
    json.set("outputDatasets", Json::array());
    json.set("logFiles", std::move(files));
    json.set("submittedBy", json.at("createdBy").at("userName"));
    co_return json_response(200, json);
}

Answer post_rundata(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of_run(services, call));
    const std::string id = body.at("runId").as_string();
    if (id.empty()) co_return invalid("the body has no 'runId'", "runId");
    TURNOUT_CO_TRY_VOID(check_owns(services, call, access::action::kReadRuns, id));
    TURNOUT_CO_TRY(const RunView view, load_run_view(services, workspace.id, id));
    Json json = Json::object({{"runMetadata", history_document(view)}});
    if (view.job && body.at("selectJobSpecification").as_bool())
        json.set("jobSpecification", Json::object({{"properties", view.job->definition}}));
    if (body.at("selectRunDefinition").as_bool()) json.set("runDefinition", Json());
    co_return json_response(200, json);
}

Answer get_children(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked asked, asked_run(services, call));
    TURNOUT_CO_TRY(std::int64_t index, whole_number_of(call, "continuationtoken", 0, 0));
    TURNOUT_CO_TRY(const std::int64_t few, whole_number_of(call, "top", kMaxChildren, 1));
    TURNOUT_CO_TRY(std::int64_t top, whole_number_of(call, "$top", few, 1));
    top = std::min(top, kMaxChildren);
    Json value = Json::array();
    Json body = Json::object();
    if (asked.view.job) {
        // In the order of their index. The SDK asks for no second page, so that one holds many.
        const JobRecord& sweep = *asked.view.job;  // any other job has made none
        Turn turn(services, call);
        for (; index < sweep.sweep.created && static_cast<std::int64_t>(value.items().size()) < top;
             ++index) {
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
            const std::string name = trial_name(sweep.name, index);
            RunView view;
            TURNOUT_CO_TRY(view.job, read_trial(services.store, sweep, name));
            if (!view.job) continue;  // deleted
            TURNOUT_CO_TRY(view.run, services.tracking.find_run(asked.workspace.id, name));
            value.push(history_document(view));
        }
        if (index < sweep.sweep.created) body.set("continuationToken", std::to_string(index));
    }
    body.set("value", std::move(value));
    co_return json_response(200, body);
}

Answer get_service_instances(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(asked_run(services, call));
    co_return json_response(200, Json::object({{"instances", Json::object()}}));
}

Answer get_metrics(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked asked, asked_run(services, call));
    Json value = Json::array();
    if (asked.view.run)
        for (const Metric& metric : asked.view.run->latest)
            value.push(Json::object(
                {{"runId", asked.view.id()},
                 {"metricType", "azureml.v1.scalar"},
                 {"createdUtc", to_iso8601(Instant{metric.timestamp_ms * 1000})},
                 {"name", metric.key},
                 {"numCells", 1},
                 {"cells", Json::array({Json::object({{metric.key, metric.value}})})}}));
    co_return json_response(200, Json::object({{"value", std::move(value)}}));
}

// An object of texts, some of them null. What is no text is written as JSON.
Result<Json> read_texts(const Json& changes, std::string_view what) {
    Json texts = Json::object();
    if (changes.is_null()) return texts;
    if (!changes.is_object())
        return invalid("'" + std::string(what) + "' is not an object of texts", std::string(what));
    for (const auto& [name, value] : changes.members()) {
        if (value.is_object() || value.is_array())
            return invalid("'" + std::string(what) + "." + name + "' is not a text",
                           std::string(what));
        texts.set(name, value.is_string() || value.is_null() ? value : Json(value.dump()));
    }
    return texts;
}

Answer patch_run(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    if (!body.is_object()) co_return invalid("the body is not an object", "body");
    TURNOUT_CO_TRY(const Asked asked, asked_run(services, call));
    const std::string wsid = asked.workspace.id;
    const std::string id = asked.view.id();
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    JobMetaChange change;
    change.by = by.user;
    if (body.at("hidden").is_bool()) change.archived = body.at("hidden").as_bool();
    if (body.at("displayName").is_string())
        change.display_name = body.at("displayName").as_string();
    if (body.at("description").is_string()) change.description = body.at("description").as_string();
    TURNOUT_CO_TRY(change.tags, read_texts(body.at("tags"), "tags"));
    TURNOUT_CO_TRY(change.properties, read_texts(body.at("properties"), "properties"));
    if (asked.view.job) {
        Later<Result<Put>> later;
        services.control.update_job(
            wsid, id, change,
            [settle = later.settle()](Result<Put> result) { settle(std::move(result)); });
        TURNOUT_CO_TRY_VOID(co_await later);
    }
    if (asked.view.run) {
        RunEdit edit;
        edit.name = change.display_name;
        if (!asked.view.job) {
            edit.deleted = change.archived;
            for (const auto& [name, value] : change.tags.members())
                edit.tags.emplace_back(name, [value](std::string_view) {
                    return value.is_null() ? std::optional<std::string>() : value.as_string();
                });
        }
        if (edit.name || edit.deleted || !edit.tags.empty()) {
            TURNOUT_CO_TRY_VOID(co_await services.tracking.edit_run(wsid, id, std::move(edit)));
        }
    }
    TURNOUT_CO_TRY(const RunView after, load_run_view(services, wsid, id));
    co_return json_response(200, history_document(after));
}

}  // namespace

void add_history_routes(Router& router, Services& services) {
    for (const std::string_view run : {"/runs/{id}", "/experiments/{exp}/runs/{id}"}) {
        const std::string at = history(run);
        add_row(router, services, "GET", at, Access::Run, get_run);
        add_row(router, services, "PATCH", at, Access::Behalf, patch_run);
        add_row(router, services, "GET", at + "/details", Access::Run, get_details);
        add_row(router, services, "GET", at + "/children", Access::Run, get_children);
        add_row(router, services, "GET", at + "/metrics", Access::Run, get_metrics);
    }
    add_row(router, services, "GET", history("/runs/{id}/serviceinstances/{node}"), Access::Run,
            get_service_instances);
    add_row(router, services, "POST", history("/rundata"), Access::Run, post_rundata);
    add_artifact_routes(router, services);
    add_log_routes(router, services);
    add_data_plane_routes(router, services);
}

}  // namespace turnout::api
