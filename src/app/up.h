// `turnout up`: the server in the foreground, or started apart and waited for.
#pragma once

#include <string>

namespace turnout {

struct UpArguments {
    std::string program;  // this executable
    std::string data;
    std::string listen, plain_listen;
    int slots = 0;
    std::string python;
    std::string uv;
    bool detach = false;
    bool restart = false;      // of a server that runs another build
    bool accept_loss = false;  // of a part of the database
};

// The exit code of the process. Prints where the server is and how to use it.
int up(const UpArguments& arguments);

}  // namespace turnout
