// Batch endpoints and their deployments, in az ml's words.
#include <filesystem>

#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"

namespace turnout::cli {

namespace {

const std::vector<std::string> kBatchEndpoints = {"name", "provisioning_state",
                                                  "defaults.deployment_name", "scoring_uri"};
const std::vector<std::string> kBatchDeployments = {"name", "model", "component", "compute"};
const std::vector<std::string> kScoringJobs = {"name", "status", "deployment", "creation_time"};

std::string batch_path(const client::Api& api, const std::string& endpoint) {
    return api.in_workspace("/batchEndpoints/" + percent_encode(endpoint));
}
std::string batch_path(const client::Api& api, const std::string& endpoint,
                       const std::string& deployment) {
    return batch_path(api, endpoint) + "/deployments/" + percent_encode(deployment);
}

const resources::Description& kind_of_deployment(const Json& rest) {
    return resources::at_path(rest, "properties.deploymentConfiguration").is_object()
               ? resources::pipeline_batch_deployment()
               : resources::batch_deployment();
}

Json batch_entity(const Json& rest) {
    return resources::to_entity(resources::batch_endpoint(), rest);
}
Json batch_deployment_entity(const Json& rest) {
    Json entity = resources::to_entity(kind_of_deployment(rest), rest);
    entity.set("type", kind_of_deployment(rest).type);
    return entity;
}
Json scoring_job_entity(const Json& rest) {
    Json entity = Json::object({{"name", rest.at("name")}, {"id", rest.at("id")}});
    for (const auto& [key, value] : rest.at("properties").members())
        entity.set(resources::camel_to_snake(key), value);
    return entity;
}

int with_batch(Context& context, Result<int> (*verb)(Context&, client::Api&)) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<int> done = verb(context, **opened);
    return done ? *done : context.fail(done.error());
}

int from_batch_file(Context& context, const char* kind,
                    Result<int> (*put)(Context&, client::Api&, Loaded&)) {
    Result<Loaded> loaded = load(context, kind);
    if (!loaded) return context.fail(loaded.error());
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<int> done = put(context, **opened, *loaded);
    if (done) return *done;
    return context.fail(
        resources::in_words_of(*loaded->description, loaded->document, done.error()));
}

Result<std::string> batch_endpoint_named(Context& context) {
    const std::string name = context.args().get("--endpoint-name");
    if (name.empty() || name.find('/') != std::string::npos)
        return invalid("which endpoint? give --endpoint-name (-e) NAME", "--endpoint-name");
    return name;
}

// What --set changes of what there is: a PUT of the whole.
Result<Json> changed_batch(Context& context, const resources::Description& description,
                           const Json& now, const std::string& what) {
    if (!context.args().has("--set"))
        return fail(Code::InvalidArgument, "Usage", "what to change? give --set, or -f", "--set");
    YamlDocument document;
    document.file = what;
    document.value = resources::to_entity(description, now);
    for (const std::string& assignment : context.args().all("--set"))
        TURNOUT_TRY(apply_set(document, assignment));
    for (const resources::Field& field : description.fields)
        if (field.need == resources::Need::ReadOnly) document.value.erase(field.yaml);
    resources::Reading reading(document, resources::no_files());
    resources::check(description, reading);
    TURNOUT_TRY(resources::result_of(reading));
    const client::Api& api = *TURNOUT_TRY(context.api());
    Json rest = resources::to_rest(description, document, "", {api.settings().workspace_path()});
    rest.erase("name");
    return rest;
}

// ---- endpoints

Result<int> put_batch_endpoint(Context& context, client::Api& api, Loaded& loaded) {
    Json rest = resources::to_rest(*loaded.description, loaded.document, "",
                                   {api.settings().workspace_path()});
    const std::string name = rest.at("name").as_string();
    rest.erase("name");
    const Json made = TURNOUT_TRY(api.put(batch_path(api, name), rest));
    return context.show(batch_entity(made), made);
}

Result<int> update_batch_endpoint(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const Json now = TURNOUT_TRY(api.get(batch_path(api, name)));
    const Json rest = TURNOUT_TRY(
        changed_batch(context, resources::batch_endpoint(), now, "batch endpoint " + name));
    const Json made = TURNOUT_TRY(api.put(batch_path(api, name), rest));
    return context.show(batch_entity(made), made);
}

Result<int> list_batch_endpoints(Context& context, client::Api& api) {
    const Json all = TURNOUT_TRY(api.list(api.in_workspace("/batchEndpoints")));
    Json rows = Json::array();
    for (const Json& one : all.items()) rows.push(batch_entity(one));
    return context.show(rows, all, kBatchEndpoints);
}

Result<int> show_batch_endpoint(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const Json found = TURNOUT_TRY(api.get(batch_path(api, name)));
    return context.show(batch_entity(found), found);
}

Result<int> delete_batch_endpoint(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    TURNOUT_TRY(api.send("DELETE", batch_path(api, name)));
    context.note("batch endpoint " + name + " is deleted");
    return 0;
}

// "azureml:NAME:VERSION" and "azureml:NAME@latest" as they stand in a request.
std::string data_id(const client::Api& api, const std::string& text) {
    const std::string name = text.substr(std::string_view("azureml:").size());
    const std::size_t at = name.find_first_of(":@");
    if (name.starts_with('/') || at == std::string::npos || name[at] == '@') return text;
    return api.in_workspace("/data/" + name.substr(0, at) + "/versions/" + name.substr(at + 1));
}

// An input as the server wants it: what lies on this machine is uploaded.
Result<Json> invoke_input(Context& context, client::Api& api, std::string path, std::string type,
                          const std::string& folder) {
    const bool remote = path.find("://") != std::string::npos || path.starts_with("azureml:") ||
                        path.starts_with("/subscriptions/");
    if (!remote) {
        std::filesystem::path local(path);
        if (local.is_relative() && !folder.empty()) local = std::filesystem::path(folder) / local;
        std::error_code ignored;
        if (!std::filesystem::exists(local, ignored))
            return invalid("--input: expected a path, azureml:NAME:VERSION or an address, but '" +
                               path + "' does not exist",
                           "--input");
        if (type.empty())
            type = std::filesystem::is_directory(local, ignored) ? "uri_folder" : "uri_file";
        bool uploaded = false;
        path = TURNOUT_TRY(
            api.upload_data(local.string(), context.bar("uploading " + path), uploaded));
    } else if (path.starts_with("azureml:") && !path.starts_with("azureml://")) {
        path = data_id(api, path);
    }
    if (type.empty()) type = "uri_folder";
    return Json::object({{"jobInputType", type == "uri_file"  ? "UriFile"
                                          : type == "mltable" ? "MLTable"
                                                              : "UriFolder"},
                         {"uri", path}});
}

// `inputs:` and `outputs:` of a file, as az has it.
Result<void> read_invoke_file(Context& context, client::Api& api, Json& request) {
    const std::string file = context.args().get("--file");
    if (file.empty()) return {};
    const std::string bytes = TURNOUT_TRY(client::read_file(file));
    const YamlDocument document = TURNOUT_TRY(parse_yaml(bytes, file));
    const std::string folder = std::filesystem::path(file).parent_path().string();
    for (const auto& [name, input] : document.value.at("inputs").members()) {
        const std::string pointer = "/inputs/" + name;
        if (!input.is_object()) {
            request["inputData"].set(
                name, Json::object(
                          {{"jobInputType", "Literal"}, {"value", document.text(pointer, input)}}));
            continue;
        }
        if (input.has("value") || input.has("default")) {
            const char* const key = input.has("value") ? "value" : "default";
            request["inputData"].set(
                name, Json::object({{"jobInputType", "Literal"},
                                    {"value", document.text(pointer + "/" + key, input.at(key))}}));
            continue;
        }
        request["inputData"].set(
            name, TURNOUT_TRY(invoke_input(context, api, input.at("path").as_string(),
                                           input.at("type").as_string(), folder)));
    }
    for (const auto& [name, output] : document.value.at("outputs").members())
        request["outputData"].set(
            name, Json::object({{"jobOutputType", output.at("type").as_string("uri_folder")},
                                {"uri", output.at("path")}}));
    return {};
}

Result<void> whole_option(Context& context, const char* option, const char* member, Json& request) {
    if (!context.args().has(option)) return {};
    const auto number = parse_whole_number(context.args().get(option));
    if (!number || *number < 1)
        return invalid(std::string(option) + ": expected a whole number from 1, found '" +
                           context.args().get(option) + "'",
                       option);
    resources::set_path(request, member, *number);
    return {};
}

Result<int> invoke_batch_endpoint(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const Json endpoint = TURNOUT_TRY(api.get(batch_path(api, name)));
    Json request = Json::object();
    request.set("inputData", Json::object());
    request.set("outputData", Json::object());
    TURNOUT_TRY(read_invoke_file(context, api, request));
    if (const std::string input = context.args().get("--input"); !input.empty()) {
        const Json data =
            TURNOUT_TRY(invoke_input(context, api, input, context.args().get("--input-type"), ""));
        request["inputData"].set("input_data", data);
    }
    TURNOUT_TRY(whole_option(context, "--instance-count", "compute.instanceCount", request));
    TURNOUT_TRY(whole_option(context, "--mini-batch-size", "miniBatchSize", request));
    if (const std::string path = context.args().get("--output-path"); !path.empty())
        request["outputData"].set("score",
                                  Json::object({{"jobOutputType", "UriFolder"}, {"uri", path}}));
    if (const std::string job = context.args().get("--job-name"); !job.empty())
        request.set("name", job);
    if (const std::string experiment = context.args().get("--experiment-name"); !experiment.empty())
        resources::set_path(request, "properties.experimentName", experiment);
    http::Headers headers;
    headers.set("Content-Type", "application/json");
    headers.set("Authorization", "Bearer " + api.settings().api_key.reveal());
    if (const std::string deployment = context.args().get("--deployment-name"); !deployment.empty())
        headers.set("azureml-model-deployment", deployment);
    const auto [status, text] =
        TURNOUT_TRY(api.ask(endpoint.at("properties").at("scoringUri").as_string(), headers,
                            Json::object({{"properties", request}}).dump()));
    const Result<Json> json = parse_json(text);
    if (status < 200 || status > 299)
        return fail(status == 404 ? Code::NotFound : Code::InvalidArgument, "InvokeFailed",
                    json ? json->at("error").at("message").as_string(text.substr(0, 2000))
                         : text.substr(0, 2000));
    if (!json) return Failure(json.error());
    return context.show(scoring_job_entity(*json), *json);
}

Result<int> list_scoring_jobs(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const Json all = TURNOUT_TRY(api.list(batch_path(api, name) + "/jobs"));
    Json rows = Json::array();
    for (const Json& one : all.items()) rows.push(scoring_job_entity(one));
    return context.show(rows, all, kScoringJobs);
}

// ---- deployments

Result<int> put_batch_deployment(Context& context, client::Api& api, Loaded& loaded) {
    const std::string endpoint =
        loaded.document.text("/endpoint_name", loaded.document.value.at("endpoint_name"));
    Json of = TURNOUT_TRY(api.get(batch_path(api, endpoint)));  // before anything is uploaded
    TURNOUT_TRY(prepare(context, loaded));
    Json rest = resources::to_rest(*loaded.description, loaded.document, "",
                                   {api.settings().workspace_path()});
    const std::string name = rest.at("name").as_string();
    rest.erase("name");
    const Json made = TURNOUT_TRY(api.put(batch_path(api, endpoint, name), rest));
    if (context.args().has("--set-default")) {
        resources::set_path(of, "properties.defaults.deploymentName", name);
        TURNOUT_TRY(api.put(batch_path(api, endpoint), of));
    }
    return context.show(batch_deployment_entity(made), made);
}

Result<int> update_batch_deployment(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string path = batch_path(api, TURNOUT_TRY(batch_endpoint_named(context)), name);
    const Json now = TURNOUT_TRY(api.get(path));
    const Json rest =
        TURNOUT_TRY(changed_batch(context, kind_of_deployment(now), now, "deployment " + name));
    const Json made = TURNOUT_TRY(api.put(path, rest));
    return context.show(batch_deployment_entity(made), made);
}

Result<int> list_batch_deployments(Context& context, client::Api& api) {
    const std::string endpoint = TURNOUT_TRY(batch_endpoint_named(context));
    const Json all = TURNOUT_TRY(api.list(batch_path(api, endpoint) + "/deployments"));
    Json rows = Json::array();
    for (const Json& one : all.items()) rows.push(batch_deployment_entity(one));
    return context.show(rows, all, kBatchDeployments);
}

Result<int> show_batch_deployment(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string endpoint = TURNOUT_TRY(batch_endpoint_named(context));
    const Json found = TURNOUT_TRY(api.get(batch_path(api, endpoint, name)));
    return context.show(batch_deployment_entity(found), found);
}

Result<int> delete_batch_deployment(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string endpoint = TURNOUT_TRY(batch_endpoint_named(context));
    TURNOUT_TRY(api.send("DELETE", batch_path(api, endpoint, name)));
    context.note("batch deployment " + name + " is deleted");
    return 0;
}

Result<int> list_jobs_of_deployment(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string endpoint = TURNOUT_TRY(batch_endpoint_named(context));
    const Json all = TURNOUT_TRY(api.list(batch_path(api, endpoint, name) + "/jobs"));
    Json rows = Json::array();
    for (const Json& one : all.items()) rows.push(scoring_job_entity(one));
    return context.show(rows, all, kScoringJobs);
}

}  // namespace

int batch_endpoint_create(Context& context) {
    return from_batch_file(context, "batch-endpoint", put_batch_endpoint);
}
int batch_endpoint_update(Context& context) {
    return context.args().has("--file")
               ? from_batch_file(context, "batch-endpoint", put_batch_endpoint)
               : with_batch(context, update_batch_endpoint);
}
int batch_endpoint_list(Context& context) {
    return with_batch(context, list_batch_endpoints);
}
int batch_endpoint_show(Context& context) {
    return with_batch(context, show_batch_endpoint);
}
int batch_endpoint_delete(Context& context) {
    return with_batch(context, delete_batch_endpoint);
}
int batch_endpoint_invoke(Context& context) {
    return with_batch(context, invoke_batch_endpoint);
}
int batch_endpoint_jobs(Context& context) {
    return with_batch(context, list_scoring_jobs);
}
int batch_deployment_create(Context& context) {
    return from_batch_file(context, "batch-deployment", put_batch_deployment);
}
int batch_deployment_update(Context& context) {
    return context.args().has("--file")
               ? from_batch_file(context, "batch-deployment", put_batch_deployment)
               : with_batch(context, update_batch_deployment);
}
int batch_deployment_list(Context& context) {
    return with_batch(context, list_batch_deployments);
}
int batch_deployment_show(Context& context) {
    return with_batch(context, show_batch_deployment);
}
int batch_deployment_delete(Context& context) {
    return with_batch(context, delete_batch_deployment);
}
int batch_deployment_jobs(Context& context) {
    return with_batch(context, list_jobs_of_deployment);
}

}  // namespace turnout::cli
