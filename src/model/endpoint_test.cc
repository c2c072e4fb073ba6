#include "model/endpoint.h"

#include <gtest/gtest.h>

#include <map>

namespace turnout {
namespace {

Json json(std::string_view text) {
    const Result<Json> parsed = parse_json(text);
    EXPECT_TRUE(parsed) << text;
    return parsed ? *parsed : Json();
}

std::string why(const Traffic& traffic, const Traffic& mirror = {}) {
    const Result<void> good = check_traffic(traffic, mirror, {"blue", "green", "red"});
    return good ? "" : good.error().message;
}

TEST(Endpoint, OfAllNumbersEachDeploymentGetsItsShare) {
    const Traffic traffic{{"blue", 90}, {"green", 9}, {"red", 1}};
    std::map<std::string, int> counts;
    for (std::uint64_t roll = 0; roll < 10'000; ++roll)
        ++counts[std::string(chosen(traffic, roll))];
    EXPECT_EQ(counts, (std::map<std::string, int>{{"blue", 9000}, {"green", 900}, {"red", 100}}));
    EXPECT_EQ(chosen({}, 7), "");
    EXPECT_EQ(chosen({{"blue", 0}}, 7), "");
    EXPECT_EQ(chosen({{"blue", 100}}, UINT64_MAX), "blue");
}

TEST(Endpoint, TrafficAddsUpAndNamesWhatIsThere) {
    EXPECT_EQ(why({}), "");
    EXPECT_EQ(why({{"blue", 100}}), "");
    EXPECT_EQ(why({{"blue", 90}, {"green", 10}}), "");
    EXPECT_EQ(why({{"blue", 90}}),
              "properties.traffic: expected percentages that add up to 100, or to 0; found 90");
    EXPECT_NE(why({{"blue", 60}, {"green", 60}}).find("found 120"), std::string::npos);
    EXPECT_NE(why({{"bleu", 100}}).find("has no deployment of this name, did you mean 'blue'?"),
              std::string::npos)
        << why({{"bleu", 100}});
}

TEST(Endpoint, AMirrorIsOneDeploymentWithoutTraffic) {
    EXPECT_EQ(why({{"blue", 100}}, {{"green", 10}}), "");
    EXPECT_NE(why({{"blue", 100}}, {{"green", 51}}).find("at most 50 percent, found 51"),
              std::string::npos);
    EXPECT_NE(why({{"blue", 100}}, {{"blue", 10}}).find("without traffic of its own"),
              std::string::npos);
    EXPECT_NE(why({}, {{"green", 10}, {"red", 10}}).find("expected one deployment, found 2"),
              std::string::npos);
    EXPECT_NE(why({}, {{"grey", 10}}).find("has no deployment"), std::string::npos);
}

TEST(Endpoint, PercentagesAreWhole) {
    const auto traffic = traffic_of(json(R"({"blue": 90, "green": 10, "red": 0})"), "traffic");
    ASSERT_TRUE(traffic);
    EXPECT_EQ(*traffic, (Traffic{{"blue", 90}, {"green", 10}}));  // 0 is none
    EXPECT_TRUE(traffic_of(Json(), "traffic")->empty());
    for (const char* const bad :
         {R"({"blue": 101})", R"({"blue": -1})", R"({"blue": "90"})", R"({"blue": 1.5})",
          R"({"blue": null})", R"([])", R"("blue=100")"}) {
        const auto refused = traffic_of(json(bad), "traffic");
        ASSERT_FALSE(refused) << bad;
        EXPECT_EQ(refused.error().subject, "properties.traffic") << bad;
        EXPECT_NE(refused.error().message.find("properties.traffic"), std::string::npos) << bad;
    }
}

TEST(Endpoint, NamesAreAsAzuresAre) {
    for (const char* const good :
         {"abc", "my-endpoint-1", "A1-b", "a23456789012345678901234567890z"})
        EXPECT_TRUE(is_endpoint_name(good)) << good;
    for (const char* const bad : {"", "ab", "1abc", "-abc", "abc-", "a_bc", "a.bc", "a/bc", "äbc",
                                  "a23456789012345678901234567890123"})
        EXPECT_FALSE(is_endpoint_name(bad)) << bad;
}

TEST(Endpoint, NobodysComputeHasTheNameOfItsOwn) {
    const std::string name = inference_compute("local", "Standard_DS3_v2");
    EXPECT_EQ(name, "online.local.standard_ds3_v2");
    EXPECT_TRUE(is_inference_compute(name));
    EXPECT_FALSE(is_inference_compute("online"));
    EXPECT_FALSE(is_inference_compute("serverless"));
    EXPECT_EQ(service_of("my-endpoint", "blue"), "my-endpoint_blue");
}

TEST(Endpoint, RowsAreReadAsTheyWereWritten) {
    OnlineEndpoint endpoint;
    endpoint.workspace = "w";
    endpoint.name = "e";
    endpoint.auth = EndpointAuth::AmlToken;
    endpoint.traffic = {{"blue", 90}, {"green", 10}};
    endpoint.mirror = {{"red", 5}};
    endpoint.properties = json(R"({"description": "d"})");
    endpoint.envelope = json(R"({"location": "westus"})");
    endpoint.pool = "local";
    endpoint.deleting = true;
    endpoint.created = Instant{1};
    endpoint.modified = Instant{2};
    endpoint.made = {{"ann", ""}, {"bob", "j"}};
    endpoint.sealed = "c2VhbGVk";
    const auto read = endpoint_of_json(to_json(endpoint));
    ASSERT_TRUE(read);
    EXPECT_EQ(to_json(*read), to_json(endpoint));
    EXPECT_EQ(read->traffic, endpoint.traffic);
    EXPECT_FALSE(endpoint_of_json(json(R"({"name": "e", "auth": "None"})")));
    EXPECT_FALSE(endpoint_of_json(Json()));

    OnlineDeployment deployment;
    deployment.workspace = "w";
    deployment.endpoint = "e";
    deployment.name = "blue";
    deployment.properties = json(R"({"model": "azureml:m:1"})");
    deployment.requests = {1500ms, 4, 20ms};
    deployment.instances = 3;
    deployment.compute = "online.local.standard_ds3_v2";
    deployment.state = OnlineDeployment::State::Failed;
    deployment.why = "it ended";
    deployment.change = 7;
    deployment.task = json(R"({"command": "serve"})");
    deployment.good = json(R"({"command": "before"})");
    deployment.good_instances = 2;
    deployment.log_of = "e_blue.9";
    const auto same = deployment_of_json(to_json(deployment));
    ASSERT_TRUE(same);
    EXPECT_EQ(to_json(*same), to_json(deployment));
    EXPECT_EQ(same->requests.timeout, 1500ms);
    EXPECT_TRUE(same->settled());
    EXPECT_FALSE(deployment_of_json(json(R"({"name": "d", "state": "Odd"})")));
}

TEST(Latencies, APercentileIsRightToATenth) {
    Latencies all;
    EXPECT_FALSE(all.within(0.5));
    for (int ms = 1; ms <= 1000; ++ms) all.add(std::chrono::milliseconds(ms));
    EXPECT_EQ(all.count(), 1000u);
    for (const auto& [share, wanted] : {std::pair(0.5, 500.0), {0.95, 950.0}, {0.99, 990.0}}) {
        const double found = static_cast<double>(all.within(share)->count()) / 1000;
        EXPECT_GE(found, wanted * 0.99) << share;
        EXPECT_LE(found, wanted * 1.11) << share;
    }
    Latencies odd;
    odd.add(Span{});
    odd.add(-5s);
    odd.add(std::chrono::hours(100));
    EXPECT_EQ(odd.count(), 3u);
    EXPECT_TRUE(odd.within(1.0));
}

}  // namespace
}  // namespace turnout
