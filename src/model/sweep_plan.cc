#include "model/sweep_plan.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "model/sweep_words.h"

namespace turnout {

namespace {

// How many trials wait at most, so that no node ever waits for one: with short trials a node holds
// up to 64 behind the one that runs, and new ones are made when half of them are used up.
constexpr std::int64_t kBacklog = 64;
constexpr std::int64_t kMostWaiting = 8'192;

// Larger sweeps tell in their log how far they are, not each trial.
constexpr std::int64_t kToldOneByOne = 500;

std::int64_t useful_waiting(const GroupPlan::Look& look, const SweepProgress& progress) {
    const std::int64_t nodes = std::max<std::int64_t>(1, look.max_nodes);
    const std::int64_t at_once = nodes * std::max<std::int64_t>(1, look.jobs_per_node);
    // Before the first has completed no more than the sweep would look at before it gives up.
    if (progress.completed == 0) return std::min(kMostWaiting, 2 * at_once + kInitialFailures);
    return std::min(kMostWaiting, 2 * (at_once + nodes * kBacklog));
}

std::string_view policy_words(EarlyTerminationPolicy::Kind kind) {
    switch (kind) {
        case EarlyTerminationPolicy::Kind::None: return "";
        case EarlyTerminationPolicy::Kind::Bandit: return "bandit";
        case EarlyTerminationPolicy::Kind::MedianStopping: return "median stopping";
        case EarlyTerminationPolicy::Kind::TruncationSelection: return "truncation selection";
    }
    return "";
}

}  // namespace

SweepPlan::SweepPlan(Sweep sweep, std::string name)
    : sweep_(std::move(sweep)), name_(std::move(name)), metrics_(sweep_.policy, sweep_.objective) {}

GroupLimits SweepPlan::limits() const {
    return {sweep_.limits.max_total_trials, sweep_.limits.max_concurrent_trials,
            sweep_.limits.timeout};
}

GroupNext SweepPlan::next(const Look& look) {
    GroupNext next;
    const std::int64_t useful = useful_waiting(look, progress_);
    std::int64_t count = trials_to_create(sweep_, progress_, look.waiting, useful);
    // Where trials end quickly nodes take many of them ahead: these count before one has
    // completed.
    if (progress_.completed == 0) count = std::min(count, useful - progress_.live());
    for (std::int64_t i = 0; i < count; ++i) next.make.push_back({progress_.created++, {}});
    const std::int64_t total = sweep_.limits.max_total_trials;
    if (count > 0 && !look.begun)
        next.words.push_back("sweep of " + with_commas(total) + " trials began");
    next.end = sweep_end(sweep_, progress_, name_);
    if (!next.end && total > kToldOneByOne && progress_.ended() >= told_ + total / 100) {
        told_ = progress_.ended();
        next.words.push_back(sweep_words(sweep_, progress_));
    }
    return next;
}

std::string SweepPlan::gives_up_waiting() const {
    // What begins may yet show that there is a node that has it.
    return environment_fails(progress_) && gives_up(progress_)
               ? "not tried: the environment of the sweep's trials cannot be had"
               : "";
}

Parameters SweepPlan::parameters(std::int64_t index) const {
    return trial_parameters(sweep_, index);
}

// The first command of a trial.
bool SweepPlan::child_began(std::int64_t) {
    return !std::exchange(progress_.began, true);
}

ChildOutcome SweepPlan::child_ended(const ChildEnd& end) {
    ChildOutcome outcome;
    outcome.score = metrics_.best_of(end.index);
    const std::string& metric = sweep_.objective.primary_metric;
    const bool scoreless = end.status == JobStatus::Completed && !outcome.score;
    if (sweep_.limits.max_total_trials <= kToldOneByOne) {
        std::string line = std::string(end.name) + " " + std::string(name_of(end.status));
        if (outcome.score)
            line += ", " + metric + " = " + Json(*outcome.score).dump();
        else if (scoreless)
            line += ", without " + metric;
        for (const auto& [name, value] : trial_parameters(sweep_, end.index))
            line += ", " + name + ": " + value;
        if (!end.message.empty())
            line += " (" + std::string(end.message.substr(0, end.message.find('\n'))) + ")";
        outcome.words.push_back(std::move(line));
    }
    if (scoreless && progress_.metric_problem.empty()) {
        // Said once and at once: the other trials will hardly do better, and each takes its time.
        progress_.metric_problem = missing_metric_words(
            sweep_.objective, end.name, end.logged ? end.logged() : std::vector<std::string>());
        outcome.words.push_back(progress_.metric_problem);
        outcome.warning = progress_.metric_problem;
    }
    metrics_.forget(end.index);
    trial_ended(sweep_, progress_,
                {end.name, end.index, end.status, outcome.score, end.given_up, end.began, end.cause,
                 end.message});
    return outcome;
}

void SweepPlan::stop(Stop why) {
    switch (why) {
        case Stop::Canceled: progress_.cancel_requested = true; break;
        case Stop::TimedOut: progress_.timed_out = true; break;
    }
}

bool SweepPlan::stopped() const {
    return progress_.cancel_requested || progress_.timed_out;
}

bool SweepPlan::remembers_ended() const {
    // Without a policy only trials that live matter, for the best score is stored.
    return sweep_.policy.kind != EarlyTerminationPolicy::Kind::None;
}

bool SweepPlan::observe(std::int64_t index, double value) {
    return metrics_.observe(index, value);
}

std::string SweepPlan::why_given_up() const {
    return "stopped early by the sweep's " + std::string(policy_words(sweep_.policy.kind)) +
           " policy";
}

Result<void> SweepPlan::recover(const Json& progress) {
    progress_ = sweep_progress_from_json(progress);
    told_ = progress_.ended();
    return {};
}

std::string SweepPlan::standing() const {
    return sweep_standing(sweep_, progress_);
}

Result<std::unique_ptr<GroupPlan>> sweep_plan(const GroupSaid& said, std::string_view name) {
    Sweep sweep = TURNOUT_TRY(parse_sweep(said.definition, name));
    return std::unique_ptr<GroupPlan>(
        std::make_unique<SweepPlan>(std::move(sweep), std::string(name)));
}

}  // namespace turnout
