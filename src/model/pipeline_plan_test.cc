#include "model/pipeline_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace turnout {
namespace {

using Index = std::int64_t;

Pipeline pipeline_of(const std::vector<std::vector<Index>>& after, bool continues = false) {
    Pipeline pipeline;
    for (std::size_t i = 0; i < after.size(); ++i) {
        PipelineStep step;
        step.name = std::string(1, static_cast<char>('a' + i % 26));
        step.display_name = step.name;
        step.compute = "serverless";
        step.after = after[i];
        step.definition = Json::object({{"command", step.name}});
        pipeline.steps.push_back(std::move(step));
    }
    pipeline.continue_on_step_failure = continues;
    return pipeline;
}

struct Played {
    explicit Played(Pipeline pipeline) : said(std::move(pipeline)) { start(); }
    void start() { plan = std::make_unique<PipelinePlan>(said, "p"); }
    // As after a restart: all it knows is what is stored.
    void restart() {
        const Json progress = *parse_json(plan->progress().dump());
        start();
        ASSERT_TRUE(plan->recover(progress));
    }
    GroupNext next() {
        GroupNext next = plan->next({begun, 0, 1, 1});
        begun = begun || !next.make.empty();
        for (const NextChild& child : next.make) EXPECT_TRUE(live.insert(child.index).second);
        return next;
    }
    ChildOutcome ends(Index index, JobStatus status, std::string_view why = "") {
        EXPECT_EQ(live.erase(index), 1u);
        const std::string name = child_name("p", index);
        return plan->child_ended({name, index, status, false, true,
                                  status == JobStatus::Failed ? agent_protocol::Cause::UserCode
                                                              : agent_protocol::Cause::None,
                                  why});
    }

    Pipeline said;
    std::unique_ptr<PipelinePlan> plan;
    std::set<Index> live;
    bool begun = false;
};

TEST(PipelinePlan, AllStepsAreMadeAndThoseBeginWhoseInputsAreThere) {
    Played p(pipeline_of({{}, {0}, {0}, {1, 2}}));
    EXPECT_EQ(p.plan->limits().max_total, 4);
    GroupNext next = p.next();
    ASSERT_EQ(next.make.size(), 4u);
    ASSERT_TRUE(next.make[3].own);
    EXPECT_EQ(next.make[3].own->role, "d");
    EXPECT_EQ(next.make[3].own->definition.at("command").as_string(), "d");
    EXPECT_EQ(next.resolve, (std::vector<Index>{0}));
    EXPECT_FALSE(next.end);
    EXPECT_EQ(p.plan->waits_for(3), "waits for steps 'b' (p_1), 'c' (p_2)");
    EXPECT_TRUE(p.next().resolve.empty()) << "said once";
    p.ends(0, JobStatus::Completed);
    EXPECT_EQ(p.next().resolve, (std::vector<Index>{1, 2}));
    p.ends(2, JobStatus::Completed);
    EXPECT_TRUE(p.next().resolve.empty());
    EXPECT_EQ(p.plan->waits_for(3), "waits for step 'b' (p_1)");
    p.ends(1, JobStatus::Completed);
    EXPECT_EQ(p.next().resolve, (std::vector<Index>{3}));
    p.ends(3, JobStatus::Completed);
    const GroupNext last = p.next();
    ASSERT_TRUE(last.end);
    EXPECT_EQ(last.end->status, JobStatus::Completed);
    EXPECT_EQ(last.end->message, "4 of 4 steps completed");
}

TEST(PipelinePlan, AFailureEndsAllThatGoesOn) {
    Played p(pipeline_of({{}, {}, {0}}));
    p.next();
    p.ends(0, JobStatus::Failed, "exit code 3\nmore");
    const GroupNext next = p.next();
    ASSERT_EQ(next.cancel.size(), 2u);
    EXPECT_EQ(next.cancel[0].first, 1);
    EXPECT_EQ(next.cancel[0].second, "step 'a' failed: the pipeline goes no further");
    EXPECT_FALSE(next.end);
    p.ends(1, JobStatus::Canceled);
    p.ends(2, JobStatus::Canceled);
    const GroupNext last = p.next();
    ASSERT_TRUE(last.end);
    EXPECT_EQ(last.end->status, JobStatus::Failed);
    EXPECT_EQ(last.end->cause, agent_protocol::Cause::UserCode);
    EXPECT_EQ(last.end->message,
              "step 'a' (p_0) failed: exit code 3; 0 of 3 steps completed, 1 failed, 2 canceled");
}

TEST(PipelinePlan, WhatDoesNotNeedAFailedStepGoesOnWhereThatIsWanted) {
    Played p(pipeline_of({{}, {}, {0}, {2}, {1}}, true));
    p.next();
    p.ends(0, JobStatus::Failed);
    GroupNext next = p.next();
    ASSERT_EQ(next.cancel.size(), 1u);
    EXPECT_EQ(next.cancel[0].first, 2);
    EXPECT_EQ(next.cancel[0].second, "step 'a' failed, and this one takes its outputs");
    p.ends(2, JobStatus::Canceled);
    next = p.next();
    ASSERT_EQ(next.cancel.size(), 1u);
    EXPECT_EQ(next.cancel[0].first, 3);
    p.ends(3, JobStatus::Canceled);
    p.ends(1, JobStatus::Completed);
    EXPECT_EQ(p.next().resolve, (std::vector<Index>{4}));
    p.ends(4, JobStatus::Completed);
    const GroupNext last = p.next();
    ASSERT_TRUE(last.end);
    EXPECT_EQ(last.end->status, JobStatus::Failed);
}

TEST(PipelinePlan, WhoeverCancelsAStepEndsWhatNeedsIt) {
    Played p(pipeline_of({{}, {0}}));
    p.next();
    p.ends(0, JobStatus::Canceled);
    const GroupNext next = p.next();
    ASSERT_EQ(next.cancel.size(), 1u);
    EXPECT_EQ(next.cancel[0].second, "step 'a' was canceled: the pipeline goes no further");
    p.ends(1, JobStatus::Canceled);
    EXPECT_EQ(p.next().end->status, JobStatus::Canceled);
}

TEST(PipelinePlan, CanceledItBeginsNothing) {
    Played p(pipeline_of({{}, {0}}));
    p.plan->stop(GroupPlan::Stop::Canceled);
    const GroupNext next = p.next();
    EXPECT_TRUE(next.make.empty());
    ASSERT_TRUE(next.end);
    EXPECT_EQ(next.end->status, JobStatus::Canceled);
}

TEST(PipelinePlan, ManyStepsAreMadeInSeveralTurns) {
    std::vector<std::vector<Index>> after(2'500);
    after[2'400] = {2'300};
    Played p(pipeline_of(after));
    std::size_t made = 0, asked = 0;
    int turns = 0;
    for (bool more = true; more; ++turns) {
        const GroupNext next = p.next();
        made += next.make.size();
        asked += next.resolve.size();
        more = next.more;
        for (const Index index : next.resolve) EXPECT_TRUE(p.live.contains(index));
    }
    EXPECT_EQ(made, 2'500u);
    EXPECT_EQ(asked, 2'499u);
    EXPECT_EQ(turns, 3);
    for (Index i = 0; i < 2'000; ++i) p.ends(i, JobStatus::Completed);
    EXPECT_LT(p.plan->progress().dump().size(), 200u) << "long runs are short";
}

TEST(PipelinePlan, StoredProgressThatCannotBeIsRefused) {
    for (const char* const bad : {R"({"created":2,"fates":"c3"})", R"({"created":1,"fates":"q1"})",
                                  R"({"created":0,"fates":"c1-1"})", R"({"created":9,"fates":""})",
                                  R"({"created":2,"fates":"c99999999999999999999"})"}) {
        PipelinePlan plan(pipeline_of({{}, {0}}), "p");
        EXPECT_FALSE(plan.recover(*parse_json(bad))) << bad;
    }
    for (const char* const bad :
         {R"({"steps":[]})", R"({"steps":[{"name":"a","after":[0]}]})",
          R"({"steps":[{"name":"a"}],"outputs":{"y":{"step":1,"output":"o"}}})"})
        EXPECT_FALSE(pipeline_from_json(*parse_json(bad))) << bad;
}

TEST(PipelinePlan, WhatIsStoredIsReadBack) {
    Pipeline pipeline = pipeline_of({{}, {0}}, true);
    pipeline.steps[1].display_name = "the second";
    pipeline.steps[1].priority = 2;
    pipeline.outputs.push_back({"model", 1, "out"});
    const Json json = to_json(pipeline);
    const auto read = pipeline_from_json(json);
    ASSERT_TRUE(read);
    EXPECT_EQ(to_json(*read).dump(), json.dump());
    const Json* giver = giver_of_output(json, "model");
    ASSERT_TRUE(giver);
    EXPECT_EQ(giver->at("output").as_string(), "out");
    EXPECT_FALSE(giver_of_output(json, "other"));
    EXPECT_FALSE(giver_of_output(Json(), "model"));
}

// Any order, any ends, a restart at any point: what was promised holds.
TEST(PipelinePlan, HoldsForAnyGraphAndAnyRestart) {
    for (std::uint32_t seed = 1; seed <= 2'000; ++seed) {
        std::mt19937 draw(seed);
        const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(draw() % n); };
        std::vector<std::vector<Index>> after(1 + below(12));
        for (std::size_t i = 1; i < after.size(); ++i) {
            std::set<Index> some;
            for (std::uint32_t n = below(3); n > 0; --n)
                some.insert(static_cast<Index>(below(static_cast<std::uint32_t>(i))));
            after[i].assign(some.begin(), some.end());
        }
        const bool continues = below(2) == 0;
        Played p(pipeline_of(after, continues));
        std::map<Index, JobStatus> ended;
        std::set<Index> runs, told_to_stop;
        std::optional<GroupEnd> end;
        bool failed = false, canceled = false;
        for (int step = 0; step < 500 && !end; ++step) {
            if (below(4) == 0) p.restart();
            if (HasFatalFailure()) return;
            if (!canceled && below(60) == 0) {
                canceled = true;
                p.plan->stop(GroupPlan::Stop::Canceled);
                told_to_stop = p.live;
            }
            GroupNext next = p.next();
            for (const Index index : next.resolve) {
                for (const Index before : after[static_cast<std::size_t>(index)])
                    ASSERT_EQ(ended[before], JobStatus::Completed) << seed;
                ASSERT_TRUE(p.live.contains(index)) << seed;
                ASSERT_FALSE(canceled) << seed;
                runs.insert(index);
            }
            for (const auto& [index, why] : next.cancel) {
                ASSERT_TRUE(failed) << seed;
                told_to_stop.insert(index);
            }
            end = next.end;
            if (end) break;
            std::vector<Index> can;
            for (const Index index : p.live)
                if (runs.contains(index) || told_to_stop.contains(index)) can.push_back(index);
            ASSERT_FALSE(can.empty() && !next.more) << seed << ": nothing goes on";
            if (can.empty()) continue;
            const Index index = can[below(static_cast<std::uint32_t>(can.size()))];
            JobStatus how = JobStatus::Completed;
            if (told_to_stop.contains(index))
                how = JobStatus::Canceled;
            else if (below(6) == 0)
                how = below(3) == 0 ? JobStatus::Canceled : JobStatus::Failed;
            if (how != JobStatus::Completed) failed = true;
            ended[index] = how;
            p.ends(index, how);
        }
        ASSERT_TRUE(end) << seed;
        ASSERT_TRUE(p.live.empty()) << seed;
        bool any_failed = false, all = ended.size() == after.size();
        for (const auto& [index, how] : ended) {
            any_failed = any_failed || how == JobStatus::Failed;
            all = all && how == JobStatus::Completed;
        }
        EXPECT_EQ(end->status, canceled     ? JobStatus::Canceled
                               : any_failed ? JobStatus::Failed
                               : all        ? JobStatus::Completed
                                            : JobStatus::Canceled)
            << seed;
        if (continues && !canceled)
            for (std::size_t i = 0; i < after.size(); ++i) {
                bool could = true;
                for (const Index before : after[i])
                    could = could && ended[before] == JobStatus::Completed;
                EXPECT_TRUE(!could || runs.contains(static_cast<Index>(i))) << seed;
            }
    }
}

}  // namespace
}  // namespace turnout
