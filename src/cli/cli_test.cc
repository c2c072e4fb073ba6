#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/query.h"

namespace turnout::cli {
namespace {

std::string ask(std::string_view expression, const char* json) {
    const Result<Json> document = parse_json(json);
    EXPECT_TRUE(document);
    const Result<Json> answer = query(expression, *document);
    return answer ? answer->dump() : "error: " + answer.error().message;
}

TEST(Query, PathsListsAndSelections) {
    const char* jobs =
        R"([{"name":"a","n":1,"p":{"x":[1,2]}},{"name":"b","n":3,"p":{"x":[3]}},{"n":2}])";
    EXPECT_EQ(ask("[0].name", jobs), R"("a")");
    EXPECT_EQ(ask("[-1].n", jobs), "2");
    EXPECT_EQ(ask("[7].n", jobs), "null");
    EXPECT_EQ(ask("[].name", jobs), R"(["a","b"])");
    EXPECT_EQ(ask("[*].p.x[0]", jobs), "[1,3]");
    EXPECT_EQ(ask("[*].p.x[]", jobs), "[1,2,3]");
    EXPECT_EQ(ask("[].p.x[] | [0]", jobs), "1");
    EXPECT_EQ(ask("[0:2].name", jobs), R"(["a","b"])");
    EXPECT_EQ(ask("[::-1].n", jobs), "[2,3,1]");
    EXPECT_EQ(ask("[].{who:name, count:n} | [1]", jobs), R"({"who":"b","count":3})");
    EXPECT_EQ(ask("[0].[name, n]", jobs), R"(["a",1])");
    EXPECT_EQ(ask("[?n>`1`].n", jobs), "[3,2]");
    EXPECT_EQ(ask("[?name=='b' || n==`1`].name", jobs), R"(["a","b"])");
    EXPECT_EQ(ask("[?!name].n", jobs), "[2]");
    EXPECT_EQ(ask("[?starts_with(name || '', 'a')].n", jobs), "[1]");
    EXPECT_EQ(ask("length(@)", jobs), "3");
    EXPECT_EQ(ask("sort_by(@, &n)[].n", jobs), "[1,2,3]");
    EXPECT_EQ(ask("max_by(@, &n).name", jobs), R"("b")");
    const char* job =
        R"({"properties":{"status":"Running","a-b":"dash"},"tags":{"k":"v","l":"w"}})";
    EXPECT_EQ(ask("properties.status", job), R"("Running")");
    EXPECT_EQ(ask("properties.\"a-b\"", job), R"("dash")");
    EXPECT_EQ(ask("tags.*", job), R"(["v","w"])");
    EXPECT_EQ(ask("keys(tags)", job), R"(["k","l"])");
    EXPECT_EQ(ask("absent.deeper[0]", job), "null");
    EXPECT_EQ(ask("not_null(absent, properties.status)", job), R"("Running")");
}

TEST(Query, MistakesAreNamedWithTheirPlace) {
    EXPECT_EQ(ask("a b", "{}"), "error: --query: at column 3: 'b' is not expected here");
    EXPECT_NE(ask("[", "{}").find("column"), std::string::npos);
    EXPECT_NE(ask("a.[", "{}").find("column"), std::string::npos);
    EXPECT_NE(ask("", "{}").find("ends too early"), std::string::npos);
    EXPECT_NE(ask("'open", "{}").find("expected '''"), std::string::npos);
    EXPECT_NE(ask("map(&a, b)", "{}").find("'map' is not supported"), std::string::npos);
    EXPECT_NE(ask("length(`1`)", "{}").find("takes a list"), std::string::npos);
    EXPECT_NE(ask(std::string(100'000, '('), "{}").find("nested too deeply"), std::string::npos);
    EXPECT_NE(ask("a-b", "{}").find("column 2"), std::string::npos);
}

std::string after_set(std::string_view yaml, const std::vector<std::string>& assignments) {
    Result<YamlDocument> document = parse_yaml(yaml, "f.yml");
    EXPECT_TRUE(document);
    for (const std::string& assignment : assignments)
        if (const Result<void> set = apply_set(*document, assignment); !set)
            return "error: " + set.error().message;
    return document->value.dump();
}

TEST(Set, PutsTypedValuesAnywhere) {
    EXPECT_EQ(after_set("a: 1\n", {"a=2", "b.c=x", "b.d=true", "e=1.5", "f="}),
              R"({"a":2,"b":{"c":"x","d":true},"e":1.5,"f":null})");
    EXPECT_EQ(after_set("l: [1, {x: 2}]\n", {"l[1].x=3", "l[2]=4", "l.0=9"}),
              R"({"l":[9,{"x":3},4]})");
    EXPECT_EQ(after_set("a: 1\n", {"a='2'", "b=\"true\"", "c={x: 1, y: [2]}", "d=a=b"}),
              R"({"a":"2","b":"true","c":{"x":1,"y":[2]},"d":"a=b"})");
    EXPECT_EQ(after_set("", {"a.b=1"}), R"({"a":{"b":1}})");
    EXPECT_NE(after_set("a: 1\n", {"a.b=1"}).find("'a' is 1, which has no 'b'"), std::string::npos);
    EXPECT_NE(after_set("l: []\n", {"l[3]=1"}).find("not an index of a list of 0"),
              std::string::npos);
    EXPECT_NE(after_set("", {"nothing"}).find("expected KEY=VALUE"), std::string::npos);
}

TEST(Set, NamesOfTagsAndPropertiesMayHoldPoints) {
    EXPECT_EQ(after_set("tags: {a: b}\n", {"tags.turnout.price_per_hour=2", "tags.a.b=c"}),
              R"({"tags":{"a":"b","turnout.price_per_hour":2,"a.b":"c"}})");
    EXPECT_EQ(after_set("", {"properties.x.y=z"}), R"({"properties":{"x.y":"z"}})");
    EXPECT_EQ(after_set("", {"resources.properties.x=z"}),
              R"({"resources":{"properties":{"x":"z"}}})");
}

TEST(Set, KeepsTheTextAndSaysWhereItCameFrom) {
    Result<YamlDocument> document = parse_yaml("inputs:\n  lr: 0.1\n", "f.yml");
    ASSERT_TRUE(apply_set(*document, "inputs.lr=0.20"));
    EXPECT_EQ(document->text("/inputs/lr", *part_at(document->value, "/inputs/lr")), "0.20");
    EXPECT_EQ(document->place("/inputs/lr"), "--set inputs.lr");
    EXPECT_EQ(document->place("/inputs"), "f.yml:1:1");
}

std::vector<Command> small_table() {
    return {{{"job", "create"},
             "c",
             {{"--file", "-f", "FILE", "h", false},
              {"--name", "-n", "N", "h", false},
              {"--set", "", "K=V", "h", true},
              {"--stream", "-s", "", "h", false}},
             nullptr,
             kFileOperand},
            {{"job", "cancel"}, "c", {{"--name", "-n", "N", "h", true}}, nullptr, kNamesOperand},
            {{"job", "show"}, "s", {{"--name", "-n", "N", "h", false}}, nullptr, kNameOperand},
            {{"verify"}, "v", {{"--targets", "", "N", "h", true}}, nullptr, ""},
            {{"exec"}, "e", {}, nullptr, "", true},
            {{"login"}, "l", {}, nullptr, "URL"}};
}

TEST(Arguments, RowsDecideWhatIsTaken) {
    const std::vector<Command> table = small_table();
    const auto parse = [&](std::vector<std::string> words) {
        return parse_arguments(table, words);
    };
    const auto refusal = [&](std::vector<std::string> words) {
        const Result<Arguments> parsed = parse_arguments(table, words);
        return parsed ? std::string() : parsed.error().message;
    };
    const Result<Arguments> create = parse({"job", "create", "-f", "x.yml", "--set", "a=1", "b=2",
                                            "--stream", "--set=c=3", "-o", "json"});
    ASSERT_TRUE(create) << create.error().message;
    EXPECT_EQ(create->get("--file"), "x.yml");
    EXPECT_EQ(create->all("--set"), (std::vector<std::string>{"a=1", "b=2", "c=3"}));
    EXPECT_TRUE(create->has("--stream"));
    const Result<Arguments> verify =
        parse({"verify", "--targets", "a", "b", "--targets=c", "-o", "json"});
    ASSERT_TRUE(verify) << verify.error().message;
    EXPECT_EQ(verify->all("--targets"), (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_FALSE(refusal({"verify", "--targets=a", "b"}).empty());
    EXPECT_EQ(create->get("--output"), "json");
    EXPECT_EQ(parse({"exec", "--data", "d", "--", "python", "-c", "x"})->operands,
              (std::vector<std::string>{"python", "-c", "x"}));
    EXPECT_EQ(parse({"exec", "python", "--version"})->operands,
              (std::vector<std::string>{"python", "--version"}));
    EXPECT_EQ(parse({"login", "https://x"})->operands.at(0), "https://x");
    EXPECT_TRUE(parse({"job", "create", "--help"})->help);
    EXPECT_TRUE(parse({})->help);
    EXPECT_NE(refusal({"jop"}).find("did you mean 'job'"), std::string::npos);
    EXPECT_NE(refusal({"job", "creat"}).find("did you mean 'create'"), std::string::npos);
    EXPECT_NE(refusal({"job", "create", "--fil", "x"}).find("did you mean '--file'"),
              std::string::npos);
    EXPECT_NE(refusal({"job", "create", "-f"}).find("needs a value"), std::string::npos);
    EXPECT_NE(refusal({"job", "create", "--stream=yes"}).find("takes no value"), std::string::npos);
    EXPECT_EQ(parse({"job", "create", "folder", "-n", "x"})->get("--file"), "folder");
    EXPECT_EQ(refusal({"job", "create", "a.yml", "-f", "b.yml"}),
              "`turnout job create` takes one file, found 'a.yml' and -f b.yml");
    EXPECT_EQ(parse({"job", "cancel", "-n", "a", "b", "c", "-n", "d"})->all("--name"),
              (std::vector<std::string>{"a", "d", "b", "c"}));
    EXPECT_EQ(refusal({"nonsense"}), "there is no command 'nonsense'. See `turnout --help`.");
    EXPECT_NE(refusal({"feature-set", "list"}).find("`turnout feature-set` is not there yet"),
              std::string::npos);
    EXPECT_NE(refusal({"login"}).find("takes one URL"), std::string::npos);
    EXPECT_NE(refusal({"exec"}).find("takes a program"), std::string::npos);
}

TEST(Arguments, ANameNeedsNoOption) {
    const std::vector<Command> table = small_table();
    for (const std::vector<std::string>& words : {std::vector<std::string>{"job", "show", "a"},
                                                  {"job", "show", "-n", "a"},
                                                  {"job", "show", "-o", "json", "a"}}) {
        const Result<Arguments> parsed = parse_arguments(table, words);
        ASSERT_TRUE(parsed) << parsed.error().message;
        EXPECT_EQ(parsed->get("--name"), "a");
        EXPECT_TRUE(parsed->operands.empty());
    }
    EXPECT_EQ(parse_arguments(table, {"job", "show", "a", "b"}).error().message,
              "`turnout job show` takes one name, found 'a', 'b'");
    EXPECT_EQ(parse_arguments(table, {"job", "show", "a", "-n", "b"}).error().message,
              "`turnout job show` takes one name, found 'a' and -n b");
    EXPECT_TRUE(parse_arguments(table, {"job", "show"}))
        << "which one is asked for by the command itself";
}

// Up to where its output goes; what is in single quotes is part of one word.
std::vector<std::string> typed_words(std::string_view line) {
    std::vector<std::string> words;
    bool quoted = false, within = false;
    for (const char c : line) {
        if (!quoted && (c == '>' || c == '|')) break;
        if (c == '\'') quoted = !quoted;
        if (!quoted && c == ' ') {
            within = false;
            continue;
        }
        if (!std::exchange(within, true)) words.emplace_back();
        if (c != '\'') words.back() += c;
    }
    return words;
}

TEST(Help, EveryCommandAndGroupHasExamplesThatCanBeTyped) {
    std::vector<std::string> examples;
    std::set<std::string> words;
    for (const Command& command : command_table()) {
        if (command.hidden) continue;
        EXPECT_FALSE(command.examples.empty()) << join(command.words, " ");
        for (const std::string& example : command.examples)
            EXPECT_NE(example.find("turnout " + join(command.words, " ")), std::string::npos)
                << example;
        examples.insert(examples.end(), command.examples.begin(), command.examples.end());
        if (command.words.size() > 1) words.insert(command.words[0]);
    }
    for (const Group& group : command_groups()) {
        EXPECT_EQ(words.erase(group.word), 1U) << group.word;
        EXPECT_FALSE(group.examples.empty());
        examples.insert(examples.end(), group.examples.begin(), group.examples.end());
    }
    for (const Command& command : command_table())  // `audit` is a command, and has one beneath it
        if (command.words.size() == 1) words.erase(command.words[0]);
    EXPECT_TRUE(words.empty()) << "a group without a word of its own: " << *words.begin();
    for (const std::string& example : examples) {
        if (!example.starts_with("turnout ")) continue;
        const std::vector<std::string> typed = typed_words(example.substr(8));
        const Result<Arguments> parsed = parse_arguments(command_table(), typed);
        EXPECT_TRUE(parsed && parsed->command)
            << example << ": " << (parsed ? "" : parsed.error().message);
    }
}

TEST(Help, IsFoldedForANarrowScreen) {
    for (const Command& command : command_table())
        for (const std::size_t columns : {45U, 80U})
            for (const std::string& line : split(help_of(command, columns), '\n')) {
                const bool typed = line.starts_with("  turnout") || line.starts_with("  source") ||
                                   line.starts_with("  eval") || line.starts_with("  printf") ||
                                   line.starts_with("usage");
                EXPECT_TRUE(typed || width_of(line) <= columns) << line;
            }
    for (const std::string& line : split(help_of(command_table(), command_groups(), "", 80), '\n'))
        EXPECT_LE(width_of(line), 80U) << line;
    EXPECT_NE(help_of(command_table(), command_groups(), "job").find("Jobs and sweeps"),
              std::string::npos);
}

TEST(Arguments, AVerbWithoutItsNounIsTold) {
    EXPECT_EQ(parse_arguments(command_table(), {"explain", "x"}).error().message,
              "'explain' is of something: `turnout job explain`");
    EXPECT_NE(
        parse_arguments(command_table(), {"list"}).error().message.find("`turnout compute list`"),
        std::string::npos);
}

std::string offered(std::vector<std::string> words) {
    const Completion at = complete(command_table(), std::move(words));
    std::string text;
    for (const auto& [word, means] : at.words)
        if (word.starts_with(at.typed)) text += (text.empty() ? "" : " ") + at.prefix + word;
    if (!at.names_of.empty()) text += " [" + at.names_of + "]";
    if (at.paths != Completion::Paths::None)
        text += at.paths == Completion::Paths::Files ? " <files>" : " <folders>";
    return text;
}

TEST(Complete, WhatComesNextIsInTheRows) {
    EXPECT_EQ(offered({"jo"}), "job");
    EXPECT_EQ(offered({"job", "ca"}), "cancel");
    EXPECT_EQ(offered({"job", "cancel", ""}), " [job]");
    EXPECT_EQ(offered({"job", "cancel", "a", ""}), " [job]") << "it takes several";
    EXPECT_EQ(offered({"job", "show", "a", ""}).find("[job]"), std::string::npos) << "it takes one";
    EXPECT_EQ(offered({"job", "cancel", "--co"}), "--compute");
    EXPECT_EQ(offered({"job", "cancel", "--compute", ""}), " [compute]");
    EXPECT_EQ(offered({"job", "list", "--status", "Com"}), "Completed");
    EXPECT_EQ(offered({"job", "list", "--status=Com"}), "--status=Completed");
    EXPECT_EQ(offered({"job", "list", "--status", "=", "Com"}), "--status=Completed")
        << "bash splits there";
    EXPECT_EQ(offered({"job", "list", "--output", ""}), "json table tsv yaml none");
    EXPECT_EQ(offered({"job", "list", "--all-results", "--all-"}), "") << "a flag is given once";
    EXPECT_EQ(offered({"job", "create", ""}), " <files>");
    EXPECT_EQ(offered({"job", "create", "-n", ""}), "") << "a new name is nobody's to know";
    EXPECT_EQ(offered({"compute", "create", "--tier", ""}), "dedicated low_priority");
    EXPECT_EQ(offered({"drill", "preempt", ""}), " [job]");
    EXPECT_EQ(offered({"environment", "show", "-n", ""}), " [environment]");
    EXPECT_EQ(offered({"backup", ""}), " <folders>");
    EXPECT_EQ(offered({"completion", ""}), "bash zsh fish");
    EXPECT_EQ(offered({"prune", "jobs", "da"}), "data");
    EXPECT_EQ(offered({"exec", "--", "py"}), " <files>");
    EXPECT_EQ(offered({"job", "list", "-w", ""}), " [workspace]");
    EXPECT_EQ(offered({"nonsense", ""}), "");
    EXPECT_EQ(offered({"__"}), "");
    for (const Command& command : command_table()) {  // every row, every option
        if (command.hidden) continue;
        std::vector<std::string> words = command.words;
        words.push_back("--");
        for (const Option& option : command.options)
            EXPECT_TRUE(command.takes_rest ||
                        (" " + offered(words) + " ").find(" " + option.name + " ") !=
                            std::string::npos)
                << join(words, " ") << " " << option.name;
    }
}

TEST(Output, NothingSteersTheTerminal) {
    EXPECT_EQ(harmless("a\nb\tc"), "a b c");
    EXPECT_EQ(harmless("\x1b[31m \x7f \xC2\x9B"
                       "2J \xC2\xA0 \xC3\xA9"),
              "?[31m ? ?2J \xC2\xA0 \xC3\xA9");
    EXPECT_EQ(padded("\xC3\xA9", 3), "\xC3\xA9  ") << "characters are counted, not bytes";
    EXPECT_EQ(left_padded("12", 4), "  12");
    EXPECT_EQ(utc_time("soon\n"), "soon ");
    EXPECT_EQ(error_text({Code::Internal, "X", "two\nlines \x1b]0;title\x07", ""}),
              "error: two\nlines ?]0;title?\n");
}

TEST(Output, ALogHasItsColoursAndSteersNothing) {
    const auto shown = [](const std::vector<std::string>& pieces) {
        TerminalText text;
        std::string out;
        for (const std::string& piece : pieces) out += text.show(piece);
        return out + text.end();
    };
    EXPECT_EQ(shown({"a\tb\r 50 %\n"}), "a\tb\r 50 %\n");
    EXPECT_EQ(shown({"\x1b[1;31mred\x1b[0m \x1b[38:5:9mx"}),
              "\x1b[1;31mred\x1b[0m \x1b[38:5:9mx\x1b[0m")
        << "what comes after it is not in colour";
    EXPECT_EQ(shown({"\x1b[2K"}), "\x1b[2K");
    EXPECT_EQ(shown({"\x1b]0;title\x07 \x1b[2J \x1b[1A \x1b"
                     "c \x9b \xC2\x9B"
                     "2J \x7f",
                     std::string(1, '\0')}),
              "^[]0;title^G ^[[2J ^[[1A ^[c ? ^?2J ^?^@");
    EXPECT_EQ(shown({"caf\xC3", "\xA9 \xF0\x9F\x9A", "\x80"}), "caf\xC3\xA9 \xF0\x9F\x9A\x80")
        << "a character in two pieces";
    EXPECT_EQ(shown({"x\x1b", "[3", "2mgreen"}), "x\x1b[32mgreen\x1b[0m") << "a sequence in three";
    EXPECT_EQ(shown({"\x1b["}), "^[[");
    EXPECT_EQ(shown({"\x1b[" + std::string(200, '1') + "m"}), "^[[" + std::string(200, '1') + "m");
    TerminalText text;
    EXPECT_EQ(text.show("whole\x1b[1;"), "whole");
    EXPECT_EQ(text.show("2Hx"), "^[[1;2Hx") << "it moves the cursor";
}

TEST(Output, WidthIsWhatATerminalShows) {
    EXPECT_EQ(width_of("abc"), 3U);
    EXPECT_EQ(width_of("日本"), 4U) << "East Asian wide";
    EXPECT_EQ(width_of("한"), 2U);
    EXPECT_EQ(width_of("🚀"), 2U);
    EXPECT_EQ(width_of("e\xCC\x81"), 1U) << "a combining accent";
    EXPECT_EQ(width_of("👩\xE2\x80\x8D🔬"), 4U) << "a joiner takes no place, as wcwidth has it";
    EXPECT_EQ(width_of("\xFFz"), 2U) << "no UTF-8: a byte is a character";
    EXPECT_EQ(padded("日", 4), "日  ");
    EXPECT_EQ(shortened("abcdef", 6), "abcdef");
    EXPECT_EQ(shortened("abcdefg", 6), "abcde…");
    EXPECT_EQ(shortened("日本語", 5), "日本…");
    EXPECT_EQ(shortened("日本語", 4), "日…") << "never half a character";
    EXPECT_EQ(shortened("abc", 0), "");
}

TEST(Output, TablesFitTheScreen) {
    const Json list = *parse_json(
        R"([{"name":"quick_fox_0123456789","status":"Running","why":"","note":"a long sentence that says 日本語 and more than fits on it","last":"also something long, dispensable"}])");
    const std::vector<std::string> columns = {"name", "status", "why", "note", "last"};
    for (const std::size_t width : {40, 60, 80, 200}) {
        const std::string text = format(list, Format::Table, columns, {width, false});
        for (const std::string& line : split(text, '\n')) EXPECT_LE(width_of(line), width) << text;
        EXPECT_NE(text.find("quick_fox_0123456789  Running"), std::string::npos)
            << "the name is whole, for it is copied: " << text;
        EXPECT_EQ(text.find("Why"), std::string::npos) << "nothing is in it";
    }
    EXPECT_EQ(format(list, Format::Table, columns, {40, false}).find("Last"), std::string::npos);
    EXPECT_NE(format(list, Format::Table, columns, {80, false}).find("…"), std::string::npos);
    EXPECT_EQ(format(list, Format::Table, columns).find("…"), std::string::npos)
        << "a file gets all of it";
    EXPECT_NE(format(list, Format::Table, columns, {80, true}).find("\x1b[36mRunning  \x1b[0m"),
              std::string::npos);
    const Json one = *parse_json(
        R"({"name":"a","words":"one two three four five six seven eight nine ten","url":"https://a/very/long/address/that/has/no/blank/in/it"})");
    EXPECT_EQ(format(one, Format::Table, {}, {40, false}),
              "Key    Value\n-----  ---------------------------------\nname   a\nwords  one two "
              "three four five six seven\n       eight nine ten\n"
              "url    https://a/very/long/address/that/has/no/blank/in/it\n");
}

TEST(Output, AgesAreRoundedDown) {
    EXPECT_EQ(age_words(59'999ms), "59 s");
    EXPECT_EQ(age_words(60s), "1 min");
    EXPECT_EQ(age_words(47h + 59min), "47 h");
    EXPECT_EQ(age_words(49h), "2 d");
    EXPECT_EQ(age_words(-3s), "0 s");
}

TEST(Output, Formats) {
    const Json list =
        *parse_json(R"([{"name":"a","n":1,"deep":{"x":1}},{"name":"b\u001b[31m","n":null}])");
    EXPECT_EQ(format(list, Format::Table), "Name    N\n------  -\na       1\nb?[31m\n")
        << "no control character reaches the terminal";
    EXPECT_EQ(format(list, Format::Table, {"n"}), "N\n-\n1\n\n");
    EXPECT_EQ(format(Json("x"), Format::Tsv), "x\n");
    EXPECT_EQ(format(*parse_json(R"([["a",1],["b",2]])"), Format::Tsv), "a\t1\nb\t2\n");
    EXPECT_EQ(format(*parse_json(R"({"a":{"b":1}})"), Format::Yaml), "a:\n  b: 1\n");
    EXPECT_EQ(format(*parse_json(R"({"a":{"b":1},"c":"d"})"), Format::Table),
              "Key  Value\n---  -----\na.b  1\nc    d\n");
    ::setenv("TZ", "CET-1", 1);
    ::tzset();
    const Json times =
        *parse_json(R"({"at":"2026-11-22T12:56:34.334122Z","took":"37.109058 s","is":"12 s"})");
    EXPECT_EQ(format(times, Format::Table),
              "Key   Value\n----  -----------------------\nat    2026-11-22 12:56:34 UTC\ntook  "
              "37.1 s\nis    12 s\n");
    ::unsetenv("TZ");
    ::tzset();
    EXPECT_EQ(format(Json::array(), Format::Table), "");
    EXPECT_FALSE(parse_format("xml", false));
    EXPECT_EQ(*parse_format("", false), Format::Json);
    EXPECT_EQ(*parse_format("", true), Format::Table);
}

// What `eval "$(turnout env)"` sets is exactly the values, whatever is in them.
TEST(Environment, IsSafeForTheShell) {
    client::Settings settings;
    settings.url = "https://127.0.0.1:1";
    settings.plain_url = "http://127.0.0.1:2";
    settings.data = "/tmp/a folder/with 'quotes' \"and\" $HOME `id` \\ ;";
    settings.api_key = Secret("k'; exit 3; '");
    settings.workspace_name = "w";
    std::string script;
    for (const auto& [name, value] : environment_of(settings))
        script += "export " + name + "=" + quote_for_shell(value) + "\n";
    script += "printf '%s|%s' \"$REQUESTS_CA_BUNDLE\" \"$IDENTITY_HEADER\"";
    FILE* shell = ::popen(("sh -c " + quote_for_shell(script)).c_str(), "r");
    ASSERT_NE(shell, nullptr);
    std::array<char, 1024> buffer{};
    const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), shell);
    EXPECT_EQ(::pclose(shell), 0);
    EXPECT_EQ(std::string(buffer.data(), got), settings.data + "/ca-bundle.pem|k'; exit 3; '");
}

TEST(Environment, HasWhatTheClientsNeed) {
    client::Settings settings;
    settings.url = "https://127.0.0.1:1";
    settings.plain_url = "http://127.0.0.1:2";
    settings.data = "/d";
    std::map<std::string, std::string> variables;
    for (auto& [name, value] : environment_of(settings))
        EXPECT_TRUE(variables.emplace(name, value).second) << name << " twice";
    EXPECT_EQ(variables["ARM_CLOUD_METADATA_URL"],
              "https://127.0.0.1:1/metadata/endpoints?api-version=2019-05-01");
    EXPECT_EQ(variables["IDENTITY_ENDPOINT"], "http://127.0.0.1:2/msi/token");
    EXPECT_EQ(variables["REGISTRY_DISCOVERY_ENDPOINT_URL"], "https://127.0.0.1:1/");
    EXPECT_EQ(variables["AZUREML_RUN_POLLING_INTERVAL_MAX"], "3");
    for (const char* name :
         {"AZUREML_CURRENT_CLOUD", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "AZURE_TOKEN_CREDENTIALS",
          "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "IDENTITY_HEADER"})
        EXPECT_TRUE(variables.contains(name)) << name;
}

TEST(ExitCodes, EachReactionHasOne) {
    EXPECT_EQ(exit_code_of(Code::InvalidArgument), 2);
    EXPECT_EQ(exit_code_of(Code::NotFound), 3) << "as az has it";
    EXPECT_EQ(exit_code_of(Code::Canceled), 130);
}

}  // namespace
}  // namespace turnout::cli
