// What the node's core holds and what follows from it, attempt by attempt. Internal to
// node_core.cc.
#pragma once

#include <algorithm>
#include <csignal>
#include <utility>

#include "agent/attempt.h"
#include "agent/bases.h"
#include "agent/node_core.h"
#include "agent/ranks.h"
#include "base/text.h"

namespace turnout::agent {

inline constexpr Span kRepeat = 20s;  // reports that were not acknowledged are said again
inline constexpr Span kRepeatHello = 5s;
inline constexpr Span kResendLog = 5s;  // unacknowledged log bytes are sent again
inline constexpr Span kRecordContact =
    10s;  // how much older than the truth the recorded contact may be
inline constexpr Span kDetailDelay = 250ms;  // a step shorter than this is not worth a report
inline constexpr Span kLasting =
    50ms;                             // a phase shorter than this is not worth a report or a record
inline constexpr Span kWaiting = 1s;  // nor is a shorter wait for the command before it
inline constexpr int kAhead = 8;      // so many starts wait at the supervisor for their turn
inline constexpr Span kRepeatKill = 5s;
inline constexpr std::uint64_t kLogWindow = 8 * kLogChunk;
inline constexpr int kLossesBeforeAlone =
    2;  // with the supervisor; then the job has the node for itself
inline constexpr std::size_t kLossesKept = 256;
inline constexpr std::size_t kTombstones = 1000;
inline constexpr std::size_t kMaxMessage = 8 << 10;
inline constexpr std::size_t kMaxLastLine = 2 << 10;

struct NodeCore::State {
    NodeFacts facts;
    const Clock& clock;
    std::map<AttemptId, Attempt> attempts;
    std::map<std::uint64_t, Attempt*> ready;                    // by order: prepared, to be started
    std::map<std::pair<Span, std::uint64_t>, Attempt*> timers;  // by time and order
    std::vector<Attempt*> dirty;  // to be looked at; nullptr: gone meanwhile
    int processes = 0;            // attempts that are asked to start or run
    int live = 0;                 // that have not ended
    int unfinished = 0;           // that lost contact would end
    Bases bases;
    std::uint64_t next_order = 0;
    std::deque<AttemptId> buried;  // acknowledged ends, newest last
    std::set<AttemptId> buried_set;
    // How often commands of a job were lost together with the supervisor, which one of them may
    // have ended: by workspace and job, in this life.
    std::map<std::pair<std::string, std::string>, int> losses;
    int careful = 0;  // attempts that are `careful`
    std::vector<Effect> effects;
    bool linked = false;
    bool welcomed = false;
    std::optional<Span> hello_at;
    bool listed = false;
    bool quitting = false;
    int max_running = 1;
    Span lost_after{};
    Span contact{};
    bool lost_contact = false;  // and acted upon it
    std::optional<Span> contact_recorded;

    State(NodeFacts f, const Clock& c)
        : facts(std::move(f)), clock(c), max_running(facts.max_running), contact(c.since_boot()) {}

    Span now() const { return clock.since_boot(); }
    void emit(Effect effect) { effects.push_back(std::move(effect)); }
    void send(ToServer message) {
        if (linked && welcomed) emit(effect::Send{std::move(message)});
    }
    void record(std::string line) { emit(effect::Record{std::move(line)}); }

    // For an input that concerns it: it is looked at in the next pump.
    Attempt* find(const AttemptId& id) {
        auto found = attempts.find(id);
        if (found == attempts.end()) return nullptr;
        touch(found->second);
        return &found->second;
    }
    void touch(Attempt& attempt) {
        if (!std::exchange(attempt.dirty, true)) dirty.push_back(&attempt);
    }
    // When something changed that concerns all of them.
    void touch_all() {
        for (Attempt* attempt : in_order()) touch(*attempt);
    }
    std::vector<Attempt*> in_order() {
        std::vector<Attempt*> order;
        for (auto& [id, attempt] : attempts) order.push_back(&attempt);
        std::sort(order.begin(), order.end(),
                  [](const Attempt* a, const Attempt* b) { return a->order < b->order; });
        return order;
    }
    Attempt& add(const AttemptId& id, Attempt attempt) {
        auto [place, fresh] = attempts.emplace(id, std::move(attempt));
        place->second.id = &place->first;
        count(place->second, 1);
        touch(place->second);
        return place->second;
    }
    void erase(const AttemptId& id) {
        auto found = attempts.find(id);
        if (found == attempts.end()) return;
        Attempt& attempt = found->second;
        count(attempt, -1);
        if (attempt.timer) timers.erase({*attempt.timer, attempt.order});
        if (attempt.dirty)
            std::replace(dirty.begin(), dirty.end(), &attempt, static_cast<Attempt*>(nullptr));
        not_careful(attempt);
        bases.leave(attempt.base);
        attempts.erase(found);
    }
    // Before its stage changes with -1, after it with 1.
    void count(Attempt& attempt, int by) {
        if (attempt.has_process()) processes += by;
        if (attempt.live()) live += by;
        if (attempt.stage < Stage::Flushing) unfinished += by;
        if (attempt.stage != Stage::Ready) return;
        if (by > 0)
            ready.emplace(attempt.order, &attempt);
        else
            ready.erase(attempt.order);
    }
    void move_to(Attempt& attempt, Stage stage) {
        count(attempt, -1);
        attempt.stage = stage;
        if (stage > Stage::Starting) not_careful(attempt);
        count(attempt, 1);
    }

    // ---- commands that take their supervisor with them ----

    void be_careful(Attempt& attempt) {
        if (!std::exchange(attempt.careful, true)) ++careful;
    }
    void not_careful(Attempt& attempt) {
        if (std::exchange(attempt.careful, false)) --careful;
    }
    void lost_with_supervisor(const AttemptId& id) {
        if (losses.size() >= kLossesKept) losses.clear();
        ++losses[{id.workspace, id.job}];
    }
    // The ranks of a gang wait for each other: none of them waits for a node of its own.
    bool wants_node_alone(const Attempt& attempt) const {
        if (losses.empty() || attempt.task->node_count > 1) return false;
        const auto found = losses.find({attempt.id->workspace, attempt.id->job});
        return found != losses.end() && found->second >= kLossesBeforeAlone;
    }
    // Whether the supervisor may be asked to start it now. After it died, those that it had not
    // begun are begun one by one, so that it shows which of them it was; and who was lost with it
    // again and again runs alone, so that nobody else is.
    bool may_ask(const Attempt& attempt) const {
        if (losses.empty() && careful == 0) return true;
        int others = 0;
        for (const auto& [id, other] : attempts) {
            if (&other == &attempt || !other.has_process()) continue;
            const bool asked = other.stage == Stage::Running || other.issued;
            if (!asked && other.order > attempt.order) continue;
            if (wants_node_alone(other) || (asked && wants_node_alone(attempt))) return false;
            const bool open = !asked || other.stage == Stage::Starting;
            if (open && (other.careful || (asked && attempt.careful))) return false;
            others += asked;
        }
        return !attempt.careful || others < max_running;
    }
    // The supervisor that has just said what it knows does not know that start. `alone`: of all
    // that it does not know it was the only one that the supervisor before was asked for.
    void start_lost(const AttemptId& id, Attempt& attempt, bool alone) {
        if (std::exchange(attempt.issued, false)) {
            lost_with_supervisor(id);
            if (alone && !attempt.stop && !attempt.revoked)
                return fail(id, attempt, Cause::NodeLost,
                            "the node's supervisor ended when it was asked to start the command",
                            -1);
            be_careful(attempt);
        }
        if (attempt.stop)
            stop_before_start(id, attempt);
        else if (attempt.revoked)
            end_revoked(id, attempt);
    }

    // ---- journal lines: a message of the protocol and what the node adds to it ----

    std::string lease_line(const AttemptId& id, const Attempt& attempt) const {
        return line_of(ToAgent(Lease{id, attempt.task_json, attempt.base}),
                       ",\"boot_id\":" + Json(attempt.boot_id).dump());
    }
    std::string base_line(const std::string& hash, const Bases::Kept& base) const {
        return line_of(ToAgent(Base{hash, base.json}));
    }
    std::string stage_line(const AttemptId& id, const Attempt& attempt) const {
        PhaseReport report{id, phase_of(attempt.stage), "", Span{}, attempt.durations};
        return line_of(ToServer(report),
                       ",\"stage\":\"" + std::string(name_of(attempt.stage)) +
                           "\",\"since\":" + std::to_string(attempt.since.count()) +
                           ",\"running_since\":" + std::to_string(attempt.running_since.count()));
    }
    std::string stop_line(const AttemptId& id, const Stop& stop) const {
        return line_of(ToAgent(Cancel{id, stop.cause, stop.grace}),
                       ",\"asked\":" + std::to_string(stop.asked.count()));
    }
    std::string ending_line(const AttemptId& id, const Attempt& attempt) const {
        return line_of(ToServer(EndReport{id, attempt.ending}),
                       ",\"stage\":\"" + std::string(name_of(attempt.stage)) +
                           "\",\"since\":" + std::to_string(attempt.since.count()) +
                           ",\"words\":" + Json(attempt.last_words).dump());
    }
    std::string end_ack_line(const AttemptId& id, bool final) const {
        return line_of(ToAgent(EndAck{id}), final ? ",\"final\":true" : ",\"final\":false");
    }
    std::string contact_line() const {
        return Json::object({{"contact", contact.count()},
                             {"lost_after", lost_after.count()},
                             {"max_running", max_running},
                             {"boot_id", facts.boot_id}})
            .dump();
    }

    void restore_line(const Json& line, bool& rebooted);

    // ---- contact with the server ----

    void heard() {
        contact = now();
        lost_contact = false;
        if (live > 0 && lost_after > Span::zero() &&
            (!contact_recorded || contact - *contact_recorded >= kRecordContact))
            record_contact();
    }
    void record_contact() {
        contact_recorded = contact;
        record(contact_line());
        if (lost_after > Span::zero()) emit(effect::SetFence{contact + lost_after});
    }

    // ---- life of an attempt ----

    // What it did since it is in its stage is added.
    static void book(Durations& durations, Stage stage, Span spent) {
        switch (stage) {
            case Stage::Snapshot: durations.snapshot += spent; break;
            case Stage::Environment: durations.environment += spent; break;
            case Stage::Inputs: durations.inputs += spent; break;
            case Stage::Ready:
            case Stage::Starting: durations.waiting += spent; break;
            case Stage::Running: durations.user_code += spent; break;
            case Stage::Outputs:
            case Stage::Flushing: durations.outputs += spent; break;
            case Stage::Ended: break;
        }
    }
    Span in_stage(const Attempt& attempt) const {
        return std::max(Span::zero(), now() - attempt.since);
    }

    void enter(const AttemptId& id, Attempt& attempt, Stage stage) {
        book(attempt.durations, attempt.stage, in_stage(attempt));
        Phase before = phase_of(attempt.stage);
        // Whatever follows from a command's end follows again after a restart, since the supervisor
        // knows the end until the attempt is forgotten: no line for what passes quickly. What was
        // decided here, or while it is being stopped, is written down at once.
        bool derived = !attempt.stop && (attempt.has_process() || attempt.record_at);
        move_to(attempt, stage);
        attempt.since = now();
        attempt.issued = false;
        attempt.detail.clear();
        if (stage >= Stage::Outputs) attempt.ending.durations = attempt.durations;
        if (stage == Stage::Starting) {
            record(stage_line(id,
                              attempt));  // the steps before it are repeated after a restart anyway
        } else if (stage > Stage::Starting) {
            attempt.record_at = now() + kLasting;
            if (!derived) write_down(id, attempt);
        }
        if (stage == Stage::Ended)
            report(id, attempt);
        else if (stage ==
                 Stage::Ready)  // it waits for its turn: the server knows how many are before it
            attempt.report_at = now() + kWaiting;
        else if (phase_of(stage) != before)
            attempt.report_at = now() + kLasting;
        else
            attempt.report_at =
                std::min(attempt.report_at.value_or(Span::max()), now() + kDetailDelay);
    }

    void write_down(const AttemptId& id, Attempt& attempt) {
        if (!std::exchange(attempt.record_at, std::nullopt)) return;
        record(attempt.stage >= Stage::Outputs ? ending_line(id, attempt)
                                               : stage_line(id, attempt));
    }

    void report(const AttemptId& id, Attempt& attempt) {
        attempt.report_at = now() + kRepeat;
        if (attempt.discard) return;
        if (attempt.stage == Stage::Ended) return send(EndReport{id, attempt.ending});
        PhaseReport phase{id, phase_of(attempt.stage), attempt.detail, Span{}, attempt.durations};
        if (phase.detail.empty()) phase.detail = default_detail(attempt);
        book(phase.durations, attempt.stage, in_stage(attempt));
        if (attempt.stage == Stage::Running)
            phase.running_for = std::max(Span::zero(), now() - attempt.running_since);
        send(std::move(phase));
    }

    std::string default_detail(const Attempt& attempt) const {
        switch (attempt.stage) {
            case Stage::Snapshot: return "fetching the code snapshot";
            case Stage::Environment:
                return "preparing environment " + attempt.task->environment.name;
            case Stage::Inputs: return "fetching inputs";
            case Stage::Ready:
            case Stage::Starting: return "waiting for the node's previous command";
            case Stage::Outputs: return "uploading outputs";
            case Stage::Flushing: return "uploading the rest of the log";
            default: return "";
        }
    }

    void request_stop(const AttemptId& id, Attempt& attempt, Cause cause, Span grace) {
        if (attempt.stop && attempt.stop->kill_at() <= now() + grace) return;
        write_down(id, attempt);  // what it had come to by itself
        touch(attempt);
        Stop stop{attempt.stop ? attempt.stop->cause : cause, now(), grace, false, std::nullopt};
        // A shorter grace replaces a longer one; the first reason stands, except that a person's
        // wish outranks the others.
        if (cause == Cause::Canceled) stop.cause = cause;
        if (attempt.stop) stop.termed = attempt.stop->termed;
        attempt.stop = stop;
        record(stop_line(id, stop));
    }

    // The command will not run (any more): from here only reports are left.
    void end_without_outputs(const AttemptId& id, Attempt& attempt) {
        enter(id, attempt, Stage::Flushing);
        write_down(id, attempt);  // nobody else knows of it
        if (!attempt.last_words.empty()) say_last_words(id, attempt);
    }
    void say_last_words(const AttemptId& id, Attempt& attempt) {
        if (!listed) return;
        if (attempt.streams[stream_name(*attempt.task, kStdLog)].length == 0)
            emit(effect::AppendLog{id, attempt.last_words});
    }

    Ending stopped_ending(const Attempt& attempt) const {
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

    void stop_before_start(const AttemptId& id, Attempt& attempt) {
        if (attempt.issued) emit(effect::Abort{id});
        if (attempt.discard) return forget(id);
        attempt.ending = stopped_ending(attempt);
        end_without_outputs(id, attempt);
    }

    void end_revoked(const AttemptId& id, Attempt& attempt) {
        if (attempt.issued) emit(effect::Abort{id});
        attempt.ending = Ending{};
        attempt.ending.cause = Cause::Preempted;
        attempt.ending.exit_code = -1;
        attempt.ending.message = "the node gave it back before it began";
        end_without_outputs(id, attempt);
    }

    void fail(const AttemptId& id, Attempt& attempt, Cause cause, std::string message,
              int exit_code) {
        attempt.ending = Ending{};
        attempt.ending.cause = cause;
        attempt.ending.exit_code = exit_code;
        attempt.ending.message = clean(message, kMaxMessage);
        attempt.last_words = preamble(attempt) + attempt.ending.message + "\n";
        end_without_outputs(id, attempt);
    }

    std::string preamble(const Attempt& attempt) const {
        std::string text;
        for (const auto& notice : attempt.task->environment.notices) text += notice + "\n";
        return text;
    }

    void begun(const AttemptId& id, Attempt& attempt, Span started) {
        attempt.revoked = false;
        attempt.running_since = started;
        enter(id, attempt, Stage::Running);
    }

    void exited(const AttemptId& id, Attempt& attempt, const TaskExit& exit) {
        auto& log = attempt.streams[stream_name(*attempt.task, kStdLog)];
        log.length = std::max(log.length, exit.log_length);
        if (attempt.discard) {
            emit(effect::Abort{id});
            return forget(id);
        }
        // A task may be over before its start was heard of.
        if (attempt.stage == Stage::Starting) begun(id, attempt, exit.lost ? now() : exit.started);
        if (exit.lost)
            lost_with_supervisor(id);
        else
            losses.erase({id.workspace, id.job});
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
        } else if (exit.lost) {
            ending.cause = Cause::NodeLost;
            ending.message =
                "the node's supervisor was ended, from outside or by a command, and the command "
                "with it";
        } else if (exit.timed_out) {
            ending.cause = Cause::Timeout;
            ending.message = "the command ran longer than its limit of " +
                             to_words(attempt.task->timeout) + " and was stopped";
        } else if (exit.memory_exceeded) {
            ending.cause = Cause::OutOfMemory;
            ending.message =
                "the command used " +
                to_size_words(
                    static_cast<std::uint64_t>(std::max<std::int64_t>(0, exit.peak_memory_bytes))) +
                " of memory, more than its limit of " +
                to_size_words(static_cast<std::uint64_t>(attempt.task->memory_limit_bytes));
        } else if (exit.signal != 0) {
            ending.cause = Cause::UserCode;
            ending.message = "the command was killed by signal " + signal_words(exit.signal);
        } else if (exit.exit_code != 0) {
            ending.cause = Cause::UserCode;
            ending.message = "the command ended with exit code " + std::to_string(exit.exit_code);
        }
        if (ending.cause == Cause::UserCode && exit.process >= 0)
            ending.message = "process " + std::to_string(exit.process) + ": " + ending.message;
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
            Span late =
                attempt.durations.user_code + in_stage(attempt) - (exit.ended - exit.started);
            attempt.since += late;
            if (late < Span::zero())
                attempt.durations.waiting =
                    std::max(Span::zero(), attempt.durations.waiting + late);
            enter(id, attempt, Stage::Outputs);
            attempt.since -= std::max(Span::zero(), late);
        } else {
            enter(id, attempt, Stage::Outputs);
        }
        if (exit.lost) write_down(id, attempt);
        if (attempt.ending.cause == Cause::NodeLost && attempt.stop)
            enter(id, attempt, Stage::Flushing);
    }

    void forget(const AttemptId& id) {
        record(end_ack_line(id, true));
        emit(effect::Forget{id});
        erase(id);
        bury(id);
    }
    void bury(const AttemptId& id) {
        if (!buried_set.insert(id).second) return;
        buried.push_back(id);
        if (buried.size() > kTombstones) {
            buried_set.erase(buried.front());
            buried.pop_front();
        }
    }

    // ---- messages ----

    void on(const Welcome& welcome) {
        lost_after = welcome.lost_node_after;
        welcomed = true;
        contact_recorded.reset();
        hello_at.reset();
        int slots = welcome.max_running > 0 ? welcome.max_running : max_running;
        if (std::exchange(max_running, slots) != slots && listed) emit(effect::SetSlots{slots});
        for (Attempt* attempt : in_order()) {
            for (auto& [name, stream] : attempt->streams) {
                stream.sent = stream.acked;
                stream.resend_at.reset();
            }
            report(*attempt->id, *attempt);
            touch(*attempt);
        }
    }
    Result<TaskSpec> task_of(const Lease& lease) {
        TaskSpec task;
        if (lease.base.empty()) {
            task = TURNOUT_TRY(task_from_json(lease.task));
        } else {
            const Bases::Kept* base = bases.find(lease.base);
            if (!base)
                return not_found("the server did not send its base '" + lease.base + "'",
                                 lease.base);
            task = TURNOUT_TRY(base->task);
            task = TURNOUT_TRY(expand_task(std::move(task), lease.task, lease.id));
        }
        if (task.command.empty()) return invalid("it has no command");
        return task;
    }
    void on(const Base& base) { bases.keep(base); }
    void on(const Lease& lease) {
        if (auto* known = find(lease.id)) return report(lease.id, *known);
        if (buried_set.contains(lease.id)) {
            Ending ending;
            ending.cause = Cause::Internal;
            ending.exit_code = -1;
            ending.message = "this attempt has already ended on this node";
            return send(EndReport{lease.id, std::move(ending)});
        }
        Attempt attempt;
        attempt.order = next_order++;
        attempt.boot_id = facts.boot_id;
        attempt.task_json = lease.task;
        attempt.base = lease.base;
        attempt.since = now();
        auto task = task_of(lease);
        if (auto* base = bases.find(lease.base); base && !std::exchange(base->recorded, true))
            record(base_line(lease.base, *base));
        bases.use(lease.base);
        auto& placed = add(lease.id, std::move(attempt));
        record(lease_line(lease.id, placed));
        if (task) {
            placed.task = std::make_shared<const TaskSpec>(std::move(*task));
            placed.report_at = now() + kLasting;
        } else {
            fail(lease.id, placed, Cause::Internal,
                 "the node does not understand this task: " + task.error().message, -1);
        }
    }
    // Ends an attempt that it was told of in words that mean nothing here.
    void refuse(const AttemptId& id, std::string why) {
        if (auto* known =
                find(id)) {  // what was meant is not known: it is not to go on as if nothing was
            if (known->has_process() || known->stage >= Stage::Outputs) return report(id, *known);
            if (known->issued) emit(effect::Abort{id});
            return fail(id, *known, Cause::Internal, std::move(why), -1);
        }
        if (buried_set.contains(id)) return;
        Attempt attempt;
        attempt.order = next_order++;
        attempt.boot_id = facts.boot_id;
        attempt.task_json = Json::object();
        attempt.since = now();
        auto& placed = add(id, std::move(attempt));
        record(lease_line(id, placed));
        fail(id, placed, Cause::Internal, std::move(why), -1);
    }
    void on(const Cancel& cancel) {
        auto* attempt = find(cancel.id);
        if (!attempt) {
            Ending ending;
            ending.cause = cancel.cause;
            ending.exit_code = -1;
            ending.message = cancel.cause == Cause::Preempted ? "preempted before it began"
                                                              : "canceled before it began";
            if (!buried_set.contains(cancel.id)) {
                Attempt ended;
                ended.order = next_order++;
                ended.boot_id = facts.boot_id;
                ended.task_json = Json::object();
                ended.stage = Stage::Ended;
                ended.since = now();
                ended.ending = ending;
                auto& placed = add(cancel.id, std::move(ended));
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
    void revoke(const AttemptId& id, Attempt& attempt) {
        if (attempt.stop || attempt.stage >= Stage::Running) return;
        if (attempt.stage < Stage::Starting) return end_revoked(id, attempt);
        if (listed && !attempt.issued) return end_revoked(id, attempt);
        // Only the supervisor knows whether it has begun. While it is away, `revoked` waits for its
        // list.
        attempt.revoked = true;
        if (listed && attempt.issued) emit(effect::SignalTask{id, 0});
    }
    void on(const LogAck& ack) {
        auto* attempt = find(ack.id);
        if (!attempt) return;
        auto& stream = attempt->streams[ack.stream];
        if (ack.offset <= stream.acked) return;
        stream.acked = ack.offset;
        stream.sent = std::max(stream.sent, stream.acked);
        stream.resend_at.reset();
        if (stream.sent > stream.acked) stream.resend_at = now() + kResendLog;
    }
    void on(const EndAck& ack) {
        auto* attempt = find(ack.id);
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
    void on(const Leave&) {
        quitting = true;
        emit(effect::Quit{});
    }
    void on(const Ping& ping) { emit(effect::Send{Pong{ping.sequence}}); }

    // ---- what follows from the state ----

    void check_contact() {
        if (lost_contact || lost_after <= Span::zero() || now() - contact < lost_after) return;
        lost_contact = true;
        for (Attempt* attempt : in_order())
            if (attempt->stage < Stage::Flushing)
                request_stop(*attempt->id, *attempt, Cause::NodeLost, Span::zero());
    }

    void pump() {
        if (quitting) return;
        check_contact();
        if (careful > 0 || !losses.empty())  // who waited for others may be next
            for (Attempt* attempt : in_order())
                if (attempt->stage == Stage::Starting && !attempt->issued) touch(*attempt);
        for (std::size_t i = 0; i < dirty.size(); ++i)
            if (dirty[i]) step(*dirty[i]->id, *dirty[i]);
        while (listed && !ready.empty() && processes < max_running + kAhead) {
            Attempt& first = *ready.begin()->second;
            touch(first);
            enter(*first.id, first, Stage::Starting);
            step(*first.id, first);
        }
        for (Attempt* attempt : std::exchange(dirty, {})) {
            if (!attempt) continue;
            attempt->dirty = false;
            ship_logs(*attempt->id, *attempt);
            set_timer(*attempt);
        }
    }

    void set_timer(Attempt& attempt) {
        auto next = next_look(attempt);
        if (next == attempt.timer) return;
        if (attempt.timer) timers.erase({*attempt.timer, attempt.order});
        attempt.timer = next;
        if (next) timers.emplace(std::pair(*next, attempt.order), &attempt);
    }

    // When time alone makes something happen to it.
    std::optional<Span> next_look(const Attempt& attempt) const {
        Span next = Span::max();
        auto at = [&](Span when) { next = std::min(next, when); };
        if (attempt.record_at) at(*attempt.record_at);
        if (welcomed && attempt.report_at) at(*attempt.report_at);
        if (attempt.stop && listed && attempt.has_process())
            at(attempt.stop->killed ? *attempt.stop->killed + kRepeatKill
                                    : attempt.stop->kill_at());
        if (attempt.stop && attempt.stage == Stage::Outputs && attempt.ending.cause == Cause::None)
            at(attempt.stop->kill_at());
        if (welcomed && listed && attempt.live())
            for (const auto& [name, stream] : attempt.streams)
                if (stream.resend_at) at(*stream.resend_at);
        return next == Span::max() ? std::optional<Span>() : next;
    }

    // What its state asks for. It may be gone afterwards.
    void step(const AttemptId& id, Attempt& attempt) {
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
                } else if (may_ask(attempt)) {
                    attempt.issued = true;
                    emit(effect::StartTask{id, preamble(attempt)});
                }
                break;
            case Stage::Running: signal(id, attempt); break;
            case Stage::Outputs:
                if (attempt.stop && attempt.ending.cause == Cause::None &&
                    (attempt.stop->cause != Cause::Preempted || now() >= attempt.stop->kill_at())) {
                    Ending stopped = stopped_ending(attempt);
                    attempt.ending.cause = stopped.cause;
                    attempt.ending.message = stopped.message;
                    if (stopped.cause ==
                        Cause::NodeLost) {  // another attempt has begun, or soon will
                        emit(effect::Abort{id});
                        enter(id, attempt, Stage::Flushing);
                        return step(id, attempt);
                    }
                    write_down(id, attempt);
                    if (!std::exchange(attempt.issued, true)) emit(effect::ShipOutputs{id});
                    emit(effect::AbandonOutputs{id});
                }
                if (!std::exchange(attempt.issued, true)) emit(effect::ShipOutputs{id});
                break;
            case Stage::Flushing: {
                if (!listed) break;
                const auto& streams = attempt.streams;
                bool done = std::all_of(streams.begin(), streams.end(), [](const auto& item) {
                    return item.second.acked >= item.second.length;
                });
                auto log = streams.find(stream_name(*attempt.task, kStdLog));
                std::uint64_t said = log == streams.end() ? 0 : log->second.length;
                // They are said into an empty log only; what a restart of the machine tore stays as
                // it is.
                if (done && (attempt.rebooted || said > 0 || attempt.last_words.empty()))
                    enter(id, attempt, Stage::Ended);
                break;
            }
            case Stage::Ended: break;
        }
    }

    void signal(const AttemptId& id, Attempt& attempt) {
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

    void ship_logs(const AttemptId& id, Attempt& attempt) {
        if (!linked || !welcomed || !listed || attempt.stage == Stage::Ended || attempt.discard)
            return;
        for (auto& [name, stream] : attempt.streams) {
            if (stream.resend_at && now() >= *stream.resend_at) {
                stream.sent = stream.acked;
                stream.resend_at.reset();
            }
            while (stream.sent < stream.length && stream.sent - stream.acked < kLogWindow) {
                auto length = std::min<std::uint64_t>(kLogChunk, stream.length - stream.sent);
                emit(effect::ShipLog{id, name, stream.sent, static_cast<std::size_t>(length)});
                stream.sent += length;
                if (!stream.resend_at) stream.resend_at = now() + kResendLog;
            }
        }
    }

    void step_done(const AttemptId& id, Stage at, Stage next, const Result<void>& result) {
        auto* attempt = find(id);
        if (!attempt || attempt->stage != at || quitting) return;
        if (result)
            enter(id, *attempt, next);
        else
            fail(id, *attempt, cause_of(at, result.error()), result.error().message, -1);
        pump();
    }
};

}  // namespace turnout::agent
