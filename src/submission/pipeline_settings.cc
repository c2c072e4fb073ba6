// What a step of a pipeline says beside its inputs and outputs, over what its component says: in
// the words of a command job.
#include <array>
#include <utility>

#include "base/text.h"
#include "model/job_kind.h"
#include "submission/command_job.h"
#include "submission/pipeline_values.h"
#include "yaml/yaml.h"

namespace turnout::submission {

const Json& first_of(const Json& part, std::initializer_list<std::string_view> names) {
    static const Json nothing;
    for (const std::string_view name : names)
        if (const Json& found = part.at(name); !found.is_null()) return found;
    return nothing;
}

namespace {

std::string camel(std::string_view snake) {
    std::string out;
    bool up = false;
    for (const char c : snake) {
        if (c == '_') {
            up = !out.empty();
        } else {
            out += up && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
            up = false;
        }
    }
    return out;
}

// An object of settings: in the words of REST, literals in the places of their bindings.
Json part_of(const Fill& fill, const Json& part, const std::string& place) {
    Json out = Json::object();
    for (const auto& [name, member] : part.members()) {
        if (member.is_null()) continue;
        Json value = member;
        if (member.is_string() && member.as_view().find("${{") != std::string_view::npos) {
            const auto text = fill(member.as_string(), place + "." + name);
            if (!text) continue;
            value = yaml_scalar(*text);
        }
        out.set(camel(name), std::move(value));
    }
    return out;
}

std::string seconds_in_iso(const Json& seconds) {
    return "PT" + seconds.dump() + "S";
}

}  // namespace

Json step_settings(const Json& spec, const Json& said, const std::string& of_spec,
                   const std::string& place, const Fill& fill) {
    Json definition = Json::object();
    const auto merged = [&](std::initializer_list<std::string_view> names) {
        Json part = part_of(fill, first_of(spec, names), of_spec + std::string(*names.begin()));
        part.merge(part_of(fill, first_of(said, names), place + "." + std::string(*names.begin())));
        return part;
    };
    if (Json resources = merged({"resources"}); !resources.members().empty()) {
        if (const Json* count = resources.find("instanceCount"); count && count->is_string())
            resources.set("instanceCount", yaml_scalar(count->as_view()));
        definition.set("resources", std::move(resources));
    }
    if (Json distribution = merged({"distribution"}); !distribution.members().empty()) {
        const std::string type =
            to_lower(first_of(distribution, {"distributionType", "type"}).as_view());
        distribution.erase("type");
        constexpr std::array<std::pair<std::string_view, std::string_view>, 4> words{
            {{"pytorch", "PyTorch"}, {"mpi", "Mpi"}, {"tensorflow", "TensorFlow"}, {"ray", "Ray"}}};
        distribution.set("distributionType", type);
        for (const auto& [word, rest] : words)
            if (type == word) distribution.set("distributionType", rest);
        for (const char* const count :
             {"processCountPerInstance", "workerCount", "parameterServerCount"})
            if (const Json* number = distribution.find(count); number && number->is_string())
                distribution.set(count, yaml_scalar(number->as_view()));
        definition.set("distribution", std::move(distribution));
    }
    if (Json limits = merged({"limits"}); !limits.members().empty()) {
        limits.erase("jobLimitsType");
        limits.set("jobLimitsType", name_of(kFirstJobType));
        if (const Json* timeout = limits.find("timeout"); timeout && timeout->is_number())
            limits.set("timeout", seconds_in_iso(*timeout));
        definition.set("limits", std::move(limits));
    }
    if (Json identity = merged({"identity"}); !identity.members().empty()) {
        std::string type;
        for (const char c : to_lower(first_of(identity, {"identityType", "type"}).as_view()))
            if (c != '_') type += c;
        definition.set(
            "identity",
            Json::object(
                {{"identityType", type == "useridentity"                           ? "UserIdentity"
                                  : type == "managedidentity" || type == "managed" ? "Managed"
                                                                                   : "AMLToken"}}));
    }
    if (Json queue = merged({"queueSettings", "queue_settings"}); !queue.members().empty())
        definition.set("queueSettings", std::move(queue));
    Json variables = Json::object();
    for (const auto& [part, where] :
         {std::pair(&first_of(spec, {"environment_variables", "environmentVariables"}),
                    of_spec + "environment_variables"),
          std::pair(&first_of(said, {"environment_variables", "environmentVariables"}),
                    place + ".environment_variables")})
        for (const auto& [name, text] : part->members())
            if (const auto value = fill(literal_text(text), where + "." + name))
                variables.set(name, *value);
    if (!variables.members().empty()) definition.set("environmentVariables", std::move(variables));
    return definition;
}

}  // namespace turnout::submission
