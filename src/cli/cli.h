// `turnout …`: commands are rows of a table (commands.cc); app/main.cc calls `run_cli`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace turnout::cli {

struct UpOptions {
    std::string data;          // folder, resolved
    std::string listen;        // "HOST:PORT", "" = the default or the kept one
    std::string plain_listen;  // for http, on loopback
    bool detach = false;
    std::string python;         // interpreter of the default pool, "" = python3 of PATH
    std::string uv;             // "" = found
    std::string python_mirror;  // where Pythons are fetched from; "" = as before
    int slots = 0;              // of the default pool, 0 = its own choice
    std::vector<std::string>
        allow_fetch;  // from where inputs may be fetched besides the public internet
    std::vector<std::string> fetch_mirrors;  // "ADDRESS=COPY"
    std::string tls_certificate, tls_key;    // files; "" = none
    std::string fetch_limit;                 // gigabytes of one of them, "" = the usual
    std::uint64_t cache_limit = 0;           // bytes of what nodes keep, 0 = none
    bool restart = false;                    // of a server that runs another build
    bool accept_loss = false;                // start although a part of the database is lost
};

// What a backup holds; `copied_…` is what was not there yet.
struct BackupReport {
    std::uint64_t contents = 0, bytes = 0, copied_contents = 0, copied_bytes = 0;
};
using Saying = std::function<void(const std::string&)>;

// What only the executable with the server in it can do.
struct ServerCommands {
    std::function<int(const UpOptions& options)> up;
    std::function<Result<BackupReport>(const std::string& data, const std::string& folder,
                                       const Saying& say)>
        back_up;
    std::function<Result<BackupReport>(const std::string& folder, const std::string& data,
                                       bool check_only, const Saying& say)>
        restore;
    std::string version;
};

// The exit code of the process.
int run_cli(int argc, char** argv, ServerCommands hooks);

}  // namespace turnout::cli
