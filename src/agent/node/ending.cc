#include <algorithm>
#include <csignal>
#include <utility>

#include "agent/node/state.h"
#include "agent/ranks.h"
#include "base/text.h"

namespace turnout::agent {
namespace {
std::string signal_words(int signal) {
    switch (signal) {
        case SIGKILL: return "9 (SIGKILL; perhaps the machine ran out of memory)";
        case SIGTERM: return "15 (SIGTERM)";
        case SIGSEGV: return "11 (SIGSEGV)";
        case SIGABRT: return "6 (SIGABRT)";
        case SIGINT: return "2 (SIGINT)";
        default: return std::to_string(signal);
    }
}

std::string memory_words(const TaskExit& exit, std::uint64_t limit, int max_running) {
    const std::string used = to_size_words(
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, exit.peak_memory_bytes)));
    if (exit.by_kernel)
        return "the memory of its container was used up, and the kernel ended the command; it was "
               "seen with " +
               used + " before";
    if (!exit.together)
        return "the command used " + used + " of memory, more than its limit of " +
               to_size_words(limit);
    return "the jobs on its node used more than the node's " + to_size_words(limit) +
           " of memory together, and this one the most of it: " + used + ", where its share is " +
           to_size_words(limit / static_cast<std::uint64_t>(max_running));
}
}  // namespace

void NodeCore::State::request_stop(const AttemptId& id, Attempt& attempt, Cause cause, Span grace) {
    if (attempt.stop && attempt.stop->kill_at() <= now() + grace) return;
    write_down(id, attempt);  // what it had come to by itself
    attempts.touch(attempt);
    Stop stop{attempt.stop ? attempt.stop->cause : cause, now(), grace, false, std::nullopt};
    // A shorter grace replaces a longer one; the first reason stands, except that a person's
    // wish outranks the others.
    if (cause == Cause::Canceled) stop.cause = cause;
    if (attempt.stop) stop.termed = attempt.stop->termed;
    attempt.stop = stop;
    record(stop_line(id, stop));
}

void NodeCore::State::revoke(const AttemptId& id, Attempt& attempt) {
    if (attempt.stop || attempt.stage >= Stage::Running) return;
    if (attempt.stage < Stage::Starting) return end_revoked(id, attempt);
    if (listed && !attempt.issued) return end_revoked(id, attempt);
    // Only the supervisor knows whether it has begun. While it is away, `revoked` waits for its
    // list.
    attempt.revoked = true;
    if (listed && attempt.issued) emit(effect::SignalTask{id, 0});
}

void NodeCore::State::stop_before_start(const AttemptId& id, Attempt& attempt) {
    if (attempt.issued) emit(effect::Abort{id});
    if (attempt.discard) return forget(id);
    attempt.ending = stopped_ending(attempt);
    end_without_outputs(id, attempt);
}

void NodeCore::State::end_revoked(const AttemptId& id, Attempt& attempt) {
    if (attempt.issued) emit(effect::Abort{id});
    attempt.ending = Ending{};
    attempt.ending.cause = Cause::Preempted;
    attempt.ending.exit_code = -1;
    attempt.ending.message = "the node gave it back before it began";
    end_without_outputs(id, attempt);
}

void NodeCore::State::fail(const AttemptId& id, Attempt& attempt, Cause cause, std::string message,
                           int exit_code) {
    attempt.ending = Ending{};
    attempt.ending.cause = cause;
    attempt.ending.exit_code = exit_code;
    attempt.ending.message = clean(message, kMaxMessage);
    attempt.last_words = preamble(attempt) + attempt.ending.message + "\n";
    end_without_outputs(id, attempt);
}

void NodeCore::State::end_without_outputs(const AttemptId& id, Attempt& attempt) {
    enter(id, attempt, Stage::Flushing);
    write_down(id, attempt);  // nobody else knows of it
    if (!attempt.last_words.empty()) say_last_words(id, attempt);
}

Ending NodeCore::State::stopped_ending(const Attempt& attempt) const {
    Ending ending;
    ending.cause = attempt.stop->cause;
    ending.exit_code = -1;
    switch (ending.cause) {
        case Cause::NodeLost:
            ending.message = "the node was out of contact with the server for longer than " +
                             to_words(lost_after) + " and stopped its work";
            break;
        case Cause::Preempted: ending.message = "it was told to give way"; break;
        default: ending.message = "canceled"; break;
    }
    return ending;
}

Ending NodeCore::State::explained(const Attempt& attempt, const TaskExit& exit) const {
    Ending ending;
    if (exit.timed_out || (exit.lost && attempt.overdue)) {
        ending.cause = Cause::Timeout;
        ending.message = "the command ran longer than its limit of " +
                         to_words(attempt.task->timeout) + " and was stopped";
    } else if (exit.lost) {
        ending.cause = Cause::NodeLost;
        ending.message =
            (gone_why.empty() ? "the node's supervisor was ended, from outside or by a command"
                              : gone_why) +
            ", and the command with it";
    } else if (exit.memory_exceeded) {
        ending.cause = Cause::OutOfMemory;
        ending.message = memory_words(
            exit, static_cast<std::uint64_t>(attempt.task->memory_limit_bytes), max_running);
    } else if (exit.too_many_processes) {
        ending.cause = Cause::TooManyProcesses;
        ending.message =
            "the command had more processes than a job may have on a node (4,096), and was ended";
    } else if (exit.signal != 0) {
        ending.cause = Cause::UserCode;
        ending.message = "the command was killed by signal " + signal_words(exit.signal);
    } else if (exit.exit_code != 0) {
        ending.cause = Cause::UserCode;
        ending.message = "the command ended with exit code " + std::to_string(exit.exit_code);
    }
    if (ending.cause == Cause::UserCode && exit.process >= 0)
        ending.message = "process " + std::to_string(exit.process) + ": " + ending.message;
    return ending;
}

void NodeCore::State::exited(const AttemptId& id, Attempt& attempt, const TaskExit& exit) {
    auto& log = attempt.streams[stream_name(*attempt.task, kStdLog)];
    log.length = std::max(log.length, exit.log_length);
    if (attempt.discard) {
        emit(effect::Abort{id});
        return forget(id);
    }
    // A task may be over before its start was heard of.
    if (attempt.stage == Stage::Starting) begun(id, attempt, exit.lost ? now() : exit.started);
    if (!exit.lost)
        losses.forgive(id);
    else if (gone_why.empty())
        losses.add(id);
    Ending ending;
    // One that was over, or had to end, before it was to give way does not run again.
    const Span over = exit.timed_out ? exit.started + attempt.task->timeout : exit.ended;
    if (attempt.stop && !exit.lost && over > Span::zero() && over < attempt.stop->asked &&
        attempt.stop->cause == Cause::Preempted)
        attempt.stop.reset();
    if (attempt.stop) {
        ending = stopped_ending(attempt);
    } else if (exit.fenced) {
        attempt.stop = Stop{Cause::NodeLost, now(), Span{}, true, now()};
        ending = stopped_ending(attempt);
    } else {
        ending = explained(attempt, exit);
    }
    ending.exit_code = exit.lost ? -1 : exit.exit_code;
    ending.signal = exit.signal;
    ending.peak_memory_bytes = exit.peak_memory_bytes;
    if (ending.cause != Cause::None) {
        std::size_t skip = exit.last_lines.size() > 20 ? exit.last_lines.size() - 20 : 0;
        for (std::size_t i = skip; i < exit.last_lines.size(); ++i)
            ending.last_lines.push_back(clean(exit.last_lines[i], kMaxLastLine));
    }
    attempt.ending = std::move(ending);
    // The command's own time is what the supervisor measured, not when it was heard of: the end
    // may have been heard late, or the start.
    if (!exit.lost && exit.ended >= exit.started && exit.ended > Span::zero()) {
        Span late = attempt.durations.user_code + in_stage(attempt) - (exit.ended - exit.started);
        attempt.since += late;
        if (late < Span::zero())
            attempt.durations.waiting = std::max(Span::zero(), attempt.durations.waiting + late);
        enter(id, attempt, Stage::Outputs);
        attempt.since -= std::max(Span::zero(), late);
    } else {
        enter(id, attempt, Stage::Outputs);
    }
    if (exit.lost) write_down(id, attempt);
    if (attempt.ending.cause == Cause::NodeLost && attempt.stop)
        enter(id, attempt, Stage::Flushing);
}

void NodeCore::task_exited(const AttemptId& id, const TaskExit& exit) {
    State& s = *state_;
    if (s.quitting) return;
    auto* attempt = s.attempts.find(id);
    if (!attempt) {
        s.emit(effect::Forget{id});
    } else if (attempt->has_process()) {
        s.exited(id, *attempt, exit);
    }
    s.pump();
}

void NodeCore::State::forget(AttemptId id) {
    record(end_ack_line(id, true));
    emit(effect::Forget{id});
    bury(id);
}

void NodeCore::State::bury(const AttemptId& id) {
    buried.add(id);  // first: `id` may be the one that is erased
    if (const Attempt* attempt = attempts.peek(id)) bases.leave(attempt->base);
    attempts.erase(id);
}

}  // namespace turnout::agent
