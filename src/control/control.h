// Control owns the life of computes, nodes and jobs. It is a state machine without hands: inputs
// come as calls, what must happen leaves as a batch for the store and as effects that are carried
// out only after that batch is durable. No clock, no disk, no socket, no randomness in here, so the
// simulator runs this very class under virtual time.
//
//   input ──► state in memory changes ──► Batch ──commit──► effects and replies leave
//
// If a commit fails, everything waiting on it is refused, memory is dropped and `recover` builds it
// anew from the store: what was not durable never happened. Where the store only has no room for it
// yet, the same turn is written again a little later.
//
// This is the face. How a turn becomes a commit is in turns.h; what there is in memory belongs to
// owners (owner.h, owners.h), each with a file of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "io/loop.h"
#include "model/compute.h"
#include "model/job.h"
#include "model/quota.h"
#include "model/service.h"
#include "protocol/agent_protocol.h"
#include "schedule/scheduler.h"
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
    // `provider`: of its pool.
    virtual void provision(const std::string& provider, const NodeRequest& node) = 0;
    // Let it go; answered by node_gone. `handle`: what its provider told of it, null if nothing.
    virtual void release(const std::string& provider, const NodeId& node, const Json& handle) = 0;
    // What is there of that provider: answered by nodes_found with the same number, or never.
    virtual void list(const std::string& /*provider*/, std::uint64_t /*number*/) {}
    // A machine that was attached as that compute is let go: all that is the server's goes from it.
    // Answered by machine_cleared.
    virtual void clear_machine(const std::string& /*workspace*/, const std::string& /*compute*/,
                               const AttachedMachine& /*machine*/) {}
    // Closes that agent's connection: it says Hello again.
    virtual void disconnect(const NodeId& node) = 0;
    // `tick` is wanted then (since boot). A hint: who ticks at `next_tick` anyway may ignore it.
    virtual void wake(Span) {}
    // That job's end is durable.
    virtual void job_ended(const std::string& /*workspace*/, const std::string& /*job*/) {}
    // It has completed, and outputs of it become assets: the row of Table::Registration says so, if
    // this is lost.
    virtual void to_register(const std::string& /*workspace*/, const std::string& /*job*/) {}
    // Lines for that log of a group; may be lost.
    virtual void group_says(const std::string& /*workspace*/, const std::string& /*job*/,
                            std::string_view /*log*/, const std::string& /*text*/) {}
    // The task of that child can be known now: answered by `resolve_job`. Said again after a
    // restart until it is.
    virtual void resolve(const std::string& /*workspace*/, const std::string& /*job*/) {}
};

struct JobSubmission {
    std::string workspace;  // id
    std::string name;
    Json definition;      // the PUT body's "properties", as sent
    Json plan = {};       // of a group whose definition does not say all: what its plan is made of
    JobMeta meta;         // what listings show and may change later
    std::string compute;  // name of an AmlCompute in that workspace; "serverless" for none
    std::optional<ContainerInstance> instance = {};  // instead: it runs in one of its own
    JobType type = kFirstJobType;
    int priority = 0;  // higher first
    agent_protocol::TaskSpec
        task;  // resolved at submission, without run token; of a sweep: of its trials
    std::string principal;
    Instant created{};  // now
    std::vector<Write>
        together;  // rows of others that are committed with a new job: both or neither
};

enum class Put { Created, Unchanged, Updated };

// A task that is to stay up (model/service.h).
struct ServiceSubmission {
    std::string workspace;  // id
    std::string name;       // letters, digits, '-' and '_'
    std::string compute;    // never changes
    // With `service`, of one process; another one is a new revision. A replica's own name is to
    // stand in it as kJobPlaceholder.
    agent_protocol::TaskSpec task;
    int wanted = 1;          // replicas; 0 stops it
    int surge = 1;           // beyond those, while one revision replaces another
    int priority = 0;        // of replicas that are made from now on
    std::string principal;   // of the replicas of this revision
    std::string experiment;  // whose totals the time of replicas made from now on is added to
};

namespace control {
struct KindTable;
struct Owners;
}  // namespace control

class Control {
public:
    struct Settings {
        int slots = 2;                 // of a pool that does not say, unless others were set
        std::vector<Pool> pools = {};  // at first; the default pool is there in any case
        Span lost_node_after = 6h;     // where the pool does not say
        Span lost_node_margin = 60s;
        Span provision_timeout = 120s;
        Span cancel_grace = 30s;
        // Beyond its grace a node has so long to say that a job it was told to stop has ended;
        // longer, but not for ever, while it says that it uploads the job's last output. Then the
        // node counts as broken and its provider ends it.
        Span stop_margin = 60s;
        Span longest_stop = 1h;
        Span preemption_grace = 30s;
        Span serverless_idle = 120s;
        // So often the providers are asked what is there, and so long after the start first.
        Span list_every = 3min;
        Span list_first = 10s;
        // A pool that has no more for now is asked again after so long, longer each time.
        Span exhausted_pause = 10s;
        Span longest_exhausted_pause = 5min;
        int max_attempts = 3;  // for failures that are not the user's fault
        // At least so long after the last commit begins the next one, when only nodes wait for it,
        // not a client; the second when many of them do. What comes meanwhile shares it.
        Span commit_pause = 2ms;
        Span busy_commit_pause = 16ms;
        // So long after a commit the next one waits for as many clients as shared the last.
        Span client_pause = 2ms;
        // The bearer token of an attempt; put into its lease on the way out, never stored.
        std::function<Secret(const agent_protocol::AttemptId&)> run_token = {};
        // What a service's task knows the server by (protocol/secret_reference.h).
        std::function<Secret(const agent_protocol::AttemptId&)> service_key = {};
        // Secrets of that workspace, by name; put into the lease of a task that names them, never
        // stored. NotFound: one is not there any more.
        std::function<Result<std::vector<agent_protocol::SecretValue>>(
            const std::string& workspace, const std::vector<std::string>& names)>
            secrets = {};
        // Whether nobody on the pool's machine uses that port just now; nothing: all are free.
        std::function<bool(int)> port_is_free = {};
        // What is done for each kind of job; null: control/job_kinds.cc. Tests have others.
        const control::KindTable* kinds = nullptr;
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
    // Changes are made to what is true in their turn, never to what was read before.
    void update_job(std::string workspace, std::string name, const JobMetaChange& change,
                    Reply<Put> reply);
    // Ok when the wish is recorded; the job is over when its status says so.
    void cancel_job(std::string workspace, std::string name, Reply<void> reply,
                    std::string_view by = {});
    // The task of a job that was submitted without, since it had to wait for another's end:
    // `task_of` is called at once, with the job as it is in this turn, and an error from it ends
    // the job. Unchanged if it has its task already, or has ended.
    struct KnownTask {
        KnownTask(agent_protocol::TaskSpec known) : task(std::move(known)) {}
        agent_protocol::TaskSpec task;
        Json recipe = {};  // of a step: what it is made of (model/recipe.h)
        // The job whose outputs were given to it: nothing is run, and it is completed at once. "" =
        // it is run.
        std::string reused_from = {};
    };
    using TaskOf = std::function<Result<KnownTask>(const JobRecord& job)>;
    void resolve_job(const std::string& workspace, const std::string& name, const TaskOf& task_of,
                     Reply<Put> reply);
    void delete_job(std::string workspace, std::string name, Reply<void> reply);  // ended jobs only
    // For the events: that harm was done to it on purpose, and which.
    void drilled(const std::string& workspace, const std::string& name, const std::string& what,
                 std::string_view by = {});
    // For the events: that something was removed to give space back, and why. `workspace`: "" = of
    // all of them.
    void space_given_back(const std::string& workspace, const std::string& kind,
                          const std::string& what);
    // Takes the node away from it as a dedicated cluster would: TERM, grace, back into the queue.
    // FailedPrecondition if it is on no node.
    void preempt_job(std::string workspace, std::string name, Reply<void> reply,
                     std::string_view by = {});
    // `change` is called at once, with the compute as it is in this turn; nothing if there is none.
    using ComputeChange = std::function<Result<Compute>(const std::optional<Compute>& now)>;
    // `together`: rows of others that `change` puts down; committed with the compute, both or
    // neither.
    void change_compute(std::string workspace, std::string name, const ComputeChange& change,
                        Reply<Put> reply, std::vector<Write>* together = nullptr,
                        std::string_view by = {});
    void put_compute(Compute compute, Reply<Put> reply);  // whatever it was
    void delete_compute(std::string workspace, std::string name, Reply<void> reply,
                        std::string_view by = {});
    // Tasks in Table::TaskBase that no job refers to any more are found by reading all jobs. Who
    // wants to do that says so before, and names what he found together with the number he got:
    // what a job began to refer to meanwhile stays. The reply tells how many went; Unavailable: the
    // survey is void, since another one was begun or a commit failed.
    std::uint64_t survey_bases();
    void erase_bases(std::uint64_t survey, std::vector<std::string> keys, Reply<std::size_t> reply);
    // Of a workspace without jobs and computes that is deleted: what was added up of it.
    void forget_workspace(const std::string& workspace);
    // ---- services ----
    // Creates it, or changes what is wanted. Conflict while it is being ended.
    void put_service(ServiceSubmission wish, Reply<Put> reply);
    // So many replicas of what it is; 0 stops it, whatever its task names by now. NotFound.
    void want_service(const std::string& workspace, const std::string& name, int wanted,
                      Reply<Put> reply);
    // Ok when the wish is recorded; it is over when there is no such service any more.
    void end_service(const std::string& workspace, const std::string& name, Reply<void> reply);
    struct ServiceView {
        Service service;
        std::string compute;
        ReplicaCounts counts;
        struct OfReplica {
            Replica replica;
            std::string job;     // its name
            std::string node;    // "" while it waits
            int attempt = 0;     // of its job, there; 0 while it waits
            int port = 0;        // on that node; 0: not known yet
            std::string detail;  // what it does just now, or why it is not ready
        };
        std::vector<OfReplica> replicas;  // by number
        std::string why;                  // it is not as it is wanted; "" = it is
    };
    std::optional<ServiceView> service(const std::string& workspace, const std::string& name) const;
    std::vector<ServiceView> services(const std::string& workspace) const;  // by name
    // Of a service those that are ready, by number; the texts are good until control goes on.
    struct ReadyReplica {
        std::string_view job, node;
        int attempt = 0;
    };
    std::vector<ReadyReplica> ready_replicas(const std::string& workspace,
                                             const std::string& name) const;

    // Cancels every job, lets every node go, and answers when nothing runs any more. Until the next
    // start nothing new is begun.
    void stop_everything(Reply<void> reply);

    // Until `resume` nothing new is begun: what runs goes on to its end, what waits stays. The
    // reply comes when that is so; `empty` is called when no node is left, unless work was resumed.
    // Not kept over a restart.
    void drain(Reply<void> reply, std::function<void()> empty);
    void resume(Reply<void> reply);
    bool draining() const;
    // How many nodes the pool has room for, from now on and kept; running jobs are let be.
    void set_slots(int slots, Reply<void> reply) {
        set_slots(std::string(kDefaultPool), slots, std::move(reply));
    }
    void set_slots(const std::string& pool, int slots, Reply<void> reply);
    // Which pools there are, from now on; the default one is there in any case. What a node was
    // told when it was asked for stays; slots that were set do as long as the description says what
    // it said then. Conflict, "PoolInUse": one that computes are in is not among them, so nothing
    // changed. Whoever says it keeps the pools: the next start begins with those of its settings.
    void set_pools(std::vector<Pool> pools, Reply<void> reply);
    // ---- quotas: what users and workspaces may have at a time. Jobs that may not begin wait, and
    // what may not wait is refused by `submit`. Of what is stored control only keeps the limit.
    // `change` is called at once, with what was said of it before; an empty quota is none.
    using QuotaChange = std::function<Result<Quota>(const Quota& now)>;
    void change_quota(QuotaOwner owner, const QuotaChange& change, Reply<void> reply);
    struct QuotaView {
        QuotaOwner owner;
        Quota quota;  // as it was said
        Quota holds;  // with what is said for every user
        schedule::AccountUse use;
    };
    // Of all that have one, or have submitted something since the start; every user's first.
    std::vector<QuotaView> quotas() const;
    QuotaView quota(const QuotaOwner& owner) const;
    int slots(std::string_view pool = kDefaultPool) const;  // 0: there is no such pool
    struct PoolView {
        Pool pool;
        bool missing = false;   // computes are in it, but nobody describes it any more
        bool attached = false;  // one machine that was attached: its compute's own
        int slots = 0, nodes = 0, computes = 0;
        std::size_t waiting = 0;  // jobs and trials
        std::string trouble;      // why it gives no nodes for now
    };
    std::vector<PoolView> pools() const;  // the default one first, then by name
    std::optional<PoolView> pool(std::string_view name) const;
    // The computes that have their nodes there: workspace and name.
    std::vector<std::pair<std::string, std::string>> computes_of(std::string_view pool) const;
    // Those that a compute can name: none that is missing, no attached machine; at once.
    std::vector<std::string> pool_names() const;
    bool has_several_pools() const;
    // Why a compute gets no nodes until somebody changes something; "" if it does.
    std::string unusable(const std::string& workspace, const std::string& compute) const;
    int nodes() const;            // of all pools
    std::size_t waiting() const;  // jobs and trials of all workspaces that wait for a place

    // ---- from the nodes ----
    void agent_connected(const NodeId& node, const agent_protocol::Hello& hello);
    void agent_disconnected(const NodeId& node);
    // It speaks in words that this server does not know (protocol/versions.h), and is not listened
    // to: `why`, for people.
    void agent_refused(const NodeId& node, const std::string& why);
    void agent_says(const NodeId& node, const agent_protocol::ToServer& message);
    // Provisioning did not work. The code says what follows: Ambiguous = it may have, so the
    // provider is asked what is there; ResourceExhausted = its pool has no more for now;
    // InvalidArgument = its compute gets none until it is changed; else it is tried again later.
    void node_failed(const NodeId& node, Error why);
    void node_gone(const NodeId& node);                 // proof: nothing of it runs any more
    void node_handle(const NodeId& node, Json handle);  // stored, and given to its provider again
    // The same of one that nobody let go: what became of it, for people.
    void node_lost(const NodeId& node, const std::string& why);
    // It ends by itself after so long, whatever is on it.
    void node_ends(const NodeId& node, Span left);
    // What its provider does to get it, for people: an event, as long as it is not there.
    void node_starts(const NodeId& node, const std::string& what);
    // Nothing of ours is left on the machine that was attached as that compute, or it cannot be
    // reached: then `left` says what may be there still.
    void machine_cleared(const std::string& workspace, const std::string& compute,
                         const std::string& left);
    // All that its provider has. A node that was known when that was asked for and is not among
    // them is gone; what nobody knows is released.
    void nodes_found(std::uint64_t number, const std::vector<FoundNode>& found);

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
    // How many jobs wait for that compute or run there, without the replicas of services.
    std::size_t jobs_of(const std::string& workspace, const std::string& compute) const;
    // Nodes of a compute as they are now, with the job that runs on each; by name. Those of all
    // container instances by kContainerInstance.
    std::vector<Node> nodes_of(const std::string& workspace, const std::string& compute) const;
    // Why that job does not run yet, from the scheduler's own index.
    struct Explanation {
        std::string text;    // in words; "" if it does not wait
        bool waits = false;  // for a place on a node; if not, `waiting` says nothing
        schedule::Waiting waiting;
        std::vector<std::string> would_start;  // what would start it now, each in words
        schedule::Counts counts;               // of its compute
        int free_slots = 0, slots = 0, max_nodes = 0, jobs_per_node = 1;
        std::string pool;  // of its compute; "" while there is only one
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
        double cost = 0;              // of that life what the totals do not have yet
        std::optional<double> price;  // of a node's hour, its own or that of its pool
    };
    LiveNodes live_nodes(const std::string& workspace, const std::string& compute) const;

private:
    template <class Take>
    void input(Take take);
    template <class T, class Take>
    void input(Reply<T> reply, Take take);

    std::unique_ptr<control::Owners> owners_;
};

}  // namespace turnout
