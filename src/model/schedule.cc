#include "model/schedule.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::size_t kMostCounted = 10'000;  // of missed times: more are that many
constexpr std::array<std::string_view, 3> kWhat = {"Submitted", "Refused", "Missed"};

Json firing_to_json(const Firing& firing) {
    Json json = Json::object({{"due", firing.due.micros},
                              {"at", firing.at.micros},
                              {"what", kWhat[static_cast<std::size_t>(firing.what)]}});
    for (const auto& [key, text] :
         {std::pair<std::string_view, const std::string&>{"job", firing.job},
          {"reason", firing.reason},
          {"by", firing.by}})
        if (!text.empty()) json.set(key, text);
    if (firing.times != 1) json.set("times", firing.times);
    return json;
}

void remember(ScheduleState& state, Firing firing) {
    // Whoever asks a second time for the same job has it already.
    if (!firing.job.empty() &&
        std::ranges::find(state.history, firing.job, &Firing::job) != state.history.end())
        return;
    state.history.insert(state.history.begin(), std::move(firing));
    if (state.history.size() > kHistory) state.history.resize(kHistory);
}

}  // namespace

Result<MissedRuns> missed_runs_of(const Json& properties) {
    const Json& value = properties.at(kMissedRuns);
    if (value.is_null() || value.as_view() == "once") return MissedRuns::Once;
    if (value.as_view() == "none") return MissedRuns::None;
    return invalid(
        "expected 'once' (the latest of the times that were missed runs) or 'none', "
        "found " +
            (value.is_string() ? shown(value.as_view()) : value.dump()),
        "properties." + std::string(kMissedRuns));
}

Json to_json(const ScheduleState& state) {
    Json history = Json::array();
    for (const Firing& firing : state.history) history.push(firing_to_json(firing));
    return Json::object({{"enabled", state.enabled},
                         {"owner", state.owner},
                         {"settled", state.settled.micros},
                         {"history", std::move(history)}});
}

Result<ScheduleState> schedule_state_from_json(const Json& json) {
    if (!json.at("settled").is_int()) return internal("a schedule's state cannot be read");
    ScheduleState state = {.enabled = json.at("enabled").as_bool(),
                           .owner = json.at("owner").as_string(),
                           .settled = {json.at("settled").as_int()}};
    for (const Json& item : json.at("history").items()) {
        const auto what = std::ranges::find(kWhat, item.at("what").as_view());
        if (what == kWhat.end()) return internal("a schedule's history cannot be read");
        state.history.push_back({.due = {item.at("due").as_int()},
                                 .at = {item.at("at").as_int()},
                                 .what = static_cast<Firing::What>(what - kWhat.begin()),
                                 .job = item.at("job").as_string(),
                                 .reason = item.at("reason").as_string(),
                                 .times = item.at("times").as_int(1),
                                 .by = item.at("by").as_string()});
    }
    return state;
}

Due due_at(const Timetable& table, const ScheduleState& state, MissedRuns missed, Instant now) {
    Due due;
    if (!state.enabled) return due;
    const auto last = table.last(state.settled, now);
    if (!last) return due;
    const bool runs = missed == MissedRuns::Once || now - *last <= kOnTime;
    const std::size_t times = table.count(state.settled, *last, kMostCounted);
    const std::size_t left_out = runs ? times - 1 : times;
    if (runs) due.run = last;
    if (left_out > 0)
        due.missed = Firing{.due = runs ? *table.last(state.settled, {last->micros - 1}) : *last,
                            .at = now,
                            .what = Firing::What::Missed,
                            .reason = runs ? "only the latest of the times that were missed runs"
                                           : "missed_runs is none",
                            .times = static_cast<std::int64_t>(left_out)};
    return due;
}

void settle(ScheduleState& state, const Due& due, std::optional<Firing> ran) {
    if (due.missed) {
        state.settled = std::max(state.settled, due.missed->due);
        remember(state, *due.missed);
    }
    if (due.run) state.settled = std::max(state.settled, *due.run);
    if (ran) remember(state, std::move(*ran));
}

Instant settled_at_beginning(const Trigger& trigger, Instant now) {
    // The first of what counts from its start is that start.
    const bool at_once = trigger.kind == Trigger::Kind::Recurrence && trigger.start_time.empty() &&
                         !trigger.has_pattern();
    if (!at_once) return now;
    const std::int64_t second = 1'000'000;
    return {now.micros / second * second - 1};
}

std::string title_of_firing(std::string_view title, Instant due) {
    std::string name(title);
    name += '-';
    for (const char c : to_iso8601(due).substr(0, 19))
        if (c != '-' && c != ':') name += c;
    return name + "Z";
}

std::string job_of_firing(std::string_view schedule, Instant due, Asked asked) {
    // Azure's clients want no capitals in it.
    std::string name = std::string(schedule) + to_lower(title_of_firing("", due));
    if (asked == Asked::Yes) {
        const std::string digits = std::to_string(due.micros % 1'000'000);
        name += "-" + std::string(6 - digits.size(), '0') + digits;
    }
    return name;
}

}  // namespace turnout
