#include "api/arm/personal.h"

#include <algorithm>
#include <utility>

#include "access/actions.h"
#include "api/arm/job_lookup.h"
#include "api/arm/job_resolution.h"
#include "api/instances/front.h"
#include "api/own_call.h"
#include "base/text.h"
#include "protocol/secret_reference.h"
#include "resources/resources.h"
#include "tracking/tracking.h"

namespace turnout::api {
namespace arm {
namespace {

namespace ap = agent_protocol;
using Operation = PersonalInstance::Operation;

// One node at a time; when it is off the node goes, and for a restart it stays.
constexpr Span kNodeStays = 3s;
// What is its own, and one job.
constexpr int kAtATime = 2;
constexpr int kPriority = 1'000'000;  // before any job
constexpr std::string_view kExperiment = "compute-instances";
constexpr std::string_view kEnvironment =
    "azureml://registries/azureml/environments/jupyterlab/versions/1";

// Of a resource that a client got and sends back.
constexpr std::string_view kSaidByServer[] = {
    "state",           "applications", "errors",   "connectivityEndpoints", "lastOperation",
    "osImageMetadata", "createdBy",    "versions", "nextScheduledAction"};
// What is there on Azure and not here: a member that is empty asks for nothing.
struct NotHere {
    std::string_view member, why;
};
constexpr NotHere kNotHere[] = {
    {"setupScripts", "scripts at creation and start are not run here yet: remove setup_scripts"},
    {"customServices",
     "applications beside JupyterLab are not run here yet: remove custom_applications"},
};

constexpr Span kLook = 50ms, kTryAgain = 1s;
constexpr Span kLongestStart = 30min;  // an environment may have to be built
constexpr int kFailures = 3;           // in a row: then it is said to have failed

// The shell's variables come from the task. Everything that a person keeps is beneath their home,
// which stays where the node's provider says (TURNOUT_HOMES). JupyterLab is begun without
// rfc3987_syntax, by which jsonschema would check the form of links in extensions' settings: that
// package builds a grammar when it is imported, half of the time that JupyterLab needs to start.
constexpr std::string_view kCommand = R"sh(set -eu
home="${TURNOUT_HOMES:-${HOME:-/tmp}/turnout-homes}/$AZUREML_CI_HOME"
mkdir -p "$home/.azureml" "$home/.jupyter" "$home/.ipython"
printf '%s\n' "$AZUREML_CI_WORKSPACE" > "$home/.azureml/config.json"
export HOME="$home" JUPYTER_CONFIG_DIR="$home/.jupyter" JUPYTER_DATA_DIR="$home/.jupyter/share"
export JUPYTER_RUNTIME_DIR="$TMPDIR/jupyter" IPYTHONDIR="$home/.ipython" SHELL="${SHELL:-/bin/bash}"
cd "$home"
unset MLFLOW_RUN_ID MLFLOW_EXPERIMENT_ID
exec python -c "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; main()" --no-browser --allow-root --ServerApp.ip=127.0.0.1 --ServerApp.port=$AZUREML_SERVICE_PORT --ServerApp.port_retries=0 --ServerApp.base_url="$AZUREML_CI_PATH" --ServerApp.root_dir="$home" --ServerApp.allow_remote_access=True --ServerApp.trust_xheaders=True --ServerApp.quit_button=False --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate
)sh";

std::string key_of(const Compute& compute) {
    return compute.workspace + "/" + compute.name;
}

Result<ServiceSubmission> submission_of(Services& services, const Workspace& workspace,
                                        const Compute& compute, const Experiment& experiment) {
    const PersonalInstance& instance = *compute.personal;
    const OwnCall own(instance.user);
    const Json config = Json::object({{"subscription_id", workspace.subscription},
                                      {"resource_group", workspace.resource_group},
                                      {"workspace_name", workspace.name}});
    const Json properties = Json::object(
        {{"jobType", name_of(kFirstJobType)},
         {"command", kCommand},
         {"experimentName", kExperiment},
         {"environmentId", kEnvironment},
         {"computeId", workspace_path(workspace) + "/computes/" + compute.name},
         {"identity", Json::object({{"identityType", "UserIdentity"}})},
         {"environmentVariables",
          Json::object(
              {{"AZUREML_CI_NAME", compute.name},
               {"AZUREML_CI_HOME", workspace.id + "/Users/" + percent_encode(instance.user)},
               {"AZUREML_CI_PATH", path_of_instance(workspace.id, compute.name)},
               {"AZUREML_CI_START", std::to_string(instance.starts)},
               {"AZUREML_CI_WORKSPACE", config.dump()}})}});
    const std::string stand_in(ap::kJobPlaceholder);
    JobSubmission job = TURNOUT_TRY(resolve_command(
        {services, own.call, workspace, stand_in, false, true}, kFirstJobType, properties));
    job.task.mlflow_experiment_id = experiment.id;
    job.task.variables.emplace(job.task.variables.begin(), "AZUREML_EXPERIMENT_ID", experiment.id);
    job.task.variables.emplace_back("JUPYTER_TOKEN",
                                    "${{secrets." + std::string(ap::kServiceKey) + "}}");
    job.task.secrets.emplace_back(ap::kServiceKey);
    ap::ServiceSpec service;
    service.probe.kind = ap::Probe::Kind::Http;
    service.probe.path = path_of_instance(workspace.id, compute.name) + "api";
    service.probe.interval = 200ms;
    service.probe.timeout = 5s;
    service.unready_limit = 10min;
    job.task.service = service;

    ServiceSubmission wish;
    wish.workspace = workspace.id;
    wish.name = service_of_instance(compute.name);
    wish.compute = compute.name;
    wish.task = std::move(job.task);
    wish.wanted = instance.on ? 1 : 0;
    wish.surge = 0;  // no two of one home
    wish.priority = kPriority;
    wish.principal = instance.user;
    wish.experiment = kExperiment;
    return wish;
}

// Nothing while it goes on; else how it ended, with why it failed.
std::optional<std::pair<Operation::Status, std::string>> outcome(const Services& services,
                                                                 const Compute& compute) {
    const auto view =
        services.control.service(compute.workspace, service_of_instance(compute.name));
    if (!view) {
        if (compute.personal->on) return std::nullopt;
        return std::pair(Operation::Status::Succeeded, std::string());
    }
    if (!compute.personal->on) {
        if (view->counts.present == 0 && view->counts.wanted == 0)
            return std::pair(Operation::Status::Succeeded, std::string());
        return std::nullopt;
    }
    if (view->counts.ready > 0 && view->counts.old == 0)
        return std::pair(Operation::Status::Succeeded, std::string());
    if (view->service.failures >= kFailures)
        return std::pair(Operation::Status::Failed, "its notebook server ended " +
                                                        std::to_string(view->service.failures) +
                                                        " times: " + view->service.trouble);
    return std::nullopt;
}

Result<std::optional<Compute>> row_of(Services& services, const std::string& key) {
    const auto record = TURNOUT_TRY(services.store.get(Table::Compute, key));
    if (!record) return std::nullopt;
    const Json document = TURNOUT_TRY(parse_json(record->value));
    return TURNOUT_TRY(compute_from_json(document));
}

Task<Result<void>> tell_service(Services& services, const Compute& compute) {
    if (!compute.personal->on) {
        // What it would be started with may be gone by now: that keeps nobody from stopping it.
        const Result<Put> put = co_await asked<Put>([&](auto reply) {
            services.control.want_service(compute.workspace, service_of_instance(compute.name), 0,
                                          std::move(reply));
        });
        if (!put && put.error().code != Code::NotFound) co_return Failure(put.error());
        co_return Result<void>();
    }
    TURNOUT_CO_TRY(const auto workspace, services.assets.workspace_by_id(compute.workspace));
    if (!workspace) co_return not_found("its workspace is gone");
    TURNOUT_CO_TRY(const Experiment experiment, co_await services.tracking.ensure_experiment(
                                                    workspace->id, std::string(kExperiment)));
    TURNOUT_CO_TRY(ServiceSubmission wish,
                   submission_of(services, *workspace, compute, experiment));
    const Result<Put> put = co_await asked<Put>(
        [&](auto reply) { services.control.put_service(std::move(wish), std::move(reply)); });
    if (!put) co_return Failure(put.error());
    co_return Result<void>();
}

// Whether that is the same operation of the same instance: somebody may have deleted it, and made
// another one of that name.
bool is_same_operation(const std::optional<Compute>& now, const Compute& then) {
    return now && !now->deleting && now->personal && now->created == then.created &&
           now->personal->user == then.personal->user &&
           now->personal->starts == then.personal->starts && now->personal->on == then.personal->on;
}

// Until what is under way is over, or is another thing.
Task<void> see_to_it(Services& services, Compute compute) {
    const std::string key = key_of(compute);
    const Span begun = services.clock.since_boot();
    const PersonalInstance asked_for = *compute.personal;
    bool told = false;
    for (;;) {
        const auto now = row_of(services, key);
        if (now && (!is_same_operation(*now, compute) ||
                    (*now)->personal->last.status != Operation::Status::InProgress))
            co_return;
        std::optional<std::pair<Operation::Status, std::string>> over;
        if (!told) {
            const Result<void> put = co_await tell_service(services, compute);
            told = put.has_value();
            const bool later = !put && (put.error().code == Code::Unavailable ||
                                        put.error().code == Code::ResourceExhausted);
            if (!put && !later) over.emplace(Operation::Status::Failed, put.error().message);
            if (later) co_await services.loop.sleep(kTryAgain);
        } else {
            over = outcome(services, compute);
        }
        if (!over && services.clock.since_boot() - begun > kLongestStart)
            over.emplace(Operation::Status::Failed, "it took longer than 30 minutes");
        if (!over) {
            // The longer it takes the less often it is looked at.
            const Span waited = services.clock.since_boot() - begun;
            co_await services.loop.sleep(std::clamp<Span>(waited / 20, kLook, kTryAgain));
            continue;
        }
        const auto change = [&](const std::optional<Compute>& row) -> Result<Compute> {
            if (!is_same_operation(row, compute))
                return not_found("it is not waited for any more", "compute");
            Compute changed = *row;
            changed.personal->last.status = over->first;
            changed.personal->last.why = over->second;
            if (over->first == Operation::Status::Succeeded && asked_for.on)
                changed.personal->made = true;
            return changed;
        };
        const Result<Put> put = co_await asked<Put>([&](auto reply) {
            services.control.change_compute(compute.workspace, compute.name, change,
                                            std::move(reply));
        });
        if (put || put.error().code == Code::NotFound || put.error().code == Code::Conflict)
            co_return;
        co_await services.loop.sleep(kTryAgain);
    }
}

// ---- its schedules

const std::vector<Json>& schedules_of(const Compute& compute) {
    return compute.definition.at("properties").at("schedules").at("computeStartStop").items();
}

std::string place_of_schedule(std::size_t index) {
    return "properties.properties.schedules.computeStartStop[" + std::to_string(index) + "]";
}

// When it was said first; of rows of earlier builds when the instance was made.
Instant said_at(const Compute& compute, std::size_t index) {
    const std::vector<Instant>& said = compute.personal->said;
    return index < said.size() ? said[index] : compute.created;
}

Result<StartStop> read_start_stop(const Services& services, const Json& item,
                                  const std::string& place, Instant said) {
    const std::string_view action = item.at("action").as_view();
    const bool start = equal_ignoring_case(action, "start");
    if (!start && !equal_ignoring_case(action, "stop"))
        return invalid("the action is " + turnout::shown(action) + ": expected start or stop",
                       place + ".action");
    const bool cron = item.at("cron").is_object();
    Json trigger_json = item.at(cron ? "cron" : "recurrence");
    if (!trigger_json.is_object()) return invalid("it has neither 'cron' nor 'recurrence'", place);
    trigger_json.set("triggerType", cron ? "Cron" : "Recurrence");
    const auto bad = [&](const Error& why) {
        return fail(why.code, why.reason, why.message,
                    place + (cron ? ".cron." : ".recurrence.") + why.subject);
    };
    const auto trigger = trigger_of_rest(trigger_json);
    if (!trigger) return bad(trigger.error());
    auto when = Timetable::of(*trigger, services.zones, said);
    if (!when) return bad(when.error());
    return StartStop{start, std::move(*when)};
}

// One that was there before stays as it is: it goes on counting from where it began, and is not
// refused if it has ended meanwhile. What was due before another one was said is not done now.
Result<void> say_schedules(const Services& services, Compute& compute,
                           const std::optional<Compute>& before) {
    const Instant now = services.clock.now();
    const std::vector<Json>& list = schedules_of(compute);
    std::vector<Instant> said;
    bool same = before && schedules_of(*before).size() == list.size();
    for (std::size_t i = 0; i < list.size(); ++i) {
        std::optional<Instant> known;
        for (std::size_t j = 0; before && !known && j < schedules_of(*before).size(); ++j)
            if (list[i].equal_unordered(schedules_of(*before)[j])) known = said_at(*before, j);
        same = same && known;
        said.push_back(known.value_or(now));
        if (!known) TURNOUT_TRY(read_start_stop(services, list[i], place_of_schedule(i), now));
    }
    compute.personal->said = std::move(said);
    if (!same) compute.personal->fired = now;
    return {};
}

Result<std::string> assigned_user(Services& services, const Call& call, const Workspace& workspace,
                                  const std::string& name, const Json& inner, const Author& by) {
    const Json& assigned = inner.at("personalComputeInstanceSettings").at("assignedUser");
    const std::string id = assigned.at("objectId").as_string();
    const std::string place = "properties.properties.personalComputeInstanceSettings.assignedUser";
    if (id.empty()) return by.user;
    const auto user = TURNOUT_TRY(services.authority.user_with_object_id(id));
    if (!user)
        return fail(Code::InvalidArgument, "UserNotFound",
                    "no user of this server has the object id " + turnout::shown(id) +
                        " (`turnout user list` shows them)",
                    place);
    if (*user != by.user &&
        !services.authority.may(call.principal, access::action::kWriteAssignments,
                                {workspace.id, to_lower(name)}))
        return fail(Code::PermissionDenied, "AuthorizationFailed",
                    "an instance for somebody else is made by who may assign roles, such as an "
                    "Owner",
                    place);
    return *user;
}

}  // namespace

bool is_personal(const Json& body) {
    return equal_ignoring_case(body.at("properties").at("computeType").as_view(),
                               "ComputeInstance");
}

Result<Compute> read_personal(Services& services, const Call& call, const Workspace& workspace,
                              const std::string& name, const Json& body,
                              const std::optional<Compute>& before) {
    if (before && !before->personal)
        return fail(Code::Conflict, "ComputeUpdateNotSupported",
                    "compute '" + name + "' exists and is no compute instance: choose another name",
                    "properties.computeType");
    const Json& definition = body.at("properties");
    const Json& inner = definition.at("properties");
    if (!inner.is_object())
        return invalid("a ComputeInstance needs 'properties' with its vmSize",
                       "properties.properties");
    TURNOUT_TRY(resources::check_rest(resources::compute_instance(), body));
    for (const NotHere& one : kNotHere) {
        const Json& asked = inner.at(one.member);
        const bool empty = asked.is_null() || (asked.is_object() && asked.members().empty()) ||
                           (asked.is_array() && asked.items().empty());
        if (!empty)
            return fail(Code::InvalidArgument, "NotImplemented", std::string(one.why),
                        "properties.properties." + std::string(one.member));
    }
    const Author by = TURNOUT_TRY(author_of(services, call));
    Compute compute;
    compute.workspace = workspace.id;
    compute.name = name;
    compute.definition = definition;
    if (Json* const kept = compute.definition.find("properties")) {
        for (const std::string_view said : kSaidByServer) kept->erase(said);
        // No login of its own: what is shown says so.
        if (kept->has("sshSettings"))
            kept->set("sshSettings", Json::object({{"sshPublicAccess", "Disabled"}}));
    }
    compute.max_nodes = 1;
    compute.jobs_per_node = kAtATime;
    compute.idle_before_scale_down = kNodeStays;
    PersonalInstance instance;
    if (before) {
        instance = *before->personal;
        compute.created = before->created;
        compute.vm_size = before->vm_size;
    } else {
        instance.last.at = services.clock.now();
    }
    const std::string user = TURNOUT_TRY(assigned_user(services, call, workspace, name, inner, by));
    if (!before)
        instance.user = user;
    else if (!inner.at("personalComputeInstanceSettings").is_null() && user != instance.user)
        return fail(Code::Conflict, "ComputeUpdateNotSupported",
                    "compute instance '" + name + "' is " + instance.user +
                        "'s; that cannot change: delete it first, or choose another name",
                    "properties.properties.personalComputeInstanceSettings");
    instance.idle_before_shutdown = {};
    if (const std::string idle = inner.at("idleTimeBeforeShutdown").as_string(); !idle.empty()) {
        const auto span = parse_duration(idle);
        constexpr Span least = 15min, most = 3 * 24h;
        if (!span || *span < least || *span > most)
            return invalid("idleTimeBeforeShutdown is " + turnout::shown(idle) +
                               ": expected a duration of 15 minutes to 3 days, such as PT60M",
                           "properties.properties.idleTimeBeforeShutdown");
        instance.idle_before_shutdown = *span;
    }
    compute.personal = std::move(instance);
    TURNOUT_TRY(say_schedules(services, compute, before));
    return compute;
}

std::vector<StartStop> start_stops_of(const Services& services, const Compute& compute) {
    std::vector<StartStop> all;
    const std::vector<Json>& list = schedules_of(compute);
    for (std::size_t i = 0; i < list.size(); ++i)
        if (auto one =
                read_start_stop(services, list[i], place_of_schedule(i), said_at(compute, i));
            one && !equal_ignoring_case(list[i].at("status").as_view(), "Disabled"))
            all.push_back(std::move(*one));
    return all;
}

void look_at_personal(Services& services, const Compute& compute) {
    if (!compute.personal || compute.personal->last.status != Operation::Status::InProgress) return;
    // Whoever asks again for what is under way begins nothing.
    const std::string operation = key_of(compute) + " " + std::to_string(compute.created.micros) +
                                  " " + std::to_string(compute.personal->starts) +
                                  (compute.personal->on ? " on" : " off");
    if (!services.watched_instances.insert(operation).second) return;
    start(see_to_it(services, compute),
          [&services, operation] { services.watched_instances.erase(operation); });
}

Result<Compute> with_power(const Services& services, const Compute& compute, std::string_view verb,
                           std::string_view trigger) {
    const PersonalInstance& was = *compute.personal;
    const auto state = state_of_personal(services, compute);
    const auto refuse = [&](const std::string& what) {
        return fail(Code::Conflict, "ComputeInstanceState",
                    "compute instance '" + compute.name + "' " + what, "compute");
    };
    Compute changed = compute;
    PersonalInstance& instance = *changed.personal;
    if (verb == "stop") {
        if (!was.on && was.last.status != Operation::Status::Failed) return compute;
        instance.on = false;
        instance.last.name = Operation::Name::Stop;
    } else {
        // It may have become ready after it was given up: what runs there is let be.
        if (verb == "start" && was.on &&
            (was.last.status != Operation::Status::Failed || is_ready(state)))
            return compute;
        if (verb == "restart" && !was.on)
            return refuse("is " + std::string(state) + ": start it first");
        instance.on = true;
        ++instance.starts;
        instance.last.name = verb == "restart" ? Operation::Name::Restart : Operation::Name::Start;
    }
    instance.last.status = Operation::Status::InProgress;
    instance.last.trigger = trigger;
    instance.last.at = services.clock.now();
    instance.last.why.clear();
    return changed;
}

std::string_view state_of_personal(const Services& services, const Compute& compute) {
    const PersonalInstance& instance = *compute.personal;
    if (compute.deleting) return "Deleting";
    const auto view =
        services.control.service(compute.workspace, service_of_instance(compute.name));
    if (!instance.on) return view && view->counts.present > 0 ? "Stopping" : "Stopped";
    if (view && view->counts.ready > 0 && view->counts.old == 0) {
        for (const Node& node : services.control.nodes_of(compute.workspace, compute.name))
            if (node.attempts >= kAtATime) return "JobRunning";
        return "Running";
    }
    if (instance.last.status == Operation::Status::Failed)
        return instance.made ? "Unusable" : "CreateFailed";
    if (!instance.made) return "Creating";
    return instance.last.name == Operation::Name::Restart ? "Restarting" : "Starting";
}

bool is_ready(std::string_view state) {
    return state == "Running" || state == "JobRunning";
}

Json personal_properties(const Services& services, const Call& call, const Compute& compute) {
    const PersonalInstance& instance = *compute.personal;
    Json inner = compute.definition.at("properties").is_object()
                     ? compute.definition.at("properties")
                     : Json::object();
    inner.set("vmSize", compute.vm_size);
    inner.set("state", state_of_personal(services, compute));
    inner.set("osImageMetadata", Json::object({{"currentImageVersion", services.info.version},
                                               {"latestImageVersion", services.info.version},
                                               {"isLatestOsImageVersion", true}}));
    const std::string object_id = services.authority.object_id(Principal{
        .kind = Principal::Kind::User, .name = instance.user, .workspace = {}, .job = {}});
    inner.set(
        "personalComputeInstanceSettings",
        Json::object({{"assignedUser", Json::object({{"objectId", object_id},
                                                     {"tenantId", services.authority.tenant()},
                                                     {"userName", instance.user}})}}));
    inner.set("createdBy", Json::object({{"userName", compute.made.created.user},
                                         {"userOrgId", services.authority.tenant()}}));
    const std::string base =
        programs_origin(services.info, call) + path_of_instance(compute.workspace, compute.name);
    Json applications = Json::array();
    if (instance.on)
        for (const auto& [title, path] : {std::pair("Jupyter", "tree"), {"Jupyter Lab", "lab"}})
            applications.push(Json::object({{"displayName", title}, {"endpointUri", base + path}}));
    inner.set("applications", std::move(applications));
    inner.set("lastOperation", Json::object({{"operationName", name_of(instance.last.name)},
                                             {"operationTime", to_iso8601(instance.last.at)},
                                             {"operationStatus", name_of(instance.last.status)},
                                             {"operationTrigger", instance.last.trigger}}));
    {
        const std::vector<StartStop> all = start_stops_of(services, compute);
        const StartStop* first = nullptr;
        Instant at{};
        for (const StartStop& one : all)
            if (const auto next = one.when.next(services.clock.now());
                next && (!first || *next < at)) {
                first = &one;
                at = *next;
            }
        if (first)
            inner.set("nextScheduledAction",
                      Json::object(
                          {{"action", first->start ? "start" : "stop"}, {"time", to_iso8601(at)}}));
    }
    std::string address;
    for (const Node& node : services.control.nodes_of(compute.workspace, compute.name))
        address = node.facts.address;
    inner.set("connectivityEndpoints",
              Json::object({{"publicIpAddress", Json()},
                            {"privateIpAddress", address.empty() ? Json() : Json(address)}}));
    Json errors = Json::array();
    const auto say = [&](const char* code, const std::string& message) {
        errors.push(
            Json::object({{"error", Json::object({{"code", code}, {"message", message}})}}));
    };
    if (!instance.last.why.empty()) say("ComputeInstanceFailed", instance.last.why);
    const auto view =
        services.control.service(compute.workspace, service_of_instance(compute.name));
    if (instance.on && view && !view->why.empty()) say("NotReady", view->why);
    inner.set("errors", errors.items().empty() ? Json() : std::move(errors));
    return inner;
}

Json personal_definition(const Compute& compute) {
    Json properties = compute.definition;
    Json& inner = properties["properties"];
    if (!inner.is_object()) inner = Json::object();
    inner.set("vmSize", compute.vm_size);
    Json body = compute.envelope;
    body.set("properties", std::move(properties));
    return body;
}

Result<void> check_personal(const Compute& compute, std::string_view user) {
    const PersonalInstance& instance = *compute.personal;
    if (instance.user != user)
        return fail(Code::PermissionDenied, "ComputeInstanceOfAnother",
                    "compute instance '" + compute.name + "' is assigned to '" + instance.user +
                        "': jobs of others do not run there",
                    "computeId");
    if (!instance.on)
        return fail(Code::Conflict, "ComputeInstanceStopped",
                    "compute instance '" + compute.name +
                        "' is stopped: start it (`turnout compute start --name " + compute.name +
                        "`), or choose another compute",
                    "computeId");
    return {};
}

}  // namespace arm

void resume_instances(Services& services) {
    const auto look = [&](const Record& record) -> Result<void> {
        const Json document = TURNOUT_TRY(parse_json(record.value));
        const Compute compute = TURNOUT_TRY(compute_from_json(document));
        if (!compute.deleting) arm::look_at_personal(services, compute);
        return {};
    };
    (void)each_row(services.store, Table::Compute, with_prefix(""), look);
}

}  // namespace turnout::api
