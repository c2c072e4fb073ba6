#include <algorithm>

#include "api/history/run_view.h"
#include "api/portal/parts.h"
#include "api/studio_link.h"
#include "base/text.h"
#include "model/sweep.h"

namespace turnout::api::portal {
namespace {

constexpr std::int64_t kTrialsOfPage = 50;
constexpr std::int64_t kTrialsOfPicture = 300;
constexpr std::size_t kBestLogTail = 4 << 10;

// What the page of a sweep has more. Trials are read one by one, so only so many as are shown.
class Trials {
public:
    Trials(Services& services, const Call& call, const JobRecord& job, Sweep sweep)
        : services_(services),
          call_(call),
          job_(job),
          sweep_(std::move(sweep)),
          now_(services.clock.now()) {}

    Result<SweepView> view() {
        SweepView view;
        const std::int64_t created = job_.sweep.created;
        view.metric = sweep_.objective.primary_metric;
        view.maximize = sweep_.objective.maximize;
        view.total = sweep_.limits.max_total_trials;
        view.pages = std::max<std::int64_t>(1, (created + kTrialsOfPage - 1) / kTrialsOfPage);
        view.page = std::clamp<std::int64_t>(
            parse_whole_number(call_.query_value("page")).value_or(1), 1, view.pages);
        const std::int64_t end = created - (view.page - 1) * kTrialsOfPage;
        for (std::int64_t index = end - 1; index >= std::max<std::int64_t>(0, end - kTrialsOfPage);
             --index) {
            view.rows.push_back(TURNOUT_TRY(row(index, true)));
            link(view.rows.back());
        }
        view.stride = (created + kTrialsOfPicture - 1) / kTrialsOfPicture;
        for (std::int64_t index = 0; index < created; ++index)
            if (index % view.stride == 0 || index == job_.sweep.best)
                view.sample.push_back(TURNOUT_TRY(row(index, false)));
        if (job_.sweep.best < 0) return view;
        view.best = TURNOUT_TRY(row(job_.sweep.best, false));
        link(*view.best);
        // The trial's own, not the sweep's; it may have been removed.
        const auto best = TURNOUT_TRY(load_job(services_.store, job_.workspace, view.best->name));
        if (!best) return view;
        view.best_log_path = first_log_of(*best);
        const std::uint64_t length = TURNOUT_TRY(
            services_.tracking.log_length(job_.workspace, view.best->name, view.best_log_path));
        view.best_log = TURNOUT_TRY(end_of_log(services_, job_.workspace, view.best->name,
                                               view.best_log_path, length, kBestLogTail));
        return view;
    }

private:
    Result<TrialRow> row(std::int64_t index, bool with_metric) {
        TrialRow row;
        row.index = index;
        row.name = trial_name(job_.name, index);
        row.parameters = trial_parameters(sweep_, index);
        const auto stored =
            TURNOUT_TRY(services_.store.get(Table::JobState, job_.workspace + "/" + row.name));
        if (stored) {
            const Json document = TURNOUT_TRY(parse_json(stored->value));
            const JobState state = TURNOUT_TRY(job_state_from_json(document));
            row.status = state.status;
            row.stopped_early = state.stopped_early;
            if (const Json& score = document.at("score"); score.is_number())
                row.score = score.as_double();
            if (state.started)
                row.took = std::max(Span{}, state.ended.value_or(now_) - *state.started);
            if (state.cause != agent_protocol::Cause::None)
                row.why = agent_protocol::name_of(state.cause);
            if (!state.error_message.empty())
                row.why += (row.why.empty() ? "" : ": ") + state.error_message;
        }
        if (with_metric && !row.score && row.status == JobStatus::Running)
            if (const auto run = TURNOUT_TRY(services_.tracking.find_run(job_.workspace, row.name)))
                for (const Metric& metric : run->latest)
                    if (metric.key == sweep_.objective.primary_metric) row.score = metric.value;
        return row;
    }
    void link(TrialRow& row) { row.link = link_to_child(services_, call_, job_, row.name); }

    Services& services_;
    const Call& call_;
    const JobRecord& job_;
    Sweep sweep_;
    Instant now_;
};

}  // namespace

std::string link_to_child(Services& services, const Call& call, const JobRecord& group,
                          const std::string& child) {
    const Secret& key = services.authority.link_key();
    // Of a page that was opened by a link: as long and for whom that link was.
    return call.principal.kind == Principal::Kind::User
               ? sign_studio_link(key, group.workspace, child, services.clock.now(),
                                  services.authority.holder(call.principal))
               : sign_studio_link(key, group.workspace, child, call.query_value("se"),
                                  call.query_value("skoid"));
}

Result<void> show_trials(Services& services, const Call& call, PageData& page) {
    Sweep sweep = TURNOUT_TRY(parse_sweep(page.job.definition, page.job.name));
    page.sweep = TURNOUT_TRY(Trials(services, call, page.job, std::move(sweep)).view());
    return {};
}

}  // namespace turnout::api::portal
