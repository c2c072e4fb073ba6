// A job and its attempts: the record that is stored and that every answer about a job is made from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "spec/agent_protocol.h"

namespace turnout {

// Azure ML's statuses; the enumerators are the wire's spelling.
enum class JobStatus { NotStarted, Queued, Preparing, Provisioning, Starting, Running, Finalizing, CancelRequested, Completed, Failed, Canceled, NotResponding, Paused, Unknown };
std::string_view name_of(JobStatus status);
Result<JobStatus> parse_job_status(std::string_view text);
bool is_terminal(JobStatus status);  // Completed Failed Canceled

// What may change after submission.
struct JobMeta {
    std::string display_name;
    std::string experiment;
    std::string description;
    Json tags = Json::object();        // name -> text
    Json properties = Json::object();  // name -> text; additions only
    bool archived = false;
    bool operator==(const JobMeta&) const = default;
};

// Every microsecond from `created` to `ended` belongs to exactly one of these.
enum class LedgerEntry { Queue, NodeStart, Snapshot, Environment, Inputs, UserCode, Outputs, Retry };
std::string_view name_of(LedgerEntry entry);

struct JobAttempt {
    int number = 0;
    std::string node;    // node name
    Instant leased{};
    std::optional<Instant> preparing, running, finalizing, ended;
    std::string detail;  // what it does just now, from the agent
    std::optional<agent_protocol::Ending> ending;
};

struct JobRecord {
    std::string workspace;  // id
    std::string name;
    Json definition;        // as sent
    JobMeta meta;
    std::string compute;    // name; "serverless"
    std::string principal;
    JobStatus status = JobStatus::Queued;
    std::string waiting_for;  // why it is not running yet, for people: "no free slot: 2 of 2 in use by …"
    Instant created{};
    std::optional<Instant> started;  // the user's code began (first attempt that got there)
    std::optional<Instant> ended;
    bool cancel_requested = false;
    std::vector<JobAttempt> attempts;  // the last one is the current one
    // Set when it ended other than Completed.
    agent_protocol::Cause cause = agent_protocol::Cause::None;
    std::string error_message;
    agent_protocol::TaskSpec task;  // for the next attempt

    const JobAttempt* current() const { return attempts.empty() ? nullptr : &attempts.back(); }
};

Json to_json(const JobRecord& job);
Result<JobRecord> job_from_json(const Json& json);

// Adds up exactly to (ended or now) - created.
std::vector<std::pair<LedgerEntry, Span>> ledger(const JobRecord& job, Instant now);

}  // namespace turnout
