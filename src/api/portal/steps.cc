#include <algorithm>

#include "api/portal/parts.h"
#include "base/text.h"
#include "model/group.h"
#include "store/store.h"
#include "tracking/tracking.h"

namespace turnout::api::portal {
namespace {

constexpr std::int64_t kStepsOfPage = 100;
constexpr std::size_t kNamedBefore = 6;

// What became of the child of that index, as far as its state tells.
Result<StepRow> row_of_child(Services& services, const Call& call, const JobRecord& job,
                             std::int64_t index) {
    StepRow row;
    row.job = child_name(job.name, index);
    const auto stored =
        TURNOUT_TRY(services.store.get(Table::JobState, job.workspace + "/" + row.job));
    if (!stored) return row;  // not made yet
    row.link = link_to_child(services, call, job, row.job);
    const Json document = TURNOUT_TRY(parse_json(stored->value));
    const JobState state = TURNOUT_TRY(job_state_from_json(document));
    row.status = state.status;
    if (state.started)
        row.took = std::max(Span{}, state.ended.value_or(services.clock.now()) - *state.started);
    if (state.cause != agent_protocol::Cause::None) row.why = agent_protocol::name_of(state.cause);
    if (!state.error_message.empty())
        row.why += (row.why.empty() ? "" : ": ") +
                   state.error_message.substr(0, state.error_message.find('\n'));
    row.score = document.at("score");
    return row;
}

Result<StepRow> step_row(Services& services, const Call& call, const JobRecord& job,
                         const Json::Array& steps, std::int64_t index) {
    const Json& step = steps[static_cast<std::size_t>(index)];
    StepRow row = TURNOUT_TRY(row_of_child(services, call, job, index));
    row.name = step.at("name").as_string();
    row.compute = step.at("compute").as_string();
    for (const Json& before : step.at("after").items()) {
        const auto other = static_cast<std::size_t>(before.as_int());
        if (other < steps.size()) row.after.push_back(steps[other].at("name").as_string());
    }
    return row;
}

}  // namespace

Result<void> show_steps(Services& services, const Call& call, PageData& page) {
    const Json::Array& steps = page.job.plan.at("steps").items();
    StepsView view;
    view.total = static_cast<std::int64_t>(steps.size());
    view.pages = std::max<std::int64_t>(1, (view.total + kStepsOfPage - 1) / kStepsOfPage);
    view.page = std::clamp<std::int64_t>(parse_whole_number(call.query_value("page")).value_or(1),
                                         1, view.pages);
    const std::int64_t begin = (view.page - 1) * kStepsOfPage;
    for (std::int64_t index = begin; index < std::min(view.total, begin + kStepsOfPage); ++index)
        view.rows.push_back(TURNOUT_TRY(step_row(services, call, page.job, steps, index)));
    page.steps = std::move(view);
    return {};
}

// Of an AutoML job: the newest first, with what each has chosen and its score.
Result<void> show_children(Services& services, const Call& call, PageData& page) {
    StepsView view;
    view.noun = "child";
    const std::int64_t created = page.job.sweep.created;
    view.total = created;
    view.pages = std::max<std::int64_t>(1, (created + kStepsOfPage - 1) / kStepsOfPage);
    view.page = std::clamp<std::int64_t>(parse_whole_number(call.query_value("page")).value_or(1),
                                         1, view.pages);
    const std::int64_t end = created - (view.page - 1) * kStepsOfPage;
    for (std::int64_t index = end - 1; index >= std::max<std::int64_t>(0, end - kStepsOfPage);
         --index) {
        StepRow row = TURNOUT_TRY(row_of_child(services, call, page.job, index));
        row.name = row.job;
        row.compute = shown_compute(page.job.compute);
        if (const auto run = TURNOUT_TRY(services.tracking.find_run(page.job.workspace, row.job)))
            row.name += " " + run->tags.at("run_algorithm").as_string();
        if (row.score.is_number())
            row.why = page.job.plan.at("metric").as_string() + " = " + row.score.dump() +
                      (index == page.job.sweep.best ? ", the best" : "") +
                      (row.why.empty() ? "" : "; " + row.why);
        view.rows.push_back(std::move(row));
    }
    page.steps = std::move(view);
    return {};
}

Html steps_section(const PageData& data) {
    const StepsView& view = *data.steps;
    const Html pages =
        links_to_pages(data, view.page, view.pages, {"first", "before", "next", "last"});
    Html out = element("tr", element("th", view.noun) + element("th", "status") +
                                 element("th", "takes the outputs of") + element("th", "compute") +
                                 element("th", "took") + element("th", "why"));
    for (const StepRow& row : view.rows) {
        std::vector<std::string> after = row.after;
        const std::size_t count = after.size();
        if (count > kNamedBefore) after.resize(kNamedBefore);
        const std::string before =
            join(after, ", ") +
            (count > kNamedBefore ? " and " + std::to_string(count - kNamedBefore) + " more" : "");
        out += element(
            "tr", element("td", row.link.empty() ? Html(row.name)
                                                 : element("a", {{"href", row.link}}, row.name)) +
                      element("td", badge(row.status)) + element("td", before) +
                      element("td", row.compute) +
                      element("td", row.took ? to_words(*row.took) : "") + element("td", row.why));
    }
    const std::string nouns = view.noun == "child" ? "children" : std::string(view.noun) + "s";
    return element("h2", with_commas(view.total) + " " +
                             (view.total == 1 ? std::string(view.noun) : nouns)) +
           pages +
           element("div", {{"class", "scroll"}}, element("table", {{"class", "list"}}, out)) +
           pages;
}

}  // namespace turnout::api::portal
