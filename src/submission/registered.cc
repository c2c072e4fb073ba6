#include "submission/registered.h"

#include "base/text.h"
#include "environment/curated.h"
#include "environment/definition.h"
#include "model/built_image.h"
#include "resources/resources.h"
#include "submission/refusal.h"

namespace turnout::submission {

using agent_protocol::TaskEnvironment;

Result<TaskEnvironment> curated(const Reference& reference) {
    auto resolved = environment::resolve_curated(reference.name, reference.version);
    if (!resolved) return refuse(resolved.error(), "EnvironmentNotFound", "environmentId");
    return resolved;
}

bool is_reserved(std::string_view name) {
    return to_lower(name).starts_with("azureml-");
}

Result<void> check_environment(const std::string& name, const Json& properties) {
    if (is_reserved(name))
        return fail(
            Code::InvalidArgument, "ReservedName",
            "names that begin with 'AzureML-' belong to curated environments: choose another",
            "name");
    const Json& image = properties.at("image");
    const Json& conda = properties.at("condaFile");
    for (const auto* member : {&image, &conda})
        if (!member->is_null() && !member->is_string())
            return invalid("image and condaFile must be text", "properties.image");
    if (image.as_view().empty() && conda.as_view().empty() && !properties.at("build").is_object())
        return invalid("an environment needs an image, a condaFile or a build", "properties.image");
    if (image.as_view().starts_with(kBuiltImages))
        return invalid("images that begin with '" + std::string(kBuiltImages) +
                           "' are built from environments with a `build`: name the environment",
                       "properties.image");
    if (properties.at("build").is_object()) {
        for (const auto& [member, value] : {std::pair{"image", &image}, {"condaFile", &conda}})
            if (!value->as_view().empty())
                return invalid(
                    "expected build alone: its Dockerfile says the image and what is "
                    "installed; found " +
                        std::string(member) + " beside it",
                    "properties." + std::string(member));
        const Json& context = properties.at("build").at("contextUri");
        if (!context.is_string() || context.as_view().empty())
            return invalid("build.contextUri: expected the folder with the Dockerfile, found " +
                               (context.is_null() ? "nothing" : context.dump().substr(0, 80)),
                           "properties.build.contextUri");
    }
    if (conda.as_view().empty()) return {};
    auto resolved = environment::resolve({name, image.as_string(), conda.as_string()});
    if (!resolved) return Failure(resolved.error());
    return {};
}

Failure no_engine_for(const std::string& shown, const std::string& pool) {
    return refuse("BuildContextNotSupported",
                  "environment '" + shown + "' is built from a Dockerfile, for which pool '" +
                      pool +
                      "' has no container engine: choose a compute in a pool of containers "
                      "(provider: container), or an environment with a conda file",
                  "environmentId");
}

Result<TaskEnvironment> environment_of(const std::string& shown, const Json& properties) {
    std::string interpreter = properties.at("properties").at("turnout.interpreter").as_string();
    if (interpreter.empty())
        interpreter = properties.at("tags").at("turnout.interpreter").as_string();
    if (!interpreter.empty()) {
        TaskEnvironment managed = environment::user_managed(shown, interpreter);
        managed.image = properties.at("image").as_string();
        return managed;
    }
    auto resolved = environment::resolve(
        {shown, properties.at("image").as_string(), properties.at("condaFile").as_string()});
    if (!resolved) return refuse(resolved.error(), "InvalidEnvironment", "environmentId");
    return resolved;
}

Result<void> check_component(const Json& properties) {
    const std::string place = "properties.componentSpec";
    const auto refused = [](const std::string& where, const std::string& why) {
        return fail(Code::InvalidArgument, "ValidationError", where + ": " + why, where);
    };
    const Json& component = properties.at("componentSpec");
    if (!component.is_object())
        return refused(place,
                       resources::expected("the component's definition, a mapping", component));
    const Json& type = component.at("type");
    if (!type.is_string())
        return refused(place + ".type", resources::expected("a type, such as 'command'", type));
    if (type.as_view() != "command") return {};
    return resources::check_component_spec(component);
}

Result<void> check_inline_component(const Json& component, const std::string& place) {
    // What a step says of itself as a job has the rules of a job, which come later.
    if (component.at("_source").as_view() == "YAML.JOB") return {};
    const std::string type = component.at("type").as_string("command");
    if (type != "command") return {};
    Json named = component;  // what is in a step needs no name
    if (named.at("name").is_null()) named.set("name", "step");
    auto good = resources::check_component_spec(named);
    if (good) return {};
    Error why = good.error();
    const std::string was = "properties.componentSpec", is = "properties." + place;
    if (why.subject.starts_with(was)) why.subject.replace(0, was.size(), is);
    replace_all(why.message, was, place);
    return Failure(std::move(why));
}

}  // namespace turnout::submission
