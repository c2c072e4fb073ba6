#include "control/explain.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "control/owners.h"

namespace turnout::control {

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

std::string Explain::waiting_for(const std::string& workspace, const std::string& name) const {
    const auto found = owners.jobs.by_key.find(row_key(workspace, name));
    if (found == owners.jobs.by_key.end() || is_terminal(found->second.state.status)) return "";
    const JobEntry& job = found->second;
    if (kind_of(job.type).group) {
        const std::string standing = job.group->plan->standing();
        if (job.state.status != JobStatus::CancelRequested) return standing;
        return "canceling: waits for " +
               plural(job.group->live.size(), std::string(kind_of(job.type).child)) + " to stop; " +
               standing;
    }
    if (job.waits) {
        if (std::string why = owners.computes.why_unusable(*job.compute);
            !why.empty() && !owners.plan.stopping())
            return why;
        if (const auto& machine = job.compute->compute.attached;
            machine && machine->state == AttachedMachine::State::Checking)
            return "machine '" + machine->address +
                   "' is being looked at, which attaching begins with";
        const PoolState& pool = *job.compute->pool;
        std::string text = pool.scheduler.explain(job.handle, clock.since_boot());
        if (!pool.trouble.empty() && pool.held_until > clock.since_boot())
            text +=
                " (pool '" + pool.pool.name + "' has no more nodes for now: " + pool.trouble + ")";
        for (const NodeId& id : job.compute->nodes)
            if (const std::string& why = owners.nodes.by_id.at(id).what_keeps_it(); !why.empty())
                return text + " (" + why + ")";
        return text;
    }
    if (!job.base) {
        if (std::string what = job.group->plan->waits_for(job.index); !what.empty()) return what;
        return "waits for what comes before it in " + std::string(job.group->job->name());
    }
    if (!job.state.placed()) return "";
    const JobAttempt& attempt = job.state.attempts.back();
    if (job.state.preempting())
        return "its node is needed elsewhere: it is being stopped and goes back into the queue";
    const auto node = owners.nodes.by_id.find(job.compute->key() + "/" + attempt.nodes().front());
    const bool away = node != owners.nodes.by_id.end() && !node->second.connected;
    if (job.state.status == JobStatus::CancelRequested) {
        if (away)
            return "canceling: the agent of " + attempt.nodes().front() +
                   " is not reachable; the job is over when it is back, or is given up";
        if (attempt.finalizing)
            return "canceling: " +
                   (attempt.detail.empty() ? "uploading what it left" : attempt.detail);
        if (!attempt.running)
            return "canceling: " + words_of(attempt.placement) +
                   " was told to prepare it no further";
        return "canceling: its processes on " + words_of(attempt.placement) +
               " were asked to stop; what still runs after " + to_words(settings.cancel_grace) +
               " is killed";
    }
    if (job.state.status == JobStatus::Running || job.state.status == JobStatus::Finalizing) {
        if (away)
            return "the node's agent is not reachable; the job goes on there" +
                   (node->second.node.problem.empty() ? ""
                                                      : " (" + node->second.node.problem + ")");
        if (job.state.status == JobStatus::Running) return "";
    }
    if (!attempt.detail.empty()) return attempt.detail;
    if (job.state.status == JobStatus::Finalizing)
        return "uploading outputs and the rest of the log";
    if (job.state.status == JobStatus::Queued)
        return "next on node " + attempt.nodes().front() + ", behind a short job";
    return "the node prepares the job";
}

std::vector<std::string> Explain::placed_jobs(const std::string& workspace) const {
    std::set<std::string> names;
    for (const auto& [id, entry] : owners.nodes.by_id)
        for (const Lease& lease : entry.leases)
            if (lease.job->workspace() == workspace && !lease.job->is_child())
                names.emplace(lease.job->name());
    for (const auto& [key, group] : owners.groups.by_key)
        if (group.job->workspace() == workspace && group.job->state.status != JobStatus::Queued)
            names.emplace(group.job->name());
    return {names.begin(), names.end()};
}

std::optional<schedule::Waiting> Explain::waiting(const std::string& workspace,
                                                  const std::string& name) const {
    const auto found = owners.jobs.by_key.find(row_key(workspace, name));
    if (found == owners.jobs.by_key.end() || is_terminal(found->second.state.status) ||
        kind_of(found->second.type).group)
        return std::nullopt;
    if (!found->second.waits && found->second.state.status != JobStatus::Queued)
        return std::nullopt;
    return found->second.compute->pool->scheduler.waiting(found->second.handle, clock.since_boot());
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

std::optional<Control::Explanation> Explain::explain(const std::string& workspace,
                                                     const std::string& name) const {
    using For = schedule::Waiting::For;
    const auto found = owners.jobs.by_key.find(row_key(workspace, name));
    if (found == owners.jobs.by_key.end() || is_terminal(found->second.state.status))
        return std::nullopt;
    const JobEntry& job = found->second;
    const Compute& compute = job.compute->compute;
    const Span now = clock.since_boot();
    Control::Explanation why;
    why.text = waiting_for(workspace, name);
    if (why.text.empty() && job.state.placed() && job.state.status == JobStatus::Running) {
        const JobAttempt& attempt = job.state.attempts.back();
        why.text =
            "its command runs on " + words_of(attempt.placement) +
            (attempt.running ? " since " + rough(std::max(Span{}, clock.now() - *attempt.running))
                             : "");
    }
    if (const auto standing = waiting(workspace, name)) {
        why.waits = true;
        why.waiting = *standing;
    }
    const PoolState& pool = *job.compute->pool;
    const schedule::Scheduler& scheduler = pool.scheduler;
    if (owners.pools.several()) why.pool = pool.pool.name;
    why.counts = scheduler.counts(job.compute->handle);
    why.free_slots = scheduler.free_slots();
    why.slots = scheduler.slots();
    why.max_nodes = compute.max_nodes;
    why.jobs_per_node = compute.jobs_per_node;

    std::vector<std::string> running;  // "job a on node-1"
    for (Node& node : owners.nodes.of(*job.compute)) {
        const NodeEntry& entry = owners.nodes.by_id.at(node.id());
        std::vector<std::string> here;
        std::optional<Span> since;
        for (std::size_t i = 0;
             i < std::min(entry.leases.size(), static_cast<std::size_t>(compute.jobs_per_node));
             ++i) {
            const JobEntry& other = *entry.leases[i].job;
            const JobAttempt& attempt = other.state.attempts.back();
            here.emplace_back(other.name());
            since = std::max(Span{}, clock.now() - attempt.running.value_or(
                                                       attempt.preparing.value_or(attempt.leased)));
            if (&other != &job)
                running.push_back("job " + std::string(other.name()) + " on " + node.name);
        }
        if (here.size() > 1) since.reset();
        std::string doing =
            doing_of(node, here, since, std::max(Span{}, clock.now() - node.state_since));
        why.nodes.push_back({std::move(node), std::move(doing)});
    }
    if (!job.waits || kind_of(job.type).group) return why;

    // What would start it now.
    std::vector<std::string>& ways = why.would_start;
    const std::size_t turn = why.waiting.ahead + 1;
    const auto ends = [&] {
        if (running.empty()) return;
        const std::string unless =
            scheduler.would_lose_slot(job.compute->handle)
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
    const std::string pool_words = why.pool.empty() ? "the pool" : "pool '" + why.pool + "'";
    const std::string set_slots = pool.pool.name == kDefaultPool
                                      ? std::string("turnout up --slots ")
                                      : "turnout pool update -n " + pool.pool.name + " --slots ";
    const auto raise = [&](int to) {
        if (compute.implicit) return "more slots of the pool: `" + set_slots + "N`";
        return "max_instances " + std::to_string(to) + " instead of " +
               std::to_string(compute.max_nodes) + ": `turnout compute update -n " + compute.name +
               " --max-instances " + std::to_string(to) + "`";
    };
    const auto slots_needed = [&](int count) {
        return plural(static_cast<std::size_t>(count), "more slot") + " of " + pool_words +
               " (it has " + std::to_string(scheduler.slots()) + "): `" + set_slots +
               std::to_string(scheduler.slots() + count) + "` on a machine that can carry them";
    };
    const auto holders = [&] {
        std::vector<std::string> named;
        int others = 0;
        for (const auto& [key, other] : owners.computes.by_key) {
            if (&other == job.compute || other.pool != &pool || other.nodes.empty()) continue;
            if (other.compute.workspace != workspace) {
                others += static_cast<int>(other.nodes.size());
                continue;
            }
            const schedule::Counts counts = scheduler.counts(other.handle);
            std::string text = std::string(shown_compute(other.compute.name)) + " holds " +
                               std::to_string(other.nodes.size());
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
            if (const Span left = pool.held_until - now; left > Span{})
                ways.push_back("a node more of " + pool_words + ": it is asked again " +
                               (left > 1s ? "in " + rough(left) : std::string("at once")));
            else
                ways.push_back(slots_needed(more));
            break;
        case For::Backoff: {
            if (!job.compute->unusable.empty()) {
                ways.push_back("a compute that its provider can make: `turnout compute update -n " +
                               compute.name + "`, or another one");
                break;
            }
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
        case For::Closed:
            ways.push_back(pool.missing ? "pool '" + pool.pool.name +
                                              "' in pools.yaml again, and `turnout pool reload`"
                                        : std::string("`turnout up`"));
            break;
        case For::NoNodes: ways.push_back(raise(1)); break;
        case For::Allowance: {
            const auto owner = owners.quotas.owner_of(scheduler.kept_by(job.handle));
            if (!owner) break;
            const Quota quota = owners.quotas.holds(*owner);
            if (!quota.slots || *quota.slots >= job.nodes)
                ways.push_back("the end of a running job of " + words_of(*owner));
            ways.push_back("a larger quota, from an Owner of the server: `" + set_command(*owner) +
                           " --running N --slots N`");
            break;
        }
    }
    return why;
}

Waited Explain::waited(const std::string& workspace, const std::string& name) const {
    const auto found = owners.jobs.by_key.find(row_key(workspace, name));
    if (found == owners.jobs.by_key.end() || !found->second.waits) return {};
    const JobEntry& job = found->second;
    const ComputeState& compute = *job.compute;
    Waited waited{compute.waits.quota - job.waits_from.quota,
                  compute.waits.node_start - job.waits_from.node_start};
    const Span since = clock.since_boot() - compute.waiting_at;
    if (compute.waiting_for == schedule::Waiting::For::Quota) waited.quota += since;
    if (compute.waiting_for == schedule::Waiting::For::NodeStart) waited.node_start += since;
    return waited;
}

}  // namespace turnout::control
