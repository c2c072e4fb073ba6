// Connections from the server to a service on this node: the node goes to the server, as it does
// for all else, since the server may have no way to it.
#pragma once

#include "agent/node_core.h"
#include "agent/server.h"
#include "base/secret.h"
#include "io/posix/asio_loop.h"

namespace turnout::agent {

// Carries bytes between the port and the channel until one of them ends; or tells the server why it
// cannot. On the loop.
Task<void> open_channel(AsioLoop& loop, Server& server, Secret token, effect::OpenChannel wanted);

}  // namespace turnout::agent
