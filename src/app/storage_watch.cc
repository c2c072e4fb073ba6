#include "app/storage_watch.h"

#include <chrono>
#include <cstdio>
#include <utility>

#include "base/task.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "store/sqlite/intact.h"

namespace turnout {

void StorageWatch::collect() {
    if (std::exchange(collecting_, true)) return;
    start(blobs_.collect(clock_.now()), [this](const auto&) { collecting_ = false; });
}

void StorageWatch::keep_collecting() {
    collect();
    loop_.after(std::chrono::hours(1), [this] { keep_collecting(); });
}

void StorageWatch::watch_disk() {
    if (blobs_.low_on_space())
        collect();
    else
        hold_room(instance_.room(), kRoom);
    loop_.after(30s, [this] { watch_disk(); });
}

void StorageWatch::verify() {
    apart(
        loop_, [path = instance_.database()] { return verify_database(path); },
        [this](const Result<void>& found) {
            if (found || found.error().reason != "DatabaseDamaged") return;
            info_.fault = found.error().message;
            std::fprintf(stderr, "error: %s\n", info_.fault.c_str());
        });
}

}  // namespace turnout
