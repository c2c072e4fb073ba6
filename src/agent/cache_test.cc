#include "agent/cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "agent/files.h"

namespace turnout::agent {
namespace {

class CacheTest : public ::testing::Test {
protected:
    std::string root;
    void SetUp() override {
        char name[] = "/tmp/turnout-cache-test-XXXXXX";
        root = mkdtemp(name);
    }
    void TearDown() override { remove_tree(root); }
    std::string build(const std::string& name) {
        std::string folder = root + "/building-" + name;
        EXPECT_TRUE(make_folders(folder + "/deep"));
        for (const char* file : {"/a", "/b", "/deep/c"})
            EXPECT_TRUE(write_file(folder + file, "content"));
        return folder;
    }
};

TEST_F(CacheTest, WhatACrashLeftIsReplaced) {
    const std::string folder = root + "/x";
    ASSERT_TRUE(make_folders(folder));
    ASSERT_TRUE(write_file(folder + "/torn", ""));
    EXPECT_FALSE(is_cached(folder));
    ASSERT_TRUE(write_file(folder + ".complete", "an earlier boot"));
    EXPECT_FALSE(is_cached(folder));
    ASSERT_TRUE(put_in_cache(build("x"), folder));
    EXPECT_TRUE(is_cached(folder));
    EXPECT_FALSE(exists(folder + "/torn"));
    EXPECT_EQ(*read_file(folder + "/deep/c"), "content");
    EXPECT_FALSE(exists(root + "/building-x"));
}

// As nodes do: what one of them found cached, or has put there, stays while it is read.
TEST_F(CacheTest, NodesThatFillItTogetherDoNotHarmEachOther) {
    constexpr int kNodes = 4, kEntries = 100;
    std::atomic<int> broken = 0;
    std::vector<std::thread> nodes;
    for (int node = 0; node < kNodes; ++node)
        nodes.emplace_back([&, node] {
            for (int entry = 0; entry < kEntries; ++entry) {
                const std::string folder = root + "/" + std::to_string(entry),
                                  name = std::to_string(node) + "-" + std::to_string(entry);
                const bool fine = is_cached(folder) || put_in_cache(build(name), folder);
                const std::string copy = root + "/copy-" + name;
                if (!fine || !copy_tree(folder, copy) ||
                    read_file(copy + "/a").value_or("") != "content" ||
                    read_file(copy + "/deep/c").value_or("") != "content")
                    ++broken;
            }
        });
    for (auto& node : nodes) node.join();
    EXPECT_EQ(broken, 0);
}

TEST_F(CacheTest, WhoUsesSomethingSaysSo) {
    const std::string folder = root + "/inputs/x", attempt = root + "/attempt";
    ASSERT_TRUE(make_folders(root + "/inputs"));
    ASSERT_TRUE(make_folders(attempt));
    EXPECT_FALSE(*use_cached(folder, attempt))
        << "it is said before it is there: nobody may take it away in between";
    ASSERT_TRUE(put_in_cache(build("x"), folder));
    EXPECT_TRUE(*use_cached(folder, attempt));
    EXPECT_EQ(*read_file(attempt + "/uses"), "inputs/x\n");
    EXPECT_FALSE(use_cached(folder, root + "/nowhere")) << "unsaid it is not used";
}

}  // namespace
}  // namespace turnout::agent
