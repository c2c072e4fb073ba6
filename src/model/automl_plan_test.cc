#include "model/automl_plan.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace turnout {
namespace {

using Index = std::int64_t;

AutoML automl_of(Index trials, Index at_once) {
    AutoML automl;
    automl.metric = "accuracy";
    automl.max_trials = trials;
    automl.max_concurrent = at_once;
    automl.compute = "serverless";
    automl.setup = automl.trial = automl.ensemble =
        Json::object({{"command", "python"}, {"inputs", Json::object()}});
    return automl;
}

struct PlayedAutoML {
    explicit PlayedAutoML(AutoML automl) : said(std::move(automl)) { start(); }
    void start() { plan = std::make_unique<AutoMLPlan>(said, "a"); }
    // As after a restart: all it knows is what is stored.
    void restart() {
        const Json progress = *parse_json(plan->progress().dump());
        start();
        ASSERT_TRUE(plan->recover(progress));
        for (const auto& [index, score] : logged) plan->observe(index, score);
    }
    GroupNext next() {
        GroupNext next = plan->next({begun, 0, 1, 1});
        begun = begun || !next.make.empty();
        for (const NextChild& child : next.make) {
            EXPECT_TRUE(live.insert(child.index).second);
            roles[child.index] = child.own->role;
            last = child.own->definition;
        }
        EXPECT_LE(static_cast<Index>(live.size()), said.max_concurrent);
        EXPECT_LE(plan->created(), plan->limits().max_total);
        return next;
    }
    ChildOutcome ends(Index index, JobStatus status, std::optional<double> score = {}) {
        EXPECT_EQ(live.erase(index), 1u);
        if (score) plan->observe(index, *score);
        logged.erase(index);
        const std::string name = child_name("a", index);
        return plan->child_ended({name, index, status, false, true,
                                  status == JobStatus::Failed ? agent_protocol::Cause::UserCode
                                                              : agent_protocol::Cause::None,
                                  status == JobStatus::Failed ? "bad" : ""});
    }
    void prepare() {
        next();
        ends(0, JobStatus::Completed);
    }

    AutoML said;
    std::unique_ptr<AutoMLPlan> plan;
    std::set<Index> live;
    std::map<Index, double> logged;
    std::map<Index, std::string> roles;
    Json last;
    bool begun = false;
};

TEST(AutoMLPlan, TheDataComesFirstThenTrialsThenEnsemblesOfTheBest) {
    PlayedAutoML a(automl_of(3, 2));
    EXPECT_EQ(a.plan->limits().max_total, 6);
    GroupNext next = a.next();
    ASSERT_EQ(next.make.size(), 1u);
    EXPECT_EQ(a.roles[0], kAutoMLSetup);
    EXPECT_EQ(next.resolve, (std::vector<Index>{0}));
    EXPECT_TRUE(a.next().make.empty()) << "nothing before the data is prepared";
    a.ends(0, JobStatus::Completed);
    next = a.next();
    EXPECT_EQ(next.make.size(), 2u);
    EXPECT_EQ(next.resolve, (std::vector<Index>{1, 2}));
    EXPECT_EQ(a.last.at("inputs").at("index").at("value").as_view(), "2");
    a.ends(2, JobStatus::Completed, 0.7);
    EXPECT_EQ(a.next().make.size(), 1u);
    a.ends(1, JobStatus::Completed, 0.9);
    EXPECT_TRUE(a.next().make.empty()) << "trial 3 still runs";
    EXPECT_EQ(a.ends(3, JobStatus::Failed).words[0].find("trial (a_3) Failed"), 0u);
    next = a.next();
    ASSERT_EQ(next.make.size(), 2u);
    EXPECT_EQ(a.roles[4], kAutoMLEnsemble);
    EXPECT_EQ(a.last.at("inputs").at("method").at("value").as_view(), "StackEnsemble");
    EXPECT_EQ(a.last.at("inputs").at("model_1").at("uri").as_view(),
              "azureml://jobs/a_1/outputs/model");
    EXPECT_EQ(a.last.at("command").as_view(), "python ${{inputs.model_1}} ${{inputs.model_2}}")
        << "the best first";
    a.ends(4, JobStatus::Completed, 0.95);
    EXPECT_FALSE(a.next().end);
    a.ends(5, JobStatus::Completed, 0.8);
    next = a.next();
    ASSERT_TRUE(next.end);
    EXPECT_EQ(next.end->status, JobStatus::Completed);
    EXPECT_EQ(next.end->message,
              "4 of 5 trials and ensembles completed, 1 failed; the best is a_4 with accuracy = "
              "0.95");
    EXPECT_EQ(a.plan->progress().at("best").as_int(), 4);
}

TEST(AutoMLPlan, AScoreThatIsGoodEnoughEndsTheSearch) {
    for (const bool up : {true, false}) {
        AutoML automl = automl_of(100, 3);
        automl.maximize = up;
        automl.exit_score = 0.5;
        PlayedAutoML a(automl);
        a.prepare();
        a.next();
        a.ends(1, JobStatus::Completed, up ? 0.4 : 0.6);
        EXPECT_EQ(a.next().make.size(), 1u);
        a.ends(2, JobStatus::Completed, 0.5);
        const GroupNext next = a.next();
        EXPECT_TRUE(next.make.empty());
        ASSERT_EQ(next.cancel.size(), 2u);
        EXPECT_EQ(next.cancel[0].second, "a trial reached the exit score of 0.5");
        a.ends(3, JobStatus::Canceled);
        a.ends(4, JobStatus::Canceled);
        const GroupNext last = a.next();
        EXPECT_TRUE(last.make.empty()) << "no ensembles: it is good enough";
        ASSERT_TRUE(last.end);
        EXPECT_EQ(last.end->status, JobStatus::Completed);
        EXPECT_EQ(a.plan->progress().at("best").as_int(), 2);
    }
}

TEST(AutoMLPlan, WhenNothingBetterComesTheSearchEnds) {
    for (const bool ends : {true, false}) {
        AutoML automl = automl_of(40, 1);
        automl.early_termination = ends;
        automl.voting = automl.stacking = false;
        PlayedAutoML a(automl);
        a.prepare();
        Index made = 0;
        for (GroupNext next = a.next(); !next.end; next = a.next())
            for (const NextChild& child : next.make)
                a.ends(child.index, JobStatus::Completed, ++made == 15 ? 1.0 : 0.5);
        EXPECT_EQ(made, ends ? 25 : 40);
    }
}

TEST(AutoMLPlan, WhenTheTimeIsOverWhatWasFoundStays) {
    PlayedAutoML a(automl_of(100, 2));
    EXPECT_FALSE(a.plan->time_is_up()) << "nothing to go on with";
    a.prepare();
    a.next();
    a.ends(1, JobStatus::Completed, 0.4);
    a.next();
    EXPECT_TRUE(a.plan->time_is_up());
    EXPECT_FALSE(a.plan->stopped());
    a.restart();
    EXPECT_EQ(a.next().cancel.size(), 2u);
    a.ends(2, JobStatus::Completed, 0.6);  // it was quicker
    a.ends(3, JobStatus::Canceled);
    EXPECT_EQ(a.next().make.size(), 2u) << "the ensembles";
    a.ends(4, JobStatus::Failed);
    a.ends(5, JobStatus::Failed);
    const GroupNext last = a.next();
    ASSERT_TRUE(last.end);
    EXPECT_EQ(last.end->status, JobStatus::Completed);
}

TEST(AutoMLPlan, HowItEndsWithoutAModel) {
    {
        PlayedAutoML a(automl_of(5, 1));
        a.next();
        a.ends(0, JobStatus::Failed);
        const GroupNext next = a.next();
        ASSERT_TRUE(next.end);
        EXPECT_EQ(next.end->status, JobStatus::Failed);
        EXPECT_EQ(next.end->message, "setup a_0 failed: bad; 0 of 0 trials completed, 1 failed");
    }
    {
        PlayedAutoML a(automl_of(100, 1));
        a.prepare();
        Index made = 0;
        GroupNext next = a.next();
        for (; !next.end; next = a.next())
            for (const NextChild& child : next.make) ++made, a.ends(child.index, JobStatus::Failed);
        EXPECT_EQ(made, kAutoMLFailures) << "the others would fail, too";
        EXPECT_EQ(next.end->status, JobStatus::Failed);
    }
    {
        PlayedAutoML a(automl_of(2, 2));
        a.prepare();
        a.next();
        a.plan->stop(GroupPlan::Stop::Canceled);
        a.restart();
        EXPECT_TRUE(a.next().make.empty());
        EXPECT_FALSE(a.next().end);
        a.ends(1, JobStatus::Canceled);
        a.ends(2, JobStatus::Completed, 0.4);
        const GroupNext next = a.next();
        ASSERT_TRUE(next.end);
        EXPECT_EQ(next.end->status, JobStatus::Canceled);
    }
    {
        PlayedAutoML a(automl_of(1, 1));
        a.prepare();
        a.next();
        a.ends(1, JobStatus::Completed);
        const GroupNext next = a.next();
        ASSERT_TRUE(next.end);
        EXPECT_EQ(next.end->status, JobStatus::Failed);
        EXPECT_EQ(next.end->message.find("no trial has logged accuracy"), 0u);
    }
}

// Whatever happens, and however often the server is begun anew, it comes to its end, and the best
// child is the one with the best score.
TEST(AutoMLPlan, AnyHistoryEnds) {
    for (unsigned seed = 0; seed < 300; ++seed) {
        std::mt19937 random(seed);
        const auto chance = [&](int of) { return static_cast<int>(random() % 100) < of; };
        AutoML automl = automl_of(1 + random() % 40, 1 + random() % 4);
        automl.maximize = chance(50);
        automl.voting = chance(50);
        automl.stacking = chance(50);
        automl.early_termination = chance(50);
        if (chance(20)) automl.exit_score = 0.5;
        PlayedAutoML a(automl);
        std::optional<double> best;
        bool told = false, over = false;
        for (int step = 0; step < 1000 && !over; ++step) {
            if (chance(15)) a.restart();
            if (chance(1)) told = a.plan->time_is_up() || told;
            if (chance(1)) a.plan->stop(GroupPlan::Stop::Canceled);
            const GroupNext next = a.next();
            for (const auto& [index, why] : next.cancel)
                if (a.live.contains(index) && chance(50)) a.ends(index, JobStatus::Canceled);
            over = next.end.has_value();
            EXPECT_TRUE(!over || a.live.empty());
            if (a.live.empty()) continue;
            const Index index = *std::next(a.live.begin(), random() % a.live.size());
            const bool good = index == 0 || chance(80);
            const double score = static_cast<double>(random() % 1000) / 1000.0;
            a.ends(index, good ? JobStatus::Completed : JobStatus::Failed,
                   good && index > 0 ? std::optional(score) : std::nullopt);
            if (good && index > 0 && (!best || automl.better(score, *best))) best = score;
        }
        EXPECT_TRUE(over) << seed;
        const Json progress = a.plan->progress();
        EXPECT_EQ(progress.at("best").as_int(-1) >= 0, best.has_value()) << seed;
        if (best) {
            EXPECT_EQ(progress.at("best_score").as_double(), *best) << seed;
        }
    }
}

}  // namespace
}  // namespace turnout
