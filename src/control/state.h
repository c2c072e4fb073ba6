// The inside of Control: what it holds in memory and how a turn becomes a commit. Private to
// control/.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/control.h"
#include "control/jobs.h"
#include "model/early_termination.h"
#include "model/sweep.h"
#include "schedule/scheduler.h"

namespace turnout {

using schedule::Handle;

struct Control::State {
    // ---- the world ----
    const Clock& clock;
    Store& store;
    Effects& effects;
    Settings settings;

    // ---- what is ----
    // Time in which the queue of a compute waited for something else than its turn. It only grows;
    // a job's share is the difference between two moments.
    struct Waits {
        Span quota{}, node_start{};
    };
    struct ComputeState {
        Compute compute;
        Handle handle = 0;
        std::set<NodeId> nodes;
        Span provision_not_before{};  // backs off after a failure
        int failures = 0;
        Waits waits;
        schedule::Waiting::For waiting_for = schedule::Waiting::For::Nothing;  // since `waiting_at`
        Span waiting_at{};
        std::size_t live_jobs = 0;
        std::optional<double> price;  // of a node's hour

        std::string key() const { return compute.workspace + "/" + compute.name; }
    };
    // A task that jobs share; its text is in the store.
    struct TaskBase {
        std::string hash;
        std::string workspace;
        bool stored = false;       // or in a turn that is on its way
        std::uint64_t number = 0;  // never given to another one
        std::size_t live_jobs = 0;
        std::optional<std::list<std::string>::iterator>
            idle;  // its place among those without a live job
    };
    struct SweepState;
    // A job that lives. Kept small: a million of them may wait.
    struct JobEntry {
        const std::string* key = nullptr;  // "{wsid}/{name}", of `jobs`
        Handle handle = 0;                 // also its place in the order of submission
        JobState state;
        ComputeState* compute = nullptr;
        TaskBase* base = nullptr;
        std::string own;              // JSON of the members that are its own; "" = none
        SweepState* sweep = nullptr;  // that it is (type Sweep) or that it is a trial of
        std::int64_t index = 0;
        std::int64_t created = 0;  // micros
        Handle sharer = 0;
        int priority = 0;
        int nodes = 1;
        JobType type = JobType::Command;
        bool waits = false;  // known to the scheduler as waiting
        Waits waits_from;    // of its compute when it began to wait

        bool is_trial() const { return sweep != nullptr && type == JobType::Command; }
        std::string_view name() const { return std::string_view(*key).substr(key->find('/') + 1); }
        std::string_view workspace() const {
            return std::string_view(*key).substr(0, key->find('/'));
        }
    };
    // A sweep that lives.
    struct SweepState {
        JobEntry* job = nullptr;
        Sweep sweep;
        SweepProgress progress;    // stored with the job's state, in the commit of what it counts
        std::int64_t waiting = 0;  // trials that have no node
        std::map<std::int64_t, JobEntry*> live;  // by index
        std::string experiment;                  // id, for the runs of the trials
        JobFacts facts;                          // of every trial, but for what differs
        Span deadline{};                         // since boot; 0 = none
        // What trials logged of the primary metric, and how far it was read.
        std::optional<EarlyTermination> metrics;
        std::unordered_map<std::int64_t, std::string> read_to;
        std::set<std::int64_t> given_up;  // by the policy, and not told yet
        std::int64_t told = 0;            // ended trials that its log knows of
        std::string lines;                // for its log
        bool said_end = false;
    };
    struct Lease {
        JobEntry* job = nullptr;  // alive as long as the lease is
        int attempt = 0;
        int rank = 0;
        bool begun = false;  // as far as one knows: the node has reported of it
    };
    struct NodeEntry {
        Node node;
        Handle handle = 0;
        std::vector<Lease> leases;  // in the order in which they were given
        bool connected = false;
        bool welcomed = false;  // since it said Hello last; before, it is given nothing
        Span last_contact{};    // since boot: of the connection, or of our own start
        Span deadline{};        // the next moment `tick` looks at it; 0 = none
        int tries = 0;
        // Bases that the agent was sent on this link, by their number, and which in the order of
        // sending.
        std::unordered_map<std::uint64_t, std::uint64_t> bases;
        std::uint64_t bases_sent = 0;

        Lease* find(const agent_protocol::AttemptId& id);
    };
    std::map<std::string, ComputeState> computes;        // "{wsid}/{name}"
    std::unordered_map<NodeId, NodeEntry> nodes;         // all that hold a slot
    std::unordered_map<std::string, JobEntry> jobs;      // all that live, and some that just ended
    std::unordered_map<std::string, SweepState> sweeps;  // by the job's key
    std::unordered_map<std::string, TaskBase>
        bases;                          // "{wsid}/{hash}": of live jobs, and some more
    std::list<std::string> idle_bases;  // their keys, the longest idle first
    std::uint64_t last_base = 0;
    std::unordered_map<Handle, ComputeState*> compute_of;
    std::unordered_map<Handle, NodeEntry*> node_of;
    std::unordered_map<Handle, JobEntry*> job_of;
    std::unordered_map<std::string, Handle> sharers;
    std::unordered_map<Handle, std::string> experiment_of;  // of a sharer
    std::map<std::string, Totals> totals;                   // rows of Table::Ledger
    std::set<std::pair<Span, NodeId>> deadlines;
    std::set<std::pair<Span, Handle>> sweep_deadlines;
    std::set<Handle> touched_sweeps;  // trials of it ended, or were given to nodes
    std::optional<schedule::Scheduler> scheduler;
    std::optional<Span> plan_at;      // the scheduler wants to be asked then
    bool plan_wanted = false;         // something happened since it was asked
    std::set<ComputeState*> touched;  // computes whose queue may wait for something else now
    std::set<std::string> deletions;  // keys of computes that are being deleted
    Handle last_handle = 0;
    std::uint64_t last_node = 0;   // nodes made so far, stored: names are never used twice
    std::uint64_t last_event = 0;  // key of the last row of events
    std::function<void(std::uint64_t)> events_listener;

    // ---- the turn that is being gathered, and the one that is on its way to the disk ----
    struct Turn {
        std::set<std::string> states, computes;  // keys that changed
        std::set<NodeId> nodes;
        std::map<std::string, std::string> definitions;            // key -> row in Table::Job
        std::map<std::string, std::string> new_jobs;               // key -> row in Table::JobLive
        std::map<std::string, std::set<std::string>> erased_jobs;  // -> their keys among JobCreated
        std::set<std::string> totals;                              // keys that changed
        std::map<std::string, std::string> bases;  // key -> new row in Table::TaskBase
        std::vector<Write> together;               // of the new jobs
        std::vector<std::string> events;           // by row: JSON objects with commas between
        std::uint64_t event_row = 0;               // the last of their rows; 0 = there are none
        bool counters = false;
        std::vector<std::function<void()>> after;         // effects and replies, in order
        std::vector<std::function<void(Error)>> refused;  // if the commit fails
        bool changed() const {
            return !states.empty() || !definitions.empty() || !computes.empty() || !nodes.empty() ||
                   !erased_jobs.empty() || counters || !events.empty();
        }
    };
    Turn gathering;
    std::shared_ptr<Turn> in_flight;  // null while nothing is being committed
    Span commit_not_before{};         // unless a client waits: reports of nodes share a commit
    std::size_t clients_before = 0;   // that waited for the last commit which had any
    Span company_until{};             // so long the next one waits for as many
    int reports = 0;                  // of nodes since the last commit began
    // After a failed commit nothing is planned until then, nor written that no client waits for, so
    // that a full disk does not cost a processor: each try ends in reading the whole state anew.
    // 0 = no such wait.
    Span schedule_not_before{};
    int failed_commits = 0;                      // since the last good one
    std::deque<std::function<void()>> outgoing;  // effects and replies whose turn is durable
    bool releasing = false;
    bool stopping = false;             // stop_everything: nothing new is begun
    std::vector<Reply<void>> stopped;  // answered when the last node is gone
    std::optional<Error>
        broken;  // recovery failed: everything is refused with it, and nothing is known
    std::shared_ptr<int> alive =
        std::make_shared<int>(0);  // shared with callbacks that may outlive us

    State(const Clock& c, Store& s, Effects& e, Settings given)
        : clock(c), store(s), effects(e), settings(given) {}

    // ---- turns (control.cc) ----
    void end_turn();  // at the end of every input: plan, then commit or run
    void commit_gathered();
    Span commit_from() const;
    void committed(std::shared_ptr<Turn> turn, Result<std::uint64_t> result);
    void release(std::vector<std::function<void()>> leaving);
    Batch serialise(Turn& turn);
    void forget_ended(const Turn& turn);
    void hold_back();  // after a commit, or a recovery, that failed
    void forget_all();
    Result<void> recover();
    Result<void> read_store();
    Result<void> recover_jobs();
    template <class T>
    void reply(Reply<T> to, Result<T> with) {
        gathering.refused.push_back([to](Error why) { to(Failure(std::move(why))); });
        gathering.after.push_back([to = std::move(to), with = std::move(with)] { to(with); });
    }
    // For what no change stands behind.
    void effect(std::function<void()> what) { gathering.after.push_back(std::move(what)); }
    void send(const NodeId& node, agent_protocol::ToAgent message);

    // What happened, for people who follow: rows of Table::Event (events.cc).
    std::string& event_text();  // where the next one is put
    void job_event(const JobEntry& job, std::string_view what, std::string_view message = {});
    void node_event(const Node& node, std::string_view what, std::string_view message = {});
    void compute_event(const Compute& compute, std::string_view what);

    // What is over is added up (ledger.cc), in the commit that records its end.
    Totals& totals_of(const std::string& totals_key);
    std::vector<Totals*> totals_with(const JobEntry& job);
    void forget_totals(const JobRecord& sweep);                         // it is deleted
    void book_job(const JobEntry& job);                                 // it has ended
    void book_attempt(const JobEntry& job, const JobAttempt& attempt);  // it has ended, or was lost
    void book_node(const ComputeState& compute, const Node& node);      // it is gone
    void book_cost(ComputeState& compute);  // of its nodes so far, at the price until now
    Result<void> recover_totals();

    // ---- jobs (job_lifecycle.cc) ----
    static std::string key(std::string_view workspace, std::string_view name) {
        return std::string(workspace) + "/" + std::string(name);
    }
    static std::string created_key(std::string_view workspace, std::string_view name,
                                   Instant created);
    // As it is or will be when what is under way is durable; nullopt: no such job.
    Result<std::optional<JobRecord>> find_job(const std::string& job_key);
    JobEntry& add_job(std::string job_key, JobFacts facts, JobState state);
    void drop_job(const std::string& job_key);
    static schedule::Demand demand_of(const JobEntry& job);
    void enqueue(JobEntry& job);
    void cancel_all(const std::function<bool(const JobEntry&)>& which, const std::string& why);
    void dequeue(JobEntry& job);
    void give(JobEntry& job, const std::vector<Handle>& to);  // a new attempt on these nodes
    void send_lease(NodeEntry& node, const Lease& lease);
    void tell_stop(const JobEntry& job, agent_protocol::Cause cause, Span grace,
                   bool only_if_waiting = false);
    void preempt(JobEntry& job,
                 std::string_view why);  // its attempt is to give way, if it was not told so
    // `why`, for people; "" = somebody asked for it. Nothing if it is over or was canceled before.
    void request_cancel(JobEntry& job, const std::string& why = "");
    void phase_reported(NodeEntry& node, const agent_protocol::PhaseReport& report);
    void end_reported(NodeEntry& node, const agent_protocol::EndReport& report);
    // That rank of the current attempt is over; the node is free of it.
    void end_rank(NodeEntry& node, Lease lease, agent_protocol::Ending ending);
    void end_attempt(JobEntry& job, agent_protocol::Ending ending);
    void end_job(JobEntry& job, JobStatus status, agent_protocol::Cause cause, std::string message,
                 Instant at);

    // ---- sweeps (sweep_lifecycle.cc) ----
    // Why a job of that name cannot be made, or `trials` of them if it is a sweep: others have
    // their names.
    Result<void> check_trial_names(const JobSubmission& job, std::int64_t trials);
    void add_sweep(JobEntry& job, const JobRecord& record, Sweep sweep, SweepProgress progress,
                   std::string experiment);
    Result<void> recover_sweep(JobEntry& job);
    Result<void> recover_metrics(SweepState& sweep);
    void advance_sweeps();  // new trials, and the end
    static JobFacts trial_facts(const SweepState& sweep, std::int64_t index, Instant created);
    void add_trial(SweepState& sweep);
    void trial_waits(JobEntry& trial, bool waits);
    void trial_over(JobEntry& trial);
    void stop_sweep(SweepState& sweep, const std::string& why);
    void stop_given_up(SweepState& sweep);
    void sweep_says(SweepState& sweep, const std::string& text);
    void time_out_sweeps();
    Result<void> read_metrics(SweepState& sweep, JobEntry& trial);
    void drop_sweep(const std::string& job_key);

    // ---- computes and nodes (node_lifecycle.cc) ----
    ComputeState& add_compute(Compute compute);
    ComputeState& serverless(const std::string& workspace);
    void tell_scheduler(const ComputeState& compute);
    void plan();
    void book_waits(ComputeState& compute);
    NodeEntry& add_node(ComputeState& compute, Node from, schedule::NodeIs is);
    void provision_node(ComputeState& compute);
    void say_provision(const NodeId& id);
    void release_node(NodeEntry& node);  // with nothing on it
    void let_go(NodeEntry& node);        // the scheduler knows it
    void remove_node(const NodeId& id);  // nothing of it runs: frees the slot, ends its attempts
    void lose_leases(NodeEntry& node, const std::string& why);
    void back_off(ComputeState& compute);
    void set_state(NodeEntry& node, NodeState state);
    void set_deadline(NodeEntry& node, Span at);
    void check(NodeEntry& node, Span now);
    void finish_deletion(const std::string& compute_key);
};

}  // namespace turnout
