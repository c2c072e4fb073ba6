#include "api/inference/deployment_task.h"

#include <algorithm>
#include <array>

#include "api/arm/job_lookup.h"
#include "api/arm/resource.h"
#include "api/inference/serve.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "environment/definition.h"
#include "model/compute.h"
#include "submission/command_job.h"
#include "submission/limits.h"
#include "submission/refusal.h"
#include "submission/registered.h"
#include "yaml/yaml.h"

namespace turnout::api {
namespace {

using agent_protocol::TaskEnvironment;
using agent_protocol::TaskSpec;
using submission::not_as_expected;
using submission::refuse;

constexpr std::string_view kUsualSize = "Standard_DS3_v2";
constexpr std::string_view kReason = "InvalidDeployment";
constexpr Span kLongestRequest = 180s, kLongestQueue = 180s;
constexpr std::int64_t kMostAtATime = 1000;
constexpr std::size_t kMostModelFile = 1 << 20;
constexpr Span kUnreadyLimit = 10min;
constexpr Span kProbePause = 1s;

// ---- what it says by itself

Result<Span> duration_in(const Json& part, std::string_view member, const std::string& place,
                         Span fallback, Span least, Span most) {
    const Json& said = part.at(member);
    if (said.is_null()) return fallback;
    const auto span = parse_duration(said.as_view());
    if (!span || *span < least || *span > most)
        return not_as_expected(
            std::string(kReason), place + "." + std::string(member),
            "a duration of " + to_words(least) + " to " + to_words(most) + ", such as PT5S", said);
    return *span;
}

Result<int> whole_in(const Json& part, std::string_view member, const std::string& place,
                     int fallback, std::int64_t least, std::int64_t most) {
    const Json& said = part.at(member);
    if (said.is_null()) return fallback;
    if (!said.is_int() || said.as_int() < least || said.as_int() > most)
        return not_as_expected(
            std::string(kReason),
            place.empty() ? std::string(member) : place + "." + std::string(member),
            "a whole number from " + with_commas(least) + " to " + with_commas(most), said);
    return static_cast<int>(said.as_int());
}

Result<void> check_object(const Json& properties, std::string_view member) {
    const Json& part = properties.at(member);
    if (part.is_null() || part.is_object()) return {};
    return not_as_expected(std::string(kReason), std::string(member), "an object", part);
}

Result<void> check_what_works(const Json& properties) {
    const auto not_yet = [](const char* member, const std::string& why) {
        return refuse("NotImplemented", std::string(member) + ": " + why, member);
    };
    const std::string_view type = properties.at("endpointComputeType").as_view();
    if (!type.empty() && !equal_ignoring_case(type, "Managed"))
        return not_as_expected("NotImplemented", "endpointComputeType",
                               "Managed: deployments on Kubernetes do not work yet",
                               properties.at("endpointComputeType"));
    const std::string_view scale = properties.at("scaleSettings").at("scaleType").as_view();
    if (!scale.empty() && !equal_ignoring_case(scale, "Default"))
        return not_as_expected("NotImplemented", "scaleSettings.scaleType",
                               "Default: a deployment does not change its number of instances by "
                               "itself yet",
                               properties.at("scaleSettings").at("scaleType"));
    if (!properties.at("modelMountPath").as_view().empty())
        return not_yet("modelMountPath",
                       "expected nothing: the model is where AZUREML_MODEL_DIR says");
    for (const auto& [name, one] : properties.at("dataCollector").at("collections").members())
        if (equal_ignoring_case(one.at("dataCollectionMode").as_view(), "Enabled"))
            return not_yet("dataCollector", "requests are not collected here: leave it out");
    return {};
}

// Of Azure's probe: how it is asked here. A replica is asked every second, so that it serves soon;
// it counts as broken after as long as Azure would take.
Result<agent_protocol::Probe> probe_of(const Json& properties) {
    agent_protocol::Probe probe;
    probe.kind = agent_protocol::Probe::Kind::Http;
    probe.interval = kProbePause;
    int failures = 30;
    Span period = 10s;
    for (const char* const member : {"livenessProbe", "readinessProbe"}) {
        const Json& said = properties.at(member);
        const std::string place = member;
        [[maybe_unused]] const Span delay =
            TURNOUT_TRY(duration_in(said, "initialDelay", place, 10s, 0s, 1h));
        period = TURNOUT_TRY(duration_in(said, "period", place, period, 1s, 1h));
        probe.timeout = TURNOUT_TRY(duration_in(said, "timeout", place, probe.timeout, 1s, 1h));
        failures = TURNOUT_TRY(whole_in(said, "failureThreshold", place, failures, 1, 1000));
        TURNOUT_TRY(whole_in(said, "successThreshold", place, 1, 1, 1));
    }
    probe.failures =
        std::max<int>(1, static_cast<int>(period * failures / (probe.interval + probe.timeout)));
    return probe;
}

// ---- what it names

// The command as a job would say it, so that all is looked up as for a job.
submission::CommandJob command_of(const Json& properties, const std::string& job) {
    submission::CommandJob said;
    said.meta = submission::said_meta(Json::object({{"experimentName", "online-endpoints"}}), job);
    said.code = properties.at("codeConfiguration").at("codeId").as_string();
    said.environment = properties.at("environmentId").as_string();
    for (const auto& [name, value] : properties.at("environmentVariables").members())
        if (!value.is_null()) said.variables.emplace_back(name, submission::literal_text(value));
    return said;
}

struct NamedModel {
    std::string name, version, type;
    std::string base;  // its file's or folder's own name
};

Result<NamedModel> find_model(Services& services, const Workspace& workspace,
                              const std::string& id) {
    const auto reference = submission::parse_reference(
        id.find('/') == std::string::npos && !id.starts_with("azureml:") ? "azureml:" + id : id,
        workspace);
    if (!reference) return refuse(reference.error(), "InvalidModel", "model");
    if (reference->form != submission::Reference::Form::Asset ||
        (!reference->kind.empty() && reference->kind != "models"))
        return refuse("InvalidModel",
                      "model: expected a registered model, azureml:NAME:VERSION, found '" +
                          id.substr(0, 300) + "'",
                      "model");
    const auto asset = TURNOUT_TRY(
        services.assets.resolve(workspace.id, "models", reference->name, reference->version));
    if (!asset) {
        std::vector<std::string> names;
        for (const auto& container :
             TURNOUT_TRY(services.assets.list_containers(workspace.id, "models")))
            names.push_back(container.name);
        const bool known = std::ranges::find(names, reference->name) != names.end();
        return refuse("ModelNotFound",
                      "model '" + reference->name + "' " +
                          (known ? "has no version '" + reference->version + "'"
                                 : "does not exist" + did_you_mean(reference->name, names)),
                      "model");
    }
    NamedModel model{asset->name, asset->version,
                     asset->properties.at("modelType").as_string("custom_model"), ""};
    std::string uri = asset->properties.at("modelUri").as_string();
    while (uri.ends_with('/')) uri.pop_back();
    model.base = uri.substr(uri.rfind('/') + 1);
    if (const std::size_t colon = model.base.rfind(':'); colon != std::string::npos)
        model.base.erase(0, colon + 1);
    if (!checked_relative_path(model.base, "model")) model.base = "model";
    return model;
}

// ---- the environment

// The name of a requirement, without extras, version and marks.
std::string package_of(std::string_view requirement) {
    requirement = trim(requirement);
    std::string name = to_lower(requirement.substr(0, requirement.find_first_of(" <>=!~;[@\t")));
    std::ranges::replace(name, '_', '-');
    return name;
}

bool has_package(const TaskEnvironment& environment, std::string_view name) {
    return std::ranges::any_of(environment.requirements, [&](const std::string& requirement) {
        return package_of(requirement) == name;
    });
}

void add_package(TaskEnvironment& environment, std::string_view name) {
    if (has_package(environment, name)) return;
    environment.requirements.emplace_back(name);
    environment.hash = environment::hash_of(environment);
}

// What serves a script has to be there. Without a conda file, and where the image is not started,
// that is all there is.
void complete_for_script(TaskEnvironment& environment) {
    if (environment.kind == TaskEnvironment::Kind::UserManaged) {
        if (!environment.interpreter.empty() || !environment.image.empty()) return;
        environment.kind = TaskEnvironment::Kind::Venv;
    }
    if (!has_package(environment, "azureml-defaults")) add_package(environment, kInferenceServer);
}

// "3.11.7" as 3.11: MLflow writes down the very Python that it ran in, which others need not have.
void without_patch(TaskEnvironment& environment) {
    std::string& version = environment.python_version;
    const std::size_t first = version.find('.');
    const std::size_t second = first == std::string::npos ? first : version.find('.', first + 1);
    if (second == std::string::npos ||
        version.find_first_not_of("0123456789.") != std::string::npos)
        return;
    environment.notices.push_back("the model was logged with Python " + version + ": any " +
                                  version.substr(0, second) + " serves it");
    version.resize(second);
    environment.hash = environment::hash_of(environment);
}

// An MLflow model tells what it needs in files of its own.
Result<TaskEnvironment> environment_of_model(Services& services, const NamedModel& model,
                                             const agent_protocol::BlobFolder& place) {
    const auto read = [&](const char* file) -> std::optional<std::string> {
        auto text = services.blobs.read_all(place.container, place.prefix + file, kMostModelFile);
        if (!text) return std::nullopt;
        return std::move(*text);
    };
    const std::string shown = "model " + model.name + ":" + model.version;
    if (!read("MLmodel"))
        return refuse("InvalidModel",
                      shown + " is of type mlflow_model, but has no file 'MLmodel' in it", "model");
    Result<TaskEnvironment> environment = environment::user_managed(shown, "");
    if (const auto conda = read("conda.yaml")) {
        environment = environment::resolve({shown, "", *conda});
    } else if (const auto requirements = read("requirements.txt")) {
        Json lines = Json::array();
        for (const std::string& line : split(*requirements, '\n'))
            if (const std::string_view text = trim(line); !text.empty() && text.front() != '#')
                lines.push(Json(text));
        const Json conda_file = Json::object(
            {{"dependencies", Json::array({Json::object({{"pip", std::move(lines)}})})}});
        environment = environment::resolve({shown, "", to_yaml(conda_file)});
    } else {
        return refuse("InvalidModel",
                      shown +
                          " has neither conda.yaml nor requirements.txt in it: give the "
                          "deployment an environment",
                      "model");
    }
    if (!environment) return refuse(environment.error(), "InvalidModel", "model");
    without_patch(*environment);
    if (!has_package(*environment, "mlflow") && !has_package(*environment, "mlflow-skinny"))
        add_package(*environment, "mlflow");
    add_package(*environment, "pandas");
    return environment;
}

std::string command_line(const Json& properties, const std::optional<NamedModel>& model) {
    std::string line = "exec python -c \"$" + std::string(kServeVariable) + "\" " + "\"$" +
                       std::string(agent_protocol::kPortVariable) + "\"";
    const auto add = [&](const std::string& word) { line += " " + quote_for_shell(word); };
    const std::string script = properties.at("codeConfiguration").at("scoringScript").as_string();
    line += script.empty() ? " ''" : " " + quote_for_shell(script);
    if (!model) return line;
    line += " \"${{inputs.model}}\"";
    add(model->name);
    add(model->version);
    add(model->base);
    return line;
}

// The script is in the code.
Result<void> check_script(Services& services, const Json& properties, const TaskSpec& task) {
    const Json& code = properties.at("codeConfiguration");
    const std::string script = code.at("scoringScript").as_string();
    const std::string place = "codeConfiguration.scoringScript";
    const auto path = checked_relative_path(script, "scoringScript");
    if (!path || script.find("${{") != std::string::npos)
        return not_as_expected(std::string(kReason), place, "a path within the code",
                               code.at("scoringScript"));
    if (!task.code)
        return refuse(std::string(kReason), "codeConfiguration: expected a codeId, found nothing",
                      "codeConfiguration.codeId");
    if (TURNOUT_TRY(services.blobs.head(task.code->container, task.code->prefix + *path)))
        return {};
    return refuse("ScoringScriptNotFound",
                  place + ": expected a file of the code, found '" + script.substr(0, 200) +
                      "', which is not in it",
                  place);
}

}  // namespace

std::string instance_type_of(const Json& properties) {
    const std::string said = properties.at("instanceType").as_string();
    return said.empty() ? std::string(kUsualSize) : said;
}

Result<void> read_deployment(const Json& properties, const Json& sku,
                             const std::vector<std::string>& known_sizes,
                             OnlineDeployment& deployment) {
    for (const char* const member :
         {"codeConfiguration", "requestSettings", "livenessProbe", "readinessProbe",
          "scaleSettings", "environmentVariables", "properties", "dataCollector"})
        TURNOUT_TRY(check_object(properties, member));
    for (const char* const member : {"model", "environmentId", "instanceType", "description"})
        if (const Json& text = properties.at(member); !text.is_null() && !text.is_string())
            return not_as_expected(std::string(kReason), member, "a text", text);
    TURNOUT_TRY(check_what_works(properties));
    const std::string size = instance_type_of(properties);
    if (!find_vm_size(size))
        return refuse("InvalidVmSize",
                      "instanceType: expected a VM size, found '" + size.substr(0, 64) + "'" +
                          did_you_mean(size, known_sizes),
                      "instanceType");
    const Json& requests = properties.at("requestSettings");
    const std::string place = "requestSettings";
    RequestSettings& settings = deployment.requests;
    settings = {};
    settings.timeout = TURNOUT_TRY(
        duration_in(requests, "requestTimeout", place, settings.timeout, 1ms, kLongestRequest));
    settings.queue = TURNOUT_TRY(
        duration_in(requests, "maxQueueWait", place, settings.queue, 0ms, kLongestQueue));
    settings.concurrency = TURNOUT_TRY(whole_in(requests, "maxConcurrentRequestsPerInstance", place,
                                                settings.concurrency, 1, kMostAtATime));
    TURNOUT_TRY(probe_of(properties));
    const Json& capacity = sku.at("capacity");
    if (!capacity.is_null() &&
        (!capacity.is_int() || capacity.as_int() < 1 || capacity.as_int() > 100))
        return fail(Code::InvalidArgument, std::string(kReason),
                    "sku.capacity: expected a number of instances from 1 to 100, found " +
                        capacity.dump().substr(0, 80),
                    "sku.capacity");
    deployment.instances = static_cast<int>(capacity.as_int(1));
    return {};
}

Result<TaskSpec> deployment_task(Services& services, const Call& call, const Workspace& workspace,
                                 const OnlineDeployment& deployment) {
    const std::string job(agent_protocol::kJobPlaceholder);
    const Json& properties = deployment.properties;
    const std::string script = properties.at("codeConfiguration").at("scoringScript").as_string();
    std::optional<NamedModel> model;
    if (const std::string id = properties.at("model").as_string(); !id.empty())
        model = TURNOUT_TRY(find_model(services, workspace, id));
    const bool mlflow = model && model->type == "mlflow_model";
    if (script.empty() && !mlflow)
        return refuse(
            "NoScoringScript",
            "codeConfiguration.scoringScript: expected a script with init() and run(), found "
            "nothing; without one only an MLflow model can be served (a container that serves by "
            "itself does not work yet)",
            "codeConfiguration.scoringScript");
    submission::CommandJob said = command_of(properties, job);
    const bool own_environment = !said.environment.empty();
    if (!own_environment && !mlflow)
        return refuse("MissingEnvironment",
                      "environmentId: expected an environment, found nothing; only an MLflow model "
                      "brings one along",
                      "environmentId");
    if (!own_environment)  // its place is taken below
        said.environment = "azureml:" + std::string(submission::kAnonymousEnvironment) + ":1";
    if (model) {
        said.inputs.push_back({"model", mlflow ? "mlflow_model" : "custom_model", "ro_mount",
                               properties.at("model").as_string(), ""});
        said.declared.inputs.emplace_back("model");
    }
    said.command = command_line(properties, model);
    std::vector<Error> problems;
    submission::Draft draft = submission::draft_of(std::move(said), workspace, job, problems);
    if (!problems.empty()) return Failure(std::move(problems.front()));
    draft.compute = deployment.compute;
    const arm::Lookup lookup{services, call, workspace, job};
    TURNOUT_TRY(arm::find_inference_compute(lookup, draft));
    TURNOUT_TRY(arm::find_code(lookup, draft));
    TURNOUT_TRY(arm::place_inputs(lookup, draft));
    if (!own_environment) {
        draft.environment.reset();
        if (draft.task.inputs.empty() || !draft.task.inputs[0].blobs)
            return refuse("InvalidModel",
                          "model: expected a model whose files this server has, or an environment "
                          "for it",
                          "model");
        draft.task.environment =
            TURNOUT_TRY(environment_of_model(services, *model, *draft.task.inputs[0].blobs));
    }
    TURNOUT_TRY(arm::find_environment(lookup, draft));
    TaskSpec& task = draft.task;
    if (!script.empty()) {
        TURNOUT_TRY(check_script(services, properties, task));
        complete_for_script(task.environment);
    }
    TURNOUT_TRY(arm::find_secrets(lookup, draft));
    task.variables.emplace_back(kServeVariable, serve_program());
    task.variables.emplace_back("AZUREML_ENDPOINT_NAME", deployment.endpoint);
    task.variables.emplace_back("AZUREML_DEPLOYMENT_NAME", deployment.name);
    task.service.emplace();
    task.service->probe = TURNOUT_TRY(probe_of(properties));
    task.service->unready_limit = kUnreadyLimit;
    TURNOUT_TRY(submission::check_limits(task));
    task.artifacts = {artifact_container(workspace.id), "ExperimentRun/dcid." + job + "/"};
    task.mlflow_path = "/mlflow/v2.0" + workspace_path(workspace);
    return std::move(task);
}

}  // namespace turnout::api
