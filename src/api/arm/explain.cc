// Why a job waits and where the time went. Not part of Azure's API:
//   GET …/jobs/{name}/explain            why it waits, node by node; what became of each attempt
//   GET …/jobs/{name}/ledger             all its time, booked to causes; exact microseconds
//   GET …/computes/{name}/ledger         sums over the jobs of a cluster, and its nodes
//   GET …/experiments/{name}/ledger      sums over the jobs of an experiment
#include <algorithm>

#include "api/arm/explain.h"
#include "api/arm/resource.h"
#include "control/jobs.h"
#include "tracking/tracking.h"

namespace turnout::api::arm {
namespace {

Result<JobRecord> job_of(Services& services, const Workspace& workspace, const std::string& name) {
    auto job = TURNOUT_TRY(read_job(services.store, workspace.id, name));
    if (!job) return not_found("job '" + name + "' does not exist", "job");
    return std::move(job->record);
}

// {"queue": micros, …, "preempted": micros}
Json micros_of(const std::vector<std::pair<LedgerEntry, Span>>& entries) {
    Json micros = Json::object();
    for (const auto& [entry, span] : entries)
        micros.set(name_of(entry), static_cast<std::int64_t>(span.count()));
    return micros;
}

struct Where {
    Json& json;
    void operator()(const OnNodes& on) {
        Json nodes = Json::array();
        for (const std::string& node : on.names) nodes.push(node);
        json.set("nodes", std::move(nodes));
    }
    void operator()(const OnEngine& on) {
        json.set("engine", Json::object({{"name", on.engine}, {"url", on.url}}));
        json.set("nodes", Json::array());
    }
};

Json attempt_of(const JobAttempt& attempt, Instant now) {
    Json json = Json::object({{"attempt", attempt.number}});
    std::visit(Where{json}, attempt.placement);
    const auto instant = [&](std::string_view name, const std::optional<Instant>& at) {
        if (at) json.set(name, to_iso8601(*at));
    };
    instant("leased", attempt.leased);
    instant("running", attempt.running);
    instant("ended", attempt.ended);
    json.set("micros", static_cast<std::int64_t>(
                           std::max(Span{}, attempt.ended.value_or(now) - attempt.leased).count()));
    if (attempt.ending && attempt.ended) {
        const agent_protocol::Ending& ending = *attempt.ending;
        if (ending.cause != agent_protocol::Cause::None)
            json.set("cause", agent_protocol::name_of(ending.cause));
        if (ending.exit_code >= 0) json.set("exitCode", ending.exit_code);
        if (!ending.message.empty()) json.set("message", ending.message);
        if (ending.peak_memory_bytes > 0) json.set("peakMemoryBytes", ending.peak_memory_bytes);
    }
    return json;
}

std::string_view name_of(schedule::Waiting::For what) {
    using For = schedule::Waiting::For;
    switch (what) {
        case For::Nothing: return "nothing";
        case For::NodeStart: return "node_start";
        case For::Nodes: return "nodes";
        case For::Quota: return "quota";
        case For::Backoff: return "backoff";
        case For::Gang: return "gang";
        case For::Deleting: return "deleting";
        case For::Closed: return "closed";
        case For::NoNodes: return "no_nodes";
        case For::Allowance: return "user_quota";
    }
    return "";
}

Json explanation_of(const Control::Explanation& why, Instant now) {
    Json json = Json::object();
    if (!why.text.empty()) json.set("text", why.text);
    if (why.waits) {
        json.set("waitsFor", name_of(why.waiting.what));
        json.set("placeInQueue", static_cast<std::int64_t>(why.waiting.ahead + 1));
        if (why.waiting.expected) {
            json.set("expectedInSeconds", static_cast<double>(why.waiting.expected->count()) / 1e6);
            json.set("expectedStart", to_iso8601(now + *why.waiting.expected));
        }
    }
    Json ways = Json::array();
    for (const std::string& way : why.would_start) ways.push(way);
    json.set("wouldStartNow", std::move(ways));
    Json nodes = Json::array();
    for (const Control::Explanation::OnNode& on : why.nodes) {
        Json node = Json::object({{"node", on.node.name},
                                  {"state", on.node.state == NodeState::Provisioning
                                                ? std::string_view("preparing")
                                                : turnout::name_of(on.node.state)}});
        if (!on.node.job.empty()) node.set("job", on.node.job);
        node.set("backlog", on.node.backlog);
        node.set("connected", on.node.connected);
        node.set("doing", on.doing);
        nodes.push(std::move(node));
    }
    json.set("nodes", std::move(nodes));
    json.set("maxNodes", why.max_nodes);
    json.set("waitingJobs", static_cast<std::int64_t>(why.counts.waiting));
    if (!why.pool.empty()) json.set("pool", why.pool);
    json.set("slots", why.slots);
    json.set("freeSlots", std::max(0, why.free_slots));
    return json;
}

}  // namespace

Json explain_document(Services& services, const JobRecord& job) {
    const Instant now = services.clock.now();
    Json body = Json::object({{"name", job.name},
                              {"status", turnout::name_of(job.status)},
                              {"compute", shown_compute(job.compute)}});
    if (job.cause != agent_protocol::Cause::None)
        body.set("cause", agent_protocol::name_of(job.cause));
    if (!job.error_message.empty()) body.set("message", job.error_message);
    if (!is_terminal(job.status))
        if (const auto why = services.control.explain(job.workspace, job.name))
            body.set("now", explanation_of(*why, now));
    Json attempts = Json::array();
    for (const JobAttempt& attempt : job.attempts) attempts.push(attempt_of(attempt, now));
    body.set("attempts", std::move(attempts));
    if (job.folded_attempts > 0) body.set("foldedAttempts", job.folded_attempts);
    body.set("preemptions", preemptions(job));
    body.set("created", to_iso8601(job.created));
    if (job.ended) body.set("ended", to_iso8601(*job.ended));
    body.set("micros",
             micros_of(ledger(job, now, services.control.waited(job.workspace, job.name))));
    return body;
}

namespace {

Answer explain_job(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const JobRecord job, job_of(services, workspace, call.param("name")));
    co_return json_response(200, explain_document(services, job));
}

// What a compute's and an experiment's sums have in common.
Json totals_body(std::string_view kind, const std::string& name, const Totals& totals) {
    Json body = Json::object();
    body.set(kind, name);
    body.set("jobs", Json::object({{"ended", totals.completed + totals.failed + totals.canceled},
                                   {"completed", totals.completed},
                                   {"failed", totals.failed},
                                   {"canceled", totals.canceled}}));
    Json causes = Json::object();
    for (const auto& [cause, count] : totals.causes) causes.set(cause, count);
    body.set("causes", std::move(causes));
    body.set("attempts", totals.attempts);
    body.set("preemptions", totals.preemptions);
    std::vector<std::pair<LedgerEntry, Span>> entries;
    Span all{};
    for (std::size_t i = 0; i < totals.time.size(); ++i) {
        entries.emplace_back(static_cast<LedgerEntry>(i), totals.time[i]);
        all += totals.time[i];
    }
    body.set("micros", micros_of(entries));
    body.set("totalMicros", static_cast<std::int64_t>(all.count()));
    return body;
}

Json used_by_tier(Span dedicated, Span low_priority) {
    return Json::object({{"dedicated", static_cast<std::int64_t>(dedicated.count())},
                         {"low_priority", static_cast<std::int64_t>(low_priority.count())}});
}

Result<std::optional<Totals>> totals_of(Services& services, const std::string& key) {
    const auto row = TURNOUT_TRY(services.store.get(Table::Ledger, key));
    if (!row) return std::optional<Totals>();
    const Json json = TURNOUT_TRY(parse_json(row->value));
    return std::optional(TURNOUT_TRY(totals_from_json(json)));
}

Answer compute_ledger(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string& name = call.param("name");
    TURNOUT_CO_TRY(const auto row, services.store.get(Table::Compute, workspace.id + "/" + name));
    TURNOUT_CO_TRY(const auto stored, totals_of(services, workspace.id + "/compute/" + name));
    // One that was deleted has cost what it has cost.
    if (!row && !stored) co_return not_found("compute '" + name + "' does not exist", "compute");
    const Totals totals = stored.value_or(Totals{});
    const Control::LiveNodes live = services.control.live_nodes(workspace.id, name);
    Json body = totals_body("compute", name, totals);
    const Span life = totals.node_life + live.life, starting = totals.node_starting + live.starting;
    const Span used = totals.used_dedicated + totals.used_low_priority + live.used;
    bool low = totals.used_low_priority > Span{};
    double cost = totals.cost + live.cost;
    const std::optional<double> price = live.price;
    if (row) {
        TURNOUT_CO_TRY(const Json document, parse_json(row->value));
        TURNOUT_CO_TRY(const Compute compute, compute_from_json(document));
        low = compute.tier == Tier::LowPriority;
        body.set("tier", low ? "low_priority" : "dedicated");
    }
    body.set("nodes",
             Json::object({{"live", live.count},
                           {"gone", totals.nodes},
                           {"lifeMicros", used_by_tier(low ? Span{} : life, low ? life : Span{})},
                           {"startingMicros", static_cast<std::int64_t>(starting.count())},
                           {"usedMicros", static_cast<std::int64_t>(used.count())},
                           {"idleMicros", static_cast<std::int64_t>(
                                              std::max(Span{}, life - starting - used).count())}}));
    if (price) body.set("pricePerHour", *price);
    if (price || cost > 0) body.set("cost", cost);
    co_return json_response(200, body);
}

// Of an experiment or a sweep, which have no nodes of their own.
Json used_body(std::string_view kind, const std::string& name, const Totals& totals) {
    Json body = totals_body(kind, name, totals);
    body.set("nodes", Json::object({{"usedMicros", used_by_tier(totals.used_dedicated,
                                                                totals.used_low_priority)}}));
    if (totals.cost > 0) body.set("cost", totals.cost);
    return body;
}

Answer job_ledger(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const JobRecord job, job_of(services, workspace, call.param("name")));
    const Instant until = std::max(job.ended.value_or(services.clock.now()), job.created);
    Json body = Json::object({{"name", job.name},
                              {"status", turnout::name_of(job.status)},
                              {"created", to_iso8601(job.created)},
                              {"until", to_iso8601(until)}});
    body.set("micros",
             micros_of(ledger(job, until, services.control.waited(workspace.id, job.name))));
    body.set("totalMicros", static_cast<std::int64_t>((until - job.created).count()));
    if (const JobKind& kind = kind_of(job.type); kind.group) {
        const std::string word = to_lower(kind.name);
        TURNOUT_CO_TRY(const auto stored,
                       totals_of(services, workspace.id + "/" + word + "/" + job.name));
        body.set(std::string(kind.child) + "s",
                 used_body(word, job.name, stored.value_or(Totals{})));
    }
    co_return json_response(200, body);
}

Answer experiment_ledger(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string& name = call.param("name");
    TURNOUT_CO_TRY(const auto stored, totals_of(services, workspace.id + "/experiment/" + name));
    if (!stored) {
        TURNOUT_CO_TRY(const auto experiment,
                       services.tracking.experiment_by_name(workspace.id, name));
        if (!experiment)
            co_return not_found("experiment '" + name + "' does not exist", "experiment");
    }
    const Totals totals = stored.value_or(Totals{});
    co_return json_response(200, used_body("experiment", name, totals));
}

}  // namespace

void add_explain_routes(Router& router, Services& services) {
    row(router, services, "GET", in_workspace("/jobs/{name}/explain"), Access::Run, explain_job);
    row(router, services, "GET", in_workspace("/jobs/{name}/ledger"), Access::Run, job_ledger);
    row(router, services, "GET", in_workspace("/computes/{name}/ledger"), Access::Behalf,
        compute_ledger);
    row(router, services, "GET", in_workspace("/experiments/{name}/ledger"), Access::Behalf,
        experiment_ledger);
}

}  // namespace turnout::api::arm
