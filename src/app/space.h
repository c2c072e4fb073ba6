// What takes space on the machine of this server.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "app/instance.h"
#include "control/space.h"
#include "io/loop.h"
#include "provider/local/cache.h"
#include "provider/local/users.h"

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
    // Whose files are elsewhere; asked on the loop, each time.
    void count_users(std::function<std::vector<NodeUser>()> users) { users_ = std::move(users); }
    // Keeps the nodes' cache below that, the longest unused first. 0 = no limit.
    void keep_below(std::uint64_t limit);

private:
    Loop& loop_;
    const Instance instance_;
    const LocalCache cache_;
    const std::string packages_;
    std::function<std::vector<NodeUser>()> users_ = [] { return std::vector<NodeUser>(); };
};

// Where uv keeps packages, by the environment of this process; "" if it is not there.
std::string packages_folder();

}  // namespace turnout
