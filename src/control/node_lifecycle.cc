// Clusters grow and shrink: nodes are requested, lost, released, and the plan is carried out.
#include <algorithm>

#include "control/state.h"

namespace turnout {

namespace ap = agent_protocol;

Control::State::ComputeState& Control::State::serverless(const std::string& workspace) {
    const std::string compute_key = key(workspace, "serverless");
    if (const auto found = computes.find(compute_key); found != computes.end()) return found->second;
    ComputeState& state = computes[compute_key];
    state.compute.workspace = workspace;
    state.compute.name = "serverless";
    state.compute.definition = Json::object();
    state.compute.envelope = Json::object();
    state.compute.vm_size = "STANDARD_DS3_V2";
    state.compute.max_nodes = settings.slots;
    state.compute.idle_before_scale_down = settings.serverless_idle;
    state.compute.implicit = true;
    state.compute.created = state.compute.modified = clock.now();
    gathering.computes.insert(compute_key);
    return state;
}

std::size_t Control::State::free_slots() const {
    const std::size_t slots = static_cast<std::size_t>(settings.slots);
    return nodes.size() >= slots ? 0 : slots - nodes.size();
}

schedule::ClusterView Control::State::view(const ComputeState& compute) const {
    schedule::ClusterView cluster;
    cluster.min_nodes = compute.compute.min_nodes;
    cluster.max_nodes = compute.compute.max_nodes;
    cluster.idle_before_scale_down = compute.compute.idle_before_scale_down;
    cluster.deleting = compute.compute.deleting || stopping;
    cluster.waiting_jobs = compute.queue.size();
    const Span now = clock.since_boot();
    cluster.may_provision = compute.provision_not_before <= now;
    for (const NodeId& id : compute.nodes) {
        const NodeEntry& entry = nodes.at(id);
        schedule::NodeView node;
        using Is = schedule::NodeView::Is;
        switch (entry.node.state) {
            case NodeState::Provisioning: node.is = Is::Starting; break;
            case NodeState::Leaving: node.is = Is::Leaving; break;
            case NodeState::Unusable: node.is = Is::Unreachable; break;
            case NodeState::Running: node.is = Is::Busy; break;
            case NodeState::Idle:
                node.is = entry.connected ? Is::Idle : Is::Unreachable;
                node.idle_for = now - entry.idle_since;
                break;
        }
        cluster.nodes.push_back(node);
    }
    return cluster;
}

void Control::State::schedule_all() {
    // Plans change what others may do (slots come free), so go on until nobody has anything to say;
    // each round only plans what the last one touched, plus those that lack slots.
    for (int round = 0; round < 4 && !to_schedule.empty(); ++round) {
        std::set<std::string> now = std::exchange(to_schedule, {});
        std::size_t lacking = 0;
        std::vector<std::pair<std::uint64_t, std::string>> order;  // the oldest waiting job first
        for (const auto& [compute_key, compute] : computes) {
            const bool lacks = !compute.queue.empty() || compute.nodes.size() < static_cast<std::size_t>(std::max(0, compute.compute.min_nodes));
            if (lacks || now.contains(compute_key))
                order.emplace_back(compute.queue.empty() ? ~0ull : compute.queue.begin()->first, compute_key);
        }
        std::sort(order.begin(), order.end());
        for (const auto& [first, compute_key] : order) {
            const auto found = computes.find(compute_key);
            if (found == computes.end()) continue;
            schedule(compute_key, 0);
            if (const auto again = computes.find(compute_key); again != computes.end())
                lacking += schedule::plan(view(again->second), free_slots(), 0).lacking_slots;
        }
        // Somebody lacks slots: idle nodes of others go at once. What is leaving already counts.
        const auto leaving = [this] {
            return static_cast<std::size_t>(std::count_if(nodes.begin(), nodes.end(), [](const auto& entry) {
                return entry.second.node.state == NodeState::Leaving;
            }));
        };
        if (lacking == 0) continue;
        for (const auto& [first, compute_key] : order) to_schedule.erase(compute_key);
        for (auto& [compute_key, compute] : computes) {
            const std::size_t coming = leaving();
            if (coming >= lacking) break;
            if (compute.queue.empty()) schedule(compute_key, lacking - coming);
        }
    }
    to_schedule.clear();
    if (!stopped.empty() && nodes.empty())
        for (Reply<void>& waiting : std::exchange(stopped, {})) reply<void>(std::move(waiting), Result<void>{});
}

void Control::State::schedule(const std::string& compute_key, std::size_t wanted_elsewhere) {
    ComputeState& compute = computes.at(compute_key);
    const schedule::ClusterView cluster = view(compute);
    const schedule::Plan plan = schedule::plan(cluster, free_slots(), wanted_elsewhere);
    const std::vector<NodeId> ids(compute.nodes.begin(), compute.nodes.end());  // the view's order
    for (const std::size_t index : plan.assign) {
        const std::string job_key = compute.queue.begin()->second;
        lease(job_key, nodes.at(ids[index]));
    }
    if (compute.provision_not_before != Span{} && cluster.may_provision) compute.provision_not_before = Span{};
    for (std::size_t i = 0; i < plan.provision; ++i) provision_node(compute);
    for (const std::size_t index : plan.release) release_node(nodes.at(ids[index]));
    if (plan.next_release != Span{}) {
        const Span due = clock.since_boot() + plan.next_release;
        for (const NodeId& id : ids) {
            NodeEntry& node = nodes.at(id);
            if (node.node.state == NodeState::Idle && node.connected && (node.deadline == Span{} || due < node.deadline))
                set_deadline(node, due);
        }
    }
    if (cluster.deleting)  // nobody waits for those that start or are away, either
        for (const NodeId& id : ids)
            if (NodeEntry& node = nodes.at(id); node.node.job.empty()) release_node(node);
    if (compute.compute.deleting) finish_deletion(compute_key);
}

void Control::State::set_state(NodeEntry& node, NodeState state) {
    node.node.state = state;
    node.node.state_since = clock.now();
    gathering.nodes.insert(node.node.id());
}

void Control::State::set_deadline(NodeEntry& node, Span at) {
    const NodeId id = node.node.id();
    if (node.deadline != Span{}) deadlines.erase({node.deadline, id});
    node.deadline = at;
    if (at != Span{}) deadlines.insert({at, id});
}

void Control::State::provision_node(ComputeState& compute) {
    NodeEntry entry;
    entry.node.workspace = compute.compute.workspace;
    entry.node.compute = compute.compute.name;
    entry.node.name = "node-" + std::to_string(++last_node);
    entry.node.created = clock.now();
    entry.last_contact = clock.since_boot();
    gathering.counters = true;
    const NodeId id = entry.node.id();
    NodeEntry& node = nodes.emplace(id, std::move(entry)).first->second;
    compute.nodes.insert(id);
    set_state(node, NodeState::Provisioning);
    set_deadline(node, clock.since_boot() + settings.provision_timeout);
    say_provision(id);
}

// Decided when it leaves: until then the node may have gone, and getting it again would make an orphan.
void Control::State::say_provision(const NodeId& id) {
    effect([this, id] {
        const auto found = nodes.find(id);
        if (found != nodes.end() && found->second.node.state != NodeState::Leaving) effects.provision(found->second.node);
    });
}

void Control::State::release_node(NodeEntry& node) {
    if (node.node.state == NodeState::Leaving) return;
    TURNOUT_CHECK(node.node.job.empty(), "a node with an attempt is not released: " + node.node.id());
    set_state(node, NodeState::Leaving);
    send(node.node.id(), ap::Leave{});
    effect([this, copy = node.node] { effects.release(copy); });
    set_deadline(node, clock.since_boot() + 30s);
}

void Control::State::remove_node(const NodeId& id) {
    const auto found = nodes.find(id);
    if (found == nodes.end()) return;
    set_deadline(found->second, Span{});
    const Node node = found->second.node;
    nodes.erase(found);
    gathering.nodes.insert(id);
    const std::string compute_key = key(node.workspace, node.compute);
    if (const auto compute = computes.find(compute_key); compute != computes.end()) {
        compute->second.nodes.erase(id);
        to_schedule.insert(compute_key);
    }
    if (!node.job.empty()) {
        const std::string job_key = key(node.workspace, node.job);
        const auto job = jobs.find(job_key);
        if (job != jobs.end() && !job->second.record.attempts.empty() &&
            job->second.record.attempts.back().number == node.attempt && !job->second.record.attempts.back().ended) {
            ap::Ending ending;
            ending.cause = ap::Cause::NodeLost;
            ending.exit_code = -1;
            ending.message = node.problem.empty() ? "node " + node.name + " was lost" : node.problem;
            end_attempt(job_key, job->second, std::move(ending));
        }
    }
    finish_deletion(compute_key);
}

// A node's deadline has come.
void Control::State::check(NodeEntry& node, Span now) {
    const std::string compute_key = key(node.node.workspace, node.node.compute);
    if (node.node.state == NodeState::Leaving) {
        effect([this, copy = node.node] { effects.release(copy); });
        set_deadline(node, now + 30s);
        return;
    }
    if (node.connected) {  // idle for long enough, perhaps
        to_schedule.insert(compute_key);
        return;
    }
    const Span away = now - node.last_contact;
    if (node.node.state == NodeState::Provisioning && away >= settings.provision_timeout) {
        node.node.problem = "the node's agent did not connect within " + to_words(settings.provision_timeout);
        if (const auto compute = computes.find(compute_key); compute != computes.end()) {
            compute->second.failures = std::min(compute->second.failures + 1, 10);
            compute->second.provision_not_before = now + 1s * (1 << std::min(compute->second.failures, 6));
        }
        release_node(node);
        to_schedule.insert(compute_key);
        return;
    }
    if (!node.node.job.empty() && away >= settings.lost_node_after + settings.lost_node_margin) {
        // By now the agent has killed the task itself (fencing), so the next attempt is safe.
        node.node.problem = "no contact with node " + node.node.name + " for " + to_words(away);
        const std::string job_key = key(node.node.workspace, node.node.job);
        ap::Ending ending;
        ending.cause = ap::Cause::NodeLost;
        ending.exit_code = -1;
        ending.message = node.node.problem;
        if (const auto job = jobs.find(job_key); job != jobs.end()) end_attempt(job_key, job->second, std::move(ending));
    }
    if (node.node.job.empty() && node.node.state != NodeState::Provisioning && away >= settings.provision_timeout) {
        release_node(node);  // nothing of value on it, and it does not come back
        to_schedule.insert(compute_key);
        return;
    }
    // Get it (back): starts the agent again where it died. Idempotent.
    ++node.tries;
    say_provision(node.node.id());
    set_deadline(node, now + std::min<Span>(60s, 5s * node.tries));
}

void Control::State::finish_deletion(const std::string& compute_key) {
    const auto found = computes.find(compute_key);
    if (found == computes.end() || !found->second.compute.deleting) return;
    if (!found->second.nodes.empty() || !found->second.queue.empty()) return;
    computes.erase(found);
    gathering.computes.insert(compute_key);
}

}  // namespace turnout
