#include "model/job.h"

#include <algorithm>

#include "base/json_text.h"
#include "base/text.h"
#include "model/names.h"

namespace turnout {

namespace ap = agent_protocol;

namespace {

constexpr Names<JobStatus, 14> kJobStatuses{{
    {JobStatus::NotStarted, "NotStarted"},
    {JobStatus::Queued, "Queued"},
    {JobStatus::Preparing, "Preparing"},
    {JobStatus::Provisioning, "Provisioning"},
    {JobStatus::Starting, "Starting"},
    {JobStatus::Running, "Running"},
    {JobStatus::Finalizing, "Finalizing"},
    {JobStatus::CancelRequested, "CancelRequested"},
    {JobStatus::Completed, "Completed"},
    {JobStatus::Failed, "Failed"},
    {JobStatus::Canceled, "Canceled"},
    {JobStatus::NotResponding, "NotResponding"},
    {JobStatus::Paused, "Paused"},
    {JobStatus::Unknown, "Unknown"},
}};

constexpr Names<LedgerEntry, kLedgerEntryCount> kLedgerEntries{{
    {LedgerEntry::Queue, "queue"},
    {LedgerEntry::Quota, "quota"},
    {LedgerEntry::NodeStart, "node_start"},
    {LedgerEntry::Snapshot, "snapshot"},
    {LedgerEntry::Environment, "environment"},
    {LedgerEntry::Inputs, "inputs"},
    {LedgerEntry::UserCode, "user_code"},
    {LedgerEntry::Outputs, "outputs"},
    {LedgerEntry::Retry, "retry"},
    {LedgerEntry::Preempted, "preempted"},
}};

constexpr Names<LedgerEntry, kLedgerEntryCount> kLedgerWords{{
    {LedgerEntry::Queue, "waiting for its turn"},
    {LedgerEntry::Quota, "waiting for a slot"},
    {LedgerEntry::NodeStart, "starting a node"},
    {LedgerEntry::Snapshot, "code snapshot"},
    {LedgerEntry::Environment, "environment"},
    {LedgerEntry::Inputs, "inputs"},
    {LedgerEntry::UserCode, "your code"},
    {LedgerEntry::Outputs, "outputs"},
    {LedgerEntry::Retry, "earlier attempts"},
    {LedgerEntry::Preempted, "lost to preemption"},
}};

// Where the name of its group is in the row of a child.
constexpr std::string_view kSweep = "sweep", kGroup = "group";

void write_instant(JsonText& json, std::string_view key, const std::optional<Instant>& at) {
    if (at) json.number(key, at->micros);
}
std::optional<Instant> get_instant(const Json& json, std::string_view key) {
    const Json* value = json.find(key);
    if (!value || !value->is_int()) return std::nullopt;
    return Instant{value->as_int()};
}

ap::Durations durations_from(const Json& json) {
    return {Span(json.at("snapshot").as_int()), Span(json.at("environment").as_int()),
            Span(json.at("inputs").as_int()),   Span(json.at("waiting").as_int()),
            Span(json.at("userCode").as_int()), Span(json.at("outputs").as_int())};
}

// Only what says something: the row of a job that went well stays short.
void write(std::string& out, const ap::Ending& ending) {
    JsonText json(out);
    json.text("cause", ap::name_of(ending.cause)).number("exitCode", ending.exit_code);
    if (ending.signal != 0) json.number("signal", ending.signal);
    if (!ending.message.empty()) json.text("message", ending.message);
    if (!ending.last_lines.empty()) {
        json.member("lastLines") += '[';
        for (const std::string& line : ending.last_lines) {
            if (out.back() != '[') out += ',';
            append_json_string(out, line);
        }
        out += ']';
    }
    json.number("peakMemoryBytes", ending.peak_memory_bytes);
    const ap::Durations& spent = ending.durations;
    JsonText(json.member("durations"))
        .number("snapshot", spent.snapshot.count())
        .number("environment", spent.environment.count())
        .number("inputs", spent.inputs.count())
        .number("waiting", spent.waiting.count())
        .number("userCode", spent.user_code.count())
        .number("outputs", spent.outputs.count());
}
Result<ap::Ending> ending_from(const Json& json) {
    ap::Ending ending;
    ending.cause = TURNOUT_TRY(ap::parse_cause(json.at("cause").as_view()));
    ending.exit_code = static_cast<int>(json.at("exitCode").as_int());
    ending.signal = static_cast<int>(json.at("signal").as_int());
    ending.message = json.at("message").as_string();
    for (const Json& line : json.at("lastLines").items())
        ending.last_lines.push_back(line.as_string());
    ending.peak_memory_bytes = json.at("peakMemoryBytes").as_int();
    ending.durations = durations_from(json.at("durations"));
    return ending;
}

struct WritePlacement {
    JsonText& json;
    void operator()(const OnNodes& on) {
        if (on.names.size() == 1) {
            json.text("node", on.names.front());
            return;
        }
        std::string& out = json.member("nodes") += '[';
        for (const std::string& node : on.names) {
            if (out.back() != '[') out += ',';
            append_json_string(out, node);
        }
        out += ']';
    }
    void operator()(const OnEngine& on) {
        Json engine = Json::object({{"name", on.engine}, {"handle", on.handle}});
        if (!on.url.empty()) engine.set("url", on.url);
        json.member("engine") += engine.dump();
    }
};

Result<Placement> placement_from(const Json& json) {
    if (const Json* engine = json.find("engine")) {
        OnEngine on{engine->at("name").as_string(), engine->at("handle"),
                    engine->at("url").as_string()};
        if (on.engine.empty()) return internal("stored attempt on an engine without a name");
        return Placement(std::move(on));
    }
    OnNodes on;
    if (json.has("node")) on.names.push_back(json.at("node").as_string());
    for (const Json& node : json.at("nodes").items()) on.names.push_back(node.as_string());
    if (on.names.empty()) return internal("stored attempt without node");
    return Placement(std::move(on));
}

void write(std::string& out, const JobAttempt& attempt) {
    JsonText json(out);
    json.number("number", attempt.number);
    std::visit(WritePlacement{json}, attempt.placement);
    if (!attempt.ended_ranks.empty()) {
        json.member("endedRanks") += '[';
        for (const int rank : attempt.ended_ranks) {
            if (out.back() != '[') out += ',';
            append_number(out, rank);
        }
        out += ']';
    }
    if (attempt.master_port != 0) json.number("masterPort", attempt.master_port);
    json.number("leased", attempt.leased.micros);
    write_instant(json, "preparing", attempt.preparing);
    write_instant(json, "running", attempt.running);
    write_instant(json, "finalizing", attempt.finalizing);
    write_instant(json, "ended", attempt.ended);
    if (!attempt.detail.empty()) json.text("detail", attempt.detail);
    if (attempt.preempting && !attempt.ended) json.yes("preempting");
    if (attempt.ending) write(json.member("ending"), *attempt.ending);
    if (attempt.waited_quota > Span{}) json.number("waitedQuota", attempt.waited_quota.count());
    if (attempt.waited_node_start > Span{})
        json.number("waitedNodeStart", attempt.waited_node_start.count());
    if (attempt.price) json.member("price") += Json(*attempt.price).dump();
}
Result<JobAttempt> attempt_from(const Json& json) {
    JobAttempt attempt;
    attempt.number = static_cast<int>(json.at("number").as_int());
    attempt.placement = TURNOUT_TRY(placement_from(json));
    for (const Json& rank : json.at("endedRanks").items())
        attempt.ended_ranks.push_back(static_cast<int>(rank.as_int()));
    attempt.master_port = static_cast<int>(json.at("masterPort").as_int());
    attempt.leased = Instant{json.at("leased").as_int()};
    attempt.preparing = get_instant(json, "preparing");
    attempt.running = get_instant(json, "running");
    attempt.finalizing = get_instant(json, "finalizing");
    attempt.ended = get_instant(json, "ended");
    attempt.detail = json.at("detail").as_string();
    attempt.preempting = json.at("preempting").as_bool();
    if (json.has("ending")) attempt.ending = TURNOUT_TRY(ending_from(json.at("ending")));
    attempt.waited_quota = Span(json.at("waitedQuota").as_int());
    attempt.waited_node_start = Span(json.at("waitedNodeStart").as_int());
    if (json.has("price")) attempt.price = json.at("price").as_double();
    return attempt;
}

}  // namespace

std::string words_of(const Placement& placement) {
    struct {
        std::string operator()(const OnNodes& on) const { return join(on.names, ", "); }
        std::string operator()(const OnEngine& on) const { return "engine " + on.engine; }
    } words;
    return std::visit(words, placement);
}

const std::vector<std::string>& JobAttempt::nodes() const {
    const auto* const on = std::get_if<OnNodes>(&placement);
    TURNOUT_CHECK(on, "an attempt that is asked for its nodes is with an engine");
    return on->names;
}

std::string_view name_of(JobStatus status) {
    return name_in(kJobStatuses, status);
}
Result<JobStatus> parse_job_status(std::string_view text) {
    return parse_in(kJobStatuses, text, "job status");
}
bool is_terminal(JobStatus status) {
    return status == JobStatus::Completed || status == JobStatus::Failed ||
           status == JobStatus::Canceled;
}
std::string_view name_of(LedgerEntry entry) {
    return name_in(kLedgerEntries, entry);
}
std::string_view words_of(LedgerEntry entry) {
    return name_in(kLedgerWords, entry);
}

bool is_own_property(std::string_view name, JobType type) {
    if (name.starts_with("turnout.")) return true;
    return !name.empty() && std::ranges::find(kind_of(type).own_properties, name) !=
                                kind_of(type).own_properties.end();
}

Result<JobMeta> changed(JobMeta meta, JobType type, const JobMetaChange& change) {
    constexpr std::size_t most = 20'000;
    const JobMeta before = meta;
    if (change.display_name) meta.display_name = *change.display_name;
    if (change.experiment) meta.experiment = *change.experiment;
    if (change.description) meta.description = *change.description;
    if (change.archived) meta.archived = *change.archived;
    if (change.all_tags) meta.tags = Json::object();
    meta.tags.merge(change.tags);
    for (const auto& [name, value] : change.properties.members())
        if (!value.is_null() && (change.by_server || !is_own_property(name, type)))
            meta.properties.set(name, value);
    if (meta.tags.members().size() + meta.properties.members().size() > most)
        return fail(Code::ResourceExhausted, "TooManyKeys",
                    "a job has at most " + std::to_string(most) + " tags and properties", "tags");
    if (!change.by.empty() && meta != before) meta.changed_by = change.by;
    return meta;
}

Json definition_json(const JobRecord& job) {
    Json json = Json::object();
    json.set("workspace", job.workspace);
    json.set("name", job.name);
    json.set("created", job.created.micros);
    if (!job.child.group.empty()) {
        // A trial's row is the shortest, and is what it was before there were other groups.
        json.set(job.derived() ? kSweep : kGroup, job.child.group);
        if (!job.derived()) json.set("role", job.child.role);
        json.set("index", job.child.index);
        json.set("parameters", job.child.parameters);
    }
    if (job.derived()) {
        if (job.meta.display_name != job.name) json.set("displayName", job.meta.display_name);
        if (!job.meta.description.empty()) json.set("description", job.meta.description);
        if (!job.meta.tags.members().empty()) json.set("tags", job.meta.tags);
        if (!job.meta.properties.members().empty()) json.set("properties", job.meta.properties);
        if (job.meta.archived) json.set("archived", true);
        if (!job.meta.changed_by.empty()) json.set("changedBy", job.meta.changed_by);
        return json;
    }
    if (job.type != kFirstJobType) json.set("type", name_of(job.type));
    if (!job.definition.is_null()) json.set("definition", job.definition);
    json.set("displayName", job.meta.display_name);
    json.set("experiment", job.meta.experiment);
    if (!job.meta.description.empty()) json.set("description", job.meta.description);
    json.set("tags", job.meta.tags);
    json.set("properties", job.meta.properties);
    if (job.meta.archived) json.set("archived", true);
    if (!job.meta.changed_by.empty()) json.set("changedBy", job.meta.changed_by);
    json.set("compute", job.compute);
    json.set("principal", job.principal);
    if (!job.environment.empty()) json.set("environment", job.environment);
    if (!job.notices.empty()) {
        Json notices = Json::array();
        for (const std::string& notice : job.notices) notices.push(notice);
        json.set("notices", std::move(notices));
    }
    if (job.node_count != 1) json.set("nodeCount", job.node_count);
    if (job.ports != 0) json.set("ports", job.ports);
    if (job.priority != 0) json.set("priority", job.priority);
    json.set("taskBase", job.task_base);
    json.set("taskOwn", job.task_own);
    if (!job.plan.is_null()) json.set("plan", job.plan);
    if (!job.recipe.is_null()) json.set("recipe", job.recipe);
    return json;
}

namespace {
void write(std::string& out, const JobState& state) {
    JsonText json(out);
    json.text("status", name_of(state.status));
    write_instant(json, "started", state.started);
    write_instant(json, "ended", state.ended);
    if (state.cancel_requested) json.yes("cancelRequested");
    json.member("attempts") += '[';
    for (const JobAttempt& attempt : state.attempts) {
        if (out.back() != '[') out += ',';
        write(out, attempt);
    }
    out += ']';
    if (state.last_attempt != (state.attempts.empty() ? 0 : state.attempts.back().number))
        json.number("lastAttempt", state.last_attempt);
    if (state.folded_attempts > 0) json.number("foldedAttempts", state.folded_attempts);
    if (state.cause != ap::Cause::None) json.text("cause", ap::name_of(state.cause));
    if (!state.error_message.empty()) json.text("error", state.error_message);
    if (state.stopped_early) json.yes("stoppedEarly");
    if (!state.reused_from.empty()) json.text("reusedFrom", state.reused_from);
}
}  // namespace

std::string state_text(const JobState& state) {
    std::string out;
    out.reserve(400);
    write(out, state);
    return out;
}

Result<JobRecord> job_from_json(const Json& json) {
    JobRecord job;
    job.workspace = json.at("workspace").as_string();
    job.name = json.at("name").as_string();
    if (job.workspace.empty() || job.name.empty())
        return internal("stored job without workspace or name");
    if (json.has("type")) job.type = TURNOUT_TRY(parse_job_type(json.at("type").as_view()));
    job.child.group = json.at(json.has(kSweep) ? kSweep : kGroup).as_string();
    job.child.role = json.has(kSweep) ? std::string(kTrial) : json.at("role").as_string();
    job.child.index = json.at("index").as_int();
    if (json.at("parameters").is_object()) job.child.parameters = json.at("parameters");
    job.definition = json.at("definition");
    job.plan = json.at("plan");
    job.recipe = json.at("recipe");
    job.meta.display_name = json.at("displayName").as_string();
    job.meta.experiment = json.at("experiment").as_string();
    job.meta.description = json.at("description").as_string();
    if (json.at("tags").is_object()) job.meta.tags = json.at("tags");
    if (json.at("properties").is_object()) job.meta.properties = json.at("properties");
    job.meta.archived = json.at("archived").as_bool();
    job.meta.changed_by = json.at("changedBy").as_string();
    job.compute = json.at("compute").as_string();
    job.principal = json.at("principal").as_string();
    job.created = Instant{json.at("created").as_int()};
    job.environment = json.at("environment").as_string();
    for (const Json& notice : json.at("notices").items()) job.notices.push_back(notice.as_string());
    job.node_count = static_cast<int>(json.at("nodeCount").as_int(1));
    job.ports = static_cast<int>(json.at("ports").as_int(job.node_count > 1 ? 1 : 0));
    job.priority = static_cast<int>(json.at("priority").as_int());
    job.task_base = json.at("taskBase").as_string();
    if (json.at("taskOwn").is_object()) job.task_own = json.at("taskOwn");
    return job;
}

Result<JobState> job_state_from_json(const Json& json) {
    JobState state;
    state.status = TURNOUT_TRY(parse_job_status(json.at("status").as_view()));
    state.started = get_instant(json, "started");
    state.ended = get_instant(json, "ended");
    state.cancel_requested = json.at("cancelRequested").as_bool();
    for (const Json& attempt : json.at("attempts").items())
        state.attempts.push_back(TURNOUT_TRY(attempt_from(attempt)));
    state.last_attempt = static_cast<int>(
        json.at("lastAttempt").as_int(state.attempts.empty() ? 0 : state.attempts.back().number));
    state.folded_attempts = static_cast<int>(json.at("foldedAttempts").as_int());
    if (json.has("cause")) state.cause = TURNOUT_TRY(ap::parse_cause(json.at("cause").as_view()));
    state.error_message = json.at("error").as_string();
    state.stopped_early = json.at("stoppedEarly").as_bool();
    state.reused_from = json.at("reusedFrom").as_string();
    return state;
}

std::vector<std::pair<LedgerEntry, Span>> ledger(const JobState& job, Instant created, Instant now,
                                                 Waited so_far) {
    const Instant end = std::max(job.ended.value_or(now), created);
    std::vector<std::pair<LedgerEntry, Span>> entries;
    const auto book = [&](LedgerEntry entry, Span span) {
        for (auto& [known, sum] : entries) {
            if (known == entry) {
                sum += span;
                return;
            }
        }
        entries.emplace_back(entry, span);
    };
    for (const auto& [entry, name] : kLedgerEntries) entries.emplace_back(entry, Span{});

    // The server's instants cut the life of the job into stretches; the node's durations only split
    // the stretch before the user's code, scaled to fit, so that the sum is exact.
    Instant at = created;
    const auto until = [&](Instant next) {
        next = std::clamp(next, at, end);
        const Span span = next - at;
        at = next;
        return span;
    };
    // What an attempt that was not the last one cost, and the wait after it.
    const auto again = [](const JobAttempt& attempt) {
        return attempt.ending && attempt.ending->cause == ap::Cause::Preempted
                   ? LedgerEntry::Preempted
                   : LedgerEntry::Retry;
    };
    const auto book_wait = [&](Span wait, Waited of) {
        const Span quota = std::min(of.quota, wait);
        const Span node_start = std::min(of.node_start, wait - quota);
        book(LedgerEntry::Quota, quota);
        book(LedgerEntry::NodeStart, node_start);
        book(LedgerEntry::Queue, wait - quota - node_start);
    };
    for (std::size_t i = 0; i < job.attempts.size(); ++i) {
        const JobAttempt& attempt = job.attempts[i];
        // One that was over before the job was is not the one that counts.
        const bool last = i + 1 == job.attempts.size() && !(attempt.ended && !job.ended);
        if (i == 0) {
            book_wait(until(attempt.leased), {attempt.waited_quota, attempt.waited_node_start});
        } else {
            book(again(job.attempts[i - 1]), until(attempt.leased));
        }
        if (!last) {
            book(again(attempt), until(attempt.ended                 ? *attempt.ended
                                       : i + 1 < job.attempts.size() ? job.attempts[i + 1].leased
                                                                     : end));
            continue;
        }
        if (attempt.preparing)
            book(LedgerEntry::NodeStart, until(*attempt.preparing));
        else if (!attempt.ended)
            book(LedgerEntry::NodeStart, until(end));

        const Instant prepared = attempt.running.value_or(attempt.ended.value_or(end));
        const Span preparing = until(prepared);
        ap::Durations durations = attempt.ending ? attempt.ending->durations : ap::Durations{};
        const std::int64_t known =
            durations.snapshot.count() + durations.environment.count() + durations.inputs.count();
        if (known > 0) {
            // What the node did not spend on the job was the wait for its turn there.
            const Span busy = std::min(preparing, Span(known));
            const auto share = [&](Span part) {
                return Span(static_cast<std::int64_t>(static_cast<double>(busy.count()) *
                                                      static_cast<double>(part.count()) /
                                                      static_cast<double>(known)));
            };
            const Span snapshot = share(durations.snapshot);
            const Span inputs = share(durations.inputs);
            book(LedgerEntry::Snapshot, snapshot);
            book(LedgerEntry::Inputs, inputs);
            book(LedgerEntry::Environment, busy - snapshot - inputs);
            book(LedgerEntry::Queue, preparing - busy);
        } else {
            book(LedgerEntry::Environment, preparing);
        }
        book(
            LedgerEntry::UserCode,
            until(attempt.finalizing.value_or(attempt.running ? attempt.ended.value_or(end) : at)));
        book(LedgerEntry::Outputs, until(attempt.ended.value_or(end)));
    }
    if (job.attempts.empty() && job.started) {  // a sweep: its trials run, it has no node itself
        book(LedgerEntry::Queue, until(*job.started));
        book(LedgerEntry::UserCode, until(end));
    }
    if (job.attempts.empty())
        book_wait(until(end), so_far);
    else
        book(again(job.attempts.back()), until(end));
    return entries;
}

Span time_on_node(const JobAttempt& attempt, Instant now) {
    if (attempt.ending) {
        const ap::Durations& spent = attempt.ending->durations;
        const Span measured =
            spent.snapshot + spent.environment + spent.inputs + spent.user_code + spent.outputs;
        if (measured > Span{}) return measured;
    }
    // It was lost, or runs: the server's own instants.
    const std::optional<Instant> began = attempt.preparing ? attempt.preparing : attempt.running;
    if (!began) return Span{};
    return std::max(Span{}, attempt.ended.value_or(now) - *began);
}

namespace {
constexpr std::size_t kFirstAttempts = 20, kLastAttempts = 40;

bool was_preempted(const JobAttempt& attempt) {
    return attempt.ending && attempt.ending->cause == ap::Cause::Preempted;
}
}  // namespace

void fold_attempts(JobState& job) {
    auto& all = job.attempts;
    if (all.size() <= kFirstAttempts + kLastAttempts) return;
    for (std::size_t i = kFirstAttempts; i + kLastAttempts < all.size(); ++i) {
        if (!was_preempted(all[i - 1]) || !was_preempted(all[i])) continue;
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
        ++job.folded_attempts;
        return;  // one comes at a time
    }
}

int preemptions(const JobState& job) {
    return job.folded_attempts +
           static_cast<int>(std::count_if(job.attempts.begin(), job.attempts.end(), was_preempted));
}

Json to_json(const Totals& totals) {
    Json json = Json::object();
    json.set("completed", totals.completed);
    json.set("failed", totals.failed);
    json.set("canceled", totals.canceled);
    Json causes = Json::object();
    for (const auto& [cause, count] : totals.causes) causes.set(cause, count);
    json.set("causes", std::move(causes));
    Json time = Json::object();
    for (const auto& [entry, name] : kLedgerEntries)
        time.set(name, totals.time[static_cast<std::size_t>(entry)].count());
    json.set("time", std::move(time));
    json.set("attempts", totals.attempts);
    json.set("preemptions", totals.preemptions);
    json.set("usedDedicated", totals.used_dedicated.count());
    json.set("usedLowPriority", totals.used_low_priority.count());
    json.set("nodes", totals.nodes);
    json.set("nodeLife", totals.node_life.count());
    json.set("nodeStarting", totals.node_starting.count());
    json.set("cost", totals.cost);
    return json;
}

Result<Totals> totals_from_json(const Json& json) {
    if (!json.is_object()) return internal("stored totals that are no object");
    Totals totals;
    totals.completed = json.at("completed").as_int();
    totals.failed = json.at("failed").as_int();
    totals.canceled = json.at("canceled").as_int();
    for (const auto& [cause, count] : json.at("causes").members())
        totals.causes[cause] = count.as_int();
    for (const auto& [entry, name] : kLedgerEntries)
        totals.time[static_cast<std::size_t>(entry)] = Span(json.at("time").at(name).as_int());
    totals.attempts = json.at("attempts").as_int();
    totals.preemptions = json.at("preemptions").as_int();
    totals.used_dedicated = Span(json.at("usedDedicated").as_int());
    totals.used_low_priority = Span(json.at("usedLowPriority").as_int());
    totals.nodes = json.at("nodes").as_int();
    totals.node_life = Span(json.at("nodeLife").as_int());
    totals.node_starting = Span(json.at("nodeStarting").as_int());
    totals.cost = json.at("cost").as_double();
    return totals;
}

}  // namespace turnout
