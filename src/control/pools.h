// The pools: a scheduler each, whose slots its computes share. They come from the settings, or from
// who described them last; one that computes are in and that nobody describes any more is kept,
// closed, under its old name.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/owner.h"
#include "model/pool.h"
#include "schedule/scheduler.h"

namespace turnout::control {

struct PoolState {
    PoolState(Pool of, bool gone, int usual, std::string called, schedule::Accounts& accounts)
        : pool(std::move(of)), missing(gone), scheduler(usual, std::move(called), &accounts) {}
    Pool pool;
    bool missing;  // computes are in it, but nobody describes it any more
    schedule::Scheduler scheduler;
    std::optional<int> own_slots;  // that were set, stored
    bool attached = false;         // the one machine of a compute
    std::string trouble;           // it has no more for now: why
    Span held_until{};             // and until then it is asked for no more than it had
    int refusals = 0;
};

class Pools : Owner {
public:
    explicit Pools(Owners& all);

    std::map<std::string, PoolState, std::less<>> by_name;

    void make();                             // anew, as they are described
    PoolState& of(const std::string& name);  // one that is missing is made
    PoolState& of(const Compute& compute);   // where its nodes are had
    bool several() const;                    // besides machines that were attached
    // A node was refused since there are no more. Until a pause is over the pool counts as having
    // the nodes that it has, so that what one compute lets go serves another, and several gangs
    // do not wait for each other's nodes.
    void exhausted(PoolState& pool, std::string why);
    void works(PoolState& pool);
    void set_slots(const std::string& name, int slots, Control::Reply<void> reply);
    void describe(std::vector<Pool> pools, Control::Reply<void> reply);
    // One that is missing or a compute's own, when its last compute is gone.
    void forget_if_empty(PoolState& pool);
    std::vector<Control::PoolView> views() const;
    void tick();
    std::optional<Span> next_tick() const;

    // What the next start has to know is part of the counters' row.
    void recover_before(const Json& counters);  // before the computes
    void recover_after(const Json& counters);   // and after
    void write(Json& counters) const;

private:
    void ask_again(PoolState& pool);
    std::string called(const std::string& name) const;  // in explanations
    void change(PoolState& pool, Pool to);
    int usual_slots(const PoolState& pool) const {
        return pool.pool.slots.value_or(settings.slots);
    }
    Json row() const;                                            // null: nothing
    void take_slots(PoolState& pool, std::optional<int> slots);  // those, or the usual ones

    std::vector<Pool> described_;  // whoever described them has kept that
    Json before_;                  // that an earlier start had, as stored
};

}  // namespace turnout::control
