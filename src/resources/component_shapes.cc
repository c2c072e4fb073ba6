// A component's parts. REST keeps a component as its YAML is (`componentSpec`, in snake_case), with
// ids in place of names and with numbers as text, as Azure's own clients send it.
#include <algorithm>

#include "base/text.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {

namespace {

constexpr std::string_view kSpec = "properties.componentSpec.";

// "/inputs" -> "properties.componentSpec.inputs"
std::string spec_path(const std::string& pointer) {
    return std::string(kSpec) + pointer.substr(1);
}

void send_as_it_is(const YamlDocument&, const std::string& pointer, const Json& value, const Scope&,
                   Json& rest) {
    set_path(rest, spec_path(pointer), value);
}

// The last is what older components say: either of a file and a folder.
const std::vector<std::string_view> kDataTypes = {
    "uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model", "path"};
const std::vector<std::string_view> kLiteralTypes = {"string", "number", "integer", "boolean"};

bool is_one_of(const std::vector<std::string_view>& words, std::string_view text) {
    return std::ranges::find(words, text) != words.end();
}

// The type of an input or output; "" if that was refused.
std::string type_of(Reading& reading, const std::string& pointer, const Json& port) {
    std::vector<std::string> known(kDataTypes.begin(), kDataTypes.end());
    known.insert(known.end(), kLiteralTypes.begin(), kLiteralTypes.end());
    if (port.at("type").is_null()) {
        reading.refuse(pointer, "key 'type' is missing: expected one of " + join(known, ", "));
        return "";
    }
    const std::string here = pointer_to(pointer, "type");
    if (!reading.expect_text(here, port.at("type"))) return "";
    const std::string type = reading.text(here);
    if (std::ranges::find(known, type) != known.end()) return type;
    reading.refuse(here, "expected one of " + join(known, ", ") + ", found '" + type + "'" +
                             did_you_mean(type, known));
    return "";
}

// A value as the input's type has it: what clients send as text may be it, too.
Json typed(const std::string& type, const Json& value) {
    const Json read = value.is_string() ? yaml_scalar(value.as_view()) : value;
    if (type == "integer" && read.is_int()) return read;
    if (type == "number" && read.is_number()) return read;
    if (type == "boolean" && read.is_bool()) return read;
    if (type == "string" && !value.is_object() && !value.is_array()) return value;
    return {};
}

void check_value(Reading& reading, const std::string& pointer, const std::string& type,
                 const Json& value) {
    if (value.is_null() || !typed(type, value).is_null()) return;
    reading.refuse(pointer, expected(type == "integer"   ? "a whole number, as the type says"
                                     : type == "number"  ? "a number, as the type says"
                                     : type == "boolean" ? "true or false, as the type says"
                                                         : "a text, as the type says",
                                     value));
}

void check_literal(Reading& reading, const std::string& pointer, const std::string& type,
                   const Json& input) {
    for (const char* const key : {"min", "max"}) {
        const std::string here = pointer_to(pointer, key);
        if (input.at(key).is_null()) continue;
        if (type == "integer" || type == "number")
            check_value(reading, here, type, input.at(key));
        else
            reading.refuse(here, "is for the types integer and number, this one is " + type);
    }
    const std::string here = pointer_to(pointer, "default");
    const Json& value = input.at("default");
    check_value(reading, here, type, value);
    const Json number = typed(type, value), least = typed(type, input.at("min")),
               most = typed(type, input.at("max"));
    if (number.is_number() && least.is_number() && number.as_double() < least.as_double())
        reading.refuse(here,
                       "expected at least min (" + least.dump() + "), found " + number.dump());
    if (number.is_number() && most.is_number() && number.as_double() > most.as_double())
        reading.refuse(here, "expected at most max (" + most.dump() + "), found " + number.dump());
    if (input.at("enum").is_null()) return;
    const std::string choices = pointer_to(pointer, "enum");
    if (!reading.expect_list(choices, input.at("enum"))) return;
    std::vector<std::string> known;
    for (std::size_t i = 0; i < input.at("enum").items().size(); ++i) {
        check_value(reading, pointer_to(choices, i), type, input.at("enum").items()[i]);
        known.push_back(reading.text(pointer_to(choices, i)));
    }
    if (!value.is_null() && std::ranges::find(known, reading.text(here)) == known.end())
        reading.refuse(here, "expected one of enum (" + join(known, ", ") + "), found '" +
                                 reading.text(here) + "'");
}

// `groups`: an input may be a member of a group, "group.member".
void check_port_name(Reading& reading, const std::string& pointer, const std::string& name,
                     bool groups) {
    const auto letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    bool good = groups || name.find('.') == std::string::npos;
    for (const std::string& part : split(name, '.'))
        good = good && !part.empty() && letter(part[0]) && std::ranges::all_of(part, [&](char c) {
                   return letter(c) || (c >= '0' && c <= '9');
               });
    if (!good)
        reading.refuse(pointer,
                       "expected a name of letters, digits and '_', not beginning with a digit, "
                       "found '" +
                           name + "'");
}

void check_inputs(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_mapping(pointer, value)) return;
    for (const auto& [name, input] : value.members()) {
        const std::string here = pointer_to(pointer, name);
        check_port_name(reading, here, name, true);
        if (!reading.expect_mapping(here, input)) continue;
        const std::string type = type_of(reading, here, input);
        if (type.empty()) continue;
        if (!input.at("optional").is_null()) {
            const Json optional = typed("boolean", input.at("optional"));
            if (optional.is_null())
                reading.refuse(pointer_to(here, "optional"),
                               expected("true or false", input.at("optional")));
        }
        if (is_one_of(kLiteralTypes, type)) {
            check_keys(reading, here, input,
                       {"type", "description", "optional", "default", "min", "max", "enum"},
                       "an input of type " + type);
            check_literal(reading, here, type, input);
        } else {
            check_keys(reading, here, input,
                       {"type", "description", "optional", "mode", "path", "datastore"},
                       "an input of type " + type);
        }
    }
}

void check_outputs(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_mapping(pointer, value)) return;
    for (const auto& [name, output] : value.members()) {
        const std::string here = pointer_to(pointer, name);
        check_port_name(reading, here, name, false);
        if (!reading.expect_mapping(here, output)) continue;
        if (type_of(reading, here, output).empty()) continue;
        check_keys(reading, here, output,
                   {"type", "description", "mode", "early_available", "is_control", "path"},
                   "an output");
    }
}

// As the SDK writes them: Python's words.
std::string text_of_value(const YamlDocument& document, const std::string& pointer,
                          const Json& value) {
    if (value.is_bool()) return value.as_bool() ? "True" : "False";
    return document.text(pointer, value);
}

}  // namespace

Special component_inputs_shape() {
    return {.shape =
                "mapping: name to `type` and, of a value, `default`, `optional`, `min`, `max`, "
                "`enum`",
            .check = check_inputs,
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope&, Json& rest) {
                    Json inputs = value;
                    for (const auto& [name, input] : value.members()) {
                        const std::string here = pointer_to(pointer, name);
                        for (const char* const key : {"default", "min", "max"})
                            if (const Json& one = input.at(key); !one.is_null())
                                inputs[name].set(
                                    key, text_of_value(document, pointer_to(here, key), one));
                        if (!input.at("optional").is_null())
                            inputs[name].set("optional", typed("boolean", input.at("optional")));
                        if (input.at("enum").is_null()) continue;
                        const std::string list = pointer_to(here, "enum");
                        Json choices = Json::array();
                        for (std::size_t i = 0; i < input.at("enum").items().size(); ++i)
                            choices.push(text_of_value(document, pointer_to(list, i),
                                                       input.at("enum").items()[i]));
                        inputs[name].set("enum", std::move(choices));
                    }
                    set_path(rest, spec_path(pointer), std::move(inputs));
                },
            .from_rest =
                [](const Json& rest) { return at_path(rest, "properties.componentSpec.inputs"); }};
}

Special component_outputs_shape() {
    return {.shape = "mapping: name to `type`, `mode`",
            .check = check_outputs,
            .to_rest = send_as_it_is,
            .from_rest = [](const Json& rest) {
                return at_path(rest, "properties.componentSpec.outputs");
            }};
}

Special component_code_shape() {
    Special shape = code_shape();
    shape.to_rest = [](const YamlDocument& document, const std::string& pointer, const Json& value,
                       const Scope& scope, Json& rest) {
        const std::string id = arm_id_of(scope, "codes", document.text(pointer, value));
        set_path(rest, spec_path(pointer), id.starts_with('/') ? "azureml:" + id : id);
    };
    shape.from_rest = [](const Json& rest) -> Json {
        const Json& id = at_path(rest, "properties.componentSpec.code");
        return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "codes"));
    };
    return shape;
}

Special component_environment_shape() {
    Special shape = environment_shape();
    shape.to_rest = [](const YamlDocument& document, const std::string& pointer, const Json& value,
                       const Scope& scope, Json& rest) {
        // One that is defined in place is replaced by its id before a component is sent.
        if (value.is_object()) return set_path(rest, spec_path(pointer), value);
        const std::string id = arm_id_of(scope, "environments", document.text(pointer, value));
        set_path(rest, spec_path(pointer), id.starts_with('/') ? "azureml:" + id : id);
    };
    shape.from_rest = [](const Json& rest) -> Json {
        const Json& id = at_path(rest, "properties.componentSpec.environment");
        return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "environments"));
    };
    return shape;
}

// The SDK puts those files into the folder before it uploads it.
Special component_includes_shape() {
    return {
        .shape = "an empty list",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (reading.expect_list(pointer, value) && !value.items().empty())
                    reading.refuse(pointer,
                                   "not there yet: put the files into the folder that `code` "
                                   "names, or register the component with the SDK");
            },
        .to_rest = [](const YamlDocument&, const std::string&, const Json&, const Scope&, Json&) {},
        .from_rest = [](const Json&) -> Json { return {}; }};
}

Special component_resources_shape() {
    return {
        .shape = "mapping, as in a command job",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (reading.expect_mapping(pointer, value))
                    check(*command_job().find("resources")->object, reading, pointer);
            },
        .to_rest = send_as_it_is,
        .from_rest =
            [](const Json& rest) { return at_path(rest, "properties.componentSpec.resources"); }};
}

Special component_distribution_shape() {
    return {.shape = "mapping, as in a command job",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (reading.expect_mapping(pointer, value))
                        check(*command_job().find("distribution")->object, reading, pointer);
                },
            .to_rest = send_as_it_is,
            .from_rest =
                [](const Json& rest) {
                    return at_path(rest, "properties.componentSpec.distribution");
                }};
}

void check_component(Reading& reading, const std::string& pointer, const Json& value) {
    check_references(reading, pointer_to(pointer, "command"), value.at("command").as_string(),
                     {{"inputs", &value.at("inputs")}, {"outputs", &value.at("outputs")}});
}

void finish_component(const Json& value, Json& rest) {
    Json& properties = rest["properties"];
    Json& spec = properties["componentSpec"];
    for (const char* const key : {"name", "version"})
        if (!value.at(key).is_null()) spec.set(key, value.at(key));
    for (const char* const key : {"description", "tags", "properties"})
        if (!properties.at(key).is_null()) spec.set(key, properties.at(key));
    spec.set("_source", "YAML.COMPONENT");
    if (!spec.has("is_deterministic")) spec.set("is_deterministic", true);
    properties.set("isAnonymous", false);
}

Result<void> check_component_spec(const Json& component) {
    YamlDocument document;
    document.value = Json::object();
    const Description& description = command_component();
    // What Azure's clients add is none of ours, and what only runs later is looked at then.
    for (const auto& [key, member] : component.members())
        if (description.find(key) != nullptr && key != "additional_includes" &&
            key != "properties" &&
            !(key == "distribution" && equal_ignoring_case(member.at("type").as_view(), "ray")))
            document.value.set(key, member);
    if (const Json& code = document.value.at("code");
        code.is_string() && !is_remote_path(code.as_view()) &&
        !code.as_view().starts_with("azureml:") && !is_arm_id(code.as_view())) {
        const std::string place = "properties.componentSpec.code";
        return fail(
            Code::InvalidArgument, "ValidationError",
            place + ": " + expected("the id of a registered code: clients upload it first", code),
            place);
    }
    Reading reading(document, no_files());
    check(description, reading);
    if (reading.problems.empty()) return {};
    const Problem& first = reading.problems.front();
    const std::string place =
        "properties.componentSpec" + (first.key.empty() ? "" : "." + first.key);
    return fail(Code::InvalidArgument, "ValidationError", place + ": " + first.message, place);
}

}  // namespace turnout::resources
