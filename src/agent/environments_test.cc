// Looking for the environments of attempts, without keeping the node from anything else.
#include "agent/environments.h"

#include <gtest/gtest.h>

#include <deque>

#include "agent/test_node.h"
#include "store/test_loop.h"

namespace turnout::agent {
namespace {

// Work apart from the loop waits until the test says so.
class HeldLoop : public TestLoop {
public:
    struct Apart {
        std::function<void()> work, done;
    };
    std::deque<Apart> apart;
    void blocking(std::function<void()> work, std::function<void()> done) override {
        apart.push_back({std::move(work), std::move(done)});
    }
    void finish_one() {
        auto first = std::move(apart.front());
        apart.pop_front();
        first.work();
        first.done();
    }
};

class EnvironmentsTest : public ::testing::Test {
protected:
    HeldLoop loop;
    FakeClock clock;
    AgentSettings settings;
    std::map<std::string, Result<void>> ended;  // by job
    int told = 0;
    std::optional<Environments> environments;

    void SetUp() override {
        settings.folder = settings.cache = "/nonexistent";
        settings.python = "/bin/sh";  // anything that can be run
        Environments::Events events;
        events.logged = [](const AttemptId&, std::uint64_t, std::string) {};
        events.done = [this](const WorkPtr& work, Result<void> result) {
            ended.emplace(work->id.job, std::move(result));
        };
        events.told = [this] { ++told; };
        environments.emplace(loop, clock, settings, std::move(events));
    }
    WorkPtr work(const std::string& job, const std::string& interpreter = "") {
        auto task = std::make_shared<TaskSpec>();
        task->environment.kind = agent_protocol::TaskEnvironment::Kind::UserManaged;
        task->environment.interpreter = interpreter;
        return std::make_shared<Work>(AttemptId{"ws", job, 1}, task, "/nonexistent/" + job);
    }
};

TEST_F(EnvironmentsTest, TheLoopDoesNotLookItselfAndLooksOnceForMany) {
    const WorkPtr first = work("first"), second = work("second");
    environments->prepare(first);
    environments->prepare(second);
    EXPECT_TRUE(ended.empty()) << "it was looked for on the loop";
    ASSERT_EQ(loop.apart.size(), 1u);
    loop.finish_one();
    ASSERT_EQ(ended.size(), 2u);
    EXPECT_TRUE(ended.at("first") && ended.at("second"));
    EXPECT_EQ(told, 1);
    EXPECT_EQ(first->prepared->interpreter, "/bin/sh");
    EXPECT_EQ(second->prepared->interpreter, "/bin/sh");
    // What was found a moment ago is there at once.
    environments->prepare(work("third"));
    EXPECT_TRUE(ended.at("third"));
    EXPECT_TRUE(loop.apart.empty());
}

TEST_F(EnvironmentsTest, WhatCannotBeHadIsSaidToWhoeverWantsIt) {
    environments->prepare(work("good"));
    environments->prepare(work("bad", "/no/such/python"));
    environments->prepare(work("as bad", "/no/such/python"));
    ASSERT_EQ(loop.apart.size(), 2u);
    loop.finish_one();
    loop.finish_one();
    EXPECT_TRUE(ended.at("good"));
    for (const char* job : {"bad", "as bad"}) {
        ASSERT_FALSE(ended.at(job));
        EXPECT_NE(ended.at(job).error().message.find("/no/such/python"), std::string::npos);
    }
    environments->prepare(work("as good"));
    EXPECT_TRUE(ended.at("as good")) << "a failure takes nobody else's";
}

TEST_F(EnvironmentsTest, NothingIsSaidOnceItIsOver) {
    environments->prepare(work("late"));
    environments.reset();
    loop.finish_one();
    EXPECT_TRUE(ended.empty());
}

}  // namespace
}  // namespace turnout::agent
