// The rows of a job: what was submitted, its state, what the scheduler has to know of it while it
// lives, and the task that jobs with equal tasks share. Only control writes them; everybody reads
// them here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/job.h"
#include "protocol/agent_protocol.h"
#include "store/store.h"
#include "tracking/tracking.h"

namespace turnout {

struct StoredJob {
    JobRecord record;
    std::uint64_t revision = 0;  // grows with every change of it
};

// As committed. A derived child has its definition from its group. nullopt: no such job.
Result<std::optional<StoredJob>> read_job(Store& store, std::string_view wsid,
                                          std::string_view name);
// The same from the rows of a job; `definition` is its row in Table::Job.
Result<StoredJob> join_job(Store& store, const Record& definition);
// What tracking asks for (Tracking::set_trials).
Result<std::optional<TrialRun>> find_trial(Store& store, std::string_view wsid,
                                           std::string_view name);
// A trial, when its sweep has been read; nullopt: there is none of that name.
Result<std::optional<JobRecord>> read_trial(Store& store, const JobRecord& sweep,
                                            std::string_view name);
// What a derived child has from its group.
void join_trial(JobRecord& trial, const JobRecord& sweep);
// What the next attempt of it runs, whole, without token; an empty one while that is not known.
Result<agent_protocol::TaskSpec> read_task(Store& store, const JobRecord& job);

// ---- steps that were run (Table::StepRun) ----

// What their keys begin with: of those that were made of the same, and of those that were the same
// to their pipelines.
std::string equal_steps_prefix(std::string_view workspace, const Json& recipe);
std::string same_step_prefix(std::string_view workspace, std::string_view step);
// Those of a step with a recipe.
std::vector<std::string> step_run_keys(const JobRecord& step);
std::string_view job_of_step_run(std::string_view key);

// ---- a task in two parts ----

struct SplitTask {
    std::string hash;  // sha256 of `base`, hex
    std::string base;  // JSON of a TaskSpec with `${{turnout.job}}` in the place of the job's name
    Json own = Json::object();  // members that are the job's own: its command and its inputs
};
// Parts that agent_protocol::expand_task puts together again for the same name.
SplitTask split_task(const agent_protocol::TaskSpec& task, std::string_view job);
// The task that all derived children of a group have: names no job but by the stand-in
// ${{turnout.job}}, and is a base as it is.
SplitTask base_of_children(const agent_protocol::TaskSpec& task, std::string_view group);
// What a row of Table::JobCreated says about its job's base, so that who looks for bases without a
// job reads no more of a job than that: the beginning of the base's name.
std::string_view mark_of_base(std::string_view hash);
// The same of such a row, whoever wrote it; "" if the job is gone.
Result<std::string> base_mark_of(Store& store, const Record& created);
// Before it, of a group whose children have tasks of their own, which are in no such row.
inline constexpr std::string_view kOwnTasks = "+";
// Those of its children's bases, some at a time; `after` is "" at first, and again when that is
// all.
Result<std::vector<std::string>> base_marks_of_children(Store& store, const Record& created,
                                                        std::string& after);

// Where the progress of a group is in the row of its state: the first kind of group gave it its
// name.
inline constexpr std::string_view kGroupProgress = "sweep";

// ---- what is kept of a job in memory while it lives ----

struct JobFacts {
    std::string compute;  // name
    JobType type = kFirstJobType;
    int nodes = 1;
    int ports = 0;
    int priority = 0;
    std::string sharer;  // who shares fairly: principal and experiment
    Instant created{};
    std::string group;             // parent of a child, "" otherwise
    std::int64_t index = 0;        // of a child
    bool stays = false;            // it is a replica of a service
    bool registers = false;        // outputs of it become assets when it has completed
    std::chrono::seconds lasts{};  // at most, as its definition says; 0: it does not say
    bool derived = false;  // of a derived child nothing else is stored but when it was created
    std::string base;      // hash of its task's base; "" = its task is not known yet
    Json own = Json::object();
};
Json to_json(const JobFacts& facts);
Result<JobFacts> facts_from_json(const Json& json);
// `timeout`: of its task; 0: none, or it is not known yet.
JobFacts facts_of(const JobRecord& job, Span timeout);

}  // namespace turnout
