#include "blob/blobs.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/hash.h"
#include "base/text.h"
#include "blob/content.h"
#include "blob/md5_reader.h"
#include "store/memory/memory_store.h"
#include "store/test_loop.h"

namespace turnout {
namespace {

class TestClock : public Clock {
public:
    Instant time{1'700'000'000'000'000};
    Instant now() const override { return time; }
    Span since_boot() const override { return Span(time.micros); }
};
class TestRandom : public Random {
public:
    std::uint64_t next() override { return engine_(); }
    std::string bytes(std::size_t count) override {
        std::string text;
        while (text.size() < count) text += static_cast<char>(engine_());
        return text;
    }

private:
    std::mt19937_64 engine_{7};
};

// Gives its pieces one by one; then the end, or the connection breaks.
class Pieces : public http::BodyReader {
public:
    Pieces(std::vector<std::string> pieces, bool breaks = false)
        : pieces_(std::move(pieces)), breaks_(breaks) {}
    Task<Result<std::string>> read() override {
        if (at_ < pieces_.size()) co_return pieces_[at_++];
        if (breaks_) co_return fail(Code::Unavailable, "ConnectionClosed", "the connection ended");
        co_return std::string();
    }

private:
    std::vector<std::string> pieces_;
    std::size_t at_ = 0;
    bool breaks_;
};

std::string noise(std::size_t size, unsigned seed) {
    std::mt19937 engine(seed);
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(engine());
    return bytes;
}

class BlobsTest : public testing::Test {
protected:
    BlobsTest() {
        std::string name = std::filesystem::temp_directory_path() / "turnout-blob-XXXXXX";
        folder = std::string(::mkdtemp(name.data())) + "/blobs";
        reopen();
    }
    ~BlobsTest() override {
        std::filesystem::remove_all(std::filesystem::path(folder).parent_path());
    }

    void reopen() {
        auto opened =
            open_blobs(store, clock, random, loop, folder, [this] { return disk_is_full; });
        EXPECT_TRUE(opened) << opened.error().message;
        blobs = std::move(*opened);
    }
    Result<BlobInfo> put(std::string name, std::string bytes, BlobPut what = {}) {
        what.container = "box";
        what.name = std::move(name);
        return loop.wait(blobs->put_bytes(std::move(what), std::move(bytes)));
    }
    Result<void> block(std::string name, std::string id, std::string bytes) {
        Pieces body({std::move(bytes)});
        return loop.wait(blobs->put_block("box", std::move(name), std::move(id), body));
    }
    std::string read(std::string_view name, std::uint64_t offset = 0,
                     std::optional<std::uint64_t> length = std::nullopt) {
        const auto found = blobs->head("box", name);
        if (!found || !*found) return "(absent)";
        auto reader = blobs->read(**found, offset, length);
        EXPECT_TRUE(reader);
        auto bytes = loop.wait((*reader)->all(1 << 30));
        EXPECT_TRUE(bytes) << bytes.error().message;
        return bytes ? *bytes : "(error)";
    }
    std::string names(std::string_view prefix, std::string_view delimiter = "",
                      std::string marker = "", std::size_t limit = 1000) {
        const auto list = blobs->list("box", prefix, delimiter, marker, limit);
        EXPECT_TRUE(list);
        std::string text;
        for (const BlobInfo& blob : list->blobs) text += blob.name + " ";
        for (const std::string& folder_name : list->prefixes) text += "[" + folder_name + "] ";
        if (!list->next_marker.empty()) text += "> " + list->next_marker;
        return text;
    }
    Blobs::Collected collect(Span later) {
        const auto collected = loop.wait(blobs->collect(clock.now() + later));
        EXPECT_TRUE(collected);
        return collected.value_or(Blobs::Collected{});
    }
    std::size_t rows(Table table) { return store.scan(table, {.limit = 100'000})->size(); }
    std::size_t files() {
        std::size_t count = 0;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
            count += entry.is_regular_file();
        return count;
    }

    TestLoop loop;
    MemoryStore store{loop};
    TestClock clock;
    TestRandom random;
    std::string folder;
    bool disk_is_full = false;
    std::unique_ptr<Blobs> blobs;
};

TEST_F(BlobsTest, OnAFullDiskWhatIsDeletedGoesAtOnce) {
    ASSERT_TRUE(put("a", noise(200'000, 1)));
    ASSERT_TRUE(put("twin", noise(200'000, 1)));
    ASSERT_TRUE(put("small", "text"));
    disk_is_full = true;
    ASSERT_TRUE(loop.wait(blobs->remove("box", "a")));
    EXPECT_EQ(files(), 1u) << "its twin needs it";
    ASSERT_TRUE(loop.wait(blobs->remove("box", "twin")));
    EXPECT_EQ(files(), 0u);
    ASSERT_TRUE(loop.wait(blobs->remove("box", "small")));
    EXPECT_EQ(rows(Table::BlobData), 0u);
    EXPECT_EQ(rows(Table::BlobUse), 0u);
    ASSERT_TRUE(put("a", noise(200'000, 1)));
    ASSERT_TRUE(put("a", "other"));
    collect({});
    EXPECT_EQ(files(), 0u) << "nor is what was overwritten held";
}

TEST_F(BlobsTest, WhatIsSealedStaysAsItIs) {
    ASSERT_TRUE(put("a", "one"));
    ASSERT_TRUE(put("large", noise(100'000, 2)));
    Batch batch;
    batch.writes.push_back(blobs->seal("box"));
    const auto refused = [&](const auto& result) {
        return !result && result.error().reason == "BlobImmutableDueToPolicy";
    };
    EXPECT_TRUE(refused(put("a", "two"))) << "from the moment on at which it is asked for";
    ASSERT_TRUE(loop.wait(store.commit(std::move(batch))));
    blobs->seal_settled("box");
    reopen();
    EXPECT_TRUE(refused(put("a", "two")));
    EXPECT_TRUE(refused(put("new", "two")));
    EXPECT_TRUE(refused(loop.wait(blobs->remove("box", "a"))));
    ASSERT_TRUE(block("large", "1", noise(100'000, 3)));
    EXPECT_TRUE(
        refused(loop.wait(blobs->put_block_list({.container = "box", .name = "large"}, {"1"}))));
    EXPECT_TRUE(put("a", "one")) << "a repeated upload of the same";
    EXPECT_EQ(read("a"), "one");
    EXPECT_EQ(read("large"), noise(100'000, 2));
    ASSERT_TRUE(loop.wait(blobs->remove_all("box", "")));
    EXPECT_EQ(rows(Table::Blob) + rows(Table::BlobBlock), 0u);
    EXPECT_TRUE(put("a", "two"));
    // A seal that did not come to be.
    blobs->seal("box");
    blobs->seal_settled("box");
    EXPECT_TRUE(put("a", "three"));
}

TEST_F(BlobsTest, ManyGoTogetherAndSomeAreKept) {
    for (int i = 0; i < 600; ++i) ASSERT_TRUE(put("job/" + std::to_string(i), std::to_string(i)));
    ASSERT_TRUE(put("job-2/x", "x"));
    ASSERT_TRUE(block("job/up", "1", "never committed"));
    std::string after;
    std::size_t seen = 0;
    do {
        const auto page = blobs->every(after, 100);
        ASSERT_TRUE(page);
        for (const auto& blob : page->blobs) {
            EXPECT_EQ(blob.contents.size(), 1u);
            EXPECT_EQ(*blobs->references(blob.contents[0].first, 5), 1u);
        }
        seen += page->blobs.size();
        after = page->next;
    } while (!after.empty());
    EXPECT_EQ(seen, 601u);
    const auto some = loop.wait(blobs->remove_all(
        "box", "job/", [](const BlobInfo& blob) { return blob.name == "job/7"; }));
    ASSERT_TRUE(some);
    EXPECT_EQ(some->blobs, 599u);
    EXPECT_EQ(names(""), "job-2/x job/7 ");
    ASSERT_TRUE(loop.wait(blobs->remove_all("box", "job/")));
    EXPECT_EQ(names(""), "job-2/x ");
    EXPECT_EQ(rows(Table::BlobBlock), 0u);
    collect(Blobs::kHold + 1s);
    EXPECT_EQ(rows(Table::BlobData), 1u);
}

TEST_F(BlobsTest, SmallAndLargeComeBackAsTheyWere) {
    for (const std::size_t size : {std::size_t(0), std::size_t(1), blob::kSmall, blob::kSmall + 1,
                                   blob::kPiece, std::size_t(3'000'001)}) {
        const std::string bytes = noise(size, static_cast<unsigned>(size));
        const auto info = put("b", bytes);
        ASSERT_TRUE(info) << info.error().message;
        EXPECT_EQ(info->size, size);
        EXPECT_EQ(info->sha256, to_hex(sha256(bytes)));
        EXPECT_EQ(read("b"), bytes);
        EXPECT_EQ(*blobs->read_all("box", "b", size), bytes);
        EXPECT_EQ(read("b", size / 3, 1000), bytes.substr(size / 3, 1000));
        EXPECT_EQ(read("b", size + 10), "");
        if (size > 0) {
            EXPECT_EQ(blobs->read_all("box", "b", size - 1).error().code, Code::ResourceExhausted);
        }
    }
    EXPECT_EQ(files(), 3u);
}

TEST_F(BlobsTest, StreamsPieces) {
    std::vector<std::string> pieces;
    std::string whole;
    for (unsigned i = 0; i < 40; ++i) {
        pieces.push_back(noise(1 + i * 997, i));
        whole += pieces.back();
    }
    Pieces body(pieces);
    const auto info = loop.wait(blobs->put({.container = "box", .name = "s"}, body));
    ASSERT_TRUE(info);
    EXPECT_EQ(read("s"), whole);
}

TEST_F(BlobsTest, TheSameContentIsKeptOnce) {
    const std::string large = noise(200'000, 1);
    for (const char* name : {"a", "b", "c"}) {
        ASSERT_TRUE(put(name, large));
        ASSERT_TRUE(put(std::string("small-") + name, "x"));
    }
    EXPECT_EQ(files(), 1u);
    EXPECT_EQ(rows(Table::BlobData), 1u);
}

TEST_F(BlobsTest, ABrokenUploadLeavesNothing) {
    for (const std::size_t size : {std::size_t(100), std::size_t(1'000'000)}) {
        Pieces body({noise(size, 1)}, true);
        EXPECT_FALSE(loop.wait(blobs->put({.container = "box", .name = "x"}, body)));
        Pieces again({noise(size, 2)}, true);
        EXPECT_FALSE(loop.wait(blobs->put_block("box", "x", "id", again)));
    }
    EXPECT_EQ(files(), 0u);
    for (const Table table : {Table::Blob, Table::BlobBlock, Table::BlobData, Table::BlobUse})
        EXPECT_EQ(rows(table), 0u);
}

TEST_F(BlobsTest, AWrongMd5IsRefused) {
    for (const std::size_t size : {std::size_t(100), std::size_t(1'000'000)}) {
        const std::string bytes = noise(size, 3);
        EXPECT_TRUE(put("ok", bytes, {.content_md5 = to_base64(md5(bytes))}));
        const auto refused = put("bad", bytes, {.content_md5 = to_base64(md5(bytes + "x"))});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().reason, "Md5Mismatch");
    }
    EXPECT_EQ(read("bad"), "(absent)");
    EXPECT_EQ(files(), 1u);
}

TEST_F(BlobsTest, Conditions) {
    const auto first = put("c", "1", {.only_if_absent = true});
    ASSERT_TRUE(first);
    const auto second = put("c", "2", {.only_if_absent = true});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().reason, "BlobAlreadyExists");
    EXPECT_EQ(second.error().code, Code::Conflict);
    clock.time = clock.time + 5s;
    const auto third = put("c", "3", {.only_if_etag = first->etag});
    ASSERT_TRUE(third);
    EXPECT_NE(third->etag, first->etag);
    EXPECT_EQ(third->created, first->created);
    EXPECT_EQ(third->modified, clock.now());
    const auto fourth = put("c", "4", {.only_if_etag = first->etag});
    ASSERT_FALSE(fourth);
    EXPECT_EQ(fourth.error().reason, "ConditionNotMet");
    EXPECT_EQ(read("c"), "3");
    EXPECT_NE(put("c", "3")->etag, third->etag) << "the same content is an overwrite too";
}

TEST_F(BlobsTest, OfTwoThatMustBeFirstOneIs) {
    int won = 0, lost = 0;
    for (int i = 0; i < 2; ++i)
        start(blobs->put_bytes({.container = "box", .name = "race", .only_if_absent = true},
                               std::to_string(i)),
              [&](const Result<BlobInfo>& result) {
                  ++(result ? won : lost);
                  if (!result) {
                      EXPECT_EQ(result.error().reason, "BlobAlreadyExists");
                  }
              });
    loop.run_until([&] { return won + lost == 2; });
    EXPECT_EQ(won, 1);
}

TEST_F(BlobsTest, ConcurrentOverwritesCountEveryReference) {
    int ended = 0;
    for (unsigned i = 0; i < 20; ++i)
        start(blobs->put_bytes({.container = "box", .name = "one"}, "content " + std::to_string(i)),
              [&](const Result<BlobInfo>& result) {
                  EXPECT_TRUE(result);
                  ++ended;
              });
    loop.run_until([&] { return ended == 20; });
    collect(25h);
    EXPECT_EQ(rows(Table::BlobData), 1u);
    EXPECT_EQ(rows(Table::BlobUse), 1u);
    EXPECT_NE(read("one"), "(absent)");
}

TEST_F(BlobsTest, BlocksBecomeABlob) {
    const std::string a = noise(100'000, 1), b = noise(10, 2), c = noise(300'000, 3);
    ASSERT_TRUE(block("f", "b/1", a));
    ASSERT_TRUE(block("f", "b/2", "wrong"));
    ASSERT_TRUE(block("f", "b/2", b));
    ASSERT_TRUE(block("f", "b/3", c));
    ASSERT_TRUE(block("f", "b/4", "never committed"));
    ASSERT_TRUE(block("f/1", "x", "of another blob"));
    EXPECT_EQ(read("f"), "(absent)");
    EXPECT_EQ(names(""), "");
    const auto missing =
        loop.wait(blobs->put_block_list({.container = "box", .name = "f"}, {"b/1", "b/9"}));
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().reason, "InvalidBlockList");
    const auto info =
        loop.wait(blobs->put_block_list({.container = "box", .name = "f"}, {"b/3", "b/2", "b/1"}));
    ASSERT_TRUE(info) << info.error().message;
    const std::string whole = c + b + a;
    EXPECT_EQ(info->size, whole.size());
    EXPECT_EQ(read("f"), whole);
    EXPECT_EQ(*blobs->read_all("box", "f", 1 << 20), whole);
    for (const std::size_t at :
         {std::size_t(0), c.size() - 1, c.size(), c.size() + 9, c.size() + 10, whole.size() - 5})
        EXPECT_EQ(read("f", at, 20), whole.substr(at, 20));
    EXPECT_EQ(rows(Table::BlobBlock), 1u) << "the other blob's block stays";

    collect(25h);
    EXPECT_EQ(read("f"), whole);
    EXPECT_EQ(files(), 2u);
    EXPECT_EQ(loop.wait(blobs->remove("box", "f", "another")).error().reason, "ConditionNotMet");
    EXPECT_EQ(read("f"), whole);
    ASSERT_TRUE(loop.wait(blobs->remove("box", "f", info->etag)));
    EXPECT_EQ(files(), 2u) << "held for a day";
    collect(23h);
    EXPECT_EQ(files(), 2u);
    EXPECT_EQ(collect(25h).contents, 3u);
    EXPECT_EQ(files(), 0u);
    collect(8 * 24h);
    collect(10 * 24h);
    for (const Table table : {Table::Blob, Table::BlobBlock, Table::BlobData, Table::BlobUse})
        EXPECT_EQ(rows(table), 0u);
}

TEST_F(BlobsTest, AListThatNamesFarMoreThanWasUploadedIsRefused) {
    ASSERT_TRUE(block("f", "1", noise(1 << 20, 1)));
    ASSERT_TRUE(block("f", "2", noise(100, 2)));
    // Gone, so that whoever reads it finds nothing.
    std::filesystem::remove_all(folder);
    const auto refused = loop.wait(blobs->put_block_list({.container = "box", .name = "f"},
                                                         std::vector<std::string>(50'000, "1")));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, "InvalidBlockList");
    EXPECT_EQ(refused.error().code, Code::InvalidArgument);
    EXPECT_TRUE(loop.wait(blobs->put_block_list({.container = "box", .name = "f"},
                                                std::vector<std::string>(600, "2"))));
}

TEST_F(BlobsTest, ABlockListIsCommittedWithoutReadingWhatItNames) {
    for (const char* const id : {"1", "2"}) ASSERT_TRUE(block("f", id, noise(1 << 20, 1)));
    ASSERT_TRUE(block("g", "1", noise(1 << 20, 1)));
    ASSERT_TRUE(block("g", "2", noise(1 << 20, 2)));
    std::filesystem::remove_all(folder);
    const auto f = loop.wait(blobs->put_block_list({.container = "box", .name = "f"}, {"1", "2"}));
    const auto g = loop.wait(blobs->put_block_list({.container = "box", .name = "g"}, {"1", "2"}));
    ASSERT_TRUE(f && g);
    EXPECT_EQ(f->size, 2u << 20);
    EXPECT_NE(f->sha256, g->sha256);
}

TEST_F(BlobsTest, ACopyIsTheSameContentUnderAnotherName) {
    const std::string large = noise(100'000, 1);
    ASSERT_TRUE(put("a", large, {.content_type = "text/csv"}));
    const auto copied =
        loop.wait(blobs->copy({.container = "box", .name = "b", .content_type = ""}, "a"));
    ASSERT_TRUE(copied);
    EXPECT_EQ(copied->content_type, "text/csv");
    EXPECT_EQ(files(), 1u);
    ASSERT_TRUE(loop.wait(blobs->remove("box", "a")));
    collect(25h);
    collect(25h);
    EXPECT_EQ(read("b"), large);
    EXPECT_FALSE(loop.wait(blobs->copy({.container = "box", .name = "c"}, "a")));
    // In blocks too, and onto itself.
    ASSERT_TRUE(block("f", "1", large) && block("f", "2", "end"));
    ASSERT_TRUE(loop.wait(blobs->put_block_list({.container = "box", .name = "f"}, {"1", "2"})));
    ASSERT_TRUE(loop.wait(blobs->copy({.container = "box", .name = "f"}, "f")));
    ASSERT_TRUE(loop.wait(blobs->copy({.container = "box", .name = "g"}, "f")));
    EXPECT_EQ(read("g"), large + "end");
}

TEST_F(BlobsTest, PiecesAreWhereTheFilesAre) {
    const std::string large = noise(100'000, 1);
    ASSERT_TRUE(block("f", "1", large) && block("f", "2", "end"));
    ASSERT_TRUE(loop.wait(blobs->put_block_list({.container = "box", .name = "f"}, {"1", "2"})));
    const auto pieces = blobs->pieces(**blobs->head("box", "f"));
    ASSERT_TRUE(pieces && pieces->size() == 2u);
    std::ifstream file(pieces->at(0).file, std::ios::binary);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), large);
    EXPECT_EQ(pieces->at(1).bytes, "end");
}

TEST_F(BlobsTest, AFileOnTheDiskBecomesABlob) {
    for (const std::string& bytes : {noise(100'000, 1), std::string("small"), std::string()}) {
        const std::string path = folder + "/../given";
        std::ofstream(path, std::ios::binary) << bytes;
        const auto info = loop.wait(blobs->put_file({.container = "box", .name = "a"}, path));
        ASSERT_TRUE(info) << info.error().message;
        EXPECT_EQ(info->sha256, to_hex(sha256(bytes)));
        EXPECT_EQ(read("a"), bytes);
        EXPECT_FALSE(std::filesystem::exists(path));
    }
    EXPECT_FALSE(
        loop.wait(blobs->put_file({.container = "box", .name = "a"}, folder + "/nothing")));
}

TEST_F(BlobsTest, FewSmallBlocksAndNoneAtAll) {
    ASSERT_TRUE(block("f", "1", "hello "));
    ASSERT_TRUE(block("f", "2", "world"));
    ASSERT_TRUE(loop.wait(blobs->put_block_list({.container = "box", .name = "f"}, {"1", "2"})));
    EXPECT_EQ(read("f"), "hello world");
    ASSERT_TRUE(loop.wait(blobs->put_block_list({.container = "box", .name = "empty"}, {})));
    EXPECT_EQ(read("empty"), "");
}

TEST_F(BlobsTest, OverwritingLetsGoAndPuttingAgainHoldsOn) {
    const std::string large = noise(100'000, 1);
    ASSERT_TRUE(put("a", large));
    ASSERT_TRUE(put("a", "small"));
    clock.time = clock.time + 23h;
    ASSERT_TRUE(put("b", large)) << "found again within its hold";
    clock.time = clock.time + 2h;
    EXPECT_EQ(collect(0h).contents, 0u);
    EXPECT_EQ(read("b"), large);
    ASSERT_TRUE(loop.wait(blobs->remove("box", "b")));
    EXPECT_EQ(collect(23h).contents, 0u) << "a new hold began";
    EXPECT_EQ(collect(25h).contents, 1u);
    EXPECT_EQ(files(), 0u);
}

// The race that loses data if nobody thinks of it: the same content arrives while it is deleted.
TEST_F(BlobsTest, CollectingNeverTakesWhatIsJustBeingPut) {
    for (const std::size_t size : {std::size_t(1000), std::size_t(100'000)}) {
        for (int turns = 0; turns < 12; ++turns) {
            const std::string bytes = noise(size, static_cast<unsigned>(turns));
            ASSERT_TRUE(put("old", bytes));
            ASSERT_TRUE(loop.wait(blobs->remove("box", "old")));
            bool collected = false, stored = false;
            const auto sweep = [&] {
                start(blobs->collect(clock.now() + 25h), [&](const auto& result) {
                    EXPECT_TRUE(result);
                    collected = true;
                });
            };
            const auto upload = [&] {
                start(blobs->put_bytes({.container = "box", .name = "new" + std::to_string(turns)},
                                       bytes),
                      [&](const auto& result) {
                          EXPECT_TRUE(result);
                          stored = true;
                      });
            };
            int left = turns / 2;  // whatever lies between the two
            const bool sweep_first = turns % 2 == 0;
            sweep_first ? sweep() : upload();
            loop.run_until([&] { return left-- <= 0 || (sweep_first ? collected : stored); });
            sweep_first ? upload() : sweep();
            loop.run_until([&] { return collected && stored; });
            ASSERT_EQ(read("new" + std::to_string(turns)), bytes) << size << " " << turns;
        }
    }
}

TEST_F(BlobsTest, FilesThatNobodyNamedAreCollected) {
    ASSERT_TRUE(put("a", noise(100'000, 1)));
    const std::string orphan = noise(70'000, 9);
    const std::string sha = to_hex(sha256(orphan));
    std::filesystem::create_directories(folder + "/" + sha.substr(0, 2));
    std::ofstream(folder + "/" + sha.substr(0, 2) + "/" + sha) << orphan;
    std::ofstream(folder + "/tmp/17") << "half written";
    reopen();
    EXPECT_EQ(files(), 2u) << "what was half written is gone";
    collect(0h);
    EXPECT_EQ(files(), 2u);
    collect(25h);
    EXPECT_EQ(files(), 1u);
    EXPECT_EQ(read("a").size(), 100'000u);
}

TEST_F(BlobsTest, Metadata) {
    const auto first = put("m", "1", {.content_type = "text/plain", .metadata = {{"name", "x"}}});
    EXPECT_EQ((*blobs->head("box", "m"))->metadata, first->metadata);
    EXPECT_EQ((*blobs->head("box", "m"))->content_type, "text/plain");
    const auto changed =
        loop.wait(blobs->set_metadata("box", "m", {{"upload_status", "completed"}, {"name", "é"}}));
    ASSERT_TRUE(changed);
    EXPECT_NE(changed->etag, first->etag);
    EXPECT_EQ((*blobs->head("box", "m"))->metadata, changed->metadata);
    EXPECT_EQ(read("m"), "1");
    // Of two who both read it first the second is refused, also if the first is still being
    // written.
    std::optional<Result<BlobInfo>> one, two;
    start(blobs->set_metadata("box", "m", {{"by", "one"}}, changed->etag),
          [&](Result<BlobInfo> result) { one.emplace(std::move(result)); });
    start(blobs->set_metadata("box", "m", {{"by", "two"}}, changed->etag),
          [&](Result<BlobInfo> result) { two.emplace(std::move(result)); });
    loop.run_until([&] { return one && two; });
    EXPECT_TRUE(*one);
    EXPECT_EQ((*two).error().reason, "ConditionNotMet");
    EXPECT_EQ((*blobs->head("box", "m"))->metadata[0].second, "one");
    EXPECT_EQ(loop.wait(blobs->set_metadata("box", "none", {})).error().reason, "BlobNotFound");
    EXPECT_FALSE(loop.wait(blobs->set_metadata("box", "m", {{"a b", "x"}})));
    EXPECT_FALSE(loop.wait(blobs->set_metadata("box", "m", {{"a", std::string(9000, 'x')}})));
}

TEST_F(BlobsTest, Lists) {
    for (const char* name : {"a", "a/1", "a/2/x", "a/2/y", "a/3", "a-b", "b/1", "b/2", "c"})
        ASSERT_TRUE(put(name, name));
    EXPECT_EQ(names(""), "a a-b a/1 a/2/x a/2/y a/3 b/1 b/2 c ");
    EXPECT_EQ(names("a/"), "a/1 a/2/x a/2/y a/3 ");
    EXPECT_EQ(names("", "/"), "a a-b c [a/] [b/] ");
    EXPECT_EQ(names("a/", "/"), "a/1 a/3 [a/2/] ");
    EXPECT_EQ(names("zz"), "");
    EXPECT_EQ(names("", "", "", 2), "a a-b > a/1");
    EXPECT_EQ(names("", "", "a/1", 2), "a/1 a/2/x > a/2/y");
    EXPECT_EQ(names("", "/", "", 3), "a a-b [a/] > b/1");
    EXPECT_EQ(names("", "/", "b/1", 3), "c [b/] ");
    EXPECT_FALSE(blobs->list("no", "", "", "", 10)) << "too short a container";

    // By pages of any size, all of it.
    for (unsigned i = 0; i < 700; ++i)
        ASSERT_TRUE(put("many/" + std::to_string(i % 7) + "/" + std::to_string(i), "x"));
    for (const std::size_t limit : {1, 3, 100, 350, 701}) {
        std::size_t count = 0;
        std::string marker;
        do {
            const auto page = blobs->list("box", "many/", "", marker, limit);
            ASSERT_TRUE(page);
            ASSERT_LE(page->blobs.size(), limit);
            count += page->blobs.size();
            marker = page->next_marker;
        } while (!marker.empty());
        EXPECT_EQ(count, 700u);
    }
    EXPECT_EQ(names("many/", "/"),
              "[many/0/] [many/1/] [many/2/] [many/3/] [many/4/] [many/5/] [many/6/] ");
}

TEST_F(BlobsTest, Containers) {
    EXPECT_TRUE(*loop.wait(blobs->create_container("box")));
    EXPECT_FALSE(*loop.wait(blobs->create_container("box")));
    EXPECT_EQ(names(""), "");
    EXPECT_EQ(names("", "/"), "");
    ASSERT_TRUE(put("a", "1"));
    EXPECT_EQ(names("", "", "", 1), "a ");
    ASSERT_TRUE(loop.wait(blobs->put_bytes({.container = "other", .name = "a"}, "1")));
    EXPECT_FALSE(*loop.wait(blobs->create_container("other")));
    for (const char* name : {"", "ab", "UPPER", "a_b", "-ab", "ab-", "a/b", "..", "a.b"})
        EXPECT_FALSE(loop.wait(blobs->create_container(name))) << name;
    EXPECT_FALSE(check_container(std::string(64, 'a')));
    EXPECT_TRUE(check_container(std::string(63, 'a')));

    EXPECT_EQ(workspace_of_container(blobstore_container("0123456789ab")), "0123456789ab");
    EXPECT_EQ(workspace_of_container(artifact_container("0123456789ab")), "0123456789ab");
    EXPECT_EQ(workspace_of_container(
                  code_container("0123456789ab", "11111111-2222-4333-8444-555555555555")),
              "0123456789ab");
    EXPECT_EQ(workspace_of_container("box"), "");
}

TEST_F(BlobsTest, HostileNamesAreRefusedEverywhere) {
    std::vector<std::string> hostile = {"",
                                        "/",
                                        "..",
                                        "../x",
                                        "a/../b",
                                        "a/..",
                                        "./a",
                                        "a/./b",
                                        "/etc/passwd",
                                        "a//b",
                                        "a/",
                                        "a\\b",
                                        "..\\x",
                                        std::string("a\0b", 3),
                                        "a\nb",
                                        "\x7f",
                                        "\xff\xfe",
                                        "a/\xc0\xae\xc0\xae/b",
                                        std::string(1025, 'a')};
    for (const std::string& name : hostile) {
        EXPECT_FALSE(put(name, "x")) << name;
        EXPECT_FALSE(block(name, "1", "x")) << name;
        EXPECT_FALSE(loop.wait(blobs->put_block_list({.container = "box", .name = name}, {})))
            << name;
        EXPECT_FALSE(loop.wait(blobs->set_metadata("box", name, {}))) << name;
        EXPECT_FALSE(loop.wait(blobs->remove("box", name))) << name;
        EXPECT_EQ(read(name), "(absent)") << name;
        EXPECT_FALSE(blobs->read_all("box", name, 10)) << name;
    }
    for (const Table table : {Table::Blob, Table::BlobBlock, Table::BlobData, Table::BlobUse})
        EXPECT_EQ(rows(table), 0u);
    EXPECT_TRUE(put("%2e%2e/%2f", "an ordinary name")) << "decoding is over when a name comes here";
    EXPECT_EQ(read("%2e%2e/%2f"), "an ordinary name");
    EXPECT_FALSE(block("f", "", "x"));
    EXPECT_FALSE(block("f", std::string(65, 'x'), "x"));
}

class Growing : public VirtualBlobs {
public:
    std::string text = "hello";
    BlobInfo info() const {
        return {.container = "box",
                .name = "job/log.txt",
                .size = text.size(),
                .etag = std::to_string(text.size()),
                .content_type = "text/plain"};
    }
    Result<std::vector<BlobInfo>> list(std::string_view container,
                                       std::string_view prefix) override {
        std::vector<BlobInfo> found;
        if (container == "box" && info().name.starts_with(prefix)) found.push_back(info());
        return found;
    }
    Result<std::optional<BlobInfo>> head(std::string_view container,
                                         std::string_view name) override {
        if (container != "box" || name != "job/log.txt") return std::nullopt;
        return info();
    }
    Result<std::string> read(std::string_view, std::string_view, std::uint64_t offset,
                             std::uint64_t length) override {
        return text.substr(std::min<std::size_t>(offset, text.size()),
                           std::min<std::uint64_t>(length, 3));  // less than asked for
    }
};

TEST_F(BlobsTest, VirtualBlobsAreMergedAndReadOnly) {
    ASSERT_TRUE(put("job/log.txt", "hidden by the virtual one"));
    ASSERT_TRUE(put("job/a", "1"));
    ASSERT_TRUE(put("job/z", "1"));
    Growing source;
    blobs->set_virtual(&source);
    EXPECT_EQ(names(""), "job/a job/log.txt job/z ");
    EXPECT_EQ(names("job/", "/", "", 1), "job/a > job/log.txt");
    EXPECT_EQ(names("job/", "/", "job/log.txt", 1), "job/log.txt > job/z");
    EXPECT_EQ(read("job/log.txt"), "hello");
    EXPECT_EQ(*blobs->read_all("box", "job/log.txt", 5), "hello");
    const auto pinned = blobs->head("box", "job/log.txt");
    auto reader = blobs->read(**pinned, 1, std::nullopt);
    source.text += " world";
    EXPECT_EQ(*loop.wait((*reader)->all(100)), "ello") << "as long as it was";
    EXPECT_EQ(read("job/log.txt", 6, 100), "world");
    EXPECT_EQ(put("job/log.txt", "x").error().reason, "BlobIsReadOnly");
    EXPECT_EQ(loop.wait(blobs->remove("box", "job/log.txt")).error().reason, "BlobIsReadOnly");
}

TEST_F(BlobsTest, AFailedCommitIsToldAndLeavesNothing) {
    store.fail_next(Error{Code::ResourceExhausted, "DiskFull", "the disk is full", "", nullptr});
    EXPECT_EQ(put("a", "x").error().reason, "DiskFull");
    EXPECT_EQ(read("a"), "(absent)");
    EXPECT_TRUE(put("a", "x"));
    EXPECT_EQ(read("a"), "x");
}

}  // namespace
}  // namespace turnout
