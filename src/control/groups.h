// The groups that live: jobs whose work is done by other jobs, their children. A group's plan
// (model/group.h) says what comes next; here the children are made, their ends are counted, the
// limits are kept, and whoever cancels a group cancels its children.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/jobs.h"
#include "control/owner.h"
#include "model/group.h"

namespace turnout::control {

struct ComputeState;
struct JobEntry;

struct GroupState {
    JobEntry* job = nullptr;
    std::unique_ptr<GroupPlan> plan;  // its progress is stored in the commit of what it counts
    GroupLimits limits;
    std::int64_t waiting = 0;                // children that wait for a node
    std::map<std::int64_t, JobEntry*> live;  // by index
    std::string experiment;                  // id, for the runs of the children
    std::string principal, experiment_name;  // of the children too
    JobFacts facts;                          // of every derived child, but for what differs
    Span deadline{};                         // since boot; 0 = none
    std::set<std::int64_t> asked;            // children whose task was asked for
    // How far the metric of its children was read that the plan looks at.
    std::unordered_map<std::int64_t, std::string> read_to;
    std::map<std::int64_t, double> scores;  // of children that ended in the turn that is gathered
    std::set<std::int64_t> given_up;        // by the plan, and not told yet
    std::string lines;                      // for its log
    bool said_end = false;
};

class Groups : Owner {
public:
    explicit Groups(Owners& all) : Owner(all) {}

    std::unordered_map<std::string, GroupState> by_key;  // by the job's key

    // Why a job of that name cannot be made, or so many children of it if it is a group: others
    // have their names.
    Result<void> check_names(const JobSubmission& job, std::int64_t children);
    void add(JobEntry& job, const JobRecord& record, std::unique_ptr<GroupPlan> plan,
             std::string experiment);
    void drop(const std::string& job_key);
    void cancel(GroupState& group, const std::string& why);
    void compute_changed(const ComputeState& compute);  // more nodes may soon need more children

    // Puts what is stored of the group, or of it as a child, into the row of its state.
    static void add_to_state(const JobEntry& job, std::string& row);

    // ---- what happens to a child ----
    static JobFacts derived_facts(const GroupState& group, std::int64_t index, Instant created);
    void child_waits(JobEntry& child, bool waits);
    void child_began(JobEntry& child);
    void child_over(JobEntry& child);

    // Whether anything follows from it.
    bool metrics_logged(const std::string& workspace, const std::string& run);
    void advance();  // new children, and the end

    void tick();
    std::optional<Span> next_tick() const;
    void forget();
    Result<void> recover(JobEntry& job);
    Result<void> recover_metrics();  // when all jobs are there
    void stop_given_up();

private:
    Result<void> recover_metrics(GroupState& group);
    void make_children(GroupState& group, std::vector<NextChild> next);
    void make_child(GroupState& group, NextChild next);
    void ask_for_task(GroupState& group, std::int64_t index);
    std::vector<std::string> logged_metrics(const JobEntry& child) const;
    // Those that no node has begun with.
    void cancel_waiting(GroupState& group, const std::string& why);
    void stop(GroupState& group, const std::string& why);
    void stop_given_up(GroupState& group);
    // Said when the group is looked at next: all of one turn at a time.
    void says(GroupState& group, const std::string& text);
    Result<void> read_metrics(GroupState& group, JobEntry& child);

    std::set<std::pair<Span, Handle>> deadlines_;
    std::set<Handle> touched_;  // children of it ended, or were given to nodes
};

}  // namespace turnout::control
