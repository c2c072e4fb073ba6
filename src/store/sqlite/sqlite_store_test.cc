#include "store/sqlite/sqlite_store.h"

#include <gtest/gtest.h>

#include <filesystem>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/sqlite/database.h"
#include "store/sqlite/migrations.h"
#include "store/test_loop.h"

namespace turnout {
namespace {

class SqliteStoreTest : public testing::Test {
protected:
    void SetUp() override {
        std::string name = std::filesystem::temp_directory_path() / "turnout-sqlite-XXXXXX";
        folder = ::mkdtemp(name.data());
        path = folder + "/turnout.db";
    }
    void TearDown() override { std::filesystem::remove_all(folder); }

    std::unique_ptr<SqliteStore> open(SqliteOptions options = {.ballast_bytes = 1 << 20}) {
        auto opened = open_sqlite_store(loop, path, std::move(options));
        EXPECT_TRUE(opened) << opened.error().message;
        return opened ? std::move(*opened) : nullptr;
    }
    Result<std::uint64_t> put(Store& store, std::string key, std::string value) {
        Batch batch;
        batch.put(Table::Job, std::move(key), std::move(value));
        return loop.wait(store.commit(std::move(batch)));
    }

    TestLoop loop;
    std::string folder, path;
};

TEST_F(SqliteStoreTest, ASecondOneIsRefused) {
    auto store = open();
    const auto second = open_sqlite_store(loop, path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::FailedPrecondition);
    EXPECT_EQ(second.error().reason, "DataFolderInUse");
    store.reset();
    EXPECT_TRUE(open_sqlite_store(loop, path));
}

TEST_F(SqliteStoreTest, ANewerDatabaseIsRefused) {
    auto store = open();
    Batch batch;
    batch.put(Table::Meta, "schema", std::to_string(sqlite::kSchemaVersion + 1));
    ASSERT_TRUE(loop.wait(store->commit(std::move(batch))));
    store.reset();
    const auto again = open_sqlite_store(loop, path);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().reason, "NewerDatabase");
}

TEST_F(SqliteStoreTest, SomethingElseIsNotADatabase) {
    FILE* file = std::fopen(path.c_str(), "w");
    for (int i = 0; i < 1000; ++i) std::fputs("this is no database\n", file);
    std::fclose(file);
    EXPECT_FALSE(open_sqlite_store(loop, path));
}

TEST_F(SqliteStoreTest, TheSchemaIsWrittenDown) {
    auto store = open();
    const auto schema = store->get(Table::Meta, "schema");
    ASSERT_TRUE(schema && *schema);
    EXPECT_EQ((*schema)->value, std::to_string(sqlite::kSchemaVersion));
}

TEST_F(SqliteStoreTest, DestroyingCommitsWhatIsQueued) {
    auto store = open();
    int told = 0;
    for (int i = 0; i < 100; ++i) {
        Batch batch;
        batch.put(Table::Job, std::to_string(i), "v");
        store->commit(std::move(batch), [&](auto result) { told += result ? 1 : 0; });
    }
    store.reset();
    loop.drain();
    EXPECT_EQ(told, 100);
    EXPECT_EQ(open()->scan(Table::Job, {})->size(), 100u);
}

TEST_F(SqliteStoreTest, BackupIsAWholeStore) {
    auto store = open();
    ASSERT_TRUE(put(*store, "a", "1"));
    ASSERT_TRUE(store->backup(folder + "/copy's.db"));
    ASSERT_TRUE(put(*store, "b", "2"));
    const auto copy = open_sqlite_store(loop, folder + "/copy's.db", {.ballast_bytes = 0});
    ASSERT_TRUE(copy);
    EXPECT_TRUE(*(*copy)->get(Table::Job, "a"));
    EXPECT_FALSE(*(*copy)->get(Table::Job, "b"));
    EXPECT_FALSE(store->backup(folder + "/copy's.db")) << "exists";
}

TEST_F(SqliteStoreTest, AFullDiskKeepsRoomForSmallChanges) {
    auto store = open({.ballast_bytes = 1 << 20, .max_pages = 400});
    ASSERT_TRUE(put(*store, "job", "Running"));
    const std::string ballast = folder + "/ballast";
    struct stat there {};
    ASSERT_EQ(::stat(ballast.c_str(), &there), 0);
    EXPECT_GE(there.st_blocks * 512, 1 << 20);

    Result<std::uint64_t> result = 0;
    int stored = 0;
    while ((result = put(*store, "big" + std::to_string(stored), std::string(200'000, 'x'))))
        ++stored;
    EXPECT_GT(stored, 2);
    EXPECT_EQ(result.error().code, Code::ResourceExhausted);
    EXPECT_NE(::stat(ballast.c_str(), &there), 0) << "given up, to have room";

    ASSERT_TRUE(put(*store, "job", "Canceled")) << "small changes go on";
    EXPECT_EQ((*store->get(Table::Job, "job"))->value, "Canceled");
    result = put(*store, "big0", std::string(100'000, 'x'));
    ASSERT_FALSE(result) << "large ones would eat the room";
    EXPECT_EQ(result.error().code, Code::ResourceExhausted);
    EXPECT_EQ(store->scan(Table::Job, {})->size(), static_cast<std::size_t>(stored) + 1);

    store.reset();
    store = open();  // there is space again
    EXPECT_EQ(::stat(ballast.c_str(), &there), 0);
    EXPECT_TRUE(put(*store, "big0", std::string(100'000, 'y')));
}

// A child commits and says which keys were acknowledged; it is killed in the middle of it.
TEST_F(SqliteStoreTest, EveryAcknowledgedKeySurvivesKill9) {
    open().reset();
    for (int round = 0; round < 3; ++round) {
        int pipe_fds[2];
        ASSERT_EQ(::pipe(pipe_fds), 0);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            ::close(pipe_fds[0]);
            TestLoop child_loop;
            auto opened = open_sqlite_store(child_loop, path, {.ballast_bytes = 0});
            if (!opened) ::_exit(1);
            for (std::uint32_t i = 0;; ++i) {
                Batch batch;
                // Two rows in different tables: a batch is there whole or not at all.
                const std::string key = std::to_string(round) + "/" + std::to_string(i);
                batch.put(Table::Job, key, std::string(i % 3000, 'x'));
                batch.put(Table::JobLive, key, "");
                (*opened)->commit(std::move(batch), [&, i](auto result) {
                    if (!result || ::write(pipe_fds[1], &i, sizeof i) != sizeof i) ::_exit(1);
                });
                if (i % 20 == 0) {
                    child_loop.drain();
                    child_loop.wait((*opened)->commit(Batch{}));
                }
            }
        }
        ::close(pipe_fds[1]);
        std::vector<std::uint32_t> acknowledged;
        std::uint32_t number = 0;
        const std::size_t enough = 150 + static_cast<std::size_t>(round) * 333;
        while (acknowledged.size() < enough &&
               ::read(pipe_fds[0], &number, sizeof number) == sizeof number)
            acknowledged.push_back(number);
        ::kill(child, SIGKILL);
        while (::read(pipe_fds[0], &number, sizeof number) == sizeof number)
            acknowledged.push_back(number);
        ::close(pipe_fds[0]);
        int status = 0;
        ::waitpid(child, &status, 0);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself";
        ASSERT_GE(acknowledged.size(), enough);

        auto store = open();
        ASSERT_TRUE(store);
        for (const std::uint32_t i : acknowledged) {
            const auto record =
                store->get(Table::Job, std::to_string(round) + "/" + std::to_string(i));
            ASSERT_TRUE(record && *record) << i;
            ASSERT_EQ((*record)->value.size(), i % 3000);
        }
        const Range all{.limit = 1'000'000};
        ASSERT_EQ(store->scan(Table::Job, all)->size(), store->scan(Table::JobLive, all)->size());
    }
}

}  // namespace
}  // namespace turnout
