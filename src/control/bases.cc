#include "control/bases.h"

#include <algorithm>
#include <utility>

namespace turnout::control {

namespace {
constexpr std::size_t kIdleBases =
    1024;  // tasks of ended jobs that are remembered: the next job's is often one of them
}  // namespace

TaskBase& Bases::take(const std::string& workspace, std::string hash) {
    TaskBase& base = by_key_[row_key(workspace, hash)];
    if (base.hash.empty()) {
        base.hash = std::move(hash);
        base.workspace = workspace;
        base.number = ++last_;
    }
    ++base.live_jobs;
    base.survey = survey_;
    if (base.idle) idle_.erase(*std::exchange(base.idle, std::nullopt));
    return base;
}

void Bases::give_back(TaskBase& base) {
    if (--base.live_jobs > 0) return;
    base.survey = survey_;
    base.idle = idle_.insert(idle_.end(), row_key(base.workspace, base.hash));
    if (idle_.size() <= kIdleBases) return;
    const auto longest = by_key_.find(idle_.front());
    if (longest->second.survey == survey_) used_in_survey_.insert(longest->first);
    by_key_.erase(longest);
    idle_.pop_front();
}

void Bases::store_once(TaskBase& base, std::string text) {
    if (std::exchange(base.stored, true)) return;
    const std::string base_key = row_key(base.workspace, base.hash);
    const bool going = std::ranges::any_of(turns.open(), [&](const Turn* turn) {
        return turn && turn->erased_bases.contains(base_key);
    });
    const Result<std::optional<Record>> there = store.get(Table::TaskBase, base_key);
    if (going || !there || !*there) turns.gathering.bases[base_key] = std::move(text);
}

std::uint64_t Bases::begin_survey() {
    used_in_survey_.clear();
    return ++survey_;
}

void Bases::erase(std::uint64_t survey, std::vector<std::string> keys,
                  Control::Reply<std::size_t> reply) {
    if (survey != survey_) {
        turns.reply<std::size_t>(std::move(reply),
                                 fail(Code::Unavailable, "SurveyIsVoid",
                                      "what jobs refer to has to be looked at again", "survey"));
        return;
    }
    std::size_t count = 0;
    for (std::string& base_key : keys) {
        if (used_in_survey_.contains(base_key)) continue;
        if (const auto known = by_key_.find(base_key); known != by_key_.end()) {
            if (known->second.live_jobs > 0 || known->second.survey == survey) continue;
            known->second.stored = false;
        }
        if (turns.gathering.erased_bases.insert(std::move(base_key)).second) ++count;
    }
    turns.reply<std::size_t>(std::move(reply), count);
}

void Bases::forget() {
    by_key_.clear();
    idle_.clear();
    ++survey_;  // the one that is under way knows too little now
    used_in_survey_.clear();
}

void Bases::write_rows(Turn& turn, Batch& batch) const {
    for (const std::string& base_key : turn.erased_bases) batch.erase(Table::TaskBase, base_key);
    for (auto& [base_key, text] : turn.bases) batch.put(Table::TaskBase, base_key, std::move(text));
}

}  // namespace turnout::control
