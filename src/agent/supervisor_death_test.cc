// What becomes of a node's attempts when its supervisor dies, again and again perhaps, and one of
// them may be why.
#include "agent/test_node.h"

namespace turnout::agent {
namespace {

class SupervisorDeathTest : public NodeCoreTest {
protected:
    AttemptId id(const std::string& job) { return {"ws", job, 1}; }
    // Prepared, and asked of the supervisor as far as the node does that.
    void prepared(const std::string& job) {
        lease(id(job));
        prepare(id(job));
    }
    std::vector<std::string> asked() {
        std::vector<std::string> jobs;
        for (const auto& start : all<effect::StartTask>()) jobs.push_back(start.id.job);
        clear();
        return jobs;
    }
    void dies(const std::vector<TaskState>& known = {}) {
        core->supervisor_gone();
        core->supervisor_listed(known);
    }
    TaskState lost(const std::string& job) {
        TaskState state{id(job), clock.time, 0, TaskExit{}, false};
        state.exit->lost = true;
        return state;
    }
    // Its end as it was told to the server since the last look; None if it was not.
    Cause end_of(const std::string& job) {
        Cause cause = Cause::None;
        for (const auto& report : sent<EndReport>())
            if (report.id == id(job)) cause = report.ending.cause;
        return cause;
    }
    void flushed(const std::string& job) {
        core->log_grew(id(job), kStdLog, 10);
        core->from_server(LogAck{id(job), std::string(kStdLog), 10});
    }
    void slots(int count) {
        core->supervisor_listed({});
        core->server_connected();
        core->from_server(Welcome{6h, count});
    }
    using Jobs = std::vector<std::string>;
};

TEST_F(SupervisorDeathTest, TheOnlyStartThatItDoesNotKnowEndedIt) {
    slots(2);
    prepared("poison");
    EXPECT_EQ(asked(), Jobs{"poison"});
    dies();
    EXPECT_EQ(asked(), Jobs{}) << "it would die again, without end";
    flushed("poison");
    EXPECT_EQ(end_of("poison"), Cause::NodeLost);
    for (const auto& report : sent<EndReport>())
        EXPECT_NE(report.ending.message.find("supervisor"), std::string::npos);
}

TEST_F(SupervisorDeathTest, ThatItWasSilentIsNoCommandsDoing) {
    slots(2);
    prepared("first");
    EXPECT_EQ(asked(), Jobs{"first"});
    core->supervisor_gone("it did not answer");
    core->supervisor_listed({});
    EXPECT_EQ(asked(), Jobs{"first"}) << "it never began";
    core->task_started(id("first"), clock.time);
    core->supervisor_gone("it did not answer");
    core->supervisor_listed({lost("first")});
    core->outputs_shipped(id("first"), {});
    ASSERT_EQ(end_of("first"), Cause::NodeLost);
    EXPECT_EQ(sent<EndReport>().back().ending.message,
              "it did not answer, and the command with it");
}

TEST_F(SupervisorDeathTest, OneThatWaitedForAnotherAndIsClosedIsNotForgottenByWrongName) {
    const std::string job = "a job whose name is longer than what fits beside a string's length";
    slots(4);
    prepared("first");
    prepared(job);
    dies();
    EXPECT_EQ(asked().size(), 3u) << "the second one waits for the first";
    core->from_server(EndAck{id(job)});
    ASSERT_EQ(all<effect::Forget>().size(), 1u);
    EXPECT_EQ(all<effect::Forget>()[0].id, id(job));
    lease(id(job));
    ASSERT_EQ(sent<EndReport>().size(), 1u) << "it would begin again";
    EXPECT_EQ(sent<EndReport>()[0].ending.message, "this attempt has already ended on this node");
    restart();
    EXPECT_TRUE(core->attempts().size() == 1 && core->attempts()[0] == id("first"));
}

TEST_F(SupervisorDeathTest, OfSeveralStartsEachIsTriedAlone) {
    slots(4);
    for (const char* job : {"a", "poison", "b"}) prepared(job);
    EXPECT_EQ(asked(), (Jobs{"a", "poison", "b"}));
    dies();
    EXPECT_EQ(asked(), Jobs{"a"});
    core->task_started(id("a"), clock.time);
    EXPECT_EQ(asked(), Jobs{"poison"});
    dies({lost("a")});
    EXPECT_EQ(asked(), Jobs{"b"});
    flushed("poison");
    EXPECT_EQ(end_of("poison"), Cause::NodeLost);
    core->task_started(id("b"), clock.time);
    core->task_exited(id("b"), exit_with(0));
    core->outputs_shipped(id("b"), {});
    for (const auto& report : sent<EndReport>()) {
        if (report.id == id("b")) {
            EXPECT_EQ(report.ending.cause, Cause::None);
        }
    }
}

TEST_F(SupervisorDeathTest, WhoIsLostWithItAgainHasTheNodeForItself) {
    slots(4);
    for (int round = 1; round <= 2; ++round) {
        for (const char* job : {"culprit", "neighbour"}) {
            lease({"ws", job, round});
            prepare({"ws", job, round});
            core->task_started({"ws", job, round}, clock.time);
        }
        std::vector<TaskState> known{lost("culprit"), lost("neighbour")};
        for (TaskState& one : known) one.id.attempt = round;
        dies(known);
        for (const char* job : {"culprit", "neighbour"})
            core->from_server(EndAck{{"ws", job, round}});
    }
    clear();
    for (const char* job : {"culprit", "neighbour", "other"}) {
        lease({"ws", job, 3});
        prepare({"ws", job, 3});
    }
    EXPECT_EQ(asked(), Jobs{"culprit"});
    core->task_started({"ws", "culprit", 3}, clock.time);
    EXPECT_EQ(asked(), Jobs{});
    TaskState gone = lost("culprit");
    gone.id.attempt = 3;
    dies({gone});
    EXPECT_EQ(asked(), Jobs{"neighbour"});
    core->task_started({"ws", "neighbour", 3}, clock.time);
    core->task_exited({"ws", "neighbour", 3}, exit_with(0));
    EXPECT_EQ(asked(), Jobs{"other"});
    core->outputs_shipped({"ws", "neighbour", 3}, {});
    clear();
    // It went well once: it is like any other again.
    lease({"ws", "neighbour", 4});
    prepare({"ws", "neighbour", 4});
    EXPECT_EQ(asked(), Jobs{"neighbour"});
}

TEST_F(SupervisorDeathTest, AWaitingStartThatIsGivenBackOrStoppedIsOver) {
    slots(4);
    for (const char* job : {"a", "b", "c"}) prepared(job);
    dies();
    clear();
    core->from_server(Cancel{id("b"), Cause::Preempted, 0s, true});
    flushed("b");
    core->from_server(Cancel{id("c")});
    flushed("c");
    EXPECT_EQ(end_of("b"), Cause::Preempted);
    EXPECT_EQ(end_of("c"), Cause::Canceled);
    core->task_started(id("a"), clock.time);
    EXPECT_EQ(asked(), Jobs{});
}

}  // namespace
}  // namespace turnout::agent
