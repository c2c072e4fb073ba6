// Events over the API: pages, filters, and waiting for the next one.
#include <gtest/gtest.h>

#include "api/test_world.h"

namespace turnout::api {
namespace {

class Events : public ::testing::Test {
protected:
    Events() {
        world.put_blob(code_container(world.workspace.id, "0123"), "src/train.py", "print()");
        make_compute("one");
        make_compute("two");
    }
    void make_compute(const std::string& name) {
        const Json scale = Json::object({{"maxNodeCount", 1}});
        const Json inner = Json::object({{"vmSize", "STANDARD_DS2_V2"}, {"scaleSettings", scale}});
        const Json properties =
            Json::object({{"computeType", "AmlCompute"}, {"properties", inner}});
        ASSERT_EQ(world.send("PUT", "/computes/" + name, Json::object({{"properties", properties}}))
                      .status,
                  201);
    }
    void submit(const std::string& name, const std::string& compute) {
        const Json properties = Json::object(
            {{"jobType", "Command"},
             {"command", "true"},
             {"environmentId", "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest"},
             {"computeId", world.workspace_path() + "/computes/" + compute}});
        const Reply reply =
            world.send("PUT", "/jobs/" + name, Json::object({{"properties", properties}}));
        ASSERT_EQ(reply.status, 201) << reply.text;
    }
    // "job j submitted", one a line.
    static std::string lines(const Json& page) {
        std::string all;
        for (const Json& event : page.at("value").items())
            all += event.at("kind").as_string() + " " + event.at("name").as_string() + " " +
                   event.at("what").as_string() + "\n";
        return all;
    }
    Json get(const std::string& query) {
        const Reply reply = world.send("GET", "/events" + query);
        EXPECT_EQ(reply.status, 200) << reply.text;
        return reply.json;
    }

    http::Request following(const std::string& query) const {
        http::Request request;
        request.method = "GET";
        request.path = world.workspace_path() + "/events";
        request.query = "api-version=2024-01-01&" + query;
        request.target = request.path + "?" + request.query;
        request.peer = {
            .carrier = http::Carrier::Tls, .loopback = true, .address = "127.0.0.1:5000"};
        request.headers.set("Host", "localhost:8443");
        request.headers.set("Authorization", "Bearer " + world.user);
        return request;
    }

    World world;
};

TEST_F(Events, AJobsOwnAreFoundWhereTheClockWasSet) {
    submit("a", "one");
    world.loop.set_wall_clock(-1h);
    for (const char* name : {"b", "c", "d", "e", "f"}) submit(name, "two");
    world.loop.set_wall_clock(10min);
    submit("g", "two");
    EXPECT_EQ(lines(get("?job=a")), "job a submitted\n");
    EXPECT_EQ(lines(get("?job=c")), "job c submitted\n");
    EXPECT_EQ(lines(get("?job=g")), "job g submitted\n");
}

TEST_F(Events, FiltersAndPages) {
    submit("a", "one");
    submit("b", "two");
    EXPECT_EQ(lines(get("")),
              "compute one created\ncompute two created\njob a submitted\nnode node-1 "
              "requested\njob b submitted\nnode node-2 requested\n");
    EXPECT_EQ(lines(get("?limit=1")), "node node-2 requested\n") << "the newest";
    EXPECT_EQ(lines(get("?compute=two")),
              "compute two created\njob b submitted\nnode node-2 requested\n");
    EXPECT_EQ(lines(get("?kind=node")), "node node-1 requested\nnode node-2 requested\n");
    EXPECT_EQ(lines(get("?job=a")), "job a submitted\n");
    EXPECT_EQ(lines(get("?job=nobody")), "");

    std::string all, after = "0.0";
    for (int i = 0; i < 10; ++i) {
        const Json page = get("?limit=2&after=" + after);
        all += lines(page);
        after = page.at("next").as_string();
        if (!page.at("more").as_bool()) break;
    }
    EXPECT_EQ(all, lines(get(""))) << "pages end to end are the whole";
    EXPECT_EQ(lines(get("?after=" + after)), "");
}

TEST_F(Events, AnotherWorkspaceSeesNothingOfIt) {
    submit("a", "one");
    world.workspace = world.make_workspace("other");
    EXPECT_EQ(lines(get("")), "");
    EXPECT_EQ(lines(get("?job=a")), "");
}

TEST_F(Events, RefusesWhatItDoesNotUnderstand) {
    for (const std::string query :
         {"?after=x", "?after=1", "?after=1.x", "?limit=0", "?wait=-1", "?wait=soon", "?kind=pool"})
        EXPECT_EQ(world.send("GET", "/events" + query).status, 400) << query;
    EXPECT_EQ(
        world.send_raw("GET", world.workspace_path() + "/events?api-version=2024-01-01", "", "")
            .status,
        401);
}

TEST_F(Events, AFollowerIsWokenByTheCommit) {
    const std::string next = get("").at("next").as_string();
    http::Request request = following("wait=30&job=a&after=" + next);
    TextBody body("");
    auto answer = begin(world.router.handle(world.services, request, body));
    world.loop.pass(5s);
    EXPECT_FALSE(answer.done());
    submit("other", "one");  // not what it waits for
    world.loop.pass(5s);
    EXPECT_FALSE(answer.done());
    submit("a", "one");
    world.loop.pass(1s);
    ASSERT_TRUE(answer.done());
    EXPECT_EQ(lines(*parse_json((*answer).body)), "job a submitted\n");

    auto nothing = begin(world.router.handle(world.services, request, body));
    EXPECT_TRUE(nothing.done()) << "what is there already is not waited for";
    request = following("wait=30&job=never&after=" + next);
    auto never = begin(world.router.handle(world.services, request, body));
    world.loop.pass(29s);
    EXPECT_FALSE(never.done());
    world.loop.pass(2s);
    ASSERT_TRUE(never.done());
    EXPECT_EQ(lines(*parse_json((*never).body)), "");
}

TEST_F(Events, AFollowerThatLeavesMakesRoom) {
    TestStop client;
    http::Request request = following("wait=30&after=" + get("").at("next").as_string());
    request.stop = &client;
    TextBody body("");
    auto answer = begin(world.router.handle(world.services, request, body));
    world.loop.pass(1s);
    EXPECT_FALSE(answer.done());
    client.stop();
    EXPECT_TRUE(answer.done());
    EXPECT_FALSE(client.watched());
}

TEST_F(Events, TwoHundredMayWaitAndOneMoreIsAnsweredAtOnce) {
    const http::Request request = following("wait=30&after=" + get("").at("next").as_string());
    TextBody body("");
    std::vector<decltype(begin(world.router.handle(world.services, request, body)))> answers;
    for (int i = 0; i < 200; ++i)
        answers.push_back(begin(world.router.handle(world.services, request, body)));
    for (const auto& answer : answers) EXPECT_FALSE(answer.done());
    auto one_more = begin(world.router.handle(world.services, request, body));
    ASSERT_TRUE(one_more.done());
    EXPECT_EQ((*one_more).status, 200);
    EXPECT_EQ(lines(*parse_json((*one_more).body)), "");
    world.loop.pass(31s);
    for (const auto& answer : answers) EXPECT_TRUE(answer.done());
}

TEST_F(Events, OfAJobAreOnlyThoseOfKindJob) {
    submit("a", "one");
    EXPECT_EQ(lines(get("?job=a&kind=job")), "job a submitted\n");
    EXPECT_EQ(lines(get("?job=a&kind=node")), "");
}

// More rows than are read before others have their turn.
TEST_F(Events, ManyAreReadInParts) {
    std::string expected;
    for (int i = 0; i < 600; ++i) {
        const std::string name = "c" + std::to_string(i);
        make_compute(name);
        expected += "compute " + name + " created\n";
    }
    submit("last", "two");
    EXPECT_EQ(lines(get("?job=last")), "job last submitted\n");
    EXPECT_EQ(lines(get("?compute=one")), "compute one created\n");
    EXPECT_EQ(lines(get("?kind=compute&limit=1000&after=0.0")),
              "compute one created\ncompute two created\n" + expected);
}

}  // namespace
}  // namespace turnout::api
