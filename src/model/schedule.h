// What a schedule remembers, and what it does when its time has come. Pure.
//
// Each firing happens once, whatever ends in between: the job that it submits has a name that
// follows from the schedule and the time, so submitting it again is no second job; and `settled`
// says up to when nothing is left to do. It only grows, so a clock that is put back fires nothing a
// second time, but for a schedule that somebody disables and enables: that one begins anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/timetable.h"

namespace turnout {

// The property of a schedule that says what becomes of times that passed while no server ran, or
// while it could not submit: the latest of them runs once, or none does.
inline constexpr std::string_view kMissedRuns = "missed_runs";
enum class MissedRuns { Once, None };
Result<MissedRuns> missed_runs_of(const Json& properties);

// So late a firing still is on time: a server that is restarted with a new build misses nothing.
inline constexpr Span kOnTime = std::chrono::minutes(1);

// One time, or several that were missed together.
struct Firing {
    enum class What { Submitted, Refused, Missed };
    Instant due{};  // the trigger's time; of several the last
    Instant at{};   // when it was settled
    What what = What::Submitted;
    std::string job;         // of Submitted
    std::string reason;      // of Refused and Missed, for people
    std::int64_t times = 1;  // of Missed
    std::string by;          // who asked for it by `trigger`; "" = its time came
    bool operator==(const Firing&) const = default;
};

struct ScheduleState {
    bool enabled = true;
    std::string owner;  // as whom its jobs are submitted: who last said what the job is
    // Of all times up to this one nothing is left to do.
    Instant settled{};
    std::vector<Firing> history;  // newest first, at most kHistory
    bool operator==(const ScheduleState&) const = default;
};
inline constexpr std::size_t kHistory = 50;

Json to_json(const ScheduleState& state);
Result<ScheduleState> schedule_state_from_json(const Json& json);

// What there is to do now.
struct Due {
    std::optional<Instant> run;         // this time's job is to be submitted
    std::optional<Firing> missed = {};  // times before it that are left out
};
Due due_at(const Timetable& table, const ScheduleState& state, MissedRuns missed, Instant now);

// The state after that was done: `ran` is how the one to run went, absent if there was none.
void settle(ScheduleState& state, const Due& due, std::optional<Firing> ran);
// The state from which a new or changed trigger, or one that is enabled again, begins: what lies
// before is not made up for. Without a start time it begins with that very moment.
Instant settled_at_beginning(const Trigger& trigger, Instant now);

// "Train anew-20261130T213000Z": Azure's display names of what a schedule ran.
std::string title_of_firing(std::string_view title, Instant due);
// "nightly-20261130t213000z"; of one that somebody asked for "nightly-20261130t213000z-250000",
// always with its microseconds: it takes no name from one of the trigger's own times.
enum class Asked { No, Yes };
std::string job_of_firing(std::string_view schedule, Instant due, Asked asked = Asked::No);

}  // namespace turnout
