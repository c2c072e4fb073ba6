// `turnout-agent as-user UID …`: the step between root's server and a program of another user. The
// server never forks, and posix_spawn cannot change the user; so it starts this, which gives up all
// that is root's and becomes the program.
//
//   as-user UID LOG PROGRAM ARGUMENT…   what it prints is appended to LOG ("" = nowhere)
//   as-user UID end-all                 ends every process of that user but itself, at one moment
//
// From here on: no group but the user's own, no capability, none to be had by any program
// (no_new_privs), files that nobody else may read, the environment as it is given and nothing more.
#pragma once

namespace turnout {

// `arguments` after "as-user". Returns only with an exit code.
int run_as_user(int count, char** arguments);

}  // namespace turnout
