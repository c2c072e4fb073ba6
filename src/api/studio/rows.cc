// GET …/jobRows: jobs in as few bytes as a list shows of them, the newest first. `status`, `type`
// (each several with commas), `compute`, `experiment`, `by` ("@me"), `q` (part of the name or
// display name, whatever its case), `archived` ("true": with those); `limit`, `after` (the `next`
// of the page before). A page looks at no more than kMaxScanned jobs, and then is a short one.
#include <algorithm>

#include "access/actions.h"
#include "api/arm/resource.h"
#include "api/studio/studio.h"
#include "base/text.h"
#include "control/jobs.h"

namespace turnout::api::studio {
namespace {

constexpr std::size_t kMaxScanned = 2'000;
constexpr std::int64_t kMostRows = 200, kUsualRows = 50;
constexpr std::size_t kMostWords = 160;  // of a reason

std::string begin_of(std::string_view text) {
    text = text.substr(0, text.find('\n'));
    if (text.size() <= kMostWords) return std::string(text);
    std::size_t end = kMostWords;  // not within a character
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    return std::string(text.substr(0, end)) + "…";
}

bool is_one_of(std::string_view list, std::string_view value) {
    if (list.empty()) return true;
    const std::vector<std::string> wanted = split(list, ',');
    return std::ranges::any_of(
        wanted, [&](const std::string& one) { return equal_ignoring_case(one, value); });
}

struct Wanted {
    std::string_view status, type, compute, experiment;
    std::string by, part;
    bool archived = false;

    bool matches(const JobRecord& job) const {
        if (job.meta.archived && !archived) return false;
        if (!is_one_of(status, name_of(job.status)) || !is_one_of(type, name_of(job.type)))
            return false;
        if (!compute.empty() && shown_compute(job.compute) != compute) return false;
        if (!experiment.empty() && job.meta.experiment != experiment) return false;
        if (!by.empty() && job.principal != by) return false;
        return part.empty() || to_lower(job.name).find(part) != std::string::npos ||
               to_lower(job.meta.display_name).find(part) != std::string::npos;
    }
};

Json row_of_job(Services& services, const JobRecord& job) {
    Json row = Json::object({{"name", job.name},
                             {"type", name_of(job.type)},
                             {"status", name_of(job.status)},
                             {"experiment", job.meta.experiment},
                             {"compute", shown_compute(job.compute)},
                             {"by", job.principal},
                             {"created", to_iso8601(job.created)}});
    if (!job.meta.display_name.empty() && job.meta.display_name != job.name)
        row.set("displayName", job.meta.display_name);
    if (job.started) row.set("started", to_iso8601(*job.started));
    if (job.ended) row.set("ended", to_iso8601(*job.ended));
    if (job.cause != agent_protocol::Cause::None)
        row.set("cause", agent_protocol::name_of(job.cause));
    if (job.meta.archived) row.set("archived", true);
    if (is_terminal(job.status)) {
        if (job.status != JobStatus::Completed && !job.error_message.empty())
            row.set("why", begin_of(job.error_message));
    } else if (const std::string why = services.control.waiting_for(job.workspace, job.name);
               !why.empty()) {
        row.set("why", begin_of(why));
    }
    if (kind_of(job.type).group)
        row.set("children", Json::object({{"created", job.sweep.created},
                                          {"completed", job.sweep.completed},
                                          {"failed", job.sweep.failed},
                                          {"canceled", job.sweep.canceled}}));
    return row;
}

arm::Answer get_rows(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(std::int64_t limit, whole_number_of(call, "limit", kUsualRows, 1));
    limit = std::min(limit, kMostRows);
    Wanted wanted;
    wanted.status = call.query_value("status");
    wanted.type = call.query_value("type");
    wanted.compute = call.query_value("compute");
    wanted.experiment = call.query_value("experiment");
    wanted.by = call.query_value("by");
    if (wanted.by == "@me") wanted.by = call.principal.name;
    wanted.part = to_lower(call.query_value("q"));
    wanted.archived = call.query_value("archived") == "true";
    const std::string prefix = workspace.id + "/";
    Range range = with_prefix(prefix, static_cast<std::size_t>(limit) + 1);
    if (const std::string_view after = call.query_value("after"); !after.empty())
        range.from = prefix + std::string(after) + '\0';
    Json rows = Json::array();
    std::string last;
    std::size_t scanned = 0;
    bool more = false;
    Turn turn(services, call);
    while (!more) {
        TURNOUT_CO_TRY(const auto keys, services.store.scan(Table::JobCreated, range));
        for (const Record& created : keys) {
            if (static_cast<std::int64_t>(rows.items().size()) == limit || scanned == kMaxScanned) {
                more = true;
                break;
            }
            ++scanned;
            last = created.key.substr(prefix.size());
            const std::string name = created.key.substr(created.key.rfind('/') + 1);
            TURNOUT_CO_TRY(const auto job, read_job(services.store, workspace.id, name));
            if (job && wanted.matches(job->record)) rows.push(row_of_job(services, job->record));
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
        }
        if (!more && keys.size() < range.limit) break;
        range.from = prefix + last + '\0';
    }
    Json body = Json::object({{"value", std::move(rows)},
                              {"scanned", static_cast<std::int64_t>(scanned)},
                              {"now", to_iso8601(services.clock.now())}});
    if (more) body.set("next", last);
    co_return json_response(200, body);
}

// How many live, by status: those that wait (of all workspaces, as they wait for the same machines)
// and those that are placed here.
arm::Answer get_counts(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    std::map<std::string, std::int64_t> placed;
    for (const std::string& name : services.control.placed_jobs(workspace.id)) {
        TURNOUT_CO_TRY(const auto job, read_job(services.store, workspace.id, name));
        if (job && !is_terminal(job->record.status))
            ++placed[std::string(name_of(job->record.status))];
    }
    Json statuses = Json::object();
    for (const auto& [status, count] : placed) statuses.set(status, count);
    co_return json_response(
        200, Json::object({{"waiting", static_cast<std::int64_t>(services.control.waiting())},
                           {"placed", std::move(statuses)}}));
}

}  // namespace

void add_row_routes(Router& router, Services& services) {
    arm::row(router, services, "GET", arm::in_workspace("/jobRows"), Access::User, get_rows);
    arm::row(router, services, "GET", arm::in_workspace("/jobCounts"), Access::User, get_counts);
}

}  // namespace turnout::api::studio
