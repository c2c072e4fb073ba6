#include "api/arm/job_view.h"

#include <array>
#include <cstdio>

#include "api/arm/resource.h"
#include "api/history/run_view.h"
#include "api/job_kinds.h"
#include "api/studio_link.h"
#include "model/automl.h"
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
// `document` is that which they become a part of.
Json properties_of(const JobRecord& job, const JobViewer& viewer, std::string_view waiting_for,
                   Json& document) {
    const Instant now = viewer.now;
    Json properties = job.meta.properties.is_object() ? job.meta.properties : Json::object();
    const auto set = [&](std::string_view name, std::string value) {
        if (!value.empty()) properties.set("turnout." + std::string(name), std::move(value));
    };
    set("compute", std::string(shown_compute(job.compute)));
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
        set("node", words_of(attempt->placement));
        if (!is_terminal(job.status)) set("detail", attempt->detail);
        if (attempt->ending) {
            if (attempt->ending->exit_code >= 0)
                set("exit_code", std::to_string(attempt->ending->exit_code));  // -1: it never ran
            if (attempt->ending->peak_memory_bytes > 0)
                set("peak_memory_bytes", std::to_string(attempt->ending->peak_memory_bytes));
        }
    }
    kind_row(job.type).show(job, document, properties);
    if (!job.child.group.empty()) {
        const bool of_automl = is_of_automl(job.child.role);
        set(job.derived() ? "sweep" : of_automl ? "automl" : "pipeline", job.child.group);
        if (!job.derived() && !of_automl) set("step", job.child.role);
    }
    set("reused_from", job.reused_from);
    show_reuse(job, properties);
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

void show_command(const JobRecord&, Json& properties, Json&) {
    if (!properties.has("environmentVariables"))
        properties.set("environmentVariables", Json::object());
}

void show_sweep(const JobRecord& job, Json&, Json& own) {
    const auto count = [&](const char* name, std::int64_t trials) {
        own.set("turnout.trials." + std::string(name), std::to_string(trials));
    };
    count("created", job.sweep.created);
    count("completed", job.sweep.completed);
    count("failed", job.sweep.failed);
    count("canceled", job.sweep.canceled - job.sweep.stopped_early);
    count("stopped_early", job.sweep.stopped_early);
    count("without_metric", job.sweep.without_metric);
    if (job.sweep.best < 0) return;
    show_best_child(job, own);
    own.set("best_metric_status", "Succeeded");  // under Azure's names, too
    own.set("best_data_container_id", "dcid." + trial_name(job.name, job.sweep.best));
}

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
    if (job.compute != "serverless")
        properties.set("computeId", path + "/computes/" + std::string(shown_compute(job.compute)));
    for (const std::string_view member : {"inputs", "outputs"})
        if (!properties.has(member)) properties.set(member, Json::object());
    if (!job.child.group.empty()) properties.set("parameters", job.child.parameters);
    properties["resources"].set("instanceCount", job.node_count);
    properties.set(
        "services",
        Json::object({
            {"Studio", Json::object({
                           {"jobServiceType", "Studio"},
                           {"endpoint",
                            viewer.origin + sign_studio_link(viewer.link_key, job.workspace,
                                                             job.name, viewer.now, viewer.holder)},
                       })},
            {"Tracking", Json::object({
                             {"jobServiceType", "Tracking"},
                             {"endpoint", "azureml://" + viewer.tls_host + "/mlflow/v1.0" + path},
                         })},
        }));
    properties.set("properties", properties_of(job, viewer, waiting_for, properties));
    if (job.status == JobStatus::Failed) properties.set("error", error_of(job));
    Json body =
        envelope(path + "/jobs/" + job.name, job.name, "workspaces/jobs", std::move(properties));
    body.set("systemData",
             system_data(job.created, job.ended.value_or(job.started.value_or(job.created)),
                         {{job.principal}, {job.meta.changed_by}}));
    return body;
}

}  // namespace turnout::api::arm
