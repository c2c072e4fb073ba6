#include "api/schedules/schedules.h"

#include <algorithm>

#include "access/actions.h"
#include "api/arm/job_lookup.h"
#include "api/arm/job_resolution.h"
#include "api/arm/job_submission.h"
#include "api/arm/resource.h"
#include "api/audit/audit.h"
#include "api/own_call.h"
#include "api/upkeep/removal.h"
#include "base/text.h"
#include "control/jobs.h"
#include "resources/rules.h"
#include "submission/job.h"
#include "submission/reference.h"
#include "submission/refusal.h"

namespace turnout::api {
namespace {

// A wall clock may be put forward: nobody says so, so it is looked at that often.
constexpr Span kLongestSleep = 10s;
constexpr std::size_t kLongestName = 220;
constexpr Span kAgainIn = 5s;
constexpr Span kUnreadable = 1min;  // a row that cannot be read now

constexpr std::string_view kTime = "${{creation_context.trigger_time}}", kJobName = "${{name}}";

// What is kept beside the properties of ARM's document.
constexpr const char* kState = "scheduleState";

Result<Schedule> schedule_of(std::string name, const Json& row) {
    Schedule schedule;
    schedule.name = std::move(name);
    schedule.properties = row;
    schedule.created = {row.at("created").as_int()};
    schedule.modified = {row.at(kState).at("modified").as_int()};
    schedule.made = authorship_of(row);
    for (const char* const own : {kState, "created", "modified", "createdBy", "modifiedBy"})
        schedule.properties.erase(own);
    schedule.trigger = TURNOUT_TRY(trigger_of_rest(row.at("trigger")));
    schedule.missed = TURNOUT_TRY(missed_runs_of(row.at("properties")));
    schedule.state = TURNOUT_TRY(schedule_state_from_json(row.at(kState)));
    return schedule;
}

// It may go a moment later.
bool worth_another_try(const Error& error) {
    return error.code == Code::Unavailable || error.code == Code::Ambiguous ||
           error.code == Code::Canceled ||
           (error.code == Code::ResourceExhausted && error.reason != "QuotaExceeded");
}

void replace_in_values(Json& json, std::string_view what, std::string_view by) {
    if (json.is_string()) {
        std::string text = json.as_string();
        replace_all(text, what, by);
        if (text != json.as_view()) json = Json(std::move(text));
    } else if (json.is_array()) {
        for (Json& item : json.items()) replace_in_values(item, what, by);
    } else if (json.is_object()) {
        for (auto& [key, value] : json.members()) replace_in_values(value, what, by);
    }
}

Failure refuse_at(std::string_view place, std::string_view expected, const Json& found) {
    return submission::not_as_expected("InvalidArgument", std::string(place), std::string(expected),
                                       found);
}

Error under(Error error, const std::string& place) {
    error.subject = place + (error.subject.empty() ? "" : "." + error.subject);
    return error;
}

// Of an action: the job that is there already, whose definition it is to be.
std::string source_of(const Json& definition) {
    for (const char* const key : {"sourceJobId", "source_job_id"})
        if (std::string text = definition.at(key).as_string(); !text.empty()) return text;
    return "";
}

// Clients that read it and write it again put a few things differently.
bool same_work(const Json& one, const Json& other, const Workspace& workspace) {
    const auto a = arm::job_definition(one, workspace), b = arm::job_definition(other, workspace);
    return a && b && a->equal_unordered(*b);
}

bool says_what_to_run(const Json& definition) {
    for (const char* const key : {"jobs", "command", "trial"})
        if (const Json& part = definition.at(key);
            part.is_string() ? !part.as_view().empty() : !part.members().empty())
            return true;
    return !definition.at("componentId").as_view().empty();
}

}  // namespace

Json definition_at(const Schedule& schedule, const std::string& job, Instant due) {
    Json definition = schedule.properties.at("action").at("jobDefinition");
    const std::string time = to_iso8601(due).substr(0, 19) + "Z";
    if (Json* inputs = definition.find("inputs")) {
        replace_in_values(*inputs, kTime, time);
        replace_in_values(*inputs, kJobName, job);
    }
    for (const char* const key : {"description", "tags"})
        if (Json* part = definition.find(key)) replace_in_values(*part, kTime, time);
    // Azure's names: the job's own with the time, or that of the schedule.
    const std::string title = definition.at("displayName").as_string();
    definition.set("displayName", title_of_firing(title.empty() ? schedule.name : title, due));
    if (definition.at("experimentName").as_view().empty())
        definition.set("experimentName", schedule.name);
    for (const char* const key : {"sourceJobId", "source_job_id"}) definition.erase(key);
    return definition;
}

Schedules::Schedules(Services& services, TimeZones zones)
    : services_(services), zones_(std::move(zones)) {}

Schedules::~Schedules() {
    if (timer_ != 0) services_.loop.cancel(timer_);
}

Result<void> Schedules::begin() {
    for (const Workspace& workspace : TURNOUT_TRY(services_.assets.list_workspaces("", "")))
        for (const auto& [name, row] :
             TURNOUT_TRY(services_.assets.list_singles(workspace.id, kScheduleDocuments)))
            watch({workspace.id, name}, services_.clock.now());
    look_later();
    return {};
}

Result<std::optional<Schedule>> Schedules::find(const std::string& wsid,
                                                const std::string& name) const {
    const auto row = TURNOUT_TRY(services_.assets.find_single(wsid, kScheduleDocuments, name));
    if (!row) return std::nullopt;
    return TURNOUT_TRY(schedule_of(name, *row));
}

Result<std::vector<Schedule>> Schedules::list(const std::string& wsid) const {
    std::vector<Schedule> all;
    for (const auto& [name, row] :
         TURNOUT_TRY(services_.assets.list_singles(wsid, kScheduleDocuments)))
        all.push_back(TURNOUT_TRY(schedule_of(name, row)));
    return all;
}

Result<Timetable> Schedules::timetable_of(const Schedule& schedule) const {
    return Timetable::of(schedule.trigger, zones_, schedule.created);
}

Result<std::optional<Instant>> Schedules::next(const Schedule& schedule) const {
    if (!schedule.state.enabled) return std::nullopt;
    return TURNOUT_TRY(timetable_of(schedule)).next(schedule.state.settled);
}

Task<Result<Schedule>> Schedules::save(std::string wsid, Schedule schedule, Author by) {
    Json row = schedule.properties;
    Json state = to_json(schedule.state);
    state.set("modified", schedule.modified.micros);
    row.set(kState, std::move(state));
    const std::string name = schedule.name;
    TURNOUT_CO_TRY(
        [[maybe_unused]] const bool is_new,
        co_await services_.assets.put_single(wsid, kScheduleDocuments, name, std::move(row), by));
    const auto next_time = next(schedule);
    watch({wsid, name}, next_time ? *next_time : services_.clock.now() + kUnreadable);
    look_later();
    co_return schedule;
}

// ---- what clients ask for

// What is to be submitted, of a job that is there as it is now: that one may change or go.
Task<Result<Json>> Schedules::definition_of(Call& call, const Workspace& workspace,
                                            const Json& action, const Schedule* before) {
    const Json& said = action.at("jobDefinition");
    const std::string source = source_of(said);
    if (source.empty() || says_what_to_run(said)) co_return said;
    if (before && source == source_of(before->properties.at("action").at("jobDefinition"))) {
        // The same once more, without anything else: as it was.
        Json was = before->properties.at("action").at("jobDefinition");
        was.merge(said);
        if (was == before->properties.at("action").at("jobDefinition")) co_return was;
    }
    std::string name(source);
    if (name.starts_with("azureml:")) name.erase(0, 8);
    if (const std::size_t slash = name.rfind('/'); slash != std::string::npos)
        name.erase(0, slash + 1);
    TURNOUT_CO_TRY(const auto job, read_job(services_.store, workspace.id, name));
    if (!job)
        co_return not_found("job '" + name +
                                "' does not exist: expected one of this workspace, "
                                "whose definition the schedule takes",
                            "properties.action.jobDefinition.sourceJobId");
    const JobRecord& record = job->record;
    if (record.child.group != "")
        co_return invalid("job '" + name + "' is a part of job '" + record.child.group +
                              "': expected a job of its own",
                          "properties.action.jobDefinition.sourceJobId");
    TURNOUT_CO_TRY_VOID(permit(services_, call, access::action::kReadJobs, workspace.id));
    Json definition = record.definition;
    definition.set("jobType", name_of(record.type));
    definition.set("experimentName", record.meta.experiment);
    if (record.meta.display_name != record.name)
        definition.set("displayName", record.meta.display_name);
    if (!record.meta.description.empty()) definition.set("description", record.meta.description);
    definition.set("tags", record.meta.tags);
    // Where nothing is said it is serverless, which Azure's clients want to be said in a schedule.
    if (!definition.has("computeId")) definition.set("computeId", "serverless");
    // What is said beside it is said of this schedule's jobs.
    for (const auto& [key, value] : said.members()) {
        const bool empty = value.is_null() || (value.is_string() && value.as_view().empty()) ||
                           (value.is_object() && value.members().empty());
        if (empty || key == "jobType") continue;
        if (value.is_object() && definition.at(key).is_object())
            for (const auto& [part, inner] : value.members()) definition[key].set(part, inner);
        else
            definition.set(key, value);
    }
    co_return definition;
}

// What can be known to be wrong is told now and not in the night.
Result<void> Schedules::check_job(Call& call, const Workspace& workspace, const std::string& name,
                                  const Json& definition) {
    Schedule schedule;
    schedule.name = name;
    schedule.properties = Json::object({{"action", Json::object({{"jobDefinition", definition}})}});
    const Instant now = services_.clock.now();
    const std::string job = job_of_firing(name, now);
    const Json properties = definition_at(schedule, job, now);
    const std::string place = "properties.action.jobDefinition";
    if (const auto type = submission::job_type_of(properties); !type)
        return Failure(under(type.error(), place));
    const auto job_found = arm::resolve_job(services_, call, workspace, job, properties);
    if (job_found) return {};
    Error error = job_found.error();
    if (error.subject.starts_with("properties.")) error.subject.erase(0, 11);
    return Failure(under(std::move(error), place));
}

Task<Result<bool>> Schedules::put(Call& call, const Workspace& workspace, std::string name,
                                  Json properties) {
    TURNOUT_CO_TRY_VOID(resources::check_name(resources::kName, name, "schedule"));
    if (name.size() > kLongestName)
        co_return fail(Code::InvalidArgument, "InvalidName",
                       "expected a name of at most " + std::to_string(kLongestName) +
                           " characters, for its jobs have the time behind it, found " +
                           std::to_string(name.size()),
                       "name");
    if (!properties.is_object()) co_return invalid("the body needs 'properties'", "properties");
    TURNOUT_CO_TRY_VOID(permit(services_, call, access::action::kWriteJobs, workspace.id));
    for (const char* const key : {"displayName", "description"})
        if (!properties.at(key).is_null() && !properties.at(key).is_string())
            co_return refuse_at(key, "a text", properties.at(key));
    for (const char* const key : {"tags", "properties"}) {
        const Json& texts = properties.at(key);
        if (!texts.is_null() && !texts.is_object())
            co_return refuse_at(key, "a mapping of texts", texts);
        for (const auto& [member, text] : texts.members())
            if (!text.is_string() && !text.is_null())
                co_return refuse_at(std::string(key) + "." + member, "a text", text);
    }
    const Json& enabled = properties.at("isEnabled");
    if (!enabled.is_null() && !enabled.is_bool())
        co_return refuse_at("isEnabled", "true or false", enabled);
    const Json& action = properties.at("action");
    if (!equal_ignoring_case(action.at("actionType").as_view(), "CreateJob"))
        co_return refuse_at("action.actionType", "'CreateJob', the one action there is",
                            action.at("actionType"));
    if (!action.at("jobDefinition").is_object())
        co_return refuse_at("action.jobDefinition", "the definition of a job",
                            action.at("jobDefinition"));

    Turns::Turn turn(turns_, workspace.id + "/" + name);
    co_await turn;
    TURNOUT_CO_TRY(const std::optional<Schedule> before, find(workspace.id, name));
    const Instant now = services_.clock.now();
    Schedule schedule;
    schedule.name = name;
    schedule.created = before ? before->created : now;
    schedule.modified = now;
    if (before) schedule.state = before->state;

    // ---- the trigger. Without a start time it begins when it is said first.
    auto trigger = trigger_of_rest(properties.at("trigger"));
    if (!trigger) co_return Failure(under(trigger.error(), "properties.trigger"));
    if (trigger->time_zone.empty()) trigger->time_zone = "UTC";
    const Trigger said = *trigger;
    Trigger was = before ? before->trigger : Trigger();
    if (before && said.start_time.empty() && !was.start_time.empty() &&
        before->properties.at("startIsCreation").as_bool())
        trigger->start_time = was.start_time;
    const bool same_trigger = before && *trigger == was;
    bool start_is_creation = same_trigger && before->properties.at("startIsCreation").as_bool();
    if (!same_trigger && said.start_time.empty()) {
        auto utc = *trigger;
        const auto zone = find_time_zone(utc.time_zone, zones_);
        if (!zone) co_return Failure(under(zone.error(), "properties.trigger"));
        const auto here = Timetable::of(utc, zones_, now);
        if (!here) co_return Failure(under(here.error(), "properties.trigger"));
        trigger->start_time = here->local_text(now);
        start_is_creation = true;
    }
    const auto table = Timetable::of(*trigger, zones_, now);
    if (!table && !same_trigger) co_return Failure(under(table.error(), "properties.trigger"));
    if (!same_trigger && table->end() && *table->end() < now)
        co_return refuse_at("trigger.endTime", "a time that is still to come",
                            Json(trigger->end_time));
    schedule.trigger = *trigger;
    auto missed = missed_runs_of(properties.at("properties"));
    if (!missed) co_return Failure(under(missed.error(), "properties"));
    schedule.missed = *missed;

    // ---- the job
    TURNOUT_CO_TRY(const Json definition,
                   co_await definition_of(call, workspace, action, before ? &*before : nullptr));
    const bool same_job = before && same_work(before->properties.at("action").at("jobDefinition"),
                                              definition, workspace);
    if (!same_job) {
        TURNOUT_CO_TRY_VOID(check_job(call, workspace, name, definition));
    }
    TURNOUT_CO_TRY(const Author by, author_of(services_, call));
    // Whoever says what runs is whose it is: nobody's program runs as somebody else.
    if (!same_job) schedule.state.owner = by.user;

    const bool was_enabled = before && before->state.enabled;
    schedule.state.enabled = enabled.as_bool(true);
    if (!before || !same_trigger)
        schedule.state.settled = settled_at_beginning(said, now);
    else if (schedule.state.enabled && !was_enabled)
        schedule.state.settled = now;  // whatever a clock that was wrong has settled

    // ---- what is kept of what was said
    Json kept = Json::object();
    for (const char* const key : {"displayName", "description", "tags"})
        if (!properties.at(key).is_null()) kept.set(key, properties.at(key));
    Json own = Json::object();
    for (const auto& [key, value] : properties.at("properties").members())
        if (!key.starts_with("turnout.")) own.set(key, value);
    kept.set("properties", std::move(own));
    kept.set("action", Json::object({{"actionType", "CreateJob"}, {"jobDefinition", definition}}));
    kept.set("trigger", trigger_to_rest(*trigger));
    if (start_is_creation) kept.set("startIsCreation", true);
    schedule.properties = std::move(kept);
    TURNOUT_CO_TRY([[maybe_unused]] const Schedule saved,
                   co_await save(workspace.id, std::move(schedule), by));
    co_return !before.has_value();
}

Task<Result<void>> Schedules::remove(const Workspace& workspace, std::string name) {
    Turns::Turn turn(turns_, workspace.id + "/" + name);
    co_await turn;
    TURNOUT_CO_TRY(const auto schedule, find(workspace.id, name));
    if (schedule && schedule->state.enabled)
        co_return fail(Code::FailedPrecondition, "ScheduleEnabled",
                       "schedule '" + name +
                           "' is enabled: only a disabled one can be deleted "
                           "(`turnout schedule disable " +
                           name + "`)",
                       "name");
    TURNOUT_CO_TRY_VOID(
        co_await services_.assets.delete_single(workspace.id, kScheduleDocuments, name));
    watched_.erase({workspace.id, name});
    co_return Result<void>();
}

Task<Result<std::string>> Schedules::trigger(Call& call, const Workspace& workspace,
                                             std::string name, Instant when) {
    TURNOUT_CO_TRY_VOID(permit(services_, call, access::action::kWriteJobs, workspace.id));
    Turns::Turn turn(turns_, workspace.id + "/" + name);
    co_await turn;
    TURNOUT_CO_TRY(std::optional<Schedule> schedule, find(workspace.id, name));
    if (!schedule) co_return not_found("schedule '" + name + "' does not exist", "name");
    TURNOUT_CO_TRY(Firing firing,
                   co_await fire(workspace.id, *schedule, when, call.principal.name));
    const std::string job = firing.job, reason = firing.reason;
    const bool refused = firing.what == Firing::What::Refused;
    settle(schedule->state, Due{}, std::move(firing));
    const Author by = schedule->made.modified;
    TURNOUT_CO_TRY([[maybe_unused]] const Schedule saved,
                   co_await save(workspace.id, std::move(*schedule), by));
    if (refused)
        co_return fail(Code::FailedPrecondition, "ScheduleRefused",
                       "schedule '" + name + "' could not submit its job: " + reason);
    co_return job;
}

// ---- its time has come

Task<Result<Firing>> Schedules::fire(const std::string& wsid, const Schedule& schedule, Instant due,
                                     std::string by) {
    const std::string job = job_of_firing(schedule.name, due, by.empty() ? Asked::No : Asked::Yes);
    Firing firing;
    firing.due = due;
    firing.at = services_.clock.now();
    firing.by = std::move(by);
    firing.job = job;
    const auto refuse = [&](const std::string& why) {
        firing.what = Firing::What::Refused;
        firing.job.clear();
        firing.reason = why;
        return firing;
    };
    TURNOUT_CO_TRY(const auto workspace, services_.assets.workspace_by_id(wsid));
    if (!workspace) co_return refuse("its workspace is gone");
    TURNOUT_CO_TRY_VOID(co_await upkeep::check_name_is_free(services_, wsid, job));
    TURNOUT_CO_TRY(const auto known, read_job(services_.store, wsid, job));
    if (known) {
        // It was submitted, and what came after that was lost.
        const Json& of = known->record.meta.properties.at("turnout.schedule");
        if (of.as_view() == schedule.name) co_return firing;
        co_return refuse("job '" + job + "' exists and is another one");
    }

    OwnCall own(schedule.state.owner);
    own.request.method = "PUT";
    own.request.path = workspace_path(*workspace) + "/jobs/" + job;
    Call& call = own.call;
    const std::string whose = "user '" + schedule.state.owner + "', whose schedule it is, ";
    const std::string holder = services_.authority.holder(call.principal);
    const auto is_there = services_.authority.check_holder(holder);
    if (!is_there && worth_another_try(is_there.error())) co_return Failure(is_there.error());
    if (!is_there) co_return refuse(whose + "may not: " + is_there.error().message);
    if (!services_.authority.may(call.principal, access::action::kWriteJobs, {wsid, ""}))
        co_return refuse(whose + "may not submit jobs here any more (" +
                         std::string(access::action::kWriteJobs) + ")");

    const Json definition = definition_at(schedule, job, due);
    Json more = Json::object();
    more.set("turnout.schedule", schedule.name);
    more.set("turnout.schedule_time", to_iso8601(due).substr(0, 19) + "Z");
    Act act;
    act.at = services_.clock.now();
    act.user = schedule.state.owner;
    act.via = "schedule " + schedule.name;
    act.from = "server";
    act.action = access::action::kWriteJobs;
    act.method = own.request.method;
    act.path = own.request.path;
    act.status = 201;
    const auto made =
        co_await arm::submit_job(services_, call, *workspace, job, definition, more, &act);
    if (made) {
        // The job is there; where the record is not yet, it follows as soon as the disk takes it.
        if (call.recorded) (void)co_await call.recorded->second;
        co_return firing;
    }
    const bool later = worth_another_try(made.error());
    if (services_.audit && (!later || call.recorded)) {
        act.status = http_status(made.error().code);
        TURNOUT_CO_TRY_VOID(co_await services_.audit->add(std::move(act)));
    }
    if (later) co_return Failure(made.error());
    co_return refuse(made.error().message);
}

Task<Result<void>> Schedules::run_due(Key key) {
    Turns::Turn turn(turns_, key.first + "/" + key.second);
    co_await turn;
    TURNOUT_CO_TRY(std::optional<Schedule> schedule, find(key.first, key.second));
    TURNOUT_CO_TRY(const auto workspace, services_.assets.workspace_by_id(key.first));
    if (!schedule || !workspace) {
        watched_.erase(key);
        co_return Result<void>();
    }
    TURNOUT_CO_TRY(const Timetable table, timetable_of(*schedule));
    const ScheduleState before = schedule->state;
    // A job that was submitted by a server which then ended was not missed; nor were several, where
    // more than one server ended so.
    while (schedule->state.enabled) {
        const auto first = table.next(schedule->state.settled);
        if (!first || *first > services_.clock.now()) break;
        const std::string job = job_of_firing(schedule->name, *first);
        TURNOUT_CO_TRY(const auto known, read_job(services_.store, key.first, job));
        if (!known ||
            known->record.meta.properties.at("turnout.schedule").as_view() != schedule->name)
            break;
        Firing earlier;
        earlier.due = *first;
        earlier.at = known->record.created;
        earlier.job = job;
        Due only;
        only.run = first;
        settle(schedule->state, only, std::move(earlier));
    }
    const Instant now = services_.clock.now();
    Due due = due_at(table, schedule->state, schedule->missed, now);
    const Author by = schedule->made.modified;
    std::optional<Firing> ran;
    if (due.run) {
        if (due.missed) {
            // Durable before the job is: a server that is killed then looks for the job of the next
            // time, and that is to be this one.
            settle(schedule->state, Due{.run = std::nullopt, .missed = due.missed}, std::nullopt);
            due.missed.reset();
            TURNOUT_CO_TRY([[maybe_unused]] const Schedule kept,
                           co_await save(key.first, *schedule, by));
        }
        TURNOUT_CO_TRY(ran, co_await fire(key.first, *schedule, *due.run, ""));
    }
    settle(schedule->state, due, std::move(ran));
    if (schedule->state == before) {
        watch(key, schedule->state.enabled ? table.next(schedule->state.settled) : std::nullopt);
        co_return Result<void>();
    }
    TURNOUT_CO_TRY([[maybe_unused]] const Schedule saved,
                   co_await save(key.first, std::move(*schedule), by));
    co_return Result<void>();
}

void Schedules::watch(const Key& key, std::optional<Instant> next) {
    watched_[key].next = next;
}

void Schedules::look() {
    timer_ = 0;
    const Instant now = services_.clock.now();
    std::vector<Key> due;
    for (auto& [key, watched] : watched_)
        if (!watched.busy && watched.next && *watched.next <= now) {
            watched.busy = true;
            due.push_back(key);
        }
    for (const Key& key : due)
        start(run_due(key), [this, key](Result<void> done) {
            const auto found = watched_.find(key);
            if (found == watched_.end()) return;
            found->second.busy = false;
            if (!done)
                found->second.next = services_.clock.now() +
                                     (worth_another_try(done.error()) ? kAgainIn : kUnreadable);
            look_later();
        });
    look_later();
}

// One timer, of which the next firing is the end; none where nothing is to come.
void Schedules::look_later() {
    std::optional<Instant> first;
    for (const auto& [key, watched] : watched_)
        if (!watched.busy && watched.next && (!first || *watched.next < *first))
            first = watched.next;
    if (timer_ != 0) services_.loop.cancel(std::exchange(timer_, 0));
    if (!first) return;
    const Span left = *first - services_.clock.now();
    timer_ = services_.loop.after(std::clamp(left, Span{}, kLongestSleep), [this] { look(); });
}

}  // namespace turnout::api
