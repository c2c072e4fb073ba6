// The tasks that leases have in common, as the node keeps them: those that attempts use, and those
// that the server sent last on this link (it relies on that). Pure.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "base/result.h"
#include "protocol/agent_protocol.h"

namespace turnout::agent {

class Bases {
public:
    struct Kept {
        Json json;
        Result<agent_protocol::TaskSpec> task;
        std::size_t users = 0;  // attempts
        std::size_t sent = 0;   // how many of the last ones sent are this one
        bool recorded = false;  // it stands in the node's journal
    };

    // Sent by the server, or read from the journal (`recorded`).
    void keep(const agent_protocol::Base& base, bool recorded = false);
    // The journal was read: while it is, a base that its attempts have left may be named again.
    void restored();
    // A new link: what is not in use will be sent again.
    void new_link();
    // nullptr if the node does not have it.
    Kept* find(const std::string& hash);
    void use(const std::string& hash);
    void leave(const std::string& hash);
    const std::map<std::string, Kept>& all() const { return kept_; }

private:
    void let_go_of_oldest();
    void drop_unneeded(const std::string& hash, const Kept& base);

    std::map<std::string, Kept> kept_;
    std::deque<std::string> sent_;
    bool restoring_ = true;
};

}  // namespace turnout::agent
