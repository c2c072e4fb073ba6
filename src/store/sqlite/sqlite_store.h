// The store in one SQLite file: WAL, synchronous=FULL, group commit.
//
// Two connections. The reader lives on the loop's thread and answers get and scan from committed
// state; no statement stays open between calls, so every read sees the newest commit and never
// holds the WAL back. The writer is a thread of its own: it takes everything that is queued, checks
// each batch's expectations at its turn, applies the batches in order, and makes the whole group
// durable with one commit. Then one closure goes to the loop and calls the `done`s in order.
//
// Disk full: the group is rolled back and refused with ResourceExhausted, and the file `ballast`
// beside the database (allocated in good times) is deleted, so that what follows has room: exits
// and cancels are recorded. Until there is space to allocate the ballast again, batches of more
// than kLowSpaceBatch bytes are refused. I/O errors are Unavailable.
//
// What is erased leaves free pages in the file, which what is written next takes. Where many are
// free, the writer gives them back to the disk when it has nothing to do, a megabyte at a time. A
// file of an earlier build cannot do that; it is made anew when it is opened if that takes a moment
// only.
//
// In each lane 64 MiB may wait; what comes on top is given back.
//
// The lock file `{path}.lock` keeps a second process out. Destroying the store commits what is
// queued first and posts the `done`s; they may run after it is gone. Then the log is empty, and the
// file alone is the whole database.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "io/loop.h"
#include "store/store.h"

namespace turnout {

struct SqliteOptions {
    // Name of a registered SQLite VFS: then `path` is a name inside it, and there is neither lock
    // file nor ballast nor preallocated WAL. For simulated disks.
    std::string vfs;
    std::uint64_t ballast_bytes = 16 << 20;
    // For tests that fill a "disk": a limit of the database's size (0 = none), and what is said to
    // be free (unset: what the file system says).
    std::uint32_t max_pages = 0;
    std::function<std::uint64_t()> free_space = nullptr;
    // What stays free inside of the file for what is written next, besides an eighth of it; and for
    // how long the writer has nothing to do before it gives back what is free beyond that.
    std::uint64_t room_bytes = 16 << 20;
    std::chrono::milliseconds idle = std::chrono::milliseconds(500);
    // Opens it as it is even if the log that it needs is lost.
    bool accept_lost_log = false;
};

inline constexpr std::size_t kLowSpaceBatch = 64 << 10;

// Creates the file, or migrates it forward (after a backup beside it). Errors:
// FailedPrecondition: written by a newer turnout, in use by another process, or without the log
// that it needs (intact.h); Unavailable: I/O, or damaged.
Result<std::unique_ptr<Store>> open_sqlite_store(Loop& loop, const std::string& path,
                                                 SqliteOptions options = {});

}  // namespace turnout
