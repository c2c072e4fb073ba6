#include "model/timetable.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/text.h"

namespace turnout {
namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::local_days;
using std::chrono::seconds;

constexpr std::array<std::string_view, 7> kWeekDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                       "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};
constexpr std::array<std::string_view, 5> kFrequencies = {"Minute", "Hour", "Day", "Week", "Month"};
constexpr int kLongestInterval = 1000;
// 29 February on a given day of the week comes back after 40 years at most.
constexpr auto kSearched = days(41 * 366);

// ---- cron ----

struct CronField {
    std::string_view name;
    int least, most;
    std::span<const std::string_view> names = {};
    int first_name = 0;
};

std::optional<int> number_in(const CronField& field, std::string_view text) {
    if (const auto number = parse_whole_number(text)) {
        // Some write Sunday as 7.
        if (field.most == 6 && *number == 7) return 0;
        if (*number < field.least || *number > field.most || text.front() == '-')
            return std::nullopt;
        return static_cast<int>(*number);
    }
    if (text.size() < 3) return std::nullopt;
    for (std::size_t i = 0; i < field.names.size(); ++i)
        if (equal_ignoring_case(field.names[i], text) ||
            (text.size() == 3 && equal_ignoring_case(field.names[i].substr(0, 3), text)))
            return field.first_name + static_cast<int>(i);
    return std::nullopt;
}

template <std::size_t N>
bool read_field(const CronField& field, std::string_view text, std::bitset<N>& out) {
    for (const std::string& part : split(text, ',')) {
        std::string_view range = part, step_text;
        int step = 1;
        const auto slash = range.find('/');
        if (slash != std::string_view::npos) {
            const auto value = parse_whole_number(range.substr(slash + 1));
            if (!value || *value < 1 || *value > field.most) return false;
            step = static_cast<int>(*value);
            range = range.substr(0, slash);
        }
        int from = field.least, to = field.most;
        if (range != "*") {
            const auto dash = range.find('-');
            const auto first = number_in(field, range.substr(0, dash));
            if (!first) return false;
            from = *first;
            // "5/10" goes on to the end, "5" is itself alone.
            if (dash != std::string_view::npos) {
                const std::string_view end = range.substr(dash + 1);
                const auto last_one = number_in(field, end);
                if (!last_one) return false;
                // "5-7" goes on to Sunday and "0-7" is the whole week; "7-7" is that day alone.
                const bool to_sunday = end == "7" && field.most == 6;
                to = to_sunday && (from > 0 || range.substr(0, dash) == "0") ? 7 : *last_one;
            } else if (slash == std::string_view::npos) {
                to = from;
            }
            if (to < from) return false;
        }
        for (int i = from; i <= to; i += step)
            out.set(static_cast<std::size_t>(field.most == 6 ? i % 7 : i));
    }
    return true;
}

Failure refuse_field(const CronField& field, std::string_view found) {
    std::string expected =
        "expected " + std::to_string(field.least) + " to " + std::to_string(field.most);
    if (!field.names.empty())
        expected += " or names such as " + std::string(field.names[1].substr(0, 3));
    return invalid("cron expression: " + std::string(field.name) + ": " + expected +
                       ", as '5', '1,5', '1-5', '*' or '*/2', found " + shown(found),
                   "expression");
}

// ---- readers ----

struct Spelling {
    std::string_view type, week_days, month_days, start_time, end_time, time_zone;
    bool exact;  // what nobody knows is refused
};
constexpr Spelling kRest = {"triggerType", "weekDays", "monthDays", "startTime",
                            "endTime",     "timeZone", false};
constexpr Spelling kYaml = {"type",     "week_days", "month_days", "start_time",
                            "end_time", "time_zone", true};

std::string found_words(const Json& value) {
    return value.is_string() ? shown(value.as_view()) : shortened(value.dump(), 60);
}

Failure not_as(std::string_view key, std::string_view expected, const Json& found) {
    return invalid("expected " + std::string(expected) + ", found " + found_words(found), key);
}

Result<void> only(const Json& object, std::string_view under,
                  std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : object.members()) {
        if (std::ranges::find(known, key) != known.end()) continue;
        const std::vector<std::string> keys(known.begin(), known.end());
        return invalid(
            "is not known here" + did_you_mean(key, keys, "; expected one of " + join(keys, ", ")),
            std::string(under) + key);
    }
    return {};
}

Result<std::string> read_text(const Json& object, std::string_view key) {
    const Json& value = object.at(key);
    if (value.is_null()) return std::string();
    if (!value.is_string()) return not_as(key, "a text", value);
    return value.as_string();
}

// Numbers or a single one, each in its bounds; or names of days.
Result<std::vector<int>> read_numbers(const Json& value, std::string_view key, int least,
                                      int most) {
    std::vector<int> numbers;
    if (value.is_null()) return numbers;
    const std::string expected =
        "whole numbers from " + std::to_string(least) + " to " + std::to_string(most);
    const auto add = [&](const Json& item) {
        if (!item.is_number() || item.as_int(-1) < least || item.as_int(-1) > most) return false;
        numbers.push_back(static_cast<int>(item.as_int()));
        return true;
    };
    if (value.is_array()) {
        for (const Json& item : value.items())
            if (!add(item)) return not_as(key, expected, item);
    } else if (!add(value)) {
        return not_as(key, expected, value);
    }
    std::ranges::sort(numbers);
    numbers.erase(std::ranges::unique(numbers).begin(), numbers.end());
    return numbers;
}

Result<std::vector<int>> read_week_days(const Json& value, std::string_view key) {
    std::vector<int> numbers;
    if (value.is_null()) return numbers;
    const auto add = [&](const Json& item) {
        for (std::size_t i = 0; i < kWeekDays.size(); ++i)
            if (equal_ignoring_case(kWeekDays[i], item.as_view())) {
                numbers.push_back(static_cast<int>(i));
                return true;
            }
        return false;
    };
    constexpr std::string_view kExpected = "days of the week such as 'monday'";
    if (value.is_array()) {
        for (const Json& item : value.items())
            if (!add(item)) return not_as(key, kExpected, item);
    } else if (!add(value)) {
        return not_as(key, kExpected, value);
    }
    std::ranges::sort(numbers);
    numbers.erase(std::ranges::unique(numbers).begin(), numbers.end());
    return numbers;
}

// A time as a trigger says it: local, or a moment by its Z or offset.
struct Written {
    TimeZone::Local local;
    std::optional<TimeZone::Utc> moment;
};

std::optional<Written> parse_written(std::string_view text) {
    std::string whole(trim(text));
    if (whole.size() == 10) whole += "T00:00:00";
    if (whole.size() < 16) return std::nullopt;
    if (whole[10] == ' ') whole[10] = 'T';
    // "2026-11-30T09:00" may leave the seconds out.
    if (whole.size() == 16 || (whole[16] != ':')) whole.insert(16, ":00");
    const bool has_offset = whole.find_first_of("Zz+-", 19) != std::string::npos;
    const auto at = parse_iso8601(has_offset ? whole : whole + "Z");
    if (!at) return std::nullopt;
    const seconds since = floor<seconds>(Span(at->micros));
    Written written = {.local = TimeZone::Local(since), .moment = std::nullopt};
    if (has_offset) written.moment = TimeZone::Utc(since);
    return written;
}

Result<std::string> read_time(const Json& object, std::string_view key) {
    std::string text = TURNOUT_TRY(read_text(object, key));
    if (!text.empty() && !parse_written(text))
        return not_as(key, "a time such as '2026-11-30T09:00:00', local to the time zone",
                      object.at(key));
    return text;
}

Result<Trigger> read_trigger(const Json& json, const Spelling& spelling) {
    if (!json.is_object()) return not_as("", "a trigger, of type cron or recurrence", json);
    Trigger trigger;
    const Json& type = json.at(spelling.type);
    if (equal_ignoring_case(type.as_view(), "cron"))
        trigger.kind = Trigger::Kind::Cron;
    else if (equal_ignoring_case(type.as_view(), "recurrence"))
        trigger.kind = Trigger::Kind::Recurrence;
    else
        return not_as(spelling.type, "'cron' or 'recurrence'", type);
    trigger.start_time = TURNOUT_TRY(read_time(json, spelling.start_time));
    trigger.end_time = TURNOUT_TRY(read_time(json, spelling.end_time));
    trigger.time_zone = TURNOUT_TRY(read_text(json, spelling.time_zone));
    if (!trigger.time_zone.empty())
        if (auto known = iana_name(trigger.time_zone); !known) {
            known.error().subject = spelling.time_zone;
            return Failure(known.error());
        }
    if (trigger.kind == Trigger::Kind::Cron) {
        if (spelling.exact)
            TURNOUT_TRY(only(json, "",
                             {spelling.type, "expression", spelling.start_time, spelling.end_time,
                              spelling.time_zone}));
        if (!json.at("expression").is_string())
            return not_as("expression", "a cron expression such as '15 10 * * 1'",
                          json.at("expression"));
        trigger.expression = json.at("expression").as_string();
        TURNOUT_TRY(CronExpression::parse(trigger.expression));
        return trigger;
    }
    if (spelling.exact)
        TURNOUT_TRY(only(json, "",
                         {spelling.type, "frequency", "interval", "schedule", spelling.start_time,
                          spelling.end_time, spelling.time_zone}));
    const auto frequency = std::ranges::find_if(kFrequencies, [&](std::string_view name) {
        return equal_ignoring_case(name, json.at("frequency").as_view());
    });
    if (frequency == kFrequencies.end())
        return not_as("frequency", "minute, hour, day, week or month", json.at("frequency"));
    trigger.frequency = static_cast<Frequency>(frequency - kFrequencies.begin());
    const Json& interval = json.at("interval");
    if (!interval.is_number() || interval.as_int() < 1 || interval.as_int() > kLongestInterval)
        return not_as("interval", "a whole number from 1 to " + std::to_string(kLongestInterval),
                      interval);
    trigger.interval = static_cast<int>(interval.as_int());
    const Json& pattern = json.at("schedule");
    if (pattern.is_null()) return trigger;
    if (!pattern.is_object())
        return not_as("schedule", "a pattern of hours, minutes and days", pattern);
    const std::string week_days = "schedule." + std::string(spelling.week_days);
    const std::string month_days = "schedule." + std::string(spelling.month_days);
    if (spelling.exact)
        TURNOUT_TRY(only(pattern, "schedule.",
                         {"hours", "minutes", spelling.week_days, spelling.month_days}));
    trigger.hours = TURNOUT_TRY(read_numbers(pattern.at("hours"), "schedule.hours", 0, 23));
    trigger.minutes = TURNOUT_TRY(read_numbers(pattern.at("minutes"), "schedule.minutes", 0, 59));
    trigger.week_days = TURNOUT_TRY(read_week_days(pattern.at(spelling.week_days), week_days));
    trigger.month_days =
        TURNOUT_TRY(read_numbers(pattern.at(spelling.month_days), month_days, 1, 31));
    if (trigger.frequency <= Frequency::Hour && trigger.has_pattern())
        return not_as("schedule",
                      "no hours, minutes or days where the frequency is minute or hour: those are "
                      "counted from the start; a cron expression can say both",
                      pattern);
    if (trigger.frequency != Frequency::Month && !trigger.month_days.empty())
        return not_as(month_days, "days of the month only where the frequency is month",
                      pattern.at(spelling.month_days));
    if (!trigger.week_days.empty() && !trigger.month_days.empty())
        return not_as(month_days, "days of the week or of the month, not both",
                      pattern.at(spelling.month_days));
    return trigger;
}

Json numbers_of(const std::vector<int>& numbers) {
    Json list = Json::array();
    for (const int number : numbers) list.push(number);
    return list;
}

Json write_trigger(const Trigger& trigger, const Spelling& spelling) {
    const auto word = [&](std::string_view name) {
        return spelling.exact ? to_lower(name) : std::string(name);
    };
    Json json = Json::object();
    json.set(spelling.type, word(trigger.kind == Trigger::Kind::Cron ? "Cron" : "Recurrence"));
    if (trigger.kind == Trigger::Kind::Cron) {
        json.set("expression", trigger.expression);
    } else {
        json.set("frequency", word(kFrequencies[static_cast<std::size_t>(trigger.frequency)]));
        json.set("interval", trigger.interval);
        // The SDK reads the pattern always, and writes an empty one where there is none.
        if (trigger.has_pattern() || !spelling.exact) {
            Json pattern = Json::object(
                {{"hours", numbers_of(trigger.hours)}, {"minutes", numbers_of(trigger.minutes)}});
            if (!trigger.week_days.empty()) {
                Json names = Json::array();
                for (const int day : trigger.week_days)
                    names.push(word(kWeekDays[static_cast<std::size_t>(day)]));
                pattern.set(spelling.week_days, std::move(names));
            }
            if (!trigger.month_days.empty())
                pattern.set(spelling.month_days, numbers_of(trigger.month_days));
            json.set("schedule", std::move(pattern));
        }
    }
    for (const auto& [key, text] : {std::pair{spelling.start_time, trigger.start_time},
                                    {spelling.end_time, trigger.end_time}})
        if (!text.empty()) json.set(key, text);
    json.set(spelling.time_zone, trigger.time_zone.empty() ? "UTC" : trigger.time_zone);
    return json;
}

Instant instant_of(TimeZone::Utc at) {
    return {at.time_since_epoch().count() * 1'000'000};
}

}  // namespace

Result<CronExpression> CronExpression::parse(std::string_view text) {
    std::vector<std::string> fields;
    if (text.size() <= 1000)
        for (std::string& field : split(text, ' '))
            if (!field.empty()) fields.push_back(std::move(field));
    if (fields.size() != 5)
        return invalid(
            "expected a cron expression of five fields (minute, hour, day of the month, "
            "month, day of the week), such as '15 10 * * 1', found " +
                shown(text),
            "expression");
    CronExpression cron;
    const CronField minute = {"minute", 0, 59}, hour = {"hour", 0, 23},
                    month_day = {"day of the month", 1, 31}, month = {"month", 1, 12, kMonths, 1},
                    week_day = {"day of the week", 0, 6, kWeekDays, 0};
    if (!read_field(minute, fields[0], cron.minutes)) return refuse_field(minute, fields[0]);
    if (!read_field(hour, fields[1], cron.hours)) return refuse_field(hour, fields[1]);
    if (!read_field(month_day, fields[2], cron.month_days))
        return refuse_field(month_day, fields[2]);
    if (!read_field(month, fields[3], cron.months)) return refuse_field(month, fields[3]);
    if (!read_field(week_day, fields[4], cron.week_days)) return refuse_field(week_day, fields[4]);
    return cron;
}

Result<Trigger> trigger_of_rest(const Json& rest) {
    return read_trigger(rest, kRest);
}

Result<Trigger> trigger_of_yaml(const Json& yaml) {
    return read_trigger(yaml, kYaml);
}

Json trigger_to_rest(const Trigger& trigger) {
    return write_trigger(trigger, kRest);
}

Json trigger_to_yaml(const Trigger& trigger) {
    return write_trigger(trigger, kYaml);
}

std::string words_of(const Trigger& trigger) {
    const std::string zone = trigger.time_zone.empty() ? "UTC" : trigger.time_zone;
    if (trigger.kind == Trigger::Kind::Cron)
        return "cron " + trigger.expression + " (" + zone + ")";
    const std::string unit = to_lower(kFrequencies[static_cast<std::size_t>(trigger.frequency)]);
    std::string words = trigger.interval == 1
                            ? "every " + unit
                            : "every " + std::to_string(trigger.interval) + " " + unit + "s";
    std::vector<std::string> on;
    for (const int day : trigger.week_days)
        on.emplace_back(kWeekDays[static_cast<std::size_t>(day)].substr(0, 3));
    for (const int day : trigger.month_days) on.push_back(std::to_string(day) + ".");
    if (!on.empty()) words += " on " + join(on, ", ");
    if (!trigger.hours.empty() && trigger.hours.size() * trigger.minutes.size() <= 4) {
        std::vector<std::string> at;
        for (const int hour : trigger.hours)
            for (const int minute : trigger.minutes) {
                char text[32];
                std::snprintf(text, sizeof text, "%02d:%02d", hour, minute);
                at.emplace_back(text);
            }
        if (!at.empty()) words += " at " + join(at, ", ");
    }
    return words + " (" + zone + ")";
}

Result<Timetable> Timetable::of(const Trigger& trigger, const TimeZones& zones, Instant made) {
    Timetable table;
    table.kind_ = trigger.kind;
    table.zone_ = TURNOUT_TRY(find_time_zone(trigger.time_zone, zones));
    const auto moment = [&](const std::string& text) -> std::optional<Utc> {
        const auto written = parse_written(text);
        if (!written) return std::nullopt;
        return written->moment ? *written->moment : table.zone_.moments_of(written->local).first;
    };
    table.start_ = Utc(floor<seconds>(Span(made.micros)));
    // What its clock shows then, by which days and times of day are counted: as it was written,
    // even where the clock leaves that time out on the day itself.
    std::optional<TimeZone::Local> shown;
    if (!trigger.start_time.empty()) {
        const auto start = moment(trigger.start_time);
        if (!start) return not_as("startTime", "a time", Json(trigger.start_time));
        table.start_ = *start;
        if (const auto written = parse_written(trigger.start_time); !written->moment)
            shown = written->local;
    }
    if (!trigger.end_time.empty()) {
        const auto end = moment(trigger.end_time);
        if (!end) return not_as("endTime", "a time", Json(trigger.end_time));
        if (*end < table.start_)
            return not_as("endTime", "a time after the start", Json(trigger.end_time));
        table.end_ = instant_of(*end);
    }
    const TimeZone::Local start = shown.value_or(table.zone_.local_at(table.start_));
    table.first_day_ = floor<days>(start);
    const std::chrono::year_month_day date(table.first_day_);
    const std::chrono::weekday week_day(table.first_day_);
    std::vector<int> hours = trigger.hours, minutes = trigger.minutes;
    seconds rest{0};
    if (trigger.kind == Trigger::Kind::Cron) {
        const CronExpression cron = TURNOUT_TRY(CronExpression::parse(trigger.expression));
        table.month_days_ = cron.month_days;
        table.months_ = cron.months;
        table.week_days_ = cron.week_days;
        for (std::size_t i = 0; i < cron.hours.size(); ++i)
            if (cron.hours[i]) hours.push_back(static_cast<int>(i));
        for (std::size_t i = 0; i < cron.minutes.size(); ++i)
            if (cron.minutes[i]) minutes.push_back(static_cast<int>(i));
    } else {
        table.frequency_ = trigger.frequency;
        table.interval_ = trigger.interval;
        table.month_days_.set();
        table.months_.set();
        table.week_days_.set();
        if (!trigger.week_days.empty()) {
            table.week_days_.reset();
            for (const int day : trigger.week_days)
                table.week_days_.set(static_cast<std::size_t>(day));
        } else if (trigger.frequency == Frequency::Week) {
            table.week_days_.reset();
            table.week_days_.set(week_day.c_encoding());
        }
        if (!trigger.month_days.empty()) {
            table.month_days_.reset();
            for (const int day : trigger.month_days)
                table.month_days_.set(static_cast<std::size_t>(day));
        } else if (trigger.frequency == Frequency::Month && trigger.week_days.empty()) {
            table.month_days_.reset();
            table.month_days_.set(static_cast<unsigned>(date.day()));
        }
        const seconds of_day = start - TimeZone::Local(table.first_day_);
        if (hours.empty() && minutes.empty()) rest = of_day % 60;
        if (minutes.empty()) minutes.push_back(static_cast<int>(of_day.count() / 60 % 60));
        if (hours.empty()) hours.push_back(static_cast<int>(of_day.count() / 3600));
    }
    table.every_hour_ = hours.size() == 24;
    for (const int hour : hours)
        for (const int minute : minutes)
            table.times_.push_back(std::chrono::hours(hour) + std::chrono::minutes(minute) + rest);
    if (!table.next_from(table.start_))
        return invalid("expected a trigger that fires at least once, found " + words_of(trigger) +
                           (trigger.end_time.empty() ? "" : " until " + trigger.end_time),
                       trigger.kind == Trigger::Kind::Cron ? "expression" : "schedule");
    return table;
}

bool Timetable::fits(Days day) const {
    const std::chrono::year_month_day date(day);
    if (!week_days_[std::chrono::weekday(day).c_encoding()] ||
        !month_days_[static_cast<unsigned>(date.day())] ||
        !months_[static_cast<unsigned>(date.month())])
        return false;
    if (kind_ == Trigger::Kind::Cron) return true;
    if (day < first_day_) return false;
    switch (frequency_) {
        case Frequency::Minute:
        case Frequency::Hour: return true;
        case Frequency::Day: return (day - first_day_).count() % interval_ == 0;
        case Frequency::Week: {
            // Weeks begin on Monday.
            const auto monday =
                first_day_ - (std::chrono::weekday(first_day_) - std::chrono::Monday);
            return (day - monday).count() / 7 % interval_ == 0;
        }
        case Frequency::Month: {
            const std::chrono::year_month_day first(first_day_);
            const int months =
                (static_cast<int>(date.year()) - static_cast<int>(first.year())) * 12 +
                static_cast<int>(static_cast<unsigned>(date.month())) -
                static_cast<int>(static_cast<unsigned>(first.month()));
            return months % interval_ == 0;
        }
    }
    return false;
}

std::optional<Timetable::Utc> Timetable::first_of(Days day, Utc earliest) const {
    if (const auto offset = zone_.steady_offset(day)) {
        const Utc midnight = Utc(day.time_since_epoch()) - *offset;
        const auto at = std::ranges::lower_bound(times_, earliest - midnight);
        if (at == times_.end()) return std::nullopt;
        return midnight + *at;
    }
    // A time is shown between that by the largest and that by the smallest of the day's offsets, so
    // only a few are to be looked at: whoever counts what was missed asks for each minute.
    const Utc midnight(day.time_since_epoch());
    using namespace std::chrono_literals;
    const auto [least, most] =
        std::minmax({zone_.offset_at(midnight - 26h), zone_.offset_at(midnight - 2h),
                     zone_.offset_at(midnight + 26h), zone_.offset_at(midnight + 50h)});
    std::optional<Utc> first;
    const auto consider = [&](Utc at) {
        if (at >= earliest && (!first || at < *first)) first = at;
    };
    for (auto at = std::ranges::lower_bound(times_, earliest + least - midnight);
         at != times_.end() && (!first || midnight + *at - most < *first); ++at) {
        const TimeZone::Moments moments = zone_.moments_of(TimeZone::Local(day) + *at);
        consider(moments.first);
        if (every_hour_ && moments.second) consider(*moments.second);
    }
    return first;
}

std::optional<Timetable::Utc> Timetable::next_from(Utc earliest) const {
    earliest = std::max(earliest, start_);
    std::optional<Utc> found;
    if (kind_ == Trigger::Kind::Recurrence && frequency_ <= Frequency::Hour) {
        const seconds step = seconds(frequency_ == Frequency::Minute ? 60 : 3600) * interval_;
        found = start_ + (earliest - start_ + step - seconds(1)) / step * step;
    } else {
        // The day before may still have a time that the clock shows again.
        Days day = floor<days>(zone_.local_at(earliest)) - days(1);
        for (const Days end = day + kSearched + days(31 * interval_); day < end && !found;
             day += days(1)) {
            if (!fits(day)) continue;
            found = first_of(day, earliest);
            // Where the clock is put back over midnight the next day begins before this one ends.
            if (found && !zone_.steady_offset(day) && fits(day + days(1)))
                if (const auto other = first_of(day + days(1), earliest); other && *other < *found)
                    found = other;
        }
    }
    if (found && end_ && instant_of(*found) > *end_) return std::nullopt;
    return found;
}

std::optional<Instant> Timetable::next(Instant after) const {
    const auto at = next_from(Utc(floor<seconds>(Span(after.micros)) + seconds(1)));
    if (!at) return std::nullopt;
    return instant_of(*at);
}

std::optional<Instant> Timetable::last(Instant after, Instant until) const {
    auto known = next(after);
    if (!known || *known > until) return std::nullopt;
    // Between `known`, after which there may be more, and `high`, after which there is none.
    std::int64_t low = known->micros / 1'000'000, high = until.micros / 1'000'000;
    while (low < high) {
        const std::int64_t middle = low + (high - low) / 2;
        const auto later = next({middle * 1'000'000});
        if (later && *later <= until) {
            known = later;
            low = later->micros / 1'000'000;
        } else {
            high = middle;
        }
    }
    return known;
}

std::size_t Timetable::count(Instant after, Instant until, std::size_t most) const {
    std::size_t counted = 0;
    for (auto at = next(after); at && *at <= until && counted < most; at = next(*at)) ++counted;
    return counted;
}

std::string Timetable::local_text(Instant at) const {
    const Utc moment(floor<seconds>(Span(at.micros)));
    const TimeZone::Local local = zone_.local_at(moment);
    std::string text = to_iso8601({local.time_since_epoch().count() * 1'000'000}).substr(0, 19);
    if (zone_.moments_of(local).first == moment) return text;
    // The clock shows it for the second time: without its offset it would be the first one.
    const auto minutes =
        std::chrono::duration_cast<std::chrono::minutes>(zone_.offset_at(moment)).count();
    char offset[16];
    std::snprintf(offset, sizeof offset, "%c%02d:%02d", minutes < 0 ? '-' : '+',
                  static_cast<int>(std::abs(minutes) / 60),
                  static_cast<int>(std::abs(minutes) % 60));
    return text + offset;
}

}  // namespace turnout
