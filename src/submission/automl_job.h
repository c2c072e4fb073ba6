// An AutoML job as its definition says it, read once: the limits of its search, and the definitions
// of the command jobs that its children are.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/automl.h"
#include "model/job.h"

namespace turnout::submission {

struct AutoMLJob {
    AutoML automl;
    JobMetaChange meta;
    std::string compute;  // as it is named; "" if it is not
};

// The variable that has the program in the environment of a child (api/arm/automl.h), and that of
// its settings: a task's `taskDetails`.
inline constexpr std::string_view kAutoMLProgram = "AZUREML_AUTOML_PROGRAM";
inline constexpr std::string_view kAutoMLSettings = "AZUREML_AUTOML_SETTINGS";

// Reads on behind what is wrong, as `read_command_job` does.
std::optional<AutoMLJob> read_automl_job(const Json& properties, const std::string& name,
                                         std::vector<Error>& problems);

// A problem of the command job that looks at the data, at the place where the client wrote it.
Error in_automl(Error error);

}  // namespace turnout::submission
