// Asks a replica of a service whether it is ready: the hand of agent/readiness.h. On the agent's
// loop; at most the probe's timeout goes by, or twice that where a connection comes late.
#pragma once

#include <string>

#include "base/task.h"
#include "io/posix/asio_loop.h"
#include "protocol/service_spec.h"

namespace turnout::agent {

// "" = it is; else why not, for people, in one short line. At 127.0.0.1; what a program answers is
// not read but for its status, and no redirection is followed.
Task<std::string> probe_port(AsioLoop& loop, agent_protocol::Probe probe, int port);

}  // namespace turnout::agent
