// What tests wait by: for what must come, in a time that a slow machine does not need either.
#pragma once

#include <poll.h>

#include <functional>

#include "io/posix/asio_loop.h"

namespace turnout {

// Runs the loop until that holds, which is asked after every piece of its work: nothing else wakes
// it. False if it does not hold in time.
inline bool run_until_told(AsioLoop& loop, const std::function<bool()>& done, Span within = 60s) {
    bool late = false;
    const Loop::TimerId limit = loop.after(within, [&late] { late = true; });
    loop.run_until([&] { return late || done(); });
    loop.cancel(limit);
    return !late;
}

// The same where the loop need not hear of it: it is asked every 10 ms, too.
inline bool run_until(AsioLoop& loop, const std::function<bool()>& done, Span within = 60s) {
    Loop::TimerId next = 0;
    std::function<void()> look = [&] { next = loop.after(10ms, [&look] { look(); }); };
    look();
    const bool held = run_until_told(loop, done, within);
    loop.cancel(next);
    return held;
}

// The same without a loop.
inline bool wait_until(const std::function<bool()>& done, Span within = 60s) {
    const PosixClock clock;
    const Span end = clock.since_boot() + within;
    while (!done()) {
        if (clock.since_boot() > end) return false;
        (void)::poll(nullptr, 0, 10);
    }
    return true;
}

}  // namespace turnout
