// ID tokens and sets of keys: no token but the one that was signed is good, and no set does harm.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/text.h"
#include "oidc/token.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    // The key of RFC 7515, A.3; the corpus holds its token.
    static const auto keys = oidc::parse_key_set(R"({"keys": [{"kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]})")
                                 .value();
    TURNOUT_CHECK(keys.size() == 1, "the key is good");
    if (const auto token = oidc::parse_token(input)) {
        TURNOUT_CHECK(token->claims.is_object() && input.starts_with(token->signed_part),
                      "what is signed is what was read");
        if (oidc::check_signature(*token, keys))
            TURNOUT_CHECK(token->claims.at("iss").as_view() == "joe", "it was not signed");
        const oidc::Expected expected{"https://login.example", "turnout", "n",
                                      Instant{1'800'000'000'000'000}};
        if (oidc::check_claims(token->claims, expected))
            TURNOUT_CHECK(token->claims.at("iss").as_view() == expected.issuer &&
                              token->claims.at("nonce").as_view() == "n",
                          "another one's");
    }
    if (const auto others = oidc::parse_key_set(input))
        for (const oidc::ProviderKey& one : *others)
            TURNOUT_CHECK(!one.key.verify("words", std::string(64, '\1')), "it signed nothing");
    return 0;
}
