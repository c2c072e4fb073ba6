// The studio page of one job, behind a signed read-only link.
#include <algorithm>

#include "access/actions.h"
#include "api/browser.h"
#include "api/history/log_link.h"
#include "api/history/run_view.h"
#include "api/job_kinds.h"
#include "api/login/login_page.h"
#include "api/portal/page.h"
#include "api/portal/parts.h"
#include "api/run_reach.h"
#include "api/studio/shell.h"
#include "api/studio/studio.h"
#include "api/studio_link.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/default_workspace.h"
#include "control/control.h"
#include "control/jobs.h"

namespace turnout::api {
namespace {

constexpr std::size_t kLogTail = 64 << 10;
constexpr std::size_t kMaxCharts = 24;
constexpr std::size_t kMaxPoints = 2'000;
constexpr std::size_t kMaxArtifacts = 500;
constexpr std::string_view kEnvironmentLog = "azureml-logs/20_environment.txt";

// Only what the link consists of goes on into other links.
std::string link_query(const Call& call) {
    std::string query;
    for (const auto& [name, value] : call.query)
        if (name == "se" || name == "skoid" || name == "sig")
            query += (query.empty() ? "?" : "&") + name + "=" + percent_encode(value);
    return query;
}

// Its own words; before there are any, those of its environment.
Result<std::string> log_to_show(Services& services, const JobRecord& job) {
    const std::string own(first_log_of(job));
    if (TURNOUT_TRY(services.tracking.log_length(job.workspace, job.name, own)) > 0) return own;
    const std::string build(kEnvironmentLog);
    return TURNOUT_TRY(services.tracking.log_length(job.workspace, job.name, build)) > 0 ? build
                                                                                         : own;
}

}  // namespace

Result<void> portal::check_reader(Services& services, const Call& call) {
    if (call.principal.kind == Principal::Kind::User) return {};
    const std::string& wsid = call.param("wsid");
    const std::string holder = TURNOUT_TRY(verify_studio_link(
        services.authority.link_key(), wsid, call.param("job"), call.query, services.clock.now()));
    return check_holder(services, holder, {access::action::kReadJobs}, wsid);
}

Result<portal::PageData> portal::page_data(Services& services, const Call& call,
                                           Histories histories) {
    const std::string& wsid = call.param("wsid");
    const std::string& name = call.param("job");
    auto job = TURNOUT_TRY(load_job(services.store, wsid, name));
    if (!job) return not_found("job '" + name + "' does not exist", "job");
    portal::PageData data;
    data.job = std::move(*job);
    data.task = TURNOUT_TRY(read_task(services.store, data.job));
    if (const auto why = services.control.explain(wsid, name)) {
        data.waiting_for = why->text;
        data.would_start = why->would_start;
    }
    data.run = TURNOUT_TRY(services.tracking.find_run(wsid, name));
    if (data.run && histories == Histories::Yes)
        for (std::size_t i = 0; i < data.run->latest.size() && i < kMaxCharts; ++i) {
            const std::string& key = data.run->latest[i].key;
            data.histories.emplace_back(
                key, TURNOUT_TRY(services.tracking.metric_history(wsid, name, key, kMaxPoints)));
        }
    const std::string prefix = artifact_prefix(name);
    const BlobList list =
        TURNOUT_TRY(services.blobs.list(artifact_container(wsid), prefix, "", "", kMaxArtifacts));
    for (const BlobInfo& blob : list.blobs)
        data.artifacts.emplace_back(blob.name.substr(prefix.size()), blob.size);
    data.more_artifacts = !list.next_marker.empty();
    TURNOUT_TRY(kind_row(data.job.type).show_page(services, call, data));
    data.log_path = TURNOUT_TRY(log_to_show(services, data.job));
    data.base = "/studio/jobs/" + percent_encode(wsid) + "/" + percent_encode(name);
    data.query = link_query(call);
    data.now = services.clock.now();
    return data;
}

namespace {

using portal::check_reader;
using portal::Histories;
using portal::page_data;

void harden(http::Response& response) {
    response.headers.set("X-Content-Type-Options", "nosniff");
    response.headers.set("Referrer-Policy", "no-referrer");  // the link is the key
    response.headers.set("Cache-Control", "no-store");
    response.headers.set("X-Robots-Tag", "noindex");
}

// The page for browsers that run no script, and for builds without the portal.
Answer get_plain_page(Services& services, Call& call) {
    if (auto allowed = check_reader(services, call); !allowed) {
        // A person reads this one.
        http::Response refused;
        refused.status = http_status(allowed.error().code);
        refused.headers.set("Content-Type", "text/html; charset=utf-8");
        refused.headers.set("Content-Security-Policy",
                            "default-src 'none'; frame-ancestors 'none'");
        harden(refused);
        refused.body = portal::render_refusal(allowed.error().message);
        co_return refused;
    }
    TURNOUT_CO_TRY(auto data, page_data(services, call, Histories::Yes));
    const std::string wsid = call.param("wsid");
    TURNOUT_CO_TRY(data.log_length,
                   services.tracking.log_length(wsid, data.job.name, data.log_path));
    TURNOUT_CO_TRY(data.log_tail, portal::end_of_log(services, wsid, data.job.name, data.log_path,
                                                     data.log_length, kLogTail));
    const std::string nonce = to_base64url(services.random.bytes(18));
    http::Response response;
    response.headers.set("Content-Type", "text/html; charset=utf-8");
    response.headers.set("Content-Security-Policy",
                         "default-src 'none'; style-src 'nonce-" + nonce + "'; script-src 'nonce-" +
                             nonce +
                             "'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action "
                             "'none'; frame-ancestors 'none'");
    harden(response);
    response.body = portal::render_page(data, nonce);
    co_return response;
}

// What does not open the page is told as before; what does gets the portal, which asks for the rest
// with the same link.
Answer get_page(Services& services, Call& call) {
    if (!services.portal || !check_reader(services, call))
        co_return co_await get_plain_page(services, call);
    co_return studio::shell(services);
}

// The newest jobs of the usual workspace, as far as its user may read them.
Result<std::vector<portal::HomeJob>> newest_jobs(Services& services, const Principal& user) {
    constexpr std::size_t kShown = 50;
    std::vector<portal::HomeJob> jobs;
    const auto workspace = TURNOUT_TRY(default_workspace(services.assets));
    if (!workspace || !services.authority.may(user, access::action::kReadJobs, {workspace->id, ""}))
        return jobs;
    for (const Record& row : TURNOUT_TRY(
             services.store.scan(Table::JobCreated, with_prefix(workspace->id + "/", kShown)))) {
        const auto job = TURNOUT_TRY(
            read_job(services.store, workspace->id, row.key.substr(row.key.rfind('/') + 1)));
        if (!job) continue;
        const JobRecord& record = job->record;
        jobs.push_back(
            {"/studio/jobs/" + percent_encode(workspace->id) + "/" + percent_encode(record.name),
             record.meta.display_name.empty() ? record.name : record.meta.display_name,
             record.principal, record.status, record.created});
    }
    return jobs;
}

Answer get_home(Services& services, Principal user) {
    TURNOUT_CO_TRY(const auto jobs, newest_jobs(services, user));
    co_return words_page(services.random, 200, "Turnout", portal::home_words(user.name, jobs));
}

// What a person finds who opens the server's address: it has no list of jobs for those who are not
// logged in.
Answer get_front(Services& services, Call& call) {
    if (services.portal) {
        if (equal_ignoring_case(call.request.path, "/studio") ||
            equal_ignoring_case(call.request.path, "/studio/"))
            co_return studio::shell(services);
        http::Response to_portal;
        to_portal.status = 303;
        to_portal.headers.set("Location", "/studio");  // browsers keep what is behind '#'
        to_portal.headers.set("Cache-Control", "no-store");
        co_return to_portal;
    }
    if (auto user = session_of(services, call)) co_return co_await get_home(services, *user);
    http::Response response;
    const std::string nonce = to_base64url(services.random.bytes(18));
    response.headers.set("Content-Type", "text/html; charset=utf-8");
    response.headers.set("Content-Security-Policy",
                         "default-src 'none'; style-src 'nonce-" + nonce + "'; script-src 'nonce-" +
                             nonce +
                             "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    harden(response);
    response.body = portal::render_front(services.info.version, nonce);
    co_return response;
}

Answer get_data(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(check_reader(services, call));
    TURNOUT_CO_TRY(const auto data, page_data(services, call, Histories::Yes));
    http::Response response = json_response(200, portal::live_document(data));
    harden(response);
    co_return response;
}

Answer get_page_log(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(check_reader(services, call));
    TURNOUT_CO_TRY(const auto job, load_job(services.store, call.param("wsid"), call.param("job")));
    if (!job) co_return not_found("job '" + call.param("job") + "' does not exist", "job");
    TURNOUT_CO_TRY(std::string path, log_to_show(services, *job));
    // Another one of this job's, if it is asked for by its name.
    if (const std::string asked(call.query_value("path")); !asked.empty() && asked != path) {
        TURNOUT_CO_TRY(const auto streams,
                       services.tracking.log_streams(call.param("wsid"), job->name));
        if (asked != first_log_of(*job) && std::ranges::none_of(streams, [&](const auto& stream) {
                return stream.first == asked;
            }))
            co_return not_found("job '" + job->name + "' has no log '" + asked + "'", "path");
        path = asked;
    }
    co_return co_await send_log(services, call, call.param("wsid"), call.param("job"), path);
}

// What a job wrote never acts on this origin: pictures are shown (SVG as a picture only), text is
// plain text (no sniffing, in a sandbox), the rest is saved.
Result<http::Response> send_file(Services& services, const BlobInfo& blob,
                                 const std::string& path) {
    http::Response response;
    response.stream = TURNOUT_TRY(services.blobs.read(blob, 0, blob.size));
    response.length = blob.size;
    const std::string_view image = portal::image_type(path);
    const bool words = portal::is_plain_text(path);
    const bool shown = words || (!image.empty() && image != "image/svg+xml");
    response.headers.set("Content-Type", words           ? "text/plain; charset=utf-8"
                                         : image.empty() ? "application/octet-stream"
                                                         : std::string(image));
    response.headers.set("Content-Disposition",
                         (shown ? "inline" : "attachment") + std::string("; filename*=UTF-8''") +
                             percent_encode(path.substr(path.rfind('/') + 1)));
    response.headers.set("Content-Security-Policy",
                         "default-src 'none'; style-src 'unsafe-inline'; sandbox");
    harden(response);
    return response;
}

Answer get_artifact(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(check_reader(services, call));
    const std::string& path = call.param("path");
    TURNOUT_CO_TRY(const auto blob, services.blobs.head(artifact_container(call.param("wsid")),
                                                        artifact_prefix(call.param("job")) + path));
    if (!blob)
        co_return not_found("job '" + call.param("job") + "' has no artifact '" + path + "'",
                            "path");
    co_return send_file(services, *blob, path);
}

Answer get_output(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(check_reader(services, call));
    const std::string &name = call.param("name"), &path = call.param("path");
    TURNOUT_CO_TRY(const auto job, load_job(services.store, call.param("wsid"), call.param("job")));
    if (!job) co_return not_found("job '" + call.param("job") + "' does not exist", "job");
    TURNOUT_CO_TRY(const agent_protocol::TaskSpec task, read_task(services.store, *job));
    const auto output = std::ranges::find(task.outputs, name, &agent_protocol::TaskOutput::name);
    if (output == task.outputs.end() || !portal::is_own_place(*job, output->target))
        co_return not_found("job '" + job->name + "' has no output '" + name + "' of its own",
                            "name");
    const std::string& prefix = output->target.prefix;
    TURNOUT_CO_TRY(const auto blob,
                   services.blobs.head(output->target.container,
                                       prefix.ends_with('/') ? prefix + path : prefix));
    if (!blob || (!prefix.ends_with('/') && path != name))
        co_return not_found(
            "output '" + name + "' of job '" + job->name + "' has no file '" + path + "'", "path");
    co_return send_file(services, *blob, path);
}

}  // namespace

void add_portal_routes(Router& router, Services& services) {
    const std::string page = "/studio/jobs/{wsid}/{job}";
    add_row(router, services, "GET", "/", Access::Open, get_front);
    add_row(router, services, "GET", "/studio", Access::Open, get_front);
    // MLflow's clients print "{tracking URI}/#/experiments/7/runs/NAME": the page tells how to get
    // there.
    add_row(router, services, "GET",
            "/mlflow/v1.0/subscriptions/{sub}/resourceGroups/{rg}/providers/"
            "Microsoft.MachineLearningServices/workspaces/{ws}",
            Access::Open, get_front);
    add_row(router, services, "GET", page, Access::Signed, get_page);
    add_row(router, services, "GET", page + "/plain", Access::Signed, get_plain_page);
    add_row(router, services, "GET", page + "/data", Access::Signed, get_data);
    add_row(router, services, "GET", page + "/log", Access::Signed, get_page_log);
    add_row(router, services, "GET", page + "/artifact/{path...}", Access::Signed, get_artifact);
    add_row(router, services, "GET", page + "/output/{name}/{path...}", Access::Signed, get_output);
    studio::add_shell_routes(router, services);
    studio::add_row_routes(router, services);
    studio::add_document_routes(router, services);
    studio::add_line_routes(router, services);
    studio::add_series_routes(router, services);
}

}  // namespace turnout::api
