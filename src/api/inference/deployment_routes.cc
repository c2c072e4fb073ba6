// Deployments of an online endpoint.
//
//   GET PUT PATCH DELETE {W}/onlineEndpoints/{endpoint}/deployments[/{name}]
//   POST …/{name}/getLogs
#include <algorithm>

#include "api/inference/deployment_task.h"
#include "api/inference/routes.h"
#include "base/text.h"
#include "model/compute.h"
#include "tracking/tracking.h"

namespace turnout::api::inference {
namespace {

constexpr std::size_t kMaxDeploymentBody = 1 << 20;
constexpr std::int64_t kUsualTail = 500, kLongestTail = 10'000;
constexpr std::string_view kExperimentOfReplicas = "online-endpoints";

std::int64_t to_millis(std::optional<Span> span) {
    return span ? std::chrono::duration_cast<std::chrono::milliseconds>(*span).count() : 0;
}

Json counts_body(const RequestCounts& counts, int in_flight) {
    Json by_status = Json::object();
    for (const auto& [status, count] : counts.by_status)
        by_status.set(std::to_string(status), count);
    Json body = Json::object({{"requests", counts.requests},
                              {"errors", counts.errors},
                              {"inFlight", in_flight},
                              {"byStatus", std::move(by_status)}});
    for (const auto& [member, share] : {std::pair("p50Ms", 0.5), {"p95Ms", 0.95}, {"p99Ms", 0.99}})
        if (const auto within = counts.latencies.within(share)) body.set(member, to_millis(within));
    return body;
}

Json replicas_body(const Control::ServiceView& view) {
    Json replicas = Json::array();
    for (const auto& one : view.replicas) {
        Json replica =
            Json::object({{"name", one.job}, {"state", std::string(name_of(one.replica.is))}});
        if (!one.detail.empty()) replica.set("detail", one.detail);
        if (one.replica.revision != view.service.revision) replica.set("earlier", true);
        replicas.push(std::move(replica));
    }
    return replicas;
}

Json deployment_body(Inference& inference, const Workspace& workspace,
                     const OnlineDeployment& deployment) {
    Json properties = deployment.properties;
    properties.set("provisioningState", std::string(name_of(deployment.state)));
    properties.set("endpointComputeType", "Managed");
    properties.set("instanceType", instance_type_of(deployment.properties));
    properties.set("scaleSettings", Json::object({{"scaleType", "Default"}}));
    if (!properties.at("properties").is_object()) properties.set("properties", Json::object());
    const RequestSettings& requests = deployment.requests;
    properties.set("requestSettings",
                   Json::object({{"maxConcurrentRequestsPerInstance", requests.concurrency},
                                 {"requestTimeout", to_duration(requests.timeout)},
                                 {"maxQueueWait", to_duration(requests.queue)}}));
    // Ours: what became of it, where it runs, and what it answered since the server started.
    if (!deployment.why.empty()) properties.set("failure", deployment.why);
    if (const auto view = inference.service(deployment)) {
        properties.set("readyInstances", view->counts.ready);
        properties.set("replicas", replicas_body(*view));
        if (!deployment.settled() && !view->why.empty()) properties.set("progress", view->why);
    }
    const Places* const places = inference.known_places(deployment);
    properties.set("requests",
                   places ? counts_body(places->counts, places->in_flight()) : counts_body({}, 0));
    Json body = arm::envelope(workspace_path(workspace) + "/onlineEndpoints/" +
                                  deployment.endpoint + "/deployments/" + deployment.name,
                              deployment.name, "workspaces/onlineEndpoints/deployments",
                              std::move(properties));
    for (const auto& [name, value] : deployment.envelope.members()) body.set(name, value);
    if (body.at("tags").is_null()) body.set("tags", Json::object());
    if (body.at("kind").is_null()) body.set("kind", "Managed");
    body.set("sku", Json::object({{"name", "Default"}, {"capacity", deployment.instances}}));
    body.set("systemData",
             arm::system_data(deployment.created, deployment.modified, deployment.made));
    return body;
}

std::string operation_name(const OnlineDeployment& deployment) {
    return service_of(deployment.endpoint, deployment.name);
}

Answer list_deployments(Services& services, Call& call) {
    TURNOUT_CO_TRY(const EndpointAt at, endpoint_at(services, call, "endpoint"));
    TURNOUT_CO_TRY(const auto all, at.inference.deployments(at.workspace.id, at.endpoint.name));
    co_return arm::page_of(
        call, all.size(), [&](std::size_t i) { return all[i].name; },
        [&](std::size_t i) { return deployment_body(at.inference, at.workspace, all[i]); });
}

Answer get_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const DeploymentAt at, deployment_at(services, call));
    co_return json_response(200, deployment_body(at.inference, at.workspace, at.deployment));
}

// What a body says, looked up and made what is wanted.
Answer change_to(Services& services, Call& call, Inference& inference, Workspace workspace,
                 Json body) {
    const std::string endpoint_name = call.param("endpoint"), name = call.param("name");
    TURNOUT_CO_TRY(const OnlineEndpoint endpoint,
                   find_endpoint(inference, workspace, endpoint_name));
    TURNOUT_CO_TRY_VOID(check_endpoint_name(name, "a deployment"));
    if (!body.at("properties").is_object())
        co_return invalid("the body needs 'properties'", "properties");
    OnlineDeployment wanted;
    wanted.workspace = workspace.id;
    wanted.endpoint = endpoint.name;
    wanted.name = name;
    wanted.properties = kept_properties(
        body.at("properties"), {"provisioningState", "failure", "readyInstances", "replicas",
                                "progress", "requests", "endpointComputeType", "scaleSettings"});
    std::string location = body.at("location").as_string();
    if (location.empty()) location = endpoint.envelope.at("location").as_string();
    wanted.envelope = kept_envelope(body, location);
    std::vector<std::string> sizes;
    for (const VmSize& size : vm_sizes()) sizes.push_back(size.name);
    TURNOUT_CO_TRY_VOID(read_deployment(body.at("properties"), body.at("sku"), sizes, wanted));
    const std::string size = instance_type_of(wanted.properties);
    TURNOUT_CO_TRY(const auto before, inference.deployment(workspace.id, endpoint.name, name));
    TURNOUT_CO_TRY(wanted.compute,
                   co_await inference.ensure_compute(workspace.id, endpoint.pool, size));
    if (before && before->compute != wanted.compute)
        co_return fail(Code::InvalidArgument, "InstanceTypeStays",
                       "instanceType: expected the one that deployment '" + name +
                           "' has, found '" + size +
                           "': make another deployment of that size, and give it the traffic",
                       "properties.instanceType");
    TURNOUT_CO_TRY(const Experiment experiment,
                   co_await services.tracking.ensure_experiment(
                       workspace.id, std::string(kExperimentOfReplicas)));
    TURNOUT_CO_TRY(agent_protocol::TaskSpec task,
                   deployment_task(services, call, workspace, wanted));
    task.mlflow_experiment_id = experiment.id;
    wanted.task = agent_protocol::to_json(task);
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    Inference::DeploymentChange change = [&](OnlineDeployment& now, bool is_new) -> Result<void> {
        if (!is_new && now.compute != wanted.compute)
            return fail(Code::Conflict, "DeploymentChanged",
                        "deployment '" + name + "' was made anew meanwhile: try again", "name");
        now.properties = wanted.properties;
        now.envelope = wanted.envelope;
        now.requests = wanted.requests;
        now.instances = wanted.instances;
        now.compute = wanted.compute;
        now.task = wanted.task;
        return {};
    };
    TURNOUT_CO_TRY(const bool is_new,
                   co_await inference.change_deployment(workspace.id, endpoint.name, name, by,
                                                        std::move(change)));
    TURNOUT_CO_TRY(const OnlineDeployment saved,
                   find_deployment(inference, workspace, endpoint.name, name));
    http::Response response =
        json_response(is_new ? 201 : 200, deployment_body(inference, workspace, saved));
    arm::say_operation(response, call, workspace, "putOnlineDeployment", operation_name(saved));
    co_return response;
}

Answer put_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(Json body, co_await call.json(kMaxDeploymentBody));
    TURNOUT_CO_TRY(Inference* const inference, inference_of(services));
    TURNOUT_CO_TRY(Workspace workspace, arm::workspace_of(services, call));
    co_return co_await change_to(services, call, *inference, std::move(workspace), std::move(body));
}

Answer patch_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxDeploymentBody));
    TURNOUT_CO_TRY(DeploymentAt at, deployment_at(services, call));
    if (!body.is_object()) co_return invalid("expected an object of changes", "body");
    Json whole = deployment_body(at.inference, at.workspace, at.deployment);
    whole.merge(body);
    co_return co_await change_to(services, call, at.inference, std::move(at.workspace),
                                 std::move(whole));
}

Answer delete_deployment(Services& services, Call& call) {
    TURNOUT_CO_TRY(const DeploymentAt at, deployment_at(services, call));
    TURNOUT_CO_TRY_VOID(co_await at.inference.delete_deployment(
        at.workspace.id, at.deployment.endpoint, at.deployment.name));
    co_return arm::accepted(call, at.workspace, "deleteOnlineDeployment",
                            operation_name(at.deployment));
}

Answer deployment_logs(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxDeploymentBody));
    TURNOUT_CO_TRY(const DeploymentAt at, deployment_at(services, call));
    const auto tail = static_cast<std::size_t>(
        std::clamp<std::int64_t>(body.at("tail").as_int(kUsualTail), 1, kLongestTail));
    const std::string container = body.at("containerType").as_string("InferenceServer");
    std::string content;
    if (equal_ignoring_case(container, "AccessLog")) {
        if (const Places* const places = at.inference.known_places(at.deployment)) {
            const auto& lines = places->counts.last;
            for (std::size_t i = lines.size() > tail ? lines.size() - tail : 0; i < lines.size();
                 ++i)
                content += lines[i] + "\n";
        }
    } else {
        const bool preparing = equal_ignoring_case(container, "StorageInitializer");
        if (!preparing && !equal_ignoring_case(container, "InferenceServer"))
            co_return invalid(
                "containerType: expected InferenceServer, StorageInitializer or "
                "AccessLog, at.deployment '" +
                    container.substr(0, 40) + "'",
                "containerType");
        TURNOUT_CO_TRY(content, at.inference.log(at.deployment,
                                                 preparing ? "azureml-logs/20_environment.txt"
                                                           : "user_logs/std_log.txt",
                                                 tail));
    }
    co_return json_response(200, Json::object({{"content", content}}));
}

}  // namespace

void add_deployment_rows(Router& router, Services& services) {
    const auto add = [&](const char* method, std::string_view rest,
                         Answer (*action)(Services&, Call&)) {
        arm::row(router, services, method,
                 arm::in_workspace("/onlineEndpoints/{endpoint}/deployments" + std::string(rest)),
                 Access::Behalf, action);
    };
    add("GET", "", list_deployments);
    add("GET", "/{name}", get_deployment);
    add("PUT", "/{name}", put_deployment);
    add("PATCH", "/{name}", patch_deployment);
    add("DELETE", "/{name}", delete_deployment);
    add("POST", "/{name}/getLogs", deployment_logs);
}

}  // namespace turnout::api::inference
