// An AutoML job as it is stored with the job (JobRecord::plan): what was read of its definition
// when it was submitted (submission/automl_job.h). Its children are command jobs that run a program
// of the server's own (api/arm/automl.h): one looks at the data and prepares it; each trial chooses
// an algorithm and its settings by what the trials before it have found, and trains it; ensembles
// put the best of them together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "base/time.h"

namespace turnout {

// What its children are to it. No step of a pipeline can have such a name.
inline constexpr std::string_view kAutoMLSetup = "(setup)";
inline constexpr std::string_view kAutoMLTrial = "(automl trial)";
inline constexpr std::string_view kAutoMLEnsemble = "(ensemble)";
bool is_of_automl(std::string_view role);

// Azure's defaults.
inline constexpr std::int64_t kAutoMLTrials = 1'000;
inline constexpr std::int64_t kMostAutoMLTrials = 10'000;
// So many of the best trials are put together at most.
inline constexpr std::size_t kInEnsemble = 8;

struct AutoML {
    std::string metric;  // as the trials log it: "AUC_weighted"
    bool maximize = true;
    std::int64_t max_trials = kAutoMLTrials;
    std::int64_t max_concurrent = 1;
    std::optional<Span> timeout;
    std::optional<double> exit_score;
    bool early_termination = true;
    bool voting = true, stacking = true;
    std::string compute;  // name; "serverless" for none
    int priority = 0;
    // Definitions of command jobs. What differs between children of a kind is put into their
    // `inputs`: "index" and, of an ensemble, "method" and one "model_N" for each of its trials.
    Json setup, trial, ensemble;

    bool better(double a, double b) const { return maximize ? a > b : a < b; }
    // No score after it can be better.
    bool is_enough(double score) const {
        return exit_score && (maximize ? score >= *exit_score : score <= *exit_score);
    }
};
Json to_json(const AutoML& automl);
Result<AutoML> automl_from_json(const Json& json);

}  // namespace turnout
