// Where clients find the server and get their tokens. Most rows here are open: they say nothing
// that needs protection, or they check a key themselves.
#include <algorithm>

#include "api/arm/resource.h"

namespace turnout::api {
namespace {

using arm::Answer;

constexpr Span kTokenLife = 24h;
constexpr std::size_t kMaxForm = 16 << 10;

// Every client asks for this before nearly every step: it is one concatenation.
Answer get_metadata(Services& services, Call& call) {
    const std::string& u = call.origin;
    http::Response response;
    response.headers.set("Content-Type", "application/json; charset=utf-8");
    std::string& body = response.body;
    body.reserve(512 + 6 * u.size());
    body += R"([{"name":"Turnout","portal":")" + u + R"(/","resourceManager":")" + u +
            R"(","authentication":{"loginEndpoint":")" + u;
    body += R"(/","audiences":[")" + u + R"("],"tenant":")" + services.authority.tenant() +
            R"(","identityProvider":"AAD"},)";
    body += R"("suffixes":{"storage":"store.turnout"}}])";
    co_return response;
}

// An API key, and not an access token: that could renew itself for ever. A run's token ends with
// its attempt, however it was renewed.
Result<Principal> key_holder(Services& services, Call& call, std::string_view key,
                             std::string_view name = "") {
    const bool is_token = key.find('.') != std::string_view::npos;
    const Failure refusal =
        fail(Code::Unauthenticated, "InvalidIdentityHeader",
             "this needs the API key of 'turnout env' in the header X-IDENTITY-HEADER or secret");
    if (key.empty()) return refusal;
    Principal principal = TURNOUT_TRY(check_token(services, call, key, name));
    TURNOUT_TRY(spend(services, call, principal));
    if (principal.kind == Principal::Kind::Run) return principal;
    if (is_token) return refusal;
    if (principal.kind != Principal::Kind::User)
        return fail(Code::PermissionDenied, "AuthorizationFailed",
                    "only a user's key gives tokens");
    return principal;
}

Result<http::Response> managed_identity_token(Services& services, Call& call,
                                              std::string_view resource) {
    std::string_view key = call.request.headers.get("x-identity-header");
    if (key.empty()) key = call.request.headers.get("secret");
    const Principal principal = TURNOUT_TRY(key_holder(services, call, key));
    call.principal = principal;
    if (resource.empty())
        return invalid("the request names no 'resource' to issue a token for", "resource");
    const Secret token = services.authority.mint(principal, resource, kTokenLife);
    const std::int64_t seconds =
        std::chrono::duration_cast<std::chrono::seconds>(kTokenLife).count();
    http::Response response = json_response(
        200, Json::object({
                 {"access_token", token.reveal()},
                 {"expires_on", std::to_string(services.clock.now().micros / 1'000'000 + seconds)},
                 {"expires_in", std::to_string(seconds)},
                 {"resource", resource},
                 {"token_type", "Bearer"},
             }));
    response.headers.set("Cache-Control", "no-store");
    return response;
}

Answer get_token(Services& services, Call& call) {
    co_return managed_identity_token(services, call, call.query_value("resource"));
}

Answer post_token(Services& services, Call& call) {
    TURNOUT_CO_TRY(const std::string body, co_await call.body.all(kMaxForm));
    TURNOUT_CO_TRY(const auto form, parse_query(body));
    co_return managed_identity_token(services, call, value_in(form, "resource"));
}

// OAuth client credentials, for AZURE_AUTHORITY_HOST with the tenant "adfs": the secret is an API
// key.
Answer post_oauth_token(Services& services, Call& call) {
    TURNOUT_CO_TRY(const std::string body, co_await call.body.all(kMaxForm));
    TURNOUT_CO_TRY(const auto form, parse_query(body));
    if (value_in(form, "grant_type") != "client_credentials")
        co_return fail(Code::InvalidArgument, "unsupported_grant_type",
                       "only client_credentials is served", "grant_type");
    TURNOUT_CO_TRY(
        const Principal principal,
        key_holder(services, call, value_in(form, "client_secret"), value_in(form, "client_id")));
    call.principal = principal;
    std::string_view resource = value_in(form, "resource");
    if (resource.empty()) resource = value_in(form, "scope");
    if (resource.ends_with("/.default")) resource.remove_suffix(9);
    if (resource.empty())
        co_return invalid("the form names no 'scope' to issue a token for", "scope");
    const Secret token = services.authority.mint(principal, resource, kTokenLife);
    const std::int64_t seconds =
        std::chrono::duration_cast<std::chrono::seconds>(kTokenLife).count();
    http::Response response = json_response(200, Json::object({
                                                     {"token_type", "Bearer"},
                                                     {"expires_in", seconds},
                                                     {"ext_expires_in", seconds},
                                                     {"access_token", token.reveal()},
                                                 }));
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

Answer get_openid(Services&, Call& call) {
    const std::string base = call.origin + "/adfs";
    co_return json_response(
        200, Json::object({
                 {"issuer", base},
                 {"authorization_endpoint", base + "/oauth2/authorize"},
                 {"token_endpoint", base + "/oauth2/v2.0/token"},
                 {"device_authorization_endpoint", base + "/oauth2/devicecode"},
                 {"jwks_uri", base + "/discovery/keys"},
                 {"token_endpoint_auth_methods_supported", Json::array({"client_secret_post"})},
                 {"response_types_supported", Json::array({"token"})},
             }));
}

Answer get_registry_discovery(Services&, Call& call) {
    if (!equal_ignoring_case(call.param("registry"), "azureml"))
        co_return not_found(
            "registry '" + call.param("registry") +
                "' does not exist: there is 'azureml' with the curated environments",
            "registry");
    co_return json_response(200, Json::object({
                                     {"registryName", "azureml"},
                                     {"primaryRegionResourceProviderUri", call.origin + "/"},
                                     {"resourceGroup", "azureml"},
                                     {"subscriptionId", "00000000-0000-0000-0000-000000000000"},
                                     {"registryFqdns", Json::object()},
                                 }));
}

// Base URLs of the services of a workspace: all of them are this server.
Answer get_workspace_discovery(Services&, Call& call) {
    Json body = Json::object();
    for (const std::string_view name :
         {"api", "catalog", "experimentation", "gallery", "history", "hyperdrive", "labeling",
          "modelmanagement", "pipelines", "studio"})
        body.set(name, call.origin);
    co_return json_response(200, body);
}

Answer get_health(Services& services, Call&) {
    if (!services.info.fault.empty())
        co_return fail(Code::Unavailable, "ServerFault", services.info.fault);
    Json health = Json::object({{"status", "ok"}, {"version", services.info.version}});
    if (services.control.draining()) health.set("draining", true);
    co_return json_response(200, health);
}

}  // namespace

void add_discovery_routes(Router& router, Services& services) {
    using arm::row;
    row(router, services, "GET", "/metadata/endpoints", Access::Open, get_metadata);
    row(router, services, "GET", "/msi/token", Access::Open, get_token);
    row(router, services, "POST", "/msi/token", Access::Open, post_token);
    row(router, services, "GET", "/adfs/.well-known/openid-configuration", Access::Open,
        get_openid);
    row(router, services, "POST", "/adfs/oauth2/v2.0/token", Access::Open, post_oauth_token);
    row(router, services, "POST", "/adfs/oauth2/token", Access::Open, post_oauth_token);
    row(router, services, "GET", "/registrymanagement/v1.0/registries/{registry}/discovery",
        Access::Open, get_registry_discovery);
    row(router, services, "GET", "/discovery/workspaces/{name}", Access::Open,
        get_workspace_discovery);
    row(router, services, "GET", "/health", Access::Open, get_health);
}

}  // namespace turnout::api
