// How long work learns that nobody wants its result any more.
#pragma once

#include <functional>

namespace turnout {

// Used on the loop only.
class Stop {
public:
    virtual ~Stop() = default;
    virtual bool stopped() = 0;
    // Called once, some time after it is; instead of what was set before. Whoever sets it takes it
    // back with {} when he no longer waits.
    virtual void on_stop(std::function<void()> call) = 0;
};

}  // namespace turnout
