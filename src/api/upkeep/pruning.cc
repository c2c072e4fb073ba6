#include "api/upkeep/pruning.h"

#include <algorithm>
#include <unordered_set>

#include "base/text.h"
#include "blob/blobs.h"
#include "control/control.h"

namespace turnout::api::upkeep {
namespace {
constexpr std::size_t kMaxNamed = 10;  // in an event
constexpr Span kLongest = 20s;
constexpr std::size_t kMaxContents = 500'000;  // whose other names are counted for an estimate
}  // namespace

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

Rule by_hand(Instant before, std::int64_t age) {
    Rule rule;
    rule.before = before;
    rule.why_age = age == 0 ? "removed by hand"
                            : "removed by hand, unused for " + age_text(std::chrono::seconds(age));
    return rule;
}

void Row::add(Row&& more) {
    count += more.count;
    database_bytes += more.database_bytes;
    for (const Json& item : more.items.items())
        if (items.items().size() < kMaxItems) items.push(item);
    for (const auto& [reason, of] : more.why) why[reason] += of;
    for (std::string& reason : more.kept)
        if (kept.size() < kMaxItems) kept.push_back(std::move(reason));
    kept_count += more.kept_count;
}

Json Row::to_json() const {
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

void Doomed::add(const Contents& of_a_name) {
    std::unordered_set<std::string_view> once;  // a name refers to a content once
    for (const auto& [sha256, size] : of_a_name)
        if (once.insert(sha256).second && contents_.size() < kMaxContents) {
            auto& [count, bytes] = contents_[sha256];
            ++count;
            bytes = size;
        }
}

Task<Result<std::uint64_t>> Doomed::frees(Blobs& blobs, Turn& turn) const {
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

Pace::Pace(Services& services) : services_(services), since_(services.clock.since_boot()) {}

Task<void> Pace::rest() {
    const Span worked = services_.clock.since_boot() - since_;
    if (services_.control.nodes() > 0 && worked > Span{})
        co_await services_.loop.sleep(std::min<Span>(4 * worked, 10s));
    since_ = services_.clock.since_boot();
}

Round new_round(Services& services, Turn& turn, bool dry_run, Pace* pace) {
    return {services, turn, dry_run, pace, services.clock.since_boot() + kLongest};
}

void Round::tell(const std::string& wsid, const Row& row) const {
    if (dry_run || row.count == 0) return;
    std::string text;
    for (const auto& [reason, count] : row.why)
        text += (text.empty() ? "" : "; ") + with_commas(static_cast<std::int64_t>(count)) + " " +
                reason;
    text += ": ";
    const std::size_t named = std::min(kMaxNamed, row.items.items().size());
    for (std::size_t i = 0; i < named; ++i)
        text += (i > 0 ? ", " : "") + row.items.items()[i].as_string();
    if (row.count > named)
        text += " and " + with_commas(static_cast<std::int64_t>(row.count - named)) + " more";
    services.control.space_given_back(wsid, row.kind, text);
}

Task<Result<std::uint64_t>> Round::free(const Doomed& doomed) const {
    if (dry_run) {
        auto bytes = co_await doomed.frees(services.blobs, turn);
        co_return std::move(bytes);
    }
    TURNOUT_CO_TRY(const Blobs::Collected collected,
                   co_await services.blobs.collect(services.clock.now(), Span{}));
    co_return collected.bytes;
}

}  // namespace turnout::api::upkeep
