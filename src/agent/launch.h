// What goes around a task's command: the variables of its ranks, several processes on one node, and
// limits that a process takes upon itself. The work is done by `turnout-supervisor launch`
// (supervisor/launch.c).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/node_core.h"
#include "agent/supervisor_link.h"
#include "agent/work.h"
#include "base/result.h"

namespace turnout::agent {

// Values that a log must not show, as the supervisor and the launcher take them
// (supervisor/mask.h).
std::string mask_words(const std::vector<Secret>& values);

// Completes what is to be started: puts the variables of this node's only process into it, or wraps
// its command so that several are started, or limits hold.
Result<void> wrap_command(const AgentSettings& settings, const Work& work, StartRequest& request);

// Logs of this node's processes that the supervisor does not read, as files of the attempt: the
// server's name of the stream, and the path. The first process's log is the supervisor's.
std::vector<std::pair<std::string, std::string>> process_logs(const Work& work);
// Its path; nullopt if the stream is not one of them.
std::optional<std::string> process_log_path(const Work& work, std::string_view stream);
// The room of bytes before `offset` is given back; they are not read again but for the last lines.
void trim_process_log(const std::string& path, std::uint64_t offset);
// If several processes ran: which of them failed first, its signal, and its last lines.
void explain_exit(const Work& work, TaskExit& exit);

}  // namespace turnout::agent
