// What the server and a node's agent say to each other. One connection per node: an HTTP/1.1
// request `GET /agent/v1/link` with `Upgrade: turnout-agent` and the node's token, after which both
// sides write frames:
//
//     u32 big endian: length of the JSON   u32 big endian: length of the tail   JSON   tail
//
// The tail carries raw bytes (log lines). JSON members unknown to the reader are ignored, so that
// a newer side can add some. Everything that matters is repeated until it is acknowledged, so any
// message may be lost or arrive twice; only the order within one connection is relied on.
//
// Everything else the agent needs (snapshots, inputs, outputs, MLflow) is ordinary HTTP requests to
// the same server, over the same carrier, with the run token of the attempt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "protocol/facts.h"
#include "protocol/service_spec.h"
#include "protocol/versions.h"

namespace turnout::agent_protocol {

inline constexpr std::size_t kMaxJson = 16 << 20;
inline constexpr std::size_t kMaxTail = 1 << 20;

// Of the texts of an AttemptId; whoever makes names keeps to less.
inline constexpr std::size_t kMaxIdText = 512;
// Names of blobs and the number of lines that a task may have.
inline constexpr std::size_t kMaxBlobName = 2048;
inline constexpr std::size_t kMaxListed = 10'000;

// One attempt of one job, everywhere.
struct AttemptId {
    std::string workspace;  // id of the workspace
    std::string job;
    int attempt = 0;
    auto operator<=>(const AttemptId&) const = default;
};

// Ready: of a service, while its probe says so; else it is Running.
enum class Phase { Preparing, Running, Ready, Finalizing, Ended };

// Why an attempt ended other than well: the closed list of DESIGN (who has to act).
enum class Cause {
    None,
    UserCode,
    OutOfMemory,
    TooManyProcesses,
    Timeout,
    Canceled,
    Preempted,
    NodeLost,
    Environment,
    Input,
    Internal
};

std::string_view name_of(Phase phase);  // "preparing" …
std::string_view name_of(Cause cause);  // "user_code" …
Result<Phase> parse_phase(std::string_view text);
Result<Cause> parse_cause(std::string_view text);

// How the attempt's time on the node was spent, in whole microseconds measured by the node.
struct Durations {
    Span snapshot{};
    Span environment{};
    Span inputs{};
    Span waiting{};  // for its turn on the node
    Span user_code{};
    Span outputs{};
    // Of the node, before the command.
    Span before() const { return snapshot + environment + inputs + waiting; }
};

struct Ending {
    Cause cause = Cause::None;  // None: it went well
    int exit_code = 0;          // of the command; 128 + signal if it was killed; -1 if it never ran
    int signal = 0;
    std::string message;  // for people; when it went well, what is missing all the same, or ""
    std::vector<std::string> last_lines;  // of std_log.txt, at most 20, when the command failed
    std::int64_t peak_memory_bytes = 0;
    Durations durations;
};

// ---- agent to server ----

struct Hello {
    int protocol = kVersion;  // in whose words it is
    std::string build;
    std::string node;                 // "{wsid}/{compute}/{node}"
    std::string boot_id;              // /proc/sys/kernel/random/boot_id
    std::int64_t pid = 0;             // of the agent
    Facts facts;                      // of version 1: cores and memory alone
    std::vector<AttemptId> attempts;  // every attempt that the node knows and that is not forgotten
};
struct PhaseReport {  // sent at each change, and for every live attempt after Welcome
    AttemptId id;
    Phase phase = Phase::Preparing;
    std::string detail;   // what it does just now: "building environment (uv: resolving)"
    Span running_for{};   // since the user's code started; 0 before
    Durations durations;  // so far, what it does just now included
};
struct EndReport {  // repeated after every Welcome until EndAck
    AttemptId id;
    Ending ending;
};
struct LogChunk {  // bytes [offset, offset + tail size) of a stream; "user_logs/std_log.txt" or
                   // "azureml-logs/20_environment.txt"
    AttemptId id;
    std::string stream;
    std::uint64_t offset = 0;
    std::string bytes;  // travels as the tail
};
struct Pong {
    std::int64_t sequence = 0;
};

// The node cannot work: said again and again while that is so.
struct Broken {
    std::string why;  // for people
};

// ---- server to agent ----

struct Welcome {
    Span lost_node_after{};  // without contact for this long the agent kills its tasks (fencing)
    int max_running =
        0;  // commands at a time on this node; 0 = as many as the node was told at its start
};
// What many tasks have in common. It goes before the first lease on a link that names it, and again
// if kBasesKept others have gone since it went: the node keeps that many, and those in use.
struct Base {
    std::string hash;
    Json task;  // TaskSpec, below, with kJobPlaceholder where the job's name belongs
};
inline constexpr std::size_t kBasesKept = 256;
// A secret of the workspace that a task names, and what it was when the lease left.
struct SecretValue {
    std::string name;
    Secret value;
};
struct Lease {  // run this attempt; harmless when repeated. A node begins leases in their order
    AttemptId id;
    Json task;  // TaskSpec, below; with a base: only the members that replace those of the base
    std::string base;  // hash of a Base; "" = `task` is whole
    // What `task.secrets` names; of no other message, and nothing that is written down.
    std::vector<SecretValue> secrets;
};
struct Cancel {  // stop that attempt whatever its phase: TERM, then KILL after the grace
    AttemptId id;
    Cause cause = Cause::Canceled;  // or Preempted
    Span grace = 30s;
    // Only if its command has not begun: then it ends as Preempted (exit_code -1, user_code 0).
    // One that has begun goes on, and nothing is answered.
    bool only_if_waiting = false;
};
// Bytes before `offset` are durable here. 0: there is room again for a log that found none.
struct LogAck {
    AttemptId id;
    std::string stream;
    std::uint64_t offset = 0;
};
struct EndAck {  // the end is recorded: forget the attempt, delete its folder
    AttemptId id;
};
struct Leave {};  // the node is released: end supervisor and agent, delete scratch files
struct Ping {
    std::int64_t sequence = 0;
};

// A connection to the port of that service is wanted. The node connects to it and asks the server
// for `kChannelPath` + channel with `Upgrade: kChannelUpgrade`; from then on it carries bytes both
// ways. Where it cannot, it asks without an upgrade for the same path, `?why=` in words.
struct Reach {
    AttemptId id;
    std::string channel;
};
inline constexpr std::string_view kChannelPath = "/agent/v1/channels/";
inline constexpr std::string_view kChannelUpgrade = "turnout-channel";
bool is_channel(std::string_view name);  // letters, digits and '-': it goes into a path

using ToServer = std::variant<Hello, PhaseReport, EndReport, LogChunk, Pong, Broken>;
using ToAgent = std::variant<Welcome, Base, Lease, Cancel, LogAck, EndAck, Leave, Ping, Reach>;

std::string encode(const ToServer& message);  // a whole frame
std::string encode(const ToAgent& message);

// Whether the other side will take the frame. One that is too large would end the link, again and
// again: what it says has to be ended by who would send it.
bool fits(std::string_view frame);

// Cuts frames out of a byte stream.
class FrameReader {
public:
    struct Frame {
        std::string json;
        std::string tail;
    };
    void feed(std::string_view bytes) { buffer_.append(bytes); }
    // The next whole frame, nullopt if more bytes are needed, an error if a length is over its
    // limit.
    Result<std::optional<Frame>> next();

private:
    std::string buffer_;
    std::size_t read_ = 0;
};
Result<ToServer> decode_to_server(const FrameReader::Frame& frame);
Result<ToAgent> decode_to_agent(const FrameReader::Frame& frame);

// What can be said of a message that cannot be decoded: an attempt must not wait for it without
// end.
struct Unreadable {
    std::string type;
    std::optional<AttemptId> id;
};
Unreadable look_at_unreadable(const FrameReader::Frame& frame);

// ---- what a lease carries ----

// With a '/' at its end (or empty) `prefix` is a folder: all blobs beneath it, by their names after
// it. Without one it is the name of a single blob.
struct BlobFolder {
    std::string container;
    std::string prefix;
};

struct TaskInput {
    std::string name;
    std::string type;  // literal uri_file uri_folder mltable mlflow_model custom_model triton_model
    std::string mode;  // ro_mount rw_mount download direct …; in lower snake case
    std::string literal;              // type literal
    std::optional<BlobFolder> blobs;  // data in a datastore of this server
    std::optional<std::string>
        local_path;      // data on this machine that a datastore of files points at
    std::string uri;     // what `direct` hands to the command
    bool fetch = false;  // `uri` is outside: the server brings it in when the node asks for it
};

struct TaskOutput {
    std::string name;
    std::string type;  // uri_file, uri_folder, …
    std::string mode;
    BlobFolder target;
};

struct TaskEnvironment {
    std::string name;  // "AzureML-sklearn-0.24…:1" for people
    std::string hash;  // of the definition: the cache key on the node; "" = nothing to prepare
    enum class Kind { UserManaged, Venv } kind = Kind::UserManaged;
    std::string interpreter;                // UserManaged: path or name; "" = the machine's python3
    std::string python_version;             // Venv: "3.11"; "" = the machine's
    std::vector<std::string> requirements;  // Venv: PEP 508 lines
    std::string image;                 // that its node has to have; "" = that of the pool, or none
    std::vector<std::string> notices;  // said once at the top of the job's log
    std::vector<std::pair<std::string, std::string>> variables;
};

struct TaskSpec {
    std::string command;  // with ${{inputs.x}}, ${{outputs.y}} and ${{search_space.z}} still in it
    std::optional<BlobFolder> code;
    std::string code_hash;  // cache key of the snapshot on the node
    TaskEnvironment environment;
    std::vector<TaskInput> inputs;
    std::vector<TaskOutput> outputs;
    std::vector<std::pair<std::string, std::string>>
        variables;  // environment variables: Azure ML's and the job's
    BlobFolder
        artifacts;  // where outputs/ and logs/ go: workspaceartifactstore, ExperimentRun/dcid.{job}
    Span timeout{};                       // of the user's code; 0 = none
    std::int64_t memory_limit_bytes = 0;  // 0 = none
    int cpu_limit_millicores = 0;
    Secret run_token;         // bearer of this attempt for every HTTP request
    std::string mlflow_path;  // path prefix under which the server speaks MLflow for the workspace:
                              // "/mlflow/v2.0/subscriptions/…"
    std::string mlflow_experiment_id;
    // A trial of a sweep: name and text of each parameter, in the order of the search space.
    std::vector<std::pair<std::string, std::string>> parameters;
    // How the command is started more than once: "" = once; PyTorch, TensorFlow, Mpi.
    std::string distribution;
    int node_count = 1;
    int rank = 0;                // of this node among them
    int processes = 1;           // on each node
    int worker_count = 0;        // TensorFlow
    int parameter_servers = 0;   // TensorFlow
    std::string master_address;  // where rank 0 is reached
    int master_port = 0;
    std::int64_t shm_size_bytes = 0;     // 0 = no limit of its own
    bool prefill_outputs = false;        // outputs begin with what the attempt before wrote
    std::optional<ServiceSpec> service;  // it stays up
    // Names of those that its variables refer to (secret_reference.h), each once.
    std::vector<std::string> secrets;
};

// Every member is there, but for `code`, `run_token` and `secrets` that are empty: two tasks can be
// compared member by member.
Json to_json(const TaskSpec& task);
Result<TaskSpec> task_from_json(const Json& json);

// How many ports in a row, from `master_port` on, its processes need to find each other: the first
// for all, TensorFlow's one more for each. 0: it is one process on one node, or several that need
// not meet. A service that names no port needs one.
int ports_needed(const TaskSpec& task);
// On which a service listens; 0: it was not given one.
int service_port(const TaskSpec& task);

// Among a task's variables: it acts for the user who submitted it.
inline constexpr std::string_view kOnBehalf = "AZUREML_OBO_ENABLED";

// Stands for the job's name in the texts of a Base.
inline constexpr std::string_view kJobPlaceholder = "${{turnout.job}}";

// The task of one attempt: the job's name is put in for kJobPlaceholder in every text of `base`,
// then `own` (the task of its lease) replaces whole members of it. The parameters are variables
// AZUREML_SWEEP_name too. A service's port is put in for kPortPlaceholder in its command and its
// variables, and is the variable kPortVariable.
Result<TaskSpec> expand_task(TaskSpec base, const Json& own, const AttemptId& id);

}  // namespace turnout::agent_protocol
