#include "model/early_termination.h"

#include <algorithm>
#include <cmath>

namespace turnout {

bool EarlyTermination::evaluated_at(std::int64_t interval) const {
    return interval >= policy_.delay_evaluation && interval % policy_.evaluation_interval == 0;
}

bool EarlyTermination::observe(std::int64_t trial, double value) {
    Seen& seen = trials_[trial];
    ++seen.intervals;
    if (std::isfinite(value)) {
        if (seen.numbers == 0 || objective_.better(value, seen.best)) seen.best = value;
        seen.sum += value;
        ++seen.numbers;
    }
    if (seen.numbers == 0) return false;
    switch (policy_.kind) {
        case EarlyTerminationPolicy::Kind::None: return false;
        case EarlyTerminationPolicy::Kind::Bandit: return bandit(seen);
        case EarlyTerminationPolicy::Kind::MedianStopping: return median(seen);
        case EarlyTerminationPolicy::Kind::TruncationSelection: return truncation(seen);
    }
    return false;
}

std::optional<double> EarlyTermination::best_of(std::int64_t trial) const {
    const auto found = trials_.find(trial);
    if (found == trials_.end() || found->second.numbers == 0) return std::nullopt;
    return found->second.best;
}

bool EarlyTermination::bandit(const Seen& seen) {
    const auto at = static_cast<std::size_t>(seen.intervals - 1);
    // Kept so that no entry is worse than the one before it: what was best early is so later too.
    while (best_at_.size() <= at)
        best_at_.push_back(best_at_.empty() ? seen.best : best_at_.back());
    for (std::size_t i = at; i < best_at_.size() && objective_.better(seen.best, best_at_[i]); ++i)
        best_at_[i] = seen.best;
    if (!evaluated_at(seen.intervals)) return false;
    const double best = best_at_[at];
    // Azure's rule for a metric to maximize: stopped if Y + Y * slack_factor < best. To minimize,
    // the allowance is the same share of the best. The sign of a metric does not turn the rule
    // around.
    if (objective_.maximize)
        return seen.best + std::abs(seen.best) * policy_.slack_factor + policy_.slack_amount < best;
    return seen.best > best + std::abs(best) * policy_.slack_factor + policy_.slack_amount;
}

bool EarlyTermination::median(const Seen& seen) {
    if (!evaluated_at(seen.intervals)) return false;
    std::vector<double>& averages = ranked_[seen.intervals];
    const double average = seen.sum / static_cast<double>(seen.numbers);
    averages.insert(std::ranges::upper_bound(averages, average), average);
    const std::size_t half = averages.size() / 2;
    const double median =
        averages.size() % 2 == 1 ? averages[half] : (averages[half - 1] + averages[half]) / 2;
    return objective_.better(median, seen.best);
}

bool EarlyTermination::truncation(const Seen& seen) {
    if (!evaluated_at(seen.intervals)) return false;
    std::vector<double>& bests = ranked_[seen.intervals];
    const auto worse_first = [this](double a, double b) { return objective_.better(b, a); };
    // After its equals: of two that are alike the one that got there first is not the worse one for
    // it.
    const auto place = std::upper_bound(bests.begin(), bests.end(), seen.best, worse_first);
    const auto rank = static_cast<std::int64_t>(place - bests.begin());
    bests.insert(place, seen.best);
    const auto stopped =
        static_cast<std::int64_t>(bests.size()) * policy_.truncation_percentage / 100;
    return rank < stopped;
}

}  // namespace turnout
