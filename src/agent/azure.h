// What Azure's own clients find of the server inside of a job.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "agent/work.h"
#include "protocol/agent_protocol.h"

namespace turnout::agent {

// Variables by which DefaultAzureCredential is the run, and MLClient finds this server. The job's
// own variables go before them.
std::vector<std::pair<std::string, std::string>> azure_variables(
    const agent_protocol::TaskSpec& task, const Doors& doors);

// {node folder}/config.json, which MLClient.from_config finds from a job's folder upwards, if the
// job has no such file itself. A node has one workspace.
void write_workspace_config(const std::string& node_folder, const agent_protocol::TaskSpec& task);

}  // namespace turnout::agent
