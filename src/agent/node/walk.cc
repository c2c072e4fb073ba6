#include <algorithm>
#include <csignal>
#include <utility>

#include "agent/node/state.h"
#include "base/text.h"

namespace turnout::agent {
namespace {
constexpr Span kDetailDelay = 250ms;  // a step shorter than this is not worth a report
constexpr Span kWaiting = 1s;         // nor is a shorter wait for the command before it
constexpr int kAhead = 8;             // so many starts wait at the supervisor for their turn
constexpr Span kRepeatKill = 5s;

// Who has to act when a step before the command failed.
Cause cause_of(Stage stage, const Error& error) {
    bool theirs = error.code != Code::Internal && error.code != Code::Unavailable &&
                  error.code != Code::Ambiguous && error.code != Code::ResourceExhausted;
    switch (stage) {
        case Stage::Environment: return theirs ? Cause::Environment : Cause::Internal;
        case Stage::Snapshot:
        case Stage::Inputs: return theirs ? Cause::Input : Cause::Internal;
        default: return Cause::Internal;
    }
}

// The supervisor keeps the time limit, unless it does not work.
Span next_overdue(const Attempt& attempt) {
    if (attempt.task->timeout <= Span::zero()) return Span::max();
    return attempt.overdue
               ? *attempt.overdue + kRepeatKill
               : attempt.running_since + attempt.task->timeout + kTimeoutGrace + kOverdue;
}
}  // namespace

Span NodeCore::State::in_stage(const Attempt& attempt) const {
    return std::max(Span::zero(), now() - attempt.since);
}

void NodeCore::State::enter(const AttemptId& id, Attempt& attempt, Stage stage) {
    book(attempt.durations, attempt.stage, in_stage(attempt));
    Phase before = phase_of(attempt.stage);
    // Whatever follows from a command's end follows again after a restart, since the supervisor
    // knows the end until the attempt is forgotten: no line for what passes quickly. What was
    // decided here, or while it is being stopped, is written down at once.
    bool derived = !attempt.stop && (attempt.has_process() || attempt.record_at);
    attempts.move_to(attempt, stage);
    if (stage > Stage::Running) attempt.readiness.reset();
    if (stage >= Stage::Running) attempt.secrets.clear();
    attempt.since = now();
    attempt.issued = false;
    attempt.detail.clear();
    if (stage >= Stage::Outputs) attempt.ending.durations = attempt.durations;
    if (stage == Stage::Flushing) attempt.flushed_at = now();
    if (stage == Stage::Starting) {
        // The steps before it are repeated after a restart anyway.
        record(stage_line(id, attempt));
    } else if (stage > Stage::Starting) {
        attempt.record_at = now() + kLasting;
        if (!derived) write_down(id, attempt);
    }
    if (stage == Stage::Ended)
        report(id, attempt);
    else if (stage == Stage::Ready)  // in its turn: the server knows how many are before it
        attempt.report_at = now() + kWaiting;
    else if (phase_of(stage) != before)
        attempt.report_at = now() + kLasting;
    else
        attempt.report_at = std::min(attempt.report_at.value_or(Span::max()), now() + kDetailDelay);
}

void NodeCore::State::write_down(const AttemptId& id, Attempt& attempt) {
    if (!std::exchange(attempt.record_at, std::nullopt)) return;
    record(attempt.stage >= Stage::Outputs ? ending_line(id, attempt) : stage_line(id, attempt));
}

void NodeCore::snapshot_done(const AttemptId& id, Result<void> result) {
    state_->step_done(id, Stage::Snapshot, Stage::Environment, result);
}

void NodeCore::environment_done(const AttemptId& id, Result<void> result) {
    state_->step_done(id, Stage::Environment, Stage::Inputs, result);
}

void NodeCore::inputs_done(const AttemptId& id, Result<void> result) {
    state_->step_done(id, Stage::Inputs, Stage::Ready, result);
}

void NodeCore::State::step_done(const AttemptId& id, Stage at, Stage next,
                                const Result<void>& result) {
    auto* attempt = attempts.find(id);
    if (!attempt || attempt->stage != at || quitting) return;
    if (result)
        enter(id, *attempt, next);
    else
        fail(id, *attempt, cause_of(at, result.error()), result.error().message, -1);
    pump();
}

void NodeCore::State::begun(const AttemptId& id, Attempt& attempt, Span started) {
    attempt.revoked = false;
    attempt.running_since = started;
    // One that this life did not ask for may run for long already.
    if (attempt.task->service)
        attempt.readiness.emplace(attempt.task->service->probe, started, attempt.issued);
    enter(id, attempt, Stage::Running);
}

void NodeCore::probed(const AttemptId& id, std::uint64_t number, std::string failure) {
    State& s = *state_;
    auto* attempt = s.attempts.find(id);
    if (!attempt || !attempt->readiness || s.quitting) return;
    if (attempt->readiness->answered(number, failure, s.now())) attempt->report_at = s.now();
    s.pump();
}

void NodeCore::outputs_shipped(const AttemptId& id, Result<void> result) {
    State& s = *state_;
    auto* attempt = s.attempts.find(id);
    if (!attempt || attempt->stage != Stage::Outputs || s.quitting) return;
    if (!result && attempt->ending.cause == Cause::None) {
        bool theirs =
            result.error().code == Code::InvalidArgument || result.error().code == Code::NotFound;
        attempt->ending.cause = theirs ? Cause::UserCode : Cause::Internal;
        attempt->ending.message = clean(result.error().message, kMaxMessage);
    }
    if (!attempt->missing.empty()) add_note(attempt->ending, attempt->missing);
    s.enter(id, *attempt, Stage::Flushing);
    s.pump();
}

void NodeCore::note(const AttemptId& id, std::string missing) {
    State& s = *state_;
    if (auto* attempt = s.attempts.find(id); attempt && attempt->stage == Stage::Outputs)
        attempt->missing = std::move(missing);
}

void NodeCore::progress(const AttemptId& id, std::string detail) {
    State& s = *state_;
    auto* attempt = s.attempts.find(id);
    if (!attempt || attempt->stage >= Stage::Ended || s.quitting) return;
    attempt->detail = clean(detail, kMaxDetail);
    attempt->report_at = std::min(attempt->report_at.value_or(Span::max()), s.now() + kDetailDelay);
}

void NodeCore::State::pump() {
    if (quitting) return;
    check_contact();
    check_supervisor();
    if (attempts.careful() > 0 || !losses.empty())  // who waited for others may be next
        for (Attempt* attempt : attempts.in_order())
            if (attempt->stage == Stage::Starting && !attempt->issued) attempts.touch(*attempt);
    attempts.for_each_touched([&](Attempt& attempt) { step(*attempt.id, attempt); });
    while (listed && attempts.next_ready() && attempts.with_process() < max_running + kAhead) {
        Attempt& first = *attempts.next_ready();
        attempts.touch(first);
        enter(*first.id, first, Stage::Starting);
        step(*first.id, first);
    }
    for (Attempt* attempt : attempts.take_touched()) {
        ship_logs(*attempt->id, *attempt);
        attempts.set_timer(*attempt, next_look(*attempt));
    }
}

void NodeCore::State::step(const AttemptId& id, Attempt& attempt) {
    if (attempt.record_at && now() >= *attempt.record_at) write_down(id, attempt);
    if (welcomed && attempt.report_at && now() >= *attempt.report_at) report(id, attempt);
    if (attempt.stage < Stage::Starting && attempt.stop) {
        bool gone = attempt.discard;
        stop_before_start(id, attempt);
        if (gone) return;
    }
    switch (attempt.stage) {
        case Stage::Snapshot:
            if (!std::exchange(attempt.issued, true)) emit(effect::FetchSnapshot{id});
            break;
        case Stage::Environment:
            if (!std::exchange(attempt.issued, true)) emit(effect::PrepareEnvironment{id});
            break;
        case Stage::Inputs:
            if (!std::exchange(attempt.issued, true)) emit(effect::FetchInputs{id});
            break;
        case Stage::Ready: break;  // it is started in its turn
        case Stage::Starting:
            if (!listed) break;
            if (attempt.issued) {
                signal(id, attempt);
            } else if (attempt.stop) {
                return stop_before_start(id, attempt);
            } else if (attempt.lacks_secrets()) {
                // Else they come with the lease, which the server repeats.
                if (attempt.secrets_gone)
                    fail(id, attempt, Cause::Internal,
                         "the server did not send the job's secrets (" +
                             join(attempt.task->secrets, ", ") + ")",
                         -1);
            } else if (losses.may_ask(attempt, attempts, max_running)) {
                attempt.issued = true;
                emit(effect::StartTask{id, preamble(attempt)});
            }
            break;
        case Stage::Running:
            signal(id, attempt);
            if (listed && !attempt.stop && now() >= next_overdue(attempt)) {
                attempt.overdue = now();
                emit(effect::SignalTask{id, SIGKILL});
            }
            if (listed && attempt.readiness && !attempt.stop && now() >= attempt.readiness->next())
                emit(effect::ProbePort{id, attempt.readiness->ask(), service_port(*attempt.task),
                                       attempt.task->service->probe});
            break;
        case Stage::Outputs: step_outputs(id, attempt); break;
        case Stage::Flushing: step_flushing(id, attempt); break;
        case Stage::Ended: break;
    }
}

void NodeCore::State::step_outputs(const AttemptId& id, Attempt& attempt) {
    const bool to_stop =
        attempt.stop && attempt.ending.cause == Cause::None &&
        (attempt.stop->cause != Cause::Preempted || now() >= attempt.stop->kill_at());
    if (to_stop) {
        Ending stopped = stopped_ending(attempt);
        attempt.ending.cause = stopped.cause;
        attempt.ending.message = stopped.message;
        if (stopped.cause == Cause::NodeLost) {  // another attempt has begun, or soon will
            emit(effect::Abort{id});
            enter(id, attempt, Stage::Flushing);
            return step(id, attempt);
        }
        write_down(id, attempt);
    }
    if (!std::exchange(attempt.issued, true)) emit(effect::ShipOutputs{id});
    if (to_stop) emit(effect::AbandonOutputs{id});
}

std::optional<Span> NodeCore::State::next_look(const Attempt& attempt) const {
    Span next = Span::max();
    auto at = [&](Span when) { next = std::min(next, when); };
    if (attempt.record_at) at(*attempt.record_at);
    if (welcomed && attempt.report_at) at(*attempt.report_at);
    if (attempt.stop && listed && attempt.has_process())
        at(attempt.stop->killed ? *attempt.stop->killed + kRepeatKill : attempt.stop->kill_at());
    if (listed && !attempt.stop && attempt.stage == Stage::Running &&
        next_overdue(attempt) != Span::max())
        at(next_overdue(attempt));
    if (listed && attempt.readiness && !attempt.stop) at(attempt.readiness->next());
    if (attempt.stop && attempt.stage == Stage::Outputs && attempt.ending.cause == Cause::None)
        at(attempt.stop->kill_at());
    at(next_look_at_log(attempt));
    return next == Span::max() ? std::optional<Span>() : next;
}

void NodeCore::State::signal(const AttemptId& id, Attempt& attempt) {
    if (!attempt.stop || !listed) return;
    Stop& stop = *attempt.stop;
    if (now() >= stop.kill_at()) {
        if (stop.killed && now() - *stop.killed < kRepeatKill) return;
        stop.killed = now();
        emit(effect::SignalTask{id, SIGKILL});
    } else if (!std::exchange(stop.termed, true)) {
        emit(effect::SignalTask{id, SIGTERM});
    }
}

}  // namespace turnout::agent
