#include "api/arm/resource.h"

#include <algorithm>

#include "access/actions.h"
#include "api/arm/reuse.h"
#include "api/inference/inference.h"
#include "api/run_reach.h"
#include "control/jobs.h"
#include "model/compute.h"

namespace turnout::api {

void add_arm_routes(Router& router, Services& services) {
    arm::add_workspace_routes(router, services);
    arm::add_datastore_routes(router, services);
    arm::add_compute_routes(router, services);
    arm::add_asset_routes(router, services);
    arm::add_registry_routes(router, services);
    arm::add_job_routes(router, services);
    arm::add_operation_routes(router, services);
    arm::add_event_routes(router, services);
    arm::add_explain_routes(router, services);
    arm::add_reuse_routes(router, services);
    arm::add_drill_routes(router, services);
}

}  // namespace turnout::api

namespace turnout::api::arm {

Result<Workspace> workspace_of(Services& services, const Call& call) {
    auto found = TURNOUT_TRY(
        services.assets.find_workspace(call.param("sub"), call.param("rg"), call.param("ws")));
    if (found) return std::move(*found);
    std::vector<std::string> names;
    for (const Workspace& workspace : TURNOUT_TRY(services.assets.list_workspaces("", ""))) {
        if (equal_ignoring_case(workspace.name, call.param("ws")))
            return not_found("workspace '" + call.param("ws") + "' is in resource group '" +
                                 workspace.resource_group + "' of subscription '" +
                                 workspace.subscription + "', not in '" + call.param("rg") +
                                 "' of '" + call.param("sub") +
                                 "' ('turnout config' prints what to use)",
                             "workspace");
        names.push_back(workspace.name);
    }
    return not_found("workspace '" + call.param("ws") + "' does not exist" +
                         did_you_mean(call.param("ws"), names) +
                         " ('turnout workspace list' shows all)",
                     "workspace");
}

std::string tls_host(const Services& services, const Call& call) {
    constexpr std::string_view scheme = "https://";
    std::string_view origin = call.origin;
    if (!origin.starts_with(scheme)) origin = services.info.tls_origin;
    if (origin.starts_with(scheme)) origin.remove_prefix(scheme.size());
    return std::string(origin);
}

Json system_data(Instant created, Instant modified, const Authorship& made) {
    Json data = Json::object({{"createdAt", to_iso8601(created)},
                              {"lastModifiedAt", to_iso8601(std::max(created, modified))}});
    const auto say = [&](std::string_view what, const Author& author) {
        const std::string member(what);
        data.set(member, author.user.empty() ? std::string_view("admin") : author.user);
        data.set(member + "Type", "User");
        if (!author.job.empty()) data.set(member + "Job", author.job);
    };
    say("createdBy", made.created);
    say("lastModifiedBy", made.modified.user.empty() ? made.created : made.modified);
    return data;
}

Json envelope(const std::string& id, std::string_view name, std::string_view type,
              Json properties) {
    return Json::object({
        {"id", id},
        {"name", name},
        {"type", std::string(kProvider) + "/" + std::string(type)},
        {"properties", std::move(properties)},
    });
}

std::string asset_name(const Call& call, std::string_view parameter) {
    std::string_view name = call.param(parameter);
    if (name.starts_with("azureml:")) name.remove_prefix(8);
    return std::string(name);
}

std::size_t page_size(const Call& call) {
    for (const std::string_view name : {"$top", "count", "maxResults"}) {
        const std::optional<std::int64_t> wanted = parse_whole_number(call.query_value(name));
        if (wanted && *wanted > 0) return std::min(static_cast<std::size_t>(*wanted), kPageSize);
    }
    return kPageSize;
}

std::string next_link(const Call& call, std::string_view token) {
    std::string link = call.origin + call.request.path;
    char separator = '?';
    for (const auto& [name, value] : call.query) {
        if (equal_ignoring_case(name, "$skip")) continue;
        link += separator + percent_encode(name, "$") + "=" + percent_encode(value);
        separator = '&';
    }
    return link + separator + "$skip=" + percent_encode(token);
}

http::Response page_of(const Call& call, std::size_t count,
                       const std::function<std::string(std::size_t)>& key,
                       const std::function<Json(std::size_t)>& item) {
    const std::string_view token = call.query_value("$skip");
    const std::size_t limit = page_size(call);
    Json value = Json::array();
    std::string last;
    Json body = Json::object();
    bool more = false;
    for (std::size_t i = 0, shown = 0; i < count; ++i) {
        std::string here = key(i);
        if (!token.empty() && here <= token) continue;
        if (shown == limit) {
            more = true;
            break;
        }
        value.push(item(i));
        last = std::move(here);
        ++shown;
    }
    body.set("value", std::move(value));
    // A client that asked for the first few got what it asked for: no link.
    if (more && call.query_value("$top").empty()) body.set("nextLink", next_link(call, last));
    return json_response(200, body);
}

Result<ListView> list_view(const Call& call) {
    const std::string_view said = call.query_value("listViewType");
    std::string text(said.substr(0, 40));
    std::erase(text, '_');  // "ARCHIVED_ONLY" is what some versions of the SDK send
    if (text.empty() || equal_ignoring_case(text, "ActiveOnly")) return ListView::ActiveOnly;
    if (equal_ignoring_case(text, "ArchivedOnly")) return ListView::ArchivedOnly;
    if (equal_ignoring_case(text, "All")) return ListView::All;
    return invalid("listViewType is ActiveOnly, ArchivedOnly or All, not '" +
                       std::string(said.substr(0, 40)) + "'",
                   "listViewType");
}

bool shown(ListView view, bool archived) {
    switch (view) {
        case ListView::ActiveOnly: return !archived;
        case ListView::ArchivedOnly: return archived;
        case ListView::All: return true;
    }
    return true;
}

namespace {
std::string operation_url(const Call& call, const Workspace& workspace, std::string_view what,
                          std::string_view kind, std::string_view name) {
    return call.origin + workspace_path(workspace) + "/" + std::string(what) + "/" +
           std::string(kind) + "/" + percent_encode(name) +
           "?api-version=" + percent_encode(call.query_value("api-version"));
}
}  // namespace

void say_operation(http::Response& response, const Call& call, const Workspace& workspace,
                   std::string_view kind, std::string_view name) {
    response.headers.set("Azure-AsyncOperation",
                         operation_url(call, workspace, "operations", kind, name));
    response.headers.set("Retry-After", "1");
}

http::Response accepted(const Call& call, const Workspace& workspace, std::string_view kind,
                        std::string_view name) {
    http::Response response;
    response.status = 202;
    say_operation(response, call, workspace, kind, name);
    response.headers.set("Location",
                         operation_url(call, workspace, "operationResults", kind, name));
    return response;
}

namespace {

struct Progress {
    bool over = false;
    std::string failed = {};  // why; "": it did not
    std::string_view code = "ComputeUnusable";
};

Result<Progress> attaching(Services& services, const std::string& key, std::string_view name) {
    const auto row = TURNOUT_TRY(services.store.get(Table::Compute, key));
    if (!row) return Progress{true, "compute '" + std::string(name) + "' was deleted"};
    const Json document = TURNOUT_TRY(parse_json(row->value));
    const Compute compute = TURNOUT_TRY(compute_from_json(document));
    using State = AttachedMachine::State;
    if (!compute.attached || compute.attached->state == State::Ready) return Progress{true};
    return Progress{compute.attached->state == State::Failed, compute.attached->why};
}

// With a compute instance.
Result<Progress> operating(Services& services, const std::string& key, std::string_view name) {
    const auto row = TURNOUT_TRY(services.store.get(Table::Compute, key));
    if (!row) return Progress{true, "compute '" + std::string(name) + "' was deleted"};
    const Json document = TURNOUT_TRY(parse_json(row->value));
    const Compute compute = TURNOUT_TRY(compute_from_json(document));
    if (!compute.personal) return Progress{true};
    const auto& last = compute.personal->last;
    return Progress{last.status != PersonalInstance::Operation::Status::InProgress, last.why};
}

// `name`: "endpoint_deployment".
Result<Progress> deploying(Services& services, const Workspace& workspace, std::string_view name,
                           bool deleting) {
    const std::size_t bar = name.find('_');
    if (bar == std::string_view::npos || !services.inference) return Progress{true};
    const auto now = TURNOUT_TRY(
        services.inference->deployment(workspace.id, name.substr(0, bar), name.substr(bar + 1)));
    if (deleting) return Progress{!now};
    if (!now) return Progress{true, "the deployment was deleted", "DeploymentFailed"};
    return Progress{now->settled(), now->why, "DeploymentFailed"};
}

// An operation is over when the resource says so; nothing is stored for it.
Result<Progress> progress_of(Services& services, const Workspace& workspace, std::string_view kind,
                             std::string_view name) {
    const std::string key = workspace.id + "/" + std::string(name);
    if (kind == "attachCompute") return attaching(services, key, name);
    for (const std::string_view verb : {"create", "start", "stop", "restart"})
        if (kind == std::string(verb) + "Compute") return operating(services, key, name);
    if (kind == "deleteCompute")
        return Progress{!TURNOUT_TRY(services.store.get(Table::Compute, key)).has_value()};
    if (kind == "deleteJob")
        return Progress{!TURNOUT_TRY(services.store.get(Table::Job, key)).has_value()};
    if (kind == "cancelJob") {
        const auto job = TURNOUT_TRY(read_job(services.store, workspace.id, name));
        return Progress{!job || is_terminal(job->record.status)};
    }
    if (kind == "deleteOnlineEndpoint")
        return Progress{!TURNOUT_TRY(services.store.get(Table::OnlineEndpoint, key)).has_value()};
    if (kind == "putOnlineDeployment" || kind == "deleteOnlineDeployment")
        return deploying(services, workspace, name, kind == "deleteOnlineDeployment");
    return not_found("there is no operation of kind '" + std::string(kind) + "'", "operation");
}

// What is done with a job is nothing for other jobs.
Result<void> check_operation(Services& services, const Call& call) {
    if (call.param("kind").ends_with("Compute")) return {};
    return check_owns(services, call, access::action::kReadJobs, call.param("name"));
}

Answer get_operation(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(check_operation(services, call));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Progress progress,
                   progress_of(services, workspace, call.param("kind"), call.param("name")));
    Json body = Json::object({{"id", call.request.path},
                              {"name", call.param("name")},
                              {"status", !progress.over            ? "InProgress"
                                         : progress.failed.empty() ? "Succeeded"
                                                                   : "Failed"}});
    if (progress.over && !progress.failed.empty())
        body.set("error", Json::object({{"code", progress.code}, {"message", progress.failed}}));
    http::Response response = json_response(200, body);
    response.headers.set("Retry-After", "1");
    co_return response;
}

Answer get_operation_result(Services& services, Call& call) {
    TURNOUT_CO_TRY_VOID(check_operation(services, call));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const Progress progress,
                   progress_of(services, workspace, call.param("kind"), call.param("name")));
    if (!progress.over) co_return accepted(call, workspace, call.param("kind"), call.param("name"));
    co_return json_response(200, Json::object());
}

}  // namespace

void add_operation_routes(Router& router, Services& services) {
    row(router, services, "GET", in_workspace("/operations/{kind}/{name}"), Access::Run,
        get_operation);
    row(router, services, "GET", in_workspace("/operationResults/{kind}/{name}"), Access::Run,
        get_operation_result);
}

}  // namespace turnout::api::arm
