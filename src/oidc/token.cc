#include "oidc/token.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/text.h"

namespace turnout::oidc {
namespace {

constexpr std::size_t kLongestToken = 64 << 10, kLongestKeySet = 512 << 10, kMostKeys = 20;
constexpr std::size_t kLongestSubject = 255;  // OpenID Connect Core, 2

Failure malformed(std::string_view what) {
    return invalid("the provider's ID token cannot be read: " + std::string(what));
}

Failure refused(std::string_view reason, const std::string& message) {
    return fail(Code::Unauthenticated, reason, message);
}

Failure wrong(std::string_view claim, const std::string& why) {
    return refused("BadClaim",
                   "the provider's ID token is refused: '" + std::string(claim) + "' " + why);
}

std::optional<std::string> bytes_in(const Json& key, std::string_view name) {
    return from_base64url(key.at(name).as_view());
}

std::optional<PublicKey> key_of(const Json& jwk) {
    const auto made = [](Result<PublicKey> key) {
        return key ? std::optional(std::move(*key)) : std::nullopt;
    };
    if (jwk.has("use") && jwk.at("use").as_view() != "sig") return std::nullopt;
    const std::string_view type = jwk.at("kty").as_view();
    std::optional<PublicKey> key;
    if (type == "RSA") {
        const auto modulus = bytes_in(jwk, "n"), exponent = bytes_in(jwk, "e");
        if (modulus && exponent) key = made(PublicKey::rsa(*modulus, *exponent));
    } else if (type == "EC" && jwk.at("crv").as_view() == "P-256") {
        const auto x = bytes_in(jwk, "x"), y = bytes_in(jwk, "y");
        if (x && y) key = made(PublicKey::p256(*x, *y));
    }
    if (key && jwk.has("alg") && jwk.at("alg").as_view() != name_of(key->kind()))
        return std::nullopt;
    return key;
}

// Seconds since 1970, with a fraction or without.
std::optional<Instant> time_in(const Json& claims, std::string_view name) {
    constexpr double kMost = 253'402'300'800;  // the year 10000
    const Json& value = claims.at(name);
    if (!value.is_number()) return std::nullopt;
    const double seconds = value.as_double();
    if (!(seconds >= 0 && seconds < kMost)) return std::nullopt;
    return Instant{static_cast<std::int64_t>(seconds * 1e6)};
}

}  // namespace

Result<std::vector<ProviderKey>> parse_key_set(std::string_view text) {
    if (text.size() > kLongestKeySet) return invalid("the provider's set of keys is too large");
    const Result<Json> json = parse_json(text);
    if (!json || !json->at("keys").is_array())
        return invalid("the provider's set of keys is not one: it has no list 'keys'");
    if (json->at("keys").items().size() > kMostKeys)
        return invalid("the provider's set of keys has more than " + std::to_string(kMostKeys));
    std::vector<ProviderKey> keys;
    for (const Json& jwk : json->at("keys").items())
        if (auto key = key_of(jwk)) keys.push_back({jwk.at("kid").as_string(), std::move(*key)});
    return keys;
}

Result<Token> parse_token(std::string_view text) {
    if (text.size() > kLongestToken) return malformed("it is too long");
    const std::size_t first = text.find('.');
    const std::size_t last = text.rfind('.');
    if (first == std::string_view::npos || first == last || text.find('.', first + 1) != last)
        return malformed("it does not consist of three parts");
    const auto head = from_base64url(text.substr(0, first));
    const auto body = from_base64url(text.substr(first + 1, last - first - 1));
    auto signature = from_base64url(text.substr(last + 1));
    if (!head || !body || !signature) return malformed("a part of it is not base64url");
    const Result<Json> header = parse_json(*head);
    Result<Json> claims = parse_json(*body);
    if (!header || !header->is_object() || !claims || !claims->is_object())
        return malformed("a part of it is no JSON object");
    if (header->has("crit")) return malformed("it asks for an extension ('crit')");
    if (header->has("typ") && !equal_ignoring_case(header->at("typ").as_view(), "JWT"))
        return malformed("its type is not JWT");
    Token token;
    token.algorithm = header->at("alg").as_string();
    token.key_id = header->at("kid").as_string();
    if (token.algorithm.empty()) return malformed("it names no algorithm");
    token.claims = std::move(*claims);
    token.signed_part = text.substr(0, last);
    token.signature = std::move(*signature);
    return token;
}

Result<void> check_signature(const Token& token, std::span<const ProviderKey> keys) {
    if (token.algorithm != name_of(SignatureKind::Rs256) &&
        token.algorithm != name_of(SignatureKind::Es256))
        return refused("BadSignature", "the provider's ID token is signed with " +
                                           shown(token.algorithm) +
                                           ": RS256 and ES256 are verified here; set one of them "
                                           "for this client at the provider");
    std::vector<const ProviderKey*> fitting;
    for (const ProviderKey& one : keys)
        if (name_of(one.key.kind()) == token.algorithm &&
            (token.key_id.empty() || one.id == token.key_id))
            fitting.push_back(&one);
    // Without a name it has to be clear which is meant.
    if (fitting.empty() || (token.key_id.empty() && fitting.size() > 1))
        return refused("UnknownKey",
                       "the provider's ID token is signed with a key that it does "
                       "not publish");
    for (const ProviderKey* one : fitting)
        if (one->key.verify(token.signed_part, token.signature)) return {};
    return refused("BadSignature", "the provider's ID token is refused: its signature is wrong");
}

Result<void> check_claims(const Json& claims, const Expected& expected) {
    if (claims.at("iss").as_view() != expected.issuer || expected.issuer.empty())
        return wrong("iss", "is " + shown(claims.at("iss").as_view()) + ", expected " +
                                shown(expected.issuer));
    const Json& audience = claims.at("aud");
    bool ours = audience.is_string() && audience.as_view() == expected.client_id;
    for (const Json& one : audience.items()) ours = ours || one.as_view() == expected.client_id;
    if (!ours || expected.client_id.empty())
        return wrong("aud", "does not name this server's client_id");
    const Json* party = claims.find("azp");
    if (audience.items().size() > 1 && !party)
        return wrong("azp", "is missing, although it is for several");
    if (party && party->as_view() != expected.client_id)
        return wrong("azp", "names another client");
    const auto expires = time_in(claims, "exp");
    if (!expires) return wrong("exp", "is no time");
    if (*expires + kLeeway <= expected.now)
        return wrong("exp", "was " + to_iso8601(*expires) + ": it has expired");
    if (claims.has("nbf")) {
        const auto from = time_in(claims, "nbf");
        if (!from || *from - kLeeway > expected.now) return wrong("nbf", "is no time that was");
    }
    const auto issued = time_in(claims, "iat");
    if (!issued || *issued - kLeeway > expected.now) return wrong("iat", "is no time that was");
    if (!expected.nonce.empty() && claims.at("nonce").as_view() != expected.nonce)
        return wrong("nonce", "is not the one of this login");
    const std::string_view subject = claims.at("sub").as_view();
    if (subject.empty() || subject.size() > kLongestSubject)
        return wrong("sub", "is no text of 1 to " + std::to_string(kLongestSubject) + " bytes");
    return {};
}

}  // namespace turnout::oidc
