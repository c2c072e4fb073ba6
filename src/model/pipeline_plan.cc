#include "model/pipeline_plan.h"

#include <algorithm>

#include "base/text.h"

namespace turnout {

namespace {

// So many steps are made in one turn: a commit stays short.
constexpr std::int64_t kMadeAtOnce = 1'000;
// Larger pipelines tell in their log how far they are, not each step.
constexpr std::int64_t kToldEach = 500;

std::string steps_in_words(std::int64_t count) {
    return with_commas(count) + (count == 1 ? " step" : " steps");
}

std::string_view first_line(std::string_view text) {
    return text.substr(0, std::min<std::size_t>(text.find('\n'), 300));
}

}  // namespace

PipelinePlan::PipelinePlan(Pipeline pipeline, std::string name)
    : pipeline_continues_(pipeline.continue_on_step_failure),
      name_(std::move(name)),
      fates_(pipeline.steps.size(), Fate::Open) {
    steps_.reserve(pipeline.steps.size());
    for (PipelineStep& said : pipeline.steps) {
        const std::int64_t index = total();
        const std::vector<std::int64_t> after = said.after;
        for (const std::int64_t before : after)
            steps_[static_cast<std::size_t>(before)].next.push_back(index);
        steps_.push_back({.said = std::move(said), .next = {}, .lacks = after.size()});
        if (after.empty()) ready_.push_back(index);
    }
}

GroupLimits PipelinePlan::limits() const {
    return {total(), total(), {}};
}

GroupNext PipelinePlan::next(const Look& look) {
    GroupNext next;
    if (!halted()) {
        const std::int64_t until = std::min(total(), created_ + kMadeAtOnce);
        for (; created_ < until; ++created_) {
            const PipelineStep& said = steps_[static_cast<std::size_t>(created_)].said;
            next.make.push_back({created_, NextChild::Own{.role = said.name,
                                                          .display_name = said.display_name,
                                                          .definition = said.definition,
                                                          .compute = said.compute,
                                                          .priority = said.priority}});
        }
        next.more = created_ < total();
        if (!look.begun) next.words.push_back("pipeline of " + steps_in_words(total()) + " began");
    }
    // A step that is not made yet is neither asked for nor given up.
    const auto is_made = [&](std::int64_t index) { return index < created_; };
    if (!halted())
        std::erase_if(ready_, [&](std::int64_t index) {
            if (!is_made(index)) return false;
            if (fate(index) == Fate::Open && !steps_[static_cast<std::size_t>(index)].given_up)
                next.resolve.push_back(index);
            return true;
        });
    std::erase_if(unwanted_, [&](std::pair<std::int64_t, std::string>& one) {
        if (!is_made(one.first)) return false;
        if (fate(one.first) == Fate::Open) next.cancel.push_back(std::move(one));
        return true;
    });
    if (created_ == ended() && (created_ == total() || halted())) next.end = how_it_ended();
    if (!next.end && total() > kToldEach && ended() >= told_ + total() / 100) {
        told_ = ended();
        next.words.push_back(standing());
    }
    return next;
}

void PipelinePlan::give_up(std::int64_t index, const std::string& why) {
    Step& step = steps_[static_cast<std::size_t>(index)];
    if (fate(index) != Fate::Open || std::exchange(step.given_up, true)) return;
    unwanted_.emplace_back(index, why);
}

void PipelinePlan::settle(std::int64_t index, Fate how) {
    if (std::exchange(fate(index), how) != Fate::Open) return;
    const Step& step = steps_[static_cast<std::size_t>(index)];
    if (how == Fate::Completed) {
        ++completed_;
        for (const std::int64_t other : step.next)
            if (--steps_[static_cast<std::size_t>(other)].lacks == 0) ready_.push_back(other);
        return;
    }
    ++(how == Fate::Failed ? failed_ : stopped_steps_);
    if (stopped()) return;
    const std::string became =
        "step '" + step.said.name + "' " + (how == Fate::Failed ? "failed" : "was canceled");
    if (!pipeline_continues_) {
        // What ended since something else had failed tells nothing new.
        if (std::exchange(broken_, true)) return;
        for (std::int64_t other = 0; other < total(); ++other)
            give_up(other, became + ": the pipeline goes no further");
        return;
    }
    broken_ = true;
    for (const std::int64_t other : step.next)
        give_up(other, became + ", and this one takes its outputs");
}

ChildOutcome PipelinePlan::child_ended(const ChildEnd& end) {
    ChildOutcome outcome;
    const Step& step = steps_[static_cast<std::size_t>(end.index)];
    if (total() <= kToldEach || (end.status == JobStatus::Failed && failed_ < kToldEach)) {
        std::string line =
            step.said.name + " (" + std::string(end.name) + ") " + std::string(name_of(end.status));
        if (!end.message.empty()) line += ": " + std::string(first_line(end.message));
        outcome.words.push_back(std::move(line));
    }
    if (end.status == JobStatus::Failed && first_failure_.empty()) {
        failed_by_ = end.cause;
        first_failure_ = "step '" + step.said.name + "' (" + std::string(end.name) + ") failed";
        if (!end.message.empty()) first_failure_ += ": " + std::string(first_line(end.message));
    }
    settle(end.index, end.status == JobStatus::Completed ? Fate::Completed
                      : end.status == JobStatus::Failed  ? Fate::Failed
                                                         : Fate::Canceled);
    return outcome;
}

void PipelinePlan::stop(Stop why) {
    (why == Stop::Canceled ? canceled_ : timed_out_) = true;
}

std::string PipelinePlan::waits_for(std::int64_t index) const {
    constexpr std::size_t kNamed = 5;
    std::vector<std::string> names;
    for (const std::int64_t before : steps_[static_cast<std::size_t>(index)].said.after)
        if (fates_[static_cast<std::size_t>(before)] == Fate::Open)
            names.push_back("'" + steps_[static_cast<std::size_t>(before)].said.name + "' (" +
                            child_name(name_, before) + ")");
    if (names.empty()) return "";
    const std::size_t count = names.size();
    if (count > kNamed) names.resize(kNamed);
    return "waits for " + std::string(count == 1 ? "step " : "steps ") + join(names, ", ") +
           (count > kNamed ? " and " + std::to_string(count - kNamed) + " more" : "");
}

GroupEnd PipelinePlan::how_it_ended() const {
    using agent_protocol::Cause;
    const std::string of = standing();
    if (stopped()) return {JobStatus::Canceled, Cause::Canceled, of};
    if (failed_ > 0)
        return {JobStatus::Failed, failed_by_ == Cause::None ? Cause::UserCode : failed_by_,
                first_failure_ + "; " + of};
    if (stopped_steps_ > 0) return {JobStatus::Canceled, Cause::Canceled, of};
    return {JobStatus::Completed, Cause::None, of};
}

// A long run of steps that ended alike is short: "c2000f1-7999".
Json PipelinePlan::progress() const {
    std::string fates;
    for (std::size_t begin = 0; begin < fates_.size();) {
        std::size_t end = begin;
        while (end < fates_.size() && fates_[end] == fates_[begin]) ++end;
        fates += static_cast<char>(fates_[begin]);
        fates += std::to_string(end - begin);
        begin = end;
    }
    Json json = Json::object({{"created", created_},
                              {"completed", completed_},
                              {"failed", failed_},
                              {"canceled", stopped_steps_},
                              {"fates", std::move(fates)}});
    if (canceled_) json.set("cancel_requested", true);
    if (timed_out_) json.set("timed_out", true);
    if (failed_by_ != agent_protocol::Cause::None)
        json.set("failed_by", agent_protocol::name_of(failed_by_));
    if (!first_failure_.empty()) json.set("first_failure", first_failure_);
    return json;
}

Result<void> PipelinePlan::recover(const Json& progress) {
    if (progress.is_null()) return {};  // nothing was made yet
    canceled_ = progress.at("cancel_requested").as_bool();
    timed_out_ = progress.at("timed_out").as_bool();
    if (const auto cause = agent_protocol::parse_cause(progress.at("failed_by").as_view()))
        failed_by_ = *cause;
    first_failure_ = progress.at("first_failure").as_string();
    const std::string_view fates = progress.at("fates").as_view();
    std::int64_t index = 0;
    for (std::size_t at = 0; at < fates.size();) {
        const char letter = fates[at++];
        if (std::string_view("-cfx").find(letter) == std::string_view::npos)
            return internal("stored progress of pipeline '" + name_ + "' cannot be read");
        std::int64_t count = 0;
        while (at < fates.size() && fates[at] >= '0' && fates[at] <= '9' && count <= total())
            count = count * 10 + (fates[at++] - '0');
        if (count > total() - index)
            return internal("stored progress of pipeline '" + name_ + "' has more steps than it");
        for (; count > 0; --count, ++index)
            if (letter != '-') settle(index, static_cast<Fate>(letter));
    }
    created_ = progress.at("created").as_int();
    if (created_ < ended() || created_ > total())
        return internal("stored pipeline '" + name_ + "' with a wrong count of steps");
    told_ = ended();
    return {};
}

std::string PipelinePlan::standing() const {
    std::string words = with_commas(completed_) + " of " + steps_in_words(total()) + " completed";
    if (failed_ > 0) words += ", " + with_commas(failed_) + " failed";
    if (stopped_steps_ > 0) words += ", " + with_commas(stopped_steps_) + " canceled";
    return words;
}

Result<std::unique_ptr<GroupPlan>> pipeline_plan(const GroupSaid& said, std::string_view name) {
    Pipeline pipeline = TURNOUT_TRY(pipeline_from_json(said.plan));
    return std::unique_ptr<GroupPlan>(
        std::make_unique<PipelinePlan>(std::move(pipeline), std::string(name)));
}

}  // namespace turnout
