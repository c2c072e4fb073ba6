// Online endpoints.
//
//   GET PUT PATCH DELETE {W}/onlineEndpoints[/{name}]
//   POST …/{name}/listKeys, /regenerateKeys, /token
#include <algorithm>

#include "api/arm/regions.h"
#include "api/inference/routes.h"
#include "base/text.h"

namespace turnout::api::inference {

Result<Inference*> inference_of(const Services& services) {
    if (services.inference) return services.inference;
    return fail(Code::Unavailable, "NoEndpoints", "this server keeps no endpoints");
}

Result<OnlineEndpoint> find_endpoint(Inference& inference, const Workspace& workspace,
                                     const std::string& name) {
    auto found = TURNOUT_TRY(inference.endpoint(workspace.id, name));
    if (found) return std::move(*found);
    std::vector<std::string> names;
    for (const OnlineEndpoint& one : TURNOUT_TRY(inference.endpoints(workspace.id)))
        names.push_back(one.name);
    return fail(Code::NotFound, "ResourceNotFound",
                "endpoint '" + name.substr(0, 64) + "' does not exist" + did_you_mean(name, names),
                "endpoint");
}

Result<OnlineDeployment> find_deployment(Inference& inference, const Workspace& workspace,
                                         const std::string& endpoint, const std::string& name) {
    auto found = TURNOUT_TRY(inference.deployment(workspace.id, endpoint, name));
    if (found) return std::move(*found);
    TURNOUT_TRY(find_endpoint(inference, workspace, endpoint));
    std::vector<std::string> names;
    for (const OnlineDeployment& one : TURNOUT_TRY(inference.deployments(workspace.id, endpoint)))
        names.push_back(one.name);
    return fail(Code::NotFound, "ResourceNotFound",
                "endpoint '" + endpoint + "' has no deployment '" + name.substr(0, 64) + "'" +
                    did_you_mean(name, names),
                "deployment");
}

Result<EndpointAt> endpoint_at(Services& services, const Call& call, std::string_view parameter) {
    Inference* const inference = TURNOUT_TRY(inference_of(services));
    Workspace workspace = TURNOUT_TRY(arm::workspace_of(services, call));
    OnlineEndpoint endpoint =
        TURNOUT_TRY(find_endpoint(*inference, workspace, call.param(parameter)));
    return EndpointAt{*inference, std::move(workspace), std::move(endpoint)};
}

Result<DeploymentAt> deployment_at(Services& services, const Call& call) {
    Inference* const inference = TURNOUT_TRY(inference_of(services));
    Workspace workspace = TURNOUT_TRY(arm::workspace_of(services, call));
    OnlineDeployment deployment = TURNOUT_TRY(
        find_deployment(*inference, workspace, call.param("endpoint"), call.param("name")));
    return DeploymentAt{*inference, std::move(workspace), std::move(deployment)};
}

Result<void> check_endpoint_name(std::string_view name, std::string_view what) {
    if (is_endpoint_name(name)) return {};
    return fail(Code::InvalidArgument, "InvalidName",
                "the name of " + std::string(what) + " is '" + std::string(name.substr(0, 64)) +
                    "': expected 3 to 32 letters, digits and '-', a letter first and no '-' last",
                "name");
}

Json kept_envelope(const Json& body, const std::string& location) {
    Json envelope = Json::object({{"location", location}});
    for (const std::string_view member : {"tags", "identity", "kind", "sku"})
        if (const Json& value = body.at(member); !value.is_null()) envelope.set(member, value);
    return envelope;
}

Json kept_properties(const Json& properties, const std::vector<std::string>& said_by_server) {
    Json kept = Json::object();
    for (const auto& [name, value] : properties.members())
        if (!value.is_null() && std::ranges::find(said_by_server, name) == said_by_server.end())
            kept.set(name, value);
    return kept;
}

std::string scoring_path(const Workspace& workspace, std::string_view endpoint) {
    return "/inference/" + percent_encode(workspace.subscription) + "/" +
           percent_encode(workspace.resource_group) + "/" + percent_encode(workspace.name) + "/" +
           std::string(endpoint);
}

namespace {

constexpr std::size_t kMaxEndpointBody = 1 << 20;
constexpr Span kTokenLife = std::chrono::hours(8);

Json endpoint_body(const Call& call, const Workspace& workspace, const OnlineEndpoint& endpoint) {
    Json properties = endpoint.properties;
    const std::string at = call.origin + scoring_path(workspace, endpoint.name);
    properties.set("authMode", std::string(name_of(endpoint.auth)));
    properties.set("traffic", to_json(endpoint.traffic));
    properties.set("mirrorTraffic", to_json(endpoint.mirror));
    properties.set("scoringUri", at + "/score");
    properties.set("swaggerUri", at + "/swagger.json");
    properties.set("provisioningState", endpoint.deleting ? "Deleting" : "Succeeded");
    if (!properties.at("properties").is_object()) properties.set("properties", Json::object());
    if (properties.at("publicNetworkAccess").is_null())
        properties.set("publicNetworkAccess", "Enabled");
    Json body = arm::envelope(workspace_path(workspace) + "/onlineEndpoints/" + endpoint.name,
                              endpoint.name, "workspaces/onlineEndpoints", std::move(properties));
    for (const auto& [name, value] : endpoint.envelope.members()) body.set(name, value);
    if (body.at("tags").is_null()) body.set("tags", Json::object());
    if (body.at("kind").is_null()) body.set("kind", "Managed");
    body.set("systemData", arm::system_data(endpoint.created, endpoint.modified, endpoint.made));
    return body;
}

// What a PUT says, into the endpoint.
Result<void> read_endpoint(const Json& body, const std::string& location,
                           const std::vector<OnlineDeployment>& deployments,
                           OnlineEndpoint& endpoint) {
    const Json& properties = body.at("properties");
    if (!properties.is_object()) return invalid("the body needs 'properties'", "properties");
    const Json& mode = properties.at("authMode");
    std::optional<EndpointAuth> auth;
    for (const EndpointAuth one :
         {EndpointAuth::Key, EndpointAuth::AmlToken, EndpointAuth::AadToken})
        if (equal_ignoring_case(name_of(one), mode.as_view())) auth = one;
    if (!auth)
        return invalid("properties.authMode: expected Key, AMLToken or AADToken, found " +
                           (mode.is_null() ? "nothing" : mode.dump().substr(0, 80)),
                       "properties.authMode");
    if (!properties.at("compute").as_view().empty())
        return fail(Code::InvalidArgument, "NotImplemented",
                    "properties.compute: expected nothing: endpoints on an attached Kubernetes do "
                    "not work yet",
                    "properties.compute");
    if (properties.at("keys").is_object())
        return invalid(
            "properties.keys: expected nothing: this server makes the keys of an endpoint",
            "properties.keys");
    for (const char* const member : {"tags", "identity"})
        if (const Json& value = body.at(member); !value.is_null() && !value.is_object())
            return invalid(
                std::string(member) + ": expected an object, found " + value.dump().substr(0, 80),
                member);
    if (const Json& value = properties.at("properties"); !value.is_null() && !value.is_object())
        return invalid(
            "properties.properties: expected an object, found " + value.dump().substr(0, 80),
            "properties.properties");
    const Traffic traffic = TURNOUT_TRY(traffic_of(properties.at("traffic"), "traffic"));
    const Traffic mirror = TURNOUT_TRY(traffic_of(properties.at("mirrorTraffic"), "mirrorTraffic"));
    std::vector<std::string> names;
    for (const OnlineDeployment& one : deployments)
        if (one.state != OnlineDeployment::State::Deleting) names.push_back(one.name);
    TURNOUT_TRY(check_traffic(traffic, mirror, names));
    endpoint.auth = *auth;
    endpoint.traffic = traffic;
    endpoint.mirror = mirror;
    endpoint.properties =
        kept_properties(properties, {"authMode", "traffic", "mirrorTraffic", "scoringUri",
                                     "swaggerUri", "provisioningState", "keys", "compute"});
    endpoint.envelope = kept_envelope(body, location);
    return {};
}

Answer list_endpoints(Services& services, Call& call) {
    TURNOUT_CO_TRY(Inference* const inference, inference_of(services));
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    TURNOUT_CO_TRY(auto all, inference->endpoints(workspace.id));
    const std::string_view name = call.query_value("name");
    std::erase_if(all, [&](const OnlineEndpoint& one) {
        return !name.empty() && one.name.find(name) == std::string::npos;
    });
    co_return arm::page_of(
        call, all.size(), [&](std::size_t i) { return all[i].name; },
        [&](std::size_t i) { return endpoint_body(call, workspace, all[i]); });
}

Answer get_endpoint(Services& services, Call& call) {
    TURNOUT_CO_TRY(const EndpointAt at, endpoint_at(services, call, "name"));
    co_return json_response(200, endpoint_body(call, at.workspace, at.endpoint));
}

Answer put_endpoint(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxEndpointBody));
    TURNOUT_CO_TRY(Inference* const inference, inference_of(services));
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    const std::string name = call.param("name");
    TURNOUT_CO_TRY_VOID(check_endpoint_name(name, "an endpoint"));
    const std::string said = body.at("location").as_string();
    TURNOUT_CO_TRY(arm::Location location,
                   arm::find_location(said.empty() ? workspace.location : said,
                                      services.control.pool_names()));
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    Inference::EndpointChange change =
        [&](OnlineEndpoint& now, bool is_new,
            const std::vector<OnlineDeployment>& deployments) -> Result<void> {
        if (!is_new && said.empty()) {
            location = {now.envelope.at("location").as_string(), now.pool};
        } else if (!is_new && location.pool != now.pool) {
            // Its deployments would stay where they are.
            return invalid("location: expected one of pool '" + now.pool + "', where endpoint '" +
                               name + "' is and stays; found '" + said + "', which is pool '" +
                               location.pool + "'",
                           "location");
        }
        TURNOUT_TRY(read_endpoint(body, location.name, deployments, now));
        now.pool = location.pool;
        return {};
    };
    TURNOUT_CO_TRY(const bool is_new,
                   co_await inference->change_endpoint(workspace.id, name, by, std::move(change)));
    TURNOUT_CO_TRY(const OnlineEndpoint saved, find_endpoint(*inference, workspace, name));
    co_return json_response(is_new ? 201 : 200, endpoint_body(call, workspace, saved));
}

// Tags, as ARM has it, and what a PUT says of the properties.
Answer patch_endpoint(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxEndpointBody));
    TURNOUT_CO_TRY(Inference* const inference, inference_of(services));
    TURNOUT_CO_TRY(const Workspace workspace, arm::workspace_of(services, call));
    const std::string name = call.param("name");
    TURNOUT_CO_TRY_VOID(find_endpoint(*inference, workspace, name));
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    if (!body.is_object()) co_return invalid("expected an object of changes", "body");
    Inference::EndpointChange change =
        [&](OnlineEndpoint& now, bool,
            const std::vector<OnlineDeployment>& deployments) -> Result<void> {
        Json whole = endpoint_body(call, workspace, now);
        whole.merge(body);
        return read_endpoint(whole, now.envelope.at("location").as_string(), deployments, now);
    };
    TURNOUT_CO_TRY([[maybe_unused]] const bool is_new,
                   co_await inference->change_endpoint(workspace.id, name, by, std::move(change)));
    TURNOUT_CO_TRY(const OnlineEndpoint saved, find_endpoint(*inference, workspace, name));
    co_return json_response(200, endpoint_body(call, workspace, saved));
}

Answer delete_endpoint(Services& services, Call& call) {
    TURNOUT_CO_TRY(const EndpointAt at, endpoint_at(services, call, "name"));
    TURNOUT_CO_TRY_VOID(co_await at.inference.delete_endpoint(at.workspace.id, at.endpoint.name));
    co_return arm::accepted(call, at.workspace, "deleteOnlineEndpoint", at.endpoint.name);
}

http::Response not_kept(Json body) {
    http::Response response = json_response(200, body);
    response.headers.set("Cache-Control", "no-store");
    return response;
}

Answer list_endpoint_keys(Services& services, Call& call) {
    TURNOUT_CO_TRY(const EndpointAt at, endpoint_at(services, call, "name"));
    if (at.endpoint.auth != EndpointAuth::Key)
        co_return fail(Code::FailedPrecondition, "NoKeys",
                       "endpoint '" + at.endpoint.name + "' has no keys: its authMode is " +
                           std::string(name_of(at.endpoint.auth)),
                       "authMode");
    TURNOUT_CO_TRY(const EndpointKeys keys, at.inference.keys(at.endpoint));
    co_return not_kept(Json::object(
        {{"primaryKey", keys.primary.reveal()}, {"secondaryKey", keys.secondary.reveal()}}));
}

Answer regenerate_endpoint_keys(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxEndpointBody));
    TURNOUT_CO_TRY(const EndpointAt at, endpoint_at(services, call, "name"));
    const std::string type = body.at("keyType").as_string();
    const bool primary = equal_ignoring_case(type, "Primary");
    if (!primary && !equal_ignoring_case(type, "Secondary"))
        co_return invalid(
            "keyType: expected Primary or Secondary, found '" + type.substr(0, 40) + "'",
            "keyType");
    // The SDK sends the key that there is.
    if (const std::string wanted = body.at("keyValue").as_string(); !wanted.empty()) {
        TURNOUT_CO_TRY(const EndpointKeys keys, at.inference.keys(at.endpoint));
        if (!(primary ? keys.primary : keys.secondary).matches(wanted))
            co_return invalid(
                "keyValue: expected nothing: this server makes the keys of an "
                "endpoint",
                "keyValue");
    }
    TURNOUT_CO_TRY(const Author by, author_of(services, call));
    TURNOUT_CO_TRY_VOID(
        co_await at.inference.regenerate(at.workspace.id, at.endpoint.name, primary, by));
    co_return json_response(200, Json::object());
}

Answer endpoint_token(Services& services, Call& call) {
    TURNOUT_CO_TRY(const EndpointAt at, endpoint_at(services, call, "name"));
    if (at.endpoint.auth != EndpointAuth::AmlToken)
        co_return fail(Code::FailedPrecondition, "NoToken",
                       "endpoint '" + at.endpoint.name +
                           "' takes no token of its own: its authMode "
                           "is " +
                           std::string(name_of(at.endpoint.auth)),
                       "authMode");
    const Instant now = services.clock.now(), expires = now + kTokenLife;
    TURNOUT_CO_TRY(const Secret token, at.inference.token(at.endpoint, expires));
    const auto seconds = [](Instant moment) { return moment.micros / 1'000'000; };
    co_return not_kept(Json::object({{"accessToken", token.reveal()},
                                     {"expiryTimeUtc", seconds(expires)},
                                     {"refreshAfterTimeUtc", seconds(now + kTokenLife / 2)},
                                     {"tokenType", "Bearer"}}));
}

}  // namespace
}  // namespace turnout::api::inference

namespace turnout::api {

void add_endpoint_routes(Router& router, Services& services) {
    using namespace inference;
    const auto add = [&](const char* method, std::string_view rest,
                         Answer (*action)(Services&, Call&)) {
        arm::row(router, services, method,
                 arm::in_workspace("/onlineEndpoints" + std::string(rest)), Access::Behalf, action);
    };
    add("GET", "", list_endpoints);
    add("GET", "/{name}", get_endpoint);
    add("PUT", "/{name}", put_endpoint);
    add("PATCH", "/{name}", patch_endpoint);
    add("DELETE", "/{name}", delete_endpoint);
    add("POST", "/{name}/listKeys", list_endpoint_keys);
    add("POST", "/{name}/regenerateKeys", regenerate_endpoint_keys);
    add("POST", "/{name}/token", endpoint_token);
    add_deployment_rows(router, services);
}

}  // namespace turnout::api
