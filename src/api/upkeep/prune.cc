// Giving space back: POST /turnout/prune. Not part of Azure's API.
// Body: {"kinds": ["jobs", "data", "inputs", "environments", "caches"], "older_than_seconds": N,
// "dry_run": bool}; no kinds are all. With "retention": true instead of kinds and age it does what
// the server does by itself every hour. A request takes jobs for a limited time only: `more` in the
// answer says that it is to be sent again.
#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "api/arm/resource.h"
#include "api/audit/audit.h"
#include "api/upkeep/bases.h"
#include "api/upkeep/removal.h"
#include "api/upkeep/retention.h"
#include "api/upkeep/upkeep.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "control/jobs.h"
#include "control/space.h"
#include "model/sweep.h"
#include "submission/reference.h"
#include "tracking/tracking.h"

namespace turnout::api::upkeep {
namespace {

constexpr std::array<std::string_view, 5> kPruned = {"jobs", "data", "inputs", "environments",
                                                     "caches"};
// In that order: what goes with a job is not looked at by itself.
constexpr std::array<std::string_view, 8> kOfRetention = {
    "jobs", "logs", "events", "audit", "data", "inputs", "environments", "caches"};
constexpr Span kLongest = 20s;
constexpr std::int64_t kOldest = std::int64_t{50} * 365 * 86'400;  // seconds
constexpr std::size_t kPrunePage = 200;        // whose jobs are removed together
constexpr std::size_t kAtOnce = 16;            // of them: their commits go together
constexpr std::size_t kMaxUnits = 2'000;       // that one request removes
constexpr std::size_t kMaxItems = 100;         // that an answer names, of those that stay likewise
constexpr std::size_t kMaxNamed = 10;          // in an event
constexpr std::size_t kMaxContents = 500'000;  // whose other names are counted for an estimate
constexpr Span kUploadLife = 24h;  // younger uploads do not go for their size: one may be under way
constexpr Span kFirstRound = 10min, kBetweenRounds = 1h;
constexpr std::string_view kKeepTag = "turnout.keep";

// What goes of a kind, and why in words.
struct Rule {
    std::optional<Instant> before;           // not used, or over, since then
    std::optional<std::uint64_t> max_count;  // of a workspace: the newest stay
    std::optional<std::uint64_t> max_size;
    std::string why_age, why_count, why_size;

    bool any() const { return before || max_count || max_size; }
};

Rule rule_of(std::string_view kind, const Retention& retention, Instant now) {
    const Limits& limits = retention.of(kind);
    const std::string from = " (" + retention.file.substr(retention.file.rfind('/') + 1) + ": " +
                             std::string(kind) + ".";
    Rule rule;
    if (limits.max_age) {
        rule.before = now - *limits.max_age;
        rule.why_age = std::string(kind == "jobs" || kind == "logs" ? "ended" : "unused since") +
                       " more than " + age_text(*limits.max_age) + " ago" + from + "max_age)";
    }
    if (limits.max_count) {
        rule.max_count = limits.max_count;
        rule.why_count = "more than the newest " +
                         with_commas(static_cast<std::int64_t>(*limits.max_count)) + from +
                         "max_count)";
    }
    if (limits.max_size) {
        rule.max_size = limits.max_size;
        rule.why_size =
            "the longest unused beyond " + to_size_words(*limits.max_size) + from + "max_size)";
    }
    return rule;
}

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
    Json to_json() const {
        Json json =
            Json::object({{"kind", kind}, {"count", count}, {"bytes", bytes}, {"items", items}});
        if (database_bytes > 0) json.set("database_bytes", database_bytes);
        Json reasons = Json::array();
        for (const auto& [reason, of] : why)
            reasons.push(Json::object({{"reason", reason}, {"count", of}}));
        if (!why.empty()) json.set("why", std::move(reasons));
        Json stay = Json::array();
        for (const std::string& one : kept) stay.push(one);
        if (!kept.empty()) json.set("kept", std::move(stay));
        if (!kept.empty()) json.set("kept_count", kept_count);
        return json;
    }
};

using Contents = std::vector<std::pair<std::string, std::uint64_t>>;  // hash and size of each

// Content that loses names, to find what loses all of them.
class Doomed {
public:
    void add(const Contents& of_a_name) {
        std::unordered_set<std::string_view> once;  // a name refers to a content once
        for (const auto& [sha256, size] : of_a_name)
            if (once.insert(sha256).second && contents_.size() < kMaxContents) {
                auto& [count, bytes] = contents_[sha256];
                ++count;
                bytes = size;
            }
    }
    // In turns: there may be many.
    Task<Result<std::uint64_t>> frees(Blobs& blobs, Turn& turn) const {
        std::uint64_t bytes = 0;
        for (const auto& [sha256, content] : contents_) {
            TURNOUT_CO_TRY(const std::size_t uses, blobs.references(sha256, content.first + 1));
            if (uses <= content.first) bytes += content.second;
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
        }
        co_return bytes;
    }

private:
    std::unordered_map<std::string, std::pair<std::size_t, std::uint64_t>> contents_;
};

// Who works beside the jobs that run, and is asked by nobody, leaves the disk and the processor to
// them for most of the time.
class Pace {
public:
    explicit Pace(Services& services) : services_(services), since_(services.clock.since_boot()) {}
    Task<void> rest() {
        const Span worked = services_.clock.since_boot() - since_;
        if (services_.control.nodes() > 0 && worked > Span{})
            co_await services_.loop.sleep(std::min<Span>(4 * worked, 10s));
        since_ = services_.clock.since_boot();
    }

private:
    Services& services_;
    Span since_;
};

class Pruning {
public:
    // Without a pace it works as fast as it can, and jobs for kLongest.
    Pruning(Services& services, Turn& turn, bool dry_run, Pace* pace = nullptr)
        : services_(services),
          turn_(turn),
          dry_run_(dry_run),
          pace_(pace),
          until_(services.clock.since_boot() + kLongest) {}

    // ---- ended jobs, with their runs, logs and files ----
    Task<Result<Row>> jobs(Rule rule) {
        Row row{.kind = "jobs"};
        if (!rule.any()) co_return row;
        TURNOUT_CO_TRY(const auto workspaces, services_.assets.list_workspaces("", ""));
        Doomed doomed;
        for (const Workspace& workspace : workspaces) {
            Row here{.kind = "jobs"};
            TURNOUT_CO_TRY_VOID(co_await jobs_of(workspace.id, rule, doomed, here));
            tell(workspace.id, here);
            add_to(row, std::move(here));
        }
        TURNOUT_CO_TRY(row.bytes, co_await free(doomed));
        if (row.count > 0 && !dry_run_ && !more_) {
            // What jobs there were is gone, whatever becomes of this: the next round looks again.
            const auto gone = co_await erase_unused_bases(services_, turn_);
            if (gone) row.database_bytes += gone->bytes;
        }
        co_return row;
    }

    // ---- logs of ended jobs, which stay themselves ----
    Task<Result<Row>> logs(Rule rule) {
        Row row{.kind = "logs"};
        if (!rule.before) co_return row;
        TURNOUT_CO_TRY(const auto workspaces, services_.assets.list_workspaces("", ""));
        for (const Workspace& workspace : workspaces) {
            Row here{.kind = "logs"};
            Range range = with_prefix(workspace.id + "/", kPrunePage);
            range.from = from_before(workspace.id, *rule.before);
            while (true) {
                TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::JobCreated, range));
                for (const Record& created : rows) {
                    const std::string name = created.key.substr(created.key.rfind('/') + 1);
                    TURNOUT_CO_TRY(const std::vector<std::string> names,
                                   ended_before(workspace.id, name, *rule.before));
                    for (const std::string& one : names) {
                        TURNOUT_CO_TRY(const std::uint64_t bytes,
                                       co_await logs_of(workspace.id, one, rule.why_age));
                        here.database_bytes += bytes;
                        if (bytes > 0) here.add(one, rule.why_age);
                        if (turn_.over()) {
                            TURNOUT_CO_TRY_VOID(co_await turn_.pass());
                        }
                    }
                }
                if (rows.size() < kPrunePage) break;
                range.from = rows.back().key + '\0';
                if (pace_) co_await pace_->rest();
            }
            tell(workspace.id, here);
            add_to(row, std::move(here));
        }
        co_return row;
    }

    // ---- who did what ----
    Task<Result<Row>> audit(Rule rule) {
        Row row{.kind = "audit"};
        if (!rule.before || !services_.audit) co_return row;
        TURNOUT_CO_TRY(const Audit::Removed removed,
                       co_await services_.audit->cut(turn_, *rule.before, dry_run_));
        row.count = removed.count;
        row.database_bytes = removed.bytes;
        if (row.count > 0) row.why[rule.why_age] = row.count;
        co_return row;
    }

    // ---- what happened ----
    Task<Result<Row>> events(Rule rule) {
        Row row{.kind = "events"};
        if (!rule.before) co_return row;
        Range newest = with_prefix("", 1);
        newest.reverse = true;
        TURNOUT_CO_TRY(const auto last, services_.store.scan(Table::Event, newest));
        if (last.empty()) co_return row;
        // The newest one stays: the numbers go on from it.
        Range range{.from = "", .to = last.front().key, .limit = kPrunePage};
        for (bool more = true; more;) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::Event, range));
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
            if (!dry_run_ && !batch.empty()) {
                TURNOUT_CO_TRY([[maybe_unused]] const auto revision,
                               co_await services_.store.commit(std::move(batch)));
            }
            TURNOUT_CO_TRY_VOID(co_await turn_.pass());
        }
        if (row.count > 0) row.why[rule.why_age] = row.count;
        co_return row;
    }

    // ---- uploads and code that nothing names, and files whose job is gone ----
    Task<Result<Row>> data(Rule rule) {
        Row row{.kind = "data"};
        if (!rule.any()) co_return row;
        const Instant began = services_.clock.now();
        TURNOUT_CO_TRY(const Needs needs, co_await find_needs(services_, turn_, Whose::All));
        std::vector<Unit> units;
        TURNOUT_CO_TRY_VOID(co_await find_units(needs, rule, units));
        choose(units, rule);
        Doomed doomed;
        for (const Unit& unit : units) {
            doomed.add(unit.contents);
            row.add(unit.label, unit.why);
        }
        if (dry_run_) {
            TURNOUT_CO_TRY(row.bytes, co_await doomed.frees(services_.blobs, turn_));
            TURNOUT_CO_TRY(const std::uint64_t held, co_await held_bytes());
            row.bytes += held;
            co_return row;
        }
        TURNOUT_CO_TRY_VOID(co_await find_codes());
        // What was submitted while all that was being looked at.
        TURNOUT_CO_TRY(const auto newer, co_await used_since(began));
        for (const Unit& unit : units) {
            if (newer.contains(unit.container + "/") ||
                newer.contains(unit.container + "/" + unit.prefix))
                continue;
            TURNOUT_CO_TRY_VOID(co_await remove(unit));
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            if (pace_) co_await pace_->rest();
        }
        TURNOUT_CO_TRY(row.bytes, co_await free(doomed));
        tell("", row);
        co_return row;
    }

    // ---- what nodes keep ----
    Task<Result<Row>> on_nodes(std::string_view kind, Rule rule) {
        Row row{.kind = std::string(kind)};
        if (!services_.space || !rule.any()) co_return row;
        Space::Eviction eviction;
        eviction.before = rule.before.value_or(Instant{0});
        if (rule.max_size) eviction.down_to = *rule.max_size;
        eviction.dry_run = dry_run_;
        if (kind == "caches")
            eviction.kinds = {"code", "pythons", "unfinished"};
        else
            eviction.kinds = {std::string(kind)};
        const auto ask = [&](auto reply) {
            services_.space->evict(std::move(eviction), std::move(reply));
        };
        TURNOUT_CO_TRY(const auto went, co_await arm::asked<std::vector<KeptThing>>(ask));
        for (const KeptThing& thing : went) {
            const bool for_age = rule.before && thing.used.micros <= rule.before->micros;
            row.add(thing.label, for_age ? rule.why_age : rule.why_size);
            row.bytes += thing.frees;
        }
        tell("", row);
        co_return row;
    }

    bool more() const { return more_; }

private:
    // What goes as one.
    struct Unit {
        std::string container, prefix;  // of all its names; "" = the container
        std::string label, why;
        Contents contents;
        std::uint64_t bytes = 0;
        Instant used{};
        bool needed = false;
    };
    struct Candidate {
        JobRecord job;
        const std::string* why = nullptr;
    };

    using Reasons = std::unordered_map<std::string, const std::string*>;  // by the job's name

    static std::string from_before(const std::string& wsid, Instant before) {
        return wsid + "/" + hex16_descending(static_cast<std::uint64_t>(before.micros));
    }

    static void add_to(Row& sum, Row&& more) {
        sum.count += more.count;
        sum.database_bytes += more.database_bytes;
        for (const Json& item : more.items.items())
            if (sum.items.items().size() < kMaxItems) sum.items.push(item);
        for (const auto& [reason, count] : more.why) sum.why[reason] += count;
        for (std::string& reason : more.kept)
            if (sum.kept.size() < kMaxItems) sum.kept.push_back(std::move(reason));
        sum.kept_count += more.kept_count;
    }

    // Into the events: what went, and why.
    void tell(const std::string& wsid, const Row& row) const {
        if (dry_run_ || row.count == 0) return;
        std::string text;
        for (const auto& [reason, count] : row.why)
            text += (text.empty() ? "" : "; ") + with_commas(static_cast<std::int64_t>(count)) +
                    " " + reason;
        text += ": ";
        const std::size_t named = std::min(kMaxNamed, row.items.items().size());
        for (std::size_t i = 0; i < named; ++i)
            text += (i > 0 ? ", " : "") + row.items.items()[i].as_string();
        if (row.count > named)
            text += " and " + with_commas(static_cast<std::int64_t>(row.count - named)) + " more";
        services_.control.space_given_back(wsid, row.kind, text);
    }

    // The newest first: who reads a job's files came after it, and what becomes of him is known
    // when it is looked at.
    Task<Result<void>> jobs_of(std::string wsid, const Rule& rule, Doomed& doomed, Row& row) {
        Range range = with_prefix(wsid + "/", kPrunePage);
        if (!rule.max_count) range.from = from_before(wsid, *rule.before);
        std::uint64_t ended = 0;
        std::vector<Candidate> candidates;
        while (!more_) {
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

    // That job, with its children if it has any; nothing if it lives or has ended later.
    Result<std::vector<std::string>> ended_before(const std::string& wsid, const std::string& name,
                                                  Instant before) {
        std::vector<std::string> names;
        if (TURNOUT_TRY(services_.store.get(Table::JobLive, wsid + "/" + name))) return names;
        const auto job = TURNOUT_TRY(read_job(services_.store, wsid, name));
        if (!job || job->record.ended.value_or(job->record.created) > before) return names;
        if (TURNOUT_TRY(is_kept(job->record))) return names;
        names.push_back(name);
        for (std::int64_t index = 0; index < job->record.sweep.created; ++index)
            names.push_back(trial_name(name, index));
        return names;
    }

    Task<Result<std::uint64_t>> logs_of(std::string wsid, std::string name, std::string why) {
        if (dry_run_) co_return log_bytes_of(services_, wsid, name);
        std::string line =
            to_iso8601(services_.clock.now()).substr(0, 10) + ", as the job has " + why;
        auto bytes = co_await services_.tracking.replace_logs(std::move(wsid), std::move(name),
                                                              std::move(line));
        co_return std::move(bytes);
    }

    static bool says_keep(const Json& tags) {
        const Json* const tag = tags.find(kKeepTag);
        return tag && tag->as_view() != "false" && tag->as_view() != "False";
    }

    // Somebody gave it, or one of its trials, the tag: with az and the SDK it is the job's, with
    // MLflow its run's.
    Result<bool> is_kept(const JobRecord& job) {
        if (says_keep(job.meta.tags)) return true;
        const auto run = TURNOUT_TRY(services_.tracking.find_run(job.workspace, job.name));
        if (run && says_keep(run->tags)) return true;
        if (!kind_of(job.type).group) return false;
        const std::string tag = "\"" + std::string(kKeepTag) + "\"";
        for (const Table table : {Table::Job, Table::Run}) {
            Range range = with_prefix(job.workspace + "/" + job.name + "_", kPrunePage);
            for (bool more = true; more;) {
                const auto rows = TURNOUT_TRY(services_.store.scan(table, range));
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

    // The oldest of what is too much in all, and what is too old by itself.
    void choose(std::vector<Unit>& units, const Rule& rule) {
        std::sort(units.begin(), units.end(),
                  [](const Unit& a, const Unit& b) { return a.used < b.used; });
        std::uint64_t left = 0;
        for (const Unit& unit : units) left += unit.bytes;
        const Instant latest = services_.clock.now() - kUploadLife;
        for (Unit& unit : units) {
            if (rule.before && unit.used < *rule.before)
                unit.why = rule.why_age;
            else if (rule.max_size && left > *rule.max_size && unit.used < latest)
                unit.why = rule.why_size;
            else
                continue;
            left -= unit.bytes;
        }
        std::erase_if(units, [](const Unit& unit) { return unit.why.empty(); });
        if (!dry_run_ && units.size() > kMaxUnits) {
            units.resize(kMaxUnits);
            more_ = true;
        }
    }

    // Why that job stays; "" if it does not.
    Result<std::string> stays(const JobRecord& job, const Needs& needs) {
        const std::string key = job.workspace + "/" + job.name;
        if (TURNOUT_TRY(is_kept(job))) return "it has the tag " + std::string(kKeepTag);
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
        more_ = !pace_ && row.count > 0 &&
                services_.clock.since_boot() > until_;  // else it would begin with the same ones
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

    Task<Result<void>> find_codes() {
        Range range{.limit = kPrunePage};
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::AssetVersion, range));
            for (const Record& row : rows) {
                const std::vector<std::string> parts = split(row.key, '/');
                if (parts.size() != 4 || parts[1] != "codes") continue;
                TURNOUT_CO_TRY(const Json code, parse_json(row.value));
                if (const auto blobs =
                        submission::blob_of_url(code.at("properties").at("codeUri").as_view()))
                    codes_[blobs->container] = {parts[2], parts[3]};
            }
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            if (rows.size() < kPrunePage) co_return {};
            range.from = rows.back().key + '\0';
        }
    }

    Task<Result<void>> find_units(const Needs& needs, const Rule& rule, std::vector<Unit>& units) {
        Unit unit;
        const auto end = [&] {
            if (unit.bytes > 0 && !unit.needed &&
                (rule.max_size || (rule.before && unit.used < *rule.before)))
                units.push_back(std::move(unit));
            unit = {};
        };
        std::string after;
        do {
            TURNOUT_CO_TRY(const Blobs::StoredPage page, services_.blobs.every(after, kPrunePage));
            for (const Blobs::Stored& blob : page.blobs) {
                TURNOUT_CO_TRY(Unit of, unit_of(blob.info));
                if (of.container != unit.container || of.prefix != unit.prefix) {
                    end();
                    unit = std::move(of);
                }
                if (unit.container.empty()) continue;
                unit.used = std::max(unit.used, blob.info.modified);
                unit.needed = unit.needed ||
                              needs.assets.hold(blob.info.container, blob.info.name) ||
                              needs.jobs.hold(blob.info.container, blob.info.name) ||
                              needs.codes.contains(blob.info.container) ||
                              is_fetched_for_a_living_job(needs, blob.info.container);
                if (unit.needed) {
                    unit.contents = {};
                    continue;
                }
                unit.bytes += std::max<std::uint64_t>(blob.info.size, 1);
                unit.contents.insert(unit.contents.end(), blob.contents.begin(),
                                     blob.contents.end());
            }
            after = page.next;
            if (turn_.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
            // What is too much in all is known when all was looked at.
            more_ = !dry_run_ && !rule.max_size && units.size() >= kMaxUnits;
        } while (!after.empty() && !more_);
        if (!more_) end();  // else it may not be whole
        co_return {};
    }

    static bool is_fetched_for_a_living_job(const Needs& needs, const std::string& container) {
        const std::string wsid = workspace_of_container(container);
        return container == fetched_container(wsid) && needs.fetching.contains(wsid);
    }

    // Without container: nothing that could go.
    Result<Unit> unit_of(const BlobInfo& blob) {
        Unit unit;
        const std::string wsid = workspace_of_container(blob.container);
        if (is_code_container(blob.container, wsid)) {
            unit.container = blob.container;
            unit.label = "code " + blob.container.substr(wsid.size() + 1, 12);
        } else if (blob.container == blobstore_container(wsid) && blob.name.starts_with(kUploads)) {
            unit.container = blob.container;
            unit.prefix = blob.name.substr(0, blob.name.find('/', kUploads.size()) + 1);
            unit.label = "upload " + blob.name.substr(kUploads.size(), 12);
            if (unit.prefix.empty()) return Unit{};
        } else if (blob.container == fetched_container(wsid)) {
            unit.container = blob.container;
            unit.prefix = blob.name.substr(0, blob.name.find('/'));
            unit.label = "fetched " + unit.prefix.substr(0, 12);
        } else if (blob.container == artifact_container(wsid) &&
                   !job_of_artifact(blob.name).empty()) {
            const std::string job(job_of_artifact(blob.name));
            if (TURNOUT_TRY(services_.store.get(Table::Job, wsid + "/" + job)) ||
                TURNOUT_TRY(services_.tracking.find_run(wsid, job)))
                return Unit{};
            unit.container = blob.container;
            unit.prefix = artifacts_of(job);
            unit.label = "files of job " + job;
        }
        return unit;
    }

    // "container/" of codes and "container/prefix/" of uploads that jobs which came since then
    // read.
    Task<Result<std::set<std::string>>> used_since(Instant began) {
        std::set<std::string> used;
        TURNOUT_CO_TRY(const auto workspaces, services_.assets.list_workspaces("", ""));
        for (const Workspace& workspace : workspaces) {
            Range range = with_prefix(workspace.id + "/", kPrunePage);
            range.to =
                workspace.id + "/" + hex16_descending(static_cast<std::uint64_t>(began.micros) - 1);
            while (true) {
                TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::JobCreated, range));
                for (const Record& created : rows) {
                    TURNOUT_CO_TRY(const auto job,
                                   read_job(services_.store, workspace.id,
                                            created.key.substr(created.key.rfind('/') + 1)));
                    if (!job) continue;
                    TURNOUT_CO_TRY(const auto task, read_task(services_.store, job->record));
                    if (task.code) used.insert(task.code->container + "/");
                    for (const auto& input : task.inputs)
                        if (input.blobs && input.blobs->prefix.starts_with(kUploads))
                            used.insert(input.blobs->container + "/" +
                                        input.blobs->prefix.substr(
                                            0, input.blobs->prefix.find('/', kUploads.size()) + 1));
                }
                if (rows.size() < kPrunePage) break;
                range.from = rows.back().key + '\0';
                TURNOUT_CO_TRY_VOID(co_await turn_.pass());
            }
        }
        co_return used;
    }

    Task<Result<void>> remove(const Unit& unit) {
        // First what leads there, so that no job begins with what is on its way out.
        if (const auto code = codes_.find(unit.container); code != codes_.end()) {
            const Result<void> gone = co_await services_.assets.delete_version(
                workspace_of_container(unit.container), "codes", code->second.first,
                code->second.second);
            if (!gone && gone.error().code != Code::NotFound) co_return Failure(gone.error());
        }
        TURNOUT_CO_TRY([[maybe_unused]] const auto gone,
                       co_await services_.blobs.remove_all(unit.container, unit.prefix));
        co_return Result<void>();
    }

    Task<Result<std::uint64_t>> held_bytes() {
        std::uint64_t bytes = 0;
        Range range = with_prefix("h/", kPrunePage);
        while (true) {
            TURNOUT_CO_TRY(const auto rows, services_.store.scan(Table::BlobUse, range));
            for (const Record& row : rows) {
                TURNOUT_CO_TRY(const std::size_t uses,
                               services_.blobs.references(std::string_view(row.key).substr(2), 1));
                if (row.value.size() > 17 && uses == 0)
                    bytes += std::strtoull(row.value.c_str() + 17, nullptr, 10);
            }
            if (rows.size() < kPrunePage) co_return bytes;
            range.from = rows.back().key + '\0';
            TURNOUT_CO_TRY_VOID(co_await turn_.pass());
        }
    }

    // What nothing refers to any more goes now.
    Task<Result<std::uint64_t>> free(const Doomed& doomed) {
        if (dry_run_) {
            auto bytes = co_await doomed.frees(services_.blobs, turn_);
            co_return std::move(bytes);
        }
        TURNOUT_CO_TRY(const Blobs::Collected collected,
                       co_await services_.blobs.collect(services_.clock.now(), Span{}));
        co_return collected.bytes;
    }

    Services& services_;
    Turn& turn_;
    const bool dry_run_;
    Pace* const pace_;
    const Span until_;
    // Which jobs read the files of others, as far as they were created before that.
    std::optional<Readers> readers_;
    Instant readers_at_{};
    std::optional<Needs> needs_;            // for estimates: of one moment
    std::unordered_set<std::size_t> gone_;  // hashes of the keys of jobs that went, or would go
    std::unordered_map<std::string, std::pair<std::string, std::string>>
        codes_;  // container -> name, version
    bool more_ = false;
};

Task<Result<Retention>> read_retention(Services& services) {
    Space::RetentionFile file{"retention.yaml", std::nullopt, 0};
    if (services.space) {
        const auto ask = [&](auto reply) { services.space->read_retention(std::move(reply)); };
        TURNOUT_CO_TRY(file, co_await arm::asked<Space::RetentionFile>(ask));
    }
    co_return parse_retention(file.text, std::move(file.path), file.disk);
}

// By a person: everything, or what was not used since then.
Rule by_hand(Instant before, std::int64_t age) {
    Rule rule;
    rule.before = before;
    rule.why_age = age == 0 ? "removed by hand"
                            : "removed by hand, unused for " + age_text(std::chrono::seconds(age));
    return rule;
}

Task<Result<Row>> prune_kind(Pruning& pruning, std::string kind, Rule rule) {
    if (kind == "jobs") co_return co_await pruning.jobs(std::move(rule));
    if (kind == "logs") co_return co_await pruning.logs(std::move(rule));
    if (kind == "events") co_return co_await pruning.events(std::move(rule));
    if (kind == "audit") co_return co_await pruning.audit(std::move(rule));
    if (kind == "data") co_return co_await pruning.data(std::move(rule));
    co_return co_await pruning.on_nodes(kind, std::move(rule));
}

arm::Answer prune(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json());
    const bool dry_run = body.at("dry_run").as_bool();
    call.about = body.dump();
    std::vector<std::pair<std::string, Rule>> rules;
    if (body.at("retention").as_bool()) {
        if (body.has("kinds") || body.has("older_than_seconds"))
            co_return invalid("retention stands for itself: without kinds and older_than_seconds",
                              "retention");
        TURNOUT_CO_TRY(const Retention retention, co_await read_retention(services));
        for (const std::string_view kind : kOfRetention)
            rules.emplace_back(kind, rule_of(kind, retention, services.clock.now()));
        std::erase_if(rules, [](const auto& rule) { return !rule.second.any(); });
    } else {
        const Json& age = body.at("older_than_seconds");
        if (!age.is_int() || age.as_int() < 0)
            co_return invalid("older_than_seconds is " + age.dump().substr(0, 40) +
                                  ": expected a whole number from 0 on",
                              "older_than_seconds");
        const std::int64_t seconds = std::min<std::int64_t>(age.as_int(), kOldest);
        const Rule rule = by_hand(services.clock.now() - std::chrono::seconds(seconds), seconds);
        for (const Json& kind : body.at("kinds").items()) {
            if (std::ranges::find(kPruned, kind.as_view()) == kPruned.end())
                co_return invalid("'" + kind.as_string().substr(0, 40) +
                                      "' cannot be pruned: expected jobs, data, inputs, "
                                      "environments or caches",
                                  "kinds");
            rules.emplace_back(kind.as_string(), rule);
        }
        if (rules.empty())
            for (const std::string_view kind : kPruned) rules.emplace_back(kind, rule);
    }
    Turn turn(services, call);
    Pruning pruning(services, turn, dry_run);
    Json rows = Json::array();
    for (auto& [kind, rule] : rules) {
        TURNOUT_CO_TRY(const Row row, co_await prune_kind(pruning, kind, rule));
        rows.push(row.to_json());
        if (pruning.more()) break;
    }
    co_return json_response(
        200,
        Json::object({{"rows", std::move(rows)}, {"dry_run", dry_run}, {"more", pruning.more()}}));
}

Task<Result<void>> apply_retention(Services& services) {
    TURNOUT_CO_TRY(const Retention retention, co_await read_retention(services));
    Turn turn(services);
    Pace pace(services);
    for (const std::string_view kind : kOfRetention)
        for (bool more = true; more;) {
            Pruning pruning(services, turn, false, &pace);
            Rule rule = rule_of(kind, retention, services.clock.now());
            TURNOUT_CO_TRY_VOID(co_await prune_kind(pruning, std::string(kind), std::move(rule)));
            more = pruning.more();
            co_await pace.rest();
        }
    // Also of jobs that were deleted one by one.
    const auto gone = co_await erase_unused_bases(services, turn);
    if (!gone && gone.error().reason != "SurveyIsVoid") co_return Failure(gone.error());
    co_return Result<void>();
}

// Once, after that time, and then again and again. `said`: why it was not applied the last time.
void apply_later(Services& services, Span delay, std::string said);

Task<void> apply_and_go_on(Services& services, std::string said) {
    const Result<void> applied = co_await apply_retention(services);
    const std::string why = applied ? "" : applied.error().message;
    if (!why.empty() && why != said)
        std::fprintf(stderr, "error: the retention is not applied: %s\n", why.c_str());
    apply_later(services, kBetweenRounds, why);
}

void apply_later(Services& services, Span delay, std::string said) {
    services.loop.after(delay, [&services, said = std::move(said)] {
        start(apply_and_go_on(services, said), [] {});
    });
}

}  // namespace

Task<Result<Json>> next_of_retention(Services& services) {
    TURNOUT_CO_TRY(const Retention retention, co_await read_retention(services));
    Turn turn(services);
    Pruning pruning(services, turn, true);
    Json next = Json::array();
    for (const std::string_view kind : kOfRetention) {
        Rule rule = rule_of(kind, retention, services.clock.now());
        TURNOUT_CO_TRY(const Row row,
                       co_await prune_kind(pruning, std::string(kind), std::move(rule)));
        if (row.count > 0) next.push(row.to_json());
    }
    co_return Json::object(
        {{"file", retention.file}, {"limits", retention.to_json()}, {"next", std::move(next)}});
}

void add_prune_routes(Router& router, Services& services) {
    arm::row(router, services, "POST", "/turnout/prune", Access::User, prune);
}

}  // namespace turnout::api::upkeep

namespace turnout::api {
void keep_retention(Services& services) {
    upkeep::apply_later(services, upkeep::kFirstRound, "");
}

void add_upkeep_routes(Router& router, Services& services) {
    upkeep::add_space_routes(router, services);
    upkeep::add_prune_routes(router, services);
}
}  // namespace turnout::api
