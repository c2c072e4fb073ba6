// Online endpoints and their deployments, in az ml's words.
#include <algorithm>

#include "base/text.h"
#include "cli/commands.h"
#include "client/files.h"

namespace turnout::cli {

namespace {

const std::vector<std::string> kEndpointColumns = {"name", "auth_mode", "provisioning_state",
                                                   "traffic", "scoring_uri"};
const std::vector<std::string> kDeploymentColumns = {
    "name", "provisioning_state", "ready_instances", "instance_count", "model", "instance_type"};

std::string endpoint_path(const client::Api& api, const std::string& name) {
    return api.in_workspace("/onlineEndpoints/" + percent_encode(name));
}
std::string deployment_path(const client::Api& api, const std::string& endpoint,
                            const std::string& name) {
    return endpoint_path(api, endpoint) + "/deployments/" + percent_encode(name);
}

Json endpoint_entity(const Json& rest) {
    return resources::to_entity(resources::online_endpoint(), rest);
}
Json deployment_entity(const Json& rest) {
    Json entity = resources::to_entity(resources::online_deployment(), rest);
    // As az shows it.
    Json requests = Json::object();
    for (const auto& [key, value] : entity.at("requests").members())
        requests.set(resources::camel_to_snake(key), value);
    if (!requests.members().empty()) entity.set("requests", std::move(requests));
    return entity;
}

Result<Json> with_location_of_workspace(client::Api& api, Json rest) {
    if (!rest.at("location").is_null()) return rest;
    const Json workspace = TURNOUT_TRY(api.get(api.in_workspace("")));
    rest.set("location", workspace.at("location").as_string("westus"));
    return rest;
}

int with_endpoints(Context& context, Result<int> (*verb)(Context&, client::Api&)) {
    const Result<client::Api*> opened = context.api();
    if (!opened) return context.fail(opened.error());
    const Result<int> done = verb(context, **opened);
    return done ? *done : context.fail(done.error());
}

// "blue=90 green=10", which may be given in several words.
Result<Json> traffic_said(Context& context, const std::string& option) {
    Json traffic = Json::object();
    for (const std::string& words : context.args().all(option)) {
        std::string text = words;
        std::ranges::replace(text, ',', ' ');
        for (const std::string& part : split(text, ' ')) {
            if (trim(part).empty()) continue;
            const std::size_t equals = part.find('=');
            const auto share = parse_whole_number(
                equals == std::string::npos ? "" : std::string_view(part).substr(equals + 1));
            if (!share || *share < 0 || *share > 100)
                return invalid(option +
                                   ": expected DEPLOYMENT=PERCENT, such as \"blue=90 "
                                   "green=10\", found '" +
                                   part + "'",
                               option);
            traffic.set(part.substr(0, equals), *share);
        }
    }
    return traffic;
}

Result<void> set_traffic_said(Context& context, Json& rest) {
    for (const auto& [option, member] : {std::pair("--traffic", "properties.traffic"),
                                         {"--mirror-traffic", "properties.mirrorTraffic"}})
        if (context.args().has(option))
            resources::set_path(rest, member, TURNOUT_TRY(traffic_said(context, option)));
    return {};
}

// What the options and --set change of what there is: a PUT of the whole.
Result<Json> changed(Context& context, const resources::Description& description, const Json& now,
                     const std::string& what) {
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

Result<Json> wait_for(Context& context, client::Api& api, const client::Reply& reply,
                      const std::string& path, const std::string& what) {
    if (context.args().has("--no-wait")) return reply.body;
    std::string said;
    TURNOUT_TRY(api.finish(reply, [&](const std::string&) {
        const Result<Json> now = api.get(path);
        if (!now) return;
        const std::string progress = now->at("properties").at("progress").as_string();
        context.status(what + ": " + now->at("properties").at("provisioningState").as_string() +
                       (progress.empty() ? "" : "; " + progress));
    }));
    context.end_status();
    return api.get(path);
}

Result<void> wait_until_gone(Context& context, client::Api& api, const std::string& path,
                             const std::string& what) {
    const client::Reply reply = TURNOUT_TRY(api.send("DELETE", path));
    if (context.args().has("--no-wait")) return {};
    TURNOUT_TRY(api.finish(
        reply, [&](const std::string&) { context.status(what + ": what runs is being ended"); }));
    context.end_status();
    return {};
}

Result<std::string> endpoint_named(Context& context) {
    const std::string name = context.args().get("--endpoint-name");
    if (name.empty() || name.find('/') != std::string::npos)
        return invalid("which endpoint? give --endpoint-name (-e) NAME", "--endpoint-name");
    return name;
}

// ---- endpoints

Result<int> create_endpoint(Context& context, client::Api& api, Loaded& loaded) {
    Json rest = resources::to_rest(*loaded.description, loaded.document, "",
                                   {api.settings().workspace_path()});
    const std::string name = rest.at("name").as_string();
    rest.erase("name");
    TURNOUT_TRY(set_traffic_said(context, rest));
    rest = TURNOUT_TRY(with_location_of_workspace(api, std::move(rest)));
    const Json made = TURNOUT_TRY(api.put(endpoint_path(api, name), rest));
    return context.show(endpoint_entity(made), made);
}

Result<int> update_endpoint(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const Json now = TURNOUT_TRY(api.get(endpoint_path(api, name)));
    if (!context.args().has("--traffic") && !context.args().has("--mirror-traffic") &&
        !context.args().has("--set"))
        return fail(Code::InvalidArgument, "Usage",
                    "what to change? give --traffic \"blue=90 green=10\", --mirror-traffic, --set "
                    "or -f",
                    "--traffic");
    Json rest =
        TURNOUT_TRY(changed(context, resources::online_endpoint(), now, "endpoint " + name));
    TURNOUT_TRY(set_traffic_said(context, rest));
    const Json made = TURNOUT_TRY(api.put(endpoint_path(api, name), rest));
    return context.show(endpoint_entity(made), made);
}

Result<int> list_endpoints(Context& context, client::Api& api) {
    const Json all = TURNOUT_TRY(api.list(api.in_workspace("/onlineEndpoints")));
    Json rows = Json::array();
    for (const Json& one : all.items()) rows.push(endpoint_entity(one));
    return context.show(rows, all, kEndpointColumns);
}

Result<int> show_endpoint(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const Json found = TURNOUT_TRY(api.get(endpoint_path(api, name)));
    return context.show(endpoint_entity(found), found);
}

Result<int> delete_endpoint(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    TURNOUT_TRY(wait_until_gone(context, api, endpoint_path(api, name), "endpoint " + name));
    context.note("endpoint " + name + (context.args().has("--no-wait") ? " goes" : " is deleted"));
    return 0;
}

Result<Json> credentials_of(client::Api& api, const std::string& name, const Json& endpoint) {
    const std::string mode = endpoint.at("properties").at("authMode").as_string();
    if (mode == "Key") return api.post(endpoint_path(api, name) + "/listKeys");
    if (mode == "AMLToken") return api.post(endpoint_path(api, name) + "/token");
    return Json::object({{"accessToken", api.settings().api_key.reveal()}});
}

Result<int> invoke_endpoint(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string file = context.args().get("--request-file");
    if (file.empty())
        return invalid("what to ask? give --request-file (-r) FILE, or - for standard input",
                       "--request-file");
    const std::string request = TURNOUT_TRY(client::read_file(file == "-" ? "/dev/stdin" : file));
    const Json endpoint = TURNOUT_TRY(api.get(endpoint_path(api, name)));
    const Json keys = TURNOUT_TRY(credentials_of(api, name, endpoint));
    const Secret key(keys.at("primaryKey").as_string(keys.at("accessToken").as_string()));
    http::Headers headers;
    headers.set("Content-Type", "application/json");
    headers.set("Authorization", "Bearer " + key.reveal());
    if (const std::string deployment = context.args().get("--deployment-name"); !deployment.empty())
        headers.set("azureml-model-deployment", deployment);
    const auto [status, text] = TURNOUT_TRY(
        api.ask(endpoint.at("properties").at("scoringUri").as_string(), headers, request));
    if (status < 200 || status > 299) {
        const Result<Json> json = parse_json(text);
        std::string why =
            json ? json->at("error").at("message").as_string(json->at("message").as_string(text))
                 : text;
        return fail(Code::FailedPrecondition, "ScoringFailed",
                    "endpoint '" + name + "' answered with status " + std::to_string(status) +
                        ": " + why.substr(0, 2000));
    }
    const Result<Json> json = parse_json(text);
    if (json && (context.args().has("--query") || context.args().has("--output")))
        return context.show(*json, *json);
    context.out(text.ends_with('\n') ? text : text + "\n");
    return 0;
}

Result<int> show_credentials(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const Json endpoint = TURNOUT_TRY(api.get(endpoint_path(api, name)));
    if (endpoint.at("properties").at("authMode").as_view() == "AADToken")
        return fail(Code::FailedPrecondition, "NoCredentials",
                    "endpoint '" + name +
                        "' has no credentials of its own: whoever may score uses their own token "
                        "(`turnout token create`)");
    const Json keys = TURNOUT_TRY(credentials_of(api, name, endpoint));
    return context.show(keys, keys);
}

Result<int> make_keys_anew(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string type = context.args().get("--key-type", "primary");
    const Json asked = Json::object(
        {{"keyType", equal_ignoring_case(type, "secondary") ? "Secondary" : "Primary"}});
    TURNOUT_TRY(api.post(endpoint_path(api, name) + "/regenerateKeys", asked));
    context.note("the " + to_lower(type) + " key of endpoint " + name +
                 " is another one now: `turnout online-endpoint get-credentials " + name + "`");
    return 0;
}

// ---- deployments

Result<int> put_deployment(Context& context, client::Api& api, Loaded& loaded) {
    const std::string endpoint =
        loaded.document.text("/endpoint_name", loaded.document.value.at("endpoint_name"));
    TURNOUT_TRY(api.get(endpoint_path(api, endpoint)));  // before anything is uploaded
    TURNOUT_TRY(prepare(context, loaded));
    Json rest = resources::to_rest(*loaded.description, loaded.document, "",
                                   {api.settings().workspace_path()});
    const std::string name = rest.at("name").as_string();
    rest.erase("name");
    rest = TURNOUT_TRY(with_location_of_workspace(api, std::move(rest)));
    const std::string path = deployment_path(api, endpoint, name);
    const client::Reply reply = TURNOUT_TRY(api.send("PUT", path, &rest));
    const Json made = TURNOUT_TRY(wait_for(context, api, reply, path, "deployment " + name));
    if (context.args().has("--all-traffic")) {
        if (context.args().has("--no-wait")) {
            context.note(
                "its traffic is for you to give when it is ready (--no-wait): `turnout "
                "online-endpoint update " +
                endpoint + " --traffic " + name + "=100`");
        } else {
            Json now = TURNOUT_TRY(api.get(endpoint_path(api, endpoint)));
            resources::set_path(now, "properties.traffic", Json::object({{name, 100}}));
            Json mirror = now.at("properties").at("mirrorTraffic");
            mirror.erase(name);
            resources::set_path(now, "properties.mirrorTraffic", mirror);
            TURNOUT_TRY(api.put(endpoint_path(api, endpoint), now));
        }
    }
    return context.show(deployment_entity(made), made);
}

Result<int> update_deployment(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string endpoint = TURNOUT_TRY(endpoint_named(context));
    if (!context.args().has("--set"))
        return fail(Code::InvalidArgument, "Usage",
                    "what to change? give --set, such as --set instance_count=2, or -f", "--set");
    const std::string path = deployment_path(api, endpoint, name);
    const Json now = TURNOUT_TRY(api.get(path));
    const Json rest =
        TURNOUT_TRY(changed(context, resources::online_deployment(), now, "deployment " + name));
    const client::Reply reply = TURNOUT_TRY(api.send("PUT", path, &rest));
    const Json made = TURNOUT_TRY(wait_for(context, api, reply, path, "deployment " + name));
    return context.show(deployment_entity(made), made);
}

Result<int> list_deployments(Context& context, client::Api& api) {
    const std::string endpoint = TURNOUT_TRY(endpoint_named(context));
    const Json all = TURNOUT_TRY(api.list(endpoint_path(api, endpoint) + "/deployments"));
    Json rows = Json::array();
    for (const Json& one : all.items()) rows.push(deployment_entity(one));
    return context.show(rows, all, kDeploymentColumns);
}

Result<int> show_deployment(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string endpoint = TURNOUT_TRY(endpoint_named(context));
    const Json found = TURNOUT_TRY(api.get(deployment_path(api, endpoint, name)));
    return context.show(deployment_entity(found), found);
}

Result<int> delete_deployment(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string path = deployment_path(api, TURNOUT_TRY(endpoint_named(context)), name);
    TURNOUT_TRY(wait_until_gone(context, api, path, "deployment " + name));
    context.note("deployment " + name +
                 (context.args().has("--no-wait") ? " goes" : " is deleted"));
    return 0;
}

Result<int> print_logs(Context& context, client::Api& api) {
    const std::string name = TURNOUT_TRY(context.name());
    const std::string path = deployment_path(api, TURNOUT_TRY(endpoint_named(context)), name);
    Json asked = Json::object();
    if (context.args().has("--lines")) {
        const auto lines = parse_whole_number(context.args().get("--lines"));
        if (!lines || *lines < 1)
            return invalid("--lines: expected a whole number from 1, found '" +
                               context.args().get("--lines") + "'",
                           "--lines");
        asked.set("tail", *lines);
    }
    const std::string container = context.args().get("--container", "inference-server");
    asked.set("containerType", container == "storage-initializer" ? "StorageInitializer"
                               : container == "access-log"        ? "AccessLog"
                                                                  : "InferenceServer");
    const Json logs = TURNOUT_TRY(api.post(path + "/getLogs", asked));
    if (context.args().has("--output") || context.args().has("--query"))
        return context.show(logs, logs);
    const std::string text = logs.at("content").as_string();
    if (text.empty())
        context.note("nothing yet");
    else
        context.out(text.ends_with('\n') ? text : text + "\n");
    return 0;
}

// From a file: what is wrong in it is said before a server is looked for, and what the server
// refuses where it was written.
int from_file(Context& context, const char* kind,
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

}  // namespace

int online_endpoint_create(Context& context) {
    return from_file(context, "online-endpoint", create_endpoint);
}
int online_endpoint_update(Context& context) {
    return context.args().has("--file") ? from_file(context, "online-endpoint", create_endpoint)
                                        : with_endpoints(context, update_endpoint);
}
int online_endpoint_list(Context& context) {
    return with_endpoints(context, list_endpoints);
}
int online_endpoint_show(Context& context) {
    return with_endpoints(context, show_endpoint);
}
int online_endpoint_delete(Context& context) {
    return with_endpoints(context, delete_endpoint);
}
int online_endpoint_invoke(Context& context) {
    return with_endpoints(context, invoke_endpoint);
}
int online_endpoint_credentials(Context& context) {
    return with_endpoints(context, show_credentials);
}
int online_endpoint_regenerate(Context& context) {
    return with_endpoints(context, make_keys_anew);
}
int online_deployment_create(Context& context) {
    return from_file(context, "online-deployment", put_deployment);
}
int online_deployment_update(Context& context) {
    return context.args().has("--file") ? from_file(context, "online-deployment", put_deployment)
                                        : with_endpoints(context, update_deployment);
}
int online_deployment_list(Context& context) {
    return with_endpoints(context, list_deployments);
}
int online_deployment_show(Context& context) {
    return with_endpoints(context, show_deployment);
}
int online_deployment_delete(Context& context) {
    return with_endpoints(context, delete_deployment);
}
int online_deployment_logs(Context& context) {
    return with_endpoints(context, print_logs);
}

}  // namespace turnout::cli
