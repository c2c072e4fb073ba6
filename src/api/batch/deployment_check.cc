// What a batch deployment names, looked up when it is made: what is not there is told then, and not
// by its first job.
#include <algorithm>

#include "api/arm/job_lookup.h"
#include "api/batch/batch.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "model/pipeline.h"
#include "submission/command_job.h"
#include "submission/draft.h"
#include "submission/refusal.h"
#include "submission/registered.h"
#include "yaml/yaml.h"

namespace turnout::api::batch {
namespace {

using submission::not_as_expected;
using submission::refuse;

constexpr std::size_t kMostOfModel = 1 << 20;
constexpr std::string_view kUsualImage = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04";

Result<AssetVersion> asset_named(Services& services, const Workspace& workspace,
                                 const std::string& kind, const std::string& one,
                                 const std::string& id, const std::string& place) {
    const auto reference = submission::parse_reference(
        id.find('/') == std::string::npos && !id.starts_with("azureml:") ? "azureml:" + id : id,
        workspace);
    if (!reference || reference->form != submission::Reference::Form::Asset ||
        (!reference->kind.empty() && reference->kind != kind))
        return not_as_expected("InvalidDeployment", place,
                               "a registered " + one + ", azureml:NAME:VERSION", Json(id));
    auto found = TURNOUT_TRY(
        services.assets.resolve(workspace.id, kind, reference->name, reference->version));
    if (found) return std::move(*found);
    std::vector<std::string> names;
    for (const auto& container : TURNOUT_TRY(services.assets.list_containers(workspace.id, kind)))
        names.push_back(container.name);
    const bool known = std::ranges::find(names, reference->name) != names.end();
    return refuse("AssetNotFound",
                  place + ": " + one + " '" + reference->name + "' " +
                      (known ? "has no version '" + reference->version + "'"
                             : "does not exist" + did_you_mean(reference->name, names)),
                  place);
}

// The last part of where a model lies: below AZUREML_MODEL_DIR it has that name, as on Azure.
std::string folder_of(const AssetVersion& model) {
    std::string uri = model.properties.at("modelUri").as_string();
    while (uri.ends_with('/')) uri.pop_back();
    std::string base = uri.substr(uri.rfind('/') + 1);
    if (const std::size_t colon = base.rfind(':'); colon != std::string::npos)
        base.erase(0, colon + 1);
    return checked_relative_path(base, "model") ? base : "model";
}

// "python=3.11.7" as 3.11: MLflow writes down the very Python that it ran in, which others need not
// have.
Json without_patch_of_python(Json conda) {
    Json lines = Json::array();
    bool mlflow = false, pandas = false;
    for (const Json& line : conda.at("dependencies").items()) {
        std::string text = line.as_string();
        if (text.starts_with("python=")) {
            const std::size_t first = text.find('.');
            const std::size_t second =
                first == std::string::npos ? first : text.find('.', first + 1);
            if (second != std::string::npos) text.resize(second);
            lines.push(text);
        } else if (line.is_object()) {
            Json packages = Json::array();
            for (const Json& package : line.at("pip").items()) {
                const std::string_view name = package.as_view();
                mlflow = mlflow || name.starts_with("mlflow");
                pandas = pandas || name.starts_with("pandas");
                packages.push(package);
            }
            if (!mlflow) packages.push("mlflow");
            if (!pandas) packages.push("pandas");
            lines.push(Json::object({{"pip", std::move(packages)}}));
        } else {
            lines.push(line);
        }
    }
    conda.set("dependencies", std::move(lines));
    return conda;
}

// The environment that an MLflow model tells of itself, registered so that people see it and jobs
// name it: "mlflow-{model}", in the version of the model.
Task<Result<std::string>> environment_of(Services& services, Call& call, Workspace workspace,
                                         AssetVersion model, agent_protocol::BlobFolder place) {
    auto text = services.blobs.read_all(place.container, place.prefix + "conda.yaml", kMostOfModel);
    Json conda;
    if (text) {
        TURNOUT_CO_TRY(const YamlDocument read, parse_yaml(*text, "conda.yaml"));
        conda = without_patch_of_python(read.value);
    } else {
        const auto lines = services.blobs.read_all(place.container,
                                                   place.prefix + "requirements.txt", kMostOfModel);
        if (!lines)
            co_return refuse("InvalidModel",
                             "model: '" + model.name + ":" + model.version +
                                 "' has neither conda.yaml nor requirements.txt in it: give the "
                                 "deployment an environment",
                             "model");
        Json packages = Json::array();
        for (const std::string& line : split(*lines, '\n'))
            if (const std::string_view one = trim(line); !one.empty() && one.front() != '#')
                packages.push(Json(one));
        conda = without_patch_of_python(Json::object(
            {{"dependencies", Json::array({Json::object({{"pip", std::move(packages)}})})}}));
    }
    AssetVersion environment;
    environment.name = "mlflow-" + model.name;
    environment.version = model.version;
    environment.properties = Json::object(
        {{"condaFile", to_yaml(conda)},
         {"image", std::string(kUsualImage)},
         {"description", "what model " + model.name + ":" + model.version + " says it needs"}});
    TURNOUT_CO_TRY(const auto before,
                   services.assets.find_version(workspace.id, "environments", environment.name,
                                                environment.version));
    if (!before) {
        TURNOUT_CO_TRY(const Author by, author_of(services, call));
        environment.made = {by, by};
        environment.created = services.clock.now();
        TURNOUT_CO_TRY(
            [[maybe_unused]] const bool is_new,
            co_await services.assets.put_version(workspace.id, "environments", environment));
    }
    co_return workspace_path(workspace) + "/environments/" + environment.name + "/versions/" +
        environment.version;
}

}  // namespace

Task<Result<void>> look_up(Services& services, Call& call, const Workspace& workspace,
                           Deployment& deployment) {
    deployment.row.set("model", Json());
    Json& properties = deployment.row["properties"];  // no member comes after it from here on
    if (const std::string id = submission::component_deployed(properties); !id.empty()) {
        const std::string place = "deploymentConfiguration.componentId.assetId";
        TURNOUT_CO_TRY(const AssetVersion component,
                       asset_named(services, workspace, "components", "component", id, place));
        const std::string type = component.properties.at("componentSpec").at("type").as_string();
        if (!equal_ignoring_case(type, "pipeline"))
            co_return not_as_expected("InvalidDeployment", place, "a component of type pipeline",
                                      Json(type));
        deployment.row["model"] =
            Json::object({{"outputs", component.properties.at("componentSpec").at("outputs")}});
        co_return Result<void>();
    }
    const std::string script = properties.at("codeConfiguration").at("scoringScript").as_string();
    submission::CommandJob said;
    said.meta = submission::said_meta(Json::object(), deployment.name);
    said.command = "true";
    said.code = properties.at("codeConfiguration").at("codeId").as_string();
    said.compute = properties.at("compute").as_string();
    for (std::string* const id : {&said.code, &said.compute})
        if (id->starts_with("azureml:/")) id->erase(0, 8);
    bool mlflow = false;
    std::optional<AssetVersion> model;
    if (const std::string id = submission::model_deployed(properties); !id.empty()) {
        TURNOUT_CO_TRY(model,
                       asset_named(services, workspace, "models", "model", id, "model.assetId"));
        const std::string type = model->properties.at("modelType").as_string("custom_model");
        mlflow = type == "mlflow_model";
        deployment.row["model"] = Json::object({{"type", type}, {"folder", folder_of(*model)}});
        // In the one form in which Azure's clients read it.
        properties.set("model", Json::object({{"referenceType", "Id"}, {"assetId", id}}));
        said.inputs.push_back({"model", type, "ro_mount", id, ""});
        said.declared.inputs.emplace_back("model");
    }
    if (script.empty() && !mlflow)
        co_return refuse("NoScoringScript",
                         "codeConfiguration.scoringScript: expected a script with init() and "
                         "run(mini_batch), found nothing; without one only an MLflow model scores",
                         "codeConfiguration.scoringScript");
    said.environment = properties.at("environmentId").as_string();
    if (said.environment.starts_with("azureml:/")) said.environment.erase(0, 8);
    const bool own_environment = !said.environment.empty();
    if (!own_environment && !mlflow)
        co_return refuse("MissingEnvironment",
                         "environmentId: expected an environment, found nothing; only an MLflow "
                         "model brings one along",
                         "environmentId");
    if (!own_environment)  // its place is taken below
        said.environment = "azureml:" + std::string(submission::kAnonymousEnvironment) + ":1";
    std::vector<Error> problems;
    const std::string name = deployment.endpoint + "-" + deployment.name;
    submission::Draft draft = submission::draft_of(std::move(said), workspace, name, problems);
    if (!problems.empty()) co_return Failure(std::move(problems.front()));
    const arm::Lookup lookup{services, call, workspace, name};
    TURNOUT_CO_TRY_VOID(arm::check_capability(lookup, draft.compute, kPipelineJob));
    TURNOUT_CO_TRY_VOID(arm::find_compute(lookup, draft));
    TURNOUT_CO_TRY_VOID(arm::find_code(lookup, draft));
    TURNOUT_CO_TRY_VOID(arm::place_inputs(lookup, draft));
    if (own_environment) {
        TURNOUT_CO_TRY_VOID(arm::find_environment(lookup, draft));
    } else {
        if (draft.task.inputs.empty() || !draft.task.inputs[0].blobs)
            co_return refuse("InvalidModel",
                             "model: expected a model whose files this server has, or an "
                             "environment for it",
                             "model");
        TURNOUT_CO_TRY(std::string environment,
                       co_await environment_of(services, call, workspace, *model,
                                               *draft.task.inputs[0].blobs));
        properties.set("environmentId", std::move(environment));
    }
    if (!script.empty() && draft.task.code) {
        const auto path = checked_relative_path(script, "scoringScript");
        const std::string place = "codeConfiguration.scoringScript";
        if (!path)
            co_return not_as_expected("InvalidDeployment", place, "a path within the code",
                                      Json(script));
        TURNOUT_CO_TRY(const auto file, services.blobs.head(draft.task.code->container,
                                                            draft.task.code->prefix + *path));
        if (!file)
            co_return refuse("ScoringScriptNotFound",
                             place + ": expected a file of the code, found '" +
                                 script.substr(0, 200) + "', which is not in it",
                             place);
    }
    co_return Result<void>();
}

}  // namespace turnout::api::batch
