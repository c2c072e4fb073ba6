// From what a job's definition says to what a node is told to do, as far as the definition alone
// tells it; and what could never run is refused. What it names is looked up by the server.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/workspace.h"
#include "protocol/agent_protocol.h"
#include "submission/command_job.h"
#include "submission/reference.h"

namespace turnout::submission {

inline constexpr std::string_view kServerless = "serverless";

struct Draft {
    // Without where data, code and, unless it is a curated one, the environment are.
    agent_protocol::TaskSpec task;
    std::string compute;  // kServerless if none is named
    std::string instance_type;
    // Its compute is a container for it alone. The server puts its pool's name for the region.
    std::optional<InstanceSaid> instance;
    int priority = 0;
    std::optional<Reference> environment;  // nothing: it is a curated one, in the task
    std::optional<Reference> code;
    // One for each of the task's; nothing for a literal, and for an output in the job's own place.
    std::vector<std::optional<Reference>> inputs, outputs;
};

// Goes on behind what is wrong, which is added to `problems`; a draft with problems is good for
// nothing. Empty members of `workspace` are not known, and match any.
Draft draft_of(CommandJob job, const Workspace& workspace, const std::string& name,
               std::vector<Error>& problems);

// Name of the compute that a computeId means; kServerless if it is "" or "local".
Result<std::string> compute_named(const std::string& id, const Workspace& workspace);

// The type of the asset that an input of that type names: "data" or "models".
std::string asset_kind(const Reference& reference, std::string_view type);
// Whether an input of that type can be fetched from that URL of the outside.
Result<void> check_source(const std::string& url, std::string_view type, const std::string& field);

}  // namespace turnout::submission
