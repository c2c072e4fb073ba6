#include "yaml/yaml.h"

#include <gtest/gtest.h>

#include <limits>

namespace turnout {
namespace {

Json read(std::string_view text) {
    Result<YamlDocument> document = parse_yaml(text, "f.yml");
    EXPECT_TRUE(document) << (document ? "" : document.error().message);
    return document ? document->value : Json();
}

std::string refusal(std::string_view text, YamlLimits limits = {}) {
    Result<YamlDocument> document = parse_yaml(text, "f.yml", limits);
    EXPECT_FALSE(document) << document->value.dump();
    return document ? "" : document.error().message;
}

TEST(Yaml, ReadsScalarsAsAzMlDoes) {
    EXPECT_EQ(read("[1, -2, +3, 0x1F, 0o17, 1.5, .5, 2., 1e3, 1.5e-3]").dump(),
              "[1,-2,3,31,15,1.5,0.5,2.0,1000.0,0.0015]");
    EXPECT_EQ(read("[true, False, YES, no, On, off, ~, null, NULL]").dump(),
              "[true,false,true,false,true,false,null,null,null]");
    EXPECT_EQ(
        read("['1', \"true\", '', y, n, 010, 1_000, 12:30, 2021-03-10, 0x, 1e, ., -, 1.2.3]")
            .dump(),
        R"(["1","true","","y","n","010","1_000","12:30","2021-03-10","0x","1e",".","-","1.2.3"])");
    EXPECT_EQ(read("[.inf, -.inf]").items()[1].as_double(),
              -std::numeric_limits<double>::infinity());
    EXPECT_EQ(read("[!!str 5, !!int \"5\"]").dump(), R"(["5",5])");
    EXPECT_EQ(read("a:\nb: text # not\n").dump(), R"({"a":null,"b":"text"})");
    EXPECT_TRUE(read("").is_null());
    EXPECT_TRUE(read("# only a comment\n").is_null());
}

TEST(Yaml, KeepsWhatWasWritten) {
    const auto document = parse_yaml("version: 1.10\nflag: yes\nname: x\nlist: [1e3]\n", "f.yml");
    ASSERT_TRUE(document);
    EXPECT_EQ(document->text("/version", document->value.at("version")), "1.10");
    EXPECT_EQ(document->text("/flag", document->value.at("flag")), "yes");
    EXPECT_EQ(document->text("/name", document->value.at("name")), "x");
    EXPECT_EQ(document->text("/list/0", document->value.at("list").items()[0]), "1e3");
}

TEST(Yaml, KnowsWhereThingsAre) {
    const auto document =
        parse_yaml("a: 1\ninputs:\n  lr: 2\n  list:\n    - x\n    - y: 3\n  sl/ash: 4\n", "f.yml");
    ASSERT_TRUE(document);
    EXPECT_EQ(document->place("/inputs/lr"), "f.yml:3:3");
    EXPECT_EQ(document->place("/inputs/list/1/y"), "f.yml:6:7");
    EXPECT_EQ(document->place("/inputs/list/0"), "f.yml:5:7");
    EXPECT_EQ(document->place("/inputs/sl~1ash"), "f.yml:7:3");
    EXPECT_EQ(document->place("/inputs/absent/deeper"), "f.yml:2:1")
        << "the nearest part around it";
    EXPECT_EQ(dotted("/inputs/list/1/y"), "inputs.list[1].y");
    EXPECT_EQ(part_at(document->value, "/inputs/list/1/y")->as_int(), 3);
    EXPECT_EQ(part_at(document->value, "/inputs/sl~1ash")->as_int(), 4);
    EXPECT_EQ(part_at(document->value, "/inputs/list/2"), nullptr);
}

TEST(Yaml, RefusesDuplicateKeysNamingBothLines) {
    EXPECT_EQ(refusal("a: 1\nb: 2\na: 3\n"),
              "f.yml:3:1: key 'a' is given twice: first in line 1, again in line 3");
    EXPECT_EQ(refusal("x:\n  k: 1\n  'k': 2\n"),
              "f.yml:3:3: key 'k' is given twice: first in line 2, again in line 3");
}

TEST(Yaml, ResolvesAnchorsAndMerges) {
    EXPECT_EQ(read("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n").dump(),
              R"({"base":{"x":1,"y":2},"use":{"y":3,"x":1}})");
    EXPECT_EQ(read("a: &a {x: 1}\nb: &b {x: 2, z: 3}\nuse: {<<: [*a, *b]}\n").at("use").dump(),
              R"({"x":1,"z":3})");
    const auto document = parse_yaml("a: &a {v: 1.10}\nuse:\n  <<: *a\nagain: *a\n", "f.yml");
    ASSERT_TRUE(document);
    EXPECT_EQ(document->text("/use/v", document->value.at("use").at("v")), "1.10");
    EXPECT_EQ(document->text("/again/v", document->value.at("again").at("v")), "1.10");
    EXPECT_EQ(document->place("/use/v"), "f.yml:3:3");
    EXPECT_NE(refusal("use: {<<: 3}").find("mapping"), std::string::npos);
    EXPECT_EQ(read("'<<': 1").dump(), "{\"<<\":1}") << "quoted it is an ordinary key";
}

TEST(Yaml, RefusesBombsAndOddities) {
    std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 9; ++i) {
        const std::string before = "*a" + std::to_string(i - 1);
        bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
        for (int k = 0; k < 10; ++k) bomb += (k ? ", " : "") + before;
        bomb += "]\n";
    }
    EXPECT_NE(refusal(bomb).find("100,000"), std::string::npos);
    EXPECT_NE(refusal("a: &a [*a]\n").find("never end"), std::string::npos);
    EXPECT_NE(refusal(std::string(100, '[') + std::string(100, ']')).find("nested deeper"),
              std::string::npos);
    EXPECT_FALSE(refusal(std::string(20'000, '[')).empty());
    EXPECT_NE(refusal("a: !!python/object:os.system x\n").find("tag"), std::string::npos);
    EXPECT_NE(refusal("a: 1\n---\nb: 2\n").find("second document"), std::string::npos);
    EXPECT_NE(refusal("? [a]\n: 1\n").find("key"), std::string::npos);
    EXPECT_NE(refusal("a: \xff\n").find("UTF-8"), std::string::npos);
    EXPECT_NE(refusal("a: b: c\n").find("f.yml:1:"), std::string::npos);
    EXPECT_NE(refusal("a: *nobody\n").find("f.yml:1:"), std::string::npos);
    EXPECT_NE(refusal("\ta: 1\n").find("f.yml:1:"), std::string::npos);
    EXPECT_NE(refusal("abc", {.bytes = 2}).find("larger"), std::string::npos);
}

TEST(Yaml, WritesWhatItReads) {
    const Json value = Json::object(
        {{"text", "plain"},
         {"number", 5},
         {"fraction", 0.1},
         {"yes", "yes"},
         {"five", "5"},
         {"empty", ""},
         {"nothing", Json()},
         {"none", Json::object()},
         {"list0", Json::array()},
         {"command", "echo a\necho b: c # d\n"},
         {"open", "one\n\n  two"},
         {"odd", " lead: #x\t"},
         {"list", Json::array({1, "a: b", Json::object({{"x", 1}, {"y", Json::array({"z"})}}),
                               Json::array({1, 2})})},
         {"odd key: #", true},
         {"unicode", "\xc3\xa9t\xc3\xa9\nx"},
         {"colon", "a:"},
         {"dash", "- a"},
         {"merge", "<<"},
         {"quote", "it's \"so\" \\"},
         {"trailing", "a\nb\n\n"}});
    EXPECT_EQ(read(to_yaml(value)).dump(), value.dump()) << to_yaml(value);
    EXPECT_EQ(to_yaml(Json::object({{"a", Json::array({Json::object({{"b", 1}, {"c", "x"}})})}})),
              "a:\n  - b: 1\n    c: x\n");
    for (const char* text :
         {"2026-11-22T20:57:05.512406Z", "2026-11-22", "12:30:45", "yes", "Off", "n"})
        EXPECT_EQ(to_yaml(Json::object({{"a", text}})), "a: \"" + std::string(text) + "\"\n")
            << "it is a text for other readers, too";
    for (const char* text : {"node-1", "1 min", "azureml:e:1", "note"})
        EXPECT_EQ(to_yaml(Json::object({{"a", text}})), "a: " + std::string(text) + "\n");
}

}  // namespace
}  // namespace turnout
