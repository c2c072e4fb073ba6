// A job that is started more than once: which processes run on this node, what their logs are
// called, and the variables by which they find each other. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/agent_protocol.h"

namespace turnout::agent {

// How many processes the job has on all its nodes together; at least 1.
int world_size(const agent_protocol::TaskSpec& task);
// The global ranks that run on this node, ascending; never empty. TensorFlow's workers come first,
// then its parameter servers, dealt to the nodes in turn; of the others each node has a row.
std::vector<int> ranks_here(const agent_protocol::TaskSpec& task);

// "user_logs/std_log.txt" of a job with one process; else "user_logs/std_log_process_3.txt".
std::string log_of_rank(const agent_protocol::TaskSpec& task, int rank);
// The name under which the server keeps a stream that this node calls by `local` (kStdLog: what the
// supervisor reads, the first process's; kEnvironmentLog: the build). Others keep their name.
std::string stream_name(const agent_protocol::TaskSpec& task, std::string_view local);

// Where the processes of a job reach each other.
struct Meeting {
    std::string address;     // of rank 0
    std::vector<int> ports;  // [0] for all; TensorFlow: [1 + rank] for each process
};
// The environment variables of one process, as Azure ML sets them for that kind of distribution.
std::vector<std::pair<std::string, std::string>> variables_of_rank(
    const agent_protocol::TaskSpec& task, int rank, const Meeting& meeting);

}  // namespace turnout::agent
