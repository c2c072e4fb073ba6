// `turnout`: the commands and the server in one executable.
#include <limits.h>
#include <unistd.h>

#include <string>

#include "app/backup.h"
#include "app/up.h"
#include "app/version.h"
#include "cli/cli.h"

int main(int argc, char** argv) {
    turnout::cli::ServerCommands server;
    server.version = turnout::version();
    server.up = [](const turnout::cli::UpOptions& options) {
        char self[PATH_MAX];
        const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
        turnout::UpArguments arguments;
        arguments.program = std::string(self, length > 0 ? static_cast<std::size_t>(length) : 0);
        arguments.data = options.data;
        arguments.listen = options.listen;
        arguments.plain_listen = options.plain_listen;
        arguments.slots = options.slots;
        arguments.cache_limit = options.cache_limit;
        arguments.python = options.python;
        arguments.uv = options.uv;
        arguments.allow_fetch = options.allow_fetch;
        arguments.tls_certificate = options.tls_certificate;
        arguments.tls_key = options.tls_key;
        arguments.fetch_mirrors = options.fetch_mirrors;
        arguments.fetch_limit = options.fetch_limit;
        arguments.python_mirror = options.python_mirror;
        arguments.detach = options.detach;
        arguments.restart = options.restart;
        arguments.accept_loss = options.accept_loss;
        return turnout::up(arguments);
    };
    server.back_up = turnout::back_up;
    server.restore = turnout::restore;
    return turnout::cli::run_cli(argc, argv, std::move(server));
}
