// The inputs of an attempt: from the server's store, from outside through the server, or from this
// machine, as files that the command reads.
//
// Jobs share them in {cache}/inputs. Where server and node are one machine their content is not
// copied there if it need not be: as root it is the very file of the store, by a hard link, and the
// launcher closes the folder to writing for each command that reads in it.
#pragma once

#include <functional>
#include <string>

#include "agent/server.h"
#include "agent/work.h"

namespace turnout::agent {

// `tell` hears what it does just now.
Task<Result<void>> fetch_inputs(Server& server, const AgentSettings& settings, WorkPtr work,
                                Saying tell);

// The folder that the launcher closes to writing for this attempt; "" if it need not.
std::string shared_inputs(const AgentSettings& settings, const Work& work);

}  // namespace turnout::agent
