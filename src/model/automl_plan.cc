#include "model/automl_plan.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace turnout {

namespace {

// Larger ones tell in their log how far they are, not each trial.
constexpr std::int64_t kToldEach = 500;

std::string trials_in_words(std::int64_t count) {
    return with_commas(count) + (count == 1 ? " trial" : " trials");
}

std::string_view first_line(std::string_view text) {
    return text.substr(0, std::min<std::size_t>(text.find('\n'), 300));
}

void set_literal(Json& definition, const char* name, const std::string& value) {
    definition["inputs"].set(name, Json::object({{"jobInputType", "literal"}, {"value", value}}));
}

}  // namespace

AutoMLPlan::AutoMLPlan(AutoML automl, std::string name)
    : automl_(std::move(automl)), name_(std::move(name)) {}

GroupLimits AutoMLPlan::limits() const {
    const std::int64_t ensembles = (automl_.voting ? 1 : 0) + (automl_.stacking ? 1 : 0);
    return {1 + automl_.max_trials + ensembles, automl_.max_concurrent, automl_.timeout};
}

NextChild AutoMLPlan::child(std::string_view role, std::string display_name, Json definition) {
    const std::int64_t index = created_++;
    live_.insert(index);
    set_literal(definition, "index", std::to_string(index));
    return {index, NextChild::Own{.role = std::string(role),
                                  .display_name = std::move(display_name),
                                  .definition = std::move(definition),
                                  .compute = automl_.compute,
                                  .priority = automl_.priority}};
}

NextChild AutoMLPlan::ensemble(std::string_view method) {
    Json definition = automl_.ensemble;
    set_literal(definition, "method", std::string(method));
    std::string words;
    for (const auto& [index, score] : best_) {
        const std::string input = "model_" + std::to_string(index);
        definition["inputs"].set(
            input, Json::object(
                       {{"jobInputType", "uri_folder"},
                        {"uri", "azureml://jobs/" + child_name(name_, index) + "/outputs/model"}}));
        words += (words.empty() ? "" : " ") + std::string("${{inputs.") + input + "}}";
    }
    definition.set("command", definition.at("command").as_string() + " " + words);
    return child(kAutoMLEnsemble, std::string(method), std::move(definition));
}

bool AutoMLPlan::search_is_over() const {
    if (time_is_up_ || trials_made() >= automl_.max_trials) return true;
    if (!best_.empty() && automl_.is_enough(best_.front().second)) return true;
    if (scored_ == 0 && failed_ >= std::min(kAutoMLFailures, automl_.max_trials)) return true;
    return automl_.early_termination && scored_ >= kAutoMLLandmarks &&
           since_better_ >= kAutoMLPatience;
}

GroupNext AutoMLPlan::next(const Look& look) {
    GroupNext next;
    const auto room = [&] {
        return static_cast<std::int64_t>(live_.size()) < automl_.max_concurrent;
    };
    if (canceled_ || (created_ > 0 && !prepared_ && live_.empty())) {
        if (live_.empty()) next.end = how_it_ended();
    } else if (created_ == 0) {
        next.make.push_back(child(kAutoMLSetup, "setup", automl_.setup));
        if (!look.begun)
            next.words.push_back("AutoML of up to " + trials_in_words(automl_.max_trials) +
                                 " began: the data is prepared");
    } else if (prepared_ && ensembles_ == 0 && !search_is_over()) {
        while (room() && !search_is_over()) {
            const std::int64_t index = created_;
            next.make.push_back(child(kAutoMLTrial, child_name(name_, index), automl_.trial));
        }
    }
    if (!canceled_ && search_is_over()) {
        const bool reached = !best_.empty() && automl_.is_enough(best_.front().second);
        const std::string why =
            time_is_up_ ? "the time of the AutoML job is over"
            : reached   ? "a trial reached the exit score of " + Json(*automl_.exit_score).dump()
            : trials_made() >= automl_.max_trials ? "all of its trials were made"
            : scored_ == 0                        ? "its first trials failed"
                                                  : "the last " + std::to_string(since_better_) +
                                 " trials were no better than the best";
        if (over_said_.empty()) next.words.push_back("no more trials: " + why);
        over_said_ = why;
        // What runs is of no use any more.
        if (time_is_up_ || reached)
            for (const std::int64_t index : live_)
                if (!is_ensemble(index)) next.cancel.emplace_back(index, why);
        const std::int64_t wanted = (automl_.voting ? 1 : 0) + (automl_.stacking ? 1 : 0);
        const bool trials_live =
            std::ranges::any_of(live_, [&](std::int64_t index) { return !is_ensemble(index); });
        if (prepared_ && !trials_live) {
            if (!reached && best_.size() > 1)
                for (; ensembles_ < wanted && room(); ++ensembles_)
                    next.make.push_back(ensemble(
                        ensembles_ == 0 && automl_.voting ? "VotingEnsemble" : "StackEnsemble"));
            if (live_.empty()) next.end = how_it_ended();
        }
    }
    // Said until they have their task: it is known as soon as they are made.
    next.resolve.assign(live_.begin(), live_.end());
    return next;
}

bool AutoMLPlan::observe(std::int64_t index, double value) {
    if (std::isfinite(value)) observed_[index] = value;
    return false;
}

void AutoMLPlan::take(std::int64_t index, double score) {
    const bool first = best_index_ < 0;
    if (first || automl_.better(score, best_score_)) {
        best_index_ = index;
        best_score_ = score;
        if (!is_ensemble(index)) since_better_ = 0;
    } else if (!is_ensemble(index)) {
        ++since_better_;
    }
    if (is_ensemble(index)) return;
    ++scored_;
    const auto place = std::ranges::find_if(
        best_, [&](const auto& other) { return automl_.better(score, other.second); });
    best_.insert(place, {index, score});
    if (best_.size() > kInEnsemble) best_.pop_back();
}

ChildOutcome AutoMLPlan::child_ended(const ChildEnd& end) {
    ChildOutcome outcome;
    live_.erase(end.index);
    if (const auto seen = observed_.find(end.index); seen != observed_.end()) {
        outcome.score = seen->second;
        observed_.erase(seen);
    }
    const std::string what = end.index == 0           ? "setup"
                             : is_ensemble(end.index) ? "ensemble"
                                                      : "trial";
    std::string line =
        what + " (" + std::string(end.name) + ") " + std::string(name_of(end.status));
    if (outcome.score) line += ", " + automl_.metric + " = " + Json(*outcome.score).dump();
    if (end.status == JobStatus::Failed && first_failure_.empty()) {
        failed_by_ = end.cause;
        first_failure_ = what + " " + std::string(end.name) + " failed";
        if (!end.message.empty()) first_failure_ += ": " + std::string(first_line(end.message));
    }
    ++(end.status == JobStatus::Completed ? completed_
       : end.status == JobStatus::Failed  ? failed_
                                          : stopped_trials_);
    if (end.index == 0) {
        prepared_ = end.status == JobStatus::Completed;
    } else if (end.status == JobStatus::Completed && outcome.score) {
        const std::int64_t before = best_index_;
        take(end.index, *outcome.score);
        if (best_index_ != before) line += ", the best so far";
    }
    if (!end.message.empty()) line += ": " + std::string(first_line(end.message));
    if (automl_.max_trials <= kToldEach || end.index == 0 || created_ <= kToldEach)
        outcome.words.push_back(std::move(line));
    return outcome;
}

void AutoMLPlan::stop(Stop) {
    canceled_ = true;
}

// The search ends; what was found stays.
bool AutoMLPlan::time_is_up() {
    if (!prepared_) return false;
    time_is_up_ = true;
    return true;
}

std::string AutoMLPlan::waits_for(std::int64_t) const {
    return "waits for its task";
}

GroupEnd AutoMLPlan::how_it_ended() const {
    using agent_protocol::Cause;
    const std::string of = standing();
    if (canceled_) return {JobStatus::Canceled, Cause::Canceled, of};
    if (best_index_ >= 0) return {JobStatus::Completed, Cause::None, of};
    if (!first_failure_.empty())
        return {JobStatus::Failed, failed_by_ == Cause::None ? Cause::UserCode : failed_by_,
                first_failure_ + "; " + of};
    if (completed_ > 1)
        return {JobStatus::Failed, Cause::UserCode,
                "no trial has logged " + automl_.metric + "; " + of};
    return {JobStatus::Canceled, Cause::Canceled,
            (time_is_up_ ? "its time was over before a trial had completed; " : "") + of};
}

Json AutoMLPlan::progress() const {
    Json live = Json::array(), best = Json::array();
    for (const std::int64_t index : live_) live.push(index);
    for (const auto& [index, score] : best_) best.push(Json::array({index, score}));
    Json json = Json::object({{"created", created_},
                              {"completed", completed_},
                              {"failed", failed_},
                              {"canceled", stopped_trials_},
                              {"ensembles", ensembles_},
                              {"scored", scored_},
                              {"since_better", since_better_},
                              {"live", std::move(live)},
                              {"top", std::move(best)}});
    if (best_index_ >= 0) {
        json.set("best", best_index_);
        json.set("best_score", best_score_);
    }
    if (prepared_) json.set("prepared", true);
    if (canceled_) json.set("cancel_requested", true);
    if (time_is_up_) json.set("timed_out", true);
    if (!over_said_.empty()) json.set("over", over_said_);
    if (failed_by_ != agent_protocol::Cause::None)
        json.set("failed_by", agent_protocol::name_of(failed_by_));
    if (!first_failure_.empty()) json.set("first_failure", first_failure_);
    return json;
}

Result<void> AutoMLPlan::recover(const Json& progress) {
    if (progress.is_null()) return {};  // nothing was made yet
    created_ = progress.at("created").as_int();
    completed_ = progress.at("completed").as_int();
    failed_ = progress.at("failed").as_int();
    stopped_trials_ = progress.at("canceled").as_int();
    ensembles_ = progress.at("ensembles").as_int();
    scored_ = progress.at("scored").as_int();
    since_better_ = progress.at("since_better").as_int();
    for (const Json& index : progress.at("live").items()) live_.insert(index.as_int());
    for (const Json& pair : progress.at("top").items())
        if (pair.items().size() == 2)
            best_.emplace_back(pair.items()[0].as_int(), pair.items()[1].as_double());
    best_index_ = progress.at("best").as_int(-1);
    best_score_ = progress.at("best_score").as_double();
    prepared_ = progress.at("prepared").as_bool();
    canceled_ = progress.at("cancel_requested").as_bool();
    time_is_up_ = progress.at("timed_out").as_bool();
    over_said_ = progress.at("over").as_string();
    first_failure_ = progress.at("first_failure").as_string();
    if (const auto cause = agent_protocol::parse_cause(progress.at("failed_by").as_view()))
        failed_by_ = *cause;
    if (created_ < 0 || created_ > limits().max_total || ensembles_ < 0 || ensembles_ > created_ ||
        static_cast<std::int64_t>(live_.size()) > created_)
        return internal("stored progress of AutoML job '" + name_ + "' cannot be read");
    return {};
}

std::string AutoMLPlan::standing() const {
    const std::int64_t completed = completed_ - (prepared_ ? 1 : 0);
    std::string words = with_commas(completed) + " of " + trials_in_words(trials_made());
    if (ensembles_ > 0)
        words = with_commas(completed) + " of " + with_commas(trials_made() + ensembles_) +
                " trials and ensembles";
    words += " completed";
    if (failed_ > 0) words += ", " + with_commas(failed_) + " failed";
    if (stopped_trials_ > 0) words += ", " + with_commas(stopped_trials_) + " canceled";
    if (best_index_ >= 0)
        words += "; the best is " + child_name(name_, best_index_) + " with " + automl_.metric +
                 " = " + Json(best_score_).dump();
    return words;
}

Result<std::unique_ptr<GroupPlan>> automl_plan(const GroupSaid& said, std::string_view name) {
    AutoML automl = TURNOUT_TRY(automl_from_json(said.plan));
    return std::unique_ptr<GroupPlan>(
        std::make_unique<AutoMLPlan>(std::move(automl), std::string(name)));
}

}  // namespace turnout
