// Instances that are turned on and off, by people and by themselves.
#include "api/instances/keeper.h"

#include <gtest/gtest.h>

#include "api/instances/test_door.h"

namespace turnout::api {
namespace {

TEST_F(InstanceDoor, WhatBecameReadyLateIsLetBe) {
    change("ci", [](PersonalInstance& one) {
        one.last.status = PersonalInstance::Operation::Status::Failed;
        one.last.why = "it took longer than 30 minutes";
    });
    EXPECT_EQ(state("ci"), "CreateFailed");
    becomes_ready("ci");
    EXPECT_EQ(world.send("POST", "/computes/ci/start").status, 202);
    EXPECT_EQ(row("ci").personal->starts, 1) << "kernels that run are lost";
    keep_instances(world.services);
    pass(30s);
    EXPECT_EQ(row("ci").personal->last.status, PersonalInstance::Operation::Status::Succeeded);
    EXPECT_TRUE(row("ci").personal->made);
    EXPECT_EQ(row("ci").personal->last.why, "");
}

// What failed to stop is stopped again, and one whose service is gone is stopped.
TEST_F(InstanceDoor, AStopThatFailedIsTriedAgain) {
    becomes_ready("ci");
    change("ci", [](PersonalInstance& one) {
        one.on = false;
        one.last.name = PersonalInstance::Operation::Name::Stop;
        one.last.status = PersonalInstance::Operation::Status::Failed;
    });
    EXPECT_EQ(state("ci"), "Stopping");
    EXPECT_EQ(world.send("POST", "/computes/ci/stop").status, 202);
    pass(1s);
    replica_ends("ci");
    EXPECT_EQ(state("ci"), "Stopped");
    EXPECT_EQ(row("ci").personal->last.status, PersonalInstance::Operation::Status::Succeeded);
}

TEST_F(InstanceDoor, WhoAsksAgainForWhatIsUnderWayBeginsNothing) {
    pass(200ms);
    const std::size_t timers = world.loop.timers();
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(world.send("POST", "/computes/ci/start").status, 202);
        EXPECT_EQ(put("ci", Json::object({{"vmSize", "STANDARD_DS3_v2"}})).status, 200);
    }
    EXPECT_LE(world.loop.timers(), timers);
}

Json start_stops(const std::string& list) {
    return *parse_json(R"({"vmSize":"STANDARD_DS3_v2","schedules":{"computeStartStop":[)" + list +
                       "]}}");
}
const std::string kEveryOtherMorning =
    R"({"action":"start","status":"Enabled","recurrence":{"frequency":"Day","interval":2,)"
    R"("schedule":{"hours":[8],"minutes":[0]},"timeZone":"UTC"}})";
const std::string kEachEvening =
    R"({"action":"stop","status":"Enabled","cron":{"expression":"0 20 * * *","timeZone":"UTC"}})";
std::string stop_until(const char* end, const char* status = "Enabled") {
    return std::string(R"({"action":"stop","status":")") + status +
           R"(","cron":{"expression":"0 * * * *","endTime":")" + end + R"(","timeZone":"UTC"}})";
}

// The world begins at 2023-11-14T22:13:20Z. That one fires moves no other.
TEST_F(InstanceDoor, ItsSchedulesCountFromWhenTheyWereSaid) {
    ASSERT_EQ(put("ci", start_stops(kEveryOtherMorning + "," + kEachEvening)).status, 200);
    const auto starts = [&] {
        const auto all = arm::start_stops_of(world.services, row("ci"));
        EXPECT_EQ(all.size(), 2u);
        return to_iso8601(*all.at(0).when.next(world.loop.now())).substr(0, 16);
    };
    EXPECT_EQ(starts(), "2023-11-16T08:00");
    keep_instances(world.services);
    pass(24h);
    EXPECT_EQ(row("ci").personal->last.trigger, "Schedule");
    EXPECT_EQ(starts(), "2023-11-16T08:00");
    // Nor does whoever says the same once more, or another one beside it.
    ASSERT_EQ(put("ci", start_stops(kEveryOtherMorning + "," + kEachEvening)).status, 200);
    EXPECT_EQ(starts(), "2023-11-16T08:00");
    ASSERT_EQ(put("ci", start_stops(kEveryOtherMorning + "," + stop_until("2024-01-01"))).status,
              200);
    EXPECT_EQ(starts(), "2023-11-16T08:00");
    pass(24h);
    EXPECT_FALSE(row("ci").personal->on);
    pass(11h);
    EXPECT_EQ(starts(), "2023-11-18T08:00");
}

TEST_F(InstanceDoor, AScheduleThatHasEndedStopsNoOther) {
    const std::string all = stop_until("2023-11-14T23:30:00") + "," +
                            stop_until("2023-11-14T23:30:00", "Disabled") + "," + kEachEvening;
    ASSERT_EQ(put("ci", start_stops(all)).status, 200);
    keep_instances(world.services);
    pass(2h);
    EXPECT_FALSE(row("ci").personal->on);
    EXPECT_EQ(world.send("POST", "/computes/ci/start").status, 202);
    // What somebody reads and writes again.
    ASSERT_EQ(put("ci", start_stops(all)).status, 200);
    const Reply patched = world.send("PATCH", "/computes/ci",
                                     *parse_json(R"({"properties":{"description":"mine"}})"));
    EXPECT_EQ(patched.status, 200) << patched.text;
    EXPECT_EQ(patched.properties()
                  .at("properties")
                  .at("nextScheduledAction")
                  .at("time")
                  .as_string()
                  .substr(0, 16),
              "2023-11-15T20:00");
    EXPECT_TRUE(row("ci").personal->on);
    pass(20h);
    EXPECT_FALSE(row("ci").personal->on);
    const Reply ended = put("ci", start_stops(stop_until("2023-11-14T23:31:00")));
    EXPECT_EQ(ended.status, 400) << ended.text;
}

// Nor does the program of somebody that does not answer.
TEST_F(InstanceDoor, AProgramThatDoesNotAnswerKeepsNobodyWaiting) {
    Json idle = start_stops(kEachEvening);
    idle.set("idleTimeBeforeShutdown", "PT15M");
    ASSERT_EQ(put("ci", std::move(idle)).status, 200);
    ASSERT_EQ(put("other", start_stops(kEachEvening)).status, 201);
    becomes_ready("ci");
    program->silent.emplace();
    keep_instances(world.services);
    pass(22h);
    EXPECT_FALSE(row("other").personal->on);
    EXPECT_FALSE(row("ci").personal->on);
    EXPECT_EQ(program->asked, 1) << "it was asked again while it was asked";
    program->silent->settle()(true);
    pass(1s);
    EXPECT_EQ(world.send("DELETE", "/computes/other?underlyingResourceAction=Delete").status, 202);
}

// Jobs that wait are no idleness, and what was before the server's start nobody knows.
TEST_F(InstanceDoor, AnInstanceWithJobsIsNotIdle) {
    Json idle = Json::object({{"vmSize", "STANDARD_DS3_v2"}, {"idleTimeBeforeShutdown", "PT15M"}});
    ASSERT_EQ(put("ci", std::move(idle)).status, 200);
    becomes_ready("ci");
    pass(2h);
    keep_instances(world.services);
    pass(14min);
    EXPECT_TRUE(row("ci").personal->on);
    const Reply job = world.send("PUT", "/jobs/j", *parse_json(R"({"properties":{
        "jobType":"Command","command":"true","computeId":"ci","environmentId":
        "azureml://registries/azureml/environments/jupyterlab/versions/1"}})"));
    ASSERT_EQ(job.status, 201) << job.text;
    pass(30min);
    EXPECT_TRUE(row("ci").personal->on);
    EXPECT_EQ(world.send("POST", "/jobs/j/cancel").status, 202);
    agent_protocol::EndReport report;
    report.id = {world.workspace.id, "j", 1};
    report.ending.cause = agent_protocol::Cause::Canceled;
    world.control.agent_says(node_of("ci"), report);
    pass(14min);
    EXPECT_TRUE(row("ci").personal->on);
    pass(3min);
    EXPECT_FALSE(row("ci").personal->on);
    EXPECT_EQ(row("ci").personal->last.trigger, "IdleShutdown");
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
