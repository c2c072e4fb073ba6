#include "provider/local/cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "io/posix/fd.h"
#include "io/posix/files.h"

namespace turnout {
namespace {

class LocalCacheTest : public testing::Test {
protected:
    LocalCacheTest() {
        std::string name = std::filesystem::temp_directory_path() / "turnout-local-cache-XXXXXX";
        root = ::mkdtemp(name.data());
        for (const char* folder : {"/cache/inputs", "/cache/snapshots", "/cache/environments",
                                   "/cache/pythons", "/nodes/n1/attempts/job.1"})
            EXPECT_TRUE(make_directories(root + folder));
        agent = Fd(::open((root + "/nodes/n1/agent.lock").c_str(), O_RDWR | O_CREAT, 0600));
        EXPECT_EQ(::flock(agent.get(), LOCK_EX), 0);
    }
    ~LocalCacheTest() override { (void)remove_tree(root); }

    // Last used so many seconds after 1970.
    void make(const std::string& name, int used, std::size_t size = 10'000) {
        const std::string folder = root + "/cache/" + name;
        EXPECT_TRUE(make_directories(folder));
        EXPECT_TRUE(write_file_atomically(folder + "/data", std::string(size, 'x')));
        EXPECT_TRUE(write_file_atomically(folder + ".complete", "boot"));
        const timespec times[2] = {{used, 0}, {used, 0}};
        for (const std::string& path : {folder, folder + ".complete"})
            ::utimensat(AT_FDCWD, path.c_str(), times, 0);
        ::chmod(folder.c_str(), 0555);
    }
    std::string kept() {
        std::string text;
        for (const CachedFolder& one : cache().list(false))
            text += one.kind + ":" + one.path.substr(one.path.rfind('/') + 1) +
                    (one.in_use ? "! " : " ");
        return text;
    }
    LocalCache cache() { return {root + "/cache", root + "/nodes"}; }
    Result<bool> remove(const std::string& name) {
        for (const CachedFolder& one : cache().list(false))
            if (one.path.ends_with("/" + name)) return cache().remove(one);
        return false;
    }

    std::string root;
    Fd agent;
};

TEST_F(LocalCacheTest, WhatTasksUseStays) {
    make("inputs/a", 1);
    make("inputs/b", 2);
    make("snapshots/a", 3);
    ASSERT_TRUE(write_file_atomically(root + "/nodes/n1/attempts/job.1/uses", "inputs/a\n"));
    EXPECT_EQ(kept(), "inputs:a! inputs:b code:a ");
    EXPECT_FALSE(*remove("a")) << "the input";
    EXPECT_TRUE(*remove("b"));
    EXPECT_EQ(kept(), "inputs:a! code:a ");
    EXPECT_NE(::access((root + "/cache/inputs/b.complete").c_str(), F_OK), 0)
        << "its mark is gone too";
    ASSERT_TRUE(remove_tree(root + "/nodes/n1/attempts/job.1"));
    EXPECT_TRUE(*remove("a"));
}

TEST_F(LocalCacheTest, AnEnvironmentIsLockedAsLongAsItIsUsed) {
    make("environments/cafe01", 1);
    const std::string lock = root + "/cache/environments/cafe01.lock";
    Fd task(::open(lock.c_str(), O_RDWR | O_CREAT, 0644));
    ASSERT_EQ(::flock(task.get(), LOCK_SH), 0);
    EXPECT_EQ(kept(), "environments:cafe01! ");
    EXPECT_FALSE(*remove("cafe01"));
    task = Fd();
    EXPECT_EQ(kept(), "environments:cafe01 ");
    agent = Fd();
    EXPECT_EQ(kept(), "environments:cafe01! ") << "an agent is away, and its task may go on";
    EXPECT_FALSE(*remove("cafe01"));
    agent = Fd(::open((root + "/nodes/n1/agent.lock").c_str(), O_RDWR));
    ASSERT_EQ(::flock(agent.get(), LOCK_EX), 0);
    EXPECT_TRUE(*remove("cafe01"));
    EXPECT_EQ(::access(lock.c_str(), F_OK), 0) << "others may be waiting for it";
}

TEST_F(LocalCacheTest, AnInterpreterStaysWithItsEnvironments) {
    ASSERT_TRUE(make_directories(root + "/cache/pythons/cpython-3.9/bin"));
    ASSERT_TRUE(make_directories(root + "/cache/environments/e/bin"));
    std::filesystem::create_symlink(root + "/cache/pythons/cpython-3.9/bin/python3.9",
                                    root + "/cache/environments/e/bin/python");
    EXPECT_NE(kept().find("pythons:cpython-3.9!"), std::string::npos);
    EXPECT_TRUE(*remove("e"));
    EXPECT_EQ(kept(), "pythons:cpython-3.9 ");
}

TEST_F(LocalCacheTest, TheLongestUnusedGoesFirst) {
    make("inputs/new", 30, 200'000);
    make("inputs/old", 10, 200'000);
    make("snapshots/mid", 20, 200'000);
    make("inputs/oldest", 5, 200'000);
    ASSERT_TRUE(write_file_atomically(root + "/nodes/n1/attempts/job.1/uses", "inputs/oldest\n"));
    const auto went = cache().shrink(500'000);
    ASSERT_EQ(went.size(), 2u);
    EXPECT_TRUE(went[0].path.ends_with("/old") && went[1].path.ends_with("/mid"));
    EXPECT_GE(went[0].frees, 200'000u);
    EXPECT_EQ(kept(), "inputs:oldest! inputs:new ");
    EXPECT_TRUE(cache().shrink(500'000).empty());
}

TEST_F(LocalCacheTest, WhatFilesHaveInCommonCountsOnce) {
    make("environments/a", 1, 300'000);
    make("environments/b", 2, 1'000);
    std::filesystem::create_hard_link(root + "/cache/environments/a/data",
                                      root + "/cache/environments/b/same");
    const auto both = cache().list(true);
    ASSERT_EQ(both.size(), 2u);
    EXPECT_GE(both[0].bytes, 300'000u);
    EXPECT_LT(both[1].bytes, 100'000u);
    EXPECT_LT(both[0].frees, 100'000u) << "the other one still has it";
}

TEST_F(LocalCacheTest, AnInterruptedRemovalIsFinished) {
    ASSERT_TRUE(make_directories(root + "/cache/inputs/.going-x/deep"));
    ASSERT_TRUE(make_directories(root + "/cache/inputs/building-999999999-job.1-data"));
    EXPECT_EQ(kept(), "unfinished:building-999999999-job.1-data ");
    EXPECT_TRUE(*remove("building-999999999-job.1-data"));
    cache().finish_removals();
    EXPECT_EQ(kept(), "");
    EXPECT_NE(::access((root + "/cache/inputs/.going-x").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace turnout
