// Makes an environment usable on this machine: finds the interpreter, or builds a venv with `uv` at
// its final path in the machine's cache, once, under a lock.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "environment/settings.h"
#include "protocol/agent_protocol.h"

namespace turnout::environment {

struct Prepared {
    std::string interpreter;       // absolute path
    std::string bin;               // folder that goes first in PATH
    std::string folder;            // of the venv; "" for the machine's interpreter
    std::shared_ptr<void> in_use;  // keeps the folder from being evicted while a task uses it
};

// What is there already, without building and without waiting. Nothing for a venv that is not
// built (or whose build was not finished).
Result<std::optional<Prepared>> find_prepared(const agent_protocol::TaskEnvironment& environment,
                                              const Settings& settings);
// The same for a task that runs with it already: it is kept for it, changed or not.
Result<std::optional<Prepared>> hold_prepared(const agent_protocol::TaskEnvironment& environment,
                                              const Settings& settings);

// Blocking: builds it if it is not there, or waits for another process or thread that builds it.
// `log` gets the build log as it is written, `cancel` ends it early (error Canceled). Errors:
// FailedPrecondition and InvalidArgument are the environment's (a missing interpreter, the
// resolver's own words); Unavailable: after several tries an index or its network still did not
// answer, and another attempt may have more luck; Internal is ours. Called from a thread of its
// own.
Result<Prepared> prepare(const agent_protocol::TaskEnvironment& environment,
                         const Settings& settings, const std::function<void(std::string_view)>& log,
                         const std::atomic<bool>& cancel);

}  // namespace turnout::environment
