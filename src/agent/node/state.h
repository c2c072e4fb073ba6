// What the node's core holds, and its steps, by the source that has them. Internal to NodeCore.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/node/attempts.h"
#include "agent/node/bases.h"
#include "agent/node/losses.h"
#include "agent/node_core.h"

namespace turnout::agent {

inline constexpr Span kRepeat = 20s;  // reports that were not acknowledged are said again
// A phase shorter than this is not worth a report or a record.
inline constexpr Span kLasting = 50ms;
// Beyond its limit and grace: the supervisor should have killed it.
inline constexpr Span kOverdue = 10s;
inline constexpr Span kSupervisorMissing = 2min;  // then the node counts as broken
// So long an ended command's log waits without coming forward while there is a server: it has no
// room.
inline constexpr Span kFlushPatience = 10min;
inline constexpr Span kFlushPatienceStopped = 45s;  // of one that was to stop
inline constexpr Span kFlushPatienceLost = 15s;     // what comes next is not there any more

struct NodeCore::State {
    NodeFacts facts;
    const Clock& clock;
    int max_running = 1;
    Attempts attempts;
    Tombstones buried;  // acknowledged ends
    Bases bases;
    Losses losses;
    std::vector<Effect> effects;
    bool quitting = false;
    // The link to the server.
    bool linked = false;
    int version = agent_protocol::kVersion;  // spoken over it
    bool welcomed = false;
    std::optional<Span> hello_at;
    Span lost_after{};
    Span contact{};
    bool lost_contact = false;  // and acted upon it
    std::optional<Span> contact_recorded;
    // The supervisor.
    bool listed = false;
    Span unlisted_since{};  // while it is not
    Span broken_at{};       // it is said (again) then
    std::string gone_why;   // of the supervisor that was there last
    std::string trouble;    // why there is none

    State(NodeFacts f, const Clock& c)
        : facts(std::move(f)),
          clock(c),
          max_running(facts.max_running),
          contact(c.since_boot()),
          unlisted_since(c.since_boot()) {}

    Span now() const { return clock.since_boot(); }
    void emit(Effect effect) { effects.push_back(std::move(effect)); }
    void record(std::string line) { emit(effect::Record{std::move(line)}); }

    // ---- walk.cc: an attempt's way through its stages ----
    // What follows from all that happened; after every input.
    void pump();
    void enter(const AttemptId& id, Attempt& attempt, Stage stage);
    // The work of the stage `at` is over.
    void step_done(const AttemptId& id, Stage at, Stage next, const Result<void>& result);
    void begun(const AttemptId& id, Attempt& attempt, Span started);
    void write_down(const AttemptId& id, Attempt& attempt);  // its stage, if that is due
    Span in_stage(const Attempt& attempt) const;
    // What its state asks for. It may be gone afterwards.
    void step(const AttemptId& id, Attempt& attempt);
    void step_outputs(const AttemptId& id, Attempt& attempt);
    void signal(const AttemptId& id, Attempt& attempt);
    // When time alone makes something happen to it.
    std::optional<Span> next_look(const Attempt& attempt) const;

    // ---- ending.cc: how an attempt is stopped, and what its end is ----
    void request_stop(const AttemptId& id, Attempt& attempt, Cause cause, Span grace);
    void revoke(const AttemptId& id, Attempt& attempt);
    void stop_before_start(const AttemptId& id, Attempt& attempt);
    void end_revoked(const AttemptId& id, Attempt& attempt);
    void fail(const AttemptId& id, Attempt& attempt, Cause cause, std::string message,
              int exit_code);
    // The command will not run (any more): from here only reports are left.
    void end_without_outputs(const AttemptId& id, Attempt& attempt);
    Ending stopped_ending(const Attempt& attempt) const;
    // Why the command ended as it did; `attempt` is not being stopped.
    Ending explained(const Attempt& attempt, const TaskExit& exit) const;
    void exited(const AttemptId& id, Attempt& attempt, const TaskExit& exit);
    void forget(AttemptId id);  // which may be that of an attempt
    void bury(const AttemptId& id);

    // ---- logs.cc: how far its streams are, here and at the server ----
    void ship_logs(const AttemptId& id, Attempt& attempt);
    void say_last_words(const AttemptId& id, Attempt& attempt);
    // Ends it once its log is at the server, or will not come there any more.
    void step_flushing(const AttemptId& id, Attempt& attempt);
    void give_up_log(const AttemptId& id, Attempt& attempt);
    Span next_look_at_log(const Attempt& attempt) const;  // max: not because time passes

    // ---- messages.cc: what the server says ----
    void on(const Welcome& welcome);
    void on(const Base& base) { bases.keep(base); }
    void on(const Lease& lease);
    void on(const Cancel& cancel);
    void on(const LogAck& ack);  // logs.cc
    void on(const EndAck& ack);
    void on(const Leave& leave);
    void on(const Ping& ping) { emit(effect::Send{Pong{ping.sequence}}); }
    void on(const Reach& reach);
    Result<TaskSpec> task_of(const Lease& lease);
    // Ends an attempt that it was told of in words that mean nothing here.
    void refuse(const AttemptId& id, std::string why);

    // ---- contact.cc: the link to the server, and what is said to it ----
    void send(ToServer message);
    void report(const AttemptId& id, Attempt& attempt);
    void heard();
    void record_contact();
    void check_contact();

    // ---- supervisor.cc ----
    void start_lost(const AttemptId& id, Attempt& attempt, bool alone);
    void check_supervisor();
    std::optional<Span> broken_next() const;

    // ---- journal.cc: a message of the protocol on each line, and what the node adds to it ----
    std::string lease_line(const AttemptId& id, const Attempt& attempt) const;
    std::string base_line(const std::string& hash, const Bases::Kept& base) const;
    std::string stage_line(const AttemptId& id, const Attempt& attempt) const;
    std::string stop_line(const AttemptId& id, const Stop& stop) const;
    std::string ending_line(const AttemptId& id, const Attempt& attempt) const;
    std::string end_ack_line(const AttemptId& id, bool final) const;
    std::string contact_line() const;
    void restore_line(const Json& line, bool& rebooted);
};

}  // namespace turnout::agent
