#include "model/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace turnout {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const TimeZones kNone = [](const std::string&) -> Result<TimeZone> { return TimeZone(); };

Instant at(std::string_view text) {
    return parse_iso8601(text).value_or(Instant());
}

Timetable table_of(std::string_view json, Instant made) {
    auto trigger = trigger_of_rest(*parse_json(json));
    EXPECT_TRUE(trigger);
    auto table = Timetable::of(*trigger, kNone, made);
    EXPECT_TRUE(table);
    return *table;
}

constexpr std::string_view kHourly = R"({"triggerType":"Cron","expression":"0 * * * *"})";

TEST(Schedule, RunsTheLatestOfWhatWasMissedOrNone) {
    const Timetable table = table_of(kHourly, {});
    ScheduleState state = {.settled = at("2026-11-30T10:00:00Z")};
    EXPECT_FALSE(due_at(table, state, MissedRuns::Once, at("2026-11-30T10:59:59Z")).run);
    const Due one = due_at(table, state, MissedRuns::Once, at("2026-11-30T11:00:00Z"));
    EXPECT_EQ(one.run, at("2026-11-30T11:00:00Z"));
    EXPECT_FALSE(one.missed);
    const Due once = due_at(table, state, MissedRuns::Once, at("2026-11-30T14:30:00Z"));
    EXPECT_EQ(once.run, at("2026-11-30T14:00:00Z"));
    ASSERT_TRUE(once.missed);
    EXPECT_EQ(once.missed->times, 3);
    const Due none = due_at(table, state, MissedRuns::None, at("2026-11-30T14:30:00Z"));
    EXPECT_FALSE(none.run);
    ASSERT_TRUE(none.missed);
    EXPECT_EQ(none.missed->times, 4);
    settle(state, none, std::nullopt);
    EXPECT_EQ(state.settled, at("2026-11-30T14:00:00Z"));
    EXPECT_EQ(due_at(table, state, MissedRuns::None, at("2026-11-30T15:00:59Z")).run,
              at("2026-11-30T15:00:00Z"));
    state.enabled = false;
    EXPECT_FALSE(due_at(table, state, MissedRuns::Once, at("2026-11-30T15:30:00Z")).run);
}

TEST(Schedule, FirstRunOfWhatCountsFromItsBeginning) {
    const Instant now = at("2026-11-30T10:07:05.5Z");
    const auto first = [&](std::string_view json) {
        const auto trigger = trigger_of_rest(*parse_json(json));
        const ScheduleState state = {.settled = settled_at_beginning(*trigger, now)};
        const auto next = table_of(json, now).next(state.settled);
        return to_iso8601(next.value_or(Instant())).substr(0, 19);
    };
    EXPECT_EQ(first(R"({"triggerType":"Recurrence","frequency":"Hour","interval":1})"),
              "2026-11-30T10:07:05");
    EXPECT_EQ(first(R"({"triggerType":"Recurrence","frequency":"Hour","interval":1,)"
                    R"("startTime":"2026-11-30T09:00:00"})"),
              "2026-11-30T11:00:00");
    EXPECT_EQ(first(R"({"triggerType":"Recurrence","frequency":"Day","interval":1,)"
                    R"("schedule":{"hours":[10],"minutes":[7]}})"),
              "2026-12-01T10:07:00");
    EXPECT_EQ(first(kHourly), "2026-11-30T11:00:00");
}

TEST(Schedule, NamesOfItsJobs) {
    EXPECT_EQ(title_of_firing("The night", at("2026-11-30T21:30:00.5Z")),
              "The night-20261130T213000Z");
    EXPECT_EQ(job_of_firing("nightly", at("2026-11-30T21:30:00Z")), "nightly-20261130t213000z");
    // One that was asked for is never one of the trigger's own, at whatever moment.
    EXPECT_EQ(job_of_firing("nightly", at("2026-11-30T21:30:00.000120Z"), Asked::Yes),
              "nightly-20261130t213000z-000120");
    EXPECT_EQ(job_of_firing("nightly", at("2026-11-30T21:30:00Z"), Asked::Yes),
              "nightly-20261130t213000z-000000");
}

TEST(Schedule, StateIsReadAsItWasWritten) {
    ScheduleState state = {.enabled = false, .owner = "ann", .settled = {17}};
    state.history = {
        {.due = {3}, .at = {4}, .what = Firing::What::Refused, .reason = "no compute"},
        {.due = {2}, .at = {2}, .what = Firing::What::Submitted, .job = "j", .by = "bob"},
        {.due = {1}, .at = {2}, .what = Firing::What::Missed, .reason = "x", .times = 7}};
    EXPECT_EQ(schedule_state_from_json(to_json(state)).value_or(ScheduleState()), state);
    EXPECT_FALSE(schedule_state_from_json(Json::object()));
}

TEST(Schedule, WhatTheSettingMayBe) {
    const auto of = [](Json value) {
        return missed_runs_of(Json::object({{"missed_runs", std::move(value)}}));
    };
    EXPECT_EQ(of("once").value(), MissedRuns::Once);
    EXPECT_EQ(of("none").value(), MissedRuns::None);
    EXPECT_EQ(of(Json()).value(), MissedRuns::Once);
    ASSERT_FALSE(of("all"));
    EXPECT_EQ(of("all").error().subject, "properties.missed_runs");
}

// A server that is killed at any point of a firing, is away for hours, and whose clock jumps: no
// time runs twice, and what did not run was missed as the setting says.
TEST(Schedule, ThousandsOfStepsWithRestartsAndJumps) {
    for (unsigned seed = 1; seed <= 24; ++seed) {
        std::mt19937 random(seed);
        const MissedRuns setting = seed % 2 ? MissedRuns::Once : MissedRuns::None;
        const std::string json = seed % 3 == 0
                                     ? std::string(kHourly)
                                     : R"({"triggerType":"Cron","expression":"*/)" +
                                           std::to_string(random() % 20 + 1) + R"( * * * *"})";
        Instant now = at("2026-03-01T00:00:00Z");
        const Timetable table = table_of(json, now);
        // What is durable: the schedule's row, and the jobs that were submitted, by name.
        ScheduleState durable = {.settled = now};
        std::map<std::string, Instant> jobs;
        std::set<std::int64_t> ran, left_out;
        const Instant begin = now;
        Instant furthest = now;
        for (int step = 0; step < 2000; ++step) {
            switch (random() % 10) {
                case 0: now = now + hours(random() % 30); break;  // nobody was there
                case 1: now = now - minutes(random() % 90); break;
                default: now = now + seconds(random() % 400);
            }
            furthest = std::max(furthest, now);
            ScheduleState state = durable;  // as a server reads it that begins here
            for (auto first = table.next(state.settled); first && *first <= now;
                 first = table.next(state.settled)) {
                const std::string name = job_of_firing("s", *first);
                if (!jobs.contains(name)) break;
                settle(state, Due{.run = first}, Firing{.due = *first, .at = now, .job = name});
            }
            Due due = due_at(table, state, setting, now);
            if (!due.run && !due.missed) continue;
            // 0: before the job; 1: between job and row; 2: before any of it
            const auto killed = random() % 7;
            if (killed == 2) continue;
            const ScheduleState was = state;
            if (due.run && due.missed) {
                settle(state, Due{.run = {}, .missed = due.missed}, {});
                durable = state;
            }
            if (due.run && killed != 0) {
                ASSERT_LE(*due.run, now);
                const std::string name = job_of_firing("s", *due.run);
                if (const auto [known, is_new] = jobs.emplace(name, *due.run); is_new) {
                    ASSERT_TRUE(ran.insert(due.run->micros).second);
                    if (setting == MissedRuns::None) {
                        ASSERT_LE(now - *due.run, kOnTime);
                    }
                }
            }
            std::optional<Firing> done;
            if (due.run)
                done = Firing{.due = *due.run, .at = now, .job = job_of_firing("s", *due.run)};
            if (due.missed) {
                std::int64_t counted = 0;
                for (auto time = table.next(was.settled); time && *time <= due.missed->due;
                     time = table.next(*time)) {
                    ASSERT_FALSE(ran.contains(time->micros)) << "it ran, and was missed";
                    left_out.insert(time->micros);
                    ++counted;
                }
                ASSERT_EQ(counted, due.missed->times);
                if (due.run) {
                    ASSERT_LT(due.missed->due, *due.run);
                }
            }
            if (killed <= 1) continue;
            settle(state, due.run ? Due{.run = due.run} : due, done);
            ASSERT_GE(state.settled, durable.settled) << "it forgot what it had done";
            ASSERT_LE(state.history.size(), kHistory);
            durable = state;
        }
        // Every time until then is accounted for: it ran, it was left out, or it is still to come.
        for (auto time = table.next(begin); time && *time <= durable.settled;
             time = table.next(*time))
            ASSERT_TRUE(ran.contains(time->micros) || left_out.contains(time->micros))
                << to_iso8601(*time) << " seed " << seed;
        EXPECT_GT(ran.size(), 5u);
        EXPECT_LE(durable.settled, furthest);
    }
}

}  // namespace
}  // namespace turnout
