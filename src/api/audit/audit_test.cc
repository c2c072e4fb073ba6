#include "api/audit/audit.h"

#include <gtest/gtest.h>

#include <random>

#include "api/test_world.h"
#include "base/text.h"

namespace turnout::api {
namespace {

class Audited : public ::testing::Test {
protected:
    Reply call(const std::string& method, const std::string& path, const std::string& bearer,
               const Json& body = {}) {
        return world.send_raw(method, path, body.is_null() ? "" : body.dump(), bearer);
    }
    std::vector<Record> rows() { return *world.store.scan(Table::Audit, {}); }
    Json last() {
        const auto all = rows();
        return all.empty() ? Json() : *parse_json(all.back().value);
    }
    // A user with a role on the server, and their key.
    std::string add(const std::string& name, const std::string& role) {
        EXPECT_EQ(call("POST", "/turnout/users", owner, Json::object({{"name", name}})).status,
                  201);
        EXPECT_EQ(call("POST", "/turnout/assignments", owner,
                       Json::object({{"user", name}, {"role", role}, {"scope", "/"}}))
                      .status,
                  201);
        const Reply made = call("POST", "/turnout/tokens", owner,
                                Json::object({{"user", name}, {"name", "login"}}));
        EXPECT_EQ(made.status, 201) << made.text;
        return made.json.at("token").as_string();
    }
    std::string fault() {
        const Reply reply = call("GET", "/turnout/audit/check", owner);
        EXPECT_EQ(reply.status, 200) << reply.text;
        return reply.json.at("fault").as_string();
    }
    void put(Table table, const std::string& key, std::optional<std::string> value) {
        Batch batch;
        if (value)
            batch.put(table, key, *value);
        else
            batch.erase(table, key);
        ASSERT_TRUE(world.wait(world.store.commit(std::move(batch))));
    }
    std::string in(const std::string& rest) {
        return world.workspace_path() + rest + "?api-version=2024-10-01";
    }
    Json data() {
        return Json::object(
            {{"properties", Json::object({{"dataType", "uri_folder"},
                                          {"dataUri",
                                           "azureml://datastores/workspaceblobstore/"
                                           "paths/x/"}})}});
    }

    World world;
    const std::string owner = world.wait(world.authority->create_api_key("admin"))->reveal();
};

TEST_F(Audited, AWriteIsRecordedWithWhoWhatWhereAndTheAnswerAndReadsAreNot) {
    const std::string ann = add("ann", "Contributor");
    const std::size_t before = rows().size();
    EXPECT_EQ(call("GET", in("/data"), ann).status, 200);
    EXPECT_EQ(rows().size(), before);
    const Reply made = call("PUT", in("/data/d/versions/1"), ann, data());
    ASSERT_EQ(made.status, 201) << made.text;
    ASSERT_EQ(rows().size(), before + 1);
    const Json act = last();
    EXPECT_EQ(act.at("user").as_view(), "ann");
    EXPECT_EQ(act.at("action").as_view(),
              "Microsoft.MachineLearningServices/workspaces/data/write");
    EXPECT_EQ(act.at("method").as_view(), "PUT");
    EXPECT_EQ(act.at("path").as_view(), world.workspace_path() + "/data/d/versions/1");
    EXPECT_EQ(act.at("status").as_int(), 201);
    EXPECT_EQ(act.at("from").as_view(), "127.0.0.1");
    std::string id;
    const Reply keys = call("GET", "/turnout/tokens", ann);
    for (const Json& key : keys.json.at("value").items())
        if (key.at("user").as_view() == "ann") id = key.at("id").as_string();
    EXPECT_EQ(act.at("token").as_view(), id);
    EXPECT_EQ(fault(), "");
}

TEST_F(Audited, ReadingASecretIsRecorded) {
    EXPECT_EQ(
        call("POST", in("/datastores/workspaceblobstore/listSecrets"), world.user, Json::object())
            .status,
        200);
    EXPECT_EQ(last().at("action").as_view(),
              "Microsoft.MachineLearningServices/workspaces/datastores/listSecrets/action");
    EXPECT_EQ(call("POST", in("/listKeys"), world.user, Json::object()).status, 200);
    EXPECT_EQ(last().at("action").as_view(),
              "Microsoft.MachineLearningServices/workspaces/listKeys/action");
    const Reply token =
        world.send_raw("GET", "/msi/token?resource=x", "", "", {{"X-IDENTITY-HEADER", owner}});
    ASSERT_EQ(token.status, 200) << token.text;
    EXPECT_EQ(last().at("action").as_view(), "Turnout/tokens/exchange/action");
    EXPECT_EQ(last().at("user").as_view(), "admin");
}

TEST_F(Audited, PeopleTheirTokensAndRolesAreNamedWhereThePathDoesNot) {
    add("ann", "Reader");
    const auto all = rows();
    ASSERT_EQ(all.size(), 3u);
    const std::vector<std::string> about = {"user ann", "role Reader for user ann on /",
                                            "token login of user ann"};
    for (std::size_t i = 0; i < 3; ++i)
        EXPECT_EQ(parse_json(all[i].value)->at("about").as_view(), about[i]);
}

TEST_F(Audited, NoSecretGetsIntoIt) {
    const std::string ann = add("ann", "Owner");
    call("PUT", in("/data/" + ann + "/versions/1") + "&sig=planted", ann, data());
    call("POST", "/turnout/tokens", ann, Json::object({{"name", ann}}));
    world.send_raw("GET", "/msi/token?resource=x", "", "", {{"X-IDENTITY-HEADER", ann}});
    world.send_raw("GET", "/msi/token?resource=x", "", "", {{"X-IDENTITY-HEADER", ann + "wrong"}});
    call("PUT", in("/data/d/versions/1"), world.user, data());
    call("PUT", in("/data/tks_ofabrowser/versions/1"), ann, data());
    std::string text;
    for (const Record& row : rows()) text += row.value;
    for (const std::string& secret :
         {ann, owner, world.user, std::string("planted"), std::string("ofabrowser")})
        EXPECT_EQ(text.find(secret), std::string::npos) << secret;
    EXPECT_NE(text.find("/data/***/versions/1"), std::string::npos) << text;
}

TEST_F(Audited, WhatIsRefusedIsRecordedAndAFloodOfItCounted) {
    const std::string ann = add("ann", "Reader");
    const std::size_t before = rows().size();
    for (int i = 0; i < 50; ++i)
        EXPECT_EQ(call("PUT", in("/data/d/versions/1"), ann, data()).status, 403);
    EXPECT_EQ(rows().size(), before + 1);
    EXPECT_EQ(last().at("status").as_int(), 403);
    EXPECT_EQ(last().at("user").as_view(), "ann");
    for (int i = 0; i < 50; ++i) EXPECT_EQ(call("GET", in("/jobs"), "tko_none").status, 401);
    EXPECT_EQ(rows().size(), before + 2);
    EXPECT_EQ(last().at("status").as_int(), 401);
    EXPECT_EQ(last().at("user").as_view(), "");
    world.loop.pass(61s);
    world.loop.settle();
    world.loop.pass(61s);
    world.loop.settle();
    const auto all = rows();
    ASSERT_EQ(all.size(), before + 4) << "how many there were is told when the minute is over";
    std::int64_t times = 0;
    for (std::size_t i = before + 2; i < all.size(); ++i)
        times += parse_json(all[i].value)->at("times").as_int();
    EXPECT_EQ(times, 98);
    EXPECT_EQ(fault(), "");
}

TEST_F(Audited, OneRecordStandsForAllMetricsOfARun) {
    JobRecord job = running_job(world.workspace.id);
    job.principal = "ann";
    world.save(job);
    ASSERT_TRUE(
        world.wait(world.tracking.ensure_job_run(world.workspace.id, "j", "exp", "j", "ann")));
    const std::string run = world.token({Principal::Kind::Run, "j", world.workspace.id, "j", 1});
    const std::size_t before = rows().size();
    const std::string path =
        "/mlflow/v1.0" + world.workspace_path() + "/api/2.0/mlflow/runs/log-metric";
    for (int i = 0; i < 40; ++i) {
        const Reply logged =
            call("POST", path, run,
                 Json::object(
                     {{"run_id", "j"}, {"key", "m"}, {"value", i}, {"timestamp", 1}, {"step", i}}));
        ASSERT_EQ(logged.status, 200) << logged.text;
    }
    ASSERT_EQ(rows().size(), before + 1);
    EXPECT_EQ(last().at("user").as_view(), "ann") << "who submitted the job";
    EXPECT_EQ(last().at("job").as_view(), "j");
    EXPECT_EQ(last().at("about").as_view(), "run j");
}

TEST_F(Audited, IsForOwnersAlone) {
    for (const std::string role : {"Contributor", "Reader"}) {
        const std::string name = to_lower(role), key = add(name, role);
        EXPECT_EQ(call("GET", "/turnout/audit", key).status, 403) << role;
        EXPECT_EQ(call("GET", "/turnout/audit/check", key).status, 403) << role;
    }
    EXPECT_EQ(call("GET", "/turnout/audit", add("boss", "Owner")).status, 200);
}

TEST_F(Audited, IsReadByTimeUserAndActionInPages) {
    const std::string ann = add("ann", "Contributor"), bob = add("bob", "Contributor");
    world.loop.pass(10s);
    const std::string since = to_iso8601(world.loop.now());
    for (int i = 0; i < 5; ++i) {
        const std::string n = std::to_string(i);
        ASSERT_EQ(call("PUT", in("/data/d/versions/" + n), i % 2 ? ann : bob, data()).status, 201);
    }
    const auto read = [&](const std::string& query) {
        const Reply reply = call("GET", "/turnout/audit?" + query, world.user);
        EXPECT_EQ(reply.status, 200) << reply.text;
        return reply.json;
    };
    const std::string from = "since=" + percent_encode(since);
    EXPECT_EQ(read(from).at("value").items().size(), 5u);
    EXPECT_EQ(read(from + "&user=ann").at("value").items().size(), 2u);
    EXPECT_EQ(read(from + "&action=jobs/write").at("value").items().size(), 0u);
    EXPECT_EQ(read(from + "&action=data/write").at("value").items().size(), 5u);
    std::size_t count = 0;
    std::string at = from;
    for (int pages = 0; pages < 10; ++pages) {
        const Json page = read(at + "&limit=2");
        count += page.at("value").items().size();
        at = "after=" + std::to_string(page.at("next").as_int());
        if (!page.at("more").as_bool()) break;
    }
    EXPECT_EQ(count, 5u);
    const Json newest = read("limit=3");
    ASSERT_EQ(newest.at("value").items().size(), 3u);
    EXPECT_EQ(newest.at("value").items()[2].at("n"), newest.at("next"));
}

// Any byte of any row changed, any row removed, and what is written down about the ends.
TEST_F(Audited, TamperingIsFound) {
    add("ann", "Reader");
    add("bob", "Reader");
    ASSERT_EQ(fault(), "");
    const std::vector<Record> whole = rows();
    std::mt19937 random(11);
    for (const Record& row : whole) {
        const std::string name = "record " + std::to_string(std::stoull(row.key, nullptr, 16));
        put(Table::Audit, row.key, std::nullopt);
        EXPECT_EQ(fault(), name + " is missing");
        for (int i = 0; i < 20; ++i) {
            std::string changed = row.value;
            char& byte = changed[random() % changed.size()];
            byte = static_cast<char>(byte ^ static_cast<char>(1 + random() % 255));
            put(Table::Audit, row.key, changed);
            EXPECT_EQ(fault(), name + " was changed");
        }
        put(Table::Audit, row.key, row.value);
        ASSERT_EQ(fault(), "");
    }
    // The last ones, with ends that say so, but without the server's key.
    const std::string ends = (*world.store.get(Table::Meta, "audit"))->value;
    for (std::size_t i = 0; i < ends.size(); i += 3) {
        std::string changed = ends;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        put(Table::Meta, "audit", changed);
        EXPECT_NE(fault(), "") << i;
    }
    put(Table::Meta, "audit", std::nullopt);
    EXPECT_NE(fault(), "");
    put(Table::Meta, "audit", ends);
    EXPECT_EQ(fault(), "");
}

TEST_F(Audited, GoesOnAfterARestartAndWhatWasMissingThenStaysFound) {
    add("ann", "Reader");
    const auto again = [&] {
        world.audit = std::make_unique<Audit>(world.store, world.loop, world.loop,
                                              world.authority->link_key());
        EXPECT_TRUE(world.audit->open());
        world.services.audit = world.audit.get();
    };
    again();
    add("bob", "Reader");
    EXPECT_EQ(fault(), "");
    put(Table::Audit, rows().back().key, std::nullopt);
    put(Table::Meta, "audit", std::nullopt);
    again();
    EXPECT_NE(fault(), "");
    add("eve", "Reader");
    EXPECT_NE(fault(), "") << "new records do not mend it";
}

// Whoever has only the database takes the newest records away and writes ends that fit to the rest.
TEST_F(Audited, EndsThatSomebodyElseWroteAreNotGoneOnFrom) {
    add("ann", "Reader");
    add("bob", "Reader");
    const auto before = rows();
    const std::string& last = before[before.size() - 2].value;
    put(Table::Audit, before.back().key, std::nullopt);
    put(Table::Meta, "audit",
        Json::object({{"before", 0},
                      {"beforeHash", std::string(64, '0')},
                      {"last", static_cast<std::int64_t>(before.size()) - 1},
                      {"lastHash", last.substr(last.size() - 66, 64)},
                      {"seal", std::string(64, '0')}})
            .dump());
    world.audit =
        std::make_unique<Audit>(world.store, world.loop, world.loop, world.authority->link_key());
    ASSERT_TRUE(world.audit->open());
    world.services.audit = world.audit.get();
    EXPECT_NE(fault(), "");
    add("eve", "Reader");
    EXPECT_NE(fault(), "") << "new records do not mend it";
}

TEST_F(Audited, ACutLeavesAnAnchor) {
    add("ann", "Reader");
    world.loop.pass(48h);
    add("bob", "Reader");
    const std::size_t before = rows().size();
    Turn turn(world.services);
    const Instant limit = world.loop.now() - 24h;
    EXPECT_EQ(world.wait(world.audit->cut(turn, limit, true))->count, 3u);
    EXPECT_EQ(rows().size(), before);
    EXPECT_EQ(world.wait(world.audit->cut(turn, limit, false))->count, 3u);
    EXPECT_EQ(rows().size(), before - 3 + 1) << "that it was cut is on record";
    EXPECT_EQ(last().at("via").as_view(), "retention");
    EXPECT_EQ(fault(), "");
    put(Table::Audit, rows().front().key, std::nullopt);
    EXPECT_EQ(fault(), "record 4 is missing");
}

// Its record is written beside the commit that makes it, so it is there before that may fail.
TEST_F(Audited, ASubmittedJobIsRecordedOnceAndOneThatFailsAfterAllOnceMore) {
    const Json compute = Json::object(
        {{"computeType", "AmlCompute"},
         {"properties", Json::object({{"vmSize", "STANDARD_DS2_V2"},
                                      {"scaleSettings", Json::object({{"maxNodeCount", 1}})}})}});
    const Reply made =
        call("PUT", in("/computes/cc"), owner, Json::object({{"properties", compute}}));
    ASSERT_EQ(made.status, 201) << made.text;
    const Json job = Json::object(
        {{"properties", Json::object({{"jobType", "Command"},
                                      {"command", "true"},
                                      {"environmentId",
                                       "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest"},
                                      {"computeId", world.workspace_path() + "/computes/cc"}})}});
    std::size_t before = rows().size();
    ASSERT_EQ(call("PUT", in("/jobs/first"), owner, job).status, 201);
    ASSERT_EQ(rows().size(), before + 1);
    EXPECT_EQ(last().at("status").as_int(), 201);
    EXPECT_EQ(last().at("path").as_view(), world.workspace_path() + "/jobs/first");

    before = rows().size();
    world.store.fail_next({Code::Unavailable, "Io", "the disk is away", "", nullptr});
    const Reply failed = call("PUT", in("/jobs/second"), owner, job);
    EXPECT_EQ(failed.status, 503) << failed.text;
    world.loop.pass(5s);
    world.loop.settle();
    EXPECT_EQ(call("GET", in("/jobs/second"), owner).status, 404);
    const auto all = rows();
    ASSERT_EQ(all.size(), before + 2);
    EXPECT_NE(all[before].value.find("\"status\":201"), std::string::npos);
    EXPECT_NE(all[before + 1].value.find("\"status\":503"), std::string::npos);
    EXPECT_EQ(fault(), "");
}

TEST_F(Audited, WhatCannotBeRecordedIsNotAnswered) {
    // The commit of the audit is the first one: a secret is read without any.
    world.store.fail_next({Code::Unavailable, "Io", "the disk is away", "", nullptr});
    const Reply refused =
        call("POST", in("/datastores/workspaceblobstore/listSecrets"), world.user, Json::object());
    EXPECT_EQ(refused.status, 503) << refused.text;
    EXPECT_EQ(refused.code(), "AuditNotWritten");
    world.loop.pass(2s);
    world.loop.settle();
    EXPECT_EQ(rows().size(), 1u) << "it is written when that is possible again";
    EXPECT_EQ(fault(), "");
}

}  // namespace
}  // namespace turnout::api
