// What a server asks of an agent's executable on a machine that it reaches from outside:
// `turnout-agent host …`. Each answers with one line of JSON.
#pragma once

namespace turnout {

int run_on_host(int count, char** arguments);

}  // namespace turnout
