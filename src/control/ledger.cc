#include "control/ledger.h"

#include <algorithm>

#include "base/text.h"
#include "control/owners.h"

namespace turnout::control {

namespace {

std::string compute_totals(const Compute& compute) {
    return compute.workspace + "/compute/" + std::string(shown_compute(compute.name));
}
std::string group_totals(std::string_view workspace, JobType type, std::string_view group) {
    return std::string(workspace) + "/" + to_lower(name_of(type)) + "/" + std::string(group);
}

double cost_of(Span span, double price_per_hour) {
    return static_cast<double>(span.count()) / 3.6e9 * price_per_hour;
}

// At the price that held when it began, whatever the price is today. Rows of earlier builds do not
// say.
double price_then(const std::optional<double>& then, const ComputeState& compute) {
    return then.value_or(compute.price.value_or(0));
}
double unpaid_cost(const Node& node, const ComputeState& compute, Instant now) {
    return cost_of(std::max(Span{}, now - node.unpaid_from()), price_then(node.price, compute));
}

// Of one of its nodes: where several jobs share a node each has its part, but a job of several
// nodes has its nodes to itself.
Span used_by(const JobAttempt& attempt, const Compute& compute, Instant now) {
    return time_on_node(attempt, now) / (attempt.nodes().size() > 1 ? 1 : compute.jobs_per_node);
}

}  // namespace

Totals& Ledger::totals_of(const std::string& totals_key) {
    turns.gathering.totals.insert(totals_key);
    return totals_[totals_key];
}

// Where it counts: first at its compute.
std::vector<Totals*> Ledger::totals_with(const JobEntry& job) {
    std::vector<Totals*> all{
        &totals_of(compute_totals(job.compute->compute)),
        &totals_of(std::string(job.workspace()) + "/experiment/" + owners.jobs.experiment_of(job))};
    if (job.is_child())
        all.push_back(&totals_of(
            group_totals(job.workspace(), job.group->job->type, job.group->job->name())));
    return all;
}

void Ledger::forget_group(const JobRecord& group) {
    const std::string totals_key = group_totals(group.workspace, group.type, group.name);
    if (totals_.erase(totals_key) > 0) turns.gathering.totals.insert(totals_key);
}

void Ledger::book_job(const JobEntry& job) {
    if (kind_of(job.type).group) return;  // its children are booked
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

void Ledger::book_attempt(const JobEntry& job, const JobAttempt& attempt) {
    const ComputeState& compute = *job.compute;
    const Span used = used_by(attempt, compute.compute, clock.now()) *
                      static_cast<std::int64_t>(attempt.nodes().size());
    const std::vector<Totals*> all = totals_with(job);
    for (Totals* const sums : all) {
        ++sums->attempts;
        if (attempt.ending && attempt.ending->cause == agent_protocol::Cause::Preempted)
            ++sums->preemptions;
        (compute.compute.tier == Tier::LowPriority ? sums->used_low_priority
                                                   : sums->used_dedicated) += used;
    }
    // A compute costs what its nodes live; an experiment and a sweep what their jobs use of them.
    for (std::size_t i = 1; i < all.size(); ++i)
        all[i]->cost += cost_of(used, price_then(attempt.price, compute));
}

void Ledger::book_node(const ComputeState& compute, const Node& node) {
    const Instant now =
        std::max(clock.now(), node.created);  // the wall clock may have been set back
    Totals& sums = totals_of(compute_totals(compute.compute));
    ++sums.nodes;
    sums.node_life += now - node.created;
    sums.node_starting += std::clamp(node.ready.value_or(now), node.created, now) - node.created;
    sums.cost += unpaid_cost(node, compute, now);
}

void Ledger::price_is(const ComputeState& compute, std::optional<double> price) {
    const Instant now = clock.now();
    for (const NodeId& id : compute.nodes) {
        Node& node = owners.nodes.by_id.at(id).node;
        if (node.price == price.value_or(0)) continue;
        totals_of(compute_totals(compute.compute)).cost += unpaid_cost(node, compute, now);
        node.paid_until = now;
        node.price = price.value_or(0);
        turns.gathering.nodes.insert(id);
    }
}

void Ledger::prices_are_read() {
    for (const auto& [key, compute] : owners.computes.by_key) price_is(compute, compute.price);
}

Control::LiveNodes Ledger::live_nodes(const ComputeState& compute) const {
    Control::LiveNodes live;
    const Instant now = clock.now();
    live.price = compute.price;
    for (const NodeId& id : compute.nodes) {
        const NodeEntry& entry = owners.nodes.by_id.at(id);
        const Instant until = std::max(now, entry.node.created);
        ++live.count;
        live.life += until - entry.node.created;
        live.starting += std::clamp(entry.node.ready.value_or(until), entry.node.created, until) -
                         entry.node.created;
        live.cost += unpaid_cost(entry.node, compute, now);
        for (const Lease& lease : entry.leases)
            live.used += used_by(lease.job->state.attempts.back(), compute.compute, until);
    }
    return live;
}

Result<void> Ledger::recover() {
    totals_.clear();
    return each_row(store, Table::Ledger, with_prefix(""),
                    [&](const Record& record) -> Result<void> {
                        const Json json = TURNOUT_TRY(parse_json(record.value));
                        totals_[record.key] = TURNOUT_TRY(totals_from_json(json));
                        return {};
                    });
}

void Ledger::forget_workspace(const std::string& workspace) {
    std::erase_if(totals_,
                  [&](const auto& sums) { return sums.first.starts_with(workspace + "/"); });
}

void Ledger::write_rows(const Turn& turn, Batch& batch) const {
    for (const std::string& totals_key : turn.totals) {
        if (const auto found = totals_.find(totals_key); found != totals_.end())
            batch.put(Table::Ledger, totals_key, to_json(found->second).dump());
        else
            batch.erase(Table::Ledger, totals_key);
    }
}

}  // namespace turnout::control
