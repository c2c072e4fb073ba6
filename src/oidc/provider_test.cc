#include "oidc/provider.h"

#include <gtest/gtest.h>

#include "oidc/test_provider.h"
#include "store/test_world.h"

namespace turnout::oidc {
namespace {

class OidcProvider : public ::testing::Test {
protected:
    template <class T>
    T wait(Task<T> task) {
        auto outcome = begin(std::move(task));
        loop.settle();
        EXPECT_TRUE(outcome.done());
        return std::move(*outcome);
    }
    CodeLogin login() {
        CodeLogin begun{"s", "n-1", Secret("a verifier of forty-three characters or more"),
                        "https://here.example/oidc/callback"};
        remote.challenge = to_base64url(sha256(begun.verifier.reveal()));
        remote.nonce = begun.nonce;
        return begun;
    }
    Result<Identity> finish(const std::string& code = "a-code") {
        return wait(provider.finish(login(), code, ""));
    }

    ManualLoop loop;
    TestProvider remote{loop};
    Provider provider{remote.settings(), remote.client(), loop};
};

TEST_F(OidcProvider, SaysWhoSomebodyIs) {
    const auto url = wait(provider.authorization_url(login()));
    ASSERT_TRUE(url) << url.error().message;
    EXPECT_EQ(url->find("https://login.example/auth?response_type=code&client_id=turnout&"), 0u);
    for (const std::string& part :
         {"&state=s&nonce=n-1&code_challenge=" + remote.challenge + "&code_challenge_method=S256",
          std::string("&scope=openid%20profile%20email&")})
        EXPECT_NE(url->find(part), std::string::npos) << *url;
    EXPECT_EQ(url->find("verifier"), std::string::npos);
    const auto who = finish();
    ASSERT_TRUE(who) << who.error().message;
    EXPECT_EQ(who->subject, "s-1");
    EXPECT_EQ(who->user, "Ann");
    EXPECT_EQ(who->display_name, "Ann Example");
    EXPECT_EQ(who->groups, std::vector<std::string>{"lab"});
    EXPECT_EQ(remote.authorization, "") << "userinfo was not needed; the keys were asked last";
    EXPECT_EQ(remote.asked["/me"], 0);
    EXPECT_EQ(finish("another").error().reason, "LoginRefused");
    auto other = login();
    remote.nonce = "n-2";
    EXPECT_EQ(wait(provider.finish(other, "a-code", "")).error().reason, "BadClaim");
    EXPECT_EQ(wait(provider.finish(login(), "a-code", "https://evil.example")).error().reason,
              "LoginRefused");
}

TEST_F(OidcProvider, WhatIsNotInTheTokenIsAskedFor) {
    remote.groups_in_token = false;
    remote.groups = {"lab", "admins"};
    const auto who = finish();
    ASSERT_TRUE(who) << who.error().message;
    EXPECT_EQ(who->groups, (std::vector<std::string>{"lab", "admins"}));
    EXPECT_EQ(remote.authorization, "Bearer a-token");
}

TEST_F(OidcProvider, AsksNoMoreThanItHasTo) {
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(finish());
    EXPECT_EQ(remote.asked["/.well-known/openid-configuration"], 1);
    EXPECT_EQ(remote.asked["/jwks"], 1);
    loop.pass(61min);
    ASSERT_TRUE(finish());
    EXPECT_EQ(remote.asked["/.well-known/openid-configuration"], 2);
    EXPECT_EQ(remote.asked["/jwks"], 2);
    // Its keys were changed: they are asked for, but not at each token that names another.
    remote.rotate("k2");
    EXPECT_EQ(finish().error().reason, "UnknownKey");
    loop.pass(Provider::kBetweenLooks);
    ASSERT_TRUE(finish());
    EXPECT_EQ(remote.asked["/jwks"], 3);
    remote.signer = std::make_unique<TestSigner>(SignatureKind::Es256);  // k2, it says
    EXPECT_EQ(finish().error().reason, "BadSignature");
    EXPECT_EQ(remote.asked["/jwks"], 3);
}

TEST_F(OidcProvider, ALoginOnATerminal) {
    const auto begun = wait(provider.begin_device());
    ASSERT_TRUE(begun) << begun.error().message;
    EXPECT_EQ(begun->user_code, "ABCD-EFGH");
    EXPECT_EQ(begun->interval, 5s);
    EXPECT_EQ(remote.authorization, "Basic " + to_base64("turnout:hush"));
    bool slower = false;
    auto who = wait(provider.ask_device(begun->device_code, slower));
    EXPECT_TRUE(who && !*who && !slower);
    remote.device_error = "slow_down";
    who = wait(provider.ask_device(begun->device_code, slower));
    EXPECT_TRUE(who && !*who && slower);
    remote.device_error = "access_denied";
    EXPECT_EQ(wait(provider.ask_device(begun->device_code, slower)).error().code,
              Code::PermissionDenied);
    remote.device_error = "";
    who = wait(provider.ask_device(begun->device_code, slower));
    ASSERT_TRUE(who && *who);
    EXPECT_EQ((*who)->user, "Ann");
    remote.device = false;
    Provider without(remote.settings(), remote.client(), loop);
    EXPECT_EQ(wait(without.begin_device()).error().reason, "NoDeviceLogin");
}

TEST_F(OidcProvider, WhenItDoesNotAnswer) {
    remote.down = true;
    // Whoever asks right after that does not wait for it once more.
    for (int i = 0; i < 3; ++i) EXPECT_EQ(finish().error().reason, "ProviderUnreachable");
    EXPECT_EQ(remote.asked["nobody"], 1);
    remote.down = false;
    EXPECT_FALSE(finish());
    Provider fresh(remote.settings(), remote.client(), loop);
    EXPECT_TRUE(wait(fresh.look())) << "an operator looks at it now";
    loop.pass(Provider::kBetweenLooks);
    EXPECT_TRUE(finish());
}

TEST_F(OidcProvider, WhenItDoesNotShowItsKeys) {
    remote.keys_down = true;
    for (int i = 0; i < 3; ++i) EXPECT_EQ(finish().error().reason, "ProviderFault");
    EXPECT_EQ(remote.asked["/jwks"], 1);
    loop.pass(Provider::kBetweenLooks);
    remote.keys_down = false;
    ASSERT_TRUE(finish());
    EXPECT_EQ(remote.asked["/jwks"], 2);
    // Those that are known go on being good while it does not show the newest.
    loop.pass(Provider::kBetweenLooks);
    auto first = std::move(remote.signer);
    remote.rotate("k2");
    remote.keys_down = true;
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(finish());
    EXPECT_EQ(remote.asked["/jwks"], 3);
    remote.signer = std::move(first);
    remote.key_id = "k1";
    EXPECT_TRUE(finish());
}

TEST(OidcMetadata, IsOfThatProviderAndSafe) {
    const auto data = [](const std::string& issuer, const std::string& token) {
        return parse_metadata(
            Json::object(
                {{"issuer", issuer},
                 {"authorization_endpoint", "https://a.example/x?tenant=1"},
                 {"token_endpoint", token},
                 {"jwks_uri", "https://a.example/k"},
                 {"token_endpoint_auth_methods_supported", Json::array({"client_secret_post"})}})
                .dump(),
            "https://a.example");
    };
    const auto good = data("https://a.example", "https://a.example/t");
    ASSERT_TRUE(good) << good.error().message;
    EXPECT_TRUE(good->secret_in_body);
    EXPECT_EQ(good->device, "");
    EXPECT_FALSE(data("https://a.example/", "https://a.example/t"));
    EXPECT_FALSE(data("https://b.example", "https://a.example/t"));
    EXPECT_FALSE(data("https://a.example", "http://a.example/t")) << "the secret in clear";
    EXPECT_FALSE(data("https://a.example", ""));
    EXPECT_FALSE(data("https://a.example", "http://127.0.0.1:80/t")) << "what listens here";
    for (const char* unsafe : {"https://a.example/t?x=\r\nHost", "https://a.example/t?x y",
                               "https://a.example/t?x#y", "https://a.example/\x7f"})
        EXPECT_FALSE(data("https://a.example", unsafe)) << unsafe;
    EXPECT_FALSE(parse_metadata("[]", "https://a.example"));
    http::Headers headers;
    EXPECT_EQ(lifetime_of(headers), 1h);
    headers.set("Cache-Control", "public, max-age=600");
    EXPECT_EQ(lifetime_of(headers), 10min);
    headers.set("Cache-Control", "max-age=99999999999999999999");
    EXPECT_EQ(lifetime_of(headers), 1h);
    headers.set("Cache-Control", "max-age=0");
    EXPECT_EQ(lifetime_of(headers), 1min);
}

TEST(OidcIdentity, OfClaims) {
    Settings settings;
    settings.user_claim = "email";
    settings.groups_claim = "realm_access.roles";
    Json claims = Json::object(
        {{"iss", "https://a"},
         {"sub", "s"},
         {"email", "ann@example.org"},
         {"realm_access", Json::object({{"roles", Json::array({"lab", 7, "admins"})}})}});
    auto who = identity_of(claims, settings);
    ASSERT_TRUE(who) << who.error().message;
    EXPECT_EQ(who->groups, (std::vector<std::string>{"lab", "admins"}));
    claims.set("email_verified", false);
    EXPECT_FALSE(identity_of(claims, settings)) << "anybody can write that";
    claims.set("email_verified", true);
    EXPECT_TRUE(identity_of(claims, settings));
    claims.erase("email");
    EXPECT_EQ(identity_of(claims, settings).error().reason, "ClaimMissing");
}

}  // namespace
}  // namespace turnout::oidc
