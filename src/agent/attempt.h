// What the node's core keeps of one attempt, and the small pure functions around it. Internal to
// node_core.cc.
#pragma once

#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/node_core.h"
#include "base/text.h"

namespace turnout::agent {

using namespace agent_protocol;

// In order: an attempt only moves forward.
enum class Stage {
    Snapshot,
    Environment,
    Inputs,
    Ready,
    Starting,
    Running,
    Outputs,
    Flushing,
    Ended
};

inline constexpr std::string_view kStageNames[] = {"snapshot", "environment", "inputs",
                                                   "ready",    "starting",    "running",
                                                   "outputs",  "flushing",    "ended"};

inline std::string_view name_of(Stage stage) {
    return kStageNames[static_cast<int>(stage)];
}

inline std::optional<Stage> parse_stage(std::string_view text) {
    for (std::size_t i = 0; i < std::size(kStageNames); ++i)
        if (kStageNames[i] == text) return static_cast<Stage>(i);
    return std::nullopt;
}

inline Phase phase_of(Stage stage) {
    switch (stage) {
        case Stage::Snapshot:
        case Stage::Environment:
        case Stage::Inputs:
        case Stage::Ready:
        case Stage::Starting: return Phase::Preparing;
        case Stage::Running: return Phase::Running;
        case Stage::Outputs:
        case Stage::Flushing: return Phase::Finalizing;
        case Stage::Ended: return Phase::Ended;
    }
    return Phase::Ended;
}

// Text of unknown origin made fit for JSON and for people: UTF-8, bounded.
inline std::string clean(std::string_view text, std::size_t limit) {
    std::string out;
    for (std::size_t at = 0; at < text.size() && out.size() < limit;) {
        if (std::size_t length = utf8_sequence(text, at)) {
            out += text.substr(at, length);
            at += length;
        } else {
            out += "\xef\xbf\xbd";
            ++at;
        }
    }
    return out;
}

// A line of the node's journal: a message of the protocol, and what the node adds to it (members,
// each with a comma before it).
template <class Message>
std::string line_of(const Message& message, std::string_view more = "") {
    return "{\"message\":" + encode(message).substr(8) + std::string(more) + "}";
}

inline std::string signal_words(int signal) {
    switch (signal) {
        case SIGKILL: return "9 (SIGKILL; perhaps the machine ran out of memory)";
        case SIGTERM: return "15 (SIGTERM)";
        case SIGSEGV: return "11 (SIGSEGV)";
        case SIGABRT: return "6 (SIGABRT)";
        case SIGINT: return "2 (SIGINT)";
        default: return std::to_string(signal);
    }
}

// Who has to act when a step before the command failed.
inline Cause cause_of(Stage stage, const Error& error) {
    bool theirs = error.code != Code::Internal && error.code != Code::Unavailable &&
                  error.code != Code::Ambiguous && error.code != Code::ResourceExhausted;
    switch (stage) {
        case Stage::Environment: return theirs ? Cause::Environment : Cause::Internal;
        case Stage::Snapshot:
        case Stage::Inputs: return theirs ? Cause::Input : Cause::Internal;
        default: return Cause::Internal;
    }
}

struct Stream {
    std::uint64_t length = 0;
    std::uint64_t sent = 0;
    std::uint64_t acked = 0;
    std::optional<Span> resend_at;
};

// Why and since when it is being stopped.
struct Stop {
    Cause cause = Cause::Canceled;
    Span asked{};
    Span grace{};
    bool termed = false;         // TERM was sent in this life
    std::optional<Span> killed;  // last KILL of this life
    Span kill_at() const { return asked + grace; }
};

inline std::shared_ptr<const TaskSpec> no_task() {
    static const auto none = std::make_shared<const TaskSpec>();
    return none;
}

struct Attempt {
    const AttemptId* id = nullptr;  // its key in the core's map
    std::uint64_t order = 0;
    std::shared_ptr<const TaskSpec> task =
        no_task();     // shared with whoever carries out its effects
    Json task_json;    // as it was leased
    std::string base;  // hash of the Base that it was leased with; "" = none
    Stage stage = Stage::Snapshot;
    Span since{};         // of the stage
    bool issued = false;  // its effect was asked for in this life
    Durations durations;
    std::string detail;
    Span running_since{};
    std::optional<Stop> stop;
    Ending ending;
    std::string last_words;  // put into std_log when the command never ran
    bool discard = false;    // the server has closed it already: nobody waits for its end
    std::string boot_id;     // of the machine when it was leased
    bool rebooted = false;   // the machine restarted under it
    std::map<std::string, Stream, std::less<>> streams;
    bool revoked = false;  // it is to end unless its command has begun
    bool careful = false;  // its start, or that of one beside it, took the supervisor with it
    std::optional<Span> report_at;  // next PhaseReport or EndReport
    std::optional<Span>
        record_at;  // its stage is not in the journal yet; it is once the stage has lasted

    // Bookkeeping of the core.
    bool dirty = false;         // something happened to it since the last look
    std::optional<Span> timer;  // when it has to be looked at, as it stands in the core's timers

    bool live() const { return stage != Stage::Ended; }
    bool has_process() const { return stage == Stage::Starting || stage == Stage::Running; }
};

}  // namespace turnout::agent
