// The table of compute types: what it says, and what is refused by it.
#include "resources/compute_types.h"

#include <gtest/gtest.h>

namespace turnout::resources {
namespace {

std::string made(std::string_view type, bool attach) {
    const auto result = check_is_made(*find_compute_type(type), attach);
    return result ? "ok" : result.error().message;
}

TEST(ComputeTypes, AreFoundByTypeOrWordHoweverWritten) {
    for (const char* const name : {"AmlCompute", "amlcompute", "aml_compute", "AMLCOMPUTE"})
        EXPECT_EQ(find_compute_type(name)->type, "AmlCompute") << name;
    EXPECT_EQ(find_compute_type("container-instance")->word, "containerinstance");
    EXPECT_EQ(find_compute_type("local")->type, "");
    for (const char* const name : {"", "gpu-cluster", "amlcomput"})
        EXPECT_EQ(find_compute_type(name), nullptr) << name;
}

// What somebody tries is told with the seed's reason, not only that it is not there.
TEST(ComputeTypes, WhatAzureDoesNotDoEitherHasAReason) {
    for (const ComputeType& type : compute_types()) {
        if (type.azure.create == Can::No) {
            EXPECT_FALSE(type.not_created.empty()) << type.title;
        }
        if (type.azure.attach == Can::No) {
            EXPECT_FALSE(type.not_attached.empty()) << type.title;
        }
        // What is so here and not there would be a promise that nobody else keeps.
        if (type.here.create != Can::No) {
            EXPECT_NE(type.azure.create, Can::No) << type.title;
        }
        if (type.here.attach != Can::No) {
            EXPECT_NE(type.azure.attach, Can::No) << type.title;
        }
    }
}

TEST(ComputeTypes, AreMadeOrAttachedAsTheTableSays) {
    EXPECT_EQ(made("AmlCompute", false), "ok");
    EXPECT_EQ(made("VirtualMachine", true), "ok");
    EXPECT_EQ(made("Kubernetes", true), "ok");
    EXPECT_NE(made("Kubernetes", false).find("attached, not made"), std::string::npos);
    EXPECT_NE(made("AmlCompute", true).find("a cluster is made, not attached"), std::string::npos);
    EXPECT_NE(made("VirtualMachine", false).find("attached, not made"), std::string::npos);
    EXPECT_NE(made("HDInsight", false).find("cannot be created within a workspace"),
              std::string::npos);
    EXPECT_NE(made("HDInsight", false).find("which this server cannot do yet"), std::string::npos)
        << "nor is it attached here";
    EXPECT_EQ(made("HDInsight", true),
              "computes of type 'HDInsight' cannot be attached here yet; this server creates "
              "AmlCompute or ComputeInstance and attaches VirtualMachine or Kubernetes");
    EXPECT_NE(made("containerinstance", true).find("neither created nor attached"),
              std::string::npos);
}

TEST(ComputeTypes, RunWhatTheTableSays) {
    const auto run = [](std::string_view type, Ability needs, std::string_view job) {
        const auto result = check_can(*find_compute_type(type), needs, "mine", job);
        return result ? "ok" : result.error().message;
    };
    EXPECT_EQ(run("AmlCompute", &Abilities::train, "command job"), "ok");
    EXPECT_EQ(run("VirtualMachine", &Abilities::sweep, "sweep"), "ok");
    EXPECT_EQ(run("AKS", &Abilities::train, "command job"),
              "compute 'mine' (inference compute (AKS): endpoints alone) runs no training jobs: a "
              "command job runs on local or serverless or AmlCompute or ComputeInstance or "
              "VirtualMachine or Kubernetes or containerinstance");
    EXPECT_EQ(
        run("HDInsight", &Abilities::sweep, "sweep"),
        "compute 'mine' (Spark cluster (HDInsight)) has no automated hyperparameter tuning: a "
        "sweep runs on local or serverless or AmlCompute or ComputeInstance or VirtualMachine or "
        "Kubernetes or containerinstance");
    EXPECT_EQ(run("Kubernetes", &Abilities::sweep, "sweep"), "ok");
    EXPECT_NE(run("Databricks", &Abilities::pipeline, "pipeline").find("in pipelines here yet"),
              std::string::npos);
    EXPECT_EQ(run("ComputeInstance", &Abilities::train, "command job"), "ok");
}

TEST(ComputeTypes, AWordTellsWhatIsHereAndWhatIsToCome) {
    EXPECT_EQ(in_a_word(*find_compute_type("AmlCompute"), &Abilities::sweep), "yes");
    EXPECT_EQ(in_a_word(*find_compute_type("AmlCompute"), &Abilities::pipeline), "yes");
    EXPECT_EQ(in_a_word(*find_compute_type("AmlCompute"), &Abilities::automl), "yes");
    EXPECT_EQ(in_a_word(*find_compute_type("HDInsight"), &Abilities::gpu), "no");
    const Json row = to_json(*find_compute_type("local"));
    EXPECT_EQ(row.at("azure").at("gpu").as_string(), "maybe");
    EXPECT_EQ(row.at("azure").at("sweep").as_string(), "no");
    EXPECT_EQ(row.at("here").at("sweep").as_string(), "yes");
    for (const char* const where : {"azure", "here"})
        for (const NamedAbility& each : abilities())
            EXPECT_TRUE(row.at(where).has(each.name)) << where << " " << each.name;
}

}  // namespace
}  // namespace turnout::resources
