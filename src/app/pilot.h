// `turnout-agent pilot`: the agent as the one program of a batch job.
#pragma once

namespace turnout {

// Runs the agent of a node in the folder that its server made, as long as its files are there;
// then, and when it is told to end, all that is the node's ends with it: whoever runs batch jobs
// may not find what left its session.
int run_pilot(int count, char** arguments);

}  // namespace turnout
