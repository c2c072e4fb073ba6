// What the server removes by itself: how it is written down, and what it does.
#include "api/upkeep/retention.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "api/test_world.h"
#include "control/jobs.h"
#include "control/space.h"

namespace turnout::api {
namespace {

using upkeep::parse_retention;

constexpr std::uint64_t kDisk = 1'000'000'000;

std::string refused(const std::string& text) {
    const auto read = parse_retention(text, "retention.yaml", kDisk);
    return read ? "taken" : read.error().message;
}

TEST(RetentionFile, BoundsWhatIsKeptForLaterAndNothingElse) {
    const auto usual = parse_retention(std::nullopt, "retention.yaml", kDisk);
    ASSERT_TRUE(usual);
    EXPECT_EQ(usual->to_json().dump(), R"({"inputs":{"max_age":"90d","max_size":200000000},)"
                                       R"("environments":{"max_age":"90d","max_size":200000000},)"
                                       R"("caches":{"max_age":"90d","max_size":200000000}})");
    EXPECT_EQ(parse_retention("# nothing but this\n", "f", kDisk)->to_json().dump(),
              usual->to_json().dump());
}

TEST(RetentionFile, IsReadAsItIsWritten) {
    const auto read = parse_retention(
        "jobs: {max_age: 90d, max_count: 1000}\nlogs:\n  max_age: 2w\nevents: {max_age: 36h}\n"
        "data: {max_age: 30d, max_size: 50%}\ninputs: {max_age: none, max_size: 1GB}\n"
        "environments: {max_age: none, max_size: none}\ncaches:\n",
        "retention.yaml", kDisk);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->to_json().dump(),
              R"({"jobs":{"max_age":"90d","max_count":1000},"logs":{"max_age":"14d"},)"
              R"("events":{"max_age":"36h"},"data":{"max_age":"30d","max_size":500000000},)"
              R"("inputs":{"max_size":1000000000},)"
              R"("caches":{"max_age":"90d","max_size":200000000}})");
}

TEST(RetentionFile, BadOnesNamePlaceValueAndWhatIsExpected) {
    EXPECT_EQ(refused("jobs:\n  max_age: soon\n"),
              "retention.yaml:2:3: jobs.max_age is 'soon': expected a number with s, m, h, d or w, "
              "such as 90d, or none");
    EXPECT_EQ(refused("job: {max_age: 1d}\n"),
              "retention.yaml:1:1: job is 'job': expected one of jobs, logs, events, audit, data, "
              "inputs, environments, caches");
    EXPECT_EQ(refused("logs: {max_count: 3}\n"),
              "retention.yaml:1:8: logs.max_count is 'max_count': expected one of max_age");
    EXPECT_EQ(refused("jobs: {max_count: -1}\n"),
              "retention.yaml:1:8: jobs.max_count is '-1': expected a whole number from 0 on, or "
              "none");
    for (const char* size : {"200%", "0%", "much", "[]", ""})
        EXPECT_NE(refused("data: {max_size: " + std::string(size) + "}\n").find("such as 20%"),
                  std::string::npos)
            << size << refused("data: {max_size: " + std::string(size) + "}\n");
    EXPECT_NE(refused("jobs: 90d\n").find("a mapping of max_age, max_count"), std::string::npos);
    EXPECT_NE(refused("- jobs\n").find("expected a mapping of jobs"), std::string::npos);
    EXPECT_NE(refused("jobs: {").find("retention.yaml:1"), std::string::npos);
}

// A machine whose nodes keep three things.
class KeptThings : public Space {
public:
    void measure(Reply<MachineSpace> reply) override { reply(MachineSpace{}); }
    void evict(Eviction what, Reply<std::vector<KeptThing>> reply) override {
        asked.push_back(std::move(what));
        reply(std::vector<KeptThing>{});
    }
    void read_retention(Reply<RetentionFile> reply) override {
        reply(RetentionFile{"/data/retention.yaml", text, kDisk});
    }
    std::optional<std::string> text;
    std::vector<Eviction> asked;
};

class Kept : public testing::Test {
protected:
    Kept() { world.services.space = &space; }

    Reply put(const std::string& path, const Json& properties) {
        return world.send("PUT", path, Json::object({{"properties", properties}}));
    }
    void later(Span span) {
        world.loop.pass(span);
        world.user = world.token({Principal::Kind::User, "admin", "", "", 0});
    }
    // One that has ended by now.
    void job(const std::string& name, const Json& tags = Json::object(),
             const std::string& reads = "") {
        Json inputs = Json::object();
        if (!reads.empty())
            inputs.set("in", Json::object({{"jobInputType", "uri_folder"},
                                           {"uri", kPaths + "azureml/" + reads + "/out"}}));
        const Reply reply =
            put("/jobs/" + name,
                Json::object({{"jobType", "Command"},
                              {"command", "true"},
                              {"tags", tags},
                              {"environmentId",
                               "azureml://registries/azureml/environments/sklearn-1.5/versions/1"},
                              {"inputs", inputs}}));
        ASSERT_EQ(reply.status, 201) << reply.text;
        world.put_blob(blobstore_container(wsid), "azureml/" + name + "/out/x", "of " + name);
        ASSERT_EQ(world.send("POST", "/jobs/" + name + "/cancel").status, 202);
        world.loop.settle();
        world.loop.pass(1s);
    }
    void says(const std::string& job, const std::string& text) {
        agent_protocol::LogChunk chunk{{wsid, job, 1}, "user_logs/std_log.txt", 0, text};
        world.tracking.append_log(chunk, [](const auto&) {});
        world.loop.settle();
    }
    std::string log_of(const std::string& job) {
        const auto text = world.tracking.read_log(wsid, job, "user_logs/std_log.txt", 0, 1000);
        return text ? *text : text.error().reason;
    }
    Reply prune(bool dry_run = false) {
        return world.send_raw("POST", "/turnout/prune",
                              Json::object({{"retention", true}, {"dry_run", dry_run}}).dump(),
                              world.user);
    }
    std::set<std::string> jobs() {
        std::set<std::string> names;
        const auto rows = world.store.scan(Table::Job, with_prefix(wsid + "/"));
        for (const Record& row : *rows) names.insert(row.key.substr(wsid.size() + 1));
        return names;
    }
    std::string events() { return world.send("GET", "/events?kind=space").text; }

    using Names = std::set<std::string>;
    World world;
    KeptThings space;
    const std::string wsid = world.workspace.id;
    const std::string kPaths = "azureml://datastores/workspaceblobstore/paths/";
};

TEST_F(Kept, NothingThatSomebodyMadeGoesUnasked) {
    job("a");
    later(1000 * 24h);
    EXPECT_EQ(prune().status, 200);
    EXPECT_EQ(jobs(), Names{"a"});
    ASSERT_EQ(space.asked.size(), 3u);
    EXPECT_EQ(space.asked[1].kinds, std::vector<std::string>{"environments"});
    EXPECT_EQ(space.asked[1].down_to, kDisk / 5);
    EXPECT_EQ(space.asked[1].before, world.loop.now() - 90 * 24h);
}

TEST_F(Kept, JobsGoByAge) {
    space.text = "jobs: {max_age: 30d}\n";
    job("old");
    later(20 * 24h);
    job("young");
    later(11 * 24h);
    const Reply dry = prune(true);
    const Json& row = dry.json.at("rows").items()[0];
    EXPECT_EQ(row.at("items").items()[0].as_string(), "old") << dry.text;
    EXPECT_EQ(row.at("why").items()[0].at("reason").as_string(),
              "ended more than 30d ago (retention.yaml: jobs.max_age)");
    EXPECT_EQ(jobs(), (Names{"old", "young"})) << "only said";
    const Reply space_now = world.send_raw("GET", "/turnout/space", "", world.user);
    EXPECT_EQ(space_now.json.at("retention").at("next").items().size(), 1u) << space_now.text;
    EXPECT_EQ(prune().status, 200);
    EXPECT_EQ(jobs(), Names{"young"});
    EXPECT_EQ(world.send("GET", "/jobs/old").status, 404);
    EXPECT_NE(events().find("ended more than 30d ago (retention.yaml: jobs.max_age): old"),
              std::string::npos)
        << events();
}

TEST_F(Kept, JobsGoByNumberAndTheNewestStay) {
    space.text = "jobs: {max_count: 2}\n";
    for (const char* name : {"a", "b", "c", "d"}) job(name);
    ASSERT_EQ(put("/jobs/lives", Json::object({{"jobType", "Command"},
                                               {"command", "true"},
                                               {"environmentId",
                                                "azureml://registries/azureml/environments/"
                                                "sklearn-1.5/versions/1"}}))
                  .status,
              201);
    EXPECT_EQ(prune().status, 200);
    EXPECT_EQ(jobs(), (Names{"c", "d", "lives"}));
}

TEST_F(Kept, WhatSomebodyMayStillNeedStays) {
    space.text = "jobs: {max_age: 0}\n";
    job("tagged", Json::object({{"turnout.keep", "true"}}));
    job("run_tagged");
    ASSERT_TRUE(world.wait(world.tracking.ensure_job_run(wsid, "run_tagged", "e", "d", "u")));
    LogBatch tags;
    tags.tags = {{"turnout.keep", ""}};
    ASSERT_TRUE(world.wait(world.tracking.log(wsid, "run_tagged", std::move(tags))));
    job("not_tagged", Json::object({{"turnout.keep", "false"}}));
    job("source");
    job("trained");
    job("read");
    job("reader", Json::object({{"turnout.keep", "1"}}), "read");
    job("chain");
    job("link", {}, "chain");
    ASSERT_EQ(
        put("/models/m/versions/1", Json::object({{"modelUri", kPaths + "azureml/source/out"}}))
            .status,
        201);
    ASSERT_EQ(put("/models/n/versions/1",
                  Json::object({{"modelUri", kPaths + "elsewhere"}, {"jobName", "trained"}}))
                  .status,
              201);
    const Reply said = prune();
    EXPECT_EQ(jobs(), (Names{"tagged", "run_tagged", "source", "trained", "read", "reader"}))
        << said.text;
    for (const char* reason :
         {"job tagged: it has the tag turnout.keep", "job source: model m:1 was made from it",
          "job trained: model n:1 was made from it", "job read: job reader had its outputs"})
        EXPECT_NE(said.text.find(reason), std::string::npos) << reason << said.text;
    EXPECT_TRUE(world.store.scan(Table::Removal, {})->empty()) << "what stays has lost its mark";
    // Who asks for that one gets it.
    EXPECT_LT(world.send("DELETE", "/jobs/tagged").status, 300);
    EXPECT_FALSE(jobs().contains("tagged"));
}

TEST_F(Kept, LogsGoAndALineSaysSo) {
    space.text = "logs: {max_age: 30d}\n";
    job("a");
    says("a", std::string(5000, 'x'));
    job("keeps", Json::object({{"turnout.keep", "1"}}));
    says("keeps", "said");
    later(31 * 24h);
    EXPECT_EQ(prune(true).json.at("rows").items()[0].at("database_bytes").as_int(), 5000);
    EXPECT_EQ(prune().json.at("rows").items()[0].at("database_bytes").as_int(), 5000);
    EXPECT_NE(log_of("a").find("ended more than 30d ago (retention.yaml: logs.max_age)\n"),
              std::string::npos)
        << log_of("a");
    EXPECT_EQ(log_of("keeps"), "said");
    EXPECT_EQ(jobs(), (Names{"a", "keeps"}));
    EXPECT_EQ(prune().json.at("rows").items()[0].at("count").as_int(), 0) << "once";
}

TEST_F(Kept, UploadsGoByTheirSizeTheLongestUnusedFirst) {
    space.text = "data: {max_size: 250B}\n";
    for (const char* name : {"one", "two", "three"}) {
        world.put_blob(blobstore_container(wsid), std::string("LocalUpload/") + name + "/f",
                       std::string(100, name[0]) + name);
        later(25h);
    }
    world.put_blob(blobstore_container(wsid), "LocalUpload/fresh/f", std::string(300, 'f'));
    const Reply said = prune();
    EXPECT_EQ(said.json.at("rows").items()[0].at("count").as_int(), 3) << said.text;
    EXPECT_TRUE(*world.blobs->head(blobstore_container(wsid), "LocalUpload/fresh/f"))
        << "it may be about to be registered";
}

TEST_F(Kept, EventsGoByAgeButForTheNewest) {
    space.text = "events: {max_age: 1d}\n";
    job("a");
    later(48h);
    const auto before = world.store.scan(Table::Event, {});
    EXPECT_GT(before->size(), 1u);
    EXPECT_EQ(prune().json.at("rows").items()[0].at("count").as_int(),
              static_cast<std::int64_t>(before->size()) - 1);
    EXPECT_EQ(world.store.scan(Table::Event, {})->front().key, before->back().key);
    job("b");
    EXPECT_NE(world.send("GET", "/events?job=b").text.find("submitted"), std::string::npos);
}

TEST_F(Kept, AFileThatCannotBeReadRemovesNothingAndIsSaid) {
    space.text = "jobs: {max_age: soon}\n";
    job("a");
    EXPECT_EQ(prune().status, 400);
    EXPECT_NE(prune().message().find("/data/retention.yaml:1:8: jobs.max_age is 'soon'"),
              std::string::npos)
        << prune().message();
    const Reply shown = world.send_raw("GET", "/turnout/space", "", world.user);
    EXPECT_EQ(shown.status, 200);
    EXPECT_NE(shown.json.at("retention").at("error").as_string().find("jobs.max_age"),
              std::string::npos);
    EXPECT_EQ(jobs(), Names{"a"});
    EXPECT_TRUE(space.asked.empty());
}

TEST_F(Kept, TheServerAppliesItByItself) {
    space.text = "jobs: {max_age: 30d}\n";
    job("a");
    keep_retention(world.services);
    later(31 * 24h);
    later(1h);
    EXPECT_TRUE(jobs().empty());
    space.text = "";  // read anew each time
    job("b");
    later(40 * 24h);
    later(1h);
    EXPECT_EQ(jobs(), Names{"b"});
}

// Whatever of it fails, jobs are whole or gone in the end, and nothing keeps a mark.
TEST_F(Kept, AFailureInBetweenIsMadeGoodByTheNextRound) {
    space.text = "jobs: {max_age: 0}\n";
    std::function<void(int)> fail_after = [&](int turns) {
        if (turns == 0)
            world.store.fail_next({Code::ResourceExhausted, "DiskFull", "no space", ""});
        else
            world.loop.post([&, turns] { fail_after(turns - 1); });
    };
    for (int turns = 0; turns < 40; ++turns) {
        job("a" + std::to_string(turns));
        says("a" + std::to_string(turns), "said");
        fail_after(turns);
        prune();
        Batch nothing;  // takes the failure if all went too quickly for it
        nothing.put(Table::Meta, "test", "");
        world.wait(world.store.commit(std::move(nothing)));
        later(1min);
        resume_removals(world.services);
        later(1min);
        EXPECT_EQ(prune().status, 200) << turns;
        EXPECT_TRUE(jobs().empty()) << turns;
        EXPECT_TRUE(world.store.scan(Table::Removal, {})->empty()) << turns;
        EXPECT_TRUE(world.store.scan(Table::Log, {})->empty()) << turns;
        EXPECT_TRUE(world.store.scan(Table::TaskBase, {})->empty()) << turns;
    }
}

}  // namespace
}  // namespace turnout::api
