#include "client/snapshot.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/text.h"
#include "client/files.h"

namespace turnout::client {
namespace {

namespace fs = std::filesystem;

class SnapshotTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "turnout-snapshot-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        top_ = pattern;
        root_ = top_ + "/src";
        fs::create_directory(root_);
    }
    void TearDown() override { fs::remove_all(top_); }

    void file(const std::string& name, const std::string& text) {
        ASSERT_TRUE(write_file(root_ + "/" + name, text));
    }
    std::vector<std::string> names() {
        const Result<Snapshot> snapshot = take_snapshot(root_);
        EXPECT_TRUE(snapshot) << (snapshot ? "" : snapshot.error().message);
        std::vector<std::string> out;
        if (snapshot)
            for (const SnapshotFile& each : snapshot->files) out.push_back(each.relative);
        std::sort(out.begin(), out.end());
        return out;
    }
    std::string refusal() {
        const Result<Snapshot> snapshot = take_snapshot(root_);
        EXPECT_FALSE(snapshot);
        return snapshot ? "" : snapshot.error().message;
    }

    void sample_tree() {
        file("train.py", "print('hello')\n");
        file("README", "");
        file("Data/b.csv", "1,2\n");
        file("data2/a.csv", "3,4\n");
        file("data2/deep/er/x.bin", std::string(300'000, '\x07'));
        file("skip.pyc", "binary");
        file("__pycache__/x.pyc", "binary");
        file("logs/keep.txt", "k");
        file("logs/drop.txt", "d");
        file(".hidden", "h");
        file("\xc3\x84pfel.txt", "umlaut");  // sorts by its lower case
        file("\xc3\xa4hnlich.txt", "umlaut");
        file(".amlignore", "# comment\n*.pyc\n__pycache__/\nlogs/*\n!logs/keep.txt\n\n  \n/\n");
        fs::create_symlink("Data", root_ + "/linked");
        fs::create_symlink("../src/train.py", root_ + "/again.py");
    }

    std::string top_, root_;
};

TEST_F(SnapshotTest, TakesWhatTheIgnoreFileLeaves) {
    sample_tree();
    EXPECT_EQ(names(), (std::vector<std::string>{".amlignore", ".hidden", "Data/b.csv", "README",
                                                 "again.py", "data2/a.csv", "data2/deep/er/x.bin",
                                                 "linked/b.csv", "logs/keep.txt", "train.py",
                                                 "\xc3\x84pfel.txt", "\xc3\xa4hnlich.txt"}));
}

// The values are the SDK's own (azure-ai-ml 1.35.2) for this tree.
TEST_F(SnapshotTest, HashesAreTheSdksOwn) {
    sample_tree();
    const Result<Snapshot> snapshot = take_snapshot(root_);
    ASSERT_TRUE(snapshot);
    const Result<std::string> content = content_hash(*snapshot);
    const Result<std::string> object = object_hash(root_);
    ASSERT_TRUE(content && object);
    EXPECT_EQ(*content, "b9138e97a6c5098fd2c6c8898c10ddaad0c76741d87eebbb0fe3f38d81f815f7");
    EXPECT_EQ(*object, "aef94028394a5935925877ed60eb7625aaf24e9e62e0bd24d633b1866d517945");
    EXPECT_EQ(*object_hash(root_ + "/train.py"),
              "37a05fd6be7766ca79dcfdbbebd95d29dccba95c92c16e773191f1b2814d7bad");
    if (const char* python = std::getenv("TURNOUT_TEST_PYTHON")) {
        const std::string command =
            std::string(python) + " -c \"from azure.ai.ml._utils._asset_utils import *; p='" +
            root_ +
            "'; i=get_ignore_file(p); print(get_content_hash(p,i)); print(get_object_hash(p,i)); "
            "print(get_object_hash(p+'/train.py'))\" 2>/dev/null";
        FILE* pipe = ::popen(command.c_str(), "r");
        ASSERT_NE(pipe, nullptr);
        std::array<char, 4096> buffer{};
        const std::size_t got = std::fread(buffer.data(), 1, buffer.size() - 1, pipe);
        EXPECT_EQ(::pclose(pipe), 0);
        EXPECT_EQ(std::string(buffer.data(), got),
                  *content + "\n" + *object + "\n" + *object_hash(root_ + "/train.py") + "\n");
    }
}

TEST_F(SnapshotTest, AnyChangeOfNameOrContentChangesTheHash) {
    file("a.txt", "a");
    file("b.txt", "b");
    const auto hash = [&] { return *content_hash(*take_snapshot(root_)); };
    const std::string first = hash();
    EXPECT_EQ(first, hash());
    file("b.txt", "c");
    EXPECT_NE(first, hash());
    file("b.txt", "b");
    EXPECT_EQ(first, hash());
    fs::rename(root_ + "/b.txt", root_ + "/c.txt");
    EXPECT_NE(first, hash());
}

TEST_F(SnapshotTest, GitignoreCountsOnlyWithoutAmlignore) {
    file("a.txt", "a");
    file("b.log", "b");
    file(".gitignore", "*.log\n");
    EXPECT_EQ(names(), (std::vector<std::string>{".gitignore", "a.txt"}));
    file(".amlignore", "a.txt\n");
    EXPECT_EQ(names(), (std::vector<std::string>{".amlignore", ".gitignore", "b.log"}));
}

TEST_F(SnapshotTest, LinksOutOfTheFolderAreRefused) {
    file("a.txt", "a");
    ASSERT_TRUE(write_file(top_ + "/secret", "s"));
    fs::create_symlink("../secret", root_ + "/out");
    EXPECT_NE(refusal().find("is a link out of the folder, to '" + fs::canonical(top_).string() +
                             "/secret'"),
              std::string::npos);
    file(".amlignore", "out\n");
    EXPECT_EQ(names().size(), 2u) << "named in the ignore file it is no matter";
    fs::remove(root_ + "/.amlignore");
    fs::remove(root_ + "/out");
    fs::create_symlink("/etc", root_ + "/out");
    EXPECT_NE(refusal().find("out of the folder"), std::string::npos);
    fs::remove(root_ + "/out");
    fs::create_symlink("nothing", root_ + "/out");
    EXPECT_NE(refusal().find("points to nothing"), std::string::npos);
    fs::remove(root_ + "/out");
    fs::create_symlink("out", root_ + "/out");
    EXPECT_NE(refusal().find("leads to itself"), std::string::npos);
    fs::remove(root_ + "/out");
    fs::create_directory(root_ + "/sub");
    fs::create_symlink("..", root_ + "/sub/up");
    EXPECT_NE(refusal().find("a folder around it"), std::string::npos);
    fs::remove(root_ + "/sub/up");
    ASSERT_EQ(::mkfifo((root_ + "/pipe").c_str(), 0600), 0);
    EXPECT_NE(refusal().find("neither a file nor a folder"), std::string::npos);
}

TEST_F(SnapshotTest, EmptyAndSingle) {
    EXPECT_NE(refusal().find("no files"), std::string::npos);
    file("one.txt", "1");
    const Result<Snapshot> one = take_snapshot(root_ + "/one.txt");
    ASSERT_TRUE(one);
    EXPECT_TRUE(one->single_file);
    EXPECT_EQ(one->files.at(0).relative, "one.txt");
    EXPECT_FALSE(take_snapshot(root_ + "/absent"));
}

bool excluded(std::string_view patterns, std::string_view path) {
    const Result<IgnoreRules> rules = IgnoreRules::parse(patterns, "f");
    EXPECT_TRUE(rules);
    return rules && rules->excludes(path);
}

TEST(Ignore, PatternsMeanWhatTheSdkTakesThemFor) {
    std::string arguments, expected;
    struct Case {
        const char* pattern;
        const char* path;
        bool excluded;
    };
    for (const Case& c : std::initializer_list<Case>{
             {"foo", "foo", true},        {"foo", "a/foo", true},      {"foo", "a/foo/b", true},
             {"foo", "afoo", false},      {"foo/", "foo", false},      {"foo/", "foo/x", true},
             {"foo/", "a/foo/x", true},   {"/foo", "foo", true},       {"/foo", "a/foo", false},
             {"/foo", "foo/x/y", true},   {"*.py", "a/b.py", true},    {"*.py", "a/b.pyc", false},
             {"*.py", "d.py/x", true},    {"a/b", "a/b", true},        {"a/b", "x/a/b", false},
             {"a/b", "a/b/c", true},      {"a/*", "a/b", true},        {"a/*", "a/b/c", true},
             {"a/*", "a", false},         {"a/**", "a/b/c", true},     {"a/**", "a", false},
             {"**/a", "x/y/a", true},     {"**/a", "a", true},         {"a/**/b", "a/b", true},
             {"a/**/b", "a/x/y/b", true}, {"a/**/b", "a/xb", false},   {"**", "x", true},
             {"**/", "x", false},         {"**/", "x/y", true},        {"f?o", "fxo", true},
             {"f?o", "f/o", false},       {"[ab].txt", "b.txt", true}, {"[ab].txt", "c.txt", false},
             {"[a-c]x", "bx", true},      {"[!a]x", "bx", true},       {"[!a]x", "ax", false},
             {"[]x]y", "]y", true},       {"\\#a", "#a", true},        {"#a", "#a", false},
             {"\\!a", "!a", true},        {"a[", "a[", true},          {"foo  ", "foo", true},
             {"*", "a/b", true},          {"f*o", "fo", true},         {"f*o", "f/o", false},
             {"f?o", "f\xc3\xa4o", true}, {"a/**/**/b", "a/b", true},  {"/*", "a", true},
             {"/**", "a/b", true}}) {
        EXPECT_EQ(excluded(c.pattern, c.path), c.excluded) << c.pattern << " on " << c.path;
        arguments += " " + quote_for_shell(c.pattern) + " " + quote_for_shell(c.path);
        expected += c.excluded ? '1' : '0';
    }
    if (const char* python = std::getenv("TURNOUT_TEST_PYTHON")) {
        const std::string command =
            std::string(python) +
            " -c 'import sys; from azure.ai.ml._utils._pathspec import GitWildMatchPattern as G\n"
            "def m(a, b):\n p = G(a.rstrip())\n return p.include is not None and p.match_file(b) "
            "is not None\n"
            "v = sys.argv[1:]\nprint(\"\".join(\"01\"[m(a, b)] for a, b in zip(v[::2], v[1::2])), "
            "end=\"\")'" +
            arguments + " 2>/dev/null";
        FILE* pipe = ::popen(command.c_str(), "r");
        ASSERT_NE(pipe, nullptr);
        std::array<char, 4096> buffer{};
        const std::size_t got = std::fread(buffer.data(), 1, buffer.size() - 1, pipe);
        EXPECT_EQ(::pclose(pipe), 0);
        EXPECT_EQ(std::string(buffer.data(), got), expected) << "the SDK's own answers";
    }
    EXPECT_TRUE(excluded("*.txt\n!a.txt\n", "b.txt"));
    EXPECT_FALSE(excluded("*.txt\n!a.txt\n", "a.txt"));
    EXPECT_TRUE(excluded("!a.txt\n*.txt\n", "a.txt"));
    EXPECT_FALSE(IgnoreRules::parse("a\\\n", "f"));
}

TEST(Ignore, FoldersThatNeedNotBeVisited) {
    const auto whole = [](std::string_view patterns, std::string_view folder) {
        return IgnoreRules::parse(patterns, "f")->excludes_all_beneath(folder);
    };
    EXPECT_TRUE(whole("node_modules/\n", "a/node_modules"));
    EXPECT_TRUE(whole(".git\n", ".git"));
    EXPECT_FALSE(whole("*.py\n", "src"));
    EXPECT_FALSE(whole("src/?\n", "src"));
    EXPECT_FALSE(whole(".git\n!.git/config\n", ".git"))
        << "something beneath may be wanted after all";
}

}  // namespace
}  // namespace turnout::client
