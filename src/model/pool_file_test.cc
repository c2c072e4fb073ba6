// A pools.yaml that commands change: what a person wrote stays.
#include "model/pool_file.h"

#include <gtest/gtest.h>

#include "yaml/yaml.h"

namespace turnout {
namespace {

const Json kBig = Json::object(
    {{"provider", "ssh"},
     {"slots", 3},
     {"settings", Json::object({{"user", "ml"}, {"hosts", Json::array({"a", "b"})}})}});
constexpr std::string_view kBigLines =
    "  big:\n"
    "    provider: ssh\n"
    "    slots: 3\n"
    "    settings:\n"
    "      user: ml\n"
    "      hosts:\n"
    "        - a\n"
    "        - b\n";

std::string added(std::string_view text, const std::string& name = "big", const Json& pool = kBig) {
    const auto out = with_pool(text, "pools.yaml", name, pool);
    return out ? *out : "refused: " + out.error().message;
}
std::string removed(std::string_view text, const std::string& name = "big") {
    const auto out = without_pool(text, "pools.yaml", name);
    return out ? *out : "refused: " + out.error().message;
}

TEST(PoolFile, AFileBeginsWithItsFirstPool) {
    const std::string whole = "pools:\n" + std::string(kBigLines);
    for (const std::string_view text :
         {"", "\n", "pools:\n", "pools:", "pools: {}\n", "pools: ~\n"})
        EXPECT_EQ(added(text).substr(0, whole.size()), whole) << text;
    EXPECT_EQ(added("# ours\n"), "# ours\n" + whole);
    EXPECT_EQ(added("pools: {}  # none yet\n"), "pools:  # none yet\n" + std::string(kBigLines));
}

TEST(PoolFile, WhatIsThereStaysAsItIs) {
    const std::string before =
        "# The lab's.\n"
        "pools:\n"
        "    local: {slots: 4}  # this machine\n"
        "\n"
        "    # at night\n"
        "    nightly:\n"
        "        slots: 1\n"
        "        # lost_node_time: 60\n"
        "# until spring\n";
    std::string indented;
    for (const char c : kBigLines) {
        if (indented.empty() || indented.back() == '\n') indented += "  ";
        indented += c;
    }
    EXPECT_EQ(added(before + "\n"), before + indented + "\n");
    EXPECT_EQ(added(before.substr(0, before.size() - 1)), before + indented) << "without an end";
    EXPECT_EQ(added(before + "...\n"), before + indented + "...\n");
    EXPECT_EQ(removed(added(before)), before) << "there and back";
}

TEST(PoolFile, TheSameAgainChangesNothingAndAnotherIsRefused) {
    const std::string text = "pools: {big: {slots: 1, provider: local}}";
    EXPECT_EQ(added(text, "big", Json::object({{"slots", 1}, {"provider", "local"}})), text);
    const auto other = with_pool(text, "pools.yaml", "big", kBig);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, Code::Conflict);
    EXPECT_NE(other.error().message.find("pools.yaml:1:9: pools.big: the pool is there already"),
              std::string::npos)
        << other.error().message;
}

TEST(PoolFile, APoolGoesWithItsLinesAndTheCommentsWithin) {
    const std::string text =
        "pools:\n"
        "  # first\n"
        "  a: {slots: 1}\n"
        "  # the one that goes\n"
        "  big:\n"
        "    # within\n"
        "    slots: 2\n"
        "    settings:\n"
        "      python: |\n"
        "        /usr/bin/python3\n"
        "    # behind, but its own\n"
        "\n"
        "  # of the last one\n"
        "  z:\n"
        "    slots: 3\n"
        "# end\n";
    EXPECT_EQ(removed(text),
              "pools:\n"
              "  # first\n"
              "  a: {slots: 1}\n"
              "  # the one that goes\n"
              "\n"
              "  # of the last one\n"
              "  z:\n"
              "    slots: 3\n"
              "# end\n");
    EXPECT_EQ(removed(removed(text), "z"),
              "pools:\n  # first\n  a: {slots: 1}\n  # the one that goes\n\n  # of the last one\n"
              "# end\n");
    EXPECT_EQ(removed("pools:\n  big:\n    slots: 1\n"), "pools:\n");
    EXPECT_EQ(without_pool(text, "pools.yaml", "none").error().code, Code::NotFound);
    EXPECT_EQ(without_pool("", "pools.yaml", "none").error().code, Code::NotFound);
}

TEST(PoolFile, WhatItCannotChangeIsRefusedWithItsPlace) {
    for (const std::string_view text :
         {"pools: {a: {slots: 1}}\n", "pools: {a: {slots: 1},\n  b: {slots: 2}}\n",
          "{pools: {a: {slots: 1}}}\n", "{}\n", "- a\n", "pools: 3\n"}) {
        const std::string why = added(text);
        EXPECT_TRUE(why.starts_with("refused: pools.yaml:1:")) << text << why;
        EXPECT_NE(why.find("change it by hand"), std::string::npos) << why;
    }
    EXPECT_TRUE(removed("pools: {big: {slots: 1}}\n").starts_with("refused: pools.yaml:1:"));
    // Others use what it names.
    EXPECT_TRUE(removed("pools:\n  big: &b\n    slots: 1\n  z: *b\n").starts_with("refused: "));
    EXPECT_TRUE(added("pools: [").starts_with("refused: pools.yaml:1:"));
}

}  // namespace
}  // namespace turnout
