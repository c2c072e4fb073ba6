// The life of a sweep: it makes its trials a batch at a time, counts how they end, stops those that
// its policy gives up, and is over when the last of them is.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "control/state.h"
#include "tracking/run_record.h"

namespace turnout {

namespace ap = agent_protocol;

namespace {

// How many trials wait at most, so that no node ever waits for one: with short trials a node holds
// up to 64 behind the one that runs, and new ones are made when half of them are used up.
constexpr std::int64_t kBacklog = 64;
constexpr std::int64_t kMostWaiting = 8'192;

// Larger sweeps tell in their log how far they are, not each trial.
constexpr std::int64_t kToldOneByOne = 500;

std::int64_t useful_waiting(const Compute& compute, const SweepProgress& progress) {
    const std::int64_t nodes = std::max(1, compute.max_nodes);
    const std::int64_t at_once = nodes * std::max(1, compute.jobs_per_node);
    // Before the first has completed no more than the sweep would look at before it gives up.
    if (progress.completed == 0) return std::min(kMostWaiting, 2 * at_once + kInitialFailures);
    return std::min(kMostWaiting, 2 * (at_once + nodes * kBacklog));
}

// The number in "sweep_12"; nullopt if the name has no such end.
std::optional<std::int64_t> trial_number(std::string_view name) {
    const std::size_t bar = name.rfind('_');
    if (bar == std::string_view::npos) return std::nullopt;
    const std::string_view digits = name.substr(bar + 1);
    if (digits.empty() || digits.size() > 7 || (digits.size() > 1 && digits[0] == '0') ||
        digits.find_first_not_of("0123456789") != std::string_view::npos)
        return std::nullopt;
    std::int64_t number = 0;
    for (const char digit : digits) number = number * 10 + (digit - '0');
    return number;
}

// Of the keys after `key` the first that can be that of a trial whose number is less than `trials`,
// when its digits begin at `from`. So a million jobs of similar names are passed over in few steps.
std::string next_trial_key(const std::string& key, std::size_t from, std::int64_t trials) {
    std::int64_t number = 0;
    std::size_t end = from;
    const auto after_all_that_begin_so = [&] {
        std::string next = key.substr(0, end);
        ++next.back();
        return next;
    };
    while (end < key.size() && key[end] >= '0' && key[end] <= '9') {
        number = number * 10 + (key[end++] - '0');
        const bool leading_zero =
            number == 0 && end < key.size() && key[end] >= '0' && key[end] <= '9';
        if (number >= trials || leading_zero) return after_all_that_begin_so();
    }
    if (end == key.size()) return key + '\0';
    return key[end] < '0' ? key.substr(0, end) + '0' : after_all_that_begin_so();
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

// Trials get the names of no other jobs: a job that comes later is refused if a sweep that lives
// may have that name, and a sweep if a job that is there has one of its trials'.
Result<void> Control::State::check_trial_names(const JobSubmission& job, std::int64_t trials) {
    if (const auto number = trial_number(job.name)) {
        const auto sweep = sweeps.find(key(job.workspace, job.name.substr(0, job.name.rfind('_'))));
        if (sweep != sweeps.end() && *number < sweep->second.sweep.limits.max_total_trials)
            return fail(Code::Conflict, "ResourceExists",
                        "'" + job.name + "' is the name of a trial of sweep '" +
                            std::string(sweep->second.job->name()) + "': choose another name",
                        "name");
    }
    if (trials == 0) return {};
    if (const std::size_t longest = trial_name(job.name, trials - 1).size(); longest > kMaxJobName)
        return invalid("the name of the sweep has " + std::to_string(job.name.size()) +
                           " characters: with '_" + std::to_string(trials - 1) +
                           "' for its last trial at most " + std::to_string(kMaxJobName) +
                           " are possible",
                       "name");
    const std::string prefix = key(job.workspace, job.name) + "_";
    // What the store has may be on its way out, and what is on its way in it does not have yet.
    const auto check = [&](const std::string& other) -> Result<void> {
        const auto number = trial_number(other);
        if (!number || *number >= trials || other.rfind('_') + 1 != prefix.size() ||
            !TURNOUT_TRY(find_job(other)))
            return {};
        return fail(Code::Conflict, "ResourceExists",
                    "job '" + other.substr(other.find('/') + 1) +
                        "' exists, and a trial of sweep '" + job.name +
                        "' would have its name: choose another name",
                    "name");
    };
    Range next{prefix + "0", prefix + ":", 1};  // ':' comes after '9'
    for (;;) {
        const std::vector<Record> row = TURNOUT_TRY(store.scan(Table::Job, next));
        if (row.empty()) break;
        TURNOUT_TRY(check(row[0].key));
        next.from = next_trial_key(row[0].key, prefix.size(), trials);
    }
    for (const Turn* turn :
         {const_cast<const Turn*>(&gathering), const_cast<const Turn*>(in_flight.get())}) {
        if (!turn) continue;
        for (auto row = turn->new_jobs.lower_bound(prefix);
             row != turn->new_jobs.end() && row->first.starts_with(prefix); ++row)
            TURNOUT_TRY(check(row->first));
    }
    return {};
}

void Control::State::add_sweep(JobEntry& job, const JobRecord& record, Sweep parsed,
                               SweepProgress progress, std::string experiment) {
    SweepState& sweep = sweeps[*job.key];
    sweep.job = &job;
    job.sweep = &sweep;
    sweep.metrics.emplace(parsed.policy, parsed.objective);
    sweep.sweep = std::move(parsed);
    sweep.progress = progress;
    sweep.experiment = std::move(experiment);
    sweep.facts = facts_of(record);
    sweep.facts.type = JobType::Command;
    sweep.facts.sweep = record.name;
    if (const auto& timeout = sweep.sweep.limits.timeout;
        timeout && !progress.cancel_requested && !progress.timed_out) {
        // By the wall clock, so that a restart does not give it more time.
        const Span left = *timeout - (clock.now() - record.created);
        sweep.deadline = clock.since_boot() + std::clamp(left, Span{1}, *timeout);
        sweep_deadlines.emplace(sweep.deadline, job.handle);
    }
    sweep.told = progress.ended();
    touched_sweeps.insert(job.handle);
}

Result<void> Control::State::recover_sweep(JobEntry& job) {
    const std::optional<Record> row = TURNOUT_TRY(store.get(Table::Job, *job.key));
    if (!row) return internal("stored job '" + *job.key + "' without its definition");
    const Json json = TURNOUT_TRY(parse_json(row->value));
    const JobRecord record = TURNOUT_TRY(job_from_json(json));
    SweepProgress progress;
    const std::optional<Record> state = TURNOUT_TRY(store.get(Table::JobState, *job.key));
    if (state) {
        const Json document = TURNOUT_TRY(parse_json(state->value));
        progress = sweep_progress_from_json(document.at("sweep"));
    }
    const ap::TaskSpec task = TURNOUT_TRY(read_task(store, record));
    add_sweep(job, record, TURNOUT_TRY(parse_sweep(record.definition, record.name)), progress,
              task.mlflow_experiment_id);
    return {};
}

// What the trials had logged before the restart. The policy looks at every history; without one
// only trials that live matter, for the best score is stored. Its answers are known, and were
// carried out, but perhaps for what each trial logged last: that is asked again when all else is
// there.
Result<void> Control::State::recover_metrics(SweepState& sweep) {
    const std::string& metric = sweep.sweep.objective.primary_metric;
    std::vector<std::pair<std::int64_t, double>> latest;
    const std::int64_t from =
        sweep.sweep.policy.kind == EarlyTerminationPolicy::Kind::None ? sweep.progress.created : 0;
    const auto read = [&](std::int64_t index, bool lives) {
        const std::string prefix = metric_prefix(
            key(sweep.job->workspace(), trial_name(sweep.job->name(), index)), metric);
        return each_row(store, Table::Metric, with_prefix(prefix),
                        [&, index, lives](const Record& row) -> Result<void> {
                            const double value = TURNOUT_TRY(decode_metric(metric, row)).value;
                            if (!lives) {
                                sweep.metrics->observe(index, value);
                                return {};
                            }
                            if (latest.empty() || latest.back().first != index)
                                latest.emplace_back(index, value);
                            else
                                sweep.metrics->observe(index,
                                                       std::exchange(latest.back().second, value));
                            sweep.read_to[index] = row.key;
                            return {};
                        });
    };
    for (std::int64_t index = from; index < sweep.progress.created; ++index) {
        if (sweep.live.contains(index)) continue;
        TURNOUT_TRY(read(index, false));
        sweep.metrics->forget(index);
    }
    for (const auto& [index, trial] : sweep.live) TURNOUT_TRY(read(index, true));
    for (const auto& [index, value] : latest)
        if (sweep.metrics->observe(index, value)) sweep.given_up.insert(index);
    return {};
}

void Control::State::drop_sweep(const std::string& job_key) {
    const auto found = sweeps.find(job_key);
    if (found == sweeps.end()) return;
    const Handle handle = found->second.job->handle;
    if (found->second.deadline != Span{}) sweep_deadlines.erase({found->second.deadline, handle});
    touched_sweeps.erase(handle);
    sweeps.erase(found);
}

JobFacts Control::State::trial_facts(const SweepState& sweep, std::int64_t index, Instant created) {
    JobFacts facts = sweep.facts;
    facts.index = index;
    facts.created = created;
    Json pairs = Json::array();
    for (auto& [name, value] : trial_parameters(sweep.sweep, index))
        pairs.push(Json::array({std::move(name), std::move(value)}));
    facts.own = Json::object({{"parameters", std::move(pairs)}});
    return facts;
}

void Control::State::add_trial(SweepState& sweep) {
    const std::int64_t index = sweep.progress.created++;
    JobFacts facts = trial_facts(sweep, index, clock.now());
    JobRecord record;
    record.workspace = sweep.job->workspace();
    record.name = trial_name(sweep.job->name(), index);
    record.meta.display_name = record.name;
    record.created = facts.created;
    record.trial.sweep = facts.sweep;
    record.trial.index = index;
    for (const Json& pair : facts.own.at("parameters").items())
        record.trial.parameters.members().emplace_back(pair.items()[0].as_string(),
                                                       pair.items()[1]);
    const std::string trial_key = key(record.workspace, record.name);
    gathering.definitions[trial_key] = definition_json(record).dump();
    gathering.new_jobs[trial_key] = to_json(facts).dump();
    // Its run is found by searches from the first; the run's row is made when something is logged.
    gathering.together.push_back(
        {Table::RunCreated,
         run_created_key(record.workspace, sweep.experiment, record.created, record.name), "1"});
    JobEntry& trial = add_job(trial_key, std::move(facts), {});
    job_event(trial, "submitted");
    enqueue(trial);
}

void Control::State::trial_waits(JobEntry& trial, bool waits) {
    trial.sweep->waiting += waits ? 1 : -1;
    if (!waits) touched_sweeps.insert(trial.sweep->job->handle);
}

void Control::State::advance_sweeps() {
    // While the disk does not take what is written nothing is planned either.
    if (schedule_not_before != Span{}) return;
    while (!touched_sweeps.empty()) {
        const auto found = job_of.find(*touched_sweeps.begin());
        touched_sweeps.erase(touched_sweeps.begin());
        if (found == job_of.end() || is_terminal(found->second->state.status)) continue;
        JobEntry& job = *found->second;
        SweepState& sweep = *job.sweep;
        const std::int64_t count =
            trials_to_create(sweep.sweep, sweep.progress, sweep.waiting,
                             useful_waiting(job.compute->compute, sweep.progress));
        for (std::int64_t i = 0; i < count; ++i) add_trial(sweep);
        if (count > 0) {
            if (job.state.status == JobStatus::Queued) {
                job.state.status = JobStatus::Running;
                job.state.started = clock.now();
                job_event(job, "running");
                sweep_says(sweep, "sweep of " + with_commas(sweep.sweep.limits.max_total_trials) +
                                      " trials began");
            }
            gathering.states.insert(*job.key);
        }
        const std::optional<SweepEnd> end = sweep_end(sweep.sweep, sweep.progress);
        const std::int64_t total = sweep.sweep.limits.max_total_trials;
        const bool told_one_by_one = total <= kToldOneByOne;
        if ((end && !sweep.said_end) ||
            (!told_one_by_one && sweep.progress.ended() >= sweep.told + total / 100)) {
            sweep.told = sweep.progress.ended();
            sweep_says(sweep, sweep_words(sweep.sweep, sweep.progress));
            if (end && !end->message.empty()) sweep_says(sweep, end->message);
        }
        // Its log is complete before it is over: it ends in the turn after the one that says so.
        const bool over = end && std::exchange(sweep.said_end, true);
        if (!sweep.lines.empty() || (end && !over))
            effect([this, handle = job.handle, again = end && !over,
                    workspace = std::string(job.workspace()), name = std::string(job.name()),
                    lines = std::exchange(sweep.lines, {})] {
                if (!lines.empty()) effects.sweep_says(workspace, name, lines);
                if (again) touched_sweeps.insert(handle);
            });
        if (!over) continue;
        ap::Cause cause = ap::Cause::None;
        if (end->status == JobStatus::Failed) cause = ap::Cause::UserCode;
        if (end->status == JobStatus::Canceled)
            cause = sweep.progress.timed_out ? ap::Cause::Timeout : ap::Cause::Canceled;
        std::string message = end->message.empty() ? job.state.error_message : end->message;
        if (end->status == JobStatus::Failed)
            message += ". See the log of " + trial_name(job.name(), 0);
        end_job(job, end->status, cause, std::move(message), clock.now());
    }
}

// Said when the sweep is looked at next: all of one turn at a time.
void Control::State::sweep_says(SweepState& sweep, const std::string& text) {
    sweep.lines += to_iso8601(clock.now()) + " " + text + "\n";
}

void Control::State::trial_over(JobEntry& trial) {
    SweepState& sweep = *trial.sweep;
    const std::optional<double> score = sweep.metrics->best_of(trial.index);
    if (sweep.sweep.limits.max_total_trials <= kToldOneByOne) {
        std::string line =
            std::string(trial.name()) + " " + std::string(name_of(trial.state.status));
        if (score)
            line += ", " + sweep.sweep.objective.primary_metric + " = " + Json(*score).dump();
        for (const auto& [name, value] : trial_parameters(sweep.sweep, trial.index))
            line += ", " + name + ": " + value;
        if (!trial.state.error_message.empty()) line += " (" + trial.state.error_message + ")";
        sweep_says(sweep, line);
    }
    sweep.live.erase(trial.index);
    sweep.read_to.erase(trial.index);
    sweep.given_up.erase(trial.index);
    sweep.metrics->forget(trial.index);
    trial_ended(sweep.sweep, sweep.progress, trial.index, trial.state.status, score,
                trial.state.stopped_early);
    gathering.states.insert(*sweep.job->key);
    touched_sweeps.insert(sweep.job->handle);
}

// Ends the trials that wait, and tells the others to stop; the sweep is over when they are.
void Control::State::stop_sweep(SweepState& sweep, const std::string& why) {
    const std::map<std::int64_t, JobEntry*> live = sweep.live;
    for (const auto& [index, trial] : live) request_cancel(*trial, why);
    gathering.states.insert(*sweep.job->key);
    touched_sweeps.insert(sweep.job->handle);
}

void Control::State::time_out_sweeps() {
    const Span now = clock.since_boot();
    while (!sweep_deadlines.empty() && sweep_deadlines.begin()->first <= now) {
        const Handle handle = sweep_deadlines.begin()->second;
        sweep_deadlines.erase(sweep_deadlines.begin());
        const auto found = job_of.find(handle);
        if (found == job_of.end()) continue;
        JobEntry& job = *found->second;
        job.sweep->deadline = Span{};
        if (is_terminal(job.state.status) || job.state.cancel_requested) continue;
        job.sweep->progress.timed_out = true;
        job.state.error_message =
            "the sweep ran out of its time limit of " + to_words(*job.sweep->sweep.limits.timeout);
        job.state.status = JobStatus::CancelRequested;
        job_event(job, "canceling", job.state.error_message);
        stop_sweep(*job.sweep, job.state.error_message);
    }
}

// What is new of the primary metric of a trial that lives. Trials that the policy stops for that
// are then among those given up, even if the rest could not be read.
Result<void> Control::State::read_metrics(SweepState& sweep, JobEntry& trial) {
    const std::string& metric = sweep.sweep.objective.primary_metric;
    Range range = with_prefix(metric_prefix(*trial.key, metric));
    if (const auto read = sweep.read_to.find(trial.index); read != sweep.read_to.end())
        range.from = read->second + '\0';
    return each_row(store, Table::Metric, range, [&](const Record& row) -> Result<void> {
        const double value = TURNOUT_TRY(decode_metric(metric, row)).value;
        if (sweep.metrics->observe(trial.index, value)) sweep.given_up.insert(trial.index);
        sweep.read_to[trial.index] = row.key;
        return {};
    });
}

void Control::State::stop_given_up(SweepState& sweep) {
    const std::string why = "stopped early by the sweep's " +
                            std::string(policy_words(sweep.sweep.policy.kind)) + " policy";
    for (const std::int64_t index : std::exchange(sweep.given_up, {})) {
        const auto trial = sweep.live.find(index);
        if (trial == sweep.live.end() || trial->second->state.cancel_requested) continue;
        trial->second->state.stopped_early = true;
        request_cancel(*trial->second, why);
    }
}

void Control::metrics_logged(const std::string& workspace, const std::string& run) {
    State& s = *state_;
    if (s.broken) return;
    const auto found = s.jobs.find(State::key(workspace, run));
    if (found == s.jobs.end() || !found->second.is_trial() ||
        is_terminal(found->second.state.status))
        return;
    State::SweepState& sweep = *found->second.sweep;
    [[maybe_unused]] const Result<void> read =
        s.read_metrics(sweep, found->second);  // else with the next value
    if (sweep.given_up.empty()) return;
    s.stop_given_up(sweep);
    s.end_turn();
}

}  // namespace turnout
