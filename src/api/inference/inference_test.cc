// Online endpoints without nodes: what is kept, refused and told.
#include "api/inference/inference.h"

#include <gtest/gtest.h>

#include "api/test_world.h"

namespace turnout::api {
namespace {

struct EndpointWorld : World {
    static std::string path(const std::string& rest) { return "/onlineEndpoints" + rest; }
    using World::send;
    Reply send(std::string method, const std::string& of, const std::string& text) {
        const Result<Json> body = parse_json(text);
        EXPECT_TRUE(body) << text;
        return World::send(std::move(method), of, body ? *body : Json());
    }
    Reply put(const std::string& name, const std::string& properties) {
        return send("PUT", path("/" + name),
                    R"({"location":"westus","properties":)" + properties + "}");
    }
    // Where an endpoint is asked, without the server's own credential.
    Reply score(const std::string& name, const std::string& bearer) {
        return send_raw("POST",
                        "/inference/" + workspace.subscription + "/" + workspace.resource_group +
                            "/" + workspace.name + "/" + name + "/score",
                        "{}", bearer);
    }
};

TEST(OnlineEndpoints, AnEndpointHasKeysThatTheStoreDoesNotTell) {
    EndpointWorld w;
    const Reply made = w.put("my-endpoint", R"({"authMode":"Key"})");
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(made.properties().at("provisioningState").as_string(), "Succeeded");
    EXPECT_TRUE(made.properties().at("scoringUri").as_view().ends_with("/my-endpoint/score"));
    EXPECT_EQ(made.text.find("sealed"), std::string::npos);

    const Reply keys = w.send("POST", w.path("/my-endpoint/listKeys"));
    ASSERT_EQ(keys.status, 200) << keys.text;
    const std::string primary = keys.json.at("primaryKey").as_string();
    const std::string secondary = keys.json.at("secondaryKey").as_string();
    EXPECT_GE(primary.size(), 43u);
    EXPECT_NE(primary, secondary);
    EXPECT_EQ(keys.headers.get("Cache-Control"), "no-store");
    for (int table = 0; table <= static_cast<int>(kLastTable); ++table) {
        const auto rows = w.store.scan(static_cast<Table>(table), with_prefix(""));
        ASSERT_TRUE(rows);
        for (const Record& row : *rows) {
            EXPECT_EQ(row.value.find(primary), std::string::npos);
            EXPECT_EQ(row.value.find(secondary), std::string::npos);
        }
    }

    // A key of its own, another one, and nothing: only the first gets further.
    EXPECT_EQ(w.score("my-endpoint", "wrong").status, 401);
    EXPECT_EQ(w.score("my-endpoint", "").status, 401);
    EXPECT_EQ(w.score("my-endpoint", w.user).status, 401);
    EXPECT_EQ(w.score("other", primary).status, 401);  // and nobody learns which there are
    EXPECT_NE(w.score("my-endpoint", primary).status, 401);
    EXPECT_NE(w.score("my-endpoint", secondary).status, 401);

    const Reply again =
        w.send("POST", w.path("/my-endpoint/regenerateKeys"),
               std::string(R"({"keyType":"Primary","keyValue":")" + primary + R"("})"));
    ASSERT_EQ(again.status, 200) << again.text;
    EXPECT_EQ(w.score("my-endpoint", primary).status, 401);
    EXPECT_NE(w.score("my-endpoint", secondary).status, 401);
    EXPECT_EQ(
        w.send("POST", w.path("/my-endpoint/regenerateKeys"), std::string(R"({"keyType":"Third"})"))
            .status,
        400);
    EXPECT_EQ(w.send("POST", w.path("/my-endpoint/regenerateKeys"),
                     std::string(R"({"keyType":"Secondary","keyValue":"of-my-own"})"))
                  .status,
              400);
}

TEST(OnlineEndpoints, KeysAreSealedAnewWithTheVaultsKey) {
    EndpointWorld w;
    ASSERT_EQ(w.put("my-endpoint", R"({"authMode":"Key"})").status, 201);
    const std::string before = w.send("POST", w.path("/my-endpoint/listKeys")).text;
    const std::string row =
        w.store.get(Table::OnlineEndpoint, w.workspace.id + "/my-endpoint")->value().value;
    ASSERT_EQ(w.send_raw("POST", "/turnout/secrets/rotateKey", "", w.user).status, 200);
    EXPECT_NE(w.store.get(Table::OnlineEndpoint, w.workspace.id + "/my-endpoint")->value().value,
              row);
    EXPECT_EQ(w.send("POST", w.path("/my-endpoint/listKeys")).text, before);
}

TEST(OnlineEndpoints, ATokenEndsByItselfAndWithTheKey) {
    EndpointWorld w;
    ASSERT_EQ(w.put("my-endpoint", R"({"authMode":"AMLToken"})").status, 201);
    ASSERT_EQ(w.put("second", R"({"authMode":"AMLToken"})").status, 201);
    EXPECT_EQ(w.send("POST", w.path("/my-endpoint/listKeys")).status, 409);
    const Reply got = w.send("POST", w.path("/my-endpoint/token"));
    ASSERT_EQ(got.status, 200) << got.text;
    const std::string token = got.json.at("accessToken").as_string();
    EXPECT_GT(got.json.at("expiryTimeUtc").as_int(), got.json.at("refreshAfterTimeUtc").as_int());
    EXPECT_NE(w.score("my-endpoint", token).status, 401);
    EXPECT_EQ(w.score("second", token).status, 401);
    std::string later = token;  // says another end than was signed
    later[4] = later[4] == '9' ? '8' : '9';
    EXPECT_EQ(w.score("my-endpoint", later).status, 401);
    const auto endpoint = w.inference.endpoint(w.workspace.id, "my-endpoint");
    ASSERT_TRUE(endpoint && *endpoint);
    const auto old = w.inference.token(**endpoint, w.loop.now() - 1s);
    EXPECT_FALSE(*w.inference.is_token(**endpoint, old->reveal()));
    ASSERT_EQ(w.send("POST", w.path("/my-endpoint/regenerateKeys"),
                     std::string(R"({"keyType":"Primary"})"))
                  .status,
              200);
    EXPECT_EQ(w.score("my-endpoint", token).status, 401);
}

TEST(OnlineEndpoints, WhatIsWrongIsRefusedByItsPlace) {
    EndpointWorld w;
    const auto refused = [&](const std::string& name, const std::string& properties) {
        const Reply reply = w.put(name, properties);
        EXPECT_EQ(reply.status, 400) << reply.text;
        return reply.message();
    };
    EXPECT_NE(refused("ab", R"({"authMode":"Key"})").find("3 to 32"), std::string::npos);
    EXPECT_NE(refused("my-endpoint", R"({"authMode":"None"})").find("properties.authMode"),
              std::string::npos);
    EXPECT_NE(refused("my-endpoint", "{}").find("found nothing"), std::string::npos);
    EXPECT_NE(refused("my-endpoint", R"({"authMode":"Key","traffic":{"blue":100}})")
                  .find("properties.traffic.blue"),
              std::string::npos);
    EXPECT_NE(
        refused("my-endpoint", R"({"authMode":"Key","compute":"k8s"})").find("properties.compute"),
        std::string::npos);
    ASSERT_EQ(w.put("my-endpoint", R"({"authMode":"Key"})").status, 201);
    const auto deployment = [&](const std::string& properties, const std::string& more = "") {
        const Reply reply =
            w.send("PUT", w.path("/my-endpoint/deployments/blue"),
                   R"({"location":"westus")" + more + R"(,"properties":)" + properties + "}");
        EXPECT_EQ(reply.status, 400) << reply.text;
        return reply.message();
    };
    EXPECT_NE(deployment("{}").find("codeConfiguration.scoringScript"), std::string::npos);
    EXPECT_NE(deployment(R"({"model":"azureml:nothing:1"})").find("model 'nothing' does not exist"),
              std::string::npos);
    EXPECT_NE(deployment(R"({"instanceType":"Standard_DS3"})").find("instanceType"),
              std::string::npos);
    EXPECT_NE(deployment(R"({"scaleSettings":{"scaleType":"TargetUtilization"}})")
                  .find("scaleSettings.scaleType"),
              std::string::npos);
    EXPECT_NE(deployment(R"({"endpointComputeType":"Kubernetes"})").find("endpointComputeType"),
              std::string::npos);
    EXPECT_NE(deployment(R"({"requestSettings":{"requestTimeout":"PT1H"}})")
                  .find("requestSettings.requestTimeout"),
              std::string::npos);
    EXPECT_NE(deployment("{}", R"(,"sku":{"capacity":0})").find("sku.capacity"), std::string::npos);
    EXPECT_NE(
        deployment(R"({"codeConfiguration":{"scoringScript":"score.py"}})").find("environmentId"),
        std::string::npos);
    EXPECT_EQ(w.send("GET", w.path("/my-endpoint/deployments/blue")).status, 404);
    EXPECT_EQ(
        w.send("PUT", w.path("/nothing/deployments/blue"), std::string(R"({"properties":{}})"))
            .status,
        404);
}

TEST(OnlineEndpoints, ListsPatchesAndDeletes) {
    EndpointWorld w;
    ASSERT_EQ(w.put("second", R"({"authMode":"Key"})").status, 201);
    ASSERT_EQ(w.put("first", R"({"authMode":"Key","description":"d"})").status, 201);
    EXPECT_EQ(w.put("first", R"({"authMode":"Key","description":"e"})").status, 200);
    const Reply listed = w.send("GET", w.path(""));
    ASSERT_EQ(listed.json.at("value").items().size(), 2u) << listed.text;
    EXPECT_EQ(listed.json.at("value").items()[0].at("name").as_string(), "first");
    const Reply patched = w.send("PATCH", w.path("/first"), std::string(R"({"tags":{"a":"b"}})"));
    ASSERT_EQ(patched.status, 200) << patched.text;
    EXPECT_EQ(patched.json.at("tags").at("a").as_string(), "b");
    EXPECT_EQ(patched.properties().at("description").as_string(), "e");
    const Reply gone = w.send("DELETE", w.path("/first"));
    EXPECT_EQ(gone.status, 202) << gone.text;
    EXPECT_EQ(w.send("GET", w.path("/first")).status, 404);
    EXPECT_EQ(w.send("DELETE", w.path("/first")).status, 404);
    const Reply over = w.send("GET", "/operations/deleteOnlineEndpoint/first");
    EXPECT_EQ(over.json.at("status").as_string(), "Succeeded") << over.text;
}

TEST(OnlineEndpoints, AJobIsRefusedOnTheirCompute) {
    EndpointWorld w;
    const Reply refused =
        w.send("PUT", "/jobs/j",
               R"({"properties":{"jobType":"Command","command":"true","environmentId":)"
               R"("azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest","computeId":")" +
                   w.workspace_path() + R"(/computes/online.local.standard_ds3_v2"}})");
    EXPECT_EQ(refused.status, 400) << refused.text;
    EXPECT_EQ(refused.code(), "ComputeIsForInference") << refused.text;
}

}  // namespace
}  // namespace turnout::api
