// GET /studio/jobs/{wsid}/{job}/document: all that the page of a job shows at once, for whoever is
// logged in or has its link: what the public API says of the job (`job`), why it waits and where
// its time went (`explain`, as …/explain), and what is its page's alone: logs, metrics, files,
// children.
#include <algorithm>

#include "api/arm/explain.h"
#include "api/arm/job_view.h"
#include "api/arm/resource.h"
#include "api/history/run_view.h"
#include "api/portal/page.h"
#include "api/portal/parts.h"
#include "api/studio/studio.h"
#include "control/control.h"
#include "control/jobs.h"
#include "tracking/tracking.h"

namespace turnout::api::studio {
namespace {

Json files_json(const portal::Files& files) {
    Json out = Json::array();
    for (const auto& [path, size] : files)
        out.push(Json::object({{"path", path}, {"bytes", static_cast<std::int64_t>(size)}}));
    return out;
}

Json metrics_json(const Run& run) {
    Json out = Json::array();
    for (const Metric& metric : run.latest)
        out.push(Json::object({{"key", metric.key},
                               {"value", metric.value},
                               {"words", portal::number_words(metric.value)},
                               {"step", metric.step}}));
    return out;
}

Json outputs_json(const std::vector<portal::NamedOutput>& outputs) {
    Json out = Json::array();
    for (const portal::NamedOutput& output : outputs)
        out.push(Json::object({{"name", output.name},
                               {"type", output.type},
                               {"uri", output.uri},
                               {"listed", output.listed},
                               {"files", files_json(output.files)},
                               {"more", output.more}}));
    return out;
}

Json trial_json(const portal::TrialRow& row) {
    Json parameters = Json::object();
    for (const auto& [name, value] : row.parameters) parameters.set(name, value);
    Json out = Json::object({{"index", row.index},
                             {"name", row.name},
                             {"status", name_of(row.status)},
                             {"parameters", std::move(parameters)}});
    if (row.score) out.set("score", *row.score);
    if (row.stopped_early) out.set("stoppedEarly", true);
    if (row.took) out.set("micros", static_cast<std::int64_t>(row.took->count()));
    if (!row.why.empty()) out.set("why", row.why);
    if (!row.link.empty()) out.set("link", row.link);
    return out;
}

Json sweep_json(const portal::SweepView& view) {
    Json rows = Json::array(), sample = Json::array();
    for (const portal::TrialRow& row : view.rows) rows.push(trial_json(row));
    for (const portal::TrialRow& row : view.sample) sample.push(trial_json(row));
    Json out = Json::object({{"metric", view.metric},
                             {"maximize", view.maximize},
                             {"total", view.total},
                             {"rows", std::move(rows)},
                             {"page", view.page},
                             {"pages", view.pages},
                             {"sample", std::move(sample)},
                             {"stride", view.stride}});
    if (view.best) out.set("best", trial_json(*view.best));
    return out;
}

Json steps_json(const portal::StepsView& view) {
    Json rows = Json::array();
    for (const portal::StepRow& row : view.rows) {
        Json after = Json::array();
        for (const std::string& name : row.after) after.push(name);
        Json step = Json::object({{"name", row.name},
                                  {"job", row.job},
                                  {"compute", row.compute},
                                  {"status", name_of(row.status)},
                                  {"after", std::move(after)}});
        if (row.took) step.set("micros", static_cast<std::int64_t>(row.took->count()));
        if (!row.why.empty()) step.set("why", row.why);
        if (!row.link.empty()) step.set("link", row.link);
        rows.push(std::move(step));
    }
    return Json::object({{"total", view.total},
                         {"rows", std::move(rows)},
                         {"page", view.page},
                         {"pages", view.pages}});
}

// The job as the public API shows it. Who only has the page's link gets no other one: a link that
// is made anew would hold longer than theirs.
Json job_json(Services& services, const Call& call, const Workspace& workspace,
              const JobRecord& job, const std::string& waits_for) {
    std::optional<schedule::Waiting> waiting;
    if (!is_terminal(job.status)) waiting = services.control.waiting(job.workspace, job.name);
    const arm::JobViewer viewer{call.page_origin,
                                arm::tls_host(services, call),
                                services.authority.link_key(),
                                services.authority.holder(call.principal),
                                services.clock.now(),
                                waiting,
                                services.control.waited(job.workspace, job.name)};
    Json body = arm::job_body(job, workspace, viewer, waits_for);
    if (call.principal.kind != Principal::Kind::User)
        body["properties"].set("services", Json::object());
    return body;
}

Answer get_document(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(portal::check_reader(services, call));
    TURNOUT_CO_TRY(const portal::PageData data,
                   portal::page_data(services, call, portal::Histories::No));
    TURNOUT_CO_TRY(const auto workspace, services.assets.workspace_by_id(data.job.workspace));
    if (!workspace) co_return not_found("the workspace of this job does not exist", "wsid");
    TURNOUT_CO_TRY(const auto streams,
                   services.tracking.log_streams(data.job.workspace, data.job.name));
    Json logs = Json::array();
    const std::string first(first_log_of(data.job));
    if (std::ranges::none_of(streams, [&](const auto& stream) { return stream.first == first; }))
        logs.push(Json::object({{"path", first}, {"bytes", 0}}));
    for (const auto& [path, bytes] : streams)
        logs.push(Json::object({{"path", path}, {"bytes", static_cast<std::int64_t>(bytes)}}));
    Json body = Json::object(
        {{"reader", call.principal.kind == Principal::Kind::User ? "session" : "link"},
         {"workspace", Json::object({{"name", workspace->name}, {"id", workspace->id}})},
         {"job", job_json(services, call, *workspace, data.job, data.waiting_for)},
         {"explain", arm::explain_document(services, data.job)},
         {"log", data.log_path},
         {"logs", std::move(logs)},
         {"artifacts", files_json(data.artifacts)},
         {"moreArtifacts", data.more_artifacts},
         {"outputs", outputs_json(data.outputs)},
         {"now", to_iso8601(data.now)}});
    if (data.run) {
        body.set("metrics", metrics_json(*data.run));
        body.set("params", data.run->params);
    }
    // Without a link: that of a child opens no more than the child.
    if (!data.job.child.group.empty())
        body.set("parent", Json::object({{"name", data.job.child.group},
                                         {"trial", data.job.derived()},
                                         {"role", data.job.child.role}}));
    if (data.sweep) body.set("sweep", sweep_json(*data.sweep));
    if (data.steps) body.set("steps", steps_json(*data.steps));
    http::Response response = json_response(200, body);
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

}  // namespace

void add_document_routes(Router& router, Services& services) {
    add_row(router, services, "GET", "/studio/jobs/{wsid}/{job}/document", Access::Signed,
            get_document);
}

}  // namespace turnout::api::studio
