// Clusters of Kubernetes that are attached: what they are told as, and which pods jobs get there.
#include <gtest/gtest.h>

#include "api/test_world.h"
#include "control/control.h"

namespace turnout::api {
namespace {

Control::Settings with_kubernetes() {
    Control::Settings settings = each_input_its_own_commit();
    Pool aks = engine_pool("aks", "kubernetes", 5);
    aks.settings = Json::object(
        {{"kubeconfig", "/k"},
         {"namespace", "turnout"},
         {"instance_types",
          Json::object(
              {{"small", Json::object({{"cpu", "500m"}, {"memory", "1Gi"}})},
               {"GPU", Json::object({{"cpu", 4},
                                     {"gpu", 1},
                                     {"node_selector", Json::object({{"zone", "a"}})}})}})}});
    Pool bare = aks;
    bare.name = "bare";
    bare.settings.erase("instance_types");
    settings.pools.push_back(std::move(aks));
    settings.pools.push_back(std::move(bare));
    return settings;
}

Json attached(const std::string& pool, Json inner = Json::object()) {
    return Json::object(
        {{"location", "westus"},
         {"properties", Json::object({{"computeType", "Kubernetes"},
                                      {"resourceId",
                                       "/subscriptions/s/resourceGroups/r/providers/"
                                       "Microsoft.ContainerService/managedClusters/" +
                                           pool},
                                      {"properties", std::move(inner)}})}});
}

struct Attached : World {
    Attached() : World(with_kubernetes()) {}
    Reply attach(const Json& body, const std::string& name = "k8s") {
        return send("PUT", "/computes/" + name, body);
    }
    Reply submit(const std::string& name, const std::string& type) {
        Json properties = Json::object({{"jobType", "Command"},
                                        {"command", "true"},
                                        {"environmentId",
                                         "azureml://registries/azureml/environments/"
                                         "sklearn-1.5/labels/latest"},
                                        {"computeId", "k8s"}});
        if (!type.empty()) properties.set("resources", Json::object({{"instanceType", type}}));
        return send("PUT", "/jobs/" + name, Json::object({{"properties", properties}}));
    }
};

TEST(AttachedKubernetes, IsToldInAzuresWords) {
    Attached world;
    // As the SDK says it where nothing is said.
    const Reply made = world.attach(attached("AKS", Json::object({{"namespace", "default"}})));
    ASSERT_EQ(made.status, 201) << made.text;
    const Json properties = made.properties();
    EXPECT_EQ(properties.at("computeType").as_string(), "Kubernetes");
    EXPECT_EQ(properties.at("provisioningState").as_string(), "Succeeded");
    EXPECT_TRUE(properties.at("isAttachedCompute").as_bool());
    const Json& inner = properties.at("properties");
    EXPECT_EQ(inner.at("namespace").as_string(), "turnout");
    EXPECT_EQ(inner.at("defaultInstanceType").as_string(), "small");
    EXPECT_EQ(inner.at("instanceTypes").at("GPU").dump(),
              R"({"resources":{"requests":{"cpu":"4","nvidia.com/gpu":"1"},)"
              R"("limits":{"cpu":"4","nvidia.com/gpu":"1"}},"nodeSelector":{"zone":"a"}})");
    EXPECT_EQ(inner.at("propertyBag").at("pool").as_string(), "aks");
    // The same again, and what was shown, are the same.
    EXPECT_EQ(world.attach(attached("aks")).status, 200);
    const Reply shown = world.attach(world.send("GET", "/computes/k8s").json);
    EXPECT_EQ(shown.status, 200) << shown.text;
    const Reply tagged =
        world.send("PATCH", "/computes/k8s", Json::object({{"tags", Json::object({{"a", "b"}})}}));
    EXPECT_EQ(tagged.status, 200) << tagged.text;
    EXPECT_EQ(tagged.json.at("tags").at("a").as_string(), "b");
    EXPECT_EQ(tagged.properties().at("computeType").as_string(), "Kubernetes");
    EXPECT_EQ(world.send("POST", "/computes/k8s/listKeys", Json::object()).text,
              R"({"computeType":"Kubernetes"})");
}

TEST(AttachedKubernetes, WhatCannotBeSoIsRefusedWithWhatIsThere) {
    Attached world;
    const auto refused = [&](const Json& body, const std::string& words,
                             const std::string& target) {
        const Reply reply = world.attach(body);
        EXPECT_EQ(reply.status, 400) << reply.text;
        EXPECT_NE(reply.message().find(words), std::string::npos) << reply.message();
        EXPECT_EQ(reply.json.at("error").at("target").as_string(), target) << reply.text;
    };
    refused(attached("aksx"), "did you mean 'aks'?", "properties.resourceId");
    refused(attached("local"), "a pool of provider kubernetes (aks, bare)",
            "properties.resourceId");
    refused(attached("bare"), "says no instance_types", "properties.resourceId");
    refused(attached("aks", Json::object({{"namespace", "jobs"}})), "are in namespace 'turnout'",
            "properties.properties.namespace");
    refused(attached("aks", Json::object({{"defaultInstanceType", "smal"}})),
            "did you mean 'small'?", "properties.properties.defaultInstanceType");
    refused(
        attached("aks", Json::object({{"instanceTypes", Json::object({{"own", Json::object()}})}})),
        "change them there", "properties.properties.instanceTypes");
    EXPECT_EQ(world.send("GET", "/computes/k8s").status, 404);
}

TEST(AttachedKubernetes, TheNameOfSomethingElseIsAConflict) {
    Attached world;
    ASSERT_EQ(world.attach(attached("aks")).status, 201);
    const Reply other =
        world.attach(attached("aks", Json::object({{"defaultInstanceType", "gpu"}})));
    EXPECT_EQ(other.status, 409) << other.text;
    EXPECT_NE(other.message().find("detach it first"), std::string::npos) << other.message();
    const Json cluster = Json::object(
        {{"properties",
          Json::object({{"computeType", "AmlCompute"},
                        {"properties", Json::object({{"vmSize", "STANDARD_DS3_v2"}})}})}});
    EXPECT_EQ(world.attach(cluster).status, 409);
    ASSERT_EQ(world.attach(cluster, "cc").status, 201);
    EXPECT_EQ(world.attach(attached("aks"), "cc").status, 409);
    // It is let go, not deleted; a cluster the other way.
    EXPECT_EQ(world.send("DELETE", "/computes/k8s?underlyingResourceAction=Delete").status, 400);
    EXPECT_EQ(world.send("DELETE", "/computes/cc?underlyingResourceAction=Detach").status, 400);
    EXPECT_EQ(world.send("POST", "/computes/k8s/start", Json::object()).status, 400);
    EXPECT_EQ(world.send("DELETE", "/computes/k8s?underlyingResourceAction=Detach").status, 202);
}

TEST(AttachedKubernetes, AJobNamesAnInstanceTypeThatIsThere) {
    Attached world;
    ASSERT_EQ(world.attach(attached("aks")).status, 201);
    EXPECT_EQ(world.submit("a", "").status, 201);
    EXPECT_EQ(world.submit("b", "Small").status, 201);
    const Reply unknown = world.submit("c", "smal");
    EXPECT_EQ(unknown.status, 400) << unknown.text;
    EXPECT_NE(unknown.message().find("did you mean 'small'?"), std::string::npos)
        << unknown.message();
    const Reply other = world.submit("d", "gpu");
    EXPECT_EQ(other.status, 400) << other.text;
    EXPECT_NE(other.message().find("once more, under another name"), std::string::npos)
        << other.message();
}

}  // namespace
}  // namespace turnout::api
