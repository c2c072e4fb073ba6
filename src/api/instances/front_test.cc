#include "api/instances/front.h"

#include <gtest/gtest.h>

#include "api/instances/keeper.h"
#include "api/test_world.h"

namespace turnout::api {
namespace {

class InstanceDoor : public ::testing::Test {
protected:
    InstanceDoor() {
        world.services.info.programs_tls_port = "9443";
        world.services.info.programs_plain_port = "9080";
        Json properties = Json::object({{"vmSize", "STANDARD_DS3_v2"}});
        const Reply made = put("ci", std::move(properties));
        EXPECT_EQ(made.status, 201) << made.text;
        path = path_of_instance(world.workspace.id, "ci");
        NewApiKey wanted;
        wanted.user = "admin";
        wanted.origin = "https://localhost:8443";
        cookie = "__Host-turnout-session=" +
                 world.wait(world.authority->create_session(wanted))->secret.reveal();
    }
    ~InstanceDoor() override {  // what sees to it ends with it
        EXPECT_EQ(world.send("DELETE", "/computes/ci?underlyingResourceAction=Delete").status, 202);
        for (int i = 0; i < 100; ++i) world.loop.pass(50ms);
    }
    Reply put(const std::string& name, Json properties) {
        return world.send(
            "PUT", "/computes/" + name,
            Json::object({{"location", "westus"},
                          {"properties", Json::object({{"computeType", "ComputeInstance"},
                                                       {"properties", std::move(properties)}})}}));
    }
    using Headers = std::vector<std::pair<std::string, std::string>>;
    Reply ask(const std::string& target, Headers headers, std::string method = "GET") {
        http::Request request;
        TextBody body("");
        request.method = std::move(method);
        request.target = request.path = target;
        request.peer = {
            .carrier = http::Carrier::Tls, .loopback = true, .address = "127.0.0.1:5000"};
        request.headers.set("Host", "localhost:9443");
        for (auto& [name, value] : headers) request.headers.set(name, value);
        const http::Response response = world.wait(front.handle(request, body));
        Reply reply;
        reply.status = response.status;
        reply.headers = response.headers;
        reply.text = response.body;
        if (auto parsed = parse_json(response.body)) reply.json = std::move(*parsed);
        return reply;
    }
    std::string bearer(const std::string& user) {
        return "Bearer " + world.token({Principal::Kind::User, user, "", "", 0});
    }

    World world;
    Front front{world.services};
    std::string path, cookie;
};

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

TEST(InstanceKeeper, AKernelThatComputesIsNotIdle) {
    const Instant now = *parse_iso8601("2026-11-30T12:00:00Z");
    const auto parse = [](const char* text) { return *parse_json(text); };
    const Json none = Json::array();
    EXPECT_EQ(last_activity(none, none, now), std::nullopt);
    const Json idle = parse(
        R"([{"last_activity":"2026-11-30T10:00:00.5Z","execution_state":"idle"},
            {"last_activity":"2026-11-30T11:00:00Z","execution_state":"idle"}])");
    EXPECT_EQ(last_activity(idle, none, now), *parse_iso8601("2026-11-30T11:00:00Z"));
    EXPECT_EQ(
        last_activity(idle, parse(R"([{"name":"1","last_activity":"2026-11-30T11:30:00Z"}])"), now),
        *parse_iso8601("2026-11-30T11:30:00Z"));
    EXPECT_EQ(last_activity(
                  parse(R"([{"last_activity":"2026-11-30T10:00:00Z","execution_state":"busy"}])"),
                  none, now),
              now);
}

}  // namespace
}  // namespace turnout::api
