#include "agent/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

namespace turnout::agent {
namespace {

namespace fs = std::filesystem;

std::string new_folder() {
    std::string name = fs::temp_directory_path() / "turnout-agent-files-XXXXXX";
    return ::mkdtemp(name.data());
}

// A job's folder beside a secret; its task may change it while the agent looks.
class JobFolder : public ::testing::Test {
protected:
    JobFolder() {
        fs::create_directories(job + "/outputs/d");
        fs::create_directories(root + "/elsewhere");
        for (const char* name :
             {"secret", "elsewhere/b", "job/outputs/a", "job/outputs/d/b", "job/values"})
            std::ofstream(root + "/" + name) << name;
    }
    ~JobFolder() override { fs::remove_all(root); }
    bool opens(const std::string& name) const {
        return open_listed(job + "/" + name, job).has_value();
    }

    const std::string root = new_folder();
    const std::string job = root + "/job";
};

TEST_F(JobFolder, WhatLeadsOutIsNotListedAndNamed) {
    fs::create_symlink(root + "/secret", job + "/outputs/secret");
    fs::create_symlink("../../secret", job + "/outputs/d/up");
    fs::create_symlink(root + "/elsewhere", job + "/outputs/elsewhere");
    fs::create_symlink("d", job + "/outputs/folder");
    fs::create_symlink("nothing", job + "/outputs/nothing");
    fs::create_symlink("../values", job + "/outputs/inside");
    ASSERT_EQ(::mkfifo((job + "/outputs/pipe").c_str(), 0600), 0);
    LeftOut left;
    std::set<std::string> names;
    for (const auto& file : list_files(job + "/outputs", job, 100, &left)) names.insert(file.path);
    EXPECT_EQ(names, (std::set<std::string>{"a", "d/b", "inside"}));
    EXPECT_FALSE(left.more);
    EXPECT_EQ(std::set<std::string>(left.links.begin(), left.links.end()),
              (std::set<std::string>{"secret", "d/up", "elsewhere", "folder", "nothing"}));
}

TEST_F(JobFolder, WhatIsBeyondTheLimitIsNoted) {
    for (std::size_t limit : {0, 1, 2, 3}) {
        LeftOut left;
        EXPECT_EQ(list_files(job + "/outputs", job, limit, &left).size(),
                  std::min<std::size_t>(limit, 2));
        EXPECT_EQ(left.more, limit < 2) << limit;
    }
    LeftOut left;
    EXPECT_TRUE(list_files(job + "/nothing", job, 100, &left).empty());
    EXPECT_FALSE(left.more);
}

TEST_F(JobFolder, ALinkAsTheFolderIsNotFollowed) {
    fs::create_symlink(root + "/elsewhere", job + "/logs");
    LeftOut left;
    EXPECT_TRUE(list_files(job + "/logs", job, 100, &left).empty());
    EXPECT_TRUE(left.more);
}

TEST_F(JobFolder, WhatWasListedIsOpenedOnlyIfItIsStillThere) {
    EXPECT_TRUE(opens("outputs/a"));
    EXPECT_TRUE(opens("outputs/d/b"));
    fs::remove(job + "/outputs/a");
    fs::create_symlink(root + "/secret", job + "/outputs/a");
    EXPECT_FALSE(opens("outputs/a"));
    fs::remove(job + "/outputs/a");
    ASSERT_EQ(::mkfifo((job + "/outputs/a").c_str(), 0600), 0);  // would block who opens it
    EXPECT_FALSE(opens("outputs/a"));
    fs::remove_all(job + "/outputs/d");
    fs::create_symlink(root + "/elsewhere", job + "/outputs/d");
    EXPECT_FALSE(opens("outputs/d/b"));
}

TEST_F(JobFolder, ItsOwnPathMayHaveLinks) {
    fs::create_symlink(job, root + "/link");
    fs::create_symlink("a", job + "/outputs/same");
    EXPECT_EQ(list_files(root + "/link/outputs", root + "/link", 100).size(), 3u);
    EXPECT_TRUE(open_listed(root + "/link/outputs/same", root + "/link").has_value());
}

TEST_F(JobFolder, APipeInTheAgentsPlaceIsEmpty) {
    ASSERT_EQ(::mkfifo((job + "/values.json").c_str(), 0600), 0);
    const auto text = read_file(job + "/values.json");
    EXPECT_TRUE(!text || text->empty());
}

TEST(Files, ALargeFileOfHolesIsKnown) {
    const std::string folder = ::testing::TempDir() + "sparse_" + std::to_string(getpid());
    ASSERT_TRUE(make_folders(folder));
    ASSERT_TRUE(write_file(folder + "/holes", "x"));
    ASSERT_TRUE(write_file(folder + "/small", "x"));
    ASSERT_EQ(truncate((folder + "/holes").c_str(), off_t{1} << 40), 0);
    ASSERT_EQ(truncate((folder + "/small").c_str(), 1 << 20), 0);
    std::map<std::string, bool> sparse;
    for (const auto& file : list_files(folder, folder, 10)) sparse[file.path] = file.sparse;
    EXPECT_EQ(sparse, (std::map<std::string, bool>{{"holes", true}, {"small", false}}));
    remove_tree(folder);
}

}  // namespace
}  // namespace turnout::agent
