// A service on a real node.
#include "agent/test_agent.h"

namespace turnout::agent {
namespace {

// A real server, which is ready when it answers, and whose end is the end of its attempt: the next
// replica begins anew.
TEST_F(AgentTest, AServiceBecomesReadyAndAnotherReplicaTakesItsPlace) {
    TaskSpec task;
    task.command =
        "python3 -c 'import time; time.sleep(0.3)'; exec python3 -m http.server --bind 127.0.0.1 "
        "${{service.port}}";
    task.run_token = Secret("run-token");
    task.artifacts = {"artifacts", "dcid.service"};
    task.service.emplace();
    task.service->probe = {Probe::Kind::Http, "/", 0s, 50ms, 60s, 3};
    ASSERT_TRUE(until([&] { return link && hellos > 0; }));
    const auto is_ready = [&](const AttemptId& id) {
        return !phases[id].empty() && phases[id].back() == Phase::Ready;
    };
    // One that is ready, or has tried five ports: each was free a moment ago, and is anybody's.
    auto replica = [&, number = 0]() mutable {
        AttemptId id;
        for (int tries = 0; tries < 5; ++tries) {
            id = {"ws", "service" + std::to_string(getpid()) + "." + std::to_string(++number), 1};
            const int port = http::parse_host_port(http::listen_tcp("127.0.0.1:0")->address)->port;
            say(Base{"service", to_json(task)});
            say(Lease{id, Json::object({{"master_port", port}}), "service"});
            if (!until([&] { return is_ready(id) || ends.contains(id); }) || is_ready(id)) break;
        }
        return id;
    };
    const AttemptId first = replica();
    ASSERT_TRUE(is_ready(first)) << log(first);
    EXPECT_TRUE(std::ranges::count(phases[first], Phase::Running)) << "before it listened";
    kill_agent();
    phases.clear();
    start_agent();
    ASSERT_TRUE(until([&] { return is_ready(first); })) << "it was ready all the time";
    EXPECT_EQ(phases[first], std::vector<Phase>{Phase::Ready});

    for (const int pid : processes_with("ws/" + first.job + "/1")) kill(pid, SIGKILL);
    EXPECT_EQ(end_of(first).cause, Cause::UserCode);
    EXPECT_EQ(end_of(first).signal, SIGKILL) << end_of(first).message;
    const AttemptId second = replica();
    ASSERT_TRUE(is_ready(second)) << log(second);
    say(Cancel{second, Cause::Canceled, 30s});
    EXPECT_EQ(end_of(second).cause, Cause::Canceled);
}

}  // namespace
}  // namespace turnout::agent
