// A service on its node: asked whether it is ready, and what the server hears of it.
#include "agent/test_node.h"

#include <csignal>

namespace turnout::agent {
namespace {

class NodeService : public NodeCoreTest {
protected:
    void lease_service() {
        TaskSpec task;
        task.command = "serve ${{service.port}}";
        task.service.emplace();
        task.service->probe.interval = 1s;
        task.service->probe.failures = 2;
        core->from_server(Base{"h", to_json(task)});
        core->from_server(Lease{kId, Json::object({{"master_port", 20'007}}), "h"});
    }
    void run_service() {
        ready();
        lease_service();
        prepare();
        core->task_started(kId, clock.time);
    }
    // Answers the question that was asked last.
    void answer(std::string failure = "") {
        core->probed(kId, all<effect::ProbePort>().back().number, std::move(failure));
    }
    std::size_t asked() { return all<effect::ProbePort>().size(); }
    PhaseReport told() { return sent<PhaseReport>().back(); }
};

TEST_F(NodeService, IsReadyWhenItsPortAnswersAndNotWhenThatEnds) {
    run_service();
    ASSERT_EQ(asked(), 1u);
    EXPECT_EQ(all<effect::ProbePort>()[0].port, 20'007);
    EXPECT_EQ(core->task(kId)->command, "serve 20007");
    answer("connection refused");
    EXPECT_EQ(told().phase, Phase::Running);
    EXPECT_EQ(told().detail, "not ready: connection refused");
    pass(999ms);
    EXPECT_EQ(asked(), 1u);
    pass(1ms);
    EXPECT_EQ(asked(), 2u);
    answer();
    EXPECT_EQ(told().phase, Phase::Ready);
    EXPECT_EQ(told().detail, "");
    pass(1s);
    answer("no answer");
    EXPECT_EQ(told().phase, Phase::Ready) << "one failure is none";
    pass(1s);
    answer("no answer");
    EXPECT_EQ(told().phase, Phase::Running);
    EXPECT_EQ(told().detail, "not ready: no answer");
    pass(1s);
    answer();
    EXPECT_EQ(told().phase, Phase::Ready);
    clear();
    pass(20s);  // an answer is awaited, and nothing else is asked
    EXPECT_EQ(asked(), 1u);
    EXPECT_EQ(sent<PhaseReport>().size(), 1u) << "it is said again now and then";
    core->server_disconnected();
    connect();
    EXPECT_EQ(told().phase, Phase::Ready) << "and after each Welcome";
}

TEST_F(NodeService, AnEndIsAnEnd) {
    run_service();
    answer();
    core->task_exited(kId, exit_with(3));
    clear();
    pass(5s);
    EXPECT_EQ(asked(), 0u);
    core->probed(kId, 1, "");
    core->outputs_shipped(kId, {});
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::UserCode);
    EXPECT_EQ(sent<EndReport>()[0].ending.exit_code, 3);
    EXPECT_TRUE(all<effect::StartTask>().empty()) << "the server makes another replica";
}

TEST_F(NodeService, WhatIsBeingStoppedIsNotAsked) {
    run_service();
    answer();
    core->from_server(Cancel{kId, Cause::Canceled, 30s});
    clear();
    pass(10s);
    EXPECT_EQ(asked(), 0u);
    EXPECT_EQ(all<effect::SignalTask>().size(), 0u);
    pass(20s);
    EXPECT_EQ(all<effect::SignalTask>().size(), 1u);
}

// A new agent says nothing of its readiness until it knows.
TEST_F(NodeService, ANewAgentAsksAnew) {
    run_service();
    answer();
    let_it_last();
    const TaskState running{kId, clock.time, 0, std::nullopt};
    for (const bool well : {true, false}) {
        restart();
        clear();
        connect();
        core->supervisor_listed({running});
        EXPECT_TRUE(sent<PhaseReport>().empty());
        ASSERT_EQ(asked(), 1u);
        answer(well ? "" : "refused");
        if (!well) {
            EXPECT_TRUE(sent<PhaseReport>().empty());
            pass(1s);
            answer("refused");
        }
        ASSERT_EQ(sent<PhaseReport>().size(), 1u);
        EXPECT_EQ(told().phase, well ? Phase::Ready : Phase::Running);
    }
    // Asked to start before, and only the supervisor knows that it was.
    journal.clear();
    start("boot-1");
    ready();
    lease_service();
    prepare();
    take();
    restart();
    connect();
    clear();
    core->supervisor_listed({running});
    pass(100ms);
    EXPECT_TRUE(sent<PhaseReport>().empty());
    answer();
    EXPECT_EQ(told().phase, Phase::Ready);
}

TEST_F(NodeService, WithoutAPortItDoesNotBegin) {
    ready();
    TaskSpec task;
    task.command = "serve";
    task.service.emplace();
    core->from_server(Lease{kId, to_json(task)});
    EXPECT_TRUE(all<effect::FetchSnapshot>().empty());
    core->from_server(LogAck{kId, std::string(kStdLog), 1000});
    core->log_grew(kId, kStdLog, 1000);
    pass(1s);
    ASSERT_EQ(sent<EndReport>().size(), 1u);
    EXPECT_EQ(sent<EndReport>()[0].ending.cause, Cause::Internal);
    EXPECT_NE(sent<EndReport>()[0].ending.message.find("no port of the machine is free"),
              std::string::npos);
}

TEST_F(NodeService, IsReachedWhileItsCommandRunsAndNotBeforeOrAfter) {
    const auto reach = [&](const AttemptId& id) {
        core->from_server(Reach{id, "c-1"});
        return all<effect::OpenChannel>().back();
    };
    run_service();
    EXPECT_EQ(reach(kId).port, 20'007);
    EXPECT_EQ(reach(kId).channel, "c-1");
    AttemptId other = kId;
    other.attempt += 1;
    EXPECT_EQ(reach(other).port, 0);
    EXPECT_NE(reach(other).why, "");
    core->from_server(Cancel{kId, Cause::Canceled, 5s});
    EXPECT_EQ(reach(kId).port, 0);
}

}  // namespace
}  // namespace turnout::agent
