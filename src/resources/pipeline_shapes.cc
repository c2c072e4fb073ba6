// The parts of a pipeline that YAML and REST shape differently: its steps. REST keeps a step nearly
// as its YAML is, in snake_case, with its values as literals and with ids in place of names.
#include <algorithm>
#include <iterator>

#include "base/text.h"
#include "resources/parallel_shapes.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {
namespace {

const std::vector<std::string>& keys_of_step() {
    static const std::vector<std::string> keys = {"type",           "component",
                                                  "command",        "code",
                                                  "environment",    "environment_variables",
                                                  "inputs",         "outputs",
                                                  "compute",        "resources",
                                                  "distribution",   "limits",
                                                  "identity",       "queue_settings",
                                                  "services",       "name",
                                                  "display_name",   "description",
                                                  "tags",           "properties",
                                                  "comment",        "is_deterministic",
                                                  "experiment_name"};
    return keys;
}

bool is_binding(std::string_view text) {
    return trim(text).starts_with("${{");
}

// A component defined in place, or in a file of its own: the same keys, but its name is its own.
const Description& inline_component() {
    static const Description description = [] {
        Description copy = command_component();
        for (Field& field : copy.fields)
            if (field.yaml == "name" || field.yaml == "version") field.need = Need::Optional;
        return copy;
    }();
    return description;
}

void check_jobs(Reading& reading, const std::string& pointer, const Json& value);

// A pipeline that is a step: what it takes and gives, and its own steps.
void check_inner_pipeline(Reading& reading, const std::string& pointer, const Json& value) {
    check_keys(reading, pointer, value,
               {"type", "name", "version", "display_name", "description", "tags", "properties",
                "inputs", "outputs", "jobs", "is_deterministic"},
               "a component (pipeline)");
    for (const char* const key : {"inputs", "outputs"})
        if (!value.at(key).is_null()) {
            const Field* field = command_component().find(key);
            field->special.check(reading, pointer_to(pointer, key), value.at(key));
        }
    if (value.at("jobs").is_null())
        return reading.refuse(pointer, "key 'jobs' is missing: expected its steps");
    check_jobs(reading, pointer_to(pointer, "jobs"), value.at("jobs"));
}

bool is_pipeline(const Json& component) {
    return equal_ignoring_case(component.at("type").as_view(), "pipeline") ||
           (component.at("type").is_null() && component.has("jobs"));
}

void check_definition(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_mapping(pointer, value)) return;
    if (is_pipeline(value)) return check_inner_pipeline(reading, pointer, value);
    if (is_parallel(value)) return check_parallel_component(reading, pointer, value);
    const std::string type = value.at("type").as_string("command");
    if (type != "command")
        return reading.refuse(value.has("type") ? pointer_to(pointer, "type") : pointer,
                              "a component of type '" + type +
                                  "' does not run yet: expected command, parallel or "
                                  "pipeline");
    check(inline_component(), reading, pointer);
}

// `component: ./train.yml`: the file's content takes the place of its name; its own paths begin at
// its own folder.
void load_component(Reading& reading, const std::string& pointer, const std::string& text) {
    const std::string path = reading.files.resolve(text);
    if (reading.files.kind(path) != PathKind::File)
        return reading.refuse(pointer,
                              "expected the file of a component, azureml:NAME:VERSION or "
                              "azureml:NAME@latest, but '" +
                                  path + "' is no file");
    const Result<std::string> bytes = reading.files.read(path);
    if (!bytes) return reading.refuse(pointer, "cannot be read: " + bytes.error().message);
    Result<YamlDocument> loaded = parse_yaml(*bytes, path);
    if (!loaded) return reading.refuse(pointer, loaded.error().message);
    if (!loaded->value.is_object())
        return reading.refuse(pointer, "'" + path + "': " + expected("a component", loaded->value));
    constexpr std::size_t deepest = 60;  // files that name each other
    if (std::ranges::count(pointer, '/') > static_cast<std::ptrdiff_t>(deepest))
        return reading.refuse(pointer, "components lie too deep within each other");
    const std::size_t slash = path.rfind('/');
    LocalFiles files = reading.files;
    files.folder = slash == 0 ? "/" : path.substr(0, slash);
    *part_at(reading.document.value, pointer) = loaded->value;
    for (const auto& [inner, mark] : loaded->marks)
        reading.document.overrides.insert_or_assign(
            pointer + inner,
            path + ":" + std::to_string(mark.line) + ":" + std::to_string(mark.column));
    for (const auto& [inner, written] : loaded->written)
        reading.document.written.insert_or_assign(pointer + inner, written);
    Reading there(reading.document, files);
    check_definition(there, pointer, loaded->value);
    std::ranges::move(there.problems, std::back_inserter(reading.problems));
    std::ranges::move(there.local, std::back_inserter(reading.local));
    std::ranges::move(there.references, std::back_inserter(reading.references));
    std::ranges::move(there.inline_environments, std::back_inserter(reading.inline_environments));
}

void check_component_of(Reading& reading, const std::string& pointer, const Json& value) {
    if (value.is_object()) return check_definition(reading, pointer, value);
    if (!reading.expect_text(pointer, value)) return;
    const std::string text = reading.text(pointer);
    if (is_arm_id(text)) return;
    if (text.starts_with("azureml://registries/"))
        return reading.refuse(pointer,
                              "components of a registry are not there yet: expected a "
                              "file, azureml:NAME:VERSION or azureml:NAME@latest");
    if (text.starts_with("azureml:")) return check_reference(reading, pointer, "components", text);
    load_component(reading, pointer, text);
}

void check_step_inputs(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_mapping(pointer, value)) return;
    for (const auto& [name, input] : value.members()) {
        const std::string here = pointer_to(pointer, name);
        if (input.is_null()) continue;  // an optional one
        if (input.is_array()) {
            reading.refuse(here, expected("a literal, ${{parent.…}} or a mapping", input));
            continue;
        }
        if (!input.is_object()) continue;
        check_keys(reading, here, input, {"type", "path", "mode", "value", "description"},
                   "an input");
        if (input.has("value")) continue;
        if (input.at("path").is_null()) {
            reading.refuse(here,
                           "key 'path' is missing: expected a path, URI, azureml:NAME:VERSION or "
                           "${{parent.…}}");
            continue;
        }
        const std::string path = pointer_to(here, "path");
        if (!reading.expect_text(path, input.at("path")) || is_binding(reading.text(path)))
            continue;
        const std::string type = input.at("type").as_string();
        const bool model = type.ends_with("_model");
        check_path(reading, path, input.at("path"), model ? "models" : "data",
                   LocalPath::Role::Input, type != "uri_file",
                   type == "uri_file" || type.empty() || model);
    }
}

void check_step_outputs(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_mapping(pointer, value)) return;
    for (const auto& [name, output] : value.members()) {
        const std::string here = pointer_to(pointer, name);
        if (output.is_null()) continue;
        if (!output.is_object()) {
            if (reading.expect_text(here, output) && !is_binding(reading.text(here)))
                reading.refuse(here, "expected ${{parent.outputs.NAME}} or a mapping, found '" +
                                         reading.text(here) + "'");
            continue;
        }
        check_keys(reading, here, output,
                   {"type", "path", "mode", "name", "version", "description"}, "an output");
        check_registration(reading, here, output);
    }
}

void check_step(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_mapping(pointer, value)) return;
    const bool parallel = is_parallel(value);
    const std::string type = to_lower(value.at("type").as_string("command"));
    if (type != "command" && type != "pipeline" && !parallel)
        return reading.refuse(
            pointer_to(pointer, "type"),
            "steps of type '" + type + "' do not run yet: expected command, parallel or pipeline");
    std::vector<std::string> keys = keys_of_step();
    if (parallel) {
        for (const char* const other : {"command", "code", "environment", "distribution"})
            std::erase(keys, other);
        std::ranges::copy(parallel_keys(), std::back_inserter(keys));
    }
    check_keys(reading, pointer, value, keys, "a step");
    const auto part = [&](const char* key) { return pointer_to(pointer, key); };
    const bool of_component = !value.at("component").is_null();
    if (parallel) check_parallel(reading, pointer, value, !of_component);
    if (of_component) {
        check_component_of(reading, part("component"), value.at("component"));
        for (const char* const key : {"command", "code"})
            if (!value.at(key).is_null())
                reading.refuse(part(key), "is the component's: leave it out, or the component");
    } else if (parallel) {
        // all of it was looked at
    } else if (type == "pipeline") {
        reading.refuse(pointer,
                       "key 'component' is missing: expected the file of a pipeline "
                       "component, or azureml:NAME:VERSION");
    } else {
        for (const char* const key : {"command", "environment"})
            if (value.at(key).is_null())
                reading.refuse(pointer, "key '" + std::string(key) +
                                            "' is missing: a step has a component, or a command "
                                            "and an environment");
        if (!value.at("command").is_null())
            reading.expect_text(part("command"), value.at("command"));
        if (!value.at("code").is_null())
            command_job().find("code")->special.check(reading, part("code"), value.at("code"));
    }
    if (!value.at("environment").is_null())
        command_job()
            .find("environment")
            ->special.check(reading, part("environment"), value.at("environment"));
    if (const Json& compute = value.at("compute");
        !compute.is_null() && !is_binding(compute.as_view()))
        command_job().find("compute")->special.check(reading, part("compute"), compute);
    if (!value.at("inputs").is_null())
        check_step_inputs(reading, part("inputs"), value.at("inputs"));
    if (!value.at("outputs").is_null())
        check_step_outputs(reading, part("outputs"), value.at("outputs"));
    if (const Json& variables = value.at("environment_variables"); !variables.is_null())
        if (reading.expect_mapping(part("environment_variables"), variables))
            for (const auto& [name, text] : variables.members())
                reading.expect_text(pointer_to(part("environment_variables"), name), text);
    for (const char* const key :
         {"resources", "distribution", "limits", "queue_settings", "identity"})
        if (!value.at(key).is_null() && reading.expect_mapping(part(key), value.at(key)) &&
            value.at(key).dump().find("${{") == std::string::npos)
            check(*command_job().find(key)->object, reading, part(key));
}

void check_jobs(Reading& reading, const std::string& pointer, const Json& value) {
    if (!reading.expect_mapping(pointer, value)) return;
    if (value.members().empty())
        return reading.refuse(pointer, "is empty: expected at least one step, by its name");
    for (const auto& [name, step] : value.members())
        check_step(reading, pointer_to(pointer, name), step);
}

// ---- to REST

Json literal(const YamlDocument& document, const std::string& pointer, const Json& value) {
    std::string text =
        value.is_bool() ? (value.as_bool() ? "True" : "False") : document.text(pointer, value);
    return Json::object({{"value", std::move(text)}, {"job_input_type", "literal"}});
}

// Azure's SDK reads no other words of a step.
std::string rest_of_mode(std::string_view mode) {
    for (const auto& [yaml, rest] :
         std::initializer_list<std::pair<std::string_view, std::string_view>>{
             {"ro_mount", "ReadOnlyMount"},
             {"mount", "ReadOnlyMount"},
             {"rw_mount", "ReadWriteMount"},
             {"download", "Download"},
             {"upload", "Upload"},
             {"direct", "Direct"}})
        if (mode == yaml) return std::string(rest);
    return std::string(mode);
}

Json inputs_to_rest(const YamlDocument& document, const std::string& pointer, const Json& value,
                    const Scope& scope) {
    Json inputs = Json::object();
    for (const auto& [name, input] : value.members()) {
        const std::string here = pointer_to(pointer, name);
        if (input.is_null()) continue;
        if (!input.is_object()) {
            inputs.set(name, literal(document, here, input));
            continue;
        }
        const bool by_value = input.has("value");
        const std::string at = pointer_to(here, by_value ? "value" : "path");
        const Json& said = input.at(by_value ? "value" : "path");
        Json out;
        if (by_value || is_binding(document.text(at, said))) {
            out = literal(document, at, said);
        } else {
            const std::string type = input.at("type").as_string("uri_folder");
            out =
                Json::object({{"job_input_type", type},
                              {"uri", arm_id_of(scope, type.ends_with("_model") ? "models" : "data",
                                                document.text(at, said))}});
        }
        if (!input.at("mode").is_null()) out.set("mode", rest_of_mode(input.at("mode").as_view()));
        inputs.set(name, std::move(out));
    }
    return inputs;
}

Json outputs_to_rest(const YamlDocument& document, const std::string& pointer, const Json& value) {
    Json outputs = Json::object();
    for (const auto& [name, output] : value.members()) {
        const std::string here = pointer_to(pointer, name);
        if (output.is_null()) {
            outputs.set(name, Json::object());
        } else if (!output.is_object()) {
            outputs.set(
                name, Json::object({{"value", document.text(here, output)}, {"type", "literal"}}));
        } else {
            Json out = Json::object();
            const std::string path = document.text(pointer_to(here, "path"), output.at("path"));
            if (is_binding(path) && path.find("parent.outputs.") != std::string::npos) {
                out.set("value", path);
                out.set("type", "literal");
            } else {
                if (!path.empty()) out.set("uri", path);
                if (!output.at("type").is_null()) out.set("job_output_type", output.at("type"));
            }
            if (!output.at("mode").is_null())
                out.set("mode", rest_of_mode(output.at("mode").as_view()));
            set_registration(document, here, output, out);
            outputs.set(name, std::move(out));
        }
    }
    return outputs;
}

Json jobs_to_rest(const YamlDocument& document, const std::string& pointer, const Json& value,
                  const Scope& scope);

Json component_to_rest(const YamlDocument& document, const std::string& pointer, const Json& value,
                       const Scope& scope) {
    Json spec;
    if (is_pipeline(value)) {
        spec = Json::object({{"type", "pipeline"}});
        for (const char* const key : {"name", "version", "display_name", "description"})
            if (!value.at(key).is_null()) spec.set(key, value.at(key));
        for (const char* const key : {"inputs", "outputs"})
            if (!value.at(key).is_null()) spec.set(key, value.at(key));
        spec.set("jobs",
                 jobs_to_rest(document, pointer_to(pointer, "jobs"), value.at("jobs"), scope));
        return spec;
    }
    if (is_parallel(value)) return parallel_component_to_rest(document, pointer, value, scope);
    // As if it were the whole document, since its parts say where they go by where they stand.
    YamlDocument alone;
    alone.file = document.file;
    alone.value = value;
    for (const auto& [inner, written] : document.written)
        if (inner.starts_with(pointer + "/"))
            alone.written.emplace(inner.substr(pointer.size()), written);
    return to_rest(inline_component(), alone, "", scope).at("properties").at("componentSpec");
}

// A step that is written as a command job.
Json command_to_rest(const YamlDocument& document, const std::string& pointer, const Json& step,
                     const Scope& scope) {
    Json spec = Json::object({{"type", "command"}, {"_source", "YAML.JOB"}});
    const auto text = [&](const char* key) {
        return document.text(pointer_to(pointer, key), step.at(key));
    };
    spec.set("command", text("command"));
    if (!step.at("code").is_null()) spec.set("code", arm_id_of(scope, "codes", text("code")));
    return spec;
}

Json step_to_rest(const YamlDocument& document, const std::string& pointer, const std::string& name,
                  const Json& step, const Scope& scope) {
    Json rest = Json::object({{"name", name}});
    const Json& component = step.at("component");
    const bool nested = component.is_object()
                            ? is_pipeline(component)
                            : equal_ignoring_case(step.at("type").as_view(), "pipeline");
    const bool parallel = is_parallel(step) || is_parallel(component);
    rest.set("type", nested ? "pipeline" : parallel ? "parallel" : "command");
    const std::string at = pointer_to(pointer, "component");
    if (component.is_object())
        rest.set("component", component_to_rest(document, at, component, scope));
    else if (!component.is_null())
        rest.set("componentId", arm_id_of(scope, "components", document.text(at, component)));
    else if (parallel)
        rest.set("component", parallel_in_place(document, pointer, step, scope));
    else
        rest.set("component", command_to_rest(document, pointer, step, scope));
    if (parallel && !component.is_null()) parallel_to_rest(document, pointer, step, scope, rest);
    if (const Json& environment = step.at("environment"); environment.is_object())
        rest.set("environment", environment);
    else if (!environment.is_null())
        rest.set("environment",
                 arm_id_of(scope, "environments",
                           document.text(pointer_to(pointer, "environment"), environment)));
    if (const Json& compute = step.at("compute"); !compute.is_null()) {
        const std::string text = document.text(pointer_to(pointer, "compute"), compute);
        const std::string_view bare = without_prefix(text);
        // What is around a step may say another one.
        rest.set("computeId", bare == "serverless" || bare == "local" ? std::string("local")
                              : is_arm_id(text) || is_binding(text)
                                  ? std::string(bare)
                                  : scope.workspace_path + "/computes/" + std::string(bare));
    }
    rest.set("inputs",
             inputs_to_rest(document, pointer_to(pointer, "inputs"), step.at("inputs"), scope));
    rest.set("outputs",
             outputs_to_rest(document, pointer_to(pointer, "outputs"), step.at("outputs")));
    for (const char* const key :
         {"resources", "distribution", "limits", "identity", "queue_settings", "display_name",
          "description", "tags", "comment", "properties"})
        if (!step.at(key).is_null()) rest.set(key, step.at(key));
    if (const Json& variables = step.at("environment_variables"); !variables.is_null()) {
        Json texts = Json::object();
        const std::string here = pointer_to(pointer, "environment_variables");
        for (const auto& [variable, text] : variables.members())
            texts.set(variable, document.text(pointer_to(here, variable), text));
        rest.set("environment_variables", std::move(texts));
    }
    return rest;
}

Json jobs_to_rest(const YamlDocument& document, const std::string& pointer, const Json& value,
                  const Scope& scope) {
    Json jobs = Json::object();
    for (const auto& [name, step] : value.members())
        jobs.set(name, step_to_rest(document, pointer_to(pointer, name), name, step, scope));
    return jobs;
}

// ---- from REST

Json step_from_rest(const Json& rest) {
    Json step = Json::object({{"type", rest.at("type").as_string("command")}});
    // One that was written in place has both.
    if (!rest.at("component").is_object() && !rest.at("componentId").is_null())
        step.set("component", short_name_of(rest.at("componentId").as_view(), "components"));
    else if (rest.at("component").at("_source").as_view() == "YAML.JOB" &&
             is_parallel(rest.at("component")))
        for (const std::string& key : parallel_keys()) step.set(key, rest.at("component").at(key));
    else if (rest.at("component").at("_source").as_view() == "YAML.JOB")
        for (const char* const key : {"command", "code"}) {
            if (const Json& said = rest.at("component").at(key); !said.is_null())
                step.set(key, key == std::string_view("code")
                                  ? Json(short_name_of(said.as_view(), "codes"))
                                  : said);
        }
    else if (!rest.at("component").is_null())
        step.set("component", rest.at("component"));
    if (is_parallel(rest))
        for (const std::string& key : parallel_keys())
            if (!rest.at(key).is_null()) step.set(key, rest.at(key));
    if (const Json& environment = rest.at("environment"); environment.is_string())
        step.set("environment", short_name_of(environment.as_view(), "environments"));
    if (const Json& compute = rest.at("computeId"); compute.is_string())
        step.set("compute", short_name_of(compute.as_view(), "computes"));
    Json inputs = Json::object();
    for (const auto& [name, input] : rest.at("inputs").members()) {
        if (!input.at("uri").is_null()) {
            Json data =
                Json::object({{"type", input.at("job_input_type")}, {"path", input.at("uri")}});
            if (!input.at("mode").is_null()) data.set("mode", input.at("mode"));
            inputs.set(name, std::move(data));
        } else {
            inputs.set(name, input.is_object() ? input.at("value") : input);
        }
    }
    if (!inputs.members().empty()) step.set("inputs", std::move(inputs));
    Json outputs = Json::object();
    for (const auto& [name, output] : rest.at("outputs").members())
        outputs.set(name, output.at("value").is_null() ? output : output.at("value"));
    if (!outputs.members().empty()) step.set("outputs", std::move(outputs));
    for (const char* const key :
         {"resources", "distribution", "limits", "identity", "queue_settings", "display_name",
          "description", "tags", "comment", "environment_variables"})
        if (const Json& said = rest.at(key); !said.is_null() && said.dump() != "{}")
            step.set(key, said);
    return step;
}

}  // namespace

Special steps_shape() {
    return {.shape =
                "mapping: name to a step: `component`, or `command` and `environment`; `inputs`, "
                "`outputs`, `compute`, and what else a command job has",
            .check = check_jobs,
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope& scope, Json& rest) {
                    set_path(rest, "properties.jobs",
                             jobs_to_rest(document, pointer, value, scope));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& jobs = at_path(rest, "properties.jobs");
                if (!jobs.is_object()) return {};
                Json out = Json::object();
                for (const auto& [name, step] : jobs.members()) out.set(name, step_from_rest(step));
                return out;
            }};
}

Special default_compute_shape() {
    Special shape = compute_shape();
    shape.shape = "`azureml:NAME`, `NAME` or `serverless`";
    shape.to_rest = [](const YamlDocument& document, const std::string& pointer, const Json& value,
                       const Scope& scope, Json& rest) {
        const std::string text = document.text(pointer, value);
        const std::string_view name = without_prefix(text);
        if (name == "serverless" || name == "local") return;
        set_path(rest, "properties.settings.default_compute",
                 is_arm_id(text) ? std::string(name)
                                 : scope.workspace_path + "/computes/" + std::string(name));
    };
    shape.from_rest = [](const Json& rest) -> Json {
        const Json& id = at_path(rest, "properties.settings.default_compute");
        return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "computes"));
    };
    return shape;
}

// In `settings` it is named as everywhere.
Special settings_compute_shape() {
    Special shape = default_compute_shape();
    shape.to_rest = [](const YamlDocument& document, const std::string& pointer, const Json& value,
                       const Scope& scope, Json& rest) {
        const std::string text = document.text(pointer, value);
        const std::string_view name = without_prefix(text);
        if (name == "serverless" || name == "local") return;
        rest.set("default_compute", is_arm_id(text)
                                        ? std::string(name)
                                        : scope.workspace_path + "/computes/" + std::string(name));
    };
    shape.from_rest = [](const Json& rest) -> Json {
        const Json& id = rest.at("default_compute");
        return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "computes"));
    };
    return shape;
}

void check_pipeline_job(Reading& reading, const std::string& pointer, const Json& value) {
    if (!value.at("compute").is_null() && !value.at("settings").at("default_compute").is_null())
        reading.refuse(pointer_to(pointer_to(pointer, "settings"), "default_compute"),
                       "is said by 'compute' already: expected one of them");
}

}  // namespace turnout::resources
