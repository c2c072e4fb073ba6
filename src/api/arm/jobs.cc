// Command jobs and sweeps.
#include <algorithm>
#include <memory>
#include <optional>

#include "access/actions.h"
#include "api/arm/job_resolution.h"
#include "api/arm/job_submission.h"
#include "api/arm/job_view.h"
#include "api/arm/resource.h"
#include "api/audit/audit.h"
#include "api/audit/of_call.h"
#include "api/run_reach.h"
#include "api/upkeep/removal.h"
#include "api/upkeep/stored_use.h"
#include "base/lru.h"
#include "control/jobs.h"
#include "model/sweep.h"
#include "submission/job.h"
#include "submission/refusal.h"
#include "tracking/tracking.h"

namespace turnout::api::arm {
namespace {

constexpr std::size_t kMaxBody = 8 << 20;
constexpr std::size_t kMaxKept = 256;
constexpr std::size_t kMaxScanned =
    2'000;                             // jobs looked at for one page, which then is a short one
constexpr std::size_t kNearest = 200;  // newest jobs among which a misspelt name is looked for
constexpr std::int64_t kDay = 86'400'000'000;
constexpr std::int64_t kTick = 100'000;  // as old may the time be up to which a live job is booked

// Whoever asks; of a run, whose token is worth nothing to a browser, who submitted the job.
std::string studio_holder(const Services& services, const Call& call, const JobRecord& job) {
    return call.principal.kind == Principal::Kind::Run
               ? services.authority.holder({Principal::Kind::User, job.principal, {}, {}, 0})
               : services.authority.holder(call.principal);
}

JobViewer viewer_of(const Services& services, const Call& call, const JobRecord& job) {
    std::optional<schedule::Waiting> waiting;
    if (!is_terminal(job.status)) waiting = services.control.waiting(job.workspace, job.name);
    return {call.page_origin,
            tls_host(services, call),
            services.authority.link_key(),
            studio_holder(services, call, job),
            services.clock.now(),
            waiting,
            services.control.waited(job.workspace, job.name)};
}

// Why it has no slot just now.
std::string waiting_of(Services& services, const JobRecord& job) {
    if (is_terminal(job.status)) return "";
    return services.control.waiting_for(job.workspace, job.name);
}

Json body_of(Services& services, const Call& call, const Workspace& workspace,
             const JobRecord& job) {
    return job_body(job, workspace, viewer_of(services, call, job), waiting_of(services, job));
}

// Jobs as they are shown, kept until something that shows has changed: every client that waits for
// a job asks for it again and again.
class ShownJobs {
public:
    struct Shown {
        std::uint64_t revision = 0;       // of the rows it was made from
        std::string origin, page_origin;  // of the links
        std::string who;                  // asked: on whose rights they rest
        std::int64_t until = 0;  // the ledger of a live job and the signed link change with time
        std::string waiting;
        bool archived = false;
        std::optional<JobRecord> live;  // parsed; nothing if it has ended
        std::string body;
    };

    // Valid until the next call.
    Result<const Shown*> show(Services& services, const Call& call, const Workspace& workspace,
                              const Record& record) {
        const std::int64_t now = services.clock.now().micros;
        Shown* shown = kept_.find(record.key);
        const auto state = TURNOUT_TRY(services.store.get(Table::JobState, record.key));
        const std::uint64_t revision = std::max(record.revision, state ? state->revision : 0);
        if (shown && shown->revision == revision) {
            std::string waiting = shown->live ? waiting_of(services, *shown->live) : std::string();
            if (now < shown->until && shown->origin == call.origin &&
                shown->page_origin == call.page_origin && shown->waiting == waiting &&
                shown->who == services.authority.holder(call.principal))
                return shown;
            if (shown->live) {
                shown->waiting = std::move(waiting);
                write(*shown, *shown->live, services, call, workspace, now);
                return shown;
            }
        }
        StoredJob stored = TURNOUT_TRY(join_job(services.store, record));
        JobRecord& job = stored.record;
        Shown fresh;
        fresh.revision = stored.revision;
        fresh.waiting = waiting_of(services, job);
        fresh.archived = job.meta.archived;
        if (!is_terminal(job.status)) fresh.live = std::move(job);
        write(fresh, fresh.live ? *fresh.live : job, services, call, workspace, now);
        kept_.put(record.key, std::move(fresh));
        return kept_.find(record.key);
    }

private:
    static void write(Shown& shown, const JobRecord& job, Services& services, const Call& call,
                      const Workspace& workspace, std::int64_t now) {
        const std::int64_t step = shown.live ? kTick : kDay;
        shown.origin = call.origin;
        shown.page_origin = call.page_origin;
        shown.who = services.authority.holder(call.principal);
        shown.until = (now / step + 1) * step;
        shown.body.clear();
        job_body(job, workspace, viewer_of(services, call, job), shown.waiting).dump_to(shown.body);
    }

    Lru<Shown> kept_{kMaxKept};
};

Error no_such_job(Services& services, const Workspace& workspace, const std::string& name) {
    std::vector<std::string> names;
    if (const auto newest =
            services.store.scan(Table::JobCreated, with_prefix(workspace.id + "/", kNearest)))
        for (const Record& record : *newest)
            names.push_back(record.key.substr(record.key.rfind('/') + 1));
    return {Code::NotFound, "ResourceNotFound",
            "job '" + name + "' does not exist" + did_you_mean(name, names), "job", nullptr};
}

Result<JobRecord> find_job(Services& services, const Workspace& workspace,
                           const std::string& name) {
    auto job = TURNOUT_TRY(read_job(services.store, workspace.id, name));
    if (!job) return Failure(no_such_job(services, workspace, name));
    return std::move(job->record);
}

Answer get_job(Services& services, Call& call, ShownJobs& jobs) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string& name = call.param("name");
    TURNOUT_CO_TRY(const auto record, services.store.get(Table::Job, workspace.id + "/" + name));
    if (!record) co_return Failure(no_such_job(services, workspace, name));
    TURNOUT_CO_TRY(const ShownJobs::Shown* shown, jobs.show(services, call, workspace, *record));
    http::Response response;
    response.headers.set("Content-Type", "application/json; charset=utf-8");
    response.body = shown->body;
    co_return response;
}

// Azure's filters, and ours: a status (several with commas), a compute, who submitted it ("@me").
bool has_filter(const Call& call) {
    for (const char* const name : {"jobType", "experimentName", "tag", "status", "compute",
                                   "createdBy", "scheduled", "scheduleId"})
        if (!call.query_value(name).empty()) return true;
    return false;
}

// Whose jobs are asked for; "" = everybody's.
std::string wanted_user(const Call& call) {
    const auto who = call.query_value("createdBy");
    return who == "@me" ? call.principal.name : std::string(who);
}

// Cheap: among a million jobs those of others need not be parsed.
bool may_be_of(const Record& row, const std::string& user) {
    return user.empty() ||
           row.value.find("\"principal\":" + Json(user).dump()) != std::string::npos;
}

bool matches(const Call& call, const JobRecord& job) {
    if (const auto statuses = call.query_value("status"); !statuses.empty()) {
        const std::vector<std::string> wanted = split(statuses, ',');
        if (std::none_of(wanted.begin(), wanted.end(), [&](const std::string& status) {
                return equal_ignoring_case(status, name_of(job.status));
            }))
            return false;
    }
    if (const auto compute = call.query_value("compute");
        !compute.empty() && shown_compute(job.compute) != compute)
        return false;
    if (const std::string user = wanted_user(call); !user.empty() && job.principal != user)
        return false;
    if (const auto type = call.query_value("jobType");
        !type.empty() && !equal_ignoring_case(type, name_of(job.type)))
        return false;
    if (const auto experiment = call.query_value("experimentName");
        !experiment.empty() && job.meta.experiment != experiment)
        return false;
    const std::string_view schedule = job.meta.properties.at("turnout.schedule").as_view();
    if (const auto scheduled = call.query_value("scheduled");
        !scheduled.empty() && equal_ignoring_case(scheduled, "true") != !schedule.empty())
        return false;
    if (const auto of = call.query_value("scheduleId"); !of.empty() && schedule != of) return false;
    if (const auto tag = call.query_value("tag"); !tag.empty()) {
        const std::size_t cut = tag.find('=');
        const Json* value = job.meta.tags.find(tag.substr(0, cut));
        if (!value || (cut != std::string_view::npos && value->as_view() != tag.substr(cut + 1)))
            return false;
    }
    return true;
}

// Only jobs that are on a node, or sweeps that have begun, have one of these statuses.
bool asks_for_placed(const Call& call) {
    const auto statuses = call.query_value("status");
    if (statuses.empty()) return false;
    for (const std::string& text : split(statuses, ',')) {
        const Result<JobStatus> status = parse_job_status(text);
        if (!status || is_terminal(*status) || *status == JobStatus::Queued ||
            *status == JobStatus::NotStarted)
            return false;
    }
    return true;
}

// Those few are known without looking at all the jobs that wait or have ended. On one page.
Answer list_placed(Services& services, Call& call, ShownJobs& jobs) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const ListView view, list_view(call));
    std::vector<std::pair<std::int64_t, std::string>> found;  // created, body
    for (const std::string& name : services.control.placed_jobs(workspace.id)) {
        TURNOUT_CO_TRY(const auto record,
                       services.store.get(Table::Job, workspace.id + "/" + name));
        if (!record) continue;
        TURNOUT_CO_TRY(const StoredJob job, join_job(services.store, *record));
        if (!matches(call, job.record)) continue;
        TURNOUT_CO_TRY(const ShownJobs::Shown* shown,
                       jobs.show(services, call, workspace, *record));
        if (arm::shown(view, shown->archived))
            found.emplace_back(-job.record.created.micros, shown->body);
    }
    std::sort(found.begin(), found.end());
    http::Response response;
    response.headers.set("Content-Type", "application/json; charset=utf-8");
    response.body = R"({"value":[)";
    for (std::size_t i = 0; i < found.size(); ++i)
        response.body += (i > 0 ? "," : "") + found[i].second;
    response.body += "]}";
    co_return response;
}

// All there is for a job that asks.
Answer list_own(Services& services, Call& call, ShownJobs& jobs) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const ListView view, list_view(call));
    TURNOUT_CO_TRY(const auto record,
                   services.store.get(Table::Job, workspace.id + "/" + call.principal.job));
    std::string own;
    if (record) {
        TURNOUT_CO_TRY(const StoredJob job, join_job(services.store, *record));
        TURNOUT_CO_TRY(const ShownJobs::Shown* shown,
                       jobs.show(services, call, workspace, *record));
        if (matches(call, job.record) && arm::shown(view, shown->archived)) own = shown->body;
    }
    http::Response response;
    response.headers.set("Content-Type", "application/json; charset=utf-8");
    response.body = R"({"value":[)" + own + "]}";
    co_return response;
}

// Newest first. The token of a page is the key of its last job.
Answer list_jobs(Services& services, Call& call, ShownJobs& jobs) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const ListView view, list_view(call));
    const std::string prefix = workspace.id + "/";
    const std::size_t limit = page_size(call);
    const bool filtered = has_filter(call);
    Range range = with_prefix(prefix, (filtered ? kPageSize : limit) + 1);
    if (const std::string_view token = call.query_value("$skip"); !token.empty())
        range.from = prefix + std::string(token) + '\0';
    http::Response response;
    response.headers.set("Content-Type", "application/json; charset=utf-8");
    response.body = R"({"value":[)";
    std::size_t count = 0;
    std::string last;
    bool more = false;
    const std::string user = wanted_user(call);
    Turn turn(services, call);
    for (std::size_t scanned = 0; !more;) {
        TURNOUT_CO_TRY(const auto keys, services.store.scan(Table::JobCreated, range));
        for (const Record& created : keys) {
            const std::string name = created.key.substr(created.key.rfind('/') + 1);
            TURNOUT_CO_TRY(const auto record, services.store.get(Table::Job, prefix + name));
            ++scanned;
            bool wanted = record.has_value() && may_be_of(*record, user);
            if (wanted && filtered) {
                TURNOUT_CO_TRY(const StoredJob job, join_job(services.store, *record));
                wanted = matches(call, job.record);
            }
            if (wanted) {
                TURNOUT_CO_TRY(const ShownJobs::Shown* shown,
                               jobs.show(services, call, workspace, *record));
                if (arm::shown(view, shown->archived)) {
                    if (count == limit) {
                        more = true;
                        break;
                    }
                    if (count++ > 0) response.body += ',';
                    response.body += shown->body;
                }
            }
            last = created.key.substr(prefix.size());
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
        }
        if (keys.size() < range.limit) break;
        if (scanned >= kMaxScanned) more = true;
        range.from = prefix + last + '\0';
    }
    response.body += ']';
    // Who asked for the first few and got them has all that he asked for.
    if (more && (count < limit || call.query_value("$top").empty()))
        response.body += R"(,"nextLink":)" + Json(next_link(call, last)).dump();
    response.body += '}';
    co_return response;
}

Answer list_all(Services& services, Call& call, ShownJobs& jobs) {
    TURNOUT_CO_TRY(const bool all, may_all(services, call, access::action::kReadJobs));
    if (!all) co_return co_await list_own(services, call, jobs);
    if (asks_for_placed(call)) co_return co_await list_placed(services, call, jobs);
    co_return co_await list_jobs(services, call, jobs);
}

// ---- PUT

// Into another experiment, with its run and those of its trials.
Task<Result<void>> move_to_experiment(Services& services, const Workspace& workspace,
                                      const JobRecord& job, const std::string& name) {
    if (const JobKind& kind = kind_of(job.type); kind.group && !is_terminal(job.status))
        co_return fail(Code::FailedPrecondition, "JobNotEnded",
                       std::string(kind.noun) + " '" + job.name + "' has not ended: its " +
                           std::string(kind.child) + "s stay in experiment '" +
                           job.meta.experiment + "' until then",
                       "experimentName");
    TURNOUT_CO_TRY(const Experiment experiment,
                   co_await services.tracking.ensure_experiment(workspace.id, name));
    // A trial that logged nothing is found by its sweep's run: that goes last.
    for (std::int64_t index = 0; index < job.sweep.created; ++index) {
        TURNOUT_CO_TRY_VOID(co_await services.tracking.move_run(
            workspace.id, trial_name(job.name, index), experiment.id));
    }
    TURNOUT_CO_TRY_VOID(co_await services.tracking.move_run(workspace.id, job.name, experiment.id));
    co_return Result<void>();
}

// The same job again: what may change later is taken over, all else must be as it was.
Answer put_again(Services& services, Call& call, Workspace workspace, JobRecord job,
                 Json properties) {
    TURNOUT_CO_TRY(const Json definition, job_definition(properties, workspace));
    if (!job.definition.equal_unordered(definition))
        co_return fail(Code::Conflict, "ResourceExists",
                       "job '" + job.name + "' exists with another definition: choose another name",
                       "name");
    JobMetaChange change = submission::said_meta(properties, job.name);
    change.by = call.principal.name;
    if (change.experiment && *change.experiment != job.meta.experiment) {
        TURNOUT_CO_TRY_VOID(
            co_await move_to_experiment(services, workspace, job, *change.experiment));
    }
    TURNOUT_CO_TRY([[maybe_unused]] const Put put, co_await asked<Put>([&](auto reply) {
                       services.control.update_job(workspace.id, job.name, change,
                                                   std::move(reply));
                   }));
    TURNOUT_CO_TRY(const JobRecord saved, find_job(services, workspace, job.name));
    co_return json_response(200, body_of(services, call, workspace, saved));
}

// The job as it is right after its submission.
JobRecord as_submitted(const JobSubmission& job) {
    JobRecord record;
    record.workspace = job.workspace;
    record.name = job.name;
    record.type = job.type;
    record.definition = job.definition;
    record.plan = job.plan;
    record.meta = job.meta;
    record.compute = job.compute;
    record.principal = job.principal;
    record.created = job.created;
    record.environment = job.task.environment.name;
    record.notices = job.task.environment.notices;
    record.node_count = job.task.node_count;
    record.ports = agent_protocol::ports_needed(job.task);
    record.priority = job.priority;
    return record;
}

Answer put_job(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBody));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = call.param("name");
    TURNOUT_CO_TRY_VOID(check_asset_name(name, "job"));
    const Json& properties = body.at("properties");
    if (!properties.is_object()) co_return invalid("the body needs 'properties'", "properties");
    TURNOUT_CO_TRY_VOID(co_await upkeep::check_name_is_free(services, workspace.id, name));
    TURNOUT_CO_TRY(const auto existing, services.store.get(Table::Job, workspace.id + "/" + name));
    if (existing) {
        TURNOUT_CO_TRY(StoredJob stored, join_job(services.store, *existing));
        co_return co_await put_again(services, call, workspace, std::move(stored.record),
                                     properties);
    }
    const Json no_more;
    TURNOUT_CO_TRY(const SubmittedJob made,
                   co_await submit_job(services, call, workspace, name, properties, no_more));
    if (made.put == Put::Created)
        co_return json_response(201, body_of(services, call, workspace, made.job));
    TURNOUT_CO_TRY(const JobRecord saved, find_job(services, workspace, name));
    co_return json_response(200, body_of(services, call, workspace, saved));
}

// An object of texts, some of them null.
Result<void> check_texts(const Json& value, const std::string& place) {
    if (!value.is_object())
        return submission::not_as_expected("InvalidArgument", place, "an object of texts", value);
    for (const auto& [key, text] : value.members())
        if (!text.is_string() && !text.is_null())
            return submission::not_as_expected("InvalidArgument", place + "." + key.substr(0, 64),
                                               "a text", text);
    return {};
}

// A merge patch (RFC 7396): tags join the others, null takes one away. null leaves a member as it
// is, but for the description, which it takes away.
Result<JobMetaChange> read_changes(const Json& changes) {
    JobMetaChange change;
    for (const auto& [name, value] : changes.members()) {
        const bool text = name == "displayName" || name == "description";
        if (text && !value.is_string() && !value.is_null())
            return submission::not_as_expected("InvalidArgument", name, "a text", value);
        if (name == "displayName") {
            if (value.is_string()) change.display_name = value.as_string();
        } else if (name == "description") {
            change.description = value.as_string();
        } else if (name == "experimentName") {
            if (!value.is_string() && !value.is_null())
                return submission::not_as_expected("InvalidArgument", name, "a text", value);
            if (!value.as_view().empty()) change.experiment = value.as_string();
        } else if (name == "isArchived") {
            if (!value.is_bool() && !value.is_null())
                return submission::not_as_expected("InvalidArgument", name, "true or false", value);
            if (value.is_bool()) change.archived = value.as_bool();
        } else if (name == "tags" || name == "properties") {
            if (value.is_null()) continue;
            TURNOUT_TRY(check_texts(value, name));
            (name == "tags" ? change.tags : change.properties) = value;
        } else if (name != "jobType") {
            return invalid("'" + name.substr(0, 64) +
                               "' of a job cannot be changed: only displayName, description, "
                               "experimentName, tags, properties and isArchived can",
                           "properties." + name.substr(0, 64));
        }
    }
    return change;
}

Answer patch_job(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxBody));
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const JobRecord job, find_job(services, workspace, call.param("name")));
    const Json& changes = body.at("properties");
    if (!changes.is_object()) co_return invalid("the body needs 'properties'", "properties");
    TURNOUT_CO_TRY(JobMetaChange change, read_changes(changes));
    change.by = call.principal.name;
    if (change.experiment && *change.experiment != job.meta.experiment) {
        TURNOUT_CO_TRY_VOID(
            co_await move_to_experiment(services, workspace, job, *change.experiment));
    }
    TURNOUT_CO_TRY([[maybe_unused]] const Put put, co_await asked<Put>([&](auto reply) {
                       services.control.update_job(workspace.id, job.name, change,
                                                   std::move(reply));
                   }));
    TURNOUT_CO_TRY(const JobRecord saved, find_job(services, workspace, job.name));
    co_return json_response(200, body_of(services, call, workspace, saved));
}

// ---- the end of a job

Answer cancel_job(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const JobRecord job, find_job(services, workspace, call.param("name")));
    if (is_terminal(job.status)) co_return json_response(200, Json::object());
    TURNOUT_CO_TRY_VOID(co_await asked<void>([&](auto reply) {
        services.control.cancel_job(workspace.id, job.name, std::move(reply), call.principal.name);
    }));
    co_return accepted(call, workspace, "cancelJob", job.name);
}

Answer delete_job(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const JobRecord job, find_job(services, workspace, call.param("name")));
    TURNOUT_CO_TRY([[maybe_unused]] const auto removed,
                   co_await upkeep::remove_job(services, workspace.id, job.name));
    co_return accepted(call, workspace, "deleteJob", job.name);
}

}  // namespace

Task<Result<SubmittedJob>> submit_job(Services& services, Call& call, const Workspace& workspace,
                                      const std::string& name, const Json& properties,
                                      const Json& more, const Act* act) {
    TURNOUT_CO_TRY_VOID(co_await check_stored(services, call, workspace.id, 0));
    TURNOUT_CO_TRY(JobSubmission job, resolve_job(services, call, workspace, name, properties));
    for (const auto& [property, text] : more.members()) job.meta.properties.set(property, text);
    TURNOUT_CO_TRY(const Experiment experiment,
                   co_await services.tracking.ensure_experiment(workspace.id, job.meta.experiment));
    TURNOUT_CO_TRY_VOID(upkeep::check_stays(services, workspace.id, name));
    for (const auto& input : job.task.inputs) {  // since they were found
        if (!input.blobs) continue;
        TURNOUT_CO_TRY_VOID(upkeep::check_place_stays(services, workspace.id,
                                                      input.blobs->container, input.blobs->prefix));
    }
    // In the commit of the job itself: a submit waits for the disk once.
    TURNOUT_CO_TRY(job.together,
                   services.tracking.rows_of_job_run(workspace.id, name, experiment,
                                                     job.meta.display_name, call.principal.name));
    job.task.mlflow_experiment_id = experiment.id;
    job.task.variables.emplace(job.task.variables.begin(), "AZUREML_EXPERIMENT_ID", experiment.id);
    job.created = services.clock.now();
    // What is answered: nobody has to read and parse what was just written. A job that somebody
    // else submitted meanwhile under this name is another matter.
    SubmittedJob made;
    made.job = as_submitted(job);
    if (act && services.audit)
        call.recorded.emplace(act->status, services.audit->add_with_change(*act));
    else
        record_with_change(services, call, 201);
    TURNOUT_CO_TRY(made.put, co_await asked<Put>([&](auto reply) {
                       services.control.submit(std::move(job), std::move(reply));
                   }));
    co_return made;
}

void add_job_routes(Router& router, Services& services) {
    // Shared by the rows that use it, which are copied with the router.
    const auto shown = std::make_shared<ShownJobs>();
    router.add("GET", in_workspace("/jobs/{name}"), Access::Run,
               [&services, shown](Call& call) { return get_job(services, call, *shown); });
    router.add("GET", in_workspace("/jobs"), Access::Run,
               [&services, shown](Call& call) { return list_all(services, call, *shown); });
    row(router, services, "PUT", in_workspace("/jobs/{name}"), Access::Behalf, put_job);
    row(router, services, "PATCH", in_workspace("/jobs/{name}"), Access::Behalf, patch_job);
    row(router, services, "DELETE", in_workspace("/jobs/{name}"), Access::Behalf, delete_job);
    row(router, services, "POST", in_workspace("/jobs/{name}/cancel"), Access::Behalf, cancel_job);
}

}  // namespace turnout::api::arm
