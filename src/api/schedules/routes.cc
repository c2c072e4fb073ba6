// Schedules as Azure has them (2023-06-01-preview, `trigger` of 2024-01-01-preview):
//
//   GET    {W}/schedules[/{name}]       ?listViewType=EnabledOnly|DisabledOnly|All
//   PUT    {W}/schedules/{name}         {"properties": {action, trigger, isEnabled, …}}
//   DELETE {W}/schedules/{name}         of a disabled one
//   POST   {W}/schedules/{name}/trigger {"scheduleTime"} -> {"submissionId", "scheduleActionType"}
#include "api/arm/resource.h"
#include "api/schedules/schedules.h"

namespace turnout::api {
namespace {

using arm::Answer;

constexpr std::size_t kLargestSchedule = 8 << 20;  // as of a job

Json firing_body(const Firing& firing) {
    constexpr const char* kWords[] = {"Submitted", "Refused", "Missed"};
    Json body = Json::object({{"time", to_iso8601(firing.due)},
                              {"settled", to_iso8601(firing.at)},
                              {"outcome", kWords[static_cast<std::size_t>(firing.what)]}});
    if (!firing.job.empty()) body.set("jobName", firing.job);
    if (!firing.reason.empty()) body.set("reason", firing.reason);
    if (firing.what == Firing::What::Missed) body.set("times", firing.times);
    if (!firing.by.empty()) body.set("triggeredBy", firing.by);
    return body;
}

// An output of which a step says nothing is its component's to describe: Azure's SDK reads none
// that has no type.
void remove_outputs_unsaid(Json& definition) {
    Json* const steps = definition.find("jobs");
    if (!steps) return;
    for (auto& [name, step] : steps->members())
        if (Json* outputs = step.find("outputs"))
            std::erase_if(outputs->members(), [](const Json::Member& output) {
                return output.second.is_null() ||
                       (output.second.is_object() && output.second.members().empty());
            });
}

// Azure's document. Beside it, in "properties.properties", what Azure's clients keep and show: when
// it fires next, and how it went last; and all that is remembered, in "runs".
Json schedule_body(const Schedules& schedules, const Workspace& workspace,
                   const Schedule& schedule) {
    Json properties = schedule.properties;
    properties.erase("startIsCreation");
    remove_outputs_unsaid(properties["action"]["jobDefinition"]);
    if (!properties.at("tags").is_object()) properties.set("tags", Json::object());
    properties.set("isEnabled", schedule.state.enabled);
    properties.set("provisioningState", "Succeeded");
    Json& own = properties["properties"];
    own.set("turnout.owner", schedule.state.owner);
    own.set("turnout.trigger", words_of(schedule.trigger));
    const auto next = schedules.next(schedule);
    if (!next)
        own.set("turnout.state", "cannot run: " + next.error().message);
    else if (!schedule.state.enabled)
        own.set("turnout.state", "disabled");
    else if (!*next)
        own.set("turnout.state", "ended: its trigger fires no more");
    else
        own.set("turnout.state", "enabled");
    if (next && *next) own.set("turnout.next_run", to_iso8601(**next).substr(0, 19) + "Z");
    Json runs = Json::array();
    for (const Firing& firing : schedule.state.history) runs.push(firing_body(firing));
    if (!schedule.state.history.empty()) {
        const Firing& last = schedule.state.history.front();
        own.set("turnout.last_run", to_iso8601(last.due).substr(0, 19) + "Z");
        if (!last.job.empty()) own.set("turnout.last_job", last.job);
        if (!last.reason.empty()) own.set("turnout.last_refusal", last.reason);
    }
    properties.set("runs", std::move(runs));
    Json body = arm::envelope(workspace_path(workspace) + "/schedules/" + schedule.name,
                              schedule.name, "workspaces/schedules", std::move(properties));
    body.set("systemData", arm::system_data(schedule.created, schedule.modified, schedule.made));
    return body;
}

Result<Schedule> found(const Schedules& schedules, const Workspace& workspace,
                       const std::string& name) {
    auto schedule = TURNOUT_TRY(schedules.find(workspace.id, name));
    if (schedule) return std::move(*schedule);
    std::vector<std::string> names;
    for (const Schedule& other : TURNOUT_TRY(schedules.list(workspace.id)))
        names.push_back(other.name);
    return not_found("schedule '" + name + "' does not exist" + did_you_mean(name, names), "name");
}

Answer list_schedules(Services& services, Schedules& schedules, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    const std::string_view view = call.query_value("listViewType");
    const bool all = equal_ignoring_case(view, "All");
    const bool disabled = equal_ignoring_case(view, "DisabledOnly");
    if (!all && !disabled && !view.empty() && !equal_ignoring_case(view, "EnabledOnly"))
        co_return invalid(
            "listViewType is " + shown(view) + ": expected EnabledOnly, DisabledOnly or All",
            "listViewType");
    TURNOUT_CO_TRY(auto found_all, schedules.list(workspace.id));
    std::erase_if(found_all, [&](const Schedule& schedule) {
        return !all && schedule.state.enabled == disabled;
    });
    co_return arm::page_of(
        call, found_all.size(), [&](std::size_t i) { return found_all[i].name; },
        [&](std::size_t i) { return schedule_body(schedules, workspace, found_all[i]); });
}

Answer get_schedule(Services& services, Schedules& schedules, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(const Schedule schedule,
                   found(schedules, workspace, arm::asset_name(call, "name")));
    co_return json_response(200, schedule_body(schedules, workspace, schedule));
}

Answer put_schedule(Services& services, Schedules& schedules, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kLargestSchedule));
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    const std::string name = arm::asset_name(call, "name");
    TURNOUT_CO_TRY(const bool is_new,
                   co_await schedules.put(call, workspace, name, body.at("properties")));
    TURNOUT_CO_TRY(const Schedule schedule, found(schedules, workspace, name));
    co_return json_response(is_new ? 201 : 200, schedule_body(schedules, workspace, schedule));
}

Answer delete_schedule(Services& services, Schedules& schedules, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    const std::string name = arm::asset_name(call, "name");
    TURNOUT_CO_TRY([[maybe_unused]] const Schedule schedule, found(schedules, workspace, name));
    TURNOUT_CO_TRY_VOID(co_await schedules.remove(workspace, name));
    co_return json_response(200, Json::object());
}

Answer trigger_schedule(Services& services, Schedules& schedules, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    const std::string name = arm::asset_name(call, "name");
    TURNOUT_CO_TRY([[maybe_unused]] const Schedule schedule, found(schedules, workspace, name));
    Instant when = services.clock.now();
    if (const Json& said = body.at("scheduleTime"); !said.is_null()) {
        const auto time = parse_iso8601(said.as_view());
        if (!time)
            co_return invalid("scheduleTime: expected a time such as 2026-11-30T09:00:00Z, found " +
                                  shown(said.as_view()),
                              "scheduleTime");
        when = *time;
    }
    TURNOUT_CO_TRY(const std::string job, co_await schedules.trigger(call, workspace, name, when));
    co_return json_response(
        200, Json::object(
                 {{"submissionId", job}, {"jobName", job}, {"scheduleActionType", "CreateJob"}}));
}

}  // namespace

void add_schedule_routes(Router& router, Services& services, Schedules& schedules) {
    const auto add = [&](std::string method, const char* rest,
                         Answer (*action)(Services&, Schedules&, Call&)) {
        router.add(std::move(method), arm::in_workspace(rest), Access::Behalf,
                   [&services, &schedules, action](Call& call) {
                       return action(services, schedules, call);
                   });
    };
    add("GET", "/schedules", list_schedules);
    add("GET", "/schedules/{name}", get_schedule);
    add("PUT", "/schedules/{name}", put_schedule);
    add("DELETE", "/schedules/{name}", delete_schedule);
    add("POST", "/schedules/{name}/trigger", trigger_schedule);
}

}  // namespace turnout::api
