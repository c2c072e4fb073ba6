#include "model/sweep_words.h"

#include <gtest/gtest.h>

namespace turnout {
namespace {

Sweep sweep_for(std::string metric, std::int64_t trials) {
    Sweep sweep;
    sweep.objective.primary_metric = std::move(metric);
    sweep.limits.max_total_trials = trials;
    return sweep;
}

std::string meant(std::string_view metric, std::vector<std::string> logged) {
    return meant_metric(metric, logged);
}

TEST(SweepWords, TheMetricThatWasMeant) {
    EXPECT_EQ(meant("accuracy", {"loss", "Accuracy"}), "Accuracy");
    EXPECT_EQ(meant("Accuracy ", {"loss", "accuracy"}), "accuracy");
    EXPECT_EQ(meant("val_loss", {"loss", "Val-Loss"}), "Val-Loss");
    EXPECT_EQ(meant("acc", {"loss", "eval_of_the_acc", "val_acc"}), "val_acc")
        << "the one with the least more";
    EXPECT_EQ(meant("val_acc", {"loss", "acc"}), "acc");
    EXPECT_EQ(meant("acuracy", {"loss", "accuracy"}), "accuracy");
    EXPECT_EQ(meant("accuracy", {"loss", "f1"}), "");
    EXPECT_EQ(meant("x", {"x_1", "y"}), "") << "one letter begins too much";
    EXPECT_EQ(meant(" ", {"_", "a"}), "");
    EXPECT_EQ(meant("größe", {"Größe"}), "Größe");
    EXPECT_EQ(meant("acc", {}), "");
}

TEST(SweepWords, WhatWasLoggedInsteadIsNamed) {
    const Objective acc{.primary_metric = "acuracy", .maximize = true};
    const auto words = [&](std::vector<std::string> logged) {
        return missing_metric_words(acc, "s_0", logged);
    };
    EXPECT_EQ(words({"loss", "accuracy"}),
              "s_0 completed without the primary metric 'acuracy': it logged 'accuracy', 'loss'; "
              "did you mean 'accuracy'?");
    EXPECT_EQ(words({"f1"}), "s_0 completed without the primary metric 'acuracy': it logged 'f1'");
    EXPECT_EQ(words({}),
              "s_0 completed without the primary metric 'acuracy': it logged no metric at all "
              "(mlflow.log_metric does that)");
    EXPECT_EQ(words({"acuracy", "accuracy"}),
              "s_0 completed without the primary metric 'acuracy': what it logged under that name "
              "is no number that can be compared (NaN or infinite)");
    std::vector<std::string> many;
    for (int i = 0; i < 2'000; ++i) many.push_back("m" + std::to_string(i));
    many.push_back("accuracy");
    EXPECT_EQ(words(many),
              "s_0 completed without the primary metric 'acuracy': it logged 'accuracy', 'm0', "
              "'m1', 'm2', 'm3' and 1,996 more; did you mean 'accuracy'?");
    const std::string long_one = words({std::string(250, 'x'), "é" + std::string(100, 'y')});
    EXPECT_LT(long_one.size(), 300u) << "names are the user's: the sentence stays one";
}

TEST(SweepWords, HowFarItIs) {
    const Sweep sweep = sweep_for("acc", 100);
    EXPECT_EQ(sweep_words(sweep, {}), "0 of 100 trials ended");
    EXPECT_EQ(sweep_words(
                  sweep,
                  {.created = 20, .completed = 10, .failed = 2, .canceled = 3, .stopped_early = 2}),
              "15 of 100 trials ended: 10 completed, 2 failed, 2 stopped early, 1 canceled");
    SweepProgress progress{
        .created = 20, .completed = 10, .without_metric = 10, .metric_problem = "s_0 has none"};
    EXPECT_EQ(sweep_standing(sweep, progress),
              "10 of 100 trials ended: 10 completed (10 without 'acc'); s_0 has none");
    progress.best = 7;
    progress.best_score = 0.5;
    EXPECT_EQ(sweep_standing(sweep, progress),
              "10 of 100 trials ended: 10 completed (10 without 'acc')")
        << "one has it: the name is right";
}

TEST(SweepWords, TheEndIsNotABareWord) {
    const Sweep sweep = sweep_for("acc", 4);
    SweepProgress progress{.created = 4,
                           .completed = 3,
                           .failed = 1,
                           .without_metric = 1,
                           .best = 2,
                           .best_score = 0.75};
    EXPECT_EQ(sweep_end(sweep, progress, "s")->message,
              "4 of 4 trials ended: 3 completed (1 without 'acc'), 1 failed; the best trial is "
              "s_2, acc = 0.75");
    progress.timed_out = true;
    EXPECT_EQ(sweep_end(sweep, progress, "s")->status, JobStatus::Canceled);
    EXPECT_NE(sweep_end(sweep, progress, "s")->message.find("the best trial is s_2"),
              std::string::npos);
    SweepProgress none{.created = 4,
                       .completed = 4,
                       .without_metric = 4,
                       .metric_problem = "s_0 completed without it"};
    EXPECT_EQ(sweep_end(sweep, none, "s")->status, JobStatus::Completed)
        << "as in Azure ML: its trials did run";
    EXPECT_EQ(sweep_end(sweep, none, "s")->message,
              "4 of 4 trials ended: 4 completed (4 without 'acc'); there is no best trial: s_0 "
              "completed without it");
}

}  // namespace
}  // namespace turnout
