// When a replica of a service is asked whether it is ready, and what follows from its answers. A
// part of the node's core: pure, and in memory only. The command of a task goes on while its agent
// is replaced, so a new agent knows nothing of it at first, and says nothing of it until it does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"
#include "protocol/service_spec.h"

namespace turnout::agent {

class Readiness {
public:
    // `begins`: its command has just started, so it is known not to be ready yet.
    Readiness(const agent_protocol::Probe& probe, Span started, bool begins)
        : probe_(probe), next_(started + probe.initial_delay), known_(begins) {}

    // Since boot: then it is to be asked; max while an answer is awaited.
    Span next() const { return asked_ ? Span::max() : next_; }
    // It is asked now; the number says to which question an answer belongs.
    std::uint64_t ask();
    // `failure`: "" = as it should be, else what was wrong, for people. Whether there is something
    // new to be told.
    bool answered(std::uint64_t number, std::string_view failure, Span now);

    bool known() const { return known_; }
    bool ready() const { return ready_; }
    const std::string& why() const { return why_; }  // it is not ready; "" = it was not asked yet

private:
    agent_protocol::Probe probe_;
    Span next_;
    std::uint64_t number_ = 0;
    bool asked_ = false;
    bool known_ = false, ready_ = false;
    int failures_ = 0;  // in a row
    std::string why_;
};

}  // namespace turnout::agent
