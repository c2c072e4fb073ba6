// A sweep: one command tried with many parameters. Its definition as REST sends it, the parameters
// of each trial, and the facts from which follows what happens next. Pure: a trial's parameters
// depend on the definition, the seed and the trial's index alone, so nothing has to be remembered
// for a restarted server to continue half-way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"
#include "model/group.h"
#include "model/job.h"
#include "model/sweep_progress.h"

namespace turnout {

constexpr std::int64_t kMaxTrials = 1'000'000;
constexpr std::int64_t kDefaultTrials = 1'000;  // Azure's, where the search space has no end

// What a parameter may be. In REST `["uniform", [0.1, 0.9]]`, `["choice", [["a", "b"]]]`.
struct SearchExpression {
    enum class Type {
        Choice,
        Uniform,
        QUniform,
        LogUniform,
        QLogUniform,
        Normal,
        QNormal,
        LogNormal,
        QLogNormal,
        Randint,
        Fixed,
        Group
    };
    Type type = Type::Fixed;
    double first = 0;                            // min_value, mu, or upper (randint)
    double second = 0;                           // max_value or sigma
    double step = 0;                             // q; 0 if the type has none
    bool whole = false;                          // all three are whole numbers: so are the values
    std::vector<SearchExpression> alternatives;  // Choice: Fixed or Group
    Json value;                                  // Fixed: text, number or boolean
    // Group, one alternative of a choice: parameters that belong together, each with its own
    // expression.
    std::vector<std::pair<std::string, SearchExpression>> members;
    std::int64_t combinations = 1;  // of choices, beneath it too; at most kMaxTrials + 1
    int dimensions = 0;             // expressions that draw a number: itself and those beneath it
};
std::string_view name_of(SearchExpression::Type type);

struct Sampling {
    enum class Kind { Grid, Random, Sobol } kind = Kind::Random;
    std::int64_t seed = 0;  // given, or derived from the sweep's name
    bool seed_given = false;
    double log_base = 2.718281828459045235;
};

struct Objective {
    std::string primary_metric;
    bool maximize = true;
    bool better(double a, double b) const { return maximize ? a > b : a < b; }
};

struct SweepLimits {
    std::int64_t max_total_trials = 0;
    std::int64_t max_concurrent_trials = 0;
    std::optional<Span> timeout, trial_timeout;
};

struct EarlyTerminationPolicy {
    enum class Kind { None, Bandit, MedianStopping, TruncationSelection } kind = Kind::None;
    std::int64_t evaluation_interval = 1;  // a metric logged is one interval
    std::int64_t delay_evaluation = 0;
    double slack_factor = 0, slack_amount = 0;  // Bandit: one of them
    std::int64_t truncation_percentage = 0;
};

struct Sweep {
    std::vector<std::pair<std::string, SearchExpression>> space;  // in the order of the definition
    Sampling sampling;
    Objective objective;
    SweepLimits limits;  // resolved: max_total_trials is how many there will be
    EarlyTerminationPolicy policy;
    std::int64_t cells = 0;  // combinations of a space of choices alone, which are drawn once each;
                             // 0: of another one, or of too large a one
};

// The "properties" of a job of type Sweep. `name` is the job's: the seed comes from it if none is
// given. InvalidArgument with the place, the value and what was expected. The trial's command,
// code, environment, inputs and outputs are those of a command job (see `trial_of`) and checked as
// such.
Result<Sweep> parse_sweep(const Json& properties, std::string_view name);

// The properties of the command job that all trials are: the sweep's own inputs, outputs, compute
// and experiment with the trial's command, code and environment; limits.timeout is that of a trial.
Json trial_of(const Json& properties);

// "${{search_space.x}}" in the trial's command that the search space has not.
Result<void> check_search_space_references(const Json& properties);

// ---- sampling

// The parameters of trial number `index` (from 0), as texts: numbers so that they read back as the
// same number, whole ones without a fraction where the expression has whole numbers only; booleans
// as Python writes them; a group as JSON.
Parameters trial_parameters(const Sweep& sweep, std::int64_t index);

// Point `index` of Sobol's sequence in one dimension, as 32 bits of a fraction; direction numbers
// of Joe and Kuo (new-joe-kuo-6). Not scrambled: `trial_parameters` does that, by Owen's method,
// from the seed.
constexpr int kSobolDimensions = 129;
std::uint32_t sobol_bits(std::uint32_t index, int dimension);

inline std::string trial_name(std::string_view sweep, std::int64_t index) {
    return child_name(sweep, index);
}

// ---- the life of a sweep

// How a trial ended, and the best value that it logged of the primary metric.
struct TrialEnd {
    std::string_view name;
    std::int64_t index = 0;
    JobStatus status = JobStatus::Completed;
    std::optional<double> score = {};
    bool by_policy = false;
    bool began = false;  // its command ran
    agent_protocol::Cause cause = agent_protocol::Cause::None;
    std::string_view message = {};
};
// Constant time.
void trial_ended(const Sweep& sweep, SweepProgress& progress, const TrialEnd& end);

// How many trials to create now, beginning with index `progress.created`. `waiting`: trials of this
// sweep that have no node yet; `useful`: how many of those the nodes may soon need. Asks for a
// batch only when half of them are used up, so that one commit creates many.
std::int64_t trials_to_create(const Sweep& sweep, const SweepProgress& progress,
                              std::int64_t waiting, std::int64_t useful);

// As Azure ML does, a sweep whose first trials all fail gives up; here when this many have failed
// and none has completed. Those that still run may yet change that. All trials have one
// environment: where no command ran, and each that failed did so in the environment, fewer tell as
// much.
constexpr std::int64_t kInitialFailures = 10, kEnvironmentFailures = 3;
bool environment_fails(const SweepProgress& progress);
bool gives_up(const SweepProgress& progress);

// The end of a sweep once its last trial has ended: Completed if at least one trial has completed;
// Canceled if it was canceled, ran out of time, or all its trials were canceled; else Failed, by
// what its trials failed by, or by the user's code where that differs.
std::optional<GroupEnd> sweep_end(const Sweep& sweep, const SweepProgress& progress,
                                  std::string_view name);

}  // namespace turnout
