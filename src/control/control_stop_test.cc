// Control: a server that stops, is drained, or has other slots than before.
#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

TEST(ControlStop, EverythingEndsAndNothingBegins) {
    World w(3);
    w.put(World::cluster("c", 1, 2));
    for (const char* name : {"a", "b", "d"}) w.submit(name, "c");
    w.connect("ws/c/node-1");
    std::string answer = "no answer";
    w.control->stop_everything([&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(w.status("a"), JobStatus::CancelRequested);
    EXPECT_EQ(w.status("d"), JobStatus::Canceled);
    EXPECT_EQ(w.node("ws/c/node-2")->state, NodeState::Leaving);
    w.gone("ws/c/node-2");
    w.ends("ws/c/node-1", "a", ap::Cause::Canceled);
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);
    EXPECT_EQ(answer, "no answer");
    w.gone("ws/c/node-1");
    EXPECT_EQ(answer, "ok");
    EXPECT_EQ(w.count(Table::Node), 0u);
    w.pass(300s);
    EXPECT_EQ(w.count(Table::Node), 0u);
    w.restart();
    w.settle();
    EXPECT_EQ(w.count(Table::Node), 1u);  // the next start goes on
}

TEST(ControlDrain, WhatRunsEndsAndWhatWaitsStays) {
    World w(3);
    w.put(World::cluster("c", 1, 2));
    for (const char* name : {"a", "b", "d"}) w.submit(name, "c");
    w.connect("ws/c/node-1");
    w.phase("ws/c/node-1", "a", ap::Phase::Running);
    w.connect("ws/c/node-2");  // b is on its way there
    w.said();
    bool empty = false;
    std::string answer = "no answer";
    w.control->drain([&](Result<void> r) { answer = World::said_ok(r); }, [&] { empty = true; });
    w.settle();
    EXPECT_EQ(answer, "ok");
    EXPECT_TRUE(w.control->draining());
    const Lines said = w.said();
    EXPECT_NE(std::find(said.begin(), said.end(), "send ws/c/node-2 cancel b#1 preempted"),
              said.end())
        << testing::PrintToString(said);
    w.ends("ws/c/node-2", "b", ap::Cause::Preempted);
    EXPECT_EQ(w.status("b"), JobStatus::Queued);
    EXPECT_EQ(w.node("ws/c/node-2")->state, NodeState::Leaving);
    w.gone("ws/c/node-2");
    w.submit("late", "c");
    w.ends("ws/c/node-1", "a");
    EXPECT_EQ(w.status("a"), JobStatus::Completed);
    EXPECT_FALSE(empty);
    w.gone("ws/c/node-1");
    EXPECT_TRUE(empty);
    w.pass(1h);
    EXPECT_EQ(w.count(Table::Node), 0u);
    EXPECT_NE(w.control->waiting_for("ws", "late").find("begins nothing new"), std::string::npos);
    for (const char* name : {"b", "d", "late"})
        EXPECT_EQ(w.status(name), JobStatus::Queued) << name;
    w.restart();
    w.settle();
    EXPECT_EQ(w.count(Table::Node), 2u) << "the next start goes on";
}

TEST(ControlDrain, IsTakenBack) {
    World w(2);
    w.put(World::cluster("c", 0, 1));
    for (const char* name : {"a", "b"}) w.submit(name, "c");
    w.connect("ws/c/node-1");
    w.phase("ws/c/node-1", "a", ap::Phase::Running);
    bool empty = false;
    w.control->drain([](Result<void>) {}, [&] { empty = true; });
    w.settle();
    w.control->resume([](Result<void>) {});
    w.settle();
    w.ends("ws/c/node-1", "a");
    EXPECT_NE(w.node("ws/c/node-1")->state, NodeState::Leaving) << "b goes there";
    w.phase("ws/c/node-1", "b", ap::Phase::Running);
    EXPECT_EQ(w.status("b"), JobStatus::Running);
    EXPECT_FALSE(empty);
}

TEST(ControlSlots, AreKeptAndFallAsJobsEnd) {
    World w(2);
    w.put(World::cluster("c", 0, 4));
    for (const char* name : {"a", "b", "d"}) w.submit(name, "c");
    EXPECT_EQ(w.count(Table::Node), 2u);
    std::string answer = "no answer";
    w.control->set_slots(3, [&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(answer, "ok");
    EXPECT_EQ(w.count(Table::Node), 3u);
    for (const char* node : {"ws/c/node-1", "ws/c/node-2", "ws/c/node-3"}) w.connect(node);
    w.restart();
    EXPECT_EQ(w.control->slots(), 3);
    w.control->set_slots(1, [](Result<void>) {});
    w.settle();
    for (const auto& [node, job] : {std::pair("ws/c/node-1", "a"), std::pair("ws/c/node-2", "b"),
                                    std::pair("ws/c/node-3", "d")}) {
        w.connect(node, {World::attempt(job)});
        w.phase(node, job, ap::Phase::Running);
    }
    EXPECT_EQ(w.count(Table::Node), 3u) << "no running job is disturbed";
    w.submit("e", "c");
    for (const auto& [node, job] : {std::pair("ws/c/node-2", "b"), std::pair("ws/c/node-1", "a")}) {
        w.ends(node, job);
        EXPECT_EQ(w.node(node)->state, NodeState::Leaving);
        w.gone(node);
    }
    EXPECT_EQ(w.status("e"), JobStatus::Queued);
    w.ends("ws/c/node-3", "d");
    EXPECT_NE(w.node("ws/c/node-3")->state, NodeState::Leaving) << "e goes there";
    EXPECT_EQ(w.count(Table::Node), 1u);
}

TEST(ControlSlots, WhatCouldNotBeRecordedWasNotSet) {
    World w(2);
    w.store->fail_next({Code::ResourceExhausted, "DiskFull", "no space left", ""});
    std::string answer = "no answer";
    w.control->set_slots(9, [&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_NE(answer, "ok");
    EXPECT_EQ(w.control->slots(), 2);
}

// The compute that nobody made has as many nodes as the pool.
TEST(ControlSlots, ServerlessHasAllOfThem) {
    World w(1);
    for (const char* name : {"a", "b"}) w.submit(name, "serverless");
    EXPECT_EQ(w.count(Table::Node), 1u);
    w.control->set_slots(2, [](Result<void>) {});
    w.settle();
    EXPECT_EQ(w.count(Table::Node), 2u);
    w.restart();
    EXPECT_EQ(w.control->explain("ws", "b")->max_nodes, 2);
}

TEST(ControlStop, GoesOnAfterACommitThatFailed) {
    World w;
    w.put(World::cluster("c", 0, 1));
    const Error full{Code::ResourceExhausted, "DiskFull", "no space left", ""};
    for (const char* name : {"a", "b"}) w.submit(name, "c");
    w.connect("ws/c/node-1");
    w.phase("ws/c/node-1", "a", ap::Phase::Running);
    w.said();
    w.store->fail_next(full);
    std::string answer = "no answer";
    w.control->stop_everything([&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(w.status("b"), JobStatus::Queued);
    w.pass(5s);
    EXPECT_EQ(w.status("b"), JobStatus::Canceled);
    EXPECT_EQ(w.status("a"), JobStatus::CancelRequested);
    w.said();
    w.connect("ws/c/node-1", {World::attempt("a")});
    EXPECT_EQ(w.said(),
              (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 cancel a#1 canceled"}));
    w.ends("ws/c/node-1", "a", ap::Cause::Canceled);
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);
    w.store->fail_next(full);
    w.gone("ws/c/node-1");
    EXPECT_EQ(answer, "no answer") << "that it is gone was not recorded";
    w.pass(5s);
    w.gone("ws/c/node-1");
    EXPECT_EQ(answer, "ok");
    EXPECT_EQ(w.count(Table::Node), 0u);
}

}  // namespace
}  // namespace turnout
