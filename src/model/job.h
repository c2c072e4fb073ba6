// A job and its attempts: the record that is stored and that every answer about a job is made from.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/job_kind.h"
#include "model/sweep_progress.h"
#include "protocol/agent_protocol.h"

namespace turnout {

// Azure ML's statuses; the enumerators are the wire's spelling.
enum class JobStatus {
    NotStarted,
    Queued,
    Preparing,
    Provisioning,
    Starting,
    Running,
    Finalizing,
    CancelRequested,
    Completed,
    Failed,
    Canceled,
    NotResponding,
    Paused,
    Unknown
};
std::string_view name_of(JobStatus status);
Result<JobStatus> parse_job_status(std::string_view text);
bool is_terminal(JobStatus status);  // Completed Failed Canceled

inline constexpr std::size_t kMaxJobName = 255;

// What may change after submission.
struct JobMeta {
    std::string display_name;
    std::string experiment;
    std::string description;
    Json tags = Json::object();        // name -> text
    Json properties = Json::object();  // name -> text; additions only
    bool archived = false;
    std::string changed_by;  // a user; "" = nobody since its submission
    bool operator==(const JobMeta&) const = default;
};

// What is to become of it. Members that are not said stay as they are.
struct JobMetaChange {
    std::optional<std::string> display_name, experiment, description;
    std::optional<bool> archived;
    bool all_tags = false;             // `tags` are all there will be; else they join the others
    Json tags = Json::object();        // name -> text, or null: takes it away
    Json properties = Json::object();  // name -> text: joins the others
    std::string by;                    // the user who wants it; "" = not known
    bool by_server = false;            // it may write the properties that are its own
};

// Every microsecond from `created` to `ended` belongs to exactly one of these.
enum class LedgerEntry {
    Queue,
    Quota,
    NodeStart,
    Snapshot,
    Environment,
    Inputs,
    UserCode,
    Outputs,
    Retry,
    Preempted
};
inline constexpr std::size_t kLedgerEntryCount = 10;
std::string_view name_of(LedgerEntry entry);
std::string_view words_of(LedgerEntry entry);  // for people: "waiting for its turn"

// Where an attempt is. On nodes of ours, by rank: several for a job of several nodes. Or with an
// engine that runs the work itself, under the handle that it gave; `url` is for people. Nothing
// makes the second yet.
struct OnNodes {
    std::vector<std::string> names;
    bool operator==(const OnNodes&) const = default;
};
struct OnEngine {
    std::string engine;  // name
    Json handle;
    std::string url;
    bool operator==(const OnEngine&) const = default;
};
using Placement = std::variant<OnNodes, OnEngine>;
std::string words_of(const Placement& placement);  // "node-1, node-2", "engine livy"

struct JobAttempt {
    int number = 0;
    Placement placement;
    std::vector<int> ended_ranks;  // of several nodes: whose commands have ended, in that order
    int master_port =
        0;  // the first of those where its processes meet; 0: it needs none, or has ended
    Instant leased{};
    std::optional<Instant> preparing, running, finalizing, ended;
    std::string detail;       // what it does just now, from the agent
    bool preempting = false;  // it was told to give way; of one that has ended not stored
    // How it ended. Of several nodes the first bad end; present before `ended` while the other
    // nodes are being stopped.
    std::optional<agent_protocol::Ending> ending;
    // The part of the wait before it that was not simply the queue.
    Span waited_quota{};       // the pool had no free slot
    Span waited_node_start{};  // a node of the cluster was starting
    // Of a node's hour when it was leased, 0 if there was none; nothing in rows of earlier builds.
    std::optional<double> price;

    // Of one that is on nodes, as all that live are; a bug if it is with an engine.
    const std::vector<std::string>& nodes() const;
};

// What changes in a job's life: a row of its own, written at each change.
struct JobState {
    JobStatus status = JobStatus::Queued;
    std::optional<Instant> started;  // the user's code began (first attempt that got there)
    std::optional<Instant> ended;
    bool cancel_requested = false;
    std::vector<JobAttempt> attempts;  // the last one is the current one
    int last_attempt = 0;     // number of the last one that was made; some left no trace but that
    int folded_attempts = 0;  // preempted ones that are not among `attempts` any more
    // Set when it ended other than Completed.
    agent_protocol::Cause cause = agent_protocol::Cause::None;
    std::string error_message;
    bool stopped_early = false;  // a trial: canceled because others of its sweep do better
    // A step that was not run, since it was given what that job had given; "" = it is run.
    std::string reused_from;

    const JobAttempt* current() const { return attempts.empty() ? nullptr : &attempts.back(); }
    // It has an attempt that is not over.
    bool placed() const { return !attempts.empty() && !attempts.back().ended; }
    bool preempting() const { return placed() && attempts.back().preempting; }
};

// Properties of a job that are the server's to write, at every door: what others send under these
// names is dropped, since clients send back whole what they read.
bool is_own_property(std::string_view name, JobType type);
// The one way in which a job's meta changes. ResourceExhausted if it would have too many names.
Result<JobMeta> changed(JobMeta meta, JobType type, const JobMetaChange& change);

// The role of children that are alike: they have all from their group but for their names, their
// parameters and their states.
// No step can be called so.
inline constexpr std::string_view kTrial = "(trial)";

// Which child of which group a job is (model/group.h).
struct ChildOf {
    std::string group;  // name of the parent job; "" = nobody's child
    std::string role;   // what it is to its group: kTrial, or the name of a step
    std::int64_t index = 0;
    Json parameters = Json::object();  // name -> value
};

// A job as readers know it: what was submitted, and what became of it.
struct JobRecord : JobState {
    std::string workspace;  // id
    std::string name;
    JobType type = kFirstJobType;
    Json definition;  // as sent
    JobMeta meta;
    std::string compute;  // name; "serverless"
    std::string principal;
    Instant created{};
    std::string environment;           // its name, for people
    std::vector<std::string> notices;  // what is said about it at the top of the log
    int node_count = 1;
    int ports = 0;  // where the processes of an attempt meet
    int priority = 0;
    ChildOf child;
    SweepProgress sweep;  // of a sweep; of another group how many children there are
    Json plan;            // of a group: what its definition named, looked up at submission
    Json recipe;          // of a step whose task is known: what it is made of (model/recipe.h)
    // Its task: the hash of a base that equal tasks share, and the members that are its own. ""
    // while it is not known yet.
    std::string task_base;
    Json task_own = Json::object();

    bool derived() const { return child.role == kTrial; }  // from its group
};

// The rows of the store: what was submitted, and its state (JSON).
Json definition_json(const JobRecord& job);
std::string state_text(const JobState& state);
Result<JobRecord> job_from_json(const Json& definition);  // with the state of a job that waits
Result<JobState> job_state_from_json(const Json& state);

// Of the wait of a job that has no attempt yet, what was not simply the queue.
struct Waited {
    Span quota{};       // the pool had no free slot
    Span node_start{};  // a node of the cluster was starting
};
// Adds up exactly to (ended or now) - created.
std::vector<std::pair<LedgerEntry, Span>> ledger(const JobState& job, Instant created, Instant now,
                                                 Waited waited = {});
inline std::vector<std::pair<LedgerEntry, Span>> ledger(const JobRecord& job, Instant now,
                                                        Waited waited = {}) {
    return ledger(job, job.created, now, waited);
}

// How long each of its nodes was busy with it; an attempt that waited in a node's backlog was not.
Span time_on_node(const JobAttempt& attempt, Instant now);
// Of the node's work, not of its wait: preempted attempts that had begun.
int preemptions(const JobState& job);
// For a job that is preempted again and again: of many attempts the first and the last ones are
// kept. Preempted ones between others of their kind are only counted, so the ledger stays what it
// was.
void fold_attempts(JobState& job);

// Sums over what is over, of a compute or of an experiment: jobs that have ended, attempts that
// have ended, and (of a compute) nodes that have gone. A row in the store, written in the commit
// that records the end, so that a total costs one read, however many jobs there were.
struct Totals {
    std::int64_t completed = 0, failed = 0, canceled = 0;  // jobs
    std::map<std::string, std::int64_t, std::less<>>
        causes;  // jobs by the cause of their end, other than Completed
    std::array<Span, kLedgerEntryCount> time{};  // of those jobs, by LedgerEntry
    std::int64_t attempts = 0, preemptions = 0;
    Span used_dedicated{}, used_low_priority{};  // time of nodes that attempts used
    std::int64_t nodes = 0;
    Span node_life{}, node_starting{};  // from the request to the end; to the agent's first word
    double cost = 0;                    // in the unit of turnout.price_per_hour
};
Json to_json(const Totals& totals);
Result<Totals> totals_from_json(const Json& json);

}  // namespace turnout
