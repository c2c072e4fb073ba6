// Workspaces, datastores, computes and assets, as clients see them.
#include <gtest/gtest.h>

#include "api/test_world.h"
#include "base/text.h"

namespace turnout::api {
namespace {

TEST(Discovery, GivesTokensForKeysOnly) {
    World world;
    const std::string key = world.wait(world.authority->create_api_key("admin"))->reveal();
    const std::string path =
        "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fml.azure.0.1%3A18443";
    const Reply reply =
        world.send_raw("GET", path, "", "", {{"X-IDENTITY-HEADER", key}, {"Metadata", "true"}});
    ASSERT_EQ(reply.status, 200) << reply.text;
    const std::string token = reply.json.at("access_token").as_string();
    EXPECT_TRUE(world.authority->check(token));
    EXPECT_EQ(parse_json(*from_base64url(split(token, '.')[1]))->at("aud").as_string(),
              "https://ml.azure.0.1:18443");
    EXPECT_EQ(reply.headers.get("Cache-Control"), "no-store");
    EXPECT_EQ(world.send_raw("GET", path, "", "", {{"secret", key}}).status, 200);
    EXPECT_EQ(world.send_raw("POST", "/msi/token", "resource=r&x=y", "", {{"secret", key}})
                  .json.at("resource")
                  .as_string(),
              "r");
    EXPECT_EQ(world.send_raw("GET", path, "", "").status, 401);
    EXPECT_EQ(world.send_raw("GET", path, "", "", {{"X-IDENTITY-HEADER", key + "x"}}).status, 401);
    EXPECT_EQ(world.send_raw("GET", path, "", "", {{"X-IDENTITY-HEADER", token}}).status, 401)
        << "a token does not renew itself";
    EXPECT_EQ(world.send_raw("GET", "/msi/token", "", "", {{"X-IDENTITY-HEADER", key}}).status,
              400);
    const Reply oauth =
        world.send_raw("POST", "/adfs/oauth2/v2.0/token",
                       "grant_type=client_credentials&client_id=x&client_secret=" + key +
                           "&scope=https%3A%2F%2Fh%2F.default",
                       "");
    ASSERT_EQ(oauth.status, 200) << oauth.text;
    EXPECT_EQ(parse_json(*from_base64url(split(oauth.json.at("access_token").as_string(), '.')[1]))
                  ->at("aud")
                  .as_string(),
              "https://h");
}

TEST(Discovery, NamesTheOriginThatWasUsed) {
    World world;
    const Reply metadata =
        world.send_raw("GET", "/metadata/endpoints?api-version=2019-05-01", "", "");
    ASSERT_EQ(metadata.status, 200);
    EXPECT_EQ(metadata.json.items().at(0).at("resourceManager").as_string(),
              "https://localhost:8443");
    EXPECT_EQ(metadata.json.items().at(0).at("suffixes").at("storage").as_string(),
              "store.turnout");
    EXPECT_EQ(world.send_raw("GET", "/discovery/workspaces/ws", "", "").json.at("api").as_string(),
              "https://localhost:8443");
    EXPECT_EQ(world.send_raw("GET", "/registrymanagement/v1.0/registries/azureml/discovery", "", "")
                  .json.at("primaryRegionResourceProviderUri")
                  .as_string(),
              "https://localhost:8443/");
    EXPECT_EQ(
        world.send_raw("GET", "/registrymanagement/v1.0/registries/other/discovery", "", "").status,
        404);
}

TEST(Workspaces, AreFoundMadeAndKept) {
    World world;
    const Reply got = world.send("GET", "");
    ASSERT_EQ(got.status, 200) << got.text;
    EXPECT_EQ(got.json.at("id").as_string(), world.workspace_path());
    EXPECT_EQ(got.properties().at("mlFlowTrackingUri").as_string(),
              "azureml://localhost:8443/mlflow/v1.0" + world.workspace_path());
    const std::string group =
        "/subscriptions/" + world.workspace.subscription + "/resourcegroups/RG";
    const std::string version = "?api-version=2020-06-01";
    EXPECT_EQ(
        world
            .send_raw("GET",
                      group + "/providers/Microsoft.MachineLearningServices/workspaces" + version,
                      "", world.user)
            .json.at("value")
            .items()
            .size(),
        1u);
    const Reply absent = world.send_raw(
        "GET", group + "/providers/Microsoft.MachineLearningServices/workspaces/wz" + version, "",
        world.user);
    EXPECT_EQ(absent.status, 404);
    EXPECT_EQ(absent.code(), "ResourceNotFound");

    // As the SDK makes one: a whole template, of which the parameters count.
    const Json parameters =
        Json::object({{"workspaceName", Json::object({{"value", "second"}})},
                      {"location", Json::object({{"value", "westeurope"}})},
                      {"friendlyName", Json::object({{"value", "My second"}})}});
    const std::string template_body =
        Json::object(
            {{"properties", Json::object({{"mode", "Incremental"}, {"parameters", parameters}})}})
            .dump();
    const Reply deployed = world.send_raw(
        "PUT", group + "/providers/Microsoft.Resources/deployments/second-1" + version,
        template_body, world.user);
    ASSERT_EQ(deployed.status, 200) << deployed.text;
    EXPECT_EQ(deployed.properties().at("provisioningState").as_string(), "Succeeded");
    EXPECT_EQ(
        world.send_raw("GET", group + "/deployments/second-1/operations" + version, "", world.user)
            .json.at("value")
            .items()
            .size(),
        0u);
    const Reply second = world.send_raw(
        "GET", group + "/providers/Microsoft.MachineLearningServices/workspaces/second" + version,
        "", world.user);
    EXPECT_EQ(second.properties().at("friendlyName").as_string(), "My second");
    EXPECT_EQ(second.json.at("location").as_string(), "westeurope");

    EXPECT_EQ(world.send("PATCH", "", Json::object({{"tags", Json::object({{"a", "b"}})}}))
                  .json.at("tags")
                  .at("a")
                  .as_string(),
              "b");
    EXPECT_EQ(world.send_raw("GET", "/subscriptions?api-version=2022-12-01", "", world.user)
                  .json.at("value")
                  .items()
                  .size(),
              1u);
    EXPECT_TRUE(equal_ignoring_case(
        world.send_raw("GET", group + version, "", world.user).json.at("name").as_view(), "rg"));
    EXPECT_EQ(
        world.send_raw("GET", "/subscriptions/zero/resourceGroups/rg" + version, "", world.user)
            .status,
        404);
}

TEST(Datastores, PointToThisServer) {
    World world;
    const Reply list = world.send("GET", "/datastores?isDefault=true");
    ASSERT_EQ(list.json.at("value").items().size(), 1u);
    const Json& properties = list.json.at("value").items()[0].at("properties");
    EXPECT_EQ(properties.at("accountName").as_string(), "localhost:8443/store");
    EXPECT_EQ(properties.at("containerName").as_string(), blobstore_container(world.workspace.id));

    const Reply secrets =
        world.send("POST", "/datastores/workspaceblobstore/listSecrets",
                   Json::object({{"expirableSecret", true}, {"expireAfterHours", 1}}));
    ASSERT_EQ(secrets.status, 200);
    const auto query = parse_query(secrets.json.at("sasToken").as_string());
    const auto grant = verify_sas(world.authority->link_key().reveal(), *query, world.loop.now());
    ASSERT_TRUE(grant);
    EXPECT_TRUE(allows(*grant, blobstore_container(world.workspace.id), "a/b", 'w'));
    EXPECT_FALSE(allows(*grant, artifact_container(world.workspace.id), "a/b", 'r'));
    EXPECT_FALSE(
        verify_sas(world.authority->link_key().reveal(), *query, world.loop.now() + 61min));

    const auto wanted = [&](std::string type, std::string account, std::string container) {
        return Json::object(
            {{"properties",
              Json::object({{"datastoreType", type},
                            {"accountName", account},
                            {"containerName", container},
                            {"credentials",
                             Json::object({{"credentialsType", "AccountKey"},
                                           {"secrets", Json::object({{"secretsType", "AccountKey"},
                                                                     {"key", "c2VjcmV0"}})}})}})}});
    };
    const std::string own = world.workspace.id + "-mine";
    const Reply made = world.send("PUT", "/datastores/mine?skipValidation=true",
                                  wanted("AzureBlob", "localhost:8443/store", own));
    EXPECT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(made.text.find("c2VjcmV0"), std::string::npos);
    EXPECT_EQ(world.send("GET", "/datastores/mine").text.find("c2VjcmV0"), std::string::npos);
    EXPECT_EQ(world.send("PUT", "/datastores/mine", wanted("AzureBlob", "store", own)).status, 200);
    EXPECT_EQ(world.send("PUT", "/datastores/x", wanted("AzureBlob", "someaccount", own)).code(),
              "DatastoreAccountNotSupported");
    EXPECT_EQ(
        world.send("PUT", "/datastores/x", wanted("AzureBlob", "store", "azureml-000000000000"))
            .code(),
        "DatastoreContainerNotSupported");
    EXPECT_EQ(world.send("PUT", "/datastores/x", wanted("AzureFile", "store", own)).code(),
              "DatastoreTypeNotSupported");
    EXPECT_EQ(world.send("DELETE", "/datastores/mine").status, 200);
    EXPECT_EQ(world.send("GET", "/datastores/mine").status, 404);
    EXPECT_EQ(world.send("DELETE", "/datastores/workspaceblobstore").status, 409);
}

// ---- computes

Json cluster(const Json& more = Json::object(),
             const Json& scale = Json::object({{"minNodeCount", 0},
                                               {"maxNodeCount", 2},
                                               {"nodeIdleTimeBeforeScaleDown", "PT2M"}})) {
    Json inner = Json::object({{"vmSize", "STANDARD_DS3_v2"},
                               {"vmPriority", "LowPriority"},
                               {"osType", "Linux"},
                               {"scaleSettings", scale}});
    for (const auto& [name, value] : more.members()) inner.set(name, value);
    return Json::object({{"location", "westus"},
                         {"properties", Json::object({{"computeType", "AmlCompute"},
                                                      {"disableLocalAuth", true},
                                                      {"properties", inner}})}});
}

TEST(Computes, TheTutorialsClusterLives) {
    World world;
    EXPECT_EQ(world.send("GET", "/computes/cpu-cluster").status, 404);
    const Reply made = world.send("PUT", "/computes/cpu-cluster", cluster());
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(made.properties().at("provisioningState").as_string(), "Succeeded");
    const Json& inner = made.properties().at("properties");
    EXPECT_EQ(inner.at("allocationState").as_string(), "Steady");
    EXPECT_EQ(inner.at("vmPriority").as_string(), "LowPriority");
    EXPECT_EQ(inner.at("vmSize").as_string(), "STANDARD_DS3_v2");
    EXPECT_EQ(inner.at("scaleSettings").at("nodeIdleTimeBeforeScaleDown").as_string(), "PT2M");
    EXPECT_EQ(inner.at("currentNodeCount").as_int(-1), 0);
    // What a client got it may send back.
    EXPECT_EQ(world.send("PUT", "/computes/cpu-cluster", made.json).status, 200);

    // A node that is asked for makes it resize.
    EXPECT_EQ(
        world
            .send("PATCH", "/computes/cpu-cluster",
                  Json::object(
                      {{"properties",
                        Json::object({{"properties",
                                       Json::object({{"scaleSettings",
                                                      Json::object({{"minNodeCount", 1}})}})}})}}))
            .status,
        200);
    world.loop.settle();
    const Reply growing = world.send("GET", "/computes/cpu-cluster");
    EXPECT_EQ(growing.properties().at("properties").at("allocationState").as_string(), "Resizing");
    EXPECT_EQ(growing.properties().at("properties").at("targetNodeCount").as_int(), 1);
    EXPECT_EQ(growing.properties()
                  .at("properties")
                  .at("nodeStateCounts")
                  .at("preparingNodeCount")
                  .as_int(),
              1)
        << growing.text;
    EXPECT_EQ(world.send("POST", "/computes/cpu-cluster/listNodes")
                  .json.at("nodes")
                  .items()
                  .at(0)
                  .at("nodeState")
                  .as_string(),
              "preparing");
    ASSERT_EQ(world.effects.provisioned.size(), 1u);

    EXPECT_EQ(world.send("GET", "/computes").json.at("value").items().size(), 1u);
    EXPECT_EQ(world.send("POST", "/computes/cpu-cluster/stop").code(), "OperationNotSupported");
    // What cannot change is named: each setting that differs, and no other.
    const Reply larger = world.send("PUT", "/computes/cpu-cluster",
                                    cluster(Json::object({{"vmSize", "STANDARD_D2_V2"}})));
    EXPECT_EQ(larger.code(), "ComputeUpdateNotSupported");
    EXPECT_NE(larger.text.find("exists with vmSize 'STANDARD_DS3_v2', not 'STANDARD_D2_V2';"),
              std::string::npos)
        << larger.text;
    EXPECT_NE(larger.text.find("properties.properties.vmSize"), std::string::npos) << larger.text;
    const Reply dearer = world.send("PUT", "/computes/cpu-cluster",
                                    cluster(Json::object({{"vmPriority", "Dedicated"}})));
    EXPECT_EQ(dearer.code(), "ComputeUpdateNotSupported");
    EXPECT_NE(dearer.text.find("exists with vmPriority 'LowPriority', not 'Dedicated';"),
              std::string::npos)
        << dearer.text;
    EXPECT_NE(dearer.text.find("properties.properties.vmPriority"), std::string::npos)
        << dearer.text;

    const Reply deleted =
        world.send("DELETE", "/computes/cpu-cluster?underlyingResourceAction=Delete");
    ASSERT_EQ(deleted.status, 202);
    EXPECT_EQ(deleted.headers.get("Retry-After"), "1");
    const std::string operation(deleted.headers.get("Azure-AsyncOperation"));
    ASSERT_TRUE(operation.starts_with("https://localhost:8443/subscriptions/")) << operation;
    const std::string path = operation.substr(std::string("https://localhost:8443").size());
    const Reply waiting = world.send_raw("GET", path, "", world.user);
    EXPECT_EQ(waiting.json.at("status").as_string(), "InProgress");
    EXPECT_EQ(waiting.headers.get("Retry-After"), "1");
    world.control.node_gone(world.effects.provisioned[0]);
    world.loop.settle();
    EXPECT_EQ(world.send_raw("GET", path, "", world.user).json.at("status").as_string(),
              "Succeeded");
    EXPECT_EQ(world.send("GET", "/computes/cpu-cluster").status, 404);
}

TEST(Computes, RefusesWhatDoesNotRunAndSaysWhy) {
    World world;
    struct Row {
        std::string name;
        Json body;
        std::string code;
        std::string says;
    };
    const auto located = [](std::string location) {
        Json body = cluster();
        body.set("location", std::move(location));
        return body;
    };
    const auto typed = [](std::string type) {
        Json body = cluster();
        body["properties"].set("computeType", std::move(type));
        return body;
    };
    const auto scaled = [](Json scale) { return cluster(Json::object(), std::move(scale)); };
    const std::vector<Row> table = {
        {"c1", typed("DataFactory"), "ComputeTypeNotSupported",
         "'DataFactory' cannot be created here yet"},
        {"c1", typed("HDInsight"), "ComputeTypeNotSupported",
         "cannot be created within a workspace"},
        {"c1", typed("AmlComptue"), "ComputeTypeNotSupported", "did you mean 'AmlCompute'?"},
        {"c1", typed("Kubernetes"), "ComputeTypeNotSupported", "attached, not made"},
        {"c1", typed(""), "ComputeTypeNotSupported", "no computeType"},
        {"c1", Json::object({{"properties", "x"}}), "ComputeTypeNotSupported", ""},
        {"c1", cluster(Json::object({{"vmSize", "STANDARD_DS3_v3"}})), "InvalidVmSize",
         "did you mean 'STANDARD_DS3_V2'"},
        {"c1", cluster(Json::object({{"vmSize", "Standard_NC6"}})), "GpuNotAvailable", "GPU"},
        {"c1", cluster(Json::object({{"vmSize", Json()}})), "InvalidArgument", "vmSize"},
        {"c1", cluster(Json::object({{"osType", "Windows"}})), "InvalidArgument", "Linux"},
        {"c1", cluster(Json::object({{"vmPriority", "Spot"}})), "InvalidArgument", "LowPriority"},
        {"c1", located("westsu"), "LocationNotAvailable", "did you mean 'westus'"},
        {"c1", scaled(Json::object({{"minNodeCount", 3}, {"maxNodeCount", 2}})), "InvalidArgument",
         "expected at most maxNodeCount (2), found 3"},
        {"c1", scaled(Json::object({{"minNodeCount", -1}})), "InvalidArgument", "minNodeCount"},
        {"c1", scaled(Json::object({{"maxNodeCount", "two"}})), "InvalidArgument", "maxNodeCount"},
        {"c1", scaled(Json::object({{"maxNodeCount", 1.5}})), "InvalidArgument", "maxNodeCount"},
        {"c1", scaled(Json::object({{"maxNodeCount", 2}, {"nodeIdleTimeBeforeScaleDown", "120"}})),
         "InvalidArgument", "nodeIdleTimeBeforeScaleDown"},
        {"c", cluster(), "InvalidComputeName", "'c'"},
        {"1abc", cluster(), "InvalidComputeName", "'1abc'"},
        {"a_b", cluster(), "InvalidComputeName", "'a_b'"},
        {"serverless", cluster(), "InvalidComputeName", "taken"},
    };
    for (const Row& row : table) {
        const Reply reply = world.send("PUT", "/computes/" + row.name, row.body);
        EXPECT_EQ(reply.status, 400) << row.body.dump();
        EXPECT_EQ(reply.code(), row.code) << reply.text;
        EXPECT_NE(reply.message().find(row.says), std::string::npos) << reply.message();
    }
    EXPECT_EQ(world.send("GET", "/computes").json.at("value").items().size(), 0u);
    const Reply ssh =
        world.send("PUT", "/computes/with-ssh",
                   cluster(Json::object(
                       {{"remoteLoginPortPublicAccess", "Enabled"},
                        {"userAccountCredentials", Json::object({{"adminUserPassword", "p"}})}})));
    EXPECT_EQ(ssh.status, 201) << ssh.text;
    EXPECT_EQ(ssh.properties().at("properties").at("remoteLoginPortPublicAccess").as_string(),
              "Disabled")
        << "what is shown is what there is";
    for (const std::string location : {"", "West US", "swedencentral"}) {
        Json body = located(location);
        EXPECT_LT(world.send("PUT", "/computes/fine", body).status, 300) << location;
    }
    const std::string sizes =
        "/subscriptions/s/providers/Microsoft.MachineLearningServices/locations/westus/";
    EXPECT_GT(
        world.send_raw("GET", sizes + "vmSizes?api-version=2023-08-01-preview", "", world.user)
            .json.at("value")
            .items()
            .size(),
        20u);
    EXPECT_EQ(world.send_raw("GET", sizes + "usages?api-version=2023-08-01-preview", "", world.user)
                  .json.at("value")
                  .items()
                  .at(0)
                  .at("limit")
                  .as_int(),
              2);
}

// ---- assets

TEST(Assets, EnvironmentsFollowAzuresRules) {
    World world;
    const auto body = [](const Json& properties) {
        return Json::object({{"properties", properties}});
    };
    const Json first = Json::object({{"image", "i"}, {"condaFile", "dependencies: [python]"}});
    EXPECT_EQ(world.send("GET", "/environments/e").status, 404);
    const Reply made = world.send("PUT", "/environments/e/versions/1", body(first));
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(made.json.at("id").as_string(),
              world.workspace_path() + "/environments/e/versions/1");
    EXPECT_EQ(made.properties().at("environmentType").as_string(), "UserCreated");
    EXPECT_TRUE(made.properties().at("resolved").at("requirements").items().empty());
    const Reply packages =
        world.send("PUT", "/environments/p/versions/1",
                   body(Json::object(
                       {{"image", "i"},
                        {"condaFile", "dependencies: [python=3.11, pytorch=2.1, {pip: [six]}]"}})));
    EXPECT_EQ(packages.properties().at("resolved").at("python").as_string(), "3.11");
    EXPECT_EQ(packages.properties().at("resolved").at("requirements").dump(),
              "[\"torch==2.1.*\",\"six\"]");
    EXPECT_EQ(world.send("PUT", "/environments/p/versions/1", packages.json).status, 200);
    EXPECT_EQ(world.send("PUT", "/environments/e/versions/1", body(first)).status, 200);
    EXPECT_EQ(world.send("PUT", "/environments/e/versions/1", made.json).status, 200)
        << "what came from here may come back";
    const Reply exists =
        world.send("PUT", "/environments/e/versions/1", body(Json::object({{"image", "other"}})));
    EXPECT_EQ(exists.status, 409);
    EXPECT_EQ(exists.code(), "ResourceExists");
    EXPECT_EQ(world.send("PUT", "/environments/AzureML-mine/versions/1", body(first)).code(),
              "ReservedName");
    EXPECT_EQ(world.send("PUT", "/environments/e/versions/2", body(Json::object())).status, 400);
    EXPECT_EQ(world
                  .send("PUT", "/environments/e/versions/2",
                        body(Json::object({{"condaFile", "dependencies: ["}})))
                  .status,
              400);
    EXPECT_EQ(world.send("PUT", "/environments/a%20b/versions/2", body(first)).status, 400);
    const Reply container = world.send("GET", "/environments/azureml%3Ae");
    EXPECT_EQ(container.properties().at("latestVersion").as_string(), "1");
    EXPECT_EQ(container.properties().at("nextVersion").as_string(), "2");

    world.loop.pass(1s);
    EXPECT_EQ(
        world.send("PUT", "/environments/e/versions/2", body(Json::object({{"image", "two"}})))
            .status,
        201);
    const Reply latest =
        world.send("GET", "/environments/azureml%3Ae/versions?$orderBy=createdtime%20desc&$top=1");
    ASSERT_EQ(latest.json.at("value").items().size(), 1u);
    EXPECT_EQ(latest.json.at("value").items()[0].at("name").as_string(), "2");
    EXPECT_FALSE(latest.json.has("nextLink"));
    EXPECT_EQ(world.send("GET", "/environments/e/versions?$orderBy=createdtime%20asc&$top=1")
                  .json.at("value")
                  .items()[0]
                  .at("name")
                  .as_string(),
              "1");

    // Archive and restore: the whole object with the flag the other way round.
    Json archived = world.send("GET", "/environments/e/versions/2").json;
    archived["properties"].set("isArchived", true);
    EXPECT_EQ(world.send("PUT", "/environments/e/versions/2", archived).status, 200);
    EXPECT_EQ(world.send("GET", "/environments/e/versions").json.at("value").items().size(), 1u);
    EXPECT_EQ(world.send("GET", "/environments/e/versions?listViewType=All")
                  .json.at("value")
                  .items()
                  .size(),
              2u);
    EXPECT_EQ(world.send("GET", "/environments/e/versions?listViewType=ArchivedOnly")
                  .json.at("value")
                  .items()
                  .size(),
              1u);
    Json whole = world.send("GET", "/environments/e").json;
    whole["properties"].set("isArchived", true);
    EXPECT_EQ(world.send("PUT", "/environments/e", whole).status, 200);
    const Json left = world.send("GET", "/environments").json.at("value");
    for (const Json& one : left.items()) EXPECT_NE(one.at("name").as_view(), "e");
    const Reply absent = world.send("GET", "/environments/e/versions/3");
    EXPECT_EQ(absent.status, 404);
    EXPECT_NE(absent.message().find("the newest is '2'"), std::string::npos) << absent.message();
}

TEST(Assets, ListsComeInPages) {
    World world;
    for (int i = 0; i < 205; ++i) {
        world.loop.pass(1s);
        const Json body = Json::object(
            {{"properties",
              Json::object({{"dataType", "uri_file"},
                            {"dataUri", "azureml://datastores/workspaceblobstore/paths/" +
                                            std::to_string(i)}})}});
        ASSERT_EQ(world.send("PUT", "/data/d/versions/" + std::to_string(i), body).status, 201);
    }
    std::vector<std::string> seen;
    std::string path =
        world.workspace_path() + "/data/d/versions?api-version=2023-04-01-preview&listViewType=All";
    for (int pages = 1; !path.empty(); ++pages) {
        ASSERT_LE(pages, 3);
        const Reply page = world.send_raw("GET", path, "", world.user);
        ASSERT_EQ(page.status, 200) << page.text;
        for (const Json& item : page.json.at("value").items())
            seen.push_back(item.at("name").as_string());
        const std::string next = page.json.at("nextLink").as_string();
        path = next.empty() ? "" : next.substr(std::string("https://localhost:8443").size());
    }
    ASSERT_EQ(seen.size(), 205u);
    for (int i = 0; i < 205; ++i)
        EXPECT_EQ(seen[static_cast<std::size_t>(i)], std::to_string(204 - i));
}

TEST(Assets, DataAndModelsNameExistingPlaces) {
    World world;
    const auto put = [&](std::string kind, std::string uri_name, std::string uri) {
        return world.send(
            "PUT", "/" + kind + "/x/versions/1",
            Json::object(
                {{"properties", Json::object({{"dataType", "uri_file"}, {uri_name, uri}})}}));
    };
    EXPECT_NE(put("data", "dataUri", "azureml://datastores/workspaceblobstor/paths/a")
                  .message()
                  .find("did you mean 'workspaceblobstore'"),
              std::string::npos);
    EXPECT_EQ(put("data", "dataUri", "/home/me/data.csv").status, 400);
    EXPECT_EQ(put("data", "dataUri", "").status, 400);
    EXPECT_EQ(put("data", "dataUri",
                  "azureml://subscriptions/x/resourcegroups/rg/workspaces/ws/datastores/"
                  "workspaceblobstore/paths/a")
                  .status,
              400)
        << "another workspace";
    EXPECT_EQ(put("data", "dataUri", "azureml://datastores/workspaceblobstore/paths/../a").status,
              400);
    EXPECT_EQ(put("data", "dataUri", "azureml://datastores/workspaceblobstore/paths/a").status,
              201);
    const Reply model =
        put("models", "modelUri", "azureml://datastores/workspaceblobstore/paths/m");
    ASSERT_EQ(model.status, 201) << model.text;
    EXPECT_TRUE(model.properties().at("flavors").is_object());
    EXPECT_EQ(world.send("GET", "/data/x").properties().at("dataType").as_string(), "uri_file");
}

// By the descriptions that read YAML too; what is not known is left alone.
TEST(Assets, AWrongFieldIsNamedWithItsValueAndWhatWasExpected) {
    World world;
    struct Row {
        std::string path, properties, target, says;
    };
    const std::string place = "\"azureml://datastores/workspaceblobstore/paths/a\"";
    const std::vector<Row> table = {
        {"/data/x/versions/1", R"({"dataType": "uri_fle", "dataUri": )" + place + "}",
         "properties.dataType", "found \"uri_fle\""},
        {"/data/x/versions/1", R"({"dataUri": )" + place + "}", "properties.dataType",
         "expected uri_file, uri_folder or mltable, found nothing"},
        {"/data/x/versions/1", R"({"dataType": "uri_file"})", "properties.dataUri",
         "found nothing"},
        {"/data/x/versions/1",
         R"({"dataType": "uri_file", "tags": ["a"], "dataUri": )" + place + "}", "properties.tags",
         "expected an object of texts, found [\"a\"]"},
        {"/models/x/versions/1", R"({"modelType": "mlflow", "modelUri": )" + place + "}",
         "properties.modelType", "one of custom_model, mlflow_model, triton_model"},
        {"/models/x/versions/1", R"({"description": {"a": 1}, "modelUri": )" + place + "}",
         "properties.description", "expected a text"},
        {"/environments/x/versions/1", R"({"image": ["i"]})", "properties.image",
         "expected a text, found [\"i\"]"},
        {"/environments/x/versions/1", R"({"image": "i", "build": {"contextUri": "u"}})",
         "properties.build", "expected either image or build"},
        {"/environments/x", R"({"isArchived": 1})", "properties.isArchived",
         "expected true or false, found 1"},
        {"/codes/x/versions/1", R"({"tags": {"a": {}}})", "properties.tags.a", "expected a text"},
        {"/datastores/x", R"({"datastoreType": "AzureBlob", "protocol": "ftp"})",
         "properties.protocol", "found \"ftp\""},
        {"/computes/c1",
         R"({"computeType": "AmlCompute", "properties": {"vmSize": "STANDARD_DS3_V2",
             "enableNodePublicIp": "no"}})",
         "properties.properties.enableNodePublicIp", "expected true or false, found \"no\""},
    };
    for (const Row& row : table) {
        const Reply reply = world.send("PUT", row.path,
                                       Json::object({{"properties", *parse_json(row.properties)}}));
        EXPECT_EQ(reply.status, 400) << row.path << " " << row.properties << reply.text;
        EXPECT_EQ(reply.json.at("error").at("target").as_string(), row.target) << reply.text;
        EXPECT_NE(reply.message().find(row.says), std::string::npos) << reply.message();
    }
    const Reply good = world.send(
        "PUT", "/data/x/versions/1",
        *parse_json(R"({"properties": {"dataType": "uri_file", "tags": {"n": 1, "no": null},
                        "somethingNew": {"a": [1]}, "isArchived": null, "dataUri": )" +
                    place + "}}"));
    EXPECT_EQ(good.status, 201) << good.text;
}

TEST(Assets, AComponentNamesWhatIsThere) {
    World world;
    const auto put = [&](const std::string& environment, const std::string& code) {
        Json spec = Json::object({{"name", "c"},
                                  {"version", "1"},
                                  {"type", "command"},
                                  {"command", "true"},
                                  {"environment", environment}});
        if (!code.empty()) spec.set("code", code);
        const Reply reply = world.send(
            "PUT", "/components/c/versions/1",
            Json::object({{"properties", Json::object({{"componentSpec", std::move(spec)}})}}));
        return reply.status < 300
                   ? std::string()
                   : reply.json.at("error").at("target").as_string() + " | " + reply.message();
    };
    const std::string place = "properties.componentSpec.environment | ";
    EXPECT_EQ(put("azureml:torch:1", ""), place + "environment 'torch' does not exist");
    EXPECT_EQ(world
                  .send("PUT", "/environments/torch/versions/1",
                        *parse_json(R"({"properties": {"image": "i"}})"))
                  .status,
              201);
    EXPECT_EQ(put("azureml:torch:2", ""),
              place + "environment 'torch' has no version '2'; the newest is '1'");
    EXPECT_NE(put("azureml:torhc:1", "").find("did you mean 'torch'"), std::string::npos);
    EXPECT_NE(put("azureml:torch:1", "azureml:gone:1").find("properties.componentSpec.code"),
              std::string::npos);
    EXPECT_EQ(put("azureml:torch:1", ""), "");
}

TEST(Assets, CodeIsUploadedOnce) {
    World world;
    EXPECT_EQ(world.send("GET", "/codes/guid-1/versions?hash=AB12&hashVersion=202208")
                  .json.at("value")
                  .items()
                  .size(),
              0u);
    const Reply upload =
        world.send("POST", "/codes/guid-1/versions/1/startPendingUpload",
                   Json::object({{"pendingUploadType", "TemporaryBlobReference"}}));
    ASSERT_EQ(upload.status, 200) << upload.text;
    const std::string uri = upload.json.at("blobReferenceForConsumption").at("blobUri").as_string();
    EXPECT_TRUE(uri.starts_with("http://127.0.0.1:8080/blob/" + world.workspace.id + "-")) << uri;
    const Json code = Json::object(
        {{"properties", Json::object({{"codeUri", uri + "/src"},
                                      {"isAnonymous", true},
                                      {"properties", Json::object({{"hash_sha256", "ab12"}})}})}});
    EXPECT_EQ(world.send("PUT", "/codes/guid-1/versions/1", code).status, 201);
    const Reply found = world.send("GET", "/codes/guid-2/versions?hash=AB12&hashVersion=202208");
    ASSERT_EQ(found.json.at("value").items().size(), 1u);
    EXPECT_EQ(found.json.at("value").items()[0].at("id").as_string(),
              world.workspace_path() + "/codes/guid-1/versions/1");
    EXPECT_EQ(world.send("GET", "/codes/guid-1/versions/1").properties().at("codeUri").as_string(),
              uri + "/src");
    EXPECT_EQ(world
                  .send("PUT", "/codes/guid-3/versions/1",
                        Json::object(
                            {{"properties",
                              Json::object({{"codeUri",
                                             "https://elsewhere/blob/azureml-000000000000/x"}})}}))
                  .status,
              400);
    EXPECT_EQ(world
                  .send("PUT", "/codes/guid-3/versions/1",
                        Json::object({{"properties", Json::object({{"codeUri", "file:///etc"}})}}))
                  .status,
              400);
}

TEST(Registry, HasTheCuratedEnvironments) {
    World world;
    const std::string base =
        "/mferp/managementfrontend/subscriptions/s/resourceGroups/rg/providers/"
        "Microsoft.MachineLearningServices/registries/azureml/environments";
    const Reply list =
        world.send_raw("GET", base + "?api-version=2021-10-01-dataplanepreview", "", world.user);
    ASSERT_EQ(list.status, 200);
    const std::string name = "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu";
    const Reply versions = world.send_raw(
        "GET", base + "/" + name + "/versions?$orderBy=createdtime+desc&$top=1", "", world.user);
    ASSERT_EQ(versions.json.at("value").items().size(), 1u) << versions.text;
    const std::string version = versions.json.at("value").items()[0].at("name").as_string();
    EXPECT_EQ(world.send_raw("GET", base + "/" + name + "/versions/" + version, "", world.user)
                  .properties()
                  .at("environmentType")
                  .as_string(),
              "Curated");
    EXPECT_EQ(
        world.send("GET", "/environments/" + name).properties().at("latestVersion").as_string(),
        version)
        << "in every workspace too";
    EXPECT_EQ(world.send("GET", "/environments/" + name + "/versions?$top=1")
                  .json.at("value")
                  .items()
                  .at(0)
                  .at("name")
                  .as_string(),
              version);
    EXPECT_EQ(world.send("GET", "/environments/" + name + "/versions/" + version)
                  .json.at("id")
                  .as_string(),
              world.workspace_path() + "/environments/" + name + "/versions/" + version);
    EXPECT_EQ(world.send("GET", "/environments/" + name + "/versions/999").status, 404);
    EXPECT_EQ(world.send_raw("GET", base + "/" + name + "/versions/99", "", world.user).status,
              404);
    EXPECT_NE(
        world.send_raw("GET", base + "/AzureML-sklearn-0.24-ubuntu18.04-py37-cpus", "", world.user)
            .message()
            .find("did you mean"),
        std::string::npos);
}

}  // namespace
}  // namespace turnout::api
