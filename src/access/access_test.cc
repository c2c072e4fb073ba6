#include "access/access.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "access/actions.h"

namespace turnout::access {
namespace {

const Role& role(std::string_view name) {
    for (const Role& one : built_in_roles())
        if (one.name == name) return one;
    ADD_FAILURE() << "no role " << name;
    return built_in_roles().front();
}

TEST(Access, WhatIsNotGivenIsDenied) {
    EXPECT_FALSE(may({}, {}, action::kReadJobs, {"w"}));
    EXPECT_FALSE(may_somewhere({}, {}, action::kReadJobs));
    const Grant nothing{&role("AzureML Compute Operator"), {"w"}};
    EXPECT_FALSE(may({&nothing, 1}, {}, action::kReadJobs, {"w"}));
    EXPECT_FALSE(may({&nothing, 1}, {}, "", {"w"}));
}

TEST(Access, AScopeHoldsWhatIsInIt) {
    const Scope server, w{"w"}, other{"v"}, c{"w", "c"}, d{"w", "d"};
    struct {
        Scope outer, inner;
        bool holds;
    } const table[] = {{server, server, true},
                       {server, w, true},
                       {server, c, true},
                       {w, server, false},
                       {w, w, true},
                       {w, other, false},
                       {w, c, true},
                       {c, w, false},
                       {c, server, false},
                       {c, c, true},
                       {c, d, false},
                       {c, Scope{"w", "C"}, true},
                       {c, Scope{"v", "c"}, false}};
    for (const auto& row : table)
        EXPECT_EQ(row.outer.contains(row.inner), row.holds)
            << row.outer.workspace << "/" << row.outer.compute << " and " << row.inner.workspace
            << "/" << row.inner.compute;
}

TEST(Access, RolesDoWhatTheirNameSays) {
    struct {
        std::string_view role, action;
        bool allowed;
    } const table[] = {
        {"Owner", action::kWriteAssignments, true},
        {"Owner", "Turnout/unlisted/action", true},
        {"Contributor", action::kWriteJobs, true},
        {"Contributor", action::kReadAssignments, true},
        {"Contributor", action::kWriteAssignments, false},
        {"Contributor", action::kWriteRoles, false},
        {"Contributor", action::kWriteUsers, false},
        {"Contributor", action::kWriteTokens, false},
        {"Contributor", action::kDeleteTokens, false},
        {"Contributor", action::kWriteQuotas, false},
        {"Contributor", action::kWritePools, true},
        {"Contributor", action::kDescribePools, false},
        {"Reader", action::kReadQuotas, true},
        {"AzureML Data Scientist", action::kWriteQuotas, false},
        {"Reader", action::kReadJobs, true},
        {"Reader", "MICROSOFT.machinelearningservices/workspaces/jobs/READ", true},
        {"Reader", action::kListDatastoreSecrets, false},
        {"Reader", action::kWriteJobs, false},
        {"Reader", "Turnout/unlisted/action", false},
        {"AzureML Data Scientist", action::kWriteJobs, true},
        {"AzureML Data Scientist", action::kCancelJobs, true},
        {"AzureML Data Scientist", action::kReadComputes, true},
        {"AzureML Data Scientist", action::kWriteComputes, false},
        {"AzureML Data Scientist", action::kDeleteComputes, false},
        {"AzureML Data Scientist", action::kWriteWorkspace, false},
        {"AzureML Data Scientist", action::kDeleteWorkspace, false},
        {"AzureML Data Scientist", action::kListWorkspaceKeys, false},
        {"AzureML Data Scientist", action::kReadSecrets, true},
        {"AzureML Data Scientist", action::kUseSecrets, true},
        {"AzureML Data Scientist", action::kWriteSecrets, false},
        {"AzureML Data Scientist", action::kDeleteSecrets, false},
        {"AzureML Data Scientist", action::kWriteAssignments, false},
        {"AzureML Data Scientist", action::kReadUsers, false},
        {"AzureML Compute Operator", action::kWriteComputes, true},
        {"AzureML Compute Operator", action::kDeleteComputes, true},
        {"AzureML Compute Operator", action::kReadWorkspace, true},
        {"AzureML Compute Operator", action::kReadJobs, false},
        {"AzureML Compute Operator", action::kWriteWorkspace, false},
    };
    for (const auto& row : table)
        EXPECT_EQ(role(row.role).allows(row.action), row.allowed) << row.role << ": " << row.action;
}

// A token is never worth more than who has it, and less where it says so.
TEST(Access, ATokensLimitsTakeAwayOnly) {
    const Grant owner{&role("Owner"), {}}, reader{&role("Reader"), {"w"}};
    const Limits reads_only{"", true}, in_w{"w", false}, both{"w", true};
    EXPECT_TRUE(may({&owner, 1}, reads_only, action::kReadJobs, {"v"}));
    EXPECT_FALSE(may({&owner, 1}, reads_only, action::kWriteJobs, {"v"}));
    EXPECT_TRUE(may({&owner, 1}, in_w, action::kWriteJobs, {"w"}));
    EXPECT_TRUE(may({&owner, 1}, in_w, action::kWriteComputes, {"w", "c"}));
    EXPECT_FALSE(may({&owner, 1}, in_w, action::kReadJobs, {"v"}));
    EXPECT_FALSE(may({&owner, 1}, in_w, action::kReadServer, {}));
    EXPECT_FALSE(may({&owner, 1}, both, action::kWriteJobs, {"w"}));
    EXPECT_FALSE(may({&reader, 1}, in_w, action::kWriteJobs, {"w"}));
    EXPECT_TRUE(may_somewhere({&owner, 1}, in_w, action::kReadWorkspace));
    EXPECT_FALSE(may_somewhere({&owner, 1}, reads_only, action::kWriteWorkspace));
    EXPECT_FALSE(may_somewhere({&reader, 1}, Limits{"v", false}, action::kReadWorkspace));
}

TEST(Access, PatternsOfCustomRoles) {
    Role custom{"Canceler", "", {"*/jobs/*"}, {"*/jobs/delete"}};
    EXPECT_TRUE(check_role(custom));
    EXPECT_TRUE(custom.allows(action::kCancelJobs));
    EXPECT_FALSE(custom.allows(action::kDeleteJobs));
    EXPECT_FALSE(custom.allows(action::kReadRuns));
    for (const char* nothing : {"*/jobz/*", "", "jobs/read", "*read*x"}) {
        custom.actions = {nothing};
        const auto refused = check_role(custom);
        ASSERT_FALSE(refused) << nothing;
        EXPECT_EQ(refused.error().subject, "actions");
    }
    custom.actions = {};
    EXPECT_FALSE(check_role(custom));
    for (const char* name : {"", "a/b", "owner", "azureml data scientist"})
        EXPECT_FALSE(check_role({name, "", {"*/read"}})) << name;
    // Many '*' do not make it slow: a second would be 10^12 steps.
    const std::string hard(200, '*');
    EXPECT_FALSE(Role({"x", "", {hard + "z"}}).allows(std::string(2000, 'a')));
}

TEST(Access, EveryActionIsKnownOnce) {
    for (const std::string_view action : known_actions()) {
        EXPECT_TRUE(is_known(action));
        EXPECT_EQ(std::ranges::count(known_actions(), action), 1) << action;
        const std::size_t slash = action.rfind('/');
        const std::string_view verb = action.substr(slash + 1);
        EXPECT_TRUE(verb == "read" || verb == "write" || verb == "delete" || verb == "action")
            << action;
    }
}

}  // namespace
}  // namespace turnout::access
