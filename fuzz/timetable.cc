// A trigger as somebody wrote it, and the rules of a time zone. What is understood is written and
// read again as the same in both spellings; firings come one after another and end at the end.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "model/timetable.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    if (size > (16 << 10)) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (text.starts_with("TZif")) {
        const auto zone = TimeZone::parse(text);
        if (!zone) return 0;
        for (std::int64_t at = -4'000'000'000; at < 8'000'000'000; at += 86'400 * 97 + 3'611) {
            const TimeZone::Utc moment{std::chrono::seconds(at)};
            const auto offset = zone->offset_at(moment);
            TURNOUT_CHECK(offset.count() >= -26 * 3600 && offset.count() <= 26 * 3600,
                          "an offset of more than a day");
            const auto moments = zone->moments_of(zone->local_at(moment));
            TURNOUT_CHECK(!moments.second || *moments.second > moments.first, "out of order");
        }
        return 0;
    }
    const auto json = parse_json(text);
    if (!json) return 0;
    for (const bool yaml : {false, true}) {
        const auto trigger = yaml ? trigger_of_yaml(*json) : trigger_of_rest(*json);
        if (!trigger) {
            TURNOUT_CHECK(!trigger.error().message.empty(), "refused without a word");
            continue;
        }
        const auto rest = trigger_of_rest(trigger_to_rest(*trigger));
        const auto again = trigger_of_yaml(trigger_to_yaml(*trigger));
        TURNOUT_CHECK(rest && again && *rest == *again, "the spellings differ");
        const TimeZones none = [](const std::string&) -> Result<TimeZone> {
            return TimeZone(std::chrono::hours(1));
        };
        const auto table = Timetable::of(*trigger, none, Instant{1'000'000'000'000'000});
        if (!table) continue;
        std::optional<Instant> next = Instant{1'700'000'000'000'000};
        for (int i = 0; i < 5 && next; ++i) {
            const auto later = table->next(*next);
            TURNOUT_CHECK(!later || *later > *next, "a firing that is not later");
            TURNOUT_CHECK(!later || !table->end() || *later <= *table->end(), "after the end");
            next = later;
        }
    }
    return 0;
}
