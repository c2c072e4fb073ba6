#include "control/pools.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "control/owners.h"

namespace turnout::control {

namespace {

// Slots that somebody set while the server ran are kept as long as the settings say what they said
// then: who spoke last is right.
constexpr std::string_view kSlots = "slots", kInsteadOf = "slotsInsteadOf";

Json number_or_null(const std::optional<int>& number) {
    return number ? Json(*number) : Json();
}

void write_slots(Json& into, const std::optional<int>& own, const Pool& pool) {
    if (!own) return;
    into.set(kSlots, *own);
    if (pool.slots) into.set(kInsteadOf, *pool.slots);
}

std::optional<int> own_slots_in(const Json& from, const Pool& pool) {
    const std::int64_t slots = from.at(kSlots).as_int();
    if (slots <= 0 || from.at(kInsteadOf) != number_or_null(pool.slots)) return std::nullopt;
    return static_cast<int>(slots);
}

Pool usual_pool() {
    Pool usual;
    usual.name = kDefaultPool;
    return usual;
}

Failure pool_in_use(const std::string& name, std::vector<std::string> computes) {
    constexpr std::size_t few = 20;
    const std::size_t more = computes.size() > few ? computes.size() - few : 0;
    computes.resize(computes.size() - more);
    return fail(Code::Conflict, "PoolInUse",
                "pool '" + name + "' has the nodes of compute " + join(computes, ", ") +
                    (more > 0 ? " and " + std::to_string(more) + " more" : "") +
                    ": delete what is in it first",
                "pool");
}

}  // namespace

Pools::Pools(Owners& all) : Owner(all), described_(all.settings.pools) {}

std::string Pools::called(const std::string& name) const {
    const bool several =
        std::ranges::any_of(described_, [](const Pool& pool) { return pool.name != kDefaultPool; });
    return several ? "pool '" + name + "'" : "the pool";
}

void Pools::make() {
    by_name.clear();
    const auto make = [&](Pool pool) {
        const int slots = pool.slots.value_or(settings.slots);
        const std::string name = pool.name;
        by_name.try_emplace(name, std::move(pool), false, slots, called(name),
                            owners.quotas.accounts);
    };
    for (const Pool& pool : described_) make(pool);
    make(usual_pool());
}

// What a recovery makes anew is described_, so nothing of this has to be stored before it holds.
void Pools::describe(std::vector<Pool> pools, Control::Reply<void> reply) {
    if (std::ranges::find(pools, kDefaultPool, &Pool::name) == pools.end())
        pools.push_back(usual_pool());
    std::vector<std::string> gone;
    for (const auto& [name, pool] : by_name) {
        if (pool.attached || pool.missing ||
            std::ranges::find(pools, name, &Pool::name) != pools.end())
            continue;
        std::vector<std::string> computes;
        for (const auto& [key, compute] : owners.computes.by_key)
            if (compute.pool == &pool) computes.push_back(compute.compute.name);
        if (!computes.empty()) {
            turns.reply<void>(std::move(reply), pool_in_use(name, computes));
            return;
        }
        gone.push_back(name);
    }
    described_ = pools;
    for (const std::string& name : gone) by_name.erase(name);
    for (Pool& pool : pools) {
        const std::string name = pool.name;
        const auto known = by_name.find(name);
        if (known == by_name.end()) {
            const int slots = pool.slots.value_or(settings.slots);
            by_name.try_emplace(name, std::move(pool), false, slots, "", owners.quotas.accounts);
        } else {
            change(known->second, std::move(pool));
        }
    }
    for (auto& [name, pool] : by_name)
        if (!pool.attached) pool.scheduler.set_name(called(name));
    turns.gathering.counters = true;
    turns.reply<void>(std::move(reply), Result<void>{});
}

// What its nodes were told when they were asked for stays as it is; all else is so from now on.
void Pools::change(PoolState& pool, Pool to) {
    if (!pool.missing && pool.pool == to) return;
    const bool same_slots = !pool.missing && pool.pool.slots == to.slots;
    const auto own = pool.missing ? own_slots_in(before_.at(to.name), to)
                     : same_slots ? pool.own_slots
                                  : std::nullopt;
    pool.pool = std::move(to);
    pool.missing = false;
    works(pool);  // what was refused before may be had now
    for (auto& [key, compute] : owners.computes.by_key)
        if (compute.pool == &pool) owners.computes.pool_changed(compute);
    take_slots(pool, own);
}

PoolState& Pools::of(const std::string& name) {
    if (const auto found = by_name.find(name); found != by_name.end()) return found->second;
    Pool gone;
    gone.name = name;
    const Json& before = before_.at(name);
    gone.provider = before.at("provider").as_string(gone.provider);
    if (before.at("settings").is_object()) gone.settings = before.at("settings");
    return by_name
        .try_emplace(name, std::move(gone), true, 0, "pool '" + name + "'", owners.quotas.accounts)
        .first->second;
}

PoolState& Pools::of(const Compute& compute) {
    if (!compute.attached) return of(compute.pool);
    Pool own;
    own.name = compute.pool;
    own.provider = compute.attached->provider;
    own.settings = compute.attached->settings;
    own.slots = 1;
    const auto [at, fresh] = by_name.try_emplace(
        compute.pool, own, false, 1, "machine '" + compute.name + "'", owners.quotas.accounts);
    at->second.pool = std::move(own);
    at->second.attached = true;
    return at->second;
}

bool Pools::several() const {
    return std::ranges::count_if(by_name, [](const auto& one) { return !one.second.attached; }) > 1;
}

// How the nodes of one are had is known when it is missing; what was set, when it is back.
Json Pools::row() const {
    Json all;
    for (const auto& [name, pool] : by_name) {
        if (name == kDefaultPool || pool.attached) continue;
        Json one = Json::object({{"provider", pool.pool.provider}});
        if (!pool.pool.settings.members().empty()) one.set("settings", pool.pool.settings);
        if (pool.missing && before_.at(name).is_object()) one = before_.at(name);
        if (!pool.missing) write_slots(one, pool.own_slots, pool.pool);
        if (all.is_null()) all = Json::object();
        all.set(name, std::move(one));
    }
    return all;
}

void Pools::recover_after(const Json& counters) {
    for (auto& [name, pool] : by_name)
        if (!pool.missing)
            take_slots(pool,
                       own_slots_in(name == kDefaultPool ? counters : before_.at(name), pool.pool));
    // What was set before the file said something else is over, also when that is taken back.
    if (counters.has(kSlots) && !by_name.find(kDefaultPool)->second.own_slots)
        turns.gathering.counters = true;
    if (row() != before_) turns.gathering.counters = true;
}

void Pools::write(Json& counters) const {
    const PoolState& usual = by_name.find(kDefaultPool)->second;
    write_slots(counters, usual.own_slots, usual.pool);
    if (Json pools = row(); !pools.is_null()) counters.set("pools", std::move(pools));
}

void Pools::exhausted(PoolState& pool, std::string why) {
    pool.trouble = std::move(why);
    int there = 0;
    for (const auto& [id, node] : owners.nodes.by_id)
        there += node.compute->pool == &pool && node.node.state != NodeState::Leaving;
    pool.scheduler.set_supply(there);
    owners.plan.wanted = true;
    if (pool.held_until > clock.since_boot()) return;  // another node of the same round
    pool.held_until = clock.since_boot() +
                      std::min(settings.longest_exhausted_pause,
                               settings.exhausted_pause * (1 << std::min(pool.refusals++, 6)));
    for (auto& [compute_key, compute] : owners.computes.by_key)
        if (compute.pool == &pool) owners.plan.touched.insert(&compute);
}

void Pools::works(PoolState& pool) {
    pool.refusals = 0;
    pool.trouble.clear();
    ask_again(pool);
}

void Pools::ask_again(PoolState& pool) {
    if (std::exchange(pool.held_until, Span{}) == Span{}) return;
    pool.scheduler.set_supply(std::nullopt);
    for (auto& [compute_key, compute] : owners.computes.by_key)
        if (compute.pool == &pool) owners.plan.touched.insert(&compute);
    owners.plan.wanted = true;
}

void Pools::tick() {
    for (auto& [name, pool] : by_name)
        if (pool.held_until != Span{} && pool.held_until <= clock.since_boot()) ask_again(pool);
}

std::optional<Span> Pools::next_tick() const {
    std::optional<Span> next;
    for (const auto& [name, pool] : by_name)
        if (pool.held_until != Span{} && (!next || pool.held_until < *next)) next = pool.held_until;
    return next;
}

void Pools::take_slots(PoolState& pool, std::optional<int> own) {
    pool.own_slots = own;
    const int slots = own.value_or(usual_slots(pool));
    pool.scheduler.set_slots(slots);
    for (auto& [compute_key, compute] : owners.computes.by_key) {
        if (compute.pool != &pool) continue;
        owners.plan.touched.insert(&compute);
        if (!compute.compute.implicit || compute.compute.max_nodes == slots) continue;
        compute.compute.max_nodes = slots;
        turns.gathering.computes.insert(compute_key);
        owners.computes.tell_scheduler(compute);
    }
    owners.plan.wanted = true;
}

std::vector<Control::PoolView> Pools::views() const {
    std::vector<Control::PoolView> all;
    for (const auto& [name, pool] : by_name) {
        Control::PoolView view;
        view.pool = pool.pool;
        view.missing = pool.missing;
        view.attached = pool.attached;
        view.slots = pool.scheduler.slots();
        if (pool.held_until > clock.since_boot()) view.trouble = pool.trouble;
        for (const auto& [key, compute] : owners.computes.by_key) {
            if (compute.pool != &pool) continue;
            if (!compute.compute.implicit) ++view.computes;
            view.nodes += static_cast<int>(compute.nodes.size());
            view.waiting += pool.scheduler.counts(compute.handle).waiting;
        }
        all.push_back(std::move(view));
    }
    std::ranges::stable_partition(
        all, [](const Control::PoolView& view) { return view.pool.name == kDefaultPool; });
    return all;
}

void Pools::set_slots(const std::string& name, int slots, Control::Reply<void> reply) {
    const auto pool = by_name.find(name);
    if (pool == by_name.end() || pool->second.missing) {
        turns.reply<void>(std::move(reply), not_found("there is no pool '" + name + "'", "pool"));
        return;
    }
    if (pool->second.attached) {
        turns.reply<void>(
            std::move(reply),
            invalid("'" + name +
                        "' is one machine that was attached: it has one slot; "
                        "the tag turnout.jobs_per_node of its compute lets several jobs "
                        "run on it at a time",
                    "slots"));
        return;
    }
    take_slots(pool->second, slots);
    turns.gathering.counters = true;
    turns.reply<void>(std::move(reply), Result<void>{});
}

void Pools::forget_if_empty(PoolState& pool) {
    if ((!pool.missing && !pool.attached) ||
        std::ranges::any_of(owners.computes.by_key,
                            [&](const auto& one) { return one.second.pool == &pool; }))
        return;
    by_name.erase(by_name.find(pool.pool.name));
    turns.gathering.counters = true;
}

void Pools::recover_before(const Json& counters) {
    before_ = counters.at("pools");
}

}  // namespace turnout::control
