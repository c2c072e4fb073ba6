// Containers that are made for one job each (`compute: containerinstance`).
#include <gtest/gtest.h>

#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

// A pool "boxes" of containers with two slots.
struct Instances : World {
    Instances() {
        put_pools(2);
        restart();
        settle();
    }
    void put_pools(std::optional<int> slots) {
        settings.pools.clear();
        if (!slots) return;
        Pool boxes;
        boxes.name = "boxes";
        boxes.provider = "container";
        boxes.slots = slots;
        boxes.image = ImagePolicy::Engine;
        settings.pools = {boxes};
    }
    static ContainerInstance asked(int cores = 1, std::string image = "small:1") {
        return {"boxes", cores, 4, std::move(image)};
    }
    std::string run(std::string name, const ContainerInstance& in = asked(),
                    std::string principal = "me") {
        JobSubmission job = submission(std::move(name), std::string(kContainerInstance));
        job.instance = in;
        job.task.environment.image = in.image;
        job.principal = std::move(principal);
        std::string answer = "no answer";
        control->submit(std::move(job), [&](Result<Put> r) { answer = said_put(r); });
        settle();
        return answer;
    }
    // Its agent says Hello from the container that was asked for.
    void connect_in(const NodeId& node, std::vector<ap::AttemptId> attempts = {}) {
        ap::Hello hello;
        hello.node = node;
        hello.boot_id = "boot-1";
        hello.facts.image = effects.requested.at(node).image;
        hello.attempts = std::move(attempts);
        control->agent_connected(node, hello);
        settle();
    }
    NodeId id(int number, const ContainerInstance& in = asked()) const {
        return "ws/" + name_of(in) + "/node-" + std::to_string(number);
    }
    bool was_said(const std::string& line) {
        const Lines lines = said();
        return std::ranges::find(lines, line) != lines.end();
    }
    std::string events() const {
        std::string all;
        const auto rows = store->scan(Table::Event, with_prefix(""));
        for (const Record& row : *rows) all += row.value;
        return all;
    }
};

TEST(ContainerInstances, OneIsMadeForAJobAndGoesWithIt) {
    Instances w;
    EXPECT_EQ(w.run("a", Instances::asked(2)), "created");
    const NodeId node = w.id(1, Instances::asked(2));
    ASSERT_TRUE(w.was_said("provision " + node));
    const NodeRequest& asked = w.effects.requested.at(node);
    EXPECT_EQ(asked.cores, 2);
    EXPECT_EQ(asked.memory_gb, 4);
    EXPECT_TRUE(asked.exact);
    EXPECT_EQ(asked.image, "small:1");
    EXPECT_EQ(asked.pool, "boxes");
    w.connect_in(node);
    EXPECT_TRUE(w.was_said("send " + node + " lease a#1"));
    w.ends(node, "a");
    EXPECT_EQ(w.status("a"), JobStatus::Completed);
    EXPECT_TRUE(w.was_said("release " + node));
    EXPECT_EQ(w.count(Table::Compute), 1u) << "its container is not gone yet";
    w.gone(node);
    EXPECT_EQ(w.count(Table::Compute), 0u);
    EXPECT_EQ(w.count(Table::Node), 0u);
    EXPECT_EQ(w.control->pool("boxes")->computes, 0);
    EXPECT_EQ(w.events().find(name_of(Instances::asked(2))), std::string::npos) << w.events();
}

TEST(ContainerInstances, EachJobHasItsOwnAndTheOthersWaitForASlot) {
    Instances w;
    for (const char* const name : {"a", "b", "c"}) w.run(name);
    EXPECT_EQ(w.control->pool("boxes")->nodes, 2);
    EXPECT_EQ(w.control->pool("boxes")->waiting, 3u);
    w.connect_in(w.id(1));
    w.connect_in(w.id(2));
    w.ends(w.id(1), "a");
    EXPECT_EQ(w.status("c"), JobStatus::Queued) << "never in a container of another job";
    EXPECT_EQ(
        w.control->waiting_for("ws", "c"),
        "no free slot in pool 'boxes': all 2 are in use, 1 of them leaving; expected in about "
        "1 min");
    EXPECT_EQ(w.control->nodes_of("ws", std::string(kContainerInstance)).size(), 2u);
    w.said();
    w.gone(w.id(1));
    EXPECT_TRUE(w.was_said("provision " + w.id(3)));
    w.connect_in(w.id(3));
    EXPECT_EQ(w.status("c"), JobStatus::Preparing);
}

TEST(ContainerInstances, TheyShareThePoolWithClusters) {
    Instances w;
    Compute cluster = World::cluster("c", 0, 2);
    cluster.pool = "boxes";
    w.put(cluster);
    w.submit("x", "c");
    w.submit("y", "c");
    w.connect("ws/c/node-1");
    w.connect("ws/c/node-2");
    w.run("a");
    EXPECT_EQ(w.control->pool("boxes")->nodes, 2);
    w.ends("ws/c/node-1", "x");
    w.gone("ws/c/node-1");
    EXPECT_TRUE(w.was_said("provision " + w.id(3)));
}

TEST(ContainerInstances, AQuotaCountsThem) {
    Instances w;
    w.control->change_quota(
        {QuotaOwner::Is::User, "me", ""},
        [](const Quota&) -> Result<Quota> {
            Quota quota;
            quota.running = 1;
            return quota;
        },
        [](Result<void>) {});
    w.settle();
    w.run("a");
    w.run("b");
    w.connect_in(w.id(1));
    EXPECT_EQ(w.control->pool("boxes")->nodes, 1);
    EXPECT_NE(w.control->waiting_for("ws", "b").find("1 of 1 running jobs of user me"),
              std::string::npos)
        << w.control->waiting_for("ws", "b");
    w.run("c", Instances::asked(2), "other");
    EXPECT_EQ(w.control->pool("boxes")->nodes, 2);
}

TEST(ContainerInstances, ALostOneIsReplacedByAnother) {
    Instances w;
    w.run("a");
    w.connect_in(w.id(1));
    w.phase(w.id(1), "a", ap::Phase::Running);
    w.gone(w.id(1));
    EXPECT_EQ(w.status("a"), JobStatus::Queued);
    ASSERT_TRUE(w.was_said("provision " + w.id(2)));
    w.connect_in(w.id(2));
    EXPECT_TRUE(w.was_said("send " + w.id(2) + " lease a#2"));
    w.pass(1h);  // nothing of the first one is looked at any more
    w.ends(w.id(2), "a", ap::Cause::None, 2);
    w.gone(w.id(2));
    EXPECT_EQ(w.count(Table::Compute), 0u);
}

TEST(ContainerInstances, ACancelBeforeItIsThereLetsItGo) {
    Instances w;
    w.run("a");
    EXPECT_EQ(w.cancel("a"), "ok");
    w.connect_in(w.id(1));
    EXPECT_TRUE(w.was_said("release " + w.id(1)));
    w.gone(w.id(1));
    EXPECT_EQ(w.count(Table::Compute), 0u);
    // And with nothing on its way it goes at once.
    w.put(World::cluster("blocks", 0, 1));
    w.run("b");
    w.run("c");
    w.run("d", Instances::asked(2));
    EXPECT_EQ(w.count(Table::Compute), 3u);
    EXPECT_EQ(w.cancel("d"), "ok");
    EXPECT_EQ(w.count(Table::Compute), 2u);
}

TEST(ContainerInstances, ALaterServerGoesOnWithThem) {
    Instances w;
    w.run("a");
    w.run("b");
    w.connect_in(w.id(1));
    w.restart();
    w.settle();
    EXPECT_EQ(w.effects.requested.at(w.id(2)).image, "small:1");
    EXPECT_TRUE(w.effects.requested.at(w.id(2)).exact);
    w.connect_in(w.id(1), {World::attempt("a")});
    w.said();
    w.ends(w.id(1), "a");
    EXPECT_TRUE(w.was_said("release " + w.id(1))) << "it is that of a job, as it was before";
    // And they go with their jobs, as they did before.
    w.gone(w.id(1));
    w.cancel("b");
    w.gone(w.id(2));
    EXPECT_EQ(w.count(Table::Compute), 0u);
}

TEST(ContainerInstances, AnImageThatIsNotThereEndsThoseThatWantIt) {
    Instances w;
    for (const char* const name : {"a", "b", "c"}) w.run(name, Instances::asked(1, "absent:1"));
    w.run("d");
    const NodeId node = w.id(1, Instances::asked(1, "absent:1"));
    w.control->node_failed(node, {Code::InvalidArgument, std::string(kImageNotThere),
                                  "image 'absent:1' cannot be pulled: no", "absent:1"});
    w.settle();
    for (const char* const name : {"a", "b", "c"}) {
        EXPECT_EQ(w.status(name), JobStatus::Failed) << name;
        EXPECT_EQ(w.job(name)->cause, ap::Cause::Environment);
        EXPECT_EQ(w.job(name)->error_message, "image 'absent:1' cannot be pulled: no");
    }
    EXPECT_EQ(w.status("d"), JobStatus::Queued);
    EXPECT_TRUE(w.was_said("release " + node));
}

TEST(ContainerInstances, ASweepWhoseImageIsNotThereBeginsNoMoreAfterTheFirst) {
    Instances w;
    JobSubmission sweep = World::submission("s", std::string(kContainerInstance));
    sweep.type = JobType::Sweep;
    sweep.definition = parse_json(R"({"jobType": "Sweep",
        "searchSpace": {"n": ["choice", [[1, 2, 3, 4, 5, 6, 7, 8]]]},
        "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
        "objective": {"goal": "minimize", "primaryMetric": "loss"},
        "limits": {"maxConcurrentTrials": 8}})")
                           .value();
    sweep.instance = Instances::asked(1, "absent:1");
    sweep.task.environment.image = "absent:1";
    sweep.task.command = "try ${{search_space.n}}";
    w.control->submit(std::move(sweep), [](Result<Put> r) { EXPECT_TRUE(r) << r.error().message; });
    w.settle();
    for (int i = 0; i < 20 && w.count(Table::Node) > 0; ++i) {
        const auto rows = w.store->scan(Table::Node, with_prefix(""));
        for (const Record& row : *rows) {
            w.control->node_failed(row.key, {Code::InvalidArgument, std::string(kImageNotThere),
                                             "image 'absent:1' cannot be pulled: no", "absent:1"});
            w.gone(row.key);
        }
    }
    EXPECT_EQ(w.status("s"), JobStatus::Failed);
    EXPECT_EQ(w.job("s")->cause, ap::Cause::Environment);
    EXPECT_EQ(w.count(Table::Node), 0u);
    EXPECT_EQ(w.count(Table::Compute), 0u);
    EXPECT_EQ(w.count(Table::JobLive), 0u);
}

TEST(ContainerInstances, WhatCanNeverBeHadEndsItsJob) {
    Instances w;
    w.run("a", Instances::asked(64));
    w.control->node_failed(
        w.id(1, Instances::asked(64)),
        {Code::InvalidArgument, "InvalidArgument", "a container of 64 cores does not fit", "size"});
    w.settle();
    EXPECT_EQ(w.status("a"), JobStatus::Failed);
    EXPECT_EQ(w.job("a")->error_message, "a container of 64 cores does not fit");
}

TEST(ContainerInstances, APoolThatIsGoneIsNamed) {
    Instances w;
    w.run("a");
    w.put_pools(std::nullopt);
    w.restart();
    w.settle();
    EXPECT_EQ(
        w.control->waiting_for("ws", "a"),
        "pool 'boxes' is not in pools.yaml any more: put it back (`turnout pool reload` takes "
        "it), or cancel the job");
    EXPECT_EQ(w.cancel("a"), "ok");
    w.gone(w.id(1));
    EXPECT_EQ(w.count(Table::Compute), 0u);
    EXPECT_FALSE(w.control->pool("boxes"));
}

TEST(ContainerInstances, TheirTotalsAreOne) {
    Instances w;
    w.run("a");
    w.run("b", Instances::asked(2));
    w.connect_in(w.id(1));
    w.connect_in(w.id(2, Instances::asked(2)));
    EXPECT_EQ(w.control->live_nodes("ws", std::string(kContainerInstance)).count, 2);
    w.ends(w.id(1), "a");
    w.ends(w.id(2, Instances::asked(2)), "b");
    w.gone(w.id(1));
    w.gone(w.id(2, Instances::asked(2)));
    const auto row = w.store->get(Table::Ledger, "ws/compute/containerinstance");
    ASSERT_TRUE(row && *row);
    const Totals totals = totals_from_json(*parse_json((*row)->value)).value();
    EXPECT_EQ(totals.completed, 2);
    EXPECT_EQ(totals.nodes, 2);
    const auto all = w.store->scan(Table::Ledger, with_prefix("ws/compute/"));
    for (const Record& each : *all) EXPECT_EQ(each.key, "ws/compute/containerinstance");
}

// What each waited for: the start of its own container, and before that a slot.
TEST(ContainerInstances, WhereTheTimeOfTheirWaitWent) {
    Instances w;
    for (const char* const name : {"a", "b", "c"}) w.run(name);
    w.clock.pass(3s);
    w.connect_in(w.id(1));
    w.connect_in(w.id(2));
    w.clock.pass(10s);
    w.ends(w.id(1), "a");
    w.gone(w.id(1));
    w.clock.pass(4s);
    w.connect_in(w.id(3));
    const auto waited = [&](const std::string& name) {
        const JobRecord job = *w.job(name);
        return std::pair(job.attempts.front().waited_quota, job.attempts.front().waited_node_start);
    };
    EXPECT_EQ(waited("a"), std::pair(Span{}, Span(3s)));
    EXPECT_EQ(waited("c"), std::pair(Span(13s), Span(4s)));
}

// A drill that comes when its job has just ended finds nothing to tell of.
TEST(ContainerInstances, WhatIsOverIsNotLookedAt) {
    Instances w;
    w.run("a");
    w.connect_in(w.id(1));
    w.control->node_gone(w.id(1));
    w.control->cancel_job("ws", "a", [](Result<void>) {});
    w.control->drilled("ws", "a", "kill-node");
    w.settle();
    EXPECT_EQ(w.status("a"), JobStatus::Canceled);
    EXPECT_EQ(w.events().find("drill"), std::string::npos);
}

TEST(ContainerInstances, NobodyCanHaveTheirName) {
    const std::string name = name_of(Instances::asked());
    EXPECT_GT(name.size(), 32u) << "a compute that somebody makes has at most so many characters";
    EXPECT_EQ(shown_compute(name), "containerinstance");
    for (const std::string own :
         {"cpu-cluster", "containerinstance", "serverless", "containerinstance-1234567890abcd"})
        EXPECT_EQ(shown_compute(own), own);
    EXPECT_NE(name, name_of(Instances::asked(2)));
    EXPECT_NE(name, name_of(Instances::asked(1, "other:1")));
    EXPECT_EQ(words_of(Instances::asked()), "1 core and 4 GB in pool 'boxes'");
}

}  // namespace
}  // namespace turnout
