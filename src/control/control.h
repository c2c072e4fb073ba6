// Control owns the life of computes, nodes and jobs. It is a state machine without hands: inputs
// come as calls, what must happen leaves as a batch for the store and as effects that are carried
// out only after that batch is durable. No clock, no disk, no socket, no randomness in here, so the
// simulator runs this very class under virtual time.
//
//   input ──► state in memory changes ──► Batch ──commit──► effects and replies leave
//
// If a commit fails, everything waiting on it is refused, memory is dropped and `recover` builds it
// anew from the store: what was not durable never happened.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "io/loop.h"
#include "model/compute.h"
#include "model/job.h"
#include "schedule/scheduler.h"
#include "spec/agent_protocol.h"
#include "store/store.h"

namespace turnout {

// What control asks of the world. Every call is idempotent on its key and may be repeated after a
// restart. Implemented by app/ (real) and by the simulator.
class Effects {
public:
    virtual ~Effects() = default;
    // To the agent of that node if it is connected, else dropped (it is said again after Hello). In
    // the order of the calls.
    virtual void send(const NodeId& node, agent_protocol::ToAgent message) = 0;
    // Get this node: answered by agent_connected, or by node_failed.
    virtual void provision(const Node& node) = 0;
    // Let it go; answered by node_gone.
    virtual void release(const Node& node) = 0;
    // Closes that agent's connection: it says Hello again.
    virtual void disconnect(const NodeId& node) = 0;
    // `tick` is wanted then (since boot). A hint: who ticks at `next_tick` anyway may ignore it.
    virtual void wake(Span) {}
    // That job's end is durable.
    virtual void job_ended(const std::string& /*workspace*/, const std::string& /*job*/) {}
    // Lines for the log of a sweep; may be lost.
    virtual void sweep_says(const std::string& /*workspace*/, const std::string& /*job*/,
                            const std::string& /*text*/) {}
};

inline constexpr std::string_view kSweepLog = "azureml-logs/hyperdrive.txt";  // where Azure has it

struct JobSubmission {
    std::string workspace;  // id
    std::string name;
    Json definition;      // the PUT body's "properties", as sent
    JobMeta meta;         // what listings show and may change later
    std::string compute;  // name of an AmlCompute in that workspace; "serverless" for none
    JobType type = JobType::Command;
    int priority = 0;  // higher first
    agent_protocol::TaskSpec
        task;  // resolved at submission, without run token; of a sweep: of its trials
    std::string principal;
    Instant created{};  // now
    std::vector<Write>
        together;  // rows of others that are committed with a new job: both or neither
};

enum class Put { Created, Unchanged, Updated };

class Control {
public:
    struct Settings {
        int slots = 2;  // of the default pool
        Span lost_node_after = 6h;
        Span lost_node_margin = 60s;
        Span provision_timeout = 120s;
        Span cancel_grace = 30s;
        Span preemption_grace = 30s;
        Span serverless_idle = 120s;
        int max_attempts = 3;  // for failures that are not the user's fault
        // At least so long after the last commit begins the next one, when only nodes wait for it,
        // not a client; the second when many of them do. What comes meanwhile shares it.
        Span commit_pause = 2ms;
        Span busy_commit_pause = 16ms;
        // So long after a commit the next one waits for as many clients as shared the last.
        Span client_pause = 2ms;
        // The bearer token of an attempt; put into its lease on the way out, never stored.
        std::function<Secret(const agent_protocol::AttemptId&)> run_token = {};
    };
    template <class T>
    using Reply = std::function<void(Result<T>)>;

    Control(const Clock& clock, Store& store, Effects& effects, Settings settings);
    ~Control();

    // Reads the store, and says again every effect that may have been lost. Call once before any
    // other input; called by control itself after a failed commit.
    Result<void> recover();

    // ---- from the API. Replies come after the commit, on the loop. ----
    void submit(JobSubmission job, Reply<Put> reply);
    void update_job(std::string workspace, std::string name, JobMeta meta, Reply<Put> reply);
    // Ok when the wish is recorded; the job is over when its status says so.
    void cancel_job(std::string workspace, std::string name, Reply<void> reply);
    void delete_job(std::string workspace, std::string name, Reply<void> reply);  // ended jobs only
    // For the events: that harm was done to it on purpose, and which.
    void drilled(const std::string& workspace, const std::string& name, const std::string& what);
    // Takes the node away from it as a dedicated cluster would: TERM, grace, back into the queue.
    // FailedPrecondition if it is on no node.
    void preempt_job(std::string workspace, std::string name, Reply<void> reply);
    void put_compute(Compute compute, Reply<Put> reply);
    void delete_compute(std::string workspace, std::string name, Reply<void> reply);
    // Cancels every job, lets every node go, and answers when nothing runs any more. Until the next
    // start nothing new is begun.
    void stop_everything(Reply<void> reply);

    // ---- from the nodes ----
    void agent_connected(const NodeId& node, const agent_protocol::Hello& hello);
    void agent_disconnected(const NodeId& node);
    void agent_says(const NodeId& node, const agent_protocol::ToServer& message);
    void node_failed(const NodeId& node, Error why);  // provisioning did not work
    void node_gone(const NodeId& node);               // proof: nothing of it runs any more

    // Called on the loop after each commit that recorded events, with the number of the newest row
    // of Table::Event. One listener.
    void on_events(std::function<void(std::uint64_t last)> listener);

    // ---- from tracking ----
    // Something was logged to that run: if it is a trial that lives, its sweep looks at it.
    void metrics_logged(const std::string& workspace, const std::string& run);

    // ---- time ----
    void tick();                            // at `next_tick`, and whenever somebody likes
    std::optional<Span> next_tick() const;  // since_boot of the next deadline

    // ---- reads of what is not stored: live, for properties and `explain` ----
    std::string waiting_for(const std::string& workspace, const std::string& job) const;
    // The names of the jobs that are on nodes now, and of the sweeps that live; no trials.
    std::vector<std::string> placed_jobs(const std::string& workspace) const;
    // Nodes of a compute as they are now, with the job that runs on each; by name.
    std::vector<Node> nodes_of(const std::string& workspace, const std::string& compute) const;
    // Why that job does not run yet, from the scheduler's own index.
    struct Explanation {
        std::string text;    // in words; "" if it does not wait
        bool waits = false;  // for a place on a node; if not, `waiting` says nothing
        schedule::Waiting waiting;
        std::vector<std::string> would_start;  // what would start it now, each in words
        schedule::Counts counts;               // of its compute
        int free_slots = 0, slots = 0, max_nodes = 0, jobs_per_node = 1;
        struct OnNode {
            Node node;
            std::string doing;  // "runs job a since 12 s; 2 more wait there"
        };
        std::vector<OnNode> nodes;
    };
    // Nothing of a job that has ended, or never was.
    std::optional<Explanation> explain(const std::string& workspace, const std::string& job) const;
    // Where a waiting job stands; nothing if it does not wait for a place.
    std::optional<schedule::Waiting> waiting(const std::string& workspace,
                                             const std::string& job) const;
    Waited waited(const std::string& workspace,
                  const std::string& job) const;  // so far; nothing of one that does not wait
    // The nodes of a compute that are there: how long they have lived, started, and been used by
    // the attempts that run now, all in all.
    struct LiveNodes {
        int count = 0;
        Span life{}, starting{}, used{};
        double cost = 0;  // of that life what the totals do not have yet
    };
    LiveNodes live_nodes(const std::string& workspace, const std::string& compute) const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace turnout
