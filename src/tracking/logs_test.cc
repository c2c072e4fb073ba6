#include <gtest/gtest.h>

#include "store/memory/memory_store.h"
#include "store/test_world.h"
#include "tracking/tracking.h"

namespace turnout {
namespace {

constexpr const char* ws = "0123456789ab";
constexpr const char* std_log = "user_logs/std_log.txt";

class LogTest : public testing::Test {
protected:
    ManualLoop loop;
    CountingRandom random;
    MemoryStore store;
    std::optional<Tracking> tracking;

    void SetUp() override { tracking.emplace(store, loop, random, loop); }
    void TearDown() override {
        tracking.reset();
        loop.pass(1h);
    }

    using Length = std::shared_ptr<std::optional<Result<std::uint64_t>>>;
    Length append(std::uint64_t offset, std::string bytes, int attempt = 1,
                  std::string stream = std_log, std::string job = "job") {
        auto length = std::make_shared<std::optional<Result<std::uint64_t>>>();
        tracking->append_log(
            {{ws, std::move(job), attempt}, std::move(stream), offset, std::move(bytes)},
            [length](Result<std::uint64_t> result) { length->emplace(std::move(result)); });
        return length;
    }
    void flush() {
        while (store.flush() > 0) {
        }
    }
    std::string text(std::string_view path = std_log, std::uint64_t offset = 0,
                     std::uint64_t limit = 1 << 30) {
        const auto read = tracking->read_log(ws, "job", path, offset, limit);
        return read ? *read : "error: " + read.error().message;
    }
};

TEST_F(LogTest, OnlyWhatIsDurableIsAcknowledgedAndRead) {
    const auto length = append(0, "hello ");
    EXPECT_FALSE(*length);
    EXPECT_EQ(tracking->read_log(ws, "job", std_log, 0, 10).error().code, Code::NotFound);
    flush();
    EXPECT_EQ(**length, 6u);
    EXPECT_EQ(text(), "hello ");
}

TEST_F(LogTest, OverlapIsCutAndAGapIsNotTaken) {
    append(0, "abcdef");
    flush();
    const auto overlap = append(3, "defghi");
    flush();
    EXPECT_EQ(**overlap, 9u);
    const auto again = append(0, "abc");
    flush();
    EXPECT_EQ(**again, 9u);
    const auto gap = append(20, "xyz");
    flush();
    EXPECT_EQ(**gap, 9u);
    EXPECT_EQ(text(), "abcdefghi");
}

TEST_F(LogTest, ChunksInFlightKeepTheirOrder) {
    std::vector<Length> acks;
    std::string all;
    for (int i = 0; i < 200; ++i) {
        const std::string line = "line " + std::to_string(i) + "\n";
        acks.push_back(append(all.size(), line));
        all += line;
    }
    const auto duplicate = append(10, all.substr(10, 100));
    int commits = 0;
    while (store.queued() > 0) {
        EXPECT_EQ(store.queued(), 1u);
        store.flush();
        ++commits;
    }
    EXPECT_LE(commits, 3);
    std::uint64_t sent = 0;
    for (int i = 0; i < 200; ++i) {
        sent += ("line " + std::to_string(i) + "\n").size();
        EXPECT_GE(***acks[static_cast<std::size_t>(i)], sent);
    }
    EXPECT_EQ(**duplicate, all.size());
    EXPECT_EQ(text(), all);
}

TEST_F(LogTest, AFailedCommitLeavesNoGap) {
    append(0, "one ");
    flush();
    store.fail_next(Error{Code::ResourceExhausted, "DiskFull", "disk full", {}, nullptr});
    const auto lost = append(4, "two ");
    const auto behind = append(8, "three ");
    flush();
    EXPECT_EQ((*lost)->error().code, Code::ResourceExhausted);
    EXPECT_EQ(**behind, 4u);  // not taken: it would have left a gap
    append(4, "two three ");
    flush();
    EXPECT_EQ(text(), "one two three ");
}

TEST_F(LogTest, WaitsForRoomInTheStore) {
    for (int i = 0; i < 3; ++i) store.refuse_next();
    const auto length = append(0, "one ");
    const auto behind = append(4, "two ");
    flush();
    EXPECT_FALSE(*length) << "it has not failed";
    for (int i = 0; i < 10 && !*behind; ++i) {
        loop.pass(20ms);
        flush();
    }
    ASSERT_TRUE(*behind);
    EXPECT_EQ(**length, 4u);
    EXPECT_EQ(**behind, 8u);
    EXPECT_EQ(text(), "one two ");
}

TEST_F(LogTest, RemovingAJobWaitsForRoomInTheStore) {
    append(0, "one ");
    flush();
    for (int i = 0; i < 3; ++i) store.refuse_next();
    std::optional<Result<void>> removed;
    start(tracking->remove_job(ws, "job"), [&](Result<void> result) { removed = result; });
    for (int i = 0; i < 10 && !removed; ++i) {
        flush();
        loop.pass(20ms);
    }
    ASSERT_TRUE(removed);
    EXPECT_TRUE(*removed) << removed->error().message;
    EXPECT_EQ(tracking->log_length(ws, "job", std_log), 0u);
}

TEST_F(LogTest, WhatIsSentAgainWhileTheDiskIsSlowIsNotKeptTwice) {
    const std::string piece(64 << 10, 'x');
    const auto first = append(0, piece);
    append(piece.size(), piece);
    const std::size_t once = tracking->waiting_log_bytes();
    std::vector<Length> again;
    for (int i = 0; i < 1000; ++i) {
        again.push_back(append(0, piece));
        again.push_back(append(piece.size(), piece));
    }
    EXPECT_LT(tracking->waiting_log_bytes(), once + (1 << 20)) << "of 125 MiB";
    flush();
    for (const Length& length : again) EXPECT_EQ(**length, 2 * piece.size());
    EXPECT_EQ(text(), piece + piece);
    EXPECT_EQ(tracking->waiting_log_bytes(), 0u);
    // After a commit that failed they are not there, though they were sent before.
    store.fail_next(Error{Code::ResourceExhausted, "DiskFull", "disk full", {}, nullptr});
    append(2 * piece.size(), "more");
    flush();
    append(2 * piece.size(), "more");
    flush();
    EXPECT_EQ(text(), piece + piece + "more");
}

TEST_F(LogTest, WhoBringsMoreThanTheDiskTakesIsToWaitForRoom) {
    const std::string piece(1 << 20, 'x');
    std::vector<Length> taken;
    int job = 0;
    while (!tracking->logs_full())
        taken.push_back(append(0, piece, 1, std_log, "job-" + std::to_string(++job)));
    EXPECT_EQ(job, 64);
    // Those who do not wait are refused in the end.
    Length last;
    do last = append(0, piece, 1, std_log, "job-" + std::to_string(++job));
    while (!*last && job < 1000);
    ASSERT_TRUE(*last);
    EXPECT_EQ((*last)->error().reason, "TooManyRequests");
    EXPECT_EQ(job, 128);
    while (tracking->waiting_log_bytes() > 32 << 20) {
        EXPECT_TRUE(tracking->logs_full()) << "until half of it is written";
        ASSERT_EQ(store.flush(1), 1u);
    }
    EXPECT_FALSE(tracking->logs_full());
    flush();
    for (const Length& length : taken) EXPECT_EQ(**length, piece.size());
}

TEST_F(LogTest, ReadsAnyRangeAcrossRowsAndAfterARestart) {
    std::string all;
    for (int i = 0; all.size() < 600'000; ++i) {
        const std::string piece(static_cast<std::size_t>(1 + (i * 7919) % 9000),
                                static_cast<char>('a' + i % 26));
        append(all.size(), piece);
        if (i % 3 == 0) flush();
        all += piece;
    }
    flush();
    tracking.emplace(store, loop, random, loop);
    for (const std::uint64_t offset : {0u, 1u, 4095u, 4096u, 65536u, 300'000u, 599'000u})
        for (const std::uint64_t limit : {1u, 100u, 70'000u})
            EXPECT_TRUE(text(std_log, offset, limit) == all.substr(offset, limit))
                << offset << " " << limit;
    EXPECT_TRUE(text() == all);
    EXPECT_EQ(text(std_log, all.size(), 10), "");
    append(all.size(), "end");
    flush();
    EXPECT_EQ(text(std_log, all.size(), 10), "end");
}

TEST_F(LogTest, WhatIsSentAgainAfterARestartIsNotTakenTwice) {
    append(0, "one ");
    append(4, "two ");
    flush();
    tracking.emplace(store, loop, random, loop);
    const auto first = append(0, "one two ");
    const auto second = append(8, "three");
    flush();
    EXPECT_EQ(**first, 13u);  // both went into one commit
    EXPECT_EQ(**second, 13u);
    EXPECT_EQ(text(), "one two three");
    tracking.emplace(store, loop, random, loop);
    const auto shorter = append(0, "one");
    flush();
    EXPECT_EQ(**shorter, 13u);
    EXPECT_EQ(text(), "one two three");
}

TEST_F(LogTest, FewLinesShareARow) {
    std::uint64_t at = 0;
    for (int i = 0; i < 100; ++i) {
        append(at, "ten bytes\n");
        at += 10;
        flush();
    }
    EXPECT_EQ(store.durable().tables[static_cast<std::size_t>(Table::Log)].size(), 1u);
    EXPECT_EQ(*tracking->log_length(ws, "job", std_log), 1000u);
}

TEST_F(LogTest, TheCurrentAttemptIsInFront) {
    append(0, "first", 1);
    append(0, "env", 1, "azureml-logs/20_environment.txt");
    flush();
    append(0, "second try", 2);
    flush();
    using Streams = std::vector<std::pair<std::string, std::uint64_t>>;
    EXPECT_EQ(*tracking->log_streams(ws, "job"),
              (Streams{{std_log, 10},
                       {"retries/1/azureml-logs/20_environment.txt", 3},
                       {"retries/1/user_logs/std_log.txt", 5}}));
    EXPECT_EQ(text(), "second try");
    EXPECT_EQ(text("retries/1/user_logs/std_log.txt"), "first");
    EXPECT_EQ(tracking->read_log(ws, "job", "retries/2/user_logs/std_log.txt", 0, 9).error().code,
              Code::NotFound);
    EXPECT_EQ(tracking->read_log(ws, "job", "azureml-logs/20_environment.txt", 0, 9).error().code,
              Code::NotFound);
    EXPECT_TRUE(tracking->log_streams(ws, "jo")->empty());
}

TEST_F(LogTest, BadChunksAreRefused) {
    EXPECT_EQ((*append(0, "x", 1, "../etc/passwd"))->error().code, Code::InvalidArgument);
    EXPECT_EQ((*append(0, "x", 0))->error().code, Code::InvalidArgument);
    EXPECT_EQ((*append(0, "x", 1, std_log, "a/b"))->error().code, Code::InvalidArgument);
    EXPECT_EQ((*append(~std::uint64_t{0}, "xy"))->error().code, Code::InvalidArgument);
    EXPECT_EQ((*append(0, std::string((1 << 20) + 1, 'x')))->error().code, Code::InvalidArgument);
}

TEST_F(LogTest, AWaitingReaderWakesAfterTheCommit) {
    auto waiting = begin(tracking->wait_log(ws, "job", std_log, 0, 10s));
    append(0, "hello");
    EXPECT_FALSE(waiting.done());
    flush();
    ASSERT_TRUE(waiting.done());
    EXPECT_EQ(**waiting, 5u);
    EXPECT_EQ(loop.timers(), 0u);

    auto beyond = begin(tracking->wait_log(ws, "job", std_log, 5, 10s));
    append(0, "other stream", 1, "azureml-logs/20_environment.txt");
    flush();
    loop.pass(9s);
    EXPECT_FALSE(beyond.done());
    loop.pass(2s);
    ASSERT_TRUE(beyond.done());
    EXPECT_EQ(**beyond, 5u);

    auto to_the_end = begin(tracking->wait_log(ws, "job", std_log, 5, 1h));
    auto of_another = begin(tracking->wait_log(ws, "other", std_log, 0, 1h));
    tracking->job_ended(ws, "job");
    ASSERT_TRUE(to_the_end.done());
    EXPECT_EQ(**to_the_end, 5u);
    EXPECT_FALSE(of_another.done());
    tracking->job_ended(ws, "other");

    TestStop client;
    auto until_it_leaves = begin(tracking->wait_log(ws, "job", std_log, 5, 1h, &client));
    EXPECT_FALSE(until_it_leaves.done());
    client.stop();
    EXPECT_TRUE(until_it_leaves.done());
    EXPECT_FALSE(client.watched());
    EXPECT_EQ(loop.timers(), 0u);

    auto at_shutdown = begin(tracking->wait_log(ws, "job", std_log, 5, 1h));
    tracking.reset();
    ASSERT_TRUE(at_shutdown.done());
    EXPECT_EQ(at_shutdown->error().code, Code::Unavailable);
}

TEST_F(LogTest, AreBlobsOfTheArtifactContainer) {
    append(0, "hello", 1, std_log, "job");
    append(0, "hi", 1, std_log, "job-2");
    flush();
    const std::string container = "azureml-" + std::string(ws);
    const auto names = [&](std::string_view prefix) {
        std::vector<std::string> found;
        const auto blobs = tracking->list(container, prefix);
        for (const BlobInfo& blob : *blobs) found.push_back(blob.name);
        return found;
    };
    const std::string one = "ExperimentRun/dcid.job/user_logs/std_log.txt";
    const std::string two = "ExperimentRun/dcid.job-2/user_logs/std_log.txt";
    EXPECT_EQ(names("ExperimentRun/dcid.job/"), std::vector<std::string>{one});
    EXPECT_EQ(names("ExperimentRun/dcid.job/user_logs/"), std::vector<std::string>{one});
    EXPECT_TRUE(names("ExperimentRun/dcid.job/outputs/").empty());
    EXPECT_EQ(names("ExperimentRun/dcid.jo"),
              (std::vector<std::string>{two, one}));  // as the store sorts
    EXPECT_EQ(names(""), (std::vector<std::string>{two, one}));
    EXPECT_TRUE(names("outputs").empty());
    EXPECT_TRUE(tracking->list("azureml-blobstore-" + std::string(ws), "")->empty());
    const auto head = *tracking->head(container, one);
    ASSERT_TRUE(head);
    EXPECT_EQ(head->size, 5u);
    EXPECT_EQ(head->etag, "5");
    EXPECT_EQ(*tracking->read(container, one, 1, 3), "ell");
    EXPECT_FALSE(tracking->head(container, "ExperimentRun/dcid.job/outputs/x")->has_value());
}

TEST_F(LogTest, ADeletedJobLeavesNothing) {
    auto made = begin(tracking->ensure_job_run(ws, "job", "exp", "name", "admin"));
    flush();
    LogBatch batch;
    batch.metrics.push_back({"a", 1, 1, 1});
    auto logged = begin(tracking->log(ws, "job", batch));
    append(0, "hello");
    flush();
    auto removed = begin(tracking->remove_job(ws, "job"));
    flush();
    ASSERT_TRUE(removed.done() && *removed);
    for (const Table table : {Table::Run, Table::RunCreated, Table::Metric, Table::Log})
        EXPECT_TRUE(store.durable().tables[static_cast<std::size_t>(table)].empty())
            << name_of(table);
    const auto anew = append(0, "new");
    flush();
    EXPECT_EQ(**anew, 3u);
    EXPECT_EQ(text(), "new");
}

}  // namespace
}  // namespace turnout
