#include "agent/environment/bytecode.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/posix/test_until.h"

namespace turnout::environment {
namespace {

namespace fs = std::filesystem;

class BytecodeTest : public ::testing::Test {
protected:
    std::string folder;
    void SetUp() override {
        char name[] = "/tmp/turnout-bytecode-test-XXXXXX";
        folder = mkdtemp(name);
    }
    void TearDown() override { fs::remove_all(folder); }
    std::string packages(const std::string& environment) {
        return folder + "/" + environment + "/lib/python3.11/site-packages/";
    }
    void write(const std::string& path, const std::string& text) {
        fs::create_directories(fs::path(path).parent_path());
        std::ofstream(path) << text;
    }
    void complete(const std::string& environment) {
        write(folder + "/" + environment + "/mark", "");
    }
    static std::string read(const std::string& path) {
        std::ifstream file(path);
        return {std::istreambuf_iterator<char>(file), {}};
    }
};

TEST_F(BytecodeTest, LinkedFilesBringTheirBytecodeAlong) {
    for (const char* module : {"a.py", "deep/er/b.py", "changed.py"})
        write(packages("old") + module, "x = 1\n");
    for (const char* code :
         {"__pycache__/a.cpython-311.pyc", "__pycache__/changed.cpython-311.pyc",
          "deep/er/__pycache__/b.cpython-311.pyc", "deep/er/__pycache__/b.cpython-311.opt-1.pyc",
          "__pycache__/gone.cpython-311.pyc"})
        write(packages("old") + code, code);
    complete("old");
    fs::create_directories(packages("new") + "deep/er");
    for (const char* module : {"a.py", "deep/er/b.py"})
        fs::create_hard_link(packages("old") + module, packages("new") + module);
    write(packages("new") + "changed.py", "x = 1\n");  // another file, whatever is in it
    EXPECT_EQ(adopt_bytecode(folder + "/new", "mark", true), 2u);
    EXPECT_EQ(read(packages("new") + "__pycache__/a.cpython-311.pyc"),
              "__pycache__/a.cpython-311.pyc");
    EXPECT_EQ(read(packages("new") + "deep/er/__pycache__/b.cpython-311.pyc"),
              "deep/er/__pycache__/b.cpython-311.pyc");
    EXPECT_FALSE(fs::exists(packages("new") + "__pycache__/changed.cpython-311.pyc"));
    EXPECT_FALSE(fs::exists(packages("new") + "__pycache__/gone.cpython-311.pyc"));
    EXPECT_EQ(adopt_bytecode(folder + "/new", "mark", true), 0u) << "it is there";
}

TEST_F(BytecodeTest, CopiesDoSoWhereTheyAreEqual) {
    for (const char* module : {"a.py", "b.py", "c.py"}) write(packages("old") + module, "x = 1\n");
    for (const char* code : {"a", "b", "c"})
        write(packages("old") + "__pycache__/" + code + ".cpython-311.pyc", code);
    const auto then = fs::last_write_time(packages("old") + "a.py") - std::chrono::hours(5);
    fs::last_write_time(packages("old") + "a.py", then);
    complete("old");
    write(packages("new") + "a.py", "x = 1\n");
    write(packages("new") + "b.py", "x = 2\n");
    write(packages("new") + "c.py", "x = 1000\n");
    EXPECT_EQ(adopt_bytecode(folder + "/new", "mark", false), 1u);
    EXPECT_EQ(fs::last_write_time(packages("new") + "a.py"), then)
        << "bytecode is of a source of this time";
    EXPECT_EQ(read(packages("new") + "__pycache__/a.cpython-311.pyc"), "a");
    EXPECT_EQ(fs::hard_link_count(packages("new") + "__pycache__/a.cpython-311.pyc"), 1u)
        << "a task may write into its own";
}

TEST_F(BytecodeTest, OnlyCompleteEnvironmentsOfTheSamePythonCount) {
    write(packages("half") + "a.py", "x = 1\n");
    write(packages("half") + "__pycache__/a.cpython-311.pyc", "half");
    write(folder + "/other/lib/python3.12/site-packages/a.py", "x = 1\n");
    write(folder + "/other/lib/python3.12/site-packages/__pycache__/a.cpython-312.pyc", "other");
    complete("other");
    write(packages("new") + "a.py", "x = 1\n");
    EXPECT_EQ(adopt_bytecode(folder + "/new", "mark", false), 0u);
}

// An environment that is built anew, or removed, goes in one step: nothing makes its folder again.
TEST_F(BytecodeTest, WhatIsGoneIsNotMadeAgain) {
    std::string text;  // some milliseconds to compile
    for (int i = 0; i < 1000; ++i) text += "def f" + std::to_string(i) + "(a): return [a, a + 1]\n";
    const std::string place = folder + "/new", code = packages("new") + "__pycache__";
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 30; ++i) write(packages("new") + "m" + std::to_string(i) + ".py", text);
        fs::create_directories(place + "/bin");
        fs::create_symlink("/usr/bin/python3", place + "/bin/python");
        compile_later(place, {"PATH=/usr/bin:/bin"});
        ASSERT_TRUE(wait_until([&] { return fs::exists(code) && !fs::is_empty(code); }));
        fs::rename(place, folder + "/going");
        fs::remove_all(folder + "/going");
        ASSERT_TRUE(wait_until([&] {
            // Not the shell itself, which has the words, too.
            const std::string words = "/tm[p]" + place.substr(4) + "/bin";
            return std::system(("pgrep -f '" + words + "' >/dev/null").c_str()) != 0;
        }));
        ASSERT_FALSE(fs::exists(place)) << "round " << round;
    }
}

}  // namespace
}  // namespace turnout::environment
