// A command job as its definition says it: the REST document's "properties", read once, in types.
// Nobody reads them again by name. What it names is not looked at here, and what may be named not
// known; see draft.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/job.h"
#include "submission/container_instance.h"
#include "submission/placement.h"

namespace turnout::submission {

// An input with a value of its own, or one that names data.
struct InputSaid {
    std::string name;
    std::string type;  // "literal", or that of the data: "uri_file" …
    std::string mode;  // of data: "ro_mount" …
    std::string uri;
    std::string literal;
};

struct OutputSaid {
    std::string name;
    std::string type;
    std::string mode;
    std::string uri;             // "": in the job's own place
    std::string asset, version;  // what it becomes when the job has completed; "" = no asset
};

struct ServiceSaid {
    std::string name;
    std::string kind;  // "JupyterLab"
};

// What a command may name. Also what could not be read is declared.
struct Declared {
    std::vector<std::string> inputs, outputs;
    std::optional<std::vector<std::string>> search_space;  // of a trial
};

struct CommandJob {
    JobMetaChange meta;
    std::string command;
    std::string code, environment, compute;  // as they are named; "" if they are not
    Declared declared;
    std::vector<InputSaid> inputs;  // each as far as it could be read
    std::vector<OutputSaid> outputs;
    std::vector<std::pair<std::string, std::string>> variables;
    Processes processes;
    std::string instance_type;
    std::optional<InstanceSaid> instance;  // it names that compute
    int priority = 0;
    std::optional<Span> timeout;
    bool on_behalf = false;  // with the rights of who submits it
    std::vector<ServiceSaid> services;
};

// Reads on behind what is wrong, which is added to `problems`: a job with problems is good for
// nothing else than to find more of them. Nothing where members are of other types than they
// should be, which then is all that is said.
std::optional<CommandJob> read_command_job(const Json& properties, std::string_view name,
                                           std::vector<Error>& problems);

// The part that may change later, all of it. Absent names get their defaults.
JobMetaChange said_meta(const Json& properties, std::string_view name);

// As a command, a variable or a literal input shows a value that is a number or a boolean in JSON.
std::string literal_text(const Json& value);

// Inputs and outputs (ports.cc): into `job`.
void read_ports(const Json& properties, CommandJob& job, std::vector<Error>& problems);

inline constexpr std::size_t kMaxPorts = 500;  // inputs, outputs, environment variables: each

}  // namespace turnout::submission
