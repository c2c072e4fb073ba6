// A compute's location names a pool; what else it may be, and what is refused.
#include <gtest/gtest.h>

#include "api/test_world.h"

namespace turnout::api {
namespace {

Control::Settings with_big(bool there = true) {
    Control::Settings settings = each_input_its_own_commit();
    Pool big;
    big.name = "big";
    big.slots = 7;
    if (there) settings.pools.push_back(std::move(big));
    return settings;
}

Json cluster(const std::string& location) {
    Json body = Json::object(
        {{"properties",
          Json::object({{"computeType", "AmlCompute"},
                        {"properties", Json::object({{"vmSize", "STANDARD_DS3_v2"}})}})}});
    if (!location.empty()) body.set("location", location);
    return body;
}

std::string pool_of(const Reply& reply) {
    return reply.properties().at("properties").at("propertyBag").at("pool").as_string();
}

TEST(PoolsOfComputes, TheLocationNamesOne) {
    World world(with_big());
    struct Row {
        const char *location, *pool, *shown;
    };
    for (const Row& row :
         {Row{"big", "big", "big"}, Row{"Big", "big", "big"}, Row{"", "local", "westus"},
          Row{"West Europe", "local", "westeurope"}, Row{"local", "local", "local"}}) {
        const Reply made = world.send("PUT", "/computes/cc", cluster(row.location));
        ASSERT_EQ(made.status, 201) << made.text;
        EXPECT_EQ(pool_of(made), row.pool) << row.location;
        EXPECT_EQ(made.json.at("location").as_string(), row.shown);
        // What was shown may be sent back; the pool is the server's to say.
        Json again = made.json;
        again["properties"]["properties"]["propertyBag"].set("pool", "other");
        const Reply same = world.send("PUT", "/computes/cc", again);
        EXPECT_EQ(same.status, 200) << same.text;
        EXPECT_EQ(pool_of(same), row.pool);
        EXPECT_EQ(world.send("DELETE", "/computes/cc?underlyingResourceAction=Delete").status, 202);
    }
}

TEST(PoolsOfComputes, WhatIsNoneIsRefusedWithTheNearest) {
    World world(with_big());
    const Reply refused = world.send("PUT", "/computes/cc", cluster("bigg"));
    EXPECT_EQ(refused.code(), "LocationNotAvailable");
    EXPECT_NE(refused.message().find("did you mean 'big'?"), std::string::npos)
        << refused.message();
}

TEST(PoolsOfComputes, ItCannotChange) {
    World world(with_big());
    ASSERT_EQ(world.send("PUT", "/computes/cc", cluster("big")).status, 201);
    const Reply moved = world.send("PUT", "/computes/cc", cluster("westus"));
    EXPECT_EQ(moved.status, 409);
    EXPECT_NE(moved.message().find("nodes of pool 'big', not of 'local'"), std::string::npos)
        << moved.message();
    EXPECT_EQ(moved.json.at("error").at("target").as_string(), "location");
    // Without a location it stays where it is.
    EXPECT_EQ(pool_of(world.send("PUT", "/computes/cc", cluster(""))), "big");
    EXPECT_EQ(
        pool_of(world.send("PATCH", "/computes/cc", Json::object({{"tags", Json::object()}}))),
        "big");
}

TEST(PoolsOfComputes, WithOneTheAnswerIsAsItWas) {
    World world;
    const Reply made = world.send("PUT", "/computes/cc", cluster("big"));
    EXPECT_EQ(made.code(), "LocationNotAvailable");
    const Reply plain = world.send("PUT", "/computes/cc", cluster("westeurope"));
    EXPECT_EQ(plain.status, 201);
    EXPECT_FALSE(plain.properties().at("properties").has("propertyBag"));
}

// Of a pool of other machines a size that none of them holds is a mistake; where nobody has looked
// yet it is not known to be one.
TEST(PoolsOfComputes, ASizeThatNoMachineHoldsIsRefusedWithWhatFits) {
    Control::Settings settings = with_big();
    settings.pools.back().provider = "far";
    World world(std::move(settings));
    const auto made = [&](const char* name, const char* size) {
        Json body = cluster("big");
        body["properties"]["properties"].set("vmSize", size);
        return world.send("PUT", "/computes/" + std::string(name), body);
    };
    const std::string sizes =
        "/subscriptions/s/providers/Microsoft.MachineLearningServices/locations/big/"
        "vmSizes?api-version=2023-08-01-preview";
    EXPECT_EQ(made("early", "STANDARD_D64S_V3").status, 201);
    EXPECT_EQ(made("gpu", "STANDARD_NC6").status, 201);
    EXPECT_FALSE(
        world.send_raw("GET", sizes, "", world.user).json.at("value").items().front().has("fits"));

    world.services.machines_of = [](const Pool& pool) {
        EXPECT_EQ(pool.name, "big");
        return std::vector<ServerInfo::Machine>{{4, 15.6, 0}, {8, 7.8, 0}};
    };
    EXPECT_EQ(made("fits", "STANDARD_D4S_V3").status, 201) << "a little less memory than it says";
    const Reply refused = made("large", "STANDARD_D64S_V3");
    EXPECT_EQ(refused.code(), "SizeNotAvailable") << refused.text;
    EXPECT_NE(refused.message().find("'STANDARD_D64S_V3' has 64 cores and 256 GB, "),
              std::string::npos)
        << refused.message();
    EXPECT_NE(refused.message().find("they have at most 8 cores and 15.6 GB; STANDARD_D4_V3, "),
              std::string::npos)
        << refused.message();
    EXPECT_EQ(made("gpu2", "STANDARD_NC6").code(), "GpuNotAvailable");
    EXPECT_EQ(made("early", "STANDARD_D64S_V3").status, 200) << "what is there stays";
    int fit = 0, all = 0;
    const Reply list = world.send_raw("GET", sizes, "", world.user);
    for (const Json& one : list.json.at("value").items()) {
        ++all;
        fit += one.at("fits").as_bool();
        if (one.at("name").as_string() == "STANDARD_D4S_V3") {
            EXPECT_TRUE(one.at("fits").as_bool());
        }
        if (one.at("name").as_string() == "STANDARD_NC6") {
            EXPECT_FALSE(one.at("fits").as_bool());
        }
    }
    EXPECT_GT(fit, 5);
    EXPECT_LT(fit, all);
}

TEST(PoolsOfComputes, UsageIsThePoolsOwn) {
    World world(with_big());
    const std::string place =
        "/subscriptions/s/providers/Microsoft.MachineLearningServices/locations/";
    for (const auto& [location, limit] : {std::pair("big", 7), std::pair("westus", 2)}) {
        const Reply usage = world.send_raw(
            "GET", place + location + "/usages?api-version=2023-08-01-preview", "", world.user);
        EXPECT_EQ(usage.json.at("value").items().at(0).at("limit").as_int(), limit) << usage.text;
    }
}

// What could never be over is refused at once.
TEST(PoolsOfComputes, AJobThatIsLongerThanItsNodesLiveIsRefused) {
    Control::Settings settings = with_big();
    settings.pools.back().settings = Json::object({{"walltime", 3600}});
    World world(settings);
    ASSERT_EQ(world.send("PUT", "/computes/cc", cluster("big")).status, 201);
    const auto job = [](const char* timeout) {
        return Json::object(
            {{"properties", Json::object({{"jobType", "Command"},
                                          {"command", "true"},
                                          {"environmentId",
                                           "azureml://registries/azureml/environments/"
                                           "sklearn-1.5/labels/latest"},
                                          {"limits", Json::object({{"jobLimitsType", "Command"},
                                                                   {"timeout", timeout}})},
                                          {"computeId", "cc"}})}});
    };
    const Reply refused = world.send("PUT", "/jobs/j", job("PT1H"));
    EXPECT_EQ(refused.status, 400) << refused.text;
    EXPECT_NE(refused.message().find("its walltime is 1 h"), std::string::npos)
        << refused.message();
    EXPECT_EQ(refused.json.at("error").at("target").as_string(), "properties.limits.timeout");
    EXPECT_EQ(world.send("PUT", "/jobs/j", job("PT59M")).message().find("walltime"),
              std::string::npos);
}

// In a server that has lost the pool from its file: nothing new comes to the compute, and it says
// why.
TEST(PoolsOfComputes, OneWithoutItsPoolIsUnusableAndSaysSo) {
    World world;
    Compute lost;
    lost.workspace = world.workspace.id;
    lost.name = "lost";
    lost.definition = lost.envelope = Json::object();
    lost.envelope.set("location", "gone");
    lost.vm_size = "STANDARD_DS3_v2";
    lost.pool = "gone";
    std::string answer;
    world.control.put_compute(lost, [&](Result<Put> put) { answer = put ? "ok" : "refused"; });
    world.loop.settle();
    ASSERT_EQ(answer, "ok");
    const Reply shown = world.send("GET", "/computes/lost");
    EXPECT_EQ(shown.properties().at("provisioningState").as_string(), "Failed");
    const Json& error = shown.properties().at("provisioningErrors").items().at(0).at("error");
    EXPECT_EQ(error.at("code").as_string(), "ComputeUnusable");
    EXPECT_NE(error.at("message").as_string().find("pool 'gone' is not in pools.yaml any more"),
              std::string::npos);
    const Reply refused = world.send(
        "PUT", "/jobs/j",
        Json::object({{"properties", Json::object({{"jobType", "Command"},
                                                   {"command", "true"},
                                                   {"environmentId", "azureml:minimal@latest"},
                                                   {"computeId", "azureml:lost"}})}}));
    EXPECT_EQ(refused.code(), "ComputeUnusable") << refused.text;
    EXPECT_NE(refused.message().find("pool 'gone'"), std::string::npos);
}

}  // namespace
}  // namespace turnout::api
