#include <gtest/gtest.h>

#include "resources/documents.h"
#include "resources/resources.h"

namespace turnout::resources {
namespace {

Json rest_of(const std::string& text) {
    return *parse_json(text);
}

// "" if all is well, else "place | message".
std::string refused(const Description& description, const std::string& text,
                    const std::string& under = "") {
    const Result<void> good = check_rest(description, rest_of(text), under);
    return good ? "" : good.error().subject + " | " + good.error().message;
}

std::string cluster(const std::string& inner) {
    return refused(aml_compute(),
                   R"({"properties": {"computeType": "AmlCompute", "properties": )" + inner + "}}");
}

TEST(RestCheck, NamesThePlaceTheValueAndWhatWasExpected) {
    EXPECT_EQ(cluster(R"({"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 5000}})"),
              "properties.properties.scaleSettings.maxNodeCount | "
              "properties.scaleSettings.maxNodeCount: expected a whole number from 0 to 1,000, "
              "found 5000");
    EXPECT_EQ(cluster(R"({"scaleSettings": {"minNodeCount": "2"}})"),
              "properties.properties.scaleSettings.minNodeCount | "
              "properties.scaleSettings.minNodeCount: expected a whole number from 0 to 1,000, "
              "found \"2\"");
    EXPECT_EQ(cluster(R"({"vmPriority": "LowPrio"})"),
              "properties.properties.vmPriority | properties.vmPriority: expected one of "
              "Dedicated, LowPriority, found \"LowPrio\"");
    EXPECT_EQ(cluster(R"({"scaleSettings": {"nodeIdleTimeBeforeScaleDown": "P8D"}})"),
              "properties.properties.scaleSettings.nodeIdleTimeBeforeScaleDown | "
              "properties.scaleSettings.nodeIdleTimeBeforeScaleDown: expected a duration such as "
              "PT120S, at most P7D, found \"P8D\"");
    EXPECT_EQ(refused(aml_compute(), R"({"tags": {"a": ["b"]}, "properties": {}})"),
              "tags.a | tags.a: expected a text, found [\"b\"]");
    EXPECT_EQ(refused(data_asset(), R"({"properties": {"dataType": "uri_fle"}})"),
              "properties.dataType | dataType: expected one of uri_file, uri_folder, mltable, "
              "found \"uri_fle\"");
    EXPECT_EQ(refused(environment(), R"({"properties": {"osType": "Windows", "image": "i"}})"),
              "properties.osType | osType: nodes run Linux: expected linux");
    EXPECT_EQ(refused(any_document(), R"({"properties": {"isArchived": "yes"}})"),
              "properties.isArchived | isArchived: expected true or false, found \"yes\"");
    EXPECT_EQ(refused(aml_compute(), "[1]"), " | expected an object, found [1]");
}

// The words are REST's, although the rule between the fields is said for YAML.
TEST(RestCheck, WhatFieldsAreToEachOtherIsOneRuleForBoth) {
    EXPECT_EQ(cluster(R"({"scaleSettings": {"minNodeCount": 3, "maxNodeCount": 2}})"),
              "properties.properties.scaleSettings.minNodeCount | "
              "properties.scaleSettings.minNodeCount: expected at most maxNodeCount (2), found 3");
    const Description& distribution = *command_job().find("distribution")->object;
    EXPECT_EQ(refused(distribution, R"({"distributionType": "PyTorch", "workerCount": 2})",
                      "properties.distribution"),
              "properties.distribution.workerCount | distribution.workerCount: is for tensorflow: "
              "pytorch and mpi take processCountPerInstance");
    EXPECT_EQ(refused(environment(), R"({"properties": {"description": "nothing else"}})"),
              "properties | expected one of image, build, condaFile");
}

TEST(RestCheck, PartsOfAJobAreReadByTheSameDescription) {
    const Description& resources = *command_job().find("resources")->object;
    EXPECT_EQ(refused(resources, R"({"instanceCount": 0})", "properties.resources"),
              "properties.resources.instanceCount | resources.instanceCount: expected a whole "
              "number from 1 to 1,000, found 0");
    EXPECT_EQ(refused(resources, R"({"shmSize": "lots"})", "properties.resources"),
              "properties.resources.shmSize | resources.shmSize: expected a number above 0 and one "
              "of b, k, m, g, such as 2g, found \"lots\"");
    const Description& queue = *command_job().find("queue_settings")->object;
    EXPECT_EQ(refused(queue, R"({"priority": 4})", "properties.queueSettings"),
              "properties.queueSettings.priority | queueSettings.priority: expected 1 (low), 2 "
              "(medium) or 3 (high), found 4");
    for (const char* good : {R"({"priority": 3})", R"({"priority": "High"})", R"({"jobTier": ""})",
                             R"({"jobTier": "standard"})", "{}"})
        EXPECT_EQ(refused(queue, good), "") << good;
}

// Clients send back what they were shown, and members of other versions of the API.
TEST(RestCheck, WhatIsNotKnownIsLeftAlone) {
    EXPECT_EQ(cluster(R"({"vmSize": "x", "allocationState": 7, "somethingNew": {"a": [1]},
                          "scaleSettings": {"maxNodeCount": 2, "more": null}, "osType": "Linux"})"),
              "");
    EXPECT_EQ(refused(model_asset(), R"({"properties": {"modelUri": "u", "flavors": null,
                          "tags": {"n": 1, "gone": null}, "jobName": 3, "extra": []}})"),
              "");
}

TEST(RestCheck, EachKindHasOneRow) {
    for (const DocumentKind& kind : document_kinds()) {
        EXPECT_EQ(kind_of_path(kind.path), &kind);
        EXPECT_EQ(kind_of_word(kind.word), &kind);
        if (kind.description == nullptr) continue;
        EXPECT_EQ(kind.description().kind, kind.word);
        EXPECT_NE(kind.sample, "") << kind.word;
        // A place of files is a member that its description knows by another name.
        if (!kind.location.empty()) {
            EXPECT_NE(kind.description().find("path"), nullptr) << kind.word;
        }
    }
    EXPECT_EQ(kind_of_path("schedules"), nullptr);
}

}  // namespace
}  // namespace turnout::resources
