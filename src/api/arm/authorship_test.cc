// Who did it, on every resource, in run history, MLflow and the events.
#include <gtest/gtest.h>

#include "api/test_world.h"
#include "base/text.h"

namespace turnout::api {
namespace {

class Authors : public ::testing::Test {
protected:
    Authors() {
        for (const std::string name : {"ann", "bob"}) {
            world.send_raw("POST", "/turnout/users", Json::object({{"name", name}}).dump(),
                           world.user);
            const Reply given = world.send_raw(
                "POST", "/turnout/assignments",
                Json::object({{"user", name}, {"role", "Contributor"}, {"scope", "/"}}).dump(),
                world.user);
            EXPECT_EQ(given.status, 201) << given.text;
        }
    }
    std::string token_of(const std::string& user) {
        return world.token({Principal::Kind::User, user, "", "", 0});
    }
    Reply send(const std::string& method, const std::string& path, const std::string& bearer,
               const Json& body = {}) {
        return world.send_raw(method, world.workspace_path() + path + "?api-version=2024-10-01",
                              body.is_null() ? "" : body.dump(), bearer);
    }
    // "created by, changed by" of what is there.
    std::string authors(const std::string& path) {
        const Reply reply = send("GET", path, world.user);
        EXPECT_EQ(reply.status, 200) << path << reply.text;
        const Json& data = reply.json.at("systemData");
        EXPECT_EQ(data.at("createdByType").as_view(), "User");
        EXPECT_EQ(data.at("lastModifiedByType").as_view(), "User");
        EXPECT_FALSE(data.at("createdAt").as_string().empty());
        EXPECT_GE(data.at("lastModifiedAt").as_string(), data.at("createdAt").as_string());
        const auto by = [&](const std::string& member) {
            const std::string job = data.at(member + "Job").as_string();
            return data.at(member).as_string() + (job.empty() ? "" : " in " + job);
        };
        return by("createdBy") + ", " + by("lastModifiedBy");
    }
    static Json with(const Json& properties) { return Json::object({{"properties", properties}}); }
    Json cluster(int nodes) {
        return with(Json::object(
            {{"computeType", "AmlCompute"},
             {"properties",
              Json::object({{"vmSize", "STANDARD_DS2_V2"},
                            {"scaleSettings", Json::object({{"maxNodeCount", nodes}})}})}}));
    }
    Json job() {
        return with(Json::object(
            {{"jobType", "Command"},
             {"command", "true"},
             {"environmentId", "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest"},
             {"computeId", world.workspace_path() + "/computes/cpu-cluster"}}));
    }

    World world;
    const std::string ann = token_of("ann"), bob = token_of("bob");
};

const std::string kPlace = "azureml://datastores/workspaceblobstore/paths/x/";

TEST_F(Authors, AreWhoMadeItAndWhoChangedItLast) {
    const std::vector<std::pair<std::string, Json>> documents = {
        {"/data/d", with(Json::object({{"dataType", "uri_folder"}, {"dataUri", kPlace}}))},
        {"/models/m", with(Json::object({{"modelType", "custom_model"}, {"modelUri", kPlace}}))},
        {"/environments/e", with(Json::object({{"image", "debian:12"}}))}};
    for (const auto& [path, body] : documents) {
        const std::string version = path + "/versions/1";
        ASSERT_EQ(send("PUT", version, ann, body).status, 201) << path;
        EXPECT_EQ(authors(version), "ann, ann") << path;
        EXPECT_EQ(authors(path), "ann, ann") << path;
        world.loop.pass(1s);
        const Json words = with(Json::object({{"description", "by bob"}}));
        ASSERT_EQ(send("PATCH", version, bob, words).status, 200) << path;
        EXPECT_EQ(authors(version), "ann, bob") << path;
        ASSERT_EQ(send("PATCH", path, bob, words).status, 200) << path;
        EXPECT_EQ(authors(path), "ann, bob") << path;
        Json again = body;  // a PUT of what is there, with other words
        again["properties"].set("description", "by ann");
        ASSERT_EQ(send("PUT", version, ann, again).status, 200) << path;
        EXPECT_EQ(authors(version), "ann, ann") << path;
    }
    ASSERT_EQ(send("PUT", "/computes/cpu-cluster", ann, cluster(1)).status, 201);
    EXPECT_EQ(authors("/computes/cpu-cluster"), "ann, ann");
    ASSERT_EQ(send("PUT", "/computes/cpu-cluster", bob, cluster(2)).status, 200);
    EXPECT_EQ(authors("/computes/cpu-cluster"), "ann, bob");
    const Json store = with(Json::object({{"datastoreType", "AzureBlob"},
                                          {"containerName", world.workspace.id + "-more"},
                                          {"createdBy", "eve"}}));
    ASSERT_EQ(send("PUT", "/datastores/s", bob, store).status, 201);
    EXPECT_EQ(authors("/datastores/s"), "bob, bob");
    ASSERT_EQ(send("PUT", "/datastores/s", ann, store).status, 200);
    EXPECT_EQ(authors("/datastores/s"), "bob, ann");
    EXPECT_EQ(authors(""), "admin, admin") << "of a row without: the first user's";
    const std::string made = "/subscriptions/" + world.workspace.subscription +
                             "/resourceGroups/rg/providers/Microsoft.MachineLearningServices/"
                             "workspaces/anns?api-version=2024-10-01";
    const Reply created =
        world.send_raw("PUT", made, Json::object({{"location", "local"}}).dump(), ann);
    ASSERT_EQ(created.status, 201) << created.text;
    EXPECT_EQ(created.json.at("systemData").at("createdBy").as_view(), "ann");
}

TEST_F(Authors, OfAJobAreItsSubmitterAndWhoChangedItsWords) {
    ASSERT_EQ(send("PUT", "/computes/cpu-cluster", ann, cluster(1)).status, 201);
    const Reply put = send("PUT", "/jobs/j", ann, job());
    ASSERT_EQ(put.status, 201) << put.text;
    EXPECT_EQ(put.json.at("systemData").at("createdBy").as_view(), "ann");
    EXPECT_EQ(authors("/jobs/j"), "ann, ann");
    Json words = job();
    words["properties"].set("displayName", "bob's");
    ASSERT_EQ(send("PUT", "/jobs/j", bob, words).status, 200);
    EXPECT_EQ(authors("/jobs/j"), "ann, bob");
    const Reply run = world.send_raw(
        "GET", "/history/v1.0" + world.workspace_path() + "/runs/j/details", "", bob);
    EXPECT_EQ(run.json.at("createdBy").at("userName").as_view(), "ann") << run.text;
    EXPECT_EQ(run.json.at("submittedBy").as_view(), "ann");
    // Each event names whose doing it was.
    ASSERT_EQ(send("POST", "/jobs/j/cancel", bob).status / 100, 2);
    const Reply events = send("GET", "/events", world.user);
    std::string told;
    for (const Json& event : events.json.at("value").items())
        if (event.at("kind").as_view() != "node")
            told += event.at("what").as_string() + " by " + event.at("by").as_string() + "\n";
    EXPECT_EQ(told.find("created by ann\nsubmitted by ann\n"), 0u) << told;
    EXPECT_NE(told.find("ended by bob\n"), std::string::npos) << told;
}

TEST_F(Authors, OfWhatARunRegistersAreTheJobAndItsSubmitter) {
    JobRecord record = running_job(world.workspace.id);
    record.principal = "ann";
    world.save(record);
    const std::string run = world.token({Principal::Kind::Run, "j", world.workspace.id, "j", 1});
    const std::string own =
        "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.j/out/";
    const Json body = with(Json::object({{"dataType", "uri_folder"}, {"dataUri", own}}));
    const Reply put = send("PUT", "/data/d/versions/1", run, body);
    ASSERT_EQ(put.status, 201) << put.text;
    EXPECT_EQ(authors("/data/d/versions/1"), "ann in j, ann in j");
    EXPECT_EQ(authors("/data/d"), "ann in j, ann in j");
}

TEST_F(Authors, InMlflowAreWhoIsLoggedInWhateverTheClientSays) {
    const std::string mlflow = "/mlflow/v1.0" + world.workspace_path() + "/api/2.0/mlflow/";
    const Json tags = Json::array({Json::object({{"key", "mlflow.user"}, {"value", "root"}})});
    const Reply made = world.send_raw(
        "POST", mlflow + "runs/create",
        Json::object({{"experiment_id", "0"}, {"user_id", "root"}, {"tags", tags}}).dump(), bob);
    ASSERT_EQ(made.status, 200) << made.text;
    EXPECT_EQ(made.json.at("run").at("info").at("user_id").as_view(), "bob");
    EXPECT_NE(made.text.find(R"({"key":"mlflow.user","value":"bob"})"), std::string::npos)
        << made.text;
    const Reply model = world.send_raw("POST", mlflow + "registered-models/create",
                                       Json::object({{"name", "m"}}).dump(), bob);
    ASSERT_EQ(model.status, 200) << model.text;
    EXPECT_EQ(model.json.at("registered_model").at("user_id").as_view(), "bob");
    EXPECT_EQ(authors("/models/m"), "bob, bob");
}

TEST_F(Authors, AUsersJobsAreFoundAmongManyInPages) {
    ASSERT_EQ(send("PUT", "/computes/cpu-cluster", ann, cluster(1)).status, 201);
    for (int i = 0; i < 12; ++i) {
        ASSERT_EQ(send("PUT", "/jobs/j" + std::to_string(i), i % 4 ? ann : bob, job()).status, 201);
        world.loop.pass(1s);
    }
    std::vector<std::string> found;
    std::string target =
        world.workspace_path() + "/jobs?api-version=2024-10-01&count=2&createdBy=@me";
    for (int pages = 0; !target.empty() && pages < 20; ++pages) {
        const Reply page = world.send_raw("GET", target, "", bob);
        ASSERT_EQ(page.status, 200) << page.text;
        for (const Json& one : page.json.at("value").items())
            found.push_back(one.at("name").as_string());
        target = page.json.at("nextLink").as_string();
        if (const std::size_t path = target.find("/subscriptions"); path != std::string::npos)
            target.erase(0, path);
    }
    EXPECT_EQ(join(found, " "), "j8 j4 j0");
    const Reply all = world.send_raw(
        "GET", world.workspace_path() + "/jobs?api-version=2024-10-01&createdBy=bob", "", ann);
    EXPECT_EQ(all.json.at("value").items().size(), 3u) << all.text;
}

}  // namespace
}  // namespace turnout::api
