// Sweeps in control: trials come in batches, are counted, stopped, and the sweep ends.
#include "model/sweep.h"
#include "control/test_world.h"
#include "tracking/run_record.h"

namespace turnout {
namespace {

using namespace control_test;

Json json(std::string_view text) {
    return *parse_json(text);
}

JobSubmission sweep_of(std::string name, std::string_view definition) {
    JobSubmission job = World::submission(std::move(name), "c");
    job.type = JobType::Sweep;
    job.definition = json(definition);
    job.task.command = "train --lr ${{search_space.lr}}";
    job.task.variables = {{"AZUREML_RUN_ID", std::string(ap::kJobPlaceholder)}};
    job.task.mlflow_experiment_id = "7";
    return job;
}

constexpr const char* kGrid = R"({"jobType":"Sweep","searchSpace":{"lr":["choice",[[1,2,3,4,5,6]]]},
"samplingAlgorithm":{"samplingAlgorithmType":"Grid"},"objective":{"goal":"maximize","primaryMetric":"acc"},
"limits":{"maxConcurrentTrials":2,"timeout":"PT1H"},"trial":{"command":"train --lr ${{search_space.lr}}","environmentId":"e"}})";

// The same over so many values, without limits.
std::string grid_of(int count) {
    Json definition = json(kGrid);
    Json values = Json::array();
    for (int i = 0; i < count; ++i) values.push(i);
    definition["searchSpace"].set("lr", Json::array({"choice", Json::array({values})}));
    definition.erase("limits");
    return definition.dump();
}

class Sweeps : public testing::Test {
protected:
    std::string submit(const std::string& name, std::string_view definition = kGrid) {
        std::string answer = "no answer";
        w.control->submit(sweep_of(name, definition),
                          [&](Result<Put> r) { answer = World::said_put(r); });
        w.settle();
        return answer;
    }
    // Cluster "c" with two connected nodes.
    void ready() {
        Compute cluster = World::cluster("c", 2, 2);
        w.put(cluster);
        w.connect(first);
        w.connect(second);
        w.said();
    }
    void log(const std::string& trial, double value, std::int64_t step = 0) {
        Batch batch;
        batch.put(Table::Metric, metric_key("ws/" + trial, {"acc", value, 1'000 + step, step}),
                  Json(value).dump());
        w.store->commit(std::move(batch), [](Result<std::uint64_t>) {});
        w.settle();
        w.control->metrics_logged("ws", trial);
        w.settle();
    }
    NodeId node_of(const std::string& trial) {
        const auto job = w.job(trial);
        return job && job->placed() ? "ws/c/" + job->attempts.back().nodes().front() : "";
    }
    void ends(const std::string& trial, ap::Cause cause = ap::Cause::None) {
        w.ends(node_of(trial), trial, cause);
    }

    World w;
    const NodeId first = "ws/c/node-1", second = "ws/c/node-2";
};

TEST_F(Sweeps, TrialsAreJobsThatHaveWhatTheyShareFromTheSweep) {
    ready();
    ASSERT_EQ(submit("s"), "created");
    EXPECT_EQ(w.status("s"), JobStatus::Running);
    const auto trial = w.job("s_0");
    ASSERT_TRUE(trial);
    EXPECT_EQ(trial->child.group, "s");
    EXPECT_EQ(trial->child.parameters.dump(), R"({"lr":"1"})");
    EXPECT_EQ(trial->definition.at("jobType").as_view(), "Command");
    EXPECT_EQ(trial->definition.at("environmentId").as_view(), "e");
    EXPECT_EQ(trial->compute, "c");
    EXPECT_EQ(trial->principal, "me");
    EXPECT_EQ(trial->meta.display_name, "s_0");
    const auto task = read_task(*w.store, *trial);
    ASSERT_TRUE(task);
    EXPECT_EQ(task->command, "train --lr ${{search_space.lr}}")
        << "a value is put in where it is known how it is to be quoted";
    EXPECT_EQ(task->variables, (std::vector<std::pair<std::string, std::string>>{
                                   {"AZUREML_RUN_ID", "s_0"}, {"AZUREML_SWEEP_lr", "1"}}));
    EXPECT_EQ(w.count(Table::TaskBase), 1u);
    EXPECT_EQ(w.count(Table::JobCreated), 1u) << "trials are listed with their sweep";
    EXPECT_EQ(w.count(Table::RunCreated), 2u) << "and found as runs";
    const auto run = find_trial(*w.store, "ws", "s_1");
    ASSERT_TRUE(run && *run);
    EXPECT_EQ((*run)->sweep, "s");
    EXPECT_EQ((*run)->parameters.dump(), R"({"lr":"2"})");
    EXPECT_FALSE(*find_trial(*w.store, "ws", "s"));
}

TEST_F(Sweeps, GoesOnUntilAllTrialsHaveEndedAndNamesTheBest) {
    ready();
    submit("s");
    EXPECT_FALSE(w.job("s_2")) << "two at a time";
    for (int i = 0; i < 6; ++i) {
        const std::string trial = "s_" + std::to_string(i);
        ASSERT_NE(node_of(trial), "") << trial;
        log(trial, i == 3 ? 0.9 : 0.1 * i);
        ends(trial, i == 5 ? ap::Cause::UserCode : ap::Cause::None);
    }
    EXPECT_EQ(w.status("s"), JobStatus::Completed);
    const auto sweep = w.job("s");
    EXPECT_EQ(sweep->sweep.completed, 5);
    EXPECT_EQ(sweep->sweep.failed, 1);
    EXPECT_EQ(sweep->sweep.best, 3);
    EXPECT_EQ(sweep->sweep.best_score, 0.9);
    // Each trial's row keeps its score, for those who show them all.
    const auto score_of = [&](const std::string& trial) {
        return parse_json((*w.store->get(Table::JobState, "ws/" + trial))->value)->at("score");
    };
    EXPECT_EQ(score_of("s_3").as_double(), 0.9);
    EXPECT_EQ(score_of("s_2").as_double(), 0.2);
    EXPECT_TRUE(sweep->ended);
    EXPECT_FALSE(w.job("s_6"));
    EXPECT_EQ(w.count(Table::JobLive), 0u);
}

TEST_F(Sweeps, WhatItsTrialsTookIsAddedUpUntilItIsDeleted) {
    ready();
    submit("s");
    for (int i = 0; i < 6; ++i) ends("s_" + std::to_string(i));
    const auto row = w.store->get(Table::Ledger, "ws/sweep/s");
    ASSERT_TRUE(row && *row);
    const Totals totals = *totals_from_json(*parse_json((*row)->value));
    EXPECT_EQ(totals.completed, 6);
    EXPECT_EQ(totals.attempts, 6);
    EXPECT_EQ(totals.used_dedicated, 6min);
    EXPECT_EQ(w.job("s")->error_message,
              "6 of 6 trials ended: 6 completed (6 without 'acc'); there is no best trial: s_0 "
              "completed without the primary metric 'acc': "
              "it logged no metric at all (mlflow.log_metric does that)");
    w.restart();
    EXPECT_EQ(w.remove("s"), "ok");
    EXPECT_FALSE(*w.store->get(Table::Ledger, "ws/sweep/s"));
    EXPECT_TRUE(*w.store->get(Table::Ledger, "ws/experiment/"));
}

TEST_F(Sweeps, AMissingMetricIsToldAtTheFirstTrialThatEndsWithoutIt) {
    ready();
    submit("s");
    RunRecord run;
    run.run.id = "s_1";
    run.run.latest = {{"ACC", 0.5, 1, 0}, {"loss", 1, 1, 0}};
    Batch batch;
    batch.put(Table::Run, "ws/s_1", encode(run));
    w.store->commit(std::move(batch), [](Result<std::uint64_t>) {});
    w.settle();
    ends("s_0", ap::Cause::UserCode);
    EXPECT_EQ(w.control->waiting_for("ws", "s"), "1 of 6 trials ended: 1 failed")
        << "of one that failed nothing is expected";
    ends("s_1");
    const std::string told =
        "s_1 completed without the primary metric 'acc': it logged 'ACC', 'loss'; did you mean "
        "'ACC'?";
    EXPECT_EQ(w.control->waiting_for("ws", "s"),
              "2 of 6 trials ended: 1 completed (1 without 'acc'), 1 failed; " + told);
    EXPECT_NE(w.effects.sweep_log.find(" " + told + "\n"), std::string::npos)
        << w.effects.sweep_log;
    std::string events;
    const std::vector<Record> rows = w.store->scan(Table::Event, with_prefix("")).value();
    for (const Record& row : rows) events += row.value;
    EXPECT_NE(events.find(R"("what":"warning")"), std::string::npos) << events;
    w.restart();
    EXPECT_NE(w.control->waiting_for("ws", "s").find(told), std::string::npos) << "over a restart";
    w.connect(first, {World::attempt("s_2")});
    w.connect(second, {World::attempt("s_3")});
    for (int i = 2; i < 6; ++i) ends("s_" + std::to_string(i));
    EXPECT_EQ(w.status("s"), JobStatus::Completed);
    EXPECT_EQ(w.job("s")->sweep.without_metric, 5);
    EXPECT_EQ(
        w.job("s")->error_message,
        "6 of 6 trials ended: 5 completed (5 without 'acc'), 1 failed; there is no best trial: " +
            told);
    EXPECT_EQ(w.effects.sweep_log.find("s_2 completed without"), std::string::npos)
        << "said once: " << w.effects.sweep_log;
}

TEST_F(Sweeps, ARestartHalfWayContinuesWhereItWas) {
    ready();
    submit("s");
    log("s_0", 0.8);
    log("s_1", 0.5);
    ends("s_0");
    w.restart();
    w.connect(first, {World::attempt(node_of("s_1") == first ? "s_1" : "s_2")});
    w.connect(second, {World::attempt(node_of("s_1") == second ? "s_1" : "s_2")});
    EXPECT_EQ(w.job("s")->sweep.created, 3);
    ends("s_1");
    for (int i = 2; i < 6; ++i) ends("s_" + std::to_string(i));
    EXPECT_EQ(w.status("s"), JobStatus::Completed);
    EXPECT_EQ(w.job("s")->sweep.completed, 6) << "none twice, none left out";
    EXPECT_EQ(w.job("s")->sweep.best, 0);
    EXPECT_EQ(w.job("s_5")->child.parameters.dump(), R"({"lr":"6"})");
}

TEST_F(Sweeps, ARestartKeepsTheOrderAmongTrialsAndJobs) {
    w.put(World::cluster("c", 0, 0));
    ASSERT_EQ(submit("s"), "created");
    w.clock.pass(1s);
    ASSERT_EQ(w.submit("later", "c"), "created");
    for (int lives = 0; lives < 2; ++lives) {
        ASSERT_TRUE(w.control->waiting("ws", "later"));
        EXPECT_EQ(w.control->waiting("ws", "later")->ahead, 2u);
        w.restart();
    }
}

TEST_F(Sweeps, ACrashBeforeTheCommitLeavesNothingHalfDone) {
    ready();
    std::string answer = "no answer";
    w.control->submit(sweep_of("s", kGrid), [&](Result<Put> r) { answer = World::said_put(r); });
    w.restart();  // nothing of it was durable
    EXPECT_EQ(answer, "no answer");
    EXPECT_FALSE(w.job("s"));
    EXPECT_FALSE(w.job("s_0"));
    EXPECT_EQ(w.count(Table::RunCreated), 0u);
}

TEST_F(Sweeps, CancelEndsAllOfItsTrials) {
    ready();
    submit("s");
    EXPECT_EQ(w.cancel("s"), "ok");
    EXPECT_EQ(w.status("s"), JobStatus::CancelRequested);
    EXPECT_EQ(w.status("s_0"), JobStatus::CancelRequested);
    ends("s_0", ap::Cause::Canceled);
    w.restart();
    EXPECT_EQ(w.status("s"), JobStatus::CancelRequested);
    w.connect(node_of("s_1"), {World::attempt("s_1")});
    ends("s_1", ap::Cause::Canceled);
    EXPECT_EQ(w.status("s"), JobStatus::Canceled);
    EXPECT_FALSE(w.job("s_2"));
}

TEST_F(Sweeps, TimeRunsOutOverRestarts) {
    ready();
    submit("s");
    w.pass(40min);
    w.restart();
    w.connect(first, {World::attempt("s_0"), World::attempt("s_1")});
    w.connect(second, {World::attempt("s_0"), World::attempt("s_1")});
    EXPECT_EQ(w.status("s"), JobStatus::Running);
    w.pass(21min);
    EXPECT_EQ(w.status("s"), JobStatus::CancelRequested);
    ends("s_0", ap::Cause::Canceled);
    ends("s_1", ap::Cause::Canceled);
    const auto sweep = w.job("s");
    EXPECT_EQ(sweep->status, JobStatus::Canceled);
    EXPECT_EQ(sweep->cause, ap::Cause::Timeout);
    EXPECT_EQ(sweep->error_message,
              "the sweep ran out of its time limit of 1 h; 2 of 6 trials ended: 2 canceled");
}

TEST_F(Sweeps, ThePolicyStopsWhatIsWorse) {
    ready();
    Json definition = json(kGrid);
    definition.set("earlyTermination",
                   json(R"({"policyType":"Bandit","slackAmount":0.2,"evaluationInterval":1})"));
    submit("s", definition.dump());
    log("s_0", 0.9);
    log("s_1", 0.8);
    EXPECT_EQ(w.status("s_1"), JobStatus::Preparing);
    log("s_1", 0.1, 1);
    EXPECT_EQ(w.status("s_1"), JobStatus::Preparing) << "its best is near enough";
    ends("s_0");
    log("s_2", 0.5);
    EXPECT_EQ(w.status("s_2"), JobStatus::CancelRequested);
    ends("s_2", ap::Cause::Canceled);
    const auto stopped = w.job("s_2");
    EXPECT_EQ(stopped->status, JobStatus::Canceled);
    EXPECT_TRUE(stopped->stopped_early);
    EXPECT_EQ(stopped->error_message, "stopped early by the sweep's bandit policy");
    w.restart();  // the histories are in the store
    w.connect(first, {World::attempt("s_1"), World::attempt("s_3")});
    w.connect(second, {World::attempt("s_1"), World::attempt("s_3")});
    log("s_3", 0.6);
    EXPECT_EQ(w.status("s_3"), JobStatus::CancelRequested) << "0.9 of the first still counts";
    EXPECT_EQ(w.job("s")->sweep.stopped_early, 1);
}

TEST_F(Sweeps, WhatThePolicyDecidedSurvivesACrashBeforeItsCommit) {
    ready();
    Json definition = json(kGrid);
    definition.set("earlyTermination",
                   json(R"({"policyType":"Bandit","slackAmount":0.2,"evaluationInterval":1})"));
    submit("s", definition.dump());
    log("s_0", 0.9);
    Batch batch;
    batch.put(Table::Metric, metric_key("ws/s_1", {"acc", 0.1, 1'000, 0}), "0.1");
    w.store->commit(std::move(batch), [](Result<std::uint64_t>) {});
    w.settle();
    w.control->metrics_logged("ws", "s_1");
    w.restart();
    w.settle();
    EXPECT_EQ(w.status("s_1"), JobStatus::CancelRequested);
    EXPECT_TRUE(w.job("s_1")->stopped_early);
    EXPECT_EQ(w.status("s_0"), JobStatus::Preparing);
}

TEST_F(Sweeps, NamesOfTrialsAreTheSweeps) {
    ready();
    submit("s");
    EXPECT_EQ(w.submit("s_5", "c"), "ResourceExists") << "not there yet, but it will be";
    EXPECT_EQ(w.submit("s_6", "c"), "created") << "the sweep has six";
    EXPECT_EQ(w.submit("s_x", "c"), "created");
    EXPECT_EQ(w.submit("t_0", "c"), "created");
    EXPECT_EQ(submit("t"), "ResourceExists");
    EXPECT_EQ(submit("s"), "unchanged");
    EXPECT_EQ(submit("s_7"), "created");
}

TEST_F(Sweeps, ItsNameLeavesRoomForThoseOfItsTrials) {
    ready();
    EXPECT_EQ(submit(std::string(254, 'x')), "InvalidArgument");
    EXPECT_EQ(submit(std::string(253, 'y')), "created");
}

TEST_F(Sweeps, OnlyNamesThatItWillGiveAreInItsWay) {
    ready();
    for (const char* other :
         {"t_2024", "t_6", "t_03", "t_3x", "t_3-1", "t_1_1", "t_00", "t_12345678", "u_0", "t"})
        ASSERT_EQ(w.submit(other, "c"), "created") << other;
    ASSERT_EQ(w.cancel("t"), "ok");
    w.connect(first, {});
    for (const char* job : {"t", "t_2024", "t_6"}) w.cancel(job);
    for (const NodeId& node : {first, second})
        for (const char* job : {"t", "t_2024", "t_6"}) w.ends(node, job, ap::Cause::Canceled);
    ASSERT_EQ(w.remove("t"), "ok");
    EXPECT_EQ(submit("t"), "created") << "six trials, t_0 to t_5";

    // One that is on its way out, and one on its way in.
    ASSERT_EQ(w.submit("v_5", "c"), "created");
    w.cancel("v_5");
    w.control->delete_job("ws", "v_5", [](Result<void>) {});
    std::string answer;
    w.control->submit(sweep_of("v", kGrid), [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "created");
    w.control->submit(World::submission("x_4", "c"), [](Result<Put>) {});
    w.control->submit(sweep_of("x", kGrid), [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "ResourceExists");
}

TEST_F(Sweeps, ATimeLimitWithoutEndIsNone) {
    ready();
    Json definition = json(kGrid);
    definition["limits"].set("timeout", "P106751991DT4H");
    ASSERT_EQ(submit("s", definition.dump()), "created");
    w.pass(100h);
    EXPECT_EQ(w.status("s"), JobStatus::Running);
}

TEST_F(Sweeps, GivesUpWhenTheFirstTrialsAllFail) {
    ready();
    submit("s", grid_of(1000));
    std::int64_t created = 0;
    for (std::int64_t i = 0; i < 100 && !is_terminal(w.status("s")); ++i) {
        created = w.job("s")->sweep.created;
        ends(trial_name("s", i), ap::Cause::UserCode);
    }
    EXPECT_EQ(w.status("s"), JobStatus::Failed);
    EXPECT_LT(created, 30);
    EXPECT_NE(w.job("s")->error_message.find("no trial completed"), std::string::npos);
}

// All of its trials have one environment, so the rest of them would only fail the same way.
TEST_F(Sweeps, GivesUpAnEnvironmentThatCannotBeHadAndSaysSo) {
    ready();
    submit("s", grid_of(1000));
    const auto fails = [&](const std::string& trial, ap::Cause cause = ap::Cause::Environment) {
        ap::EndReport report;
        report.id = World::attempt(trial, 1);
        report.ending.cause = cause;
        report.ending.message = "no solution found: left-pad is not there";
        w.control->agent_says(node_of(trial), report);
        w.settle();
    };
    fails("s_0");
    fails("s_1");
    EXPECT_EQ(w.status("s"), JobStatus::Running);
    w.restart();
    w.connect(first, {World::attempt(node_of("s_2") == first ? "s_2" : "s_3")});
    w.connect(second, {World::attempt(node_of("s_2") == second ? "s_2" : "s_3")});
    // One that a node has begun with may yet find it there.
    ASSERT_NE(node_of("s_3"), "");
    w.phase(node_of("s_3"), "s_3", ap::Phase::Preparing);
    fails("s_2");
    EXPECT_EQ(w.status("s"), JobStatus::Running);
    // What a node was given and has not begun is taken back, the rest ends where it waits.
    const std::int64_t created = w.job("s")->sweep.created;
    EXPECT_LT(created, 20);
    for (std::int64_t i = 4; i < created; ++i)
        if (const std::string trial = trial_name("s", i);
            w.status(trial) == JobStatus::CancelRequested)
            fails(trial, ap::Cause::Canceled);
    EXPECT_EQ(w.status(trial_name("s", created - 1)), JobStatus::Canceled);
    EXPECT_EQ(w.job("s_4")->error_message,
              "not tried: the environment of the sweep's trials cannot be had");
    fails("s_3");
    EXPECT_EQ(w.status("s"), JobStatus::Failed);
    const auto sweep = w.job("s");
    EXPECT_EQ(sweep->cause, ap::Cause::Environment);
    EXPECT_EQ(sweep->sweep.failed, 4);
    EXPECT_EQ(sweep->sweep.created, created);
    EXPECT_TRUE(sweep->error_message.starts_with(
        "no trial completed: 4 failed in the environment that all of them have"))
        << sweep->error_message;
    EXPECT_TRUE(sweep->error_message.ends_with(". s_0: no solution found: left-pad is not there"))
        << sweep->error_message;
}

TEST_F(Sweeps, OneThatRanShowsThatTheEnvironmentCanBeHad) {
    ready();
    submit("s");
    w.phase(node_of("s_0"), "s_0", ap::Phase::Running);
    for (const char* trial : {"s_1", "s_2", "s_3", "s_4", "s_5"}) {
        ASSERT_NE(node_of(trial), "") << trial;
        ends(trial, ap::Cause::Environment);
    }
    ends("s_0");
    EXPECT_EQ(w.status("s"), JobStatus::Completed);
}

TEST_F(Sweeps, ShortTrialsAreMadeManyAtATime) {
    ready();
    submit("s", grid_of(1000));
    ends("s_0");
    const std::int64_t created = w.job("s")->sweep.created;
    EXPECT_GT(created, 200);
    EXPECT_LT(created, 400) << "what two nodes may soon need, not all";
    ends("s_1");
    EXPECT_EQ(w.job("s")->sweep.created, created) << "enough wait";
}

TEST_F(Sweeps, AClusterThatGoesTakesItsSweepsAlong) {
    ready();
    submit("s");
    EXPECT_EQ(w.remove_compute("c"), "ok");
    ends("s_0", ap::Cause::Canceled);
    ends("s_1", ap::Cause::Canceled);
    EXPECT_EQ(w.status("s"), JobStatus::Canceled);
    EXPECT_EQ(w.job("s")->error_message,
              "compute 'c' was deleted; 2 of 6 trials ended: 2 canceled");
    EXPECT_EQ(w.job("s_0")->error_message, "compute 'c' was deleted");
}

}  // namespace
}  // namespace turnout
