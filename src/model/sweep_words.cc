#include "model/sweep_words.h"

#include <algorithm>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::size_t kMostNamed = 5;  // metrics that one sentence names
constexpr std::size_t kLongestNamed = 60;

// Without case, blanks and what separates words.
std::string plain(std::string_view name) {
    std::string out;
    for (const char c : to_lower(name))
        if (std::string_view(" \t\r\n_-./:").find(c) == std::string_view::npos) out += c;
    return out;
}

}  // namespace

std::string sweep_words(const Sweep& sweep, const SweepProgress& progress) {
    std::string parts;
    const auto add = [&](std::int64_t count, const std::string& what) {
        if (count > 0) parts += (parts.empty() ? ": " : ", ") + with_commas(count) + what;
    };
    add(progress.completed,
        progress.without_metric > 0
            ? " completed (" + with_commas(progress.without_metric) + " without '" +
                  shortened(sweep.objective.primary_metric, kLongestNamed) + "')"
            : " completed");
    add(progress.failed, " failed");
    add(progress.stopped_early, " stopped early");
    add(progress.canceled - progress.stopped_early, " canceled");
    return with_commas(progress.ended()) + " of " + with_commas(sweep.limits.max_total_trials) +
           " trials ended" + parts;
}

std::string sweep_standing(const Sweep& sweep, const SweepProgress& progress) {
    std::string out = sweep_words(sweep, progress);
    if (progress.best < 0 && !progress.metric_problem.empty())
        out += "; " + progress.metric_problem;
    return out;
}

std::string best_words(const Sweep& sweep, const SweepProgress& progress, std::string_view name) {
    if (progress.best < 0) return "";
    return "the best trial is " + trial_name(name, progress.best) + ", " +
           shortened(sweep.objective.primary_metric, kLongestNamed) + " = " +
           Json(progress.best_score).dump();
}

std::string missing_metric_words(const Objective& objective, std::string_view trial,
                                 std::span<const std::string> logged) {
    const std::string& metric = objective.primary_metric;
    std::string out = std::string(trial) + " completed without the primary metric '" +
                      shortened(metric, kLongestNamed) + "': ";
    if (std::ranges::find(logged, metric) != logged.end())
        return out +
               "what it logged under that name is no number that can be compared (NaN or infinite)";
    if (logged.empty()) return out + "it logged no metric at all (mlflow.log_metric does that)";
    // The one that is meant is among those named, however many there are.
    const std::string meant = meant_metric(metric, logged);
    std::vector<std::string> named;
    if (!meant.empty()) named.push_back(shortened(meant, kLongestNamed));
    for (const std::string& name : logged)
        if (name != meant && named.size() < kMostNamed)
            named.push_back(shortened(name, kLongestNamed));
    for (std::string& name : named) name = "'" + name + "'";
    out += "it logged " + join(named, ", ");
    if (logged.size() > named.size())
        out += " and " + with_commas(static_cast<std::int64_t>(logged.size() - named.size())) +
               " more";
    if (!meant.empty()) out += "; did you mean '" + shortened(meant, kLongestNamed) + "'?";
    return out;
}

std::string meant_metric(std::string_view metric, std::span<const std::string> logged) {
    const std::string wanted = plain(metric);
    if (wanted.empty()) return "";
    for (const std::string& name : logged)
        if (plain(name) == wanted) return name;
    if (const auto near = nearest(metric, logged)) return *near;
    const std::string* best = nullptr;  // the one with the least more, or less
    std::size_t least = 0;
    for (const std::string& name : logged) {
        const std::string other = plain(name);
        const std::string& longer = other.size() > wanted.size() ? other : wanted;
        const std::string& shorter = other.size() > wanted.size() ? wanted : other;
        if (shorter.size() < 2 || !(longer.starts_with(shorter) || longer.ends_with(shorter)))
            continue;
        const std::size_t more = longer.size() - shorter.size();
        if (best && more >= least) continue;
        best = &name;
        least = more;
    }
    return best ? *best : "";
}

}  // namespace turnout
