// Nodes that are containers: each has one image, and a job gets one of its own.
#include <gtest/gtest.h>

#include "control/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

// A pool "boxes" of containers, and cluster "c" there.
struct Images : World {
    explicit Images(int most = 1) {
        Pool boxes;
        boxes.name = "boxes";
        boxes.provider = "container";
        boxes.slots = 3;
        boxes.image = ImagePolicy::Engine;
        settings.pools = {boxes};
        restart();
        settle();
        Compute compute = cluster("c", 0, most);
        compute.pool = "boxes";
        put(compute);
    }
    void submit_with(std::string name, std::string image) {
        JobSubmission job = submission(std::move(name), "c");
        job.task.environment.image = std::move(image);
        control->submit(std::move(job), [](Result<Put> r) { EXPECT_TRUE(r) << r.error().message; });
        settle();
    }
    // Its agent says Hello from a container of that image.
    void connect_in(const std::string& image) {
        ap::Hello hello;
        hello.node = kNode;
        hello.boot_id = "boot-1";
        hello.facts.image = image;
        control->agent_connected(kNode, hello);
        settle();
    }
    void refuse(const std::string& image) {
        control->node_failed(kNode, {Code::InvalidArgument, std::string(kImageNotThere),
                                     "image '" + image + "' cannot be pulled: no", image});
        settle();
    }
    bool was_said(const std::string& line) {
        const Lines lines = said();
        return std::ranges::find(lines, line) != lines.end();
    }
    // How often an event says it.
    int events_with(const std::string& text) {
        const auto rows = store->scan(Table::Event, with_prefix(""));
        int count = 0;
        for (const Record& row : *rows)
            for (std::size_t at = row.value.find(text); at != std::string::npos;
                 at = row.value.find(text, at + 1))
                ++count;
        return count;
    }
    std::string asked_for() const { return effects.requested.at(kNode).image; }
    const NodeId kNode = "ws/c/node-1";
    const std::string kProvision = "provision ws/c/node-1";
};

TEST(ControlImages, ANewNodeHasThatOfTheJobItIsFor) {
    Images w;
    w.submit_with("a", "small:1");
    EXPECT_TRUE(w.was_said(w.kProvision));
    EXPECT_EQ(w.asked_for(), "small:1");
    w.connect_in("small:1");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 lease a#1"));
}

TEST(ControlImages, ANodeWithAnotherIsAskedForAnewAndThenGivenTheJob) {
    Images w;
    w.submit_with("a", "");
    w.connect_in("");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 lease a#1"));
    w.submit_with("b", "small:1");
    w.ends(w.kNode, "a");
    const Lines lines = w.said();
    EXPECT_EQ(std::ranges::count(lines, w.kProvision), 1);
    EXPECT_EQ(std::ranges::count(lines, "send ws/c/node-1 lease b#1"), 0);
    EXPECT_EQ(w.asked_for(), "small:1");
    EXPECT_EQ(w.node(w.kNode)->image, "small:1") << "a later server has to know it";
    w.disconnect(w.kNode);
    w.connect_in("small:1");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 lease b#1"));
}

TEST(ControlImages, AnImageMayTakeLongerThanANodeHasAndAnAgentMayNot) {
    for (const bool pulls : {true, false}) {
        Images w;
        w.submit_with("a", "large:1");
        for (Span waited{}; waited < 2 * w.settings.provision_timeout; waited += 10s) {
            w.control->node_starts(w.kNode, pulls ? "pulling image large:1: 1 of 9 GB"
                                                  : "starting a container of large:1");
            w.pass(10s);
        }
        const auto node = w.node(w.kNode);
        EXPECT_EQ(node && node->state == NodeState::Provisioning, pulls);
    }
}

TEST(ControlImages, APullIsToldOnceAndItsJobSaysHowFarItIs) {
    Images w;
    w.submit_with("a", "");
    w.connect_in("");
    w.submit_with("b", "large:1");
    w.ends(w.kNode, "a");
    const auto starts = [&](const std::string& what) {
        w.control->node_starts(w.kNode, what);
        w.settle();
        w.pass(1s);
    };
    starts("pulling image large:1");
    for (int gb = 1; gb <= 5; ++gb) {
        const std::string words = "pulling image large:1: " + std::to_string(gb) + " of 9 GB";
        starts(words);
        EXPECT_EQ(w.control->explain("ws", "b")->text, words);
    }
    EXPECT_EQ(w.events_with("pulling image"), 1);
    starts("no answer; once more");
    starts("pulling image large:1");
    starts("pulling image large:1: 1 of 9 GB");
    EXPECT_EQ(w.events_with("pulling image"), 2) << "another pull is another event";
    starts("pulling image large:12");
    EXPECT_EQ(w.events_with("pulling image large:12"), 1);
}

TEST(ControlImages, AJobThatIsCalledAsItsImageGetsIt) {
    Images w;
    w.submit_with("a", "");
    w.connect_in("");
    w.submit_with("small", "small:1");
    w.ends(w.kNode, "a");
    EXPECT_EQ(w.asked_for(), "small:1");
    w.restart();  // it is read from the store now
    w.settle();
    w.effects.requested.clear();
    w.connect_in("");
    EXPECT_EQ(w.asked_for(), "small:1");
    w.connect_in("small:1");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 lease small#1"));
}

// Its engine was away when it was asked for the other image: the old container is still there.
TEST(ControlImages, WhatDidNotComeIsAskedForAgainWhileTheOldOneIsThere) {
    Images w;
    w.submit_with("a", "");
    w.connect_in("");
    w.submit_with("b", "small:1");
    w.ends(w.kNode, "a");
    EXPECT_TRUE(w.was_said(w.kProvision));
    w.control->node_failed(w.kNode, {Code::Unavailable, "EngineAway", "no answer", "", nullptr});
    w.settle();
    w.pass(10s);
    EXPECT_TRUE(w.was_said(w.kProvision));
    EXPECT_EQ(w.asked_for(), "small:1");
    w.connect_in("small:1");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 lease b#1"));
}

TEST(ControlImages, ANodeFromBeforeItsPoolHadContainersGetsNoJob) {
    Images w;
    w.submit_with("a", "");
    w.connect_in("");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 lease a#1"));
    w.ends(w.kNode, "a");
    w.settings.pools.front().provider = "ssh";  // as one would be that was local before
    w.restart();
    w.settle();
    w.connect_in("");
    w.said();
    w.submit_with("b", "small:1");
    EXPECT_FALSE(w.was_said("send ws/c/node-1 lease b#1"));
    EXPECT_EQ(w.node(w.kNode)->state, NodeState::Leaving);
    EXPECT_EQ(w.status("b"), JobStatus::Queued);
}

TEST(ControlImages, ALaterServerGoesOnWithIt) {
    Images w;
    w.submit_with("a", "");
    w.connect_in("");
    w.ends(w.kNode, "a");
    w.submit_with("b", "small:1");
    w.said();
    w.restart();
    w.settle();
    EXPECT_TRUE(w.was_said(w.kProvision));
    EXPECT_EQ(w.asked_for(), "small:1");
    w.connect_in("");  // it had not been replaced yet
    EXPECT_FALSE(w.was_said("send ws/c/node-1 lease b#1"));
    w.connect_in("small:1");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 lease b#1"));
}

TEST(ControlImages, OneThatIsNotThereEndsItsJobAndNoOther) {
    Images w;
    w.submit_with("a", "");
    w.connect_in("");
    w.ends(w.kNode, "a");
    w.submit_with("b", "absent:1");
    w.submit_with("c", "");
    w.refuse("absent:1");
    EXPECT_EQ(w.status("b"), JobStatus::Failed);
    EXPECT_EQ(w.job("b")->cause, ap::Cause::Environment);
    EXPECT_EQ(w.job("b")->error_message, "image 'absent:1' cannot be pulled: no");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 lease c#1")) << "it has still the image that it had";
    w.ends(w.kNode, "c");
    EXPECT_EQ(w.status("c"), JobStatus::Completed);
}

TEST(ControlImages, ANewNodeWhoseImageIsNotThereBeginsWithItsPools) {
    Images w;
    w.submit_with("a", "absent:1");
    EXPECT_EQ(w.asked_for(), "absent:1");
    w.refuse("absent:1");
    EXPECT_EQ(w.asked_for(), "");
    EXPECT_EQ(w.status("a"), JobStatus::Queued);
    w.connect_in("");
    EXPECT_EQ(w.asked_for(), "absent:1");
    w.refuse("absent:1");
    EXPECT_EQ(w.status("a"), JobStatus::Failed);
}

TEST(ControlImages, ThePoolsOwnThatIsNotThereMakesTheComputeUnusable) {
    Images w;
    w.submit_with("a", "");
    w.refuse("");
    EXPECT_NE(w.control->unusable("ws", "c").find("cannot be pulled"), std::string::npos);
    EXPECT_EQ(w.status("a"), JobStatus::Queued);
}

TEST(ControlImages, AJobThatWaitsForItsImageCanBeCanceled) {
    Images w;
    w.submit_with("a", "");
    w.connect_in("");
    w.ends(w.kNode, "a");
    w.submit_with("b", "small:1");
    EXPECT_EQ(w.cancel("b"), "ok");
    EXPECT_TRUE(w.was_said("send ws/c/node-1 cancel b#1 canceled"));
    w.disconnect(w.kNode);
    w.connect_in("small:1");
    EXPECT_EQ(w.status("b"), JobStatus::Canceled);
}

}  // namespace
}  // namespace turnout
