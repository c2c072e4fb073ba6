#include <algorithm>

#include "agent/node/state.h"

namespace turnout::agent {
namespace {
constexpr Span kRepeatHello = 5s;
// How much older than the truth the recorded contact may be.
constexpr Span kRecordContact = 10s;

std::string what_it_does(const Attempt& attempt) {
    switch (attempt.stage) {
        case Stage::Snapshot: return "fetching the code snapshot";
        case Stage::Environment: return "preparing environment " + attempt.task->environment.name;
        case Stage::Inputs: return "fetching inputs";
        case Stage::Ready:
        case Stage::Starting: return "waiting for the node's previous command";
        case Stage::Outputs: return "uploading outputs";
        case Stage::Flushing: return "uploading the rest of the log";
        default: return "";
    }
}
}  // namespace

void NodeCore::machine_is(Facts facts) {
    state_->facts.machine = std::move(facts);
}

void NodeCore::server_connected(int version) {
    State& s = *state_;
    if (s.quitting) return;
    s.linked = true;
    s.version = version;
    s.welcomed = false;
    s.bases.new_link();
    s.hello_at = s.now() + kRepeatHello;
    Hello hello;
    hello.protocol = version;
    hello.build = s.facts.build;
    hello.node = s.facts.node;
    hello.boot_id = s.facts.boot_id;
    hello.pid = s.facts.pid;
    hello.facts = s.facts.machine;
    for (const auto& [id, attempt] : s.attempts) hello.attempts.push_back(id);
    s.emit(effect::Send{std::move(hello)});
}

void NodeCore::server_disconnected() {
    state_->linked = false;
    state_->welcomed = false;
    state_->hello_at.reset();
    state_->attempts.touch_all();
    state_->pump();
}

void NodeCore::State::heard() {
    contact = now();
    lost_contact = false;
    if (attempts.live() > 0 && lost_after > Span::zero() &&
        (!contact_recorded || contact - *contact_recorded >= kRecordContact))
        record_contact();
}

void NodeCore::State::record_contact() {
    contact_recorded = contact;
    record(contact_line());
    if (lost_after > Span::zero()) emit(effect::SetFence{contact + lost_after});
}

void NodeCore::State::check_contact() {
    if (lost_contact || lost_after <= Span::zero() || now() - contact < lost_after) return;
    lost_contact = true;
    for (Attempt* attempt : attempts.in_order())
        if (attempt->stage < Stage::Flushing)
            request_stop(*attempt->id, *attempt, Cause::NodeLost, Span::zero());
}

void NodeCore::State::send(ToServer message) {
    if (linked && welcomed) emit(effect::Send{std::move(message)});
}

void NodeCore::State::report(const AttemptId& id, Attempt& attempt) {
    attempt.report_at = now() + kRepeat;
    if (attempt.discard) return;
    if (attempt.stage == Stage::Ended) return send(EndReport{id, attempt.ending});
    // Of a service that an earlier agent began: the server takes no answer for "not known".
    if (attempt.readiness && !attempt.readiness->known() && !attempt.stop) return;
    PhaseReport phase{id, phase_of(attempt.stage), attempt.detail, Span{}, attempt.durations};
    if (phase.detail.empty()) phase.detail = what_it_does(attempt);
    book(phase.durations, attempt.stage, in_stage(attempt));
    if (attempt.stage == Stage::Running)
        phase.running_for = std::max(Span::zero(), now() - attempt.running_since);
    if (attempt.readiness && attempt.readiness->ready())
        phase.phase = Phase::Ready;
    else if (attempt.readiness && !attempt.readiness->why().empty())
        phase.detail = clean("not ready: " + attempt.readiness->why(), kMaxDetail);
    send(std::move(phase));
}

}  // namespace turnout::agent
