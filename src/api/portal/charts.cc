#include "api/portal/charts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "base/text.h"

namespace turnout::api::portal {
namespace {

constexpr std::size_t kChartPoints = 400;
constexpr std::size_t kMostAxes = 9;         // of the parallel coordinates, the score's not counted
constexpr std::size_t kMostCategories = 24;  // of one axis
constexpr std::size_t kLabel = 13;           // characters of a label, and '…'

// Where `value` stands between two others, from 0 to 1; without overflow.
double share(double value, double low, double high) {
    return high > low ? (value / 2 - low / 2) / (high / 2 - low / 2) : 0.5;
}

Html words_at(double x, double y, std::string_view kind, const Html& words) {
    return element("text", {{"class", kind}, {"x", fixed_words(x)}, {"y", fixed_words(y)}}, words);
}

Html line(std::string_view kind, double x1, double y1, double x2, double y2) {
    return element("line", {{"class", kind},
                            {"x1", fixed_words(x1)},
                            {"y1", fixed_words(y1)},
                            {"x2", fixed_words(x2)},
                            {"y2", fixed_words(y2)}});
}

std::optional<double> to_number(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
        return std::nullopt;
    return value;
}

bool scored(const TrialRow& trial) {
    return trial.score && std::isfinite(*trial.score);
}

// A parameter's axis: where each value stands on it, from 0 (foot) to 1.
struct Axis {
    std::string name, foot, head;
    std::map<std::string, double, std::less<>> places;
};

Axis axis_of(const std::string& name, const std::vector<const TrialRow*>& trials,
             std::size_t parameter) {
    Axis axis;
    axis.name = name;
    std::map<double, std::string> numbers;
    std::vector<std::string> words;
    for (const TrialRow* trial : trials) {
        if (parameter >= trial->parameters.size()) continue;
        const std::string& value = trial->parameters[parameter].second;
        if (!axis.places.emplace(value, 0.5).second) continue;
        words.push_back(value);
        if (const auto number = to_number(value)) numbers.emplace(*number, value);
    }
    if (words.size() < 2) return {};
    if (numbers.size() == words.size()) {
        const double low = numbers.begin()->first, high = numbers.rbegin()->first;
        // Learning rates and their like are powers of something.
        const bool powers = low > 0 && high / low >= 50;
        const auto scale = [&](double value) { return powers ? std::log(value) : value; };
        for (const auto& [number, value] : numbers)
            axis.places[value] = share(scale(number), scale(low), scale(high));
        axis.foot = numbers.begin()->second;
        axis.head = numbers.rbegin()->second;
        return axis;
    }
    if (words.size() > kMostCategories) return {};
    std::ranges::sort(words);
    for (std::size_t i = 0; i < words.size(); ++i)
        axis.places[words[i]] = static_cast<double>(i) / static_cast<double>(words.size() - 1);
    axis.foot = words.front();
    axis.head = words.back();
    return axis;
}

}  // namespace

std::string number_words(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
    std::array<char, 40> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                   std::chars_format::general, 6)
                         .ptr;
    return {digits.data(), end};
}

std::string fixed_words(double value) {
    std::array<char, 48> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                   std::chars_format::fixed, 1)
                         .ptr;
    return {digits.data(), end};
}

Html line_chart(const std::vector<Metric>& all) {
    constexpr double left = 4, right = 316, top = 16, bottom = 92;
    std::vector<const Metric*> points;
    const std::size_t stride = all.size() / kChartPoints + 1;
    for (std::size_t i = 0; i < all.size(); ++i)
        if ((i % stride == 0 || i + 1 == all.size()) && std::isfinite(all[i].value))
            points.push_back(&all[i]);
    if (points.empty()) return {};
    const bool by_step = points.front()->step != points.back()->step;
    const auto x_of = [&](const Metric& point) {
        return static_cast<double>(by_step ? point.step : point.timestamp_ms);
    };
    double low = points[0]->value, high = low;
    for (const Metric* point : points) {
        low = std::min(low, point->value);
        high = std::max(high, point->value);
    }
    const double from = x_of(*points.front()), to = x_of(*points.back());
    const auto x_at = [&](const Metric& point) {
        return left + share(x_of(point), from, to) * (right - left);
    };
    const auto y_at = [&](double value) {
        return bottom - share(value, low, high) * (bottom - top);
    };
    std::string course;
    for (const Metric* point : points)
        course += fixed_words(x_at(*point)) + "," + fixed_words(y_at(point->value)) + " ";
    Html inside = line("grid", left, top, right, top) + line("grid", left, bottom, right, bottom);
    inside += element("polyline", {{"class", "line"}, {"points", course}});
    inside += element("circle", {{"class", "end"},
                                 {"r", "2.5"},
                                 {"cx", fixed_words(x_at(*points.back()))},
                                 {"cy", fixed_words(y_at(points.back()->value))}});
    inside +=
        words_at(left, 12, "", number_words(high)) + words_at(left, 105, "", number_words(low));
    inside += words_at(right, 105, "range",
                       by_step ? "step " + number_words(from) + " – " + number_words(to)
                               : to_words(Span(static_cast<std::int64_t>((to - from) * 1000))));
    return element("svg", {{"class", "chart"}, {"viewBox", "0 0 320 112"}, {"role", "img"}},
                   inside);
}

Html score_chart(const std::vector<TrialRow>& trials, std::int64_t total, bool maximize,
                 const std::string& metric) {
    constexpr double left = 8, right = 992, top = 24, bottom = 232;
    bool any = false;
    double low = 0, high = 0;
    for (const TrialRow& trial : trials) {
        if (!scored(trial)) continue;
        low = any ? std::min(low, *trial.score) : *trial.score;
        high = any ? std::max(high, *trial.score) : *trial.score;
        any = true;
    }
    if (!any) return {};
    const auto x_at = [&](const TrialRow& trial) {
        return left + share(static_cast<double>(trial.index), 0,
                            static_cast<double>(std::max<std::int64_t>(total - 1, 1))) *
                          (right - left);
    };
    const auto y_at = [&](double value) {
        return bottom - share(value, low, high) * (bottom - top);
    };
    Html marks;
    std::string best_line;
    std::optional<double> best;
    for (const TrialRow& trial : trials) {
        const Html title =
            element("title", trial.name + ": " +
                                 (scored(trial) ? metric + " = " + number_words(*trial.score)
                                                : std::string(name_of(trial.status))));
        if (!scored(trial)) {
            if (trial.status == JobStatus::Failed)
                marks += element("rect",
                                 {{"class", "p-bad"},
                                  {"x", fixed_words(x_at(trial) - 1.5)},
                                  {"y", fixed_words(bottom + 4)},
                                  {"width", "3"},
                                  {"height", "10"}},
                                 title);
            continue;
        }
        if (trial.status == JobStatus::Completed &&
            (!best || (maximize ? *trial.score > *best : *trial.score < *best))) {
            if (best) best_line += fixed_words(x_at(trial)) + "," + fixed_words(y_at(*best)) + " ";
            best = trial.score;
            best_line += fixed_words(x_at(trial)) + "," + fixed_words(y_at(*best)) + " ";
        }
        const std::string_view kind = trial.status == JobStatus::Completed ? "p-good"
                                      : is_terminal(trial.status)          ? "p-gone"
                                                                           : "p-live";
        marks += element("circle",
                         {{"class", kind},
                          {"r", "4"},
                          {"cx", fixed_words(x_at(trial))},
                          {"cy", fixed_words(y_at(*trial.score))}},
                         title);
    }
    Html inside = line("grid", left, top, right, top) + line("grid", left, bottom, right, bottom);
    if (best)
        inside +=
            element("polyline",
                    {{"class", "bestline"},
                     {"points", best_line + fixed_words(right) + "," + fixed_words(y_at(*best))}});
    inside += marks;
    inside += words_at(left, 16, "", metric + " " + number_words(high)) +
              words_at(left, 262, "", number_words(low));
    inside += words_at(right, 262, "range",
                       "trials 0 – " + with_commas(std::max<std::int64_t>(total - 1, 0)));
    return element("svg",
                   {{"class", "wide"},
                    {"viewBox", "0 0 1000 270"},
                    {"role", "img"},
                    {"aria-label", "scores over the trials"}},
                   inside);
}

Html parallel_chart(const std::vector<TrialRow>& trials, bool maximize, const std::string& metric) {
    constexpr double left = 60, right = 940, top = 40, bottom = 232;
    std::vector<const TrialRow*> lines;
    for (const TrialRow& trial : trials)
        if (scored(trial)) lines.push_back(&trial);
    if (lines.size() < 2) return {};
    std::vector<std::pair<std::size_t, Axis>> axes;  // with the parameter's place
    for (std::size_t i = 0; i < lines[0]->parameters.size() && axes.size() < kMostAxes; ++i)
        if (Axis axis = axis_of(lines[0]->parameters[i].first, lines, i); !axis.places.empty())
            axes.emplace_back(i, std::move(axis));
    if (axes.empty()) return {};
    // The best ones last, so that they lie on top.
    std::ranges::stable_sort(lines, [&](const TrialRow* a, const TrialRow* b) {
        return maximize ? *a->score < *b->score : *a->score > *b->score;
    });
    const double worst = *lines.front()->score, best = *lines.back()->score;
    const double low = std::min(worst, best), high = std::max(worst, best);
    const auto x_of = [&](std::size_t axis) {
        return left + static_cast<double>(axis) / static_cast<double>(axes.size()) * (right - left);
    };
    const auto y_of = [&](double place) { return bottom - place * (bottom - top); };
    Html inside;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const TrialRow& trial = *lines[i];
        std::string points;
        for (std::size_t axis = 0; axis < axes.size(); ++axis) {
            const auto& [parameter, scale] = axes[axis];
            if (parameter >= trial.parameters.size()) continue;
            const auto place = scale.places.find(trial.parameters[parameter].second);
            if (place != scale.places.end())
                points += fixed_words(x_of(axis)) + "," + fixed_words(y_of(place->second)) + " ";
        }
        points += fixed_words(right) + "," + fixed_words(y_of(share(*trial.score, low, high)));
        const std::string kind =
            "q q" + std::to_string(std::min<std::size_t>(4, i * 5 / lines.size()));
        inside += element(
            "polyline", {{"class", kind}, {"points", points}},
            element("title", trial.name + ": " + metric + " = " + number_words(*trial.score)));
    }
    const auto draw_axis = [&](double x, const std::string& name, const std::string& foot,
                               const std::string& head) {
        inside += line("axis", x, top, x, bottom);
        inside += words_at(x, 16, "mid name", shortened(name, kLabel)) +
                  words_at(x, 32, "mid", shortened(head, kLabel)) +
                  words_at(x, 250, "mid", shortened(foot, kLabel));
    };
    for (std::size_t axis = 0; axis < axes.size(); ++axis)
        draw_axis(x_of(axis), axes[axis].second.name, axes[axis].second.foot,
                  axes[axis].second.head);
    draw_axis(right, metric, number_words(low), number_words(high));
    return element("svg",
                   {{"class", "wide"},
                    {"viewBox", "0 0 1000 260"},
                    {"role", "img"},
                    {"aria-label", "parameters and scores of the trials"}},
                   inside);
}

}  // namespace turnout::api::portal
