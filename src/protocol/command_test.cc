#include "protocol/command.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::string_view kShell = "/bin/bash";

// Every class of characters that means something to a shell somewhere.
const std::vector<std::string> kValues = {
    "plain",
    "0.5",
    "-3",
    "1e+05",
    "/data/my file",
    "",
    " ",
    "two words",
    "a;echo INJECTED",
    "$HOME",
    "${HOME}",
    "$(echo INJECTED)",
    "`echo INJECTED`",
    "*",
    "?",
    "[ab]",
    "~",
    "~root",
    "it's",
    "\"",
    "'",
    "\\",
    "\\\\",
    "\\'",
    "a\nb",
    "\n",
    "end\n",
    "\t",
    "[64, 32]",
    "{1..3}",
    "{a,b}",
    "1..3",
    "a=b",
    "if",
    "#",
    "# x",
    "!",
    "!!",
    "&",
    "a && b",
    "|",
    ">",
    "2>x",
    "<(x)",
    "(",
    ")",
    "$",
    "$$",
    "%s",
    "%",
    "${{inputs.same}}",
    "${{inputs.none}}",
    "a}}b",
    "}",
    "$[[x]]",
    "EOF",
    "-n",
    "--",
    "\xc3\xa9",
    "\xff",
    "\x01",
    "日本語",
    "x'y\"z`w$v\\u",
    "a b'c\"d$(echo hi)`id`\\n;*",
};

class CommandTest : public ::testing::Test {
protected:
    std::filesystem::path folder;
    void SetUp() override {
        char name[] = "/tmp/turnout-command-test-XXXXXX";
        folder = mkdtemp(name);
        std::ofstream(folder / "show")
            << "#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done\nprintf '\\1\\0'\n";
        std::filesystem::permissions(folder / "show", std::filesystem::perms::owner_all);
    }
    void TearDown() override { std::filesystem::remove_all(folder); }

    // What the command prints; run in the folder, which is in its PATH, as a task is.
    std::string run(const Invocation& made) {
        std::vector<std::string> words = made.argv;
        if (!made.script.empty()) {
            std::ofstream(folder / "script") << made.script;
            words.push_back(folder / "script");
        }
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        int ends[2];
        EXPECT_EQ(pipe(ends), 0);
        const pid_t pid = fork();
        if (pid == 0) {
            const std::string path = "PATH=" + folder.string() + ":/usr/bin:/bin";
            if (chdir(folder.c_str()) != 0) _exit(99);
            putenv(const_cast<char*>(path.c_str()));
            dup2(ends[1], 1);
            dup2(open("/dev/null", O_WRONLY), 2);
            execvp(argv[0], argv.data());
            _exit(99);
        }
        close(ends[1]);
        std::string out;
        std::array<char, 4096> bytes;
        for (ssize_t n; (n = read(ends[0], bytes.data(), bytes.size())) > 0;)
            out.append(bytes.data(), static_cast<std::size_t>(n));
        close(ends[0]);
        waitpid(pid, nullptr, 0);
        return out;
    }
    std::string run(const std::string& command, const Substitutions& values) {
        auto made = invocation(command, values, kShell);
        return made ? run(*made) : "error: " + made.error().message;
    }
};

// What `show` prints of these words.
std::string shown(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += word + '\0';
    return text + std::string("\1\0", 2);
}

Substitutions values(const std::string& value = "v") {
    Substitutions values;
    values.inputs = {{"n", value}, {"plain", "0.5"}, {"path", "/data/my file"}, {"empty", ""}};
    values.outputs = {{"model", "/out/my model"}};
    values.search_space = {{"k", value}};
    return values;
}

TEST_F(CommandTest, ValuesStayOneWordInEveryQuoting) {
    for (const std::string& value : kValues)
        for (const std::string command : {"show V",
                                          "show \"V\"",
                                          "show 'V'",
                                          "show $'V'",
                                          "show $\"V\"",
                                          "X=V; show \"$X\"",
                                          "show `true`V",
                                          "(show V)",
                                          "show \"it's\" >/dev/null; show V",
                                          "show \"\\\"\" >/dev/null; show V",
                                          "true # it's \"V\nshow V",
                                          "if true; then show V; fi",
                                          "case V in x) ;; *) show V;; esac",
                                          "show ${none:-V}",
                                          "show \"${none:-V}\"",
                                          "for x in V; do show \"$x\"; done",
                                          "f() { show \"$1\"; }; f V",
                                          "[ 1 = 1 ] && show V || true",
                                          "show V 2>&1 | cat",
                                          "true $((1 + (2 * 3))); show V",
                                          "show \\\n V",
                                          "true <<< V; show V",
                                          "show V # ${{inputs.n}}",
                                          "x=(V); show \"${x[@]}\"",
                                          "eval true; show V"}) {
            std::string text = command;
            replace_all(text, "V", "${{search_space.k}}");
            EXPECT_EQ(run(text, values(value)), shown({value})) << text << "\nwith " << value;
        }
}

TEST_F(CommandTest, CommandSubstitutionsAndHereDocuments) {
    for (const std::string& value : kValues) {
        std::string trimmed = value;  // as every shell does
        while (trimmed.ends_with('\n')) trimmed.pop_back();
        for (const std::string command :
             {"show \"$(printf %s V)\"", "show \"$(printf %s \"V\")\"",
              "X=`printf %s V`; show \"$X\"", "X=`printf %s \"V\"`; show \"$X\"",
              "show \"`printf %s V`\"", "show \"$(printf %s \"$(printf %s 'V')\")\"",
              "show \"$(cat <<EOF\nV\nEOF\n)\"", "show \"$(cat <<-EOF\n\tV\n\tEOF\n)\"",
              "cat >x <<EOF && show \"$(cat x)\"\nV\nEOF\n",
              "cat >x <<A >/dev/null; cat >x <<B; show \"$(cat x)\"\n'V\nA\nV\nB\n",
              "cat >x <<EOF\n$(printf %s V)\nEOF\nshow \"$(cat x)\""}) {
            if (command.find("$(printf %s V)\nEOF") != std::string::npos &&
                value.find_first_of("\n") != std::string::npos)
                continue;
            std::string text = command;
            replace_all(text, "V", "${{inputs.n}}");
            EXPECT_EQ(run(text, values(value)), shown({trimmed})) << text << "\nwith " << value;
        }
        const std::string quoted = "cat >x <<'EOF'\n${{inputs.n}}$HOME'\nEOF\nshow \"$(cat x)\"";
        EXPECT_EQ(run(quoted, values(value)), shown({value + "$HOME'"})) << value;
    }
    EXPECT_NE(run("cat <<'EOF'\n${{inputs.n}}\nEOF", values("a\nEOF\necho INJECTED"))
                  .find("has a line 'EOF'"),
              std::string::npos);
    EXPECT_EQ(run("cat <<EOF\n${{inputs.n}}\nEOF\nshow", values("a\nEOF\necho INJECTED")),
              "a\nEOF\necho INJECTED\n" + shown({}));
}

TEST_F(CommandTest, WhatAShellWouldCalculateIsANumberOrRefused) {
    for (const std::string command :
         {"show $((${{inputs.n}} + 1))", "((x = ${{inputs.n}} + 1)); show $x",
          "show \"$(( (${{inputs.n}}) + 1 ))\"", "a=(7 8 9 10 4); show ${a[${{inputs.n}}]}",
          "a=xxx4; show ${a:${{inputs.n}}}"})
        for (const std::string& value :
             {std::string("3"), std::string("a[$(touch ran)]"), std::string("x y")}) {
            const std::string out = run(command, values(value));
            if (value == "3") {
                EXPECT_TRUE(out == shown({"4"}) || out == shown({"10"})) << command;
            } else {
                EXPECT_TRUE(out.starts_with("error: ")) << command << " " << out;
            }
        }
    EXPECT_FALSE(std::filesystem::exists(folder / "ran"));
    // A subscript is calculated whatever stands beside the value in it.
    for (const char* index :
         {"${{inputs.n}}", "0 + ${{inputs.n}}", "y[${{inputs.n}}]", "1+y[0]+ ${{inputs.n}}",
          "\"${{inputs.n}}\"", "'${{inputs.n}}'", "$'${{inputs.n}}'"}) {
        EXPECT_EQ(
            run("x[" + std::string(index) + "]=1; show", values("y[$(touch ran)]")).substr(0, 6),
            "error:")
            << index;
        // In single quotes nothing is a number.
        if (std::string_view(index).find('\'') != std::string_view::npos) continue;
        EXPECT_EQ(run("x[" + std::string(index) + "]=1; show", values("3")), shown({})) << index;
    }
    EXPECT_FALSE(std::filesystem::exists(folder / "ran"));
    EXPECT_EQ(run("x[0]=1; show ${{inputs.n}} [ ] a]b", values("a b")),
              shown({"a b", "[", "]", "a]b"}));
    EXPECT_EQ(run("show \"a[${{inputs.n}}]\" 'a['${{inputs.n}}", values("a b")),
              shown({"a[a b]", "a[a b"}));
    EXPECT_EQ(run("if [ -n ${{inputs.n}} ]; then show ${{inputs.n}}; fi", values("a b")),
              shown({"a b"}));
}

// A server reads commands of megabytes: no look back is repeated for each value, nothing nests
// without end.
TEST_F(CommandTest, LongCommandsAreReadAndNestingHasAnEnd) {
    const auto many = [](std::string_view text, std::size_t count) {
        std::string all;
        for (std::size_t i = 0; i < count; ++i) all += text;
        return all;
    };
    const Substitutions one = values("a b");
    const auto reason = [&](const std::string& command) {
        const auto made = invocation(command, one, "bash");
        return made ? std::string() : made.error().message;
    };
    const std::string value = "${{inputs.n}}", values_ = many(value, 60'000);
    for (const std::string& begin : {many("a", 700'000), many("a", 700'000) + "-",
                                     many("[", 700'000), "${x[" + many("y", 700'000) + "]:-"})
        EXPECT_EQ(reason("true; " + begin + values_), "") << begin.substr(0, 20);
    EXPECT_EQ(reason(many("${x[1}", 100'000) + values_), "");
    EXPECT_NE(reason("true; a[" + many("b", 700'000) + values_).find("calculates"),
              std::string::npos);
    for (const char* deep : {"(", "$(", "${x:-", "${x[", "$((", "$(\""})
        EXPECT_NE(reason(many(deep, 300'000) + many("`", 300'000) + value).find("in each other"),
                  std::string::npos)
            << deep;
    EXPECT_EQ(reason(many("( ", 150) + value + many(" )", 150)), "");
    EXPECT_EQ(reason("true # " + many("`", 1'000'000) + value), "");
}

// A word made at random, and what a shell must understand by it.
struct Made {
    std::string text, means;
};
class Maker {
public:
    Maker(std::uint64_t seed, const Substitutions& values)
        : state_(seed * 2 + 1), values_(values) {}
    std::size_t below(std::size_t n) {
        state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
        return state_ % n;
    }
    // A placeholder anywhere.
    Made value() {
        const std::size_t which = below(3);
        const auto& map = which == 0   ? values_.inputs
                          : which == 1 ? values_.outputs
                                       : values_.search_space;
        const std::string kind = std::array{"inputs.", "outputs.", "search_space."}[which];
        auto item = map.begin();
        std::advance(item, below(map.size()));
        return {"${{" + std::string(below(2), ' ') + kind + item->first +
                    std::string(below(2), ' ') + "}}",
                item->second};
    }
    Made literal() {
        static const std::vector<std::string> texts = {"a", "-x", "b.c", "/d", "9", "_"};
        const std::string& text = texts[below(texts.size())];
        return {text, text};
    }
    Made some(std::size_t least, const std::function<Made()>& make) {
        Made all;
        for (std::size_t n = least + below(3); n > 0; --n) {
            Made one = make();
            all.text += one.text, all.means += one.means;
        }
        return all;
    }
    // Of what stands within double quotes.
    Made in_double(int depth) {
        switch (below(depth > 0 ? 6 : 4)) {
            case 0: return value();
            case 1: return literal();
            case 2: return {" it's ( # ", " it's ( # "};
            case 3: return {"\\\"\\$\\\\", "\"$\\"};
            case 4: {
                Made inside = value();
                return {"${none:-" + inside.text + "}", inside.means};
            }
            default: return substitution(depth - 1);
        }
    }
    Made quoted(int depth) {
        Made inside = some(0, [&] { return in_double(depth); });
        return {"\"" + inside.text + "\"", inside.means};
    }
    // A command substitution; it takes line ends off.
    Made substitution(int depth) {
        Made inside = word(depth);
        while (inside.means.ends_with('\n')) inside.means.pop_back();
        return {"$(printf %s " + inside.text + (below(2) ? " # it's \"\n" : "") + ")",
                inside.means};
    }
    Made part(int depth) {
        switch (below(depth > 0 ? 9 : 6)) {
            case 0:
            case 1: return value();
            case 2: return literal();
            case 3: {
                Made inside =
                    some(0, [&] { return below(2) ? value() : Made{" \"$x`( ", " \"$x`( "}; });
                return {"'" + inside.text + "'", inside.means};
            }
            case 4: {
                if (braces_ > 0) return literal();  // bash 5.2 itself misreads some of these
                Made inside = some(0, [&] { return below(2) ? value() : Made{"\\'\\t", "'\t"}; });
                return {"$'" + inside.text + "'", inside.means};
            }
            case 5: return {"\\$\\ \\'", "$ '"};
            case 6: {
                ++braces_;
                Made inside = word(depth - 1);
                --braces_;
                return {"${none:-" + inside.text + "}", inside.means};
            }
            case 7: {
                Made inside = substitution(depth - 1);
                return {"\"" + inside.text + "\"", inside.means};
            }
            default: return quoted(depth - 1);
        }
    }
    Made word(int depth) {
        return some(1, [&] { return part(depth); });
    }

private:
    std::uint64_t state_;
    const Substitutions& values_;
    int braces_ = 0;
};

TEST_F(CommandTest, RandomCommandsMeanWhatTheySay) {
    for (std::uint64_t seed = 1; seed <= 600; ++seed) {
        Substitutions given;
        Maker dice(seed, given);
        const auto any = [&] {
            std::string value = kValues[dice.below(kValues.size())];
            if (dice.below(4) == 0)
                for (std::size_t n = dice.below(8); n > 0; --n)
                    value += static_cast<char>(1 + dice.below(255));
            return value;
        };
        for (auto* map : {&given.inputs, &given.outputs, &given.search_space})
            for (const char* name : {"a", "b", "c"}) (*map)[name] = any();
        std::string command = "show";
        std::vector<std::string> words;
        for (std::size_t n = 1 + dice.below(3); n > 0; --n) {
            const Made made = dice.word(2);
            command += " " + made.text;
            words.push_back(made.means);
        }
        if (dice.below(3) == 0) command = "# it's `a (comment\n" + command;
        if (dice.below(3) == 0) command = "( if true; then " + command + "; fi )";
        ASSERT_EQ(run(command, given), shown(words)) << "seed " << seed << ": " << command;
    }
}

TEST_F(CommandTest, LongCommandsGoByAFile) {
    std::string command = "show ${{inputs.n}}; true";
    while (command.size() < 250'000) command += " 'it is long'";
    const auto made = invocation(command, values("two words"), kShell);
    ASSERT_TRUE(made);
    EXPECT_EQ(made->argv.size(), 1u);
    EXPECT_GT(made->script.size(), 250'000u);
    EXPECT_EQ(run(*made), shown({"two words"}));
    // What no program can be given the shell's own commands still can.
    const std::string large(kMaxArgument + 1, 'x');
    EXPECT_EQ(run("echo " + large, {}), large + "\n");
    EXPECT_EQ(run("show a " + large, {}).substr(0, 33), "error: word 3 of the command has ");
}

TEST_F(CommandTest, WhatAValueBlowsUpIsRefusedBeforeItIsDone) {
    std::string command = "true";
    for (int i = 0; i < 18'000; ++i) command += " ${{inputs.n}}";
    const auto made = invocation(command, values(std::string(1 << 20, 'x')), kShell);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::InvalidArgument);
    EXPECT_NE(made.error().message.find("${{inputs.n}}"), std::string::npos)
        << made.error().message;
}

TEST(Command, PlainValuesStayAsTheyAre) {
    using Words = std::vector<std::string>;
    EXPECT_EQ(invocation("python t.py --x ${{inputs.plain}} --o=${{outputs.model}}/m "
                         "'${{inputs.path}}' ${{inputs.empty}}",
                         values(), kShell)
                  ->argv,
              (Words{"python", "t.py", "--x", "0.5", "--o=/out/my model/m", "/data/my file", ""}));
    EXPECT_EQ(invocation("a ${{inputs.plain}} | b", values(), kShell)->argv.back(), "a 0.5 | b");
    EXPECT_EQ(
        invocation("a \"${{inputs.path}}\" | b ${{inputs.path}}", values(), kShell)->argv.back(),
        "TURNOUT_VALUE_1='/data/my file'; a \"${TURNOUT_VALUE_1}\" | b \"${TURNOUT_VALUE_1}\"");
}

TEST(Command, UnknownPlaceholdersAreNamed) {
    auto unknown = invocation("x ${{inputs.plan}}", values(), kShell);
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().subject, "plan");
    EXPECT_NE(unknown.error().message.find("did you mean 'plain'"), std::string::npos);
    for (const char* command :
         {"x ${{outputs.plain}}", "x ${{search_space.lr}}", "x ${{inputs.", "x ${{HOME}} | y"})
        EXPECT_FALSE(invocation(command, values(), kShell)) << command;
}

TEST(Command, AShellOnlyWhereItIsNeeded) {
    using Words = std::vector<std::string>;
    const auto argv = [](std::string_view command) { return invocation(command, {}, "sh")->argv; };
    EXPECT_EQ(argv("echo hello"), (Words{"echo", "hello"}));
    EXPECT_EQ(argv("  python  train.py --x 'a b' --y=\"c d\"e ''"),
              (Words{"python", "train.py", "--x", "a b", "--y=c de", ""}));
    for (std::string command :
         {"a | b", "a && b", "echo $HOME", "X=1 a", "cd /tmp", "a > b", "echo *", "a; b", "# x",
          "ls ~", "echo \"$X\"", "a\nb", "echo 'x", "a \\ b", "[[ a ]]", ""})
        EXPECT_EQ(argv(command), (Words{"sh", "-c", command})) << command;
}

}  // namespace
}  // namespace turnout
