#include "protocol/secret_reference.h"

#include <gtest/gtest.h>

namespace turnout::agent_protocol {
namespace {

std::string put(std::string_view text) {
    const auto done = put_secrets(text, [](const SecretReference& one) -> Result<std::string> {
        return "<" + one.name + (one.file ? ", file" : "") + ">";
    });
    return done ? *done : "refused: " + done.error().reason;
}

TEST(SecretReference, IsReplacedWhereItStands) {
    EXPECT_EQ(put("${{secrets.hf-token}}"), "<hf-token>");
    EXPECT_EQ(put("Bearer ${{ secrets.A_1 }}, ${{secrets.b:file}}!"), "Bearer <A_1>, <b, file>!");
    EXPECT_EQ(put("${{secrets.a}}${{secrets.a}}"), "<a><a>");
}

TEST(SecretReference, OtherTextsStayAsTheyAre) {
    for (const char* text : {"", "a", "$", "${{", "${{inputs.x}}", "${{secretsauce}}", "secrets.a",
                             "${secrets.a}", "{{secrets.a}}", "${{x secrets.a}}"}) {
        EXPECT_FALSE(mentions_secrets(text)) << text;
        EXPECT_EQ(put(text), text);
    }
    EXPECT_EQ(put("${{ ${{secrets.a}}"), "${{ <a>");
}

TEST(SecretReference, WhatWasMeantAsOneAndIsNoneIsRefused) {
    for (const char* text :
         {"${{secrets}}", "${{secrets.}}", "${{secrets.a", "${{secrets.a b}}", "${{secrets.a.b}}",
          "${{secrets.-a}}", "${{secrets.a:env}}", "${{secrets.:file}}", "${{secrets.a/../b:file}}",
          "${{secrets.a}} ${{secrets..}}"}) {
        EXPECT_TRUE(mentions_secrets(text)) << text;
        EXPECT_TRUE(put(text).starts_with("refused")) << text << ": " << put(text);
    }
}

TEST(SecretReference, Names) {
    EXPECT_TRUE(is_secret_name("a"));
    EXPECT_TRUE(is_secret_name("0-_Z"));
    EXPECT_TRUE(is_secret_name(std::string(127, 'a')));
    EXPECT_FALSE(is_secret_name(std::string(128, 'a')));
    for (const char* name : {"", "-a", "_a", "a.b", "a/b", "..", "ä"})
        EXPECT_FALSE(is_secret_name(name)) << name;
}

}  // namespace
}  // namespace turnout::agent_protocol
