// A pipeline's definition, with components that may name each other, and what is stored of it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/pipeline_plan.h"
#include "submission/job.h"
#include "submission/pipeline_job.h"

using namespace turnout;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    const Result<Json> json = parse_json(text);
    if (!json || !json->is_object()) return 0;
    std::vector<Error> problems;
    int asked = 0;  // components that name themselves end by their depth: here by their number
    const auto said = submission::read_pipeline_job(
        *json, {}, "p",
        [&](const std::string& id) -> Result<Json> {
            if (++asked > 200) return not_found("enough");
            return json->at("components").at(id);
        },
        problems);
    for (const Error& problem : problems)
        if (problem.message.empty()) std::abort();
    (void)submission::problems_of(*json, {}, "p");
    if (!said || !problems.empty() || said->pipeline.steps.empty()) return 0;
    // What was read can be stored and played.
    const Result<Pipeline> stored = pipeline_from_json(to_json(said->pipeline));
    if (!stored || stored->steps.size() != said->pipeline.steps.size()) std::abort();
    PipelinePlan plan(*stored, "p");
    if (!plan.recover(json->at("progress"))) return 0;
    if (plan.created() < 0 || plan.created() > plan.limits().max_total) std::abort();
    (void)plan.next({true, 0, 1, 1});
    return 0;
}
