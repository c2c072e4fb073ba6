// Ended jobs go, with their runs, logs and files, but for those that something still needs.
#include <deque>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "api/upkeep/bases.h"
#include "api/upkeep/pruning.h"
#include "api/upkeep/removal.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "control/jobs.h"
#include "model/sweep.h"
#include "tracking/tracking.h"

namespace turnout::api::upkeep {
namespace {

constexpr std::size_t kAtOnce = 16;  // of them: their commits go together
constexpr std::string_view kKeepTag = "turnout.keep";

bool says_keep(const Json& tags) {
    const Json* const tag = tags.find(kKeepTag);
    return tag && tag->as_view() != "false" && tag->as_view() != "False";
}

class EndedJobs {
public:
    explicit EndedJobs(Round& round)
        : round_(round),
          services_(round.services),
          turn_(round.turn),
          dry_run_(round.dry_run),
          pace_(round.pace) {}

    Task<Result<Row>> jobs(Rule rule) {
        Row row{.kind = "jobs"};
        if (!rule.any()) co_return row;
        TURNOUT_CO_TRY(const auto workspaces, services_.assets.list_workspaces("", ""));
        Doomed doomed;
        for (const Workspace& workspace : workspaces) {
            Row here{.kind = "jobs"};
            TURNOUT_CO_TRY_VOID(co_await jobs_of(workspace.id, rule, doomed, here));
            round_.tell(workspace.id, here);
            row.add(std::move(here));
        }
        TURNOUT_CO_TRY(row.bytes, co_await round_.free(doomed));
        if (row.count > 0 && !dry_run_ && !round_.more) {
            // What jobs there were is gone, whatever becomes of this: the next round looks again.
            const auto gone = co_await erase_unused_bases(services_, turn_);
            if (gone) row.database_bytes += gone->bytes;
        }
        co_return row;
    }

private:
    struct Candidate {
        JobRecord job;
        const std::string* why = nullptr;
    };
    using Reasons = std::unordered_map<std::string, const std::string*>;  // by the job's name

    // The newest first: who reads a job's files came after it, and what becomes of him is known
    // when it is looked at.
    Task<Result<void>> jobs_of(std::string wsid, const Rule& rule, Doomed& doomed, Row& row) {
        Range range = with_prefix(wsid + "/", kPrunePage);
        if (!rule.max_count) range.from = from_before(wsid, *rule.before);
        std::uint64_t ended = 0;
        std::vector<Candidate> candidates;
        while (!round_.more) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::JobCreated, range));
            for (const Record& created : rows) {
                const std::string name = created.key.substr(created.key.rfind('/') + 1);
                if (turn_.over()) {
                    TURNOUT_CO_TRY_VOID(co_await turn_.pass());
                }
                TURNOUT_CO_TRY(const auto live,
                               services_.store.get(Table::JobLive, wsid + "/" + name));
                if (live) continue;
                const bool beyond = rule.max_count && ++ended > *rule.max_count;
                const bool may_be_old =
                    rule.before && created.key >= from_before(wsid, *rule.before);
                if (!beyond && !may_be_old) continue;
                TURNOUT_CO_TRY(auto job, read_job(services_.store, wsid, name));
                if (!job || !is_terminal(job->record.status)) continue;
                const bool old =
                    rule.before && job->record.ended.value_or(job->record.created) <= *rule.before;
                if (!beyond && !old) continue;
                candidates.push_back(
                    {std::move(job->record), old ? &rule.why_age : &rule.why_count});
            }
            const bool last = rows.size() < kPrunePage;
            if (candidates.size() >= kPrunePage || (last && !candidates.empty())) {
                TURNOUT_CO_TRY_VOID(co_await remove_jobs(
                    std::exchange(candidates, std::vector<Candidate>()), doomed, row));
                if (pace_) co_await pace_->rest();
            }
            if (last) break;
            range.from = rows.back().key + '\0';
        }
        co_return {};
    }

    // Why that job stays; "" if it does not.
    Result<std::string> stays(const JobRecord& job, const Needs& needs) {
        const std::string key = job.workspace + "/" + job.name;
        if (TURNOUT_TRY(is_kept(services_, job))) return "it has the tag " + std::string(kKeepTag);
        if (const auto asset = needs.sources.find(key); asset != needs.sources.end())
            return asset->second + " was made from it";
        if (const auto reader = needs.readers.find(key); reader != needs.readers.end())
            return reader->second + ", which has not ended, reads its outputs";
        const auto [from, to] = readers_->equal_range(key);
        for (auto reader = from; reader != to; ++reader) {
            if (gone_.contains(std::hash<std::string>()(reader->second))) continue;
            // It may have been deleted meanwhile.
            if (TURNOUT_TRY(services_.store.get(Table::Job, reader->second)))
                return "job " + reader->second.substr(reader->second.find('/') + 1) +
                       " had its outputs as input";
        }
        return std::string();
    }

    Task<Result<void>> remove_jobs(std::vector<Candidate> candidates, Doomed& doomed, Row& row) {
        if (!readers_) {
            readers_at_ = services_.clock.now();
            readers_.emplace();
            TURNOUT_CO_TRY_VOID(co_await find_readers(services_, turn_, std::nullopt, *readers_));
        }
        if (dry_run_) co_return co_await estimate_jobs(candidates, doomed, row);
        std::vector<JobRecord> jobs;
        Reasons why;
        for (Candidate& one : candidates) {
            why[one.job.name] = one.why;
            jobs.push_back(std::move(one.job));
        }
        std::deque<Marked> marked;
        const Result<void> removed = co_await mark_and_remove(jobs, marked, why, row);
        for (const Marked& one : marked) co_await unmark_job(services_, one);  // not begun
        round_.more =
            !pace_ && row.count > 0 &&
            services_.clock.since_boot() > round_.until;  // else it would begin with the same ones
        co_return removed;
    }

    Task<Result<void>> estimate_jobs(const std::vector<Candidate>& candidates, Doomed& doomed,
                                     Row& row) {
        if (!needs_) {
            TURNOUT_CO_TRY(needs_, co_await find_needs(services_, turn_, Whose::Living));
        }
        for (const auto& [job, why] : candidates) {
            TURNOUT_CO_TRY(const std::string reason, stays(job, *needs_));
            if (!reason.empty()) {
                row.keep("job " + job.name + ": " + reason);
                continue;
            }
            gone_.insert(std::hash<std::string>()(job.workspace + "/" + job.name));
            row.add(job.name, *why);
            TURNOUT_CO_TRY_VOID(co_await estimate(job.workspace, job, *needs_, doomed, row));
        }
        co_return Result<void>();
    }

    // What is needed is looked for when they are marked: whoever comes later is refused them. Whose
    // removal has begun is taken out of `marked`.
    Task<Result<void>> mark_and_remove(const std::vector<JobRecord>& jobs,
                                       std::deque<Marked>& marked, const Reasons& why, Row& row) {
        TURNOUT_CO_TRY(marked, co_await mark_jobs(services_, jobs));
        if (marked.empty()) co_return Result<void>();
        co_await see_submitted(services_, marked.front().job);
        Turn own(services_);  // what was begun is done, also when the client has left
        TURNOUT_CO_TRY(const Needs needs, co_await find_needs(services_, own, Whose::Living));
        const Instant now = services_.clock.now();
        TURNOUT_CO_TRY_VOID(co_await find_readers(services_, own, readers_at_, *readers_));
        readers_at_ = now;
        for (std::size_t left = marked.size(); left > 0; --left) {
            TURNOUT_CO_TRY(const std::string reason, stays(marked.front().job, needs));
            Marked one = std::move(marked.front());
            marked.pop_front();
            if (reason.empty()) {
                gone_.insert(std::hash<std::string>()(one.job.workspace + "/" + one.job.name));
                marked.push_back(std::move(one));
            } else {
                row.keep("job " + one.job.name + ": " + reason);
                co_await unmark_job(services_, one);
            }
            if (own.over()) {
                TURNOUT_CO_TRY_VOID(co_await own.pass());
            }
        }
        co_return co_await remove_together(marked, needs, why, row);
    }

    // Several at a time, so that their commits share what a commit costs.
    Task<Result<void>> remove_together(std::deque<Marked>& marked, const Needs& needs,
                                       const Reasons& why, Row& row) {
        std::size_t working = std::min(kAtOnce, marked.size());
        if (working == 0) co_return Result<void>();
        Result<void> outcome;
        Later<bool> all;
        const auto settle = all.settle();
        const auto work = [&]() -> Task<void> {
            while (!marked.empty() && outcome) {
                const Marked one = std::move(marked.front());
                marked.pop_front();
                const auto removed = co_await remove_marked(services_, one, needs);
                if (removed && removed->jobs > 0) {  // else somebody else did it
                    row.add(one.job.name, *why.at(one.job.name));
                    row.database_bytes += removed->log_bytes;
                } else if (!removed && removed.error().reason != "MarkTakenBack") {
                    outcome = Failure(removed.error());
                }
            }
            if (--working == 0) settle(true);
        };
        for (std::size_t i = working; i > 0; --i) start(work(), [] {});
        co_await all;
        co_return outcome;
    }

    Task<Result<void>> estimate(std::string wsid, const JobRecord& job, const Needs& needs,
                                Doomed& doomed, Row& row) {
        std::vector<std::string> names{job.name};
        for (std::int64_t index = 0; index < job.sweep.created; ++index)
            names.push_back(trial_name(job.name, index));
        for (const std::string& name : names) {
            TURNOUT_CO_TRY(const std::uint64_t log_bytes, log_bytes_of(services_, wsid, name));
            row.database_bytes += log_bytes;
            for (const auto& [container, prefix] :
                 {std::pair{artifact_container(wsid), artifacts_of(name)},
                  {blobstore_container(wsid), outputs_of(name)}}) {
                std::string after = container + "/" + prefix;
                while (!after.empty()) {
                    TURNOUT_CO_TRY(const auto page, services_.blobs.every(after, kPrunePage));
                    bool beyond = false;
                    for (const Blobs::Stored& blob : page.blobs) {
                        beyond =
                            blob.info.container != container || !blob.info.name.starts_with(prefix);
                        if (beyond) break;
                        if (!needs.assets.hold(container, blob.info.name))
                            doomed.add(blob.contents);
                    }
                    after = beyond ? "" : page.next;
                }
            }
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
        }
        co_return {};
    }

    Round& round_;
    Services& services_;
    Turn& turn_;
    const bool dry_run_;
    Pace* const pace_;
    // Which jobs read the files of others, as far as they were created before that.
    std::optional<Readers> readers_;
    Instant readers_at_{};
    std::optional<Needs> needs_;            // for estimates: of one moment
    std::unordered_set<std::size_t> gone_;  // hashes of the keys of jobs that went, or would go
};

}  // namespace

std::string from_before(const std::string& wsid, Instant before) {
    return wsid + "/" + hex16_descending(static_cast<std::uint64_t>(before.micros));
}

Result<bool> is_kept(Services& services, const JobRecord& job) {
    if (says_keep(job.meta.tags)) return true;
    const auto run = TURNOUT_TRY(services.tracking.find_run(job.workspace, job.name));
    if (run && says_keep(run->tags)) return true;
    if (!kind_of(job.type).group) return false;
    const std::string tag = "\"" + std::string(kKeepTag) + "\"";
    for (const Table table : {Table::Job, Table::Run}) {
        Range range = with_prefix(job.workspace + "/" + job.name + "_", kPrunePage);
        for (bool more = true; more;) {
            const auto rows = TURNOUT_TRY(services.store.scan(table, range));
            more = rows.size() == kPrunePage;
            for (const Record& row : rows)
                if (row.value.find(tag) != std::string::npos &&
                    sweep_of(std::string_view(row.key).substr(job.workspace.size() + 1)) ==
                        job.name)
                    return true;
            if (more) range.from = rows.back().key + '\0';
        }
    }
    return false;
}

Task<Result<Row>> prune_jobs(Round& round, Rule rule) {
    EndedJobs jobs(round);
    co_return co_await jobs.jobs(std::move(rule));
}

}  // namespace turnout::api::upkeep
