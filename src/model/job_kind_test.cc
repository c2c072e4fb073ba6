#include "model/job_kind.h"

#include <gtest/gtest.h>

namespace turnout {
namespace {

TEST(JobKind, IsFoundByTheNameThatItHasOnTheWire) {
    for (const JobKind& kind : kJobKinds) {
        EXPECT_EQ(&kind_of(kind.type), &kind);
        const Result<JobType> parsed = parse_job_type(kind.name);
        ASSERT_TRUE(parsed) << kind.name;
        EXPECT_EQ(*parsed, kind.type);
        EXPECT_EQ(find_job_kind(kind.name), &kind);
        EXPECT_EQ(kind.group, !kind.child.empty()) << "only groups have children";
    }
}

TEST(JobKind, ClientsMayWriteItInAnyCaseAndTheStoreMayNot) {
    const JobKind* sweep = find_job_kind("sweep");
    ASSERT_TRUE(sweep);
    EXPECT_EQ(sweep->name, "Sweep");
    EXPECT_TRUE(sweep->group);
    EXPECT_FALSE(find_job_kind("swee"));
    EXPECT_FALSE(find_job_kind(""));
    const Result<JobType> parsed = parse_job_type("sweep");
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().message,
              "'sweep' is no job type (one of Command, Sweep, Pipeline, AutoML)");
}

}  // namespace
}  // namespace turnout
