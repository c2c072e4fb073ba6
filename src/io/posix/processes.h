// Starting processes and knowing them again, also after the program that started them is gone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace turnout {

// A pid means a process only together with its start time, since pids come again. Valid within one
// boot (see boot_id).
struct ProcessId {
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
    bool operator==(const ProcessId&) const = default;
};

struct SpawnRequest {
    std::string program;                   // a path; PATH is not searched
    std::vector<std::string> arguments;    // with the name first; empty: the program's path alone
    std::vector<std::string> environment;  // "NAME=value", all of it
    std::string directory;                 // empty: ours
    // Files for the standard streams, relative to our own folder; empty: /dev/null.
    std::string input;
    std::string output;       // appended to, made with mode 0600
    std::string error;        // the same file as `output` is fine
    bool own_session = true;  // its own session and process group: its pid is the group's id
    // Further descriptors: {number in the child, ours}. All others are closed there.
    std::vector<std::pair<int, int>> descriptors;
};

// Returns when the program runs (its exec succeeded). Signal handlers and mask are reset.
Result<ProcessId> spawn(const SpawnRequest& request);

// Nothing if there is no such process, or only its zombie.
std::optional<ProcessId> identify(pid_t pid);
bool is_alive(const ProcessId& process);  // a zombie is dead

struct ProcessSeen {
    ProcessId id;
    pid_t parent = 0;
};
std::vector<ProcessSeen> list_processes();  // of this machine, without zombies
// As whom it runs, whatever it hides; nothing if it is gone.
std::optional<uid_t> user_of(pid_t pid);
// Whether it is of our process namespace: what it says of itself in /proc means what it does here.
// Not so if one may not know.
bool is_of_our_namespace(pid_t pid);
// The file name of its executable, also after that was removed; empty if one may not know.
std::string program_of(pid_t pid);
// Whether that folder is the one that it works in: the very one, wherever that is now, or one of
// that path that was removed under it.
bool works_in(pid_t pid, const std::string& folder);

// NotFound if it is not alive. Never reaches another process that got the pid meanwhile.
Result<void> send_signal(const ProcessId& process, int signal);
// The process group that `leader` leads, whether or not the leader still lives; the caller knows
// that the group is still its own. NotFound if the group is empty.
Result<void> send_signal_to_group(pid_t leader, int signal);

struct ProcessExit {
    pid_t pid = 0;
    int code = 0;    // exit code, or 128 + signal as shells say it
    int signal = 0;  // what ended it, or 0
};
// A child that ended, if one did: it is no zombie any more. `pid` or, with -1, any child.
std::optional<ProcessExit> reap(pid_t pid = -1);

std::string boot_id();  // of this boot of the machine; empty if the kernel does not tell

}  // namespace turnout
