#include "api/history/run_view.h"

#include "base/text.h"
#include "catalog/default_workspace.h"
#include "control/jobs.h"
#include "model/group.h"
#include "model/sweep.h"
#include "store/store.h"

namespace turnout::api {
namespace {

using agent_protocol::Cause;

// Run history says who has to act: the user or the system.
std::string_view error_code_of(Cause cause) {
    switch (cause) {
        case Cause::None:
        case Cause::UserCode:
        case Cause::OutOfMemory:
        case Cause::TooManyProcesses:
        case Cause::Timeout:
        case Cause::Environment:
        case Cause::Input:
        case Cause::Canceled: return "UserError";
        case Cause::Preempted:
        case Cause::NodeLost:
        case Cause::Internal: return "ServiceError";
    }
    return "ServiceError";
}

Json time_or_null(const std::optional<Instant>& at) {
    return at ? Json(to_iso8601(*at)) : Json();
}
Json ms_or_null(std::int64_t ms) {
    return ms > 0 ? Json(to_iso8601(Instant{ms * 1000})) : Json();
}

}  // namespace

Result<Workspace> workspace_of_run(Services& services, const Call& call) {
    if (const std::string& wsid = call.param("wsid"); !wsid.empty()) {
        const auto found = TURNOUT_TRY(services.assets.workspace_by_id(wsid));
        if (!found) return not_found("workspace '" + wsid + "' does not exist", "workspace");
        return *found;
    }
    if (const std::string& name = call.param("ws"); !name.empty()) {
        const auto found =
            TURNOUT_TRY(services.assets.find_workspace(call.param("sub"), call.param("rg"), name));
        if (!found)
            return not_found("workspace '" + name + "' does not exist in resource group '" +
                                 call.param("rg") + "'",
                             "workspace");
        return *found;
    }
    auto meant = TURNOUT_TRY(default_workspace(services.assets));
    if (!meant)
        return not_found("there is no workspace yet: create one with 'turnout workspace create'",
                         "workspace");
    return std::move(*meant);
}

Result<std::optional<JobRecord>> load_job(Store& store, std::string_view wsid,
                                          std::string_view name) {
    auto stored = TURNOUT_TRY(read_job(store, wsid, name));
    if (!stored) return std::optional<JobRecord>();
    return std::optional(std::move(stored->record));
}

Result<RunView> load_run_view(Services& services, std::string_view wsid, std::string_view id) {
    RunView view;
    view.job = TURNOUT_TRY(load_job(services.store, wsid, id));
    view.run = TURNOUT_TRY(services.tracking.find_run(wsid, id));
    if (!view.job && !view.run)
        return fail(Code::NotFound, "UserError",
                    "run '" + std::string(id) + "' does not exist in this workspace",
                    std::string(id));
    return view;
}

std::string status_of(const RunView& view) {
    if (view.job) return std::string(name_of(view.job->status));
    const std::string& status = view.run->status;
    if (status == "RUNNING") return "Running";
    if (status == "SCHEDULED") return "Queued";
    if (status == "FINISHED") return "Completed";
    if (status == "FAILED") return "Failed";
    return "Canceled";
}

std::string mlflow_status_of(const RunView& view) {
    if (!view.job) return view.run->status;
    switch (view.job->status) {
        case JobStatus::Completed: return "FINISHED";
        case JobStatus::Failed: return "FAILED";
        case JobStatus::Canceled: return "KILLED";
        case JobStatus::NotStarted:
        case JobStatus::Queued:
        case JobStatus::Preparing:
        case JobStatus::Provisioning:
        case JobStatus::Starting: return "SCHEDULED";
        case JobStatus::Running:
        case JobStatus::Finalizing:
        case JobStatus::CancelRequested:
        case JobStatus::NotResponding:
        case JobStatus::Paused:
        case JobStatus::Unknown: return "RUNNING";
    }
    return "RUNNING";
}

std::int64_t start_ms_of(const RunView& view) {
    if (view.job) return view.job->started.value_or(view.job->created).micros / 1000;
    return view.run->start_ms;
}

std::int64_t end_ms_of(const RunView& view) {
    if (view.job && view.job->ended) return view.job->ended->micros / 1000;
    return view.run ? view.run->end_ms : 0;
}

Json error_of(const JobRecord& job) {
    Json details = Json::array();
    std::string message = job.error_message;
    if (const JobAttempt* last = job.current(); last && last->ending) {
        const agent_protocol::Ending& ending = *last->ending;
        if (message.empty()) message = ending.message;
        if (ending.exit_code > 0)  // -1: the command never ran
            details.push(Json::object(
                {{"code", "ExitCode"}, {"message", std::to_string(ending.exit_code)}}));
        if (!ending.last_lines.empty())
            details.push(
                Json::object({{"code", "LastLines"}, {"message", join(ending.last_lines, "\n")}}));
    }
    if (message.empty())
        message = job.status == JobStatus::Canceled ? "the job was canceled" : "the job failed";
    details.push(
        Json::object({{"code", "Cause"}, {"message", agent_protocol::name_of(job.cause)}}));
    return Json::object({{"code", error_code_of(job.cause)},
                         {"message", message},
                         {"details", std::move(details)}});
}

namespace {

Json error_member_of(const JobRecord& job) {
    if (!is_terminal(job.status) || job.status == JobStatus::Completed) return {};
    Json error = error_of(job);
    error.set("messageParameters", Json::object());
    return Json::object({{"error", std::move(error)}});
}

}  // namespace

Json history_document(const RunView& view) {
    Json json =
        Json::object({{"runId", view.id()}, {"rootRunId", view.id()}, {"parentRunId", Json()}});
    json.set("status", status_of(view));
    json.set("dataContainerId", "dcid." + view.id());
    if (view.job && !view.job->child.group.empty()) {
        json.set("rootRunId", view.job->child.group);
        json.set("parentRunId", view.job->child.group);
    }
    if (view.run) json.set("experimentId", view.run->experiment_id);
    Json tags = view.run ? view.run->tags : Json::object();
    if (view.job) {
        const JobRecord& job = *view.job;
        for (const auto& [name, value] : job.meta.tags.members()) tags.set(name, value);
        show_best_tag(job, tags);
        Json outputs = Json::object();
        for (const auto& [name, output] : job.definition.at("outputs").members())
            outputs.set(
                name, Json::object({{"assetId", "azureml://jobs/" + job.name + "/outputs/" + name},
                                    {"type", output.at("jobOutputType")}}));
        json.set("runType", kind_of(job.type).run_type);
        json.set("createdUtc", to_iso8601(job.created));
        json.set("startTimeUtc", time_or_null(job.started));
        json.set("endTimeUtc", time_or_null(job.ended));
        json.set("displayName", job.meta.display_name);
        json.set("description", job.meta.description);
        json.set("target", shown_compute(job.compute));
        json.set("hidden", job.meta.archived);
        json.set("createdBy", Json::object({{"userName", job.principal}}));
        Json properties = job.meta.properties.is_object() ? job.meta.properties : Json::object();
        show_best_child(job, properties);
        show_reuse(job, properties);
        json.set("properties", std::move(properties));
        json.set("outputs", std::move(outputs));
        json.set("error", error_member_of(job));
    } else {
        const Run& run = *view.run;
        json.set("runType", "mlflow");
        json.set("createdUtc", ms_or_null(run.start_ms));
        json.set("startTimeUtc", ms_or_null(run.start_ms));
        json.set("endTimeUtc", ms_or_null(run.end_ms));
        json.set("displayName", run.name);
        json.set("description", tags.at("mlflow.note.content").as_string());
        json.set("target", Json());
        json.set("hidden", run.deleted);
        json.set("createdBy", Json::object({{"userName", run.user}}));
        json.set("properties", Json::object());
        json.set("outputs", Json::object());
        json.set("error", Json());
    }
    json.set("tags", std::move(tags));
    json.set("inputs", Json::object());
    json.set("warnings", Json::array());
    return json;
}

void show_best_child(const JobRecord& job, Json& properties) {
    if (job.sweep.best < 0) return;
    properties.set("best_child_run_id", trial_name(job.name, job.sweep.best));
    properties.set("score", Json(job.sweep.best_score).dump());
}

void show_reuse(const JobRecord& job, Json& properties) {
    if (job.reused_from.empty()) return;
    properties.set("azureml.isreused", "true");
    properties.set("azureml.reusedrunid", job.reused_from);
}

void show_best_tag(const JobRecord& job, Json& tags) {
    const std::string_view tag = kind_of(job.type).best_tag;
    if (tag.empty() || job.sweep.best < 0) return;
    if (!tags.is_object()) tags = Json::object();
    tags.set(std::string(tag), child_name(job.name, job.sweep.best));
}

std::string_view first_log_of(const JobRecord& job) {
    const JobKind& kind = kind_of(job.type);
    if (kind.group) return kind.default_log;
    const Json& distribution = job.definition.at("distribution");
    const std::int64_t processes =
        distribution.has("workerCount") || distribution.has("parameterServerCount")
            ? distribution.at("workerCount").as_int(job.node_count) +
                  distribution.at("parameterServerCount").as_int()
            : job.node_count * distribution.at("processCountPerInstance").as_int(1);
    return processes > 1 ? "user_logs/std_log_process_0.txt" : kind.default_log;
}

std::string artifact_prefix(std::string_view run_id) {
    return "ExperimentRun/dcid." + std::string(run_id) + "/";
}

}  // namespace turnout::api
