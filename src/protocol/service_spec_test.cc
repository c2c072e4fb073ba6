#include "protocol/service_spec.h"

#include <gtest/gtest.h>

#include "protocol/agent_protocol.h"

namespace turnout::agent_protocol {
namespace {

std::string refused(const char* text) {
    const Result<ServiceSpec> service = service_from_json(*parse_json(text));
    return service ? "taken" : service.error().message;
}

TEST(ServiceSpec, EveryMemberComesBack) {
    ServiceSpec service;
    service.port = 8888;
    service.probe = {Probe::Kind::Http, "/ready?x=1", 3s, 250ms, 1500ms, 7};
    service.restart = {Restart::When::OnFailure, 2s, 10min};
    service.unready_limit = 30min;
    const Json json = to_json(service);
    EXPECT_EQ(to_json(*service_from_json(json)), json);
    EXPECT_EQ(service_from_json(json)->probe.path, "/ready?x=1");
    EXPECT_EQ(to_json(*service_from_json(Json::object())), to_json(ServiceSpec{}))
        << "what is not said is usual";
}

TEST(ServiceSpec, WrongOnesNameThePlaceAndWhatWasExpected) {
    const std::string kOf = " of the agent protocol must be ";
    EXPECT_EQ(refused("[]"), "service" + kOf + "an object");
    EXPECT_EQ(refused(R"({"port":70000})"), "service.port" + kOf + "a port, or 0");
    EXPECT_EQ(refused(R"({"probe":1})"), "service.probe" + kOf + "an object");
    EXPECT_EQ(refused(R"({"probe":{"kind":"exec"}})"),
              "service.probe.kind" + kOf + "'tcp' or 'http'");
    for (const char* path : {"a", "", "/a b", "/a\\r\\nHost: b", "/a#b", "/\\u0000"})
        EXPECT_EQ(refused((R"({"probe":{"path":")" + std::string(path) + "\"}}").c_str()),
                  "service.probe.path" + kOf + "a path that begins with '/', without spaces")
            << path;
    const std::string pause = "from 50 ms to 24 h";
    EXPECT_EQ(refused(R"({"probe":{"interval":0}})"), "service.probe.interval" + kOf + pause);
    EXPECT_EQ(refused(R"({"probe":{"timeout":100000000000}})"),
              "service.probe.timeout" + kOf + pause);
    EXPECT_EQ(refused(R"({"probe":{"failures":0}})"),
              "service.probe.failures" + kOf + "a number above 0");
    EXPECT_EQ(refused(R"({"restart":{"when":"never"}})"),
              "service.restart.when" + kOf + "'always' or 'on_failure'");
    EXPECT_EQ(
        refused(R"({"restart":{"first":2000000,"longest":1000000}})"),
        "service.restart.longest" + kOf + "no less than the first pause, and no more than 24 h");
}

TEST(ServiceSpec, ItsPortIsItsOwnOrTheAttempts) {
    TaskSpec task;
    task.command = "serve --port ${{service.port}} ${{service.port}}";
    task.variables = {{"URL", "http://127.0.0.1:${{service.port}}/"}};
    EXPECT_EQ(ports_needed(task), 0);
    const AttemptId id{"ws", "s.1", 1};
    EXPECT_EQ(expand_task(task, Json::object({{"master_port", 20'001}}), id)->command, task.command)
        << "of no service";
    task.service.emplace();
    EXPECT_EQ(ports_needed(task), 1);
    TaskSpec taken = *expand_task(task, Json::object({{"master_port", 20'001}}), id);
    EXPECT_EQ(service_port(taken), 20'001);
    EXPECT_EQ(taken.command, "serve --port 20001 20001");
    using Pairs = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(taken.variables,
              (Pairs{{"URL", "http://127.0.0.1:20001/"}, {kPortVariable, "20001"}}));
    task.service->port = 8080;
    EXPECT_EQ(ports_needed(task), 0) << "it says which";
    taken = *expand_task(task, Json::object(), id);
    EXPECT_EQ(taken.command, "serve --port 8080 8080");
    task.service->port = 0;
    EXPECT_EQ(service_port(*expand_task(task, Json::object(), id)), 0) << "it has none yet";
}

}  // namespace
}  // namespace turnout::agent_protocol
