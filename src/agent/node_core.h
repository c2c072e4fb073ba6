// The mind of a node: which attempts it has, in which phase each is, what must happen next. It has
// no hands: inputs come as calls, what must be done leaves as a list of effects. No socket, no
// file, no process and no clock but the one it is given, so the simulator runs this very class.
//
//   lease ─► snapshot ─► environment ─► inputs ─► start ─► running ─► outputs ─► last log bytes ─►
//   ended ─► forgotten
//
// How to drive it (the runtime and the simulator do the same):
//   1. `NodeCore core(facts, clock)`, then `core.restore(lines)` with every journal line that was
//      recorded in earlier lives (an empty list for a new node).
//   2. `core.log_grew` for environment logs that an earlier life left, then
//      `core.supervisor_listed(...)` once the supervisor answered, and after each reconnect to it.
//   3. `core.server_connected()` when a link stands; its messages to `core.from_server`.
//   4. After every input: carry out `core.take_effects()` in order. A `Record` is written before
//      anybody else (server, supervisor) learns of any effect behind it.
//   5. `core.tick()` at `core.next_tick()`.
// The core may be destroyed at any moment and rebuilt by `restore`: it then asks again for what was
// under way, so every effect is idempotent on its attempt.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/loop.h"
#include "protocol/agent_protocol.h"

namespace turnout::agent {

using agent_protocol::AttemptId;
using agent_protocol::Cause;
using agent_protocol::TaskSpec;

// What this node calls its own streams; the server knows some of them by other names (ranks.h).
inline constexpr std::string_view kStdLog = "user_logs/std_log.txt";
inline constexpr std::string_view kEnvironmentLog = "azureml-logs/20_environment.txt";
inline constexpr std::size_t kLogChunk = 64 << 10;
inline constexpr Span kTimeoutGrace = 30s;  // between TERM and KILL when the time limit is met

// What the node says of itself.
struct NodeFacts {
    std::string node;  // "{wsid}/{compute}/{node}"
    std::string build;
    std::string boot_id;
    std::int64_t pid = 0;
    agent_protocol::Facts machine;
    int max_running = 1;  // commands at a time until the server says how many
};

// How a task ended, as the supervisor wrote it down. Times are since boot.
struct TaskExit {
    int exit_code = 0;  // 128 + signal if it was killed
    int signal = 0;
    bool lost = false;                // the supervisor died with it: nobody knows how it ended
    bool too_many_processes = false;  // the supervisor killed it, since it had more than it may
    bool memory_exceeded = false;     // the supervisor killed it at its memory limit
    bool by_kernel = false;           // … or the kernel, at that of the container
    bool together =
        false;  // … for it had most when all tasks of the node were beyond that together
    bool timed_out = false;  // its time limit was met while it ran
    bool fenced = false;     // the supervisor killed it because the server was away too long
    int process = -1;        // of several on this node: the rank that failed first
    Span started{};
    Span ended{};
    std::int64_t peak_memory_bytes = 0;
    Span cpu_time{};
    std::uint64_t log_length = 0;         // of std_log, final
    std::vector<std::string> last_lines;  // of std_log, at most 20; needed when it failed
};

// One task the supervisor knows.
struct TaskState {
    AttemptId id;
    Span started{};
    std::uint64_t log_length = 0;  // of std_log so far
    std::optional<TaskExit> exit;  // absent: it runs, or waits
    bool waiting = false;          // for its turn; it was never started
};

// ---- effects. Each answers by the input named beside it, unless an Abort came between. ----
namespace effect {
struct Send {  // dropped when there is no link
    agent_protocol::ToServer message;
};
struct Record {  // append to the node's journal; opaque, one line without line break
    std::string line;
};
struct FetchSnapshot {  // snapshot_done
    AttemptId id;
};
struct PrepareEnvironment {  // environment_done
    AttemptId id;
};
struct FetchInputs {  // inputs_done
    AttemptId id;
};
// task_started, later task_exited. The supervisor refuses an id it has seen, and keeps the task's
// limits of memory and time.
struct StartTask {
    AttemptId id;
    std::string preamble;  // first bytes of std_log, written only if the command could be started
};
// The whole tree of the task. One that only waits for its turn at the supervisor is dropped
// instead, and task_started (Canceled) says so; 0 does that and nothing to one that runs.
struct SignalTask {
    AttemptId id;
    int signal = 0;
};
struct SetSlots {  // so many commands run at a time at the supervisor; further starts wait there
    int count = 0;
};
struct AppendLog {  // the node's own words in std_log, if that is still empty: log_grew
    AttemptId id;
    std::string text;
};
struct ShipLog {  // read these bytes of the stream and send them as one LogChunk
    AttemptId id;
    std::string stream;  // as the server knows it (stream_name)
    std::uint64_t offset = 0;
    std::size_t length = 0;  // at most kLogChunk
};
struct ShipOutputs {  // outputs_shipped: outputs/, logs/, named outputs, and every pending metric
    AttemptId id;
};
struct AbandonOutputs {  // of ShipOutputs: no more files, but every pending metric still;
                         // outputs_shipped
    AttemptId id;
};
struct Abort {  // preparation or shipping of it stops; its completion is ignored if it still comes
    AttemptId id;
};
struct Forget {  // acknowledged: delete its folder, let its log bytes go
    AttemptId id;
};
struct ProbePort {  // ask that port of this machine; probed, always
    AttemptId id;
    std::uint64_t number = 0;
    int port = 0;
    agent_protocol::Probe probe;
};
// A connection to that port for the server (agent/channels.h); 0: there is none, since `why`.
struct OpenChannel {
    std::string channel;
    int port = 0;
    std::string why;
};
struct SetFence {  // the supervisor kills everything at this time since boot, unless set later
                   // again
    Span deadline{};
};
struct Quit {};  // the node is released: kill everything, end the supervisor, delete scratch files
}  // namespace effect

using Effect =
    std::variant<effect::Send, effect::Record, effect::FetchSnapshot, effect::PrepareEnvironment,
                 effect::FetchInputs, effect::StartTask, effect::SignalTask, effect::SetSlots,
                 effect::AppendLog, effect::ShipLog, effect::ShipOutputs, effect::AbandonOutputs,
                 effect::Abort, effect::Forget, effect::ProbePort, effect::OpenChannel,
                 effect::SetFence, effect::Quit>;

class NodeCore {
public:
    NodeCore(NodeFacts facts, const Clock& clock);
    ~NodeCore();
    NodeCore(NodeCore&&) noexcept;

    // Lines of `Record` in their order. Unknown or broken ones are skipped. Once, before all else.
    void restore(const std::vector<std::string>& lines);
    // Lines from which `restore` builds the same state: to rewrite a journal that has grown long.
    std::vector<std::string> snapshot() const;

    // ---- the link ----
    // `version`: of the protocol, that both sides speak.
    void server_connected(int version = agent_protocol::kVersion);
    // What the machine is; before the first Hello, and whenever it is looked at anew.
    void machine_is(agent_protocol::Facts facts);
    void server_disconnected();
    void from_server(const agent_protocol::ToAgent& message);
    // A message about that attempt that nobody can read: the attempt ends, and the server hears
    // why.
    void unreadable(const AttemptId& id, const std::string& why);

    // ---- the supervisor ----
    void supervisor_listed(const std::vector<TaskState>& tasks);
    // Its connection broke: nothing is asked of it until it is listed again. `why` if it was ended
    // because it did not work, which is no command's doing.
    void supervisor_gone(std::string why = "");
    void supervisor_trouble(std::string why);  // it cannot be started
    // Since boot. InvalidArgument, NotFound: the command cannot be run; Canceled: it was dropped
    // while it waited.
    void task_started(const AttemptId& id, Result<Span> started);
    void task_exited(const AttemptId& id, const TaskExit& exit);
    // `stream`: kStdLog, kEnvironmentLog, or the server's name of one.
    void log_grew(const AttemptId& id, std::string_view stream, std::uint64_t length);
    // What was to be shipped is not there any more.
    void log_lost(const AttemptId& id, std::string_view stream);

    // ---- completions. The server's absence never comes here: whoever carries an effect out goes
    // on trying. ----
    void snapshot_done(const AttemptId& id, Result<void> result);
    void environment_done(const AttemptId& id, Result<void> result);
    void inputs_done(const AttemptId& id, Result<void> result);
    void outputs_shipped(const AttemptId& id, Result<void> result);
    // What is missing of its outputs, for people: its end tells it, however it ends.
    void note(const AttemptId& id, std::string missing);
    // The answer to a ProbePort: "" = as it should be, else what was wrong, for people.
    void probed(const AttemptId& id, std::uint64_t number, std::string failure);
    // What it does just now, for people: "building environment (resolving)".
    void progress(const AttemptId& id, std::string detail);

    // ---- time ----
    void tick();
    std::optional<Span> next_tick() const;  // since boot

    std::vector<Effect> take_effects();

    // ---- reads ----
    std::shared_ptr<const TaskSpec> task(
        const AttemptId& id) const;  // nullptr if unknown; may outlive the attempt
    // What its task names: for StartTask. Empty when its command runs.
    std::vector<agent_protocol::SecretValue> secrets(const AttemptId& id) const;
    std::vector<AttemptId> attempts() const;  // known and not forgotten
    bool running(const AttemptId& id) const;  // its command runs
    bool quitting() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace turnout::agent
