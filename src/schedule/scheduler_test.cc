#include <random>

#include "schedule/test_world.h"

namespace turnout::schedule {
namespace {

TEST(Scheduler, GetsAsManyNodesAsTheQueueCanUseUpToTheMaximumAndTheSlots) {
    World w(8);
    w.put(1, cluster(0, 3));
    EXPECT_TRUE(w.plan().empty());
    w.add(1, 1);
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 1}}));
    EXPECT_EQ(w.why(1), "a node is starting");
    for (Handle task = 2; task < 7; ++task) w.add(task, 1);
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{1, 2}}));
    EXPECT_EQ(w.why(6), "all 3 nodes of the compute are in use; 5 jobs ahead");
    w.put(2, cluster(0, 20, 2));
    for (Handle task = 20; task < 40; ++task) w.add(task, 2);
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{2, 5}}));
    EXPECT_EQ(w.scheduler.free_slots(), 0);
    EXPECT_EQ(w.why(39), "no free slot in the pool: all 8 are in use; 19 jobs ahead");
    EXPECT_EQ(w.scheduler.waiting(39, w.now).what, Waiting::For::Quota);
}

TEST(Scheduler, KeepsTheMinimumAndLetsOthersGoAfterTheIdleTime) {
    World w(4);
    w.put(1, cluster(1, 3));
    EXPECT_EQ(w.plan().provision.at(0).second, 1);
    w.start_nodes();
    w.node(1);
    w.now = 11s;
    w.node(1);
    Decisions d = w.plan();
    EXPECT_TRUE(d.release.empty());
    EXPECT_EQ(d.next, Span(121s));
    w.now = 121s;
    d = w.plan();
    EXPECT_EQ(d.release.size(), 2u);
    EXPECT_EQ(w.scheduler.counts(1).idle, 1);
    EXPECT_EQ(d.next, std::nullopt);
}

TEST(Scheduler, PriorityThenFairShareThenOrder) {
    World w(2);
    w.put(1, cluster(0, 1));
    const Handle node = w.node(1);
    w.add(10, 1, {.sharer = 1});
    w.plan();
    w.add(11, 1, {.sharer = 1});
    w.add(12, 1, {.sharer = 1});
    w.add(20, 1, {.sharer = 2});
    w.add(21, 1, {.sharer = 2});
    w.add(30, 1, {.priority = 1, .sharer = 1});
    EXPECT_EQ(w.scheduler.waiting(12, w.now).ahead, 4u);
    std::vector<Handle> order;
    while (!w.nodes.at(node).tasks.empty()) {
        order.push_back(w.nodes.at(node).tasks[0]);
        w.end(order.back(), std::nullopt);
        w.plan();
    }
    EXPECT_EQ(order, (std::vector<Handle>{10, 30, 20, 11, 21, 12}));
}

TEST(Scheduler, OfTooManyNodesThoseGoThatAreDoneFirst) {
    for (const Handle first : {1, 2}) {
        World w(2);
        w.put(1, cluster(0, 2));
        w.add(1, 1);
        w.add(2, 1);
        const Handle a = w.node(1), b = w.node(1);
        w.plan();
        ASSERT_EQ(w.nodes.at(a).tasks.size() + w.nodes.at(b).tasks.size(), 2u);
        w.put(1, cluster(0, 1));
        EXPECT_TRUE(w.plan().release.empty());
        const Handle on = *w.jobs.at(first).on.begin();
        w.end(first, 5s);
        EXPECT_EQ(w.plan().release, std::vector<Handle>{on});
        w.gone(on);
        w.end(3 - first, 5s);
        EXPECT_TRUE(w.plan().release.empty()) << "one it may have";
    }
}

TEST(Scheduler, ShortTasksGetABacklogAndUnknownOnesNone) {
    World w(2);
    w.put(1, cluster(0, 1));
    const Handle node = w.node(1);
    for (Handle task = 1; task <= 200; ++task) w.add(task, 1);
    EXPECT_EQ(w.plan().assign.size(), 1u);
    w.end(1, 10ms);
    EXPECT_EQ(w.plan().assign.size(), 11u);
    w.end(2, 0ms);
    EXPECT_EQ(w.nodes.at(node).tasks.size(), 10u);
    for (Handle task = 3; task <= 12; ++task) w.end(task, 10s);
    EXPECT_EQ(w.plan().assign.size(), 1u);
}

TEST(Scheduler, TakesBackWhatAnotherNodeCouldBegin) {
    World w(2);
    w.put(1, cluster(0, 2));
    const Handle a = w.node(1);
    w.add(1, 1);
    w.plan();
    w.end(1, 10ms);
    for (Handle task = 2; task <= 6; ++task) w.add(task, 1);
    EXPECT_EQ(w.plan().assign.size(), 5u);
    EXPECT_TRUE(w.plan().empty());
    const Handle b = w.node(1);
    const Decisions d = w.plan();
    EXPECT_EQ(d.revoke, (std::vector<std::pair<Handle, Handle>>{{6, a}}));
    EXPECT_TRUE(w.plan().empty());
    w.end(6, std::nullopt, true);
    w.plan();
    EXPECT_EQ(w.nodes.at(b).tasks, std::vector<Handle>{6});
}

TEST(Scheduler, WhatANodeDidNotHearIsSaidAgainWhenItIsBack) {
    World w(2);
    w.put(1, cluster(0, 2));
    const Handle a = w.node(1);
    w.add(1, 1);
    w.plan();
    w.end(1, 10ms);
    for (Handle task = 2; task <= 6; ++task) w.add(task, 1);
    w.plan();
    w.node(1);
    const std::vector<std::pair<Handle, Handle>> back{{6, a}};
    EXPECT_EQ(w.plan().revoke, back);
    w.set(a, NodeIs::Unreachable);  // before it could be told
    EXPECT_TRUE(w.plan().revoke.empty());
    w.set(a, NodeIs::Ready);
    EXPECT_EQ(w.plan().revoke, back);
    w.set(a, NodeIs::Ready);  // it said Hello once more, and nobody noticed that it had been away
    EXPECT_EQ(w.plan().revoke, back);
}

TEST(Scheduler, ATaskThatBeganBeforeItCouldBeTakenBackIsNotWaitedFor) {
    World w(3);
    w.put(1, cluster(0, 3));
    const Handle a = w.node(1);
    w.add(1, 1);
    w.plan();
    w.end(1, 20ms);
    for (Handle task = 2; task <= 5; ++task) w.add(task, 1);
    w.plan();
    ASSERT_EQ(w.nodes.at(a).tasks.size(), 4u);
    w.node(1);
    EXPECT_EQ(w.plan().revoke, (std::vector<std::pair<Handle, Handle>>{{5, a}}));
    for (Handle task = 2; task <= 4; ++task) w.end(task, 20ms);  // and 5 begins
    for (Handle task = 6; task <= 9; ++task) w.add(task, 1);
    w.plan();  // two nodes share them
    w.node(1);
    EXPECT_FALSE(w.plan().revoke.empty())
        << "the new node could begin one, and nothing comes to it otherwise";
}

TEST(Scheduler, ABacklogThatDoesNotMoveComesBack) {
    World w(2);
    w.put(1, cluster(0, 2));
    const Handle a = w.node(1);
    w.add(1, 1);
    w.plan();
    w.end(1, 1ms);
    for (Handle task = 2; task <= 5; ++task) w.add(task, 1);
    const Decisions d = w.plan();
    EXPECT_EQ(d.assign.size(), 4u);
    ASSERT_TRUE(d.next);
    w.now = *d.next;
    EXPECT_EQ(w.plan().revoke, (std::vector<std::pair<Handle, Handle>>{{5, a}, {4, a}, {3, a}}));
    for (Handle task = 3; task <= 5; ++task) w.end(task, std::nullopt, true);
    EXPECT_EQ(w.plan().provision.size(), 1u);
    EXPECT_EQ(w.nodes.at(a).tasks, std::vector<Handle>{2});
}

TEST(Scheduler, APoolWithoutAnySlotSaysSo) {
    World w(0);
    w.put(1, cluster(0, 3));
    w.add(1, 1);
    EXPECT_TRUE(w.plan().empty());
    EXPECT_EQ(w.why(1), "the pool can have no node now");
}

TEST(Scheduler, IdleNodesOfOthersGoWhenSomeoneLacksSlots) {
    World w(3);
    w.put(1, cluster(1, 3));
    w.put(2, cluster(0, 3));
    for (int i = 0; i < 3; ++i) w.node(1);
    w.add(1, 2), w.add(2, 2), w.add(3, 2);
    EXPECT_EQ(w.plan().release.size(), 2u);
    EXPECT_TRUE(w.plan().empty());
    EXPECT_EQ(w.why(1), "no free slot in the pool: all 3 are in use, 2 of them leaving");
    w.remove_leaving();
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{2, 2}}));
}

TEST(Scheduler, ClustersShareTheSlotsFairlyWhenTasksEnd) {
    World w(4);
    w.put(1, cluster(0, 4));
    w.put(2, cluster(0, 4));
    Handle next = 1;
    for (; next <= 10; ++next) w.add(next, 1);
    w.plan();
    w.start_nodes();
    w.plan();
    for (; next <= 20; ++next) w.add(next, 2);
    for (int i = 0; i < 6; ++i) {
        for (Handle task = 1; task <= 10; ++task)
            if (w.jobs.count(task) && !w.waits(task)) {
                w.end(task, 60s);
                break;
            }
        w.plan();
        w.remove_leaving();
        w.plan();
        w.start_nodes();
        w.plan();
    }
    EXPECT_EQ(w.of(1), 2);
    EXPECT_EQ(w.of(2), 2);
}

TEST(Scheduler, LowPriorityGivesWayToDedicatedNewestFirstAndOnlyAsManyAsLack) {
    World w(3);
    w.put(1, low(0, 3));
    w.put(2, cluster(0, 3));
    w.add(1, 1), w.add(2, 1), w.add(3, 1);
    w.plan();
    w.start_nodes();
    w.plan();
    w.add(10, 2);
    w.add(11, 2);
    EXPECT_EQ(w.plan().preempt, (std::vector<Handle>{3, 2}));
    EXPECT_TRUE(w.plan().empty());
    w.end(3, 5s, true);
    EXPECT_EQ(w.plan().release.size(), 1u);
    w.end(2, 5s, true);
    EXPECT_EQ(w.plan().release.size(), 1u);
    w.remove_leaving();
    EXPECT_EQ(w.plan().provision, (std::vector<std::pair<Handle, int>>{{2, 2}}));
    // And never the other way round.
    w.add(12, 1);
    EXPECT_TRUE(w.plan().empty());
}

TEST(Scheduler, ResizeBelowPresentLetsIdleOnesGoAtOnceAndBusyOnesWhenTheyEnd) {
    World w(4);
    w.put(1, cluster(0, 3));
    for (int i = 0; i < 3; ++i) w.node(1);
    w.add(1, 1), w.add(2, 1);
    w.plan();
    w.put(1, cluster(0, 1));
    w.add(3, 1);
    EXPECT_EQ(w.plan().release.size(), 1u);
    w.end(1, 5s), w.end(2, 5s);
    const Decisions d = w.plan();
    EXPECT_EQ(d.release.size(), 1u);
    EXPECT_EQ(placed(d), std::vector<Handle>{3});
}

TEST(Scheduler, AClusterBeingDeletedStartsNothingAndKeepsNothing) {
    World w(4);
    w.put(1, cluster(2, 3));
    w.node(1), w.node(1);
    w.add(1, 1);
    w.plan();
    w.add(2, 1), w.add(3, 1, {.nodes = 2});
    Cluster deleting = cluster(2, 3);
    deleting.deleting = true;
    w.put(1, deleting);
    Decisions d = w.plan();
    EXPECT_EQ(d.release.size(), 1u);
    EXPECT_TRUE(d.assign.empty());
    EXPECT_EQ(w.why(2), "the compute is being deleted");
    w.end(1, 5s);
    EXPECT_EQ(w.plan().release.size(), 1u);
    w.remove_leaving();
    w.remove(2), w.remove(3);
    w.scheduler.remove_cluster(1);
    w.clusters.erase(1);
    EXPECT_TRUE(w.plan().empty());
}

TEST(Scheduler, UnreachableAndLeavingNodesReceiveNothingAndKeepTheirSlot) {
    World w(2);
    w.put(1, cluster(0, 2));
    const Handle a = w.node(1), b = w.node(1);
    w.add(1, 1);
    w.plan();
    w.set(a, NodeIs::Unreachable);
    w.set(b, NodeIs::Unreachable);
    w.add(2, 1);
    EXPECT_TRUE(w.plan().empty());
    EXPECT_EQ(w.why(2), "all 2 nodes of the compute are in use, 2 of them not reachable");
    const Handle idle = w.nodes.at(a).tasks.empty() ? a : b;
    w.set(idle, NodeIs::Leaving);
    EXPECT_TRUE(w.plan().empty());
    w.gone(idle);
    EXPECT_EQ(w.plan().provision.size(), 1u);
}

TEST(Scheduler, WaitsAfterAFailureBeforeItAsksForNodesAgain) {
    World w(2);
    w.put(1, cluster(0, 2));
    w.add(1, 1);
    w.scheduler.hold_provisioning(1, 31s);
    const Decisions d = w.plan();
    EXPECT_TRUE(d.empty());
    EXPECT_EQ(d.next, Span(31s));
    EXPECT_EQ(w.why(1), "starting a node failed; it is tried again shortly");
    w.now = 31s;
    EXPECT_EQ(w.plan().provision.size(), 1u);
}

TEST(Scheduler, ARestoredTaskIsWhereItWas) {
    World w(3);
    w.put(1, cluster(0, 3));
    const Handle a = w.node(1), b = w.node(1), c = w.node(1);
    w.scheduler.restore_task(1, 1, {.nodes = 2}, {a, b});
    w.jobs[1] = {1, {.nodes = 2}, {a, b}};
    w.nodes.at(a).tasks = w.nodes.at(b).tasks = {1};
    w.add(2, 1), w.add(3, 1);
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{2});
    EXPECT_EQ(w.nodes.at(c).tasks, std::vector<Handle>{2});
    w.scheduler.left(1, a, w.now, 5s);
    w.nodes.at(a).tasks.clear();
    w.jobs.at(1).on.erase(a);
    EXPECT_EQ(placed(w.plan()), std::vector<Handle>{3});
}

TEST(Explain, SaysWhenAJobIsExpectedOnceDurationsAreKnown) {
    World w(1);
    w.put(1, cluster(0, 1));
    w.node(1);
    w.add(1, 1);
    w.plan();
    w.now += 40s;
    w.end(1, 40s);
    for (Handle task = 2; task <= 4; ++task) w.add(task, 1);
    w.plan();
    w.now += 10s;
    EXPECT_EQ(w.why(3), "the one node of the compute is in use; expected in about 30 s");
    EXPECT_EQ(w.why(4),
              "the one node of the compute is in use; 1 job ahead; expected in about 1 min 10 s");
    EXPECT_EQ(w.why(2), "");
}

// Thousands of random steps: World::plan checks each decision; here is what must hold afterwards,
// and that every task is placed at last when others end.
std::string wander(unsigned seed, int steps) {
    std::mt19937 random(seed);
    const auto below = [&](int bound) {
        return static_cast<int>(random() % static_cast<unsigned>(bound));
    };
    World w(2 + below(10));
    const bool brief = seed % 2 == 1;
    if (!brief) w.deepest = 0;
    const int clusters = 1 + below(4);
    const int at_a_time =
        seed % 3 == 0 ? 3 : 1;  // lowered later it would make a load look too deep
    int minima = 0;
    const auto any_cluster = [&] {
        Cluster c = cluster(below(4) == 0 && minima + 1 < w.slots ? 1 : 0, 1 + below(8), at_a_time);
        minima += c.min_nodes;
        c.low_priority = below(3) == 0;
        return c;
    };
    // In some worlds nodes end by themselves.
    const bool nodes_end = seed % 5 == 1;
    std::map<Handle, Span> ends;
    const auto begin = [&](Handle node) {
        w.set(node, NodeIs::Ready);
        if (!nodes_end || ends.contains(node)) return;
        ends[node] = w.now + 1s * (60 + below(600));
        w.scheduler.node_ends(node, ends[node]);
    };
    const auto end_nodes = [&] {
        for (const auto& [node, at] : ends) {
            if (at > w.now || !w.nodes.contains(node)) continue;
            for (const Handle task : std::vector<Handle>(w.nodes.at(node).tasks))
                w.end(task, std::nullopt, true);
            w.gone(node);
        }
    };
    // Half of the worlds have accounts: each sharer is on one of two, and all clusters on a third.
    const bool accounts = seed % 4 >= 2;
    constexpr Handle first_account = 500, of_clusters = 502;
    const auto any_allowance = [&] {
        Allowance allowance;
        if (below(3) > 0) allowance.jobs = 1 + below(4);
        if (below(3) > 0) allowance.slots = 1 + below(8);
        return allowance;
    };
    const auto put_cluster = [&](Handle handle) {
        Cluster c = any_cluster();
        if (accounts) c.account = of_clusters;
        w.put(handle, c);
    };
    if (accounts)
        for (Handle account = first_account; account <= of_clusters; ++account)
            w.allow(account, any_allowance());
    for (int i = 1; i <= clusters; ++i) put_cluster(static_cast<Handle>(i));
    Handle next_task = 1000;
    const auto ran = [&] { return Span(brief ? 1ms * (1 + below(20)) : 1s * (1 + below(100))); };
    const auto pick = [&](auto accept) -> Handle {
        std::vector<Handle> some;
        for (const auto& [handle, node] : w.nodes)
            if (accept(node)) some.push_back(handle);
        return some.empty() ? 0
                            : some[static_cast<std::size_t>(below(static_cast<int>(some.size())))];
    };
    const auto is = [](NodeIs what) {
        return [what](const World::Node& n) { return n.is == what; };
    };
    // Ends something that has begun: one of the first on a node.
    const auto end_one = [&] {
        const Handle at = pick(
            [](const World::Node& n) { return !n.tasks.empty() && n.is != NodeIs::Unreachable; });
        if (at)
            w.end(w.nodes.at(at)
                      .tasks[static_cast<std::size_t>(below(static_cast<int>(std::min<std::size_t>(
                          w.nodes.at(at).tasks.size(), static_cast<std::size_t>(at_a_time)))))],
                  ran());
    };
    const auto give_way = [&] {
        std::vector<Handle> leave, back;
        for (const auto& [handle, job] : w.jobs) {
            if (job.preempting)
                leave.push_back(handle);
            else if (job.revoking) {
                const auto& tasks = w.nodes.at(*job.on.begin()).tasks;
                if (std::find(tasks.begin(), tasks.end(), handle) - tasks.begin() >= at_a_time)
                    back.push_back(handle);
            }
        }
        for (const Handle task : leave) w.end(task, ran(), true);
        for (const Handle task : back) w.end(task, std::nullopt, true);
    };
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
        w.now += Span(below(brief ? 20'000 : 5'000'000));
        switch (below(17)) {
            case 0:
            case 1:
            case 2:
            case 3: {
                const Handle sharer = 1 + static_cast<Handle>(below(accounts ? 6 : 3));
                w.add(++next_task, 1 + static_cast<Handle>(below(clusters)),
                      {.nodes = below(5) == 0 ? 2 + below(5) : 1,
                       .priority = below(8) == 0 ? 1 : 0,
                       .sharer = sharer,
                       .account = accounts ? first_account + sharer % 2 : 0,
                       .lasts = std::chrono::seconds(nodes_end && below(2) ? below(900) : 0)});
                if (accounts && below(6) == 0)
                    w.allow(first_account + static_cast<Handle>(below(3)), any_allowance());
                break;
            }
            case 4:
            case 5:
            case 6:
            case 7: end_one(); break;
            case 8:
            case 9:
                if (const Handle n = pick(is(NodeIs::Starting))) begin(n);
                break;
            case 10: w.remove_leaving(); break;
            case 11:
                if (const Handle n = pick(is(NodeIs::Ready)); n && below(4) == 0)
                    w.set(n, NodeIs::Unreachable);
                break;
            case 12:
                if (const Handle n = pick(is(NodeIs::Unreachable))) {
                    if (below(2) == 0) {
                        w.set(n, NodeIs::Ready);
                    } else {
                        for (const Handle task : std::vector<Handle>(w.nodes.at(n).tasks))
                            w.end(task, std::nullopt, true);
                        w.gone(n);
                    }
                }
                break;
            case 13: give_way(); break;
            case 14:
                if (below(4) == 0) {
                    const Handle c = 1 + static_cast<Handle>(below(clusters));
                    minima -= w.clusters.at(c).min_nodes;
                    put_cluster(c);
                } else if (below(4) == 0) {
                    w.scheduler.hold_provisioning(1 + static_cast<Handle>(below(clusters)),
                                                  w.now + 3s);
                }
                break;
            case 15:
                for (const auto& [handle, job] : w.jobs)
                    if (job.on.empty() && below(3) == 0) {
                        w.remove(handle);
                        break;
                    }
                break;
            case 16:
                if (below(6) == 0) w.set_slots(minima + 2 + below(10));
                break;
        }
        end_nodes();
        if (below(3) == 0) w.plan();
        for (const auto& [handle, job] : w.jobs)
            if (below(40) == 0) w.log << w.why(handle);
    }
    const auto possible = [&](Handle task) {
        return w.why(task).find("needs") == std::string::npos;
    };
    std::size_t waiting = 1;
    for (int round = 0; waiting > 0 && round < 5000 && !testing::Test::HasFailure(); ++round) {
        w.now += 1s;
        for (auto& [handle, node] : w.nodes)
            if (node.is == NodeIs::Unreachable) w.set(handle, NodeIs::Ready);
        end_nodes();
        for (auto& [handle, node] : w.nodes)
            if (node.is == NodeIs::Starting) begin(handle);
        w.remove_leaving();
        give_way();
        end_one();
        w.plan();
        waiting = 0;
        for (const auto& [handle, job] : w.jobs) waiting += job.on.empty() && possible(handle);
    }
    if (waiting > 0) {
        for (const auto& [handle, job] : w.jobs)
            if (job.on.empty() && possible(handle))
                ADD_FAILURE() << "seed " << seed << ": " << handle << " of cluster " << job.cluster
                              << " with " << job.demand.nodes
                              << " nodes was never placed: " << w.why(handle);
    }
    return w.log.str();
}

TEST(Scheduler, HoldsItsPromisesInThousandsOfRandomSteps) {
    for (unsigned seed = 0; seed < 300 && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        const std::string once = wander(seed, 400);
        if (seed % 10 > 0) continue;
        EXPECT_EQ(once, wander(seed, 400)) << "the same calls give the same plan";
    }
}

// A service never makes room: nobody is to wait behind it, nor does it wait behind others.
TEST(Scheduler, WhatStaysHasItsNodeAlone) {
    Scheduler scheduler(2);
    Cluster cluster;
    cluster.max_nodes = 2;
    cluster.jobs_per_node = 2;
    cluster.idle_before_scale_down = 1h;
    scheduler.put_cluster(1, cluster);
    scheduler.add_node(101, 1, NodeIs::Ready, 1s);
    scheduler.add_node(102, 1, NodeIs::Ready, 1s);
    Demand usual, exclusive;
    exclusive.alone = true;
    scheduler.add_task(1, 1, exclusive);
    Decisions first = scheduler.plan(2s);
    ASSERT_EQ(first.assign.size(), 1u);
    const Handle alone = first.assign[0].nodes[0];
    Handle task = 1;
    for (int round = 0; round < 20; ++round) {  // so short that backlogs form
        for (int i = 0; i < 8; ++i) scheduler.add_task(++task, 1, usual);
        const Span now = 3s + round * 10ms;
        std::vector<Decisions::Assign> given = scheduler.plan(now).assign;
        for (std::size_t at = 0; at < given.size(); ++at) {
            EXPECT_NE(given[at].nodes[0], alone);
            scheduler.left(given[at].task, given[at].nodes[0], now + 1ms, 1ms);
            for (auto& more : scheduler.plan(now + 1ms).assign) given.push_back(more);
        }
    }
    // Another one waits until a node is idle, though tasks may wait behind others.
    scheduler.add_task(++task, 1, usual);
    ASSERT_EQ(scheduler.plan(4s).assign.size(), 1u);
    const Handle last = task;
    scheduler.add_task(++task, 1, exclusive);
    EXPECT_TRUE(scheduler.plan(4s).assign.empty());
    scheduler.left(last, alone == 101 ? 102 : 101, 5s, 1ms);
    ASSERT_EQ(scheduler.plan(5s).assign.size(), 1u);
}

}  // namespace
}  // namespace turnout::schedule
