// The plan of a sweep: trials a batch at a time, with parameters that follow from the definition;
// those are given up that do worse than others, and it is over when the last one is.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/early_termination.h"
#include "model/group.h"
#include "model/sweep.h"

namespace turnout {

class SweepPlan : public GroupPlan {
public:
    SweepPlan(Sweep sweep, std::string name);

    GroupLimits limits() const override;
    GroupNext next(const Look& look) override;
    std::string gives_up_waiting() const override;
    Parameters parameters(std::int64_t index) const override;
    bool child_began(std::int64_t index) override;
    ChildOutcome child_ended(const ChildEnd& end) override;
    void stop(Stop why) override;
    bool stopped() const override;
    std::string_view metric() const override { return sweep_.objective.primary_metric; }
    bool remembers_ended() const override;
    bool observe(std::int64_t index, double value) override;
    std::string why_given_up() const override;
    void forget(std::int64_t index) override { metrics_.forget(index); }
    std::int64_t created() const override { return progress_.created; }
    Json progress() const override { return to_json(progress_); }
    Result<void> recover(const Json& progress) override;
    std::string standing() const override;

private:
    const Sweep sweep_;
    const std::string name_;
    SweepProgress progress_;
    EarlyTermination metrics_;  // what trials logged of the primary metric
    std::int64_t told_ = 0;     // ended trials that its log knows of
};

// By the "properties" of a job of type Sweep: see parse_sweep.
Result<std::unique_ptr<GroupPlan>> sweep_plan(const GroupSaid& said, std::string_view name);

}  // namespace turnout
