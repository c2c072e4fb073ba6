#include "agent/node/state.h"
#include "agent/test_node.h"

#include <csignal>
#include <functional>

namespace turnout::agent {
namespace {

TEST_F(NodeCoreTest, AWholeLifeInOrder) {
    ready();
    EXPECT_EQ(sent<Hello>().size(), 1u);
    lease();
    EXPECT_EQ(all<effect::FetchSnapshot>().size(), 1u);
    pass(1s);
    EXPECT_EQ(sent<PhaseReport>().back().phase, Phase::Preparing);
    core->snapshot_done(kId, {});
    EXPECT_EQ(all<effect::PrepareEnvironment>().size(), 1u);
    clock.time += 2s;
    core->environment_done(kId, {});
    clock.time += 3s;
    EXPECT_EQ(all<effect::StartTask>().size(), 0u);
    core->inputs_done(kId, {});
    ASSERT_EQ(all<effect::StartTask>().size(), 1u);
    EXPECT_EQ(all<effect::StartTask>()[0].preamble, "notice\n");
    Span started = clock.time;
    core->task_started(kId, started);
    pass(50ms);
    EXPECT_EQ(sent<PhaseReport>().back().phase, Phase::Running);
    core->log_grew(kId, kStdLog, 100'000);
    auto ships = all<effect::ShipLog>();
    ASSERT_EQ(ships.size(), 2u);
    EXPECT_EQ(ships[1].offset, kLogChunk);
    EXPECT_EQ(ships[1].length, 100'000 - kLogChunk);
    clock.time += 4s - 50ms;
    auto exit = exit_with(0, 100'010);
    exit.started = started;
    core->task_exited(kId, exit);
    EXPECT_EQ(all<effect::ShipOutputs>().size(), 1u);
    EXPECT_EQ(all<effect::ShipLog>().size(), 3u);
    clock.time += 5s;
    core->outputs_shipped(kId, {});
    EXPECT_TRUE(sent<EndReport>().empty()) << "the log is not acknowledged yet";
    core->from_server(LogAck{kId, std::string(kStdLog), 100'009});
    EXPECT_TRUE(sent<EndReport>().empty());
    core->from_server(LogAck{kId, std::string(kStdLog), 100'010});
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    auto ending = sent<EndReport>()[0].ending;
    EXPECT_EQ(ending.cause, Cause::None);
    EXPECT_EQ(ending.durations.snapshot, 1s);
    EXPECT_EQ(ending.durations.environment, 2s);
    EXPECT_EQ(ending.durations.inputs, 3s);
    EXPECT_EQ(ending.durations.user_code, 4s);
    EXPECT_EQ(ending.durations.outputs, 5s);
    core->from_server(EndAck{kId});
    EXPECT_EQ(all<effect::Forget>().size(), 1u);
    EXPECT_TRUE(core->attempts().empty());
}

TEST_F(NodeCoreTest, LeaseRepeatedAtEveryPointStartsNothingTwice) {
    for (int point = Snapshot; point < kPoints; ++point) {
        journal.clear();
        seen.clear();
        start("boot-1");
        bring_to(static_cast<Point>(point));
        std::size_t starts = all<effect::StartTask>().size();
        std::size_t snapshots = all<effect::FetchSnapshot>().size();
        lease();
        lease();
        EXPECT_EQ(all<effect::StartTask>().size(), starts) << point;
        EXPECT_EQ(all<effect::FetchSnapshot>().size(), snapshots) << point;
        EXPECT_EQ(core->attempts().size(), 1u);
    }
}

TEST_F(NodeCoreTest, LeaseAfterTheEndWasAcknowledgedDoesNotRunAgain) {
    bring_to(Ended);
    core->from_server(EndAck{kId});
    restart();
    ready();
    clear();
    lease();
    EXPECT_TRUE(all<effect::FetchSnapshot>().empty());
    EXPECT_EQ(sent<EndReport>().size(), 1u);
}

TEST_F(NodeCoreTest, CancelAtEveryPoint) {
    for (int point = Snapshot; point < kPoints; ++point) {
        journal.clear();
        seen.clear();
        start("boot-1");
        bring_to(static_cast<Point>(point));
        clear();
        core->from_server(Cancel{kId, Cause::Canceled, 30s});
        core->from_server(Cancel{kId, Cause::Canceled, 30s});
        // Late completions of what was under way.
        prepare();
        EXPECT_TRUE(all<effect::StartTask>().empty()) << point;
        EXPECT_TRUE(all<effect::FetchInputs>().empty()) << point;
        if (point == Starting || point == Running) {
            ASSERT_EQ(all<effect::SignalTask>().size(), 1u) << point;
            EXPECT_EQ(all<effect::SignalTask>()[0].signal, SIGTERM);
            pass(29s);
            EXPECT_EQ(all<effect::SignalTask>().size(), 1u);
            pass(1s);
            ASSERT_EQ(all<effect::SignalTask>().size(), 2u);
            EXPECT_EQ(all<effect::SignalTask>()[1].signal, SIGKILL);
            core->task_exited(kId, exit_with(137, 0));
            core->outputs_shipped(kId, {});
        }
        if (point >= Outputs) core->from_server(LogAck{kId, std::string(kStdLog), 10});
        if (point == Outputs) {
            EXPECT_EQ(all<effect::AbandonOutputs>().size(), 1u);
            EXPECT_TRUE(sent<EndReport>().empty()) << "its metrics may be on their way";
            core->outputs_shipped(kId, {});
        }
        ASSERT_FALSE(sent<EndReport>().empty()) << point;
        EXPECT_EQ(sent<EndReport>().back().ending.cause,
                  point >= Flushing ? Cause::None : Cause::Canceled)
            << point;
    }
}

TEST_F(NodeCoreTest, CancelOfAnUnknownAttemptEndsItAndALeaseAfterItIsNotRun) {
    ready();
    core->from_server(Cancel{kId});
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::Canceled);
    restart();
    ready();
    lease();
    EXPECT_TRUE(all<effect::FetchSnapshot>().empty());
    EXPECT_GE(sent<EndReport>().size(), 2u);
}

TEST_F(NodeCoreTest, CancelWhileStartIsRefused) {
    bring_to(Starting);
    core->from_server(Cancel{kId});
    core->task_started(kId, invalid("no such program"));
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::Canceled);
}

TEST_F(NodeCoreTest, RestartAtEveryPointReachesTheEnd) {
    for (int point = Snapshot; point < kPoints; ++point) {
        journal.clear();
        seen.clear();
        start("boot-1");
        bring_to(static_cast<Point>(point));
        bool started = point >= Starting;
        clear();
        restart();
        connect();
        EXPECT_EQ(sent<Hello>()[0].attempts, std::vector<AttemptId>{kId}) << point;
        TaskState task{kId, clock.time, 10, std::nullopt};
        if (point >= Outputs) task.exit = exit_with(0, 10);
        core->supervisor_listed(started ? std::vector{task} : std::vector<TaskState>{});
        if (!started) {
            EXPECT_EQ(all<effect::FetchSnapshot>().size(), 1u);
            prepare();
            EXPECT_EQ(all<effect::StartTask>().size(), 1u);
            core->task_started(kId, clock.time);
        } else {
            EXPECT_TRUE(all<effect::StartTask>().empty()) << point;
        }
        if (point < Outputs) core->task_exited(kId, exit_with(0, 10));
        core->outputs_shipped(kId, {});
        core->from_server(LogAck{kId, std::string(kStdLog), 10});
        ASSERT_FALSE(sent<EndReport>().empty()) << point;
        EXPECT_EQ(sent<EndReport>().back().ending.cause, Cause::None);
        core->from_server(EndAck{kId});
        restart();
        EXPECT_TRUE(core->attempts().empty());
    }
}

TEST_F(NodeCoreTest, SnapshotOfTheJournalRestoresTheSame) {
    for (int point = Snapshot; point < kPoints; ++point) {
        journal.clear();
        seen.clear();
        start("boot-1");
        bring_to(static_cast<Point>(point));
        core->from_server(EndAck{{"ws", "unknown", 1}});
        take();
        auto lines = core->snapshot();
        journal = lines;
        restart();
        EXPECT_EQ(core->snapshot(), lines) << point;
        EXPECT_EQ(core->attempts().size(), 1u);
    }
}

TEST_F(NodeCoreTest, LeasesShareABaseThatIsWrittenDownOnce) {
    ready();
    TaskSpec task;
    task.command = "echo ${{turnout.job}} ${{search_space.x}}";
    core->from_server(Base{"h", to_json(task)});
    const AttemptId other{"ws", "other", 1};
    auto own = [](const char* x) {
        return Json::object({{"parameters", Json::array({Json::array({"x", x})})}});
    };
    core->from_server(Lease{kId, own("1"), "h"});
    core->from_server(Lease{other, own("2"), "h"});
    const auto told = [&](const AttemptId& id) {
        return core->task(id)->command + " " + core->task(id)->parameters.at(0).second;
    };
    EXPECT_EQ(told(kId), "echo job ${{search_space.x}} 1");
    EXPECT_EQ(told(other), "echo other ${{search_space.x}} 2");
    take();
    auto bases = [](const std::vector<std::string>& lines) {
        return std::count_if(lines.begin(), lines.end(),
                             [](const auto& line) { return line.contains("\"base\",\"hash\""); });
    };
    EXPECT_EQ(bases(journal), 1);
    restart();
    EXPECT_EQ(told(other), "echo other ${{search_space.x}} 2");
    journal = core->snapshot();
    EXPECT_EQ(bases(journal), 1);
    restart();
    EXPECT_EQ(told(kId), "echo job ${{search_space.x}} 1");

    // Nobody uses it any more: it goes with the next link, and then it is not known.
    ready();
    for (const auto& id : {kId, other}) {
        core->from_server(Cancel{id, Cause::Canceled, 1s});
        core->from_server(EndAck{id});
    }
    connect();
    EXPECT_EQ(bases(core->snapshot()), 0);
    clear();
    core->from_server(Lease{{"ws", "late", 1}, own("3"), "h"});
    pass(1s);
    ASSERT_EQ(all<effect::AppendLog>().size(), 1u);
    EXPECT_TRUE(all<effect::AppendLog>()[0].text.contains("base 'h'"))
        << all<effect::AppendLog>()[0].text;
}

// They come with the lease, are never in the journal, and come again with the repeated lease.
TEST_F(NodeCoreTest, SecretsOfATaskAreNotWrittenDown) {
    const std::string planted = "planted-secret-4c1e";
    TaskSpec task;
    task.command = "echo";
    task.variables = {{"TOKEN", "${{secrets.hf}}"}};
    task.secrets = {"hf"};
    const Lease bare{kId, to_json(task), "", {}};
    Lease lease_of_it = bare;
    lease_of_it.secrets.push_back({"hf", Secret(planted)});
    const auto written = [&] {
        take();
        std::string all;
        for (const std::string& line : journal) all += line;
        for (const std::string& line : core->snapshot()) all += line;
        return all;
    };
    ready();
    core->from_server(lease_of_it);
    ASSERT_EQ(core->secrets(kId).size(), 1u);
    EXPECT_EQ(core->secrets(kId)[0].value.reveal(), planted);
    EXPECT_NE(written().find("${{secrets.hf}}"), std::string::npos);
    EXPECT_EQ(written().find(planted), std::string::npos);

    restart();
    EXPECT_TRUE(core->secrets(kId).empty());
    clear();
    ready();
    prepare();
    pass(1s);
    EXPECT_TRUE(all<effect::StartTask>().empty()) << "it waits for the server";
    core->from_server(lease_of_it);
    EXPECT_EQ(all<effect::StartTask>().size(), 1u);
    core->task_started(kId, clock.time);
    EXPECT_TRUE(core->secrets(kId).empty()) << "nobody needs them any more";
    core->from_server(bare);  // they were removed meanwhile
    pass(1s);
    EXPECT_TRUE(core->running(kId));
    EXPECT_EQ(written().find(planted), std::string::npos);
}

TEST_F(NodeCoreTest, SecretsThatDoNotComeEndTheAttemptInItsTurn) {
    TaskSpec task;
    task.command = "echo";
    task.secrets = {"hf"};
    ready();
    core->from_server(Lease{kId, to_json(task), "", {}});
    prepare();
    pass(1s);
    EXPECT_TRUE(all<effect::StartTask>().empty());
    const auto words = all<effect::AppendLog>();
    ASSERT_EQ(words.size(), 1u);
    EXPECT_NE(words[0].text.find("hf"), std::string::npos) << words[0].text;
}

// The lease and its ending are two lines, and the last one may be torn.
TEST_F(NodeCoreTest, WhatWasNotUnderstoodIsNotPreparedInTheNextLife) {
    for (const bool canceled : {false, true}) {
        journal.clear();
        start("boot-1");
        ready();
        if (canceled)
            core->from_server(Cancel{kId, Cause::Canceled, 1s});
        else
            core->from_server(Lease{kId, Json::object({{"command", "echo"}}), "unknown base"});
        take();
        while (!journal.back().contains("\"boot_id\":\"boot-1\"") ||
               journal.back().contains("\"contact\""))
            journal.pop_back();
        restart();
        seen.clear();
        ready();
        pass(1s);
        EXPECT_TRUE(all<effect::FetchSnapshot>().empty());
        ASSERT_EQ(all<effect::AppendLog>().size(), 1u);
        const auto words = all<effect::AppendLog>()[0].text;
        core->log_grew(kId, kStdLog, words.size());
        core->from_server(LogAck{kId, std::string(kStdLog), words.size()});
        ASSERT_EQ(sent<EndReport>().size(), 1u);
        EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::Internal);
    }
}

TEST_F(NodeCoreTest, TheBasesSentLastAreKept) {
    ready();
    auto base = [](std::size_t i) {
        return Base{"h" + std::to_string(i), Json::object({{"command", "echo"}})};
    };
    for (std::size_t i = 0; i <= kBasesKept; ++i) core->from_server(base(i));
    core->from_server(Lease{{"ws", "first", 1}, Json::object(), "h0"});
    core->from_server(Lease{{"ws", "second", 1}, Json::object(), "h1"});
    pass(1s);
    EXPECT_EQ(all<effect::AppendLog>().size(), 1u);
    EXPECT_EQ(core->task({"ws", "second", 1})->command, "echo");
}

TEST_F(NodeCoreTest, WhatCannotBeReadEndsItsAttempt) {
    ready();
    core->unreadable(kId, "lease.task must be an object");
    core->log_grew(kId, kStdLog, 10);
    core->from_server(LogAck{kId, std::string(kStdLog), 10});
    auto reports = sent<EndReport>();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].ending.cause, Cause::Internal);
    EXPECT_NE(reports[0].ending.message.find("must be an object"), std::string::npos);
    restart();
    ready();
    EXPECT_EQ(sent<EndReport>().size(), 2u) << "it is said until it is heard";
    core->from_server(EndAck{kId});
    EXPECT_TRUE(core->attempts().empty());
    core->unreadable(kId, "again");
    EXPECT_TRUE(core->attempts().empty());
}

TEST_F(NodeCoreTest, WhatCannotBeReadLeavesARunningCommandAlone) {
    bring_to(Running);
    core->unreadable(kId, "what");
    EXPECT_TRUE(core->running(kId));
}

TEST_F(NodeCoreTest, ATaskThatNobodyKnowsIsKilled) {
    ready();
    core->task_started(kId, clock.since_boot());
    auto signals = all<effect::SignalTask>();
    ASSERT_EQ(signals.size(), 1u);
    EXPECT_EQ(signals[0].id, kId);
    EXPECT_EQ(signals[0].signal, SIGKILL);
}

// The node's journal lost what came after the lease; the supervisor's did not.
TEST_F(NodeCoreTest, WhatTheSupervisorBeganIsNotBegunAgain) {
    for (const bool ended : {false, true}) {
        journal.clear();
        start("boot-1");
        ready();
        lease();
        seen.clear();
        TaskState task{kId, clock.since_boot(), 0, std::nullopt};
        if (ended) task.exit = exit_with(0);
        core->supervisor_listed({task});
        EXPECT_EQ(core->running(kId), !ended);
        prepare();  // what was under way for it does not matter any more
        EXPECT_TRUE(all<effect::StartTask>().empty());
        EXPECT_EQ(all<effect::ShipOutputs>().size(), ended ? 1u : 0u);
    }
}

TEST_F(NodeCoreTest, SupervisorLostTheTask) {
    bring_to(Running);
    core->supervisor_gone();
    TaskExit lost;
    lost.lost = true;
    core->supervisor_listed({{kId, clock.time, 0, lost}});
    core->outputs_shipped(kId, {});
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::NodeLost);
}

TEST_F(NodeCoreTest, MachineRestarted) {
    // At any point, and whatever of the journal's end was lost with the machine: the command is
    // never started (again), and only what the server has in full counts as done.
    for (int point = Snapshot; point < kPoints; ++point) {
        for (std::size_t lost = 0; lost < 6; ++lost) {
            for (const bool twice : {false, true}) {
                SCOPED_TRACE(std::to_string(point) + " " + std::to_string(lost));
                journal.clear();
                start("boot-1");
                bring_to(static_cast<Point>(point));
                let_it_last();
                take();
                journal.resize(journal.size() - std::min(lost, journal.size()));
                core.reset();
                seen.clear();
                start("boot-2");
                if (twice) restart("boot-2");  // the agent dies before it has heard of anybody
                core->supervisor_listed({});
                connect();
                for (const AttemptId& id : core->attempts()) prepare(id);
                EXPECT_TRUE(all<effect::StartTask>().empty());
                EXPECT_TRUE(all<effect::FetchSnapshot>().empty());
                if (core->attempts().empty()) continue;  // not even the lease was left
                ASSERT_EQ(sent<EndReport>().size(), 1u);
                const bool all_there = point == Ended && lost == 0;
                EXPECT_EQ(sent<EndReport>()[0].ending.cause,
                          all_there ? Cause::None : Cause::NodeLost);
            }
        }
    }
}

TEST_F(NodeCoreTest, EverySupervisorIsToldTheFence) {
    connect();
    lease();
    clear();
    core->supervisor_listed({});  // it did not listen when the lease came
    ASSERT_EQ(all<effect::SetFence>().size(), 1u);
    EXPECT_EQ(all<effect::SetFence>()[0].deadline, clock.time + 6h);
    core->supervisor_gone();
    clear();
    core->supervisor_listed({});
    EXPECT_EQ(all<effect::SetFence>().size(), 1u);
    restart();
    clear();
    core->supervisor_listed({});
    EXPECT_EQ(all<effect::SetFence>().size(), 1u);
}

TEST_F(NodeCoreTest, TimeLimit) {
    ready();
    run(kId, 60s);
    pass(61s);
    EXPECT_TRUE(all<effect::SignalTask>().empty()) << "the supervisor keeps it";
    TaskExit exit = exit_with(143);
    exit.timed_out = true;
    core->task_exited(kId, exit);
    core->outputs_shipped(kId, {});
    EXPECT_EQ(sent<EndReport>().at(0).ending.cause, Cause::Timeout);
}

TEST_F(NodeCoreTest, MemoryThatJobsOfANodeSharedIsNotToldAsOnesOwn) {
    for (const bool together : {true, false}) {
        journal.clear();
        seen.clear();
        start("boot-1");
        ready();
        core->from_server(Welcome{6h, 4});
        TaskSpec task;
        task.command = "echo";
        task.memory_limit_bytes = 2LL << 30;
        core->from_server(Lease{kId, to_json(task)});
        prepare();
        core->task_started(kId, clock.time);
        TaskExit exit = exit_with(137);
        exit.memory_exceeded = true;
        exit.together = together;
        exit.peak_memory_bytes = 3LL << 29;
        core->task_exited(kId, exit);
        core->outputs_shipped(kId, {});
        const auto ending = sent<EndReport>().at(0).ending;
        EXPECT_EQ(ending.cause, Cause::OutOfMemory);
        EXPECT_EQ(ending.message,
                  together ? "the jobs on its node used more than the node's 2.0 GiB of memory "
                             "together, and this one the most "
                             "of it: 1.5 GiB, where its share is 512.0 MiB"
                           : "the command used 1.5 GiB of memory, more than its limit of 2.0 GiB");
    }
}

TEST_F(NodeCoreTest, WhatMetItsLimitBeforeItWasToGiveWayDoesNotRunAgain) {
    for (const bool before : {true, false}) {
        journal.clear();
        seen.clear();
        start("boot-1");
        ready();
        run(kId, 60s);
        TaskExit exit = exit_with(143);
        exit.started = clock.time;
        exit.timed_out = true;
        pass(before ? 61s : 59s);
        core->from_server(Cancel{kId, Cause::Preempted, 30s});
        pass(2s);
        exit.ended = clock.time;
        core->task_exited(kId, exit);
        core->outputs_shipped(kId, {});
        EXPECT_EQ(sent<EndReport>().at(0).ending.cause, before ? Cause::Timeout : Cause::Preempted);
    }
}

TEST_F(NodeCoreTest, WhatEndedBeforeItWasToGiveWayEndedByItself) {
    for (const bool before : {true, false}) {
        journal.clear();
        seen.clear();
        start("boot-1");
        bring_to(Running);
        pass(10s);
        TaskExit exit = exit_with(0);
        exit.started = clock.time - 10s;
        exit.ended = clock.time + (before ? -1ms : 1ms);
        core->from_server(Cancel{kId, Cause::Preempted, 30s});
        core->task_exited(kId, exit);
        core->outputs_shipped(kId, {});
        EXPECT_EQ(sent<EndReport>().at(0).ending.cause, before ? Cause::None : Cause::Preempted);
    }
}

TEST_F(NodeCoreTest, LostContactKillsAndSurvivesARestart) {
    bring_to(Running);
    core->server_disconnected();
    pass(3h);
    restart();
    core->supervisor_listed({{kId, clock.time, 0, std::nullopt}});
    pass(2h);
    EXPECT_TRUE(all<effect::SignalTask>().empty());
    pass(1h);
    ASSERT_FALSE(all<effect::SignalTask>().empty());
    EXPECT_EQ(all<effect::SignalTask>().back().signal, SIGKILL);
    core->task_exited(kId, exit_with(137));
    EXPECT_TRUE(all<effect::ShipOutputs>().empty());
    connect();
    ASSERT_FALSE(sent<EndReport>().empty());
    EXPECT_EQ(sent<EndReport>().back().ending.cause, Cause::NodeLost);
}

TEST_F(NodeCoreTest, StartsAreAskedAheadInTheOrderOfTheLeases) {
    ready();
    const AttemptId second{"ws", "a-second", 1};
    lease();
    lease(second);
    prepare(second);
    prepare();
    std::vector<AttemptId> more;
    for (int i = 0; i < 9; ++i) {
        more.push_back({"ws", "more" + std::to_string(i), 1});
        lease(more.back());
    }
    for (int i = 8; i >= 0; --i) prepare(more[static_cast<std::size_t>(i)]);
    ASSERT_EQ(all<effect::StartTask>().size(), 9u) << "one runs, eight wait at the supervisor";
    core->task_started(second, clock.time);
    core->task_exited(second, exit_with(0));
    core->task_started(kId, clock.time);
    core->task_exited(kId, exit_with(0));
    ASSERT_EQ(all<effect::StartTask>().size(), 11u);
    // In order, as far as they were prepared when there was room.
    EXPECT_EQ(all<effect::StartTask>()[9].id, more[0]);
    EXPECT_EQ(all<effect::StartTask>()[10].id, more[1]);
}

TEST_F(NodeCoreTest, TheServerSaysHowManyRunAtATime) {
    ready();
    clear();
    core->from_server(Welcome{6h, 3});
    ASSERT_EQ(all<effect::SetSlots>().size(), 1u);
    EXPECT_EQ(all<effect::SetSlots>()[0].count, 3);
    lease();
    restart();
    core->supervisor_listed({});
    EXPECT_EQ(all<effect::SetSlots>().back().count, 3) << "also while the server is away";
}

TEST_F(NodeCoreTest, ShortPhasesAreNeitherReportedNorRecorded) {
    ready();
    clear();
    journal.clear();
    run();
    core->task_exited(kId, exit_with(0));
    core->outputs_shipped(kId, {});
    EXPECT_TRUE(sent<PhaseReport>().empty());
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    core->from_server(EndAck{kId});
    EXPECT_EQ(all<effect::Record>().size(), 4u) << "contact, lease, start, end";
    pass(1s);
    EXPECT_TRUE(sent<PhaseReport>().empty());

    // A log is not kept waiting by that.
    const AttemptId other{"ws", "other", 1};
    run(other);
    core->log_grew(other, kStdLog, 5);
    EXPECT_EQ(all<effect::ShipLog>().size(), 1u);
    let_it_last();
    ASSERT_EQ(sent<PhaseReport>().size(), 1u);
    EXPECT_EQ(sent<PhaseReport>()[0].phase, Phase::Running);
}

TEST_F(NodeCoreTest, MeasuredTimesCountNotWhenTheyWereHeardOf) {
    ready();
    lease();
    prepare();
    const Span started = clock.time + 3s;
    clock.time += 10s;  // start and end come together
    TaskExit exit;
    exit.started = started;
    exit.ended = started + 5s;
    core->task_started(kId, started);
    core->task_exited(kId, exit);
    core->outputs_shipped(kId, {});
    const auto durations = sent<EndReport>().at(0).ending.durations;
    EXPECT_EQ(durations.user_code, 5s);
    EXPECT_EQ(durations.inputs, 0s);  // the supervisor was not asked for its start to be heard of
}

TEST_F(NodeCoreTest, RevokeEndsOnlyWhatHasNotBegun) {
    const Cancel revoke{kId, Cause::Preempted, 30s, true};
    for (int point = Snapshot; point < kPoints; ++point) {
        SCOPED_TRACE(point);
        journal.clear();
        seen.clear();
        start("boot-1");
        bring_to(static_cast<Point>(point));
        clear();
        core->from_server(revoke);
        if (point < Starting) {
            ASSERT_EQ(sent<EndReport>().size(), 1u);
            EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::Preempted);
            EXPECT_EQ(sent<EndReport>()[0].ending.exit_code, -1);
            EXPECT_EQ(sent<EndReport>()[0].ending.durations.user_code, 0s);
            restart();
            ready();
            EXPECT_TRUE(all<effect::FetchSnapshot>().empty());
        } else if (point == Starting) {
            ASSERT_EQ(all<effect::SignalTask>().size(), 1u);
            EXPECT_EQ(all<effect::SignalTask>()[0].signal, 0);
        } else {
            EXPECT_TRUE(all<effect::SignalTask>().empty());
        }
    }

    // The supervisor still had it waiting.
    auto dropped = [] { return Result<Span>(fail(Code::Canceled, "Dropped", "dropped")); };
    auto at_supervisor = [&] {
        journal.clear();
        seen.clear();
        start("boot-1");
        bring_to(Starting);
        core->from_server(revoke);
        clear();
    };
    at_supervisor();
    core->task_started(kId, dropped());
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::Preempted);

    // It had begun: nothing is answered, and a later stop is one.
    at_supervisor();
    core->task_started(kId, clock.time);
    EXPECT_TRUE(sent<EndReport>().empty());
    core->task_exited(kId, exit_with(0));
    core->outputs_shipped(kId, {});
    EXPECT_EQ(sent<EndReport>().at(0).ending.cause, Cause::None);

    // The supervisor died before it could answer: what waited there was never started.
    at_supervisor();
    core->supervisor_gone();
    core->supervisor_listed({});
    EXPECT_TRUE(all<effect::StartTask>().empty());
    EXPECT_EQ(sent<EndReport>().at(0).ending.cause, Cause::Preempted);

    // The link broke, and it still waits there.
    at_supervisor();
    core->supervisor_gone();
    core->supervisor_listed({{kId, {}, 0, std::nullopt, true}});
    ASSERT_EQ(all<effect::SignalTask>().size(), 1u);
    EXPECT_EQ(all<effect::SignalTask>()[0].signal, 0);

    // The agent died and does not know of the wish any more: it is asked to start again.
    at_supervisor();
    restart();
    connect();
    core->supervisor_listed({{kId, {}, 0, std::nullopt, true}});
    EXPECT_TRUE(all<effect::StartTask>().empty());
    core->task_started(kId, dropped());
    EXPECT_EQ(all<effect::StartTask>().size(), 1u);
}

TEST_F(NodeCoreTest, CancelOfOneThatWaitsAtTheSupervisor) {
    bring_to(Starting);
    core->from_server(Cancel{kId, Cause::Canceled, 30s});
    ASSERT_EQ(all<effect::SignalTask>().size(), 1u);
    core->task_started(kId, fail(Code::Canceled, "Dropped", "dropped"));
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::Canceled);
}

TEST_F(NodeCoreTest, AWaitingTaskNobodyKnowsIsDropped) {
    core->supervisor_listed({{kId, {}, 0, std::nullopt, true}});
    ASSERT_EQ(all<effect::SignalTask>().size(), 1u);
}

TEST_F(NodeCoreTest, FailuresNameTheirCause) {
    struct Case {
        std::function<void()> fail;
        Cause cause;
    };
    Result<void> theirs = Failure(invalid("input 'x' does not exist").error());
    Result<void> ours = Failure(internal("disk broke").error());
    Result<void> passing =
        fail(Code::Unavailable, "EnvironmentUnavailable", "the index does not answer");
    const Case cases[] = {
        {[&] { core->snapshot_done(kId, theirs); }, Cause::Input},
        {[&] { core->snapshot_done(kId, ours); }, Cause::Internal},
        {[&] { core->snapshot_done(kId, {}), core->environment_done(kId, theirs); },
         Cause::Environment},
        {[&] { core->snapshot_done(kId, {}), core->environment_done(kId, passing); },
         Cause::Internal},
        {[&] {
             core->snapshot_done(kId, {}), core->environment_done(kId, {}),
                 core->inputs_done(kId, theirs);
         },
         Cause::Input},
        {[&] { prepare(), core->task_started(kId, invalid("'nosuch': not found")); },
         Cause::UserCode},
    };
    for (const auto& c : cases) {
        journal.clear();
        seen.clear();
        start("boot-1");
        ready();
        lease();
        c.fail();
        ASSERT_EQ(all<effect::AppendLog>().size(), 1u);
        auto words = all<effect::AppendLog>()[0].text;
        EXPECT_TRUE(sent<EndReport>().empty()) << "not before its words are in the log";
        core->log_grew(kId, kStdLog, words.size());
        core->from_server(LogAck{kId, std::string(kStdLog), words.size()});
        ASSERT_EQ(sent<EndReport>().size(), 1u);
        EXPECT_EQ(sent<EndReport>()[0].ending.cause, c.cause);
        EXPECT_NE(words.find(sent<EndReport>()[0].ending.message), std::string::npos);
    }
}

TEST_F(NodeCoreTest, ExitCausesAndLastLines) {
    ready();
    run();
    auto exit = exit_with(3);
    exit.last_lines = std::vector<std::string>(30, "a\xff");
    core->task_exited(kId, exit);
    core->outputs_shipped(kId, {});
    auto ending = sent<EndReport>().at(0).ending;
    EXPECT_EQ(ending.cause, Cause::UserCode);
    EXPECT_EQ(ending.exit_code, 3);
    EXPECT_EQ(ending.last_lines.size(), 20u);
    EXPECT_EQ(ending.last_lines[0], "a\xef\xbf\xbd");
}

TEST_F(NodeCoreTest, EndAckOfARunningAttemptKillsIt) {
    bring_to(Running);
    clear();
    core->from_server(EndAck{kId});
    ASSERT_EQ(all<effect::SignalTask>().size(), 1u);
    EXPECT_EQ(all<effect::SignalTask>()[0].signal, SIGKILL);
    restart();
    clear();
    core->supervisor_listed({{kId, clock.time, 0, std::nullopt}});
    EXPECT_EQ(all<effect::SignalTask>().size(), 1u);
    core->task_exited(kId, exit_with(137));
    EXPECT_EQ(all<effect::Forget>().size(), 1u);
    EXPECT_TRUE(sent<EndReport>().empty());
}

TEST_F(NodeCoreTest, TasksNobodyKnowsAreKilledAndForgotten) {
    core->supervisor_listed({{kId, clock.time, 0, std::nullopt}});
    ASSERT_EQ(all<effect::SignalTask>().size(), 1u);
    core->task_exited(kId, exit_with(137));
    EXPECT_EQ(all<effect::Forget>().size(), 1u);
}

TEST_F(NodeCoreTest, ATimeLimitIsKeptWhenTheSupervisorDoesNot) {
    ready();
    run(kId, 60s);
    clear();
    pass(60s + kTimeoutGrace + kOverdue - 1s);
    EXPECT_TRUE(all<effect::SignalTask>().empty());
    pass(1s);
    ASSERT_EQ(all<effect::SignalTask>().size(), 1u);
    EXPECT_EQ(all<effect::SignalTask>()[0].signal, SIGKILL);
    core->supervisor_gone("it did not answer");
    TaskState lost{kId, clock.time, 0, TaskExit{}, false};
    lost.exit->lost = true;
    core->supervisor_listed({lost});
    core->outputs_shipped(kId, {});
    pass(1s);
    const auto ends = sent<EndReport>();
    ASSERT_FALSE(ends.empty());
    EXPECT_EQ(ends[0].ending.cause, Cause::Timeout);
}

TEST_F(NodeCoreTest, WithoutASupervisorTheNodeSaysThatItIsBroken) {
    bring_to(Running);
    core->supervisor_gone();
    core->supervisor_trouble("no space left");
    pass(kSupervisorMissing - 1s);
    EXPECT_TRUE(sent<Broken>().empty());
    pass(1s);
    ASSERT_EQ(sent<Broken>().size(), 1u);
    EXPECT_EQ(sent<Broken>()[0].why, "its supervisor has not answered for 2 min: no space left");
    clear();
    core->supervisor_listed({});
    pass(1h);
    EXPECT_TRUE(sent<Broken>().empty());
}

TEST_F(NodeCoreTest, LeaveEndsEverything) {
    bring_to(Running);
    clear();
    core->from_server(Leave{});
    EXPECT_EQ(all<effect::Quit>().size(), 1u);
    EXPECT_TRUE(core->quitting());
    lease({"ws", "other", 1});
    EXPECT_EQ(all<effect::FetchSnapshot>().size(), 0u);
    EXPECT_FALSE(core->next_tick());
}

TEST_F(NodeCoreTest, BrokenJournalLinesAreSkipped) {
    bring_to(Running);
    let_it_last();
    take();
    journal.insert(journal.begin() + 1,
                   {"", "{", "[]", R"({"message":{"type":"lease"}})", R"({"stage":"x"})"});
    restart();
    EXPECT_EQ(core->attempts().size(), 1u);
    EXPECT_TRUE(core->running(kId));
}

}  // namespace
}  // namespace turnout::agent
