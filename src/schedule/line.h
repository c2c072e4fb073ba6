// The tasks of the scheduler and the line in which those of one cluster wait: by priority, within
// one priority the sharer with the fewest nodes first, within one sharer by order. Every step costs
// O(log n). A waiting task is kept small: a server holds a million of them.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "schedule/scheduler.h"

namespace turnout::schedule {

struct ClusterEntry;
struct NodeEntry;
struct Stake;

using TaskIndex = std::uint32_t;
inline constexpr TaskIndex no_task = 0xffffffff;

// The tasks of one sharer that have one priority, as a tree ordered by (order, handle).
struct Queue {
    TaskIndex root = no_task;
    bool held = false;  // out of its turn: see Stake
};

// One who shares fairly in one cluster; exists while a task of it does.
struct Sharer {
    Handle handle = 0;
    Stake* stake = nullptr;       // of its account in that cluster; nullptr: it has none
    std::size_t tasks = 0;        // known ones
    std::size_t on_nodes = 0;     // ranks on nodes: a gang of four counts four
    std::uint64_t served = 0;     // stamp of its last placement
    std::map<int, Queue> queues;  // by priority; none is empty
};

// What is known of a task that is on nodes.
struct Placed {
    std::vector<NodeEntry*> nodes;  // by rank; those it left are gone
    std::uint64_t stamp = 0;        // of its placement: a later one is larger
    bool preempting = false;
    bool revoking = false;
};

struct TaskEntry {
    Handle handle = 0;
    std::uint64_t order = 0;
    ClusterEntry* cluster = nullptr;
    Sharer* sharer = nullptr;
    std::unique_ptr<Placed> placed;  // nullptr: it waits
    TaskIndex left = no_task, right = no_task;
    std::uint32_t size = 1;  // of the subtree
    int nodes = 1;
    int priority = 0;
    std::uint32_t lasts = 0;  // seconds
    bool alone = false;
    bool out = false;  // a gang that cannot be placed at all: it is not in line

    bool exclusive() const { return nodes > 1 || alone; }  // on its nodes
};

// All tasks by number and by handle. The table by handle is cut in pieces, so that no single event
// pays for moving a million entries when it grows.
class Tasks {
public:
    TaskEntry& operator[](TaskIndex index) { return tasks_[index]; }
    const TaskEntry& operator[](TaskIndex index) const { return tasks_[index]; }
    TaskIndex find(Handle task) const;  // no_task if unknown
    TaskIndex add(Handle task);
    void remove(TaskIndex index);

private:
    static std::size_t piece(Handle task);
    std::deque<TaskEntry> tasks_;
    std::vector<TaskIndex> unused_;
    std::array<std::unordered_map<Handle, TaskIndex>, 256> by_handle_;
};

// Whose turn it is: by nodes, then who was served longest ago.
using TurnKey = std::tuple<std::size_t, std::uint64_t, Handle, Sharer*>;

class Line {
public:
    explicit Line(Tasks& tasks) : tasks_(tasks) {}

    void add(TaskIndex index);
    void remove(TaskIndex index);
    // Who comes next; no_task if nobody waits who may begin. Sharers whose account has no room for
    // what they have next are taken out of their turn until it has.
    TaskIndex head();
    bool any() const { return !open_.empty(); }  // who may begin; exact after `head`

    // Ranks of its tasks came to nodes (or left them); `served`: a stamp if it was its turn.
    void turn(Sharer& sharer, int ranks, std::uint64_t served);

    // The account has room again, or more of it: its first sharer out of turn gets back, if there
    // is room for what it has next.
    void wake(Stake& stake);
    void wake_all(Stake& stake);  // all of them, whether there is or not
    // Its first sharer out of turn has no room yet, so that the others wait behind it.
    bool is_blocked(const Stake& stake) const;

    // How many of the line come before this task, which may or may not be in it, if nothing ends.
    // Those out of their turn do not count.
    std::size_t before(const TaskEntry& task) const;

private:
    struct Level {
        std::set<TurnKey> turns;
        std::size_t waiting = 0;
        std::size_t held = 0;  // of them out of their turn
    };
    static TurnKey turn_of(Sharer& sharer) {
        return {sharer.on_nodes, sharer.served, sharer.handle, &sharer};
    }
    bool may_begin(Sharer& sharer, int priority, TaskIndex first) const;
    TaskIndex first_of(const Queue& queue) const;
    void hold(Sharer& sharer, int priority);
    void release(Sharer& sharer, int priority);

    bool less(const TaskEntry& a, const TaskEntry& b) const {
        return std::tie(a.order, a.handle) < std::tie(b.order, b.handle);
    }
    std::uint32_t size_of(TaskIndex tree) const { return tree == no_task ? 0 : tasks_[tree].size; }
    void count(TaskIndex tree) {
        tasks_[tree].size = 1 + size_of(tasks_[tree].left) + size_of(tasks_[tree].right);
    }
    void split(TaskIndex tree, const TaskEntry& at, TaskIndex& left, TaskIndex& right);
    TaskIndex merge(TaskIndex left, TaskIndex right);
    TaskIndex insert(TaskIndex tree, TaskIndex index);
    TaskIndex erase(TaskIndex tree, TaskIndex index);

    Tasks& tasks_;
    std::map<int, Level, std::greater<>> levels_;  // none is empty
    std::map<int, Level*, std::greater<>> open_;   // those in which somebody has a turn
};

}  // namespace turnout::schedule
