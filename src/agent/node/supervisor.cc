#include "agent/node/state.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <utility>

#include "agent/ranks.h"
#include "base/text.h"

namespace turnout::agent {

void NodeCore::supervisor_listed(const std::vector<TaskState>& tasks) {
    State& s = *state_;
    if (s.quitting) return;
    s.listed = true;
    s.trouble.clear();
    s.emit(effect::SetSlots{s.max_running});
    // What was said while it did not listen, or to an earlier one, it does not know.
    if (s.lost_after > Span::zero() && !s.attempts.empty())
        s.emit(effect::SetFence{s.contact + s.lost_after});
    std::map<AttemptId, const TaskState*> known;
    for (const auto& task : tasks) {
        known[task.id] = &task;
        if (s.attempts.contains(task.id)) continue;
        if (task.exit)
            s.emit(effect::Forget{task.id});
        else
            s.emit(effect::SignalTask{task.id, SIGKILL});
    }
    std::size_t unknown = 0;  // starts that were asked for and are not known there
    for (const auto& [id, attempt] : s.attempts)
        unknown += attempt.stage == Stage::Starting && attempt.issued && !known.contains(id);
    for (Attempt* known_attempt : s.attempts.in_order()) {
        Attempt& attempt = *known_attempt;
        const AttemptId id = *attempt.id;
        s.attempts.touch(attempt);
        attempt.flushed_at = s.now();
        auto found = known.find(id);
        const TaskState* task = found == known.end() ? nullptr : found->second;
        if (task) {
            auto& log = attempt.streams[stream_name(*attempt.task, kStdLog)];
            log.length = std::max(log.length, task->log_length);
        }
        if (attempt.stage == Stage::Flushing && !attempt.last_words.empty())
            s.say_last_words(id, attempt);
        // The record of its start was lost; that it was started was not.
        if (task && attempt.stage < Stage::Starting) s.enter(id, attempt, Stage::Starting);
        if (!attempt.has_process()) continue;
        if (attempt.stop) attempt.stop->termed = false, attempt.stop->killed.reset();
        if (task && task->waiting) {
            attempt.issued = true;
            if (attempt.revoked) s.emit(effect::SignalTask{id, 0});
        } else if (task && task->exit) {
            s.exited(id, attempt, *task->exit);
        } else if (task) {
            if (attempt.stage == Stage::Starting) s.begun(id, attempt, task->started);
        } else if (attempt.stage == Stage::Starting) {
            s.start_lost(id, attempt, unknown == 1);  // asked for again, unless it is to stop
        } else {
            TaskExit lost;
            lost.lost = true;
            s.exited(id, attempt, lost);
        }
    }
    s.pump();
}

void NodeCore::supervisor_gone(std::string why) {
    if (std::exchange(state_->listed, false)) state_->unlisted_since = state_->now();
    state_->gone_why = std::move(why);
    state_->attempts.touch_all();
    state_->pump();
}

void NodeCore::supervisor_trouble(std::string why) {
    state_->trouble = clean(why, kMaxLastLine);
}

void NodeCore::task_started(const AttemptId& id, Result<Span> started) {
    State& s = *state_;
    auto* attempt = s.attempts.find(id);
    if (s.quitting) return;
    if (!attempt) {
        // Asked for by an earlier life, and forgotten since.
        if (started) s.emit(effect::SignalTask{id, SIGKILL});
        return;
    }
    if (attempt->stage != Stage::Starting) return;
    if (started) {
        s.begun(id, *attempt, *started);
    } else if (attempt->stop || attempt->discard) {
        s.stop_before_start(id, *attempt);
    } else if (started.error().code == Code::Canceled) {
        // Dropped at the wish of this life, or of an earlier one that is not known any more.
        if (attempt->revoked)
            s.end_revoked(id, *attempt);
        else
            attempt->issued = false;
    } else {
        bool theirs =
            started.error().code == Code::InvalidArgument || started.error().code == Code::NotFound;
        s.fail(id, *attempt, theirs ? Cause::UserCode : Cause::Internal, started.error().message,
               theirs ? 127 : -1);
    }
    s.pump();
}

// The supervisor that has just said what it knows does not know that start. `alone`: of all
// that it does not know it was the only one that the supervisor before was asked for.
void NodeCore::State::start_lost(const AttemptId& id, Attempt& attempt, bool alone) {
    if (std::exchange(attempt.issued, false) && gone_why.empty()) {
        losses.add(id);
        if (alone && !attempt.stop && !attempt.revoked)
            return fail(id, attempt, Cause::NodeLost,
                        "the node's supervisor ended when it was asked to start the command", -1);
        attempts.be_careful(attempt);
    }
    if (attempt.stop)
        stop_before_start(id, attempt);
    else if (attempt.revoked)
        end_revoked(id, attempt);
}

// Without a supervisor nothing begins and nothing ends here, whatever is asked of the node.
std::optional<Span> NodeCore::State::broken_next() const {
    if (listed || !linked || !welcomed) return std::nullopt;
    return std::max(unlisted_since + kSupervisorMissing, broken_at);
}

void NodeCore::State::check_supervisor() {
    const auto due = broken_next();
    if (!due || now() < *due) return;
    broken_at = now() + kRepeat;
    send(Broken{"its supervisor has not answered for " + to_words(now() - unlisted_since) +
                (trouble.empty() ? "" : ": " + trouble)});
}

}  // namespace turnout::agent
