// A pipeline as its definition says it, read once: its steps are taken apart into command jobs
// whose inputs name the outputs of the steps before them, pipelines within it included, in an order
// in which each comes after what it needs. What can be said against its bindings, types and values
// is said here; what a step names (code, environment, compute, data) is looked at as that of a job.
// Pure: components are asked for.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/pipeline.h"
#include "model/workspace.h"
#include "submission/command_job.h"

namespace turnout::submission {

// The `componentSpec` of a registered one; null: nobody is there who knows it.
using ComponentOf = std::function<Result<Json>(const std::string& id)>;

inline constexpr std::size_t kMaxDepth = 10;  // of pipelines within pipelines

struct PipelineJob {
    JobMetaChange meta;
    std::string compute;  // as it is named; "" if none is for all
    std::string resumes;  // a pipeline whose completed steps are not run again; "" = none
    Pipeline pipeline;
    std::vector<std::string> places;  // of each step in the definition: "jobs.train"
};

// Reads on behind what is wrong, as `read_command_job` does.
std::optional<PipelineJob> read_pipeline_job(const Json& properties, const Workspace& workspace,
                                             const std::string& name,
                                             const ComponentOf& component_of,
                                             std::vector<Error>& problems);

// A problem of a step's command job, at the place where the client wrote that step.
Error in_step(Error error, const std::string& place, const std::string& step);

}  // namespace turnout::submission
