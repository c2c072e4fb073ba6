#include "api/audit/audit.h"

#include <algorithm>

#include "api/api.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"

namespace turnout::api {
namespace {

constexpr std::string_view kEnds = "audit";   // key in Table::Meta
constexpr std::size_t kRowsAtOnce = 500;      // of one commit
constexpr std::size_t kMostWaiting = 10'000;  // for the disk
constexpr std::size_t kMostCounted = 10'000;  // keys
constexpr std::size_t kRowsAtATime = 500;     // that a check or a cut reads
constexpr Span kCompany = 4ms;  // that a record waits for the commit of what it is about
constexpr Span kTryAgain = 1s, kBetweenCounts = 60s;

constexpr std::string_view kEndsChanged =
    "what the server wrote down about the ends of the chain was changed or removed: records may be "
    "missing at either end";

std::string sealed_part(const AuditMark& before, const AuditMark& last) {
    return "turnout-audit\n" + std::to_string(before.number) + "\n" + before.hash + "\n" +
           std::to_string(last.number) + "\n" + last.hash;
}

Failure too_many() {
    return fail(Code::ResourceExhausted, "AuditIsFull",
                "too many records of the audit wait for the disk");
}

Instant time_of_row(const Record& row) {
    const std::size_t at = row.value.find("\"at\":\"");
    if (at == std::string::npos) return {};
    const std::size_t end = row.value.find('"', at + 6);
    return parse_iso8601(std::string_view(row.value).substr(at + 6, end - at - 6))
        .value_or(Instant{});
}

}  // namespace

Audit::Audit(Store& store, const Clock& clock, Loop& loop, const Secret& key)
    : store_(store), clock_(clock), loop_(loop), key_(key) {}

Audit::~Audit() = default;

std::string Audit::text_of(const Ends& ends) const {
    return Json::object(
               {{"before", static_cast<std::int64_t>(ends.before.number)},
                {"beforeHash", ends.before.hash},
                {"last", static_cast<std::int64_t>(ends.last.number)},
                {"lastHash", ends.last.hash},
                {"seal", to_hex(hmac_sha256(key_.reveal(), sealed_part(ends.before, ends.last)))}})
        .dump();
}

Result<std::optional<Audit::Ends>> Audit::stored_ends(bool& sealed) const {
    sealed = false;
    const auto row = TURNOUT_TRY(store_.get(Table::Meta, kEnds));
    if (!row) return std::optional<Ends>();
    const auto json = parse_json(row->value);
    if (!json) return std::optional(Ends{});
    Ends ends{
        {static_cast<std::uint64_t>(json->at("before").as_int()),
         json->at("beforeHash").as_string()},
        {static_cast<std::uint64_t>(json->at("last").as_int()), json->at("lastHash").as_string()}};
    sealed = row->value == text_of(ends);
    return std::optional(std::move(ends));
}

// Goes on behind whatever is there: what does not fit together stays to be found by a check.
Result<void> Audit::open() {
    bool sealed = false;
    if (const auto ends = TURNOUT_TRY(stored_ends(sealed))) {
        ends_ = *ends;
        // Ends that somebody else wrote are not gone on from: nobody without the key can have made
        // rows that fit to this.
        if (!sealed) ends_.last.hash = to_hex(hmac_sha256(key_.reveal(), "audit with other ends"));
    }
    Range newest = with_prefix("", 1);
    newest.reverse = true;
    const auto last = TURNOUT_TRY(store_.scan(Table::Audit, newest));
    const std::uint64_t there =
        last.empty() ? 0 : std::strtoull(last.front().key.c_str(), nullptr, 16);
    if (there > ends_.last.number) ends_.last = {there, AuditMark{}.hash};
    return {};
}

Task<Result<void>> Audit::add(Act act) {
    if (waiting_.size() >= kMostWaiting) co_return too_many();
    const Later<Result<void>> durable;
    waiting_.push_back({std::move(act), durable.settle()});
    begin_writing();
    co_return co_await durable;
}

Later<Result<void>> Audit::add_with_change(Act act) {
    const Later<Result<void>> durable;
    if (waiting_.size() >= kMostWaiting) {
        durable.settle()(too_many());
    } else {
        waiting_.push_back({std::move(act), durable.settle(), true});
        begin_writing();
    }
    return durable;
}

void Audit::begin_writing() {
    if (writing_ || waiting_.empty()) return;
    writing_ = true;
    // A little later: many writers are answered together, and their records go together.
    loop_.post([this, alive = std::weak_ptr<int>(alive_)] {
        if (!alive.expired()) start(write_all(), [] {});
    });
}

Task<void> Audit::write_all() {
    const std::weak_ptr<int> alive = alive_;
    bool failed = false;
    while (!waiting_.empty() && !failed) {
        Turns::Turn turn(turns_, "");
        co_await turn;
        Ends ends = ends_;
        Batch batch;
        const std::size_t count = std::min(waiting_.size(), kRowsAtOnce);
        for (std::size_t i = 0; i < count; ++i) {
            std::string row = audit_row(waiting_[i].act, ends.last);
            batch.put(Table::Audit, hex16(ends.last.number), std::move(row));
            if (waiting_[i].with_change) batch.company = kCompany;
        }
        batch.put(Table::Meta, std::string(kEnds), text_of(ends));
        const auto committed = co_await store_.commit(std::move(batch));
        if (alive.expired()) co_return;
        failed = !committed;
        if (!failed) ends_ = ends;
        // Those that are answered, taken out first: an answer may add the next one.
        std::vector<Later<Result<void>>::Settle> answered;
        for (std::size_t i = 0; i < count; ++i) {
            if (waiting_[i].settle) answered.push_back(std::move(*waiting_[i].settle));
            waiting_[i].settle.reset();
        }
        if (!failed)
            waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
        for (const auto& settle : answered)
            settle(committed ? Result<void>()
                             : Result<void>(fail(Code::Unavailable, "AuditNotWritten",
                                                 "the record of this in the audit could not be "
                                                 "written: " +
                                                     committed.error().message)));
    }
    writing_ = false;
    if (failed)
        loop_.after(kTryAgain, [this, alive] {
            if (!alive.expired()) begin_writing();
        });
}

// ---- one record for many

bool Audit::first_of(const std::string& key, Span window) {
    const Span now = clock_.since_boot();
    if (const auto found = counted_.find(key); found != counted_.end()) {
        if (now < found->second.until) {
            ++found->second.more;
            return false;
        }
        if (found->second.more > 0) {  // told by the watch; with this one a new window begins
            Act act = std::move(found->second.act);
            act.times = found->second.more;
            act.at = clock_.now();
            if (waiting_.size() < kMostWaiting) waiting_.push_back({std::move(act), std::nullopt});
        }
        counted_.erase(found);
    }
    if (counted_.size() >= kMostCounted) tell_counts();
    if (counted_.size() >= kMostCounted) counted_.clear();
    counted_[key].until = now + window;
    watch_counts();
    return true;
}

void Audit::is_first(const std::string& key, Act again) {
    if (const auto found = counted_.find(key); found != counted_.end())
        found->second.act = std::move(again);
}

void Audit::tell_counts() {
    const Span now = clock_.since_boot();
    const bool full = counted_.size() >= kMostCounted;
    for (auto at = counted_.begin(); at != counted_.end();) {
        Counted& one = at->second;
        if (now < one.until && !(full && one.more > 0)) {
            ++at;
            continue;
        }
        if (one.more > 0 && waiting_.size() < kMostWaiting) {
            one.act.times = one.more;
            one.act.at = clock_.now();
            waiting_.push_back({std::move(one.act), std::nullopt});
        }
        at = counted_.erase(at);
    }
    begin_writing();
}

void Audit::watch_counts() {
    if (watching_ || counted_.empty()) return;
    watching_ = true;
    loop_.after(kBetweenCounts, [this, alive = std::weak_ptr<int>(alive_)] {
        if (alive.expired()) return;
        watching_ = false;
        tell_counts();
        watch_counts();
    });
}

// ---- is it whole?

// Of a chain that is whole up to `end`.
std::string Audit::fault_at_the_end(const AuditMark& end, const Ends& ends, bool stored) const {
    if (!stored)
        return end.number > 0 || ends_.last.number > 0 ? std::string(kEndsChanged) : std::string();
    // This process has written up to there, whatever the database says.
    const std::uint64_t last = std::max(ends.last.number, ends_.last.number);
    if (end.number < last)
        return (end.number + 1 == last ? "record " + std::to_string(last) + " is"
                                       : "records " + std::to_string(end.number + 1) + " to " +
                                             std::to_string(last) + " are") +
               " missing";
    if (end != ends.last)
        return "record " + std::to_string(end.number) + " is not the one that was written";
    return "";
}

Task<Result<Audit::Verdict>> Audit::check(Turn& turn) {
    Verdict verdict;
    bool sealed = false;
    TURNOUT_CO_TRY(const auto stored, stored_ends(sealed));
    const Ends ends = stored.value_or(Ends{});
    verdict.first = ends.before.number + 1;
    verdict.last = ends.last.number;
    if (stored && !sealed) {
        verdict.fault = std::string(kEndsChanged);
        co_return verdict;
    }
    AuditCheck chain(ends.before);
    Range range{.from = "", .to = "", .limit = kRowsAtATime};
    for (bool more = true; more && verdict.fault.empty();) {
        TURNOUT_CO_TRY(const auto rows, store_.scan(Table::Audit, range));
        more = rows.size() == range.limit;
        for (const Record& row : rows) {
            const std::uint64_t number = std::strtoull(row.key.c_str(), nullptr, 16);
            if (number > ends.last.number && stored) {  // written since
                more = false;
                break;
            }
            verdict.fault = hex16(number) == row.key
                                ? chain.next(number, row.value)
                                : "there is a row '" + row.key.substr(0, 40) + "', which is none";
            if (!verdict.fault.empty()) break;
        }
        if (!rows.empty()) range.from = rows.back().key + '\0';
        TURNOUT_CO_TRY_VOID(co_await turn.pass());
    }
    if (verdict.fault.empty())
        verdict.fault = fault_at_the_end(chain.end(), ends, stored.has_value());
    // What was there was removed by the retention meanwhile: once more.
    if (!verdict.fault.empty() && ends_.before != ends.before && sealed)
        co_return co_await check(turn);
    co_return verdict;
}

Task<Result<Audit::Removed>> Audit::cut(Turn& turn, Instant before, bool only_count) {
    Removed removed;
    Result<void> went_on;  // what ends it half-way does not keep it from saying what is gone
    Range range{.from = "", .to = hex16(ends_.last.number), .limit = kRowsAtATime};
    for (bool more = true; more && went_on;) {
        {
            Turns::Turn mine(turns_, "");
            co_await mine;
            const auto page = store_.scan(Table::Audit, range);
            if (!page) {
                went_on = Failure(page.error());
                break;
            }
            const std::vector<Record>& rows = *page;
            more = rows.size() == range.limit;
            const Removed until = removed;
            Batch batch;
            Ends ends = ends_;
            for (const Record& row : rows) {
                if (time_of_row(row) >= before) {
                    more = false;
                    break;
                }
                batch.erase(Table::Audit, row.key);
                const std::size_t hash = row.value.size() < 66 ? 0 : row.value.size() - 66;
                ends.before = {std::strtoull(row.key.c_str(), nullptr, 16),
                               row.value.substr(hash, 64)};
                ++removed.count;
                removed.bytes += row.value.size();
            }
            if (!rows.empty()) range.from = rows.back().key + '\0';
            if (!only_count && !batch.empty()) {
                batch.put(Table::Meta, std::string(kEnds), text_of(ends));
                const auto committed = co_await store_.commit(std::move(batch));
                if (!committed) {
                    went_on = Failure(committed.error());
                    removed = until;
                    break;
                }
                ends_ = ends;
            }
        }
        went_on = co_await turn.pass();
    }
    if (removed.count > 0 && !only_count) {
        Act act;
        act.at = clock_.now();
        act.via = "retention";
        act.action = "Turnout/audit/delete";
        act.about = "records up to " + std::to_string(ends_.before.number);
        act.times = static_cast<std::int64_t>(removed.count);
        TURNOUT_CO_TRY_VOID(co_await add(std::move(act)));
    }
    if (!went_on) co_return Failure(went_on.error());
    co_return removed;
}

}  // namespace turnout::api
