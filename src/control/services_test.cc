// Services in control: replicas are jobs, and what is stored is enough to go on.
#include "control/test_world.h"

#include <algorithm>

namespace turnout {
namespace {

using namespace control_test;

ServiceSubmission wish(std::string command = "serve", int wanted = 1, int surge = 1) {
    ServiceSubmission wish;
    wish.workspace = "ws";
    wish.name = "s";
    wish.compute = "c";
    wish.task.command = std::move(command);
    wish.task.service.emplace();
    wish.wanted = wanted;
    wish.surge = surge;
    wish.principal = "me";
    return wish;
}

struct ServiceWorld : World {
    explicit ServiceWorld(int slots = 4) : World(slots) {
        cluster_ = cluster("c", 0, slots);
        put(cluster_);
    }
    std::string put_service(ServiceSubmission one) {
        std::string answer = "no answer";
        control->put_service(std::move(one), [&](Result<Put> r) { answer = said_put(r); });
        settle();
        return answer;
    }
    std::string end_service() {
        std::string answer = "no answer";
        control->end_service("ws", "s", [&](Result<void> r) { answer = said_ok(r); });
        settle();
        return answer;
    }
    // "s.1 ready on node-1, s.2 waiting": and of old revisions an apostrophe.
    std::string standing() {
        const auto view = control->service("ws", "s");
        if (!view) return "none";
        std::string text;
        for (const auto& one : view->replicas) {
            text += text.empty() ? "" : ", ";
            text += one.job + (one.replica.revision == view->service.revision ? " " : "' ") +
                    std::string(name_of(one.replica.is)) +
                    (one.node.empty() ? "" : " on " + one.node);
        }
        return text;
    }
    void is(int node, int replica, ap::Phase now, int number = 1) {
        phase("ws/c/node-" + std::to_string(node), "s." + std::to_string(replica), now, number);
    }
    void over(int node, int replica, ap::Cause cause = ap::Cause::UserCode, int number = 1) {
        ends("ws/c/node-" + std::to_string(node), "s." + std::to_string(replica), cause, number);
    }
    void hello(int node, std::vector<int> replicas = {}) {
        std::vector<ap::AttemptId> attempts;
        for (const int one : replicas) attempts.push_back(attempt("s." + std::to_string(one)));
        connect("ws/c/node-" + std::to_string(node), attempts);
    }
    std::string why() { return control->service("ws", "s")->why; }
    // One replica, ready on node-1.
    void up() {
        ASSERT_EQ(put_service(wish()), "created");
        hello(1);
        is(1, 1, ap::Phase::Ready);
        ASSERT_EQ(standing(), "s.1 ready on node-1");
        said();
    }
    Compute cluster_;
};

TEST(ControlServices, AReplicaIsAJobThatBecomesReady) {
    ServiceWorld w;
    EXPECT_EQ(w.put_service(wish()), "created");
    EXPECT_EQ(w.standing(), "s.1 waiting");
    EXPECT_NE(w.why().find("0 of 1 wanted replicas are ready; 1 waiting for a node; s.1: "),
              std::string::npos)
        << w.why();
    EXPECT_EQ(w.status("s.1"), JobStatus::Queued);
    w.hello(1);
    const Lines said = w.said();
    EXPECT_TRUE(std::ranges::count(said, "send ws/c/node-1 lease s.1#1"));
    EXPECT_EQ(w.standing(), "s.1 starting on node-1");
    w.is(1, 1, ap::Phase::Running);
    EXPECT_EQ(w.standing(), "s.1 unready on node-1");
    w.is(1, 1, ap::Phase::Ready);
    EXPECT_EQ(w.standing(), "s.1 ready on node-1");
    EXPECT_EQ(w.why(), "");
    EXPECT_EQ(w.status("s.1"), JobStatus::Running);
    const auto view = w.control->service("ws", "s");
    EXPECT_EQ(view->counts.ready, 1);
    EXPECT_GE(view->replicas[0].port, 20'000) << "one that nobody else has";
    w.is(1, 1, ap::Phase::Running);
    EXPECT_EQ(w.standing(), "s.1 unready on node-1");
    EXPECT_EQ(w.put_service(wish()), "unchanged");
    EXPECT_EQ(w.control->services("ws").size(), 1u);
    EXPECT_EQ(w.control->services("other").size(), 0u);
}

TEST(ControlServices, OnAComputeOfDeploymentsAloneReplicasShareANode) {
    ServiceWorld w(2);
    Compute compute = World::cluster("online.local.standard_ds3_v2", 0, 2);
    compute.jobs_per_node = 3;
    w.put(compute);
    ServiceSubmission one = wish("serve", 2);
    one.compute = compute.name;
    EXPECT_EQ(w.put_service(one), "created");
    w.connect("ws/online.local.standard_ds3_v2/node-1", {});
    EXPECT_EQ(w.standing(), "s.1 starting on node-1, s.2 starting on node-1");
    for (const int replica : {1, 2})
        w.phase("ws/online.local.standard_ds3_v2/node-1", "s." + std::to_string(replica),
                ap::Phase::Ready, 1);
    // So is what replaces them.
    one.task.command = "serve better";
    EXPECT_EQ(w.put_service(one), "updated");
    EXPECT_EQ(w.standing(), "s.1' ready on node-1, s.2' ready on node-1, s.3 starting on node-1");
}

TEST(ControlServices, WhatCannotBeIsRefused) {
    ServiceWorld w;
    const auto refused = [&](const std::function<void(ServiceSubmission&)>& change) {
        ServiceSubmission one = wish();
        change(one);
        std::string answer = "no answer";
        w.control->put_service(std::move(one),
                               [&](Result<Put> r) { answer = r ? "taken" : r.error().message; });
        w.settle();
        return answer;
    };
    EXPECT_EQ(refused([](auto& one) { one.name = "a.b"; }),
              "the name of a service is 'a.b'; expected 1 to 200 letters, digits, '-' and '_'");
    EXPECT_EQ(refused([](auto& one) { one.wanted = -1; }),
              "wanted is -1; expected 0 to 1000 replicas");
    EXPECT_EQ(refused([](auto& one) { one.surge = 1001; }),
              "surge is 1001; expected 0 to 1000 replicas");
    EXPECT_EQ(refused([](auto& one) { one.task.service.reset(); }),
              "the task of service 's' does not say how it is a service");
    EXPECT_EQ(refused([](auto& one) { one.task.node_count = 2; }),
              "the task of service 's' has several processes; expected one, on one node");
    EXPECT_EQ(refused([](auto& one) { one.compute = "nowhere"; }),
              "compute 'nowhere' does not exist");
    EXPECT_EQ(w.end_service(), "ResourceNotFound");
    EXPECT_EQ(w.count(Table::Service), 0u);
    w.up();
    w.put(World::cluster("d", 0, 1));
    EXPECT_EQ(refused([](auto& one) { one.compute = "d"; }),
              "service 's' is on compute 'c' and stays there; end it, or give the one on 'd' "
              "another name");
}

TEST(ControlServices, AReplicaThatEndsIsReplacedAfterAPauseThatGrows) {
    ServiceWorld w;
    w.up();
    w.over(1, 1);
    EXPECT_EQ(w.status("s.1"), JobStatus::Failed);
    EXPECT_EQ(w.standing(), "s.2 starting on node-1") << "the first time at once";
    w.is(1, 2, ap::Phase::Running);
    w.over(1, 2, ap::Cause::None);
    EXPECT_EQ(w.status("s.2"), JobStatus::Failed) << "it is to stay up";
    EXPECT_EQ(w.job("s.2")->error_message,
              "its command ended with exit code 0, and it is to stay up");
    EXPECT_EQ(w.standing(), "");
    EXPECT_EQ(w.why(),
              "0 of 1 wanted replicas are ready; 2 failures in a row, the last one: its command "
              "ended with exit code 0, and it is to stay up; the next one is started in 1 s");
    w.pass(999ms);
    EXPECT_EQ(w.standing(), "");
    w.pass(1ms);
    EXPECT_EQ(w.standing(), "s.3 starting on node-1");
    w.over(1, 3);
    w.pass(1999ms);
    EXPECT_EQ(w.standing(), "");
    w.restart();  // the pause begins anew, and is as long
    w.hello(1);
    w.pass(1999ms);
    EXPECT_EQ(w.standing(), "");
    w.pass(1ms);
    EXPECT_EQ(w.standing(), "s.4 starting on node-1");
    w.is(1, 4, ap::Phase::Ready);
    w.pass(5min);
    w.over(1, 4);
    EXPECT_EQ(w.standing(), "s.5 starting on node-1") << "it was well for long";
    // Its time is in the ledger of its compute, like that of any job.
    const auto totals = w.store->get(Table::Ledger, "ws/compute/c");
    ASSERT_TRUE(totals && *totals);
    EXPECT_EQ(totals_from_json(*parse_json((*totals)->value))->failed, 4);
}

TEST(ControlServices, TwoThatFailAtOneInstantAreOneFailure) {
    ServiceWorld w;
    w.put_service(wish("serve", 2));
    for (const int one : {1, 2}) {
        w.hello(one);
        w.is(one, one, ap::Phase::Running);
    }
    w.over(1, 1);
    w.over(2, 2);  // said by itself, when another one was made for the first already
    EXPECT_EQ(w.control->service("ws", "s")->service.failures, 1);
    EXPECT_EQ(w.standing(), "s.3 starting on node-1, s.4 starting on node-2");
    w.over(1, 3);
    EXPECT_EQ(w.control->service("ws", "s")->service.failures, 2);
}

TEST(ControlServices, ANewRevisionReplacesTheOldOneWhenItIsReady) {
    ServiceWorld w;
    w.up();
    EXPECT_EQ(w.put_service(wish("serve better")), "updated");
    w.hello(2);
    EXPECT_EQ(w.standing(), "s.1' ready on node-1, s.2 starting on node-2");
    w.is(2, 2, ap::Phase::Running);
    w.said();
    w.restart();
    w.hello(1, {1});
    w.hello(2, {2});
    EXPECT_EQ(w.standing(), "s.1' unknown on node-1, s.2 unknown on node-2");
    w.is(2, 2, ap::Phase::Running);
    EXPECT_EQ(w.standing(), "s.1' unknown on node-1, s.2 unready on node-2");
    w.is(1, 1, ap::Phase::Ready);
    w.is(2, 2, ap::Phase::Ready);
    EXPECT_EQ(w.standing(), "s.1' stopping on node-1, s.2 ready on node-2");
    EXPECT_TRUE(std::ranges::count(w.said(), "send ws/c/node-1 cancel s.1#1 canceled"));
    EXPECT_EQ(w.job("s.1")->error_message, "a new revision replaces it");
    w.over(1, 1, ap::Cause::Canceled);
    EXPECT_EQ(w.standing(), "s.2 ready on node-2");
    EXPECT_EQ(w.status("s.1"), JobStatus::Canceled);
    EXPECT_EQ(w.why(), "");
}

TEST(ControlServices, ALostNodesReplicaIsReplacedWhenItIsProvedGone) {
    ServiceWorld w;
    w.up();
    w.disconnect("ws/c/node-1");
    EXPECT_EQ(w.standing(), "s.1 unknown on node-1");
    w.pass(10min);
    EXPECT_EQ(w.standing(), "s.1 unknown on node-1") << "two of it may never be";
    w.gone("ws/c/node-1");
    EXPECT_EQ(w.standing(), "s.1 waiting") << "as any job that lost its node";
    w.hello(2);
    EXPECT_EQ(w.standing(), "s.1 starting on node-2");
}

// While it gives way another one is made; when both wait for a node there is one too many.
TEST(ControlServices, OneThatGivesWayAndComesBackIsNotOneTooMany) {
    ServiceWorld w;
    w.up();
    w.control->preempt_job("ws", "s.1", [](Result<void>) {});
    w.settle();
    EXPECT_EQ(w.standing(), "s.1 stopping on node-1, s.2 waiting");
    w.over(1, 1, ap::Cause::Preempted);
    EXPECT_EQ(w.control->service("ws", "s")->replicas.size(), 1u) << w.standing();
}

TEST(ControlServices, ItEndsWithItsLastReplicaAndComesBackUnderNewNames) {
    ServiceWorld w;
    w.up();
    EXPECT_EQ(w.end_service(), "ok");
    EXPECT_EQ(w.end_service(), "ok");
    EXPECT_EQ(w.standing(), "s.1 stopping on node-1");
    EXPECT_EQ(w.put_service(wish()), "ServiceBeingEnded");
    EXPECT_EQ(w.why(), "it was ended: 1 replica must stop before it is over");
    w.restart();
    w.hello(1, {1});
    EXPECT_EQ(w.standing(), "s.1 stopping on node-1");
    w.over(1, 1, ap::Cause::Canceled);
    EXPECT_EQ(w.standing(), "none");
    EXPECT_EQ(w.count(Table::Service), 0u);
    EXPECT_EQ(w.count(Table::JobLive), 0u);
    EXPECT_EQ(w.put_service(wish()), "created");
    EXPECT_EQ(w.standing(), "s.2 starting on node-1") << "a job's name is never used twice";
}

TEST(ControlServices, MoreAndFewerReplicas) {
    ServiceWorld w;
    w.up();
    EXPECT_EQ(w.put_service(wish("serve", 3)), "updated");
    EXPECT_EQ(w.standing(), "s.1 ready on node-1, s.2 waiting, s.3 waiting");
    EXPECT_EQ(w.put_service(wish("serve", 1)), "updated");
    EXPECT_EQ(w.standing(), "s.1 ready on node-1");
    EXPECT_EQ(w.status("s.3"), JobStatus::Canceled);
    EXPECT_EQ(w.put_service(wish("serve", 0)), "updated");
    w.over(1, 1, ap::Cause::Canceled);
    EXPECT_EQ(w.standing(), "");
    EXPECT_EQ(w.why(), "") << "that is what is wanted";
    w.restart();
    EXPECT_EQ(w.standing(), "");
}

// Whoever stops one need not know what its task is.
TEST(ControlServices, HowManyAreWantedIsSaidWithoutTheTask) {
    ServiceWorld w;
    const auto want = [&](const char* name, int wanted) {
        std::string answer = "no answer";
        w.control->want_service("ws", name, wanted, [&](Result<Put> r) {
            answer = r ? w.said_put(r) : r.error().message;
        });
        w.settle();
        return answer;
    };
    w.up();
    EXPECT_EQ(w.control->jobs_of("ws", "c"), 0u);
    w.submit("j", "c");
    EXPECT_EQ(w.control->jobs_of("ws", "c"), 1u);
    EXPECT_EQ(w.control->jobs_of("ws", "nope"), 0u);
    EXPECT_EQ(want("s", 1), "unchanged");
    EXPECT_EQ(want("s", 0), "updated");
    w.over(1, 1, ap::Cause::Canceled);
    EXPECT_EQ(w.standing(), "");
    w.restart();
    EXPECT_EQ(w.standing(), "");
    EXPECT_NE(want("t", 0).find("does not exist"), std::string::npos);
    w.end_service();
    EXPECT_NE(want("s", 1).find("does not exist"), std::string::npos);
}

TEST(ControlServices, OneThatIsNotReadyForTooLongIsReplaced) {
    ServiceWorld w;
    ServiceSubmission one = wish();
    one.task.service->unready_limit = 30s;
    one.task.service->restart.first = 10s;
    w.put_service(one);
    w.hello(1);
    w.is(1, 1, ap::Phase::Running);
    w.pass(29s);
    EXPECT_EQ(w.standing(), "s.1 unready on node-1");
    w.pass(1s);
    EXPECT_EQ(w.standing(), "s.1 stopping on node-1, s.2 waiting");
    EXPECT_EQ(w.job("s.1")->error_message, "it was not ready for too long");
}

TEST(ControlServices, DrainingStopsItAndResumingBringsItBack) {
    ServiceWorld w;
    w.up();
    bool empty = false;
    w.control->drain([](Result<void>) {}, [&] { empty = true; });
    w.settle();
    EXPECT_EQ(w.standing(), "s.1 stopping on node-1");
    w.over(1, 1, ap::Cause::Canceled);
    EXPECT_EQ(w.standing(), "");
    EXPECT_NE(w.why().find("the server is being drained"), std::string::npos) << w.why();
    w.gone("ws/c/node-1");
    EXPECT_TRUE(empty);
    w.control->resume([](Result<void>) {});
    w.settle();
    EXPECT_EQ(w.standing(), "s.2 waiting");
}

TEST(ControlServices, GoesWithItsCompute) {
    ServiceWorld w;
    w.up();
    EXPECT_EQ(w.remove_compute("c"), "ok");
    EXPECT_EQ(w.standing(), "s.1 stopping on node-1");
    w.over(1, 1, ap::Cause::Canceled);
    EXPECT_EQ(w.standing(), "none");
}

TEST(ControlServices, AnEarlierAgentGetsNoServiceAndCostsNoAttempt) {
    ServiceWorld w;
    w.put_service(wish());
    const auto earlier = [&](int node) {
        ap::Hello hello;
        hello.protocol = ap::kServicesSince - 1;
        hello.node = "ws/c/node-" + std::to_string(node);
        hello.boot_id = "boot-1";
        w.control->agent_connected(hello.node, hello);
        w.settle();
        return hello.node;
    };
    for (int node = 1; node <= 8; ++node) {  // more than a job has attempts
        const NodeId id = earlier(node);
        const Lines said = w.said();
        EXPECT_FALSE(std::ranges::any_of(said, [](const std::string& line) {
            return line.find("lease s.") != std::string::npos;
        }));
        EXPECT_TRUE(std::ranges::find(said, "release " + id) != said.end())
            << "one of the server's build takes its place";
        EXPECT_EQ(w.standing(), "s.1 waiting");
        w.gone(id);
    }
    EXPECT_EQ(w.control->service("ws", "s")->service.failures, 0);
    w.hello(9);
    EXPECT_EQ(w.standing(), "s.1 starting on node-9");
}

// A node that runs something for others is let go when that has ended; until then it gets nothing.
TEST(ControlServices, AnEarlierAgentThatIsBusyIsLetGoWhenItIsNot) {
    ServiceWorld w(1);
    w.cluster_.jobs_per_node = 2;
    w.put(w.cluster_);
    w.submit("a", "c");
    ap::Hello hello;
    hello.protocol = ap::kServicesSince - 1;
    hello.node = "ws/c/node-1";
    hello.boot_id = "boot-1";
    w.control->agent_connected(hello.node, hello);
    w.settle();
    w.phase(hello.node, "a", ap::Phase::Running);
    w.put_service(wish());
    EXPECT_EQ(w.standing(), "s.1 waiting");
    w.submit("b", "c");
    Lines said = w.said();
    EXPECT_FALSE(std::ranges::count(said, "release ws/c/node-1"));
    EXPECT_FALSE(std::ranges::any_of(
        said, [](const std::string& line) { return line.find("lease b#") != std::string::npos; }));
    w.ends(hello.node, "a");
    said = w.said();
    EXPECT_TRUE(std::ranges::count(said, "release ws/c/node-1"));
}

// Beside what stays up on a compute instance there is room for one job, and no more.
TEST(ControlServices, OnAComputeInstanceAJobRunsBesideWhatStaysUp) {
    ServiceWorld w(2);
    w.cluster_.jobs_per_node = 2;
    w.cluster_.max_nodes = 1;
    w.cluster_.personal = PersonalInstance{};
    w.put(w.cluster_);
    w.put_service(wish());
    w.hello(1);
    EXPECT_EQ(w.standing(), "s.1 starting on node-1");
    w.submit("a", "c");
    w.submit("b", "c");
    EXPECT_EQ(w.status("a"), JobStatus::Preparing);
    EXPECT_EQ(w.status("b"), JobStatus::Queued);
    Compute off = w.cluster_;
    off.personal->on = false;
    w.put(off);
    EXPECT_EQ(w.status("b"), JobStatus::Canceled) << "it waits for what was stopped";
    EXPECT_EQ(w.standing(), "s.1 starting on node-1")
        << "its service is told by whoever stopped it";
}

// Names of users' jobs may have dots.
TEST(ControlServices, AReplicaTakesNoNameOfAUsersJob) {
    ServiceWorld w;
    w.submit("s.1", "c");
    w.cancel("s.1");
    w.submit("s.2", "c");
    EXPECT_EQ(w.put_service(wish()), "created");
    EXPECT_EQ(w.standing(), "s.3 waiting");
    EXPECT_EQ(w.status("s.1"), JobStatus::Canceled);
    EXPECT_EQ(w.status("s.2"), JobStatus::Queued);
    w.restart();
    EXPECT_EQ(w.standing(), "s.3 waiting");
}

TEST(ControlServices, WhoGivesItAnotherTaskIsWhoseItIs) {
    ServiceWorld w;
    w.up();
    ServiceSubmission one = wish("serve", 2);
    one.principal = "you";
    EXPECT_EQ(w.put_service(one), "updated");
    EXPECT_EQ(w.job("s.2")->principal, "me") << "the task is as it was";
    one.task.command = "serve better";
    one.experiment = "better";
    EXPECT_EQ(w.put_service(one), "updated");
    EXPECT_EQ(w.job("s.3")->principal, "you");
    EXPECT_EQ(w.job("s.3")->meta.experiment, "better");
    one.experiment = "best";
    EXPECT_EQ(w.put_service(one), "updated");
    EXPECT_EQ(w.put_service(one), "unchanged");
}

}  // namespace
}  // namespace turnout
