// Deleting what others need, or a server that dies in the middle, and what is left.
#include <gtest/gtest.h>

#include <deque>
#include <memory>

#include "api/test_world.h"
#include "control/jobs.h"

namespace turnout::api {
namespace {

const std::string kPaths = "azureml://datastores/workspaceblobstore/paths/";

class Upkeep : public testing::Test {
protected:
    Reply put(const std::string& path, const Json& properties) {
        return world.send("PUT", path, Json::object({{"properties", properties}}));
    }
    void job(const std::string& name, const Json& inputs = Json::object()) {
        const Reply reply =
            put("/jobs/" + name,
                Json::object({{"jobType", "Command"},
                              {"command", "true"},
                              {"environmentId",
                               "azureml://registries/azureml/environments/sklearn-1.5/versions/1"},
                              {"inputs", inputs}}));
        ASSERT_EQ(reply.status, 201) << reply.text;
    }
    static Json folder(const std::string& path) {
        return Json::object(
            {{"in", Json::object({{"jobInputType", "uri_folder"}, {"uri", path}})}});
    }
    void cancel(const std::string& name) {
        ASSERT_EQ(world.send("POST", "/jobs/" + name + "/cancel").status, 202);
        world.loop.settle();
    }
    void files(const std::string& name) {
        world.put_blob(store, "azureml/" + name + "/out/x", std::string(100, 'x'));
        world.put_blob(artifacts, "ExperimentRun/dcid." + name + "/outputs/y", "y of " + name);
    }
    bool there(const std::string& container, const std::string& name) {
        const auto found = world.blobs->head(container, name);
        return found && *found;
    }
    Reply turnout(const std::string& method, const std::string& path, const Json& body = {}) {
        return world.send_raw(method, path, body.is_null() ? "" : body.dump(), world.user);
    }
    // Sent, and not waited for.
    using Begun = std::unique_ptr<World::Sent>;
    void begin_send(Begun& begun, const std::string& method, const std::string& path,
                    const Json& body = {}) {
        begun = world.begin_raw(method, path.starts_with("/turnout/") ? path : world.arm_path(path),
                                body.is_null() ? "" : body.dump(), world.user);
    }
    std::vector<std::string> marked() {
        std::vector<std::string> names;
        const auto rows = world.store.scan(Table::Removal, {});
        for (const Record& row : *rows) names.push_back(row.key.substr(row.key.find('/') + 1));
        return names;
    }
    void write(Table table, const std::string& key, std::optional<std::string> value) {
        Batch batch;
        batch.writes.push_back({table, key, std::move(value), std::nullopt});
        ASSERT_TRUE(world.wait(world.store.commit(std::move(batch))));
    }
    Reply prune(const std::string& kind, bool dry_run = false) {
        return turnout(
            "POST", "/turnout/prune",
            Json::object(
                {{"kinds", Json::array({kind})}, {"older_than_seconds", 0}, {"dry_run", dry_run}}));
    }
    std::size_t rows_with(const std::string& prefix) {
        std::size_t count = 0;
        for (std::size_t table = 0; table <= static_cast<std::size_t>(kLastTable); ++table)
            count += world.store.scan(static_cast<Table>(table), with_prefix(prefix))->size();
        return count;
    }

    std::size_t rows_in(Table table) { return world.store.scan(table, {})->size(); }

    World world;
    const std::string wsid = world.workspace.id;
    const std::string store = blobstore_container(wsid), artifacts = artifact_container(wsid);
};

TEST_F(Upkeep, ASweepStaysWhileOneReadsFromATrial) {
    for (const char* name : {"s", "t"}) {
        job(name);
        files(name);
        cancel(name);
    }
    files("s_3");
    files("t_x");  // no trial's name
    job("reader", folder(kPaths + "azureml/s_3/out"));
    job("other", folder(kPaths + "azureml/t_x/out"));
    const Reply refused = world.send("DELETE", "/jobs/s");
    EXPECT_EQ(refused.status, 409);
    EXPECT_NE(refused.message().find("'reader'"), std::string::npos) << refused.message();
    EXPECT_LT(world.send("DELETE", "/jobs/t").status, 300);
}

// Also of one that has no replica just now: its next one reads it.
TEST_F(Upkeep, WhatAServiceIsMadeOfStays) {
    job("made");
    files("made");
    cancel("made");
    const std::string code = code_container(wsid, "0123456789abcdef0123456789abcdef"),
                      unused = code_container(wsid, "00000000000000000000000000000000");
    for (const std::string& container : {code, unused})
        world.put_blob(container, "score.py", std::string(100, 's'));
    world.put_blob(store, "LocalUpload/read/x", "x");
    world.put_blob(store, "LocalUpload/other/x", "x");
    ServiceSubmission wish;
    wish.workspace = wsid;
    wish.name = "s";
    wish.compute = "serverless";
    wish.wanted = 0;
    wish.principal = "admin";
    wish.task.command = "serve";
    wish.task.service.emplace();
    wish.task.code.emplace();
    wish.task.code->container = code;
    for (const std::string prefix : {"azureml/made", "LocalUpload/read"}) {
        agent_protocol::TaskInput input;
        input.name = "in" + std::to_string(wish.task.inputs.size());
        input.blobs.emplace();
        input.blobs->container = store;
        input.blobs->prefix = prefix;
        wish.task.inputs.push_back(std::move(input));
    }
    std::string answer;
    world.control.put_service(
        wish, [&](Result<Put> put) { answer = put ? "taken" : put.error().message; });
    world.loop.settle();
    ASSERT_EQ(answer, "taken");
    const Reply refused = world.send("DELETE", "/jobs/made");
    EXPECT_EQ(refused.status, 409);
    EXPECT_NE(refused.message().find("service 's', which has not ended, reads its outputs"),
              std::string::npos)
        << refused.message();
    world.loop.pass(1s);
    EXPECT_EQ(prune("data").status, 200);
    EXPECT_TRUE(there(code, "score.py"));
    EXPECT_FALSE(there(unused, "score.py"));
    EXPECT_TRUE(there(store, "LocalUpload/read/x"));
    EXPECT_FALSE(there(store, "LocalUpload/other/x"));
    const Reply kept = world.send("DELETE", "");
    EXPECT_EQ(kept.status, 409);
    EXPECT_NE(kept.message().find("has service 's'"), std::string::npos) << kept.message();
}

TEST_F(Upkeep, WhatIsBeingDeletedIsGivenToNobody) {
    for (const char* name : {"a", "a_3", "a_x"}) files(name);
    Batch batch;
    batch.put(Table::Removal, wsid + "/a", "1");
    ASSERT_TRUE(world.wait(world.store.commit(std::move(batch))));
    const auto ask = [&](const std::string& name) {
        return put(
            "/jobs/reader-" + name,
            Json::object({{"jobType", "Command"},
                          {"command", "true"},
                          {"environmentId",
                           "azureml://registries/azureml/environments/sklearn-1.5/versions/1"},
                          {"inputs", folder(kPaths + "azureml/" + name + "/out")}}));
    };
    for (const char* name : {"a", "a_3"}) {
        const Reply refused = ask(name);
        EXPECT_EQ(refused.status, 409) << name;
        EXPECT_NE(refused.message().find("is being deleted"), std::string::npos)
            << refused.message();
    }
    EXPECT_EQ(ask("a_x").status, 201);
}

// At whichever door it is asked for, and however it is called.
TEST_F(Upkeep, WhatIsBeingDeletedIsRegisteredByNobody) {
    job("a");
    cancel("a");
    for (const char* name : {"a", "b"}) files(name);
    Batch batch;
    batch.put(Table::Removal, wsid + "/a", "1");
    ASSERT_TRUE(world.wait(world.store.commit(std::move(batch))));
    const std::string blob = "http://x/blob/", in_artifacts = "ExperimentRun/dcid.a/outputs";
    int version = 0;
    const auto data = [&](const std::string& uri) {
        return put("/data/d/versions/" + std::to_string(++version),
                   Json::object({{"dataType", "uri_folder"}, {"dataUri", uri}}));
    };
    const auto model = [&](const std::string& uri) {
        return put("/models/m/versions/" + std::to_string(++version),
                   Json::object({{"modelUri", uri}}));
    };
    const auto mlflow = [&](const std::string& source) {
        const std::string api =
            "/mlflow/v2.0" + world.workspace_path() + "/api/2.0/mlflow/model-versions/create";
        return turnout("POST", api, Json::object({{"name", "m"}, {"source", source}}));
    };
    ASSERT_EQ(model(kPaths + "azureml/b/out").status, 201);
    EXPECT_EQ(data(blob + store + "/azureml/b/out").status, 201);
    const Reply other = mlflow(kPaths + "azureml/b/out");
    EXPECT_EQ(other.status, 200) << other.text;
    const std::string artifacts_of_a =
        "azureml://datastores/workspaceartifactstore/paths/" + in_artifacts;
    for (const Reply& refused :
         {data(kPaths + "azureml/a/out"), data(blob + store + "/azureml/a/out"),
          data("azureml://jobs/a/outputs/artifacts"), model(blob + artifacts + "/" + in_artifacts),
          model(artifacts_of_a), mlflow(artifacts_of_a), mlflow("runs:/a/outputs"),
          mlflow("mlflow-artifacts:/a/artifacts/outputs"), mlflow(kPaths + "azureml/a/out")}) {
        EXPECT_GE(refused.status, 400);
        EXPECT_NE(refused.text.find("is being deleted"), std::string::npos) << refused.text;
    }
}

// Either the job is refused what is being deleted, or that stays.
TEST_F(Upkeep, WhoAsksForItWhileItIsMarkedIsSeen) {
    for (const bool deletes_first : {true, false})
        for (int between = 0; between < 12; ++between) {
            const std::string name =
                "a" + std::to_string(between) + (deletes_first ? "first" : "then");
            job(name);
            files(name);
            cancel(name);
            const Json wanted =
                Json::object({{"jobType", "Command"},
                              {"command", "true"},
                              {"experimentName", "of " + name},
                              {"environmentId",
                               "azureml://registries/azureml/environments/sklearn-1.5/versions/1"},
                              {"inputs", folder(kPaths + "azureml/" + name + "/out")}});
            Begun deleted, submitted;
            const auto begin_one = [&](bool deletes) {
                if (deletes)
                    begin_send(deleted, "DELETE", "/jobs/" + name);
                else
                    begin_send(submitted, "PUT", "/jobs/reader-" + name,
                               Json::object({{"properties", wanted}}));
            };
            begin_one(deletes_first);
            for (int i = 0; i < between; ++i) world.loop.step();
            begin_one(!deletes_first);
            world.loop.settle();
            world.loop.pass(1s);
            ASSERT_TRUE(deleted->outcome.done() && submitted->outcome.done());
            const bool reads = submitted->outcome->status == 201;
            EXPECT_EQ(there(store, "azureml/" + name + "/out/x"), reads) << name;
            EXPECT_NE(reads, deleted->outcome->status < 300) << name;
        }
    EXPECT_TRUE(world.store.scan(Table::Removal, {})->empty());
}

TEST_F(Upkeep, WhatALivingJobOrAnAssetNeedsStays) {
    job("a");
    files("a");
    world.put_blob(store, "azureml/a/kept/z", "z");
    cancel("a");
    ASSERT_EQ(
        put("/models/m/versions/1", Json::object({{"modelUri", kPaths + "azureml/a/kept"}})).status,
        201);
    job("reader", folder(kPaths + "azureml/a/out"));
    const Reply refused = world.send("DELETE", "/jobs/a");
    EXPECT_EQ(refused.status, 409);
    EXPECT_NE(refused.message().find("'reader'"), std::string::npos) << refused.message();
    EXPECT_EQ(prune("jobs").json.at("rows").items()[0].at("count").as_int(), 0);
    EXPECT_TRUE(there(store, "azureml/a/out/x"));

    cancel("reader");
    world.loop.pass(1s);
    const Reply dry = prune("jobs", true);
    EXPECT_EQ(dry.json.at("rows").items()[0].at("count").as_int(), 1) << dry.text;
    EXPECT_NE(dry.text.find("job a: model m:1 was made from it"), std::string::npos) << dry.text;
    EXPECT_EQ(prune("jobs").json.at("rows").items()[0].at("items").dump(), R"(["reader"])");
    EXPECT_TRUE(there(store, "azureml/a/out/x"));
    // Who asks for it by name gets it, without the files of the model.
    EXPECT_LT(world.send("DELETE", "/jobs/a").status, 300);
    EXPECT_EQ(world.send("GET", "/jobs/a").status, 404);
    EXPECT_FALSE(there(store, "azureml/a/out/x"));
    EXPECT_FALSE(there(artifacts, "ExperimentRun/dcid.a/outputs/y"));
    EXPECT_TRUE(there(store, "azureml/a/kept/z")) << "a model is there";
    EXPECT_FALSE(*world.tracking.find_run(wsid, "a"));
}

TEST_F(Upkeep, AnEstimateCountsWhatBecomesFree) {
    for (const char* name : {"a", "b"}) {
        job(name);
        files(name);
        cancel(name);
        world.loop.pass(1s);
    }
    const Reply dry = prune("jobs", true);
    EXPECT_EQ(dry.json.at("rows").items()[0].at("count").as_int(), 2) << dry.text;
    EXPECT_EQ(dry.json.at("rows").items()[0].at("bytes").as_int(), 100 + 2 * 6);
    EXPECT_TRUE(there(store, "azureml/a/out/x"));
    EXPECT_EQ(prune("jobs").json.at("rows").items()[0].at("bytes").as_int(), 100 + 2 * 6);
    EXPECT_FALSE(there(store, "azureml/a/out/x"));
}

TEST_F(Upkeep, UploadsAndCodeGoWhenNothingNamesThem) {
    const std::string container = code_container(wsid, std::string(32, 'c'));
    world.put_blob(container, "src/a.py", "print()");
    ASSERT_EQ(put("/codes/c/versions/1",
                  Json::object({{"codeUri", "http://x/blob/" + container + "/src"}}))
                  .status,
              201);
    for (const char* hash : {"one", "two", "three"})
        world.put_blob(store, std::string("LocalUpload/") + hash + "/d/f", hash);
    world.put_blob(store, "mine/f", "by hand");
    ASSERT_EQ(put("/data/d/versions/1", Json::object({{"dataType", "uri_folder"},
                                                      {"dataUri", kPaths + "LocalUpload/one/d"}}))
                  .status,
              201);
    job("a", folder(kPaths + "LocalUpload/two/d"));
    cancel("a");
    world.loop.pass(1s);
    EXPECT_EQ(prune("data").json.at("rows").items()[0].at("count").as_int(), 2);
    EXPECT_TRUE(there(store, "LocalUpload/one/d/f") && there(store, "LocalUpload/two/d/f") &&
                there(store, "mine/f"));
    EXPECT_FALSE(there(store, "LocalUpload/three/d/f"));
    EXPECT_FALSE(there(container, "src/a.py"));
    EXPECT_EQ(world.send("GET", "/codes/c/versions/1").status, 404);
    EXPECT_EQ(prune("everything").status, 400);
}

TEST_F(Upkeep, ContentOfSeveralNamesCountsOnce) {
    job("a");
    world.put_blob(store, "LocalUpload/one/f", std::string(70'000, 'x'));
    world.put_blob(store, "azureml/a/out/f", std::string(70'000, 'x'));
    world.put_blob(store, "azureml/a/out/g", std::string(1'000, 'g'));
    std::map<std::string, std::int64_t> bytes;
    const Reply space = turnout("GET", "/turnout/space");
    ASSERT_EQ(space.status, 200) << space.text;
    for (const Json& row : space.json.at("rows").items())
        if (row.at("kind").as_view() != "tasks")
            bytes[row.at("kind").as_string()] = row.at("bytes").as_int();
    EXPECT_EQ(bytes, (std::map<std::string, std::int64_t>{{"outputs", 71'000}, {"uploads", 0}}));
    EXPECT_EQ(space.json.at("shared").at("bytes").as_int(), 70'000);
    cancel("a");
    world.loop.pass(1s);
    EXPECT_EQ(prune("jobs", true).json.at("rows").items()[0].at("bytes").as_int(), 1'000)
        << "the upload keeps the rest";
}

TEST_F(Upkeep, WhatJobsShareGoesWithTheLastOfThem) {
    const auto tasks = [&] { return rows_in(Table::TaskBase); };
    job("first");
    job("second");
    const std::size_t shared = tasks();
    put("/jobs/other",
        Json::object({{"jobType", "Command"},
                      {"command", "true"},
                      {"environmentVariables", Json::object({{"OWN", "1"}})},
                      {"environmentId",
                       "azureml://registries/azureml/environments/sklearn-1.5/versions/1"}}));
    EXPECT_EQ(tasks(), shared + 1);
    cancel("other");
    EXPECT_LT(world.send("DELETE", "/jobs/other").status, 300);
    cancel("first");
    world.loop.pass(1s);
    const Reply space = turnout("GET", "/turnout/space");
    EXPECT_NE(space.text.find("tasks that jobs share"), std::string::npos) << space.text;
    EXPECT_GT(prune("jobs").json.at("rows").items()[0].at("database_bytes").as_int(), 0);
    EXPECT_EQ(tasks(), shared) << "of a deleted job, and of a pruned one: the second lives";
    // Jobs of earlier builds do not say it in the short row.
    Batch batch;
    const auto rows = world.store.scan(Table::JobCreated, {});
    for (const Record& row : *rows) batch.put(Table::JobCreated, row.key, "");
    ASSERT_TRUE(world.wait(world.store.commit(std::move(batch))));
    resume_removals(world.services);
    world.loop.settle();
    EXPECT_EQ(tasks(), shared);
    cancel("second");
    EXPECT_LT(world.send("DELETE", "/jobs/second").status, 300);
    EXPECT_EQ(tasks(), shared) << "whoever deletes one job does not look at all others";
    resume_removals(world.services);
    world.loop.settle();
    EXPECT_EQ(tasks(), 0u);
}

TEST_F(Upkeep, ARemovalThatWasBegunIsFinished) {
    job("a");
    files("a");
    cancel("a");
    job("b");
    cancel("b");
    Batch batch;
    batch.put(Table::Removal, wsid + "/a",
              std::to_string((*read_job(world.store, wsid, "a"))->record.created.micros));
    batch.put(Table::Removal, wsid + "/b", "1");  // an earlier one of that name
    ASSERT_TRUE(world.wait(world.store.commit(std::move(batch))));
    resume_removals(world.services);
    world.loop.settle();
    EXPECT_EQ(world.send("GET", "/jobs/a").status, 404);
    EXPECT_FALSE(there(store, "azureml/a/out/x"));
    EXPECT_EQ(world.send("GET", "/jobs/b").status, 200);
    EXPECT_TRUE(world.store.scan(Table::Removal, {})->empty());
}

TEST_F(Upkeep, AMarkIsTakenBackWhereNothingWent) {
    for (const char* name : {"a", "b"}) {
        job(name);
        files(name);
        cancel(name);
        world.loop.pass(1s);
    }
    const std::string bad = wsid + "/models/m/1";
    write(Table::AssetVersion, bad, "{");  // so that what is needed cannot be found
    EXPECT_GE(prune("jobs").status, 400);
    EXPECT_EQ(marked(), std::vector<std::string>());
    EXPECT_GE(world.send("DELETE", "/jobs/a").status, 400);
    EXPECT_EQ(marked(), std::vector<std::string>());
    write(Table::AssetVersion, bad, std::nullopt);
    // Of one something has gone: that one keeps its mark.
    const std::string no_log = wsid + "/b/x";
    write(Table::Log, no_log, "x");
    EXPECT_GE(prune("jobs").status, 400);
    EXPECT_EQ(marked(), std::vector<std::string>{"b"});
    EXPECT_FALSE(there(store, "azureml/b/out/x"));
    write(Table::Log, no_log, std::nullopt);
    resume_removals(world.services);
    world.loop.settle();
    EXPECT_EQ(marked(), std::vector<std::string>());
    EXPECT_EQ(world.send("GET", "/jobs/b").status, 404);
    EXPECT_EQ(world.send("GET", "/jobs/a").status, 404) << "it was begun beside the other one";
    EXPECT_EQ(prune("jobs").json.at("rows").items()[0].at("count").as_int(), 0);
    EXPECT_EQ(marked(), std::vector<std::string>());
}

// Two remove it, and its name is taken again as soon as that is possible.
TEST_F(Upkeep, AJobThatTookTheNameOfARemovedOneStays) {
    const Json again = Json::object(
        {{"properties",
          Json::object({{"jobType", "Command"},
                        {"command", "another"},
                        {"environmentId",
                         "azureml://registries/azureml/environments/sklearn-1.5/versions/1"}})}});
    for (const bool prunes : {true, false})
        for (int between = 0; between < 40; ++between) {
            const std::string name = (prunes ? "p" : "d") + std::to_string(between);
            const auto make = [&](const std::string& one) {
                job(one);
                files(one);
                cancel(one);
                world.loop.pass(1s);
            };
            make(name);  // the oldest: it goes last
            if (prunes)
                for (int i = 0; i < 5; ++i) make(name + "-newer" + std::to_string(i));
            Begun first, second;
            if (prunes)
                begin_send(first, "POST", "/turnout/prune",
                           Json::object({{"kinds", Json::array({"jobs"})},
                                         {"older_than_seconds", 0},
                                         {"dry_run", false}}));
            else
                begin_send(first, "DELETE", "/jobs/" + name);
            for (int i = 0; i < between; ++i) world.loop.step();
            begin_send(second, "DELETE", "/jobs/" + name);
            std::deque<Begun> puts;
            bool made = false;
            for (int i = 0; i < 200 && !made; ++i) {
                begin_send(puts.emplace_back(), "PUT", "/jobs/" + name, again);
                for (int steps = 0; steps < 50 && !puts.back()->outcome.done(); ++steps)
                    world.loop.step();
                ASSERT_TRUE(puts.back()->outcome.done());
                made = puts.back()->outcome->status == 201;
                if (!made) world.loop.step();
            }
            ASSERT_TRUE(made) << name << " " << puts.back()->outcome->body;
            files(name);
            world.loop.settle();
            world.loop.pass(1s);
            ASSERT_TRUE(first->outcome.done() && second->outcome.done());
            EXPECT_LT(first->outcome->status, 500) << first->outcome->body;
            EXPECT_LT(second->outcome->status, 500) << second->outcome->body;
            EXPECT_TRUE(*world.tracking.find_run(wsid, name)) << name;
            EXPECT_TRUE(there(store, "azureml/" + name + "/out/x")) << name;
            EXPECT_EQ(world.send("GET", "/jobs/" + name).properties().at("command").as_string(),
                      "another")
                << name;
            EXPECT_EQ(marked(), std::vector<std::string>()) << name;
            cancel(name);
            EXPECT_LT(world.send("DELETE", "/jobs/" + name).status, 300);
        }
}

TEST_F(Upkeep, AMarkThatAnotherOneSetIsNotTakenBack) {
    job("a");
    files("a");
    cancel("a");
    world.loop.pass(1s);
    const std::string no_log = wsid + "/a/x", bad = wsid + "/models/m/1";
    write(Table::Log, no_log, "x");
    EXPECT_GE(world.send("DELETE", "/jobs/a").status, 400);
    ASSERT_EQ(marked(), std::vector<std::string>{"a"}) << "half of it has gone";
    write(Table::AssetVersion, bad, "{");  // so that what is needed cannot be found
    job("b");
    files("b");
    cancel("b");
    world.loop.pass(1s);
    EXPECT_GE(prune("jobs").status, 400);
    EXPECT_EQ(marked(), std::vector<std::string>{"a"});
    files("a");
    EXPECT_GE(world.send("DELETE", "/jobs/a").status, 400);
    EXPECT_EQ(marked(), std::vector<std::string>{"a"});
    write(Table::AssetVersion, bad, std::nullopt);
    write(Table::Log, no_log, std::nullopt);
    EXPECT_EQ(prune("jobs").json.at("rows").items()[0].at("count").as_int(), 2);
    EXPECT_EQ(marked(), std::vector<std::string>());
}

TEST_F(Upkeep, ANameIsFreeWhenItsJobHasGone) {
    job("a");
    cancel("a");
    const auto put_a = [&](const std::string& name) {
        return put(
            "/jobs/" + name,
            Json::object({{"jobType", "Command"},
                          {"command", "true"},
                          {"environmentId",
                           "azureml://registries/azureml/environments/sklearn-1.5/versions/1"}}));
    };
    write(Table::Removal, wsid + "/a", "1");
    for (const char* name : {"a", "a_3"}) {
        const Reply refused = put_a(name);
        EXPECT_EQ(refused.status, 409) << refused.text;
        EXPECT_NE(refused.message().find("is being deleted"), std::string::npos) << refused.text;
    }
    // A server died, or its disk was full, before the mark was gone.
    for (const char* name : {"b", "c"}) write(Table::Removal, wsid + "/" + name, "1");
    for (const char* name : {"b", "c_3"}) EXPECT_EQ(put_a(name).status, 201);
    EXPECT_EQ(marked(), std::vector<std::string>{"a"});
}

// An earlier life marked it, and then saw that it is needed.
TEST_F(Upkeep, AJobThatIsNeededLosesItsMarkAtTheStart) {
    job("a");
    files("a");
    cancel("a");
    job("reader", folder(kPaths + "azureml/a/out"));
    write(Table::Removal, wsid + "/a",
          std::to_string((*read_job(world.store, wsid, "a"))->record.created.micros));
    resume_removals(world.services);
    world.loop.settle();
    EXPECT_EQ(marked(), std::vector<std::string>());
    EXPECT_TRUE(there(store, "azureml/a/out/x"));
}

TEST_F(Upkeep, ASweepTakesOnlyItsOwnTrialsAlong) {
    const Reply made =
        put("/jobs/s", *parse_json(R"({"jobType":"Sweep","searchSpace":{"x":["choice",[[1,2]]]},
            "samplingAlgorithm":{"samplingAlgorithmType":"Grid"},
            "objective":{"goal":"Maximize","primaryMetric":"acc"},
            "limits":{"maxTotalTrials":2,"maxConcurrentTrials":2},
            "trial":{"command":"true","environmentId":
                "azureml://registries/azureml/environments/sklearn-1.5/versions/1"}})"));
    ASSERT_EQ(made.status, 201) << made.text;
    world.loop.pass(1s);
    ASSERT_EQ(world.send("GET", "/jobs/s_1").status, 200);
    cancel("s");
    world.loop.pass(1s);
    EXPECT_LT(world.send("DELETE", "/jobs/s_0").status, 300);
    job("s_0");
    files("s_0");
    EXPECT_LT(world.send("DELETE", "/jobs/s").status, 300);
    EXPECT_EQ(world.send("GET", "/jobs/s_1").status, 404);
    EXPECT_EQ(world.send("GET", "/jobs/s_0").status, 200);
    EXPECT_TRUE(there(store, "azureml/s_0/out/x"));
    EXPECT_TRUE(*world.tracking.find_run(wsid, "s_0"));
}

TEST_F(Upkeep, ARemovalWaitsForRoomInTheStore) {
    for (const char* name : {"a", "b"}) {
        job(name);
        cancel(name);
    }
    for (int i = 0; i < 3; ++i) world.store.refuse_next();
    EXPECT_LT(world.send("DELETE", "/jobs/a").status, 300);
    for (int i = 0; i < 3; ++i) world.store.refuse_next();
    world.loop.pass(1s);
    EXPECT_EQ(prune("jobs").json.at("rows").items()[0].at("count").as_int(), 1);
    EXPECT_EQ(marked(), std::vector<std::string>());
}

TEST_F(Upkeep, AVersionThatIsUsedStaysAndTheNewestIsTheNewestThatIsLeft) {
    for (const char* version : {"1", "2"}) {
        world.put_blob(store, std::string("d") + version + "/f", version);
        ASSERT_EQ(
            put(std::string("/data/d/versions/") + version,
                Json::object({{"dataType", "uri_folder"}, {"dataUri", kPaths + "d" + version}}))
                .status,
            201);
        world.loop.pass(1s);
    }
    job("a", folder("azureml:d:2"));
    EXPECT_EQ(world.send("DELETE", "/data/d/versions/2").status, 409);
    EXPECT_NE(world.send("DELETE", "/data/d").message().find("'a'"), std::string::npos);
    EXPECT_EQ(world.send("DELETE", "/data/d/versions/3").status, 204);
    cancel("a");
    EXPECT_EQ(world.send("DELETE", "/data/d/versions/2").status, 200);
    EXPECT_EQ(world.send("GET", "/data/d").properties().at("latestVersion").as_string(), "1");
    EXPECT_TRUE(there(store, "d2/f")) << "the data itself is not the asset's";
    EXPECT_EQ(world.send("DELETE", "/data/d/versions/1").status, 200);
    EXPECT_EQ(world.send("GET", "/data/d").status, 404);
    EXPECT_EQ(world.send("DELETE", "/data/d").status, 204);
}

TEST_F(Upkeep, CodeThatIsRegisteredCannotBeOverwritten) {
    const Reply upload =
        world.send("POST", "/codes/c/versions/1/startPendingUpload", Json::object());
    const std::string sas =
        upload.json.at("blobReferenceForConsumption").at("credential").at("sasUri").as_string();
    const std::size_t question = sas.find('?'), path = sas.find("/blob/");
    const auto write = [&](const std::string& text) {
        return world.send_raw(
            "PUT", sas.substr(path, question - path) + "/src/a.py" + sas.substr(question), text, "",
            {{"x-ms-blob-type", "BlockBlob"}});
    };
    ASSERT_EQ(write("print(1)").status, 201);
    ASSERT_EQ(write("print(2)").status, 201) << "until it is registered";
    const Json code = Json::object({{"codeUri", sas.substr(0, question) + "/src"}});
    ASSERT_EQ(put("/codes/c/versions/1", code).status, 201);
    EXPECT_EQ(write("evil()").status, 409);
    EXPECT_EQ(write("print(2)").status, 201) << "a client that repeats itself";
    // What a node keeps goes by content: the same code under another name is the same snapshot.
    world.put_blob(code_container(wsid, std::string(32, 'e')), "src/a.py", "print(2)");
    ASSERT_EQ(
        put("/codes/e/versions/1",
            Json::object({{"codeUri", "http://x/blob/" +
                                          code_container(wsid, std::string(32, 'e')) + "/src"}}))
            .status,
        201);
    const auto one = world.assets.find_version(wsid, "codes", "c", "1"),
               other = world.assets.find_version(wsid, "codes", "e", "1");
    EXPECT_EQ((*one)->content.size(), 64u);
    EXPECT_EQ((*one)->content, (*other)->content);
}

TEST_F(Upkeep, AWorkspaceGoesWithAllInIt) {
    job("a");
    files("a");
    world.put_blob(code_container(wsid, std::string(32, 'c')), "src/a.py", "print()");
    world.put_blob(fetched_container(wsid), "x/y", "fetched");
    const Reply refused = world.send("DELETE", "");
    EXPECT_EQ(refused.status, 409);
    EXPECT_NE(refused.message().find("'a'"), std::string::npos);
    const Reply accepted = world.send("DELETE", "?forceToPurge=true");
    ASSERT_EQ(accepted.status, 202) << accepted.text;
    EXPECT_EQ(world.send("GET", "").status, 404) << "at once";
    for (int i = 0; i < 20; ++i) {
        for (const NodeId& node : world.effects.provisioned)
            world.control.node_gone(node);  // as it is asked to
        world.loop.pass(300ms);
    }
    const std::string operation(accepted.headers.get("Azure-AsyncOperation"));
    EXPECT_EQ(
        turnout("GET", operation.substr(operation.find("/turnout/"))).json.at("status").as_string(),
        "Succeeded");
    for (const std::string& prefix : {wsid, "azureml-" + wsid, "azureml-blobstore-" + wsid})
        EXPECT_EQ(rows_with(prefix), 0u) << prefix;
    world.workspace = world.make_workspace("ws");
    EXPECT_NE(world.workspace.id, wsid);
    EXPECT_TRUE(world.send("GET", "/jobs").json.at("value").items().empty());
    EXPECT_EQ(world.send("DELETE", "").status, 202) << "empty, nobody has to be told";
}

TEST_F(Upkeep, AJobMayMoveToAnotherExperiment) {
    job("a");
    const std::string before = (*world.tracking.find_run(wsid, "a"))->experiment_id;
    ASSERT_EQ(world
                  .send("PATCH", "/jobs/a",
                        Json::object({{"properties", Json::object({{"experimentName", "other"}})}}))
                  .status,
              200);
    EXPECT_EQ(world.send("GET", "/jobs/a").properties().at("experimentName").as_string(), "other");
    const auto other = world.tracking.experiment_by_name(wsid, "other");
    ASSERT_TRUE(other && *other);
    EXPECT_EQ(world.tracking.list_runs(wsid, (*other)->id, 10)->size(), 1u);
    EXPECT_TRUE(world.tracking.list_runs(wsid, before, 10)->empty());
}

}  // namespace
}  // namespace turnout::api
