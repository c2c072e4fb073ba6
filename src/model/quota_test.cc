#include "model/quota.h"

#include <gtest/gtest.h>

namespace turnout {
namespace {

Result<Quota> after(const Quota& quota, std::string_view json) {
    return changed(quota, parse_json(json).value());
}

TEST(Quota, ADocumentChangesWhatItNames) {
    const Quota before{.slots = 2, .running = 3};
    EXPECT_EQ(after(before, R"({"runningJobs":5})"), (Quota{.slots = 2, .running = 5}));
    EXPECT_EQ(after(before, R"({"slots":null,"queuedJobs":0})"),
              (Quota{.running = 3, .queued = 0}));
    EXPECT_EQ(after(before, R"({"storedBytes":"unlimited"})"),
              (Quota{.slots = 2, .running = 3, .stored = kUnlimited}));
}

TEST(Quota, WhatIsNoLimitIsRefusedByNameValueAndWhatWasExpected) {
    for (const char* value : {"-1", "1.5", "\"many\"", "true", "[]", "1000000001"}) {
        const auto refused = after({}, R"({"slots":)" + std::string(value) + "}");
        ASSERT_FALSE(refused) << value;
        EXPECT_EQ(refused.error().code, Code::InvalidArgument);
        EXPECT_EQ(refused.error().subject, "slots");
        EXPECT_NE(refused.error().message.find(value), std::string::npos);
        EXPECT_NE(refused.error().message.find("expected a whole number"), std::string::npos);
    }
    EXPECT_TRUE(after({}, R"({"storedBytes":5000000000000})"));
}

TEST(Quota, WhatIsWrittenIsReadAgain) {
    const Quota quota{.slots = 4, .running = kUnlimited, .stored = 123};
    EXPECT_EQ(changed({}, to_json(quota)), quota);
    EXPECT_EQ(to_json(Quota{}).dump(), "{}");
}

TEST(Quota, WhatIsNotSaidIsAsForEveryUser) {
    const Quota every{.slots = 1, .running = 2, .queued = 3};
    EXPECT_EQ(holding({.running = 9, .queued = kUnlimited}, every),
              (Quota{.slots = 1, .running = 9, .queued = kUnlimited}));
}

TEST(Quota, ARefusalSaysWhichWhoseHowMuchAndWhoCanRaiseIt) {
    const Error error = over_quota({QuotaOwner::Is::Workspace, "id", "blue"}, kQuotaFields[3],
                                   3 << 20, 4 << 20, 2 << 20)
                            .error();
    EXPECT_EQ(error.code, Code::FailedPrecondition);
    EXPECT_EQ(error.reason, "QuotaExceeded");
    EXPECT_EQ(
        error.message,
        "workspace blue has 3.0 MiB of 4.0 MiB stored, and this asks for 2.0 MiB more: remove "
        "what is not needed, or ask an Owner of the server for a larger quota (`turnout quota set "
        "-w blue --stored N`)");
}

}  // namespace
}  // namespace turnout
