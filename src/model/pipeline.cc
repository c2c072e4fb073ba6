#include "model/pipeline.h"

namespace turnout {

Json to_json(const Pipeline& pipeline) {
    Json steps = Json::array();
    for (const PipelineStep& step : pipeline.steps) {
        Json one = Json::object({{"name", step.name}, {"compute", step.compute}});
        if (step.display_name != step.name) one.set("displayName", step.display_name);
        if (step.priority != 0) one.set("priority", step.priority);
        if (!step.after.empty()) {
            Json after = Json::array();
            for (const std::int64_t index : step.after) after.push(index);
            one.set("after", std::move(after));
        }
        one.set("definition", step.definition);
        steps.push(std::move(one));
    }
    Json outputs = Json::object();
    for (const PipelineOutput& output : pipeline.outputs)
        outputs.set(output.name, Json::object({{"step", output.step}, {"output", output.output}}));
    Json json = Json::object({{"steps", std::move(steps)}});
    if (!outputs.members().empty()) json.set("outputs", std::move(outputs));
    if (pipeline.continue_on_step_failure) json.set("continueOnStepFailure", true);
    return json;
}

Result<Pipeline> pipeline_from_json(const Json& json) {
    Pipeline pipeline;
    const Json::Array& steps = json.at("steps").items();
    if (steps.empty()) return internal("stored pipeline without steps");
    pipeline.steps.reserve(steps.size());
    for (const Json& one : steps) {
        PipelineStep step;
        step.name = one.at("name").as_string();
        step.display_name = one.at("displayName").as_string(step.name);
        step.compute = one.at("compute").as_string();
        step.priority = static_cast<int>(one.at("priority").as_int());
        step.definition = one.at("definition");
        const auto own = static_cast<std::int64_t>(pipeline.steps.size());
        for (const Json& index : one.at("after").items()) {
            if (index.as_int(-1) < 0 || index.as_int() >= own)
                return internal("stored step '" + step.name + "' comes before what it needs");
            step.after.push_back(index.as_int());
        }
        pipeline.steps.push_back(std::move(step));
    }
    const auto count = static_cast<std::int64_t>(pipeline.steps.size());
    for (const auto& [name, giver] : json.at("outputs").members()) {
        const std::int64_t step = giver.at("step").as_int(-1);
        if (step < 0 || step >= count)
            return internal("stored pipeline whose output '" + name + "' nobody gives");
        pipeline.outputs.push_back({name, step, giver.at("output").as_string()});
    }
    pipeline.continue_on_step_failure = json.at("continueOnStepFailure").as_bool();
    return pipeline;
}

const Json* giver_of_output(const Json& plan, std::string_view output) {
    return plan.at("outputs").find(output);
}

}  // namespace turnout
