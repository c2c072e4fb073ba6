// What people ask: why a job waits, what would start it, what the nodes do. Reads only.
#include <algorithm>
#include <set>

#include "control/state.h"

namespace turnout {

namespace {

constexpr std::size_t kMostNamed = 3;  // jobs or computes that one sentence names

std::string plural(std::size_t count, const std::string& noun) {
    return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

// Whole seconds: an explanation is not told to the millisecond.
std::string rough(Span span) {
    if (span < 1s) return "less than a second";
    const auto seconds = std::chrono::floor<std::chrono::seconds>(span);
    return to_words(seconds < 1h ? Span(seconds)
                                 : Span(std::chrono::floor<std::chrono::minutes>(span)));
}

}  // namespace

std::string Control::waiting_for(const std::string& workspace, const std::string& name) const {
    const State& s = *state_;
    const auto found = s.jobs.find(State::key(workspace, name));
    if (found == s.jobs.end() || is_terminal(found->second.state.status)) return "";
    const State::JobEntry& job = found->second;
    if (job.type == JobType::Sweep) return sweep_words(job.sweep->sweep, job.sweep->progress);
    if (job.waits) {
        std::string text = s.scheduler->explain(job.handle, s.clock.since_boot());
        for (const NodeId& id : job.compute->nodes)
            if (const Node& node = s.nodes.at(id).node; !node.problem.empty())
                return text + " (" + node.problem + ")";
        return text;
    }
    if (!job.state.placed()) return "";
    const JobAttempt& attempt = job.state.attempts.back();
    if (job.state.preempting())
        return "its node is needed elsewhere: it is being stopped and goes back into the queue";
    if (job.state.status == JobStatus::Running || job.state.status == JobStatus::Finalizing) {
        const auto node = s.nodes.find(job.compute->key() + "/" + attempt.nodes.front());
        if (node != s.nodes.end() && !node->second.connected)
            return "the node's agent is not reachable; the job goes on there";
        return "";
    }
    if (!attempt.detail.empty()) return attempt.detail;
    if (job.state.status == JobStatus::Queued)
        return "next on node " + attempt.nodes.front() + ", behind a short job";
    return "the node prepares the job";
}

std::vector<std::string> Control::placed_jobs(const std::string& workspace) const {
    const State& s = *state_;
    std::set<std::string> names;
    for (const auto& [id, entry] : s.nodes)
        for (const State::Lease& lease : entry.leases)
            if (lease.job->workspace() == workspace && !lease.job->is_trial())
                names.emplace(lease.job->name());
    for (const auto& [key, sweep] : s.sweeps)
        if (sweep.job->workspace() == workspace && sweep.job->state.status != JobStatus::Queued)
            names.emplace(sweep.job->name());
    return {names.begin(), names.end()};
}

std::vector<Node> Control::nodes_of(const std::string& workspace,
                                    const std::string& compute) const {
    const State& s = *state_;
    std::vector<Node> all;
    const auto found = s.computes.find(State::key(workspace, compute));
    if (found == s.computes.end()) return all;
    for (const NodeId& id : found->second.nodes) {
        const State::NodeEntry& entry = s.nodes.at(id);
        Node node = entry.node;
        node.connected = entry.connected;
        if (!entry.leases.empty()) {
            node.job = entry.leases.front().job->name();
            node.attempt = entry.leases.front().attempt;
            node.backlog = std::max(
                0, static_cast<int>(entry.leases.size()) - found->second.compute.jobs_per_node);
            if (node.state == NodeState::Idle) node.state = NodeState::Running;
        }
        for (const State::Lease& lease : entry.leases)
            node.gives_way = node.gives_way || lease.job->state.preempting();
        all.push_back(std::move(node));
    }
    return all;
}

std::optional<schedule::Waiting> Control::waiting(const std::string& workspace,
                                                  const std::string& name) const {
    const State& s = *state_;
    const auto found = s.jobs.find(State::key(workspace, name));
    if (found == s.jobs.end() || is_terminal(found->second.state.status) ||
        found->second.type != JobType::Command)
        return std::nullopt;
    if (!found->second.waits && found->second.state.status != JobStatus::Queued)
        return std::nullopt;
    return s.scheduler->waiting(found->second.handle, s.clock.since_boot());
}

namespace {

std::string doing_of(const Node& node, const std::vector<std::string>& running,
                     std::optional<Span> since, Span state_for) {
    std::string text;
    switch (node.state) {
        case NodeState::Provisioning: text = "starts since " + rough(state_for); break;
        case NodeState::Leaving:
            return "leaves since " + rough(state_for) +
                   (node.problem.empty() ? "" : ": " + node.problem);
        case NodeState::Unusable: text = "cannot be used"; break;
        case NodeState::Idle:
        case NodeState::Running:
            text = running.empty() ? "is idle"
                                   : "runs " + std::string(running.size() == 1 ? "job " : "jobs ");
            for (std::size_t i = 0; i < std::min(running.size(), kMostNamed); ++i)
                text += (i == 0 ? "" : ", ") + running[i];
            if (running.size() > kMostNamed)
                text += " and " + std::to_string(running.size() - kMostNamed) + " more";
            if (since) text += " since " + rough(*since);
            break;
    }
    if (node.gives_way) text += ", which gives way";
    if (node.backlog > 0)
        text += "; " + plural(static_cast<std::size_t>(node.backlog), "job") + " behind it";
    if (!node.connected && node.state != NodeState::Provisioning)
        text += "; its agent is not reachable";
    if (!node.problem.empty()) text += "; " + node.problem;
    return text;
}

}  // namespace

std::optional<Control::Explanation> Control::explain(const std::string& workspace,
                                                     const std::string& name) const {
    using For = schedule::Waiting::For;
    const State& s = *state_;
    const auto found = s.jobs.find(State::key(workspace, name));
    if (found == s.jobs.end() || is_terminal(found->second.state.status)) return std::nullopt;
    const State::JobEntry& job = found->second;
    const Compute& compute = job.compute->compute;
    const Span now = s.clock.since_boot();
    Explanation why;
    why.text = waiting_for(workspace, name);
    if (const auto standing = waiting(workspace, name)) {
        why.waits = true;
        why.waiting = *standing;
    }
    why.counts = s.scheduler->counts(job.compute->handle);
    why.free_slots = s.scheduler->free_slots();
    why.slots = s.scheduler->slots();
    why.max_nodes = compute.max_nodes;
    why.jobs_per_node = compute.jobs_per_node;

    std::vector<std::string> running;  // "job a on node-1"
    for (Node& node : nodes_of(workspace, compute.name)) {
        const State::NodeEntry& entry = s.nodes.at(node.id());
        std::vector<std::string> here;
        std::optional<Span> since;
        for (std::size_t i = 0;
             i < std::min(entry.leases.size(), static_cast<std::size_t>(compute.jobs_per_node));
             ++i) {
            const State::JobEntry& other = *entry.leases[i].job;
            const JobAttempt& attempt = other.state.attempts.back();
            here.emplace_back(other.name());
            since = std::max(
                Span{}, s.clock.now() -
                            attempt.running.value_or(attempt.preparing.value_or(attempt.leased)));
            if (&other != &job)
                running.push_back("job " + std::string(other.name()) + " on " + node.name);
        }
        if (here.size() > 1) since.reset();
        std::string doing =
            doing_of(node, here, since, std::max(Span{}, s.clock.now() - node.state_since));
        why.nodes.push_back({std::move(node), std::move(doing)});
    }
    if (!job.waits || job.type == JobType::Sweep) return why;

    // What would start it now.
    std::vector<std::string>& ways = why.would_start;
    const std::size_t turn = why.waiting.ahead + 1;
    const auto ends = [&] {
        if (running.empty()) return;
        const std::string unless =
            s.scheduler->would_lose_slot(job.compute->handle)
                ? ", unless another compute that has fewer nodes gets the slot"
                : "";
        if (turn > 1) {
            ways.push_back("the end of " + plural(turn, "job") + " of this compute" + unless);
            return;
        }
        std::string text = "the end of ";
        for (std::size_t i = 0; i < std::min(running.size(), kMostNamed); ++i)
            text += (i == 0 ? "" : " or ") + running[i];
        if (running.size() > kMostNamed)
            text += " or any other of the " + std::to_string(running.size()) + " that run";
        ways.push_back(text + unless);
    };
    const auto at_a_time = static_cast<std::size_t>(compute.jobs_per_node);
    const int more = job.nodes > 1 ? std::max(1, job.nodes - why.counts.idle - why.counts.starting)
                                   : static_cast<int>((turn + at_a_time - 1) / at_a_time);
    const auto raise = [&](int to) {
        if (compute.implicit)
            return std::string(
                "more slots of the pool: `turnout down`, then `turnout up --slots N`");
        return "max_instances " + std::to_string(to) + " instead of " +
               std::to_string(compute.max_nodes) + ": `turnout compute update -n " + compute.name +
               " --max-instances " + std::to_string(to) + "`";
    };
    const auto slots_needed = [&](int count) {
        return plural(static_cast<std::size_t>(count), "more slot") + " of the pool (it has " +
               std::to_string(s.scheduler->slots()) +
               "): `turnout down`, then `turnout up --slots " +
               std::to_string(s.scheduler->slots() + count) + "` on a machine that can carry them";
    };
    const auto holders = [&] {
        std::vector<std::string> named;
        int others = 0;
        for (const auto& [key, other] : s.computes) {
            if (&other == job.compute || other.nodes.empty()) continue;
            if (other.compute.workspace != workspace) {
                others += static_cast<int>(other.nodes.size());
                continue;
            }
            const schedule::Counts counts = s.scheduler->counts(other.handle);
            std::string text = other.compute.name + " holds " + std::to_string(other.nodes.size());
            if (counts.idle > 0)
                text += " (" + std::to_string(counts.idle) + " idle" +
                        (other.compute.min_nodes > 0
                             ? ", it keeps " + std::to_string(other.compute.min_nodes)
                             : "") +
                        ")";
            named.push_back(std::move(text));
        }
        if (others > 0) named.push_back("other workspaces hold " + std::to_string(others));
        if (named.empty()) return;
        std::string text = "a slot that another compute lets go: ";
        for (std::size_t i = 0; i < std::min(named.size(), kMostNamed); ++i)
            text += (i == 0 ? "" : ", ") + named[i];
        if (named.size() > kMostNamed) text += " and so on";
        ways.push_back(text);
    };
    switch (why.waiting.what) {
        case For::Nothing: break;
        case For::NodeStart:
            ways.push_back(why.counts.starting > 0 ? "nothing but time: the node that is starting"
                                                   : "nothing but time: a node is being requested");
            break;
        case For::Nodes:
            ends();
            if (why.free_slots >= more)
                ways.push_back(raise(compute.max_nodes + more));
            else
                ways.push_back(raise(compute.max_nodes + more) + ", and " +
                               slots_needed(more - std::max(0, why.free_slots)));
            if (why.counts.unreachable > 0)
                ways.push_back("the return of " +
                               plural(static_cast<std::size_t>(why.counts.unreachable), "node") +
                               " that cannot be reached");
            break;
        case For::Quota:
            ends();
            holders();
            ways.push_back(slots_needed(more));
            break;
        case For::Backoff: {
            const Span left = job.compute->provision_not_before - now;
            ways.push_back("a node that can be started; it is tried again " +
                           (left > 1s ? "in " + rough(left) : std::string("at once")));
            break;
        }
        case For::Gang:
            if (job.nodes > compute.max_nodes) ways.push_back(raise(job.nodes));
            if (job.nodes > why.slots) ways.push_back(slots_needed(job.nodes - why.slots));
            if (job.nodes <= compute.max_nodes && job.nodes <= why.slots) {
                if (turn > 1)
                    ways.push_back(
                        "the start of " + plural(turn - 1, "job") + " before it, and then " +
                        plural(static_cast<std::size_t>(job.nodes), "node") + " free at once");
                else if (!running.empty())
                    ways.push_back("the end of " + plural(static_cast<std::size_t>(more), "job") +
                                   " of this compute, so that " + std::to_string(job.nodes) +
                                   " nodes are free at once");
                if (why.counts.present() >= compute.max_nodes && why.free_slots >= more)
                    ways.push_back(raise(compute.max_nodes + more));
                if (why.counts.present() < job.nodes && why.free_slots < more) holders();
            }
            break;
        case For::Deleting:
            ways.push_back("nothing here: cancel it and submit it to another compute");
            break;
        case For::NoNodes: ways.push_back(raise(1)); break;
    }
    return why;
}

}  // namespace turnout
