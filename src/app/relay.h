// `turnout-agent relay`: the node's side of what reaches it by a pipe (SSH, exec in a container).
#pragma once

namespace turnout {

// `arguments` are those after "relay"; the exit code comes back when the stream has ended.
int run_relay(int count, char** arguments);

}  // namespace turnout
