// The life of a job: Queued, an attempt on one node or several, its phases, its end or the next
// attempt.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "control/state.h"

namespace turnout {

namespace ap = agent_protocol;

namespace {

constexpr std::size_t kIdleBases =
    1024;  // tasks of ended jobs that are remembered: the next job's is often one of them

// The same for every rank and every time it is said: each gang of a node's address its own, as far
// as that goes without asking the machine.
int master_port(std::string_view job_key, int attempt) {
    std::uint32_t hash = 2166136261u;
    for (const char c : job_key) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    return 20'000 + static_cast<int>((hash + static_cast<std::uint32_t>(attempt)) % 10'000);
}

}  // namespace

std::string Control::State::created_key(std::string_view workspace, std::string_view name,
                                        Instant created) {
    return std::string(workspace) + "/" +
           hex16_descending(static_cast<std::uint64_t>(created.micros)) + "/" + std::string(name);
}

Control::State::Lease* Control::State::NodeEntry::find(const ap::AttemptId& id) {
    if (id.workspace != node.workspace) return nullptr;
    for (Lease& lease : leases)
        if (lease.attempt == id.attempt && lease.job->name() == id.job) return &lease;
    return nullptr;
}

Result<std::optional<JobRecord>> Control::State::find_job(const std::string& job_key) {
    const auto live = jobs.find(job_key);
    const auto with_state = [&](JobRecord record) {
        if (live != jobs.end()) static_cast<JobState&>(record) = live->second.state;
        return record;
    };
    for (const Turn* turn :
         {const_cast<const Turn*>(&gathering), const_cast<const Turn*>(in_flight.get())}) {
        if (!turn) continue;
        if (const auto row = turn->definitions.find(job_key); row != turn->definitions.end()) {
            const Json json = TURNOUT_TRY(parse_json(row->second));
            JobRecord record = TURNOUT_TRY(job_from_json(json));
            if (!record.trial.sweep.empty())
                if (const auto sweep =
                        TURNOUT_TRY(find_job(key(record.workspace, record.trial.sweep))))
                    join_trial(record, *sweep);
            if (live == jobs.end()) {  // an ended one whose tags just changed
                const std::optional<Record> state =
                    TURNOUT_TRY(store.get(Table::JobState, job_key));
                if (state) {
                    const Json document = TURNOUT_TRY(parse_json(state->value));
                    static_cast<JobState&>(record) = TURNOUT_TRY(job_state_from_json(document));
                }
            }
            return std::optional(with_state(std::move(record)));
        }
        if (turn->erased_jobs.contains(job_key))
            return std::optional<JobRecord>();  // the store still has it
    }
    const std::optional<Record> row = TURNOUT_TRY(store.get(Table::Job, job_key));
    if (!row) return std::optional<JobRecord>();
    StoredJob stored = TURNOUT_TRY(join_job(store, *row));
    return std::optional(with_state(std::move(stored.record)));
}

// Into memory only: the caller puts it into the queue, or on its nodes.
Control::State::JobEntry& Control::State::add_job(std::string job_key, JobFacts facts,
                                                  JobState state) {
    const auto [place, inserted] = jobs.try_emplace(std::move(job_key));
    TURNOUT_CHECK(inserted, "a job is known once: " + place->first);
    JobEntry& job = place->second;
    job.key = &place->first;
    job.handle = ++last_handle;
    job_of[job.handle] = &job;
    job.state = std::move(state);
    const std::string workspace(job.workspace());
    ComputeState& compute = computes[key(workspace, facts.compute)];
    job.compute = &compute;
    if (!is_terminal(job.state.status)) ++compute.live_jobs;
    const std::string base_key = key(workspace, facts.base);
    TaskBase& base = bases[base_key];
    if (base.hash.empty()) {
        base.hash = std::move(facts.base);
        base.workspace = workspace;
        base.number = ++last_base;
    }
    job.base = &base;
    ++base.live_jobs;
    if (base.idle) idle_bases.erase(*std::exchange(base.idle, std::nullopt));
    if (!facts.own.members().empty()) job.own = facts.own.dump();
    if (!facts.sweep.empty())
        if (const auto sweep = sweeps.find(key(workspace, facts.sweep)); sweep != sweeps.end()) {
            job.sweep = &sweep->second;
            sweep->second.live.emplace(facts.index, &job);
        }
    job.index = facts.index;
    job.created = facts.created.micros;
    Handle& sharer = sharers[key(workspace, facts.sharer)];
    if (sharer == 0) {
        sharer = ++last_handle;
        experiment_of[sharer] = facts.sharer.substr(facts.sharer.find('/') + 1);
    }
    job.sharer = sharer;
    job.priority = facts.priority;
    job.nodes = facts.nodes;
    job.type = facts.type;
    return job;
}

void Control::State::drop_job(const std::string& job_key) {
    const auto found = jobs.find(job_key);
    if (found == jobs.end()) return;
    if (found->second.type == JobType::Sweep) drop_sweep(job_key);
    job_of.erase(found->second.handle);
    TaskBase& base = *found->second.base;
    jobs.erase(found);
    if (--base.live_jobs > 0) return;
    base.idle = idle_bases.insert(idle_bases.end(), key(base.workspace, base.hash));
    if (idle_bases.size() <= kIdleBases) return;
    bases.erase(idle_bases.front());
    idle_bases.pop_front();
}

schedule::Demand Control::State::demand_of(const JobEntry& job) {
    schedule::Demand demand;
    demand.nodes = job.nodes;
    demand.priority = job.priority;
    demand.sharer = job.sharer;
    demand.order = job.handle;
    return demand;
}

void Control::State::enqueue(JobEntry& job) {
    job.waits = true;
    if (job.is_trial()) trial_waits(job, true);
    book_waits(*job.compute);
    job.waits_from = job.compute->waits;
    scheduler->add_task(job.handle, job.compute->handle, demand_of(job));
    touched.insert(job.compute);
    plan_wanted = true;
}

void Control::State::dequeue(JobEntry& job) {
    if (!std::exchange(job.waits, false)) return;
    if (job.is_trial()) trial_waits(job, false);
    scheduler->remove_task(job.handle);
    touched.insert(job.compute);
    plan_wanted = true;
}

void Control::State::give(JobEntry& job, const std::vector<Handle>& to) {
    job.waits = false;
    if (job.is_trial()) trial_waits(job, false);
    book_waits(*job.compute);
    JobAttempt attempt;
    attempt.number = ++job.state.last_attempt;
    attempt.leased = clock.now();
    attempt.waited_quota = job.compute->waits.quota - job.waits_from.quota;
    attempt.waited_node_start = job.compute->waits.node_start - job.waits_from.node_start;
    bool at_once = true;
    for (const Handle handle : to) {
        NodeEntry& node = *node_of.at(handle);
        attempt.nodes.push_back(node.node.name);
        if (node.leases.size() >= static_cast<std::size_t>(job.compute->compute.jobs_per_node))
            at_once = false;
    }
    const int number = attempt.number;
    job.state.attempts.push_back(std::move(attempt));
    // One that waits in a node's backlog has no slot yet.
    job.state.status = at_once ? JobStatus::Preparing : JobStatus::Queued;
    gathering.states.insert(*job.key);
    job_event(job, "leased");
    for (std::size_t rank = 0; rank < to.size(); ++rank) {
        NodeEntry& node = *node_of.at(to[rank]);
        node.leases.push_back({&job, number, static_cast<int>(rank)});
        send_lease(node, node.leases.back());
    }
}

// What the node needs to know of a lease: to run it, or that it is to stop.
void Control::State::send_lease(NodeEntry& node, const Lease& lease) {
    const ap::AttemptId attempt{node.node.workspace, std::string(lease.job->name()), lease.attempt};
    const NodeId id = node.node.id();
    if (lease.job->state.cancel_requested)
        return send(id, ap::Cancel{attempt, ap::Cause::Canceled, settings.cancel_grace});
    if (lease.job->state.attempts.back().ending)
        return send(id, ap::Cancel{attempt, ap::Cause::Canceled, Span{}});
    effect([this, id, attempt] {
        // While this was on its way to the disk the node may have said Hello anew, and have lost
        // it.
        const auto now = nodes.find(id);
        const Lease* held = now == nodes.end() ? nullptr : now->second.find(attempt);
        if (!held || held->job->state.cancel_requested) return;
        if (!now->second.welcomed)
            return;  // it said Hello anew: it is given its leases after the Welcome
        NodeEntry& to = now->second;
        JobEntry& job = *held->job;
        std::uint64_t& sent = to.bases[job.base->number];  // 0: never
        if (sent == 0 || to.bases_sent - sent >= ap::kBasesKept) {
            Result<std::optional<Record>> row =
                store.get(Table::TaskBase, key(job.base->workspace, job.base->hash));
            const bool absent = row && !*row,
                       too_large = row && *row && (*row)->value.size() > ap::kMaxJson - 1024;
            if (absent || too_large) {  // and always will be: the node is not to wait for it
                ap::Ending ending;
                ending.cause = absent ? ap::Cause::Internal : ap::Cause::Input;
                ending.exit_code = -1;
                ending.message = absent ? "the job's task is not in the store"
                                        : "the job's task is larger than what a node can be told";
                end_rank(to, *held, std::move(ending));
                return end_turn();
            }
            Result<Json> task =
                !row ? Result<Json>(Failure(row.error())) : parse_json((*row)->value);
            if (!task) {
                // It cannot be read just now: the node is asked to say Hello again, and is told
                // then.
                effects.disconnect(id);
                return;
            }
            sent = ++to.bases_sent;
            if (to.bases.size() > 2 * ap::kBasesKept)  // the node has forgotten half of them
                std::erase_if(to.bases, [&](const auto& one) {
                    return one.second == 0 || to.bases_sent - one.second >= ap::kBasesKept;
                });
            effects.send(id, ap::Base{job.base->hash, std::move(*task)});
        }
        Json own = Json::object();
        if (!job.own.empty())
            if (Result<Json> parsed = parse_json(job.own)) own = std::move(*parsed);
        if (settings.run_token) own.set("run_token", settings.run_token(attempt).reveal());
        if (job.nodes > 1) {
            own.set("rank", held->rank);
            own.set("master_address", "127.0.0.1");
            own.set("master_port", master_port(*job.key, attempt.attempt));
        }
        if (attempt.attempt > 1) own.set("prefill_outputs", true);
        effects.send(id, ap::Lease{attempt, std::move(own), job.base->hash});
    });
}

// To every node of its attempt that has not ended.
void Control::State::tell_stop(const JobEntry& job, ap::Cause cause, Span grace,
                               bool only_if_waiting) {
    if (!job.state.placed()) return;
    const JobAttempt& attempt = job.state.attempts.back();
    for (std::size_t rank = 0; rank < attempt.nodes.size(); ++rank) {
        if (std::find(attempt.ended_ranks.begin(), attempt.ended_ranks.end(),
                      static_cast<int>(rank)) != attempt.ended_ranks.end())
            continue;
        ap::Cancel cancel{
            {std::string(job.workspace()), std::string(job.name()), attempt.number}, cause, grace};
        cancel.only_if_waiting = only_if_waiting;
        send(job.compute->key() + "/" + attempt.nodes[rank], std::move(cancel));
    }
}

void Control::State::preempt(JobEntry& job, std::string_view why) {
    if (std::exchange(job.state.attempts.back().preempting, true)) return;
    gathering.states.insert(*job.key);
    job_event(job, "preempting", why);
    tell_stop(job, ap::Cause::Preempted, settings.preemption_grace);
}

void Control::State::request_cancel(JobEntry& job, const std::string& why) {
    if (job.state.cancel_requested || is_terminal(job.state.status)) return;
    job.state.cancel_requested = true;
    if (!why.empty()) job.state.error_message = why;
    gathering.states.insert(*job.key);
    if (job.type == JobType::Sweep) {
        job.state.status = JobStatus::CancelRequested;
        job_event(job, "canceling");
        job.sweep->progress.cancel_requested = true;
        return stop_sweep(*job.sweep, why);
    }
    if (!job.state.placed()) {
        dequeue(job);
        return end_job(job, JobStatus::Canceled, ap::Cause::Canceled, job.state.error_message,
                       clock.now());
    }
    job.state.status = JobStatus::CancelRequested;
    job_event(job, "canceling");
    tell_stop(job, ap::Cause::Canceled, settings.cancel_grace);
}

void Control::State::phase_reported(NodeEntry& node, const ap::PhaseReport& report) {
    Lease* lease = node.find(report.id);
    if (!lease)
        return;  // of an attempt that is not this node's any more: its EndReport will be answered
    lease->begun = true;
    if (lease->rank != 0) return;  // another one speaks for the job
    JobEntry& job = *lease->job;
    JobAttempt& attempt = job.state.attempts.back();
    const Instant now = clock.now();
    bool changed = attempt.detail != report.detail;
    attempt.detail = report.detail;
    JobStatus status = job.state.status;
    const auto reached = [&](std::optional<Instant>& at, Instant when) {
        if (at) return;
        at = std::max(when, attempt.leased);
        changed = true;
    };
    // What passes quickly is reported late or not at all: its instants follow from the node's
    // durations.
    const ap::Durations& spent = report.durations;
    std::string_view what;
    switch (report.phase) {
        case ap::Phase::Ended:  // the EndReport carries it
        case ap::Phase::Finalizing:
            reached(attempt.finalizing, now - spent.outputs);
            if (spent.user_code > Span{})
                reached(attempt.running, now - spent.outputs - spent.user_code);
            reached(attempt.preparing, now - spent.outputs - spent.user_code - spent.before());
            status = JobStatus::Finalizing;
            what = "finalizing";
            break;
        case ap::Phase::Running:
            reached(attempt.running, now - report.running_for);
            reached(attempt.preparing, *attempt.running - spent.before());
            status = JobStatus::Running;
            what = "running";
            break;
        case ap::Phase::Preparing:
            reached(attempt.preparing, now - spent.before());
            status = JobStatus::Preparing;
            what = "preparing";
            break;
    }
    if (attempt.running && !job.state.started) job.state.started = attempt.running;
    if (!job.state.cancel_requested && status != job.state.status) {
        job.state.status = status;
        changed = true;
        job_event(job, what);
    }
    if (changed) gathering.states.insert(*job.key);
}

void Control::State::end_reported(NodeEntry& node, const ap::EndReport& report) {
    if (const Lease* lease = node.find(report.id)) end_rank(node, *lease, report.ending);
    send(node.node.id(),
         ap::EndAck{report.id});  // leaves after the commit: only then may the node forget it
}

void Control::State::end_rank(NodeEntry& node, Lease lease, ap::Ending ending) {
    JobEntry& job = *lease.job;
    JobAttempt& attempt = job.state.attempts.back();
    const Span now = clock.since_boot();
    std::erase_if(node.leases, [&](const Lease& one) { return one.job == lease.job; });
    // While its command ran it had the node; before, it may only have waited there for its turn.
    std::optional<Span> ran;
    if (ending.exit_code != -1 || ending.durations.user_code > Span{})
        ran = ending.durations.user_code;
    scheduler->left(job.handle, node.handle, now, ran);
    touched.insert(job.compute);
    plan_wanted = true;
    if (attempt.nodes.size() == 1) return end_attempt(job, std::move(ending));

    attempt.ended_ranks.push_back(lease.rank);
    gathering.states.insert(*job.key);
    const bool bad = ending.cause != ap::Cause::None;
    const bool first_bad = bad && !(attempt.ending && attempt.ending->cause != ap::Cause::None);
    if (first_bad) {
        if (!ending.message.empty()) ending.message = node.node.name + ": " + ending.message;
        attempt.ending = ending;
    }
    if (attempt.ended_ranks.size() == attempt.nodes.size()) {
        // Of several good ends the last one's times stand for all.
        ap::Ending last = attempt.ending ? std::move(*attempt.ending) : std::move(ending);
        return end_attempt(job, std::move(last));
    }
    if (!first_bad || job.state.preempting())
        return;  // all of them were told, and have their grace
    // One that fails ends the job: the others would wait for it.
    if (ending.cause == ap::Cause::Preempted)
        preempt(job, ending.message);
    else
        tell_stop(job, ap::Cause::Canceled,
                  job.state.cancel_requested ? settings.cancel_grace : Span(5s));
}

void Control::State::end_attempt(JobEntry& job, ap::Ending ending) {
    JobAttempt& attempt = job.state.attempts.back();
    const Instant now = clock.now();
    attempt.ended = now;
    attempt.detail.clear();
    // What is left of the time between the lease and now was the way of its end to us: it counts as
    // outputs, which it waited for.
    if (const ap::Durations& spent = ending.durations; spent.user_code > Span{}) {
        attempt.preparing = attempt.preparing.value_or(attempt.leased);
        if (!attempt.running)
            attempt.running =
                std::max(attempt.leased, std::min(*attempt.preparing + spent.before(),
                                                  now - spent.outputs - spent.user_code));
        if (!job.state.started) job.state.started = attempt.running;
        if (!attempt.finalizing)
            attempt.finalizing =
                std::max(*attempt.running,
                         std::min(*attempt.running + spent.user_code, now - spent.outputs));
    }
    const ap::Cause cause = ending.cause;
    const std::string message = ending.message;
    // Of several nodes one may have begun without a word of it.
    const bool never_began = attempt.nodes.size() == 1 && !attempt.running && !attempt.preparing;
    attempt.ending = std::move(ending);
    gathering.states.insert(*job.key);

    if (!(cause == ap::Cause::Preempted && never_began)) book_attempt(job, attempt);
    const bool canceled = job.state.cancel_requested;
    switch (cause) {
        case ap::Cause::None: return end_job(job, JobStatus::Completed, cause, "", now);
        case ap::Cause::Canceled:
            return end_job(job, JobStatus::Canceled, cause, job.state.error_message, now);
        case ap::Cause::UserCode:
        case ap::Cause::OutOfMemory:
        case ap::Cause::Timeout:
        case ap::Cause::Environment:
        case ap::Cause::Input:
            if (canceled)  // it was told to stop: how it ended is its own matter
                return end_job(job, JobStatus::Canceled, ap::Cause::Canceled,
                               job.state.error_message, now);
            return end_job(job, JobStatus::Failed, cause, message, now);
        case ap::Cause::Preempted:
        case ap::Cause::NodeLost:
        case ap::Cause::Internal: break;
    }
    // Not the user's fault: again, within the limit.
    if (canceled)
        return end_job(job, JobStatus::Canceled, ap::Cause::Canceled, job.state.error_message, now);
    int failures = 0;
    for (const JobAttempt& one : job.state.attempts)
        if (one.ending && one.ending->cause != ap::Cause::Preempted) ++failures;
    if (failures >= settings.max_attempts)
        return end_job(job, JobStatus::Failed, cause,
                       message + " (" + std::to_string(failures) + " attempts)", now);
    job.state.status = JobStatus::Queued;
    job_event(job, "queued", message);
    // It was only taken out of a node's backlog: as if it had never been given, but for its number,
    // which the node remembers.
    if (cause == ap::Cause::Preempted && never_began) job.state.attempts.pop_back();
    fold_attempts(job.state);
    enqueue(job);
}

void Control::State::end_job(JobEntry& job, JobStatus status, ap::Cause cause, std::string message,
                             Instant at) {
    TURNOUT_CHECK(!is_terminal(job.state.status), "a job ends once: " + *job.key);
    job.state.status = status;
    job.state.cause = cause;
    job.state.error_message = std::move(message);
    job.state.ended = std::max(at, Instant{job.created});  // the wall clock may have been set back
    gathering.states.insert(*job.key);
    touched.insert(job.compute);
    job_event(job, "ended", job.state.error_message);
    --job.compute->live_jobs;
    book_job(job);
    plan_wanted = true;
    effect([this, workspace = std::string(job.workspace()), name = std::string(job.name())] {
        effects.job_ended(workspace, name);
    });
    if (job.is_trial()) trial_over(job);
}

}  // namespace turnout
