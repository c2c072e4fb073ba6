// The inside of Control: what it holds in memory and how a turn becomes a commit. Private to
// control/.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <ext/pb_ds/assoc_container.hpp>
#include <ext/pb_ds/tree_policy.hpp>

#include "control/control.h"
#include "schedule/plan.h"

namespace turnout {

struct Control::State {
    // ---- the world ----
    const Clock& clock;
    Store& store;
    Effects& effects;
    Settings settings;

    // ---- what is ----
    // Order of submission -> key of a waiting job. It counts, so that the place of a job among ten
    // thousand is found in a few steps: every answer about a waiting job tells it.
    using Queue = __gnu_pbds::tree<std::uint64_t, std::string, std::less<std::uint64_t>, __gnu_pbds::rb_tree_tag, __gnu_pbds::tree_order_statistics_node_update>;
    struct ComputeState {
        Compute compute;
        Queue queue;
        std::set<NodeId> nodes;
        Span provision_not_before{};  // backs off after a failure
        int failures = 0;
    };
    struct NodeEntry {
        Node node;
        bool connected = false;
        Span last_contact{};  // since boot: of the connection, or of our own start
        Span idle_since{};
        Span deadline{};  // the next moment `tick` looks at it; 0 = none
        int tries = 0;
    };
    struct JobEntry {
        JobRecord record;
        std::uint64_t order = 0;  // its place in the queue while it waits, else 0
        std::string waits_in;     // key of the compute whose queue it is in
    };
    std::map<std::string, ComputeState> computes;           // "{wsid}/{name}"
    std::unordered_map<NodeId, NodeEntry> nodes;            // all that hold a slot
    std::unordered_map<std::string, JobEntry> jobs;         // all that live, and some that just ended
    std::set<std::pair<Span, NodeId>> deadlines;
    std::uint64_t last_order = 0;
    std::uint64_t last_node = 0;  // nodes made so far, stored: names are never used twice

    // ---- the turn that is being gathered, and the one that is on its way to the disk ----
    struct Turn {
        std::set<std::string> jobs, computes;  // keys that changed
        std::set<NodeId> nodes;
        std::set<std::string> new_jobs;
        std::map<std::string, std::set<std::string>> erased_jobs;  // -> their keys among JobCreated
        std::vector<Write> together;  // of the new jobs
        bool counters = false;
        std::vector<std::function<void()>> after;         // effects and replies, in order
        std::vector<std::function<void(Error)>> refused;  // if the commit fails
        bool changed() const {
            return !jobs.empty() || !computes.empty() || !nodes.empty() || !erased_jobs.empty() || counters;
        }
    };
    Turn gathering;
    std::shared_ptr<Turn> in_flight;  // null while nothing is being committed
    // After a failed commit nothing is planned until then, so that a full disk costs one try a
    // second and not a processor. 0 = no such wait.
    Span schedule_not_before{};
    std::deque<std::function<void()>> outgoing;  // effects and replies whose turn is durable
    bool releasing = false;
    std::set<std::string> to_schedule;  // computes to plan again in this turn
    bool stopping = false;                // stop_everything: nothing new is begun
    std::vector<Reply<void>> stopped;     // answered when the last node is gone
    std::optional<Error> broken;        // recovery failed: everything is refused with it
    std::shared_ptr<int> alive = std::make_shared<int>(0);  // shared with callbacks that may outlive us

    State(const Clock& c, Store& s, Effects& e, Settings given)
        : clock(c), store(s), effects(e), settings(given) {}

    // ---- turns (control.cc) ----
    void end_turn();  // at the end of every input: plan, then commit or run
    void commit_gathered();
    void committed(std::shared_ptr<Turn> turn, Result<std::uint64_t> result);
    void release(std::vector<std::function<void()>>& leaving);
    Batch serialise(const Turn& turn) const;
    void forget_ended(const Turn& turn);
    Result<void> recover();
    template <class T>
    void reply(Reply<T> to, Result<T> with) {
        gathering.refused.push_back([to](Error why) { to(Failure(std::move(why))); });
        gathering.after.push_back([to = std::move(to), with = std::move(with)] { to(with); });
    }
    // For what no change stands behind.
    void effect(std::function<void()> what) { gathering.after.push_back(std::move(what)); }
    void send(const NodeId& node, agent_protocol::ToAgent message);

    // ---- jobs (job_lifecycle.cc) ----
    static std::string key(std::string_view workspace, std::string_view name) {
        return std::string(workspace) + "/" + std::string(name);
    }
    static std::string created_key(const JobRecord& record);  // its key among JobCreated
    Result<JobEntry*> load_job(const std::string& job_key);  // null: no such job
    void enqueue(const std::string& job_key, JobEntry& job);
    void dequeue(JobEntry& job);
    void lease(const std::string& job_key, NodeEntry& node);
    void resend(NodeEntry& node);  // what a connected node should know about its attempt
    void request_cancel(const std::string& job_key, JobEntry& job);
    void phase_reported(NodeEntry& node, const agent_protocol::PhaseReport& report);
    void end_reported(NodeEntry& node, const agent_protocol::EndReport& report);
    // The current attempt of that job is over; the node is free of it.
    void end_attempt(const std::string& job_key, JobEntry& job, agent_protocol::Ending ending);
    void end_job(const std::string& job_key, JobEntry& job, JobStatus status,
                 agent_protocol::Cause cause, std::string message);

    // ---- computes and nodes (node_lifecycle.cc) ----
    ComputeState& serverless(const std::string& workspace);
    void schedule_all();
    void schedule(const std::string& compute_key, std::size_t wanted_elsewhere);
    schedule::ClusterView view(const ComputeState& compute) const;
    std::size_t free_slots() const;
    void provision_node(ComputeState& compute);
    void say_provision(const NodeId& id);
    void release_node(NodeEntry& node);
    void remove_node(const NodeId& id);  // nothing of it runs: frees the slot, ends its attempt
    void set_state(NodeEntry& node, NodeState state);
    void set_deadline(NodeEntry& node, Span at);
    void check(NodeEntry& node, Span now);
    void finish_deletion(const std::string& compute_key);
};

}  // namespace turnout
