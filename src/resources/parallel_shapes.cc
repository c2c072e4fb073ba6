#include "resources/parallel_shapes.h"

#include "base/text.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {

const std::vector<std::string>& parallel_keys() {
    static const std::vector<std::string> keys = {
        "task",           "input_data",      "mini_batch_size",
        "partition_keys", "logging_level",   "max_concurrency_per_instance",
        "retry_settings", "error_threshold", "mini_batch_error_threshold"};
    return keys;
}

bool is_parallel(const Json& step) {
    return equal_ignoring_case(step.at("type").as_view(), "parallel") ||
           (step.at("type").is_null() && step.at("task").is_object());
}

void check_parallel(Reading& reading, const std::string& pointer, const Json& value, bool whole) {
    const auto part = [&](const char* key) { return pointer_to(pointer, key); };
    if (whole)
        for (const char* const key : {"task", "input_data"})
            if (value.at(key).is_null())
                reading.refuse(pointer, "key '" + std::string(key) +
                                            "' is missing: a parallel step has a task and its "
                                            "input_data");
    for (const char* const key :
         {"input_data", "mini_batch_size", "logging_level", "max_concurrency_per_instance",
          "error_threshold", "mini_batch_error_threshold"})
        if (!value.at(key).is_null()) reading.expect_text(part(key), value.at(key));
    if (const Json& keys = value.at("partition_keys"); !keys.is_null())
        reading.expect_list(part("partition_keys"), keys);
    if (const Json& retries = value.at("retry_settings");
        !retries.is_null() && reading.expect_mapping(part("retry_settings"), retries))
        check_keys(reading, part("retry_settings"), retries, {"max_retries", "timeout"},
                   "retry_settings");
    const Json& task = value.at("task");
    if (task.is_null() || !reading.expect_mapping(part("task"), task)) return;
    const auto inner = [&](const char* key) { return pointer_to(part("task"), key); };
    check_keys(
        reading, part("task"), task,
        {"type", "code", "entry_script", "environment", "program_arguments", "append_row_to"},
        "a task");
    if (const std::string type = task.at("type").as_string("run_function"); type != "run_function")
        reading.refuse(inner("type"), "expected run_function, found '" + type + "'");
    for (const char* const key : {"entry_script", "program_arguments", "append_row_to"})
        if (!task.at(key).is_null()) reading.expect_text(inner(key), task.at(key));
    if (whole)
        for (const char* const key : {"code", "entry_script", "environment"})
            if (task.at(key).is_null())
                reading.refuse(part("task"), "key '" + std::string(key) +
                                                 "' is missing: a task has code, an entry_script "
                                                 "in it and an environment");
    if (!task.at("code").is_null())
        command_job().find("code")->special.check(reading, inner("code"), task.at("code"));
    if (const Json& environment = task.at("environment"); !environment.is_null())
        command_job()
            .find("environment")
            ->special.check(reading, inner("environment"), environment);
}

void check_parallel_component(Reading& reading, const std::string& pointer, const Json& value) {
    std::vector<std::string> keys = parallel_keys();
    for (const char* const key :
         {"$schema", "type", "name", "version", "display_name", "description", "tags", "properties",
          "inputs", "outputs", "resources", "environment_variables", "is_deterministic"})
        keys.emplace_back(key);
    check_keys(reading, pointer, value, keys, "a component (parallel)");
    for (const char* const key : {"inputs", "outputs", "resources"})
        if (!value.at(key).is_null())
            command_component().find(key)->special.check(reading, pointer_to(pointer, key),
                                                         value.at(key));
    check_parallel(reading, pointer, value, true);
}

void parallel_to_rest(const YamlDocument& document, const std::string& pointer, const Json& step,
                      const Scope& scope, Json& rest) {
    const auto text = [&](const std::string& at, const Json& value) {
        return document.text(at, value);
    };
    for (const std::string& key : parallel_keys()) {
        const Json& value = step.at(key);
        if (value.is_null() || key == "task") continue;
        rest.set(key, value.is_object() || value.is_array()
                          ? value
                          : text(pointer_to(pointer, key), value));
    }
    const Json& said = step.at("task");
    if (!said.is_object()) return;
    const std::string at = pointer_to(pointer, "task");
    Json task = Json::object();
    for (const auto& [key, value] : said.members()) {
        const std::string here = pointer_to(at, key);
        if (key == "code")
            task.set(key, arm_id_of(scope, "codes", text(here, value)));
        else if (key == "environment" && !value.is_object())
            task.set(key, arm_id_of(scope, "environments", text(here, value)));
        else  // an environment in place is registered before a job is sent
            task.set(key, value);
    }
    rest.set("task", std::move(task));
}

Json parallel_component_to_rest(const YamlDocument& document, const std::string& pointer,
                                const Json& value, const Scope& scope) {
    Json spec = Json::object({{"type", "parallel"}});
    for (const char* const key :
         {"name", "version", "display_name", "description", "tags", "inputs", "outputs",
          "resources", "environment_variables", "is_deterministic"})
        if (!value.at(key).is_null()) spec.set(key, value.at(key));
    parallel_to_rest(document, pointer, value, scope, spec);
    return spec;
}

Json parallel_in_place(const YamlDocument& document, const std::string& pointer, const Json& step,
                       const Scope& scope) {
    Json spec = Json::object({{"type", "parallel"}, {"_source", "YAML.JOB"}});
    parallel_to_rest(document, pointer, step, scope, spec);
    // What is bound to another step's output has its type here alone.
    Json inputs = Json::object();
    for (const auto& [name, input] : step.at("inputs").members())
        if (input.is_object() && input.at("type").is_string())
            inputs.set(name, Json::object({{"type", input.at("type")}}));
    spec.set("inputs", std::move(inputs));
    return spec;
}

}  // namespace turnout::resources
