#include "store/sqlite/row_cache.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "store/sqlite/sqlite_store.h"
#include "store/test_loop.h"

namespace turnout::sqlite {
namespace {

Record row(std::string key, std::string value, std::uint64_t revision = 1) {
    return {std::move(key), std::move(value), revision};
}

std::optional<std::string> found(RowCache& cache, std::string_view key) {
    RowCache::Moment moment = 0;
    const auto known = cache.find(Table::Job, key, moment);
    if (!known) return std::nullopt;
    return *known ? (*known)->value : "none";
}

void read_and_keep(RowCache& cache, std::string key, std::string value) {
    RowCache::Moment moment = 0;
    ASSERT_FALSE(cache.find(Table::Job, key, moment));
    cache.keep(Table::Job, key, row(key, std::move(value)), moment);
}

TEST(RowCache, KeepsWhatWasRead) {
    RowCache cache;
    read_and_keep(cache, "a", "1");
    EXPECT_EQ(found(cache, "a"), "1");
    EXPECT_EQ(found(cache, "b"), std::nullopt);
    RowCache::Moment moment = 0;
    EXPECT_FALSE(cache.find(Table::Token, "a", moment));  // of another table
}

TEST(RowCache, ThatThereIsNoSuchRowIsKeptUntilItIsWritten) {
    RowCache cache;
    RowCache::Moment moment = 0;
    ASSERT_FALSE(cache.find(Table::Job, "a", moment));
    cache.keep(Table::Job, "a", std::nullopt, moment);
    EXPECT_EQ(found(cache, "a"), "none");
    cache.begin_commit({{Table::Job, "a"}});
    EXPECT_EQ(found(cache, "a"), std::nullopt);
    cache.keep(Table::Job, "a", std::nullopt, moment);
    cache.end_commit();
    cache.keep(Table::Job, "a", std::nullopt, moment);
    EXPECT_EQ(found(cache, "a"), std::nullopt);
}

TEST(RowCache, ATableIsKnownToBeEmptyUntilItIsWritten) {
    RowCache cache;
    RowCache::Moment moment = 0, later = 0;
    EXPECT_FALSE(cache.is_empty(moment));
    cache.keep_empty(moment);
    EXPECT_TRUE(cache.is_empty(moment));
    cache.begin_commit({{Table::Job, "a"}});
    EXPECT_TRUE(cache.is_empty(later));
    cache.end_commit();
    EXPECT_TRUE(cache.is_empty(moment));
    cache.begin_commit({{RowCache::kMostlyEmpty, "a"}});
    EXPECT_FALSE(cache.is_empty(later));
    cache.keep_empty(later);  // read while it is being written
    EXPECT_FALSE(cache.is_empty(later));
    cache.end_commit();
    cache.keep_empty(later);
    EXPECT_FALSE(cache.is_empty(moment));
    cache.keep_empty(moment);
    EXPECT_TRUE(cache.is_empty(moment));
}

TEST(RowCache, ACommitTakesOutItsRowsAndNoOthers) {
    RowCache cache;
    read_and_keep(cache, "a", "1");
    read_and_keep(cache, "b", "1");
    cache.begin_commit({{Table::Job, "a"}});
    EXPECT_EQ(found(cache, "a"), std::nullopt);
    EXPECT_EQ(found(cache, "b"), "1");
    cache.end_commit();
    EXPECT_EQ(found(cache, "a"), std::nullopt);
}

TEST(RowCache, WhatIsBeingCommittedIsNotKept) {
    RowCache cache;
    cache.begin_commit({{Table::Job, "a"}});
    read_and_keep(cache, "a", "before");
    EXPECT_EQ(found(cache, "a"), std::nullopt);
    read_and_keep(cache, "b", "1");  // another row: it cannot change meanwhile
    EXPECT_EQ(found(cache, "b"), "1");
    cache.end_commit();
}

TEST(RowCache, AReadThatACommitOvertookIsNotKept) {
    RowCache cache;
    RowCache::Moment before = 0, during = 0;
    ASSERT_FALSE(cache.find(Table::Job, "a", before));
    cache.begin_commit({{Table::Job, "a"}});
    ASSERT_FALSE(cache.find(Table::Job, "a", during));
    cache.end_commit();
    cache.keep(Table::Job, "a", row("a", "old"), before);
    EXPECT_EQ(found(cache, "a"), std::nullopt);
    cache.keep(Table::Job, "a", row("a", "old"), during);
    EXPECT_EQ(found(cache, "a"), std::nullopt);
}

TEST(RowCache, IsBoundedAndDropsTheLongestUnused) {
    RowCache cache;
    const std::string large(60 << 10, 'x');
    for (int i = 0; i < 15; ++i) read_and_keep(cache, std::to_string(i), large);
    EXPECT_EQ(found(cache, "0"), large);  // used: 1 goes first
    for (int i = 15; i < 20; ++i) read_and_keep(cache, std::to_string(i), large);
    EXPECT_EQ(found(cache, "0"), large);
    EXPECT_EQ(found(cache, "1"), std::nullopt);
    EXPECT_EQ(found(cache, "19"), large);
    read_and_keep(cache, "huge", std::string(65 << 10, 'x'));
    EXPECT_EQ(found(cache, "huge"), std::nullopt);
}

// The writer's thread commits as fast as it can while rows are read: what was acknowledged is seen
// at once, a row never goes back, and a scan and a get agree.
TEST(RowCache, TheStoreNeverShowsARowOlderThanItWas) {
    std::string folder = std::filesystem::temp_directory_path() / "turnout-row-cache-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    TestLoop loop;
    {
        auto store = open_sqlite_store(loop, folder + "/turnout.db", {.ballast_bytes = 0});
        ASSERT_TRUE(store);
        int acknowledged = 0, sent = 0;
        std::function<void()> send = [&] {
            Batch batch;
            batch.put(Table::Job, "a", std::to_string(++sent));
            batch.put(Table::Job, "b", std::to_string(sent));
            (*store)->commit(std::move(batch), [&, mine = sent](Result<std::uint64_t> done) {
                ASSERT_TRUE(done);
                acknowledged = mine;
                if (sent < 300) send();
            });
        };
        send();
        send();
        int last = 0;
        while (acknowledged < 300) {
            for (int i = 0; i < 20; ++i) {
                const auto scanned =
                    (*store)->scan(Table::Job, {.from = "a", .to = "b", .limit = 1});
                const auto a = (*store)->get(Table::Job, "a");
                ASSERT_TRUE(scanned && a);
                const int by_scan = scanned->empty() ? 0 : std::stoi(scanned->front().value);
                const int by_get = *a ? std::stoi((*a)->value) : 0;
                ASSERT_GE(by_get, by_scan);
                ASSERT_GE(by_get, last);
                ASSERT_GE(by_get, acknowledged);
                const auto b = (*store)->get(Table::Job, "b");
                ASSERT_TRUE(b);
                ASSERT_GE(*b ? std::stoi((*b)->value) : 0, by_get);
                last = by_get;
            }
            loop.drain();
        }
    }
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace turnout::sqlite
