// Early termination as Azure ML documents it: which trials of a sweep are stopped because others do
// better. Each value of the primary metric that a trial logs is one interval. Pure and incremental:
// a value costs no more than the logarithm of the number of trials and one move of memory.
//
// Bandit: stopped if the trial's best value so far is further from the best of all trials at that
// interval than the slack. Median stopping: if its best value so far is worse than the median of
// the running averages of all trials at that interval. Truncation selection: if its best value so
// far is among the worst X % of all trials at that interval, itself included. Trials that have
// ended count.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "model/sweep.h"

namespace turnout {

class EarlyTermination {
public:
    EarlyTermination(EarlyTerminationPolicy policy, Objective objective)
        : policy_(policy), objective_(std::move(objective)) {}

    // The next value of that trial's primary metric; whether the trial is to be stopped. Values
    // that are no numbers count as intervals that say nothing. After a restart the histories are
    // given again, trial by trial, without regard to the answers.
    bool observe(std::int64_t trial, double value);

    // The best value of a trial so far.
    std::optional<double> best_of(std::int64_t trial) const;

    // That trial has ended and logs no more. What the others are held against stays.
    void forget(std::int64_t trial) { trials_.erase(trial); }

private:
    struct Seen {
        std::int64_t intervals = 0;
        std::int64_t numbers = 0;  // of them
        double best = 0;
        double sum = 0;
    };
    bool evaluated_at(std::int64_t interval) const;
    bool bandit(const Seen& seen);
    bool median(const Seen& seen);
    bool truncation(const Seen& seen);

    EarlyTerminationPolicy policy_;
    Objective objective_;
    std::unordered_map<std::int64_t, Seen> trials_;
    std::vector<double> best_at_;  // Bandit: of all trials, up to interval i + 1
    // By evaluated interval: running averages (median) or best values (truncation), worst first.
    std::map<std::int64_t, std::vector<double>> ranked_;
};

}  // namespace turnout
