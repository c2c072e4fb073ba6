#include "agent/node/state.h"

#include <algorithm>

#include "agent/ranks.h"
#include "base/text.h"

namespace turnout::agent {
namespace {
constexpr Span kResendLog = 5s;  // unacknowledged log bytes are sent again
constexpr std::uint64_t kLogWindow = 8 * kLogChunk;

Span flush_patience(const Attempt& attempt) {
    if (std::any_of(attempt.streams.begin(), attempt.streams.end(),
                    [](const auto& item) { return item.second.lost; }))
        return kFlushPatienceLost;
    return attempt.stop ? kFlushPatienceStopped : kFlushPatience;
}
}  // namespace

void NodeCore::log_grew(const AttemptId& id, std::string_view stream, std::uint64_t length) {
    State& s = *state_;
    auto* attempt = s.attempts.find(id);
    if (!attempt || s.quitting) return;
    auto& log = attempt->streams[stream_name(*attempt->task, stream)];
    log.length = std::max(log.length, length);
    s.pump();
}

void NodeCore::log_lost(const AttemptId& id, std::string_view stream) {
    State& s = *state_;
    auto* attempt = s.attempts.find(id);
    if (!attempt || s.quitting) return;
    attempt->streams[std::string(stream)].lost = true;
}

void NodeCore::State::on(const LogAck& ack) {
    auto* attempt = attempts.find(ack.id);
    if (!attempt) return;
    auto& stream = attempt->streams[ack.stream];
    if (ack.offset == 0 && stream.resend_at) stream.resend_at = now();
    if (ack.offset <= stream.acked) return;
    stream.acked = ack.offset;
    stream.lost = stream.unanswered = false;
    attempt->flushed_at = now();
    stream.sent = std::max(stream.sent, stream.acked);
    stream.resend_at.reset();
    if (stream.sent > stream.acked) stream.resend_at = now() + kResendLog;
}

void NodeCore::State::ship_logs(const AttemptId& id, Attempt& attempt) {
    if (!linked || !welcomed || !listed || attempt.stage == Stage::Ended || attempt.discard) return;
    for (auto& [name, stream] : attempt.streams) {
        if (stream.resend_at && now() >= *stream.resend_at) {
            stream.sent = stream.acked;
            stream.resend_at.reset();
            stream.unanswered = true;  // where the server has no room, all send theirs again
        }
        const std::uint64_t window = stream.unanswered ? kLogChunk : kLogWindow;
        while (stream.sent < stream.length && stream.sent - stream.acked < window) {
            auto length = std::min<std::uint64_t>(kLogChunk, stream.length - stream.sent);
            emit(effect::ShipLog{id, name, stream.sent, static_cast<std::size_t>(length)});
            stream.sent += length;
            if (!stream.resend_at) stream.resend_at = now() + kResendLog;
        }
    }
}

void NodeCore::State::say_last_words(const AttemptId& id, Attempt& attempt) {
    if (!listed) return;
    if (attempt.streams[stream_name(*attempt.task, kStdLog)].length == 0)
        emit(effect::AppendLog{id, attempt.last_words});
}

void NodeCore::State::step_flushing(const AttemptId& id, Attempt& attempt) {
    if (!listed) return;
    const auto& streams = attempt.streams;
    const bool done = std::all_of(streams.begin(), streams.end(), [](const auto& item) {
        return item.second.acked >= item.second.length;
    });
    const auto log = streams.find(stream_name(*attempt.task, kStdLog));
    const std::uint64_t said = log == streams.end() ? 0 : log->second.length;
    // They are said into an empty log only; what a restart of the machine tore stays as it is.
    if (done && (attempt.rebooted || said > 0 || attempt.last_words.empty()))
        enter(id, attempt, Stage::Ended);
    else if (welcomed && now() >= attempt.flushed_at + flush_patience(attempt))
        give_up_log(id, attempt);
}

Span NodeCore::State::next_look_at_log(const Attempt& attempt) const {
    if (!welcomed || !listed || !attempt.live()) return Span::max();
    Span next = Span::max();
    if (attempt.stage == Stage::Flushing) next = attempt.flushed_at + flush_patience(attempt);
    for (const auto& [name, stream] : attempt.streams)
        if (stream.resend_at) next = std::min(next, *stream.resend_at);
    return next;
}

// The end does not wait for ever for a log that does not come forward.
void NodeCore::State::give_up_log(const AttemptId& id, Attempt& attempt) {
    std::uint64_t missing = 0;
    bool lost = false;
    for (const auto& [name, stream] : attempt.streams) {
        missing += stream.length - std::min(stream.length, stream.acked);
        lost = lost || stream.lost;
    }
    if (missing > 0)
        add_note(attempt.ending,
                 "the last " + to_size_words(missing) + " of its log are missing: " +
                     (lost ? "they were removed from the node" : "the server did not take them"));
    enter(id, attempt, Stage::Ended);
}

}  // namespace turnout::agent
