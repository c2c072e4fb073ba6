// Who may have how much at a time: accounts that several schedulers share. A task is on the account
// of who submitted it, and on that of its cluster; it begins when both have room for it. Whoever
// has no room stands in nobody's way: others go past. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace turnout::schedule {

using Handle = std::uint64_t;

// At a time, of tasks that are on nodes; nothing: as many as there are. What has begun goes on when
// less is allowed.
struct Allowance {
    std::optional<int> jobs;
    std::optional<int> slots;  // nodes: a task of four has four, one that shares its node has one
    bool operator==(const Allowance&) const = default;
};

struct AccountUse {
    int jobs = 0, slots = 0;  // on nodes
    std::size_t waiting = 0;
};

class Accounts {
public:
    Accounts();
    ~Accounts();
    Accounts(const Accounts&) = delete;
    Accounts& operator=(const Accounts&) = delete;

    // From now on. `called`: by explanations, such as "user ada".
    void allow(Handle account, const Allowance& allowance, std::string called);
    AccountUse use(Handle account) const;
    // All of them, when no scheduler is left that shares them.
    void clear();

    struct State;

private:
    friend class Scheduler;
    std::unique_ptr<State> state_;
};

}  // namespace turnout::schedule
