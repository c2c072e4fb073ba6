// The jobs that live: Queued, an attempt on one node or several, its phases, its end or the next
// attempt. And those that just ended, until that is durable.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/computes.h"
#include "control/jobs.h"
#include "control/owner.h"
#include "control/ports.h"
#include "model/job.h"
#include "schedule/scheduler.h"

namespace turnout::control {

struct GroupState;
struct ReplicaState;
struct Lease;
struct NodeEntry;
struct TaskBase;

// A job that lives. Kept small: a million of them may wait.
struct JobEntry {
    const std::string* key = nullptr;  // "{wsid}/{name}", of `by_key`
    Handle handle = 0;                 // also its place in the order of submission
    JobState state;
    ComputeState* compute = nullptr;
    TaskBase* base = nullptr;         // null while its task is not known
    std::string own;                  // JSON of the members that are its own; "" = none
    GroupState* group = nullptr;      // that it is, or that it is a child of
    ReplicaState* replica = nullptr;  // that it is, of a service
    std::int64_t index = 0;
    std::int64_t created = 0;  // micros
    Handle sharer = 0;
    int priority = 0;
    int nodes = 1;
    int ports = 0;
    std::uint32_t lasts = 0;  // seconds, at most; 0: that is not said
    JobType type = kFirstJobType;
    bool stays = false;      // it is a replica of a service
    bool registers = false;  // outputs of it become assets
    bool waits = false;      // known to the scheduler as waiting
    Waits waits_from;        // of its compute when it began to wait

    bool is_child() const { return group != nullptr && !kind_of(type).group; }
    std::string_view name() const { return std::string_view(*key).substr(key->find('/') + 1); }
    std::string_view workspace() const { return std::string_view(*key).substr(0, key->find('/')); }
};

class LiveJobs : Owner {
public:
    explicit LiveJobs(Owners& all) : Owner(all) {}

    std::unordered_map<std::string, JobEntry> by_key;
    std::unordered_map<Handle, JobEntry*> by_handle;

    // ---- inputs of the API ----
    void submit(JobSubmission job, Control::Reply<Put> reply);
    void update(const std::string& job_key, const JobMetaChange& change, Control::Reply<Put> reply);
    void cancel(const std::string& job_key, Control::Reply<void> reply);
    void preempt(const std::string& job_key, Control::Reply<void> reply);
    void remove(const std::string& job_key, Control::Reply<void> reply);
    void resolve(const std::string& job_key, const Control::TaskOf& task_of,
                 Control::Reply<Put> reply);

    // ---- which there are ----
    JobEntry* find(const std::string& workspace, const std::string& name);
    const JobEntry* find(const std::string& workspace, const std::string& name) const;
    // As it is or will be when what is under way is durable; nullopt: no such job.
    Result<std::optional<JobRecord>> find_record(const std::string& job_key);
    // One that a group makes: a derived one with its task, whose facts are given, or one that waits
    // for its task.
    JobEntry& add_child(JobSubmission job, ChildOf of, JobFacts derived);
    // Into memory only: the caller puts it into the queue, or on its nodes.
    JobEntry& add(std::string job_key, JobFacts facts, JobState state);
    void drop(const std::string& job_key);
    const std::string& experiment_of(const JobEntry& job) const {
        return sharer_of_.at(job.sharer).experiment;
    }

    // One that a service makes, into the queue.
    JobEntry& add_replica(JobSubmission job);

    // ---- their life ----
    void enqueue(JobEntry& job);
    void give(JobEntry& job, const std::vector<Handle>& to);  // a new attempt on these nodes
    void send_lease(NodeEntry& node, const Lease& lease);
    // To every node of its attempt that has not ended.
    void tell_stop(const JobEntry& job, agent_protocol::Cause cause, Span grace,
                   bool only_if_waiting = false);
    void preempt(JobEntry& job,
                 std::string_view why);  // its attempt is to give way, if it was not told so
    // `why`, for people; "" = somebody asked for it. Nothing if it is over or was canceled before.
    void request_cancel(JobEntry& job, const std::string& why = "");
    void cancel_all(const std::function<bool(const JobEntry&)>& which, const std::string& why);
    // Those that wait there end: what they run in cannot be had.
    void give_up_waiting(const ComputeState& compute, const std::string& why);
    void phase_reported(NodeEntry& node, const agent_protocol::PhaseReport& report);
    void end_reported(NodeEntry& node, const agent_protocol::EndReport& report);
    // That rank of the current attempt is over; the node is free of it.
    void end_rank(NodeEntry& node, Lease lease, agent_protocol::Ending ending);
    void end(JobEntry& job, JobStatus status, agent_protocol::Cause cause, std::string message,
             Instant at);

    void forget();
    Result<void> recover();
    void write_rows(Turn& turn, Batch& batch) const;
    void turn_is_durable(const Turn& turn);

private:
    bool has_its_image(NodeEntry& node, const Lease& lease);  // within an effect
    // Takes the lease back, and retires the node. Within an effect.
    void refuse_node(NodeEntry& node, const Lease& lease, std::string why);
    void refuse_old_agent(NodeEntry& node, const Lease& lease, std::string_view unknown);
    Result<std::vector<agent_protocol::SecretValue>> secrets_of(
        const JobEntry& job, const agent_protocol::AttemptId& attempt,
        std::vector<std::string> names) const;
    // A new one is put down and known.
    JobEntry& begin(const JobRecord& record, JobFacts facts, std::vector<Write> together,
                    JobState state = {});
    void change_meta(const std::string& job_key, JobRecord job, const JobMetaChange& change,
                     Control::Reply<Put> reply);
    // That live, in the order of submission.
    std::vector<JobEntry*> those(const std::function<bool(const JobEntry&)>& which);
    schedule::Demand demand_of(const JobEntry& job) const;
    void dequeue(JobEntry& job);
    std::string more_memory(const NodeEntry& node,
                            const JobEntry& job);  // where it finds it; "" if that is not known
    void end_attempt(JobEntry& job, agent_protocol::Ending ending);

    std::unordered_map<std::string, Handle> sharers_;
    struct OfSharer {
        std::string experiment;
        Handle account = 0;  // of the user
    };
    std::unordered_map<Handle, OfSharer> sharer_of_;
    Ports ports_;  // of the attempts that live
};

}  // namespace turnout::control
