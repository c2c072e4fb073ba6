// Private to prune*.cc: what one round of giving space back is told, and what it tells. All of it
// is the loop's; errors are the store's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "api/api.h"
#include "api/upkeep/retention.h"
#include "api/upkeep/upkeep.h"
#include "base/json.h"
#include "model/job.h"

namespace turnout::api::upkeep {

inline constexpr std::size_t kPrunePage = 200;  // whose jobs are removed together
inline constexpr std::size_t kMaxItems = 100;   // that an answer names, of those that stay likewise

// What goes of a kind, and why in words.
struct Rule {
    std::optional<Instant> before;           // not used, or over, since then
    std::optional<std::uint64_t> max_count;  // of a workspace: the newest stay
    std::optional<std::uint64_t> max_size;
    std::string why_age, why_count, why_size;

    bool any() const { return before || max_count || max_size; }
};
Rule rule_of(std::string_view kind, const Retention& retention, Instant now);
// By a person: everything, or what was not used since then. `age`: how long that is, in seconds.
Rule by_hand(Instant before, std::int64_t age);

// What goes, or would go, of one kind.
struct Row {
    std::string kind;
    std::size_t count = 0;
    std::uint64_t bytes = 0;           // that become free
    std::uint64_t database_bytes = 0;  // free inside of the database
    Json items = Json::array();
    std::vector<std::string> kept;
    std::size_t kept_count = 0;
    std::map<std::string, std::size_t> why;  // how many for which reason

    void add(const std::string& item, const std::string& reason) {
        ++count;
        ++why[reason];
        if (items.items().size() < kMaxItems) items.push(item);
    }
    void keep(std::string reason) {
        if (++kept_count <= kMaxItems) kept.push_back(std::move(reason));
    }
    void add(Row&& more);  // of another workspace
    Json to_json() const;
};

using Contents = std::vector<std::pair<std::string, std::uint64_t>>;  // hash and size of each

// Content that loses names, to find what loses all of them.
class Doomed {
public:
    void add(const Contents& of_a_name);
    // In turns: there may be many.
    Task<Result<std::uint64_t>> frees(Blobs& blobs, Turn& turn) const;

private:
    std::unordered_map<std::string, std::pair<std::size_t, std::uint64_t>> contents_;
};

// Who works beside the jobs that run, and is asked by nobody, leaves the disk and the processor to
// them for most of the time.
class Pace {
public:
    explicit Pace(Services& services);
    Task<void> rest();

private:
    Services& services_;
    Span since_;
};

// One round: a request, or an hour's. All that it names outlives it.
struct Round {
    Services& services;
    Turn& turn;
    const bool dry_run;
    Pace* const pace;   // null: as fast as it can be
    const Span until;   // since boot: no jobs are begun with after that, where there is no pace
    bool more = false;  // it did not come to all

    // Into the events: what went, and why.
    void tell(const std::string& wsid, const Row& row) const;
    // What nothing refers to any more goes now; in a dry run, how much that would be. In bytes.
    Task<Result<std::uint64_t>> free(const Doomed& doomed) const;
};
Round new_round(Services& services, Turn& turn, bool dry_run, Pace* pace = nullptr);

// What goes of each kind, and is gone then, but in a dry run.
Task<Result<Row>> prune_jobs(Round& round, Rule rule);    // ended ones, with runs, logs and files
Task<Result<Row>> prune_logs(Round& round, Rule rule);    // of ended jobs, which stay themselves
Task<Result<Row>> prune_events(Round& round, Rule rule);  // what happened
Task<Result<Row>> prune_audit(Round& round, Rule rule);   // who did what
// Uploads and code that nothing names, and files whose job is gone.
Task<Result<Row>> prune_data(Round& round, Rule rule);
// What nodes keep: "inputs", "environments" or "caches".
Task<Result<Row>> prune_nodes(Round& round, std::string kind, Rule rule);

// Parts that jobs and their logs have in common.
// The key of Table::JobCreated from which on jobs were created before that.
std::string from_before(const std::string& wsid, Instant before);
// Somebody gave it, or one of its trials, the tag `turnout.keep`: with az and the SDK it is the
// job's, with MLflow its run's.
Result<bool> is_kept(Services& services, const JobRecord& job);

}  // namespace turnout::api::upkeep
