#include "agent/command.h"

#include <array>
#include <cstdio>

#include <gtest/gtest.h>

namespace turnout::agent {
namespace {

const std::string kNasty = "a b'c\"d$(echo hi)`id`\\n;*";

Substitutions values() {
    Substitutions values;
    values.inputs = {{"n", kNasty}, {"plain", "0.5"}, {"path", "/data/my file"}, {"empty", ""}};
    values.outputs = {{"model", "/out/model"}};
    return values;
}

std::string run(const std::string& command) {
    std::string out;
    FILE* pipe = popen(command.c_str(), "r");
    std::array<char, 4096> bytes;
    while (std::size_t n = fread(bytes.data(), 1, bytes.size(), pipe)) out.append(bytes.data(), n);
    pclose(pipe);
    return out;
}

TEST(Command, ValuesStayOneWordInEveryQuoting) {
    for (std::string command : {"printf '[%s]' ${{inputs.n}}", "printf '[%s]' \"${{inputs.n}}\"",
                                "printf '[%s]' '${{inputs.n}}'", "printf '[%s]' \"$(printf %s ${{ inputs.n }})\"",
                                "printf '[%s]' \"$(printf %s \"${{inputs.n}}\")\"",
                                "X=${{inputs.n}}; printf '[%s]' \"$X\"",
                                "X=`printf %s ${{inputs.n}}`; printf '[%s]' \"$X\"",
                                "X=`printf %s \"${{inputs.n}}\"`; printf '[%s]' \"$X\"",
                                "(printf '[%s]' ${{inputs.n}})", "echo \"it's\" >/dev/null; printf '[%s]' ${{inputs.n}}",
                                "printf '[%s]' \"\\\"\" >/dev/null; printf '[%s]' ${{inputs.n}}"}) {
        auto text = substitute(command, values());
        ASSERT_TRUE(text);
        EXPECT_EQ(run(*text), "[" + kNasty + "]") << command << "\n" << *text;
    }
}

TEST(Command, PlainValuesStayAsTheyAre) {
    EXPECT_EQ(*substitute("python t.py --x ${{inputs.plain}} --o=${{outputs.model}}/m", values()),
              "python t.py --x 0.5 --o=/out/model/m");
    EXPECT_EQ(*substitute("x ${{inputs.path}}", values()), "x '/data/my file'");
    EXPECT_EQ(*substitute("x ${{inputs.empty}}", values()), "x ''");
    EXPECT_EQ(*substitute_plain("${{inputs.path}}!", values()), "/data/my file!");
}

TEST(Command, UnknownPlaceholdersAreNamed) {
    auto unknown = substitute("x ${{inputs.plan}}", values());
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().subject, "plan");
    EXPECT_NE(unknown.error().message.find("did you mean 'plain'"), std::string::npos);
    EXPECT_FALSE(substitute("x ${{outputs.plain}}", values()));
    EXPECT_FALSE(substitute("x ${{search_space.lr}}", values()));
    EXPECT_FALSE(substitute("x ${{inputs.", values()));
}

TEST(Command, AShellOnlyWhereItIsNeeded) {
    using Words = std::vector<std::string>;
    EXPECT_EQ(to_argv("echo hello", "sh"), (Words{"echo", "hello"}));
    EXPECT_EQ(to_argv("  python  train.py --x 'a b' --y=\"c d\"e ''", "sh"),
              (Words{"python", "train.py", "--x", "a b", "--y=c de", ""}));
    for (std::string command : {"a | b", "a && b", "echo $HOME", "X=1 a", "cd /tmp", "a > b", "echo *", "a; b",
                                "# x", "ls ~", "echo \"$X\"", "a\nb", "echo 'x", "a \\ b", "[[ a ]]", ""})
        EXPECT_EQ(to_argv(command, "sh"), (Words{"sh", "-c", command})) << command;
}

}  // namespace
}  // namespace turnout::agent
