// What the node's core keeps of one attempt. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/node_core.h"
#include "agent/readiness.h"

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

std::string_view name_of(Stage stage);
std::optional<Stage> parse_stage(std::string_view text);
Phase phase_of(Stage stage);  // as the server calls it

struct Stream {
    std::uint64_t length = 0;
    std::uint64_t sent = 0;
    std::uint64_t acked = 0;
    std::optional<Span> resend_at;
    bool unanswered = false;  // it was sent and not acknowledged in time: a little is sent again
    bool lost = false;        // what comes next is not there any more
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

// Of an attempt whose task could not be understood.
std::shared_ptr<const TaskSpec> no_task();

struct Attempt {
    const AttemptId* id = nullptr;  // its key in Attempts
    std::uint64_t order = 0;
    std::shared_ptr<const TaskSpec> task =
        no_task();     // shared with whoever carries out its effects
    Json task_json;    // as it was leased
    std::string base;  // hash of the Base that it was leased with; "" = none
    // What its task names, until its command runs. Never written down: after a restart the server
    // says them again, since it repeats every lease after a Welcome.
    std::vector<SecretValue> secrets;
    bool secrets_gone = false;  // the server has said its lease without them
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
    Span flushed_at{};            // when its log came forward last, or could not have
    std::string missing;          // of its outputs, for people
    std::optional<Span> overdue;  // since then it should have been stopped at its time limit
    bool revoked = false;         // it is to end unless its command has begun
    bool careful = false;  // its start, or that of one beside it, took the supervisor with it
    std::optional<Readiness> readiness;  // of a service, while its command runs
    std::optional<Span> report_at;       // next PhaseReport or EndReport
    std::optional<Span>
        record_at;  // its stage is not in the journal yet; it is once the stage has lasted

    // Bookkeeping of Attempts.
    bool touched = false;       // something happened to it since the last look
    std::optional<Span> timer;  // when it has to be looked at without that

    bool live() const { return stage != Stage::Ended; }
    // Before its command is asked for.
    bool lacks_secrets() const {
        return (stage < Stage::Starting || (stage == Stage::Starting && !issued)) &&
               secrets.size() < task->secrets.size();
    }
    bool has_process() const { return stage == Stage::Starting || stage == Stage::Running; }
};

// What it did in its stage is added to what it did in it before.
void book(Durations& durations, Stage stage, Span spent);
// What its std_log begins with: the notices of its environment.
std::string preamble(const Attempt& attempt);

inline constexpr std::size_t kMaxMessage = 8 << 10;
inline constexpr std::size_t kMaxDetail = 512;
inline constexpr std::size_t kMaxLastLine = 2 << 10;
// Text of unknown origin made fit for JSON and for people: UTF-8, bounded.
std::string clean(std::string_view text, std::size_t limit);
// What people are told of its end, beside what is said already.
void add_note(Ending& ending, const std::string& text);

}  // namespace turnout::agent
