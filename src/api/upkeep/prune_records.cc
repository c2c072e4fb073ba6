// What was written down and what nodes keep goes by its age, or its size: logs of ended jobs,
// events, the audit; inputs, environments and caches.
#include <algorithm>
#include <cstdlib>

#include "api/arm/resource.h"
#include "api/audit/audit.h"
#include "api/upkeep/pruning.h"
#include "api/upkeep/removal.h"
#include "base/text.h"
#include "control/jobs.h"
#include "control/space.h"
#include "model/sweep.h"
#include "tracking/tracking.h"

namespace turnout::api::upkeep {
namespace {

// That job, with its children if it has any; nothing if it lives or has ended later.
Result<std::vector<std::string>> ended_before(Services& services, const std::string& wsid,
                                              const std::string& name, Instant before) {
    std::vector<std::string> names;
    if (TURNOUT_TRY(services.store.get(Table::JobLive, wsid + "/" + name))) return names;
    const auto job = TURNOUT_TRY(read_job(services.store, wsid, name));
    if (!job || job->record.ended.value_or(job->record.created) > before) return names;
    if (TURNOUT_TRY(is_kept(services, job->record))) return names;
    names.push_back(name);
    for (std::int64_t index = 0; index < job->record.sweep.created; ++index)
        names.push_back(trial_name(name, index));
    return names;
}

Task<Result<std::uint64_t>> logs_of(const Round& round, std::string wsid, std::string name,
                                    std::string why) {
    if (round.dry_run) co_return log_bytes_of(round.services, wsid, name);
    std::string line =
        to_iso8601(round.services.clock.now()).substr(0, 10) + ", as the job has " + why;
    auto bytes = co_await round.services.tracking.replace_logs(std::move(wsid), std::move(name),
                                                               std::move(line));
    co_return std::move(bytes);
}

}  // namespace

Task<Result<Row>> prune_logs(Round& round, Rule rule) {
    Row row{.kind = "logs"};
    if (!rule.before) co_return row;
    TURNOUT_CO_TRY(const auto workspaces, round.services.assets.list_workspaces("", ""));
    for (const Workspace& workspace : workspaces) {
        Row here{.kind = "logs"};
        Range range = with_prefix(workspace.id + "/", kPrunePage);
        range.from = from_before(workspace.id, *rule.before);
        while (true) {
            TURNOUT_CO_TRY(const auto rows, round.services.store.scan(Table::JobCreated, range));
            for (const Record& created : rows) {
                const std::string name = created.key.substr(created.key.rfind('/') + 1);
                TURNOUT_CO_TRY(const std::vector<std::string> names,
                               ended_before(round.services, workspace.id, name, *rule.before));
                for (const std::string& one : names) {
                    TURNOUT_CO_TRY(const std::uint64_t bytes,
                                   co_await logs_of(round, workspace.id, one, rule.why_age));
                    here.database_bytes += bytes;
                    if (bytes > 0) here.add(one, rule.why_age);
                    if (round.turn.over()) {
                        TURNOUT_CO_TRY_VOID(co_await round.turn.pass());
                    }
                }
            }
            if (rows.size() < kPrunePage) break;
            range.from = rows.back().key + '\0';
            if (round.pace) co_await round.pace->rest();
        }
        round.tell(workspace.id, here);
        row.add(std::move(here));
    }
    co_return row;
}

Task<Result<Row>> prune_audit(Round& round, Rule rule) {
    Row row{.kind = "audit"};
    if (!rule.before || !round.services.audit) co_return row;
    TURNOUT_CO_TRY(const Audit::Removed removed,
                   co_await round.services.audit->cut(round.turn, *rule.before, round.dry_run));
    row.count = removed.count;
    row.database_bytes = removed.bytes;
    if (row.count > 0) row.why[rule.why_age] = row.count;
    co_return row;
}

Task<Result<Row>> prune_events(Round& round, Rule rule) {
    Row row{.kind = "events"};
    if (!rule.before) co_return row;
    Range newest = with_prefix("", 1);
    newest.reverse = true;
    TURNOUT_CO_TRY(const auto last, round.services.store.scan(Table::Event, newest));
    if (last.empty()) co_return row;
    // The newest one stays: the numbers go on from it.
    Range range{.from = "", .to = last.front().key, .limit = kPrunePage};
    for (bool more = true; more;) {
        TURNOUT_CO_TRY(const auto rows, round.services.store.scan(Table::Event, range));
        more = rows.size() == kPrunePage;
        Batch batch;
        for (const Record& one : rows) {
            const std::size_t at = one.value.find("\"at\":");
            if (at == std::string::npos ||
                std::strtoll(one.value.c_str() + at + 5, nullptr, 10) >= rule.before->micros) {
                more = false;
                break;
            }
            batch.erase(Table::Event, one.key);
            ++row.count;
            row.database_bytes += one.value.size();
        }
        if (!rows.empty()) range.from = rows.back().key + '\0';
        if (!round.dry_run && !batch.empty()) {
            TURNOUT_CO_TRY([[maybe_unused]] const auto revision,
                           co_await round.services.store.commit(std::move(batch)));
        }
        TURNOUT_CO_TRY_VOID(co_await round.turn.pass());
    }
    if (row.count > 0) row.why[rule.why_age] = row.count;
    co_return row;
}

Task<Result<Row>> prune_nodes(Round& round, std::string kind, Rule rule) {
    Row row{.kind = kind};
    if (!round.services.space || !rule.any()) co_return row;
    Space::Eviction eviction;
    eviction.before = rule.before.value_or(Instant{0});
    if (rule.max_size) eviction.down_to = *rule.max_size;
    eviction.dry_run = round.dry_run;
    if (kind == "caches")
        eviction.kinds = {"code", "pythons", "unfinished"};
    else
        eviction.kinds = {kind};
    const auto ask = [&](auto reply) {
        round.services.space->evict(std::move(eviction), std::move(reply));
    };
    TURNOUT_CO_TRY(const auto went, co_await arm::asked<std::vector<KeptThing>>(ask));
    for (const KeptThing& thing : went) {
        const bool for_age = rule.before && thing.used.micros <= rule.before->micros;
        row.add(thing.label, for_age ? rule.why_age : rule.why_size);
        row.bytes += thing.frees;
    }
    round.tell("", row);
    co_return row;
}

}  // namespace turnout::api::upkeep
