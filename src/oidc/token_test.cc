#include "oidc/token.h"

#include <gtest/gtest.h>

#include "base/hash.h"
#include "base/text.h"
#include "io/signature/test_signer.h"

namespace turnout::oidc {
namespace {

const Instant kNow{1'800'000'000'000'000};
const Expected kExpected{"https://login.example", "turnout", "n-1", kNow};

Json good_claims() {
    return Json::object({{"iss", "https://login.example"},
                         {"aud", "turnout"},
                         {"sub", "u1"},
                         {"exp", 1'800'000'300},
                         {"iat", 1'800'000'000},
                         {"nonce", "n-1"}});
}

std::vector<ProviderKey> keys_of(std::initializer_list<Json> keys) {
    Json list = Json::array();
    for (const Json& key : keys) list.push(key);
    return *parse_key_set(Json::object({{"keys", list}}).dump());
}

std::string reason_of(const Result<void>& result) {
    return result ? "" : result.error().reason;
}

class IdToken : public ::testing::Test {
protected:
    static void SetUpTestSuite() {
        rsa = new TestSigner(SignatureKind::Rs256);
        curve = new TestSigner(SignatureKind::Es256);
    }
    static void TearDownTestSuite() {
        delete rsa;
        delete curve;
    }
    static TestSigner *rsa, *curve;
};
TestSigner* IdToken::rsa = nullptr;
TestSigner* IdToken::curve = nullptr;

TEST_F(IdToken, SignedByAPublishedKey) {
    const auto keys = keys_of({rsa->jwk("r"), curve->jwk("c")});
    ASSERT_EQ(keys.size(), 2u);
    for (const auto& [signer, id] : {std::pair(rsa, "r"), std::pair(curve, "c")}) {
        const auto token = parse_token(signer->token(id, good_claims()));
        ASSERT_TRUE(token) << token.error().message;
        EXPECT_EQ(token->key_id, id);
        EXPECT_TRUE(check_signature(*token, keys));
        EXPECT_TRUE(check_claims(token->claims, kExpected));
        // One that is not named: it is clear, since there is one of its kind.
        const auto unnamed = parse_token(
            signer->token("", good_claims(),
                          Json::object({{"alg", id == std::string("r") ? "RS256" : "ES256"}})));
        EXPECT_TRUE(check_signature(*unnamed, keys));
        EXPECT_EQ(reason_of(check_signature(*token, {})), "UnknownKey");
    }
    const auto two = keys_of({rsa->jwk("r"), rsa->jwk("r2")});
    const auto unnamed =
        parse_token(rsa->token("", good_claims(), Json::object({{"alg", "RS256"}})));
    EXPECT_EQ(reason_of(check_signature(*unnamed, two)), "UnknownKey") << "which one is meant?";
    const auto rotated = parse_token(rsa->token("new", good_claims()));
    EXPECT_EQ(reason_of(check_signature(*rotated, keys)), "UnknownKey");
    // Another key that calls itself so.
    const TestSigner other(SignatureKind::Es256);
    EXPECT_EQ(reason_of(check_signature(*parse_token(other.token("c", good_claims())), keys)),
              "BadSignature");
}

// What a token says of itself does not decide how it is verified.
TEST_F(IdToken, ItsAlgorithmIsTheKeys) {
    const auto keys = keys_of({rsa->jwk("r"), curve->jwk("c")});
    const std::string claims = to_base64url(good_claims().dump());
    const auto with_header = [&](const Json& header) {
        return to_base64url(header.dump()) + "." + claims;
    };
    for (const char* none : {"none", "None", "NONE", ""}) {
        const std::string part = with_header(Json::object({{"alg", none}, {"kid", "r"}}));
        for (const std::string& end : {std::string("."), "." + to_base64url("x")}) {
            const auto token = parse_token(part + end);
            if (token) {
                EXPECT_EQ(reason_of(check_signature(*token, keys)), "BadSignature") << none;
            }
        }
    }
    // The public key's text as the secret of an HMAC.
    const std::string hs = with_header(Json::object({{"alg", "HS256"}, {"kid", "r"}}));
    for (const std::string& secret : {rsa->jwk("r").dump(), rsa->number(OSSL_PKEY_PARAM_RSA_N),
                                      rsa->jwk("r").at("n").as_string()}) {
        const auto token = parse_token(hs + "." + to_base64url(hmac_sha256(secret, hs)));
        ASSERT_TRUE(token);
        EXPECT_EQ(reason_of(check_signature(*token, keys)), "BadSignature");
    }
    // Another key's algorithm, by the name of that key.
    for (const auto& [alg, id] : {std::pair("ES256", "r"), std::pair("RS256", "c")}) {
        const auto token =
            parse_token(rsa->token(id, good_claims(), Json::object({{"alg", alg}, {"kid", id}})));
        EXPECT_EQ(reason_of(check_signature(*token, keys)), "UnknownKey");
    }
    EXPECT_EQ(reason_of(check_signature(
                  *parse_token(rsa->token("r", good_claims(),
                                          Json::object({{"alg", "RS512"}, {"kid", "r"}}))),
                  keys)),
              "BadSignature");
    // Changed after it was signed.
    std::string changed = rsa->token("r", good_claims());
    Json other = good_claims();
    other.set("sub", "u2");
    const std::size_t first = changed.find('.'), last = changed.rfind('.');
    changed = changed.substr(0, first + 1) + to_base64url(other.dump()) + changed.substr(last);
    EXPECT_EQ(reason_of(check_signature(*parse_token(changed), keys)), "BadSignature");
}

TEST_F(IdToken, OfAnotherForm) {
    const std::string good = curve->token("c", good_claims());
    EXPECT_FALSE(parse_token(good + ".x"));
    EXPECT_FALSE(parse_token(good + "="));
    EXPECT_FALSE(parse_token(""));
    EXPECT_FALSE(parse_token(".."));
    EXPECT_FALSE(parse_token("a.b"));
    EXPECT_FALSE(parse_token(std::string(70'000, 'a')));
    for (const Json& header :
         {Json::object({{"alg", "ES256"}, {"crit", Json::array({"exp"})}}), Json::array({}),
          Json::object({{"alg", "ES256"}, {"typ", "at+jwt"}}), Json::object({{"typ", "JWT"}})})
        EXPECT_FALSE(parse_token(curve->token("c", good_claims(), header))) << header.dump();
    EXPECT_FALSE(parse_token(curve->token("c", Json::array({"x"}))));
}

TEST_F(IdToken, KeysThatAreNone) {
    EXPECT_FALSE(parse_key_set("[]"));
    EXPECT_FALSE(parse_key_set("{}"));
    EXPECT_FALSE(parse_key_set("{"));
    Json many = Json::array();
    for (int i = 0; i < 21; ++i) many.push(Json::object({{"kty", "EC"}}));
    EXPECT_FALSE(parse_key_set(Json::object({{"keys", many}}).dump()));
    Json encrypting = rsa->jwk("e"), other = rsa->jwk("o"), damaged = rsa->jwk("d"),
         secret = Json::object({{"kty", "oct"}, {"k", "c2VjcmV0"}, {"kid", "s"}});
    encrypting.set("use", "enc");
    other.set("alg", "PS512");
    damaged.set("n", "AQAB");
    EXPECT_TRUE(keys_of({encrypting, other, damaged, secret, Json("x"), Json()}).empty());
}

TEST_F(IdToken, WhatItSaysIsChecked) {
    struct Case {
        std::string claim;
        Json value;
    };
    const std::vector<Case> bad = {
        {"iss", "https://login.example/"},
        {"iss", "https://evil.example"},
        {"iss", Json()},
        {"aud", "other"},
        {"aud", Json::array()},
        {"aud", Json::array({"other"})},
        {"aud", Json::array({"turnout", "other"})},  // without azp
        {"aud", Json()},
        {"azp", "other"},
        {"exp", 1'799'999'940},
        {"exp", "1800000300"},
        {"exp", Json()},
        {"exp", 1e300},
        {"nbf", 1'800'000'061},
        {"nbf", "x"},
        {"iat", 1'800'000'061},
        {"iat", Json()},
        {"nonce", "n-2"},
        {"nonce", Json()},
        {"sub", ""},
        {"sub", std::string(256, 'x')},
        {"sub", 7},
    };
    for (const auto& [claim, value] : bad) {
        Json claims = good_claims();
        if (value.is_null())
            claims.erase(claim);
        else
            claims.set(claim, value);
        const auto checked = check_claims(claims, kExpected);
        EXPECT_FALSE(checked) << claim << " " << value.dump();
        if (!checked) {
            EXPECT_EQ(checked.error().code, Code::Unauthenticated);
            EXPECT_NE(checked.error().message.find(
                          value == Json::array({"turnout", "other"}) ? "'azp'" : "'" + claim + "'"),
                      std::string::npos)
                << checked.error().message;
        }
    }
    const std::vector<Case> good = {
        {"exp", 1'799'999'941},  // within a minute
        {"exp", 1'800'000'300.5},
        {"nbf", 1'800'000'060},
        {"iat", 1'800'000'060},
        {"azp", "turnout"},
        {"aud", Json::array({"turnout"})},
    };
    for (const auto& [claim, value] : good) {
        Json claims = good_claims();
        claims.set(claim, value);
        EXPECT_TRUE(check_claims(claims, kExpected)) << claim << " " << value.dump();
    }
    Json several = good_claims();
    several.set("aud", Json::array({"other", "turnout"}));
    several.set("azp", "turnout");
    EXPECT_TRUE(check_claims(several, kExpected));
    Expected of_device = kExpected;
    of_device.nonce = "";
    Json without = good_claims();
    without.erase("nonce");
    EXPECT_TRUE(check_claims(without, of_device));
}

}  // namespace
}  // namespace turnout::oidc
