#include "control/groups.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "control/owners.h"
#include "tracking/run_record.h"

namespace turnout::control {

namespace ap = agent_protocol;

namespace {

// The number in "sweep_12"; nullopt if the name has no such end.
std::optional<std::int64_t> child_number(std::string_view name) {
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

// Of the keys after `key` the first that can be that of a child whose number is less than
// `children`,
// when its digits begin at `from`. So a million jobs of similar names are passed over in few steps.
std::string next_child_key(const std::string& key, std::size_t from, std::int64_t children) {
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
        if (number >= children || leading_zero) return after_all_that_begin_so();
    }
    if (end == key.size()) return key + '\0';
    return key[end] < '0' ? key.substr(0, end) + '0' : after_all_that_begin_so();
}

}  // namespace

// Children get the names of no other jobs: a job that comes later is refused if a group that lives
// may have that name for a child, and a group if a job that is there has one of its children's.
Result<void> Groups::check_names(const JobSubmission& job, std::int64_t children) {
    if (const auto number = child_number(job.name)) {
        const auto group =
            by_key.find(row_key(job.workspace, job.name.substr(0, job.name.rfind('_'))));
        if (group != by_key.end() && *number < group->second.limits.max_total) {
            const JobKind& kind = kind_of(group->second.job->type);
            return fail(Code::Conflict, "ResourceExists",
                        "'" + job.name + "' is the name of a " + std::string(kind.child) + " of " +
                            std::string(kind.noun) + " '" + std::string(group->second.job->name()) +
                            "': choose another name",
                        "name");
        }
    }
    if (children == 0) return {};
    const std::string noun(kind_of(job.type).noun), child(kind_of(job.type).child);
    if (const std::size_t longest = child_name(job.name, children - 1).size();
        longest > kMaxJobName)
        return invalid("the name of the " + noun + " has " + std::to_string(job.name.size()) +
                           " characters: with '_" + std::to_string(children - 1) +
                           "' for its last " + child + " at most " + std::to_string(kMaxJobName) +
                           " are possible",
                       "name");
    const std::string prefix = row_key(job.workspace, job.name) + "_";
    // What the store has may be on its way out, and what is on its way in it does not have yet.
    const auto check = [&](const std::string& other) -> Result<void> {
        const auto number = child_number(other);
        if (!number || *number >= children || other.rfind('_') + 1 != prefix.size() ||
            !TURNOUT_TRY(owners.jobs.find_record(other)))
            return {};
        return fail(Code::Conflict, "ResourceExists",
                    "job '" + other.substr(other.find('/') + 1) + "' exists, and a " + child +
                        " of " + noun + " '" + job.name +
                        "' would have its name: choose another name",
                    "name");
    };
    Range next{prefix + "0", prefix + ":", 1};  // ':' comes after '9'
    for (;;) {
        const std::vector<Record> row = TURNOUT_TRY(store.scan(Table::Job, next));
        if (row.empty()) break;
        TURNOUT_TRY(check(row[0].key));
        next.from = next_child_key(row[0].key, prefix.size(), children);
    }
    for (const Turn* turn : turns.open()) {
        if (!turn) continue;
        for (auto row = turn->new_jobs.lower_bound(prefix);
             row != turn->new_jobs.end() && row->first.starts_with(prefix); ++row)
            TURNOUT_TRY(check(row->first));
    }
    return {};
}

void Groups::add(JobEntry& job, const JobRecord& record, std::unique_ptr<GroupPlan> plan,
                 std::string experiment) {
    GroupState& group = by_key[*job.key];
    group.job = &job;
    job.group = &group;
    group.plan = std::move(plan);
    group.limits = group.plan->limits();
    group.experiment = std::move(experiment);
    group.principal = record.principal;
    group.experiment_name = record.meta.experiment;
    group.facts = facts_of(record, std::chrono::seconds(job.lasts));
    group.facts.type = kFirstJobType;
    group.facts.group = record.name;
    group.facts.derived = true;
    if (const auto& timeout = group.limits.timeout; timeout && !group.plan->stopped()) {
        // By the wall clock, so that a restart does not give it more time.
        const Span left = *timeout - (clock.now() - record.created);
        group.deadline = clock.since_boot() + std::clamp(left, Span{1}, *timeout);
        deadlines_.emplace(group.deadline, job.handle);
    }
    touched_.insert(job.handle);
}

Result<void> Groups::recover(JobEntry& job) {
    const std::optional<Record> row = TURNOUT_TRY(store.get(Table::Job, *job.key));
    if (!row) return internal("stored job '" + *job.key + "' without its definition");
    const Json json = TURNOUT_TRY(parse_json(row->value));
    const JobRecord record = TURNOUT_TRY(job_from_json(json));
    std::unique_ptr<GroupPlan> plan = TURNOUT_TRY(
        owners.kinds.of(record.type).plan({record.definition, record.plan}, record.name));
    const std::optional<Record> state = TURNOUT_TRY(store.get(Table::JobState, *job.key));
    if (state) {
        const Json document = TURNOUT_TRY(parse_json(state->value));
        TURNOUT_TRY(plan->recover(document.at(kGroupProgress)));
    }
    const ap::TaskSpec task = TURNOUT_TRY(read_task(store, record));
    add(job, record, std::move(plan), task.mlflow_experiment_id);
    return {};
}

// What children had logged before the restart. The plan's answers are known, and were carried out,
// but perhaps for what each child logged last: that is asked again when all else is there.
Result<void> Groups::recover_metrics(GroupState& group) {
    const std::string metric(group.plan->metric());
    if (metric.empty()) return {};
    std::vector<std::pair<std::int64_t, double>> latest;
    const auto read = [&](std::int64_t index, bool lives) {
        const std::string prefix = metric_prefix(
            row_key(group.job->workspace(), child_name(group.job->name(), index)), metric);
        return each_row(store, Table::Metric, with_prefix(prefix),
                        [&, index, lives](const Record& row) -> Result<void> {
                            const double value = TURNOUT_TRY(decode_metric(metric, row)).value;
                            if (!lives) {
                                group.plan->observe(index, value);
                                return {};
                            }
                            if (latest.empty() || latest.back().first != index)
                                latest.emplace_back(index, value);
                            else
                                group.plan->observe(index,
                                                    std::exchange(latest.back().second, value));
                            group.read_to[index] = row.key;
                            return {};
                        });
    };
    const std::int64_t created = group.plan->created();
    for (std::int64_t index = group.plan->remembers_ended() ? 0 : created; index < created;
         ++index) {
        if (group.live.contains(index)) continue;
        TURNOUT_TRY(read(index, false));
        group.plan->forget(index);
    }
    for (const auto& [index, child] : group.live) TURNOUT_TRY(read(index, true));
    for (const auto& [index, value] : latest)
        if (group.plan->observe(index, value)) group.given_up.insert(index);
    return {};
}

void Groups::drop(const std::string& job_key) {
    const auto found = by_key.find(job_key);
    if (found == by_key.end()) return;
    const Handle handle = found->second.job->handle;
    if (found->second.deadline != Span{}) deadlines_.erase({found->second.deadline, handle});
    touched_.erase(handle);
    by_key.erase(found);
}

// As somebody asked for it.
void Groups::cancel(GroupState& group, const std::string& why) {
    group.plan->stop(GroupPlan::Stop::Canceled);
    stop(group, why);
}

void Groups::add_to_state(const JobEntry& job, std::string& row) {
    const auto add = [&](std::string_view member, const Json& value) {
        row.back() = ',';
        row += "\"" + std::string(member) + "\":" + value.dump() + "}";
    };
    if (!job.is_child())
        add(kGroupProgress, job.group->plan->progress());
    else if (const auto score = job.group->scores.extract(job.index))
        add("score", Json(score.mapped()));
}

// ---- children ----

JobFacts Groups::derived_facts(const GroupState& group, std::int64_t index, Instant created) {
    JobFacts facts = group.facts;
    facts.index = index;
    facts.created = created;
    Json pairs = Json::array();
    for (auto& [name, value] : group.plan->parameters(index))
        pairs.push(Json::array({std::move(name), std::move(value)}));
    facts.own = Json::object({{"parameters", std::move(pairs)}});
    return facts;
}

void Groups::make_children(GroupState& group, std::vector<NextChild> next) {
    if (next.empty()) return;
    JobEntry& job = *group.job;
    for (NextChild& one : next) make_child(group, std::move(one));
    turns.gathering.states.insert(*job.key);
    if (job.state.status != JobStatus::Queued) return;
    job.state.status = JobStatus::Running;
    job.state.started = clock.now();
    owners.events.of_job(job, "running");
}

void Groups::make_child(GroupState& group, NextChild next) {
    TURNOUT_CHECK(next.index < group.limits.max_total &&
                      static_cast<std::int64_t>(group.live.size()) < group.limits.max_concurrent,
                  "a group makes no more children than it said: " + *group.job->key);
    JobSubmission child;
    child.workspace = group.job->workspace();
    child.name = child_name(group.job->name(), next.index);
    child.created = clock.now();
    child.meta.display_name = child.name;
    ChildOf of;
    of.group = group.facts.group;
    of.index = next.index;
    JobFacts facts;
    std::string gone;  // what it would run on
    if (next.own) {
        TURNOUT_CHECK(next.own->role != kTrial, "a trial has no definition of its own");
        of.role = std::move(next.own->role);
        of.parameters = std::move(next.own->parameters);
        child.definition = std::move(next.own->definition);
        if (!next.own->display_name.empty())
            child.meta.display_name = std::move(next.own->display_name);
        child.meta.experiment = group.experiment_name;
        child.compute = next.own->compute.empty() ? group.job->compute->compute.name
                                                  : std::move(next.own->compute);
        if (child.compute == "serverless") {
            owners.computes.serverless(child.workspace);
        } else if (const auto at =
                       owners.computes.by_key.find(row_key(child.workspace, child.compute));
                   at == owners.computes.by_key.end() || at->second.compute.deleting) {
            gone = "compute '" + child.compute + "' does not exist any more";
            child.compute = group.job->compute->compute.name;
        }
        child.principal = group.principal;
        child.priority = next.own->priority;
    } else {
        of.role = kTrial;
        facts = derived_facts(group, next.index, child.created);
        for (const Json& pair : facts.own.at("parameters").items())
            of.parameters.members().emplace_back(pair.items()[0].as_string(), pair.items()[1]);
    }
    // Its run is found by searches from the first; the run's row is made when something is logged.
    child.together.push_back(
        {Table::RunCreated,
         run_created_key(child.workspace, group.experiment, child.created, child.name), "1"});
    JobEntry& made = owners.jobs.add_child(std::move(child), std::move(of), std::move(facts));
    if (!gone.empty())
        owners.jobs.end(made, JobStatus::Failed, ap::Cause::Input, std::move(gone), clock.now());
}

void Groups::ask_for_task(GroupState& group, std::int64_t index) {
    const auto child = group.live.find(index);
    if (child == group.live.end() || child->second->base) return;
    if (!group.asked.insert(index).second) return;
    turns.effect([this, workspace = std::string(child->second->workspace()),
                  name = std::string(child->second->name())] { effects.resolve(workspace, name); });
}

void Groups::child_waits(JobEntry& child, bool waits) {
    child.group->waiting += waits ? 1 : -1;
    if (!waits) touched_.insert(child.group->job->handle);
}

// Its command runs.
void Groups::child_began(JobEntry& child) {
    if (child.group->plan->child_began(child.index))
        turns.gathering.states.insert(*child.group->job->key);
}

void Groups::child_over(JobEntry& child) {
    GroupState& group = *child.group;
    // Of a command that failed its last word says more than its exit code.
    std::string message = child.state.error_message;
    if (const JobAttempt* last = child.state.current();
        last && last->ending && child.state.cause == ap::Cause::UserCode)
        for (auto line = last->ending->last_lines.rbegin(); line != last->ending->last_lines.rend();
             ++line)
            if (const std::string_view words = trim(*line); !words.empty()) {
                message += ": " + std::string(words);
                break;
            }
    const ChildEnd end{child.name(),
                       child.index,
                       child.state.status,
                       child.state.stopped_early,
                       child.state.started.has_value(),
                       child.state.cause,
                       message,
                       [&] { return logged_metrics(child); }};
    const ChildOutcome outcome = group.plan->child_ended(end);
    if (outcome.score) group.scores[child.index] = *outcome.score;
    for (const std::string& words : outcome.words) says(group, words);
    if (!outcome.warning.empty()) owners.events.of_job(*group.job, "warning", outcome.warning);
    group.live.erase(child.index);
    group.read_to.erase(child.index);
    group.given_up.erase(child.index);
    group.asked.erase(child.index);
    turns.gathering.states.insert(*group.job->key);
    touched_.insert(group.job->handle);
}

// Their names; none if the run cannot be read just now, for this is for people only.
std::vector<std::string> Groups::logged_metrics(const JobEntry& child) const {
    std::vector<std::string> names;
    const Result<std::optional<Record>> row = store.get(Table::Run, *child.key);
    if (!row || !*row) return names;
    const Result<RunRecord> run = decode_run(**row);
    if (!run) return names;
    for (const Metric& metric : run->run.latest) names.push_back(metric.key);
    return names;
}

// ---- what comes next ----

void Groups::advance() {
    // While the disk does not take what is written nothing is planned either.
    if (turns.resting()) return;
    while (!touched_.empty()) {
        const auto found = owners.jobs.by_handle.find(*touched_.begin());
        touched_.erase(touched_.begin());
        if (found == owners.jobs.by_handle.end() || is_terminal(found->second->state.status))
            continue;
        JobEntry& job = *found->second;
        GroupState& group = *job.group;
        if (const std::string why = group.plan->gives_up_waiting(); !why.empty())
            cancel_waiting(group, why);
        const Compute& compute = job.compute->compute;
        GroupNext next = group.plan->next({job.state.status != JobStatus::Queued, group.waiting,
                                           compute.max_nodes, compute.jobs_per_node});
        make_children(group, std::move(next.make));
        for (const std::int64_t index : next.resolve) ask_for_task(group, index);
        for (const auto& [index, why] : next.cancel)
            if (const auto child = group.live.find(index); child != group.live.end())
                owners.jobs.request_cancel(*child->second, why);
        for (const std::string& words : next.words) says(group, words);
        const std::optional<GroupEnd>& end = next.end;
        if (end && !group.said_end) says(group, end->message);
        // Its log is complete before it is over: it ends in the turn after the one that says so.
        const bool over = end && std::exchange(group.said_end, true);
        if (!group.lines.empty() || (end && !over) || next.more)
            turns.effect([this, handle = job.handle, again = (end && !over) || next.more,
                          workspace = std::string(job.workspace()), name = std::string(job.name()),
                          log = kind_of(job.type).default_log,
                          lines = std::exchange(group.lines, {})] {
                if (!lines.empty()) effects.group_says(workspace, name, log, lines);
                if (again) touched_.insert(handle);
            });
        if (!over) continue;
        // Why it was stopped comes first.
        std::string message = job.state.error_message.empty()
                                  ? end->message
                                  : job.state.error_message + "; " + end->message;
        owners.jobs.end(job, end->status, end->cause, std::move(message), clock.now());
    }
}

void Groups::says(GroupState& group, const std::string& text) {
    const std::string now = to_iso8601(clock.now());
    group.lines += now.substr(0, 10) + " " + now.substr(11, 8) + " UTC  " + text + "\n";
}

// Ends the children that wait, and tells the others to stop; the group is over when they are.
void Groups::stop(GroupState& group, const std::string& why) {
    const std::map<std::int64_t, JobEntry*> live = group.live;
    for (const auto& [index, child] : live) owners.jobs.request_cancel(*child, why);
    turns.gathering.states.insert(*group.job->key);
    touched_.insert(group.job->handle);
}

void Groups::cancel_waiting(GroupState& group, const std::string& why) {
    const std::map<std::int64_t, JobEntry*> live = group.live;
    for (const auto& [index, child] : live)
        if (!child->state.placed() || !child->state.current()->preparing)
            owners.jobs.request_cancel(*child, why);
}

void Groups::tick() {
    const Span now = clock.since_boot();
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
        const Handle handle = deadlines_.begin()->second;
        deadlines_.erase(deadlines_.begin());
        const auto found = owners.jobs.by_handle.find(handle);
        if (found == owners.jobs.by_handle.end()) continue;
        JobEntry& job = *found->second;
        GroupState& group = *job.group;
        group.deadline = Span{};
        if (is_terminal(job.state.status) || job.state.cancel_requested) continue;
        if (group.plan->time_is_up()) {
            turns.gathering.states.insert(*job.key);
            touched_.insert(job.handle);
            continue;
        }
        group.plan->stop(GroupPlan::Stop::TimedOut);
        job.state.error_message = "the " + std::string(kind_of(job.type).noun) +
                                  " ran out of its time limit of " +
                                  to_words(*group.limits.timeout);
        job.state.status = JobStatus::CancelRequested;
        owners.events.of_job(job, "canceling", job.state.error_message);
        stop(group, job.state.error_message);
    }
}

// ---- a metric that the plan looks at ----

// What is new of that metric of a child that lives. Children that the plan gives up for it are then
// among those given up, even if the rest could not be read.
Result<void> Groups::read_metrics(GroupState& group, JobEntry& child) {
    const std::string metric(group.plan->metric());
    if (metric.empty()) return {};
    Range range = with_prefix(metric_prefix(*child.key, metric));
    if (const auto read = group.read_to.find(child.index); read != group.read_to.end())
        range.from = read->second + '\0';
    return each_row(store, Table::Metric, range, [&](const Record& row) -> Result<void> {
        const double value = TURNOUT_TRY(decode_metric(metric, row)).value;
        if (group.plan->observe(child.index, value)) group.given_up.insert(child.index);
        group.read_to[child.index] = row.key;
        return {};
    });
}

void Groups::stop_given_up(GroupState& group) {
    const std::string why = group.plan->why_given_up();
    for (const std::int64_t index : std::exchange(group.given_up, {})) {
        const auto child = group.live.find(index);
        if (child == group.live.end() || child->second->state.cancel_requested) continue;
        child->second->state.stopped_early = true;
        owners.jobs.request_cancel(*child->second, why);
    }
}

bool Groups::metrics_logged(const std::string& workspace, const std::string& run) {
    JobEntry* const child = owners.jobs.find(workspace, run);
    if (!child || !child->is_child() || is_terminal(child->state.status)) return false;
    GroupState& group = *child->group;
    [[maybe_unused]] const Result<void> read = read_metrics(group, *child);  // else with the next
    if (group.given_up.empty()) return false;
    stop_given_up(group);
    return true;
}

void Groups::compute_changed(const ComputeState& compute) {
    for (const auto& [group_key, group] : by_key)
        if (group.job->compute == &compute) touched_.insert(group.job->handle);
}

std::optional<Span> Groups::next_tick() const {
    if (deadlines_.empty()) return std::nullopt;
    return deadlines_.begin()->first;
}

void Groups::forget() {
    by_key.clear();
    deadlines_.clear();
    touched_.clear();
}

Result<void> Groups::recover_metrics() {
    for (auto& [group_key, group] : by_key) TURNOUT_TRY(recover_metrics(group));
    return {};
}

void Groups::stop_given_up() {
    for (auto& [group_key, group] : by_key) stop_given_up(group);
}

}  // namespace turnout::control
