// What the tests of providers wait by.
#pragma once

#include <functional>

#include "io/posix/asio_loop.h"

namespace turnout {

// Runs the loop until that holds; false if it does not within 20 s.
inline bool run_until(AsioLoop& loop, const std::function<bool()>& done) {
    bool late = false;
    const auto timer = loop.after(20s, [&] { late = true; });
    std::function<void()> look = [&] {
        if (late || done())
            loop.stop();
        else
            loop.after(5ms, look);
    };
    loop.after(Span{}, look);
    loop.run();
    loop.cancel(timer);
    return !late;
}

}  // namespace turnout
