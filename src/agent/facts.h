// What this machine is, for the server: looked at here and nowhere else.
#pragma once

#include <string>
#include <vector>

#include "environment/settings.h"
#include "protocol/facts.h"

namespace turnout::agent {

// Where to look; other places are for tests.
struct FactSources {
    std::string proc = "/proc";
    std::string cgroups = "/sys/fs/cgroup";
    std::string docker_socket = "/var/run/docker.sock";
};

// NVIDIA's driver lists its devices in /proc; how much memory they have only its own program tells,
// if it is there. Blocking, and it may start a program: for some seconds at most.
std::vector<agent_protocol::Gpu> find_gpus(const environment::Settings& settings,
                                           const FactSources& sources = {});

// "docker" if its daemon is there and lets us in, "podman" if that is there; "" for none.
std::string find_engine(const environment::Settings& settings, const FactSources& sources = {});

// All but the GPUs. Blocking. `folder`: of the node.
agent_protocol::Facts find_facts(const environment::Settings& settings, const std::string& folder,
                                 const FactSources& sources = {});

// How often the kernel has killed something in our control group for want of memory; 0 where that
// is not told. Of a container, whose group is its own.
std::int64_t kernel_kills(const FactSources& sources = {});

}  // namespace turnout::agent
