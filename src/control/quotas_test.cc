#include "control/quotas.h"

#include "control/test_world.h"

namespace turnout::control_test {
namespace {

using Is = QuotaOwner::Is;
const QuotaOwner kAda{Is::User, "ada", ""}, kBob{Is::User, "bob", ""}, kEverybody{},
    kHere{Is::Workspace, "ws", "blue"};

struct Shared : testing::Test {
    World w{8};

    std::string set(const QuotaOwner& owner, Quota quota) {
        std::string answer = "no answer";
        w.control->change_quota(
            owner, [&](const Quota&) { return Result<Quota>(quota); },
            [&](Result<void> r) { answer = World::said_ok(r); });
        w.settle();
        return answer;
    }
    std::string submit(const std::string& user, const std::string& name, int nodes = 1) {
        JobSubmission job = World::gang(name, "c", nodes);
        job.principal = user;
        std::string answer = "no answer";
        w.control->submit(std::move(job), [&](Result<Put> r) {
            answer = World::said_put(r);
            if (!r) refusal = r.error();
        });
        w.settle();
        return answer;
    }
    void nodes(int count) {
        w.put(World::cluster("c", count, count));
        for (int i = 1; i <= count; ++i) w.connect("ws/c/node-" + std::to_string(i));
    }
    bool is_on_a_node(const std::string& name) { return w.status(name) == JobStatus::Preparing; }
    NodeId node_of(const std::string& name) {
        return "ws/c/" + w.job(name)->current()->nodes().front();
    }
    schedule::AccountUse use_of(const QuotaOwner& owner) {
        for (const Control::QuotaView& view : w.control->quotas())
            if (view.owner.is == owner.is && view.owner.id == owner.id) return view.use;
        return {};
    }
    Error refusal;
};

TEST_F(Shared, WhoHasAllThatTheyMayWaitsAndIsToldWhy) {
    nodes(4);
    EXPECT_EQ(set(kAda, {.running = 1}), "ok");
    submit("ada", "a1");
    submit("ada", "a2");
    submit("bob", "b1");
    EXPECT_TRUE(is_on_a_node("a1"));
    EXPECT_FALSE(is_on_a_node("a2"));
    EXPECT_TRUE(is_on_a_node("b1"));
    EXPECT_EQ(w.control->waiting_for("ws", "a2"),
              "waits for your quota: 1 of 1 running jobs of user ada");
    const auto why = w.control->explain("ws", "a2");
    ASSERT_TRUE(why);
    EXPECT_EQ(why->waiting.what, schedule::Waiting::For::Allowance);
    EXPECT_EQ(why->would_start,
              (Lines{"the end of a running job of user ada",
                     "a larger quota, from an Owner of the server: `turnout quota set --user ada "
                     "--running N --slots N`"}));
    w.ends(node_of("a1"), "a1");
    EXPECT_TRUE(is_on_a_node("a2"));
    submit("ada", "a3");
    EXPECT_FALSE(is_on_a_node("a3"));
    EXPECT_EQ(set(kAda, {.running = 2}), "ok");  // at once
    EXPECT_TRUE(is_on_a_node("a3"));
}

TEST_F(Shared, QuotasAndWhatIsInUseAreThereAfterARestart) {
    nodes(4);
    set(kAda, {.running = 1});
    set(kEverybody, {.running = 3, .queued = 7});
    set(kHere, {.slots = 3});
    submit("ada", "a1");
    submit("ada", "a2");
    const NodeId has_it = node_of("a1");
    w.restart();
    for (int i = 1; i <= 4; ++i) {
        const NodeId node = "ws/c/node-" + std::to_string(i);
        if (node == has_it)
            w.connect(node, {World::attempt("a1")});
        else
            w.connect(node);
    }
    EXPECT_EQ(use_of(kAda).jobs, 1);
    EXPECT_EQ(use_of(kAda).waiting, 1u);
    EXPECT_EQ(use_of(kHere).slots, 1);
    EXPECT_EQ(w.control->quota(kAda).holds, (Quota{.running = 1, .queued = 7}));
    EXPECT_EQ(w.control->quota(kBob).holds, (Quota{.running = 3, .queued = 7}));
    EXPECT_EQ(w.control->quotas().back().owner, kHere);
    EXPECT_FALSE(is_on_a_node("a2"));
    // One that is taken away is gone for good.
    EXPECT_EQ(set(kAda, {}), "ok");
    EXPECT_TRUE(is_on_a_node("a2"));
    w.restart();
    EXPECT_EQ(w.control->quota(kAda).holds, (Quota{.running = 3, .queued = 7}));
}

TEST_F(Shared, WhatHoldsForEveryUserDoesUnlessTheirOwnSaysOtherwise) {
    nodes(6);
    set(kEverybody, {.running = 1});
    set(kBob, {.running = kUnlimited});
    for (const char* job : {"1", "2"})
        for (const char* user : {"ada", "bob", "eve"}) submit(user, user + std::string(job));
    EXPECT_TRUE(is_on_a_node("ada1") && is_on_a_node("bob1") && is_on_a_node("eve1"));
    EXPECT_TRUE(is_on_a_node("bob2"));
    EXPECT_FALSE(is_on_a_node("ada2"));
    EXPECT_FALSE(is_on_a_node("eve2"));
    set(kEverybody, {.running = 2});
    EXPECT_TRUE(is_on_a_node("ada2") && is_on_a_node("eve2"));
}

TEST_F(Shared, MoreThanMayWaitIsRefusedAndTheSameJobAgainIsNot) {
    nodes(1);
    set(kAda, {.queued = 2});
    for (const char* job : {"a1", "a2", "a3"}) EXPECT_EQ(submit("ada", job), "created") << job;
    EXPECT_EQ(submit("ada", "a4"), "QuotaExceeded");
    EXPECT_EQ(refusal.code, Code::FailedPrecondition);
    EXPECT_EQ(refusal.message,
              "user ada has 2 of 2 queued jobs, and this asks for 1 more: wait until some have "
              "begun, or ask an Owner of the server for a larger quota (`turnout quota set --user "
              "ada --queued N`)");
    EXPECT_EQ(submit("ada", "a3"), "unchanged");
    EXPECT_EQ(submit("bob", "b1"), "created");
    EXPECT_FALSE(w.job("a4"));
    w.cancel("a2");
    EXPECT_EQ(submit("ada", "a4"), "created");
    set(kHere, {.queued = 1});
    EXPECT_EQ(submit("bob", "b2"), "QuotaExceeded");
    EXPECT_NE(refusal.message.find("workspace blue has 3 of 1 queued jobs"), std::string::npos)
        << refusal.message;
}

TEST_F(Shared, AWorkspacesQuotaHoldsForAllWhoAreInIt) {
    nodes(4);
    set(kHere, {.slots = 2});
    submit("ada", "a1");
    submit("bob", "b1");
    submit("eve", "e1");
    EXPECT_FALSE(is_on_a_node("e1"));
    EXPECT_EQ(w.control->waiting_for("ws", "e1"),
              "waits for its workspace's quota: 2 of 2 slots of workspace blue");
    w.ends(node_of("a1"), "a1");
    EXPECT_TRUE(is_on_a_node("e1"));
}

TEST_F(Shared, SlotsAreThoseOfAllNodesOfAJob) {
    nodes(6);
    set(kAda, {.slots = 3});
    submit("ada", "wide", 3);
    EXPECT_TRUE(is_on_a_node("wide"));
    submit("ada", "more");
    EXPECT_EQ(w.control->waiting_for("ws", "more"),
              "waits for your quota: 3 of 3 slots of user ada");
    submit("ada", "wider", 4);
    EXPECT_EQ(w.control->waiting_for("ws", "wider"),
              "needs 4 slots at once, but user ada may have 3 (quota)");
    const auto why = w.control->explain("ws", "wider");
    ASSERT_TRUE(why);
    EXPECT_EQ(why->would_start.size(), 1u);
}

// A refused change leaves what was, and a failed commit too.
TEST_F(Shared, AChangeThatIsRefusedOrLostNeverWas) {
    nodes(1);
    set(kAda, {.running = 1});
    std::string answer;
    w.control->change_quota(
        kAda, [](const Quota&) { return Result<Quota>(invalid("no", "slots")); },
        [&](Result<void> r) { answer = World::said_ok(r); });
    w.settle();
    EXPECT_EQ(answer, "InvalidArgument");
    EXPECT_EQ(w.control->quota(kAda).holds, (Quota{.running = 1}));
    w.store->fail_next({Code::Unavailable, "IoError", "the disk", ""});
    EXPECT_EQ(set(kAda, {.running = 9}), "IoError");
    EXPECT_EQ(w.control->quota(kAda).holds, (Quota{.running = 1}));
}

}  // namespace
}  // namespace turnout::control_test
