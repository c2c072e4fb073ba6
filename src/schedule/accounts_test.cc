#include "schedule/accounts.h"

#include "schedule/test_world.h"

namespace turnout::schedule {
namespace {

constexpr Handle kAda = 901, kBob = 902, kBlue = 911;

Demand of(Handle account, Handle sharer, int nodes = 1, int priority = 0) {
    return {.nodes = nodes, .priority = priority, .sharer = sharer, .account = account};
}

Cluster ready_for(int nodes, Handle account = 0) {
    Cluster c = cluster(0, nodes);
    c.account = account;
    return c;
}

TEST(Accounts, WhoHasAsMuchAsTheyMayWaitsAndOthersGoPast) {
    World w(8);
    w.put(1, ready_for(8));
    for (int i = 0; i < 4; ++i) w.node(1);
    w.allow(kAda, {.jobs = 2});
    for (Handle task = 1; task <= 5; ++task) w.add(task, 1, of(kAda, 1));
    for (Handle task = 11; task <= 12; ++task) w.add(task, 1, of(kBob, 2));
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{1, 11, 2, 12}));
    EXPECT_EQ(w.scheduler.waiting(3, w.now).what, Waiting::For::Allowance);
    EXPECT_EQ(w.why(3), "waits for your quota: 2 of 2 running jobs of user 901");
    EXPECT_EQ(w.scheduler.kept_by(3), kAda);
    EXPECT_EQ(w.accounts.use(kAda).waiting, 3u);
    w.end(11, 1s);  // bob's end is no room of hers
    EXPECT_TRUE(placed(w.plan()).empty());
    w.end(1, 1s);
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{3}));
    w.allow(kAda, {.jobs = 4});  // at once
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{4}));
    EXPECT_EQ(w.scheduler.kept_by(5), 0u);
    w.allow(kAda, {});
    w.end(12, 1s);
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{5}));
}

// A cluster does not grow for jobs that may not begin.
TEST(Accounts, NodesAreHadForWhatMayBegin) {
    World w(20);
    w.put(1, ready_for(20));
    w.allow(kAda, {.jobs = 3});
    for (Handle task = 1; task <= 50; ++task) w.add(task, 1, of(kAda, 1 + task % 7));
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 3}}));
    EXPECT_TRUE(w.scheduler.any_allowed(1));
    w.start_nodes();
    EXPECT_EQ(w.plan().assign.size(), 3u);
    EXPECT_TRUE(w.plan().empty());
    w.allow(kAda, {.jobs = 5});
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 2}}));
}

// Nor for a gang that finds no room whole, nor for more gangs than may run.
TEST(Accounts, NodesAreHadForWholeGangs) {
    for (const Handle account : {Handle{0}, kBlue}) {
        World w(20);
        w.put(1, ready_for(4, account));
        w.put(2, ready_for(16, account));
        for (int i = 0; i < 4; ++i) w.node(1);
        const Handle limited = account ? kBlue : kAda;
        w.allow(limited, {.slots = 6});
        for (Handle task = 1; task <= 4; ++task) w.add(task, 1, of(kAda, 1));
        EXPECT_EQ(w.plan().assign.size(), 4u);
        w.add(11, 2, of(kAda, 2, 4));
        EXPECT_TRUE(w.plan().provision.empty());
        w.end(1, 1s);
        EXPECT_TRUE(w.plan().provision.empty());
        w.end(2, 1s);
        EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{2, 4}}));
    }
    World w(20);
    w.put(1, ready_for(20));
    w.allow(kAda, {.jobs = 1});
    for (Handle task = 1; task <= 3; ++task) w.add(task, 1, of(kAda, 1, 4));
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 4}}));
}

TEST(Accounts, AreSharedByClustersAndSchedulers) {
    Accounts accounts;
    accounts.allow(kAda, {.jobs = 1}, "user ada");
    Scheduler here(4, "here", &accounts), there(4, "there", &accounts);
    for (Scheduler* scheduler : {&here, &there}) {
        scheduler->put_cluster(1, cluster(0, 4));
        scheduler->add_node(scheduler == &here ? 1 : 2, 1, NodeIs::Ready, 1s);
    }
    here.add_task(1, 1, of(kAda, 1));
    there.add_task(2, 1, of(kAda, 1));
    ASSERT_EQ(placed(here.plan(1s)), (std::vector<Handle>{1}));
    EXPECT_TRUE(placed(there.plan(1s)).empty());
    EXPECT_EQ(there.explain(2, 1s), "waits for your quota: 1 of 1 running jobs of user ada");
    here.left(1, 1, 2s, 1s);
    EXPECT_EQ(placed(there.plan(2s)), (std::vector<Handle>{2}));
    EXPECT_EQ(accounts.use(kAda).jobs, 1);
}

TEST(Accounts, SlotsAreThoseOfAllRanks) {
    World w(8);
    w.put(1, ready_for(8));
    for (int i = 0; i < 6; ++i) w.node(1);
    w.allow(kAda, {.slots = 4});
    w.add(1, 1, of(kAda, 1));
    w.add(2, 1, of(kAda, 1, 4));  // has its turn, and there is room for three
    w.add(3, 1, of(kAda, 1));
    w.add(4, 1, of(kAda, 5));  // another of her sharers does not take that room
    w.add(5, 1, of(kAda, 1, 5));
    w.add(6, 1, of(kBob, 2, 2));
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{1, 6, 4}));
    EXPECT_EQ(w.why(2), "waits for your quota: 2 of 4 slots of user 901, and it needs 4");
    EXPECT_EQ(w.why(5), "needs 5 slots at once, but user 901 may have 4 (quota)");
    w.end(4, 1s);
    EXPECT_TRUE(placed(w.plan()).empty());
    w.end(1, 1s);
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{2}));
    w.end(2, 1s);
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{3}));
    w.end(3, 1s);
    w.end(6, 1s);
    EXPECT_TRUE(placed(w.plan()).empty());
    w.allow(kAda, {.slots = 5});
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{5}));
}

TEST(Accounts, OfAClusterHoldForAllItsTasks) {
    World w(8);
    w.put(1, ready_for(8, kBlue));
    w.put(2, ready_for(8, kBlue));
    for (int i = 0; i < 3; ++i) w.node(1), w.node(2);
    w.allow(kBlue, {.jobs = 3});
    for (Handle task = 1; task <= 2; ++task) w.add(task, 1, of(kAda, 1));
    for (Handle task = 11; task <= 13; ++task) w.add(task, 2, of(kBob, 2));
    EXPECT_EQ(w.plan().assign.size(), 3u);
    EXPECT_EQ(w.why(13), "waits for its workspace's quota: 3 of 3 running jobs of user 911");
    w.end(1, 1s);
    EXPECT_EQ(w.plan().assign.size(), 1u);
    EXPECT_EQ(w.accounts.use(kBlue).jobs, 3);
}

// What had begun before less was allowed goes on.
TEST(Accounts, LessIsAllowedFromTheNextStartOn) {
    World w(4);
    w.put(1, ready_for(4));
    for (int i = 0; i < 4; ++i) w.node(1);
    for (Handle task = 1; task <= 6; ++task) w.add(task, 1, of(kAda, 1));
    EXPECT_EQ(w.plan().assign.size(), 4u);
    w.allow(kAda, {.jobs = 2});
    w.end(1, 1s);
    w.end(2, 1s);
    EXPECT_TRUE(w.plan().assign.empty());
    w.end(3, 1s);
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{5}));
}

// Nodes that were kept for a gang are not kept when the room for it went elsewhere.
TEST(Accounts, AGangThatLostItsRoomKeepsNoNodes) {
    World w(8);
    w.put(1, ready_for(3));
    w.put(2, ready_for(2));
    w.node(1);
    w.node(1);
    w.node(2);
    w.allow(kAda, {.slots = 3});
    w.add(1, 1, of(kAda, 1, 3));
    w.plan();  // a third node starts, two are kept
    EXPECT_EQ(w.scheduler.waiting(1, w.now).what, Waiting::For::Gang);
    w.add(2, 2, of(kAda, 2));  // elsewhere nobody waits for the gang
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{2}));
    w.add(3, 1, of(kBob, 3));
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{3}));
    EXPECT_EQ(w.scheduler.waiting(1, w.now).what, Waiting::For::Allowance);
    w.end(2, 1s);
    w.end(3, 1s);
    w.start_nodes();
    EXPECT_EQ(placed(w.plan()), (std::vector<Handle>{1}));
}

}  // namespace
}  // namespace turnout::schedule
