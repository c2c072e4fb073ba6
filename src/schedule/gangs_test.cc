// Jobs of several nodes.
#include "schedule/test_world.h"

namespace turnout::schedule {
namespace {

TEST(Scheduler, AGangKeepsNodesUntilItHasAllAndSmallJobsWait) {
    World w(4);
    w.put(1, cluster(0, 3));
    for (int i = 0; i < 3; ++i) w.node(1);
    w.add(1, 1), w.add(2, 1);
    w.plan();
    w.add(3, 1, {.nodes = 3});
    w.add(4, 1);
    EXPECT_TRUE(w.plan().assign.empty());
    EXPECT_EQ(w.why(3),
              "waits for 3 nodes at once: 1 is free, kept for it; the compute has its 3 nodes");
    EXPECT_EQ(w.why(4),
              "a job before it waits for 3 nodes at once: 1 is free, kept for it; the compute has "
              "its 3 nodes; 1 job ahead");
    w.end(1, std::nullopt);
    EXPECT_TRUE(w.plan().assign.empty());
    // Someone more urgent may pass, and the gang goes on waiting for what is left.
    w.add(5, 1, {.priority = 1});
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{5});
    w.end(2, std::nullopt);
    EXPECT_TRUE(w.plan().assign.empty());
    w.end(5, std::nullopt);
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{3});
    EXPECT_TRUE(w.waits(4));
    w.end(3, std::nullopt);
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{4});
}

TEST(Scheduler, AGangThatIsTakenAwayFreesWhatWasKept) {
    World w(2);
    w.put(1, cluster(0, 2));
    w.node(1), w.node(1);
    w.add(1, 1);
    w.plan();
    w.add(2, 1, {.nodes = 2});
    w.add(3, 1);
    EXPECT_TRUE(w.plan().assign.empty());
    w.remove(2);
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{3});
}

TEST(Scheduler, AGangTooLargeIsSaidSoAndBlocksNobody) {
    World w(2);
    w.put(1, cluster(0, 2));
    w.node(1);
    w.add(1, 1, {.nodes = 3});
    w.add(2, 1);
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{2});
    EXPECT_EQ(w.why(1), "needs 3 nodes at once, but the compute allows 2 (max_instances)");
    w.put(1, cluster(0, 3));
    EXPECT_EQ(w.why(1),
              "needs 3 nodes at once, but of the 2 slots of the pool it can get at most 2");
    w.put(1, cluster(0, 2));
    w.remove(1);
    w.add(3, 1, {.nodes = 2});
    EXPECT_EQ(w.plan().provision.size(), 1u);
}

TEST(Scheduler, WhereSeveralJobsShareANodeAGangMakesOneEmpty) {
    World w(2);
    w.put(1, cluster(0, 2, 2));
    w.node(1), w.node(1);
    for (Handle task = 1; task <= 4; ++task) w.add(task, 1);
    w.plan();
    w.add(10, 1, {.nodes = 2});
    for (Handle task = 11; task <= 20; ++task) w.add(task, 1);
    for (Handle task = 1; task <= 4; ++task) {
        EXPECT_TRUE(w.waits(10));
        w.end(task, std::nullopt);
        w.plan();
    }
    EXPECT_FALSE(w.waits(10));
}

TEST(Scheduler, TwoGangsThatShareThePoolDoNotWaitForEachOther) {
    World w(6);
    w.put(1, cluster(0, 6));
    w.put(2, cluster(0, 6));
    w.add(1, 1), w.add(2, 1), w.add(3, 1), w.add(4, 2), w.add(5, 2), w.add(6, 2);
    w.plan();
    w.start_nodes();
    EXPECT_EQ(w.plan().assign.size(), 6u);
    w.add(11, 1, {.nodes = 5});
    w.add(12, 2, {.nodes = 5});
    for (Handle task = 1; task <= 6; ++task) w.end(task, 10s), w.plan();
    int ended = 0;
    for (int i = 0; i < 20; ++i) {
        w.remove_leaving();
        w.start_nodes();
        w.plan();
        for (const Handle gang : {11, 12})
            if (w.jobs.count(gang) && !w.waits(gang)) w.end(gang, 10s), ++ended;
    }
    EXPECT_EQ(ended, 2);
}

TEST(Scheduler, WhatIsKeptForAGangStaysWhenItsClusterIsToldWhatItWas) {
    World w(4);
    w.put(1, cluster(0, 2));
    w.put(2, cluster(0, 2));
    for (const Handle in : {1, 1, 2, 2}) w.node(in);
    w.add(1, 1), w.add(2, 1), w.add(3, 2), w.add(4, 2);
    EXPECT_EQ(w.plan().assign.size(), 4u);
    w.add(11, 1, {.nodes = 2});
    w.plan();
    w.end(1, 10s);
    w.plan();
    const std::string kept =
        "waits for 2 nodes at once: 1 is free, kept for it; the compute has its 2 nodes";
    EXPECT_EQ(w.why(11).substr(0, kept.size()), kept);
    w.put(1, cluster(0, 2));
    EXPECT_EQ(w.why(11).substr(0, kept.size()), kept);
    w.put(1, cluster(0, 3));  // this one looks at it anew
    w.add(12, 1);
    w.plan();
    EXPECT_TRUE(w.waits(12));
}

}  // namespace
}  // namespace turnout::schedule
