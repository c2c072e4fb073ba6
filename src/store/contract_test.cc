// What every store does, whichever it is: the suite runs once for each implementation.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <random>

#include <unistd.h>

#include "store/memory/memory_store.h"
#include "store/sqlite/sqlite_store.h"
#include "store/test_loop.h"

namespace turnout {
namespace {

class Folder {
public:
    Folder() {
        std::string name = std::filesystem::temp_directory_path() / "turnout-store-XXXXXX";
        path_ = ::mkdtemp(name.data());
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

private:
    std::string path_;
};

struct Fixture {
    virtual ~Fixture() = default;
    TestLoop loop;
    virtual Store& store() = 0;
    virtual void reopen() = 0;
};

struct MemoryFixture : Fixture {
    std::unique_ptr<MemoryStore> memory = std::make_unique<MemoryStore>(loop);
    Store& store() override { return *memory; }
    void reopen() override { memory = std::make_unique<MemoryStore>(loop, memory->crash()); }
};

struct SqliteFixture : Fixture {
    Folder folder;
    std::unique_ptr<Store> sqlite;
    SqliteFixture() { reopen(); }
    Store& store() override { return *sqlite; }
    void reopen() override {
        sqlite.reset();
        auto opened = open_sqlite_store(loop, folder / "turnout.db", {.ballast_bytes = 1 << 20});
        ASSERT_TRUE(opened) << opened.error().message;
        sqlite = std::move(*opened);
    }
};

template <class F>
class StoreContract : public testing::Test {
protected:
    Result<std::uint64_t> commit(Batch batch) {
        return world.loop.wait(world.store().commit(std::move(batch)));
    }
    std::uint64_t put(Table table, std::string key, std::string value,
                      Expect expect = std::nullopt) {
        Batch batch;
        batch.put(table, std::move(key), std::move(value), expect);
        const auto revision = commit(std::move(batch));
        EXPECT_TRUE(revision) << revision.error().message;
        return revision.value_or(0);
    }
    std::string value(Table table, std::string_view key) {
        const auto record = world.store().get(table, key);
        EXPECT_TRUE(record);
        return *record ? (*record)->value : "(absent)";
    }
    std::vector<Record> rows(Table table, Range range) {
        auto records = world.store().scan(table, range);
        EXPECT_TRUE(records);
        return records ? std::move(*records) : std::vector<Record>();
    }
    std::string keys(Range range) {
        std::string text;
        for (const Record& record : rows(Table::Job, range)) text += record.key + " ";
        return text;
    }
    F world;
};
using Implementations = testing::Types<MemoryFixture, SqliteFixture>;
TYPED_TEST_SUITE(StoreContract, Implementations);

TYPED_TEST(StoreContract, KeepsBytesAsTheyAre) {
    std::string bytes;
    for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
    this->put(Table::Log, "w/j/1/s/0", bytes);
    this->put(Table::Log, "w/j/1/s/1", "");
    this->put(Table::Log, std::string("w\0z", 3), "nul");
    EXPECT_EQ(this->value(Table::Log, "w/j/1/s/0"), bytes);
    EXPECT_EQ(this->value(Table::Log, "w/j/1/s/1"), "");
    EXPECT_EQ(this->value(Table::Log, std::string_view("w\0z", 3)), "nul");
    EXPECT_EQ(this->value(Table::Log, "w"), "(absent)");
    EXPECT_EQ(this->value(Table::Job, "w/j/1/s/0"), "(absent)") << "tables are apart";
}

TYPED_TEST(StoreContract, EveryTableWorks) {
    for (int i = 0; i <= static_cast<int>(kLastTable); ++i)
        this->put(static_cast<Table>(i), "key", std::to_string(i));
    for (int i = 0; i <= static_cast<int>(kLastTable); ++i)
        EXPECT_EQ(this->value(static_cast<Table>(i), "key"), std::to_string(i));
}

TYPED_TEST(StoreContract, DoneIsNeverCalledInsideCommitAndReadsSeeCommittedStateOnly) {
    bool done = false;
    Batch batch;
    batch.put(Table::Job, "a", "1");
    this->world.store().commit(std::move(batch), [&](Result<std::uint64_t> result) {
        EXPECT_TRUE(result);
        EXPECT_EQ(this->value(Table::Job, "a"), "1");
        done = true;
    });
    EXPECT_FALSE(done);
    this->world.loop.run_until([&] { return done; });
}

TYPED_TEST(StoreContract, CallsDoneInOrder) {
    std::vector<int> order;
    for (int i = 0; i < 500; ++i) {
        Batch batch;
        batch.put(Table::Job, "k", std::to_string(i), i % 7 == 3 ? Expect(kAbsent) : std::nullopt);
        this->world.store().commit(std::move(batch), [&order, i](auto) { order.push_back(i); });
    }
    this->world.loop.run_until([&] { return order.size() == 500; });
    for (int i = 0; i < 500; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
    EXPECT_EQ(this->value(Table::Job, "k"), "499");
}

TYPED_TEST(StoreContract, ExpectationsWithinOneGroup) {
    std::vector<Result<std::uint64_t>> results;
    const auto send = [&](Batch batch) {
        this->world.store().commit(std::move(batch),
                                   [&](auto result) { results.push_back(std::move(result)); });
    };
    Batch first, second, third, fourth;
    first.put(Table::Job, "a", "first", kAbsent);
    send(std::move(first));
    second.put(Table::Run, "r", "second");
    second.put(Table::Job, "a", "second", kAbsent);  // the first one is in the way
    send(std::move(second));
    third.put(Table::Job, "b", "third");
    send(std::move(third));
    fourth.erase(Table::Job, "absent", kAbsent);
    send(std::move(fourth));
    this->world.loop.run_until([&] { return results.size() == 4; });
    ASSERT_TRUE(results[0]);
    ASSERT_FALSE(results[1]);
    EXPECT_EQ(results[1].error().code, Code::Conflict);
    EXPECT_EQ(results[1].error().subject, "job/a");
    EXPECT_TRUE(results[2]);
    EXPECT_TRUE(results[3]);
    EXPECT_EQ(this->value(Table::Job, "a"), "first");
    EXPECT_EQ(this->value(Table::Run, "r"), "(absent)") << "all or none";
    EXPECT_EQ(this->value(Table::Job, "b"), "third");

    const std::uint64_t now = (*this->world.store().get(Table::Job, "a"))->revision;
    EXPECT_EQ(now, *results[0]);
    Batch stale, current;
    stale.erase(Table::Job, "a", now + 1);
    EXPECT_EQ(this->commit(std::move(stale)).error().code, Code::Conflict);
    current.erase(Table::Job, "a", now);
    EXPECT_TRUE(this->commit(std::move(current)));
    EXPECT_EQ(this->value(Table::Job, "a"), "(absent)");
}

TYPED_TEST(StoreContract, ChecksAllExpectationsBeforeItsFirstWrite) {
    Batch batch;
    batch.put(Table::Job, "a", "1", kAbsent);
    batch.put(Table::Job, "a", "2", kAbsent);
    EXPECT_TRUE(this->commit(std::move(batch)));
    EXPECT_EQ(this->value(Table::Job, "a"), "2");
}

TYPED_TEST(StoreContract, Scans) {
    for (const char* key : {"a", "a/1", "a/2", "a/3", "a0", "b/1", "\xff\xff", "B"})
        this->put(Table::Job, key, key);
    EXPECT_EQ(this->keys(with_prefix("a/")), "a/1 a/2 a/3 ");
    Range range = with_prefix("a/", 2);
    EXPECT_EQ(this->keys(range), "a/1 a/2 ");
    range.reverse = true;
    EXPECT_EQ(this->keys(range), "a/3 a/2 ");
    EXPECT_EQ(this->keys({}), "B a a/1 a/2 a/3 a0 b/1 \xff\xff ");
    EXPECT_EQ(this->keys({.reverse = true}), "\xff\xff b/1 a0 a/3 a/2 a/1 a B ");
    EXPECT_EQ(this->keys(with_prefix("\xff")), "\xff\xff ");
    EXPECT_EQ(this->keys({.from = "b", .to = "a"}), "");
    EXPECT_EQ(this->keys({.from = "a", .to = "a"}), "");
    EXPECT_EQ(this->keys({.limit = 0}), "");
    EXPECT_EQ(this->keys({.from = "a/2", .to = "a0"}), "a/2 a/3 ");
}

TYPED_TEST(StoreContract, RevisionsGrowAcrossReopening) {
    std::uint64_t last = 0;
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 5; ++i) {
            const std::uint64_t revision = this->put(Table::Job, "k" + std::to_string(i % 2), "v");
            EXPECT_GT(revision, last);
            last = revision;
        }
        Batch batch;
        batch.erase(Table::Job, "k0");
        batch.erase(Table::Job, "k1");
        const auto revision = this->commit(std::move(batch));
        ASSERT_TRUE(revision);
        EXPECT_GT(*revision, last);
        last = *revision;
        this->world.reopen();
    }
}

TYPED_TEST(StoreContract, AgreesWithAModel) {
    struct Row {
        std::string value;
        std::uint64_t revision;
        bool operator==(const Row&) const = default;
    };
    constexpr Table tables[] = {Table::Job, Table::JobCreated, Table::BlobData};
    for (unsigned seed = 1; seed <= 12; ++seed) {
        std::mt19937 random(seed);
        const auto below = [&](unsigned n) { return random() % n; };
        std::map<std::string, Row> model[3];
        for (int i = 0; i < 3; ++i) {
            Batch clear;
            for (const Record& record : this->rows(tables[i], {}))
                clear.erase(tables[i], record.key);
            ASSERT_TRUE(this->commit(std::move(clear)));
        }
        std::uint64_t last = 0;
        for (int round = 0; round < 40; ++round) {
            // A group of batches, sent together; the model applies them when their results are in.
            struct Sent {
                Batch batch;
                std::optional<Result<std::uint64_t>> result;
            };
            std::vector<Sent> group(1 + below(8));
            for (Sent& sent : group) {
                for (auto n = below(4); n-- > 0;) {
                    const auto t = below(3);
                    std::string key = std::string(1 + below(2), static_cast<char>('a' + below(4)));
                    Expect expect;
                    if (below(3) == 0) {
                        const auto found = model[t].find(key);
                        expect = found == model[t].end() || below(4) == 0 ? kAbsent
                                                                          : found->second.revision;
                    }
                    if (below(3) == 0)
                        sent.batch.erase(tables[t], key, expect);
                    else
                        sent.batch.put(
                            tables[t], key,
                            std::string(below(3) * 3000, static_cast<char>('0' + below(10))),
                            expect);
                }
            }
            std::size_t settled = 0;
            for (Sent& sent : group)
                this->world.store().commit(sent.batch, [&](auto result) {
                    sent.result = std::move(result);
                    ++settled;
                });
            this->world.loop.run_until([&] { return settled == group.size(); });
            for (const Sent& sent : group) {
                bool fits = true;
                const auto index = [&](Table table) {
                    return std::find(tables, tables + 3, table) - tables;
                };
                for (const Write& write : sent.batch.writes) {
                    const auto& rows = model[index(write.table)];
                    const auto found = rows.find(write.key);
                    const std::uint64_t revision =
                        found == rows.end() ? kAbsent : found->second.revision;
                    if (write.expect && *write.expect != revision) fits = false;
                }
                ASSERT_EQ(fits, sent.result->has_value()) << "seed " << seed;
                if (!fits) continue;
                ASSERT_GT(**sent.result, last);
                last = **sent.result;
                for (const Write& write : sent.batch.writes) {
                    auto& rows = model[index(write.table)];
                    if (write.value)
                        rows[write.key] = {*write.value, last};
                    else
                        rows.erase(write.key);
                }
            }
            if (below(20) == 0) this->world.reopen();
            for (int t = 0; t < 3; ++t) {
                Range range;
                if (below(2)) range.from = std::string(1, static_cast<char>('a' + below(4)));
                if (below(2)) range.to = std::string(1, static_cast<char>('a' + below(5)));
                range.limit = 1 + below(6);
                range.reverse = below(2);
                std::vector<std::pair<std::string, Row>> expected, actual;
                for (const auto& row : model[t])
                    if (row.first >= range.from && (range.to.empty() || row.first < range.to))
                        expected.push_back(row);
                if (range.reverse) std::reverse(expected.begin(), expected.end());
                if (expected.size() > range.limit) expected.resize(range.limit);
                for (const Record& record : this->rows(tables[t], range))
                    actual.push_back({record.key, {record.value, record.revision}});
                ASSERT_EQ(expected, actual) << "seed " << seed;
                for (const auto& [key, row] : model[t]) {
                    const auto record = this->world.store().get(tables[t], key);
                    ASSERT_TRUE(record && *record);
                    ASSERT_EQ((Row{(*record)->value, (*record)->revision}), row);
                }
            }
        }
    }
}

// ---- the memory store's own ----

Batch one(std::string key) {
    Batch batch;
    batch.put(Table::Job, std::move(key), "v");
    return batch;
}

TEST(MemoryStore, TheDurablePrefixIsWhatFlushSaid) {
    MemoryStore store;
    std::string told;
    for (const char* key : {"a", "b", "c"})
        store.commit(one(key), [&told, key](auto result) { told += result ? key : "!"; });
    EXPECT_FALSE(*store.get(Table::Job, "a"));
    EXPECT_EQ(store.flush(1), 1u);
    EXPECT_EQ(told, "a");
    EXPECT_EQ(store.persist(1), 1u);
    EXPECT_EQ(told, "a") << "durable, but nobody knows";
    MemoryStore next(store.crash());
    store.deliver();
    EXPECT_EQ(store.flush(), 0u);
    EXPECT_EQ(told, "a");
    EXPECT_TRUE(*next.get(Table::Job, "a"));
    EXPECT_TRUE(*next.get(Table::Job, "b"));
    EXPECT_FALSE(*next.get(Table::Job, "c"));
}

TEST(MemoryStore, AFailedCommitChangesNothing) {
    MemoryStore store;
    store.fail_next(Error{Code::Unavailable, "StorageError", "the disk is gone", "", nullptr});
    std::string told;
    store.commit(one("a"), [&](auto result) { told += result ? "a" : "!"; });
    store.commit(one("b"), [&](auto result) { told += result ? "b" : "!"; });
    store.flush();
    EXPECT_EQ(told, "!b");
    EXPECT_FALSE(*store.get(Table::Job, "a"));
}

TEST(MemoryStore, GivesBackWhatFindsNoRoom) {
    MemoryStore store;
    store.refuse_next();
    store.refuse_next();
    std::string told;
    std::optional<Batch> came_back;
    Batch batch = one("a");
    batch.give_back = [&](Batch same, CommitDone) { came_back.emplace(std::move(same)); };
    store.commit(std::move(batch), [&](auto result) { told += result ? "a" : "!"; });
    store.commit(one("b"), [&](auto result) { told += result ? "b" : result.error().reason; });
    store.commit(one("c"), [&](auto result) { told += result ? "c" : "!"; });
    EXPECT_FALSE(came_back) << "never inside commit";
    store.flush();
    EXPECT_EQ(told, "TooManyWritesc");
    ASSERT_TRUE(came_back);
    EXPECT_FALSE(*store.get(Table::Job, "a"));
    store.commit(std::move(*came_back), [&](auto result) { told += result ? "a" : "!"; });
    store.flush();
    EXPECT_EQ(told, "TooManyWritesca");
    EXPECT_TRUE(*store.get(Table::Job, "a"));
}

TEST(MemoryStore, DoneMayCommitAgain) {
    MemoryStore store;
    int told = 0;
    store.commit(one("a"), [&](auto) { store.commit(one("b"), [&](auto) { ++told; }); });
    EXPECT_EQ(store.flush(), 1u);
    EXPECT_EQ(store.queued(), 1u);
    EXPECT_EQ(store.flush(), 1u);
    EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace turnout
