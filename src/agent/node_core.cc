#include "agent/node_core.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "agent/node_state.h"

namespace turnout::agent {

void NodeCore::State::restore_line(const Json& line, bool& rebooted) {
    if (const Json* at = line.find("contact")) {
        contact = Span(at->as_int());
        lost_after = Span(line.at("lost_after").as_int());
        max_running = std::max(1, static_cast<int>(line.at("max_running").as_int(max_running)));
        rebooted = line.at("boot_id").as_view() != facts.boot_id;
        return;
    }
    const Json& message = line.at("message");
    FrameReader::Frame frame{message.dump(), ""};
    if (auto to_agent = decode_to_agent(frame)) {
        if (auto* lease = std::get_if<Lease>(&*to_agent)) {
            Attempt attempt;
            attempt.order = next_order++;
            attempt.boot_id = line.at("boot_id").as_string();
            attempt.since = now();
            if (auto task = task_of(*lease))
                attempt.task = std::make_shared<const TaskSpec>(std::move(*task));
            attempt.task_json = std::move(lease->task);
            attempt.base = std::move(lease->base);
            bases.use(attempt.base);
            add(lease->id, std::move(attempt));
        } else if (auto* base = std::get_if<Base>(&*to_agent)) {
            bases.keep(*base, true);
        } else if (auto* cancel = std::get_if<Cancel>(&*to_agent)) {
            if (auto* attempt = find(cancel->id))
                attempt->stop = Stop{cancel->cause, Span(line.at("asked").as_int()), cancel->grace,
                                     false, std::nullopt};
        } else if (auto* ack = std::get_if<EndAck>(&*to_agent)) {
            auto* attempt = find(ack->id);
            if (attempt && !line.at("final").as_bool()) {
                attempt->discard = true;
            } else {
                erase(ack->id);
                bury(ack->id);
            }
        }
        return;
    }
    auto to_server = decode_to_server(frame);
    if (!to_server) return;
    auto stage = parse_stage(line.at("stage").as_view());
    if (!stage) return;
    if (auto* report = std::get_if<PhaseReport>(&*to_server)) {
        if (auto* attempt = find(report->id)) {
            move_to(*attempt, *stage);
            attempt->since = Span(line.at("since").as_int());
            attempt->running_since = Span(line.at("running_since").as_int());
            attempt->durations = report->durations;
        }
    } else if (auto* end = std::get_if<EndReport>(&*to_server)) {
        if (auto* attempt = find(end->id)) {
            move_to(*attempt, *stage);
            attempt->since = Span(line.at("since").as_int());
            attempt->durations = end->ending.durations;
            attempt->ending = std::move(end->ending);
            attempt->last_words = line.at("words").as_string();
        }
    }
}

NodeCore::NodeCore(NodeFacts facts, const Clock& clock)
    : state_(std::make_unique<State>(std::move(facts), clock)) {}
NodeCore::~NodeCore() = default;
NodeCore::NodeCore(NodeCore&&) noexcept = default;

void NodeCore::restore(const std::vector<std::string>& lines) {
    State& s = *state_;
    bool rebooted = false;
    for (const auto& text : lines)
        if (auto line = parse_json(text)) s.restore_line(*line, rebooted);
    s.bases.restored();
    Span now = s.now();
    for (auto& [id, attempt] : s.attempts) {
        attempt.rebooted = attempt.boot_id != s.facts.boot_id;
        // Times of another boot mean nothing here.
        if (attempt.rebooted || attempt.since > now) attempt.since = now;
        if (attempt.rebooted || attempt.running_since > now) attempt.running_since = now;
        if (attempt.stop && (attempt.rebooted || attempt.stop->asked > now))
            attempt.stop->asked = now;
        // A discarded one must not survive only because the record of the wish was the last line.
        if (attempt.discard && !attempt.stop)
            attempt.stop = Stop{Cause::NodeLost, now, Span::zero(), false, std::nullopt};
    }
    // Its ending was to be the next line: the node did not understand the task, or it was canceled
    // before it came.
    for (const AttemptId& id : attempts()) {
        Attempt& attempt = *s.find(id);
        if (attempt.task == no_task() && attempt.stage < Stage::Starting)
            s.fail(id, attempt, Cause::Internal, "the node does not understand this task", -1);
    }
    // The machine restarted, and with it went what was not yet on the disk: perhaps the record that
    // a command had begun, or the end of its log. So nothing leased before it goes on, and nothing
    // that was not all delivered counts as done.
    for (const AttemptId& id : attempts()) {
        Attempt& attempt = *s.find(id);
        if (attempt.rebooted && attempt.discard) {
            s.forget(id);
            continue;
        }
        if (!attempt.rebooted || attempt.stage == Stage::Ended) continue;
        if (attempt.stage >= Stage::Outputs && attempt.ending.cause != Cause::None) continue;
        attempt.ending = Ending{};
        attempt.ending.cause = Cause::NodeLost;
        attempt.ending.exit_code = -1;
        attempt.ending.message = "the machine restarted before the job was done";
        if (attempt.stage == Stage::Flushing)
            s.record(s.ending_line(id, attempt));
        else
            s.end_without_outputs(id, attempt);
    }
    if (rebooted || s.contact > now) s.contact = now;
    s.touch_all();
    if (!s.attempts.empty()) s.record_contact();
    s.pump();
}

std::vector<std::string> NodeCore::snapshot() const {
    const State& s = *state_;
    std::vector<std::string> lines;
    lines.push_back(s.contact_line());
    for (const auto& id : s.buried) lines.push_back(s.end_ack_line(id, true));
    for (const auto& [hash, base] : s.bases.all())
        if (base.recorded) lines.push_back(s.base_line(hash, base));
    std::vector<std::pair<std::uint64_t, const std::pair<const AttemptId, Attempt>*>> order;
    for (const auto& item : s.attempts) order.emplace_back(item.second.order, &item);
    std::sort(order.begin(), order.end());
    for (const auto& [number, item] : order) {
        const auto& [id, attempt] = *item;
        lines.push_back(s.lease_line(id, attempt));
        if (attempt.stop) lines.push_back(s.stop_line(id, *attempt.stop));
        if (attempt.stage >= Stage::Outputs)
            lines.push_back(s.ending_line(id, attempt));
        else
            lines.push_back(s.stage_line(id, attempt));
        if (attempt.discard) lines.push_back(s.end_ack_line(id, false));
    }
    return lines;
}

void NodeCore::server_connected() {
    State& s = *state_;
    if (s.quitting) return;
    s.linked = true;
    s.welcomed = false;
    s.bases.new_link();
    s.hello_at = s.now() + kRepeatHello;
    Hello hello;
    hello.build = s.facts.build;
    hello.node = s.facts.node;
    hello.boot_id = s.facts.boot_id;
    hello.pid = s.facts.pid;
    hello.cores = s.facts.cores;
    hello.memory_bytes = s.facts.memory_bytes;
    for (const auto& [id, attempt] : s.attempts) hello.attempts.push_back(id);
    s.emit(effect::Send{std::move(hello)});
}

void NodeCore::server_disconnected() {
    state_->linked = false;
    state_->welcomed = false;
    state_->hello_at.reset();
    state_->touch_all();
    state_->pump();
}

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

void NodeCore::supervisor_listed(const std::vector<TaskState>& tasks) {
    State& s = *state_;
    if (s.quitting) return;
    s.listed = true;
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
    for (Attempt* known_attempt : s.in_order()) {
        Attempt& attempt = *known_attempt;
        const AttemptId id = *attempt.id;
        s.touch(attempt);
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

void NodeCore::supervisor_gone() {
    state_->listed = false;
    state_->touch_all();
    state_->pump();
}

void NodeCore::task_started(const AttemptId& id, Result<Span> started) {
    State& s = *state_;
    auto* attempt = s.find(id);
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

void NodeCore::task_exited(const AttemptId& id, const TaskExit& exit) {
    State& s = *state_;
    if (s.quitting) return;
    auto* attempt = s.find(id);
    if (!attempt) {
        s.emit(effect::Forget{id});
    } else if (attempt->has_process()) {
        s.exited(id, *attempt, exit);
    }
    s.pump();
}

void NodeCore::log_grew(const AttemptId& id, std::string_view stream, std::uint64_t length) {
    State& s = *state_;
    auto* attempt = s.find(id);
    if (!attempt || s.quitting) return;
    auto& log = attempt->streams[stream_name(*attempt->task, stream)];
    log.length = std::max(log.length, length);
    s.pump();
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

void NodeCore::outputs_shipped(const AttemptId& id, Result<void> result) {
    State& s = *state_;
    auto* attempt = s.find(id);
    if (!attempt || attempt->stage != Stage::Outputs || s.quitting) return;
    if (!result && attempt->ending.cause == Cause::None) {
        bool theirs =
            result.error().code == Code::InvalidArgument || result.error().code == Code::NotFound;
        attempt->ending.cause = theirs ? Cause::UserCode : Cause::Internal;
        attempt->ending.message = clean(result.error().message, kMaxMessage);
    }
    s.enter(id, *attempt, Stage::Flushing);
    s.pump();
}

void NodeCore::progress(const AttemptId& id, std::string detail) {
    State& s = *state_;
    auto* attempt = s.find(id);
    if (!attempt || attempt->stage >= Stage::Ended || s.quitting) return;
    attempt->detail = clean(detail, 512);
    attempt->report_at = std::min(attempt->report_at.value_or(Span::max()), s.now() + kDetailDelay);
}

void NodeCore::tick() {
    State& s = *state_;
    if (s.quitting) return;
    Span now = s.now();
    if (s.linked && s.hello_at && now >= *s.hello_at) server_connected();
    while (!s.timers.empty() && s.timers.begin()->first.first <= now) {
        Attempt& due = *s.timers.begin()->second;
        s.timers.erase(s.timers.begin());
        due.timer.reset();
        s.touch(due);
    }
    s.pump();
}

std::optional<Span> NodeCore::next_tick() const {
    const State& s = *state_;
    if (s.quitting) return std::nullopt;
    Span next = Span::max();
    if (s.linked && s.hello_at) next = *s.hello_at;
    if (!s.timers.empty()) next = std::min(next, s.timers.begin()->first.first);
    if (s.unfinished > 0 && !s.lost_contact && s.lost_after > Span::zero())
        next = std::min(next, s.contact + s.lost_after);
    return next == Span::max() ? std::optional<Span>() : next;
}

std::vector<Effect> NodeCore::take_effects() {
    return std::exchange(state_->effects, {});
}

std::shared_ptr<const TaskSpec> NodeCore::task(const AttemptId& id) const {
    auto found = state_->attempts.find(id);
    return found == state_->attempts.end() ? nullptr : found->second.task;
}

std::vector<AttemptId> NodeCore::attempts() const {
    std::vector<AttemptId> ids;
    for (const auto& [id, attempt] : state_->attempts) ids.push_back(id);
    return ids;
}

bool NodeCore::running(const AttemptId& id) const {
    auto found = state_->attempts.find(id);
    return found != state_->attempts.end() && found->second.stage == Stage::Running;
}

bool NodeCore::quitting() const {
    return state_->quitting;
}

}  // namespace turnout::agent
