// A pipeline: command jobs, its steps, in an order that follows from whose outputs they take. What
// its definition names was looked up, components within it were taken apart, and every step is a
// definition of its own, when it was submitted (submission/pipeline_job.h): this is what is stored.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "model/job_kind.h"

namespace turnout {

inline constexpr JobType kPipelineJob = JobType::Pipeline;

// Azure's limit.
inline constexpr std::size_t kMaxSteps = 30'000;

struct PipelineStep {
    std::string name;  // "train"; of a pipeline within it, "prepare.clean"
    std::string display_name;
    std::string compute;  // name; "serverless" for none
    int priority = 0;
    std::vector<std::int64_t> after;  // steps whose outputs it takes; all of them stand before it
    Json definition;                  // of the command job that it is
};

// What the pipeline gives: an output of one of its steps.
struct PipelineOutput {
    std::string name;
    std::int64_t step = 0;
    std::string output;
};

struct Pipeline {
    std::vector<PipelineStep> steps;
    std::vector<PipelineOutput> outputs;
    bool continue_on_step_failure = false;
};
Json to_json(const Pipeline& pipeline);
Result<Pipeline> pipeline_from_json(const Json& json);

// Of the same document, without reading its steps: who gives that output. nullptr: nobody.
const Json* giver_of_output(const Json& plan, std::string_view output);

}  // namespace turnout
