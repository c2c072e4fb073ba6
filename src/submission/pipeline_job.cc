#include "submission/pipeline_job.h"

#include "base/text.h"
#include "submission/draft.h"
#include "submission/pipeline_reader.h"
#include "submission/registered.h"
#include "submission/types.h"
#include "yaml/yaml.h"

namespace turnout::submission {

std::optional<PipelineJob> read_pipeline_job(const Json& properties, const Workspace& workspace,
                                             const std::string& name,
                                             const ComponentOf& component_of, Problems& problems) {
    Types types(properties, problems);
    types.texts(
        {"computeId", "componentId", "displayName", "description", "experimentName", "resumes"});
    types.objects({"inputs", "outputs", "jobs"});
    const Json& settings = properties.at("settings");
    if (!settings.is_null() && !settings.is_object())
        problems.push_back(
            not_as_expected("InvalidSettings", "settings", "a mapping", settings).error());
    if (!types.good() || !problems.empty()) return std::nullopt;
    for (const char* const hook : {"on_init", "on_finalize"})
        if (!settings.at(hook).is_null())
            problems.push_back(refuse("NotImplemented",
                                      "settings." + std::string(hook) +
                                          ": a step before or after all others does not work yet: "
                                          "leave it out, or give it an input or an output",
                                      "settings." + std::string(hook))
                                   .error());
    PipelineJob job;
    job.meta = said_meta(properties, name);
    job.compute = bare_id(first_of(settings, {"default_compute", "defaultCompute"}));
    if (job.compute.empty()) job.compute = properties.at("computeId").as_string();
    job.pipeline.continue_on_step_failure =
        yaml_scalar(
            literal_text(first_of(settings, {"continue_on_step_failure", "continueOnStepFailure"})))
            .as_bool();
    std::string datastore = bare_id(first_of(settings, {"default_datastore", "defaultDatastore"}));
    if (datastore.find('/') != std::string::npos) datastore.erase(0, datastore.rfind('/') + 1);
    if (datastore.starts_with("azureml:")) datastore.erase(0, 8);

    const bool force_rerun =
        yaml_scalar(literal_text(first_of(settings, {"force_rerun", "forceRerun"}))).as_bool();
    job.resumes = properties.at("resumes").as_string();

    PipelineReader reader(workspace, name, *job.meta.experiment, datastore, force_rerun,
                          component_of, problems);
    PipelineAround around;
    around.compute = job.compute;
    // The whole may be a component, too.
    Json spec;
    if (const std::string id = bare_id(properties.at("componentId")); !id.empty()) {
        auto found = component_of(id);
        if (!found) {
            problems.push_back(refuse(found.error(), "ComponentNotFound", "componentId").error());
            return std::nullopt;
        }
        spec = std::move(*found);
        if (!spec.is_null() && to_lower(spec.at("type").as_view()) != "pipeline") {
            problems.push_back(refuse("ComponentNotSupported",
                                      "componentId: expected a component of type pipeline, found " +
                                          spec.at("type").as_string("none"),
                                      "componentId")
                                   .error());
            return std::nullopt;
        }
    }
    const Json& inputs = properties.at("inputs");
    for (const auto& [input, said] : inputs.members())
        if (!spec.at("inputs").has(input)) {
            if (spec.is_object())
                reader.refuse_unknown("input", input, spec.at("inputs"), "inputs." + input);
            else if (auto value = reader.value_of(nullptr, said, "inputs." + input))
                around.inputs[input] = std::move(*value);
        }
    for (const auto& [input, declared] : spec.at("inputs").members())
        if (auto value = reader.taken(nullptr, "input '" + input + "'", declared, inputs.at(input),
                                      "inputs." + input))
            around.inputs[input] = std::move(*value);
    if (spec.is_object()) reader.read_targets(around, spec.at("outputs"), "component.");
    reader.read_targets(around, properties.at("outputs"), "");
    if (spec.is_object()) around.place = "component.";
    const bool whole = spec.is_null() && !properties.at("componentId").as_view().empty();
    if (!whole)  // else nobody is there who knows it
        reader.read_steps(around, spec.is_object() ? spec.at("jobs") : properties.at("jobs"));
    reader.pipeline.continue_on_step_failure = job.pipeline.continue_on_step_failure;
    job.pipeline = std::move(reader.pipeline);
    job.places = std::move(reader.places);
    for (const auto& [output, giver] : around.gives)
        if (giver.known) job.pipeline.outputs.push_back({output, giver.step, giver.output});
    return job;
}

Error in_step(Error error, const std::string& place, const std::string& step) {
    constexpr std::string_view before = "properties.";
    if (!error.subject.starts_with(before)) return error;
    std::string at = error.subject.substr(before.size());
    if (at.starts_with("command") || at.starts_with("codeId"))
        at = "component." + at;
    else if (at.starts_with("environmentId"))
        at = "component.environment";
    error.subject = std::string(before) + place + "." + at;
    error.message = "step '" + step + "': " + error.message;
    return error;
}

}  // namespace turnout::submission
