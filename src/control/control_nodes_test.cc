// Control: nodes that come, go and come back, and what they are told then.
#include <deque>
#include <map>
#include <set>

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

// An agent that is started and ends at once is no sign of life, however often that is said.
TEST(ControlNodes, ANodeThatIsBegunAgainAndAgainIsGivenUpInItsTime) {
    World w;
    w.put(World::cluster("c", 1, 1));
    for (Span waited{}; waited < w.settings.provision_timeout; waited += 10s) {
        w.control->node_starts("ws/c/node-1", "its agent was started on host a");
        w.pass(10s);
    }
    w.pass(60s);
    EXPECT_EQ(w.node("ws/c/node-1")->state, NodeState::Leaving);
}

// What its provider does to get a node is told as an event, once, until the node is there.
TEST(ControlNodes, WhatIsDoneToGetANodeIsTold) {
    World w;
    w.put(World::cluster("c", 1, 1));
    const auto told = [&] {
        std::string all;
        const auto rows = w.store->scan(Table::Event, with_prefix(""));
        for (const Record& row : *rows) all += row.value;
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

// A world whose workspace has secrets, and what was sent to nodes.
struct SecretWorld : World {
    SecretWorld() {
        settings.secrets =
            [this](const std::string& workspace,
                   const std::vector<std::string>& names) -> Result<std::vector<ap::SecretValue>> {
            std::vector<ap::SecretValue> all;
            for (const std::string& name : names) {
                if (!there.contains(name)) return not_found("no secret '" + name + "'");
                all.push_back({name, Secret(workspace + "'s " + name)});
            }
            return all;
        };
        start();
        effects.sent = [this](const ap::ToAgent& message) {
            if (const auto* lease = std::get_if<ap::Lease>(&message)) leases.push_back(*lease);
        };
        put(cluster("c", 1, 1));
    }
    void submit_with_secret(const std::string& name) {
        JobSubmission job = submission(name, "c");
        job.task.variables = {{"TOKEN", "${{secrets." + name + "}}"}};
        job.task.secrets = {name};
        control->submit(job, [](Result<Put>) {});
        settle();
    }
    std::string written() {
        std::string all;
        for (int table = 0; table <= static_cast<int>(kLastTable); ++table)
            if (const auto rows = store->scan(static_cast<Table>(table), {}))
                for (const Record& row : *rows) all += row.key + row.value;
        return all;
    }
    std::set<std::string> there{"hf", "abc"};
    std::vector<ap::Lease> leases;
};

TEST(ControlNodes, SecretsTravelWithTheLeaseAndAreNowhereElse) {
    SecretWorld w;
    const NodeId node = "ws/c/node-1";
    w.connect(node);
    w.submit_with_secret("hf");
    ASSERT_EQ(w.leases.size(), 1u);
    ASSERT_EQ(w.leases[0].secrets.size(), 1u);
    EXPECT_EQ(w.leases[0].secrets[0].name, "hf");
    EXPECT_EQ(w.leases[0].secrets[0].value.reveal(), "ws's hf");
    // The node lost them with its agent; the server is another one, too.
    w.restart();
    w.connect(node, {World::attempt("hf")});
    ASSERT_EQ(w.leases.size(), 2u);
    EXPECT_EQ(w.leases[1].secrets.size(), 1u);
    // What runs is not ended because it was removed.
    w.phase(node, "hf", ap::Phase::Running);
    w.there.clear();
    w.disconnect(node);
    w.connect(node, {World::attempt("hf")});
    ASSERT_EQ(w.leases.size(), 3u);
    EXPECT_TRUE(w.leases[2].secrets.empty());
    EXPECT_EQ(w.status("hf"), JobStatus::Running);
    w.ends(node, "hf");
    EXPECT_EQ(w.status("hf"), JobStatus::Completed);
    EXPECT_EQ(w.written().find("ws's"), std::string::npos);
}

TEST(ControlNodes, AJobWhoseSecretWasRemovedWhileItWaitedFailsAndSaysWhich) {
    SecretWorld w;
    w.submit_with_secret("hf");
    w.there.clear();
    w.connect("ws/c/node-1");
    EXPECT_TRUE(w.leases.empty());
    const auto job = w.job("hf");
    EXPECT_EQ(job->status, JobStatus::Failed);
    EXPECT_EQ(job->cause, ap::Cause::Input);
    EXPECT_NE(job->error_message.find("'hf'"), std::string::npos) << job->error_message;
    EXPECT_EQ(job->attempts.size(), 1u) << "again it would be the same";
    // A job of no secret is not concerned, nor one that is called as a secret is.
    w.there = {"abc"};
    w.submit_with_secret("abc");
    w.said();
    ASSERT_EQ(w.leases.size(), 1u);
    EXPECT_EQ(w.leases[0].secrets.at(0).name, "abc");
}

TEST(ControlNodes, AnEarlierAgentGetsNoSecrets) {
    SecretWorld w;
    w.submit_with_secret("hf");
    ap::Hello hello;
    hello.protocol = ap::kSecretsSince - 1;
    hello.node = "ws/c/node-1";
    hello.boot_id = "boot-1";
    w.control->agent_connected(hello.node, hello);
    w.settle();
    EXPECT_TRUE(w.leases.empty());
    const Lines said = w.said();
    EXPECT_TRUE(std::ranges::find(said, "release ws/c/node-1") != said.end());
    EXPECT_EQ(w.status("hf"), JobStatus::Queued) << "one of this build is asked for";
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

}  // namespace
}  // namespace turnout
