// Nodes that end by themselves at a known time.
#include "schedule/test_world.h"

namespace turnout::schedule {
namespace {

Demand for_so_long(std::chrono::seconds lasts) {
    Demand demand;
    demand.lasts = lasts;
    return demand;
}

TEST(Ends, WhatWouldNotBeOverGetsANodeThatBeginsAnew) {
    World w(1);
    w.put(1, cluster(0, 1));
    const Handle node = w.node(1);
    w.scheduler.node_ends(node, w.now + 1h);
    w.add(1, 1, for_so_long(10min));
    EXPECT_EQ(placed(w.plan()).size(), 1u);
    w.now += 10min;
    w.end(1, 10min);
    (void)w.plan();
    w.add(2, 1, for_so_long(30min));
    EXPECT_EQ(placed(w.plan()).size(), 1u) << "50 minutes are left";
    w.now += 30min;
    w.end(2, 30min);
    (void)w.plan();
    w.add(3, 1, for_so_long(20min));
    const Decisions third = w.plan();
    EXPECT_TRUE(third.assign.empty()) << "20 minutes are left, and logs have to leave it";
    EXPECT_EQ(third.release, std::vector<Handle>{node});
    EXPECT_TRUE(third.provision.empty()) << "the one that goes has the slot still";
    w.gone(node);
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 1}}));
}

TEST(Ends, WithoutATimeOfItsOwnATaskComesUntilShortlyBeforeTheEnd) {
    World w(1);
    w.put(1, cluster(0, 1));
    const Handle node = w.node(1);
    w.scheduler.node_ends(node, w.now + 10min);
    w.add(1, 1);
    EXPECT_EQ(placed(w.plan()).size(), 1u);
    w.now += 8min;
    w.end(1, 8min);
    w.add(2, 1);
    EXPECT_EQ(placed(w.plan()).size(), 1u) << "nobody knows how long it takes";
    w.now += 90s;
    w.end(2, 90s);
    w.add(3, 1);
    const Decisions third = w.plan();
    EXPECT_TRUE(third.assign.empty());
    EXPECT_EQ(third.release, std::vector<Handle>{node});
}

TEST(Ends, OneThatIsLongerThanAnyNodeLivesIsTriedOnAFreshOne) {
    World w(1);
    w.put(1, cluster(0, 1));
    const Handle node = w.node(1);
    w.scheduler.node_ends(node, w.now + 10min);
    w.add(1, 1, for_so_long(5h));
    EXPECT_EQ(placed(w.plan()).size(), 1u) << "another one would not live for longer";
}

TEST(Ends, AnIdleOneThatLastsIsTakenBeforeOneThatDoesNot) {
    World w(2);
    w.put(1, cluster(0, 2));
    const Handle longer = w.node(1), shorter = w.node(1);
    w.scheduler.node_ends(longer, w.now + 10h);
    w.scheduler.node_ends(shorter, w.now + 20min);
    w.now += 70s;
    w.add(1, 1, for_so_long(1h));
    const Decisions first = w.plan();
    ASSERT_EQ(first.assign.size(), 1u);
    EXPECT_EQ(first.assign.front().nodes, std::vector<Handle>{longer});
    EXPECT_TRUE(first.release.empty()) << "it is of use for what is short";
    w.add(2, 1, for_so_long(10min));
    EXPECT_EQ(placed(w.plan()).size(), 1u);
}

// What is left of an idle one is of use for what is short.
TEST(Ends, IdleOnesStayBesideANewOneWhereThereIsRoomForIt) {
    World w(3);
    w.put(1, cluster(0, 3));
    std::vector<Handle> short_lived;
    for (int i = 0; i < 2; ++i) {
        short_lived.push_back(w.node(1));
        w.scheduler.node_ends(short_lived.back(), w.now + 20min);
    }
    w.now += 70s;
    w.add(1, 1, for_so_long(1h));
    const Decisions first = w.plan();
    EXPECT_TRUE(first.assign.empty());
    EXPECT_TRUE(first.release.empty());
    EXPECT_EQ(first.provision, (std::vector<std::pair<Handle, int>>{{1, 1}}));
    const Handle starts = w.last_node;
    const Decisions second = w.plan();
    EXPECT_TRUE(second.release.empty() && second.provision.empty()) << "one is on its way";
    w.set(starts, NodeIs::Ready);
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{1});
    w.add(2, 1, for_so_long(10min));
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{2});
    EXPECT_EQ(w.of(1), 3);
}

TEST(Ends, AsManyIdleOnesGoAsTasksNeedTheirRoom) {
    World w(3);
    w.put(1, cluster(0, 3));
    for (int i = 0; i < 3; ++i) w.scheduler.node_ends(w.node(1), w.now + 20min);
    w.now += 70s;
    w.add(1, 1, for_so_long(1h));
    w.add(2, 1, for_so_long(10min));
    const Decisions first = w.plan();
    EXPECT_EQ(first.release.size(), 1u);
    EXPECT_TRUE(w.plan().release.empty()) << "that one is on its way out";
    w.add(3, 1, for_so_long(2h));
    EXPECT_EQ(w.plan().release.size(), 1u);
    for (const Handle gone : {101, 102}) w.gone(gone);
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 2}}));
    const Handle one = w.last_node - 1, other = w.last_node;
    EXPECT_TRUE(w.plan().release.empty());
    w.set(one, NodeIs::Ready);
    EXPECT_EQ(placed(w.plan()).size(), 2u) << "the long one, and the short one on what is left";
    w.set(other, NodeIs::Ready);
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{3});
}

}  // namespace
}  // namespace turnout::schedule
