#include "submission/draft.h"

#include <algorithm>

#include "base/text.h"
#include "fetch/source.h"
#include "model/compute.h"
#include "protocol/secret_reference.h"
#include "submission/command_text.h"
#include "submission/parallel_program.h"
#include "submission/refusal.h"
#include "submission/registered.h"

namespace turnout::submission {
namespace {

using agent_protocol::TaskInput;
using agent_protocol::TaskOutput;
using agent_protocol::TaskSpec;

// ---- inputs and outputs

// What an input names, as far as that can be said without looking.
Result<Reference> place_named(const InputSaid& input, const Workspace& workspace,
                              const std::string& field) {
    auto reference = parse_reference(input.uri, workspace);
    if (!reference) return refuse(reference.error(), "InvalidInput", field);
    switch (reference->form) {
        case Reference::Form::Asset:
            if (const std::string kind = asset_kind(*reference, input.type);
                kind != "data" && kind != "models")
                return refuse("InvalidInput",
                              "'" + reference->text + "' is neither data nor a model", field);
            break;
        case Reference::Form::Registry:
            return refuse("RegistryNotFound",
                          "registry '" + reference->registry +
                              "' has no data: only the curated environments of 'azureml' are there",
                          field);
        case Reference::Form::Url:
            if (input.mode != "direct" && !blob_of_url(input.uri))
                TURNOUT_TRY(check_source(input.uri, input.type, field));
            break;
        case Reference::Form::Local: {
            const std::string_view path = local_path(*reference);
            if (input.mode != "direct" || !path.starts_with('/'))
                return refuse(not_reached(*reference), "InvalidInput", field);
            break;
        }
        case Reference::Form::Path:
        case Reference::Form::JobOutput: break;
    }
    return reference;
}

// Nothing: in the job's own place.
Result<std::optional<Reference>> output_target(const OutputSaid& output, const Workspace& workspace,
                                               const std::string& job) {
    std::string uri = output.uri;
    if (uri.empty()) return std::optional<Reference>();
    const std::string field = "outputs." + output.name + ".uri";
    replace_all(uri, "${{name}}", job);
    replace_all(uri, "${{output_name}}", output.name);
    replace_all(uri, "${{default_datastore}}", kBlobStore);
    if (uri.find("${{") != std::string::npos)
        return refuse("InvalidReference",
                      "output '" + output.name +
                          "' has a '${{…}}' in its path that is not known: use ${{name}} and "
                          "${{output_name}}",
                      field);
    auto reference = parse_reference(uri, workspace);
    if (!reference) return refuse(reference.error(), "InvalidOutput", field);
    if (reference->form != Reference::Form::Path)
        return refuse("InvalidOutput",
                      "output '" + output.name +
                          "' must go to a datastore: azureml://datastores/NAME/paths/PATH, not '" +
                          uri.substr(0, 300) + "'",
                      field);
    return std::optional<Reference>(std::move(*reference));
}

void name_inputs(const CommandJob& job, const Workspace& workspace, Draft& draft,
                 std::vector<Error>& problems) {
    for (const InputSaid& said : job.inputs) {
        TaskInput input;
        input.name = said.name;
        input.type = said.type;
        input.mode = said.mode;
        input.literal = said.literal;
        std::optional<Reference> named;
        if (said.type != "literal") {
            auto place = place_named(said, workspace, "inputs." + said.name + ".uri");
            if (!place) {
                problems.push_back(place.error());
                continue;
            }
            named = std::move(*place);
        }
        draft.task.inputs.push_back(std::move(input));
        draft.inputs.push_back(std::move(named));
    }
}

void name_outputs(const CommandJob& job, const Workspace& workspace, const std::string& name,
                  Draft& draft, std::vector<Error>& problems) {
    for (const OutputSaid& said : job.outputs) {
        auto target = output_target(said, workspace, name);
        if (!target) {
            problems.push_back(target.error());
            continue;
        }
        TaskOutput output;
        output.name = said.name;
        output.type = said.type;
        output.mode = said.mode;
        draft.task.outputs.push_back(std::move(output));
        draft.outputs.push_back(std::move(*target));
    }
}

// ---- code, environment, size

Result<std::optional<Reference>> code_named(const std::string& id, const Workspace& workspace) {
    if (id.empty()) return std::optional<Reference>();
    auto reference = parse_reference(id, workspace);
    if (!reference || reference->form != Reference::Form::Asset ||
        (!reference->kind.empty() && reference->kind != "codes"))
        return refuse("CodeNotFound",
                      "codeId '" + id.substr(0, 300) +
                          "' is not a code asset of this workspace: …/codes/NAME/versions/VERSION",
                      "codeId");
    return std::optional<Reference>(std::move(*reference));
}

Result<void> name_environment(std::string id, const Workspace& workspace, Draft& draft) {
    if (id.empty())
        return refuse(
            "MissingEnvironment",
            "a command job needs an environment: a curated name such as "
            "'azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest', or one of your own",
            "environmentId");
    if (id.find('/') == std::string::npos && !id.starts_with("azureml:")) id = "azureml:" + id;
    auto reference = parse_reference(id, workspace);
    if (!reference) return refuse(reference.error(), "EnvironmentNotFound", "environmentId");
    switch (reference->form) {
        case Reference::Form::Registry:
            if (!equal_ignoring_case(reference->registry, "azureml") ||
                (reference->kind != "environments"))
                return refuse(
                    "EnvironmentNotFound",
                    "registry '" + reference->registry +
                        "' is not known: there is 'azureml' with the curated environments",
                    "environmentId");
            draft.task.environment = TURNOUT_TRY(curated(*reference));
            return {};
        case Reference::Form::Asset:
            if (!reference->kind.empty() && reference->kind != "environments")
                return refuse("EnvironmentNotFound",
                              "'" + id.substr(0, 300) + "' is not an environment", "environmentId");
            if (is_reserved(reference->name))  // the workspace can have none of that name
                draft.task.environment = TURNOUT_TRY(curated(*reference));
            else
                draft.environment = std::move(*reference);
            return {};
        case Reference::Form::Path:
        case Reference::Form::JobOutput:
        case Reference::Form::Url:
        case Reference::Form::Local: break;
    }
    return refuse("EnvironmentNotFound",
                  "'" + id.substr(0, 300) +
                      "' is not an environment: use azureml:NAME:VERSION or azureml:NAME@latest",
                  "environmentId");
}

Result<void> check_instance_size(const Draft& draft) {
    const std::string& wanted = draft.instance_type;
    if (draft.compute != kServerless || wanted.empty() || find_vm_size(wanted)) return {};
    std::vector<std::string> names;
    for (const VmSize& other : vm_sizes()) names.push_back(other.name);
    return refuse(
        "InvalidVmSize",
        "instance type '" + wanted.substr(0, 64) + "' is not known" + did_you_mean(wanted, names),
        "resources.instanceType");
}

// One container is all there is of it, and its size is said where it is asked for.
Result<void> check_one_container(const Draft& draft) {
    if (!draft.instance) return {};
    if (draft.task.node_count > 1)
        return refuse("InvalidContainerInstance",
                      "the job asks for " + std::to_string(draft.task.node_count) +
                          " nodes, and a container instance is one container: use a cluster",
                      "resources.instanceCount");
    if (!draft.instance_type.empty())
        return refuse("InvalidContainerInstance",
                      "instance type '" + draft.instance_type.substr(0, 64) +
                          "' is not for a container instance: say " + std::string(kInstancePlace) +
                          ".cpu_cores and .memory_gb",
                      "resources.instanceType");
    return {};
}

// ---- variables and notices

std::vector<std::pair<std::string, std::string>> variables_of(CommandJob& job,
                                                              const Workspace& workspace,
                                                              const std::string& name) {
    const std::string& experiment = *job.meta.experiment;
    std::vector<std::pair<std::string, std::string>> all = {
        {"AZUREML_RUN_ID", name},
        {"AZUREML_ROOT_RUN_ID", name},
        {"AZUREML_JOB_NAME", name},
        {"AZUREML_EXPERIMENT_NAME", experiment},
        {"AZUREML_RUN_DISPLAY_NAME", *job.meta.display_name},
        {"AZUREML_ARM_SUBSCRIPTION", workspace.subscription},
        {"AZUREML_ARM_RESOURCEGROUP", workspace.resource_group},
        {"AZUREML_ARM_WORKSPACE_NAME", workspace.name},
        {"AZUREML_ARM_PROJECT_NAME", experiment},
        {"AZUREML_WORKSPACE_ID", workspace.guid},
        {"AZUREML_WORKSPACE_SCOPE", workspace_path(workspace)},
    };
    if (job.on_behalf) all.emplace_back(agent_protocol::kOnBehalf, "True");
    std::ranges::move(job.variables, std::back_inserter(all));
    if (job.command.find("$" + std::string(kParallelVariable)) != std::string::npos)
        all.emplace_back(kParallelVariable, parallel_program());
    return all;
}

// What the variables name, each once. That all can be read was checked with them.
std::vector<std::string> secrets_named(const TaskSpec& task) {
    std::vector<std::string> names;
    for (const auto& [variable, text] : task.variables)
        if (const auto found = agent_protocol::secret_references(text))
            for (const auto& one : *found)
                if (std::ranges::find(names, one.name) == names.end()) names.push_back(one.name);
    return names;
}

// What was asked for and is not there yet, but changes nothing of what the job computes.
void add_notices(const CommandJob& job, TaskSpec& task) {
    for (const auto& [name, kind] : job.services)
        if (kind != "Studio" && kind != "Tracking" && kind != "Local")
            task.environment.notices.push_back("the interactive service '" + name.substr(0, 64) +
                                               "' (" + kind.substr(0, 40) +
                                               ") has no effect yet: the job runs without it");
}

void set_processes(const Processes& said, TaskSpec& task) {
    task.node_count = said.node_count;
    task.shm_size_bytes = said.shm_size_bytes;
    task.distribution = said.distribution;
    task.processes = said.processes;
    task.worker_count = said.worker_count;
    task.parameter_servers = said.parameter_servers;
}

}  // namespace

Draft draft_of(CommandJob job, const Workspace& workspace, const std::string& name,
               std::vector<Error>& problems) {
    Draft draft;
    TaskSpec& task = draft.task;
    const auto read = [&](auto result, auto& into) {
        if (result)
            into = std::move(*result);
        else
            problems.push_back(result.error());
    };
    const auto check = [&](const Result<void>& result) {
        if (!result) problems.push_back(result.error());
    };
    read(compute_named(job.compute, workspace), draft.compute);
    read(expand_command(job.command, job.declared), task.command);
    set_processes(job.processes, task);
    draft.instance_type = std::move(job.instance_type);
    draft.instance = std::move(job.instance);
    check(draft.instance ? check_one_container(draft) : check_instance_size(draft));
    draft.priority = job.priority;
    check(name_environment(std::move(job.environment), workspace, draft));
    read(code_named(job.code, workspace), draft.code);
    name_inputs(job, workspace, draft, problems);
    name_outputs(job, workspace, name, draft, problems);
    if (job.timeout) task.timeout = *job.timeout;
    add_notices(job, task);
    task.variables = variables_of(job, workspace, name);
    task.secrets = secrets_named(task);
    return draft;
}

Result<std::string> compute_named(const std::string& id, const Workspace& workspace) {
    if (id.empty() || id == "local" || id == "azureml:local") return std::string(kServerless);
    auto name = resource_name(id, "computes", workspace);
    if (!name) return refuse("ComputeNotFound", name.error().message, "computeId");
    // The SDK puts what `compute="azureml:NAME"` says behind the workspace's path as it is.
    constexpr std::string_view kPrefix = "azureml:";
    if (name->starts_with(kPrefix)) name->erase(0, kPrefix.size());
    return name;
}

std::string asset_kind(const Reference& reference, std::string_view type) {
    if (!reference.kind.empty()) return reference.kind;
    return type == "mlflow_model" || type == "custom_model" || type == "triton_model" ? "models"
                                                                                      : "data";
}

Result<void> check_source(const std::string& url, std::string_view type, const std::string& field) {
    const auto source = fetch::parse_source(url);
    if (!source) return refuse(source.error(), "InvalidInput", field);
    if (const auto folder = fetch::is_folder(*source, type); !folder)
        return refuse(folder.error(), "InvalidInput", field);
    return {};
}

}  // namespace turnout::submission
