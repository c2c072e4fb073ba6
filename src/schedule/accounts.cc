#include "schedule/accounts.h"

#include <utility>

#include "schedule/state.h"

namespace turnout::schedule {

Accounts::Accounts() : state_(std::make_unique<State>()) {}
Accounts::~Accounts() = default;

void Accounts::clear() {
    state_->by_handle.clear();
}

AccountUse Accounts::use(Handle account) const {
    const auto found = state_->by_handle.find(account);
    if (found == state_->by_handle.end()) return {};
    return {found->second.jobs, found->second.slots, found->second.waiting};
}

void Accounts::allow(Handle handle, const Allowance& allowance, std::string called) {
    AccountEntry& account = state_->of(handle);
    account.called = std::move(called);
    if (account.allowance == allowance) return;
    account.allowance = allowance;
    const auto look_again = [](Scheduler::State& scheduler, ClusterEntry& c) {
        std::vector<TaskIndex> gangs;
        for (const auto& [nodes, gang] : c.gangs) gangs.push_back(gang);
        for (const TaskIndex gang : gangs) scheduler.reline(gang);
        scheduler.touch(c);
    };
    for (const auto& [at, stake] : account.stakes) {
        stake->cluster->line.wake_all(*stake);
        stake->scheduler->recount(*stake);
        look_again(*stake->scheduler, *stake->cluster);
    }
    for (const auto& [at, of] : account.clusters) look_again(*of.first, *of.second);
}

AccountEntry& Accounts::State::of(Handle handle) {
    AccountEntry& account = by_handle[handle];
    account.handle = handle;
    return account;
}

bool Scheduler::State::is_out(const TaskEntry& gang) const {
    const ClusterEntry& c = *gang.cluster;
    return gang.nodes > c.gang_limit || (c.account && !c.account->could_fit(gang.nodes)) ||
           (gang.sharer->stake && !gang.sharer->stake->account->could_fit(gang.nodes));
}

void Scheduler::State::reline(TaskIndex index) {
    TaskEntry& gang = tasks[index];
    const bool out = is_out(gang);
    if (out == gang.out) return;
    if (out) {
        if (gang.cluster->reserving == index) stop_reserving(*gang.cluster);
        gang.cluster->line.remove(index);
    }
    gang.out = out;
    gang_counts(gang, out ? -1 : 1);
    if (!out) gang.cluster->line.add(index);
}

void Scheduler::State::waits(const TaskEntry& task, int count) {
    const auto add = [count](std::size_t& to) { to += static_cast<std::size_t>(count); };
    if (task.cluster->account) add(task.cluster->account->waiting);
    Stake* const stake = task.sharer->stake;
    if (!stake) return;
    add(stake->account->waiting);
    if (task.nodes > 1) return;
    add(stake->singles);
    recount(*stake);
}

void Scheduler::State::gang_counts(const TaskEntry& gang, int sign) {
    gang.cluster->gang_ranks += sign * gang.nodes;
    Stake* const stake = gang.sharer->stake;
    if (!stake) return;
    stake->gang_ranks += sign * gang.nodes;
    if (sign > 0)
        stake->gangs.insert(gang.nodes);
    else
        stake->gangs.erase(stake->gangs.find(gang.nodes));
    recount(*stake);
}

void Scheduler::State::recount(Stake& stake) {
    const AccountEntry& account = *stake.account;
    std::size_t singles = 0;
    long ranks = 0;
    if (account.limited()) {
        const auto room =
            static_cast<std::size_t>(std::min(account.jobs_left(), account.slots_left()));
        singles = stake.singles - std::min(stake.singles, room);
        if (!stake.gangs.empty())
            ranks = std::max(0L, stake.gang_ranks -
                                     account.room_for(*stake.gangs.begin(), *stake.gangs.rbegin()));
    }
    ClusterEntry& c = *stake.cluster;
    c.singles_over += singles - std::exchange(stake.singles_over, singles);
    c.ranks_over += ranks - std::exchange(stake.ranks_over, ranks);
}

void Scheduler::State::uses(const TaskEntry& task, int more_jobs, int more_slots) {
    const bool more_room = more_slots < 0;
    const auto add = [&](AccountEntry& account) {
        account.jobs += more_jobs;
        account.slots += more_slots;
        if (!account.limited()) return;
        for (const auto& [at, stake] : account.stakes) {
            if (stake->singles == 0 && stake->gang_ranks == 0) continue;
            recount(*stake);
            if (more_room) stake->cluster->line.wake(*stake);
            stake->scheduler->touch(*stake->cluster);
        }
        for (const auto& [at, of] : account.clusters)
            if (of.second->singles > 0 || of.second->gang_ranks > 0) of.first->touch(*of.second);
    };
    if (task.cluster->account) add(*task.cluster->account);
    if (task.sharer->stake) add(*task.sharer->stake->account);
}

bool Scheduler::State::fits(const TaskEntry& task) const {
    const Stake* const stake = task.sharer->stake;
    return (!stake || stake->account->fits(task.nodes)) &&
           (!task.cluster->account || task.cluster->account->fits(task.nodes));
}

long Scheduler::State::allowed_ranks(const ClusterEntry& c) const {
    const long ranks = c.gang_ranks - c.ranks_over;
    if (!c.account || c.gangs.empty()) return ranks;
    return std::min(ranks, c.account->room_for(c.gangs.begin()->first, c.gangs.rbegin()->first));
}

long Scheduler::State::allowed_singles(const ClusterEntry& c) const {
    const long singles = static_cast<long>(c.singles - c.singles_over);
    if (!c.account) return singles;
    const long room = std::min<long>(c.account->jobs_left(),
                                     std::max(0L, c.account->slots_left() - allowed_ranks(c)));
    return std::min(singles, room);
}

bool Scheduler::State::waits_for_node(const ClusterEntry& c) const {
    return c.line.any() && (!c.account || c.account->fits(1));
}

const AccountEntry* Scheduler::State::kept_by(const TaskEntry& task) const {
    if (task.placed) return nullptr;
    const ClusterEntry& c = *task.cluster;
    if (const Stake* const stake = task.sharer->stake; stake && stake->account->limited()) {
        const auto queue = task.sharer->queues.find(task.priority);
        const bool held = queue != task.sharer->queues.end() && queue->second.held;
        const bool reserves = c.reserving != no_task && &tasks[c.reserving] == &task;
        if (!reserves &&
            (!stake->fits(task.nodes, task.priority) || (held && c.line.is_blocked(*stake))))
            return stake->account;
    }
    return c.account && !c.account->fits(task.nodes) ? c.account : nullptr;
}

}  // namespace turnout::schedule
