// Nodes are requested, lost and released; what their agents and providers say of them is taken in.
#include "control/nodes.h"

#include <algorithm>
#include <utility>

#include "control/owners.h"
#include "model/built_image.h"
#include "model/waiting.h"

namespace turnout::control {

namespace ap = agent_protocol;

using schedule::NodeIs;

namespace {
constexpr Span kLookLate = 10s;      // after that a look at a deadline was not possible in time
constexpr Span kAskedInVain = 1min;  // then the provider's answer is not expected any more

// An image comes.
bool is_on_its_way(std::string_view what) {
    return what.starts_with(kPulling) || what.starts_with(kBuilding);
}
}  // namespace

void Nodes::connected(const NodeId& id, const ap::Hello& hello) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) {  // nobody's any more: an orphan of an earlier time
        turns.effect([this, id] { effects.send(id, ap::Leave{}); });
        return;
    }
    NodeEntry& node = found->second;
    node.connected = true;
    // Another agent may have taken its place. One that is for one job has had it then.
    node.retires = node.compute->compute.instances && !node.leases.empty();
    learn(node, hello);
    owners.services.link_changed(node);
    node.tries = 0;
    node.bases.clear();
    node.last_contact = clock.since_boot();
    ComputeState& compute = *node.compute;
    node.welcomed = false;
    turns.effect(
        [this, id, welcome = ap::Welcome{lost_after(node), compute.compute.jobs_per_node}] {
            if (const auto there = by_id.find(id); there != by_id.end())
                there->second.welcomed = true;
            effects.send(id, welcome);
        });
    if (node.node.state == NodeState::Leaving) {  // its deadline stays: the release is said again
        send(id, ap::Leave{});
        return;
    }
    set_deadline(node, Span{});
    look_at_stops(node);
    if (node.node.state == NodeState::Provisioning) owners.pools.works(*compute.pool);
    compute.pool->scheduler.node_is(node.handle, schedule::NodeIs::Ready, clock.since_boot());
    owners.computes.node_connected(compute);

    // Attempts that the node knows and that are not (any more) what it should run.
    std::set<ap::AttemptId> known;
    for (const ap::AttemptId& attempt : hello.attempts) {
        if (node.find(attempt))
            known.insert(attempt);
        else
            send(id, ap::Cancel{attempt, ap::Cause::NodeLost, Span{}});
    }
    const bool rebooted = !node.node.boot_id.empty() && node.node.boot_id != hello.boot_id;
    if (node.node.boot_id != hello.boot_id || node.node.state != NodeState::Idle ||
        !node.node.problem.empty()) {
        if (node.node.state == NodeState::Provisioning) {
            owners.events.of_node(node.node, "ready");
            node.node.ready = clock.now();
        }
        node.node.boot_id = hello.boot_id;
        node.node.problem.clear();
        set_state(node, NodeState::Idle);
    }
    for (const Lease& lease : std::vector<Lease>(node.leases)) {
        const bool there =
            known.contains({node.node.workspace, std::string(lease.job->name()), lease.attempt});
        const bool canceled = lease.job->state.cancel_requested;
        if (!there && (lease.begun || rebooted || canceled)) {
            // It had begun and the node does not know it any more: its processes are gone. Or it
            // never got there, and is not wanted any more.
            ap::Ending ending;
            ending.cause = canceled ? ap::Cause::Canceled : ap::Cause::NodeLost;
            ending.exit_code = -1;
            ending.message = rebooted ? "the node was restarted" : "the node lost its state";
            owners.jobs.end_rank(node, lease, std::move(ending));
        } else if (lease.job->state.preempting() && !canceled) {
            send(id,
                 ap::Cancel{{node.node.workspace, std::string(lease.job->name()), lease.attempt},
                            ap::Cause::Preempted,
                            settings.preemption_grace});
        } else {
            owners.jobs.send_lease(node, lease);
        }
    }
    if (owners.plan.draining()) take_back_waiting(node);
}

void Nodes::disconnected(const NodeId& id) {
    const auto found = by_id.find(id);
    if (found == by_id.end() || !found->second.connected) return;
    found->second.connected = false;
    owners.services.link_changed(found->second);
    found->second.last_contact = clock.since_boot();
    set_deadline(found->second, clock.since_boot() + 1s);
    if (found->second.node.state == NodeState::Idle) {
        found->second.compute->pool->scheduler.node_is(
            found->second.handle, schedule::NodeIs::Unreachable, clock.since_boot());
        owners.plan.wanted = true;
    }
}

// Written down when it changes, which is when the machine does.
void Nodes::learn(NodeEntry& node, const ap::Hello& hello) {
    if (!same_machine(hello.facts, node.node.facts)) turns.gathering.nodes.insert(node.node.id());
    node.node.facts = hello.facts;
    node.node.build = hello.build;
    node.node.protocol = hello.protocol;
}

void Nodes::refused(const NodeId& id, const std::string& why) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) return;  // its provider's list tells of it, and it is released
    NodeEntry& node = found->second;
    // It calls again and again.
    if (node.node.state == NodeState::Leaving || node.node.problem == why) return;
    node.node.problem = why;
    owners.events.of_node(node.node, "refused", why);
    turns.gathering.nodes.insert(id);
    if (node.leases.empty()) {
        // One that has just been made would be made like that again.
        if (node.node.state == NodeState::Provisioning) owners.computes.back_off(*node.compute);
        release(node);
    } else if (!node.connected) {
        set_deadline(node, clock.since_boot() + 1s);  // the provider is asked for another agent
    }
}

// On one machine there, else where the first one's is reached.
std::string Nodes::meeting_address(const ComputeState& compute,
                                   const std::vector<std::string>& names) const {
    const auto first = by_id.find(compute.key() + "/" + names.front());
    if (first != by_id.end() && !first->second.node.facts.address.empty())
        for (const std::string& name : names)
            if (const auto other = by_id.find(compute.key() + "/" + name);
                other != by_id.end() && other->second.node.boot_id != first->second.node.boot_id)
                return first->second.node.facts.address;
    return "127.0.0.1";
}

void Nodes::says(const NodeId& id, const ap::ToServer& message) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) return;
    found->second.last_contact = clock.since_boot();
    turns.a_node_reported();
    if (const auto* broken = std::get_if<ap::Broken>(&message)) {
        if (found->second.node.state != NodeState::Leaving)
            give_up(found->second,
                    "node " + found->second.node.name + " does not work: " + broken->why);
    } else if (const auto* phase = std::get_if<ap::PhaseReport>(&message))
        owners.jobs.phase_reported(found->second, *phase);
    else if (const auto* end = std::get_if<ap::EndReport>(&message))
        owners.jobs.end_reported(found->second, *end);
}

void Nodes::failed(const NodeId& id, Error why) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) return;
    NodeEntry& node = found->second;
    if (why.reason == kImageNotThere && !node.node.image.empty() &&
        node.node.state != NodeState::Leaving)
        return image_refused(node, why);
    // A late answer: it leaves anyway, or it was got by another request.
    if (node.node.state == NodeState::Leaving) return;
    if (node.connected) {
        if (waits_for_image(node)) set_deadline(node, clock.since_boot() + 5s);
        return;
    }
    ComputeState& compute = *node.compute;
    if (why.code == Code::Ambiguous) {  // looked at before anything follows from it
        // Many may fail so at once: what was asked for after the request tells of it too.
        const std::string& provider = node.node.provider;
        const auto asked = listings_.find(provider);
        if (asked == listings_.end() || asked->second.asked <= node.requested)
            ask_what_is_there(provider);
        return;
    }
    node.node.problem = why.message;
    turns.gathering.nodes.insert(id);
    if (node.leases.empty())
        release(node);
    else
        set_deadline(node, clock.since_boot() + 5s);  // it may hold an attempt: keep trying
    if (why.code == Code::ResourceExhausted) {
        owners.pools.exhausted(*compute.pool, why.message);
    } else if (why.code == Code::InvalidArgument) {
        owners.computes.cannot_be_had(compute, why.message);
    } else {
        owners.computes.back_off(compute);
    }
}

// It is there with an image, and what is first on it needs another one.
bool Nodes::waits_for_image(const NodeEntry& node) {
    return !node.leases.empty() && node.node.image != node.node.facts.image &&
           node.compute->pool->pool.image == ImagePolicy::Engine;
}

// It goes on with the image that it has, or begins with its pool's. Who asked for this one ends.
void Nodes::image_refused(NodeEntry& node, const Error& why) {
    const NodeId id = node.node.id();
    if (why.subject != node.node.image) return say_provision(id);  // of what was asked for before
    if (node.compute->compute.instances && node.leases.empty()) {
        node.node.problem = why.message;
        owners.events.of_node(node.node, "image-refused", why.message);
        release(node);
        return owners.jobs.give_up_waiting(*node.compute, why.message);
    }
    const std::string image = std::exchange(node.node.image, node.node.facts.image);
    turns.gathering.nodes.insert(id);
    if (node.compute->image == image) node.compute->image.clear();
    owners.events.of_node(node.node, "image-refused", why.message);
    if (node.leases.empty()) {
        if (!node.connected) say_provision(id);
        return;
    }
    const Lease first = node.leases.front();
    ap::Ending ending;
    ending.cause = ap::Cause::Environment;
    ending.exit_code = -1;
    ending.message = why.message;
    if (!first.begun && first.job->base && first.job->base->image == image)
        owners.jobs.end_rank(node, first, std::move(ending));
    if (!node.connected) say_provision(id);
}

void Nodes::found(std::uint64_t number, const std::vector<FoundNode>& all) {
    const auto listing = std::ranges::find_if(
        listings_, [&](const auto& one) { return one.second.number == number; });
    if (listing == listings_.end()) return;  // one that was asked for later is on its way
    const std::string provider = listing->first;
    const Span asked = listing->second.asked, now = clock.since_boot();
    const bool again = listing->second.again;
    listings_.erase(listing);
    std::set<NodeId> there;
    for (const FoundNode& one : all) {
        there.insert(one.id);
        const auto known = by_id.find(one.id);
        if (known == by_id.end()) {  // nobody's: of a request that came late, or of another time
            turns.effect([this, id = one.id, provider, handle = one.handle] {
                if (!by_id.contains(id)) effects.release(provider, id, handle);
            });
        } else if (known->second.node.handle.is_null() && !one.handle.is_null()) {
            known->second.node.handle = one.handle;
            turns.gathering.nodes.insert(one.id);
        }
    }
    std::vector<NodeId> not_there;
    for (auto& [id, node] : by_id) {
        if (there.contains(id) || node.node.provider != provider) continue;
        // It was asked for, or was heard of, after the provider looked.
        if (node.connected || node.last_contact >= asked || node.requested >= asked) continue;
        const bool heard = !node.node.boot_id.empty();
        if (node.node.state == NodeState::Leaving || heard)
            not_there.push_back(id);
        else if (++node.tries == 1)
            say_provision(id);  // the request did not get there
        else if (const Span at = now + std::min<Span>(60s, 5s * node.tries); at < node.deadline)
            set_deadline(node, at);  // nor did the next ones: `check` repeats it
    }
    std::sort(not_there.begin(), not_there.end());
    for (const NodeId& id : not_there) {
        NodeEntry& node = by_id.at(id);
        if (node.node.problem.empty() && node.node.state != NodeState::Leaving)
            node.node.problem = "its provider does not have it any more";
        say_release(node.node);  // whatever the provider keeps of it goes too
        gone(id);
    }
    if (again) ask_what_is_there(provider);
}

void Nodes::handle_is(const NodeId& id, Json handle) {
    const auto found = by_id.find(id);
    if (found == by_id.end() || found->second.node.handle == handle) return;
    found->second.node.handle = std::move(handle);
    turns.gathering.nodes.insert(id);
}

void Nodes::starts(const NodeId& id, const std::string& what) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) return;
    NodeEntry& node = found->second;
    const bool held = waits_for_image(node);
    if (node.node.state != NodeState::Provisioning && !held) return;
    // An image of many gigabytes takes its time, and so does a queue. All else has the time that a
    // node has.
    if (node.node.state == NodeState::Provisioning &&
        (is_on_its_way(what) || what.starts_with(kWaiting)))
        node.last_contact = clock.since_boot();
    if (held && node.leases.front().rank == 0) {
        JobEntry& job = *node.leases.front().job;
        if (job.state.attempts.back().detail != what) {
            job.state.attempts.back().detail = what;
            turns.gathering.states.insert(*job.key);
        }
    }
    // What is tried again and again is told once, and so is a pull: each event is kept.
    if (is_on_its_way(what) && what.starts_with(node.starting + ": ")) return;
    if (std::exchange(node.starting, what) != what)
        owners.events.of_node(node.node, "starting", what);
}

const std::string& NodeEntry::what_keeps_it() const {
    const bool waits =
        node.state == NodeState::Provisioning && !connected && starting.starts_with(kWaiting);
    return waits ? starting : node.problem;
}

Lease* NodeEntry::find(const ap::AttemptId& id) {
    if (id.workspace != node.workspace) return nullptr;
    for (Lease& lease : leases)
        if (lease.attempt == id.attempt && lease.job->name() == id.job) return &lease;
    return nullptr;
}

void Nodes::set_state(NodeEntry& node, NodeState state) {
    node.node.state = state;
    node.node.state_since = clock.now();
    turns.gathering.nodes.insert(node.node.id());
}

void Nodes::set_deadline(NodeEntry& node, Span at) {
    const NodeId id = node.node.id();
    if (node.deadline != Span{}) deadlines_.erase({node.deadline, id});
    node.deadline = at;
    if (at != Span{}) deadlines_.insert({at, id});
}

NodeEntry& Nodes::add(ComputeState& compute, Node from, NodeIs is) {
    const NodeId id = from.id();
    NodeEntry& node = by_id[id];
    node.node = std::move(from);
    node.node.pool = compute.compute.pool;
    node.compute = &compute;
    node.handle = owners.new_handle();
    node.last_contact = clock.since_boot();
    by_handle[node.handle] = &node;
    compute.nodes.insert(id);
    compute.pool->scheduler.add_node(node.handle, compute.handle, is, clock.since_boot());
    return node;
}

void Nodes::provision(ComputeState& compute) {
    Node fresh;
    fresh.workspace = compute.compute.workspace;
    fresh.compute = compute.compute.name;
    fresh.name = "node-" + std::to_string(++last_node_);
    fresh.created = clock.now();
    fresh.price = compute.price.value_or(0);
    fresh.provider = compute.pool->pool.provider;
    fresh.lost_after = compute.pool->pool.lost_node_after.value_or(settings.lost_node_after);
    if (compute.pool->pool.image == ImagePolicy::Engine) fresh.image = compute.image;
    turns.gathering.counters = true;
    NodeEntry& node = add(compute, std::move(fresh), NodeIs::Starting);
    set_state(node, NodeState::Provisioning);
    set_deadline(node, clock.since_boot() + settings.provision_timeout);
    owners.events.of_node(node.node, "requested");
    say_provision(node.node.id());
    owners.plan.changed(compute);
}

// Decided when it leaves: until then the node may have gone, and getting it again would make an
// orphan.
void Nodes::say_provision(const NodeId& id) {
    turns.effect([this, id] {
        const auto found = by_id.find(id);
        if (found == by_id.end() || found->second.node.state == NodeState::Leaving) return;
        NodeEntry& node = found->second;
        node.requested = clock.since_boot();
        NodeRequest request;
        request.id = id;
        request.pool = node.node.pool;
        request.settings = node.compute->pool->pool.settings;
        request.size = node.compute->compute.vm_size;
        if (const VmSize* size = find_vm_size(request.size)) {
            request.cores = size->cores;
            request.memory_gb = size->memory_gb;
            request.gpus = size->gpus;
        }
        if (const auto& asked = node.compute->compute.instances) {
            request.cores = asked->cores;
            request.memory_gb = asked->memory_gb;
            request.exact = true;
        }
        request.tier = node.compute->compute.tier;
        request.image = node.node.image;
        request.handle = node.node.handle;
        effects.provision(node.node.provider, request);
    });
}

void Nodes::say_release(const Node& node) {
    turns.effect([this, id = node.id(), provider = node.provider, handle = node.handle] {
        // What its provider told of it since is known by now.
        const auto found = by_id.find(id);
        effects.release(provider, id, found == by_id.end() ? handle : found->second.node.handle);
    });
}

void Nodes::ask_what_is_there(const std::string& provider) {
    const auto [at, fresh] = listings_.try_emplace(provider);
    Listing& listing = at->second;
    if (!fresh && clock.since_boot() - listing.asked < kAskedInVain) {
        listing.again = true;
        return;
    }
    listing = {++last_listing_, clock.since_boot(), false};
    turns.effect([this, provider, number = listing.number] { effects.list(provider, number); });
}

void Nodes::ask_all_what_is_there() {
    list_at_ = clock.since_boot() + settings.list_every;
    std::set<std::string> providers;
    for (const auto& [name, pool] : owners.pools.by_name) providers.insert(pool.pool.provider);
    for (const auto& [id, node] : by_id) providers.insert(node.node.provider);
    for (const std::string& provider : providers) ask_what_is_there(provider);
}

void Nodes::release(NodeEntry& node) {
    if (node.node.state == NodeState::Leaving) return;
    TURNOUT_CHECK(node.leases.empty(), "a node with an attempt is not released: " + node.node.id());
    node.compute->pool->scheduler.node_is(node.handle, NodeIs::Leaving, clock.since_boot());
    let_go(node);
}

void Nodes::retire(NodeEntry& node) {
    if (node.leases.empty()) return release(node);
    node.retires = true;
    node.compute->pool->scheduler.node_is(node.handle, NodeIs::Leaving, clock.since_boot());
}

void Nodes::let_go(NodeEntry& node) {
    if (node.node.state == NodeState::Leaving) return;
    set_state(node, NodeState::Leaving);
    owners.events.of_node(node.node, "leaving", node.node.problem);
    send(node.node.id(), ap::Leave{});
    say_release(node.node);
    set_deadline(node, clock.since_boot() + 30s);
    owners.plan.changed(*node.compute);
}

void Nodes::expect_end(NodeEntry& node, Lease& lease, Span grace) {
    if (lease.stop_by != Span{}) return;
    lease.stop_by = clock.since_boot() + grace + settings.stop_margin;
    lease.stop_last = std::max(lease.stop_by, clock.since_boot() + grace + settings.longest_stop);
    look_at_stops(node);
}

void Nodes::look_at_stops(NodeEntry& node) {
    if (node.node.state == NodeState::Leaving) return;
    for (const Lease& lease : node.leases)
        if (lease.stop_by != Span{} && (node.deadline == Span{} || lease.stop_by < node.deadline))
            set_deadline(node, lease.stop_by);
}

// What is on it counts as lost when the provider has proof that nothing of it runs.
void Nodes::give_up(NodeEntry& node, std::string why) {
    if (node.node.state == NodeState::Leaving) return;
    node.node.problem = std::move(why);
    node.compute->pool->scheduler.node_is(node.handle, NodeIs::Leaving, clock.since_boot());
    let_go(node);
}

// Each of its attempts is over, as far as this node goes.
void Nodes::lose_leases(NodeEntry& node, const std::string& why) {
    while (!node.leases.empty()) {
        ap::Ending ending;
        ending.cause = ap::Cause::NodeLost;
        ending.exit_code = -1;
        ending.message = why;
        owners.jobs.end_rank(node, node.leases.front(), std::move(ending));
    }
}

void Nodes::gone(const NodeId& id) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) return;
    NodeEntry& node = found->second;
    node.retires = false;
    set_deadline(node, Span{});
    ComputeState& compute = *node.compute;
    owners.events.of_node(node.node, node.leases.empty() ? "gone" : "lost", node.node.problem);
    lose_leases(node, node.node.problem.empty() ? "node " + node.node.name + " was lost"
                                                : node.node.problem);
    owners.ledger.book_node(compute, node.node);
    compute.pool->scheduler.remove_node(node.handle);
    by_handle.erase(node.handle);
    compute.nodes.erase(id);
    by_id.erase(found);
    turns.gathering.nodes.insert(id);
    owners.plan.changed(compute);
}

void Nodes::lost(const NodeId& id, const std::string& why) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) return;
    NodeEntry& node = found->second;
    if (node.node.state != NodeState::Leaving) {
        node.node.problem = why;
        // One that never got so far would be lost like that again.
        if (node.node.boot_id.empty()) owners.computes.back_off(*node.compute);
    }
    gone(id);
}

void Nodes::ends(const NodeId& id, Span left) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) return;
    const Span now = clock.since_boot();
    found->second.compute->pool->scheduler.node_ends(found->second.handle,
                                                     now + std::max(Span{}, left));
    owners.plan.wanted = true;
}

void Nodes::take_back_waiting(const NodeEntry& node) {
    for (const Lease& lease : node.leases)
        if (!lease.begun && lease.job->nodes == 1 && !lease.job->state.cancel_requested &&
            !lease.job->state.preempting())
            owners.jobs.tell_stop(*lease.job, ap::Cause::Preempted, Span{}, true);
}

// A node's deadline has come.
void Nodes::check(NodeEntry& node, Span now) {
    if (node.node.state == NodeState::Leaving) {
        say_release(node.node);
        set_deadline(node, now + 30s);
        // Nobody proves anything, but by now its own supervisor has ended everything there
        // (fencing).
        if (!node.leases.empty() && !node.connected &&
            now - node.last_contact >=
                lost_after(node) + settings.lost_node_margin + settings.stop_margin)
            lose_leases(node, node.node.problem);
        return;
    }
    for (Lease& lease : node.leases) {
        if (lease.stop_by == Span{} || lease.stop_by > now) continue;
        if (now - lease.stop_by > kLookLate) {  // the machine slept, and the node with it
            lease.stop_by = now + settings.stop_margin;
            continue;
        }
        return give_up(node,
                       "node " + node.node.name + " did not stop job '" +
                           std::string(lease.job->name()) +
                           "' when it was told to: the node does not work any more and is ended");
    }
    if (node.connected) {
        if (waits_for_image(node)) {  // what was asked for did not come
            say_provision(node.node.id());
            set_deadline(node, now + 60s);
        }
        return look_at_stops(node);
    }
    const Span away = now - node.last_contact;
    if (node.node.state == NodeState::Provisioning && away >= settings.provision_timeout) {
        node.node.problem =
            "the node's agent did not connect within " + to_words(settings.provision_timeout);
        owners.computes.back_off(*node.compute);
        release(node);
        return;
    }
    if (!node.leases.empty() && away >= lost_after(node) + settings.lost_node_margin) {
        // By now its supervisor has killed the tasks itself (fencing), unless that is stopped too.
        return give_up(node, "no contact with node " + node.node.name + " for " + to_words(away));
    }
    if (node.leases.empty() && node.node.state != NodeState::Provisioning &&
        away >= settings.provision_timeout)
        return release(node);  // nothing of value on it, and it does not come back
    // Get it (back): starts the agent again where it died. Idempotent.
    ++node.tries;
    say_provision(node.node.id());
    set_deadline(node, now + std::min<Span>(60s, 5s * node.tries));
    look_at_stops(node);
}

std::vector<Node> Nodes::of(const ComputeState& compute) const {
    std::vector<Node> all;
    for (const NodeId& id : compute.nodes) {
        const NodeEntry& entry = by_id.at(id);
        Node node = entry.node;
        node.connected = entry.connected;
        node.problem = entry.what_keeps_it();
        if (!entry.leases.empty()) {
            node.job = entry.leases.front().job->name();
            node.attempt = entry.leases.front().attempt;
            node.attempts = static_cast<int>(entry.leases.size());
            node.backlog = std::max(0, node.attempts - compute.compute.jobs_per_node);
            if (node.state == NodeState::Idle) node.state = NodeState::Running;
        }
        for (const Lease& lease : entry.leases)
            node.gives_way = node.gives_way || lease.job->state.preempting();
        all.push_back(std::move(node));
    }
    return all;
}

void Nodes::take_back_waiting() {
    for (const auto& [id, node] : by_id) take_back_waiting(node);
}

void Nodes::disconnect(const ComputeState& compute) {
    for (const NodeId& id : compute.nodes)
        if (by_id.at(id).connected) turns.effect([this, id] { effects.disconnect(id); });
}

void Nodes::tick() {
    const Span now = clock.since_boot();
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
        const NodeId id = deadlines_.begin()->second;
        NodeEntry& node = by_id.at(id);
        set_deadline(node, Span{});
        check(node, now);
    }
    if (list_at_ != Span{} && list_at_ <= now) ask_all_what_is_there();
}

std::optional<Span> Nodes::next_tick() const {
    std::optional<Span> next;
    if (!deadlines_.empty()) next = deadlines_.begin()->first;
    if (list_at_ != Span{} && (!next || list_at_ < *next)) next = list_at_;
    return next;
}

void Nodes::forget() {
    by_id.clear();
    by_handle.clear();
    deadlines_.clear();
    listings_.clear();
    list_at_ = Span{};
}

Result<void> Nodes::recover(const Json& counters) {
    last_node_ = std::max(last_node_, static_cast<std::uint64_t>(counters.at("nodes").as_int()));
    const auto load = [this](const Record& record) -> Result<void> {
        const Json json = TURNOUT_TRY(parse_json(record.value));
        Node node = TURNOUT_TRY(node_from_json(json));
        ComputeState* const compute = owners.computes.find(node.workspace, node.compute);
        if (!compute) return internal("stored node '" + record.key + "' without its compute");
        // Our own start counts as a renewal of the contact.
        const NodeIs is = node.state == NodeState::Provisioning ? NodeIs::Starting
                          : node.state == NodeState::Leaving    ? NodeIs::Leaving
                                                                : NodeIs::Unreachable;
        add(*compute, std::move(node), is);
        return {};
    };
    return each_row(store, Table::Node, with_prefix(""), load);
}

// All of it is idempotent.
void Nodes::say_again() {
    const Span now = clock.since_boot();
    for (auto& [id, entry] : by_id) {
        const Node node = entry.node;
        if (node.state == NodeState::Leaving) say_release(node);
        // After a commit that failed it is there, or `check` asks for it soon: to the provider an
        // agent that is asked for again and again is stuck.
        else if (!turns.has_failed())
            say_provision(id);
        set_deadline(entry, now + 5s);
        turns.effect([this, id = id] {
            effects.disconnect(id);
        });  // an agent that is still there says Hello anew
    }
    list_at_ = now + settings.list_first;
}

void Nodes::write(Json& counters) const {
    counters.set("nodes", static_cast<std::int64_t>(last_node_));
}

void Nodes::write_rows(const Turn& turn, Batch& batch) const {
    for (const NodeId& id : turn.nodes) {
        const auto found = by_id.find(id);
        if (found == by_id.end())
            batch.erase(Table::Node, id);
        else
            batch.put(Table::Node, id, to_json(found->second.node).dump());
    }
}

}  // namespace turnout::control
