#include "spec/shapes.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "spec/resources.h"

namespace turnout::spec {

namespace {

// The segment after "/{kind}/" in an ARM id, "" if there is none.
std::string segment_after(std::string_view id, std::string_view kind) {
    const std::vector<std::string> parts = split(id, '/');
    for (std::size_t i = 0; i + 1 < parts.size(); ++i)
        if (equal_ignoring_case(parts[i], kind)) return parts[i + 1];
    return {};
}

std::string_view without_prefix(std::string_view text) {
    if (text.starts_with("azureml:") && !text.starts_with("azureml://")) text.remove_prefix(8);
    return text;
}

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

// One field of a nested mapping, checked as a choice.
void check_choice(Reading& reading, const std::string& pointer,
                  const std::vector<Choice>& choices) {
    const std::string text = reading.text(pointer);
    const Choice* choice = find_choice(choices, text);
    if (choice != nullptr && choice->refused.empty()) return;
    if (choice != nullptr) return reading.refuse(pointer, choice->refused);
    std::vector<std::string> known;
    for (const Choice& each : choices)
        if (each.refused.empty()) known.push_back(each.yaml);
    reading.refuse(pointer, "expected one of " + join(known, ", ") + ", found '" + text + "'" +
                                did_you_mean(text, known));
}

// A reference to an asset: reported if it cannot be one, recorded otherwise.
void check_reference(Reading& reading, const std::string& pointer, const std::string& kind,
                     const std::string& text) {
    if (is_arm_id(text) || text.starts_with("azureml://")) return;
    const Result<AssetName> name = parse_asset_name(text);
    if (!name)
        reading.refuse(pointer, name.error().message);
    else
        reading.references.push_back({kind, pointer, text});
}

// A data or model path: a URI, a registered asset, or something local to upload.
void check_path(Reading& reading, const std::string& pointer, const Json& value,
                const std::string& kind, LocalPath::Role role, bool folder, bool file) {
    if (!reading.expect_text(pointer, value)) return;
    const std::string text = reading.text(pointer);
    if (text.empty()) return reading.refuse(pointer, "is empty: expected a path or URI");
    if (is_remote_path(text) || is_arm_id(text)) return;
    if (text.starts_with("azureml:")) return check_reference(reading, pointer, kind, text);
    reading.expect_path(pointer, text, role, folder, file);
}

}  // namespace

void check_keys(Reading& reading, const std::string& pointer, const Json& value,
                const std::vector<std::string>& known, std::string_view what) {
    for (const auto& [key, member] : value.members()) {
        if (std::find(known.begin(), known.end(), key) != known.end()) continue;
        std::string hint = did_you_mean(key, known);
        if (hint.empty()) hint = ": expected one of " + join(known, ", ");
        reading.refuse(pointer_to(pointer, key), "is not a key of " + std::string(what) + hint);
    }
}

std::string short_name_of(std::string_view arm_id, std::string_view kind) {
    if (!is_arm_id(arm_id)) return std::string(arm_id);
    const std::string name = segment_after(arm_id, kind);
    const std::string version = segment_after(arm_id, "versions");
    if (name.empty()) return std::string(arm_id);
    return "azureml:" + name + (version.empty() ? "" : ":" + version);
}

std::string arm_id_of(const Scope& scope, std::string_view kind, std::string_view text) {
    if (is_arm_id(text)) return std::string(without_prefix(text));
    if (is_remote_path(text)) return std::string(text);
    const Result<AssetName> name = parse_asset_name(text);
    if (!name || name->version.empty())
        return text.starts_with("azureml:") ? std::string(text) : "azureml:" + std::string(text);
    return scope.workspace_path + "/" + std::string(kind) + "/" + name->name + "/versions/" +
           name->version;
}

// ---- command job ----

Special code_shape() {
    return {.shape = "folder, or a registered code asset",
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
                    reading.expect_path(pointer, text, LocalPath::Role::Code, true, false);
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
    return {
        .shape = "`azureml:NAME`, `NAME`, `local` or `serverless`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_text(pointer, value)) return;
                const std::string text = reading.text(pointer);
                if (is_arm_id(text)) return;
                const std::string_view name = without_prefix(text);
                const bool good = !name.empty() && name.size() <= 64 &&
                                  std::all_of(name.begin(), name.end(), [](char c) {
                                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                             (c >= '0' && c <= '9') || c == '-' || c == '_';
                                  });
                if (!good)
                    reading.refuse(
                        pointer, "expected the name of a compute (letters, digits, '-'), found '" +
                                     text + "'");
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
                         is_arm_id(text) ? std::string(name)
                                         : scope.workspace_path + "/computes/" + std::string(name));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& id = at_path(rest, "properties.computeId");
            if (!id.is_null()) return short_name_of(id.as_view(), "computes");
            if (!at_path(rest, "properties.resources.properties.IsLocal").is_null()) return "local";
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

Special outputs_shape() {
    return {
        .shape = "mapping: name to nothing, or to `type`, `path`, `mode`",
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
                    for (const char* key : {"name", "version"})
                        if (!output.at(key).is_null())
                            reading.refuse(pointer_to(here, key),
                                           "registering an output as an asset does not work yet: "
                                           "use `turnout data "
                                           "create --path azureml://jobs/JOB/outputs/" +
                                               name + "` after the job");
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
        }};
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
    check_job_name(reading, pointer_to(pointer, "name"), value.at("name"));
}

void finish_command_job(const Json& value, Json& rest) {
    if (value.at("compute").as_view() == "local" ||
        value.at("compute").as_view() == "azureml:local")
        set_path(rest, "properties.environmentVariables.AZUREML_COMPUTE_USE_COMMON_RUNTIME",
                 "true");
}

// ---- assets ----

namespace {
void accept_text(Reading& reading, const std::string& pointer, const Json& value) {
    reading.expect_text(pointer, value);
}
void send_nothing(const YamlDocument&, const std::string&, const Json&, const Scope&, Json&) {}
}  // namespace

Special asset_name_shape() {
    return {.shape = "text",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_text(pointer, value)) return;
                    const std::string name = reading.text(pointer);
                    const bool good = !name.empty() && name.size() <= 255 &&
                                      name.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                          "0123456789-_.") == std::string::npos &&
                                      name[0] != '-' && name[0] != '.';
                    if (!good)
                        reading.refuse(
                            pointer,
                            "expected letters, digits, '-', '_' and '.', found '" + name + "'");
                },
            .to_rest = send_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const std::vector<std::string> parts = split(rest.at("id").as_view(), '/');
                for (std::size_t i = 2; i < parts.size(); ++i)
                    if (parts[i] == "versions") return parts[i - 1];
                return rest.at("name");
            }};
}

Special asset_version_shape() {
    return {.shape = "text",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_text(pointer, value)) return;
                    const std::string version = reading.text(pointer);
                    if (version.empty() || version.size() > 128 ||
                        version.find_first_not_of(
                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
                            std::string::npos)
                        reading.refuse(
                            pointer,
                            "expected letters, digits, '-', '_' and '.', found '" + version + "'");
                },
            .to_rest = send_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const std::string version = segment_after(rest.at("id").as_view(), "versions");
                return version.empty() ? Json() : Json(version);
            }};
}

Special resource_id_shape(bool with_prefix) {
    return {.shape = "text",
            .check = accept_text,
            .to_rest = send_nothing,
            .from_rest = with_prefix ? +[](const Json& rest) -> Json {
                return rest.at("id").is_null() ? Json()
                                               : Json("azureml:" + rest.at("id").as_string());
            }
            : +[](const Json& rest) -> Json { return rest.at("id"); }};
}

Special resource_group_shape() {
    return {.shape = "text",
            .check = accept_text,
            .to_rest = send_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const std::string group = segment_after(rest.at("id").as_view(), "resourceGroups");
                return group.empty() ? Json() : Json(group);
            }};
}

Special creation_context_shape() {
    return {.shape = "mapping",
            .check = accept_text,
            .to_rest = send_nothing,
            .from_rest = [](const Json& rest) -> Json {
                const Json& data = rest.at("systemData");
                if (!data.is_object() || data.members().empty()) return {};
                Json out = Json::object();
                for (const auto& [key, member] : data.members())
                    if (!member.is_null()) out.set(camel_to_snake(key), member);
                return out;
            }};
}

Special conda_file_shape() {
    return {
        .shape = "path of a conda file, or its content as a mapping",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                Json* part = part_at(reading.document.value, pointer);
                std::string content;
                if (value.is_object()) {
                    content = to_yaml(value);
                } else {
                    if (!reading.expect_text(pointer, value)) return;
                    const std::string text = reading.text(pointer);
                    if (text.find('\n') != std::string::npos) {
                        content = text;
                    } else {
                        const std::string path = reading.files.resolve(text);
                        if (reading.files.kind(path) != PathKind::File)
                            return reading.refuse(pointer,
                                                  "expected a file on this machine, but '" + path +
                                                      (reading.files.kind(path) == PathKind::Folder
                                                           ? "' is a folder"
                                                           : "' does not exist"));
                        Result<std::string> bytes = reading.files.read(path);
                        if (!bytes) return reading.refuse(pointer, bytes.error().message);
                        if (Result<YamlDocument> conda = parse_yaml(*bytes, path); !conda)
                            return reading.refuse(pointer, conda.error().message);
                        else if (!conda->value.is_object())
                            return reading.refuse(
                                pointer,
                                path + ": " + expected("a conda file (a mapping)", conda->value));
                        content = std::move(*bytes);
                    }
                }
                *part = Json(content);  // from here on the content itself
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope&, Json& rest) {
                set_path(rest, "properties.condaFile", document.text(pointer, value));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& file = at_path(rest, "properties.condaFile");
            if (!file.is_string()) return {};
            if (Result<YamlDocument> conda = parse_yaml(file.as_view(), "conda");
                conda && conda->value.is_object())
                return conda->value;
            return file;
        }};
}

Special build_shape() {
    return {.shape = "mapping: `path`, `dockerfile_path`",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_mapping(pointer, value)) return;
                    check_keys(reading, pointer, value, {"path", "dockerfile_path"}, "a build");
                    if (value.at("path").is_null())
                        return reading.refuse(
                            pointer,
                            "key 'path' is missing: expected the folder of the Dockerfile");
                    const std::string here = pointer_to(pointer, "path");
                    if (!reading.expect_text(here, value.at("path"))) return;
                    const std::string path = reading.text(here);
                    if (is_remote_path(path)) return;
                    const std::size_t before = reading.problems.size();
                    reading.expect_path(here, path, LocalPath::Role::BuildContext, true, false);
                    if (reading.problems.size() != before) return;
                    const std::string name = value.at("dockerfile_path").as_string("Dockerfile");
                    const std::string dockerfile = reading.files.resolve(path) + "/" + name;
                    if (reading.files.kind(dockerfile) != PathKind::File)
                        reading.refuse(here, "expected a Dockerfile in it, but '" + dockerfile +
                                                 "' does not exist");
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope&, Json& rest) {
                    const std::string path = pointer_to(pointer, "path");
                    set_path(rest, "properties.build.contextUri",
                             document.text(path, value.at("path")));
                    set_path(rest, "properties.build.dockerfilePath",
                             value.at("dockerfile_path").as_string("Dockerfile"));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& build = at_path(rest, "properties.build");
                if (!build.is_object()) return {};
                Json out = Json::object({{"path", build.at("contextUri")}});
                if (!build.at("dockerfilePath").is_null())
                    out.set("dockerfile_path", build.at("dockerfilePath"));
                return out;
            }};
}

Special data_path_shape() {
    return {
        .shape = "local path, or a URI",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                const std::string type = reading.text(pointer_to(parent_of(pointer), "type"));
                check_path(reading, pointer, value, "data", LocalPath::Role::Data,
                           type != "uri_file", type == "uri_file");
                // An MLTable is a folder with a file of that name in it.
                if (type == "mltable" && !reading.local.empty() &&
                    reading.local.back().pointer == pointer &&
                    reading.files.kind(reading.local.back().path + "/MLTable") != PathKind::File)
                    reading.refuse(pointer, "expected a folder with a file 'MLTable' in it, but '" +
                                                reading.local.back().path + "' has none");
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope& scope, Json& rest) {
                set_path(rest, "properties.dataUri",
                         arm_id_of(scope, "data", document.text(pointer, value)));
            },
        .from_rest = [](const Json& rest) { return at_path(rest, "properties.dataUri"); }};
}

Special model_path_shape() {
    return {.shape = "local path, or a URI",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    check_path(reading, pointer, value, "models", LocalPath::Role::Model, true,
                               true);
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope& scope, Json& rest) {
                    set_path(rest, "properties.modelUri",
                             arm_id_of(scope, "models", document.text(pointer, value)));
                },
            .from_rest = [](const Json& rest) { return at_path(rest, "properties.modelUri"); }};
}

// ---- computes and datastores ----

namespace {
const std::vector<Choice>& compute_identities() {
    static const std::vector<Choice> choices = {
        {"system_assigned", "SystemAssigned"},
        {"user_assigned", "UserAssigned"},
        {"system_assigned_user_assigned", "SystemAssigned,UserAssigned"},
        {"none", "None"}};
    return choices;
}
}  // namespace

Special compute_identity_shape() {
    return {
        .shape = "mapping: `type`, `user_assigned_identities`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                check_keys(reading, pointer, value,
                           {"type", "user_assigned_identities", "principal_id", "tenant_id"},
                           "an identity");
                if (value.at("type").is_null())
                    reading.refuse(pointer, "key 'type' is missing");
                else
                    check_choice(reading, pointer_to(pointer, "type"), compute_identities());
                const Json& users = value.at("user_assigned_identities");
                if (users.is_null()) return;
                const std::string list = pointer_to(pointer, "user_assigned_identities");
                if (!reading.expect_list(list, users)) return;
                for (std::size_t i = 0; i < users.items().size(); ++i)
                    if (!users.items()[i].at("resource_id").is_string())
                        reading.refuse(pointer_to(list, i),
                                       "expected a mapping with 'resource_id'");
            },
        .to_rest =
            [](const YamlDocument&, const std::string&, const Json& value, const Scope&,
               Json& rest) {
                const Choice* type = find_choice(compute_identities(), value.at("type").as_view());
                Json identity = Json::object({{"type", type != nullptr ? type->rest : "None"}});
                if (value.at("user_assigned_identities").is_array()) {
                    Json users = Json::object();
                    for (const Json& user : value.at("user_assigned_identities").items())
                        users.set(user.at("resource_id").as_view(), Json::object());
                    identity.set("userAssignedIdentities", std::move(users));
                }
                rest.set("identity", std::move(identity));
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& identity = rest.at("identity");
            const Choice* type = find_choice(compute_identities(), identity.at("type").as_view());
            if (type == nullptr) return {};
            Json out = Json::object({{"type", type->yaml}});
            if (identity.at("userAssignedIdentities").is_object()) {
                Json users = Json::array();
                for (const auto& [id, user] : identity.at("userAssignedIdentities").members())
                    users.push(Json::object({{"resource_id", id}}));
                out.set("user_assigned_identities", std::move(users));
            }
            return out;
        }};
}

Special ssh_settings_shape() {
    return {
        .shape = "mapping",
        .check = [](Reading& reading, const std::string& pointer,
                    const Json& value) { reading.expect_mapping(pointer, value); },
        // Not sent: a password in it would be of no use there.
        .to_rest = [](const YamlDocument&, const std::string&, const Json&, const Scope&, Json&) {},
        .from_rest = [](const Json&) -> Json { return {}; }};
}

Special ssh_access_shape() {
    return {.shape = "true or false",
            .check = [](Reading& reading, const std::string& pointer,
                        const Json& value) { (void)reading.expect_flag(pointer, value); },
            .to_rest =
                [](const YamlDocument&, const std::string&, const Json&, const Scope&, Json& rest) {
                    set_path(rest, "properties.properties.remoteLoginPortPublicAccess", "Disabled");
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& access =
                    at_path(rest, "properties.properties.remoteLoginPortPublicAccess");
                if (access.as_view() == "Disabled") return false;
                if (access.as_view() == "Enabled") return true;
                return {};
            }};
}

Special credentials_shape() {
    return {
        .shape = "mapping: `account_key` or `sas_token`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                check_keys(reading, pointer, value, {"account_key", "sas_token"},
                           "the credentials of azure_blob");
                if (value.has("account_key") && value.has("sas_token"))
                    reading.refuse(pointer, "expected either account_key or sas_token, found both");
                for (const auto& [key, member] : value.members())
                    if (key == "account_key" || key == "sas_token")
                        reading.expect_text(pointer_to(pointer, key), member);
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope&, Json& rest) {
                Json out = Json::object({{"credentialsType", "None"}});
                if (value.has("account_key"))
                    out = Json::object(
                        {{"credentialsType", "AccountKey"},
                         {"secrets",
                          Json::object({{"secretsType", "AccountKey"},
                                        {"key", document.text(pointer_to(pointer, "account_key"),
                                                              value.at("account_key"))}})}});
                else if (value.has("sas_token"))
                    out = Json::object(
                        {{"credentialsType", "Sas"},
                         {"secrets",
                          Json::object({{"secretsType", "Sas"},
                                        {"sasToken", document.text(pointer_to(pointer, "sas_token"),
                                                                   value.at("sas_token"))}})}});
                set_path(rest, "properties.credentials", std::move(out));
            },
        // Secrets never come back: an empty mapping tells that there is one.
        .from_rest = [](const Json& rest) -> Json {
            return at_path(rest, "properties.credentials").is_object() ? Json::object() : Json();
        }};
}

}  // namespace turnout::spec
