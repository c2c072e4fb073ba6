// `turnout-agent init`: the first process of a container that is a node.
#pragma once

namespace turnout {

// `arguments` are those after "init", which are the agent's own. Starts it, and again where it
// dies; takes up what others leave behind. Ends with the agent's own end, and with it, since it is
// the first process there, all that runs in the container.
int run_init(int count, char** arguments);

}  // namespace turnout
