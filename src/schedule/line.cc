#include "schedule/line.h"

#include <algorithm>

#include "schedule/state.h"

namespace turnout::schedule {

namespace {

std::uint64_t mixed(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

}  // namespace

std::size_t Tasks::piece(Handle task) {
    return mixed(task) & 255;
}

TaskIndex Tasks::find(Handle task) const {
    const auto& map = by_handle_[piece(task)];
    const auto found = map.find(task);
    return found == map.end() ? no_task : found->second;
}

TaskIndex Tasks::add(Handle task) {
    TaskIndex index;
    if (unused_.empty()) {
        index = static_cast<TaskIndex>(tasks_.size());
        tasks_.emplace_back();
    } else {
        index = unused_.back();
        unused_.pop_back();
    }
    tasks_[index].handle = task;
    by_handle_[piece(task)].emplace(task, index);
    return index;
}

void Tasks::remove(TaskIndex index) {
    by_handle_[piece(tasks_[index].handle)].erase(tasks_[index].handle);
    tasks_[index] = {};
    unused_.push_back(index);
}

// ---- the tree: balanced by a hash of the handle, so that the same calls give the same tree ----

void Line::split(TaskIndex tree, const TaskEntry& at, TaskIndex& left, TaskIndex& right) {
    if (tree == no_task) {
        left = right = no_task;
        return;
    }
    TaskEntry& root = tasks_[tree];
    if (less(root, at)) {
        split(root.right, at, root.right, right);
        left = tree;
    } else {
        split(root.left, at, left, root.left);
        right = tree;
    }
    count(tree);
}

TaskIndex Line::merge(TaskIndex left, TaskIndex right) {
    if (left == no_task) return right;
    if (right == no_task) return left;
    if (mixed(tasks_[left].handle) > mixed(tasks_[right].handle)) {
        tasks_[left].right = merge(tasks_[left].right, right);
        count(left);
        return left;
    }
    tasks_[right].left = merge(left, tasks_[right].left);
    count(right);
    return right;
}

TaskIndex Line::insert(TaskIndex tree, TaskIndex index) {
    TaskEntry& task = tasks_[index];
    if (tree == no_task || mixed(task.handle) > mixed(tasks_[tree].handle)) {
        TaskIndex left, right;
        split(tree, task, left, right);
        task.left = left;
        task.right = right;
        count(index);
        return index;
    }
    TaskEntry& root = tasks_[tree];
    if (less(task, root))
        root.left = insert(root.left, index);
    else
        root.right = insert(root.right, index);
    count(tree);
    return tree;
}

TaskIndex Line::erase(TaskIndex tree, TaskIndex index) {
    TaskEntry& root = tasks_[tree];
    if (tree == index) {
        const TaskIndex rest = merge(root.left, root.right);
        root.left = root.right = no_task;
        root.size = 1;
        return rest;
    }
    if (less(tasks_[index], root))
        root.left = erase(root.left, index);
    else
        root.right = erase(root.right, index);
    count(tree);
    return tree;
}

// ---- the line ----

void Line::add(TaskIndex index) {
    TaskEntry& task = tasks_[index];
    Level& level = levels_[task.priority];
    const auto [at, fresh] = task.sharer->queues.try_emplace(task.priority);
    Queue& queue = at->second;
    if (fresh) {
        level.turns.insert(turn_of(*task.sharer));
        open_.try_emplace(task.priority, &level);
    }
    queue.root = insert(queue.root, index);
    ++level.waiting;
    if (!queue.held) return;
    ++level.held;
    wake(*task.sharer->stake);  // it may be the first now, and ask for less
}

void Line::remove(TaskIndex index) {
    TaskEntry& task = tasks_[index];
    Sharer& sharer = *task.sharer;
    const auto level = levels_.find(task.priority);
    const auto queue = sharer.queues.find(task.priority);
    queue->second.root = erase(queue->second.root, index);
    const bool held = queue->second.held;
    if (held) --level->second.held;
    if (queue->second.root == no_task) {
        sharer.queues.erase(queue);
        if (held) {
            sharer.stake->held.erase({-task.priority, turn_of(sharer)});
        } else {
            level->second.turns.erase(turn_of(sharer));
            if (level->second.turns.empty()) open_.erase(task.priority);
        }
    }
    if (--level->second.waiting == 0) levels_.erase(level);
    if (sharer.stake) wake(*sharer.stake);  // who was behind it
}

TaskIndex Line::first_of(const Queue& queue) const {
    TaskIndex at = queue.root;
    while (tasks_[at].left != no_task) at = tasks_[at].left;
    return at;
}

// Of one account the sharers keep their turns: who comes later does not take the room for which an
// earlier one waits.
bool Line::may_begin(Sharer& sharer, int priority, TaskIndex first) const {
    const Stake* stake = sharer.stake;
    if (!stake || !stake->account->limited()) return true;
    const std::pair own{-priority, turn_of(sharer)};
    return stake->fits(tasks_[first].nodes, priority) &&
           (stake->held.empty() || own < *stake->held.begin());
}

void Line::hold(Sharer& sharer, int priority) {
    Level& level = levels_.at(priority);
    Queue& queue = sharer.queues.at(priority);
    level.turns.erase(turn_of(sharer));
    if (level.turns.empty()) open_.erase(priority);
    queue.held = true;
    level.held += size_of(queue.root);
    sharer.stake->held.insert({-priority, turn_of(sharer)});
}

void Line::release(Sharer& sharer, int priority) {
    Level& level = levels_.at(priority);
    Queue& queue = sharer.queues.at(priority);
    sharer.stake->held.erase({-priority, turn_of(sharer)});
    queue.held = false;
    level.held -= size_of(queue.root);
    level.turns.insert(turn_of(sharer));
    open_.try_emplace(priority, &level);
}

bool Line::is_blocked(const Stake& stake) const {
    if (stake.held.empty()) return false;
    const auto& [below, turn] = *stake.held.begin();
    const Sharer& first = *std::get<Sharer*>(turn);
    return !stake.fits(tasks_[first_of(first.queues.at(-below))].nodes, -below);
}

void Line::wake(Stake& stake) {
    if (stake.held.empty() || is_blocked(stake)) return;
    const auto [below, turn] = *stake.held.begin();
    release(*std::get<Sharer*>(turn), -below);
}

void Line::wake_all(Stake& stake) {
    while (!stake.held.empty()) {
        const auto [below, turn] = *stake.held.begin();
        release(*std::get<Sharer*>(turn), -below);
    }
}

TaskIndex Line::head() {
    while (!open_.empty()) {
        const auto [priority, level] = *open_.begin();
        Sharer& sharer = *std::get<Sharer*>(*level->turns.begin());
        const TaskIndex first = first_of(sharer.queues.at(priority));
        if (may_begin(sharer, priority, first)) return first;
        hold(sharer, priority);
    }
    return no_task;
}

void Line::turn(Sharer& sharer, int ranks, std::uint64_t served) {
    const TurnKey was = turn_of(sharer);
    sharer.on_nodes += static_cast<std::size_t>(ranks);  // wraps for those that leave
    if (served > 0) sharer.served = served;
    bool held = false;
    for (const auto& [priority, queue] : sharer.queues) {
        if (queue.held) {
            held = true;
            auto moved = sharer.stake->held.extract({-priority, was});
            moved.value().second = turn_of(sharer);
            sharer.stake->held.insert(std::move(moved));
            continue;
        }
        auto moved = levels_.at(priority).turns.extract(was);
        moved.value() = turn_of(sharer);
        levels_.at(priority).turns.insert(std::move(moved));
    }
    if (held) wake(*sharer.stake);  // another one may be the first of them now
}

std::size_t Line::before(const TaskEntry& task) const {
    std::size_t before = 0;
    for (const auto& [priority, level] : levels_) {
        if (priority < task.priority) break;
        if (priority > task.priority) {
            before += level.waiting - level.held;
            continue;
        }
        // Its own sharer's, exactly; of each other one as many as have their turn until then.
        std::size_t own = 0;
        const auto mine = task.sharer->queues.find(priority);
        for (TaskIndex at = mine == task.sharer->queues.end() ? no_task : mine->second.root;
             at != no_task;) {
            const TaskEntry& root = tasks_[at];
            if (less(root, task)) {
                own += 1 + size_of(root.left);
                at = root.right;
            } else {
                at = root.left;
            }
        }
        before += own;
        const TurnKey my_turn = turn_of(*task.sharer);
        for (const TurnKey& other : level.turns) {
            const Sharer* sharer = std::get<Sharer*>(other);
            if (sharer == task.sharer) continue;
            const std::size_t until =
                task.sharer->on_nodes + own + (other < my_turn || own > 0 ? 1 : 0);
            if (until > sharer->on_nodes)
                before += std::min<std::size_t>(until - sharer->on_nodes,
                                                size_of(sharer->queues.at(priority).root));
        }
    }
    return before;
}

}  // namespace turnout::schedule
