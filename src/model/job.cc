#include "model/job.h"

#include <algorithm>

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

constexpr Names<LedgerEntry, 8> kLedgerEntries{{
    {LedgerEntry::Queue, "queue"},
    {LedgerEntry::NodeStart, "node_start"},
    {LedgerEntry::Snapshot, "snapshot"},
    {LedgerEntry::Environment, "environment"},
    {LedgerEntry::Inputs, "inputs"},
    {LedgerEntry::UserCode, "user_code"},
    {LedgerEntry::Outputs, "outputs"},
    {LedgerEntry::Retry, "retry"},
}};

void set_instant(Json& json, std::string_view key, const std::optional<Instant>& at) {
    if (at) json.set(key, at->micros);
}
std::optional<Instant> get_instant(const Json& json, std::string_view key) {
    const Json* value = json.find(key);
    if (!value || !value->is_int()) return std::nullopt;
    return Instant{value->as_int()};
}

Json to_json(const ap::Durations& durations) {
    Json json = Json::object();
    json.set("snapshot", static_cast<std::int64_t>(durations.snapshot.count()));
    json.set("environment", static_cast<std::int64_t>(durations.environment.count()));
    json.set("inputs", static_cast<std::int64_t>(durations.inputs.count()));
    json.set("userCode", static_cast<std::int64_t>(durations.user_code.count()));
    json.set("outputs", static_cast<std::int64_t>(durations.outputs.count()));
    return json;
}
ap::Durations durations_from(const Json& json) {
    return {Span(json.at("snapshot").as_int()), Span(json.at("environment").as_int()),
            Span(json.at("inputs").as_int()), Span(json.at("userCode").as_int()),
            Span(json.at("outputs").as_int())};
}

Json to_json(const ap::Ending& ending) {
    Json json = Json::object();
    json.set("cause", ap::name_of(ending.cause));
    json.set("exitCode", ending.exit_code);
    json.set("signal", ending.signal);
    json.set("message", ending.message);
    Json lines = Json::array();
    for (const std::string& line : ending.last_lines) lines.push(line);
    json.set("lastLines", std::move(lines));
    json.set("peakMemoryBytes", ending.peak_memory_bytes);
    json.set("durations", to_json(ending.durations));
    return json;
}
Result<ap::Ending> ending_from(const Json& json) {
    ap::Ending ending;
    ending.cause = TURNOUT_TRY(ap::parse_cause(json.at("cause").as_view()));
    ending.exit_code = static_cast<int>(json.at("exitCode").as_int());
    ending.signal = static_cast<int>(json.at("signal").as_int());
    ending.message = json.at("message").as_string();
    for (const Json& line : json.at("lastLines").items()) ending.last_lines.push_back(line.as_string());
    ending.peak_memory_bytes = json.at("peakMemoryBytes").as_int();
    ending.durations = durations_from(json.at("durations"));
    return ending;
}

Json to_json(const JobAttempt& attempt) {
    Json json = Json::object();
    json.set("number", attempt.number);
    json.set("node", attempt.node);
    json.set("leased", attempt.leased.micros);
    set_instant(json, "preparing", attempt.preparing);
    set_instant(json, "running", attempt.running);
    set_instant(json, "finalizing", attempt.finalizing);
    set_instant(json, "ended", attempt.ended);
    if (!attempt.detail.empty()) json.set("detail", attempt.detail);
    if (attempt.ending) json.set("ending", to_json(*attempt.ending));
    return json;
}
Result<JobAttempt> attempt_from(const Json& json) {
    JobAttempt attempt;
    attempt.number = static_cast<int>(json.at("number").as_int());
    attempt.node = json.at("node").as_string();
    attempt.leased = Instant{json.at("leased").as_int()};
    attempt.preparing = get_instant(json, "preparing");
    attempt.running = get_instant(json, "running");
    attempt.finalizing = get_instant(json, "finalizing");
    attempt.ended = get_instant(json, "ended");
    attempt.detail = json.at("detail").as_string();
    if (json.has("ending")) attempt.ending = TURNOUT_TRY(ending_from(json.at("ending")));
    return attempt;
}

}  // namespace

std::string_view name_of(JobStatus status) {
    return name_in(kJobStatuses, status);
}
Result<JobStatus> parse_job_status(std::string_view text) {
    return parse_in(kJobStatuses, text, "job status");
}
bool is_terminal(JobStatus status) {
    return status == JobStatus::Completed || status == JobStatus::Failed || status == JobStatus::Canceled;
}
std::string_view name_of(LedgerEntry entry) {
    return name_in(kLedgerEntries, entry);
}

Json to_json(const JobRecord& job) {
    Json json = Json::object();
    json.set("workspace", job.workspace);
    json.set("name", job.name);
    json.set("status", name_of(job.status));
    json.set("definition", job.definition);
    json.set("displayName", job.meta.display_name);
    json.set("experiment", job.meta.experiment);
    json.set("description", job.meta.description);
    json.set("tags", job.meta.tags);
    json.set("properties", job.meta.properties);
    json.set("archived", job.meta.archived);
    json.set("compute", job.compute);
    json.set("principal", job.principal);
    if (!job.waiting_for.empty()) json.set("waitingFor", job.waiting_for);
    json.set("created", job.created.micros);
    set_instant(json, "started", job.started);
    set_instant(json, "ended", job.ended);
    json.set("cancelRequested", job.cancel_requested);
    Json attempts = Json::array();
    for (const JobAttempt& attempt : job.attempts) attempts.push(to_json(attempt));
    json.set("attempts", std::move(attempts));
    json.set("cause", ap::name_of(job.cause));
    if (!job.error_message.empty()) json.set("error", job.error_message);
    json.set("task", ap::to_json(job.task));
    return json;
}

Result<JobRecord> job_from_json(const Json& json) {
    JobRecord job;
    job.workspace = json.at("workspace").as_string();
    job.name = json.at("name").as_string();
    if (job.workspace.empty() || job.name.empty())
        return internal("stored job without workspace or name");
    job.status = TURNOUT_TRY(parse_job_status(json.at("status").as_view()));
    job.definition = json.at("definition");
    job.meta.display_name = json.at("displayName").as_string();
    job.meta.experiment = json.at("experiment").as_string();
    job.meta.description = json.at("description").as_string();
    job.meta.tags = json.at("tags");
    job.meta.properties = json.at("properties");
    job.meta.archived = json.at("archived").as_bool();
    job.compute = json.at("compute").as_string();
    job.principal = json.at("principal").as_string();
    job.waiting_for = json.at("waitingFor").as_string();
    job.created = Instant{json.at("created").as_int()};
    job.started = get_instant(json, "started");
    job.ended = get_instant(json, "ended");
    job.cancel_requested = json.at("cancelRequested").as_bool();
    for (const Json& attempt : json.at("attempts").items())
        job.attempts.push_back(TURNOUT_TRY(attempt_from(attempt)));
    job.cause = TURNOUT_TRY(ap::parse_cause(json.at("cause").as_view()));
    job.error_message = json.at("error").as_string();
    job.task = TURNOUT_TRY(ap::task_from_json(json.at("task")));
    return job;
}

std::vector<std::pair<LedgerEntry, Span>> ledger(const JobRecord& job, Instant now) {
    const Instant end = std::max(job.ended.value_or(now), job.created);
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
    Instant at = job.created;
    const auto until = [&](Instant next) {
        next = std::clamp(next, at, end);
        const Span span = next - at;
        at = next;
        return span;
    };
    for (std::size_t i = 0; i < job.attempts.size(); ++i) {
        const JobAttempt& attempt = job.attempts[i];
        const bool last = i + 1 == job.attempts.size();
        book(i == 0 ? LedgerEntry::Queue : LedgerEntry::Retry, until(attempt.leased));
        if (!last) {
            book(LedgerEntry::Retry, until(attempt.ended.value_or(job.attempts[i + 1].leased)));
            continue;
        }
        if (attempt.preparing) book(LedgerEntry::NodeStart, until(*attempt.preparing));
        else if (!attempt.ended) book(LedgerEntry::NodeStart, until(end));

        const Instant prepared = attempt.running.value_or(attempt.ended.value_or(end));
        const Span preparing = until(prepared);
        ap::Durations durations = attempt.ending ? attempt.ending->durations : ap::Durations{};
        const std::int64_t known = durations.snapshot.count() + durations.environment.count() + durations.inputs.count();
        if (known > 0) {
            const auto share = [&](Span part) {
                return Span(static_cast<std::int64_t>(static_cast<double>(preparing.count()) *
                                                      static_cast<double>(part.count()) / static_cast<double>(known)));
            };
            const Span snapshot = share(durations.snapshot);
            const Span inputs = share(durations.inputs);
            book(LedgerEntry::Snapshot, snapshot);
            book(LedgerEntry::Inputs, inputs);
            book(LedgerEntry::Environment, preparing - snapshot - inputs);
        } else {
            book(LedgerEntry::Environment, preparing);
        }
        book(LedgerEntry::UserCode, until(attempt.finalizing.value_or(attempt.running ? attempt.ended.value_or(end) : at)));
        book(LedgerEntry::Outputs, until(attempt.ended.value_or(end)));
    }
    book(job.attempts.empty() ? LedgerEntry::Queue : LedgerEntry::Outputs, until(end));
    return entries;
}

}  // namespace turnout
