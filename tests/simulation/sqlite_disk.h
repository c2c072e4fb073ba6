// The durable state of a simulated server in real SQLite, over a disk that drops what was not
// synced when the power goes. Beside it the memory store says what must be there.
#pragma once

#include <memory>
#include <string>

#include "store/memory/memory_store.h"
#include "store/sqlite/sqlite_store.h"
#include "store/sqlite/unsynced_vfs.h"
#include "store/test_loop.h"

namespace turnout::simulation {

class SqliteDisk {
public:
    explicit SqliteDisk(std::uint64_t seed) : disk_(seed) {}

    std::string open();  // "" or what is wrong
    // Waits until SQLite has answered. False: the power failed before it did.
    bool write(const Batch& batch);
    // The power fails in the course of the n-th write or sync from now.
    void cut_after(std::uint64_t n) { disk_.cut_after(n); }
    // The process dies, and the machine with it; then everything is read again.
    std::string lose_power();
    std::string process_dies();

    // "" if every row is as it is in that state.
    std::string differs(const MemoryStore::State& state) const;

private:
    UnsyncedVfs disk_;
    TestLoop loop_;
    std::unique_ptr<Store> store_;
};

}  // namespace turnout::simulation
