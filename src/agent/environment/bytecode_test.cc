#include "agent/environment/bytecode.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>

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

}  // namespace
}  // namespace turnout::environment
