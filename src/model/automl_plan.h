// The plan of an AutoML job: the data is prepared; then trials, as many at a time as its limits
// say, until there were enough of them, one reached the score that was asked for, no better one
// comes, or the time is over; then ensembles of the best. Whatever stops the search, the job is
// Completed if a trial has completed with a score.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/automl.h"
#include "model/group.h"

namespace turnout {

// As Azure ML: of so many trials none is missed, and after them so many in a row that are no better
// end the search.
inline constexpr std::int64_t kAutoMLLandmarks = 20, kAutoMLPatience = 10;
// So many that fail before one has completed: the others would fail, too.
inline constexpr std::int64_t kAutoMLFailures = 10;

class AutoMLPlan : public GroupPlan {
public:
    AutoMLPlan(AutoML automl, std::string name);

    GroupLimits limits() const override;
    GroupNext next(const Look& look) override;
    bool own_tasks() const override { return true; }
    Parameters parameters(std::int64_t) const override { return {}; }
    bool child_began(std::int64_t) override { return false; }
    ChildOutcome child_ended(const ChildEnd& end) override;
    void stop(Stop why) override;
    bool stopped() const override { return canceled_; }
    bool time_is_up() override;
    std::string waits_for(std::int64_t index) const override;
    std::string_view metric() const override { return automl_.metric; }
    bool observe(std::int64_t index, double value) override;
    void forget(std::int64_t index) override { observed_.erase(index); }
    std::int64_t created() const override { return created_; }
    Json progress() const override;
    Result<void> recover(const Json& progress) override;
    std::string standing() const override;

private:
    std::int64_t trials_made() const { return created_ - (created_ > 0 ? 1 : 0) - ensembles_; }
    bool is_ensemble(std::int64_t index) const { return index > 0 && index > trials_made(); }
    bool search_is_over() const;
    NextChild child(std::string_view role, std::string display_name, Json definition);
    NextChild ensemble(std::string_view method);
    void make(GroupNext& next, NextChild child);
    void take(std::int64_t index, double score);
    GroupEnd how_it_ended() const;

    const AutoML automl_;
    const std::string name_;
    // Index 0 is the one that prepares, then come the trials, then the ensembles.
    std::int64_t created_ = 0, ensembles_ = 0;
    std::set<std::int64_t> live_;
    std::int64_t completed_ = 0, failed_ = 0, stopped_trials_ = 0;
    std::int64_t scored_ = 0;                            // trials, of the completed
    std::int64_t since_better_ = 0;                      // trials with a score after the best one
    std::vector<std::pair<std::int64_t, double>> best_;  // trials, the best first: kInEnsemble
    std::int64_t best_index_ = -1;                       // of all children
    double best_score_ = 0;
    bool prepared_ = false, canceled_ = false, time_is_up_ = false;
    agent_protocol::Cause failed_by_ = agent_protocol::Cause::None;
    std::string first_failure_;
    std::map<std::int64_t, double> observed_;  // of children that live
    std::string over_said_;                    // why the search is over, once it was told
};

// By what is stored of a job of type AutoML.
Result<std::unique_ptr<GroupPlan>> automl_plan(const GroupSaid& said, std::string_view name);

}  // namespace turnout
