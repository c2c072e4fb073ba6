// What the mind of a node does about logs: what is in flight, what an end waits for.
#include "agent/node/state.h"
#include "agent/test_node.h"

namespace turnout::agent {
namespace {

TEST_F(NodeCoreTest, LostAcksAndReportsAreRepeated) {
    bring_to(Running);
    core->log_grew(kId, kStdLog, 10);
    clear();
    pass(5s);
    ASSERT_EQ(all<effect::ShipLog>().size(), 1u);
    EXPECT_EQ(all<effect::ShipLog>()[0].offset, 0u);
    core->from_server(LogAck{kId, std::string(kStdLog), 4});
    core->server_disconnected();
    clear();
    connect();
    ASSERT_EQ(all<effect::ShipLog>().size(), 1u);
    EXPECT_EQ(all<effect::ShipLog>()[0].offset, 4u);
    core->from_server(LogAck{kId, std::string(kStdLog), 10});
    core->task_exited(kId, exit_with(0, 10));
    core->outputs_shipped(kId, {});
    clear();
    pass(45s);
    EXPECT_EQ(sent<EndReport>().size(), 2u);
}

TEST_F(NodeCoreTest, WindowBoundsWhatIsInFlight) {
    bring_to(Running);
    core->log_grew(kId, kStdLog, 100 << 20);
    EXPECT_EQ(all<effect::ShipLog>().size(), 8u);
    core->from_server(LogAck{kId, std::string(kStdLog), 2 * kLogChunk});
    EXPECT_EQ(all<effect::ShipLog>().size(), 10u);
}

// Where the server has no room for it, all nodes send theirs again.
TEST_F(NodeCoreTest, ALittleOfALogIsSentAgainUntilItIsAcknowledged) {
    bring_to(Running);
    core->log_grew(kId, kStdLog, 100 << 20);
    for (int i = 0; i < 3; ++i) {
        clear();
        pass(5s);
        ASSERT_EQ(all<effect::ShipLog>().size(), 1u);
        EXPECT_EQ(all<effect::ShipLog>()[0].offset, 0u);
    }
    clear();
    core->from_server(LogAck{kId, std::string(kStdLog), kLogChunk});
    ASSERT_EQ(all<effect::ShipLog>().size(), 8u);
    EXPECT_EQ(all<effect::ShipLog>()[0].offset, kLogChunk);
}

// The supervisor says them into an empty log only: a shorter complaint of the node may stand there.
TEST_F(NodeCoreTest, LastWordsAreNotWaitedForInALogWithOthers) {
    ready();
    lease();
    core->log_grew(kId, kStdLog, 3);
    core->snapshot_done(kId, Failure(invalid("the code is not there").error()));
    EXPECT_TRUE(all<effect::AppendLog>().empty());
    core->from_server(LogAck{kId, std::string(kStdLog), 3});
    EXPECT_EQ(sent<EndReport>().size(), 1u);
}

TEST_F(NodeCoreTest, ALogThatNobodyTakesDoesNotHoldTheEndForEver) {
    bring_to(Flushing);
    pass(kFlushPatience - 1s);
    EXPECT_TRUE(sent<EndReport>().empty());
    core->from_server(LogAck{kId, std::string(kStdLog), 4});  // it comes forward
    pass(kFlushPatience - 1s);
    EXPECT_TRUE(sent<EndReport>().empty());
    core->server_disconnected();
    pass(1h);
    connect();
    EXPECT_TRUE(sent<EndReport>().empty()) << "without a server nobody could take it";
    pass(kFlushPatience);
    const auto ends = sent<EndReport>();
    ASSERT_FALSE(ends.empty());
    EXPECT_EQ(ends[0].ending.cause, Cause::None);
    EXPECT_EQ(ends[0].ending.message,
              "the last 6 B of its log are missing: the server did not take them");
}

TEST_F(NodeCoreTest, WhatWasCanceledWaitsLessForItsLog) {
    bring_to(Running);
    core->from_server(Cancel{kId, Cause::Canceled, 30s});
    core->task_exited(kId, exit_with(143, 10));
    core->note(kId, "1 output was not uploaded: 'work/outputs/x'");
    core->outputs_shipped(kId, {});
    pass(kFlushPatienceStopped - 1s);
    EXPECT_TRUE(sent<EndReport>().empty());
    pass(1s);
    const auto ends = sent<EndReport>();
    ASSERT_FALSE(ends.empty());
    EXPECT_EQ(ends[0].ending.cause, Cause::Canceled);
    EXPECT_EQ(ends[0].ending.message,
              "canceled; 1 output was not uploaded: 'work/outputs/x'; the last 10 B of its log are "
              "missing: the server did not take them");
}

TEST_F(NodeCoreTest, ALogForWhichThereIsRoomAgainIsSentAtOnce) {
    bring_to(Flushing);
    pass(7s);
    clear();
    core->from_server(LogAck{kId, std::string(kStdLog), 0});
    ASSERT_EQ(all<effect::ShipLog>().size(), 1u);
    EXPECT_EQ(all<effect::ShipLog>()[0].offset, 0u);
    core->from_server(LogAck{kId, std::string(kStdLog), 10});
    clear();
    core->from_server(LogAck{kId, std::string(kStdLog), 0});
    EXPECT_TRUE(all<effect::ShipLog>().empty());
}

TEST_F(NodeCoreTest, ALogThatWasRemovedIsNotWaitedFor) {
    bring_to(Flushing);
    core->log_lost(kId, kStdLog);
    core->from_server(LogAck{kId, std::string(kStdLog), 0});
    pass(kFlushPatienceLost);
    const auto ends = sent<EndReport>();
    ASSERT_FALSE(ends.empty());
    EXPECT_EQ(ends[0].ending.message,
              "the last 10 B of its log are missing: they were removed from the node");
}

}  // namespace
}  // namespace turnout::agent
