// When something is to happen: a cron expression or a recurrence, in a time zone, from a start to
// an end, as schedules of jobs (and of computes) say it. Pure: nobody asks a clock here, the
// question is always which moment is the next one after a given one.
//
// What the local clock does twice a year:
// * a time of day that it skips comes at the moment at which the clock is put forward: 02:30 is
// then
//   03:00 of the new time. Several that are skipped are one firing.
// * a time of day that it shows twice comes the first time only, unless all 24 hours are named
// (`*`):
//   what happens every ten minutes does so in both hours.
// * recurrences of minutes and hours are counted in real time and never notice.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/time_zone.h"

namespace turnout {

// "15 10 * * MON-FRI": minute, hour, day of the month, month, day of the week, as NCrontab, which
// Azure uses, reads them: both days must fit where both are said.
struct CronExpression {
    std::bitset<60> minutes;
    std::bitset<24> hours;
    std::bitset<32> month_days;  // from 1
    std::bitset<13> months;      // from 1
    std::bitset<7> week_days;    // 0 is Sunday

    // The error names the field and what was expected there.
    static Result<CronExpression> parse(std::string_view text);
};

enum class Frequency { Minute, Hour, Day, Week, Month };

// A trigger as somebody wrote it, checked by itself: what needs no clock and no zone's rules.
struct Trigger {
    enum class Kind { Cron, Recurrence } kind = Kind::Cron;
    std::string expression;
    Frequency frequency = Frequency::Day;
    int interval = 1;
    std::vector<int> hours, minutes, week_days, month_days;  // in order, each once; 0 is Sunday
    // "2026-11-30T09:00:00": local time of the zone; with Z or an offset that moment. "" = absent.
    std::string start_time, end_time;
    std::string time_zone;  // IANA's or Windows' name; "" = UTC

    bool operator==(const Trigger&) const = default;
    bool has_pattern() const {
        return !hours.empty() || !minutes.empty() || !week_days.empty() || !month_days.empty();
    }
};

// One reader for each spelling: {"triggerType": "Cron", …} and {"type": "cron", …}. The error's
// subject is the key: "schedule.weekDays", "schedule.week_days".
Result<Trigger> trigger_of_rest(const Json& rest);
Result<Trigger> trigger_of_yaml(const Json& yaml);
Json trigger_to_rest(const Trigger& trigger);
Json trigger_to_yaml(const Trigger& trigger);

// "every day at 09:30 (Europe/Berlin)", "cron 15 10 * * 1 (UTC)": for people.
std::string words_of(const Trigger& trigger);

class Timetable {
public:
    // `made`: where it begins if the trigger does not say it. Refused: a zone whose rules nobody
    // has, an end before the start, and what would never happen.
    static Result<Timetable> of(const Trigger& trigger, const TimeZones& zones, Instant made);

    // The first firing after `after`; nothing after the end. Firings are at whole seconds.
    std::optional<Instant> next(Instant after) const;
    // The last firing after `after` that is not after `until`.
    std::optional<Instant> last(Instant after, Instant until) const;
    // How many firings there are in that time, counted up to `most`.
    std::size_t count(Instant after, Instant until, std::size_t most) const;

    const std::optional<Instant>& end() const { return end_; }
    Instant start() const { return {start_.time_since_epoch().count() * 1'000'000}; }
    // A local time of its zone, as triggers say it: with its offset where the clock shows it twice
    // and this is the second time.
    std::string local_text(Instant at) const;

private:
    using Utc = TimeZone::Utc;
    using Days = std::chrono::local_days;

    std::optional<Utc> next_from(Utc earliest) const;
    bool fits(Days day) const;
    std::optional<Utc> first_of(Days day, Utc earliest) const;

    Trigger::Kind kind_ = Trigger::Kind::Cron;
    TimeZone zone_;
    Utc start_;
    std::optional<Instant> end_;

    Frequency frequency_ = Frequency::Day;
    int interval_ = 1;
    Days first_day_;  // of the start, local
    std::bitset<32> month_days_;
    std::bitset<13> months_;
    std::bitset<7> week_days_;
    std::vector<std::chrono::seconds> times_;  // of a day, in order
    bool every_hour_ = false;
};

}  // namespace turnout
