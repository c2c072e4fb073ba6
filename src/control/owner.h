// An owner holds one part of what control knows, in structs that nobody else changes, and writes
// the rows of it: computes, nodes, jobs, groups, services, bases, the ledger, pools, events. Others
// read them, and ask it by its functions. Each is a class of its own beside its structs; what they
// have in common is here, and together they are in owners.h.
#pragma once

#include "control/control.h"
#include "control/turns.h"

namespace turnout::control {

struct Owners;
using schedule::Handle;

class Owner {
protected:
    explicit Owner(Owners& all);
    Owner(const Owner&) = delete;
    Owner& operator=(const Owner&) = delete;

    // To the agent of that node, when all that was put down before is durable.
    void send(const NodeId& node, agent_protocol::ToAgent message);

    Owners& owners;
    const Clock& clock;
    Store& store;
    Effects& effects;
    const Control::Settings& settings;
    Turns& turns;
};

// Of a row that a workspace has: "{wsid}/{name}".
inline std::string row_key(std::string_view workspace, std::string_view name) {
    return std::string(workspace) + "/" + std::string(name);
}

}  // namespace turnout::control
