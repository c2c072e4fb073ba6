#include "api/arm/job_view.h"

#include <array>
#include <cstdio>

#include "api/arm/resource.h"
#include "api/history/run_view.h"
#include "api/studio_link.h"
#include "model/sweep.h"

namespace turnout::api::arm {
namespace {

std::string in_seconds(Span span) {
    std::array<char, 48> text;
    const int length = std::snprintf(text.data(), text.size(), "%lld.%06lld s",
                                     static_cast<long long>(span.count() / 1'000'000),
                                     static_cast<long long>(span.count() % 1'000'000));
    return std::string(text.data(), static_cast<std::size_t>(length));
}

// What the server knows of the job's life: text, as properties are, under names of their own.
Json properties_of(const JobRecord& job, const JobViewer& viewer, std::string_view waiting_for) {
    const Instant now = viewer.now;
    Json properties = job.meta.properties.is_object() ? job.meta.properties : Json::object();
    const auto set = [&](std::string_view name, std::string value) {
        if (!value.empty()) properties.set("turnout." + std::string(name), std::move(value));
    };
    set("compute", job.compute);
    set("waiting_for", std::string(waiting_for));
    if (viewer.waiting) {
        set("place_in_queue", std::to_string(viewer.waiting->ahead + 1));
        // An estimate: whole seconds say enough.
        if (viewer.waiting->expected)
            set("expected_start", to_iso8601(Instant{(now + *viewer.waiting->expected).micros /
                                                     1'000'000 * 1'000'000}));
    }
    set("environment", job.environment);
    if (!job.notices.empty()) set("notices", join(job.notices, "\n"));
    set("attempts",
        std::to_string(job.attempts.size() + static_cast<std::size_t>(job.folded_attempts)));
    if (const int count = preemptions(job); count > 0) set("preemptions", std::to_string(count));
    if (const JobAttempt* attempt = job.current()) {
        set("node", join(attempt->nodes, ", "));
        if (!is_terminal(job.status)) set("detail", attempt->detail);
        if (attempt->ending) {
            if (attempt->ending->exit_code >= 0)
                set("exit_code", std::to_string(attempt->ending->exit_code));  // -1: it never ran
            if (attempt->ending->peak_memory_bytes > 0)
                set("peak_memory_bytes", std::to_string(attempt->ending->peak_memory_bytes));
        }
    }
    if (job.type == JobType::Sweep) {
        set("trials.created", std::to_string(job.sweep.created));
        set("trials.completed", std::to_string(job.sweep.completed));
        set("trials.failed", std::to_string(job.sweep.failed));
        set("trials.canceled", std::to_string(job.sweep.canceled - job.sweep.stopped_early));
        set("trials.stopped_early", std::to_string(job.sweep.stopped_early));
        if (job.sweep.best >= 0) {  // under Azure's names
            const std::string best = trial_name(job.name, job.sweep.best);
            properties.set("best_child_run_id", best);
            properties.set("score", Json(job.sweep.best_score).dump());
            properties.set("best_metric_status", "Succeeded");
            properties.set("best_data_container_id", "dcid." + best);
        }
    }
    if (!job.trial.sweep.empty()) set("sweep", job.trial.sweep);
    if (job.started) set("started", to_iso8601(*job.started));
    if (job.ended) set("ended", to_iso8601(*job.ended));
    if (job.cause != agent_protocol::Cause::None)
        set("cause", std::string(agent_protocol::name_of(job.cause)));
    if (job.status != JobStatus::Failed)
        set("reason", job.error_message);  // else it is the error's
    for (const auto& [entry, span] : ledger(job, now, viewer.waited))
        set("ledger." + std::string(name_of(entry)), in_seconds(span));
    return properties;
}

}  // namespace

Json job_body(const JobRecord& job, const Workspace& workspace, const JobViewer& viewer,
              std::string_view waiting_for) {
    const std::string path = workspace_path(workspace);
    Json properties = job.definition;
    properties.set("jobType", name_of(job.type));
    properties.set("status", name_of(job.status));
    properties.set("displayName", job.meta.display_name);
    properties.set("description",
                   job.meta.description.empty() ? Json() : Json(job.meta.description));
    properties.set("experimentName", job.meta.experiment);
    properties.set("tags", job.meta.tags.is_object() ? job.meta.tags : Json::object());
    properties.set("isArchived", job.meta.archived);
    if (job.compute != "serverless") properties.set("computeId", path + "/computes/" + job.compute);
    for (const std::string_view member : {"inputs", "outputs"})
        if (!properties.has(member)) properties.set(member, Json::object());
    if (job.type == JobType::Command && !properties.has("environmentVariables"))
        properties.set("environmentVariables", Json::object());
    if (!job.trial.sweep.empty()) properties.set("parameters", job.trial.parameters);
    properties["resources"].set("instanceCount", job.node_count);
    properties.set(
        "services",
        Json::object({
            {"Studio",
             Json::object({
                 {"jobServiceType", "Studio"},
                 {"endpoint", viewer.origin + sign_studio_link(viewer.link_key, job.workspace,
                                                               job.name, viewer.now)},
             })},
            {"Tracking", Json::object({
                             {"jobServiceType", "Tracking"},
                             {"endpoint", "azureml://" + viewer.tls_host + "/mlflow/v1.0" + path},
                         })},
        }));
    properties.set("properties", properties_of(job, viewer, waiting_for));
    if (job.status == JobStatus::Failed) properties.set("error", error_of(job));
    Json body =
        envelope(path + "/jobs/" + job.name, job.name, "workspaces/jobs", std::move(properties));
    body.set("systemData",
             system_data(job.created, job.ended.value_or(job.started.value_or(job.created)),
                         job.principal));
    return body;
}

}  // namespace turnout::api::arm
