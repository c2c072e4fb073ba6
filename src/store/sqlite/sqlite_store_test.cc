#include "store/sqlite/sqlite_store.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <iostream>
#include <limits>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "store/sqlite/database.h"
#include "store/sqlite/intact.h"
#include "store/sqlite/migrations.h"
#include "store/sqlite/test_gate.h"
#include "store/test_loop.h"

namespace turnout {
namespace {

constexpr std::uint64_t kMark = 0x3a6b1f0ecd94725bull;

class SqliteStoreTest : public testing::Test {
protected:
    void SetUp() override {
        std::string name = std::filesystem::temp_directory_path() / "turnout-sqlite-XXXXXX";
        folder = ::mkdtemp(name.data());
        path = folder + "/turnout.db";
    }
    void TearDown() override { std::filesystem::remove_all(folder); }

    std::unique_ptr<Store> open(SqliteOptions options = {.ballast_bytes = 1 << 20}) {
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

// What a server of schema 1 left: one job that has ended and one that waits, each in one row.
TEST_F(SqliteStoreTest, ADatabaseOfSchema1IsBroughtForward) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
    const std::string task = R"({"command":"echo \"it's\"","environment":{"name":"host:1"}})";
    const auto job = [&](const std::string& name, const std::string& rest) {
        return R"({"workspace":"ws","name":")" + name +
               R"(","definition":{"command":"echo"},"experiment":"exp","compute":"cc","principal":"me","created":5,"task":)" +
               task + "," + rest + "}";
    };
    const std::string ended = job(
        "ended",
        R"("status":"Failed","started":6,"ended":9,"cancelRequested":true,"cause":"user_code","error":"it broke","attempts":[{"number":1,"node":"node-1","leased":6,"ended":9,"ending":{"cause":"user_code","exitCode":3}}])");
    const std::string waits =
        job("waits", R"("status":"Queued","cancelRequested":false,"cause":"none","attempts":[])");
    std::string sql =
        "CREATE TABLE store_revision(reserved INTEGER NOT NULL); INSERT INTO store_revision "
        "VALUES(10);";
    for (const char* table : {"meta", "job", "job_live"})
        sql += "CREATE TABLE " + std::string(table) +
               "(key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL);";
    sql +=
        "INSERT INTO meta VALUES('schema', CAST('1' AS BLOB), 0); INSERT INTO job_live "
        "VALUES('ws/waits', '', 4);";
    const auto quote = [](std::string text) {
        for (std::size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 2)
            text.insert(at, 1, '\'');
        return "CAST('" + text + "' AS BLOB)";
    };
    sql += "INSERT INTO job VALUES('ws/ended', " + quote(ended) +
           ", 3); INSERT INTO job VALUES('ws/waits', " + quote(waits) + ", 4);";
    ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db);
    sqlite3_close(db);

    const auto store = open();
    const auto row = [&](Table table, const std::string& key) {
        const auto found = store->get(table, key);
        EXPECT_TRUE(found && *found) << name_of(table) << " " << key;
        return *found ? parse_json((*found)->value).value_or(Json()) : Json();
    };
    const Json state = row(Table::JobState, "ws/ended");
    EXPECT_EQ(state.at("status").as_view(), "Failed");
    EXPECT_EQ(state.at("ended").as_int(), 9);
    EXPECT_TRUE(state.at("cancelRequested").as_bool());
    EXPECT_EQ(state.at("cause").as_view(), "user_code");
    EXPECT_EQ(state.at("error").as_view(), "it broke");
    EXPECT_EQ(state.at("attempts").items().at(0).at("ending").at("exitCode").as_int(), 3);
    EXPECT_FALSE(row(Table::JobState, "ws/waits").at("cancelRequested").as_bool());
    for (const std::string name : {"ended", "waits"}) {
        const Json definition = row(Table::Job, "ws/" + name);
        EXPECT_EQ(definition.at("definition").at("command").as_view(), "echo");
        EXPECT_EQ(definition.at("environment").as_view(), "host:1");
        for (const char* moved : {"task", "status", "attempts", "cause", "error"})
            EXPECT_FALSE(definition.has(moved)) << moved;
        EXPECT_EQ(row(Table::TaskBase, "ws/" + definition.at("taskBase").as_string()),
                  *parse_json(task));
    }
    const Json live = row(Table::JobLive, "ws/waits");
    EXPECT_EQ(live.at("compute").as_view(), "cc");
    EXPECT_EQ(live.at("sharer").as_view(), "me/exp");
    EXPECT_EQ(live.at("created").as_int(), 5);
    EXPECT_EQ(live.at("base").as_view(), row(Table::Job, "ws/waits").at("taskBase").as_view());
    EXPECT_EQ(::access((path + ".before-2").c_str(), F_OK), 0) << "a copy of it is kept";
}

// Reads of one turn share a transaction: it must not hide what was committed meanwhile.
TEST_F(SqliteStoreTest, ATurnThatReadsAgainSeesWhatWasCommitted) {
    auto store = open();
    ASSERT_TRUE(put(*store, "a", "old"));
    const auto count = [&] { return store->scan(Table::Job, {})->size(); };
    ASSERT_EQ(count(), 1u);
    Batch batch;
    batch.put(Table::Job, "b", "new");
    batch.put(Table::Run, "r", "new");
    bool done = false;
    store->commit(std::move(batch), [&](const auto&) { done = true; });
    for (int tries = 0; count() == 1 && tries < 10'000; ++tries) ::usleep(1000);
    EXPECT_FALSE(done) << "nothing that was posted has run: it is the same turn";
    EXPECT_EQ(count(), 2u);
    EXPECT_EQ((*store->get(Table::Run, "r"))->value, "new");
    loop.run_until([&] { return done; });
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

TEST_F(SqliteStoreTest, APatientBatchGoesWithTheNextThatIsNot) {
    auto store = open();
    ASSERT_TRUE(put(*store, "first", "1"));
    std::vector<std::string> done;
    const auto patient = [&](std::string key) {
        Batch batch;
        batch.put(Table::Job, key, "1");
        batch.patience = 1h;
        store->commit(std::move(batch), [&done, key](Result<std::uint64_t> result) {
            done.push_back(key + (result ? "" : " failed"));
        });
    };
    patient("second");
    patient("third");
    EXPECT_TRUE(done.empty());
    ASSERT_TRUE(put(*store, "fourth", "1"));
    EXPECT_EQ(done, (std::vector<std::string>{"second", "third"}));
    patient("fifth");
    store.reset();  // does not wait for company
    EXPECT_TRUE(*open()->get(Table::Job, "fifth"));
}

TEST_F(SqliteStoreTest, ABatchWaitsForCompanyAndNoLonger) {
    auto store = open();
    std::vector<std::uint64_t> revisions;
    const auto waiting = [&](std::string key, Span company) {
        Batch batch;
        batch.put(Table::Job, std::move(key), "1");
        batch.company = company;
        store->commit(std::move(batch), [&](Result<std::uint64_t> result) {
            revisions.push_back(result.value_or(0));
        });
    };
    waiting("a", 1h);
    waiting("b", 1h);
    std::this_thread::sleep_for(50ms);
    loop.drain();
    EXPECT_TRUE(revisions.empty());
    ASSERT_TRUE(put(*store, "c", "1"));  // who does not wait takes them along
    EXPECT_EQ(revisions.size(), 2u);
    waiting("d", 20ms);
    for (int i = 0; i < 500 && revisions.size() < 3; ++i) {
        std::this_thread::sleep_for(10ms);
        loop.drain();
    }
    EXPECT_EQ(revisions.size(), 3u);  // nobody came
    waiting("e", 1h);
    store.reset();
    EXPECT_TRUE(*open()->get(Table::Job, "e"));
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
    ASSERT_TRUE(copy_database(path, folder + "/copy's.db"));
    ASSERT_TRUE(put(*store, "b", "2"));
    const auto copy = open_sqlite_store(loop, folder + "/copy's.db", {.ballast_bytes = 0});
    ASSERT_TRUE(copy);
    EXPECT_TRUE(*(*copy)->get(Table::Job, "a"));
    EXPECT_FALSE(*(*copy)->get(Table::Job, "b"));
    EXPECT_FALSE(copy_database(path, folder + "/copy's.db")) << "exists";
}

// What is left of a database after a kill -9, or after somebody copied its files.
class SqliteFilesTest : public SqliteStoreTest {
protected:
    // Copies of the database's file and, if wanted, of its log, in a folder of their own.
    std::string copy_files(const std::string& name, bool with_log) {
        std::filesystem::create_directory(folder + "/" + name);
        std::string copy = folder + "/" + name + "/turnout.db";
        std::filesystem::copy_file(path, copy);
        if (with_log) std::filesystem::copy_file(path + "-wal", copy + "-wal");
        return copy;
    }
    void overwrite(const std::string& file, std::size_t at, const std::string& bytes) {
        const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
        ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at)),
                  static_cast<ssize_t>(bytes.size()));
        ::close(fd);
    }
};

TEST_F(SqliteFilesTest, ALostLogIsNoticed) {
    auto store = open();
    ASSERT_TRUE(put(*store, "a", "1"));
    const std::string alone = copy_files("alone", false);
    const std::string both = copy_files("both", true);
    const std::string zeroed = copy_files("zeroed", true);
    overwrite(zeroed + "-wal", 0, std::string(4096, '\0'));

    for (const std::string& lost : {alone, zeroed}) {
        const auto opened = open_sqlite_store(loop, lost, {.ballast_bytes = 0});
        ASSERT_FALSE(opened) << lost;
        EXPECT_EQ(opened.error().reason, "DatabaseLogLost");
        EXPECT_FALSE(copy_database(lost, folder + "/never.db"));
        // Asking changes nothing, and who wants to can go on.
        EXPECT_FALSE(open_sqlite_store(loop, lost, {.ballast_bytes = 0}));
        auto accepted =
            open_sqlite_store(loop, lost, {.ballast_bytes = 0, .accept_lost_log = true});
        ASSERT_TRUE(accepted);
        EXPECT_FALSE(*(*accepted)->get(Table::Job, "a"));
        accepted->reset();
        EXPECT_TRUE(open_sqlite_store(loop, lost, {.ballast_bytes = 0}));
    }
    const auto whole = open_sqlite_store(loop, both, {.ballast_bytes = 0});
    ASSERT_TRUE(whole) << whole.error().message;
    EXPECT_TRUE(*(*whole)->get(Table::Job, "a"));
}

TEST_F(SqliteFilesTest, AfterACleanEndTheFileAloneIsTheDatabase) {
    auto store = open();
    ASSERT_TRUE(put(*store, "a", "1"));
    store.reset();
    EXPECT_EQ(std::filesystem::file_size(path + "-wal"), 0u);
    const auto alone = open_sqlite_store(loop, copy_files("alone", false), {.ballast_bytes = 0});
    ASSERT_TRUE(alone) << alone.error().message;
    EXPECT_TRUE(*(*alone)->get(Table::Job, "a"));
}

std::uintmax_t file_size_of(const std::string& path) {
    return std::filesystem::file_size(path);
}

// What was erased is given back to the disk, and what is left is whole.
TEST_F(SqliteFilesTest, AFileShrinksAfterALargeErasure) {
    SqliteOptions options;
    options.room_bytes = 0;
    options.idle = std::chrono::milliseconds(1);
    auto store = open(options);
    for (int i = 0; i < 64; ++i) {
        Batch batch;
        for (int j = 0; j < 16; ++j)
            batch.put(Table::Log, "ws/" + std::to_string(i) + "/" + std::to_string(j),
                      std::string(30'000, static_cast<char>('a' + j)));
        ASSERT_TRUE(loop.wait(store->commit(std::move(batch))));
    }
    store.reset();
    const std::uintmax_t before = file_size_of(path);
    EXPECT_GT(before, 30u << 20);
    store = open(options);
    Batch batch;
    for (int i = 0; i < 63; ++i)
        for (int j = 0; j < 16; ++j)
            batch.erase(Table::Log, "ws/" + std::to_string(i) + "/" + std::to_string(j));
    ASSERT_TRUE(loop.wait(store->commit(std::move(batch))));
    // The writer does it by itself. It ends: a megabyte at a time.
    for (int looks = 0; looks < 60'000 && file_size_of(path) > 4u << 20; ++looks)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_LT(file_size_of(path), 4u << 20);
    EXPECT_EQ(store->scan(Table::Log, with_prefix("ws/63/"))->size(), 16u);
    store.reset();
    EXPECT_TRUE(verify_database(path));
    store = open(options);
    EXPECT_EQ(store->scan(Table::Log, {})->size(), 16u);
}

TEST_F(SqliteFilesTest, AFileOfAnEarlierBuildCanShrinkFromThenOn) {
    {
        auto db = *sqlite::open_database(path, "", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
        ASSERT_TRUE(sqlite::execute(db.get(), "PRAGMA journal_mode=WAL; CREATE TABLE old(x)"));
    }
    auto store = open();
    EXPECT_TRUE(put(*store, "ws/a", "{}"));
    store.reset();
    auto db = *sqlite::open_database(path, "", SQLITE_OPEN_READWRITE);
    auto query = *sqlite::prepare(db.get(), "PRAGMA auto_vacuum");
    ASSERT_EQ(sqlite3_step(query.get()), SQLITE_ROW);
    EXPECT_EQ(sqlite3_column_int64(query.get(), 0), 2);
}

TEST_F(SqliteFilesTest, DamageIsNamed) {
    auto store = open();
    for (int i = 0; i < 200; ++i)
        ASSERT_TRUE(put(*store, std::to_string(i), std::string(3000, 'x')));
    store.reset();
    EXPECT_TRUE(verify_database(path));
    const std::size_t size = std::filesystem::file_size(path);
    const std::string noise = copy_files("noise", false), cut = copy_files("cut", false),
                      other = copy_files("other", false);
    overwrite(noise, size / 8192 * 4096, std::string(8192, '\x5a'));
    std::filesystem::resize_file(cut, size / 2);
    overwrite(other, 0, "this is no database at all");
    for (const std::string& bad : {noise, cut, other}) {
        const auto found = verify_database(bad);
        ASSERT_FALSE(found) << bad;
        EXPECT_EQ(found.error().reason, "DatabaseDamaged") << found.error().message;
    }
    const auto opened = open_sqlite_store(loop, other, {.ballast_bytes = 0});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().reason, "DatabaseDamaged");
}

TEST_F(SqliteStoreTest, AFullDiskKeepsRoomForSmallChanges) {
    std::uint64_t free_space = 1 << 30;
    SqliteOptions options{.ballast_bytes = 1 << 20, .max_pages = 400};
    options.free_space = [&free_space] { return free_space; };
    auto store = open(options);
    ASSERT_TRUE(put(*store, "job", "Running"));
    const std::string ballast = folder + "/ballast";
    struct stat there{};
    ASSERT_EQ(::stat(ballast.c_str(), &there), 0);
    EXPECT_GE(there.st_blocks * 512, 1 << 20);

    free_space = 1 << 20;
    Result<std::uint64_t> result = 0;
    int stored = 0;
    while ((result = put(*store, "big" + std::to_string(stored), std::string(200'000, 'x'))))
        ++stored;
    EXPECT_GT(stored, 2);
    EXPECT_EQ(result.error().code, Code::ResourceExhausted);
    EXPECT_NE(::stat(ballast.c_str(), &there), 0) << "given up, to have room";

    ASSERT_TRUE(put(*store, "job", "Canceled")) << "small changes go on";
    EXPECT_EQ((*store->get(Table::Job, "job"))->value, "Canceled");
    Batch log;
    log.put(Table::Log, "job/log", "a line");
    EXPECT_EQ(loop.wait(store->commit(std::move(log))).error().code, Code::ResourceExhausted)
        << "logs would eat it bit by bit";
    Batch removal;
    removal.erase(Table::Log, "job/log");
    EXPECT_TRUE(loop.wait(store->commit(std::move(removal))));
    result = put(*store, "big0", std::string(100'000, 'x'));
    ASSERT_FALSE(result) << "large ones would eat the room";
    EXPECT_EQ(result.error().code, Code::ResourceExhausted);
    EXPECT_EQ(store->scan(Table::Job, {})->size(), static_cast<std::size_t>(stored) + 1);

    store.reset();
    store = open();  // there is space again
    EXPECT_EQ(::stat(ballast.c_str(), &there), 0);
    EXPECT_TRUE(put(*store, "big0", std::string(100'000, 'y')));
}

TEST_F(SqliteStoreTest, WhatFillsOneLaneIsInNoOtherOnesWay) {
    Gate gate;
    auto store = open({.ballast_bytes = 4096, .free_space = [&] { return gate.free_space(); }});
    gate.shut();
    std::string order;
    std::vector<std::pair<Batch, CommitDone>> came_back;
    const auto send = [&](Lane lane, std::string key, std::size_t bytes, char sign) {
        Batch batch;
        batch.lane = lane;
        batch.put(lane == Lane::Logs ? Table::Log : Table::Job, std::move(key),
                  std::string(bytes, sign));
        batch.give_back = [&](Batch same, CommitDone done) {
            came_back.emplace_back(std::move(same), std::move(done));
        };
        store->commit(std::move(batch), [&, sign](auto result) { order += result ? sign : '!'; });
    };
    for (int i = 0; i < 100; ++i) send(Lane::Logs, "log/" + std::to_string(i), 1 << 20, 'l');
    loop.drain();
    const std::size_t refused = came_back.size();
    EXPECT_GT(refused, 25u);
    EXPECT_LT(refused, 50u);
    EXPECT_EQ(order, "") << "what found no room has not failed";
    send(Lane::Usual, "usual", 100, 'u');
    send(Lane::Control, "control", 100, 'c');
    loop.drain();
    EXPECT_EQ(came_back.size(), refused);
    // Without somebody to give it back to, it fails, and says that the same may be tried again.
    Batch batch;
    batch.lane = Lane::Logs;
    batch.put(Table::Log, "log/x", std::string(1 << 20, 'x'));
    const auto answer = loop.wait(store->commit(std::move(batch)));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::Unavailable);
    EXPECT_EQ(answer.error().reason, "TooManyWrites");

    gate.open();
    loop.run_until([&] { return order.size() == 102 - refused; });
    // They did not wait until all logs were written: the writer had taken a group before they came.
    EXPECT_LT(order.find('c'), 20u);
    EXPECT_LT(order.find('u'), 20u);
    EXPECT_LT(order.find('c'), order.find('u'));
    EXPECT_EQ(order.find('!'), std::string::npos);
    for (auto& [same, done] : std::exchange(came_back, {}))
        store->commit(std::move(same), std::move(done));
    loop.run_until([&] { return order.size() == 102; });
    EXPECT_EQ(store->scan(Table::Log, with_prefix("log/"))->size(), 100u);
    EXPECT_TRUE(*store->get(Table::Job, "control"));
}

// Run by the test below in a process of its own: commits for ever, and says on its standard output
// which numbers were acknowledged. The database and the round come on its standard input.
TEST(SqliteStoreChild, DISABLED_Commits) {
    std::string path, round;
    std::cin >> path >> round;
    TestLoop loop;
    auto opened = open_sqlite_store(loop, path, {.ballast_bytes = 0});
    if (!opened) ::_exit(1);
    for (std::uint32_t i = 0;; ++i) {
        // Two rows in different tables: a batch is there whole or not at all.
        const std::string key = round + "/" + std::to_string(i);
        Batch batch;
        batch.put(Table::Job, key, std::string(i % 3000, 'x'));
        batch.put(Table::JobLive, key, "");
        (*opened)->commit(std::move(batch), [i](auto result) {
            const std::uint64_t mark[] = {kMark, i};
            if (!result || ::write(STDOUT_FILENO, mark, sizeof mark) != sizeof mark) ::_exit(1);
        });
        if (i % 20 != 0) continue;
        loop.drain();
        loop.wait((*opened)->commit(Batch{}));
    }
}

// Reads the acknowledged numbers; gtest's own output comes before the first mark.
class Acknowledged {
public:
    explicit Acknowledged(int fd) : fd_(fd) {}
    // Reads until there are `enough`, or the end.
    void read(std::size_t enough) {
        while (numbers.size() < enough) {
            char piece[4096];
            const ssize_t got = ::read(fd_, piece, sizeof piece);
            if (got <= 0) return;
            text_.append(piece, static_cast<std::size_t>(got));
            if (!begun_) {
                const std::size_t first = text_.find(
                    std::string_view(reinterpret_cast<const char*>(&kMark), sizeof kMark));
                if (first == std::string::npos) continue;
                text_.erase(0, first);
                begun_ = true;
            }
            std::size_t at = 0;
            for (std::uint64_t mark[2]; at + sizeof mark <= text_.size(); at += sizeof mark) {
                std::memcpy(mark, text_.data() + at, sizeof mark);
                ASSERT_EQ(mark[0], kMark);
                numbers.push_back(mark[1]);
            }
            text_.erase(0, at);
        }
    }
    std::vector<std::uint64_t> numbers;

private:
    int fd_;
    bool begun_ = false;
    std::string text_;
};

TEST_F(SqliteStoreTest, EveryAcknowledgedKeySurvivesKill9) {
    for (int round = 0; round < 3; ++round) {
        int input[2], output[2];
        ASSERT_EQ(::pipe2(input, O_CLOEXEC), 0);
        ASSERT_EQ(::pipe2(output, O_CLOEXEC), 0);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
        std::string arguments[] = {"test", "--gtest_filter=SqliteStoreChild.*",
                                   "--gtest_also_run_disabled_tests"};
        char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
        pid_t child = -1;
        ASSERT_EQ(::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, argv, environ), 0);
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(input[0]);
        ::close(output[1]);
        const std::string words = path + "\n" + std::to_string(round) + "\n";
        ASSERT_EQ(::write(input[1], words.data(), words.size()),
                  static_cast<ssize_t>(words.size()));
        ::close(input[1]);

        Acknowledged acknowledged(output[0]);
        const std::size_t enough = 150 + static_cast<std::size_t>(round) * 333;
        acknowledged.read(enough);
        ::kill(child, SIGKILL);
        acknowledged.read(std::numeric_limits<std::size_t>::max());
        ::close(output[0]);
        int status = 0;
        ::waitpid(child, &status, 0);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself";
        ASSERT_GE(acknowledged.numbers.size(), enough);

        auto store = open();
        ASSERT_TRUE(store);
        for (const std::uint64_t i : acknowledged.numbers) {
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
