#include "control/computes.h"

#include <algorithm>
#include <utility>

#include "control/owners.h"

namespace turnout::control {

namespace {
constexpr Span kForGood = std::chrono::hours(24 * 365 * 10);
}  // namespace

void Computes::change(std::string workspace, std::string name, const Control::ComputeChange& change,
                      Control::Reply<Put> reply, std::vector<Write>* together) {
    const std::string compute_key = row_key(workspace, name);
    const auto known = by_key.find(compute_key);
    if (known != by_key.end() && known->second.compute.deleting) {
        turns.reply<Put>(
            std::move(reply),
            fail(Code::Conflict, "ComputeBeingDeleted",
                 "compute '" + name + "' is being deleted; wait until it is gone", name));
    } else if (Result<Compute> made = change(
                   known == by_key.end() ? std::nullopt : std::optional(known->second.compute));
               !made) {
        turns.reply<Put>(std::move(reply), Failure(made.error()));
    } else if (name == "serverless") {
        turns.reply<Put>(
            std::move(reply),
            invalid("the name 'serverless' is kept for jobs without compute; choose another",
                    "name"));
    } else {
        Compute compute = std::move(*made);
        compute.workspace = std::move(workspace);
        compute.name = std::move(name);
        const bool created = known == by_key.end();
        if (!created) compute.pool = known->second.compute.pool;
        compute.created = created ? clock.now() : known->second.compute.created;
        compute.modified = clock.now();
        if (!created) owners.ledger.price_is(known->second, price_of(compute));
        const bool turned_off = !created && compute.personal && !compute.personal->on &&
                                known->second.compute.personal &&
                                known->second.compute.personal->on;
        const bool other_share =
            !created && known->second.compute.jobs_per_node != compute.jobs_per_node;
        ComputeState& state = add(std::move(compute));
        if (other_share)  // its nodes learn the number when they say Hello
            owners.nodes.disconnect(state);
        state.failures = 0;
        state.provision_not_before = Span{};
        state.unusable.clear();
        look_at_machine(state);
        hold_provisioning(state);
        if (together)
            for (Write& write : *together) turns.gathering.together.push_back(std::move(write));
        if (turned_off)
            owners.jobs.cancel_all(
                [&](const JobEntry& job) { return job.compute == &state && !job.replica; },
                "compute instance '" + state.compute.name + "' was stopped");
        owners.plan.touched.insert(&state);
        owners.groups.compute_changed(state);
        turns.gathering.computes.insert(compute_key);
        owners.events.of_compute(state.compute, created ? "created" : "changed");
        turns.reply<Put>(std::move(reply), created ? Put::Created : Put::Updated);
    }
}

void Computes::remove(const std::string& workspace, const std::string& name,
                      Control::Reply<void> reply) {
    const std::string compute_key = row_key(workspace, name);
    const auto known = by_key.find(compute_key);
    if (known == by_key.end()) {
        turns.reply<void>(std::move(reply),
                          not_found("compute '" + name + "' does not exist", name));
        return;
    }
    ComputeState& compute = known->second;
    if (!std::exchange(compute.compute.deleting, true))
        owners.events.of_compute(compute.compute, "deleting");
    turns.gathering.computes.insert(compute_key);
    deletions_.insert(compute_key);
    tell_scheduler(compute);
    owners.services.compute_removed(compute);
    owners.jobs.cancel_all([&](const JobEntry& job) { return job.compute == &compute; },
                           "compute '" + name + "' was deleted");
    turns.reply<void>(std::move(reply), Result<void>{});
}

ComputeState& Computes::add(Compute compute) {
    ComputeState& state = by_key[row_key(compute.workspace, compute.name)];
    state.compute = std::move(compute);
    if (state.handle == 0) {
        state.pool = &owners.pools.of(state.compute);
        state.handle = owners.new_handle();
        state.waiting_at = clock.since_boot();
        by_handle[state.handle] = &state;
    }
    if (state.compute.attached) (void)owners.pools.of(state.compute);  // what it says now
    if (state.compute.instances) {
        instances_.insert(state.key());
        state.image = state.compute.instances->image;
    }
    state.price = price_of(state.compute);
    look_at_machine(state);
    tell_scheduler(state);
    hold_provisioning(state);
    return state;
}

std::optional<double> Computes::price_of(const Compute& compute) const {
    // Checked where it came in.
    const Result<std::optional<double>> own = price_per_hour(compute);
    if (own && *own) return *own;
    const Prices& usual = owners.pools.of(compute).pool.price;
    return compute.tier == Tier::LowPriority ? usual.low_priority : usual.dedicated;
}

ComputeState& Computes::serverless(const std::string& workspace) {
    if (const auto found = by_key.find(row_key(workspace, "serverless")); found != by_key.end())
        return found->second;
    Compute compute;
    compute.workspace = workspace;
    compute.name = "serverless";
    compute.definition = Json::object();
    compute.envelope = Json::object();
    compute.vm_size = "STANDARD_DS3_V2";
    compute.max_nodes = owners.pools.of(compute.pool).scheduler.slots();
    compute.idle_before_scale_down = settings.serverless_idle;
    compute.implicit = true;
    compute.created = compute.modified = clock.now();
    ComputeState& state = add(std::move(compute));
    turns.gathering.computes.insert(state.key());
    return state;
}

ComputeState& Computes::of_instances(const std::string& workspace, const ContainerInstance& asked) {
    Compute compute;
    compute.workspace = workspace;
    compute.name = name_of(asked);
    if (const auto found = by_key.find(row_key(workspace, compute.name)); found != by_key.end())
        return found->second;
    compute.definition = Json::object();
    compute.envelope = Json::object();
    compute.pool = asked.pool;
    compute.max_nodes = owners.pools.of(asked.pool).scheduler.slots();
    compute.idle_before_scale_down = Span{};
    compute.implicit = true;
    compute.instances = asked;
    compute.created = compute.modified = clock.now();
    ComputeState& state = add(std::move(compute));
    turns.gathering.computes.insert(state.key());
    return state;
}

std::vector<const ComputeState*> Computes::called(const std::string& workspace,
                                                  const std::string& name) const {
    std::vector<const ComputeState*> all;
    if (const ComputeState* const one = find(workspace, name)) {
        all.push_back(one);
    } else if (name == kContainerInstance) {
        for (const std::string& compute_key : instances_)
            if (const ComputeState& each = by_key.at(compute_key);
                each.compute.workspace == workspace)
                all.push_back(&each);
    }
    return all;
}

void Computes::tell_scheduler(const ComputeState& state) {
    schedule::Cluster cluster;
    cluster.min_nodes = state.compute.min_nodes;
    // What these have too few of are the pool's slots, and never nodes of their compute.
    cluster.max_nodes = state.compute.max_nodes + (state.compute.instances ? 1 : 0);
    cluster.idle_before_scale_down = state.compute.idle_before_scale_down;
    cluster.low_priority = state.compute.tier == Tier::LowPriority;
    cluster.deleting = state.compute.deleting;
    cluster.closed = owners.plan.stopping() || owners.plan.draining() || state.pool->missing;
    cluster.jobs_per_node = state.compute.jobs_per_node;
    cluster.account = owners.quotas.of_workspace(state.compute.workspace);
    state.pool->scheduler.put_cluster(state.handle, cluster);
    owners.plan.wanted = true;
}

void Computes::hold_provisioning(ComputeState& compute) {
    const auto& machine = compute.compute.attached;
    const bool held = !compute.unusable.empty() ||
                      (machine && machine->state == AttachedMachine::State::Checking);
    compute.pool->scheduler.hold_provisioning(
        compute.handle, held ? clock.since_boot() + kForGood : compute.provision_not_before);
}

void Computes::back_off(ComputeState& compute) {
    compute.failures = std::min(compute.failures + 1, 10);
    compute.provision_not_before = clock.since_boot() + 1s * (1 << std::min(compute.failures, 6));
    hold_provisioning(compute);
    owners.plan.changed(compute);
}

void Computes::book_waits(ComputeState& compute) {
    const Span now = clock.since_boot();
    const Span passed = now - compute.waiting_at;
    compute.waiting_at = now;
    if (compute.waiting_for == schedule::Waiting::For::Quota) compute.waits.quota += passed;
    if (compute.waiting_for == schedule::Waiting::For::NodeStart)
        compute.waits.node_start += passed;
}

std::string Computes::why_unusable(const ComputeState& compute) const {
    if (compute.pool->missing)
        return "pool '" + compute.pool->pool.name +
               "' is not in pools.yaml any more: put it back (`turnout pool reload` takes it), "
               "or " +
               (compute.compute.instances ? "cancel the job"
                                          : "delete compute '" + compute.compute.name + "'");
    // Those that it has go on.
    const bool has_nodes = std::ranges::any_of(compute.nodes, [this](const NodeId& id) {
        return owners.nodes.by_id.at(id).node.state != NodeState::Leaving;
    });
    if (!compute.unusable.empty() && !has_nodes)
        return "no node can be had for compute '" + compute.compute.name + "': " + compute.unusable;
    return "";
}

void Computes::look_at_machine(ComputeState& compute) {
    if (const auto& machine = compute.compute.attached;
        machine && machine->state == AttachedMachine::State::Failed)
        compute.unusable = machine->why;
}

// Nothing runs on it for us any more. What is there of its nodes goes with the rest.
bool Computes::is_cleared(ComputeState& compute) {
    if (!compute.compute.attached || compute.cleared) return true;
    const bool busy = std::ranges::any_of(compute.nodes, [this](const NodeId& id) {
        return !owners.nodes.by_id.at(id).leases.empty();
    });
    if (busy || compute.live_jobs > 0 || std::exchange(compute.clearing, true)) return false;
    turns.effect(
        [this, workspace = compute.compute.workspace, name = compute.compute.name,
         machine = *compute.compute.attached] { effects.clear_machine(workspace, name, machine); });
    return false;
}

void Computes::machine_cleared(const std::string& workspace, const std::string& name,
                               const std::string& left) {
    ComputeState* const compute = find(workspace, name);
    if (!compute || !compute->clearing || std::exchange(compute->cleared, true)) return;
    for (const NodeId& id : std::set<NodeId>(compute->nodes)) owners.nodes.gone(id);
    if (!left.empty()) owners.events.of_compute(compute->compute, "left", left);
    owners.plan.changed(*compute);
}

void Computes::finish_deletion(const std::string& compute_key) {
    const auto found = by_key.find(compute_key);
    if (found == by_key.end() || !found->second.compute.deleting) return;
    ComputeState& compute = found->second;
    release_idle(compute);
    if (!is_cleared(compute) || !compute.nodes.empty() || compute.live_jobs > 0) return;
    owners.events.of_compute(compute.compute, "deleted");
    forget(compute_key);
}

// Those that start or are away too: nobody waits for them.
void Computes::release_idle(const ComputeState& compute) {
    for (const NodeId& id : std::set<NodeId>(compute.nodes))
        if (NodeEntry& node = owners.nodes.by_id.at(id); node.leases.empty())
            owners.nodes.release(node);
}

void Computes::forget(const std::string& compute_key) {
    const auto found = by_key.find(compute_key);
    ComputeState& compute = found->second;
    compute.pool->scheduler.remove_cluster(compute.handle);
    by_handle.erase(compute.handle);
    owners.plan.touched.erase(&compute);
    deletions_.erase(compute_key);
    instances_.erase(compute_key);
    PoolState& pool = *compute.pool;
    by_key.erase(found);
    owners.pools.forget_if_empty(pool);
    turns.gathering.computes.insert(compute_key);
}

void Computes::finish_deletions() {
    for (const std::string& compute_key : std::set<std::string>(deletions_))
        finish_deletion(compute_key);
    for (const std::string& compute_key : std::set<std::string>(instances_)) {
        const ComputeState& compute = by_key.at(compute_key);
        if (compute.live_jobs > 0) continue;
        release_idle(compute);
        if (compute.nodes.empty()) forget(compute_key);
    }
}

ComputeState* Computes::find(const std::string& workspace, const std::string& name) {
    const auto found = by_key.find(row_key(workspace, name));
    return found == by_key.end() ? nullptr : &found->second;
}

const ComputeState* Computes::find(const std::string& workspace, const std::string& name) const {
    const auto found = by_key.find(row_key(workspace, name));
    return found == by_key.end() ? nullptr : &found->second;
}

void Computes::tell_scheduler() {
    for (const auto& [compute_key, compute] : by_key) tell_scheduler(compute);
}

void Computes::node_connected(ComputeState& compute) {
    compute.failures = 0;
    compute.provision_not_before = Span{};
    hold_provisioning(compute);
    owners.plan.changed(compute);
}

void Computes::pool_changed(ComputeState& compute) {
    const std::optional<double> price = price_of(compute.compute);
    owners.ledger.price_is(compute, price);
    compute.price = price;
    compute.failures = 0;
    compute.provision_not_before = Span{};
    compute.unusable.clear();
    tell_scheduler(compute);
    hold_provisioning(compute);
    owners.plan.changed(compute);
}

void Computes::cannot_be_had(ComputeState& compute, const std::string& why) {
    // Nobody can change what such a job asked for.
    if (compute.compute.instances) return owners.jobs.give_up_waiting(compute, why);
    if (std::exchange(compute.unusable, why).empty())
        owners.events.of_compute(compute.compute, "unusable");
    hold_provisioning(compute);
    owners.plan.changed(compute);
}

void Computes::look_what_it_waits_for(ComputeState& compute) {
    book_waits(compute);
    using For = schedule::Waiting::For;
    const schedule::Scheduler& scheduler = compute.pool->scheduler;
    const schedule::Counts counts = scheduler.counts(compute.handle);
    // Each of these nodes serves one job: the others wait for a slot.
    const int lacking = compute.compute.instances ? static_cast<int>(counts.waiting) - 1 : 0;
    compute.waiting_for =
        counts.waiting == 0                      ? For::Nothing
        : !scheduler.any_allowed(compute.handle) ? For::Allowance
        : counts.starting > lacking              ? For::NodeStart
        : counts.present() >= compute.compute.max_nodes && !compute.compute.instances ? For::Nodes
        : scheduler.free_slots() <= 0                                                 ? For::Quota
                                                                                      : For::Nodes;
}

void Computes::forget() {
    by_key.clear();
    by_handle.clear();
    deletions_.clear();
    instances_.clear();
}

Result<void> Computes::recover() {
    const auto load = [this](const Record& record) -> Result<void> {
        const Json json = TURNOUT_TRY(parse_json(record.value));
        Compute compute = TURNOUT_TRY(compute_from_json(json));
        if (compute.deleting) deletions_.insert(record.key);
        add(std::move(compute));
        return {};
    };
    return each_row(store, Table::Compute, with_prefix(""), load);
}

void Computes::write_rows(const Turn& turn, Batch& batch) const {
    for (const std::string& compute_key : turn.computes) {
        const auto found = by_key.find(compute_key);
        if (found == by_key.end()) {
            batch.erase(Table::Compute, compute_key);
            batch.erase(Table::MachineSecret, compute_key);
        } else {
            batch.put(Table::Compute, compute_key, to_json(found->second.compute).dump());
        }
    }
}

}  // namespace turnout::control
