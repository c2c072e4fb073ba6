// Secrets of a workspace, as Azure's key vault has them for ARM: they are written, and never read.
//
//   GET    {W}/secrets[/{name}]          names, and who set them when
//   PUT    {W}/secrets/{name}            {"properties": {"value": "…"}}; with "encoding": "base64"
//   the
//                                        bytes that this encodes. Nothing of it comes back
//   DELETE {W}/secrets/{name}
//   POST   /turnout/secrets/rotateKey    all secrets of the server, sealed by another key
#include "access/actions.h"
#include "api/arm/job_lookup.h"
#include "api/arm/resource.h"
#include "protocol/secret_reference.h"
#include "submission/refusal.h"
#include "vault/vault.h"

namespace turnout::api::arm {
namespace {

constexpr std::size_t kMaxSecretBody = 128 << 10;

Json secret_body(const Workspace& workspace, const SecretInfo& secret) {
    Json body = envelope(workspace_path(workspace) + "/secrets/" + secret.name, secret.name,
                         "workspaces/secrets",
                         Json::object({{"reference", "${{secrets." + secret.name + "}}"},
                                       {"created", to_iso8601(secret.created)},
                                       {"createdBy", secret.created_by},
                                       {"changed", to_iso8601(secret.changed)},
                                       {"changedBy", secret.changed_by}}));
    body.set("systemData", system_data(secret.created, secret.changed,
                                       {{secret.created_by}, {secret.changed_by}}));
    return body;
}

Answer list_secret_names(Services& services, Vault& vault, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const auto all, vault.list(workspace.id));
    co_return page_of(
        call, all.size(), [&](std::size_t i) { return all[i].name; },
        [&](std::size_t i) { return secret_body(workspace, all[i]); });
}

Answer show_secret_name(Services& services, Vault& vault, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY(const SecretInfo secret, vault.info(workspace.id, asset_name(call, "name")));
    co_return json_response(200, secret_body(workspace, secret));
}

// Its errors name the member, and nothing of what is in it.
Result<Secret> secret_in(const Json& body) {
    const Json& properties = body.at("properties");
    const Json& value = properties.at("value");
    const std::string encoding = properties.at("encoding").as_string("text");
    if (!value.is_string())
        return invalid("the body has no text 'properties.value'", "properties.value");
    if (encoding == "text") return Secret(value.as_string());
    if (encoding != "base64")
        return invalid("'properties.encoding' is text or base64", "properties.encoding");
    auto bytes = from_base64(value.as_view());
    if (!bytes) return invalid("'properties.value' is not base64", "properties.value");
    return Secret(std::move(*bytes));
}

Answer put_secret(Services& services, Vault& vault, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    const std::string name = asset_name(call, "name");
    const Result<Json> body = co_await call.json(kMaxSecretBody);
    if (!body)  // what does not parse may be the value
        co_return fail(body.error().code, body.error().reason,
                       "the body cannot be read as JSON of at most 128 KiB");
    TURNOUT_CO_TRY(Secret value, secret_in(*body));
    TURNOUT_CO_TRY(const bool is_new,
                   co_await vault.set(workspace.id, name, std::move(value), call.principal.name));
    TURNOUT_CO_TRY(const SecretInfo secret, vault.info(workspace.id, name));
    co_return json_response(is_new ? 201 : 200, secret_body(workspace, secret));
}

Answer delete_secret(Services& services, Vault& vault, Call& call) {
    TURNOUT_CO_TRY(const Workspace workspace, workspace_of(services, call));
    TURNOUT_CO_TRY_VOID(co_await vault.remove(workspace.id, asset_name(call, "name")));
    co_return json_response(200, Json::object());
}

Answer rotate_key(Services&, Vault& vault, Call&) {
    TURNOUT_CO_TRY(const std::size_t count, co_await vault.rotate());
    co_return json_response(200, Json::object({{"secrets", count}}));
}

}  // namespace

Result<void> find_secrets(const Lookup& lookup, const submission::Draft& draft) {
    if (draft.task.secrets.empty()) return {};
    TURNOUT_TRY(
        permit(lookup.services, lookup.call, access::action::kUseSecrets, lookup.workspace.id));
    for (const std::string& name : draft.task.secrets) {
        const auto there = lookup.services.vault
                               ? lookup.services.vault->info(lookup.workspace.id, name)
                               : Result<SecretInfo>(not_found("this server keeps no secrets"));
        if (!there)
            return there.error().code == Code::NotFound
                       ? Result<void>(submission::refuse("SecretNotFound", there.error().message,
                                                         "environmentVariables"))
                       : Result<void>(Failure(there.error()));
    }
    return {};
}

}  // namespace turnout::api::arm

namespace turnout::api {

void add_secret_routes(Router& router, Services& services, Vault& vault) {
    using namespace arm;
    const auto add = [&](std::string method, std::string pattern,
                         Answer (*action)(Services&, Vault&, Call&)) {
        router.add(
            std::move(method), std::move(pattern), Access::User,
            [&services, &vault, action](Call& call) { return action(services, vault, call); });
    };
    add("GET", in_workspace("/secrets"), list_secret_names);
    add("GET", in_workspace("/secrets/{name}"), show_secret_name);
    add("PUT", in_workspace("/secrets/{name}"), put_secret);
    add("DELETE", in_workspace("/secrets/{name}"), delete_secret);
    add("POST", "/turnout/secrets/rotateKey", rotate_key);
}

}  // namespace turnout::api
