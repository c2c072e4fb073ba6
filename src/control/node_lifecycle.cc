// Clusters grow and shrink: nodes are requested, lost, released, and the scheduler's decisions are
// carried out.
#include <algorithm>
#include <utility>

#include "control/state.h"

namespace turnout {

namespace ap = agent_protocol;
using schedule::NodeIs;

Control::State::ComputeState& Control::State::add_compute(Compute compute) {
    ComputeState& state = computes[key(compute.workspace, compute.name)];
    state.compute = std::move(compute);
    if (state.handle == 0) {
        state.handle = ++last_handle;
        state.waiting_at = clock.since_boot();
        compute_of[state.handle] = &state;
    }
    // Checked where it came in.
    const Result<std::optional<double>> price = price_per_hour(state.compute);
    state.price = price ? *price : std::nullopt;
    tell_scheduler(state);
    return state;
}

Control::State::ComputeState& Control::State::serverless(const std::string& workspace) {
    if (const auto found = computes.find(key(workspace, "serverless")); found != computes.end())
        return found->second;
    Compute compute;
    compute.workspace = workspace;
    compute.name = "serverless";
    compute.definition = Json::object();
    compute.envelope = Json::object();
    compute.vm_size = "STANDARD_DS3_V2";
    compute.max_nodes = settings.slots;
    compute.idle_before_scale_down = settings.serverless_idle;
    compute.implicit = true;
    compute.created = compute.modified = clock.now();
    ComputeState& state = add_compute(std::move(compute));
    gathering.computes.insert(state.key());
    return state;
}

void Control::State::tell_scheduler(const ComputeState& state) {
    schedule::Cluster cluster;
    cluster.min_nodes = state.compute.min_nodes;
    cluster.max_nodes = state.compute.max_nodes;
    cluster.idle_before_scale_down = state.compute.idle_before_scale_down;
    cluster.low_priority = state.compute.tier == Tier::LowPriority;
    cluster.deleting = state.compute.deleting || stopping;
    cluster.jobs_per_node = state.compute.jobs_per_node;
    scheduler->put_cluster(state.handle, cluster);
    plan_wanted = true;
}

// Asks the scheduler and carries out what it says. Decisions can make others possible, so go on
// until it has nothing more to say.
void Control::State::plan() {
    const Span now = clock.since_boot();
    if (schedule_not_before != Span{}) return;
    if (!plan_wanted && !(plan_at && *plan_at <= now)) return;
    for (int round = 0; round < 8; ++round) {
        plan_wanted = false;
        const schedule::Decisions decisions = scheduler->plan(now);
        plan_at = decisions.next;
        for (const auto& assign : decisions.assign) {
            JobEntry& job = *job_of.at(assign.task);
            touched.insert(job.compute);
            give(job, assign.nodes);
        }
        for (const auto& [compute, count] : decisions.provision)
            for (int i = 0; i < count; ++i) provision_node(*compute_of.at(compute));
        for (const Handle handle : decisions.release) let_go(*node_of.at(handle));
        for (const Handle handle : decisions.preempt)
            preempt(*job_of.at(handle), "a dedicated cluster needs the slot");
        for (const auto& [task, node] : decisions.revoke)
            tell_stop(*job_of.at(task), ap::Cause::Preempted, Span{}, true);
        if (decisions.empty() && !plan_wanted) break;
    }
    for (ComputeState* compute : std::exchange(touched, {})) {
        book_waits(*compute);
        using For = schedule::Waiting::For;
        const schedule::Counts counts = scheduler->counts(compute->handle);
        compute->waiting_for = counts.waiting == 0                              ? For::Nothing
                               : counts.starting > 0                            ? For::NodeStart
                               : counts.present() >= compute->compute.max_nodes ? For::Nodes
                               : scheduler->free_slots() <= 0                   ? For::Quota
                                                                                : For::Nodes;
    }
    for (const std::string& compute_key : std::set<std::string>(deletions))
        finish_deletion(compute_key);
    if (stopping)
        for (auto& [id, node] : nodes)
            if (node.leases.empty()) release_node(node);
    if (!stopped.empty() && nodes.empty())
        effect([this] {
            for (const Reply<void>& waiting : std::exchange(stopped, {})) waiting(Result<void>{});
        });
}

Waited Control::waited(const std::string& workspace, const std::string& name) const {
    const State& s = *state_;
    const auto found = s.jobs.find(State::key(workspace, name));
    if (found == s.jobs.end() || !found->second.waits) return {};
    const State::JobEntry& job = found->second;
    const State::ComputeState& compute = *job.compute;
    Waited waited{compute.waits.quota - job.waits_from.quota,
                  compute.waits.node_start - job.waits_from.node_start};
    const Span since = s.clock.since_boot() - compute.waiting_at;
    if (compute.waiting_for == schedule::Waiting::For::Quota) waited.quota += since;
    if (compute.waiting_for == schedule::Waiting::For::NodeStart) waited.node_start += since;
    return waited;
}

void Control::State::book_waits(ComputeState& compute) {
    const Span now = clock.since_boot();
    const Span passed = now - compute.waiting_at;
    compute.waiting_at = now;
    if (compute.waiting_for == schedule::Waiting::For::Quota) compute.waits.quota += passed;
    if (compute.waiting_for == schedule::Waiting::For::NodeStart)
        compute.waits.node_start += passed;
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

Control::State::NodeEntry& Control::State::add_node(ComputeState& compute, Node from, NodeIs is) {
    const NodeId id = from.id();
    NodeEntry& node = nodes[id];
    node.node = std::move(from);
    node.handle = ++last_handle;
    node.last_contact = clock.since_boot();
    node_of[node.handle] = &node;
    compute.nodes.insert(id);
    scheduler->add_node(node.handle, compute.handle, is, clock.since_boot());
    return node;
}

void Control::State::provision_node(ComputeState& compute) {
    Node fresh;
    fresh.workspace = compute.compute.workspace;
    fresh.compute = compute.compute.name;
    fresh.name = "node-" + std::to_string(++last_node);
    fresh.created = clock.now();
    gathering.counters = true;
    NodeEntry& node = add_node(compute, std::move(fresh), NodeIs::Starting);
    set_state(node, NodeState::Provisioning);
    set_deadline(node, clock.since_boot() + settings.provision_timeout);
    node_event(node.node, "requested");
    say_provision(node.node.id());
    touched.insert(&compute);
    plan_wanted = true;
}

// Decided when it leaves: until then the node may have gone, and getting it again would make an
// orphan.
void Control::State::say_provision(const NodeId& id) {
    effect([this, id] {
        const auto found = nodes.find(id);
        if (found != nodes.end() && found->second.node.state != NodeState::Leaving)
            effects.provision(found->second.node);
    });
}

void Control::State::release_node(NodeEntry& node) {
    if (node.node.state == NodeState::Leaving) return;
    scheduler->node_is(node.handle, NodeIs::Leaving, clock.since_boot());
    let_go(node);
}

void Control::State::let_go(NodeEntry& node) {
    if (node.node.state == NodeState::Leaving) return;
    TURNOUT_CHECK(node.leases.empty(), "a node with an attempt is not released: " + node.node.id());
    set_state(node, NodeState::Leaving);
    node_event(node.node, "leaving", node.node.problem);
    send(node.node.id(), ap::Leave{});
    effect([this, copy = node.node] { effects.release(copy); });
    set_deadline(node, clock.since_boot() + 30s);
    touched.insert(&computes.at(key(node.node.workspace, node.node.compute)));
    plan_wanted = true;
}

// Each of its attempts is over, as far as this node goes.
void Control::State::lose_leases(NodeEntry& node, const std::string& why) {
    while (!node.leases.empty()) {
        ap::Ending ending;
        ending.cause = ap::Cause::NodeLost;
        ending.exit_code = -1;
        ending.message = why;
        end_rank(node, node.leases.front(), std::move(ending));
    }
}

void Control::State::remove_node(const NodeId& id) {
    const auto found = nodes.find(id);
    if (found == nodes.end()) return;
    NodeEntry& node = found->second;
    set_deadline(node, Span{});
    ComputeState& compute = computes.at(key(node.node.workspace, node.node.compute));
    node_event(node.node, node.leases.empty() ? "gone" : "lost", node.node.problem);
    lose_leases(node, node.node.problem.empty() ? "node " + node.node.name + " was lost"
                                                : node.node.problem);
    book_node(compute, node.node);
    scheduler->remove_node(node.handle);
    node_of.erase(node.handle);
    compute.nodes.erase(id);
    nodes.erase(found);
    gathering.nodes.insert(id);
    touched.insert(&compute);
    plan_wanted = true;
}

void Control::State::back_off(ComputeState& compute) {
    compute.failures = std::min(compute.failures + 1, 10);
    compute.provision_not_before = clock.since_boot() + 1s * (1 << std::min(compute.failures, 6));
    scheduler->hold_provisioning(compute.handle, compute.provision_not_before);
    touched.insert(&compute);
    plan_wanted = true;
}

// A node's deadline has come.
void Control::State::check(NodeEntry& node, Span now) {
    if (node.node.state == NodeState::Leaving) {
        effect([this, copy = node.node] { effects.release(copy); });
        set_deadline(node, now + 30s);
        return;
    }
    if (node.connected) return;
    const Span away = now - node.last_contact;
    if (node.node.state == NodeState::Provisioning && away >= settings.provision_timeout) {
        node.node.problem =
            "the node's agent did not connect within " + to_words(settings.provision_timeout);
        back_off(computes.at(key(node.node.workspace, node.node.compute)));
        release_node(node);
        return;
    }
    if (!node.leases.empty() && away >= settings.lost_node_after + settings.lost_node_margin) {
        // By now the agent has killed the tasks itself (fencing), so the next attempts are safe.
        node.node.problem = "no contact with node " + node.node.name + " for " + to_words(away);
        node_event(node.node, "lost", node.node.problem);
        lose_leases(node, node.node.problem);
    }
    if (node.leases.empty() && node.node.state != NodeState::Provisioning &&
        away >= settings.provision_timeout)
        return release_node(node);  // nothing of value on it, and it does not come back
    // Get it (back): starts the agent again where it died. Idempotent.
    ++node.tries;
    say_provision(node.node.id());
    set_deadline(node, now + std::min<Span>(60s, 5s * node.tries));
}

void Control::State::finish_deletion(const std::string& compute_key) {
    const auto found = computes.find(compute_key);
    if (found == computes.end() || !found->second.compute.deleting) return;
    ComputeState& compute = found->second;
    // Nobody waits for those that start or are away, either.
    for (const NodeId& id : std::set<NodeId>(compute.nodes))
        if (NodeEntry& node = nodes.at(id); node.leases.empty()) release_node(node);
    if (!compute.nodes.empty() || compute.live_jobs > 0) return;
    compute_event(compute.compute, "deleted");
    scheduler->remove_cluster(compute.handle);
    compute_of.erase(compute.handle);
    touched.erase(&compute);
    deletions.erase(compute_key);
    computes.erase(found);
    gathering.computes.insert(compute_key);
}

}  // namespace turnout
