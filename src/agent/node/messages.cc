#include <utility>

#include "agent/node/state.h"

namespace turnout::agent {

void NodeCore::from_server(const ToAgent& message) {
    State& s = *state_;
    if (s.quitting) return;
    std::visit([&](const auto& m) { s.on(m); }, message);
    s.heard();
    s.pump();
}

void NodeCore::unreadable(const AttemptId& id, const std::string& why) {
    State& s = *state_;
    if (s.quitting) return;
    s.refuse(id, "the node cannot read what it was told of this job: " + why);
    s.heard();
    s.pump();
}

void NodeCore::State::on(const Welcome& welcome) {
    lost_after = welcome.lost_node_after;
    welcomed = true;
    contact_recorded.reset();
    hello_at.reset();
    int slots = welcome.max_running > 0 ? welcome.max_running : max_running;
    if (std::exchange(max_running, slots) != slots && listed) emit(effect::SetSlots{slots});
    for (Attempt* attempt : attempts.in_order()) {
        for (auto& [name, stream] : attempt->streams) {
            stream.sent = stream.acked;
            stream.resend_at.reset();
            stream.unanswered = false;
        }
        attempt->flushed_at = now();
        report(*attempt->id, *attempt);
        attempts.touch(*attempt);
    }
}

Result<TaskSpec> NodeCore::State::task_of(const Lease& lease) {
    TaskSpec task;
    if (lease.base.empty()) {
        task = TURNOUT_TRY(task_from_json(lease.task));
    } else {
        const Bases::Kept* base = bases.find(lease.base);
        if (!base)
            return not_found("the server did not send its base '" + lease.base + "'", lease.base);
        task = TURNOUT_TRY(base->task);
        task = TURNOUT_TRY(expand_task(std::move(task), lease.task, lease.id));
    }
    if (task.command.empty()) return invalid("it has no command");
    if (task.service && service_port(task) == 0)
        return internal(
            "no port of the machine is free for it: the server gives those from 20000 to 29999");
    return task;
}

void NodeCore::State::on(const Lease& lease) {
    if (auto* known = attempts.find(lease.id)) {
        if (known->lacks_secrets()) {
            known->secrets = lease.secrets;
            known->secrets_gone = known->lacks_secrets();
            attempts.touch(*known);
        }
        return report(lease.id, *known);
    }
    if (buried.contains(lease.id)) {
        Ending ending;
        ending.cause = Cause::Internal;
        ending.exit_code = -1;
        ending.message = "this attempt has already ended on this node";
        return send(EndReport{lease.id, std::move(ending)});
    }
    Attempt attempt;
    attempt.boot_id = facts.boot_id;
    attempt.task_json = lease.task;
    attempt.base = lease.base;
    attempt.since = now();
    auto task = task_of(lease);
    if (auto* base = bases.find(lease.base); base && !std::exchange(base->recorded, true))
        record(base_line(lease.base, *base));
    bases.use(lease.base);
    auto& placed = attempts.add(lease.id, std::move(attempt));
    record(lease_line(lease.id, placed));
    if (task) {
        placed.task = std::make_shared<const TaskSpec>(std::move(*task));
        placed.secrets = lease.secrets;
        placed.report_at = now() + kLasting;
        placed.secrets_gone = placed.lacks_secrets();
    } else {
        fail(lease.id, placed, Cause::Internal,
             "the node does not understand this task: " + task.error().message, -1);
    }
}

void NodeCore::State::on(const Cancel& cancel) {
    auto* attempt = attempts.find(cancel.id);
    if (!attempt) {
        Ending ending;
        ending.cause = cancel.cause;
        ending.exit_code = -1;
        ending.message = cancel.cause == Cause::Preempted ? "preempted before it began"
                                                          : "canceled before it began";
        if (!buried.contains(cancel.id)) {
            Attempt ended;
            ended.boot_id = facts.boot_id;
            ended.task_json = Json::object();
            ended.stage = Stage::Ended;
            ended.since = now();
            ended.ending = ending;
            auto& placed = attempts.add(cancel.id, std::move(ended));
            record(lease_line(cancel.id, placed));
            record(ending_line(cancel.id, placed));
            report(cancel.id, placed);
            return;
        }
        return send(EndReport{cancel.id, std::move(ending)});
    }
    if (attempt->stage >= Stage::Flushing) return report(cancel.id, *attempt);
    if (cancel.only_if_waiting) return revoke(cancel.id, *attempt);
    request_stop(cancel.id, *attempt, cancel.cause, cancel.grace);
}

void NodeCore::State::on(const EndAck& ack) {
    auto* attempt = attempts.find(ack.id);
    if (!attempt) return;
    if (attempt->has_process()) {
        // Closed over there while it still runs here: nothing of it may go on.
        if (attempt->discard) return;
        attempt->discard = true;
        record(end_ack_line(ack.id, false));
        request_stop(ack.id, *attempt, Cause::NodeLost, Span::zero());
        return;
    }
    if (attempt->live()) emit(effect::Abort{ack.id});
    forget(ack.id);
}

void NodeCore::State::on(const Reach& reach) {
    const auto* attempt = attempts.find(reach.id);
    effect::OpenChannel open{reach.channel, 0, "it is not on its node"};
    if (attempt && attempt->task && attempt->task->service) {
        if (attempt->stage != Stage::Running || attempt->stop)
            open.why = "it does not run";
        else
            open.port = service_port(*attempt->task);
    }
    emit(std::move(open));
}

void NodeCore::State::on(const Leave&) {
    quitting = true;
    emit(effect::Quit{});
}

void NodeCore::State::refuse(const AttemptId& id, std::string why) {
    if (auto* known = attempts.find(id)) {
        // What was meant is not known: it is not to go on as if nothing was.
        if (known->has_process() || known->stage >= Stage::Outputs) return report(id, *known);
        if (known->issued) emit(effect::Abort{id});
        return fail(id, *known, Cause::Internal, std::move(why), -1);
    }
    if (buried.contains(id)) return;
    Attempt attempt;
    attempt.boot_id = facts.boot_id;
    attempt.task_json = Json::object();
    attempt.since = now();
    auto& placed = attempts.add(id, std::move(attempt));
    record(lease_line(id, placed));
    fail(id, placed, Cause::Internal, std::move(why), -1);
}

}  // namespace turnout::agent
