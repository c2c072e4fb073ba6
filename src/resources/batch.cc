// Batch endpoints and their deployments: of a model, or of a pipeline component.
#include <algorithm>

#include "base/text.h"
#include "base/time.h"
#include "resources/fields.h"
#include "resources/resources.h"
#include "resources/shapes.h"

namespace turnout::resources {
namespace {

void accept_endpoint_text(Reading& reading, const std::string& pointer, const Json& value) {
    reading.expect_text(pointer, value);
}

// REST has it in the id alone.
Special batch_endpoint_name_shape() {
    return {
        .shape = "text",
        .check = accept_endpoint_text,
        .to_rest = [](const YamlDocument&, const std::string&, const Json&, const Scope&, Json&) {},
        .from_rest = [](const Json& rest) -> Json {
            const std::string name = segment_after(rest.at("id").as_view(), "batchEndpoints");
            return name.empty() ? Json() : Json(name);
        }};
}

Special defaults_shape() {
    return {.shape = "mapping: `deployment_name`",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_mapping(pointer, value)) return;
                    check_keys(reading, pointer, value, {"deployment_name"}, "defaults");
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope&, Json& rest) {
                    const Json& name = value.at("deployment_name");
                    set_path(rest, "properties.defaults.deploymentName",
                             name.is_null() ? Json()
                                            : Json(document.text(
                                                  pointer_to(pointer, "deployment_name"), name)));
                },
            .from_rest = [](const Json& rest) -> Json {
                return Json::object(
                    {{"deployment_name", at_path(rest, "properties.defaults.deploymentName")}});
            }};
}

Special batch_model_shape() {
    Special shape = deployed_model_shape();
    shape.from_rest = [](const Json& rest) -> Json {
        const Json& model = at_path(rest, "properties.model");
        const Json& id = model.is_object() ? model.at("assetId") : model;
        return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "models"));
    };
    return shape;
}

Special batch_compute_shape() {
    Special shape = compute_shape();
    shape.to_rest = [](const YamlDocument& document, const std::string& pointer, const Json& value,
                       const Scope& scope, Json& rest) {
        const std::string text = document.text(pointer, value);
        const std::string_view name = without_prefix(text);
        if (name == "serverless" || name == "local") return;
        set_path(rest, "properties.compute",
                 is_arm_id(text) ? std::string(name)
                                 : scope.workspace_path + "/computes/" + std::string(name));
    };
    shape.from_rest = [](const Json& rest) -> Json {
        const Json& id = at_path(rest, "properties.compute");
        return id.is_null() ? Json("serverless") : Json(short_name_of(id.as_view(), "computes"));
    };
    return shape;
}

struct Setting {
    const char* yaml;
    const char* rest;
    std::int64_t least;  // kText: it is a text
};
constexpr std::int64_t kText = -2;
constexpr Setting kSettings[] = {{"mini_batch_size", "miniBatchSize", 1},
                                 {"max_concurrency_per_instance", "maxConcurrencyPerInstance", 1},
                                 {"error_threshold", "errorThreshold", -1},
                                 {"output_file_name", "outputFileName", kText},
                                 {"logging_level", "loggingLevel", kText}};

// Of a model's deployment: REST has them beside all others.
Special scoring_settings_shape() {
    return {
        .shape =
            "mapping: `mini_batch_size`, `max_concurrency_per_instance`, `output_action` "
            "(append_row or summary_only), `output_file_name`, `error_threshold`, "
            "`retry_settings` (`max_retries`, `timeout`), `logging_level`, "
            "`environment_variables`",
        .check =
            [](Reading& reading, const std::string& pointer, const Json& value) {
                if (!reading.expect_mapping(pointer, value)) return;
                std::vector<std::string> keys = {"output_action", "retry_settings",
                                                 "environment_variables"};
                for (const Setting& setting : kSettings) keys.emplace_back(setting.yaml);
                check_keys(reading, pointer, value, keys, "settings");
                for (const Setting& setting : kSettings) {
                    const Json& one = value.at(setting.yaml);
                    const std::string here = pointer_to(pointer, setting.yaml);
                    if (one.is_null() || !reading.expect_text(here, one)) continue;
                    if (setting.least == kText) continue;
                    const Json number = yaml_scalar(reading.text(here));
                    if (!number.is_int() || number.as_int() < setting.least)
                        reading.refuse(
                            here,
                            expected("a whole number from " + std::to_string(setting.least), one));
                }
                if (const Json& action = value.at("output_action"); !action.is_null())
                    if (action.as_view() != "append_row" && action.as_view() != "summary_only")
                        reading.refuse(pointer_to(pointer, "output_action"),
                                       expected("append_row or summary_only", action));
                const std::string of_retries = pointer_to(pointer, "retry_settings");
                if (const Json& retries = value.at("retry_settings");
                    !retries.is_null() && reading.expect_mapping(of_retries, retries)) {
                    check_keys(reading, of_retries, retries, {"max_retries", "timeout"},
                               "retry_settings");
                    for (const char* const key : {"max_retries", "timeout"})
                        if (!retries.at(key).is_null())
                            reading.expect_whole(pointer_to(of_retries, key), retries.at(key));
                }
                const std::string of_variables = pointer_to(pointer, "environment_variables");
                if (const Json& variables = value.at("environment_variables");
                    !variables.is_null() && reading.expect_mapping(of_variables, variables))
                    for (const auto& [name, text] : variables.members())
                        reading.expect_text(pointer_to(of_variables, name), text);
            },
        .to_rest =
            [](const YamlDocument& document, const std::string& pointer, const Json& value,
               const Scope&, Json& rest) {
                const auto text = [&](const std::string& at, const Json& one) {
                    return document.text(at, one);
                };
                for (const Setting& setting : kSettings) {
                    const Json& one = value.at(setting.yaml);
                    if (one.is_null()) continue;
                    const std::string said = text(pointer_to(pointer, setting.yaml), one);
                    set_path(rest, "properties." + std::string(setting.rest),
                             setting.least == kText ? Json(said) : yaml_scalar(said));
                }
                if (const Json& action = value.at("output_action"); !action.is_null())
                    set_path(rest, "properties.outputAction",
                             action.as_view() == "summary_only" ? "SummaryOnly" : "AppendRow");
                const Json& retries = value.at("retry_settings");
                const std::string of_retries = pointer_to(pointer, "retry_settings");
                if (!retries.at("max_retries").is_null())
                    set_path(rest, "properties.retrySettings.maxRetries",
                             yaml_scalar(text(pointer_to(of_retries, "max_retries"),
                                              retries.at("max_retries"))));
                if (!retries.at("timeout").is_null())
                    set_path(rest, "properties.retrySettings.timeout",
                             "PT" + text(pointer_to(of_retries, "timeout"), retries.at("timeout")) +
                                 "S");
                const std::string of_variables = pointer_to(pointer, "environment_variables");
                for (const auto& [name, one] : value.at("environment_variables").members()) {
                    Json& properties = rest["properties"];
                    properties["environmentVariables"].set(
                        name, text(pointer_to(of_variables, name), one));
                }
            },
        .from_rest = [](const Json& rest) -> Json {
            const Json& properties = rest.at("properties");
            Json out = Json::object();
            for (const Setting& setting : kSettings)
                if (!properties.at(setting.rest).is_null())
                    out.set(setting.yaml, properties.at(setting.rest));
            if (const Json& action = properties.at("outputAction"); !action.is_null())
                out.set("output_action", equal_ignoring_case(action.as_view(), "SummaryOnly")
                                             ? "summary_only"
                                             : "append_row");
            const Json& said = properties.at("retrySettings");
            Json retries = Json::object();
            if (!said.at("maxRetries").is_null()) retries.set("max_retries", said.at("maxRetries"));
            if (const auto span = parse_duration(said.at("timeout").as_view()))
                retries.set("timeout",
                            std::chrono::duration_cast<std::chrono::seconds>(*span).count());
            if (!retries.members().empty()) out.set("retry_settings", std::move(retries));
            if (!properties.at("environmentVariables").members().empty())
                out.set("environment_variables", properties.at("environmentVariables"));
            return out;
        }};
}

constexpr const char* kPipelineSettings[] = {"default_compute", "default_datastore",
                                             "continue_on_step_failure", "force_rerun"};

// Of a pipeline component's deployment.
Special pipeline_settings_shape() {
    return {.shape =
                "mapping: `default_compute`, `default_datastore`, `continue_on_step_failure`, "
                "`force_rerun`",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_mapping(pointer, value)) return;
                    check_keys(reading, pointer, value,
                               {std::begin(kPipelineSettings), std::end(kPipelineSettings)},
                               "settings");
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope&, Json& rest) {
                    for (const char* const key : kPipelineSettings)
                        if (const Json& one = value.at(key); !one.is_null())
                            set_path(
                                rest,
                                "properties.deploymentConfiguration.settings." + std::string(key),
                                document.text(pointer_to(pointer, key), one));
                },
            .from_rest =
                [](const Json& rest) {
                    return at_path(rest, "properties.deploymentConfiguration.settings");
                }};
}

Special deployed_component_shape() {
    return {.shape = "`azureml:NAME:VERSION` or `azureml:NAME@latest`",
            .check =
                [](Reading& reading, const std::string& pointer, const Json& value) {
                    if (!reading.expect_text(pointer, value)) return;
                    check_reference(reading, pointer, "components", reading.text(pointer));
                },
            .to_rest =
                [](const YamlDocument& document, const std::string& pointer, const Json& value,
                   const Scope& scope, Json& rest) {
                    set_path(rest, "properties.deploymentConfiguration.deploymentConfigurationType",
                             "PipelineComponent");
                    set_path(rest, "properties.deploymentConfiguration.componentId",
                             Json::object({{"referenceType", "Id"},
                                           {"assetId", arm_id_of(scope, "components",
                                                                 document.text(pointer, value))}}));
                },
            .from_rest = [](const Json& rest) -> Json {
                const Json& id =
                    at_path(rest, "properties.deploymentConfiguration.componentId.assetId");
                return id.is_null() ? Json() : Json(short_name_of(id.as_view(), "components"));
            }};
}

std::vector<Field> with_common(std::vector<Field> own) {
    std::vector<Field> all = {
        text("name", "name", "the deployment's name", Need::Required, "--name"),
        special("endpoint_name", batch_endpoint_name_shape(), "its endpoint", Need::Required,
                "--endpoint-name"),
        choice("type", "", {{"model", ""}, {"pipeline", ""}},
               "`model`, also when absent, or `pipeline`."),
        text("description", "properties.description", "Text for people.")};
    std::ranges::move(own, std::back_inserter(all));
    all.push_back(text("location", "location", "Kept and shown: it is where its endpoint is."));
    all.push_back(field("tags", "tags", Kind::TextMap, "Tags."));
    all.push_back(field("properties", "properties.properties", Kind::TextMap, "Properties."));
    all.push_back(
        shown("provisioning_state", "properties.provisioningState", "Succeeded.", Kind::Text));
    all.push_back(special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly));
    all.push_back(
        special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly));
    return all;
}

void drop_empty_key(const Json&, Json& rest) {
    rest.erase("");
}

}  // namespace

const Description& batch_endpoint() {
    static const Description description = {
        .kind = "batch-endpoint",
        .type = "",
        .schema = "batchEndpoint",
        .title = "a batch endpoint",
        .help =
            "`turnout batch-endpoint create -f endpoint.yml`: an address at which jobs are begun "
            "that score data.",
        .fields =
            {text("name", "name", "the endpoint's name, unique in the workspace", Need::Required,
                  "--name"),
             choice("auth_mode", "properties.authMode", {{"aad_token", "AADToken"}},
                    "`aad_token`: a user's own token."),
             text("description", "properties.description", "Text for people."),
             special("defaults", defaults_shape(), "Which deployment is asked if none is named."),
             text("location", "location", "Region: a pool of this server by its name."),
             field("tags", "tags", Kind::TextMap, "Tags."),
             field("properties", "properties.properties", Kind::TextMap, "Properties."),
             shown("scoring_uri", "properties.scoringUri", "Where it is asked.", Kind::Text),
             shown("provisioning_state", "properties.provisioningState", "Succeeded.", Kind::Text),
             special("id", resource_id_shape(false), "Resource id.", Need::ReadOnly),
             special("resourceGroup", resource_group_shape(), "Resource group.", Need::ReadOnly)},
        .finish_rest = [](const Json&, Json& rest) {
            if (at_path(rest, "properties.authMode").is_null())
                set_path(rest, "properties.authMode", "AADToken");
            rest.erase("");
        }};
    return description;
}

const Description& batch_deployment() {
    static const Description description = {
        .kind = "batch-deployment",
        .type = "model",
        .schema = "modelBatchDeployment",
        .title = "a batch deployment (model)",
        .help =
            "`turnout batch-deployment create -f deployment.yml`: a model, with the script that "
            "scores files by it.",
        .fields = with_common(
            {special("model", batch_model_shape(),
                     "What scores, below AZUREML_MODEL_DIR. An MLflow model needs no script and "
                     "no environment."),
             object("code_configuration", "properties.codeConfiguration", scoring_code(),
                    "The scoring script."),
             special("environment", environment_shape(), "What the script runs in."),
             special("compute", batch_compute_shape(), "Where its jobs run; serverless if absent."),
             object("resources", "properties.resources", *command_job().find("resources")->object,
                    "Nodes of a job."),
             special("settings", scoring_settings_shape(), "How its jobs score.")}),
        .finish_rest = drop_empty_key};
    return description;
}

const Description& pipeline_batch_deployment() {
    static const Description description = {
        .kind = "batch-deployment",
        .type = "pipeline",
        .schema = "pipelineComponentBatchDeployment",
        .title = "a batch deployment (pipeline)",
        .help =
            "`turnout batch-deployment create -f deployment.yml`: a pipeline component, which an "
            "invocation runs.",
        .fields = with_common(
            {special("component", deployed_component_shape(), "a pipeline component",
                     Need::Required),
             special("settings", pipeline_settings_shape(), "Of the pipeline jobs."),
             refused("job_definition", "A job that becomes a component.",
                     "a job does not become a component yet: register its pipeline with the SDK, "
                     "and name it by `component`")}),
        .finish_rest = drop_empty_key};
    return description;
}

}  // namespace turnout::resources
