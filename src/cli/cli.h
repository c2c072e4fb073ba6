// `turnout …`: commands are rows of a table (commands.cc); app/main.cc calls `run_cli`.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace turnout::cli {

struct UpOptions {
    std::string data;    // folder, resolved
    std::string listen;  // "HOST:PORT", "" = the default or the kept one
    bool detach = false;
    std::string python;  // interpreter of the default pool, "" = python3 of PATH
    std::string uv;      // "" = found
    int slots = 0;       // of the default pool, 0 = its own choice
};

// What only the executable with the server in it can do.
struct ServerCommands {
    std::function<int(const UpOptions& options)> up;
    std::string version;
};

// The exit code of the process.
int run_cli(int argc, char** argv, ServerCommands hooks);

}  // namespace turnout::cli
