// Nodes of a machine park that is not ours alone: they wait in its queue, end at a known time, and
// are taken away.
#include <gtest/gtest.h>

#include "control/test_world.h"
#include "model/waiting.h"

namespace turnout {
namespace {

using namespace control_test;

struct Queues : World {
    Queues() {
        restart();
        settle();
        put(cluster("c", 0, 1, 1h));
    }
    const NodeId first = "ws/c/node-1", second = "ws/c/node-2";
    void submit_for(std::string name, Span timeout) {
        JobSubmission job = submission(std::move(name), "c");
        job.task.timeout = timeout;
        control->submit(std::move(job), [](Result<Put> r) { EXPECT_TRUE(r) << r.error().message; });
        settle();
    }
    void lose(const NodeId& id, const std::string& why) {
        control->node_lost(id, why);
        settle();
    }
};

TEST(ControlQueues, OneThatWaitsInAQueueIsNotGivenUpAndSaysWhy) {
    Queues w;
    w.submit("a", "c");
    const std::string why = std::string(kWaiting) + "Slurm: Resources";
    for (int minute = 0; minute < 30; ++minute) {
        w.control->node_starts(w.first, why);
        w.pass(1min);
    }
    ASSERT_TRUE(w.node(w.first)) << "half an hour is no time for a queue";
    EXPECT_NE(w.control->waiting_for("ws", "a").find(why), std::string::npos)
        << w.control->waiting_for("ws", "a");
    EXPECT_EQ(w.control->nodes_of("ws", "c").front().problem, why);
    w.control->node_starts(w.first, "its pilot runs");
    w.pass(w.settings.provision_timeout + 10s);
    w.gone(w.first);
    EXPECT_FALSE(w.node(w.first)) << "it began, and its agent never came";
}

TEST(ControlQueues, WhatIsLostIsTriedElsewhereAndSaysWhatBecameOfIt) {
    Queues w;
    w.submit("a", "c");
    w.connect(w.first);
    w.phase(w.first, "a", ap::Phase::Running);
    w.disconnect(w.first);
    w.lose(w.first, "its walltime was over");
    EXPECT_FALSE(w.node(w.first));
    EXPECT_EQ(w.status("a"), JobStatus::Queued);
    ASSERT_TRUE(w.node(w.second)) << "another one is asked for at once";
    w.connect(w.second);
    w.phase(w.second, "a", ap::Phase::Running, 2);
    for (int attempt = 2; attempt <= 3; ++attempt) {
        const NodeId node = "ws/c/node-" + std::to_string(attempt);
        w.connect(node);
        w.phase(node, "a", ap::Phase::Running, attempt);
        w.lose(node, "its walltime was over");
    }
    EXPECT_EQ(w.status("a"), JobStatus::Failed);
    EXPECT_NE(w.job("a")->error_message.find("its walltime was over"), std::string::npos)
        << w.job("a")->error_message;
}

TEST(ControlQueues, OneThatEndsBeforeItsAgentCameIsNotAskedForAgainAtOnce) {
    Queues w;
    w.submit("a", "c");
    w.said();
    w.lose(w.first, "it ended (FAILED)");
    EXPECT_FALSE(w.node(w.first));
    EXPECT_FALSE(w.node(w.second)) << "it would end like that again";
    w.pass(1min);
    EXPECT_TRUE(w.node(w.second));
    w.lose("ws/c/nobody", "whatever");
}

TEST(ControlQueues, AJobComesToANodeOnlyIfItIsOverBeforeThatEnds) {
    Queues w;
    w.submit_for("a", 10min);
    w.connect(w.first);
    w.control->node_ends(w.first, 30min);
    w.settle();
    w.phase(w.first, "a", ap::Phase::Running);
    w.pass(10min);
    w.ends(w.first, "a");
    w.submit_for("b", 15min);
    EXPECT_EQ(w.status("b"), JobStatus::Preparing) << "20 minutes are left";
    w.phase(w.first, "b", ap::Phase::Running);
    w.pass(5min);
    w.ends(w.first, "b");
    w.submit_for("c", 15min);
    EXPECT_EQ(w.status("c"), JobStatus::Queued) << "15 are left";
    EXPECT_EQ(w.node(w.first)->state, NodeState::Leaving);
    // What its job may take is known after a restart, too.
    w.restart();
    w.settle();
    w.gone(w.first);
    ASSERT_TRUE(w.node(w.second));
    w.connect(w.second);
    EXPECT_EQ(w.status("c"), JobStatus::Preparing);
}

}  // namespace
}  // namespace turnout
