// The door of the nodes' agents: what a node may say, and of which attempts.
#include "control/agent_links.h"

#include "control/test_world.h"
#include "store/test_world.h"

namespace turnout {
namespace {

using namespace control_test;

// The other end of a link is the test.
class Wire final : public http::Stream {
public:
    struct End {
        std::string to_server, from_server;
        std::optional<Later<bool>::Settle> reader;
        bool closed = false;
        void wake() {
            if (auto settle = std::exchange(reader, std::nullopt)) (*settle)(true);
        }
    };
    explicit Wire(std::shared_ptr<End> end) : end_(std::move(end)) {}
    Task<Result<std::string>> read() override {
        if (end_->to_server.empty() && !end_->closed) {
            Later<bool> more;
            end_->reader = more.settle();
            co_await more;
        }
        co_return std::exchange(end_->to_server, {});
    }
    Task<Result<void>> write(std::string bytes) override {
        end_->from_server += bytes;
        co_return Result<void>();
    }
    void close() override {
        end_->closed = true;
        end_->wake();
    }

private:
    std::shared_ptr<End> end_;  // the test's
};

// What control says to a node goes over its link.
class OverLinks final : public Written {
public:
    void send(const NodeId& node, ap::ToAgent message) override { (*links)->send(node, message); }
    std::unique_ptr<AgentLinks>* links = nullptr;
};

class AgentLinksTest : public ::testing::Test {
protected:
    OverLinks effects;
    World world;
    ManualLoop loop;
    CountingRandom random;
    std::unique_ptr<Tracking> tracking;
    std::unique_ptr<AgentLinks> links;
    std::map<NodeId, std::shared_ptr<Wire::End>> ends;

    AgentLinksTest() {
        effects.links = &links;
        world.control =
            std::make_unique<Control>(world.clock, *world.store, effects, world.settings);
        EXPECT_TRUE(world.control->recover());
        tracking = std::make_unique<Tracking>(*world.store, world.clock, random, loop);
        links = std::make_unique<AgentLinks>(loop, *tracking);
        links->set_control(world.control.get());
        world.put(World::cluster("c", 0, 2));
        for (const char* job : {"mine", "theirs"}) world.submit(job, "c");
        for (const NodeId& node : {kOwn, kOther}) join(node);
    }
    ~AgentLinksTest() override {
        links.reset();
        settle();
    }
    void settle() {
        for (int i = 0; i < 20; ++i) {
            loop.settle();
            world.settle();
        }
    }
    void join(const NodeId& node, std::vector<ap::AttemptId> attempts = {}) {
        ends[node] = std::make_shared<Wire::End>();
        start(links->serve(node, std::make_unique<Wire>(ends[node])), [] {});
        ap::Hello hello;
        hello.node = node;
        hello.boot_id = "boot-1";
        hello.attempts = std::move(attempts);
        says(node, hello);
    }
    std::vector<std::string> says(const NodeId& node, const ap::ToServer& message) {
        Wire::End& end = *ends.at(node);
        end.from_server.clear();
        end.to_server += ap::encode(message);
        end.wake();
        settle();
        std::vector<std::string> answers;
        ap::FrameReader frames;
        frames.feed(end.from_server);
        for (;;) {
            const auto frame = frames.next();
            if (!frame || !*frame) return answers;
            if (const auto decoded = ap::decode_to_agent(**frame))
                answers.push_back(text(*decoded));
        }
    }
    std::uint64_t log_of(const std::string& job) {
        return tracking->log_length("ws", job, "user_logs/std_log.txt").value_or(999);
    }
    static ap::LogChunk chunk(std::string job, int number = 1) {
        return {World::attempt(std::move(job), number), "user_logs/std_log.txt", 0, "hello\n"};
    }

    const NodeId kOwn = "ws/c/node-1", kOther = "ws/c/node-2";
};

TEST_F(AgentLinksTest, ANodeWritesTheLogsOfItsOwnAttempts) {
    ASSERT_EQ(world.job("mine")->attempts.back().nodes(), Lines{"node-1"});
    EXPECT_EQ(says(kOwn, chunk("mine")), Lines{"log_ack mine#1"});
    EXPECT_EQ(log_of("mine"), 6u);
    // A job that is told to stop still has something to say.
    world.cancel("mine");
    settle();
    ap::LogChunk more = chunk("mine");
    more.offset = 6;
    EXPECT_EQ(says(kOwn, more), Lines{"log_ack mine#1"});
    EXPECT_EQ(log_of("mine"), 12u);
}

TEST_F(AgentLinksTest, ANodeWritesNobodyElsesLog) {
    for (const ap::LogChunk& forged : {chunk("theirs"), chunk("mine", 2), chunk("nobody's")})
        EXPECT_EQ(says(kOwn, forged), Lines{});
    ap::LogChunk elsewhere = chunk("theirs");
    elsewhere.id.workspace = "other";
    EXPECT_EQ(says(kOwn, elsewhere), Lines{});
    EXPECT_EQ(world.store->scan(Table::Log, with_prefix(""))->size(), 0u);
    // Nor does it end or move another's attempt.
    ap::EndReport end;
    end.id = World::attempt("theirs");
    says(kOwn, end);
    says(kOwn, ap::PhaseReport{end.id, ap::Phase::Running, "", {}, {}});
    EXPECT_EQ(world.status("theirs"), JobStatus::Preparing);
    // Its link stays, and so does what it may.
    EXPECT_TRUE(links->connected(kOwn));
    EXPECT_EQ(says(kOwn, chunk("mine")), Lines{"log_ack mine#1"});
    EXPECT_EQ(says(kOther, chunk("theirs")), Lines{"log_ack theirs#1"});
}

// Of a node that was away: its attempt was given to another one. It is not kept waiting for an
// answer.
TEST_F(AgentLinksTest, OfAnAttemptThatWasTakenFromItNothingIsWritten) {
    world.gone(kOwn);
    settle();
    ASSERT_FALSE(world.node(kOwn));
    says(kOther, [&] {
        ap::EndReport end;
        end.id = World::attempt("theirs");
        return end;
    }());
    ASSERT_EQ(world.job("mine")->attempts.back().number, 2);
    join(kOther, {World::attempt("mine", 1), World::attempt("mine", 2)});
    EXPECT_EQ(says(kOther, chunk("mine", 1)), Lines{"log_ack mine#1"});
    EXPECT_EQ(world.store->scan(Table::Log, with_prefix("ws/mine/000001/"))->size(), 0u);
    EXPECT_EQ(says(kOther, chunk("mine", 2)), Lines{"log_ack mine#2"});
    EXPECT_EQ(world.store->scan(Table::Log, with_prefix("ws/mine/000002/"))->size(), 1u);
}

TEST_F(AgentLinksTest, AnAgentOfTheVersionBeforeIsSpokenWith) {
    ap::Hello hello;
    ends[kOwn] = std::make_shared<Wire::End>();
    start(links->serve(kOwn, std::make_unique<Wire>(ends[kOwn])), [] {});
    hello.protocol = ap::kVersion - 1;
    hello.node = kOwn;
    hello.boot_id = "boot-1";
    hello.facts.cores = 12;
    hello.attempts = {World::attempt("mine")};
    const auto said = says(kOwn, hello);
    EXPECT_TRUE(std::ranges::any_of(
        said, [](const std::string& one) { return one.starts_with("welcome"); }));
    EXPECT_EQ(world.node(kOwn)->protocol, ap::kVersion - 1);
    EXPECT_EQ(world.node(kOwn)->facts.cores, 12);
    EXPECT_EQ(says(kOwn, chunk("mine")), Lines{"log_ack mine#1"});
}

TEST_F(AgentLinksTest, AnAgentOfAnotherVersionIsRefusedByASentence) {
    for (const int version : {ap::kOldestVersion - 1, ap::kVersion + 1}) {
        ends[kOwn] = std::make_shared<Wire::End>();
        start(links->serve(kOwn, std::make_unique<Wire>(ends[kOwn])), [] {});
        ap::Hello hello;
        hello.protocol = version;
        hello.node = kOwn;
        hello.build = "7.7";
        hello.attempts = {World::attempt("mine")};
        EXPECT_EQ(says(kOwn, hello), Lines{});
        EXPECT_FALSE(links->connected(kOwn));
        EXPECT_EQ(world.node(kOwn)->problem, ap::why_refused(version, "7.7", {}));
        EXPECT_FALSE(world.node(kOwn)->connected);
        EXPECT_EQ(world.status("mine"), JobStatus::Preparing) << "what it has goes on";
    }
    join(kOwn, {World::attempt("mine")});  // another agent took its place
    EXPECT_EQ(world.node(kOwn)->problem, "");
}

// After a new link the node has what it had.
TEST_F(AgentLinksTest, ANewLinkKnowsTheAttemptsOfTheOldOne) {
    join(kOwn, {World::attempt("mine")});
    EXPECT_EQ(says(kOwn, chunk("mine")), Lines{"log_ack mine#1"});
    EXPECT_EQ(says(kOwn, chunk("theirs")), Lines{});
    EXPECT_EQ(log_of("mine"), 6u);
}

}  // namespace
}  // namespace turnout
