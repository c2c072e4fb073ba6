#include "control/plan.h"

#include <utility>

#include "control/owners.h"

namespace turnout::control {

namespace ap = agent_protocol;

// Asks the schedulers and carries out what they say. Decisions can make others possible, so go on
// until they have nothing more to say.
void Plan::make() {
    const Span now = clock.since_boot();
    if (turns.resting()) return;
    if (!wanted && !(at && *at <= now)) return;
    for (int round = 0; round < 8; ++round) {
        wanted = false;
        at.reset();
        bool decided = false;
        for (auto& [name, pool] : owners.pools.by_name) {
            const schedule::Decisions decisions = pool.scheduler.plan(now);
            if (decisions.next && (!at || *decisions.next < *at)) at = decisions.next;
            decided = carry_out(decisions) || decided;
        }
        if (!decided && !wanted) break;
    }
    for (ComputeState* compute : std::exchange(touched, {}))
        owners.computes.look_what_it_waits_for(*compute);
    owners.computes.finish_deletions();
    if (stopping_ || draining_)
        for (auto& [id, node] : owners.nodes.by_id)
            if (node.leases.empty()) owners.nodes.release(node);
    if (drained_ && owners.nodes.by_id.empty())
        turns.effect([this] {
            if (const std::function<void()> empty = std::exchange(drained_, nullptr)) empty();
        });
    if (!stopped_.empty() && owners.nodes.by_id.empty())
        turns.effect([this] {
            for (const Control::Reply<void>& waiting : std::exchange(stopped_, {}))
                waiting(Result<void>{});
        });
}

bool Plan::carry_out(const schedule::Decisions& decisions) {
    for (const auto& assign : decisions.assign) {
        JobEntry& job = *owners.jobs.by_handle.at(assign.task);
        touched.insert(job.compute);
        owners.jobs.give(job, assign.nodes);
    }
    for (const auto& [compute, count] : decisions.provision)
        for (int i = 0; i < count; ++i)
            owners.nodes.provision(*owners.computes.by_handle.at(compute));
    for (const Handle handle : decisions.release) {
        NodeEntry& node = *owners.nodes.by_handle.at(handle);
        TURNOUT_CHECK(node.leases.empty(),
                      "a node with an attempt is not released: " + node.node.id());
        owners.nodes.let_go(node);
    }
    for (const Handle handle : decisions.preempt)
        owners.jobs.preempt(*owners.jobs.by_handle.at(handle),
                            "a dedicated cluster needs the slot");
    for (const auto& [task, node] : decisions.revoke)
        owners.jobs.tell_stop(*owners.jobs.by_handle.at(task), ap::Cause::Preempted, Span{}, true);
    return !decisions.empty();
}

void Plan::stop_everything(Control::Reply<void> reply) {
    stopping_ = true;
    stopped_.push_back(std::move(reply));
    owners.computes.tell_scheduler();
    owners.services.look_at_all();
    owners.jobs.cancel_all([](const JobEntry&) { return true; }, "");
    wanted = true;
}

void Plan::drain(Control::Reply<void> reply, std::function<void()> empty) {
    drained_ = std::move(empty);
    draining_ = true;
    owners.computes.tell_scheduler();
    owners.services.look_at_all();
    owners.nodes.take_back_waiting();
    wanted = true;
    turns.reply<void>(std::move(reply), Result<void>{});
}

void Plan::resume(Control::Reply<void> reply) {
    draining_ = false;
    drained_ = nullptr;
    owners.computes.tell_scheduler();
    owners.services.look_at_all();
    wanted = true;
    turns.reply<void>(std::move(reply), Result<void>{});
}

void Plan::forget() {
    at.reset();
    touched.clear();
}

}  // namespace turnout::control
