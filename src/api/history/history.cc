// Run history and the little of the data plane that the SDK needs to stream and download a job.
#include <algorithm>

#include "api/data_uri.h"
#include "api/history/log_link.h"
#include "api/history/run_view.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "control/control.h"
#include "control/jobs.h"
#include "model/sweep.h"

namespace turnout::api {
namespace {

constexpr std::size_t kMaxIds = 1000;
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
        files.set(path, call.plain_origin + sign_log_link(services.authority.link_key(),
                                                          asked.workspace.id, asked.view.id(), path,
                                                          services.clock.now()));
    };
    // A job's own log from the first, so that one can wait at it for its first line.
    if (asked.view.job)
        add(asked.view.job->type == JobType::Sweep ? kSweepLog : first_log_of(*asked.view.job));
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
    if (asked.view.job && asked.view.job->type == JobType::Sweep) {
        // In the order of their index. The SDK asks for no second page, so that one holds many.
        const JobRecord& sweep = *asked.view.job;
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

// Members of `changes` into `target`; null takes one away. Values are texts.
Result<void> merge_texts(Json& target, const Json& changes, std::string_view what) {
    if (changes.is_null()) return {};
    if (!changes.is_object())
        return invalid("'" + std::string(what) + "' is not an object of texts", std::string(what));
    if (!target.is_object()) target = Json::object();
    for (const auto& [name, value] : changes.members()) {
        if (value.is_null())
            target.erase(name);
        else if (value.is_string())
            target.set(name, value);
        else if (value.is_object() || value.is_array())
            return invalid("'" + std::string(what) + "." + name + "' is not a text",
                           std::string(what));
        else
            target.set(name, value.dump());
    }
    return {};
}

Answer patch_run(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    if (!body.is_object()) co_return invalid("the body is not an object", "body");
    TURNOUT_CO_TRY(const Asked asked, asked_run(services, call));
    const std::string wsid = asked.workspace.id;
    const std::string id = asked.view.id();
    if (asked.view.job) {
        JobMeta meta = asked.view.job->meta;
        if (body.at("hidden").is_bool()) meta.archived = body.at("hidden").as_bool();
        if (body.at("displayName").is_string())
            meta.display_name = body.at("displayName").as_string();
        if (body.at("description").is_string())
            meta.description = body.at("description").as_string();
        TURNOUT_CO_TRY_VOID(merge_texts(meta.tags, body.at("tags"), "tags"));
        TURNOUT_CO_TRY_VOID(merge_texts(meta.properties, body.at("properties"), "properties"));
        Later<Result<Put>> later;
        services.control.update_job(
            wsid, id, std::move(meta),
            [settle = later.settle()](Result<Put> result) { settle(std::move(result)); });
        TURNOUT_CO_TRY_VOID(co_await later);
    }
    if (asked.view.run) {
        RunEdit edit;
        if (body.at("displayName").is_string()) edit.name = body.at("displayName").as_string();
        if (!asked.view.job && body.at("hidden").is_bool())
            edit.deleted = body.at("hidden").as_bool();
        if (edit.name || edit.deleted) {
            TURNOUT_CO_TRY_VOID(co_await services.tracking.edit_run(wsid, id, std::move(edit)));
        }
        LogBatch batch;
        if (!asked.view.job)
            for (const auto& [name, value] : body.at("tags").members())
                batch.tags.emplace_back(name, value.is_string() ? value.as_string() : value.dump());
        if (!batch.tags.empty()) {
            TURNOUT_CO_TRY_VOID(co_await services.tracking.log(wsid, id, std::move(batch)));
        }
    }
    TURNOUT_CO_TRY(const RunView after, load_run_view(services, wsid, id));
    co_return json_response(200, history_document(after));
}

// ---- data plane ----

// "azureml://jobs/{job}/outputs/{name}", "azureml:{name}:{version}", or a path that ends with
// ".../data/{name}/versions/{version}".
Result<std::optional<Json>> resolve_data(Services& services, const Workspace& workspace,
                                         std::string_view id) {
    constexpr std::string_view of_job = "azureml://jobs/";
    if (id.starts_with(of_job)) {
        const auto parts = split(id.substr(of_job.size()), '/');
        if (parts.size() < 3 || parts[1] != "outputs") return std::optional<Json>();
        const auto output = TURNOUT_TRY(uri_of_output(services, workspace, parts[0], parts[2]));
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
        TURNOUT_CO_TRY(auto resolved, resolve_data(services, workspace, id.as_view()));
        if (!resolved)
            co_return not_found(
                "'" + id.as_string() +
                    "' is neither an output of a job nor a data asset of this workspace",
                "values");
        values.set(id.as_view(), std::move(*resolved));
    }
    co_return json_response(200, Json::object({{"values", std::move(values)}}));
}

}  // namespace

void add_history_routes(Router& router, Services& services) {
    for (const std::string_view run : {"/runs/{id}", "/experiments/{exp}/runs/{id}"}) {
        const std::string at = history(run);
        add_row(router, services, "GET", at, Access::Run, get_run);
        add_row(router, services, "PATCH", at, Access::User, patch_run);
        add_row(router, services, "GET", at + "/details", Access::Run, get_details);
        add_row(router, services, "GET", at + "/children", Access::Run, get_children);
        add_row(router, services, "GET", at + "/metrics", Access::Run, get_metrics);
    }
    add_row(router, services, "GET", history("/runs/{id}/serviceinstances/{node}"), Access::Run,
            get_service_instances);
    add_row(router, services, "POST", history("/rundata"), Access::User, post_rundata);
    add_row(router, services, "POST",
            "/data/v1.0" + std::string(kWorkspacePattern) + "/dataversion/batchGetResolvedUris",
            Access::User, resolve_uris);
    add_artifact_routes(router, services);
    add_log_routes(router, services);
}

}  // namespace turnout::api
