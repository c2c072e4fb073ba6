// Why a task waits: read from the index that decides it.
#include <algorithm>
#include <utility>

#include "schedule/state.h"

namespace turnout::schedule {

namespace {

// Beyond so many nodes an expectation is made from their number alone.
constexpr int nodes_looked_at = 1000;

std::string jobs(std::size_t count) {
    return std::to_string(count) + (count == 1 ? " job" : " jobs");
}

// Nodes that a gang could have right now.
std::size_t idle_for(const ClusterEntry& c, TaskIndex gang) {
    return c.by_load[0].size() +
           (c.reserving == gang ? static_cast<std::size_t>(c.reserved_idle) : 0);
}

// The gang that stands in the way of this task, itself included.
TaskIndex gang_before(const ClusterEntry& c, const Tasks& tasks, TaskIndex index) {
    const TaskEntry& task = tasks[index];
    if (task.nodes > 1) return index;
    return c.reserving != no_task && tasks[c.reserving].priority >= task.priority ? c.reserving
                                                                                  : no_task;
}

std::size_t ahead_of(const ClusterEntry& c, const Tasks& tasks, TaskIndex index) {
    const TaskEntry& task = tasks[index];
    const bool gang = c.reserving != no_task && c.reserving != index &&
                      tasks[c.reserving].priority >= task.priority;
    return c.reserving == index ? 0 : c.line.before(task) + (gang ? 1 : 0);
}

// When so many more tasks of this cluster will have ended that this one has its turn.
std::optional<Span> expected(const ClusterEntry& c, const TaskEntry& task, std::size_t ahead,
                             std::size_t idle, Span now) {
    std::vector<Span> ends;  // of what runs, from now
    std::size_t behind = 0;  // tasks in backlogs
    std::optional<Span> started;
    const auto look = [&](const NodeList& list) {
        for (const NodeEntry* node : list) {
            if (node->is == NodeIs::Starting && c.start)
                started = std::min(started.value_or(Span::max()),
                                   std::max(Span{}, node->since + *c.start - now));
            if (node->is != NodeIs::Ready || node->drain != Drain::No || !c.duration) continue;
            const std::size_t running = std::min(node->tasks.size(), c.at_a_time());
            ends.insert(ends.end(), running, std::max(Span{}, node->since + *c.duration - now));
            behind += node->tasks.size() - running;
        }
    };
    const std::size_t at_a_time = static_cast<std::size_t>(c.idle + c.busy) * c.at_a_time();
    if (c.idle + c.busy + c.starting > nodes_looked_at) {
        if (!c.duration || at_a_time == 0) return std::nullopt;
        return *c.duration * static_cast<std::int64_t>(ahead + 1) /
               static_cast<std::int64_t>(at_a_time);
    }
    for (const NodeList& list : c.by_load) look(list);
    look(c.reserved);
    look(c.apart);
    if (started && ahead < static_cast<std::size_t>(c.starting) * c.at_a_time() && task.nodes == 1)
        return started;
    if (ends.empty()) return std::nullopt;
    std::sort(ends.begin(), ends.end());
    // One counts from the end that makes room for it; a gang needs as many as it has no nodes yet.
    const std::size_t needs = static_cast<std::size_t>(task.nodes);
    const std::size_t last =
        ahead + behind + (task.nodes > 1 ? std::max(needs, idle + 1) - idle : 1) - 1;
    return ends[last % ends.size()] + *c.duration * static_cast<std::int64_t>(last / ends.size());
}

// What an account has, and what it may have.
std::string quota_words(const AccountEntry& account, const TaskEntry& task) {
    const bool own = task.sharer->stake && task.sharer->stake->account == &account;
    if (!account.could_fit(task.nodes))
        return "needs " + std::to_string(task.nodes) + " slots at once, but " + account.called +
               " may have " + std::to_string(*account.allowance.slots) + " (quota)";
    const std::string text = own ? "waits for your quota: " : "waits for its workspace's quota: ";
    const std::string of = " of " + account.called;
    if (account.jobs_left() < 1)
        return text + std::to_string(account.jobs) + " of " +
               std::to_string(*account.allowance.jobs) + " running jobs" + of;
    if (account.slots_left() < task.nodes)
        return text + std::to_string(account.slots) + " of " +
               std::to_string(*account.allowance.slots) + " slots" + of +
               (task.nodes > 1 ? ", and it needs " + std::to_string(task.nodes) : "");
    return text + "what is left of it is kept for a job" + of + " that comes first";
}

// "in about 40 s", "in about 3 min": a guess is not told to the millisecond.
std::string in_about(Span span) {
    const auto seconds = std::chrono::round<std::chrono::seconds>(span);
    if (span < 1s) return "in less than a second";
    if (seconds < 120s) return "in about " + to_words(seconds);
    return "in about " + to_words(std::chrono::round<std::chrono::minutes>(span));
}

}  // namespace

Waiting Scheduler::waiting(Handle handle, Span now) const {
    const State& s = *state_;
    const TaskIndex index = s.tasks.find(handle);
    Waiting result;
    if (index == no_task) return result;
    const TaskEntry& task = s.tasks[index];
    const ClusterEntry& c = *task.cluster;
    if (task.placed) {
        for (const NodeEntry* node : task.placed->nodes) {
            const auto at = std::find(node->tasks.begin(), node->tasks.end(), index);
            const auto before = static_cast<std::size_t>(at - node->tasks.begin());
            if (before < c.at_a_time()) continue;
            result.what = Waiting::For::Nodes;
            result.ahead = before - c.at_a_time();
            if (c.duration)
                result.expected = std::max(Span{}, node->since + *c.duration - now) +
                                  *c.duration * static_cast<std::int64_t>(result.ahead);
        }
        return result;
    }
    using For = Waiting::For;
    result.ahead = ahead_of(c, s.tasks, index);
    const TaskIndex gang = gang_before(c, s.tasks, index);
    const auto at_a_time = static_cast<std::size_t>(c.at_a_time());
    const int present = c.starting + c.idle + c.busy + c.unreachable;
    if (c.as.deleting)
        result.what = For::Deleting;
    else if (c.as.closed)
        result.what = For::Closed;
    else if (c.as.max_nodes <= 0)
        result.what = For::NoNodes;
    else if (task.nodes > c.gang_limit && task.nodes > 1)
        result.what = For::Gang;
    else if (s.kept_by(task))
        result.what = For::Allowance;
    else if (gang == no_task && c.room > static_cast<long>(result.ahead))
        result.what = For::Nothing;
    else if (gang == index && result.ahead == 0 &&
             idle_for(c, index) >= static_cast<std::size_t>(task.nodes))
        result.what = For::Nothing;
    else if (gang != no_task)
        result.what = For::Gang;
    else if (static_cast<std::size_t>(c.starting) * at_a_time > result.ahead)
        result.what = For::NodeStart;
    else if (present >= c.as.max_nodes)
        result.what = For::Nodes;
    else if (s.slots <= static_cast<int>(s.nodes.size()))
        result.what = For::Quota;
    else if (c.held_until > std::max(now, s.last))
        result.what = For::Backoff;
    else
        result.what = For::NodeStart;
    const bool never = result.what == For::Deleting || result.what == For::Closed ||
                       result.what == For::NoNodes || task.nodes > c.gang_limit ||
                       result.what == For::Allowance;  // whose end it waits for may be elsewhere
    if (result.what == For::Nothing)
        result.expected = Span{};
    else if (!never)
        result.expected = expected(c, task, result.ahead, idle_for(c, index), now);
    return result;
}

std::string Scheduler::explain(Handle handle, Span now) const {
    const State& s = *state_;
    const TaskIndex index = s.tasks.find(handle);
    if (index == no_task) return "";
    const TaskEntry& task = s.tasks[index];
    const ClusterEntry& c = *task.cluster;
    const Waiting why = waiting(handle, now);
    if (task.placed) {
        if (why.what == Waiting::For::Nothing) return "";
        std::string text = "it is next on its node";
        if (why.ahead > 0) text = "it waits on its node; " + jobs(why.ahead) + " ahead";
        return why.expected ? text + "; expected " + in_about(*why.expected) : text;
    }
    const auto unreachable = [&] {
        return c.unreachable > 0 ? ", " + std::to_string(c.unreachable) + " of them not reachable"
                                 : "";
    };
    const auto quota = [&] {
        std::string text = s.slots == 0 ? s.pool + " can have no node now"
                                        : "no free slot in " + s.pool + ": all " +
                                              std::to_string(s.slots) + " are in use";
        if (s.leaving > 0) text += ", " + std::to_string(s.leaving) + " of them leaving";
        return text;
    };
    std::string text;
    switch (why.what) {
        case Waiting::For::Nothing: return "about to start";
        case Waiting::For::Deleting: return "the compute is being deleted";
        case Waiting::For::Closed: return "the server begins nothing new: it is being stopped";
        case Waiting::For::NoNodes: return "the compute allows no nodes (max_instances is 0)";
        case Waiting::For::Allowance: return quota_words(*s.kept_by(task), task);
        case Waiting::For::Gang: {
            const std::string needs = std::to_string(task.nodes) + " nodes at once";
            if (task.nodes > c.as.max_nodes)
                return "needs " + needs + ", but the compute allows " +
                       std::to_string(c.as.max_nodes) + " (max_instances)";
            if (task.nodes > c.gang_limit)
                return "needs " + needs + ", but of the " + std::to_string(s.slots) + " slots of " +
                       s.pool + " it can get at most " + std::to_string(c.gang_limit);
            const TaskIndex first = c.reserving != no_task ? c.reserving : index;
            const std::string idle = std::to_string(idle_for(c, first)) +
                                     (idle_for(c, first) == 1 ? " is free" : " are free");
            if (first == index)
                text = "waits for " + needs + ": " + idle +
                       (c.reserving == index ? ", kept for it" : "");
            else
                text = (task.nodes > 1 ? "waits for " + needs + "; " : "") +
                       "a job before it waits for " + std::to_string(s.tasks[first].nodes) +
                       " nodes at once: " + idle + ", kept for it";
            if (c.starting > 0)
                text += "; " + std::to_string(c.starting) +
                        (c.starting == 1 ? " node is" : " nodes are") + " starting";
            else if (c.kept() >= c.as.max_nodes)
                text += "; the compute has its " + std::to_string(c.as.max_nodes) + " nodes" +
                        unreachable();
            else if (s.slots <= static_cast<int>(s.nodes.size()))
                text += "; " + quota();
            else if (c.held_until > std::max(now, s.last))
                text += "; starting a node failed; it is tried again shortly";
            break;
        }
        case Waiting::For::NodeStart:
            if (static_cast<std::size_t>(c.starting) * c.at_a_time() > why.ahead)
                return why.expected ? "a node is starting; expected " + in_about(*why.expected)
                                    : "a node is starting";
            text = "a node is being requested";
            break;
        case Waiting::For::Nodes:
            text = (c.as.max_nodes == 1 ? std::string("the one node of the compute is in use")
                                        : "all " + std::to_string(c.as.max_nodes) +
                                              " nodes of the compute are in use") +
                   unreachable();
            break;
        case Waiting::For::Quota: text = quota(); break;
        case Waiting::For::Backoff:
            text = "starting a node failed; it is tried again shortly";
            break;
    }
    if (why.ahead > 0) text += "; " + jobs(why.ahead) + " ahead";
    if (why.expected) text += "; expected " + in_about(*why.expected);
    return text;
}

}  // namespace turnout::schedule
