// Control: nodes that come, go and get lost, recovery, and the table of every status against every
// input.
#include <deque>
#include <map>
#include <set>
#include <variant>

#include "base/hash.h"
#include "base/text.h"
#include "control/ports.h"
#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

TEST(ControlNodes, ProvisioningBacksOff) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("j", "c");
    Span waited{};
    for (int i = 1; i <= 8; ++i) {
        const NodeId id = "ws/c/node-" + std::to_string(i);
        ASSERT_TRUE(w.node(id)) << id;
        w.control->node_failed(id, Error{Code::Unavailable, "NoHost", "the host is down", ""});
        w.settle();
        EXPECT_EQ(w.node(id)->state, NodeState::Leaving);
        EXPECT_NE(w.control->waiting_for("ws", "j").find("the host is down"), std::string::npos)
            << w.control->waiting_for("ws", "j");
        w.gone(id);
        EXPECT_EQ(w.count(Table::Node), 0u);
        EXPECT_NE(w.control->waiting_for("ws", "j").find("tried again"), std::string::npos);
        const Span before = w.clock.boot;
        while (w.count(Table::Node) == 0) {
            ASSERT_TRUE(w.control->next_tick());
            w.pass(std::max<Span>(1us, *w.control->next_tick() - w.clock.boot));
        }
        const Span pause = w.clock.boot - before;
        EXPECT_GE(pause, waited);
        EXPECT_LE(pause, 64s);
        waited = pause;
    }
    EXPECT_EQ(waited, 64s);
    w.connect("ws/c/node-9");
    EXPECT_EQ(w.status("j"), JobStatus::Preparing);
}

// What its provider does to get a node is told as an event, once, until the node is there.
TEST(ControlNodes, WhatIsDoneToGetANodeIsTold) {
    World w;
    w.put(World::cluster("c", 1, 1));
    const auto told = [&] {
        std::string all;
        for (const Record& row : *w.store->scan(Table::Event, with_prefix(""))) all += row.value;
        std::size_t count = 0;
        for (std::size_t at = 0; (at = all.find("copying the agent", at)) != std::string::npos;
             ++at)
            ++count;
        return count;
    };
    const auto says = [&] {
        w.control->node_starts("ws/c/node-1", "copying the agent to host a");
        w.settle();
    };
    says();
    says();
    EXPECT_EQ(told(), 1u);
    w.connect("ws/c/node-1");
    w.control->node_starts("ws/c/node-1", "copying the agent to host b");
    w.settle();
    EXPECT_EQ(told(), 1u);
    w.control->node_starts("ws/c/node-7", "copying the agent to host c");
    w.settle();
    EXPECT_EQ(told(), 1u);
}

TEST(ControlNodes, AnAgentThatNeverConnects) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("j", "c");
    w.said();
    w.pass(w.settings.provision_timeout - 1s);
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Provisioning);
    w.pass(2s);
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);
    w.gone("ws/c/node-1");
    w.pass(10s);
    EXPECT_TRUE(w.node("ws/c/node-2"));
}

// What an agent says of its machine is kept, and written when it changes.
TEST(ControlNodes, WhatANodeIsComesFromItsHello) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    ap::Hello hello;
    hello.node = node;
    hello.boot_id = "boot-1";
    hello.build = "9.9";
    hello.facts.cores = 48;
    hello.facts.memory_bytes = std::int64_t{96} << 30;
    hello.facts.address = "10.0.0.7";
    hello.facts.gpus = {{"Tesla V100", std::int64_t{16} << 30}};
    hello.facts.free_disk_bytes = 100;
    const auto say = [&] {
        w.disconnect(node);
        w.control->agent_connected(node, hello);
        w.settle();
    };
    const auto row = [&] { return (*w.store->get(Table::Node, node))->revision; };
    say();
    EXPECT_EQ(w.node(node)->facts, hello.facts);
    EXPECT_EQ(w.node(node)->build, "9.9");
    EXPECT_EQ(w.node(node)->protocol, ap::kVersion);
    const auto written = row();
    hello.facts.free_disk_bytes = 50;
    say();
    EXPECT_EQ(w.node(node)->facts.free_disk_bytes, 50);
    EXPECT_EQ(row(), written) << "how much of the disk is free is not worth a row";
    hello.facts.cores = 96;
    say();
    EXPECT_NE(row(), written);
    w.restart();
    EXPECT_EQ(w.node(node)->facts.cores, 96) << "known before it says Hello again";
}

TEST(ControlNodes, RanksMeetWhereTheFirstIsReached) {
    for (const bool apart : {false, true}) {
        World w;
        w.put(World::cluster("c", 2, 2));
        for (const char* name : {"ws/c/node-1", "ws/c/node-2"}) {
            ap::Hello hello;
            hello.node = name;
            hello.boot_id = apart ? std::string("boot of ") + name : "boot-1";
            hello.facts.address = std::string("10.0.0.") + name[10];
            w.control->agent_connected(name, hello);
            w.settle();
        }
        std::vector<ap::Lease> leases;
        w.effects.sent = [&](const ap::ToAgent& message) {
            if (const auto* lease = std::get_if<ap::Lease>(&message)) leases.push_back(*lease);
        };
        JobSubmission gang = World::gang("g", "c", 2);
        gang.task.distribution = "PyTorch";
        w.control->submit(gang, [](Result<Put>) {});
        w.settle();
        ASSERT_EQ(leases.size(), 2u);
        const std::string first = w.job("g")->attempts.back().nodes().front();
        for (const ap::Lease& lease : leases)
            EXPECT_EQ(lease.task.at("master_address").as_string(),
                      apart ? "10.0.0." + first.substr(first.size() - 1) : "127.0.0.1");
    }
}

TEST(ControlNodes, AnIdleNodeWhoseAgentIsNotSpokenWithIsLetGoAtOnce) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    w.disconnect(node);
    w.said();
    w.control->agent_refused(node, "its agent speaks version 9");
    w.settle();
    EXPECT_EQ(w.node(node)->state, NodeState::Leaving);
    EXPECT_EQ(w.node(node)->problem, "its agent speaks version 9");
    EXPECT_EQ(std::ranges::count(w.said(), "release ws/c/node-1"), 1);
    // A job that comes meanwhile is told why there is nothing for it yet.
    w.submit("k", "c");
    EXPECT_NE(w.control->waiting_for("ws", "k").find("speaks version 9"), std::string::npos)
        << w.control->waiting_for("ws", "k");
    w.gone(node);
    EXPECT_TRUE(w.node("ws/c/node-2"));
}

TEST(ControlNodes, ANodeThatRunsSomethingKeepsItUntilItHasAnotherAgent) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.restart();
    w.said();
    for (int i = 0; i < 20; ++i) {  // it calls again and again
        w.control->agent_refused(node, "its agent speaks version 9");
        w.settle();
        w.pass(2s);
    }
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    EXPECT_EQ(w.node(node)->state, NodeState::Running);
    EXPECT_NE(w.control->waiting_for("ws", "j").find("speaks version 9"), std::string::npos);
    const Lines said = w.said();
    EXPECT_GE(std::ranges::count(said, "provision ws/c/node-1"), 2) << "another agent is asked for";
    EXPECT_EQ(std::ranges::count(said, "release ws/c/node-1"), 0);
    int refused = 0;
    const auto events = w.store->scan(Table::Event, with_prefix(""));
    for (const Record& record : *events)
        for (std::size_t at = record.value.find("\"refused\""); at != std::string::npos;
             at = record.value.find("\"refused\"", at + 1))
            ++refused;
    EXPECT_EQ(refused, 1) << "told once";
    // The other one takes over what runs.
    w.connect(node, {World::attempt("j")});
    EXPECT_EQ(w.node(node)->problem, "");
    w.ends(node, "j");
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
}

// Where no other one comes, the node is lost as any that is out of reach.
TEST(ControlNodes, WithoutAnotherAgentItsJobBeginsAnewAfterTheLostNodeTime) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.disconnect(node);
    Span passed{};
    while (w.node(node)->state != NodeState::Leaving && passed < 24h) {
        w.control->agent_refused(node, "its agent speaks version 9");
        w.pass(10s);
        passed += 10s;
    }
    EXPECT_GE(passed, w.settings.lost_node_after);
    EXPECT_EQ(w.status("j"), JobStatus::Running) << "until then";
    EXPECT_EQ(w.node(node)->state, NodeState::Leaving);
    w.gone(node);
    EXPECT_EQ(w.job("j")->attempts.size(), 1u);
    w.connect("ws/c/node-2");
    EXPECT_EQ(w.job("j")->attempts.size(), 2u);
}

TEST(ControlNodes, AFreshNodeWithAnAgentThatIsNotSpokenWithIsNotMadeAgainAtOnce) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("j", "c");
    w.control->agent_refused("ws/c/node-1", "its agent speaks version 9");
    w.settle();
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);
    w.gone("ws/c/node-1");
    EXPECT_EQ(w.count(Table::Node), 0u);
    w.pass(5s);
    EXPECT_EQ(w.count(Table::Node), 1u);
}

TEST(ControlNodes, ALateFailureHurtsNobody) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    const Error late{Code::Unavailable, "NoHost", "a second request for it failed", ""};
    w.control->node_failed(node, late);
    w.control->node_failed("ws/c/node-77", late);
    w.settle();
    EXPECT_EQ(w.node(node)->state, NodeState::Idle);
    w.submit("k", "c");
    w.disconnect(node);
    w.control->node_failed(node, late);  // it holds an attempt: kept, and tried again
    w.settle();
    EXPECT_EQ(w.node(node)->state, NodeState::Running);
    w.said();
    w.pass(10s);
    const Lines said = w.said();
    EXPECT_TRUE(std::find(said.begin(), said.end(), "provision ws/c/node-1") != said.end());
}

TEST(ControlNodes, LeavingIsRepeatedEvenIfTheAgentComesBack) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    w.pass(121s);
    ASSERT_EQ(w.node(node)->state, NodeState::Leaving);
    w.disconnect(node);
    w.connect(node);
    w.said();
    w.pass(31s);
    const Lines said = w.said();
    EXPECT_TRUE(std::find(said.begin(), said.end(), "release ws/c/node-1") != said.end());
}

TEST(ControlNodes, OrphansAreSentAway) {
    World w;
    w.connect("ws/c/node-5", {World::attempt("j")});
    EXPECT_EQ(w.said(), Lines{"send ws/c/node-5 leave"});
    w.ends("ws/c/node-5", "j");
    w.phase("ws/c/node-5", "j", ap::Phase::Running);
    w.disconnect("ws/c/node-5");
    w.gone("ws/c/node-5");
    EXPECT_EQ(w.said(), Lines{});
}

TEST(ControlNodes, NothingIsSaidOfANodeThatHasGoneMeanwhile) {
    World w;
    const NodeId node = w.ready();
    w.disconnect(node);
    w.control->put_compute(World::cluster("d", 0, 0), [](Result<Put>) {});  // the disk is busy
    w.clock.pass(2s);
    w.control->tick();           // asks for the node, after that
    w.control->node_gone(node);  // in the same turn
    w.said();
    w.settle();
    EXPECT_EQ(w.said(), Lines{"provision ws/c/node-2"});
}

TEST(ControlNodes, ANewNumberOfJobsAtATimeComesToTheNodesThatAreThere) {
    World w;
    const NodeId node = w.ready();
    Compute compute = World::cluster("c", 0, 1);
    compute.jobs_per_node = 3;
    w.put(compute);
    EXPECT_EQ(w.said(), Lines{"disconnect ws/c/node-1"})
        << "its next Hello is answered with the number";
    w.put(compute);
    EXPECT_EQ(w.said(), Lines{});
    w.disconnect(node);
    compute.jobs_per_node = 2;
    w.put(compute);
    EXPECT_EQ(w.said(), Lines{}) << "it says Hello anyway";
}

TEST(ControlReconnect, TheLeaseIsSaidAgain) {
    World w;
    const NodeId node = w.ready();
    w.disconnect(node);
    w.connect(node);  // it never got the lease
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease j#1"}));
    w.phase(node, "j", ap::Phase::Running);
    w.disconnect(node);
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    EXPECT_NE(w.control->waiting_for("ws", "j"), "");
    w.connect(node, {World::attempt("j")});
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease j#1"}));
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    EXPECT_EQ(w.job("j")->attempts.size(), 1u);
}

TEST(ControlReconnect, ARankThatNeverGotItsLeaseGetsItThoughTheFirstHasBegun) {
    World w;
    w.put(World::cluster("c", 2, 2));
    w.control->submit(World::gang("g", "c", 2), [](Result<Put>) {});
    w.connect("ws/c/node-1");
    w.connect("ws/c/node-2");
    const bool in_order = w.job("g")->current()->nodes().front() == "node-1";
    const NodeId rank0 = in_order ? "ws/c/node-1" : "ws/c/node-2",
                 rank1 = in_order ? "ws/c/node-2" : "ws/c/node-1";
    w.phase(rank0, "g", ap::Phase::Preparing);
    w.disconnect(rank1);
    w.said();
    w.connect(rank1);
    EXPECT_EQ(w.said(), (Lines{"send " + rank1 + " welcome", "send " + rank1 + " lease g#1"}));
    w.phase(rank1, "g", ap::Phase::Preparing);
    w.disconnect(rank1);
    w.connect(rank1);  // and now it has lost it
    EXPECT_EQ(w.job("g")->current()->ended_ranks, std::vector<int>{1});
}

TEST(ControlPorts, NoTwoLivingAttemptsMeetAtTheSame) {
    World w(8);
    const int first = Ports::kFirst + 10;
    w.settings.port_is_free = [&](int port) { return port >= first && port < first + 4; };
    w.restart();
    std::map<std::string, std::vector<std::int64_t>> told;
    w.effects.sent = [&](const ap::ToAgent& message) {
        if (const auto* lease = std::get_if<ap::Lease>(&message))
            told[lease->id.job].push_back(lease->task.at("master_port").as_int());
    };
    w.put(World::cluster("c", 7, 7));
    JobSubmission tensorflow = World::submission("t", "c");
    tensorflow.task.distribution = "TensorFlow";
    tensorflow.task.worker_count = 1;
    w.control->submit(std::move(tensorflow), [](Result<Put>) {});
    for (const char* name : {"g", "h"})
        w.control->submit(World::gang(name, "c", 2), [](Result<Put>) {});
    w.submit("alone", "c");
    for (int i = 1; i <= 6; ++i) w.connect("ws/c/node-" + std::to_string(i));
    const auto port = [&](const char* name) {
        return w.job(name)->current() ? w.job(name)->current()->master_port : -1;
    };
    const int t = port("t"), g = port("g"), h = port("h");
    EXPECT_EQ((std::set<int>{t, t + 1, g, h}),
              (std::set<int>{first, first + 1, first + 2, first + 3}));
    EXPECT_EQ(told["t"], (std::vector<std::int64_t>{t}));
    EXPECT_EQ(told["g"], (std::vector<std::int64_t>{g, g})) << "both ranks";
    EXPECT_EQ(told["alone"], (std::vector<std::int64_t>{0}));
    const auto nodes = w.job("g")->current()->nodes();
    for (const std::string& node : nodes) w.ends("ws/c/" + node, "g", ap::Cause::None);
    EXPECT_EQ(w.status("g"), JobStatus::Completed);
    EXPECT_EQ(port("g"), 0);
    w.control->submit(World::gang("i", "c", 2), [](Result<Put>) {});
    w.settle();
    EXPECT_EQ(port("i"), g) << "it is free again, and no other is";
    // A server that begins anew knows who has which.
    w.restart();
    EXPECT_EQ(port("t"), t);
    w.control->submit(
        [] {
            JobSubmission late = World::submission("late", "c");
            late.task.distribution = "PyTorch";
            return late;
        }(),
        [](Result<Put>) {});
    w.connect("ws/c/node-7");
    EXPECT_EQ(w.job("late")->current()->nodes(), std::vector<std::string>{"node-7"});
    EXPECT_EQ(port("late"), 0) << "all have one";
}

TEST(ControlReconnect, AJobWhoseTaskIsNotInTheStoreFails) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("j", "c");
    Batch batch;
    batch.erase(Table::TaskBase, w.store->scan(Table::TaskBase, with_prefix(""))->front().key);
    w.store->commit(std::move(batch), [](Result<std::uint64_t>) {});
    w.settle();
    w.connect("ws/c/node-1");
    EXPECT_EQ(w.status("j"), JobStatus::Failed);
    EXPECT_EQ(w.job("j")->error_message, "the job's task is not in the store (3 attempts)");
}

TEST(ControlNodes, TheTaskOfAJobIsSentAnewWhenItWasForgotten) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    std::deque<std::string> kept;  // as a node keeps them
    std::size_t bases = 0, leases = 0;
    w.effects.sent = [&](const ap::ToAgent& message) {
        if (const auto* base = std::get_if<ap::Base>(&message)) {
            ++bases;
            EXPECT_EQ(base->hash, to_hex(sha256(base->task.dump())));
            EXPECT_EQ(std::count(kept.begin(), kept.end(), base->hash), 0) << "it has it";
            kept.push_back(base->hash);
            if (kept.size() > ap::kBasesKept) kept.pop_front();
        } else if (const auto* lease = std::get_if<ap::Lease>(&message)) {
            ++leases;
            EXPECT_EQ(std::count(kept.begin(), kept.end(), lease->base), 1);
        }
    };
    // More tasks than control remembers, and each twice: at once, and when it is long forgotten.
    for (const std::string round : {"a", "b"})
        for (int i = 0; i < 1300; ++i)
            for (const std::string again : {"1", "2"}) {
                JobSubmission job = World::submission(round + std::to_string(i) + "-" + again, "c");
                job.task.variables = {{"SEED", std::to_string(i)}};
                const std::string name = job.name;
                w.control->submit(std::move(job), [](Result<Put> r) { EXPECT_TRUE(r); });
                w.settle();
                w.ends(node, name);
            }
    EXPECT_EQ(leases, 5200u);
    EXPECT_EQ(bases, 2600u);
}

TEST(ControlReconnect, WhatTheNodeLostIsTriedAgain) {
    // Begun, and the node does not know it any more; or the node was restarted before it began.
    for (const bool begun : {true, false}) {
        World w;
        const NodeId node = w.ready();
        if (begun) w.phase(node, "j", ap::Phase::Preparing);
        w.disconnect(node);
        w.said();
        w.connect(node, {}, begun ? "boot-1" : "boot-2");
        EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease j#2"}));
        EXPECT_EQ(w.job("j")->attempts.size(), 2u);
        EXPECT_EQ(w.job("j")->attempts[0].ending->cause, ap::Cause::NodeLost);
    }
}

TEST(ControlReconnect, ALeaseThatIsOutdatedWhenItsCommitIsDoneDoesNotLeave) {
    World w;
    w.put(World::cluster("c", 0, 1));
    w.submit("a", "c");
    w.connect("ws/c/node-1");
    w.submit("b", "c");
    w.said();
    ap::EndReport report;
    report.id = World::attempt("a");
    w.control->agent_says("ws/c/node-1", report);  // b is leased in this turn
    ap::Hello hello;
    hello.boot_id = "boot-2";  // and the node restarts before the turn is durable
    w.control->agent_disconnected("ws/c/node-1");
    w.control->agent_connected("ws/c/node-1", hello);
    w.settle();
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 end_ack a#1", "send ws/c/node-1 welcome",
                               "send ws/c/node-1 lease b#2"}));
}

TEST(ControlReconnect, ForeignAttemptsAreStopped) {
    World w;
    const NodeId node = w.ready();
    w.disconnect(node);
    w.connect(node, {World::attempt("j"), World::attempt("j", 7), World::attempt("ghost")});
    EXPECT_EQ(w.said(),
              (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 cancel j#7 node_lost",
                     "send ws/c/node-1 cancel ghost#1 node_lost", "send ws/c/node-1 lease j#1"}));
    w.ends(node, "ghost", ap::Cause::NodeLost);
    EXPECT_EQ(w.said(), Lines{"send ws/c/node-1 end_ack ghost#1"});
    EXPECT_EQ(w.status("j"), JobStatus::Preparing);
}

TEST(ControlLost, ThreeAttemptsThenFailed) {
    World w;
    NodeId node = w.ready();
    for (int attempt = 1; attempt <= 3; ++attempt) {
        w.phase(node, "j", ap::Phase::Running, attempt);
        if (attempt == 1) {
            w.ends(node, "j", ap::Cause::Internal, attempt);  // the node itself is fine
        } else {
            w.gone(node);
            if (attempt == 3) break;
            node = "ws/c/node-2";
            w.connect(node);
        }
        EXPECT_EQ(w.status("j"), JobStatus::Preparing) << attempt;
    }
    EXPECT_EQ(w.status("j"), JobStatus::Failed);
    const JobRecord job = *w.job("j");
    EXPECT_EQ(job.attempts.size(), 3u);
    EXPECT_EQ(job.cause, ap::Cause::NodeLost);
    EXPECT_NE(job.error_message.find("3 attempts"), std::string::npos);
    EXPECT_EQ(w.count(Table::JobLive), 0u);
}

TEST(ControlLost, ANodeThatSaysHelloAnewIsGivenNothingBeforeTheWelcome) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j");
    w.said();
    // The new lease is on its way to the disk when the node calls again.
    w.control->submit(World::submission("k", "c"), [](Result<Put>) {});
    ap::Hello hello;
    hello.node = node;
    hello.boot_id = "boot-1";
    w.control->agent_connected(node, hello);
    w.settle();
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 lease k#1"}));
}

TEST(ControlLost, PreemptionIsNoFailure) {
    World w;
    const NodeId node = w.ready();
    for (int attempt = 1; attempt <= 6; ++attempt) w.ends(node, "j", ap::Cause::Preempted, attempt);
    EXPECT_EQ(w.status("j"), JobStatus::Preparing);
    w.ends(node, "j", ap::Cause::None, 7);
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
}

TEST(ControlLost, OfManyPreemptionsTheFirstAndTheLastAreKeptAndAllCount) {
    World w;
    const NodeId node = w.ready();
    const auto sums = [&](const JobRecord& job) { return ledger(job, w.clock.now()); };
    for (int number = 1; number <= 200; ++number) {
        w.phase(node, "j", ap::Phase::Running, number);
        w.clock.pass(10s);
        w.ends(node, "j", number == 100 ? ap::Cause::NodeLost : ap::Cause::Preempted, number);
        w.clock.pass(1s);
    }
    const JobRecord job = *w.job("j");
    EXPECT_LE(job.attempts.size(), 64u);
    EXPECT_EQ(job.attempts.size() + static_cast<std::size_t>(job.folded_attempts), 201u);
    EXPECT_EQ(job.attempts[19].number, 20);
    EXPECT_EQ(job.attempts.back().number, 201);
    EXPECT_EQ(preemptions(job), 199);
    EXPECT_EQ(std::count_if(job.attempts.begin(), job.attempts.end(),
                            [](const JobAttempt& one) {
                                return one.ending && one.ending->cause == ap::Cause::NodeLost;
                            }),
              1);
    Span total{};
    for (const auto& [entry, span] : sums(job)) {
        total += span;
        if (entry == LedgerEntry::Retry || entry == LedgerEntry::Preempted) {
            EXPECT_EQ(span, entry == LedgerEntry::Retry
                                ? 11s
                                : 199 * 11s - 1s);  // the last second is the next one's
        }
    }
    EXPECT_EQ(total, w.clock.now() - job.created);
    w.restart();
    w.connect(node, {World::attempt("j", 201)});
    w.ends(node, "j", ap::Cause::None, 201);
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
    EXPECT_EQ(preemptions(*w.job("j")), 199);
}

TEST(ControlLost, WhatIsTakenBackBeforeItBeganIsToldAsTheAttemptThatItWas) {
    World w;
    const NodeId node = w.ready();
    w.ends(node, "j", ap::Cause::NodeLost, 1);
    ap::EndReport report;
    report.id = World::attempt("j", 2);
    report.ending.cause = ap::Cause::Preempted;
    report.ending.exit_code = -1;
    w.control->agent_says(node, report);
    w.settle();
    ASSERT_EQ(w.job("j")->attempts.size(), 2u);  // it left no trace but its number
    EXPECT_EQ(w.job("j")->current()->number, 3);
    std::vector<std::string> told;
    const Result<std::vector<Record>> rows = w.store->scan(Table::Event, with_prefix(""));
    for (const Record& row : rows.value()) {
        const Json events = parse_json(row.value).value();
        for (const Json& event : events.items())
            if (event.at("kind").as_view() == "job")
                told.push_back(event.at("what").as_string() + " " +
                               std::to_string(event.at("attempt").as_int()) + " " +
                               event.at("cause").as_string());
    }
    EXPECT_EQ(told, (Lines{"submitted 0 ", "leased 1 ", "queued 1 node_lost", "leased 2 ",
                           "queued 2 preempted", "leased 3 "}));
}

// Its supervisor died as the command began, before a word of it came here: it may have run.
TEST(ControlLost, WhatWasPreparedIsNotTakenForOneThatNeverBegan) {
    World w;
    const NodeId node = w.ready();
    ap::EndReport report;
    report.id = World::attempt("j", 1);
    report.ending.cause = ap::Cause::Preempted;
    report.ending.exit_code = -1;
    report.ending.durations.snapshot = 3ms;
    w.control->agent_says(node, report);
    w.settle();
    ASSERT_EQ(w.job("j")->attempts.size(), 2u);
    EXPECT_EQ(w.job("j")->attempts.front().ending->cause, ap::Cause::Preempted);
}

TEST(ControlLost, NoReplacementBeforeTheFencingTimeIsOver) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.disconnect(node);
    w.pass(w.settings.lost_node_after + w.settings.lost_node_margin - 1s);
    EXPECT_EQ(w.job("j")->attempts.size(), 1u);
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    w.restart();  // its own start counts as a renewal
    w.settle();
    w.pass(w.settings.lost_node_after);
    EXPECT_EQ(w.status("j"), JobStatus::Running);
    w.pass(w.settings.lost_node_margin + 61s);
    EXPECT_EQ(w.node(node)->state, NodeState::Leaving);
    EXPECT_EQ(w.status("j"), JobStatus::Running) << "its provider may prove that nothing runs";
    w.pass(w.settings.stop_margin + 1s);
    EXPECT_EQ(w.job("j")->attempts[0].ending->cause, ap::Cause::NodeLost);
    EXPECT_EQ(w.status("j"), JobStatus::Queued);
    EXPECT_EQ(w.node(node)->state, NodeState::Leaving);
    // The old node comes back: what it still knows is stopped, and it goes.
    w.said();
    w.connect(node, {World::attempt("j")});
    EXPECT_EQ(w.said(), (Lines{"send ws/c/node-1 welcome", "send ws/c/node-1 leave"}));
    w.ends(node, "j");
    EXPECT_EQ(w.status("j"), JobStatus::Queued);
}

TEST(ControlLost, ACanceledJobOnALostNodeIsCanceled) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.cancel("j");
    w.gone(node);
    EXPECT_EQ(w.status("j"), JobStatus::Canceled);
    EXPECT_EQ(w.count(Table::Node), 0u);
}

TEST(ControlLost, APreemptedJobOfSeveralNodesHasItsGraceOnEachOfThemOverARestart) {
    World w;
    w.put(World::cluster("c", 2, 2));
    w.control->submit(World::gang("g", "c", 2), [](Result<Put>) {});
    const NodeId first = "ws/c/node-1", second = "ws/c/node-2";
    w.connect(first);
    w.connect(second);
    ASSERT_EQ(w.status("g"), JobStatus::Preparing);
    const bool in_order = w.job("g")->current()->nodes().front() == "node-1";
    const NodeId rank0 = in_order ? first : second, rank1 = in_order ? second : first;
    w.phase(rank0, "g", ap::Phase::Running);
    w.said();
    std::string answer;
    w.control->preempt_job("ws", "g", [&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(answer, "ok");
    EXPECT_EQ(w.said(), (Lines{"send " + rank0 + " cancel g#1 preempted",
                               "send " + rank1 + " cancel g#1 preempted"}));
    w.ends(rank0, "g", ap::Cause::Preempted);
    EXPECT_EQ(w.said(), Lines{"send " + rank0 + " end_ack g#1"})
        << "the other one still saves what it has";
    w.restart();
    EXPECT_TRUE(w.node(rank1)->gives_way);
    w.said();
    w.connect(rank1, {World::attempt("g")});
    EXPECT_EQ(w.said(),
              (Lines{"send " + rank1 + " welcome", "send " + rank1 + " cancel g#1 preempted"}));
    w.ends(rank1, "g", ap::Cause::Preempted);
    EXPECT_EQ(w.job("g")->attempts[0].ending->cause, ap::Cause::Preempted);
    EXPECT_FALSE(w.job("g")->attempts[0].preempting);
}

TEST(ControlLost, ANodeThatDoesNotStopAJobIsEndedByItsProvider) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.cancel("j");
    w.said();
    const auto pass = [&](Span span) {
        for (Span passed{}; passed < span; passed += 1s) {
            w.clock.pass(1s);
            w.control->tick();
            w.settle();
        }
    };
    pass(80s);
    EXPECT_EQ(w.status("j"), JobStatus::CancelRequested);
    w.phase(node, "j", ap::Phase::Running);  // it says something, but not that it ends
    pass(15s);
    const auto lines = w.said();
    EXPECT_NE(std::find(lines.begin(), lines.end(), "release " + node), lines.end());
    EXPECT_EQ(w.status("j"), JobStatus::CancelRequested) << "there is no proof yet";
    w.gone(node);
    EXPECT_EQ(w.status("j"), JobStatus::Canceled);
}

TEST(ControlLost, ANodeThatUploadsWhatACanceledJobLeftHasTimeForIt) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    w.cancel("j");
    w.said();
    for (int i = 0; i < 20; ++i) {
        w.clock.pass(20s);
        w.phase(node, "j", ap::Phase::Finalizing);
        w.control->tick();
        w.settle();
        const auto lines = w.said();
        EXPECT_EQ(std::find(lines.begin(), lines.end(), "release " + node), lines.end());
    }
    w.ends(node, "j", ap::Cause::Canceled);
    EXPECT_EQ(w.status("j"), JobStatus::Canceled);
}

TEST(ControlLost, ANodeThatDoesNotWorkIsReplacedWhenThereIsProof) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Preparing);
    w.said();
    w.control->agent_says(node, ap::Broken{"its disk is read-only"});
    w.settle();
    const auto lines = w.said();
    EXPECT_NE(std::find(lines.begin(), lines.end(), "release " + node), lines.end());
    EXPECT_EQ(w.node(node)->problem, "node node-1 does not work: its disk is read-only");
    EXPECT_EQ(w.status("j"), JobStatus::Preparing) << "there is no proof yet";
    w.control->agent_says(node, ap::Broken{"and again"});
    w.settle();
    EXPECT_EQ(w.said(), Lines{});
    w.gone(node);
    EXPECT_EQ(w.status("j"), JobStatus::Queued);
    EXPECT_EQ(w.job("j")->attempts[0].ending->cause, ap::Cause::NodeLost);
    EXPECT_EQ(w.job("j")->attempts[0].ending->message,
              "node node-1 does not work: its disk is read-only");
}

TEST(ControlLost, WhatIsMissingOfAJobThatCompletedIsSaid) {
    World w;
    const NodeId node = w.ready();
    w.phase(node, "j", ap::Phase::Running);
    ap::EndReport report{World::attempt("j"), {}};
    report.ending.message = "the last 12 B of its log are missing";
    w.control->agent_says(node, report);
    w.settle();
    EXPECT_EQ(w.status("j"), JobStatus::Completed);
    EXPECT_EQ(w.job("j")->error_message, "the last 12 B of its log are missing");
}

TEST(ControlLost, WhyAJobWasCanceledIsTheFirstReason) {
    World w;
    const NodeId node = w.ready();
    w.cancel("j");  // a person's wish
    w.remove_compute("c");
    w.ends(node, "j", ap::Cause::Canceled);
    EXPECT_EQ(w.job("j")->error_message, "");
}

TEST(ControlRecover, RebuildsEverything) {
    World w(3);
    w.put(World::cluster("c", 0, 2));
    for (const char* name : {"a", "b", "d", "e"}) {
        w.clock.pass(1s);
        w.submit(name, "c");
    }
    w.connect("ws/c/node-1");
    w.connect("ws/c/node-2");
    w.phase("ws/c/node-1", "a", ap::Phase::Running);
    w.said();
    w.restart();
    w.settle();
    Lines said = w.said();
    std::sort(said.begin(), said.end());
    EXPECT_EQ(said, (Lines{"disconnect ws/c/node-1", "disconnect ws/c/node-2",
                           "provision ws/c/node-1", "provision ws/c/node-2"}));
    EXPECT_EQ(w.status("a"), JobStatus::Running);
    w.connect("ws/c/node-1", {World::attempt("a")});
    w.connect("ws/c/node-2", {World::attempt("b")});
    w.ends("ws/c/node-2", "b");
    EXPECT_EQ(w.status("d"), JobStatus::Preparing);  // the queue kept its order
    EXPECT_EQ(w.status("e"), JobStatus::Queued);
    EXPECT_EQ(w.submit("a", "c"), "unchanged");
    w.ends("ws/c/node-1", "a");
    w.ends("ws/c/node-2", "d");
    w.ends("ws/c/node-1", "e");
    EXPECT_EQ(w.count(Table::JobLive), 0u);
    w.pass(200s);
    w.restart();
    w.settle();
    said = w.said();
    EXPECT_TRUE(std::find(said.begin(), said.end(), "release ws/c/node-1") != said.end());
}

TEST(ControlRecover, ANodeHasItsJobsInTheOrderInWhichItGotThem) {
    World w;
    const NodeId node = w.ready("first");
    ap::EndReport report;
    report.id = World::attempt("first");
    report.ending.durations.user_code = 10ms;  // so short that the next ones wait on the node
    w.control->agent_says(node, report);
    for (const char* name : {"a", "b"}) {
        w.clock.pass(1s);
        ASSERT_EQ(w.submit(name, "c"), "created");
    }
    w.clock.pass(1s);
    report.id = World::attempt("a");
    report.ending.cause = ap::Cause::Internal;
    w.control->agent_says(node, report);  // it is given again, behind b
    w.settle();
    ASSERT_EQ(w.job("a")->attempts.size(), 2u);
    for (int lives = 0; lives < 2; ++lives) {
        EXPECT_EQ(w.node(node)->job, "b");
        ASSERT_TRUE(w.control->waiting("ws", "a"));
        EXPECT_EQ(w.control->waiting("ws", "a")->what, schedule::Waiting::For::Nodes);
        w.restart();
        w.connect(node, {World::attempt("b"), World::attempt("a", 2)});
    }
}

TEST(ControlRecover, AStoreThatCannotBeReadRefusesUntilItCan) {
    struct Sick : MemoryStore {
        using MemoryStore::MemoryStore;
        Result<std::vector<Record>> scan(Table table, const Range& range) override {
            if (sick && table == Table::JobLive)
                return fail(Code::Unavailable, "Io", "the disk does not answer");
            return MemoryStore::scan(table, range);
        }
        bool sick = false;
    };
    StillClock clock;
    Written effects;
    Sick store;
    Control control(clock, store, effects, {});
    ASSERT_TRUE(control.recover());
    std::vector<std::string> answers;
    control.put_compute(World::cluster("c", 1, 1),
                        [&](Result<Put> r) { answers.push_back(World::said_put(r)); });
    while (store.queued()) store.flush();
    store.sick = true;
    store.fail_next(Error{Code::Unavailable, "Io", "the disk does not answer", ""});
    const auto note = [&](Result<Put> r) { answers.push_back(World::said_put(r)); };
    control.submit(World::submission("j", "c"), note);
    while (store.queued()) store.flush();
    control.submit(World::submission("j", "c"), note);
    control.agent_disconnected("ws/c/node-1");
    control.agent_connected("ws/c/node-1", {});
    control.node_gone("ws/c/node-1");
    EXPECT_EQ(store.queued(), 0u);
    control.tick();
    EXPECT_EQ(answers, (Lines{"created", "Io", "Io"}));
    // It knows nothing, and says so.
    EXPECT_EQ(control.waiting_for("ws", "j"), "");
    EXPECT_FALSE(control.explain("ws", "j"));
    EXPECT_TRUE(control.nodes_of("ws", "c").empty());
    EXPECT_EQ(control.live_nodes("ws", "c").count, 0);
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(control.next_tick());
        ASSERT_GT(*control.next_tick(), clock.boot);
        ASSERT_LE(*control.next_tick(), clock.boot + 30s);
        clock.pass(*control.next_tick() - clock.boot);
        control.tick();
    }
    store.sick = false;
    clock.pass(*control.next_tick() - clock.boot);
    control.tick();
    while (store.queued()) store.flush();
    control.submit(World::submission("j", "c"), note);
    while (store.queued()) store.flush();
    EXPECT_EQ(answers.back(), "created");
    EXPECT_EQ(store.scan(Table::Node, with_prefix(""))->size(), 1u);
}

TEST(ControlServerless, ExistsWithoutBeingAskedFor) {
    World w;
    EXPECT_EQ(w.submit("j", "serverless"), "created");
    EXPECT_EQ(w.said(), Lines{"provision ws/serverless/node-1"});
    std::string answer;
    w.control->put_compute(World::cluster("serverless", 0, 1),
                           [&](Result<Put> r) { answer = World::said_put(r); });
    w.settle();
    EXPECT_EQ(answer, "InvalidArgument");
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

// Every status a job can be in, and every input, legal or not: never a crash, and afterwards the
// store and a control rebuilt from it agree with one another.
TEST(ControlTable, EveryStatusTakesEveryInput) {
    const auto reach = [](World& w, int status) {
        const NodeId node = "ws/c/node-1";
        w.put(World::cluster("c", 0, 1));
        w.submit("j", "c");
        if (status == 0) return;  // Queued
        w.connect(node);
        if (status == 1) return;  // Preparing, not begun
        w.phase(node, "j", ap::Phase::Preparing);
        if (status == 2) return;
        w.phase(node, "j", ap::Phase::Running);
        if (status == 3) return;
        if (status == 4) return w.phase(node, "j", ap::Phase::Finalizing);
        if (status == 5) {
            w.cancel("j");
            return;
        }
        if (status == 6) return w.ends(node, "j");
        if (status == 7) return w.ends(node, "j", ap::Cause::UserCode);
        if (status == 8) {
            w.cancel("j");
            return w.ends(node, "j", ap::Cause::Canceled);
        }
        w.disconnect(node);  // 9: Running, away
    };
    const std::vector<std::function<void(World&)>> inputs{
        [](World& w) { w.submit("j", "c"); },
        [](World& w) { w.cancel("j"); },
        [](World& w) { w.remove("j"); },
        [](World& w) { w.remove_compute("c"); },
        [](World& w) {
            w.control->put_compute(World::cluster("c", 0, 0), [](Result<Put>) {});
            w.settle();
        },
        [](World& w) { w.connect("ws/c/node-1"); },
        [](World& w) { w.connect("ws/c/node-1", {World::attempt("j")}); },
        [](World& w) { w.connect("ws/c/node-1", {}, "boot-2"); },
        [](World& w) { w.disconnect("ws/c/node-1"); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Preparing); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Running); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Finalizing); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Ended); },
        [](World& w) { w.phase("ws/c/node-1", "j", ap::Phase::Running, 5); },
        [](World& w) { w.ends("ws/c/node-1", "j"); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::UserCode); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::Canceled); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::NodeLost); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::Environment); },
        [](World& w) { w.ends("ws/c/node-1", "j", ap::Cause::None, 9); },
        [](World& w) {
            w.control->node_failed("ws/c/node-1", Error{Code::Unavailable, "X", "broken", ""});
            w.settle();
        },
        [](World& w) { w.gone("ws/c/node-1"); },
        [](World& w) { w.pass(3min); },
        [](World& w) { w.pass(7h); },
        [](World& w) {
            w.control->stop_everything([](Result<void>) {});
            w.settle();
        },
        [](World& w) {
            w.store->fail_next(Error{Code::Unavailable, "Io", "the disk does not answer", ""});
        },
        [](World& w) {
            w.restart();
            w.settle();
        },
    };
    for (int status = 0; status < 10; ++status) {
        for (std::size_t first = 0; first < inputs.size(); ++first) {
            for (std::size_t second = 0; second < inputs.size(); ++second) {
                SCOPED_TRACE(std::to_string(status) + " " + std::to_string(first) + " " +
                             std::to_string(second));
                World w(1);
                reach(w, status);
                const std::optional<JobRecord> before = w.job("j");
                inputs[first](w);
                const bool deleted = !w.job("j");
                inputs[second](w);
                const std::optional<JobRecord> after = w.job("j");
                if (is_terminal(before->status) && after && !deleted) {
                    EXPECT_EQ(after->status, before->status);
                }
                if (!after) {
                    EXPECT_EQ(w.count(Table::JobLive) + w.count(Table::JobCreated), 0u);
                    continue;
                }
                EXPECT_EQ(w.count(Table::JobLive), is_terminal(after->status) ? 0u : 1u);
                EXPECT_LE(w.count(Table::Node), 1u);
                EXPECT_EQ(after->ended.has_value(), is_terminal(after->status));
                const bool live = after->current() && !after->current()->ended;
                for (std::size_t i = 0; i + 1 < after->attempts.size(); ++i)
                    EXPECT_TRUE(after->attempts[i].ended);
                EXPECT_NE(live, after->status == JobStatus::Queued || is_terminal(after->status));
                if (live) {
                    const auto node = w.node("ws/c/" + after->current()->nodes().front());
                    ASSERT_TRUE(node);
                    EXPECT_EQ(node->job, "j");
                    EXPECT_EQ(node->attempt, after->current()->number);
                    // It was told to stop the job and did not: its provider is to end it.
                    if (node->state != NodeState::Leaving ||
                        after->status != JobStatus::CancelRequested) {
                        EXPECT_EQ(node->state, NodeState::Running);
                    }
                }
                if (testing::Test::HasFailure()) return;
            }
        }
    }
}

TEST(ControlComputes, ChangesThatCameTogetherAreAllThere) {
    World w;
    w.put(World::cluster("c", 0, 1));
    std::vector<std::string> answers;
    const auto change = [&](const std::string& name, const Control::ComputeChange& what) {
        w.control->change_compute("ws", name, what,
                                  [&](Result<Put> r) { answers.push_back(World::said_put(r)); });
    };
    w.control->put_compute(World::cluster("d", 0, 0), [](Result<Put>) {});  // keeps the disk busy
    change("c", [](const std::optional<Compute>& now) {
        Compute next = *now;
        next.max_nodes = 7;
        return next;
    });
    change("c", [](const std::optional<Compute>& now) {
        Compute next = *now;
        next.idle_before_scale_down = 5s;
        return next;
    });
    change("c", [](const std::optional<Compute>& now) -> Result<Compute> {
        return now->max_nodes == 7 ? Result<Compute>(invalid("no", "no")) : Result<Compute>(*now);
    });
    change("e", [](const std::optional<Compute>& now) {
        return now ? *now : World::cluster("e", 0, 1);
    });
    change("e", [](const std::optional<Compute>& now) -> Result<Compute> {
        return now ? Result<Compute>(fail(Code::Conflict, "There", "")) : World::cluster("e", 0, 1);
    });
    w.settle();
    EXPECT_EQ(answers, (std::vector<std::string>{"updated", "updated", "InvalidArgument", "created",
                                                 "There"}));
    const auto row = w.store->get(Table::Compute, "ws/c");
    const Result<Compute> kept = compute_from_json(*parse_json((*row)->value));
    EXPECT_EQ(kept->max_nodes, 7);
    EXPECT_EQ(kept->idle_before_scale_down, 5s);
}

}  // namespace
}  // namespace turnout
