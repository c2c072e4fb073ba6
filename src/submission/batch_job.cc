#include "submission/batch_job.h"

#include <algorithm>

#include "base/text.h"
#include "base/time.h"
#include "model/pipeline.h"
#include "submission/command_job.h"
#include "submission/pipeline_values.h"
#include "submission/refusal.h"

namespace turnout::submission {
namespace {

constexpr std::string_view kInvalidDeployment = "InvalidDeployment", kInvalid = "InvalidInvocation";
constexpr std::string_view kUsualFile = "predictions.csv";

Failure wrong(const std::string& place, const std::string& expected, const Json& found) {
    return not_as_expected(std::string(kInvalid), place, expected, found);
}

// "UriFolder" and "uri_folder" -> "uri_folder".
std::string data_type(std::string_view said) {
    std::string squeezed;
    for (const char c : to_lower(said))
        if (c != '_') squeezed += c;
    for (const auto& [word, type] : {std::pair("urifolder", "uri_folder"),
                                     {"urifile", "uri_file"},
                                     {"mltable", "mltable"},
                                     {"mlflowmodel", "mlflow_model"},
                                     {"custommodel", "custom_model"},
                                     {"tritonmodel", "triton_model"},
                                     {"literal", "literal"}})
        if (squeezed == word) return type;
    return "";
}

Result<Json> input_of(const std::string& name, const Json& said) {
    const std::string place = "inputData." + name;
    const std::string type = data_type(said.at("jobInputType").as_view());
    if (type.empty())
        return wrong(place + ".jobInputType", "UriFolder, UriFile, MLTable or Literal",
                     said.at("jobInputType"));
    if (type == "literal")
        return Json::object(
            {{"jobInputType", "literal"}, {"value", literal_text(said.at("value"))}});
    const std::string uri = said.at("uri").as_string();
    if (uri.empty())
        return wrong(place + ".uri",
                     "a datastore path, the address of a file or the id of a data asset",
                     said.at("uri"));
    Json input = Json::object({{"jobInputType", type}, {"uri", uri}});
    if (const std::string mode = said.at("mode").as_string(); !mode.empty())
        input.set("mode", rest_mode(mode));
    return input;
}

Result<Json> outputs_of(const Json& request) {
    Json outputs = Json::object();
    for (const auto& [name, said] : request.at("outputData").members()) {
        const std::string uri = said.at("uri").as_string();
        Json output = Json::object();
        const std::string type = data_type(said.at("jobOutputType").as_view());
        output.set("jobOutputType", type.empty() ? "uri_folder" : type);
        if (!uri.empty()) output.set("uri", uri);
        outputs.set(name, std::move(output));
    }
    const Json& dataset = request.at("outputDataset");
    if (!dataset.is_object()) return outputs;
    std::string store = dataset.at("datastoreId").as_string("workspaceblobstore");
    if (const std::size_t slash = store.rfind('/'); slash != std::string::npos)
        store.erase(0, slash + 1);
    if (store.starts_with("azureml:")) store.erase(0, 8);
    std::string path = dataset.at("path").as_string();
    while (path.starts_with('/')) path.erase(0, 1);
    outputs.set("score",
                Json::object({{"jobOutputType", "uri_folder"},
                              {"uri", "azureml://datastores/" + store + "/paths/" + path}}));
    return outputs;
}

// What the deployment says, unless the invocation says it.
const Json& either(const Json& request, const Json& properties, const char* member) {
    const Json& own = request.at(member);
    return own.is_null() ? properties.at(member) : own;
}

Json retry_settings(const Json& said) {
    Json retries = Json::object();
    if (!said.at("maxRetries").is_null()) retries.set("max_retries", said.at("maxRetries"));
    if (const auto span = parse_duration(said.at("timeout").as_view()))
        retries.set("timeout", std::chrono::duration_cast<std::chrono::seconds>(*span).count());
    return retries;
}

std::string bare(std::string id) {
    if (id.starts_with("azureml:/")) id.erase(0, 8);
    return id;
}

Result<Json> scoring_step(const BatchDeploymentSaid& deployment, const Json& request) {
    const Json& properties = deployment.properties;
    Json spec = Json::object({{"type", "parallel"}, {"is_deterministic", false}});
    Json task = Json::object({{"type", "run_function"}});
    const Json& code = properties.at("codeConfiguration");
    if (const std::string script = code.at("scoringScript").as_string(); !script.empty()) {
        task.set("code", bare(code.at("codeId").as_string()));
        task.set("entry_script", script);
    }
    task.set("environment", bare(properties.at("environmentId").as_string()));
    task.set("output_folder", "${{outputs.score}}");
    if (!equal_ignoring_case(properties.at("outputAction").as_string("AppendRow"), "SummaryOnly")) {
        const Json& named = either(request, properties, "outputFileName");
        const std::string file = named.as_string(std::string(kUsualFile));
        if (file.empty() || file.find('/') != std::string::npos || file.starts_with("."))
            return wrong("outputFileName", "the name of a file, such as predictions.csv", named);
        task.set("append_row_to", "${{outputs.score}}");
        task.set("output_file_name", file);
    }
    Json declared = Json::object({{"data", Json::object({{"type", "uri_folder"}})}});
    Json inputs = Json::object();
    if (request.at("inputData").members().size() != 1)
        return wrong("inputData", "the one input of a model deployment", request.at("inputData"));
    for (const auto& [name, said] : request.at("inputData").members()) {
        const Json input = TURNOUT_TRY(input_of(name, said));
        const std::string type = input.at("jobInputType").as_string();
        if (type != "uri_folder" && type != "uri_file" && type != "mltable")
            return wrong("inputData." + name + ".jobInputType", "UriFolder, UriFile or MLTable",
                         said.at("jobInputType"));
        declared["data"].set("type", type);
        inputs.set("data", Json::object({{"job_input_type", type},
                                         {"uri", input.at("uri")},
                                         {"mode", "ReadOnlyMount"}}));
    }
    if (const std::string model = model_deployed(properties); !model.empty()) {
        declared.set("model", Json::object({{"type", deployment.model_type}}));
        inputs.set("model", Json::object({{"job_input_type", deployment.model_type},
                                          {"uri", model},
                                          {"mode", "ReadOnlyMount"}}));
        task.set("model", "${{inputs.model}}");
        task.set("model_name", deployment.model_folder);
    }
    spec.set("inputs", std::move(declared));
    spec.set("outputs", Json::object({{"score", Json::object({{"type", "uri_folder"}})}}));
    spec.set("input_data", "${{inputs.data}}");
    spec.set("task", std::move(task));
    for (const auto& [member, key] : {std::pair("miniBatchSize", "mini_batch_size"),
                                      {"errorThreshold", "error_threshold"},
                                      {"maxConcurrencyPerInstance", "max_concurrency_per_instance"},
                                      {"loggingLevel", "logging_level"}})
        if (const Json& value = either(request, properties, member); !value.is_null())
            spec.set(key, value);
    Json retries = retry_settings(properties.at("retrySettings"));
    retries.merge(retry_settings(request.at("retrySettings")));
    if (retries.at("timeout").is_null()) retries.set("timeout", 30);  // as Azure has it
    spec.set("retry_settings", std::move(retries));

    Json step = Json::object({{"type", "parallel"},
                              {"name", "batchscoring"},
                              {"component", std::move(spec)},
                              {"inputs", std::move(inputs)}});
    step.set("outputs",
             Json::object({{"score", Json::object({{"value", "${{parent.outputs.score}}"},
                                                   {"type", "literal"}})}}));
    Json resources = Json::object();
    const Json& asked = request.at("compute").at("instanceCount");
    const Json& usual = properties.at("resources").at("instanceCount");
    if (const Json& count = asked.is_null() ? usual : asked; !count.is_null())
        resources.set("instance_count", count);
    if (const Json& size = properties.at("resources").at("instanceType"); !size.is_null())
        resources.set("instance_type", size);
    if (!resources.members().empty()) step.set("resources", std::move(resources));
    Json variables = Json::object();
    if (properties.at("environmentVariables").is_object())
        variables = properties.at("environmentVariables");
    variables.set("AZUREML_ENDPOINT_NAME", deployment.endpoint);
    variables.set("AZUREML_DEPLOYMENT_NAME", deployment.name);
    step.set("environment_variables", std::move(variables));
    return step;
}

// "True" and "true" of the SDK's settings, which are texts.
bool is_true(const Json& value) {
    return value.is_bool() ? value.as_bool() : equal_ignoring_case(value.as_view(), "true");
}

}  // namespace

std::string component_deployed(const Json& properties) {
    const Json& component = properties.at("deploymentConfiguration").at("componentId");
    return bare(component.is_object() ? component.at("assetId").as_string()
                                      : component.as_string());
}

std::string model_deployed(const Json& properties) {
    const Json& model = properties.at("model");
    return bare(model.is_object() ? model.at("assetId").as_string() : model.as_string());
}

Result<void> check_batch_deployment(const Json& properties) {
    const auto refused = [](const char* place, const char* expected, const Json& found) {
        return not_as_expected(std::string(kInvalidDeployment), place, expected, found);
    };
    for (const char* const member :
         {"codeConfiguration", "resources", "retrySettings", "environmentVariables", "properties",
          "deploymentConfiguration"})
        if (const Json& part = properties.at(member); !part.is_null() && !part.is_object())
            return refused(member, "an object", part);
    if (const Json& action = properties.at("outputAction");
        !action.is_null() && !equal_ignoring_case(action.as_view(), "AppendRow") &&
        !equal_ignoring_case(action.as_view(), "SummaryOnly"))
        return refused("outputAction", "AppendRow or SummaryOnly", action);
    if (const Json& timeout = properties.at("retrySettings").at("timeout");
        !timeout.is_null() && !parse_duration(timeout.as_view()))
        return refused("retrySettings.timeout", "a duration such as PT30S", timeout);
    if (!component_deployed(properties).empty()) return {};
    if (properties.at("deploymentConfiguration").is_object())
        return refused("deploymentConfiguration.componentId.assetId",
                       "a pipeline component, azureml:NAME:VERSION",
                       properties.at("deploymentConfiguration").at("componentId"));
    const Json& code = properties.at("codeConfiguration");
    if (!code.is_null())
        for (const char* const member : {"codeId", "scoringScript"})
            if (code.at(member).as_view().empty())
                return refused(member == std::string_view("codeId")
                                   ? "codeConfiguration.codeId"
                                   : "codeConfiguration.scoringScript",
                               "a text", code.at(member));
    return {};
}

Result<Json> batch_job(const BatchDeploymentSaid& deployment, const Json& request) {
    for (const char* const member :
         {"inputData", "outputData", "outputDataset", "compute", "retrySettings", "properties"})
        if (const Json& part = request.at(member); !part.is_null() && !part.is_object())
            return wrong(member, "an object", part);
    if (const Json& timeout = request.at("retrySettings").at("timeout");
        !timeout.is_null() && !parse_duration(timeout.as_view()))
        return wrong("retrySettings.timeout", "a duration such as PT30S", timeout);
    const Json& properties = deployment.properties;
    Json job = Json::object(
        {{"jobType", name_of(kPipelineJob)},
         {"displayName", deployment.endpoint + "-" + deployment.name},
         {"experimentName",
          request.at("properties").at("experimentName").as_string(deployment.endpoint)}});
    Json outputs = TURNOUT_TRY(outputs_of(request));
    Json settings = Json::object();
    if (const std::string component = component_deployed(properties); !component.empty()) {
        Json inputs = Json::object();
        for (const auto& [name, said] : request.at("inputData").members())
            inputs.set(name, TURNOUT_TRY(input_of(name, said)));
        for (const auto& [name, declared] : deployment.outputs.members())
            if (!outputs.has(name))
                outputs.set(
                    name,
                    Json::object({{"jobOutputType", declared.at("type").as_string("uri_folder")}}));
        job.set("componentId", component);
        job.set("inputs", std::move(inputs));
        const Json& said = properties.at("deploymentConfiguration").at("settings");
        for (const char* const key : {"default_compute", "default_datastore"})
            if (const Json& value = said.at(key); value.is_string()) settings.set(key, value);
        for (const char* const key :
             {"continue_on_step_failure", "ComponentDeployment.Settings.continue_on_step_failure"})
            if (is_true(said.at(key))) settings.set("continue_on_step_failure", true);
        if (is_true(said.at("force_rerun"))) settings.set("force_rerun", true);
    } else {
        for (const auto& [name, one] : outputs.members())
            if (name != "score" && outputs.members().size() > 1)
                return wrong("outputData." + name, "the one output 'score'", one);
        if (outputs.members().size() == 1) {  // whatever it is called
            Json only = outputs.members()[0].second;
            only.set("jobOutputType", "uri_folder");
            outputs = Json::object({{"score", std::move(only)}});
        } else {
            outputs.set("score", Json::object({{"jobOutputType", "uri_folder"}}));
        }
        if (const std::string compute = bare(properties.at("compute").as_string());
            !compute.empty())
            settings.set("default_compute", compute);
        job.set("jobs",
                Json::object({{"batchscoring", TURNOUT_TRY(scoring_step(deployment, request))}}));
    }
    job.set("settings", std::move(settings));
    job.set("outputs", std::move(outputs));
    return job;
}

}  // namespace turnout::submission
