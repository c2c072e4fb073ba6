// Jobs with `compute: containerinstance`: where they may run, what they show, and what is refused.
#include <gtest/gtest.h>

#include "api/test_world.h"
#include "control/jobs.h"

namespace turnout::api {
namespace {

Control::Settings with_pools(const std::vector<std::string>& names) {
    Control::Settings settings = each_input_its_own_commit();
    for (const std::string& name : names) settings.pools.push_back(engine_pool(name));
    return settings;
}

struct InstanceJobs : World {
    explicit InstanceJobs(const std::vector<std::string>& pools = {"boxes"})
        : World(with_pools(pools)) {
        services.machines_of = [](const Pool&) {
            return std::vector<ServerInfo::Machine>{{2, 7.79, 0}};
        };
        EXPECT_EQ(send("PUT", "/environments/small/versions/1",
                       Json::object({{"properties", Json::object({{"image", "small:1"}})}}))
                      .status,
                  201);
    }
    static Json job(const std::string& instance = "", const Json& more = Json::object(),
                    const std::string& compute = "containerinstance") {
        Json properties = Json::object({{"jobType", "Command"},
                                        {"command", "echo hi"},
                                        {"environmentId", "azureml:small:1"},
                                        {"computeId", compute}});
        if (!instance.empty())
            properties["resources"]["properties"].set("container_instance",
                                                      parse_json(instance).value());
        for (const auto& [name, value] : more.members()) properties.set(name, value);
        return Json::object({{"properties", properties}});
    }
    Reply put(const std::string& name, const Json& body) {
        return send("PUT", "/jobs/" + name, body);
    }
    JobRecord record(const std::string& name) {
        return read_job(store, workspace.id, name).value()->record;
    }
};

TEST(InstanceJobs, OneRunsInAContainerOfItsOwnAndShowsItAsItWasAsked) {
    InstanceJobs world;
    const Reply made =
        world.put("j", InstanceJobs::job(R"({"region":"Boxes","cpu_cores":2,"memory_gb":2})"));
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_TRUE(
        made.properties().at("computeId").as_view().ends_with("/computes/containerinstance"))
        << made.text;
    const Reply shown = world.send("GET", "/jobs/j");
    EXPECT_TRUE(
        shown.properties().at("computeId").as_view().ends_with("/computes/containerinstance"));
    const Json& own = shown.properties().at("properties");
    EXPECT_EQ(own.at("turnout.compute").as_string(), "containerinstance");
    EXPECT_EQ(own.at("turnout.container").as_string(), "2 cores and 2 GB in pool 'boxes'");
    EXPECT_EQ(shown.properties()
                  .at("resources")
                  .at("properties")
                  .at("container_instance")
                  .at("region")
                  .as_string(),
              "Boxes");
    const auto task = read_task(world.store, world.record("j")).value();
    EXPECT_EQ(task.cpu_limit_millicores, 2000);
    EXPECT_EQ(task.memory_limit_bytes, std::int64_t{2} << 30);
    EXPECT_EQ(task.environment.image, "small:1");
    const ContainerInstance asked{"boxes", 2, 2, "small:1"};
    EXPECT_EQ(world.record("j").compute, name_of(asked));
    ASSERT_EQ(world.effects.provisioned.size(), 1u);
    EXPECT_EQ(world.effects.provisioned[0], world.workspace.id + "/" + name_of(asked) + "/node-1");
    // The same again is the same, and so is what was shown.
    Json again = shown.json;
    again["properties"]["properties"].erase("turnout.compute");
    EXPECT_EQ(world.put("j", again).status, 200);
    EXPECT_EQ(world.put("j", InstanceJobs::job(R"({"region":"Boxes","cpu_cores":2,"memory_gb":2})"))
                  .status,
              200);
}

TEST(InstanceJobs, NoListShowsWhatNobodyMade) {
    InstanceJobs world;
    ASSERT_EQ(world.put("j", InstanceJobs::job()).status, 201);
    const std::string hidden = world.record("j").compute;
    for (const char* const path :
         {"/computes", "/jobs", "/jobs/j", "/jobs/j/explain", "/jobs/j/ledger", "/events",
          "/jobs?compute=containerinstance&api-version=2023-04-01"}) {
        const Reply reply = world.send("GET", path);
        EXPECT_EQ(reply.status, 200) << path << reply.text;
        EXPECT_EQ(reply.text.find(hidden), std::string::npos) << path << reply.text;
    }
    EXPECT_EQ(world.send("GET", "/computes").json.at("value").items().size(), 0u);
    EXPECT_EQ(world.send("GET", "/computes/" + hidden).status, 404);
    const Reply none = world.send("GET", "/computes/containerinstance");
    EXPECT_EQ(none.status, 404);
    EXPECT_NE(none.message().find("it is chosen per run"), std::string::npos) << none.text;
    EXPECT_EQ(
        world.send("DELETE", "/computes/" + hidden + "?underlyingResourceAction=Delete").status,
        404);
    EXPECT_EQ(world.send("GET", "/jobs?compute=containerinstance").json.at("value").items().size(),
              1u);
    EXPECT_EQ(world.send("GET", "/events?compute=containerinstance").text.find("requested") !=
                  std::string::npos,
              true);
    const Reply nodes = world.send("POST", "/computes/containerinstance/listNodes");
    EXPECT_EQ(nodes.json.at("nodes").items().size(), 1u) << nodes.text;
}

TEST(InstanceJobs, ARegionIsAPoolOfContainers) {
    struct Row {
        std::vector<std::string> pools;
        const char *region, *pool, *refused;
    };
    for (const Row& row : {
             Row{{"boxes"}, "", "boxes", ""},
             Row{{"boxes", "crates"}, "crates", "crates", ""},
             Row{{"eastus", "westus"}, "East US", "eastus", ""},
             Row{{"eastus", "westus"}, "", "westus", ""},  // the workspace's own
             Row{{"boxes", "crates"},
                 "",
                 "",
                 "expected one of the pools of containers (boxes, crates)"},
             Row{{"boxes", "crates"}, "eastus", "", "(boxes, crates), found 'eastus'"},
             Row{{"boxes"}, "boxe", "", "did you mean 'boxes'?"},
             Row{{"boxes"}, "local", "", "expected a pool of containers (boxes), found 'local'"},
             Row{{}, "", "", "no pool of containers"},
         }) {
        InstanceJobs world(row.pools);
        const std::string said =
            *row.region ? "{\"region\":\"" + std::string(row.region) + "\"}" : "";
        const Reply reply = world.put("j", InstanceJobs::job(said));
        if (*row.refused) {
            EXPECT_EQ(reply.status, 400) << reply.text;
            EXPECT_EQ(reply.code(), "NoContainerPool");
            EXPECT_NE(reply.message().find(row.refused), std::string::npos) << reply.message();
        } else {
            ASSERT_EQ(reply.status, 201) << reply.text;
            EXPECT_EQ(world.record("j").compute,
                      name_of(ContainerInstance{row.pool, 1, 4, "small:1"}));
        }
    }
}

TEST(InstanceJobs, WhatDoesNotFitOrCannotBeIsRefused) {
    InstanceJobs world;
    struct Row {
        const char *instance, *code, *words;
    };
    for (const Row& row : {
             Row{R"({"cpu_cores":3})", "ContainerTooLarge",
                 "container_instance.cpu_cores: expected at most 2, which the machine of pool "
                 "'boxes' has, found 3"},
             Row{R"({"memory_gb":8})", "ContainerTooLarge",
                 "container_instance.memory_gb: expected at most 7.7 GB, which the machine of pool "
                 "'boxes' has, found 8 GB"},
             Row{R"({"cpu_cores":0})", "InvalidContainerInstance", "at least 1, found 0"},
         }) {
        const Reply reply = world.put("j", InstanceJobs::job(row.instance));
        EXPECT_EQ(reply.code(), row.code) << reply.text;
        EXPECT_NE(reply.message().find(row.words), std::string::npos) << reply.message();
    }
    const Reply two = world.put(
        "j",
        InstanceJobs::job("", Json::object({{"resources", Json::object({{"instanceCount", 2}})}})));
    EXPECT_NE(two.message().find("is one container: use a cluster"), std::string::npos) << two.text;
    const Reply size = world.put(
        "j", InstanceJobs::job(
                 "", Json::object(
                         {{"resources", Json::object({{"instanceType", "STANDARD_DS3_v2"}})}})));
    EXPECT_NE(size.message().find("cpu_cores and .memory_gb"), std::string::npos) << size.text;
    // Where the engine was not heard of yet its provider says no.
    world.services.machines_of = {};
    EXPECT_EQ(world.put("j", InstanceJobs::job(R"({"cpu_cores":3})")).status, 201);
    // What another target is asked for is nothing to this one.
    EXPECT_EQ(
        world.put("k", InstanceJobs::job(R"({"cpu_cores":0})", Json::object(), "local")).status,
        201);
}

TEST(InstanceJobs, ATrialHasOneOfItsOwn) {
    InstanceJobs world;
    Json sweep = parse_json(R"({
        "jobType": "Sweep", "computeId": "azureml:ContainerInstance",
        "searchSpace": {"x": ["choice", [[1, 2, 3]]]},
        "samplingAlgorithm": {"samplingAlgorithmType": "Grid"},
        "objective": {"goal": "minimize", "primaryMetric": "loss"},
        "limits": {"maxConcurrentTrials": 2},
        "trial": {"command": "echo ${{search_space.x}}", "environmentId": "azureml:small:1",
                  "resources": {"properties": {"container_instance": {"memory_gb": 1}}}}})")
                     .value();
    const Reply made = world.put("s", Json::object({{"properties", sweep}}));
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(world.effects.provisioned.size(), 2u);
    EXPECT_EQ(world.record("s_0").compute, name_of(ContainerInstance{"boxes", 1, 1, "small:1"}));
    EXPECT_TRUE(world.send("GET", "/jobs/s_0")
                    .properties()
                    .at("computeId")
                    .as_view()
                    .ends_with("/computes/containerinstance"));
    sweep["trial"]["resources"]["properties"]["container_instance"].set("memory_gb", "much");
    const Reply refused = world.put("t", Json::object({{"properties", sweep}}));
    EXPECT_EQ(refused.json.at("error").at("target").as_string(),
              "properties.trial.resources.properties.container_instance.memory_gb")
        << refused.text;
}

TEST(InstanceJobs, NobodyCreatesOrAttachesOne) {
    InstanceJobs world;
    for (const char* const type : {"ContainerInstance", "ACI", "containerinstance"}) {
        const Reply reply =
            world.send("PUT", "/computes/mine",
                       Json::object({{"properties", Json::object({{"computeType", type}})}}));
        EXPECT_EQ(reply.code(), "ComputeTypeNotSupported");
        EXPECT_NE(reply.message().find("it is chosen per run"), std::string::npos) << reply.text;
    }
    const Json cluster = Json::object(
        {{"properties",
          Json::object({{"computeType", "AmlCompute"},
                        {"properties", Json::object({{"vmSize", "STANDARD_DS3_v2"}})}})}});
    const Reply named = world.send("PUT", "/computes/ContainerInstance", cluster);
    EXPECT_EQ(named.code(), "InvalidComputeName") << named.text;
}

TEST(InstanceJobs, AWorkspaceGoesWithThem) {
    InstanceJobs world;
    ASSERT_EQ(world.put("j", InstanceJobs::job()).status, 201);
    const Reply refused = world.send("DELETE", "");
    EXPECT_NE(refused.message().find("job 'j', which has not ended"), std::string::npos)
        << refused.text;
    ASSERT_EQ(world.send("POST", "/jobs/j/cancel").status, 202);
    world.loop.pass(1s);
    // Its container is on its way out: that is nobody's to end.
    const Reply gone = world.send("DELETE", "");
    EXPECT_LT(gone.status, 300) << gone.text;
    for (const NodeId& node : world.effects.provisioned) world.control.node_gone(node);
    world.loop.pass(1s);
    EXPECT_TRUE(world.store.scan(Table::Compute, with_prefix(world.workspace.id + "/"))->empty());
}

}  // namespace
}  // namespace turnout::api
