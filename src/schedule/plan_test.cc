#include "schedule/plan.h"

#include <gtest/gtest.h>

namespace turnout::schedule {
namespace {

using Is = NodeView::Is;

ClusterView cluster(int min, int max, std::size_t waiting, std::vector<NodeView> nodes = {}) {
    ClusterView view;
    view.min_nodes = min;
    view.max_nodes = max;
    view.idle_before_scale_down = 120s;
    view.waiting_jobs = waiting;
    view.nodes = std::move(nodes);
    return view;
}

TEST(Plan, GetsAsManyNodesAsTheQueueCanUseUpToTheMaximum) {
    EXPECT_EQ(plan(cluster(0, 2, 1), 4, 0).provision, 1u);
    EXPECT_EQ(plan(cluster(0, 2, 5), 4, 0).provision, 2u);
    EXPECT_EQ(plan(cluster(0, 2, 0), 4, 0).provision, 0u);
}

TEST(Plan, NeverPromisesASlotThatIsNotFree) {
    const Plan result = plan(cluster(0, 8, 8), 3, 0);
    EXPECT_EQ(result.provision, 3u);
    EXPECT_EQ(result.lacking_slots, 5u);
}

TEST(Plan, KeepsTheMinimumWithoutAnyJob) {
    EXPECT_EQ(plan(cluster(2, 4, 0), 4, 0).provision, 2u);
    EXPECT_TRUE(plan(cluster(1, 4, 0, {{Is::Idle, 1h}}), 4, 5).release.empty());
}

TEST(Plan, CountsStartingNodesBeforeItAsksForMore) {
    EXPECT_EQ(plan(cluster(0, 4, 2, {{Is::Starting, {}}}), 4, 0).provision, 1u);
}

TEST(Plan, GivesWaitingJobsToIdleNodesInOrder) {
    const Plan result =
        plan(cluster(0, 3, 2, {{Is::Busy, {}}, {Is::Idle, 1s}, {Is::Idle, 1s}}), 0, 0);
    EXPECT_EQ(result.assign, (std::vector<std::size_t>{1, 2}));
    EXPECT_TRUE(result.release.empty());
}

TEST(Plan, LetsIdleNodesGoAfterTheIdleTimeAndSaysWhenTheNextIsDue) {
    const Plan result = plan(cluster(0, 3, 0, {{Is::Idle, 120s}, {Is::Idle, 20s}}), 0, 0);
    EXPECT_EQ(result.release, (std::vector<std::size_t>{0}));
    EXPECT_EQ(result.next_release, Span(100s));
}

TEST(Plan, LetsIdleNodesGoAtOnceWhenOthersWaitOrTheMaximumFell) {
    EXPECT_EQ(plan(cluster(0, 3, 0, {{Is::Idle, 1s}, {Is::Idle, 1s}}), 0, 1).release.size(), 1u);
    EXPECT_EQ(plan(cluster(0, 1, 0, {{Is::Idle, 1s}, {Is::Idle, 1s}}), 0, 0).release.size(), 1u);
    EXPECT_EQ(plan(cluster(0, 1, 0, {{Is::Busy, {}}, {Is::Idle, 1s}}), 0, 0).release.size(), 1u);
}

TEST(Plan, ALoweredMaximumBoundsWhatRunsToo) {
    const Plan result = plan(cluster(0, 1, 1, {{Is::Busy, {}}, {Is::Idle, 1s}}), 0, 0);
    EXPECT_TRUE(result.assign.empty());
    EXPECT_EQ(result.release, (std::vector<std::size_t>{1}));
}

TEST(Plan, AClusterBeingDeletedGetsNothingAndLetsAllIdleNodesGo) {
    ClusterView view = cluster(2, 4, 3, {{Is::Idle, 1s}, {Is::Busy, {}}});
    view.deleting = true;
    const Plan result = plan(view, 4, 0);
    EXPECT_TRUE(result.assign.empty());
    EXPECT_EQ(result.provision, 0u);
    EXPECT_EQ(result.release.size(), 1u);
}

TEST(Explain, NamesTheCause) {
    EXPECT_NE(explain(cluster(0, 1, 1, {{Is::Busy, {}}}), 1, 2, 0).find("all 1 nodes"),
              std::string::npos);
    EXPECT_NE(explain(cluster(0, 4, 1), 0, 2, 3).find("all 2 are in use; 3 jobs ahead"),
              std::string::npos);
    EXPECT_EQ(explain(cluster(0, 4, 1, {{Is::Starting, {}}}), 0, 2, 0), "a node is starting");
}

}  // namespace
}  // namespace turnout::schedule
