#include "schedule/line.h"

#include <algorithm>

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
    const auto [queue, fresh] = task.sharer->queues.try_emplace(task.priority);
    if (fresh) level.turns.insert(turn_of(*task.sharer));
    queue->second.root = insert(queue->second.root, index);
    ++level.waiting;
    ++size_;
}

void Line::remove(TaskIndex index) {
    TaskEntry& task = tasks_[index];
    const auto level = levels_.find(task.priority);
    const auto queue = task.sharer->queues.find(task.priority);
    queue->second.root = erase(queue->second.root, index);
    if (queue->second.root == no_task) {
        task.sharer->queues.erase(queue);
        level->second.turns.erase(turn_of(*task.sharer));
    }
    if (--level->second.waiting == 0) levels_.erase(level);
    --size_;
}

TaskIndex Line::head() const {
    if (levels_.empty()) return no_task;
    const auto& [priority, level] = *levels_.begin();
    TaskIndex at = std::get<Sharer*>(*level.turns.begin())->queues.at(priority).root;
    while (tasks_[at].left != no_task) at = tasks_[at].left;
    return at;
}

void Line::turn(Sharer& sharer, int ranks, std::uint64_t served) {
    const Turn was = turn_of(sharer);
    sharer.on_nodes += static_cast<std::size_t>(ranks);  // wraps for those that leave
    if (served > 0) sharer.served = served;
    for (const auto& [priority, queue] : sharer.queues) {
        auto moved = levels_.at(priority).turns.extract(was);
        moved.value() = turn_of(sharer);
        levels_.at(priority).turns.insert(std::move(moved));
    }
}

std::size_t Line::before(const TaskEntry& task) const {
    std::size_t before = 0;
    for (const auto& [priority, level] : levels_) {
        if (priority < task.priority) break;
        if (priority > task.priority) {
            before += level.waiting;
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
        const Turn my_turn = turn_of(*task.sharer);
        for (const Turn& other : level.turns) {
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
