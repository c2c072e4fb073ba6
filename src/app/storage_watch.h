// What a running server does for its own storage: content that no name points at goes, the disk is
// looked at, the database is read once from end to end.
#pragma once

#include <sys/types.h>

#include "api/api.h"
#include "app/instance.h"
#include "blob/blobs.h"
#include "io/loop.h"

namespace turnout {

// So that a full disk does not keep a server from starting, each holds some room for the next one
// (Instance::room): a part is the database's, which takes what is left of a nearly full disk for
// its log, the other is that of the small files that are written after it.
inline constexpr off_t kRoom = 1 << 20, kRoomOfFiles = kRoom / 2;

// On the loop; what blocks is done apart. All that it is given outlives it, and it the loop's work.
class StorageWatch {
public:
    // `info.fault` says what was found to be wrong.
    StorageWatch(Loop& loop, const Clock& clock, const Instance& instance, Blobs& blobs,
                 api::ServerInfo& info)
        : loop_(loop), clock_(clock), instance_(instance), blobs_(blobs), info_(info) {}

    // Content that no name points at any more goes, after its hold. Now and every hour.
    void keep_collecting();
    // Holds the room; on a disk that is nearly full it goes without one. Now and every 30 seconds.
    void watch_disk();
    // Damage that no request has met yet is found before it is copied over the last good backup.
    void verify();

private:
    void collect();

    Loop& loop_;
    const Clock& clock_;
    const Instance& instance_;
    Blobs& blobs_;
    api::ServerInfo& info_;
    bool collecting_ = false;
};

}  // namespace turnout
