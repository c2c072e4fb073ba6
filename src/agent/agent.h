// The agent of one node: drives NodeCore with real effects. One loop, everything on it; builds of
// environments have threads of their own.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/work.h"
#include "base/result.h"
#include "io/posix/asio_loop.h"

namespace turnout::agent {

class Agent {
public:
    // `left` is called when the node was released and nothing of it runs any more: the process
    // ends.
    Agent(AsioLoop& loop, AgentSettings settings, std::function<void()> left);
    ~Agent();

    // Reads the journal, then serves. Errors: the folder cannot be used, or another agent uses it.
    Result<void> begin();

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with the coroutines of its effects
};

}  // namespace turnout::agent
