// Why a job waits, and the sums over what is over.
#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

Totals totals(World& w, const std::string& key) {
    const auto row = w.store->get(Table::Ledger, key);
    if (!row || !*row) return {};
    return *totals_from_json(*parse_json((*row)->value));
}

TEST(Explain, SaysWhatWouldStartIt) {
    World w(4);
    const NodeId node = w.ready("first");
    w.phase(node, "first", ap::Phase::Running);
    w.submit("second", "c");
    w.submit("third", "c");
    w.clock.pass(12s);
    const auto second = w.control->explain("ws", "second");
    ASSERT_TRUE(second);
    EXPECT_TRUE(second->waits);
    EXPECT_EQ(second->waiting.what, schedule::Waiting::For::Nodes);
    EXPECT_EQ(second->waiting.ahead, 0u);
    EXPECT_EQ(
        second->would_start,
        (Lines{"the end of job first on node-1",
               "max_instances 2 instead of 1: `turnout compute update -n c --max-instances 2`"}));
    ASSERT_EQ(second->nodes.size(), 1u);
    EXPECT_EQ(second->nodes[0].doing, "runs job first since 12 s");
    const auto third = w.control->explain("ws", "third");
    EXPECT_EQ(third->waiting.ahead, 1u);
    EXPECT_EQ(
        third->would_start,
        (Lines{"the end of 2 jobs of this compute",
               "max_instances 3 instead of 1: `turnout compute update -n c --max-instances 3`"}));

    w.disconnect(node);
    EXPECT_NE(w.control->explain("ws", "second")->nodes[0].doing.find("not reachable"),
              std::string::npos);
    EXPECT_FALSE(w.control->explain("ws", "nobody"));
    EXPECT_FALSE(w.control->explain("ws", "first")->waits);
}

TEST(Explain, WhatItSaysIsTrue) {
    World w(4);
    const NodeId node = w.ready("first");
    w.phase(node, "first", ap::Phase::Running);
    w.submit("second", "c");
    ASSERT_EQ(w.control->explain("ws", "second")->would_start.at(1),
              "max_instances 2 instead of 1: `turnout compute update -n c --max-instances 2`");
    w.put(World::cluster("c", 0, 2));
    ASSERT_TRUE(w.node("ws/c/node-2"));
    w.connect("ws/c/node-2");
    EXPECT_EQ(w.status("second"), JobStatus::Preparing);
}

TEST(Explain, EveryStateSaysWhatItWaitsFor) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("j", "c");
    const auto says = [&] { return w.control->explain("ws", "j")->text; };
    EXPECT_FALSE(says().empty()) << "Queued";
    const NodeId node = "ws/c/node-1";
    w.connect(node);
    const auto reports = [&](ap::Phase phase, const std::string& detail) {
        w.control->agent_says(node, ap::PhaseReport{World::attempt("j"), phase, detail, {}, {}});
        w.settle();
    };
    EXPECT_EQ(says(), "the node prepares the job");
    reports(ap::Phase::Preparing, "building environment (uv: resolving)");
    EXPECT_EQ(says(), "building environment (uv: resolving)");
    reports(ap::Phase::Running, "");
    EXPECT_EQ(w.control->waiting_for("ws", "j"), "") << "nothing keeps it";
    w.clock.pass(12s);
    EXPECT_EQ(says(), "its command runs on node-1 since 12 s");
    reports(ap::Phase::Finalizing, "uploading outputs");
    EXPECT_EQ(says(), "uploading outputs");
    reports(ap::Phase::Finalizing, "");
    EXPECT_EQ(says(), "uploading outputs and the rest of the log");
    w.disconnect(node);
    EXPECT_EQ(says(), "the node's agent is not reachable; the job goes on there");
}

TEST(Explain, ACancelSaysWhatItWaitsFor) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("j", "c");
    const NodeId node = "ws/c/node-1";
    w.connect(node);
    w.phase(node, "j", ap::Phase::Preparing);
    w.cancel("j");
    const auto says = [&] { return w.control->waiting_for("ws", "j"); };
    EXPECT_EQ(says(), "canceling: node-1 was told to prepare it no further");
    w.phase(node, "j", ap::Phase::Running);
    EXPECT_EQ(says(),
              "canceling: its processes on node-1 were asked to stop; what still runs after 30 s "
              "is killed");
    w.phase(node, "j", ap::Phase::Finalizing);
    EXPECT_EQ(says(), "canceling: uploading what it left");
    w.disconnect(node);
    EXPECT_EQ(says(),
              "canceling: the agent of node-1 is not reachable; the job is over when it is back, "
              "or is given up");
}

TEST(Explain, NamesWhoHoldsTheSlots) {
    World w(1);
    const NodeId node = w.ready("first");
    w.phase(node, "first", ap::Phase::Running);
    w.put(World::cluster("d", 0, 1));
    w.submit("waits", "d");
    const auto why = w.control->explain("ws", "waits");
    EXPECT_EQ(why->waiting.what, schedule::Waiting::For::Quota);
    EXPECT_EQ(why->free_slots, 0);
    ASSERT_EQ(why->would_start.size(), 2u);
    EXPECT_EQ(why->would_start[0], "a slot that another compute lets go: c holds 1");
    EXPECT_NE(why->would_start[1].find("--slots 2"), std::string::npos);
    w.put(World::cluster("none", 0, 0));
    w.submit("never", "none");
    EXPECT_NE(w.control->explain("ws", "never")->would_start.at(0).find("--max-instances 1"),
              std::string::npos);
}

TEST(Ledger, ANodeCostsWhatItsPoolSaysWhereItsComputeDoesNot) {
    Pool pool;
    pool.name = std::string(kDefaultPool);
    pool.slots = 3;
    pool.price = {7200.0, 3600.0};  // two a second, and one
    for (const auto& [tier, tag, price] :
         {std::tuple{Tier::Dedicated, "", 7200.0}, std::tuple{Tier::LowPriority, "", 3600.0},
          std::tuple{Tier::LowPriority, "36000", 36000.0}}) {
        World w(3);
        w.settings.pools = {pool};
        w.restart();
        Compute cluster = World::cluster("c", 1, 1);
        cluster.tier = tier;
        if (*tag != 0) cluster.envelope.set("tags", Json::object({{std::string(kPriceTag), tag}}));
        w.put(cluster);
        w.connect("ws/c/node-1");
        w.clock.pass(10s);
        const Control::LiveNodes live = w.control->live_nodes("ws", "c");
        EXPECT_EQ(live.price, price);
        EXPECT_DOUBLE_EQ(live.cost, price / 360);
        // Another price is of the time from then on.
        Compute dearer = cluster;
        dearer.envelope.set("tags", Json::object({{std::string(kPriceTag), "0"}}));
        w.put(dearer);
        w.clock.pass(10s);
        EXPECT_DOUBLE_EQ(w.control->live_nodes("ws", "c").cost, 0);
    }
}

TEST(Ledger, TotalsAreTheSumOverJobs) {
    World w(4);
    Compute cluster = World::cluster("c", 0, 1);
    cluster.envelope.set("tags",
                         Json::object({{"turnout.price_per_hour", "3600"}}));  // one a second
    w.put(cluster);
    w.submit("a", "c");
    w.clock.pass(2s);
    const NodeId node = "ws/c/node-1";
    w.connect(node);
    w.phase(node, "a", ap::Phase::Preparing);
    w.clock.pass(3s);
    w.phase(node, "a", ap::Phase::Running);
    w.clock.pass(61s);
    w.ends(node, "a");
    w.submit("b", "c");
    w.clock.pass(61s);
    w.ends(node, "b", ap::Cause::UserCode);
    w.submit("gone", "c");
    w.cancel("gone");
    w.restart();  // what is over stays over
    w.connect(node);
    w.ends(node, "gone", ap::Cause::Canceled);

    std::array<Span, 10> time{};
    Span used{};
    for (const std::string name : {"a", "b", "gone"}) {
        const JobRecord job = *w.job(name);
        ASSERT_TRUE(is_terminal(job.status)) << name;
        for (const auto& [entry, span] : ledger(job, w.clock.now()))
            time[static_cast<std::size_t>(entry)] += span;
        for (const JobAttempt& attempt : job.attempts) used += time_on_node(attempt, w.clock.now());
    }
    for (const std::string key : {"ws/compute/c", "ws/experiment/"}) {
        const Totals sums = totals(w, key);
        EXPECT_EQ(sums.completed, 1) << key;
        EXPECT_EQ(sums.failed, 1) << key;
        EXPECT_EQ(sums.canceled, 1) << key;
        EXPECT_EQ(sums.causes.at("user_code"), 1) << key;
        EXPECT_EQ(sums.causes.at("canceled"), 1) << key;
        EXPECT_EQ(sums.time, time) << key;
        EXPECT_EQ(sums.used_dedicated, used) << key;
        EXPECT_EQ(sums.used_low_priority, Span{}) << key;
    }
    EXPECT_GT(time[static_cast<std::size_t>(LedgerEntry::NodeStart)], 1s);

    // The node: two seconds until its first word, and all of it is paid.
    EXPECT_EQ(totals(w, "ws/compute/c").nodes, 0);
    const Control::LiveNodes live = w.control->live_nodes("ws", "c");
    EXPECT_EQ(live.count, 1);
    EXPECT_EQ(live.starting, 2s);
    w.remove_compute("c");
    w.gone(node);
    const Totals after = totals(w, "ws/compute/c");
    EXPECT_EQ(after.nodes, 1);
    EXPECT_EQ(after.node_starting, 2s);
    EXPECT_GE(after.node_life, used);
    EXPECT_NEAR(after.cost, static_cast<double>(after.node_life.count()) / 1e6, 1e-6);
    EXPECT_NEAR(totals(w, "ws/experiment/").cost, static_cast<double>(used.count()) / 1e6, 1e-6);
    EXPECT_EQ(w.control->live_nodes("ws", "c").count, 0);
}

TEST(Ledger, APreemptedAttemptIsCountedOnce) {
    World w(4);
    const NodeId node = w.ready("a");
    w.phase(node, "a", ap::Phase::Running);
    w.clock.pass(10s);
    std::string answer;
    w.control->preempt_job("ws", "a", [&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(answer, "ok");
    EXPECT_TRUE(w.control->nodes_of("ws", "c").at(0).gives_way);
    w.ends(node, "a", ap::Cause::Preempted);
    EXPECT_EQ(totals(w, "ws/compute/c").preemptions, 1);
    EXPECT_EQ(totals(w, "ws/compute/c").attempts, 1);
    EXPECT_EQ(totals(w, "ws/compute/c").completed, 0) << "it has not ended";
    EXPECT_EQ(preemptions(*w.job("a")), 1);
    w.ends(node, "a", ap::Cause::None, 2);
    EXPECT_EQ(totals(w, "ws/compute/c").attempts, 2);
    EXPECT_EQ(totals(w, "ws/compute/c").completed, 1);
    EXPECT_GE(totals(w, "ws/compute/c").time[static_cast<std::size_t>(LedgerEntry::Preempted)],
              10s);
}

TEST(Ledger, AJobOfSeveralNodesUsesAllOfThem) {
    World w(4);
    Compute cluster = World::cluster("c", 2, 2);
    cluster.jobs_per_node = 4;
    w.put(cluster);
    w.control->submit(World::gang("g", "c", 2), [](Result<Put>) {});
    const NodeId first = "ws/c/node-1", second = "ws/c/node-2";
    w.connect(first);
    w.connect(second);
    for (const NodeId& node : {first, second}) w.phase(node, "g", ap::Phase::Running);
    w.clock.pass(1min);
    EXPECT_EQ(w.control->live_nodes("ws", "c").used, 2min);
    for (const NodeId& node : {first, second}) w.ends(node, "g");
    EXPECT_EQ(totals(w, "ws/compute/c").used_dedicated, 2min);
}

TEST(Ledger, ANewPriceHoldsFromNowOn) {
    World w(4);
    const auto priced = [](const std::string& price) {
        Compute cluster = World::cluster("c", 1, 1);
        cluster.envelope.set("tags", Json::object({{"turnout.price_per_hour", price}}));
        return cluster;
    };
    w.put(priced("3600"));  // one a second
    w.connect("ws/c/node-1");
    w.clock.pass(10s);
    EXPECT_NEAR(w.control->live_nodes("ws", "c").cost, 10, 1e-6);
    w.put(priced("36000"));
    EXPECT_NEAR(totals(w, "ws/compute/c").cost, 10, 1e-6);
    w.clock.pass(10s);
    w.put(priced("36000"));
    w.restart();
    EXPECT_NEAR(w.control->live_nodes("ws", "c").cost, 100, 1e-6);
    w.put(World::cluster("c", 0, 1));  // it costs nothing any more
    w.clock.pass(10s);
    w.gone("ws/c/node-1");
    EXPECT_NEAR(totals(w, "ws/compute/c").cost, 110, 1e-6);
    EXPECT_EQ(totals(w, "ws/compute/c").node_life, 30s);
}

// The file of pools is read at each start: what it says then is of the time from then on, too.
TEST(Ledger, AnotherPriceInTheFileOfPoolsDoesNotChangeThePast) {
    World w(1);
    const auto priced = [](std::optional<double> price) {
        Pool pool;
        pool.name = std::string(kDefaultPool);
        pool.slots = 1;
        pool.price.dedicated = price;
        return std::vector<Pool>{pool};
    };
    const NodeId node = "ws/c/node-1";
    std::vector<ap::AttemptId> runs;
    const auto restart = [&](std::optional<double> price) {
        w.settings.pools = priced(price);
        w.restart();
        w.connect(node, runs);
    };
    w.settings.pools = priced(std::nullopt);
    w.restart();
    w.put(World::cluster("c", 1, 1));
    w.connect(node);
    w.clock.pass(10s);  // for nothing
    restart(3600.0);    // one a second
    EXPECT_NEAR(w.control->live_nodes("ws", "c").cost, 0, 1e-6);
    w.submit("a", "c");
    w.phase(node, "a", ap::Phase::Running);
    runs.push_back(World::attempt("a"));
    w.clock.pass(10s);
    restart(36000.0);
    EXPECT_NEAR(totals(w, "ws/compute/c").cost, 10, 1e-6);
    w.clock.pass(10s);
    restart(36000.0);
    EXPECT_NEAR(totals(w, "ws/compute/c").cost, 10, 1e-6) << "the same price is no new one";
    EXPECT_NEAR(w.control->live_nodes("ws", "c").cost, 100, 1e-6);
    w.ends(node, "a");
    EXPECT_NEAR(totals(w, "ws/experiment/").cost, 60, 1e-6)
        << "its node measured a minute, at the price of when it got the node";
    w.remove_compute("c");
    w.gone(node);
    EXPECT_NEAR(totals(w, "ws/compute/c").cost, 110, 1e-6);
}

TEST(Ledger, APriceIsANumber) {
    Compute compute = World::cluster("c", 0, 1);
    EXPECT_FALSE(*price_per_hour(compute));
    for (const std::string text : {"0.25", "12", "0"}) {
        compute.envelope.set("tags", Json::object({{"turnout.price_per_hour", text}}));
        EXPECT_TRUE(*price_per_hour(compute)) << text;
    }
    for (const std::string text : {"", "cheap", "1 EUR", "-1", "nan", "inf", "1e30"}) {
        compute.envelope.set("tags", Json::object({{"turnout.price_per_hour", text}}));
        EXPECT_FALSE(price_per_hour(compute)) << text;
    }
}

TEST(ControlExplain, SaysWhyAJobWaits) {
    World w(1);
    w.put(World::cluster("c", 0, 0));
    w.submit("z", "c");
    EXPECT_EQ(w.control->waiting_for("ws", "z"),
              "the compute allows no nodes (max_instances is 0)");
    w.put(World::cluster("c", 0, 1));
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "a node is starting");
    w.connect("ws/c/node-1");
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "the node prepares the job");
    w.control->agent_says(
        "ws/c/node-1",
        ap::PhaseReport{World::attempt("z"), ap::Phase::Preparing, "unpacking", {}, {}});
    w.settle();
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "unpacking");
    w.submit("y", "c");
    w.submit("x", "c");
    EXPECT_EQ(w.control->waiting_for("ws", "x"),
              "the one node of the compute is in use; 1 job ahead");
    w.put(World::cluster("d", 0, 1));
    w.submit("v", "d");
    EXPECT_EQ(w.control->waiting_for("ws", "v"), "no free slot in the pool: all 1 are in use");
    w.phase("ws/c/node-1", "z", ap::Phase::Running);
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "");
    EXPECT_EQ(w.control->waiting_for("ws", "nobody"), "");
    w.ends("ws/c/node-1", "z");
    EXPECT_EQ(w.control->waiting_for("ws", "z"), "");
}

TEST(ControlLedger, AddsUpThroughRetries) {
    World w;
    NodeId node = w.ready();
    w.clock.pass(3s);
    w.phase(node, "j", ap::Phase::Preparing);
    w.clock.pass(4s);
    w.phase(node, "j", ap::Phase::Running);
    w.clock.pass(5s);
    w.ends(node, "j", ap::Cause::Internal);
    w.clock.pass(2s);
    w.phase(node, "j", ap::Phase::Running, 2);
    w.clock.wall = w.clock.wall - 1h;  // somebody sets the clock
    w.phase(node, "j", ap::Phase::Finalizing, 2);
    w.ends(node, "j", ap::Cause::None, 2);
    const JobRecord job = *w.job("j");
    Span sum{};
    for (const auto& [entry, span] : ledger(job, w.clock.now())) {
        EXPECT_GE(span, Span{}) << name_of(entry);
        sum += span;
    }
    ASSERT_TRUE(job.ended);
    EXPECT_EQ(sum, *job.ended - job.created);
    EXPECT_GE(*job.ended, job.created);
}

TEST(ControlLedger, WhatPassedQuicklyIsBookedByTheNodesDurations) {
    for (const bool reported : {true, false}) {
        World w;
        const NodeId node = w.ready("other");
        w.ends(node, "other");
        w.submit("j", "c");
        ap::Durations spent;
        spent.snapshot = 2ms;
        spent.waiting = 3ms;
        if (reported) {  // late: it has run for 50 ms
            w.clock.pass(60ms);
            ap::PhaseReport report{World::attempt("j"), ap::Phase::Running, "", 50ms, spent};
            report.durations.user_code = 50ms;
            w.control->agent_says(node, report);
            w.settle();
            w.clock.pass(1s);
        } else {
            w.clock.pass(160ms);
        }
        ap::EndReport end;
        end.id = World::attempt("j");
        end.ending.durations = spent;
        end.ending.durations.user_code = 100ms;
        end.ending.durations.outputs = 4ms;
        w.control->agent_says(node, end);
        w.settle();
        std::map<LedgerEntry, Span> booked;
        Span total{};
        for (const auto& [entry, span] : ledger(*w.job("j"), w.clock.now())) {
            booked[entry] += span;
            total += span;
        }
        EXPECT_EQ(booked[LedgerEntry::Snapshot], 2ms);
        EXPECT_EQ(booked[LedgerEntry::Queue], 3ms);
        EXPECT_EQ(booked[LedgerEntry::UserCode], 100ms);
        EXPECT_EQ(booked[LedgerEntry::NodeStart], reported ? 5ms : 0ms);  // the way of the lease
        EXPECT_EQ(total, reported ? 1060ms : 160ms);
    }
}

}  // namespace
}  // namespace turnout
