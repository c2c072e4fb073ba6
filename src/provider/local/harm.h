// What a drill does to a node of this machine. All of it blocks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace turnout {

// Kills every process of the node with that folder at one moment: its agent, its supervisor, its
// tasks, and what is marked as a helper of its agent (agent/environments.cc). How many there were.
// NotFound if there was none. `user`: where its workspace has one of its own; then only that one's,
// and what hangs under no agent and no supervisor of it too: nobody else can have left that.
Result<int> kill_processes_of(const std::string& folder, std::optional<uid_t> user = {});

// The names of the folders beneath `nodes_folder` of whose node a process lives, whether the folder
// is still there or not. What a process says of itself counts where `may_tell`; none: of all.
std::vector<std::string> folders_with_processes(const std::string& nodes_folder,
                                                const std::function<bool(pid_t)>& may_tell = {});

// Fills the file system of `folder` with a file in it until only `reserve` bytes are left, and says
// how large that file is. FailedPrecondition if that file system holds one of `others` too, with
// the first of them: whoever writes there would suffer.
Result<std::uint64_t> fill_file_system(const std::string& folder, std::uint64_t reserve,
                                       const std::vector<std::string>& others);
void free_file_system(const std::string& folder);
// What a server that ended during a drill left in the folders of its nodes.
void free_all_file_systems(const std::string& nodes_folder);

}  // namespace turnout
