// Where the time went, added up: by compute and by experiment.
#include <algorithm>

#include "control/state.h"

namespace turnout {

namespace {

std::string compute_totals(const Compute& compute) {
    return compute.workspace + "/compute/" + compute.name;
}
std::string sweep_totals(std::string_view workspace, std::string_view sweep) {
    return std::string(workspace) + "/sweep/" + std::string(sweep);
}

double cost_of(Span span, std::optional<double> price_per_hour) {
    return static_cast<double>(span.count()) / 3.6e9 * price_per_hour.value_or(0);
}

// Of one of its nodes: where several jobs share a node each has its part, but a job of several
// nodes has its nodes to itself.
Span used_by(const JobAttempt& attempt, const Compute& compute, Instant now) {
    return time_on_node(attempt, now) / (attempt.nodes.size() > 1 ? 1 : compute.jobs_per_node);
}

}  // namespace

Totals& Control::State::totals_of(const std::string& totals_key) {
    gathering.totals.insert(totals_key);
    return totals[totals_key];
}

// Where it counts: first at its compute.
std::vector<Totals*> Control::State::totals_with(const JobEntry& job) {
    std::vector<Totals*> all{
        &totals_of(compute_totals(job.compute->compute)),
        &totals_of(std::string(job.workspace()) + "/experiment/" + experiment_of.at(job.sharer))};
    if (job.is_trial())
        all.push_back(&totals_of(sweep_totals(job.workspace(), job.sweep->job->name())));
    return all;
}

void Control::State::forget_totals(const JobRecord& sweep) {
    const std::string totals_key = sweep_totals(sweep.workspace, sweep.name);
    if (totals.erase(totals_key) > 0) gathering.totals.insert(totals_key);
}

void Control::State::book_job(const JobEntry& job) {
    if (job.type != JobType::Command) return;  // its trials are booked
    const auto entries = ledger(job.state, Instant{job.created}, *job.state.ended);
    for (Totals* const each : totals_with(job)) {
        Totals& sums = *each;
        ++(job.state.status == JobStatus::Completed ? sums.completed
           : job.state.status == JobStatus::Failed  ? sums.failed
                                                    : sums.canceled);
        if (job.state.cause != agent_protocol::Cause::None)
            ++sums.causes[std::string(agent_protocol::name_of(job.state.cause))];
        for (const auto& [entry, span] : entries)
            sums.time[static_cast<std::size_t>(entry)] += span;
    }
}

void Control::State::book_attempt(const JobEntry& job, const JobAttempt& attempt) {
    const ComputeState& compute = *job.compute;
    const Span used = used_by(attempt, compute.compute, clock.now()) *
                      static_cast<std::int64_t>(attempt.nodes.size());
    const std::vector<Totals*> all = totals_with(job);
    for (Totals* const sums : all) {
        ++sums->attempts;
        if (attempt.ending && attempt.ending->cause == agent_protocol::Cause::Preempted)
            ++sums->preemptions;
        (compute.compute.tier == Tier::LowPriority ? sums->used_low_priority
                                                   : sums->used_dedicated) += used;
    }
    // A compute costs what its nodes live; an experiment and a sweep what their jobs use of them.
    for (std::size_t i = 1; i < all.size(); ++i) all[i]->cost += cost_of(used, compute.price);
}

void Control::State::book_node(const ComputeState& compute, const Node& node) {
    const Instant now =
        std::max(clock.now(), node.created);  // the wall clock may have been set back
    Totals& sums = totals_of(compute_totals(compute.compute));
    ++sums.nodes;
    sums.node_life += now - node.created;
    sums.node_starting += std::clamp(node.ready.value_or(now), node.created, now) - node.created;
    sums.cost += cost_of(std::max(Span{}, now - node.unpaid_from()), compute.price);
}

void Control::State::book_cost(ComputeState& compute) {
    const Instant now = clock.now();
    for (const NodeId& id : compute.nodes) {
        Node& node = nodes.at(id).node;
        totals_of(compute_totals(compute.compute)).cost +=
            cost_of(std::max(Span{}, now - node.unpaid_from()), compute.price);
        node.paid_until = now;
        gathering.nodes.insert(id);
    }
}

Control::LiveNodes Control::live_nodes(const std::string& workspace,
                                       const std::string& compute) const {
    const State& s = *state_;
    LiveNodes live;
    const auto found = s.computes.find(State::key(workspace, compute));
    if (found == s.computes.end()) return live;
    const Instant now = s.clock.now();
    for (const NodeId& id : found->second.nodes) {
        const State::NodeEntry& entry = s.nodes.at(id);
        const Instant until = std::max(now, entry.node.created);
        ++live.count;
        live.life += until - entry.node.created;
        live.starting += std::clamp(entry.node.ready.value_or(until), entry.node.created, until) -
                         entry.node.created;
        live.cost += cost_of(std::max(Span{}, now - entry.node.unpaid_from()), found->second.price);
        for (const State::Lease& lease : entry.leases)
            live.used += used_by(lease.job->state.attempts.back(), found->second.compute, until);
    }
    return live;
}

Result<void> Control::State::recover_totals() {
    totals.clear();
    return each_row(store, Table::Ledger, with_prefix(""),
                    [&](const Record& record) -> Result<void> {
                        const Json json = TURNOUT_TRY(parse_json(record.value));
                        totals[record.key] = TURNOUT_TRY(totals_from_json(json));
                        return {};
                    });
}

}  // namespace turnout
