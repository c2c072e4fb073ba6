// Real SQLite on a disk that forgets: whatever the moment of the power cut, every acknowledged
// batch is there afterwards, and no batch is there in part.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "store/sqlite/sqlite_store.h"
#include "store/sqlite/unsynced_vfs.h"
#include "store/test_loop.h"

namespace turnout {
namespace {

// Batch n writes n into three rows of its own and into one row that all share.
Batch numbered(std::uint64_t n, std::size_t size) {
    const std::string key = hex16(n);
    Batch batch;
    batch.put(Table::Job, key, std::string(size, 'j'), kAbsent);
    batch.put(Table::JobLive, key, "");
    batch.put(Table::BlobData, key, std::string(size * 3, 'b'));
    batch.put(Table::Meta, "last", std::to_string(n));
    if (n % 5 == 4) batch.erase(Table::Run, "r");
    if (n % 5 == 0) batch.put(Table::Run, "r", key);
    return batch;
}

TEST(PowerCut, EveryAcknowledgedBatchSurvivesAndNoneInPart) {
    int cuts = 0;
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        std::mt19937_64 random(seed);
        UnsyncedVfs disk(seed);
        TestLoop loop;
        std::uint64_t sent = 0, revision = 0;
        std::map<std::uint64_t, std::size_t> acknowledged;
        for (int life = 0; life < 4; ++life) {
            disk.cut_after(life == 3 ? 1'000'000 : random() % 400);
            auto opened = open_sqlite_store(loop, "t.db", {.vfs = disk.name()});
            if (opened) {
                Store& store = **opened;
                // What an earlier life was told is there, whole.
                const auto jobs = store.scan(Table::Job, {.limit = 10'000});
                const auto live = store.scan(Table::JobLive, {.limit = 10'000});
                const auto data = store.scan(Table::BlobData, {.limit = 10'000});
                if (!disk.is_cut()) {
                    ASSERT_TRUE(jobs && live && data) << "seed " << seed;
                    ASSERT_EQ(jobs->size(), live->size()) << "seed " << seed;
                    ASSERT_EQ(jobs->size(), data->size()) << "seed " << seed;
                    std::map<std::string, std::size_t> found;
                    for (std::size_t i = 0; i < jobs->size(); ++i) {
                        ASSERT_EQ((*jobs)[i].key, (*data)[i].key);
                        ASSERT_EQ((*jobs)[i].revision, (*live)[i].revision);
                        ASSERT_EQ((*jobs)[i].value.size() * 3, (*data)[i].value.size());
                        found[(*jobs)[i].key] = (*jobs)[i].value.size();
                        if (i > 0) {
                            ASSERT_GT((*jobs)[i].revision, (*jobs)[i - 1].revision)
                                << "in the order of the calls";
                        }
                    }
                    for (const auto& [n, size] : acknowledged) {
                        const auto at = found.find(hex16(n));
                        ASSERT_TRUE(at != found.end()) << "seed " << seed << ": batch " << n
                                                       << " was acknowledged and is lost";
                        ASSERT_EQ(at->second, size);
                    }
                    if (!found.empty()) {
                        EXPECT_EQ(hex16(std::stoull((*store.get(Table::Meta, "last"))->value)),
                                  found.rbegin()->first);
                    }
                }
                bool failed = false;
                for (int round = 0; round < 30 && !failed; ++round) {
                    std::uint64_t settled = 0;
                    const std::uint64_t group = 1 + random() % 6;
                    for (std::uint64_t i = 0; i < group; ++i) {
                        const std::uint64_t n = sent++;
                        const std::size_t size = random() % 3000;
                        store.commit(numbered(n, size), [&, n, size](Result<std::uint64_t> result) {
                            ++settled;
                            failed = failed || !result;
                            if (!result) return;
                            EXPECT_GT(*result, revision);
                            revision = *result;
                            acknowledged[n] = size;
                        });
                    }
                    loop.run_until([&] { return settled == group; });
                }
                ASSERT_EQ(failed, disk.is_cut()) << "seed " << seed;
                opened->reset();
            } else {
                ASSERT_TRUE(disk.is_cut()) << "seed " << seed << ": " << opened.error().message;
            }
            cuts += disk.is_cut() ? 1 : 0;
            disk.power_on();
        }
        ASSERT_GE(acknowledged.size(), 30u) << "the last life was without a cut";
    }
    EXPECT_GE(cuts, 150);
}

TEST(PowerCut, AFullDiskRefusesAndGoesOn) {
    UnsyncedVfs disk(1);
    TestLoop loop;
    auto opened = open_sqlite_store(loop, "t.db", {.vfs = disk.name()});
    ASSERT_TRUE(opened);
    disk.set_capacity(2 << 20);
    Result<std::uint64_t> result = 0;
    std::uint64_t stored = 0;
    while (stored < 1000 && (result = loop.wait((*opened)->commit(numbered(stored, 10'000)))))
        ++stored;
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::ResourceExhausted);
    EXPECT_EQ((*opened)->scan(Table::Job, {})->size(), stored);
    disk.set_capacity(20 << 20);
    EXPECT_TRUE(loop.wait((*opened)->commit(numbered(stored, 10'000))));
    EXPECT_EQ((*opened)->scan(Table::Job, {})->size(), stored + 1);
}

}  // namespace
}  // namespace turnout
