// The plan of a pipeline: all its steps are jobs from the first, so that people see what is to
// come. One begins when the steps have completed whose outputs it takes. After a failure nothing
// goes on, or with `continue_on_step_failure` all that does not need what failed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/group.h"
#include "model/pipeline.h"

namespace turnout {

class PipelinePlan : public GroupPlan {
public:
    PipelinePlan(Pipeline pipeline, std::string name);

    GroupLimits limits() const override;
    GroupNext next(const Look& look) override;
    bool own_tasks() const override { return true; }
    Parameters parameters(std::int64_t) const override { return {}; }
    bool child_began(std::int64_t) override { return false; }
    ChildOutcome child_ended(const ChildEnd& end) override;
    void stop(Stop why) override;
    std::string waits_for(std::int64_t index) const override;
    bool stopped() const override { return canceled_ || timed_out_; }
    std::int64_t created() const override { return created_; }
    Json progress() const override;
    Result<void> recover(const Json& progress) override;
    std::string standing() const override;

private:
    enum class Fate : char { Open = '-', Completed = 'c', Failed = 'f', Canceled = 'x' };
    std::int64_t total() const { return static_cast<std::int64_t>(steps_.size()); }
    std::int64_t ended() const { return completed_ + failed_ + stopped_steps_; }
    Fate& fate(std::int64_t index) { return fates_[static_cast<std::size_t>(index)]; }
    bool halted() const { return stopped() || (!pipeline_continues_ && broken_); }
    void settle(std::int64_t index, Fate fate);  // what follows from the end of a step
    void give_up(std::int64_t index, const std::string& why);
    GroupEnd how_it_ended() const;

    struct Step {
        PipelineStep said;
        std::vector<std::int64_t> next;  // the steps that take its outputs
        std::size_t lacks = 0;           // steps before it that have not completed
        bool given_up = false;
    };
    std::vector<Step> steps_;
    const bool pipeline_continues_;
    const std::string name_;
    std::vector<Fate> fates_;
    std::int64_t created_ = 0, completed_ = 0, failed_ = 0, stopped_steps_ = 0;
    std::int64_t told_ = 0;  // ended steps that its log knows of
    bool canceled_ = false, timed_out_ = false;
    bool broken_ = false;  // a step did not complete
    agent_protocol::Cause failed_by_ = agent_protocol::Cause::None;
    std::string first_failure_;
    // Not said yet: steps that can have their task, and those that are not wanted any more.
    std::vector<std::int64_t> ready_;
    std::vector<std::pair<std::int64_t, std::string>> unwanted_;
};

// By what is stored of a job of type Pipeline.
Result<std::unique_ptr<GroupPlan>> pipeline_plan(const GroupSaid& said, std::string_view name);

}  // namespace turnout
