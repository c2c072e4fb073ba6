// The life of a job: Queued, an attempt on a node, its phases, its end or the next attempt.
#include <algorithm>

#include "control/state.h"

namespace turnout {

namespace ap = agent_protocol;

std::string Control::State::created_key(const JobRecord& record) {
    return record.workspace + "/" + hex16_descending(static_cast<std::uint64_t>(record.created.micros)) + "/" +
           record.name;
}

// The job from memory, or from the store if it ended earlier; null if there is none.
Result<Control::State::JobEntry*> Control::State::load_job(const std::string& job_key) {
    if (const auto found = jobs.find(job_key); found != jobs.end()) return &found->second;
    // The store still has what is being erased.
    if (gathering.erased_jobs.contains(job_key)) return nullptr;
    if (in_flight && in_flight->erased_jobs.contains(job_key)) return nullptr;
    const std::optional<Record> record = TURNOUT_TRY(store.get(Table::Job, job_key));
    if (!record) return nullptr;
    const Json json = TURNOUT_TRY(parse_json(record->value));
    JobEntry entry;
    entry.record = TURNOUT_TRY(job_from_json(json));
    // Every job that lives is in memory, so this one has ended; it is kept until the turn's commit.
    JobEntry& kept = jobs.insert_or_assign(job_key, std::move(entry)).first->second;
    effect([this, job_key] {
        const auto found = jobs.find(job_key);
        if (found != jobs.end() && is_terminal(found->second.record.status) && !gathering.jobs.contains(job_key))
            jobs.erase(found);
    });
    return &kept;
}

void Control::State::enqueue(const std::string& job_key, JobEntry& job) {
    job.order = ++last_order;
    job.waits_in = key(job.record.workspace, job.record.compute);
    computes[job.waits_in].queue.insert({job.order, job_key});
    to_schedule.insert(job.waits_in);
}

void Control::State::dequeue(JobEntry& job) {
    if (job.order == 0) return;
    if (const auto compute = computes.find(job.waits_in); compute != computes.end()) {
        compute->second.queue.erase(job.order);
        to_schedule.insert(job.waits_in);
    }
    job.order = 0;
    job.waits_in.clear();
}

void Control::State::lease(const std::string& job_key, NodeEntry& node) {
    JobEntry& job = jobs.at(job_key);
    dequeue(job);
    JobAttempt attempt;
    attempt.number = job.record.attempts.empty() ? 1 : job.record.attempts.back().number + 1;
    attempt.node = node.node.name;
    attempt.leased = clock.now();
    job.record.attempts.push_back(std::move(attempt));
    job.record.status = JobStatus::Preparing;
    node.node.job = job.record.name;
    node.node.attempt = job.record.attempts.back().number;
    set_state(node, NodeState::Running);
    gathering.jobs.insert(job_key);
    resend(node);
}

void Control::State::resend(NodeEntry& node) {
    const std::string job_key = key(node.node.workspace, node.node.job);
    const JobEntry& job = jobs.at(job_key);
    const ap::AttemptId attempt{node.node.workspace, node.node.job, node.node.attempt};
    const NodeId id = node.node.id();
    if (job.record.cancel_requested) {
        send(id, ap::Cancel{attempt, ap::Cause::Canceled, settings.cancel_grace});
        return;
    }
    effect([this, id, attempt, task = job.record.task]() mutable {
        // While this was on its way to the disk the node may have said Hello anew, and have lost it.
        const auto now = nodes.find(id);
        if (now == nodes.end() || now->second.node.job != attempt.job || now->second.node.attempt != attempt.attempt) return;
        if (settings.run_token) task.run_token = settings.run_token(attempt);
        effects.send(id, ap::Lease{attempt, ap::to_json(task)});
    });
}

void Control::State::request_cancel(const std::string& job_key, JobEntry& job) {
    if (job.record.cancel_requested) return;
    job.record.cancel_requested = true;
    gathering.jobs.insert(job_key);
    const JobAttempt* attempt = job.record.current();
    if (!attempt || attempt->ended) {
        dequeue(job);
        end_job(job_key, job, JobStatus::Canceled, ap::Cause::Canceled, job.record.error_message);
        return;
    }
    job.record.status = JobStatus::CancelRequested;
    send(job.record.workspace + "/" + job.record.compute + "/" + attempt->node,
         ap::Cancel{{job.record.workspace, job.record.name, attempt->number}, ap::Cause::Canceled, settings.cancel_grace});
}

void Control::State::phase_reported(NodeEntry& node, const ap::PhaseReport& report) {
    if (report.id.workspace != node.node.workspace || report.id.job != node.node.job ||
        report.id.attempt != node.node.attempt)
        return;  // of an attempt that is not this node's any more: its EndReport will be answered
    const std::string job_key = key(report.id.workspace, report.id.job);
    const auto found = jobs.find(job_key);
    if (found == jobs.end() || found->second.record.attempts.empty()) return;
    JobRecord& record = found->second.record;
    JobAttempt& attempt = record.attempts.back();
    if (attempt.number != report.id.attempt || attempt.ended || is_terminal(record.status)) return;

    const Instant now = clock.now();
    bool changed = attempt.detail != report.detail;
    attempt.detail = report.detail;
    JobStatus status = record.status;
    const auto reached = [&](std::optional<Instant>& at, Instant when) {
        if (at) return;
        at = std::max(when, attempt.leased);
        changed = true;
    };
    switch (report.phase) {
        case ap::Phase::Ended:  // the EndReport carries it
        case ap::Phase::Finalizing:
            reached(attempt.preparing, now);
            if (report.durations.user_code > Span{}) reached(attempt.running, now - report.durations.user_code);
            reached(attempt.finalizing, now);
            status = JobStatus::Finalizing;
            break;
        case ap::Phase::Running:
            reached(attempt.preparing, now);
            reached(attempt.running, now - report.running_for);
            status = JobStatus::Running;
            break;
        case ap::Phase::Preparing:
            reached(attempt.preparing, now);
            status = JobStatus::Preparing;
            break;
    }
    if (attempt.running && !record.started) record.started = attempt.running;
    if (!record.cancel_requested && status != record.status) {
        record.status = status;
        changed = true;
    }
    if (changed) gathering.jobs.insert(job_key);
}

void Control::State::end_reported(NodeEntry& node, const ap::EndReport& report) {
    const NodeId id = node.node.id();
    const bool current = report.id.workspace == node.node.workspace && report.id.job == node.node.job &&
                         report.id.attempt == node.node.attempt;
    if (current) {
        const std::string job_key = key(report.id.workspace, report.id.job);
        const auto found = jobs.find(job_key);
        if (found != jobs.end() && !found->second.record.attempts.empty() &&
            found->second.record.attempts.back().number == report.id.attempt &&
            !found->second.record.attempts.back().ended) {
            end_attempt(job_key, found->second, report.ending);
        }
    }
    send(id, ap::EndAck{report.id});  // leaves after the commit: only then may the node forget it
}

void Control::State::end_attempt(const std::string& job_key, JobEntry& job, ap::Ending ending) {
    JobRecord& record = job.record;
    JobAttempt& attempt = record.attempts.back();
    const Instant now = clock.now();
    attempt.ended = now;
    attempt.detail.clear();
    if (!attempt.running && ending.durations.user_code > Span{}) {
        attempt.preparing = attempt.preparing.value_or(attempt.leased);
        attempt.running = std::max(attempt.leased, now - ending.durations.outputs - ending.durations.user_code);
        attempt.finalizing = std::max(*attempt.running, now - ending.durations.outputs);
        if (!record.started) record.started = attempt.running;
    }
    const ap::Cause cause = ending.cause;
    const std::string message = ending.message;
    attempt.ending = std::move(ending);

    const NodeId id = record.workspace + "/" + record.compute + "/" + attempt.node;
    if (const auto found = nodes.find(id);
        found != nodes.end() && found->second.node.job == record.name && found->second.node.attempt == attempt.number) {
        NodeEntry& node = found->second;
        node.node.job.clear();
        node.node.attempt = 0;
        node.idle_since = clock.since_boot();
        if (node.node.state == NodeState::Running) set_state(node, NodeState::Idle);
        gathering.nodes.insert(id);
    }
    gathering.jobs.insert(job_key);
    to_schedule.insert(key(record.workspace, record.compute));

    switch (cause) {
        case ap::Cause::None: return end_job(job_key, job, JobStatus::Completed, cause, "");
        case ap::Cause::Canceled:
            return end_job(job_key, job, JobStatus::Canceled, cause, record.error_message);
        case ap::Cause::UserCode:
        case ap::Cause::OutOfMemory:
        case ap::Cause::Timeout:
        case ap::Cause::Environment:
        case ap::Cause::Input:
            if (record.cancel_requested)  // it was told to stop: how it ended is its own matter
                return end_job(job_key, job, JobStatus::Canceled, ap::Cause::Canceled, record.error_message);
            return end_job(job_key, job, JobStatus::Failed, cause, message);
        case ap::Cause::Preempted:
        case ap::Cause::NodeLost:
        case ap::Cause::Internal: break;
    }
    // Not the user's fault: again, within the limit.
    if (record.cancel_requested)
        return end_job(job_key, job, JobStatus::Canceled, ap::Cause::Canceled, record.error_message);
    int failures = 0;
    for (const JobAttempt& one : record.attempts)
        if (one.ending && one.ending->cause != ap::Cause::Preempted) ++failures;
    if (failures >= settings.max_attempts) {
        return end_job(job_key, job, JobStatus::Failed, cause,
                       message + " (" + std::to_string(failures) + " attempts)");
    }
    record.status = JobStatus::Queued;
    enqueue(job_key, job);
}

void Control::State::end_job(const std::string& job_key, JobEntry& job, JobStatus status, ap::Cause cause,
                             std::string message) {
    TURNOUT_CHECK(!is_terminal(job.record.status), "a job ends once: " + job_key);
    job.record.status = status;
    job.record.cause = cause;
    job.record.error_message = std::move(message);
    job.record.ended = std::max(clock.now(), job.record.created);  // the wall clock may have been set back
    gathering.jobs.insert(job_key);
    to_schedule.insert(key(job.record.workspace, job.record.compute));
}

}  // namespace turnout
