#include "api/upkeep/retention.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/quantities.h"
#include "base/text.h"
#include "yaml/yaml.h"

namespace turnout::api::upkeep {
namespace {

constexpr Span kUsualAge = 90 * 24h;
constexpr std::uint64_t kUsualShare = 5;  // a fifth of the disk

struct LimitedKind {
    std::string_view name;
    Limits Retention::* limits;
    bool count, size;  // besides max_age
};
constexpr std::array<LimitedKind, 8> kLimitedKinds = {
    {{"jobs", &Retention::jobs, true, false},
     {"logs", &Retention::logs, false, false},
     {"events", &Retention::events, false, false},
     {"audit", &Retention::audit, false, false},
     {"data", &Retention::data, false, true},
     {"inputs", &Retention::inputs, false, true},
     {"environments", &Retention::environments, false, true},
     {"caches", &Retention::caches, false, true}}};

// A number below is one of bytes; with '%' it is that part of the disk.
Result<std::uint64_t> size_of(std::string_view text, std::uint64_t disk) {
    if (!text.ends_with('%')) return parse_size(text);
    const auto percent = parse_whole_number(text.substr(0, text.size() - 1));
    if (!percent || *percent < 1 || *percent > 100)
        return invalid("not a share: expected 1% to 100%", "");
    return disk / 100 * static_cast<std::uint64_t>(*percent);
}

class RetentionReader {
public:
    RetentionReader(const YamlDocument& document, std::uint64_t disk)
        : document_(document), disk_(disk) {}

    Result<void> read(Retention& retention) const {
        if (document_.value.is_null()) return {};  // only comments
        if (!document_.value.is_object()) return bad("", "", "a mapping of " + names_of_kinds());
        for (const auto& [name, value] : document_.value.members()) {
            const auto kind =
                std::find_if(kLimitedKinds.begin(), kLimitedKinds.end(),
                             [&](const LimitedKind& one) { return one.name == name; });
            const std::string pointer = pointer_to("", name);
            if (kind == kLimitedKinds.end())
                return bad(pointer, name, "one of " + names_of_kinds());
            if (!value.is_object() && !value.is_null())
                return bad(pointer, said(pointer, value), "a mapping of " + fields_of(*kind));
            for (const auto& [field, limit] : value.members())
                TURNOUT_TRY(read_limit(*kind, field, limit, retention.*(kind->limits)));
        }
        return {};
    }

private:
    Result<void> read_limit(const LimitedKind& kind, const std::string& field, const Json& value,
                            Limits& limits) const {
        const std::string pointer = pointer_to(pointer_to("", kind.name), field);
        const std::string text(trim(document_.text(pointer, value)));
        const bool none = text == "none";
        if (field == "max_age") {
            const auto age = parse_age(text);
            if (!none && !age)
                return bad(pointer, said(pointer, value),
                           "a number with s, m, h, d or w, such as 90d, or none");
            limits.max_age = none ? std::nullopt : std::optional(*age);
        } else if (field == "max_count" && kind.count) {
            const auto count = parse_whole_number(text);
            if (!none && (!count || *count < 0))
                return bad(pointer, said(pointer, value), "a whole number from 0 on, or none");
            limits.max_count =
                none ? std::nullopt : std::optional(static_cast<std::uint64_t>(*count));
        } else if (field == "max_size" && kind.size) {
            const auto size = size_of(text, disk_);
            if (text.empty() || (!none && !size))
                return bad(pointer, said(pointer, value),
                           "a size such as 20GB, a share of the disk such as 20%, or none");
            limits.max_size = none ? std::nullopt : std::optional(*size);
        } else {
            return bad(pointer, field, "one of " + fields_of(kind));
        }
        return {};
    }

    std::string said(const std::string& pointer, const Json& value) const {
        std::string text = document_.text(pointer, value);
        if (text.empty()) text = value.dump();
        return text.substr(0, 40);
    }
    Failure bad(const std::string& pointer, const std::string& value,
                const std::string& expected) const {
        return invalid(
            document_.place(pointer) + ": " +
                (pointer.empty() ? "it is no mapping" : dotted(pointer) + " is '" + value + "'") +
                ": expected " + expected,
            dotted(pointer));
    }
    static std::string names_of_kinds() {
        std::vector<std::string> names;
        for (const LimitedKind& kind : kLimitedKinds) names.emplace_back(kind.name);
        return join(names, ", ");
    }
    static std::string fields_of(const LimitedKind& kind) {
        return std::string("max_age") + (kind.count ? ", max_count" : "") +
               (kind.size ? ", max_size" : "");
    }

    const YamlDocument& document_;
    const std::uint64_t disk_;
};

}  // namespace

const Limits& Retention::of(std::string_view kind) const {
    const auto found = std::find_if(kLimitedKinds.begin(), kLimitedKinds.end(),
                                    [&](const LimitedKind& one) { return one.name == kind; });
    TURNOUT_CHECK(found != kLimitedKinds.end(), "no kind of the retention: " + std::string(kind));
    return this->*(found->limits);
}

std::string age_text(Span age) {
    const std::int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
    for (const auto& [unit, letter] : {std::pair{86'400, 'd'}, {3600, 'h'}, {60, 'm'}})
        if (seconds >= unit && seconds % unit == 0) return std::to_string(seconds / unit) + letter;
    return std::to_string(seconds) + "s";
}

Json Retention::to_json() const {
    Json json = Json::object();
    for (const LimitedKind& kind : kLimitedKinds) {
        const Limits& limits = this->*(kind.limits);
        Json one = Json::object();
        if (limits.max_age) one.set("max_age", age_text(*limits.max_age));
        if (limits.max_count) one.set("max_count", *limits.max_count);
        if (limits.max_size) one.set("max_size", *limits.max_size);
        if (!one.members().empty()) json.set(std::string(kind.name), std::move(one));
    }
    return json;
}

Result<Retention> parse_retention(const std::optional<std::string>& text, std::string file,
                                  std::uint64_t disk) {
    Retention retention;
    for (Limits* const kept : {&retention.inputs, &retention.environments, &retention.caches}) {
        kept->max_age = kUsualAge;
        if (disk > 0) kept->max_size = disk / kUsualShare;
    }
    retention.file = std::move(file);
    if (!text) return retention;
    const YamlDocument document = TURNOUT_TRY(parse_yaml(*text, retention.file));
    TURNOUT_TRY(RetentionReader(document, disk).read(retention));
    return retention;
}

}  // namespace turnout::api::upkeep
