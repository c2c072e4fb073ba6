// Stands in the way of a SQLite store's writer, for tests: the writer asks for the free space where
// it has no ballast yet, and is answered when the gate is open.
//
//   Gate gate;
//   open_sqlite_store(loop, path, {.ballast_bytes = 4096, .free_space = [&] { return
//   gate.free_space(); }}); … small batches only: there is no ballast … gate.shut();  … nothing is
//   written … gate.open();  … everything is, from now on …
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace turnout {

class Gate {
public:
    std::uint64_t free_space() {
        std::unique_lock lock(mutex_);
        opened_.wait(lock, [this] { return !shut_; });
        return passed_ ? std::uint64_t{1} << 40 : 0;
    }
    void shut() {
        std::lock_guard lock(mutex_);
        shut_ = true;
    }
    void open() {
        {
            std::lock_guard lock(mutex_);
            shut_ = false;
            passed_ = true;
        }
        opened_.notify_all();
    }

private:
    std::mutex mutex_;
    std::condition_variable opened_;
    bool shut_ = false, passed_ = false;
};

}  // namespace turnout
