// What a provider of OpenID Connect signs: ID tokens, by keys that it publishes. Pure; everything
// here comes from outside and nothing of it is believed before it was verified.
//
// A token's header chooses among the provider's keys, never how one is used: a key is of one
// algorithm. So there is no "none", and nobody signs with the text of a public key (HS256).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "io/signature/signature.h"

namespace turnout::oidc {

// So far may the clocks of provider and server be apart.
inline constexpr Span kLeeway = 60s;

struct ProviderKey {
    std::string id;  // "" = none was given
    PublicKey key;
};

// A set of keys as a provider publishes it (RFC 7517). Keys of other kinds, for other uses or
// damaged ones are left out; InvalidArgument: it is no such set.
Result<std::vector<ProviderKey>> parse_key_set(std::string_view text);

struct Token {
    std::string algorithm;
    std::string key_id;
    Json claims;              // not believed yet
    std::string signed_part;  // the text that is signed
    std::string signature;
};
// Its form alone (RFC 7519, compact). InvalidArgument: it has not that form, or asks for what is
// not known here ("crit").
Result<Token> parse_token(std::string_view text);

// Unauthenticated: "UnknownKey" if none of these keys is the one that it names, so that newer ones
// may help; "BadSignature" for all else.
Result<void> check_signature(const Token& token, std::span<const ProviderKey> keys);

struct Expected {
    std::string issuer;
    std::string client_id;
    std::string nonce;  // "" = none was sent, as in the flow of devices
    Instant now;
};
// Who issued it for whom, and when (OpenID Connect Core, 3.1.3.7). Unauthenticated says which claim
// is not as it has to be.
Result<void> check_claims(const Json& claims, const Expected& expected);

}  // namespace turnout::oidc
