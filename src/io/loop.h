// Time and the one thread on which everything happens. `posix/` has the real ones; the simulator
// has its own with virtual time.
#pragma once

#include <cstdint>
#include <functional>

#include "base/task.h"
#include "base/time.h"

namespace turnout {

class Clock {
public:
    virtual ~Clock() = default;
    // Wall time. May jump; used for what people see and what is stored.
    virtual Instant now() const = 0;
    // Monotonic time that counts suspend (CLOCK_BOOTTIME), for every interval and deadline.
    virtual Span since_boot() const = 0;
};

class Random {
public:
    virtual ~Random() = default;
    virtual std::uint64_t next() = 0;                  // uniform 64 bits
    virtual std::string bytes(std::size_t count) = 0;  // fit for keys and tokens
    std::string uuid();                                // version 4, lower case (io/loop.cc)
};

// One thread. `post` may be called from any thread, all else only from the loop's own.
class Loop {
public:
    using TimerId = std::uint64_t;
    virtual ~Loop() = default;
    virtual void post(std::function<void()> work) = 0;
    // Runs `work` once, not before `delay`. The id is never 0.
    virtual TimerId after(Span delay, std::function<void()> work) = 0;
    // No effect if it ran already.
    virtual void cancel(TimerId timer) = 0;
    // Blocking work: runs `work` on a bounded pool of threads, then `done` on the loop.
    virtual void blocking(std::function<void()> work, std::function<void()> done) = 0;

    Task<void> sleep(Span delay);  // io/loop.cc
};

}  // namespace turnout
