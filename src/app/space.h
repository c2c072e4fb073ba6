// What takes space on the machine of this server.
#pragma once

#include <cstdint>
#include <string>

#include "app/instance.h"
#include "control/space.h"
#include "io/loop.h"
#include "provider/local/cache.h"

namespace turnout {

class ServerSpace : public Space {
public:
    ServerSpace(Loop& loop, const Instance& instance, std::string packages_folder)
        : loop_(loop),
          instance_(instance),
          cache_(instance.cache(), instance.nodes()),
          packages_(std::move(packages_folder)) {}

    void measure(Reply<MachineSpace> reply) override;
    void evict(Eviction what, Reply<std::vector<KeptThing>> reply) override;
    void read_retention(Reply<RetentionFile> reply) override;
    // Keeps the nodes' cache below that, the longest unused first. 0 = no limit.
    void keep_below(std::uint64_t limit);

private:
    Loop& loop_;
    const Instance instance_;
    const LocalCache cache_;
    const std::string packages_;
};

// Where uv keeps packages, by the environment of this process; "" if it is not there.
std::string packages_folder();

}  // namespace turnout
