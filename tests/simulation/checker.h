// What must be true at every moment, seen by somebody who sees everything: the durable store, every
// process of every machine, and what the client was told.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/control.h"
#include "model/service.h"
#include "store/memory/memory_store.h"
#include "timeline.h"

namespace turnout::simulation {

using agent_protocol::AttemptId;

inline constexpr const char* kWorkspace = "ws";
inline constexpr const char* kFarPool = "far";    // in some worlds
inline constexpr const char* kFarCompute = "c2";  // is in it then
// The token of every attempt: on its way to a node, and nowhere else.
inline constexpr std::string_view kPlantedSecret = "planted-secret-5d1f";
// More than that many tasks never wait on a node behind those that run.
inline constexpr std::size_t kDeepestBacklog = 64;

// What a job asks for and what its command does, decided at submission.
struct Script {
    int exit_code = 0;
    Span runs{};
    int lines = 0;
    bool ignores_term = false;
    int fails_in = 0;             // 1 snapshot, 2 environment, 3 inputs, 4 outputs; 0 nowhere
    bool unreadable = false;      // its leases come to nodes as what they cannot read
    bool unreadable_end = false;  // or its ends to the server
    int ends_supervisor = 0;      // 1: when that is to start it, 2: while it runs
    std::string preamble;
    int nodes = 1;
    int failing_rank = -1;  // the one that ends with exit_code; -1: every one
    int priority = 0;
    std::string principal = "client", experiment;
    agent_protocol::TaskSpec task;   // as it is submitted; of a trial, as it comes to a node
    Json sweep;                      // definition of a sweep; null: a command
    Json plan;                       // of a pipeline: its steps (model/pipeline.h)
    Json automl;                     // of an AutoML job (model/automl.h)
    std::vector<std::string> after;  // of a step: those whose outputs it takes
    bool reused = false;             // of a step: an earlier one has given the same
    std::optional<ContainerInstance> instance = {};  // it runs in one of its own
    Span ready_after{};  // of a replica of a service, from its start; max: never

    int exit_code_of(int rank) const {
        return failing_rank < 0 || failing_rank == rank ? exit_code : 0;
    }
};

// The stream into which that rank's command writes.
std::string log_stream(int nodes, int rank);

// How often something happened: a simulation in which nothing happens proves nothing.
using Coverage = std::map<std::string, std::uint64_t>;

inline const std::map<std::string, Record, std::less<>>& rows(const MemoryStore::State& state,
                                                              Table table) {
    return state.tables[static_cast<std::size_t>(table)];
}

class Checker {
public:
    Checker(const Timeline& timeline, Coverage& coverage)
        : timeline_(timeline), coverage_(coverage) {}

    const std::string& violation() const { return violation_; }
    bool violated() const { return !violation_.empty(); }
    void violate(const std::string& what);
    template <class What>
    void require(bool holds, const What& what) {  // a text, or what gives one
        if (holds) return;
        if constexpr (std::is_invocable_v<What>)
            violate(what());
        else
            violate(what);
    }

    // ---- the store: called after every durable step, with the keys that were written ----
    void persisted(const MemoryStore::State& state,
                   const std::vector<std::pair<Table, std::string>>& written);

    // Where the durable state is to be found now.
    void durable_is(const MemoryStore::State* state) { latest_ = state; }

    // ---- what leaves the server ----
    void leaves(const MemoryStore::State& state, const NodeId& node,
                const agent_protocol::ToAgent& message);
    void provisions(const MemoryStore::State& state, const NodeId& node);
    void releases(const MemoryStore::State& state, const NodeId& node);

    // ---- what the client was told, and what it asked for ----
    void acknowledged(const MemoryStore::State& state, const std::string& job);
    void wants_deleted(const std::string& job) { may_vanish_.insert(job); }
    bool may_vanish(const std::string& job) const { return may_vanish_.contains(job); }
    void wants_ended(const std::string& job) { may_be_canceled_.insert(job); }
    void cancel_acknowledged(const MemoryStore::State& state, const std::string& job);
    // From now on a node of that compute may run so many tasks at a time.
    void wants_at_a_time(const std::string& compute, int tasks) {
        at_a_time_[compute] = std::max(at_a_time_[compute], tasks);
    }

    // ---- the processes ----
    void task_arrived(const AttemptId& id,
                      const agent_protocol::TaskSpec& task);  // on a node that is to start it
    void task_starts(const AttemptId& id, int rank, const NodeId& node);
    void may_run_longer(const AttemptId& id, Span by) {
        supervisor_stopped_[id] += by;
    }  // nobody kept its time meanwhile
    void task_ends(const AttemptId& id, int rank, const NodeId& node, int exit_code,
                   bool by_itself);
    void wrote(const AttemptId& id, int rank, std::string_view bytes) {
        written_[{id, rank}] += bytes;
    }
    void bytes_lost(const AttemptId& id, int rank) {
        shortened_.insert({id, rank});
    }  // with the machine
    static std::string line(const AttemptId& id, int rank, int number);  // that its command prints

    // ---- at the end, after the faults stopped ----
    void settled(const MemoryStore::State& state);

    // Tasks that were given to that node and have not left it.
    std::size_t leases_on(const NodeId& node) { return leases_[node].size(); }

    std::map<std::string, Script> scripts;  // by job

    // ---- services: tasks that stay up, whose replicas are jobs ----
    struct AskedService {
        std::set<std::pair<int, int>> numbers;  // wanted and surge that may be
        bool may_end = false;
    };
    std::map<std::string, AskedService> services;             // by name
    std::function<Script(const Service&)> script_of_replica;  // of a new one
    void service_acknowledged(const MemoryStore::State& state, const std::string& name);
    void service_end_acknowledged(const MemoryStore::State& state, const std::string& name);
    void was_ready(const AttemptId& id) { were_ready_.insert(id.job); }  // its node was told so
    static bool is_replica(const std::string& job) { return job.find('.') != std::string::npos; }
    // What runs of that service is what is wanted of it.
    bool is_as_wanted(const Service& service) const;
    // How many nodes there may be: of those that are too many since the pool has fewer slots, the
    // numbers fall.
    void slots_are(int count) {
        allowed_ =
            std::max({allowed_, static_cast<std::size_t>(slots), static_cast<std::size_t>(count)});
        slots = count;
    }
    int slots = 0;      // of the default pool
    int far_slots = 0;  // of the other one, which the compute kFarCompute is in; 0: there is none
    // A user's limit of running jobs is asked for, and holds.
    void wants_limit(const std::string& user, int running) { limits_[user].push_back(running); }
    void limit_acknowledged(const std::string& user) {
        auto& may_be = limits_[user];
        may_be.erase(may_be.begin(), may_be.end() - 1);
    }
    static bool is_instance(const std::string& compute) {
        return shown_compute(compute) == kContainerInstance;
    }
    std::set<std::string> far_instances;  // the computes of those in the other pool
    bool draining = false;  // and what was given before is recorded: nothing new is begun

private:
    using Rank = std::pair<AttemptId, int>;
    struct Ended {
        int exit_code = 0;
        bool by_itself = false;
        Span ran{};
    };
    struct Parsed {  // a job as its rows say, and their revisions
        JobRecord job;
        std::uint64_t definition = 0, state = 0;
    };
    struct Heard {  // what its events have told of a job
        bool ended = false;
        std::string status;
        std::int64_t attempt = 0;
    };

    void check_job(const MemoryStore::State& state, const std::string& key, bool told);
    void check_change(const JobRecord& then, const JobRecord& now);
    void check_nodes_of(const MemoryStore::State& state, const JobRecord& job);
    void check_service(const MemoryStore::State& state, const std::string& key);
    void check_replacement(const std::string& service);
    void check_sweep(const MemoryStore::State& state, const JobRecord& sweep);
    void check_pipeline(const MemoryStore::State& state, const JobRecord& pipeline);
    void check_automl(const MemoryStore::State& state, const JobRecord& automl);
    void check_end(const JobRecord& job);
    void check_attempt_end(const MemoryStore::State& state, const JobRecord& job,
                           const JobAttempt& attempt);
    void check_log(const MemoryStore::State& state, const JobRecord& job, const JobAttempt& attempt,
                   int rank);
    void check_order(const std::vector<std::string>& leased);
    void check_limits(const std::vector<std::string>& leased);
    void count_leases(const JobRecord& job);
    bool is_far(const NodeId& node) const;
    void check_instances(const MemoryStore::State& state, const std::vector<std::string>& leased,
                         const std::vector<std::pair<Table, std::string>>& written);
    void check_base(const MemoryStore::State& state, Table table, const std::string& key);
    void no_leases(const std::string& job);
    std::set<std::string> check_events(const std::string& key, const std::string& row);
    const JobRecord* job(const MemoryStore::State& state, const std::string& name);
    static std::optional<Node> node(const MemoryStore::State& state, const std::string& id);
    std::size_t at_a_time(const std::string& compute) const;

    const Timeline& timeline_;
    Coverage& coverage_;
    std::string violation_;
    std::size_t allowed_ = 0;
    std::map<std::string, Parsed> parsed_;
    std::map<std::string, JobRecord> seen_;  // the last durable form of every job
    std::set<std::string> acknowledged_, may_vanish_, may_be_canceled_;
    std::map<std::string, std::deque<int>> limits_;  // by user: that may hold now
    std::map<std::string, int> at_a_time_;           // by compute, the most that was ever asked for
    std::map<std::string, std::map<int, std::set<std::string>>>
        waiting_;                                           // single ones, by compute and priority
    std::map<NodeId, std::map<std::string, bool>> leases_;  // that are not over: job -> is a gang
    std::map<std::string, std::vector<NodeId>> leased_;     // the same by job
    std::map<NodeId, AttemptId> instances_;                 // that were given to something, ever
    std::set<NodeId> instances_there_;                      // of them
    std::map<std::string, Heard> heard_;                    // by job
    std::string last_event_;
    struct Bases {
        std::deque<std::string> sent;  // to its agent since it said Hello
        std::optional<Span> welcome;
    };
    std::map<NodeId, Bases> bases_;
    std::map<Rank, NodeId> starts_;
    std::map<Rank, Span> started_;
    std::map<AttemptId, int> meetings_;  // the ports that were said to their ranks
    std::map<AttemptId, Span> supervisor_stopped_;
    std::map<std::string, std::map<int, AttemptId>> running_;  // live tasks of a job, by rank
    std::map<NodeId, std::map<std::string, bool>> on_;  // live tasks on a node: job -> is a gang
    std::map<Rank, Ended> ended_;
    std::map<Rank, std::string> written_;  // every byte of the log, in order
    std::set<Rank> shortened_;
    const MemoryStore::State* latest_ = nullptr;
    struct SeenService {
        Service service;
        std::map<std::int64_t, std::int64_t> replicas;  // number -> revision
    };
    std::map<std::string, SeenService> services_;
    std::set<std::string> were_ready_;  // replicas
    std::set<std::string> replaced_;    // services of which one that was ready is to stop now
};

}  // namespace turnout::simulation
