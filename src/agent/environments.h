// The environments of a node's attempts: found, or built. All of it touches many files, so it is
// done apart from the loop; everything here is called on the loop, and calls back there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/environment/prepare.h"
#include "agent/work.h"
#include "io/loop.h"

namespace turnout::agent {

class Environments {
public:
    struct Events {
        // A build wrote into the attempt's environment log. `doing`: in words, "" = as before.
        std::function<void(const AttemptId&, std::uint64_t length, std::string doing)> logged;
        // `work` has its environment, or there is none to be had. Also when it is not wanted any
        // more.
        std::function<void(const WorkPtr&, Result<void>)> done;
        std::function<void()> told;  // after these
    };
    Environments(Loop& loop, const Clock& clock, const AgentSettings& settings, Events events);
    ~Environments();  // ends what is being built, and waits for that
    Environments(const Environments&) = delete;
    Environments& operator=(const Environments&) = delete;

    // Answered by `done`, perhaps before this returns. Many attempts that want the same at the same
    // time cause one look.
    void prepare(const WorkPtr& work);
    // Of an attempt that an earlier life of the agent prepared: it is in use, as it was then.
    void hold(Work& work) const;
    void stop();  // as in the destructor; nothing is called afterwards

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace turnout::agent
