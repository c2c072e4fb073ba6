#include "submission/container_instance.h"

#include <gtest/gtest.h>

namespace turnout::submission {
namespace {

Result<InstanceSaid> read(const std::string& instance) {
    Json resources =
        parse_json("{\"properties\":{\"container_instance\":" + instance + "}}").value();
    return read_container_instance(resources);
}

TEST(ContainerInstanceSaid, WhatIsLeftOutHasItsDefault) {
    for (const char* const nothing : {"{}", "null"}) {
        const InstanceSaid said = read(nothing).value();
        EXPECT_EQ(said.region, "");
        EXPECT_EQ(said.cores, 1);
        EXPECT_EQ(said.memory_gb, 4);
    }
    EXPECT_EQ(read_container_instance(Json()).value().cores, 1);
    const InstanceSaid said =
        read(R"({"region":" East US ","cpu_cores":2.0,"memory_gb":0.5})").value();
    EXPECT_EQ(said.region, "East US");
    EXPECT_EQ(said.cores, 2);
    EXPECT_EQ(said.memory_gb, 0.5);
    const Json camel =
        parse_json(R"({"properties":{"containerInstance":{"cpu_cores":3}}})").value();
    EXPECT_EQ(read_container_instance(camel).value().cores, 3);
}

TEST(ContainerInstanceSaid, WhatCannotBeIsRefusedWithItsPlace) {
    struct Row {
        const char *said, *place, *words;
    };
    const std::string before = "resources.properties.container_instance";
    for (const Row& row : {
             Row{"3", "", "expected an object with region, cpu_cores and memory_gb, found 3"},
             Row{R"({"cpu_cores":0})", ".cpu_cores",
                 "a whole number of cores, at least 1, found 0"},
             Row{R"({"cpu_cores":1.5})", ".cpu_cores", "found 1.5"},
             Row{R"({"cpu_cores":"two"})", ".cpu_cores", "found \"two\""},
             Row{R"({"cpu_cores":-1})", ".cpu_cores", "found -1"},
             Row{R"({"cpu_cores":1e300})", ".cpu_cores", "at least 1"},
             Row{R"({"memory_gb":0})", ".memory_gb",
                 "a number of gigabytes, at least 0.1, found 0"},
             Row{R"({"memory_gb":"4"})", ".memory_gb", "found \"4\""},
             Row{R"({"memory_gb":true})", ".memory_gb", "found true"},
             Row{R"({"region":7})", ".region", "the name of a pool of containers, found 7"},
             Row{R"({"cpu_core":1})", ".cpu_core", "did you mean 'cpu_cores'?"},
             Row{R"({"gpu":1})", ".gpu", "expected region, cpu_cores or memory_gb"},
         }) {
        const auto refused = read(row.said);
        ASSERT_FALSE(refused) << row.said;
        EXPECT_EQ(refused.error().subject, "properties." + before + row.place);
        EXPECT_TRUE(refused.error().message.starts_with(before + row.place + ": "))
            << refused.error().message;
        EXPECT_NE(refused.error().message.find(row.words), std::string::npos)
            << refused.error().message;
    }
}

TEST(ContainerInstanceSaid, ItIsNamedInAnyCaseAndFromAnywhere) {
    for (const char* const name :
         {"containerinstance", "ContainerInstance", "azureml:containerinstance",
          "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/"
          "workspaces/w/computes/containerinstance",
          "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/"
          "workspaces/w/computes/azureml:ContainerInstance"})
        EXPECT_TRUE(names_container_instance(name)) << name;
    for (const char* const name : {"", "local", "containerinstances", "a-containerinstance"})
        EXPECT_FALSE(names_container_instance(name)) << name;
}

}  // namespace
}  // namespace turnout::submission
