#include "agent/node/attempts.h"

#include <algorithm>

namespace turnout::agent {
namespace {
constexpr std::size_t kTombstones = 1000;
}

const Attempt* Attempts::peek(const AttemptId& id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : &found->second;
}

Attempt* Attempts::find(const AttemptId& id) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return nullptr;
    touch(found->second);
    return &found->second;
}

std::vector<Attempt*> Attempts::in_order() {
    std::vector<Attempt*> order;
    for (auto& [id, attempt] : by_id_) order.push_back(&attempt);
    std::sort(order.begin(), order.end(),
              [](const Attempt* a, const Attempt* b) { return a->order < b->order; });
    return order;
}

Attempt& Attempts::add(const AttemptId& id, Attempt attempt) {
    attempt.order = next_order_++;
    auto& placed = *by_id_.emplace(id, std::move(attempt)).first;
    placed.second.id = &placed.first;
    count(placed.second, 1);
    touch(placed.second);
    return placed.second;
}

void Attempts::erase(const AttemptId& id) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return;
    Attempt& attempt = found->second;
    count(attempt, -1);
    set_timer(attempt, std::nullopt);
    if (attempt.touched)
        std::replace(touched_.begin(), touched_.end(), &attempt, static_cast<Attempt*>(nullptr));
    not_careful(attempt);
    by_id_.erase(found);
}

// Before its stage changes with -1, after it with 1.
void Attempts::count(Attempt& attempt, int by) {
    if (attempt.has_process()) with_process_ += by;
    if (attempt.live()) live_ += by;
    if (attempt.stage < Stage::Flushing) unfinished_ += by;
    if (attempt.stage != Stage::Ready) return;
    if (by > 0)
        ready_.emplace(attempt.order, &attempt);
    else
        ready_.erase(attempt.order);
}

void Attempts::move_to(Attempt& attempt, Stage stage) {
    count(attempt, -1);
    attempt.stage = stage;
    if (stage > Stage::Starting) not_careful(attempt);
    count(attempt, 1);
}

void Attempts::touch_all() {
    for (Attempt* attempt : in_order()) touch(*attempt);
}

std::vector<Attempt*> Attempts::take_touched() {
    std::vector<Attempt*> taken = std::exchange(touched_, {});
    std::erase(taken, nullptr);
    for (Attempt* attempt : taken) attempt->touched = false;
    return taken;
}

void Attempts::set_timer(Attempt& attempt, std::optional<Span> at) {
    if (at == attempt.timer) return;
    if (attempt.timer) timers_.erase({*attempt.timer, attempt.order});
    attempt.timer = at;
    if (at) timers_.emplace(std::pair(*at, attempt.order), &attempt);
}

std::optional<Span> Attempts::next_timer() const {
    if (timers_.empty()) return std::nullopt;
    return timers_.begin()->first.first;
}

void Attempts::touch_due(Span now) {
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
        Attempt& due = *timers_.begin()->second;
        set_timer(due, std::nullopt);
        touch(due);
    }
}

void Tombstones::add(const AttemptId& id) {
    if (!known_.insert(id).second) return;
    order_.push_back(id);
    if (order_.size() > kTombstones) {
        known_.erase(order_.front());
        order_.pop_front();
    }
}

}  // namespace turnout::agent
