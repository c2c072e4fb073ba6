#include "control/control.h"

#include <algorithm>
#include <utility>

#include "control/owners.h"

namespace turnout {

Control::Control(const Clock& clock, Store& store, Effects& effects, Settings settings)
    : owners_(std::make_unique<control::Owners>(clock, store, effects, std::move(settings))) {}

Control::~Control() = default;

Result<void> Control::recover() {
    Result<void> recovered = owners_->recover();
    if (recovered)
        owners_->turns.end();
    else
        owners_->turns.hold_back();
    return recovered;
}

// Each input changes what its owner holds, and ends the turn.
template <class Take>
void Control::input(Take take) {
    if (owners_->turns.broken) return;
    take(*owners_);
    owners_->turns.end();
}

// The same for one that is answered. Taken at once; `reply` is called after its commit.
template <class T, class Take>
void Control::input(Reply<T> reply, Take take) {
    if (owners_->turns.broken) return reply(Failure(*owners_->turns.broken));
    take(*owners_, std::move(reply));
    owners_->turns.end();
}

// ---- from the API ----

void Control::submit(JobSubmission job, Reply<Put> reply) {
    const std::string by = job.principal;
    input(std::move(reply), [&](auto& all, Reply<Put> to) {
        const auto cause = all.events.caused_by(by);
        all.jobs.submit(std::move(job), std::move(to));
    });
}

void Control::update_job(std::string workspace, std::string name, const JobMetaChange& change,
                         Reply<Put> reply) {
    input(std::move(reply), [&](auto& all, Reply<Put> to) {
        all.jobs.update(control::row_key(workspace, name), change, std::move(to));
    });
}

void Control::cancel_job(std::string workspace, std::string name, Reply<void> reply,
                         std::string_view by) {
    input(std::move(reply), [&](auto& all, Reply<void> to) {
        const auto cause = all.events.caused_by(by);
        all.jobs.cancel(control::row_key(workspace, name), std::move(to));
    });
}

void Control::preempt_job(std::string workspace, std::string name, Reply<void> reply,
                          std::string_view by) {
    input(std::move(reply), [&](auto& all, Reply<void> to) {
        const auto cause = all.events.caused_by(by);
        all.jobs.preempt(control::row_key(workspace, name), std::move(to));
    });
}

void Control::resolve_job(const std::string& workspace, const std::string& name,
                          const TaskOf& task_of, Reply<Put> reply) {
    input(std::move(reply), [&](auto& all, Reply<Put> to) {
        all.jobs.resolve(control::row_key(workspace, name), task_of, std::move(to));
    });
}

void Control::delete_job(std::string workspace, std::string name, Reply<void> reply) {
    input(std::move(reply), [&](auto& all, Reply<void> to) {
        all.jobs.remove(control::row_key(workspace, name), std::move(to));
    });
}

void Control::drilled(const std::string& workspace, const std::string& name,
                      const std::string& what, std::string_view by) {
    input([&](auto& all) {
        const auto cause = all.events.caused_by(by);
        if (const auto* job = all.jobs.find(workspace, name);
            job && !is_terminal(job->state.status))
            all.events.of_job(*job, "drill", what);
    });
}

void Control::space_given_back(const std::string& workspace, const std::string& kind,
                               const std::string& what) {
    input([&](auto& all) { all.events.of_space(workspace, kind, what); });
}

std::uint64_t Control::survey_bases() {
    return owners_->bases.begin_survey();
}

void Control::erase_bases(std::uint64_t survey, std::vector<std::string> keys,
                          Reply<std::size_t> reply) {
    input(std::move(reply), [&](auto& all, Reply<std::size_t> to) {
        all.bases.erase(survey, std::move(keys), std::move(to));
    });
}

void Control::put_compute(Compute compute, Reply<Put> reply) {
    const std::string workspace = compute.workspace, name = compute.name;
    change_compute(
        workspace, name, [&](const std::optional<Compute>&) { return std::move(compute); },
        std::move(reply));
}

void Control::change_compute(std::string workspace, std::string name, const ComputeChange& change,
                             Reply<Put> reply, std::vector<Write>* together, std::string_view by) {
    input(std::move(reply), [&](auto& all, Reply<Put> to) {
        const auto cause = all.events.caused_by(by);
        all.computes.change(std::move(workspace), std::move(name), change, std::move(to), together);
    });
}

void Control::delete_compute(std::string workspace, std::string name, Reply<void> reply,
                             std::string_view by) {
    input(std::move(reply), [&](auto& all, Reply<void> to) {
        const auto cause = all.events.caused_by(by);
        all.computes.remove(workspace, name, std::move(to));
    });
}

void Control::forget_workspace(const std::string& workspace) {
    owners_->ledger.forget_workspace(workspace);
    input([&](auto& all) { all.quotas.forget_workspace(workspace); });
}

void Control::put_service(ServiceSubmission wish, Reply<Put> reply) {
    input(std::move(reply),
          [&](auto& all, Reply<Put> to) { all.services.put(std::move(wish), std::move(to)); });
}

void Control::want_service(const std::string& workspace, const std::string& name, int wanted,
                           Reply<Put> reply) {
    input(std::move(reply), [&](auto& all, Reply<Put> to) {
        all.services.want(control::row_key(workspace, name), wanted, std::move(to));
    });
}

void Control::end_service(const std::string& workspace, const std::string& name,
                          Reply<void> reply) {
    input(std::move(reply), [&](auto& all, Reply<void> to) {
        all.services.end(control::row_key(workspace, name), std::move(to));
    });
}

void Control::stop_everything(Reply<void> reply) {
    input(std::move(reply),
          [&](auto& all, Reply<void> to) { all.plan.stop_everything(std::move(to)); });
}

void Control::drain(Reply<void> reply, std::function<void()> empty) {
    input(std::move(reply),
          [&](auto& all, Reply<void> to) { all.plan.drain(std::move(to), std::move(empty)); });
}

void Control::resume(Reply<void> reply) {
    input(std::move(reply), [&](auto& all, Reply<void> to) { all.plan.resume(std::move(to)); });
}

bool Control::draining() const {
    return owners_->plan.draining();
}

void Control::set_slots(const std::string& pool, int slots, Reply<void> reply) {
    input(std::move(reply),
          [&](auto& all, Reply<void> to) { all.pools.set_slots(pool, slots, std::move(to)); });
}

void Control::set_pools(std::vector<Pool> pools, Reply<void> reply) {
    input(std::move(reply),
          [&](auto& all, Reply<void> to) { all.pools.describe(std::move(pools), std::move(to)); });
}

void Control::change_quota(QuotaOwner owner, const QuotaChange& change, Reply<void> reply) {
    input(std::move(reply), [&](auto& all, Reply<void> to) {
        all.quotas.change(std::move(owner), change, std::move(to));
    });
}

// ---- from the nodes ----

void Control::agent_connected(const NodeId& node, const agent_protocol::Hello& hello) {
    input([&](auto& all) { all.nodes.connected(node, hello); });
}

void Control::agent_disconnected(const NodeId& node) {
    input([&](auto& all) { all.nodes.disconnected(node); });
}

void Control::agent_refused(const NodeId& node, const std::string& why) {
    input([&](auto& all) { all.nodes.refused(node, why); });
}

void Control::agent_says(const NodeId& node, const agent_protocol::ToServer& message) {
    input([&](auto& all) { all.nodes.says(node, message); });
}

void Control::node_failed(const NodeId& node, Error why) {
    input([&](auto& all) { all.nodes.failed(node, std::move(why)); });
}

void Control::node_gone(const NodeId& node) {
    input([&](auto& all) { all.nodes.gone(node); });
}

void Control::node_lost(const NodeId& node, const std::string& why) {
    input([&](auto& all) { all.nodes.lost(node, why); });
}

void Control::node_ends(const NodeId& node, Span left) {
    input([&](auto& all) { all.nodes.ends(node, left); });
}

void Control::node_handle(const NodeId& node, Json handle) {
    input([&](auto& all) { all.nodes.handle_is(node, std::move(handle)); });
}

void Control::node_starts(const NodeId& node, const std::string& what) {
    input([&](auto& all) { all.nodes.starts(node, what); });
}

void Control::machine_cleared(const std::string& workspace, const std::string& compute,
                              const std::string& left) {
    input([&](auto& all) { all.computes.machine_cleared(workspace, compute, left); });
}

void Control::nodes_found(std::uint64_t number, const std::vector<FoundNode>& found) {
    input([&](auto& all) { all.nodes.found(number, found); });
}

void Control::on_events(std::function<void(std::uint64_t)> listener) {
    owners_->events.listener = std::move(listener);
}

// ---- from tracking ----

void Control::metrics_logged(const std::string& workspace, const std::string& run) {
    if (!owners_->turns.broken && owners_->groups.metrics_logged(workspace, run))
        owners_->turns.end();
}

// ---- time ----

void Control::tick() {
    if (!owners_->turns.tick()) return;
    owners_->nodes.tick();
    owners_->groups.tick();
    owners_->services.tick();
    owners_->pools.tick();
    owners_->turns.end();
}

std::optional<Span> Control::next_tick() const {
    std::optional<Span> next = owners_->turns.next_tick(owners_->plan.at);
    if (owners_->turns.broken) return next;
    for (const std::optional<Span> at : {owners_->nodes.next_tick(), owners_->groups.next_tick(),
                                         owners_->services.next_tick(), owners_->pools.next_tick()})
        if (at && (!next || *at < *next)) next = at;
    return next;
}

// ---- reads ----

int Control::slots(std::string_view pool) const {
    const auto found = owners_->pools.by_name.find(pool);
    return found == owners_->pools.by_name.end() || found->second.missing
               ? 0
               : found->second.scheduler.slots();
}

std::vector<Control::PoolView> Control::pools() const {
    return owners_->pools.views();
}

std::optional<Control::PoolView> Control::pool(std::string_view name) const {
    for (PoolView& view : pools())
        if (view.pool.name == name) return std::move(view);
    return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> Control::computes_of(std::string_view pool) const {
    std::vector<std::pair<std::string, std::string>> all;
    for (const auto& [key, compute] : owners_->computes.by_key)
        if (compute.pool->pool.name == pool)
            all.emplace_back(compute.compute.workspace, compute.compute.name);
    return all;
}

std::vector<std::string> Control::pool_names() const {
    std::vector<std::string> names;
    for (const auto& [name, pool] : owners_->pools.by_name)
        if (!pool.missing && !pool.attached) names.push_back(name);
    return names;
}

std::vector<Control::QuotaView> Control::quotas() const {
    return owners_->quotas.views();
}

Control::QuotaView Control::quota(const QuotaOwner& owner) const {
    return owners_->quotas.view(owner);
}

bool Control::has_several_pools() const {
    return owners_->pools.several();
}

std::string Control::unusable(const std::string& workspace, const std::string& compute) const {
    const auto* found = owners_->computes.find(workspace, compute);
    return found ? owners_->computes.why_unusable(*found) : "";
}

int Control::nodes() const {
    return static_cast<int>(owners_->nodes.by_id.size());
}

std::size_t Control::waiting() const {
    std::size_t count = 0;
    for (const auto& [key, compute] : owners_->computes.by_key)
        count += compute.pool->scheduler.counts(compute.handle).waiting;
    return count;
}

std::string Control::waiting_for(const std::string& workspace, const std::string& job) const {
    return owners_->explain.waiting_for(workspace, job);
}

std::vector<std::string> Control::placed_jobs(const std::string& workspace) const {
    return owners_->explain.placed_jobs(workspace);
}

std::size_t Control::jobs_of(const std::string& workspace, const std::string& compute) const {
    const auto* found = owners_->computes.find(workspace, compute);
    if (!found) return 0;
    return found->live_jobs - std::min(found->live_jobs, owners_->services.replicas_on(*found));
}

std::vector<Node> Control::nodes_of(const std::string& workspace,
                                    const std::string& compute) const {
    std::vector<Node> all;
    for (const auto* each : owners_->computes.called(workspace, compute))
        for (Node& node : owners_->nodes.of(*each)) all.push_back(std::move(node));
    return all;
}

std::optional<Control::ServiceView> Control::service(const std::string& workspace,
                                                     const std::string& name) const {
    const auto found = owners_->services.by_key.find(control::row_key(workspace, name));
    if (found == owners_->services.by_key.end()) return std::nullopt;
    return owners_->services.view(found->second);
}

std::vector<Control::ServiceView> Control::services(const std::string& workspace) const {
    std::vector<ServiceView> all;
    for (const auto& [key, state] : owners_->services.by_key)
        if (state.service.workspace == workspace) all.push_back(owners_->services.view(state));
    return all;
}

std::vector<Control::ReadyReplica> Control::ready_replicas(const std::string& workspace,
                                                           const std::string& name) const {
    const auto found = owners_->services.by_key.find(control::row_key(workspace, name));
    if (found == owners_->services.by_key.end()) return {};
    return owners_->services.ready(found->second);
}

std::optional<Control::Explanation> Control::explain(const std::string& workspace,
                                                     const std::string& job) const {
    return owners_->explain.explain(workspace, job);
}

std::optional<schedule::Waiting> Control::waiting(const std::string& workspace,
                                                  const std::string& job) const {
    return owners_->explain.waiting(workspace, job);
}

Waited Control::waited(const std::string& workspace, const std::string& job) const {
    return owners_->explain.waited(workspace, job);
}

Control::LiveNodes Control::live_nodes(const std::string& workspace,
                                       const std::string& compute) const {
    LiveNodes all;
    for (const auto* each : owners_->computes.called(workspace, compute)) {
        const LiveNodes live = owners_->ledger.live_nodes(*each);
        all.count += live.count;
        all.life += live.life;
        all.starting += live.starting;
        all.used += live.used;
        all.cost += live.cost;
        all.price = live.price;
    }
    return all;
}

}  // namespace turnout
