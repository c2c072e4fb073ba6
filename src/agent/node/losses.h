// Commands that were lost together with the node's supervisor, which one of them may have ended.
// Jobs whose commands were lost again and again run alone, so that nobody else is. Pure.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "agent/node/attempts.h"

namespace turnout::agent {

class Losses {
public:
    void add(const AttemptId& id);      // one of its job's commands was lost
    void forgive(const AttemptId& id);  // one of them ended while the supervisor lived on
    bool empty() const { return by_job_.empty(); }
    // The ranks of a gang wait for each other: none of them waits for a node of its own.
    bool wants_node_alone(const Attempt& attempt) const;
    // Whether the supervisor may be asked to start it now. After it died, those that it had not
    // begun are begun one by one, so that it shows which of them it was.
    bool may_ask(const Attempt& attempt, const Attempts& attempts, int max_running) const;

private:
    // How often, by workspace and job, in this life of the agent.
    std::map<std::pair<std::string, std::string>, int> by_job_;
};

}  // namespace turnout::agent
