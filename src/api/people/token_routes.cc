#include "api/people/token_routes.h"

#include <algorithm>

#include "access/actions.h"
#include "api/people/people_routes.h"
#include "base/quantities.h"
#include "base/text.h"

namespace turnout::api {
namespace {

using Answer = Task<Result<http::Response>>;

constexpr std::size_t kMaxTokenBody = 16 << 10;
constexpr std::size_t kLongestTokenName = 64;
constexpr Span kUsualLife = std::chrono::hours(24 * 90);
constexpr Span kLongestLife = std::chrono::hours(24 * 3660);

Json document_of(const Services& services, const ApiKey& key, const Call& call) {
    const Instant now = services.clock.now();
    Json json = Json::object({{"id", key.id},
                              {"name", key.name},
                              {"user", key.user},
                              {"created", to_iso8601(key.created)}});
    if (key.expires) json.set("expires", to_iso8601(*key.expires));
    json.set("access", key.limits.read_only ? "read" : "write");
    json.set("scope", id_of(services, {key.limits.workspace, ""}));
    json.set("state", key.expires && *key.expires <= now ? "expired" : "valid");
    if (key.row == call.principal.key) json.set("inUse", true);  // by whoever asks
    return json;
}

http::Response shown_once(const Services& services, const MadeApiKey& made, const Call& call,
                          int status) {
    Json json = document_of(services, made.key, call);
    json.set("token", made.secret.reveal());
    http::Response response = json_response(status, json);
    response.headers.set("Cache-Control", "no-store");
    return response;
}

Result<std::optional<Instant>> end_of_life(std::string_view text, Instant now) {
    if (text == "never") return std::optional<Instant>();
    if (text.empty()) return std::optional<Instant>(now + kUsualLife);
    std::optional<Instant> at;
    if (const auto age = parse_age(text); age && *age <= kLongestLife)
        at = now + *age;
    else if (const auto time = parse_iso8601(text))
        at = *time;
    else if (const auto day = parse_iso8601(std::string(text) + "T00:00:00Z"))
        at = *day;
    if (!at || *at <= now || *at > now + kLongestLife)
        return invalid("'expires' is '" + std::string(text.substr(0, 40)) +
                           "': expected an age such as 30d, a time to come such as 2030-01-31, at "
                           "most ten years from now, or 'never'",
                       "expires");
    return at;
}

Result<std::string> checked_name(std::string_view name) {
    if (name.empty() || name.size() > kLongestTokenName || !is_utf8(name) ||
        std::ranges::any_of(name, [](char c) {
            return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '/';
        }))
        return invalid("'name' is '" + std::string(name.substr(0, 80)) + "': expected 1 to " +
                           std::to_string(kLongestTokenName) + " characters without '/'",
                       "name");
    return std::string(name);
}

// By its id, or by the name that whoever asks has given it.
Result<ApiKey> key_meant(const Services& services, InstanceAuthority& authority, const Call& call,
                         std::string_view action) {
    const std::string& wanted = call.param("id");
    // A secret of another user is that user, so it takes who may give roles.
    const bool others =
        services.authority.may(call.principal, action, {}) &&
        (action != access::action::kWriteTokens ||
         services.authority.may(call.principal, access::action::kWriteAssignments, {}));
    std::vector<std::string> names;
    for (ApiKey& key : TURNOUT_TRY(authority.api_keys())) {
        const bool own = key.user == call.principal.name;
        if (!own && !others) continue;  // of others' not even that they are there
        if (key.id == wanted || (own && key.name == wanted)) return std::move(key);
        if (own) names.push_back(key.name);
    }
    return not_found("there is no token '" + wanted.substr(0, 80) + "'" +
                         did_you_mean(wanted, names) + " ('turnout token list' shows all)",
                     "token");
}

Answer list_tokens(Services& services, InstanceAuthority& authority, Call& call) {
    TURNOUT_CO_TRY(const std::vector<ApiKey> keys, authority.api_keys());
    Json all = Json::array();
    const bool others = services.authority.may(call.principal, access::action::kReadTokens, {});
    for (const ApiKey& key : keys)
        if (others || key.user == call.principal.name) all.push(document_of(services, key, call));
    co_return json_response(200, Json::object({{"value", std::move(all)}}));
}

// What was got with a key lives as long as that: it makes nothing that lives longer.
Result<void> check_makes_tokens(const Call& call) {
    if (!call.principal.exchanged) return {};
    return fail(Code::PermissionDenied, "AuthorizationFailed",
                "an access token makes no tokens: that takes the key that it was got with "
                "('turnout login' keeps it)");
}

Answer create_token(Services& services, InstanceAuthority& authority, Call& call) {
    TURNOUT_CO_TRY_VOID(check_makes_tokens(call));
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxTokenBody));
    NewApiKey wanted;
    wanted.user = call.principal.name;
    TURNOUT_CO_TRY(wanted.name, checked_name(body.at("name").as_view()));
    TURNOUT_CO_TRY(wanted.expires, end_of_life(body.at("expires").as_view(), services.clock.now()));
    TURNOUT_CO_TRY(const std::vector<ApiKey> keys, authority.api_keys());
    for (const ApiKey& key : keys)  // nor does one outlive the key that made it
        if (key.row == call.principal.key && key.expires &&
            (!wanted.expires || *wanted.expires > *key.expires))
            wanted.expires = key.expires;
    for (const ApiKey& key : keys)  // and it ends with the logins of whoever that is
        if (key.row == call.principal.key) wanted.subject = key.subject;
    if (const std::string user = body.at("user").as_string();
        !user.empty() && user != call.principal.name) {
        TURNOUT_CO_TRY_VOID(permit(services, call, access::action::kWriteTokens, ""));
        TURNOUT_CO_TRY_VOID(permit(services, call, access::action::kWriteAssignments, ""));
        TURNOUT_CO_TRY(const User of, authority.people().user(user));
        wanted.user = of.name;
        wanted.subject.clear();
    }
    const std::string rights = body.at("access").as_string("write");
    if (rights != "write" && rights != "read")
        co_return invalid("'access' is '" + rights.substr(0, 40) + "': expected read or write",
                          "access");
    wanted.limits.read_only = rights == "read";
    if (const std::string scope = body.at("scope").as_string("/"); scope != "/") {
        TURNOUT_CO_TRY(access::Scope of, scope_of(services, scope));
        if (!of.compute.empty())
            co_return invalid("a token is for a workspace or for all, not for a compute", "scope");
        wanted.limits.workspace = std::move(of.workspace);
    }
    call.about = "token " + wanted.name + " of user " + wanted.user;
    TURNOUT_CO_TRY(const MadeApiKey made, co_await authority.create_api_key(std::move(wanted)));
    co_return shown_once(services, made, call, 201);
}

Answer rotate_token(Services& services, InstanceAuthority& authority, Call& call) {
    TURNOUT_CO_TRY_VOID(check_makes_tokens(call));
    TURNOUT_CO_TRY(ApiKey key, key_meant(services, authority, call, access::action::kWriteTokens));
    call.about = "token " + key.name + " of user " + key.user;
    const bool own = key.row == call.principal.key;
    TURNOUT_CO_TRY(const MadeApiKey made, co_await authority.rotate_api_key(std::move(key.row)));
    if (own) call.principal.key = made.key.row;
    co_return shown_once(services, made, call, 200);
}

Answer revoke_token(Services& services, InstanceAuthority& authority, Call& call) {
    TURNOUT_CO_TRY(ApiKey key, key_meant(services, authority, call, access::action::kDeleteTokens));
    call.about = "token " + key.name + " of user " + key.user;
    TURNOUT_CO_TRY_VOID(co_await authority.revoke_api_key(std::move(key.row)));
    http::Response gone;
    gone.status = 204;
    co_return gone;
}

}  // namespace

void add_token_routes(Router& router, Services& services, InstanceAuthority& authority) {
    router.add("GET", "/turnout/tokens", Access::User, [&services, &authority](Call& call) {
        return list_tokens(services, authority, call);
    });
    router.add("POST", "/turnout/tokens", Access::User, [&services, &authority](Call& call) {
        return create_token(services, authority, call);
    });
    router.add(
        "POST", "/turnout/tokens/{id}/rotate", Access::User,
        [&services, &authority](Call& call) { return rotate_token(services, authority, call); });
    router.add("DELETE", "/turnout/tokens/{id}", Access::User, [&services, &authority](Call& call) {
        return revoke_token(services, authority, call);
    });
}

}  // namespace turnout::api
