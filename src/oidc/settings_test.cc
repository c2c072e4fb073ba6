#include "oidc/settings.h"

#include <gtest/gtest.h>

#include <utility>

#include "base/text.h"

namespace turnout::oidc {
namespace {

const std::string kGood = R"(issuer: https://login.example/realms/lab
client_id: turnout
client_secret_file: oidc.secret
scopes: [openid, groups]
user_claim: email
session: 8h
token: 7d
roles:
  - {group: admins, role: Owner, server: true}
  - {group: "*", role: Reader, workspace: default, resource_group: turnout}
)";

std::string refusal(const std::string& text) {
    const auto settings = parse_settings(text, "oidc.yaml");
    return settings ? "" : settings.error().message;
}

TEST(OidcSettings, AreRead) {
    const auto settings = parse_settings(kGood, "oidc.yaml");
    ASSERT_TRUE(settings) << settings.error().message;
    EXPECT_EQ(settings->issuer, "https://login.example/realms/lab");
    EXPECT_EQ(settings->scopes, (std::vector<std::string>{"openid", "groups"}));
    EXPECT_EQ(settings->user_claim, "email");
    EXPECT_EQ(settings->groups_claim, "groups");
    EXPECT_EQ(settings->session, 8h);
    EXPECT_EQ(settings->token, 7 * 24h);
    ASSERT_EQ(settings->roles.size(), 2u);
    EXPECT_TRUE(settings->roles[0].server);
    EXPECT_EQ(settings->roles[1], (GroupRole{"*", "Reader", false, "default", "turnout"}));
    EXPECT_EQ(settings->roles[1].place, "oidc.yaml:10:5");
}

TEST(OidcSettings, AreTheSameWithAnAddedComment) {
    const auto before = parse_settings(kGood, "oidc.yaml");
    const auto commented = parse_settings("# of the lab\n" + kGood, "oidc.yaml");
    ASSERT_TRUE(before && commented);
    ASSERT_NE(before->roles[0].place, commented->roles[0].place);
    EXPECT_TRUE(before->same_as(*commented));
    for (const auto& [was, is] :
         {std::pair("group: admins", "group: others"), std::pair("role: Owner", "role: Reader"),
          std::pair("server: true", "workspace: default"),
          std::pair("workspace: default", "workspace: another"),
          std::pair("resource_group: turnout", "resource_group: other")}) {
        std::string changed = kGood;
        replace_all(changed, was, is);
        const auto after = parse_settings(changed, "oidc.yaml");
        ASSERT_TRUE(after) << changed << after.error().message;
        EXPECT_FALSE(before->same_as(*after)) << is;
    }
}

TEST(OidcSettings, MistakesAreToldWithTheirPlace) {
    const std::string least = "issuer: https://a\nclient_id: c\n";
    const std::string roles = "roles: [{group: g, role: Reader, server: true}]\n";
    EXPECT_EQ(refusal(least + roles), "");
    struct Mistake {
        std::string text, told;
    };
    for (const auto& [text, told] : std::vector<Mistake>{
             {least, "'roles' is missing"},
             {"client_id: c\n" + roles, "'issuer' is missing"},
             {least + roles + "isuer: x\n", "oidc.yaml:4:1: isuer is 'isuer': expected one of"},
             {"issuer: http://login.example\nclient_id: c\n" + roles,
              "oidc.yaml:1:1: issuer is 'http://login.example': expected an address that begins "
              "with https://"},
             {"issuer: https://a?b=c\nclient_id: c\n" + roles, "has no query"},
             {least + roles + "client_secret: hush\n", "client_secret_file"},
             {least + roles + "session: 1s\n", "oidc.yaml:4:1: session is '1s': expected an age"},
             {least + roles + "token: 400d\n", "from 5m to 366d"},
             {least + roles + "scopes: [profile]\n", "with 'openid'"},
             {least + "roles: []\n", "oidc.yaml:3:1: roles is '[]': expected a list"},
             {least + "roles: [{group: g, role: Reader}]\n", "one place"},
             {least + "roles: [{group: g, role: Reader, server: true, workspace: w}]\n",
              "one place"},
             {least + "roles: [{group: g, role: Reader, server: yess}]\n", "expected true"},
             {least + "roles: [{role: Reader, server: true}]\n", "'group' and 'role'"},
             {least + "roles: [{group: g, role: Reader, compute: c}]\n",
              "roles[0].compute is 'compute': expected one of group"},
             {"[]", "it is no mapping"},
             {"issuer: [\n", "oidc.yaml:"}}) {
        EXPECT_NE(refusal(text).find(told), std::string::npos) << text << "\n" << refusal(text);
    }
    EXPECT_EQ(refusal(least + roles + "client_secret: hush\n").find("hush"), std::string::npos);
    // This server's address: browsers say it in one way.
    for (const char* fits : {"https://a", "https://a/", "https://a.example:8443", "http://[::1]:80",
                             "http://127.0.0.1:8080", "https://[2001:db8::1]"})
        EXPECT_EQ(refusal(least + roles + "url: " + fits + "\n") == "",
                  std::string_view(fits) != "http://[::1]:80")
            << fits;
    for (const char* wrong : {"https://a:443", "https://A.example", "HTTPS://a", "https://a/b",
                              "https://a:", "https://a:x", "https://a:08443", "https://"})
        EXPECT_NE(refusal(least + roles + "url: '" + wrong + "'\n").find("oidc.yaml:4:1: url is"),
                  std::string::npos)
            << wrong;
}

TEST(OidcSettings, WhereCredentialsMayGo) {
    for (const char* safe : {"https://a", "https://a:8443/b", "http://localhost:1/x",
                             "http://127.0.0.1:80", "http://[::1]:9/"})
        EXPECT_TRUE(is_safe_url(safe)) << safe;
    for (const char* unsafe :
         {"http://a", "http://127.evil.example", "http://localhost.evil", "https://", "https://a@b",
          "ftp://a", "//a", "", "https://a\\b", "http://[::2]", "https://a/\n", "https://a\x7f"})
        EXPECT_FALSE(is_safe_url(unsafe)) << unsafe;
}

}  // namespace
}  // namespace turnout::oidc
