// A disk in memory for SQLite that behaves like a bad real one: what was not synced when the power
// is cut is lost, kept or torn, as a seed decides. Any number of connections of this process may
// use it at the same time.
//
//   UnsyncedVfs disk(seed);                       // registers itself under disk.name()
//   open_sqlite_store(loop, "t.db", {.vfs = disk.name()});
//   disk.cut_after(n);                            // the n-th write or sync from now on fails, and
//   all after it … close the store … disk.power_on();                              // what survived
//   is what is there
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace turnout {

class UnsyncedVfs {
public:
    explicit UnsyncedVfs(std::uint64_t seed);
    ~UnsyncedVfs();  // every connection is closed by then
    UnsyncedVfs(const UnsyncedVfs&) = delete;
    UnsyncedVfs& operator=(const UnsyncedVfs&) = delete;

    const std::string& name() const;

    // The power fails in the course of the n-th operation that changes something.
    void cut_after(std::uint64_t n);
    bool is_cut() const;
    // Each write since the last sync of its file is kept, lost or torn in the middle; a file that
    // was never synced may be missing. Call it when every connection is closed.
    void power_on();
    std::uint64_t operations() const;  // that changed something, so far

    // At most so many bytes in all files together; then SQLITE_FULL.
    void set_capacity(std::uint64_t bytes);

    struct Disk;

private:
    std::unique_ptr<Disk> disk_;
};

}  // namespace turnout
