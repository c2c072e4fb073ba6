// The agent's side of the supervisor's socket (protocol: supervisor/README.md). Starts a supervisor
// when none answers, and connects again when the connection breaks. Used on the loop only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_core.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "io/posix/asio_loop.h"
#include "io/posix/fd.h"

namespace turnout::agent {

// An attempt in the supervisor's words: "{workspace}/{job}/{attempt}", also TURNOUT_ATTEMPT.
std::string task_name(const AttemptId& id);
std::optional<AttemptId> parse_task_name(std::string_view name);

struct SupervisedTask {
    AttemptId id;
    std::uint64_t serial = 0;
    bool started = false;             // false: only words of the node are in its log
    TaskState state;                  // exit without last_lines
    std::uint32_t first_segment = 0;  // where its log begins
    std::uint64_t first_position = 0;
};

struct StartRequest {
    AttemptId id;
    std::string cwd;
    std::int64_t memory_limit = 0;
    std::string preamble;
    std::vector<std::string> argv;
    std::vector<std::string> environment;  // "NAME=value"
    Span time_limit{};                     // zero: none
    Span grace{};                          // between TERM and KILL when it is met
    std::vector<Secret> masked;            // values that its log must not show
};

class SupervisorLink {
public:
    struct Events {
        std::function<void(std::vector<SupervisedTask>)> listed;
        std::function<void(std::string why)> gone;  // `why`: it did not answer, and was ended
        std::function<void(const AttemptId&, Result<Span>)> started;
        std::function<void(const SupervisedTask&)>
            output;  // only serial, log_length and where it begins

        std::function<void(const AttemptId&, TaskExit)> exited;
        std::function<void()> told;  // after one or several of these that came together
        std::function<void(const std::string&)> trouble;  // for the agent's own log
    };
    // How long a supervisor may be silent before it is ended, and with it what it runs: stopped, or
    // stuck, it keeps no limit and tells no end. The shorter time holds when it is to end
    // something.
    struct Patience {
        Span usual = 2min, urgent = 20s;
    };
    // `program`: the supervisor's executable.
    SupervisorLink(AsioLoop& loop, std::string folder, std::string program, Events events,
                   Patience patience = {2min, 20s});
    ~SupervisorLink();

    // Connects, and stays connected until the link is destroyed.
    void begin();
    bool connected() const;

    // What is said between the two leaves together, at `release`.
    void hold();
    void release();

    // Dropped without a connection: what matters is asked again after `listed`. InvalidArgument: it
    // has more text than one message may have. Internal: the supervisor that runs is of a build
    // that does not know how to mask.
    Result<void> start_task(const StartRequest& request);
    // To the whole tree. One that waits for its turn is dropped: `started` with Canceled; 0 does
    // just that.
    void signal(const AttemptId& id, int number);
    void slots(int count);  // so many run at a time; more wait
    void append(const AttemptId& id, std::string_view text, bool only_if_empty);
    void forget(const AttemptId& id);
    // It needs no segment below that one; the server has so many bytes of its log.
    void trim(const AttemptId& id, std::uint32_t segment, std::uint64_t delivered);
    void fence(Span deadline);  // kept for the next connection too
    // Everything of every task is killed and the supervisor ends; `done` when that is so.
    void quit(std::function<void()> done);

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with the coroutine that serves the connection
};

}  // namespace turnout::agent
