// What must hold of a job whenever a commit changed it: its attempts, its end, its log, and of a
// sweep or a pipeline its children.
#include <algorithm>

#include "base/text.h"
#include "checker.h"
#include "checker_words.h"
#include "control/jobs.h"
#include "model/automl.h"
#include "model/group.h"
#include "model/sweep.h"

namespace turnout::simulation {

namespace ap = agent_protocol;

namespace {
// For a node: a step that has no task yet waits for others.
bool waits(const JobRecord& job) {
    return !live(job) && !is_terminal(job.status) && job.status != JobStatus::NotStarted;
}
std::string six(int number) {
    const std::string digits = std::to_string(number);
    return std::string(6 - digits.size(), '0') + digits;
}
}  // namespace

void Checker::check_job(const MemoryStore::State& state, const std::string& name, bool told) {
    const auto before = seen_.find(name);
    const JobRecord* found = job(state, name);
    const bool listed_live =
        rows(state, Table::JobLive).contains(std::string(kWorkspace) + "/" + name);
    if (before != seen_.end() && waits(before->second) && before->second.node_count == 1 &&
        before->second.type == JobType::Command) {
        auto& waiting = waiting_[before->second.compute];
        const auto level = waiting.find(scripts.at(name).priority);
        level->second.erase(name);
        if (level->second.empty()) waiting.erase(level);
    }
    if (!found) {
        require(!listed_live,
                [&] { return "job " + name + " is not there but on the list of live ones"; });
        if (before == seen_.end()) return;
        require(may_vanish_.contains(name), [&] { return "job " + name + " vanished"; });
        no_leases(name);
        seen_.erase(before);
        acknowledged_.erase(name);
        return;
    }
    const JobRecord& now = *found;
    const std::string status(name_of(now.status));
    const bool over = is_terminal(now.status);
    const auto script = scripts.find(name);
    if (script == scripts.end()) return violate("job " + name + " was never asked for");
    if (is_replica(name) && !over) {
        const auto service = services_.find(name.substr(0, name.find('.')));
        require(service != services_.end() &&
                    service->second.replicas.contains(std::stoll(name.substr(name.find('.') + 1))),
                [&] { return "replica " + name + " lives, and its service does not know it"; });
    }
    require(listed_live == !over, [&] {
        return "job " + name + " is " + status + " and " + (listed_live ? "" : "not ") +
               "on the list of live ones";
    });
    require(now.ended.has_value() == over,
            [&] { return "job " + name + " is " + status + ", and its end says otherwise"; });
    for (std::size_t i = 0; i < now.attempts.size(); ++i) {
        const JobAttempt& attempt = now.attempts[i];
        require(attempt.number > (i == 0 ? 0 : now.attempts[i - 1].number),
                [&] { return "the attempts of " + name + " are not numbered in order"; });
        require(i + 1 == now.attempts.size() || attempt.ended,
                [&] { return "job " + name + " has two live attempts"; });
        require(!attempt.ended || attempt.ending.has_value(),
                [&] { return "an attempt of " + name + " ended without an ending"; });
        require(attempt.nodes().size() == static_cast<std::size_t>(script->second.nodes), [&] {
            return "an attempt of " + name + " is on " + std::to_string(attempt.nodes().size()) +
                   " nodes, not on " + std::to_string(script->second.nodes);
        });
        require(std::set<std::string>(attempt.nodes().begin(), attempt.nodes().end()).size() ==
                    attempt.nodes().size(),
                [&] { return "two ranks of " + name + " are on one node"; });
    }
    if (now.type == JobType::Sweep)
        check_sweep(state, now);
    else if (now.type == JobType::Pipeline)
        check_pipeline(state, now);
    else if (now.type == JobType::AutoML)
        check_automl(state, now);
    // One that waits in a node's backlog is Queued and has an attempt.
    else
        require(live(now) ? !over
                          : over || now.status == JobStatus::Queued ||
                                (now.status == JobStatus::NotStarted && now.task_base.empty()),
                [&] {
                    return "job " + name + " is " + status + (live(now) ? " with" : " without") +
                           " a live attempt";
                });
    check_nodes_of(state, now);

    Span sum{};
    for (const auto& [entry, span] : ledger(now, now.created + 1000h)) {
        require(span >= Span{}, [&] {
            return "the ledger of " + name + " has less than nothing for " +
                   std::string(name_of(entry));
        });
        sum += span;
    }
    require(sum == now.ended.value_or(now.created + 1000h) - now.created,
            [&] { return "the ledger of " + name + " does not add up"; });

    if (is_replica(name) && now.cancel_requested && were_ready_.contains(name) &&
        now.error_message == words_of(ServicePlan::Stop::Why::Replaced) &&
        (before == seen_.end() || !before->second.cancel_requested))
        replaced_.insert(name.substr(0, name.find('.')));
    if (before != seen_.end()) check_change(before->second, now);
    if (before == seen_.end() || before->second.status != now.status) {
        ++coverage_["status " + status];
        require(told && heard_[name].status == status, [&] {
            return "job " + name + " became " + status + ", and its events say " +
                   (told ? heard_[name].status : "nothing");
        });
    }
    for (std::size_t i = 0; i < now.attempts.size(); ++i) {
        const JobAttempt& attempt = now.attempts[i];
        const bool known = before != seen_.end() && before->second.attempts.size() > i &&
                           before->second.attempts[i].ended;
        if (attempt.ended && !known) check_attempt_end(state, now, attempt);
    }
    if (over && (before == seen_.end() || !is_terminal(before->second.status))) check_end(now);
    count_leases(now);
    if (waits(now) && now.node_count == 1 && now.type == JobType::Command)
        waiting_[now.compute][script->second.priority].insert(name);
    seen_.insert_or_assign(name, now);
}

void Checker::check_nodes_of(const MemoryStore::State& state, const JobRecord& job) {
    if (!live(job)) return;
    const JobAttempt& attempt = *job.current();
    std::set<int> ranks;
    for (const int rank : attempt.ended_ranks) {
        require(rank >= 0 && rank < job.node_count && ranks.insert(rank).second, [&] {
            return "rank " + std::to_string(rank) + " of " + job.name + " ended twice, or is none";
        });
        ++coverage_["a rank ended before the others"];
    }
    require(ranks.size() < attempt.nodes().size(),
            [&] { return "all ranks of " + job.name + " have ended, and the attempt has not"; });
    for (std::size_t rank = 0; rank < attempt.nodes().size(); ++rank) {
        if (has_ended(attempt, rank)) continue;
        const auto there = node(state, node_id(job, attempt.nodes()[rank]));
        // One that does not stop what it was told to stop, does not work or is lost is ended by its
        // provider, with all that is on it, and says why.
        const bool given_up =
            there && there->state == NodeState::Leaving && !there->problem.empty();
        if (given_up &&
            there->problem.find("did not stop job '" + job.name + "'") != std::string::npos)
            ++coverage_["a node was given up with what it did not stop"];
        require(there && (there->state == NodeState::Idle || given_up), [&] {
            return "a node of " + job.name + "'s attempt is not there: " + attempt.nodes()[rank];
        });
    }
}

void Checker::check_change(const JobRecord& then, const JobRecord& now) {
    const std::string& name = now.name;
    for (std::size_t i = 0; i < then.attempts.size(); ++i) {
        const JobAttempt& was = then.attempts[i];
        if (i < now.attempts.size() && now.attempts[i].number == was.number) continue;
        // It was taken out of a backlog before it began, and left no trace but its number.
        require(!was.ended && !was.preparing && now.attempts.size() <= then.attempts.size(), [&] {
            return "attempt " + std::to_string(was.number) + " of " + name + " was forgotten";
        });
        const auto started = starts_.lower_bound({{kWorkspace, name, was.number}, 0});
        require(started == starts_.end() ||
                    started->first.first != AttemptId{kWorkspace, name, was.number},
                [&] {
                    return "attempt " + std::to_string(was.number) + " of " + name +
                           " was forgotten, and it had begun";
                });
        ++coverage_["attempt taken back before it began"];
    }
    require(then.last_attempt <= now.last_attempt,
            [&] { return "the number of an attempt of " + name + " was forgotten"; });
    require(!then.cancel_requested || then.last_attempt == now.last_attempt,
            [&] { return "job " + name + " got a new attempt although it is to be canceled"; });
    require(then.definition == now.definition,
            [&] { return "the definition of " + name + " changed"; });
    require(!then.cancel_requested || now.cancel_requested,
            [&] { return "the wish to cancel " + name + " was forgotten"; });
    for (std::size_t i = 0; i < std::min(then.attempts.size(), now.attempts.size()); ++i) {
        const JobAttempt &was = then.attempts[i], &is = now.attempts[i];
        if (was.number != is.number) continue;  // the last one was taken back, and there is another
        require(was.placement == is.placement && was.leased == is.leased,
                [&] { return "an attempt of " + name + " moved to other nodes"; });
        require(
            std::all_of(was.ended_ranks.begin(), was.ended_ranks.end(),
                        [&](int rank) { return has_ended(is, static_cast<std::size_t>(rank)); }),
            [&] { return "the end of a rank of " + name + " was forgotten"; });
        require(!was.preempting || is.preempting || is.ended,
                [&] { return "that " + name + " is to give way was forgotten"; });
        require(!was.ended || (was.ended == is.ended && was.ending->cause == is.ending->cause),
                [&] { return "an ended attempt of " + name + " changed"; });
    }
    if (is_terminal(then.status))
        require(then.status == now.status && then.ended == now.ended && then.cause == now.cause,
                [&] {
                    return "job " + name + " was " + std::string(name_of(then.status)) +
                           " and became " + std::string(name_of(now.status));
                });
}

// What it counts is what became of its trials, in every durable state.
void Checker::check_sweep(const MemoryStore::State& state, const JobRecord& sweep) {
    const SweepProgress& progress = sweep.sweep;
    const auto before = seen_.find(sweep.name);
    require(before == seen_.end() || before->second.sweep.created <= progress.created,
            [&] { return "trials of " + sweep.name + " were forgotten"; });
    std::int64_t completed = 0, failed = 0, canceled = 0;
    for (std::int64_t index = 0; index < progress.created; ++index) {
        const JobRecord* trial = job(state, trial_name(sweep.name, index));
        require(trial != nullptr, [&] {
            return "trial " + std::to_string(index) + " of " + sweep.name + " is not there";
        });
        if (!trial) continue;
        require(trial->child.index == index, [&] { return trial->name + " is another trial"; });
        completed += trial->status == JobStatus::Completed;
        failed += trial->status == JobStatus::Failed;
        canceled += trial->status == JobStatus::Canceled;
    }
    require(completed == progress.completed && failed == progress.failed &&
                canceled == progress.canceled,
            [&] { return "sweep " + sweep.name + " counts wrong: " + to_json(progress).dump(); });
    if (!is_terminal(sweep.status)) return;
    require(progress.live() == 0,
            [&] { return "sweep " + sweep.name + " is over before its trials"; });
    require(!job(state, trial_name(sweep.name, progress.created)),
            [&] { return "sweep " + sweep.name + " has a trial more than it knows"; });
    const auto total = parse_sweep(sweep.definition, sweep.name)->limits.max_total_trials;
    if (sweep.status == JobStatus::Completed)
        require(progress.completed > 0 && progress.created == total,
                [&] { return "sweep " + sweep.name + " is Completed too early"; });
    if (sweep.status == JobStatus::Failed)
        require(progress.completed == 0 && (progress.created == total || gives_up(progress)),
                [&] { return "sweep " + sweep.name + " Failed too early"; });
    ++coverage_["sweep " + std::string(name_of(sweep.status))];
    require(sweep.status == JobStatus::Canceled || !sweep.error_message.empty(),
            [&] { return "sweep " + sweep.name + " is over, and does not say why"; });
    if (sweep.status != JobStatus::Failed || !environment_fails(progress)) return;
    ++coverage_["sweep Failed in its environment"];
    require(sweep.cause == ap::Cause::Environment, [&] {
        return "sweep " + sweep.name + " failed in its environment, and says " +
               std::string(ap::name_of(sweep.cause));
    });
}

// The same of a pipeline; and that it ends as its steps say.
void Checker::check_pipeline(const MemoryStore::State& state, const JobRecord& pipeline) {
    const SweepProgress& progress = pipeline.sweep;
    const auto total = static_cast<std::int64_t>(pipeline.plan.at("steps").items().size());
    std::int64_t completed = 0, failed = 0, canceled = 0;
    for (std::int64_t index = 0; index < progress.created; ++index) {
        const JobRecord* step = job(state, child_name(pipeline.name, index));
        require(step != nullptr, [&] {
            return "step " + std::to_string(index) + " of " + pipeline.name + " is not there";
        });
        if (!step) continue;
        require(step->child.index == index && step->child.group == pipeline.name,
                [&] { return step->name + " is another step"; });
        completed += step->status == JobStatus::Completed;
        failed += step->status == JobStatus::Failed;
        canceled += step->status == JobStatus::Canceled;
    }
    require(completed == progress.completed && failed == progress.failed &&
                canceled == progress.canceled,
            [&] { return "pipeline " + pipeline.name + " counts wrong"; });
    if (!is_terminal(pipeline.status)) return;
    require(progress.live() == 0,
            [&] { return "pipeline " + pipeline.name + " is over before its steps"; });
    const std::string status(name_of(pipeline.status));
    ++coverage_["pipeline " + status];
    require(pipeline.status != JobStatus::Completed || completed == total,
            [&] { return "pipeline " + pipeline.name + " is Completed, and not all its steps"; });
    require(pipeline.status != JobStatus::Failed || failed > 0,
            [&] { return "pipeline " + pipeline.name + " Failed without a step that did"; });
    require(pipeline.status != JobStatus::Canceled || canceled > 0 ||
                may_be_canceled_.contains(pipeline.name),
            [&] { return "pipeline " + pipeline.name + " is Canceled, and nobody asked for it"; });
    require(completed < total || pipeline.status == JobStatus::Completed ||
                may_be_canceled_.contains(pipeline.name),
            [&] { return "all steps of " + pipeline.name + " completed, and it is " + status; });
}

// The same of one that looks for a model: nothing is tried before the data is there, and no more at
// a time or in all than its limits say.
void Checker::check_automl(const MemoryStore::State& state, const JobRecord& automl) {
    const SweepProgress& progress = automl.sweep;
    const auto limits = *automl_from_json(automl.plan);
    std::int64_t completed = 0, failed = 0, canceled = 0, live = 0;
    for (std::int64_t index = 0; index < progress.created; ++index) {
        const JobRecord* child = job(state, child_name(automl.name, index));
        require(child != nullptr, [&] {
            return "child " + std::to_string(index) + " of " + automl.name + " is not there";
        });
        if (!child) continue;
        require(
            is_of_automl(child->child.role) && (index == 0) == (child->child.role == kAutoMLSetup),
            [&] { return child->name + " is another child"; });
        completed += child->status == JobStatus::Completed;
        failed += child->status == JobStatus::Failed;
        canceled += child->status == JobStatus::Canceled;
        live += !is_terminal(child->status);
    }
    require(completed == progress.completed && failed == progress.failed &&
                canceled == progress.canceled,
            [&] { return "AutoML job " + automl.name + " counts wrong"; });
    require(live <= limits.max_concurrent && progress.created <= limits.max_trials + 3,
            [&] { return "AutoML job " + automl.name + " has more children than it may"; });
    if (progress.created > 1) {
        const JobRecord* setup = job(state, child_name(automl.name, 0));
        require(setup && setup->status == JobStatus::Completed,
                [&] { return automl.name + " tries what was not prepared"; });
    }
    if (!is_terminal(automl.status)) return;
    ++coverage_["AutoML " + std::string(name_of(automl.status))];
    require(live == 0,
            [&] { return "AutoML job " + automl.name + " is over before its children"; });
    require(!automl.error_message.empty(),
            [&] { return "AutoML job " + automl.name + " is over, and does not say why"; });
    require(automl.status != JobStatus::Canceled || may_be_canceled_.contains(automl.name),
            [&] { return "AutoML job " + automl.name + " is Canceled, and nobody asked for it"; });
}

void Checker::check_end(const JobRecord& job) {
    const Script& script = scripts.at(job.name);
    if (is_replica(job.name)) {
        ++coverage_["replica " + std::string(name_of(job.status)) + ": " +
                    std::string(ap::name_of(job.cause))];
        require(job.status != JobStatus::Canceled || !job.error_message.empty() ||
                    may_be_canceled_.contains(job.name),
                [&] { return "replica " + job.name + " is Canceled, and nobody says why"; });
        if (job.status != JobStatus::Failed || job.cause == ap::Cause::UserCode) return;
    }
    if (kind_of(job.type).group && job.status != JobStatus::Canceled) return;  // check_sweep …
    if (!job.plan.is_null()) return;  // a pipeline, or one that looks for a model
    const bool is_step = !job.child.group.empty() && !job.derived();
    // What failed before is looked at with its pipeline.
    if (is_step && job.status == JobStatus::Canceled && job.error_message.starts_with("step '")) {
        ++coverage_["step given up"];
        require(!starts_.contains({AttemptId{kWorkspace, job.name, 1}, 0}) ||
                    job.error_message.ends_with("goes no further"),
                [&] { return "step " + job.name + " began before what it needs"; });
        return;
    }
    require(job.reused_from.empty() || (script.reused && job.status == JobStatus::Completed &&
                                        job.attempts.empty() && !job.recipe.is_null()),
            [&] { return "step " + job.name + " has run, and was given its outputs"; });
    if (!job.reused_from.empty()) ++coverage_["step given its outputs"];
    if (job.status == JobStatus::Completed)
        require(script.exit_code == 0 && script.fails_in == 0 && script.ends_supervisor == 0 &&
                    !script.unreadable && !script.unreadable_end,
                [&] { return "job " + job.name + " fails, and is Completed"; });
    if (job.status == JobStatus::Canceled)
        require(may_be_canceled_.contains(job.name) ||
                    (script.fails_in == 2 && !job.child.group.empty() &&
                     job.error_message.starts_with("not tried: ")),
                [&] { return "job " + job.name + " is Canceled, and nobody asked for it"; });
    if (job.status != JobStatus::Failed) return;
    if (job.cause == ap::Cause::UserCode)
        require(script.exit_code != 0 || script.fails_in == 4,
                [&] { return "job " + job.name + " goes well, and Failed: " + job.error_message; });
    require(job.cause != ap::Cause::Preempted,
            [&] { return "job " + job.name + " Failed because its node was needed elsewhere"; });
    if (job.cause != ap::Cause::NodeLost && job.cause != ap::Cause::Internal) return;
    const auto failures =
        std::count_if(job.attempts.begin(), job.attempts.end(), [](const JobAttempt& one) {
            return one.ending && one.ending->cause != ap::Cause::Preempted;
        });
    require(failures >= 3, [&] {
        return "job " + job.name + " Failed after " + std::to_string(failures) +
               " attempts: " + job.error_message;
    });
}

void Checker::check_attempt_end(const MemoryStore::State& state, const JobRecord& job,
                                const JobAttempt& attempt) {
    const bool gang = attempt.nodes().size() > 1;
    const ap::Cause cause = attempt.ending->cause;
    ++coverage_["attempt " + std::string(gang ? "of several nodes " : "") +
                "ended: " + std::string(ap::name_of(cause))];
    const AttemptId id{kWorkspace, job.name, attempt.number};
    // Which rank of a gang it was that failed first is not recorded; that all went well says it of
    // each.
    if (cause == ap::Cause::UserCode && !gang) check_log(state, job, attempt, 0);
    if (cause == ap::Cause::Timeout) {
        const Span limit = scripts.at(job.name).task.timeout;
        Span ran{};
        for (int rank = 0; rank < static_cast<int>(attempt.nodes().size()); ++rank)
            ran = std::max(ran, ended_[{id, rank}].ran);
        require(limit > Span{} && ran >= limit * 98 / 100,
                [&] { return text(id) + " ended at its time limit after " + to_words(ran); });
    }
    if (cause != ap::Cause::None) return;
    require(!gang || attempt.ended_ranks.size() == attempt.nodes().size(),
            [&] { return text(id) + " ended before all its ranks did"; });
    for (int rank = 0; rank < static_cast<int>(attempt.nodes().size()); ++rank)
        check_log(state, job, attempt, rank);
}

// The whole log of an attempt that ended by itself is durable before its end is.
void Checker::check_log(const MemoryStore::State& state, const JobRecord& job,
                        const JobAttempt& attempt, int rank) {
    const AttemptId id{kWorkspace, job.name, attempt.number};
    const std::string prefix = std::string(kWorkspace) + "/" + job.name + "/" +
                               six(attempt.number) + "/" +
                               percent_encode(log_stream(job.node_count, rank)) + "/";
    std::string durable;
    for (auto row = rows(state, Table::Log).lower_bound(prefix);
         row != rows(state, Table::Log).end() && row->first.starts_with(prefix); ++row) {
        require(row->first == prefix + hex16(durable.size()),
                [&] { return "the log of " + text(id, rank) + " has a gap"; });
        durable += row->second.value;
    }
    const auto written = written_.find({id, rank});
    const std::string truth = written == written_.end() ? "" : written->second;
    // A command that failed has failed, even if the end of its log went down with the machine.
    const bool shortened = attempt.ending->cause != ap::Cause::None &&
                           shortened_.contains({id, rank}) && truth.starts_with(durable);
    require(durable == truth || shortened, [&] {
        return "the log of " + text(id, rank) +
               " is not what it wrote: " + std::to_string(durable.size()) + " of " +
               std::to_string(truth.size()) + " bytes, it ended by " +
               std::string(ap::name_of(attempt.ending->cause)) + ": " + attempt.ending->message;
    });
    const Script& script = scripts.at(job.name);
    if (attempt.ending->cause == ap::Cause::None) {
        std::string all = script.preamble;
        for (int i = 0; i < script.lines; ++i) all += line(id, rank, i);
        require(durable == all, [&] {
            return "the log of " + text(id, rank) +
                   " is not what its script says: it begins with '" + durable.substr(0, 80) +
                   "', not with '" + all.substr(0, 80) + "'";
        });
        ++coverage_[script.nodes > 1 ? "complete log of a rank compared" : "complete log compared"];
    }
    const auto end = ended_.find({id, rank});
    const bool ran = end != ended_.end();
    require(ran || attempt.ending->cause == ap::Cause::UserCode,
            [&] { return text(id, rank) + " never ran, and ended well"; });
    if (!ran || !end->second.by_itself) return;
    require(attempt.ending->exit_code == end->second.exit_code, [&] {
        return text(id, rank) + " ended with " + std::to_string(end->second.exit_code) +
               ", and is recorded with " + std::to_string(attempt.ending->exit_code);
    });
}

}  // namespace turnout::simulation
