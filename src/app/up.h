// `turnout up`: the server in the foreground, or started apart and waited for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace turnout {

struct UpArguments {
    std::string program;  // this executable
    std::string data;
    std::string listen, plain_listen;
    int slots = 0;
    std::uint64_t cache_limit = 0;  // bytes, 0 = none
    std::string python;
    std::string uv;
    std::vector<std::string> allow_fetch;
    std::vector<std::string> fetch_mirrors;
    std::string tls_certificate, tls_key;  // files; "" = none
    std::string fetch_limit;               // gigabytes; "" = the usual
    std::string python_mirror;             // kept in the data folder; "" = as it is
    bool detach = false;
    bool restart = false;      // of a server that runs another build
    bool accept_loss = false;  // of a part of the database
};

// The exit code of the process. Prints where the server is and how to use it.
int up(const UpArguments& arguments);

}  // namespace turnout
