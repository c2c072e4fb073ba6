// Which variables of where an agent is started reach it, and its tasks.
#pragma once

#include <string_view>

namespace turnout::agent_protocol {

// Where everything runs as one user: what programs, proxies and package indexes need. Never what
// the server's own shell may have of secrets.
bool allowed_variable(std::string_view name);
// Where the agent is another user's: what says nothing about anybody.
bool neutral_variable(std::string_view name);

}  // namespace turnout::agent_protocol
