#include "agent/node/losses.h"

namespace turnout::agent {
namespace {
constexpr int kLossesBeforeAlone = 2;
constexpr std::size_t kLossesKept = 256;
}  // namespace

void Losses::add(const AttemptId& id) {
    if (by_job_.size() >= kLossesKept) by_job_.clear();
    ++by_job_[{id.workspace, id.job}];
}

void Losses::forgive(const AttemptId& id) {
    by_job_.erase({id.workspace, id.job});
}

bool Losses::wants_node_alone(const Attempt& attempt) const {
    if (by_job_.empty() || attempt.task->node_count > 1) return false;
    const auto found = by_job_.find({attempt.id->workspace, attempt.id->job});
    return found != by_job_.end() && found->second >= kLossesBeforeAlone;
}

bool Losses::may_ask(const Attempt& attempt, const Attempts& attempts, int max_running) const {
    if (empty() && attempts.careful() == 0) return true;
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

}  // namespace turnout::agent
