#include "api/instances/front.h"

#include <gtest/gtest.h>

#include "api/instances/test_door.h"

namespace turnout::api {
namespace {

TEST_F(InstanceDoor, ABrowserThatIsNotLoggedInIsSentToTheStudio) {
    EXPECT_EQ(ask(path + "lab", {}).status, 401);
    const Reply page = ask(path + "lab", {{"Accept", "text/html"}});
    EXPECT_EQ(page.status, 303);
    EXPECT_EQ(page.headers.get("location"), "https://localhost:8443/studio" + path);
    // A session that does not hold is none, and no reason to go round in circles.
    EXPECT_EQ(ask(path, {{"Accept", "text/html"}, {"Cookie", "__Host-turnout-session=x"}}).status,
              401);
    EXPECT_EQ(ask(path, {{"Cookie", "turnout-session=" + cookie.substr(23)}}).status, 401);
}

TEST_F(InstanceDoor, TheSessionOfTheStudioOpensIt) {
    const Reply waits = ask(path + "lab", {{"Accept", "text/html"}, {"Cookie", cookie}});
    EXPECT_EQ(waits.status, 503);
    EXPECT_NE(waits.text.find("not ready yet"), std::string::npos) << waits.text;
    // By a header: a page in a sandbox may not ask again by itself.
    EXPECT_EQ(waits.headers.get("Refresh"), "2");
    EXPECT_EQ(waits.text.find("http-equiv"), std::string::npos);
    EXPECT_EQ(ask(path.substr(0, path.size() - 1), {{"Cookie", cookie}}).headers.get("location"),
              path);
    EXPECT_EQ(ask(path + "api", {{"Authorization", bearer("admin")}}).status, 503);
}

// The cookie comes along whoever makes the browser ask.
TEST_F(InstanceDoor, PagesOfOthersDoNotAct) {
    for (const Headers& from :
         {Headers{{"Origin", "https://evil"}}, Headers{{"Origin", "https://localhost:8443"}},
          Headers{{"Origin", "http://localhost:9443"}}, Headers{{"Sec-Fetch-Site", "cross-site"}},
          Headers{{"Sec-Fetch-Site", "same-site"}}}) {
        Headers all = from;
        all.emplace_back("Cookie", cookie);
        EXPECT_EQ(ask(path + "api/contents", all).status, 403) << from[0].second;
        EXPECT_EQ(ask(path + "api/contents/x", all, "PUT").status, 403) << from[0].second;
    }
    EXPECT_EQ(ask(path + "api/contents/x", {{"Cookie", cookie}}, "PUT").status, 403)
        << "it does not say where it is from";
    const Headers own{{"Cookie", cookie}, {"Origin", "https://localhost:9443"}};
    EXPECT_EQ(ask(path + "api/contents/x", own, "PUT").status, 503);
    Headers socket = own;
    socket.emplace_back("Connection", "Upgrade");
    socket.emplace_back("Upgrade", "websocket");
    EXPECT_EQ(ask(path + "api/kernels/k/channels", socket).status, 503);
    socket[1].second = "https://evil";
    EXPECT_EQ(ask(path + "api/kernels/k/channels", socket).status, 403);
    socket.erase(socket.begin() + 1);
    EXPECT_EQ(ask(path + "api/kernels/k/channels", socket).status, 403) << "without an origin";
}

TEST_F(InstanceDoor, OnlyItsOwnUserIsAdmitted) {
    ASSERT_TRUE(world.wait(world.authority->people().add_user("eve", "", "admin")));
    ASSERT_TRUE(world.wait(world.authority->people().assign("eve", "Owner", {}, "admin")));
    EXPECT_EQ(ask(path + "api", {{"Authorization", bearer("eve")}}).status, 403);
    EXPECT_EQ(ask(path_of_instance(world.workspace.id, "nope"), {{"Authorization", bearer("eve")}})
                  .status,
              403)
        << "whether it is there is not told";
    Principal run{Principal::Kind::Run, "j", world.workspace.id, "j", 1};
    world.save(running_job(world.workspace.id));
    EXPECT_EQ(ask(path + "api", {{"Authorization", "Bearer " + world.token(run)}}).status, 403);
}

TEST_F(InstanceDoor, WhoAsksTooFastIsTold) {
    add_scientist("ann");
    access::Guard guard({.requests_a_second = 0.001, .burst = 0});
    world.services.guard = &guard;
    const Reply refused = ask(path + "api", {{"Authorization", bearer("ann")}});
    world.services.guard = nullptr;
    EXPECT_EQ(refused.status, 429) << refused.text;
    EXPECT_FALSE(refused.headers.get("Retry-After").empty());
}

TEST_F(InstanceDoor, WhoHasNoRoleThereAnyMoreIsNotAdmitted) {
    add_scientist("ann");
    ASSERT_EQ(put_for("ann", "hers").status, 201);
    const std::string hers = path_of_instance(world.workspace.id, "hers") + "api";
    EXPECT_EQ(ask(hers, {{"Authorization", bearer("ann")}}).status, 503);
    const auto assigned = *world.authority->people().assignments();
    for (const auto& one : assigned)
        if (one.user == "ann") {
            ASSERT_TRUE(world.wait(world.authority->people().remove_assignment(one.id)));
        }
    EXPECT_EQ(ask(hers, {{"Authorization", bearer("ann")}}).status, 403);
}

// A shell is a WebSocket: it stays open as long as whoever opened it may, and not longer.
TEST_F(InstanceDoor, WhoLosesTheirAccessLosesWhatIsOpen) {
    add_scientist("ann");
    ASSERT_EQ(put_for("ann", "hers").status, 201);
    becomes_ready("hers");
    bool closed = false;
    open("ann", &closed);
    pass(2 * kOpenIsAskedAgain + 1s);
    EXPECT_FALSE(closed);
    EXPECT_EQ(front.open_ways(), 1u);
    ASSERT_TRUE(world.wait(world.authority->people().set_disabled("ann", true)));
    pass(kOpenIsAskedAgain);
    EXPECT_TRUE(closed);
    EXPECT_TRUE(program->closed);
    EXPECT_EQ(front.open_ways(), 0u);
}

TEST_F(InstanceDoor, WhatLeadsNowhereAnyMoreIsClosed) {
    add_scientist("ann");
    ASSERT_EQ(put_for("ann", "hers").status, 201);
    becomes_ready("hers");
    bool closed = false;
    open("ann", &closed);
    ASSERT_EQ(send_as("ann", "POST", "/computes/hers/stop").status, 202);
    pass(1s);
    replica_ends("hers");
    pass(kOpenIsAskedAgain);
    EXPECT_TRUE(closed);
    EXPECT_EQ(front.open_ways(), 0u);
    EXPECT_EQ(state("hers"), "Stopped");
}

// The program need not answer somebody who has left.
TEST_F(InstanceDoor, AProgramIsToldThatItsClientLeft) {
    becomes_ready("ci");
    EXPECT_EQ(ask(path + "api", {{"Cookie", cookie}}).status, 200);
    EXPECT_EQ(program->stop, &client_left);
}

// As on Azure: not whoever may change computes alone, but whose it is.
TEST_F(InstanceDoor, ItsUserTurnsItOnAndOff) {
    add_scientist("ann");
    add_scientist("bob");
    ASSERT_EQ(put_for("ann", "hers").status, 201);
    becomes_ready("hers");
    for (const char* verb : {"stop", "start", "restart"}) {
        const std::string power = std::string("/computes/hers/") + verb;
        EXPECT_EQ(send_as("bob", "POST", power).status, 403) << verb;
        const Reply hers = send_as("ann", "POST", power);
        EXPECT_EQ(hers.status, 202) << hers.text;
        EXPECT_EQ(send_as("ann", "POST", std::string("/computes/ci/") + verb).status, 403);
        EXPECT_EQ(send_as("ann", "POST", std::string("/computes/nope/") + verb).status, 403);
        pass(1s);
    }
    EXPECT_EQ(send_as("ann", "DELETE", "/computes/hers?underlyingResourceAction=Delete").status,
              403);
    EXPECT_EQ(send_as("ann", "PUT", "/computes/hers").status, 403);
    const std::string reads = world.token({.kind = Principal::Kind::User,
                                           .name = "ann",
                                           .workspace = {},
                                           .job = {},
                                           .read_only = true});
    EXPECT_EQ(world.send_raw("POST", world.arm_path("/computes/hers/stop"), "", reads).status, 403);
    // It is told as what it is, whoever does it.
    const Reply audit = world.send_raw("GET", "/turnout/audit", "", world.user);
    EXPECT_NE(audit.text.find("/computes/hers/restart"), std::string::npos) << audit.text;
}

TEST_F(InstanceDoor, APathThatNamesNoneIsNotFound) {
    for (const char* bad : {"/", "/instances", "/instances/", "/instances/x", "/instances//ci/",
                            "/instances/../x/", "/instances/%2e%2e/ci/", "/studio/instances/x/y"})
        EXPECT_EQ(ask(bad, {{"Authorization", bearer("admin")}}).status, 404) << bad;
    EXPECT_EQ(ask("http://evil/instances/x/y/", {{"Authorization", bearer("admin")}}).status, 400);
}

TEST_F(InstanceDoor, ItsSchedulesAreReadWhenTheyAreSaid) {
    const auto cron = [](const char* text) {
        return Json::object(
            {{"schedules",
              Json::object(
                  {{"computeStartStop", Json::array({Json::object(
                                            {{"action", "stop"},
                                             {"status", "Enabled"},
                                             {"cron", Json::object({{"expression", text},
                                                                    {"timeZone", "UTC"}})}})})}})},
             {"vmSize", "STANDARD_DS3_v2"}});
    };
    const Reply good = put("ci", cron("0 18 * * *"));
    EXPECT_EQ(good.status, 200) << good.text;
    const Json& next = good.properties().at("properties").at("nextScheduledAction");
    EXPECT_EQ(next.at("action").as_string(), "stop");
    EXPECT_NE(next.at("time").as_string().find("T18:00:00"), std::string::npos) << next.dump();
    const Reply bad = put("ci", cron("0 25 * * *"));
    EXPECT_EQ(bad.status, 400);
    EXPECT_NE(bad.text.find("computeStartStop[0].cron"), std::string::npos) << bad.text;
}

}  // namespace
}  // namespace turnout::api
