// What YAML and REST shape differently in a command job.
#include "resources/shapes.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "resources/resources.h"

namespace turnout::resources {

namespace {

bool is_identifier(std::string_view name) {
    if (name.empty() || name.size() > 255) return false;
    const auto letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    if (!letter(name[0])) return false;
    return std::all_of(name.begin(), name.end(),
                       [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

bool is_model_type(std::string_view type) {
    return type.ends_with("_model");
}

const std::vector<Choice>& input_types() {
    static const std::vector<Choice> choices = {
        {"uri_file", "uri_file"},         {"uri_folder", "uri_folder"},
        {"mltable", "mltable"},           {"mlflow_model", "mlflow_model"},
        {"custom_model", "custom_model"}, {"triton_model", "triton_model"}};
    return choices;
}

const std::vector<Choice>& input_modes() {
    static const std::string why =
        "is for mltable inputs, which are not evaluated yet: use ro_mount or download";
    static const std::vector<Choice> choices = {
        {"ro_mount", "ReadOnlyMount"},
        {"download", "Download"},
        {"direct", "Direct"},
        {"mount", "ReadOnlyMount"},  // an older spelling
        {"eval_mount", "EvalMount", "mode eval_mount " + why},
        {"eval_download", "EvalDownload", "mode eval_download " + why}};
    return choices;
}

const std::vector<Choice>& output_modes() {
    static const std::vector<Choice> choices = {{"rw_mount", "ReadWriteMount"},
                                                {"upload", "Upload"},
                                                {"direct", "Direct"},
                                                {"mount", "ReadWriteMount"}};
    return choices;
}

}  // namespace

Special code_shape() {
    return {.shape = "folder or file, or a registered code asset",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_text(pointer, value)) return;
                    const std::string text = reading.text(pointer);
                    if (is_arm_id(text)) return;
                    if (text.starts_with("azureml:"))
                        return check_reference(reading, pointer, "codes", text);
                    if (text.starts_with("git+") || text.starts_with("http:") ||
                        text.starts_with("https:"))
                        return reading.refuse(
                            pointer, "expected a folder on this machine, found the URL '" + text +
                                         "': clone it first");
                    reading.expect_path(pointer, text, LocalPath::Role::Code);
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope& scope, Json& rest) {
                    set_path(rest, "properties.codeId",
                             arm_id_of(scope, "codes", document.text(pointer, value)));
                },
            .from_rest =
                [](const Json& rest) {
                    const Json& id = at_path(rest, "properties.codeId");
                    return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "codes"));
                }};
}

namespace {

// The environment of a job when it is defined in place: the same keys, but without a name.
const Description& inline_environment() {
    static const Description description = [] {
        Description copy = environment();
        copy.title = "an environment defined in place";
        for (Field& field : copy.fields)
            if (field.yaml == "name") field.need = Need::Optional;
        return copy;
    }();
    return description;
}

// `environment: file:env.yml`: the file's content takes the place of the reference. Its own paths
// begin at its own folder, so that they are made absolute.
void load_environment_file(Reading& reading, const std::string& pointer, const std::string& text) {
    const std::string path = reading.files.resolve(text);
    if (reading.files.kind(path) != PathKind::File)
        return reading.refuse(pointer, "expected a file, but '" + path + "' is none");
    const Result<std::string> bytes = reading.files.read(path);
    if (!bytes) return reading.refuse(pointer, "cannot be read: " + bytes.error().message);
    Result<YamlDocument> loaded = parse_yaml(*bytes, path);
    if (!loaded) return reading.refuse(pointer, loaded.error().message);
    const std::size_t slash = path.rfind('/');
    LocalFiles files = reading.files;
    files.folder = slash == 0 ? "/" : path.substr(0, slash);
    const auto absolute = [&](const char* key) {
        Json* part = part_at(loaded->value, key);
        if (part != nullptr && part->is_string() && !is_remote_path(part->as_view()))
            *part = Json(files.resolve(part->as_view()));
    };
    absolute("/conda_file");
    absolute("/build/path");
    *part_at(reading.document.value, pointer) = loaded->value;
    for (const auto& [inner, mark] : loaded->marks)
        reading.document.overrides.insert_or_assign(
            pointer + inner,
            path + ":" + std::to_string(mark.line) + ":" + std::to_string(mark.column));
    for (const auto& [inner, written] : loaded->written)
        reading.document.written.insert_or_assign(pointer + inner, written);
    check(inline_environment(), reading, pointer);
    reading.inline_environments.push_back(pointer);
}

}  // namespace

Special environment_shape() {
    return {
        .shape =
            "`azureml:NAME:VERSION`, `azureml:NAME@latest`, a registry id, `file:PATH`, or a "
            "definition",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (value.is_object()) {
                    check(inline_environment(), reading, pointer);
                    reading.inline_environments.push_back(pointer);
                    return;
                }
                if (!reading.expect_text(pointer, value)) return;
                const std::string text = reading.text(pointer);
                if (text.starts_with("file:")) return load_environment_file(reading, pointer, text);
                check_reference(reading, pointer, "environments", text);
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope& scope, Json& rest) {
                if (value.is_object()) {
                    // Replaced by its id before a job is sent; shown whole by `validate`.
                    set_path(rest, "properties.environment",
                             to_rest(inline_environment(), document, pointer, scope));
                    return;
                }
                std::string text = document.text(pointer, value);
                set_path(rest, "properties.environmentId", arm_id_of(scope, "environments", text));
            },
        .from_rest =
            [](const Json& rest) {
                const Json& id = at_path(rest, "properties.environmentId");
                return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "environments"));
            }};
}

Special compute_shape() {
    return {.shape = "`azureml:NAME`, `NAME`, `local`, `serverless` or `containerinstance`",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_text(pointer, value)) return;
                    const std::string text = reading.text(pointer);
                    if (is_arm_id(text)) return;
                    const std::string_view name = without_prefix(text);
                    check_text(reading, pointer, kComputeName, name, "the name of a compute");
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope& scope, Json& rest) {
                    const std::string text = document.text(pointer, value);
                    const std::string_view name = without_prefix(text);
                    if (name == "serverless") return;
                    if (name == "local") {
                        set_path(rest, "properties.resources.properties.IsLocal",
                                 Json::object({{"IsLocal", true}}));
                        return;
                    }
                    set_path(rest, "properties.computeId",
                             is_arm_id(text)
                                 ? std::string(name)
                                 : scope.workspace_path + "/computes/" + std::string(name));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& id = at_path(rest, "properties.computeId");
                if (!id.is_null()) return short_name_of(id.as_view(), "computes");
                if (!at_path(rest, "properties.resources.properties.IsLocal").is_null())
                    return "local";
                return {};
            }};
}

Special inputs_shape() {
    return {
        .shape = "mapping: name to a literal, or to `type`, `path`, `mode`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                for (const auto& [name, input] : value.members()) {
                    const std::string here = pointer_to(pointer, name);
                    if (!is_identifier(name)) {
                        reading.refuse(here, "expected a name of letters, digits and '_', found '" +
                                                 name + "'");
                        continue;
                    }
                    if (input.is_null()) {
                        reading.refuse(here,
                                       "has no value: expected a literal or a mapping with 'path'");
                        continue;
                    }
                    if (!input.is_object()) {
                        if (input.is_array())
                            reading.refuse(here, expected("a literal or a mapping", input));
                        continue;
                    }
                    check_keys(reading, here, input,
                               {"type", "path", "mode", "value", "datastore", "path_on_compute",
                                "description"},
                               "an input");
                    if (input.has("value")) {
                        reading.expect_text(pointer_to(here, "value"), input.at("value"));
                        continue;
                    }
                    std::string type;  // unknown: a file or a folder will do
                    if (!input.at("type").is_null()) {
                        check_choice(reading, pointer_to(here, "type"), input_types());
                        if (const Choice* choice =
                                find_choice(input_types(), reading.text(pointer_to(here, "type"))))
                            type = choice->yaml;
                    }
                    if (!input.at("mode").is_null())
                        check_choice(reading, pointer_to(here, "mode"), input_modes());
                    if (!input.at("path_on_compute").is_null())
                        reading.refuse(pointer_to(here, "path_on_compute"),
                                       "is not available: the server chooses where an input lies");
                    if (input.at("path").is_null()) {
                        reading.refuse(
                            here,
                            "key 'path' is missing: expected a path, URI or azureml:NAME:VERSION");
                        continue;
                    }
                    check_path(reading, pointer_to(here, "path"), input.at("path"),
                               is_model_type(type) ? "models" : "data", LocalPath::Role::Input,
                               type != "uri_file",
                               type == "uri_file" || type.empty() || is_model_type(type));
                }
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope& scope, Json& rest) {
                Json inputs = Json::object();
                for (const auto& [name, input] : value.members()) {
                    const std::string here = pointer_to(pointer, name);
                    const auto literal = [&](const std::string& at, const Json& scalar) {
                        // Azure's clients write booleans as Python does.
                        std::string text = scalar.is_bool() ? (scalar.as_bool() ? "True" : "False")
                                                            : document.text(at, scalar);
                        return Json::object(
                            {{"jobInputType", "literal"}, {"value", std::move(text)}});
                    };
                    if (!input.is_object()) {
                        inputs.set(name, literal(here, input));
                        continue;
                    }
                    if (input.has("value")) {
                        inputs.set(name, literal(pointer_to(here, "value"), input.at("value")));
                        continue;
                    }
                    const Choice* type = find_choice(input_types(), input.at("type").as_view());
                    const std::string kind = type != nullptr ? type->rest : "uri_folder";
                    Json out = Json::object({{"jobInputType", kind}});
                    out.set("uri",
                            arm_id_of(scope, is_model_type(kind) ? "models" : "data",
                                      document.text(pointer_to(here, "path"), input.at("path"))));
                    if (const Choice* mode = find_choice(input_modes(), input.at("mode").as_view());
                        mode != nullptr && !input.at("mode").is_null())
                        out.set("mode", mode->rest);
                    inputs.set(name, std::move(out));
                }
                set_path(rest, "properties.inputs", std::move(inputs));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& inputs = at_path(rest, "properties.inputs");
            if (!inputs.is_object()) return {};
            Json out = Json::object();
            for (const auto& [name, input] : inputs.members()) {
                if (equal_ignoring_case(input.at("jobInputType").as_view(), "literal")) {
                    out.set(name, input.at("value"));
                    continue;
                }
                Json entity = Json::object();
                const Choice* type = find_choice(input_types(), input.at("jobInputType").as_view());
                entity.set("type", type != nullptr ? Json(type->yaml) : input.at("jobInputType"));
                const std::string kind =
                    type != nullptr && is_model_type(type->yaml) ? "models" : "data";
                entity.set("path", short_name_of(input.at("uri").as_view(), kind));
                for (const Choice& mode : input_modes())
                    if (mode.rest == input.at("mode").as_view()) {
                        entity.set("mode", mode.yaml);
                        break;
                    }
                out.set(name, std::move(entity));
            }
            return out;
        }};
}

void check_registration(Reading& reading, const std::string& pointer, const Json& output) {
    for (const char* key : {"name", "version"})
        if (!output.at(key).is_null())
            reading.expect_text(pointer_to(pointer, key), output.at(key));
    if (output.at("name").is_null() && !output.at("version").is_null())
        reading.refuse(pointer_to(pointer, "version"),
                       "expected a name beside it: the asset that the output becomes");
}

void set_registration(const YamlDocument& document, const std::string& pointer, const Json& output,
                      Json& rest) {
    for (const auto& [key, member] :
         {std::pair("name", "assetName"), std::pair("version", "assetVersion")})
        if (!output.at(key).is_null())
            rest.set(member, document.text(pointer_to(pointer, key), output.at(key)));
}

Special outputs_shape() {
    return {
        .shape = "mapping: name to nothing, or to `type`, `path`, `mode`, `name`, `version`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                for (const auto& [name, output] : value.members()) {
                    const std::string here = pointer_to(pointer, name);
                    if (!is_identifier(name))
                        reading.refuse(here, "expected a name of letters, digits and '_', found '" +
                                                 name + "'");
                    if (output.is_null()) continue;
                    if (!reading.expect_mapping(here, output)) continue;
                    check_keys(reading, here, output,
                               {"type", "path", "mode", "name", "version", "description"},
                               "an output");
                    if (!output.at("type").is_null())
                        check_choice(reading, pointer_to(here, "type"), input_types());
                    if (!output.at("mode").is_null())
                        check_choice(reading, pointer_to(here, "mode"), output_modes());
                    check_registration(reading, here, output);
                    if (output.at("path").is_null()) continue;
                    const std::string path = pointer_to(here, "path");
                    if (!reading.expect_text(path, output.at("path"))) continue;
                    const std::string text = reading.text(path);
                    if (!text.starts_with("azureml://"))
                        reading.refuse(
                            path,
                            "expected a datastore path azureml://datastores/NAME/paths/…, found '" +
                                text + "'");
                }
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope&, Json& rest) {
                Json outputs = Json::object();
                for (const auto& [name, output] : value.members()) {
                    const Choice* type = find_choice(input_types(), output.at("type").as_view());
                    Json out = Json::object(
                        {{"jobOutputType", type != nullptr ? type->rest : "uri_folder"}});
                    const std::string path = pointer_to(pointer_to(pointer, name), "path");
                    if (!output.at("path").is_null())
                        out.set("uri", document.text(path, output.at("path")));
                    if (!output.at("mode").is_null())
                        if (const Choice* mode =
                                find_choice(output_modes(), output.at("mode").as_view()))
                            out.set("mode", mode->rest);
                    if (!output.at("description").is_null())
                        out.set("description", output.at("description"));
                    set_registration(document, pointer_to(pointer, name), output, out);
                    outputs.set(name, std::move(out));
                }
                set_path(rest, "properties.outputs", std::move(outputs));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& outputs = at_path(rest, "properties.outputs");
            if (!outputs.is_object()) return {};
            Json out = Json::object();
            for (const auto& [name, output] : outputs.members()) {
                Json entity = Json::object();
                const Choice* type =
                    find_choice(input_types(), output.at("jobOutputType").as_view());
                entity.set("type", type != nullptr ? Json(type->yaml) : output.at("jobOutputType"));
                if (!output.at("uri").is_null()) entity.set("path", output.at("uri"));
                for (const Choice& mode : output_modes())
                    if (mode.rest == output.at("mode").as_view()) {
                        entity.set("mode", mode.yaml);
                        break;
                    }
                if (!output.at("description").is_null())
                    entity.set("description", output.at("description"));
                for (const auto& [key, member] :
                     {std::pair("name", "assetName"), std::pair("version", "assetVersion")})
                    if (!output.at(member).as_view().empty()) entity.set(key, output.at(member));
                out.set(name, std::move(entity));
            }
            return out;
        }};
}

// Those that the server shows: they are its own to write.
bool is_shown_service(std::string_view name) {
    return name == "Studio" || name == "Tracking" || name == "Local";
}

Special services_shape() {
    return {
        .shape = "mapping",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                for (const auto& [name, service] : value.members())
                    if (!is_shown_service(name) && !service.is_null())
                        reading.expect_mapping(pointer_to(pointer, name), service);
            },
        // Sent, so that the job's log says that they have no effect yet.
        .to_rest =
            [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
               Json& rest) {
                Json services = Json::object();
                for (const auto& [name, service] : value.members())
                    if (!is_shown_service(name))
                        services.set(
                            name,
                            Json::object({{"jobServiceType", service.at("type").as_string(name)}}));
                if (!services.members().empty())
                    set_path(rest, "properties.services", std::move(services));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& services = at_path(rest, "properties.services");
            if (!services.is_object()) return {};
            Json out = Json::object();
            for (const auto& [name, service] : services.members()) {
                Json entity = Json::object();
                for (const auto& [key, member] : service.members())
                    if (!member.is_null())
                        entity.set(key == "jobServiceType" ? "type" : camel_to_snake(key), member);
                out.set(name, std::move(entity));
            }
            return out;
        }};
}

namespace {
const std::vector<Choice>& priorities() {
    static const std::vector<Choice> choices = {{"low", "1"}, {"medium", "2"}, {"high", "3"}};
    return choices;
}
}  // namespace

namespace {
// As a number, or by its name, as Azure's own clients have it.
void check_priority_of_rest(const Json& rest, RestFindings& findings) {
    const Json& given = rest.at("priority");
    if (given.is_null()) return;
    for (const Choice& choice : priorities())
        if (given.dump() == choice.rest || equal_ignoring_case(given.as_view(), choice.yaml))
            return;
    findings.not_as_expected("priority", "1 (low), 2 (medium) or 3 (high)", given);
}
}  // namespace

Special priority_shape() {
    return {
        .shape = "`low`, `medium`, `high`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (reading.expect_text(pointer, value))
                    check_choice(reading, pointer, priorities());
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope&, Json& rest) {
                if (const Choice* choice = find_choice(priorities(), document.text(pointer, value)))
                    rest.set("priority", yaml_scalar(choice->rest));
            },
        .from_rest = [](const Json& rest) -> Json {
            for (const Choice& choice : priorities())
                if (rest.at("priority").is_int() && choice.rest == rest.at("priority").dump())
                    return choice.yaml;
            return {};
        },
        .check_rest = check_priority_of_rest};
}

Special docker_args_shape() {
    return {.shape = "text or list of texts",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!value.is_array()) return void(reading.expect_text(pointer, value));
                    for (std::size_t i = 0; i < value.items().size(); ++i)
                        reading.expect_text(pointer_to(pointer, i), value.items()[i]);
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope&, Json& rest) {
                    if (!value.is_array())
                        return rest.set("dockerArgs", document.text(pointer, value));
                    Json list = Json::array();
                    for (std::size_t i = 0; i < value.items().size(); ++i)
                        list.push(document.text(pointer_to(pointer, i), value.items()[i]));
                    rest.set("dockerArgsList", std::move(list));
                },
            .from_rest =
                [](const Json& rest) {
                    return rest.at("dockerArgsList").is_array() ? rest.at("dockerArgsList")
                                                                : rest.at("dockerArgs");
                }};
}

void check_references(Reading& reading, const std::string& pointer, const std::string& command,
                      const std::vector<std::pair<std::string, const Json*>>& groups) {
    std::size_t at = 0;
    while ((at = command.find("${{", at)) != std::string::npos) {
        const std::size_t end = command.find("}}", at);
        if (end == std::string::npos)
            return reading.refuse(pointer, "a '${{' is not closed by '}}'");
        const std::string expression(trim(std::string_view(command).substr(at + 3, end - at - 3)));
        at = end;
        for (const auto& [group, declared] : groups) {
            if (!expression.starts_with(group + ".")) continue;
            const std::string name = expression.substr(group.size() + 1);
            if (declared->has(name)) continue;
            std::vector<std::string> known;
            for (const auto& [key, member] : declared->members()) known.push_back(key);
            std::string hint = did_you_mean(name, known);
            if (hint.empty()) hint = known.empty() ? " (there are none)" : ": " + join(known, ", ");
            reading.refuse(pointer, "${{" + expression + "}} is not among the " + group + hint);
        }
    }
}

void check_command_job(Reading& reading, const std::string& pointer, const Json& value) {
    check_references(reading, pointer_to(pointer, "command"), value.at("command").as_string(),
                     {{"inputs", &value.at("inputs")}, {"outputs", &value.at("outputs")}});
}

void finish_command_job(const Json& value, Json& rest) {
    if (value.at("compute").as_view() == "local" ||
        value.at("compute").as_view() == "azureml:local")
        set_path(rest, "properties.environmentVariables.AZUREML_COMPUTE_USE_COMMON_RUNTIME",
                 "true");
}

void check_distribution(Reading& reading, const std::string& pointer, const Json& value) {
    const bool tensorflow = equal_ignoring_case(value.at("type").as_view(), "tensorflow");
    for (const char* key :
         {"process_count_per_instance", "worker_count", "parameter_server_count"}) {
        const Json& count = value.at(key);
        if (count.is_null()) continue;
        const bool of_tensorflow = std::string_view(key) != "process_count_per_instance";
        if (of_tensorflow != tensorflow)
            reading.refuse(
                pointer_to(pointer, key),
                tensorflow ? "is for pytorch and mpi: tensorflow takes worker_count and "
                             "parameter_server_count"
                           : "is for tensorflow: pytorch and mpi take process_count_per_instance");
    }
}

}  // namespace turnout::resources
