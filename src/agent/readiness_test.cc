#include "agent/readiness.h"

#include <gtest/gtest.h>

namespace turnout::agent {
namespace {

agent_protocol::Probe some_probe() {
    agent_protocol::Probe probe;
    probe.initial_delay = 5s;
    probe.interval = 2s;
    probe.failures = 3;
    return probe;
}

TEST(Readiness, IsAskedAfterItsDelayAndAgainAfterEachAnswer) {
    Readiness readiness(some_probe(), 100s, true);
    EXPECT_EQ(readiness.next(), 105s);
    const auto first = readiness.ask();
    EXPECT_EQ(readiness.next(), Span::max()) << "one at a time";
    EXPECT_TRUE(readiness.answered(first, "connection refused", 106s));
    EXPECT_EQ(readiness.next(), 108s);
    EXPECT_FALSE(readiness.answered(first, "", 107s)) << "nobody asked";
    EXPECT_FALSE(readiness.ready());
    EXPECT_FALSE(readiness.answered(readiness.ask(), "connection refused", 110s))
        << "the same again is no news";
    const auto third = readiness.ask();
    EXPECT_FALSE(readiness.answered(first, "", 112s)) << "an answer to an earlier question";
    EXPECT_TRUE(readiness.answered(third, "", 112s));
    EXPECT_TRUE(readiness.ready());
    EXPECT_EQ(readiness.why(), "");
}

TEST(Readiness, IsLostAfterSeveralFailuresInARow) {
    Readiness readiness(some_probe(), 0s, true);
    EXPECT_TRUE(readiness.answered(readiness.ask(), "", 5s)) << "one good answer is enough";
    EXPECT_FALSE(readiness.answered(readiness.ask(), "slow", 7s));
    EXPECT_FALSE(readiness.answered(readiness.ask(), "slow", 9s));
    EXPECT_FALSE(readiness.answered(readiness.ask(), "", 11s));
    EXPECT_FALSE(readiness.answered(readiness.ask(), "slow", 13s));
    EXPECT_FALSE(readiness.answered(readiness.ask(), "slow", 15s));
    EXPECT_TRUE(readiness.ready());
    EXPECT_TRUE(readiness.answered(readiness.ask(), "refused", 17s));
    EXPECT_FALSE(readiness.ready());
    EXPECT_EQ(readiness.why(), "refused");
    EXPECT_TRUE(readiness.answered(readiness.ask(), "slow", 19s));
    EXPECT_EQ(readiness.why(), "slow");
    EXPECT_TRUE(readiness.answered(readiness.ask(), "", 21s));
    EXPECT_TRUE(readiness.ready());
}

TEST(Readiness, OfATaskThatAnEarlierAgentBeganIsUnknownAtFirst) {
    Readiness well(some_probe(), 0s, false);
    EXPECT_FALSE(well.known());
    EXPECT_TRUE(well.answered(well.ask(), "", 5s));
    EXPECT_TRUE(well.known() && well.ready());

    Readiness bad(some_probe(), 0s, false);
    EXPECT_FALSE(bad.answered(bad.ask(), "refused", 5s));
    EXPECT_FALSE(bad.answered(bad.ask(), "refused", 7s));
    EXPECT_FALSE(bad.known());
    EXPECT_TRUE(bad.answered(bad.ask(), "refused", 9s));
    EXPECT_TRUE(bad.known());
    EXPECT_FALSE(bad.ready());
}

}  // namespace
}  // namespace turnout::agent
