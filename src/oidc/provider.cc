#include "oidc/provider.h"

#include <algorithm>
#include <utility>

#include "base/hash.h"
#include "base/text.h"

namespace turnout::oidc {
namespace {

constexpr std::size_t kLongestAnswer = 512 << 10;
constexpr std::size_t kLongestClaim = 512, kMostGroups = 2000;
constexpr Span kPatience = 15s;
constexpr std::string_view kWellKnown = "/.well-known/openid-configuration";

using Form = std::vector<std::pair<std::string, std::string>>;

std::string in_form(const Form& form) {
    std::string text;
    for (const auto& [name, value] : form)
        text += (text.empty() ? "" : "&") + percent_encode(name) + "=" + percent_encode(value);
    return text;
}

Failure strange(const std::string& what) {
    return fail(Code::Unavailable, "ProviderFault", "the identity provider " + what);
}

// What it says when it refuses (RFC 6749, 5.2), for people.
std::string words_of(const Json& answer, int status) {
    const std::string error = answer.at("error").as_string();
    if (error.empty()) return "answered with HTTP status " + std::to_string(status);
    const std::string more = answer.at("error_description").as_string();
    return "said " + shown(error) + (more.empty() ? "" : ": " + shown(more));
}

// A claim by its name, or by the path "realm_access.roles".
const Json* claim_in(const Json& claims, std::string_view name) {
    if (const Json* whole = claims.find(name)) return whole;
    const std::size_t dot = name.find('.');
    if (dot == std::string_view::npos) return nullptr;
    const Json* outer = claims.find(name.substr(0, dot));
    return outer && outer->is_object() ? claim_in(*outer, name.substr(dot + 1)) : nullptr;
}

bool wants_groups(const Settings& settings) {
    return std::ranges::any_of(settings.roles,
                               [](const GroupRole& role) { return role.group != "*"; });
}

// All of it is there that is asked for, so that nobody else has to be asked.
bool says_enough(const Json& claims, const Settings& settings) {
    return claim_in(claims, settings.user_claim) && claim_in(claims, settings.name_claim) &&
           (!wants_groups(settings) || claim_in(claims, settings.groups_claim));
}

}  // namespace

Result<Metadata> parse_metadata(std::string_view text, const std::string& issuer) {
    const Result<Json> json = parse_json(text);
    if (!json || !json->is_object())
        return invalid("what is at " + issuer + std::string(kWellKnown) +
                       " is no description of a provider");
    if (json->at("issuer").as_view() != issuer)
        return invalid("the provider calls itself " + shown(json->at("issuer").as_view()) +
                           ", not " + shown(issuer) + ": 'issuer' has to be the same text",
                       "issuer");
    Metadata data;
    struct Place {
        const char* name;
        std::string Metadata::* value;
        bool needed;
    };
    for (const Place& place :
         {Place{"authorization_endpoint", &Metadata::authorization, true},
          Place{"token_endpoint", &Metadata::token, true}, Place{"jwks_uri", &Metadata::keys, true},
          Place{"device_authorization_endpoint", &Metadata::device, false},
          Place{"userinfo_endpoint", &Metadata::userinfo, false}}) {
        const std::string url = json->at(place.name).as_string();
        if (url.empty() && !place.needed) continue;
        if (!is_safe_endpoint(url, issuer))
            return invalid("the provider's '" + std::string(place.name) + "' is " + shown(url) +
                               ": expected an https address",
                           place.name);
        data.*(place.value) = url;
    }
    const Json& ways = json->at("token_endpoint_auth_methods_supported");
    bool basic = ways.is_null(), post = false;  // without a list it is the first
    for (const Json& way : ways.items()) {
        basic = basic || way.as_view() == "client_secret_basic";
        post = post || way.as_view() == "client_secret_post";
    }
    data.secret_in_body = post && !basic;
    data.names_itself = json->at("authorization_response_iss_parameter_supported").as_bool();
    return data;
}

Span lifetime_of(const http::Headers& headers) {
    constexpr Span kUsual = 1h, kLeast = 1min, kMost = 24h;
    Span life = kUsual;
    for (const std::string& part : split(headers.get("cache-control"), ',')) {
        const std::string word = to_lower(trim(part));
        if (word == "no-store" || word == "no-cache") life = kLeast;
        if (word.starts_with("max-age="))
            if (const auto seconds = parse_whole_number(std::string_view(word).substr(8));
                seconds && *seconds >= 0)
                life = std::chrono::seconds(std::min<std::int64_t>(*seconds, 86'400));
    }
    return std::clamp(life, kLeast, kMost);
}

Result<Identity> identity_of(const Json& claims, const Settings& settings) {
    const auto missing = [](const std::string& claim, const std::string& why) {
        return fail(Code::Unauthenticated, "ClaimMissing",
                    "the provider's claim '" + claim + "' " + why +
                        ": an operator sets 'scopes' and the claims in oidc.yaml, or the provider",
                    claim);
    };
    Identity who;
    who.issuer = claims.at("iss").as_string();
    who.subject = claims.at("sub").as_string();
    const Json* user = claim_in(claims, settings.user_claim);
    if (!user || !user->is_string() || user->as_view().empty() ||
        user->as_view().size() > kLongestClaim)
        return missing(settings.user_claim, "names nobody");
    // Who can write any address into their account is nobody's owner.
    if (const Json* verified = claims.find("email_verified"); settings.user_claim == "email" &&
                                                              verified && !verified->as_bool() &&
                                                              verified->as_view() != "true")
        return missing("email", "was not verified");
    who.user = user->as_string();
    if (const Json* name = claim_in(claims, settings.name_claim);
        name && name->as_view().size() <= 200)
        who.display_name = name->as_string();
    if (const Json* groups = claim_in(claims, settings.groups_claim)) {
        if (groups->is_string()) who.groups.push_back(groups->as_string());
        if (groups->items().size() > kMostGroups)
            return missing(settings.groups_claim,
                           "has more than " + std::to_string(kMostGroups) + " groups");
        for (const Json& group : groups->items())
            if (group.is_string()) who.groups.push_back(group.as_string());
    }
    return who;
}

Task<Result<Provider::Answer>> Provider::ask(http::ClientRequest request, std::string what) {
    request.timeout = kPatience;
    request.headers.set("Accept", "application/json");
    Result<http::ClientResponse> response = co_await client_->send(std::move(request));
    if (!response)
        co_return fail(
            Code::Unavailable, "ProviderUnreachable",
            "the identity provider does not answer (" + what + "): " + response.error().message);
    Result<std::string> body = co_await response->body->all(kLongestAnswer);
    if (!body)
        co_return fail(
            Code::Unavailable, "ProviderUnreachable",
            "the identity provider's answer did not come (" + what + "): " + body.error().message);
    co_return Answer{response->status, std::move(response->headers), std::move(*body)};
}

Task<Result<Metadata>> Provider::metadata() {
    Turns::Turn turn(turns_, "metadata");
    co_await turn;
    const Span now = clock_.since_boot();
    if (metadata_ && now < metadata_until_) co_return *metadata_;
    if (metadata_failed_ && now < metadata_failed_->until)
        co_return Failure(metadata_failed_->error);
    Result<Metadata> found = co_await ask_metadata();
    if (!found) co_return remember(metadata_failed_, found.error());
    metadata_failed_.reset();
    co_return found;
}

Failure Provider::remember(std::optional<Failed>& failed, Error error) const {
    failed = Failed{error, clock_.since_boot() + kBetweenLooks};
    return Failure(std::move(error));
}

Task<Result<Metadata>> Provider::ask_metadata() {
    http::ClientRequest request;
    std::string base = settings_.issuer;
    while (base.ends_with('/')) base.pop_back();
    request.url = base + std::string(kWellKnown);
    TURNOUT_CO_TRY(const Answer answer, co_await ask(std::move(request), "its description"));
    if (answer.status != 200)
        co_return strange("has no description at " + base + std::string(kWellKnown) +
                          ": it answered with HTTP status " + std::to_string(answer.status));
    TURNOUT_CO_TRY(Metadata found, parse_metadata(answer.body, settings_.issuer));
    metadata_until_ = clock_.since_boot() + lifetime_of(answer.headers);
    metadata_ = found;
    co_return found;
}

Task<Result<void>> Provider::fetch_keys(bool newer) {
    TURNOUT_CO_TRY(const Metadata data, co_await metadata());
    Turns::Turn turn(turns_, "keys");
    co_await turn;
    const Span now = clock_.since_boot();
    const bool fresh = keys_asked_ && now < keys_until_;
    const bool recent = keys_asked_ && now < *keys_asked_ + kBetweenLooks;
    if (fresh && (!newer || recent)) co_return Result<void>();
    if (keys_failed_ && now < keys_failed_->until) co_return Failure(keys_failed_->error);
    keys_asked_ = now;
    Result<void> got = co_await ask_keys(data.keys);
    if (!got) co_return remember(keys_failed_, got.error());
    keys_failed_.reset();
    co_return got;
}

Task<Result<void>> Provider::ask_keys(std::string url) {
    http::ClientRequest request;
    request.url = std::move(url);
    TURNOUT_CO_TRY(const Answer answer, co_await ask(std::move(request), "its keys"));
    if (answer.status != 200)
        co_return strange("does not show its keys: it answered with HTTP status " +
                          std::to_string(answer.status));
    TURNOUT_CO_TRY(keys_, parse_key_set(answer.body));
    keys_until_ = clock_.since_boot() + lifetime_of(answer.headers);
    co_return Result<void>();
}

Task<Result<Provider::Answer>> Provider::post(std::string url, Form form, std::string what) {
    TURNOUT_CO_TRY(const Metadata data, co_await metadata());
    http::ClientRequest request;
    request.method = "POST";
    request.url = std::move(url);
    request.headers.set("Content-Type", "application/x-www-form-urlencoded");
    const Secret& secret = settings_.client_secret;
    if (!secret.empty() && !data.secret_in_body) {
        request.headers.set("Authorization",
                            "Basic " + to_base64(percent_encode(settings_.client_id) + ":" +
                                                 percent_encode(secret.reveal())));
    } else {
        form.emplace_back("client_id", settings_.client_id);
        if (!secret.empty()) form.emplace_back("client_secret", secret.reveal());
    }
    request.body = in_form(form);
    TURNOUT_CO_TRY(Answer answer, co_await ask(std::move(request), std::move(what)));
    co_return answer;
}

Task<Result<Json>> Provider::verify(std::string id_token, std::string nonce) {
    TURNOUT_CO_TRY(const Token token, parse_token(id_token));
    TURNOUT_CO_TRY_VOID(co_await fetch_keys(false));
    Result<void> signature = check_signature(token, keys_);
    if (!signature && signature.error().reason == "UnknownKey") {
        TURNOUT_CO_TRY_VOID(co_await fetch_keys(true));
        signature = check_signature(token, keys_);
    }
    if (!signature) co_return Failure(signature.error());
    Expected expected;
    expected.issuer = settings_.issuer;
    expected.client_id = settings_.client_id;
    expected.nonce = std::move(nonce);
    expected.now = clock_.now();
    TURNOUT_CO_TRY_VOID(check_claims(token.claims, expected));
    co_return token.claims;
}

Task<Result<Identity>> Provider::identify(Tokens tokens, std::string nonce) {
    TURNOUT_CO_TRY(Json claims, co_await verify(std::move(tokens.id_token), std::move(nonce)));
    TURNOUT_CO_TRY(const Metadata data, co_await metadata());
    if (!says_enough(claims, settings_) && !data.userinfo.empty() && !tokens.access_token.empty()) {
        http::ClientRequest request;
        request.url = data.userinfo;
        request.headers.set("Authorization", "Bearer " + tokens.access_token.reveal());
        TURNOUT_CO_TRY(const Answer answer, co_await ask(std::move(request), "userinfo"));
        const Result<Json> more = parse_json(answer.body);
        if (answer.status != 200 || !more || !more->is_object())
            co_return strange("does not say more about who it is (userinfo): HTTP status " +
                              std::to_string(answer.status));
        if (more->at("sub").as_view() != claims.at("sub").as_view())
            co_return fail(Code::Unauthenticated, "BadClaim",
                           "the provider's userinfo is about somebody else");
        // What is signed comes first.
        for (const auto& [name, value] : more->members())
            if (!claims.has(name)) claims.set(name, value);
    }
    co_return identity_of(claims, settings_);
}

Task<Result<std::string>> Provider::authorization_url(CodeLogin login) {
    TURNOUT_CO_TRY(const Metadata data, co_await metadata());
    const Form form = {{"response_type", "code"},
                       {"client_id", settings_.client_id},
                       {"redirect_uri", login.redirect},
                       {"scope", join(settings_.scopes, " ")},
                       {"state", login.state},
                       {"nonce", login.nonce},
                       {"code_challenge", to_base64url(sha256(login.verifier.reveal()))},
                       {"code_challenge_method", "S256"}};
    const char* joint = data.authorization.find('?') == std::string::npos ? "?" : "&";
    co_return data.authorization + joint + in_form(form);
}

Task<Result<Identity>> Provider::finish(CodeLogin login, std::string code, std::string issuer) {
    TURNOUT_CO_TRY(const Metadata data, co_await metadata());
    if (issuer.empty() ? data.names_itself : issuer != settings_.issuer)
        co_return fail(Code::Unauthenticated, "LoginRefused",
                       "the answer does not say that it is of this identity provider");
    Form form = {{"grant_type", "authorization_code"},
                 {"code", std::move(code)},
                 {"redirect_uri", login.redirect},
                 {"code_verifier", login.verifier.reveal()}};
    TURNOUT_CO_TRY(const Answer answer, co_await post(data.token, std::move(form), "its tokens"));
    const Result<Json> json = parse_json(answer.body);
    if (!json || answer.status >= 500)
        co_return strange("gave no tokens: HTTP status " + std::to_string(answer.status));
    if (answer.status != 200)
        co_return fail(Code::Unauthenticated, "LoginRefused",
                       "the identity provider " + words_of(*json, answer.status));
    Tokens tokens{json->at("id_token").as_string(), Secret(json->at("access_token").as_string())};
    TURNOUT_CO_TRY(Identity who, co_await identify(std::move(tokens), login.nonce));
    co_return who;
}

Task<Result<DeviceLogin>> Provider::begin_device() {
    TURNOUT_CO_TRY(const Metadata data, co_await metadata());
    if (data.device.empty())
        co_return fail(Code::FailedPrecondition, "NoDeviceLogin",
                       "the identity provider has no login for devices (it names no "
                       "device_authorization_endpoint): log in with the browser, or with a token");
    Form form = {{"scope", join(settings_.scopes, " ")}};
    TURNOUT_CO_TRY(const Answer answer,
                   co_await post(data.device, std::move(form), "a login for a device"));
    const Result<Json> json = parse_json(answer.body);
    if (!json || answer.status != 200)
        co_return strange("begins no login for a device: it " +
                          words_of(json ? *json : Json(), answer.status));
    DeviceLogin login;
    login.device_code = Secret(json->at("device_code").as_string());
    login.user_code = json->at("user_code").as_string();
    login.address = json->at("verification_uri").as_string();
    login.complete_address = json->at("verification_uri_complete").as_string();
    login.life =
        std::chrono::seconds(std::clamp<std::int64_t>(json->at("expires_in").as_int(), 0, 3600));
    login.interval =
        std::chrono::seconds(std::clamp<std::int64_t>(json->at("interval").as_int(5), 1, 60));
    if (login.device_code.empty() || login.user_code.empty() ||
        !is_safe_endpoint(login.address, settings_.issuer) || login.user_code.size() > 64 ||
        login.life == Span{})
        co_return strange("begins no login for a device: its answer is not complete");
    if (!is_safe_endpoint(login.complete_address, settings_.issuer)) login.complete_address.clear();
    co_return login;
}

Task<Result<std::optional<Identity>>> Provider::ask_device(Secret device_code, bool& slower) {
    TURNOUT_CO_TRY(const Metadata data, co_await metadata());
    Form form = {{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
                 {"device_code", device_code.reveal()}};
    TURNOUT_CO_TRY(const Answer answer, co_await post(data.token, std::move(form), "its tokens"));
    const Result<Json> json = parse_json(answer.body);
    if (!json || answer.status >= 500)
        co_return strange("gave no tokens: HTTP status " + std::to_string(answer.status));
    if (answer.status != 200) {
        const std::string error = json->at("error").as_string();
        slower = error == "slow_down";
        if (slower || error == "authorization_pending") co_return std::optional<Identity>();
        co_return fail(Code::PermissionDenied, "LoginRefused",
                       error == "expired_token" ? "the code has expired: log in again"
                       : error == "access_denied"
                           ? "the login was refused at the identity provider"
                           : "the identity provider " + words_of(*json, answer.status));
    }
    Tokens tokens{json->at("id_token").as_string(), Secret(json->at("access_token").as_string())};
    TURNOUT_CO_TRY(Identity who, co_await identify(std::move(tokens), ""));
    co_return std::optional<Identity>(std::move(who));
}

Task<Result<Json>> Provider::look() {
    TURNOUT_CO_TRY(const Metadata data, co_await metadata());
    TURNOUT_CO_TRY_VOID(co_await fetch_keys(true));
    Json keys = Json::array();
    for (const ProviderKey& one : keys_)
        keys.push(Json::object({{"id", one.id}, {"algorithm", name_of(one.key.kind())}}));
    Json found = Json::object({{"authorizationEndpoint", data.authorization},
                               {"tokenEndpoint", data.token},
                               {"keysEndpoint", data.keys}});
    if (!data.device.empty()) found.set("deviceEndpoint", data.device);
    if (!data.userinfo.empty()) found.set("userinfoEndpoint", data.userinfo);
    found.set("keys", std::move(keys));
    co_return found;
}

}  // namespace turnout::oidc
