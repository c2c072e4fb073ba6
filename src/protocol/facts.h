// What a node is, as its agent finds it there. The server's own machine says nothing about it: a
// node may be anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace turnout::agent_protocol {

struct Gpu {
    std::string model;              // "Tesla V100-SXM2-16GB"; "" = not known
    std::int64_t memory_bytes = 0;  // 0 = not known
    bool operator==(const Gpu&) const = default;
};

// 0 and "" stand for what is not known, or not there.
struct Facts {
    std::string host;     // the machine's own name
    std::string address;  // where other machines reach it
    int cores = 0;        // of the machine
    std::int64_t memory_bytes = 0;
    int cpu_limit_millicores = 0;         // what the node may use of them, where that is less
    std::int64_t memory_limit_bytes = 0;  // likewise
    std::vector<Gpu> gpus;
    std::vector<std::string> pythons;  // versions, the newest first: "3.11.2"
    std::string container_engine;      // docker or podman, if it can be reached
    std::int64_t free_disk_bytes = 0;  // of the file system with its folder, when it connected
    std::string image;  // that it was asked to have, where it is a container; "" = its pool's
    bool operator==(const Facts&) const = default;

    // What it may use.
    std::int64_t usable_memory() const {
        return memory_limit_bytes > 0 && (memory_bytes == 0 || memory_limit_bytes < memory_bytes)
                   ? memory_limit_bytes
                   : memory_bytes;
    }
    int usable_millicores() const {
        return cpu_limit_millicores > 0 && (cores == 0 || cpu_limit_millicores < 1000 * cores)
                   ? cpu_limit_millicores
                   : 1000 * cores;
    }
};

Json to_json(const Facts& facts);
Result<Facts> facts_from_json(const Json& json);

// Whether they differ in what lasts: how much of its disk is free changes all the time.
bool same_machine(Facts a, const Facts& b);

}  // namespace turnout::agent_protocol
