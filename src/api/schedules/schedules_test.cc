// Schedules at the API: what is kept of them, and jobs that are submitted because it is time.
#include "api/schedules/schedules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "api/test_world.h"
#include "control/jobs.h"

namespace turnout::api {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

// The world begins at 2023-11-14T22:13:20Z.
class SchedulesTest : public ::testing::Test {
protected:
    SchedulesTest() {
        begin();
        const Reply made = world.send("PUT", "/environments/mine/versions/1", *parse_json(R"(
            {"properties":{"image":"debian:12"}})"));
        EXPECT_EQ(made.status, 201) << made.text;
    }
    // Another life of the server: nothing is known but what is stored.
    void begin() {
        schedules.emplace(world.services, zones_of_tests());
        const auto begun = schedules->begin();
        EXPECT_TRUE(begun);
    }
    void restart() {
        schedules.reset();
        begin();
    }
    // Time goes on, and what it brings is done.
    void pass(Span span) {
        world.loop.pass(span);
        for (int i = 0; i < 200; ++i) world.loop.pass(1ms);
        world.user = world.token({Principal::Kind::User, "admin", "", "", 0});
    }
    static Json document(const std::string& trigger, const std::string& more = "",
                         const std::string& command = "true") {
        auto json = parse_json(
            R"({"properties":{)" + more + R"("trigger":)" + trigger +
            R"(,"action":{"actionType":"CreateJob","jobDefinition":{"jobType":"Command",)" +
            R"("command":")" + command +
            R"(","environmentId":"azureml:mine:1","computeId":"serverless"}}}})");
        EXPECT_TRUE(json);
        return json.value_or(Json());
    }
    Reply put(const std::string& name, const Json& body) {
        return world.send("PUT", "/schedules/" + name, body);
    }
    Json show(const std::string& name) {
        const Reply reply = world.send("GET", "/schedules/" + name);
        EXPECT_EQ(reply.status, 200) << reply.text;
        return reply.json.at("properties");
    }
    std::string own(const std::string& name, const char* property) {
        return show(name).at("properties").at(property).as_string();
    }
    std::vector<std::string> jobs() {
        std::vector<std::string> names;
        const auto rows = world.store.scan(Table::Job, with_prefix(world.workspace.id + "/"));
        for (const Record& row : *rows)
            names.push_back(row.key.substr(world.workspace.id.size() + 1));
        return names;
    }
    std::optional<Record> row(const std::string& name) {
        return *world.store.get(Table::AssetContainer, world.workspace.id + "/schedules/" + name);
    }

    World world;
    std::optional<Schedules>& schedules = world.schedules;
};

const std::string kEveryMinute = R"({"triggerType":"Cron","expression":"* * * * *"})";
const std::string kHourly = R"({"triggerType":"Cron","expression":"0 * * * *"})";

TEST_F(SchedulesTest, IsMadeShownChangedListedAndDeleted) {
    Reply reply = put("nightly", document(kHourly, R"("displayName":"Nightly","tags":{"a":"b"},)"));
    ASSERT_EQ(reply.status, 201) << reply.text;
    EXPECT_EQ(reply.properties().at("provisioningState").as_string(), "Succeeded");
    EXPECT_TRUE(reply.properties().at("isEnabled").as_bool());
    EXPECT_EQ(reply.properties().at("trigger").at("startTime").as_string(), "2023-11-14T22:13:20");
    EXPECT_EQ(reply.properties().at("action").at("jobDefinition").at("command").as_string(),
              "true");
    EXPECT_EQ(own("nightly", "turnout.next_run"), "2023-11-14T23:00:00Z");
    EXPECT_EQ(own("nightly", "turnout.owner"), "admin");

    // As the SDK does to disable it: what was got, with one member changed.
    Json again = reply.json;
    again["properties"].set("isEnabled", false);
    reply = put("nightly", again);
    ASSERT_EQ(reply.status, 200) << reply.text;
    EXPECT_EQ(own("nightly", "turnout.state"), "disabled");
    EXPECT_EQ(world.send("GET", "/schedules").json.at("value").items().size(), 0u);
    EXPECT_EQ(world.send("GET", "/schedules?listViewType=All").json.at("value").items().size(), 1u);
    EXPECT_EQ(
        world.send("GET", "/schedules?listViewType=DisabledOnly").json.at("value").items().size(),
        1u);
    EXPECT_EQ(world.send("GET", "/schedules?listViewType=Some").status, 400);
    pass(hours(3));
    EXPECT_TRUE(jobs().empty());

    again["properties"].set("isEnabled", true);
    ASSERT_EQ(put("nightly", again).status, 200);
    EXPECT_EQ(own("nightly", "turnout.next_run"), "2023-11-15T02:00:00Z") << "it makes up for it";
    reply = world.send("DELETE", "/schedules/nightly");
    EXPECT_EQ(reply.status, 409) << reply.text;
    EXPECT_EQ(reply.code(), "ScheduleEnabled");
    again["properties"].set("isEnabled", false);
    ASSERT_EQ(put("nightly", again).status, 200);
    EXPECT_EQ(world.send("DELETE", "/schedules/nightly").status, 200);
    EXPECT_EQ(world.send("DELETE", "/schedules/nightly").status, 404);
    reply = world.send("GET", "/schedules/nightly");
    EXPECT_EQ(reply.status, 404);
}

TEST_F(SchedulesTest, SubmitsItsJobWhenItIsTime) {
    ASSERT_EQ(put("tick", document(kEveryMinute)).status, 201);
    pass(minutes(2));
    EXPECT_EQ(jobs(), (std::vector<std::string>{"tick-20231114t221400z", "tick-20231114t221500z"}));
    const Json runs = show("tick").at("runs");
    ASSERT_EQ(runs.items().size(), 2u);
    EXPECT_EQ(runs.items()[0].at("outcome").as_string(), "Submitted");
    EXPECT_EQ(runs.items()[0].at("jobName").as_string(), "tick-20231114t221500z");
    const Reply job = world.send("GET", "/jobs/tick-20231114t221500z");
    ASSERT_EQ(job.status, 200);
    EXPECT_EQ(job.properties().at("displayName").as_string(), "tick-20231114T221500Z");
    EXPECT_EQ(job.properties().at("experimentName").as_string(), "tick");
    EXPECT_EQ(job.properties().at("properties").at("turnout.schedule").as_string(), "tick");
    EXPECT_EQ(job.properties().at("properties").at("turnout.schedule_time").as_string(),
              "2023-11-14T22:15:00Z");
    ASSERT_EQ(world
                  .send("PUT", "/jobs/other", *parse_json(R"({"properties":{
        "jobType":"Command","command":"true","environmentId":"azureml:mine:1",
        "computeId":"serverless"}})"))
                  .status,
              201);
    EXPECT_EQ(world.send("GET", "/jobs?scheduled=true").json.at("value").items().size(), 2u);
    EXPECT_EQ(world.send("GET", "/jobs?scheduled=false").json.at("value").items().size(), 1u);
    EXPECT_EQ(world.send("GET", "/jobs?scheduleId=tick").json.at("value").items().size(), 2u);
    EXPECT_EQ(world.send("GET", "/jobs?scheduleId=tock").json.at("value").items().size(), 0u);
    // In the audit it is the owner's, by the schedule.
    const Reply audit = world.send_raw("GET", "/turnout/audit", "", world.user);
    EXPECT_NE(audit.text.find(R"("via":"schedule tick")"), std::string::npos) << audit.text;
}

// Whatever ends in between: the record is on its way before the job can be there.
TEST_F(SchedulesTest, NoJobIsThereWithoutItsRecord) {
    ASSERT_EQ(put("tick", document(kEveryMinute)).status, 201);
    const auto records = [&] {
        std::size_t of_schedule = 0;
        const auto rows = world.store.scan(Table::Audit, with_prefix(""));
        for (const Record& row : *rows)
            if (row.value.find("schedule tick") != std::string::npos) ++of_schedule;
        return of_schedule;
    };
    world.loop.pass(39s);
    for (int i = 0; i < 10'000 && jobs().empty(); ++i) {
        if (!world.loop.step()) world.loop.pass(1ms);
        ASSERT_GE(records(), jobs().size()) << "the job came first";
    }
    EXPECT_EQ(jobs().size(), 1u);
    pass(1s);
    EXPECT_EQ(records(), 1u);
}

TEST_F(SchedulesTest, WhatCountsFromItsBeginningRunsAtOnce) {
    const std::string trigger = R"({"triggerType":"Recurrence","frequency":"Hour","interval":2,)"
                                R"("schedule":{"hours":[],"minutes":[]}})";
    ASSERT_EQ(put("now", document(trigger)).status, 201);
    pass(1s);
    EXPECT_EQ(jobs(), (std::vector<std::string>{"now-20231114t221320z"}));
    // The same once more, without a start as before: it goes on.
    ASSERT_EQ(put("now", document(trigger)).status, 200);
    pass(hours(2));
    EXPECT_EQ(jobs().size(), 2u);
    EXPECT_EQ(own("now", "turnout.next_run"), "2023-11-15T02:13:20Z");
}

TEST_F(SchedulesTest, AJobThatWasSubmittedBeforeTheServerEndedIsNotASecondOne) {
    ASSERT_EQ(put("tick", document(kHourly)).status, 201);
    const auto before = row("tick");
    ASSERT_TRUE(before);
    pass(minutes(47));
    EXPECT_EQ(jobs(), (std::vector<std::string>{"tick-20231114t230000z"}));
    // Killed between the job and its own row: that one never became durable.
    Batch undone;
    undone.put(Table::AssetContainer, before->key, before->value);
    ASSERT_TRUE(world.wait(world.store.commit(std::move(undone))));
    restart();
    pass(1s);
    EXPECT_EQ(jobs().size(), 1u);
    const Json runs = show("tick").at("runs");
    ASSERT_EQ(runs.items().size(), 1u);
    EXPECT_EQ(runs.items()[0].at("jobName").as_string(), "tick-20231114t230000z");
    EXPECT_EQ(own("tick", "turnout.next_run"), "2023-11-15T00:00:00Z");
    restart();
    pass(hours(1));
    EXPECT_EQ(jobs().size(), 2u);
}

// The same of the latest of several times that were missed: it is not told as one of those.
TEST_F(SchedulesTest, AServerThatEndsWhileItCatchesUpKnowsWhatRan) {
    ASSERT_EQ(put("tick", document(kHourly)).status, 201);
    schedules.reset();
    pass(hours(5));
    begin();
    std::optional<Record> then;
    for (int i = 0; i < 10'000 && jobs().empty(); ++i) {
        if (!world.loop.step()) world.loop.pass(1ms);
        then = row("tick");
    }
    ASSERT_EQ(jobs(), (std::vector<std::string>{"tick-20231115t030000z"}));
    pass(1s);
    schedules.reset();
    Batch undone;
    undone.put(Table::AssetContainer, then->key, then->value);
    ASSERT_TRUE(world.wait(world.store.commit(std::move(undone))));
    pass(hours(1));
    begin();
    pass(1s);
    EXPECT_EQ(jobs().size(), 2u);
    const Json runs = show("tick").at("runs");
    ASSERT_EQ(runs.items().size(), 3u) << runs.dump();
    EXPECT_EQ(runs.items()[0].at("jobName").as_string(), "tick-20231115t040000z");
    EXPECT_EQ(runs.items()[1].at("jobName").as_string(), "tick-20231115t030000z");
    EXPECT_EQ(runs.items()[2].at("times").as_int(), 4);
}

TEST_F(SchedulesTest, WhatWasMissedRunsOnceOrNotAtAll) {
    ASSERT_EQ(put("once", document(kHourly)).status, 201);
    ASSERT_EQ(put("none", document(kHourly, R"("properties":{"missed_runs":"none"},)")).status,
              201);
    schedules.reset();
    pass(hours(5));
    begin();
    pass(1s);
    EXPECT_EQ(jobs(), (std::vector<std::string>{"once-20231115t030000z"}));
    Json runs = show("once").at("runs");
    ASSERT_EQ(runs.items().size(), 2u);
    EXPECT_EQ(runs.items()[1].at("outcome").as_string(), "Missed");
    EXPECT_EQ(runs.items()[1].at("times").as_int(), 4);
    runs = show("none").at("runs");
    ASSERT_EQ(runs.items().size(), 1u);
    EXPECT_EQ(runs.items()[0].at("times").as_int(), 5);
    const Reply refused = put("none", document(kHourly, R"("properties":{"missed_runs":"all"},)"));
    EXPECT_EQ(refused.status, 400);
    EXPECT_NE(refused.message().find("'once'"), std::string::npos) << refused.message();
    pass(hours(1));
    EXPECT_EQ(jobs().size(), 3u);
}

TEST_F(SchedulesTest, AClockThatIsSetRunsNothingTwice) {
    ASSERT_EQ(put("tick", document(kHourly)).status, 201);
    pass(minutes(50));
    ASSERT_EQ(jobs().size(), 1u);
    world.loop.set_wall_clock(-hours(2));
    pass(hours(2));
    EXPECT_EQ(jobs().size(), 1u) << "it ran what it had run";
    restart();
    pass(hours(1));
    EXPECT_EQ(jobs().size(), 2u);
    // Forward: it is seen within seconds, and the latest runs.
    world.loop.set_wall_clock(hours(5));
    pass(11s);
    EXPECT_EQ(jobs().size(), 3u);
}

// It ran by a clock that was wrong by a year: who turns it off and on again has it from now on.
TEST_F(SchedulesTest, AfterAClockThatWasWrongItBeginsAnew) {
    const Reply made = put("tick", document(kHourly));
    ASSERT_EQ(made.status, 201);
    world.loop.set_wall_clock(hours(24 * 365));
    pass(11s);
    ASSERT_EQ(jobs().size(), 1u);
    world.loop.set_wall_clock({});
    pass(hours(2));
    EXPECT_EQ(jobs().size(), 1u);
    for (const bool enabled : {false, true}) {
        Json body = made.json;
        body["properties"].set("isEnabled", enabled);
        ASSERT_EQ(put("tick", body).status, 200);
    }
    EXPECT_EQ(own("tick", "turnout.next_run"), "2023-11-15T01:00:00Z");
    pass(hours(1));
    EXPECT_EQ(jobs().size(), 2u);
}

TEST_F(SchedulesTest, RunsAsItsOwnerWhoMustStillBeAllowed) {
    ASSERT_EQ(world.send_raw("POST", "/turnout/users", R"({"name":"ann"})", world.user).status,
              201);
    const auto role = [&](const char* name) {
        return world.send_raw("POST", "/turnout/assignments",
                              R"({"user":"ann","role":")" + std::string(name) + R"(","scope":")" +
                                  world.workspace_path() + R"("})",
                              world.user);
    };
    const Reply assigned = role("AzureML Data Scientist");
    ASSERT_EQ(assigned.status, 201) << assigned.text;
    const std::string ann = world.token({Principal::Kind::User, "ann", "", "", 0});
    const auto put_as_ann = [&](const Json& body) {
        return world.send_raw("PUT", world.arm_path("/schedules/hers"), body.dump(), ann);
    };
    ASSERT_EQ(put_as_ann(document(kHourly)).status, 201);
    EXPECT_EQ(own("hers", "turnout.owner"), "ann");
    // Somebody else changes the words and not the work: it still is hers.
    ASSERT_EQ(put("hers", document(kHourly, R"("description":"of ann",)")).status, 200);
    EXPECT_EQ(own("hers", "turnout.owner"), "ann");
    pass(minutes(47));
    ASSERT_EQ(jobs().size(), 1u);
    EXPECT_EQ((*read_job(world.store, world.workspace.id, jobs()[0]))->record.principal, "ann");
    // Who says what is to run is who runs it.
    ASSERT_EQ(put("hers", document(kHourly, "", "false")).status, 200);
    EXPECT_EQ(own("hers", "turnout.owner"), "admin");
    ASSERT_EQ(put_as_ann(document(kHourly)).status, 200);
    EXPECT_EQ(own("hers", "turnout.owner"), "ann");

    const std::string id = assigned.json.at("id").as_string();
    ASSERT_EQ(world.send_raw("DELETE", "/turnout/assignments/" + id, "", world.user).status, 204);
    pass(hours(1));
    EXPECT_EQ(jobs().size(), 1u);
    Json last = show("hers").at("runs").items()[0];
    EXPECT_EQ(last.at("outcome").as_string(), "Refused");
    EXPECT_NE(last.at("reason").as_string().find("may not submit jobs here any more"),
              std::string::npos)
        << last.dump();
    ASSERT_EQ(role("AzureML Data Scientist").status, 201);
    ASSERT_EQ(
        world.send_raw("PATCH", "/turnout/users/ann", R"({"disabled":true})", world.user).status,
        200);
    pass(hours(1));
    EXPECT_EQ(jobs().size(), 1u);
    EXPECT_NE(own("hers", "turnout.last_refusal").find("is disabled"), std::string::npos)
        << own("hers", "turnout.last_refusal");
    ASSERT_EQ(
        world.send_raw("PATCH", "/turnout/users/ann", R"({"disabled":false})", world.user).status,
        200);
    pass(hours(1));
    EXPECT_EQ(jobs().size(), 2u);
}

TEST_F(SchedulesTest, AReaderChangesNothing) {
    ASSERT_EQ(world.send_raw("POST", "/turnout/users", R"({"name":"bob"})", world.user).status,
              201);
    ASSERT_EQ(world
                  .send_raw("POST", "/turnout/assignments",
                            R"({"user":"bob","role":"Reader","scope":")" + world.workspace_path() +
                                R"("})",
                            world.user)
                  .status,
              201);
    ASSERT_EQ(put("tick", document(kHourly)).status, 201);
    const std::string bob = world.token({Principal::Kind::User, "bob", "", "", 0});
    const auto as_bob = [&](const char* method, const char* path, const std::string& body = "") {
        return world.send_raw(method, world.arm_path(path), body, bob).status;
    };
    EXPECT_EQ(as_bob("GET", "/schedules/tick"), 200);
    EXPECT_EQ(as_bob("GET", "/schedules"), 200);
    EXPECT_EQ(as_bob("PUT", "/schedules/tick", document(kHourly).dump()), 403);
    EXPECT_EQ(as_bob("POST", "/schedules/tick/trigger", "{}"), 403);
    EXPECT_EQ(as_bob("DELETE", "/schedules/tick"), 403);
}

TEST_F(SchedulesTest, TriggerNow) {
    ASSERT_EQ(put("tick", document(kHourly)).status, 201);
    const Json when = Json::object({{"scheduleTime", "2023-11-14T22:13:21.250000+00:00"}});
    Reply reply = world.send("POST", "/schedules/tick/trigger", when);
    ASSERT_EQ(reply.status, 200) << reply.text;
    EXPECT_EQ(reply.json.at("submissionId").as_string(), "tick-20231114t221321z-250000");
    // A client that did not hear the answer asks again.
    ASSERT_EQ(world.send("POST", "/schedules/tick/trigger", when).status, 200);
    EXPECT_EQ(jobs().size(), 1u);
    EXPECT_EQ(show("tick").at("runs").items()[0].at("triggeredBy").as_string(), "admin");
    EXPECT_EQ(own("tick", "turnout.next_run"), "2023-11-14T23:00:00Z");
    EXPECT_EQ(world.send("POST", "/schedules/tick/trigger", Json::object({{"scheduleTime", "now"}}))
                  .status,
              400);
    EXPECT_EQ(world.send("POST", "/schedules/tock/trigger").status, 404);
}

// Whoever asks for it at one of the trigger's own times takes nothing from that, nor that from
// them.
TEST_F(SchedulesTest, WhatIsAskedForIsNoneOfItsOwnTimes) {
    ASSERT_EQ(put("tick", document(kHourly)).status, 201);
    const auto ask = [&](const char* when) {
        return world
            .send("POST", "/schedules/tick/trigger",
                  Json::object({{"scheduleTime", std::string(when)}}))
            .json.at("submissionId")
            .as_string();
    };
    EXPECT_EQ(ask("2023-11-14T23:00:00Z"), "tick-20231114t230000z-000000");
    EXPECT_EQ(ask("2023-11-14T23:00:00Z"), "tick-20231114t230000z-000000");
    pass(minutes(47));
    EXPECT_EQ(jobs(),
              (std::vector<std::string>{"tick-20231114t230000z", "tick-20231114t230000z-000000"}));
    EXPECT_EQ(ask("2023-11-14T23:00:00.5Z"), "tick-20231114t230000z-500000");
    EXPECT_EQ(show("tick").at("runs").items().size(), 3u);
}

TEST_F(SchedulesTest, WhatCannotBeSubmittedSaysWhy) {
    ASSERT_EQ(put("tick", document(kEveryMinute)).status, 201);
    const Reply gone = world.send("DELETE", "/environments/mine/versions/1");
    ASSERT_LT(gone.status, 300) << gone.text;
    pass(minutes(1));
    EXPECT_TRUE(jobs().empty());
    const Json last = show("tick").at("runs").items()[0];
    EXPECT_EQ(last.at("outcome").as_string(), "Refused");
    EXPECT_NE(last.at("reason").as_string().find("mine"), std::string::npos) << last.dump();
    const Reply trigger = world.send("POST", "/schedules/tick/trigger");
    EXPECT_EQ(trigger.status, 409);
    EXPECT_NE(trigger.message().find("mine"), std::string::npos) << trigger.message();
}

TEST_F(SchedulesTest, AStoreThatIsBusyIsAskedAgain) {
    ASSERT_EQ(put("tick", document(kHourly)).status, 201);
    world.loop.pass(minutes(46));
    for (int i = 0; i < 3; ++i)
        world.store.fail_next({Code::Unavailable, "TooManyWrites", "the disk is slow"});
    pass(minutes(2));
    EXPECT_EQ(jobs().size(), 1u);
    EXPECT_EQ(show("tick").at("runs").items().size(), 1u);
}

TEST_F(SchedulesTest, TakesTheDefinitionOfAJobThatIsThere) {
    ASSERT_EQ(world
                  .send("PUT", "/jobs/model", *parse_json(R"({"properties":{
        "jobType":"Command","command":"echo ${{inputs.word}}","displayName":"The model",
        "environmentId":"azureml:mine:1","computeId":"serverless","experimentName":"e",
        "inputs":{"word":{"jobInputType":"literal","value":"one"}}}})"))
                  .status,
              201);
    const auto of = [](const std::string& more) {
        return *parse_json(R"({"properties":{"trigger":{"triggerType":"Cron",
            "expression":"* * * * *"},"action":{"actionType":"CreateJob","jobDefinition":{
            "jobType":"Pipeline",)" +
                           more + R"("experimentName":"","isArchived":false}}}})");
    };
    Reply reply = put("again", of(R"("sourceJobId":"azureml:model",)"));
    ASSERT_EQ(reply.status, 201) << reply.text;
    EXPECT_EQ(reply.properties().at("action").at("jobDefinition").at("jobType").as_string(),
              "Command");
    ASSERT_EQ(put("other", of(R"("sourceJobId":"model","inputs":{"word":
        {"jobInputType":"literal","value":"at ${{creation_context.trigger_time}} in ${{name}}"}},)"))
                  .status,
              201);
    pass(minutes(1));
    const Reply first = world.send("GET", "/jobs/again-20231114t221400z");
    ASSERT_EQ(first.status, 200);
    EXPECT_EQ(first.properties().at("command").as_string(), "echo ${{inputs.word}}");
    EXPECT_EQ(first.properties().at("displayName").as_string(), "The model-20231114T221400Z");
    EXPECT_EQ(first.properties().at("experimentName").as_string(), "e");
    const Reply other = world.send("GET", "/jobs/other-20231114t221400z");
    EXPECT_EQ(other.properties().at("inputs").at("word").at("value").as_string(),
              "at 2023-11-14T22:14:00Z in other-20231114t221400z");
    EXPECT_EQ(put("none", of(R"("sourceJobId":"azureml:mode",)")).status, 404);
}

TEST_F(SchedulesTest, WhatIsWrongIsRefusedByItsPlace) {
    struct Case {
        Json body;
        std::string place, message;
    };
    const auto trigger = [](const char* text) { return document(text); };
    for (const Case& c : {
             Case{trigger(R"({"triggerType":"Cron","expression":"61 * * * *"})"),
                  "properties.trigger.expression", "minute: expected 0 to 59"},
             Case{trigger(R"({"triggerType":"Cron","expression":"* * * * *","timeZone":"Mars"})"),
                  "properties.trigger.timeZone", "there is no such zone here"},
             Case{trigger(R"({"triggerType":"Cron","expression":"* * * * *",)"
                          R"("startTime":"2020-01-01","endTime":"2021-01-01"})"),
                  "properties.trigger.endTime", "still to come"},
             Case{trigger(R"({"triggerType":"Recurrence","frequency":"Day"})"),
                  "properties.trigger.interval", "from 1 to 1000"},
             Case{document(kHourly, R"("isEnabled":"yes",)"), "properties.isEnabled",
                  "expected true or false"},
             Case{document(kHourly, R"("tags":{"a":1},)"), "properties.tags.a", "expected a text"},
             Case{*parse_json(R"({"properties":{"trigger":{"triggerType":"Cron",
                      "expression":"* * * * *"},"action":{"actionType":"CreateMonitor"}}})"),
                  "properties.action.actionType", "'CreateJob'"},
             Case{document(kHourly, "", "echo ${{inputs.x}}"), "properties.action.jobDefinition",
                  "inputs"},
         }) {
        const Reply reply = put("bad", c.body);
        EXPECT_EQ(reply.status, 400) << reply.text;
        EXPECT_TRUE(reply.json.at("error").at("target").as_view().starts_with(c.place))
            << reply.text;
        EXPECT_NE(reply.message().find(c.message), std::string::npos) << reply.message();
    }
    EXPECT_EQ(world.send("GET", "/schedules/bad").status, 404);
    EXPECT_EQ(put("a b", document(kHourly)).status, 400);
    EXPECT_EQ(put(std::string(221, 'a'), document(kHourly)).status, 400);
}

TEST_F(SchedulesTest, GoesWithItsWorkspace) {
    ASSERT_EQ(put("tick", document(kEveryMinute)).status, 201);
    const Reply gone = world.send("DELETE", "?forceToPurge=true");
    ASSERT_LT(gone.status, 300) << gone.text;
    pass(minutes(3));
    EXPECT_TRUE(jobs().empty());
    EXPECT_FALSE(row("tick"));
}

// Restarts at any moment, rows that never became durable, a clock that jumps: no job twice (its
// name is its time), and after all that each goes on.
TEST_F(SchedulesTest, RandomStepsWithRestarts) {
    std::mt19937 random(3);
    ASSERT_EQ(put("a", document(R"({"triggerType":"Cron","expression":"*/7 * * * *"})")).status,
              201);
    ASSERT_EQ(put("b", document(R"({"triggerType":"Recurrence","frequency":"Minute",)"
                                R"("interval":3})"))
                  .status,
              201);
    std::set<std::string> seen;
    std::optional<Record> older;
    for (int step = 0; step < 150; ++step) {
        switch (random() % 8) {
            case 0: restart(); break;
            case 1:
                schedules.reset();
                world.loop.pass(minutes(random() % 300));
                begin();
                break;
            case 2: world.loop.set_wall_clock(minutes(static_cast<int>(random() % 60) - 30)); break;
            case 3: older = row("a"); break;
            case 4:
                if (older) {
                    schedules.reset();
                    Batch undone;
                    undone.put(Table::AssetContainer, older->key, older->value);
                    ASSERT_TRUE(world.wait(world.store.commit(std::move(undone))));
                    begin();
                }
                break;
            default: world.loop.pass(minutes(random() % 12));
        }
        pass(1s);
        const auto now = jobs();
        for (const std::string& job : seen)
            ASSERT_TRUE(std::ranges::find(now, job) != now.end()) << "a job is gone";
        seen = {now.begin(), now.end()};
        ASSERT_EQ(seen.size(), now.size());
    }
    EXPECT_GT(seen.size(), 60u);
    const auto runs = show("a").at("runs");
    for (const Json& run : runs.items())
        EXPECT_NE(run.at("outcome").as_string(), "Refused") << run.dump();
}

}  // namespace
}  // namespace turnout::api
