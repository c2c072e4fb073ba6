#include "submission/command_job.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "protocol/secret_reference.h"
#include "resources/resources.h"
#include "submission/refusal.h"
#include "submission/types.h"

namespace turnout::submission {
namespace {

Result<std::string> read_command(const Json& properties) {
    constexpr std::size_t most = 256 << 10;
    std::string command = properties.at("command").as_string();
    if (trim(command).empty())
        return refuse("MissingCommand", "a command job needs a command", "command");
    if (command.size() > most)
        return refuse("CommandTooLong", "the command is longer than 256 KiB", "command");
    if (command.find('\0') != std::string::npos)
        return refuse("InvalidCommand", "the command has a NUL character", "command");
    return command;
}

Result<std::vector<std::pair<std::string, std::string>>> read_variables(const Json& properties) {
    const Json& wanted = properties.at("environmentVariables");
    if (!wanted.is_null() && !wanted.is_object())
        return not_as_expected("InvalidVariable", "environmentVariables", "an object of texts",
                               wanted);
    if (wanted.members().size() > kMaxPorts)
        return refuse("TooManyVariables", "a job has at most 500 environment variables",
                      "environmentVariables");
    std::vector<std::pair<std::string, std::string>> variables;
    for (const auto& [name, value] : wanted.members()) {
        if (name.empty() || name.size() > 1024 || name.find('=') != std::string::npos ||
            name.find('\0') != std::string::npos)
            return refuse("InvalidVariable",
                          "'" + name.substr(0, 64) + "' is not a name of an environment variable",
                          "environmentVariables");
        if (value.is_null())
            return refuse(
                "InvalidVariable",
                "the environment variable '" + name + "' has no value: \"\" is an empty one",
                "environmentVariables." + name);
        std::string text = literal_text(value);
        if (value.is_object() || value.is_array() || text.find('\0') != std::string::npos)
            return refuse("InvalidVariable", "the environment variable '" + name + "' must be text",
                          "environmentVariables." + name);
        if (const auto secrets = agent_protocol::secret_references(text); !secrets)
            return refuse(secrets.error(), "InvalidSecret", "environmentVariables." + name);
        variables.emplace_back(name, std::move(text));
    }
    return variables;
}

Result<std::optional<Span>> read_timeout(const Json& limits) {
    const Json& timeout = limits.at("timeout");
    if (timeout.is_null()) return std::nullopt;
    const auto span = parse_duration(timeout.as_view());
    if (!span || *span <= 0s)
        return refuse("InvalidTimeout",
                      "limits.timeout must be a duration longer than nothing, such as PT1H, not '" +
                          literal_text(timeout).substr(0, 40) + "'",
                      "limits.timeout");
    return *span;
}

std::vector<ServiceSaid> read_services(const Json& properties) {
    std::vector<ServiceSaid> services;
    for (const auto& [name, service] : properties.at("services").members())
        if (!service.is_null())
            services.push_back({name, service.at("jobServiceType").as_string(name)});
    return services;
}

// What has a rule of its own.
constexpr std::array<std::string_view, 7> kOwnRules = {
    "command",        "resources.instanceCount", "resources.shmSize",   "distribution.",
    "queueSettings.", "limits.timeout",          "environmentVariables"};

}  // namespace

std::string literal_text(const Json& value) {
    if (value.is_string()) return value.as_string();
    if (value.is_bool()) return value.as_bool() ? "True" : "False";  // as the SDK writes them
    return value.dump();
}

JobMetaChange said_meta(const Json& properties, std::string_view name) {
    JobMetaChange meta;
    meta.display_name = properties.at("displayName").as_string();
    if (meta.display_name->empty()) meta.display_name = name;
    meta.experiment = properties.at("experimentName").as_string();
    if (meta.experiment->empty()) meta.experiment = "Default";
    meta.description = properties.at("description").as_string();
    meta.archived = properties.at("isArchived").as_bool();
    meta.all_tags = true;
    if (properties.at("tags").is_object()) meta.tags = properties.at("tags");
    if (properties.at("properties").is_object()) meta.properties = properties.at("properties");
    return meta;
}

std::optional<CommandJob> read_command_job(const Json& properties, std::string_view name,
                                           std::vector<Error>& problems) {
    Types types(properties, problems);
    types.of(resources::command_job(), kOwnRules);
    types.texts({"codeId", "environmentId", "computeId", "componentId"});
    types.objects({"inputs", "outputs", "services"});
    if (!types.good()) return std::nullopt;
    if (!properties.at("componentId").as_view().empty()) {  // all else may be the component's
        problems.push_back(refuse("ComponentNotSupported",
                                  "a job cannot be made of a component yet: give its command, code "
                                  "and environment themselves",
                                  "componentId")
                               .error());
        return std::nullopt;
    }

    CommandJob job;
    const auto read = [&](auto result, auto& into) {
        if (result)
            into = std::move(*result);
        else
            problems.push_back(result.error());
    };
    const Json& resources = properties.at("resources");
    const Json& queue = properties.at("queueSettings");
    job.meta = said_meta(properties, name);
    read(read_command(properties), job.command);
    job.code = properties.at("codeId").as_string();
    job.environment = properties.at("environmentId").as_string();
    job.compute = properties.at("computeId").as_string();
    read(read_processes(resources, properties.at("distribution")), job.processes);
    job.instance_type = resources.at("instanceType").as_string();
    if (names_container_instance(job.compute))
        read(read_container_instance(resources), job.instance);
    read(read_priority(queue), job.priority);
    read_ports(properties, job, problems);
    read(read_variables(properties), job.variables);
    read(read_timeout(properties.at("limits")), job.timeout);
    job.on_behalf =
        equal_ignoring_case(properties.at("identity").at("identityType").as_view(), "UserIdentity");
    job.services = read_services(properties);
    types.refuse_the_rest();
    return job;
}

}  // namespace turnout::submission
