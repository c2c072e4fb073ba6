// A simulated machine: its disk, its clock, the supervisor with the tasks, and the agent, whose
// mind is the real NodeCore. Agent, supervisor and machine can die on their own; what survives
// which death is the point of it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node_core.h"
#include "checker.h"
#include "network.h"
#include "timeline.h"

namespace turnout::simulation {

struct World;

// Which guards are taken away, to see that the checker notices.
struct Mutation {
    bool effects_before_commit = false;  // the store says "durable" before it is
    bool no_fence = false;               // agents are told no lost-node time
    bool early_replacement = false;      // the server waits less than the agent
    bool supervisor_forgets = false;     // starts what it has started before
    bool gone_without_proof =
        false;                  // the provider calls a node gone that only vanished from its sight
    bool list_forgets = false;  // it leaves nodes out when it says what is there
    bool extra_slot = false;    // the server thinks the pool is larger
    bool log_acked_early = false;    // the agent takes sent bytes for received ones
    bool begun_is_revoked = false;   // a node says of a command that runs that it never began
    bool rank_forgotten = false;     // the end of a gang's rank is not stored
    bool lease_before_base = false;  // what a lease stands on follows it
    bool priority_ignored = false;
    bool more_at_once = false;  // a node runs more tasks at a time than its cluster says
    bool backlog_without_limit = false;
    bool gang_smaller = false;           // a gang is given a node less than it asks for
    bool steps_unordered = false;        // steps of a pipeline do not wait for each other
    bool step_end_forgotten = false;     // that a step has completed is not stored
    bool cancel_forgotten = false;       // the wish to cancel is not stored
    bool events_lost = false;            // what happened is not written down
    bool larger_quota = false;           // a user may have more than was said
    bool limit_not_kept = false;         // a command runs as long as it likes
    bool ended_jobs_unseen = false;      // by who looks for tasks that no job refers to
    bool ready_early = false;            // a node calls a replica ready that is not
    bool replica_forgotten = false;      // the row of a service leaves one out
    bool service_end_forgotten = false;  // the wish to end a service is not stored
    bool instance_left = false;          // the compute of container instances stays behind them
    bool instance_reused = false;        // they are nodes of a cluster like any other
};

class Machine {
public:
    Machine(World& world, NodeId id);
    ~Machine();

    // ---- what a provider does on it ----
    void ensure_agent();

    // ---- faults ----
    void kill_agent(const char* why);
    void kill_supervisor(const std::string& why = "");  // `why`: it is its agent that ends it
    void stop_agent(Span how_long);                     // it lives and does nothing
    void stop_supervisor(Span how_long);                // the same; the commands go on
    void reboot();  // the machine itself: what was not synced is gone
    void partition(Span how_long);
    void cut_link();  // just the connection
    void stall_link(Span how_long);

    bool reachable() const;
    bool has_agent() const { return agent_ != nullptr; }
    bool empty() const;  // no agent and no task: nothing of the node goes on here
    bool quit() const { return quit_; }
    const NodeId& id() const { return id_; }
    MachineClock& clock() { return clock_; }

private:
    struct Log {
        std::string bytes;
        std::size_t synced = 0;
    };
    struct Entry {  // of the supervisor's journal
        AttemptId id;
        enum class What { Started, Exited, Forgotten } what = What::Started;
        Span at{};
        agent::TaskExit exit;
    };
    struct Process {
        Life life;
        Span started{};
        int printed = 0;
        bool timed_out = false;
        std::optional<agent::TaskExit> exit;
    };
    struct Start {
        AttemptId id;
        std::string preamble;
        Span time_limit{};
    };
    struct Supervisor {
        Life life = born();
        std::map<AttemptId, Process> tasks;
        std::deque<Start> waiting;  // for their turn
        int slots = 1;
        Span fence = Span::max();
        bool stopped = false;
        std::deque<std::function<void()>> deferred;  // what it finds when it goes on
        bool listening = false;  // an agent is connected and has been told the list
    };
    struct Agent {
        Life life = born();
        std::unique_ptr<agent::NodeCore> core;
        std::shared_ptr<Connection> connection;
        agent_protocol::FrameReader frames;
        std::map<AttemptId, std::uint64_t>
            operations;  // what is under way for it; another number: aborted
        Span heard{};    // last bytes from the server, true time
        Span ticking = Span::max();
        bool supervised = false;
        Span fence = Span::max();
        bool urgent = false;  // it asked for a kill since it heard of the supervisor
    };

    // agent
    void start_agent();
    void pump();
    void carry_out(agent::Effect effect);
    void operate(const AttemptId& id, int step);
    void finish(const AttemptId& id, int step, std::uint64_t operation);
    void dial();
    void link_lost();
    void watch_link();
    void connect_supervisor();
    void from_server(std::string bytes);

    // supervisor
    void start_supervisor();
    void look_after_supervisor(int silent);
    void supervise(std::function<void()> what);  // now, or when it goes on
    void go_on();
    void tell_supervisor(std::function<void()> what);  // agent -> supervisor
    void tell_agent(std::function<void()> what);       // supervisor -> agent
    void start_task(const Start& start);
    void begin_task(const Start& start);
    void begin_waiting();
    void task_prints(const AttemptId& id);
    void signal_task(const AttemptId& id, int signal);
    void end_task(const AttemptId& id, int exit_code, int signal, bool fenced, bool by_itself);
    bool runs(const AttemptId& id) const;
    std::string probe(const AttemptId& id);  // what a probe of it finds
    void arm_fence();
    void meet_fence();
    void arm_limit(const AttemptId& id, Span limit);
    void journal(Entry entry);
    void print(const AttemptId& id, std::string_view bytes);
    std::uint64_t log_length(const AttemptId& id) const;
    int rank(const AttemptId& id) const;
    void drop_tasks();

    World& world_;
    NodeId id_;
    MachineClock clock_;
    Life life_ = born();
    agent_protocol::Speaks speaks_;  // its agent, which is of the build of who made it
    int boots_ = 1;
    Span partitioned_until_{};
    Span to_supervisor_{}, to_agent_{};  // arrival of the last message: they keep their order
    bool quit_ = false;
    bool agent_stopped_ = false;    // there is one, in that state
    Span asked_since_{}, asked_{};  // it was asked for, without an answer
    bool long_asked_for();

    // the disk
    std::vector<std::string> records_;
    std::size_t records_synced_ = 0;
    std::vector<Entry> entries_;
    std::size_t entries_synced_ = 0;
    std::map<AttemptId, Log> logs_;
    std::map<AttemptId, std::string> streams_;  // what the core calls them
    std::map<AttemptId, int> ranks_;  // of the attempts of several nodes, other than the first

    std::unique_ptr<Supervisor> supervisor_;
    std::unique_ptr<Agent> agent_;
    std::uint64_t operation_ = 0;
};

}  // namespace turnout::simulation
