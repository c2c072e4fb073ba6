#include "agent/node_core.h"

#include <algorithm>
#include <utility>

#include "agent/node/state.h"

namespace turnout::agent {

NodeCore::NodeCore(NodeFacts facts, const Clock& clock)
    : state_(std::make_unique<State>(std::move(facts), clock)) {}
NodeCore::~NodeCore() = default;
NodeCore::NodeCore(NodeCore&&) noexcept = default;

void NodeCore::tick() {
    State& s = *state_;
    if (s.quitting) return;
    Span now = s.now();
    if (s.linked && s.hello_at && now >= *s.hello_at) server_connected(s.version);
    s.attempts.touch_due(now);
    s.pump();
}

std::optional<Span> NodeCore::next_tick() const {
    const State& s = *state_;
    if (s.quitting) return std::nullopt;
    Span next = Span::max();
    if (s.linked && s.hello_at) next = *s.hello_at;
    if (const auto broken = s.broken_next()) next = std::min(next, *broken);
    if (const auto due = s.attempts.next_timer()) next = std::min(next, *due);
    if (s.attempts.unfinished() > 0 && !s.lost_contact && s.lost_after > Span::zero())
        next = std::min(next, s.contact + s.lost_after);
    return next == Span::max() ? std::optional<Span>() : next;
}

std::vector<Effect> NodeCore::take_effects() {
    return std::exchange(state_->effects, {});
}

std::vector<SecretValue> NodeCore::secrets(const AttemptId& id) const {
    const Attempt* attempt = state_->attempts.peek(id);
    return attempt ? attempt->secrets : std::vector<SecretValue>();
}

std::shared_ptr<const TaskSpec> NodeCore::task(const AttemptId& id) const {
    const Attempt* attempt = state_->attempts.peek(id);
    return attempt ? attempt->task : nullptr;
}

std::vector<AttemptId> NodeCore::attempts() const {
    std::vector<AttemptId> ids;
    for (const auto& [id, attempt] : state_->attempts) ids.push_back(id);
    return ids;
}

bool NodeCore::running(const AttemptId& id) const {
    const Attempt* attempt = state_->attempts.peek(id);
    return attempt && attempt->stage == Stage::Running;
}

bool NodeCore::quitting() const {
    return state_->quitting;
}

}  // namespace turnout::agent
