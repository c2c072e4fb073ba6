// Online endpoints and deployments: from YAML to REST and back.
#include <gtest/gtest.h>

#include "resources/resources.h"

namespace turnout::resources {
namespace {

LocalFiles some_files() {
    return {.folder = "/here",
            .kind =
                [](const std::string& path) {
                    if (path == "/here/model" || path == "/here/code") return PathKind::Folder;
                    return path == "/here/conda.yml" ? PathKind::File : PathKind::Absent;
                },
            .read = [](const std::string&) -> Result<std::string> {
                return std::string("dependencies: [pip]\n");
            }};
}

struct Looked {
    YamlDocument document;
    std::string problems;
    std::vector<LocalPath> local;
    std::vector<std::string> models;
    Json rest, entity;
};

Looked look(std::string_view kind, std::string_view yaml) {
    Looked out;
    Result<YamlDocument> document = parse_yaml(yaml, "f.yml");
    EXPECT_TRUE(document);
    out.document = std::move(*document);
    const auto description = description_for(kind, out.document);
    if (!description) {
        out.problems = description.error().message;
        return out;
    }
    const LocalFiles files = some_files();
    Reading reading(out.document, files);
    check(**description, reading);
    if (const auto good = result_of(reading); !good) out.problems = good.error().message;
    out.local = reading.local;
    out.models = reading.inline_models;
    out.rest = to_rest(**description, out.document, "", {.workspace_path = "/subscriptions/s"});
    Json answered = out.rest;
    answered.set("id", "/subscriptions/s/onlineEndpoints/e/deployments/d");
    out.entity = to_entity(**description, answered);
    return out;
}

TEST(EndpointYaml, AnEndpointIsReadAndShown) {
    const Looked is = look("online-endpoint", R"(
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: my-endpoint
auth_mode: aml_token
traffic: {blue: 90, green: "10"}
mirror_traffic: {red: 5}
tags: {a: 1}
)");
    EXPECT_EQ(is.problems, "");
    EXPECT_EQ(is.rest.dump(), R"({"name":"my-endpoint","properties":{"authMode":"AMLToken",)"
                              R"("traffic":{"blue":90,"green":10},"mirrorTraffic":{"red":5}},)"
                              R"("tags":{"a":"1"}})");
    EXPECT_EQ(is.entity.at("auth_mode").as_string(), "aml_token");
    EXPECT_EQ(is.entity.at("traffic").at("green").as_int(), 10);
    EXPECT_EQ(look("online-endpoint", "name: e1a").rest.at("properties").at("authMode").as_string(),
              "Key");
    EXPECT_NE(look("online-endpoint", "name: e1a\ntraffic: {blue: many}").problems.find("f.yml:2"),
              std::string::npos);
    EXPECT_NE(look("online-endpoint", "name: e1a\ntype: kubernetes").problems.find("do not work"),
              std::string::npos);
}

TEST(EndpointYaml, ADeploymentIsReadAndShown) {
    const Looked is = look("online-deployment", R"(
name: blue
endpoint_name: e
model: azureml:m:3
code_configuration: {code: code, scoring_script: score.py}
environment: azureml:env:1
environment_variables: {A: 1}
instance_type: Standard_DS3_v2
instance_count: 2
request_settings: {request_timeout_ms: 3500, max_concurrent_requests_per_instance: 4, max_queue_wait_ms: 250}
liveness_probe: {initial_delay: 10, period: 5, timeout: 2, failure_threshold: 3}
scale_settings: {type: default}
app_insights_enabled: false
)");
    EXPECT_EQ(is.problems, "");
    const Json& properties = is.rest.at("properties");
    EXPECT_EQ(properties.at("model").as_string(), "/subscriptions/s/models/m/versions/3");
    EXPECT_EQ(properties.at("codeConfiguration").at("scoringScript").as_string(), "score.py");
    EXPECT_FALSE(properties.at("codeConfiguration").at("codeId").is_null());
    EXPECT_EQ(properties.at("requestSettings").dump(),
              R"({"requestTimeout":"PT3.5S","maxConcurrentRequestsPerInstance":4,)"
              R"("maxQueueWait":"PT0.25S"})");
    EXPECT_EQ(properties.at("livenessProbe").at("period").as_string(), "PT5S");
    EXPECT_EQ(properties.at("endpointComputeType").as_string(), "Managed");
    EXPECT_EQ(is.rest.at("sku").dump(), R"({"capacity":2,"name":"Default"})");
    EXPECT_FALSE(is.rest.has(""));
    ASSERT_EQ(is.local.size(), 1u);
    EXPECT_EQ(is.local[0].path, "/here/code");
    EXPECT_EQ(is.entity.at("endpoint_name").as_string(), "e");
    EXPECT_EQ(is.entity.at("model").as_string(), "azureml:m:3");
    EXPECT_EQ(is.entity.at("instance_count").as_int(), 2);
    EXPECT_EQ(is.entity.at("request_settings").at("request_timeout_ms").as_int(), 3500);
}

TEST(EndpointYaml, AModelMayBeDefinedInPlace) {
    for (const char* const model :
         {"model: {path: model}", "model: model", "model: {path: model, type: custom_model}"}) {
        const Looked is =
            look("online-deployment", std::string("name: blue\nendpoint_name: e\n") + model + "\n");
        EXPECT_EQ(is.problems, "") << model;
        EXPECT_EQ(is.models, std::vector<std::string>{"/model"}) << model;
        ASSERT_EQ(is.local.size(), 1u) << model;
        EXPECT_EQ(is.local[0].pointer, "/model/path");
        EXPECT_EQ(is.local[0].path, "/here/model");
    }
    EXPECT_NE(look("online-deployment", "name: blue\nendpoint_name: e\nmodel: {path: none}")
                  .problems.find("does not exist"),
              std::string::npos);
}

TEST(EndpointYaml, WhatDoesNotWorkIsRefusedByItsPlace) {
    for (const auto& [text, why] :
         {std::pair("scale_settings: {type: target_utilization}", "scale_settings.type"),
          {"model_mount_path: /x", "model_mount_path"},
          {"data_collector: {}", "data_collector"},
          {"instance_count: 0", "instance_count"},
          {"request_settings: {request_timeout_ms: -1}", "request_timeout_ms"},
          {"code_configuration: {code: code}", "scoring_script"},
          {"instance_kount: 1", "did you mean 'instance_count'"}}) {
        const Looked is =
            look("online-deployment", std::string("name: blue\nendpoint_name: e\n") + text + "\n");
        EXPECT_NE(is.problems.find(why), std::string::npos) << text << ": " << is.problems;
    }
    EXPECT_NE(look("online-deployment", "name: blue").problems.find("endpoint_name"),
              std::string::npos);
}

}  // namespace
}  // namespace turnout::resources
