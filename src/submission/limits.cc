#include "submission/limits.h"

#include <algorithm>

#include "base/text.h"
#include "protocol/command.h"
#include "submission/refusal.h"

namespace turnout::submission {
namespace {

using agent_protocol::TaskSpec;

// Beside them a process needs room for its arguments: the system gives both 2 MiB in all.
constexpr std::size_t kMaxVariables = 1 << 20;
// A node is told a task in one message, and keeps it in its journal.
constexpr std::size_t kMaxTask = 8 << 20;
// The name of a trial may still become part of it.
constexpr std::size_t kMaxPath = agent_protocol::kMaxBlobName - 512;

// Where the definition says the value of a variable.
std::string place_of_variable(const std::string& name) {
    if (name == "AZUREML_RUN_DISPLAY_NAME") return "displayName";
    if (name == "AZUREML_EXPERIMENT_NAME" || name == "AZUREML_ARM_PROJECT_NAME")
        return "experimentName";
    return "environmentVariables." + name.substr(0, 100);
}

}  // namespace

Result<void> check_limits(const TaskSpec& task) {
    std::size_t total = 0;
    std::string largest;
    std::size_t most = 0;
    const auto add = [&](const std::string& what, std::size_t name, std::size_t value) {
        const std::size_t size = name + 1 + value;
        total += size + 1;
        if (size > most) most = size, largest = what;
        return size <= kMaxArgument;
    };
    constexpr std::string_view limit =
        "a process can be given at most 128 KiB in one; hand it over as a file";
    for (const auto& [name, value] : task.variables)
        if (!add("'" + name + "'", name.size(), value.size()))
            return refuse("VariableTooLong",
                          "the environment variable '" + name.substr(0, 100) + "' has " +
                              to_size_words(value.size()) + ": " + std::string(limit),
                          place_of_variable(name));
    for (const auto& [name, value] : task.environment.variables)
        if (!add("'" + name + "' of the environment", name.size(), value.size()))
            return refuse("VariableTooLong",
                          "the variable '" + name.substr(0, 100) + "' of the environment has " +
                              to_size_words(value.size()) + ": " + std::string(limit),
                          "environmentId");
    Substitutions values;
    for (const auto& input : task.inputs) {
        const bool literal = input.type == "literal";
        // Where its data will lie is not known yet.
        values.inputs[input.name] = literal ? input.literal : "path";
        if (input.literal.find('\0') != std::string::npos)
            return refuse("InvalidInput",
                          "the literal input '" + input.name +
                              "' has a NUL character, which no process can be given",
                          "inputs." + input.name + ".value");
        if (literal && !add("input '" + input.name + "'",
                            std::string_view("AZURE_ML_INPUT_").size() + input.name.size(),
                            input.literal.size()))
            return refuse("InputTooLong",
                          "the literal input '" + input.name + "' has " +
                              to_size_words(input.literal.size()) + ": " + std::string(limit),
                          "inputs." + input.name + ".value");
    }
    if (total > kMaxVariables)
        return refuse("VariablesTooLong",
                      "the environment variables and literal inputs have " + to_size_words(total) +
                          " together, at most " + to_size_words(kMaxVariables) +
                          " can be handed to a process (the largest is " + largest.substr(0, 200) +
                          ")",
                      "environmentVariables");
    for (const auto& output : task.outputs) values.outputs[output.name] = "path";
    // So far as they are not known they are plain.
    std::string_view rest = task.command;
    constexpr std::string_view space = "search_space.";
    for (std::size_t at; (at = rest.find("${{")) != std::string_view::npos;) {
        rest.remove_prefix(at + 3);
        const std::string_view inside = trim(rest.substr(0, rest.find("}}")));
        if (inside.starts_with(space))
            values.search_space[std::string(inside.substr(space.size()))] = "0";
    }
    if (const auto made = invocation(task.command, values, "bash"); !made)
        return refuse("InvalidCommand", made.error().message, "command");
    const auto long_path = [](const std::optional<agent_protocol::BlobFolder>& at) {
        return at && at->prefix.size() > kMaxPath;
    };
    for (const auto& input : task.inputs)
        if (long_path(input.blobs))
            return refuse("PathTooLong",
                          "the path of input '" + input.name + "' has more than " +
                              std::to_string(kMaxPath) + " bytes",
                          "inputs." + input.name + ".uri");
    for (const auto& output : task.outputs)
        if (long_path(output.target))
            return refuse("PathTooLong",
                          "the path of output '" + output.name + "' has more than " +
                              std::to_string(kMaxPath) + " bytes",
                          "outputs." + output.name + ".uri");
    if (const std::size_t lines = task.environment.requirements.size();
        lines > agent_protocol::kMaxListed)
        return refuse("EnvironmentTooLarge",
                      "the environment asks for " + std::to_string(lines) + " packages, at most " +
                          std::to_string(agent_protocol::kMaxListed) + " are possible",
                      "environmentId");
    // Only the texts that may be long: writing the whole task down for each job would take too
    // long.
    std::size_t size = task.command.size() + total;
    for (const std::string& line : task.environment.requirements) size += line.size();
    for (const auto& input : task.inputs) size += input.uri.size();
    if (size > kMaxTask)
        return refuse("JobTooLarge",
                      "the job has " + to_size_words(size) +
                          " with its environment and inputs: a node can be told at most " +
                          to_size_words(kMaxTask),
                      "command");
    return {};
}

Result<void> check_sweep_limits(const Json& properties) {
    for (const auto& [name, expression] : properties.at("searchSpace").members()) {
        if (expression.items().size() < 2) continue;
        for (const Json& list : expression.items()[1].items())
            for (const Json& value : list.items()) {
                const std::size_t size =
                    value.is_string() ? value.as_view().size() : value.dump().size();
                if (size + name.size() + std::string_view("AZUREML_SWEEP_=").size() > kMaxArgument)
                    return refuse("ValueTooLong",
                                  "a value of '" + name.substr(0, 100) + "' has " +
                                      to_size_words(size) +
                                      ": a process can be given at most 128 KiB in one; hand it "
                                      "over as a file",
                                  "searchSpace." + name.substr(0, 100));
                if (value.is_string() && value.as_view().find('\0') != std::string_view::npos)
                    return refuse("InvalidValue",
                                  "a value of '" + name.substr(0, 100) + "' has a NUL character",
                                  "searchSpace." + name.substr(0, 100));
            }
    }
    for (const std::string_view member : {"inputs", "trial", "outputs"})
        if (properties.at(member).dump().find(agent_protocol::kJobPlaceholder) != std::string::npos)
            return refuse(
                "InvalidReference",
                "'" + std::string(agent_protocol::kJobPlaceholder) +
                    "' is kept for the names of a sweep's trials and cannot be part of a value",
                std::string(member));
    return {};
}

}  // namespace turnout::submission
