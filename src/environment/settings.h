// Where environments of this machine are, and with what they are built.
#pragma once

#include <string>
#include <vector>

#include "base/time.h"

namespace turnout::environment {

// With what may pass: an index that does not answer, a download that breaks off
// (agent/environment/again.h).
struct Patience {
    int tries = 6;    // in one build
    Span first = 5s;  // between tries, doubling
    Span longest = 60s;
};

struct Settings {
    std::string cache;                     // folder shared by all nodes of this machine
    std::string uv;                        // path of uv; "" = look for it (see find_uv)
    std::string python;                    // the pool's interpreter; "" = python3 of PATH
    std::string beside;                    // folder of the agent's executable: uv may lie there
    std::vector<std::string> environment;  // "NAME=value" of what uv gets (PATH, HOME, proxies, …)
    Patience patience;
};

}  // namespace turnout::environment
