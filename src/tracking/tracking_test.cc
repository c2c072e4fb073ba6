#include "tracking/tracking.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "store/memory/memory_store.h"
#include "store/test_world.h"

namespace turnout {
namespace {

constexpr const char* kWs = "0123456789ab";

class TrackingTest : public testing::Test {
protected:
    ManualLoop loop;
    CountingRandom random;
    MemoryStore store;
    std::optional<Tracking> tracking;

    void SetUp() override { open(); }
    void open() { tracking.emplace(store, loop, random, loop); }

    // Runs to the end, with all commits it needs.
    template <class T>
    T run(Task<T> task) {
        auto outcome = begin(std::move(task));
        while (store.flush() > 0 || !outcome.done()) {
            if (!outcome.done() && store.queued() == 0) ADD_FAILURE() << "a task hangs";
            if (!outcome.done() && store.queued() == 0) break;
        }
        return std::move(*outcome);
    }
    std::string new_run() {
        const Experiment experiment = *run(tracking->ensure_experiment(kWs, "exp"));
        turnout::Run wanted;
        wanted.experiment_id = experiment.id;
        return run(tracking->create_run(kWs, wanted))->id;
    }
    turnout::Run read(const std::string& id) { return **tracking->find_run(kWs, id); }
};

LogBatch metric(std::string key, double value, std::int64_t time = 1, std::int64_t step = 0) {
    LogBatch batch;
    batch.metrics.push_back({std::move(key), value, time, step});
    return batch;
}
LogBatch param(std::string key, std::string value) {
    LogBatch batch;
    batch.params.emplace_back(std::move(key), std::move(value));
    return batch;
}
LogBatch from_agent(LogBatch batch, int attempt, std::uint64_t sequence, int rank = 0) {
    batch.origin = LogBatch::Origin{attempt, sequence, rank};
    return batch;
}

TEST_F(TrackingTest, TheNodesOfAnAttemptCountAlone) {
    const auto id = new_run();
    for (int rank : {0, 2, 0, 2, 1})
        ASSERT_TRUE(run(tracking->log(
            kWs, id, from_agent(metric("m" + std::to_string(rank), 1, 1), 1, 1, rank))));
    for (const char* key : {"m0", "m1", "m2"})
        EXPECT_EQ(tracking->metric_history(kWs, id, key, 10)->size(), 1u) << key;
    ASSERT_TRUE(run(tracking->log(kWs, id, from_agent(metric("late", 1), 1, 1, 2))));
    EXPECT_TRUE(tracking->metric_history(kWs, id, "late", 10)->empty());
    ASSERT_TRUE(run(tracking->log(kWs, id, from_agent(metric("late", 1), 1, 2, 2))));
    EXPECT_EQ(tracking->metric_history(kWs, id, "late", 10)->size(), 1u);
}

TEST_F(TrackingTest, AnExperimentIsMadeOnceEvenByTwoAtATime) {
    auto one = begin(tracking->ensure_experiment(kWs, "exp"));
    auto two = begin(tracking->ensure_experiment(kWs, "exp"));
    while (store.flush() > 0) {
    }
    ASSERT_TRUE(one.done() && two.done());
    EXPECT_EQ((*one)->id, (*two)->id);
    EXPECT_EQ((*one)->id.size(), 15u);
    EXPECT_EQ((*one)->id.find_first_not_of("0123456789"), std::string::npos);
    EXPECT_EQ(tracking->list_experiments(kWs)->size(), 1u);
    EXPECT_EQ((*tracking->experiment_by_id(kWs, (*one)->id))->name, "exp");
    EXPECT_FALSE(tracking->experiment_by_id("another", (*one)->id)->has_value());
    EXPECT_EQ(run(tracking->create_experiment(kWs, "exp", Json::object())).error().reason,
              "ResourceExists");
}

TEST_F(TrackingTest, AnExperimentIsRenamedAndTagged) {
    const std::string id = run(tracking->ensure_experiment(kWs, "old"))->id;
    run(tracking->ensure_experiment(kWs, "other"));
    EXPECT_EQ(run(tracking->update_experiment(kWs, id, "other", Json::object())).error().code,
              Code::Conflict);
    ASSERT_TRUE(run(tracking->update_experiment(kWs, id, "new", Json::object({{"a", "b"}}))));
    EXPECT_FALSE(tracking->experiment_by_name(kWs, "old")->has_value());
    EXPECT_EQ((*tracking->experiment_by_id(kWs, id))->tags.at("a").as_view(), "b");
    EXPECT_EQ(run(tracking->update_experiment("another", id, "x", Json::object())).error().code,
              Code::NotFound);
}

TEST_F(TrackingTest, AllWhoTagAnExperimentGetThrough) {
    const std::string id = run(tracking->ensure_experiment(kWs, "exp"))->id;
    using Update = decltype(begin(tracking->update_experiment(kWs, id, std::nullopt, Json())));
    std::vector<Update> updates;
    for (int i = 0; i < 40; ++i)
        updates.push_back(begin(tracking->update_experiment(
            kWs, id, i == 20 ? std::optional<std::string>("renamed") : std::nullopt,
            Json::object({{"t" + std::to_string(i), "1"}}))));
    while (store.flush() > 0) {
    }
    for (const Update& update : updates) EXPECT_TRUE(update.done() && *update);
    EXPECT_EQ((*tracking->experiment_by_name(kWs, "renamed"))->tags.members().size(), 40u);
}

// What a tag becomes follows from what it is in that turn.
TEST_F(TrackingTest, TagsAreChangedInTheirTurn) {
    ASSERT_TRUE(run(tracking->ensure_job_run(kWs, "j", "exp", "j", "me")));
    const auto append = [&](std::string what) {
        RunEdit edit;
        edit.tags.emplace_back("list", [what](std::string_view now) {
            return std::optional(std::string(now) + what);
        });
        return begin(tracking->edit_run(kWs, "j", std::move(edit)));
    };
    auto a = append("a"), b = append("b"), c = append("c");
    auto long_one = append(std::string(9'000, 'x'));
    while (store.flush() > 0) {
    }
    EXPECT_TRUE(*a && *b && *c);
    EXPECT_FALSE(*long_one);
    EXPECT_EQ((*tracking->find_run(kWs, "j"))->tags.at("list").as_view(), "abc");
    RunEdit gone;
    gone.tags.emplace_back("list", [](std::string_view) { return std::optional<std::string>(); });
    gone.tags.emplace_back("mlflow.runName",
                           [](std::string_view) { return std::optional<std::string>("named"); });
    EXPECT_EQ(run(tracking->edit_run(kWs, "j", gone))->name, "named");
    EXPECT_FALSE((*tracking->find_run(kWs, "j"))->tags.has("list"));
}

TEST_F(TrackingTest, ParamsKeepTheirValue) {
    const std::string id = new_run();
    ASSERT_TRUE(run(tracking->log(kWs, id, param("lr", "0.1"))));
    EXPECT_TRUE(run(tracking->log(kWs, id, param("lr", "0.1"))));
    LogBatch mixed = param("lr", "0.2");
    mixed.params.emplace_back("other", "1");
    mixed.metrics.push_back({"loss", 1, 1, 1});
    EXPECT_EQ(run(tracking->log(kWs, id, mixed)).error().code, Code::InvalidArgument);
    const turnout::Run after = read(id);  // the whole batch was refused
    EXPECT_EQ(after.params.members().size(), 1u);
    EXPECT_TRUE(after.latest.empty());
}

TEST_F(TrackingTest, LimitsAndNames) {
    const std::string id = new_run();
    const auto code = [&](LogBatch batch) {
        const auto result = run(tracking->log(kWs, id, std::move(batch)));
        return result ? std::optional<Code>() : result.error().code;
    };
    LogBatch many;
    for (int i = 0; i < 1001; ++i) many.metrics.push_back({"m", 1.0 * i, i, i});
    EXPECT_EQ(code(many), Code::InvalidArgument);
    many.metrics.pop_back();
    EXPECT_EQ(code(many), std::nullopt);
    LogBatch params;
    for (int i = 0; i < 101; ++i) params.params.emplace_back("p" + std::to_string(i), "1");
    EXPECT_EQ(code(params), Code::InvalidArgument);
    EXPECT_EQ(code(metric(std::string(251, 'a'), 1)), Code::InvalidArgument);
    EXPECT_EQ(code(metric(std::string(250, 'a'), 1)), std::nullopt);
    for (const char* bad : {"", "/a", "a/", "a/../b", "..", "a//b", "a\nb", "<b>"})
        EXPECT_EQ(code(metric(bad, 1)), Code::InvalidArgument) << bad;
    EXPECT_EQ(code(metric("train/loss: a-b_c.d", 1)), std::nullopt);
    // Characters, not bytes; what is too long is refused, never cut.
    std::string accents, kanji;
    for (int i = 0; i < 6000; ++i) accents += "\u00e9";
    for (int i = 0; i < 130; ++i) kanji += "\u65e5";
    EXPECT_EQ(code(param("long", accents)), std::nullopt);
    EXPECT_EQ(read(id).params.at("long").as_view(), accents);
    EXPECT_EQ(code(param("longer", accents + "x")), Code::InvalidArgument);
    EXPECT_FALSE(read(id).params.has("longer"));
    EXPECT_EQ(code(metric(kanji, 1)), std::nullopt);
    EXPECT_EQ(code(metric(kanji + kanji, 1)), Code::InvalidArgument);
    EXPECT_EQ(run(tracking->log(kWs, "nobody", metric("a", 1))).error().code, Code::NotFound);
}

TEST_F(TrackingTest, TheLatestMetricIsByStepThenTimeThenValue) {
    const std::string id = new_run();
    run(tracking->log(kWs, id, metric("a", 5, 10, 2)));
    run(tracking->log(kWs, id, metric("a", 9, 99, 1)));  // an earlier step
    EXPECT_EQ(read(id).latest.at(0).value, 5);
    run(tracking->log(kWs, id, metric("a", 4, 11, 2)));  // later at the same step
    EXPECT_EQ(read(id).latest.at(0).value, 4);
    run(tracking->log(kWs, id, metric("a", 3, 11, 2)));  // a smaller value at the same moment
    EXPECT_EQ(read(id).latest.at(0).value, 4);
    run(tracking->log(kWs, id, metric("a", -1, 1, -7)));  // steps below zero come first
    const auto history = *tracking->metric_history(kWs, id, "a", 100);
    ASSERT_EQ(history.size(), 5u);
    EXPECT_EQ(history[0].step, -7);
    EXPECT_EQ(history[1].value, 9);
    EXPECT_EQ(history[2].value, 5);
    EXPECT_EQ(history[3].value, 3);
    EXPECT_EQ(history[4].value, 4);
}

TEST_F(TrackingTest, NotANumberAndInfinitySurvive) {
    const std::string id = new_run();
    LogBatch batch;
    batch.metrics = {{"nan", std::nan(""), 1, 1},
                     {"inf", std::numeric_limits<double>::infinity(), 1, 1},
                     {"minus", -std::numeric_limits<double>::infinity(), 1, 1},
                     {"third", 1.0 / 3, 1, 1}};
    ASSERT_TRUE(run(tracking->log(kWs, id, batch)));
    open();  // nothing cached
    const turnout::Run after = read(id);
    ASSERT_EQ(after.latest.size(), 4u);
    EXPECT_EQ(after.latest[0].key, "inf");
    EXPECT_TRUE(std::isinf(after.latest[0].value));
    EXPECT_LT(after.latest[1].value, 0);
    EXPECT_TRUE(std::isnan(after.latest[2].value));
    EXPECT_EQ(after.latest[3].value, 1.0 / 3);
    EXPECT_TRUE(std::isnan(tracking->metric_history(kWs, id, "nan", 9)->at(0).value));
    EXPECT_EQ(tracking->metric_history(kWs, id, "third", 9)->at(0).value, 1.0 / 3);
}

TEST_F(TrackingTest, AMetricIsNotMixedUpWithOneBeneathIt) {
    const std::string id = new_run();
    run(tracking->log(kWs, id, metric("a", 1)));
    run(tracking->log(kWs, id, metric("a/b", 2)));
    EXPECT_EQ(tracking->metric_history(kWs, id, "a", 9)->size(), 1u);
    EXPECT_EQ(tracking->metric_history(kWs, id, "a/b", 9)->size(), 1u);
}

TEST_F(TrackingTest, HistoryComesInPages) {
    const std::string id = new_run();
    LogBatch batch;
    for (int i = 0; i < 25; ++i) batch.metrics.push_back({"m", 1.0 * i, i, i});
    run(tracking->log(kWs, id, batch));
    std::vector<double> seen;
    std::string after;
    int pages = 0;
    do {
        const MetricPage page = *tracking->metric_page(kWs, id, "m", after, 10);
        for (const Metric& each : page.metrics) seen.push_back(each.value);
        after = page.next;
        ++pages;
    } while (!after.empty());
    EXPECT_EQ(pages, 3);
    ASSERT_EQ(seen.size(), 25u);
    for (int i = 0; i < 25; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], i);
}

TEST_F(TrackingTest, WhatAnAgentRepeatsIsAppliedOnce) {
    const std::string id = new_run();
    ASSERT_TRUE(run(tracking->log(kWs, id, from_agent(metric("a", 1, 1, 1), 1, 1))));
    ASSERT_TRUE(run(tracking->log(kWs, id, from_agent(metric("a", 2, 2, 2), 1, 2))));
    // Said again after a lost answer, with another content to see whether it is looked at.
    EXPECT_TRUE(run(tracking->log(kWs, id, from_agent(metric("a", 7, 7, 7), 1, 2))));
    EXPECT_EQ(tracking->metric_history(kWs, id, "a", 9)->size(), 2u);
    // The next attempt counts anew.
    EXPECT_TRUE(run(tracking->log(kWs, id, from_agent(metric("a", 3, 3, 3), 2, 1))));
    EXPECT_EQ(tracking->metric_history(kWs, id, "a", 9)->size(), 3u);
}

TEST_F(TrackingTest, TheSequenceIsDurableWithWhatItStandsFor) {
    const std::string id = new_run();
    auto lost = abandoned(
        [&] { return begin(tracking->log(kWs, id, from_agent(metric("a", 1, 1, 1), 1, 1))); });
    store.persist();  // durable, but the answer is lost with the server
    tracking.reset();
    MemoryStore after(store.crash());
    Tracking restarted(after, loop, random, loop);
    auto again = begin(restarted.log(kWs, id, from_agent(metric("a", 1, 5, 5), 1, 1)));
    after.flush();
    ASSERT_TRUE(again.done());
    EXPECT_TRUE(*again);
    EXPECT_EQ(restarted.metric_history(kWs, id, "a", 9)->size(), 1u);
}

TEST_F(TrackingTest, ManyAtATimeLoseNothingAndShareCommits) {
    const std::string id = new_run();
    std::vector<Outcome<Result<void>>> calls;
    for (int i = 0; i < 50; ++i)
        calls.push_back(begin(tracking->log(kWs, id, param("p" + std::to_string(i), "1"))));
    calls.push_back(
        begin(tracking->log(kWs, id, param("p3", "2"))));  // conflicts with one in flight
    EXPECT_TRUE(read(id).params.members().empty());        // only what is committed is seen
    int commits = 0;
    while (store.queued() > 0) {
        EXPECT_EQ(store.queued(), 1u);
        store.flush();
        ++commits;
    }
    EXPECT_LE(commits, 3);
    for (std::size_t i = 0; i < 50; ++i) {
        ASSERT_TRUE(calls[i].done());
        EXPECT_TRUE(*calls[i]);
    }
    EXPECT_EQ(calls[50]->error().code, Code::InvalidArgument);
    EXPECT_EQ(read(id).params.members().size(), 50u);
    EXPECT_EQ(read(id).params.at("p3").as_view(), "1");
}

TEST_F(TrackingTest, AFailedCommitIsForgotten) {
    const std::string id = new_run();
    store.fail_next(Error{Code::ResourceExhausted, "DiskFull", "disk full", {}, nullptr});
    auto failed = begin(tracking->log(kWs, id, param("a", "1")));
    auto queued = begin(tracking->log(kWs, id, param("a", "2")));
    while (store.flush() > 0) {
    }
    EXPECT_EQ(failed->error().code, Code::ResourceExhausted);
    EXPECT_TRUE(*queued);  // "1" never happened
    EXPECT_EQ(read(id).params.at("a").as_view(), "2");
}

TEST_F(TrackingTest, AnotherWriterOfTheRowIsNoticed) {
    const std::string id = new_run();
    run(tracking->log(kWs, id, param("a", "1")));
    Tracking other(store, loop, random, loop);
    run(other.log(kWs, id, param("b", "1")));
    EXPECT_TRUE(run(tracking->log(kWs, id, param("c", "1"))));  // from its cache first, then anew
    EXPECT_EQ(read(id).params.members().size(), 3u);
}

TEST_F(TrackingTest, RunsOfJobsAreMadeOnceAndEdited) {
    const turnout::Run made =
        *run(tracking->ensure_job_run(kWs, "job-1", "exp", "My job", "admin"));
    EXPECT_TRUE(made.of_job);
    EXPECT_EQ(run(tracking->ensure_job_run(kWs, "job-1", "exp", "Other", "admin"))->name, "My job");
    ASSERT_TRUE(run(tracking->update_run(kWs, "job-1", "FINISHED", 42, "Better")));
    EXPECT_EQ(read("job-1").status, "FINISHED");
    EXPECT_EQ(read("job-1").end_ms, 42);
    EXPECT_EQ(read("job-1").tags.at("mlflow.runName").as_view(), "Better");
    EXPECT_EQ(run(tracking->update_run(kWs, "job-1", "DONE", {}, {})).error().code,
              Code::InvalidArgument);
    RunEdit edit;
    edit.erase_tags = {"nothing"};
    EXPECT_EQ(run(tracking->edit_run(kWs, "job-1", edit)).error().code, Code::NotFound);
    edit.erase_tags = {};
    edit.deleted = true;
    run(tracking->edit_run(kWs, "job-1", edit));
    EXPECT_EQ(run(tracking->log(kWs, "job-1", param("a", "1"))).error().code,
              Code::FailedPrecondition);
}

TEST_F(TrackingTest, RunsAreListedNewestFirstInPages) {
    const Experiment experiment = *run(tracking->ensure_experiment(kWs, "exp"));
    std::vector<std::string> made;
    for (int i = 0; i < 5; ++i) {
        turnout::Run wanted;
        wanted.experiment_id = experiment.id;
        made.insert(made.begin(), run(tracking->create_run(kWs, wanted))->id);
        loop.pass(1ms);
    }
    std::vector<std::string> seen;
    std::string after;
    do {
        const RunPage page = *tracking->page_runs(kWs, experiment.id, after, 2);
        for (const turnout::Run& each : page.runs) seen.push_back(each.id);
        after = page.next;
    } while (!after.empty());
    EXPECT_EQ(seen, made);
    EXPECT_TRUE(tracking->list_runs(kWs, "1", 10)->empty());
}

}  // namespace
}  // namespace turnout
