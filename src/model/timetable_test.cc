#include "model/timetable.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

namespace turnout {
namespace {

using std::chrono::seconds;
using Utc = TimeZone::Utc;

// The machine's own rules; whoever builds has tzdata (scripts/install-deps).
Result<TimeZone> machine_zone(const std::string& iana) {
    static std::map<std::string, TimeZone> known;
    if (const auto found = known.find(iana); found != known.end()) return found->second;
    std::ifstream file("/usr/share/zoneinfo/" + iana, std::ios::binary);
    if (!file) return not_found("/usr/share/zoneinfo has no '" + iana + "'");
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    auto zone = TimeZone::parse(bytes);
    if (zone) known.emplace(iana, *zone);
    return zone;
}

Instant at(std::string_view text) {
    const auto instant = parse_iso8601(text);
    EXPECT_TRUE(instant) << text;
    return instant.value_or(Instant());
}

std::string short_text(std::optional<Instant> instant) {
    return instant ? to_iso8601(*instant).substr(0, 19) + "Z" : "never";
}

Result<Timetable> table_of(std::string_view json, std::string_view made = "2026-01-01T00:00:00Z") {
    const auto trigger = trigger_of_rest(*parse_json(json));
    if (!trigger) return Failure(trigger.error());
    return Timetable::of(*trigger, machine_zone, at(made));
}

std::string cron(std::string_view expression, std::string_view zone = "UTC") {
    return R"({"triggerType":"Cron","expression":")" + std::string(expression) +
           R"(","timeZone":")" + std::string(zone) + R"("})";
}

// The next firings after a moment, in one line.
std::string firings(std::string_view json, std::string_view after, int many,
                    std::string_view made = "2026-01-01T00:00:00Z") {
    const auto table = table_of(json, made);
    if (!table) return table.error().message;
    std::string all;
    std::optional<Instant> next = at(after);
    for (int i = 0; i < many && next; ++i) {
        next = table->next(*next);
        all += (i ? " " : "") + short_text(next);
    }
    return all;
}

TEST(CronExpression, Fields) {
    struct Case {
        std::string_view expression, after, next;
    };
    for (const Case& c : {
             Case{"15 10 * * *", "2026-11-30T00:00:00Z", "2026-11-30T10:15:00Z"},
             Case{"15 10 * * *", "2026-11-30T10:15:00Z", "2026-12-01T10:15:00Z"},
             Case{"15 10 * * *", "2026-11-30T10:14:59.999999Z", "2026-11-30T10:15:00Z"},
             Case{"*/20 * * * *", "2026-11-30T10:41:00Z", "2026-11-30T11:00:00Z"},
             Case{"5/20 * * * *", "2026-11-30T10:41:00Z", "2026-11-30T10:45:00Z"},
             Case{"0,30 8-10/2 * * *", "2026-11-30T08:30:00Z", "2026-11-30T10:00:00Z"},
             Case{"0 0 * * MON-FRI", "2026-11-27T12:00:00Z", "2026-11-30T00:00:00Z"},
             Case{"0 0 * * sunday", "2026-11-30T00:00:00Z", "2026-12-06T00:00:00Z"},
             Case{"0 0 * * 7", "2026-11-30T00:00:00Z", "2026-12-06T00:00:00Z"},
             Case{"0 0 * * 6-7", "2026-12-05T00:00:00Z", "2026-12-06T00:00:00Z"},
             Case{"0 0 * * 7-7", "2026-11-30T00:00:00Z", "2026-12-06T00:00:00Z"},
             Case{"0 0 * * SUN-7", "2026-11-30T00:00:00Z", "2026-12-06T00:00:00Z"},
             Case{"0 0 * * 0-7", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"},
             Case{"0 0 * * 7-1", "2026-12-01T00:00:00Z", "2026-12-06T00:00:00Z"},
             Case{"0 0 1 * *", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"},
             Case{"0 0 31 * *", "2026-08-31T00:00:00Z", "2026-10-31T00:00:00Z"},
             Case{"0 0 * feb,Dec *", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"},
             Case{"0 0 13 * FRI", "2026-11-30T00:00:00Z", "2027-08-13T00:00:00Z"},
             Case{"0 0 29 2 *", "2026-11-30T00:00:00Z", "2028-02-29T00:00:00Z"},
             Case{"0 0 29 2 1", "2072-03-01T00:00:00Z", "2112-02-29T00:00:00Z"},
             Case{"0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
             Case{"  1  2 3 4 * ", "2026-11-30T00:00:00Z", "2027-04-03T02:01:00Z"},
         })
        EXPECT_EQ(firings(cron(c.expression), c.after, 1), c.next) << c.expression;
}

TEST(CronExpression, WhatIsWrongIsNamed) {
    struct Case {
        std::string_view expression, message;
    };
    for (const Case& c : {
             Case{"* * * *", "expected a cron expression of five fields"},
             Case{"0 * * * * *", "expected a cron expression of five fields"},
             Case{"@daily", "expected a cron expression of five fields"},
             Case{"", "expected a cron expression of five fields"},
             Case{"60 * * * *", "minute: expected 0 to 59"},
             Case{"-1 * * * *", "minute: expected 0 to 59"},
             Case{"* 24 * * *", "hour: expected 0 to 23"},
             Case{"* * 0 * *", "day of the month: expected 1 to 31"},
             Case{"* * L * *", "day of the month: expected 1 to 31"},
             Case{"* * ? * *", "day of the month: expected 1 to 31"},
             Case{"* * * 13 *", "month: expected 1 to 12 or names such as Feb"},
             Case{"* * * * 8", "day of the week: expected 0 to 6 or names such as Mon"},
             Case{"* * * * FRI-MON", "day of the week: expected 0 to 6"},
             Case{"* * * * mo", "day of the week: expected 0 to 6"},
             Case{"*/0 * * * *", "minute: expected 0 to 59"},
             Case{"*/x * * * *", "minute: expected 0 to 59"},
             Case{"1,,2 * * * *", "minute: expected 0 to 59"},
             Case{"1- * * * *", "minute: expected 0 to 59"},
             Case{"0 0 30 2 *", "expected a trigger that fires at least once"},
         }) {
        const auto table = table_of(cron(c.expression));
        ASSERT_FALSE(table) << c.expression;
        EXPECT_NE(table.error().message.find(c.message), std::string::npos)
            << c.expression << ": " << table.error().message;
        EXPECT_EQ(table.error().subject, "expression");
    }
}

TEST(Recurrence, Firings) {
    struct Case {
        std::string_view what, json, after, firings;
    };
    for (const Case& c : {
             Case{"without a pattern it counts from the start, which is the first",
                  R"({"triggerType":"Recurrence","frequency":"Minute","interval":15,)"
                  R"("startTime":"2026-11-30T10:07:05"})",
                  "2026-11-30T00:00:00Z", "2026-11-30T10:07:05Z 2026-11-30T10:22:05Z"},
             Case{"what begins in the past goes on",
                  R"({"triggerType":"Recurrence","frequency":"hour","interval":5,)"
                  R"("startTime":"2026-11-29 00:00:00","schedule":{"hours":[],"minutes":[]}})",
                  "2026-11-30T00:00:00Z", "2026-11-30T01:00:00Z 2026-11-30T06:00:00Z"},
             Case{"days keep the local time of the start",
                  R"({"triggerType":"Recurrence","frequency":"Day","interval":2,)"
                  R"("startTime":"2026-03-27T09:30:01","timeZone":"Europe/Berlin"})",
                  "2026-03-27T10:00:00Z", "2026-03-29T07:30:01Z 2026-03-31T07:30:01Z"},
             Case{"a pattern of hours and minutes is their product",
                  R"({"triggerType":"Recurrence","frequency":"Day","interval":1,)"
                  R"("schedule":{"hours":[4,16],"minutes":[0,30]}})",
                  "2026-11-30T04:00:00Z",
                  "2026-11-30T04:30:00Z 2026-11-30T16:00:00Z 2026-11-30T16:30:00Z "
                  "2026-12-01T04:00:00Z"},
             Case{"weeks are counted from the one of the start, which begins on Monday",
                  R"({"triggerType":"Recurrence","frequency":"Week","interval":2,)"
                  R"("startTime":"2026-11-26T00:00:00",)"
                  R"("schedule":{"hours":[8],"minutes":[0],"weekDays":["Sunday","Monday"]}})",
                  "2026-11-26T00:00:00Z",
                  "2026-11-29T08:00:00Z 2026-12-07T08:00:00Z 2026-12-13T08:00:00Z"},
             Case{"a week without days has the start's",
                  R"({"triggerType":"Recurrence","frequency":"Week","interval":1,)"
                  R"("startTime":"2026-11-26T07:00:00"})",
                  "2026-11-27T00:00:00Z", "2026-12-03T07:00:00Z"},
             Case{"a month that has no such day is left out",
                  R"({"triggerType":"Recurrence","frequency":"Month","interval":1,)"
                  R"("startTime":"2026-01-31T07:00:00"})",
                  "2026-02-01T00:00:00Z", "2026-03-31T07:00:00Z 2026-05-31T07:00:00Z"},
             Case{"days of the month",
                  R"({"triggerType":"Recurrence","frequency":"Month","interval":2,)"
                  R"("startTime":"2026-01-31T07:00:00",)"
                  R"("schedule":{"hours":[1],"minutes":[2],"monthDays":[1,31]}})",
                  "2026-01-31T08:00:00Z",
                  "2026-03-01T01:02:00Z 2026-03-31T01:02:00Z 2026-05-01T01:02:00Z"},
             Case{"days of the week of a month are all of them",
                  R"({"triggerType":"Recurrence","frequency":"Month","interval":2,)"
                  R"("startTime":"2026-11-23T00:00:00",)"
                  R"("schedule":{"hours":[1],"minutes":[0],"weekDays":["Monday"]}})",
                  "2026-11-24T00:00:00Z", "2026-11-30T01:00:00Z 2027-01-04T01:00:00Z"},
             Case{"a long interval",
                  R"({"triggerType":"Recurrence","frequency":"Month","interval":1000,)"
                  R"("startTime":"2026-01-01T00:00:00"})",
                  "2026-01-02T00:00:00Z", "2109-05-01T00:00:00Z"},
             Case{"the end is the last moment",
                  R"({"triggerType":"Recurrence","frequency":"Minute","interval":1,)"
                  R"("startTime":"2026-11-30T10:00:00Z","endTime":"2026-11-30T12:01:00+02:00"})",
                  "2026-11-30T09:00:00Z", "2026-11-30T10:00:00Z 2026-11-30T10:01:00Z never"},
         })
        EXPECT_EQ(
            firings(c.json, c.after, static_cast<int>(std::ranges::count(c.firings, ' ')) + 1),
            c.firings)
            << c.what;
}

TEST(Trigger, WhatIsWrongIsNamedInItsSpelling) {
    struct Case {
        std::string_view rest, subject, message;
    };
    for (const Case& c : {
             Case{R"({"triggerType":"Hourly"})", "triggerType",
                  "expected 'cron' or 'recurrence', found 'Hourly'"},
             Case{R"({"triggerType":"Cron"})", "expression", "found null"},
             Case{R"({"triggerType":"Recurrence","frequency":"Year","interval":1})", "frequency",
                  "expected minute, hour, day, week or month, found 'Year'"},
             Case{R"({"triggerType":"Recurrence","frequency":"Day","interval":0})", "interval",
                  "expected a whole number from 1 to 1000, found 0"},
             Case{R"({"triggerType":"Recurrence","frequency":"Day","interval":1.5})", "interval",
                  "found 1.5"},
             Case{R"({"triggerType":"Recurrence","frequency":"Day","interval":1,)"
                  R"("schedule":{"hours":[24]}})",
                  "schedule.hours", "expected whole numbers from 0 to 23, found 24"},
             Case{R"({"triggerType":"Recurrence","frequency":"Week","interval":1,)"
                  R"("schedule":{"weekDays":["Mo"]}})",
                  "schedule.weekDays", "expected days of the week such as 'monday', found 'Mo'"},
             Case{R"({"triggerType":"Recurrence","frequency":"Day","interval":1,)"
                  R"("schedule":{"monthDays":[1]}})",
                  "schedule.monthDays", "only where the frequency is month"},
             Case{R"({"triggerType":"Recurrence","frequency":"Hour","interval":1,)"
                  R"("schedule":{"minutes":[1]}})",
                  "schedule", "counted from the start"},
             Case{R"({"triggerType":"Cron","expression":"* * * * *","startTime":"tomorrow"})",
                  "startTime", "expected a time such as '2026-11-30T09:00:00'"},
             Case{R"({"triggerType":"Cron","expression":"* * * * *","timeZone":"Europe/../x"})",
                  "timeZone", "expected the name of a time zone"},
             Case{R"({"triggerType":"Cron","expression":"* * * * *","timeZone":"Europe/Berlim"})",
                  "timeZone", "did you mean 'Europe/Berlin'?"},
             Case{R"({"triggerType":"Cron","expression":"* * * * *",)"
                  R"("startTime":"2026-11-30","endTime":"2026-11-29"})",
                  "endTime", "expected a time after the start"},
         }) {
        const auto table = table_of(c.rest);
        ASSERT_FALSE(table) << c.rest;
        EXPECT_EQ(table.error().subject, c.subject) << c.rest;
        EXPECT_NE(table.error().message.find(c.message), std::string::npos)
            << table.error().message;
    }
    const auto unknown = trigger_of_yaml(*parse_json(
        R"({"type":"recurrence","frequency":"week","interval":1,"schedule":{"weekdays":"monday"}})"));
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().subject, "schedule.weekdays");
    EXPECT_NE(unknown.error().message.find("did you mean 'week_days'?"), std::string::npos);
}

TEST(Trigger, BothSpellingsSayTheSame) {
    const auto yaml = trigger_of_yaml(*parse_json(
        R"({"type":"recurrence","frequency":"week","interval":2,"start_time":"2022-07-10T10:00:00",)"
        R"("time_zone":"Pacific Standard Time",)"
        R"("schedule":{"hours":[5,4,4],"minutes":10,"week_days":["friday","monday"]}})"));
    ASSERT_TRUE(yaml) << yaml.error().message;
    EXPECT_EQ(trigger_to_rest(*yaml).dump(),
              R"({"triggerType":"Recurrence","frequency":"Week","interval":2,"schedule":)"
              R"({"hours":[4,5],"minutes":[10],"weekDays":["Monday","Friday"]},)"
              R"("startTime":"2022-07-10T10:00:00","timeZone":"Pacific Standard Time"})");
    EXPECT_EQ(*trigger_of_rest(trigger_to_rest(*yaml)), *yaml);
    EXPECT_EQ(*trigger_of_yaml(trigger_to_yaml(*yaml)), *yaml);
    EXPECT_EQ(words_of(*yaml), "every 2 weeks on Mon, Fri at 04:10, 05:10 (Pacific Standard Time)");
}

TEST(TimeZone, NamesOfBothKinds) {
    for (const auto& [name, iana] :
         std::map<std::string, std::string>{{"W. Europe Standard Time", "Europe/Berlin"},
                                            {"india standard time", "Asia/Kolkata"},
                                            {"UTC+12", "Etc/GMT-12"},
                                            {"Eastern Standard Time", "America/New_York"},
                                            {"Asia/Tokyo", "Asia/Tokyo"}})
        EXPECT_EQ(iana_name(name).value_or("refused"), iana);
    for (const std::string_view name : {"", "../etc/passwd", "/etc/localtime", "a b", "Europe//x"})
        EXPECT_FALSE(iana_name(name)) << name;
}

TEST(TimeZone, FixedOffsetsNeedNoFiles) {
    const TimeZones none = [](const std::string& iana) -> Result<TimeZone> {
        return not_found("no tzdata is installed, which has '" + iana + "'");
    };
    EXPECT_EQ(find_time_zone("", none)->offset_at(Utc()), seconds(0));
    EXPECT_EQ(find_time_zone("UTC", none)->offset_at(Utc()), seconds(0));
    EXPECT_EQ(find_time_zone("UTC-11", none)->offset_at(Utc()), seconds(-11 * 3600));
    EXPECT_EQ(find_time_zone("UTC+12", none)->offset_at(Utc()), seconds(12 * 3600));
    const auto refused = find_time_zone("Romance Standard Time", none);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::InvalidArgument);
    EXPECT_NE(refused.error().message.find("no tzdata is installed"), std::string::npos);
}

TEST(TimeZone, KnownOffsets) {
    struct Case {
        std::string zone;
        std::string_view utc;
        int minutes;
    };
    for (const Case& c : {
             Case{"Europe/Berlin", "2026-07-01T00:00:00Z", 120},
             Case{"Europe/Berlin", "2026-12-01T00:00:00Z", 60},
             Case{"Europe/Berlin", "2026-03-29T00:59:59Z", 60},
             Case{"Europe/Berlin", "2026-03-29T01:00:00Z", 120},
             Case{"Europe/Berlin", "2099-10-25T00:59:59Z", 120},
             Case{"Europe/Berlin", "2099-10-25T01:00:00Z", 60},
             Case{"America/New_York", "2026-11-01T05:59:59Z", -240},
             Case{"America/New_York", "2026-11-01T06:00:00Z", -300},
             Case{"Australia/Lord_Howe", "2026-01-01T00:00:00Z", 660},
             Case{"Australia/Lord_Howe", "2026-07-01T00:00:00Z", 630},
             Case{"Asia/Kathmandu", "2026-07-01T00:00:00Z", 345},
             Case{"Pacific/Apia", "2011-12-30T09:59:59Z", -600},
             Case{"Pacific/Apia", "2011-12-30T10:00:00Z", 840},
             Case{"Europe/Berlin", "1880-01-01T00:00:00Z", 53},
             Case{"Europe/Dublin", "2026-12-01T00:00:00Z", 0},
             Case{"America/Nuuk", "2026-07-01T00:00:00Z", -60},
         }) {
        const auto zone = machine_zone(c.zone);
        ASSERT_TRUE(zone) << c.zone;
        EXPECT_EQ(zone->offset_at(Utc(seconds(at(c.utc).micros / 1'000'000))).count() / 60,
                  c.minutes)
            << c.zone << " " << c.utc;
    }
}

TEST(TimeZone, DataThatIsNoneIsRefused) {
    std::ifstream file("/usr/share/zoneinfo/Europe/Berlin", std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    ASSERT_TRUE(TimeZone::parse(whole));
    EXPECT_FALSE(TimeZone::parse(""));
    EXPECT_FALSE(TimeZone::parse("TZif2"));
    for (std::size_t length = 0; length < whole.size(); ++length)
        EXPECT_FALSE(TimeZone::parse(whole.substr(0, length))) << length;
}

constexpr seconds kStep = std::chrono::minutes(5);

// What the local clock shows every five minutes of a year and two days before.
std::vector<TimeZone::Local> shown_by_clock(const TimeZone& zone, Utc from, Utc to) {
    std::vector<TimeZone::Local> shown;
    for (Utc moment = from; moment < to; moment += kStep) shown.push_back(zone.local_at(moment));
    return shown;
}

// What the header of timetable.h says, looked at every five minutes: slow, and nothing is clever.
std::vector<std::int64_t> looked_up(const CronExpression& cron,
                                    const std::vector<TimeZone::Local>& shown, Utc first,
                                    Utc from) {
    const bool every_hour = cron.hours.all();
    const auto fits = [&](TimeZone::Local local) {
        const auto day = std::chrono::floor<std::chrono::days>(local);
        const auto minute = std::chrono::duration_cast<std::chrono::minutes>(local - day).count();
        if (!cron.minutes[static_cast<std::size_t>(minute % 60)] ||
            !cron.hours[static_cast<std::size_t>(minute / 60)])
            return false;
        const std::chrono::year_month_day date(day);
        return cron.month_days[static_cast<unsigned>(date.day())] &&
               cron.months[static_cast<unsigned>(date.month())] &&
               cron.week_days[std::chrono::weekday(day).c_encoding()];
    };
    std::vector<std::int64_t> firings;
    TimeZone::Local latest = shown.front() - kStep;
    for (std::size_t i = 1; i < shown.size(); ++i) {
        const bool again = shown[i] <= latest;
        bool fires = fits(shown[i]) && (every_hour || !again);
        latest = std::max(latest, shown[i]);
        // What is skipped between the look before and this one.
        for (TimeZone::Local skipped = shown[i - 1] + kStep; skipped < shown[i]; skipped += kStep)
            fires = fires || fits(skipped);
        const Utc moment = first + i * kStep;
        if (fires && moment >= from) firings.push_back(moment.time_since_epoch().count());
    }
    return firings;
}

TEST(Timetable, AYearInManyZonesLookedAtEveryFiveMinutes) {
    for (const std::string zone_name :
         {"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata",
          "Africa/Casablanca", "America/Santiago", "Atlantic/Azores", "Asia/Beirut",
          "America/Nuuk"}) {
        const auto zone = machine_zone(zone_name);
        ASSERT_TRUE(zone) << zone_name;
        const Utc from(seconds(at("2026-01-01T00:00:00Z").micros / 1'000'000));
        const Utc to = from + std::chrono::days(366), first = from - std::chrono::days(2);
        const auto shown = shown_by_clock(*zone, first, to);
        for (const std::string_view expression :
             {"*/10 * * * *", "30 2 * * *", "0 * * * *", "15 0-3 * * *", "30 1 * * SUN",
              "0,55 0,23 1 * *", "30 2 29 3 *", "45 22-23 * * *"}) {
            const auto table = table_of(cron(expression, zone_name));
            ASSERT_TRUE(table) << table.error().message;
            const auto expected = looked_up(*CronExpression::parse(expression), shown, first, from);
            std::vector<std::int64_t> found;
            for (auto next = table->next({at("2026-01-01T00:00:00Z").micros - 1});
                 next && next->micros / 1'000'000 < to.time_since_epoch().count();
                 next = table->next(*next))
                found.push_back(next->micros / 1'000'000);
            EXPECT_EQ(found, expected) << zone_name << " " << expression;
        }
    }
}

TEST(Timetable, TheTwoNightsInBerlin) {
    EXPECT_EQ(firings(cron("30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00:00Z", 2),
              "2026-03-29T01:00:00Z 2026-03-30T00:30:00Z");
    EXPECT_EQ(firings(cron("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00Z", 2),
              "2026-10-25T00:30:00Z 2026-10-26T01:30:00Z");
    EXPECT_EQ(firings(cron("30 * * * *", "W. Europe Standard Time"), "2026-10-25T00:00:00Z", 3),
              "2026-10-25T00:30:00Z 2026-10-25T01:30:00Z 2026-10-25T02:30:00Z");
}

// The start is written for half past two, which the clock leaves out on that day alone.
TEST(Timetable, AStartThatTheClockLeavesOutIsKeptOnOtherDays) {
    const auto from = [](std::string_view frequency) {
        return firings(R"({"triggerType":"Recurrence","frequency":")" + std::string(frequency) +
                           R"(","interval":1,"startTime":"2026-03-29T02:30:00",)"
                           R"("timeZone":"Europe/Berlin"})",
                       "2026-03-28T12:00:00Z", 2);
    };
    EXPECT_EQ(from("Day"), "2026-03-29T01:00:00Z 2026-03-30T00:30:00Z");
    EXPECT_EQ(from("Week"), "2026-03-29T01:00:00Z 2026-04-05T00:30:00Z");
    EXPECT_EQ(from("Month"), "2026-03-29T01:00:00Z 2026-04-29T00:30:00Z");
    EXPECT_EQ(from("Hour"), "2026-03-29T01:00:00Z 2026-03-29T02:00:00Z");
}

// What a trigger begins with says which of two moments is meant.
TEST(Timetable, ALocalTimeThatIsShownTwiceSaysWhich) {
    const Timetable table = *table_of(cron("0 0 * * *", "Europe/Berlin"));
    for (const auto& [moment, text] : {std::pair{"2026-10-25T00:30:00Z", "2026-10-25T02:30:00"},
                                       {"2026-10-25T01:30:00Z", "2026-10-25T02:30:00+01:00"},
                                       {"2026-10-25T02:00:00Z", "2026-10-25T03:00:00"}}) {
        EXPECT_EQ(table.local_text(at(moment)), text);
        const Trigger trigger = {.kind = Trigger::Kind::Recurrence,
                                 .frequency = Frequency::Hour,
                                 .start_time = text,
                                 .time_zone = "Europe/Berlin"};
        EXPECT_EQ(short_text(Timetable::of(trigger, machine_zone, {})->start()), moment);
    }
    EXPECT_EQ(
        table_of(cron("0 0 * * *", "America/St_Johns"))->local_text(at("2026-11-01T04:45:00Z")),
        "2026-11-01T01:15:00-03:30");
}

// Who was away over the night in which the clock is put back has every minute counted.
TEST(Timetable, EachMinuteOfAWeekWithAChangeIsCounted) {
    for (const auto& [zone, after] : {std::pair{"Europe/Berlin", "2026-10-22T00:00:00Z"},
                                      {"Europe/Berlin", "2026-03-26T00:00:00Z"}}) {
        const Timetable table = *table_of(cron("* * * * *", zone));
        const Instant until = at(after) + std::chrono::days(7);
        EXPECT_EQ(table.count(at(after), until, 100'000), 7u * 24 * 60) << after;
        EXPECT_EQ(table.last(at(after), until), until) << after;
    }
}

// `last` and `count` say what stepping through says, whatever the trigger.
TEST(Timetable, LastAndCountAgreeWithNext) {
    std::mt19937 random(7);
    const std::vector<std::string> zones = {"UTC", "Europe/Berlin", "America/New_York"};
    for (int round = 0; round < 300; ++round) {
        Trigger trigger = {.kind = round % 2 ? Trigger::Kind::Cron : Trigger::Kind::Recurrence,
                           .expression = std::to_string(random() % 60) + " */" +
                                         std::to_string(random() % 12 + 1) + " * * *",
                           .frequency = static_cast<Frequency>(random() % 5),
                           .interval = static_cast<int>(random() % 20 + 1),
                           .start_time = "2026-01-30T03:04:05",
                           .time_zone = zones[random() % 3]};
        const auto table = Timetable::of(trigger, machine_zone, {});
        ASSERT_TRUE(table) << table.error().message;
        const Instant after = at("2026-02-01T00:00:00Z") + std::chrono::minutes(random() % 99999);
        const Instant until = after + std::chrono::minutes(random() % 200'000);
        std::optional<Instant> last;
        std::size_t count = 0;
        for (auto next = table->next(after); next && *next <= until; next = table->next(*next)) {
            ASSERT_TRUE(!last || *next > *last);
            last = next;
            ++count;
        }
        EXPECT_EQ(short_text(table->last(after, until)), short_text(last)) << words_of(trigger);
        EXPECT_EQ(table->count(after, until, 1'000'000), count);
    }
}

}  // namespace
}  // namespace turnout
