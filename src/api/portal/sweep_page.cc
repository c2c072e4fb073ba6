// What the page of a sweep has more than that of a job: how its trials stand, what they scored, the
// best one and its log, and all of them, a page at a time.
#include <algorithm>

#include "api/portal/page.h"
#include "base/text.h"

namespace turnout::api::portal {
namespace {

constexpr std::size_t kMostColumns = 8;  // of parameters
constexpr std::size_t kLongestValue = 80;

Html link_to_trial(const TrialRow& trial) {
    return element("a", {{"href", trial.link}}, trial.name);
}

std::string parameters_of(const TrialRow& trial) {
    std::string out;
    for (const auto& [name, value] : trial.parameters)
        out += (out.empty() ? "" : ", ") + name + ": " + shortened(value, kLongestValue);
    return out;
}

// A bar of how the trials stand, in the colours of their states.
Html counts(const PageData& data) {
    const SweepProgress& progress = data.job.sweep;
    const std::int64_t total = std::max<std::int64_t>(1, data.sweep->total);
    Html bar, legend;
    double x = 0;
    const auto add = [&](std::int64_t count, std::string_view words, const std::string& mark) {
        if (count <= 0) return;
        const double width = 1000.0 * static_cast<double>(count) / static_cast<double>(total);
        bar += element("rect",
                       {{"class", mark},
                        {"x", fixed_words(x)},
                        {"y", "0"},
                        {"width", fixed_words(std::max(width, 1.0))},
                        {"height", "28"}},
                       element("title", with_commas(count) + " " + std::string(words)));
        const Html dot = element(
            "svg", {{"class", "dot"}, {"viewBox", "0 0 10 10"}},
            element("rect", {{"class", mark}, {"width", "10"}, {"height", "10"}, {"rx", "2"}}));
        legend += element("li", dot + words + " " + element("b", with_commas(count)));
        x += width;
    };
    add(progress.completed - progress.without_metric, "completed", "t-good");
    add(progress.without_metric, "completed without the metric", "t-odd");
    add(progress.failed, "failed", "t-bad");
    add(progress.stopped_early, "stopped early", "t-early");
    add(progress.canceled - progress.stopped_early, "canceled", "t-gone");
    add(progress.live(), "waiting or running", "t-live");
    add(data.sweep->total - progress.created,
        is_terminal(data.job.status) ? "never started" : "to come", "t-none");
    return element("h2", with_commas(data.sweep->total) + " trials") +
           element("svg",
                   {{"class", "timeline"},
                    {"viewBox", "0 0 1000 28"},
                    {"preserveAspectRatio", "none"},
                    {"role", "img"},
                    {"aria-label", "how the trials stand"}},
                   bar) +
           element("ul", {{"class", "legend"}}, legend);
}

Html best(const SweepView& view) {
    if (!view.best) return {};
    Html rows = element("tr", element("th", "trial") + element("td", link_to_trial(*view.best)));
    rows += element(
        "tr",
        element("th", view.metric) +
            element("td", element("b", view.best->score ? number_words(*view.best->score) : "")));
    for (const auto& [name, value] : view.best->parameters)
        rows += element("tr", element("th", name) + element("td", value));
    Html out = element("h2", "Best trial (" + view.metric +
                                 (view.maximize ? ", the largest is the best)"
                                                : ", the least is the best)")) +
               element("table", rows);
    if (!view.best_log.empty()) {
        out += element("h3", Html("The end of its log ") + element("small", view.best_log_path));
        out += element("pre", {{"class", "command"}}, plain_text(view.best_log));
    }
    return out;
}

Html pages(const PageData& data) {
    return links_to_pages(data, data.sweep->page, data.sweep->pages,
                          {"newest", "newer", "older", "oldest"});
}

Html rows(const PageData& data) {
    const SweepView& view = *data.sweep;
    if (view.rows.empty()) return {};
    // A column for each parameter, as long as there are few and all trials have the same.
    bool columns = view.rows[0].parameters.size() <= kMostColumns;
    for (const TrialRow& trial : view.rows)
        columns = columns && std::ranges::equal(trial.parameters, view.rows[0].parameters, {},
                                                &std::pair<std::string, std::string>::first,
                                                &std::pair<std::string, std::string>::first);
    Html header = element("th", "trial") + element("th", "status") +
                  element("th", {{"class", "size"}}, view.metric);
    if (columns)
        for (const auto& [name, value] : view.rows[0].parameters) header += element("th", name);
    else
        header += element("th", "parameters");
    header += element("th", "took") + element("th", "why");
    Html out = element("tr", header);
    for (const TrialRow& trial : view.rows) {
        Html cells =
            element("td", link_to_trial(trial)) + element("td", badge(trial.status)) +
            element("td", {{"class", "size"}}, trial.score ? number_words(*trial.score) : "");
        if (columns)
            for (const auto& [name, value] : trial.parameters)
                cells += element("td", shortened(value, kLongestValue));
        else
            cells += element("td", parameters_of(trial));
        cells += element("td", trial.took ? to_words(*trial.took) : "") + element("td", trial.why);
        out += element(
            "tr", {{"class", view.best && trial.index == view.best->index ? "isbest" : ""}}, cells);
    }
    return element("h2", "All trials, the newest first") + pages(data) +
           element("div", {{"class", "scroll"}}, element("table", {{"class", "list"}}, out)) +
           pages(data);
}

}  // namespace

Html sweep_section(const PageData& data) {
    const SweepView& view = *data.sweep;
    Html out = counts(data);
    if (Html scores = score_chart(view.sample, view.total, view.maximize, view.metric);
        !scores.empty()) {
        out += element("h2", "Scores over the trials") + scores;
        if (view.stride > 1)
            out += element("p", {{"class", "more"}},
                           "every " + with_commas(view.stride) + "th trial, and the best");
    }
    if (Html lines = parallel_chart(view.sample, view.maximize, view.metric); !lines.empty())
        out += element("h2", "Parameters and scores") + lines;
    return out + best(view) + rows(data);
}

}  // namespace turnout::api::portal
