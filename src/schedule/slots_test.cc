// Slots that become fewer or more, nodes that several tasks share, and clusters that close.
#include "schedule/test_world.h"

namespace turnout::schedule {
namespace {

TEST(Slots, FewerTakeEffectAsTasksEnd) {
    World w(4);
    w.put(1, cluster(0, 8));
    w.put(2, cluster(1, 8));
    const Handle a = w.node(1), b = w.node(1), c = w.node(1), idle = w.node(2);
    for (Handle task = 1; task <= 6; ++task) w.add(task, 1);
    EXPECT_EQ(placed(w.plan()).size(), 3u);
    w.set_slots(2);
    EXPECT_EQ(w.plan().release, std::vector<Handle>{idle})
        << "what is idle goes at once, even if its cluster keeps it";
    w.gone(idle);
    w.put(2, cluster(0, 8));
    w.now += 10min;
    w.end(*w.nodes.at(b).tasks.begin(), 10min);
    const Decisions first = w.plan();
    EXPECT_EQ(first.release, std::vector<Handle>{b}) << "it is done first, whichever that is";
    EXPECT_TRUE(first.assign.empty());
    w.gone(b);
    w.end(*w.nodes.at(a).tasks.begin(), 10min);
    EXPECT_EQ(placed(w.plan()).size(), 1u) << "there are as many as there may be: it goes on";
    EXPECT_EQ(w.scheduler.slots(), 2);
    EXPECT_EQ(w.nodes.at(c).tasks.size(), 1u);
}

TEST(Slots, MoreAreUsedAtOnce) {
    World w(1);
    w.put(1, cluster(0, 8));
    w.node(1);
    for (Handle task = 1; task <= 3; ++task) w.add(task, 1);
    EXPECT_TRUE(w.plan().provision.empty());
    w.set_slots(3);
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 2}}));
    w.add(9, 1, {.nodes = 4});
    EXPECT_NE(w.why(9).find("of the 3 slots"), std::string::npos);
    w.set_slots(4);
    EXPECT_EQ(w.why(9).find("of the"), std::string::npos);
}

// Of several tasks that share a node, the node goes with the last; nothing comes behind them.
TEST(Slots, ASharedNodeIsEmptiedFirst) {
    World w(2);
    w.put(1, cluster(0, 2, 2));
    const Handle a = w.node(1);
    w.node(1);
    for (Handle task = 1; task <= 8; ++task) w.add(task, 1);
    EXPECT_EQ(placed(w.plan()).size(), 4u);
    w.set_slots(1);
    w.end(w.nodes.at(a).tasks[0], 5s);
    EXPECT_TRUE(placed(w.plan()).empty());
    w.end(w.nodes.at(a).tasks[0], 5s);
    EXPECT_EQ(w.plan().release, std::vector<Handle>{a});
}

TEST(Slots, AClosedClusterKeepsWhatWaits) {
    World w(2);
    w.put(1, cluster(0, 2));
    const Handle a = w.node(1), b = w.node(1);
    for (Handle task = 1; task <= 3; ++task) w.add(task, 1);
    w.plan();
    Cluster closed = cluster(0, 2);
    closed.closed = true;
    w.put(1, closed);
    w.end(w.nodes.at(a).tasks[0], 5s);
    EXPECT_EQ(w.plan().release, std::vector<Handle>{a});
    EXPECT_NE(w.why(3).find("begins nothing new"), std::string::npos);
    w.gone(a);
    w.put(1, cluster(0, 2));
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 1}}));
    EXPECT_EQ(w.nodes.at(b).tasks.size(), 1u);
}

}  // namespace
}  // namespace turnout::schedule
