#include "model/job.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace turnout {
namespace {

JobState with(Placement placement) {
    JobState state;
    state.status = JobStatus::Running;
    JobAttempt attempt;
    attempt.number = state.last_attempt = 1;
    attempt.placement = std::move(placement);
    attempt.leased = Instant{5};
    state.attempts.push_back(std::move(attempt));
    return state;
}

Result<JobState> state_in(std::string_view row) {
    const Json json = TURNOUT_TRY(parse_json(row));
    return job_state_from_json(json);
}

TEST(JobPlacement, IsStoredAndReadWhereverItIs) {
    const OnEngine livy{"livy", Json::object({{"batch", 7}}), "http://spark:8998/batches/7"};
    for (const Placement& placement :
         {Placement(OnNodes{{"node-1"}}), Placement(OnNodes{{"node-1", "node-2"}}), Placement(livy),
          Placement(OnEngine{"jobs", "run-1", ""})}) {
        const std::string row = state_text(with(placement));
        const Result<JobState> state = state_in(row);
        ASSERT_TRUE(state) << row;
        EXPECT_EQ(state->attempts[0].placement, placement) << row;
        EXPECT_EQ(state_text(*state), row);
    }
    EXPECT_EQ(words_of(livy), "engine livy");
    EXPECT_EQ(words_of(OnNodes{{"node-1", "node-2"}}), "node-1, node-2");
}

TEST(JobPlacement, RowsOfEarlierBuildsAreOnNodes) {
    const auto one =
        state_in(R"({"status":"Running","attempts":[{"number":1,"node":"node-4","leased":5}]})");
    ASSERT_TRUE(one);
    EXPECT_EQ(one->attempts[0].nodes(), (std::vector<std::string>{"node-4"}));
    const auto several = state_in(
        R"({"status":"Running","attempts":[{"number":1,"nodes":["a","b"],"endedRanks":[1],"leased":5}]})");
    ASSERT_TRUE(several);
    EXPECT_EQ(several->attempts[0].nodes(), (std::vector<std::string>{"a", "b"}));
    EXPECT_FALSE(state_in(R"({"status":"Running","attempts":[{"number":1,"leased":5}]})"));
    EXPECT_FALSE(
        state_in(R"({"status":"Running","attempts":[{"number":1,"engine":{},"leased":5}]})"));
}

}  // namespace
}  // namespace turnout
