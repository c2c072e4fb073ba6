// `turnout-agent init`: the first process of a container that is a node.
#pragma once

#include <string>

namespace turnout {

// `arguments` are those after "init", which are the agent's own. Starts the agent, and again when
// it dies, but ends after 20 starts in a row that did not last 30 s. Reaps orphans. Ends with the
// agent's own end, and with it, since it is the first process there, all that runs in the
// container.
int run_init(int count, char** arguments);
// The same for that program, with those words after its name. SIGUSR1 kills it: it is started
// again.
int keep_running(std::string program, int count, char** arguments);

}  // namespace turnout
