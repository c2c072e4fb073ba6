// What the runtime keeps of one attempt beside the core's knowledge, and the effects that concern
// its folder: snapshot, environment, inputs, the command's surroundings, outputs. Each is a
// coroutine that goes on trying while the server is away, until it is done or no longer wanted.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/environment/prepare.h"
#include "agent/files.h"
#include "agent/folders.h"
#include "agent/node_core.h"
#include "agent/server.h"
#include "agent/supervisor_link.h"
#include "base/result.h"
#include "base/task.h"
#include "protocol/command.h"

namespace turnout::agent {

struct AgentSettings {
    std::string server_socket;       // path of the server's Unix socket
    std::string node;                // "{wsid}/{compute}/{node}"
    std::string folder;              // of this node
    std::string cache;               // shared by the nodes of this machine
    Secret token;                    // of the node
    std::string uv, python, beside;  // see environment::Settings
    std::string build;
    std::string
        processors;  // "4,5,0,1": what its tasks take of the machine, in that order; "" = any
    std::string supervisor;  // path of its executable
    // It is in a container of its own, which was asked for by that name; "" = by its pool's image.
    std::optional<std::string> image;
    std::vector<std::string>
        environment;  // "NAME=value": what of ours tasks may see (agent_protocol::allowed_variable)
};

// A folder per attempt: work/ (the command's), tmp/, inputs/, named/, secrets/ (until the command
// has ended), 20_environment.txt, metrics.
struct Work {
    Work(AttemptId i, std::shared_ptr<const TaskSpec> t, std::string f)
        : id(std::move(i)), shared_task(std::move(t)), folder(std::move(f)) {}

    AttemptId id;
    std::shared_ptr<const TaskSpec> shared_task;  // shared with the core
    const TaskSpec& task = *shared_task;
    std::string folder;
    std::optional<AttemptFolder> own;  // its folder, if it was made in this life of the agent
    bool abandoned = false;            // after AbandonOutputs: no more files are uploaded
    bool wanted = true;                // false after Abort or Forget: stop what is under way
    std::atomic<bool> cancel = false;  // the same for the thread that builds an environment
    std::optional<environment::Prepared> prepared;
    std::optional<std::string>
        path_begin;  // what `prepared` puts before PATH, each with a ':' after it
    std::vector<agent_protocol::SecretValue> secrets;  // while its command is being started
    Substitutions values;
    bool values_known = false;
    // What is uploaded already, by path: unchanged files are not sent again.
    std::map<std::string, FileEntry> uploaded;
    bool remembered = false;         // what an earlier life of the agent put there is among them
    std::set<std::string> left_out;  // of outputs/, logs/ and the named outputs: cannot be uploaded
    bool untouched = false;          // its command is over and left its folder as it was made
    bool followed = false;           // the logs of its processes are looked at again and again
    bool shipping = false;
    bool finishing = false;

    std::string work() const { return folder + "/work"; }
    std::string secret_files() const { return folder + "/secrets"; }
    std::string environment_log() const { return folder + "/20_environment.txt"; }
};
using WorkPtr = std::shared_ptr<Work>;  // shared by the coroutines of the attempt

inline constexpr std::string_view kShell = "/bin/bash";

// Folder name of an attempt beneath {node folder}/attempts: safe, short, its own.
std::string attempt_folder_name(const AttemptId& id);

Failure not_wanted();
std::string without_slash(std::string text);  // at its end
// A name in a cache for what is being made there.
std::string building_name(const Work& work, std::string_view what);
// A writable copy, made on the loop's pool.
Task<Result<void>> copy_in_pool(Loop& loop, std::string from, std::string to, bool folder);

Task<Result<void>> fetch_snapshot(Server& server, const AgentSettings& settings, WorkPtr work);
// What is done just now, for people.
using Saying = std::function<void(std::string)>;

// One look at outputs/, logs/ and the named outputs; what changed is uploaded.
Task<Result<void>> upload_changes(Server& server, WorkPtr work, Saying say = {});
// Until all is uploaded. What cannot be is named in the artifact system_logs/not_uploaded.txt.
Task<Result<void>> ship_outputs(Server& server, WorkPtr work, Saying say);

// What of its outputs was not uploaded, in a sentence; "" = nothing.
std::string what_is_missing(const Work& work);

// Folders that lead to the environment's programs, for the beginning of PATH, each with a ':' after
// it. `named`: its interpreter is one that the user named, and is used as it is.
std::string path_begin(const AgentSettings& settings, const environment::Prepared& prepared,
                       bool named);

// Where the command finds a named output.
std::string output_path(const Work& work, const agent_protocol::TaskOutput& output);
// The name of a blob in a folder, or of the folder itself.
std::string joined(const std::string& prefix, const std::string& name);
// A single output of type uri_file is one blob: its name.
std::string blob_of_file(const agent_protocol::TaskOutput& output);

// The node's listeners for its tasks; "" = there is none.
struct Doors {
    std::string plain;        // "http://127.0.0.1:port": MLflow and tokens, answered by the node
    std::string tls;          // "https://127.0.0.1:port": the server itself (agent/tls_door.h)
    std::string authorities;  // whom a task may trust: a PEM file
};
// What the supervisor shall start; errors are the user's (unknown placeholder).
Result<StartRequest> start_request(const AgentSettings& settings, Work& work, const Doors& doors,
                                   std::string preamble);

// The values of `${{…}}`, found again from the folder (after a restart, or before the start).
Result<void> find_values(Work& work);

}  // namespace turnout::agent
