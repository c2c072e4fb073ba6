// Pictures of the pages as SVG, made here: the pages load nothing, and show as much without script.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/portal/html.h"
#include "model/job.h"
#include "tracking/tracking.h"

namespace turnout::api::portal {

std::string number_words(double value);  // "0.25", six digits; "NaN", "∞"
std::string fixed_words(double value);   // "12.3", for coordinates

// A metric's course.
Html line_chart(const std::vector<Metric>& points);

// A trial as the page of its sweep knows it.
struct TrialRow {
    std::int64_t index = 0;
    std::string name;
    JobStatus status = JobStatus::Queued;
    bool stopped_early = false;
    std::optional<double>
        score;  // the best value of the primary metric; of one that runs the last so far
    std::vector<std::pair<std::string, std::string>> parameters;
    std::optional<Span> took;
    std::string why;   // it failed or was canceled
    std::string link;  // to its own page
};

// Scores over the trials' numbers, with the best so far as a line; trials that failed stand at the
// foot. "" where no trial has a score.
Html score_chart(const std::vector<TrialRow>& trials, std::int64_t total, bool maximize,
                 const std::string& metric);

// A line for each trial with a score through an axis for each parameter, coloured by its score: the
// better, the stronger. "" with fewer than two trials or no parameter that differs.
Html parallel_chart(const std::vector<TrialRow>& trials, bool maximize, const std::string& metric);

}  // namespace turnout::api::portal
