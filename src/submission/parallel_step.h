// A step of type parallel, as the command step that it becomes: its command is the program that
// splits the input into mini-batches and calls the entry script (parallel_program.h). Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "submission/pipeline_values.h"

namespace turnout::submission {

struct CommandStep {
    Json spec;  // of its component
    Json said;  // by the step itself
};

// `spec` is a component of type parallel, `said` the step; where both stand is for messages. What
// a step says goes before what its component says. Nothing: what is wrong is in `problems`.
std::optional<CommandStep> parallel_as_command(const Json& spec, const Json& said,
                                               const std::string& of_spec, const std::string& place,
                                               const Fill& fill, std::vector<Error>& problems);

}  // namespace turnout::submission
