// What a job definition becomes, and what is refused at submission.
#include <gtest/gtest.h>

#include "api/studio_link.h"
#include "api/test_world.h"
#include "base/text.h"
#include "control/test_jobs.h"
#include "model/job.h"

namespace turnout::api {
namespace {

constexpr std::string_view kCurated = "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest";

class Jobs : public ::testing::Test {
protected:
    Jobs() {
        world.put_blob(store, "folder/a.csv", "a");
        world.put_blob(store, "folder/b.csv", "b");
        world.put_blob(store, "file.csv", "c");
        world.put_blob(code_container(world.workspace.id, "0123"), "src/train.py", "print()");
        const auto put = [&](const std::string& path, const Json& properties) {
            const Reply reply = world.send("PUT", path, Json::object({{"properties", properties}}));
            ASSERT_EQ(reply.status, 201) << reply.text;
        };
        const std::string place = "azureml://datastores/workspaceblobstore/paths/";
        put("/codes/c/versions/1",
            Json::object({{"codeUri", "http://x/blob/" +
                                          code_container(world.workspace.id, "0123") + "/src"}}));
        put("/codes/empty/versions/1",
            Json::object({{"codeUri", "http://x/blob/" +
                                          code_container(world.workspace.id, "4567") + "/src"}}));
        put("/data/table/versions/1",
            Json::object({{"dataType", "uri_file"}, {"dataUri", place + "file.csv"}}));
        put("/data/many/versions/3",
            Json::object({{"dataType", "uri_folder"}, {"dataUri", place + "folder/"}}));
        put("/data/lost/versions/1",
            Json::object({{"dataType", "uri_file"}, {"dataUri", place + "lost.csv"}}));
        put("/environments/mine/versions/5", Json::object({{"image", "i"}}));
        put("/environments/docker/versions/1",
            Json::object({{"build", Json::object({{"contextUri", "https://x/y"}})}}));
        const Json cluster = Json::object(
            {{"computeType", "AmlCompute"},
             {"properties",
              Json::object({{"vmSize", "STANDARD_DS2_V2"},
                            {"scaleSettings", Json::object({{"maxNodeCount", 2}})}})}});
        put("/computes/cpu-cluster", cluster);
    }

    static Json job(const Json& more = Json::object()) {
        Json properties = Json::object(
            {{"jobType", "Command"}, {"command", "python train.py"}, {"environmentId", kCurated}});
        for (const auto& [name, value] : more.members()) properties.set(name, value);
        return Json::object({{"properties", properties}});
    }
    Reply put(const std::string& name, const Json& more = Json::object()) {
        return world.send("PUT", "/jobs/" + name, job(more));
    }
    JobRecord record(const std::string& name) {
        const auto found = read_job(world.store, world.workspace.id, name);
        EXPECT_TRUE(found && *found) << name;
        return (*found)->record;
    }
    agent_protocol::TaskSpec task_of(const std::string& name) {
        return *read_task(world.store, record(name));
    }
    void save(const JobRecord& job) {
        Batch batch;
        put_job(batch, job);
        ASSERT_TRUE(world.wait(world.store.commit(std::move(batch))));
    }

    World world;
    std::string store = blobstore_container(world.workspace.id);
};

// The last is what the SDK makes of `compute="azureml:cpu-cluster"`.
TEST_F(Jobs, AComputeIsNamedInEachWayThatClientsKnow) {
    const std::string path = world.workspace_path() + "/computes/";
    int number = 0;
    for (const std::string& id : {std::string("cpu-cluster"), std::string("azureml:cpu-cluster"),
                                  path + "cpu-cluster", path + "azureml:cpu-cluster"})
        EXPECT_EQ(put("j" + std::to_string(++number), Json::object({{"computeId", id}})).status,
                  201)
            << id;
}

// A list can be asked for less than all: by status, compute and who it was.
TEST_F(Jobs, ListsAreFiltered) {
    ASSERT_EQ(put("a").status,
              201);  // at one moment of the world's clock: in the order of their names
    ASSERT_EQ(put("b", Json::object({{"computeId", "azureml:cpu-cluster"}})).status, 201);
    const auto names = [&](const std::string& query) {
        std::string all;
        const Reply reply = world.send("GET", "/jobs?" + query);
        for (const Json& job : reply.json.at("value").items()) all += job.at("name").as_string();
        return std::to_string(reply.status) + " " + all;
    };
    EXPECT_EQ(names("status=queued"), "200 ab");
    EXPECT_EQ(names("status=Failed,Queued"), "200 ab");
    EXPECT_EQ(names("status=Failed"), "200 ");
    EXPECT_EQ(names("status=Running,Preparing"), "200 ")
        << "none is on a node: known without a look at those that wait";
    EXPECT_EQ(names("compute=cpu-cluster"), "200 b");
    EXPECT_EQ(names("compute=serverless"), "200 a");
    EXPECT_EQ(names("createdBy=@me"), "200 ab");
    EXPECT_EQ(names("createdBy=nobody"), "200 ");
    EXPECT_EQ(names("createdBy=@me&compute=cpu-cluster&status=Queued&%24top=5"), "200 b");
}

TEST_F(Jobs, TheTutorialsJobIsResolved) {
    const Reply made =
        put("brave_fig_1", Json::object({
                               {"codeId", world.workspace_path() + "/codes/c/versions/1"},
                               {"computeId", world.workspace_path() + "/computes/cpu-cluster"},
                               {"displayName", "train-with-cluster"},
                               {"experimentName", "diabetes-training"},
                               {"environmentVariables", Json::object({{"A", "b"}})},
                               {"tags", Json::object({{"t", "1"}})},
                           }));
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(made.properties().at("status").as_string(), "Queued");
    EXPECT_EQ(made.properties().at("computeId").as_string(),
              world.workspace_path() + "/computes/cpu-cluster");
    EXPECT_EQ(made.properties().at("environmentId").as_string(), kCurated);
    EXPECT_EQ(made.properties().at("services").at("Tracking").at("endpoint").as_string(),
              "azureml://localhost:8443/mlflow/v1.0" + world.workspace_path());
    EXPECT_TRUE(made.properties().at("properties").is_object());
    EXPECT_FALSE(made.properties().at("outputs").has("default"));

    const std::string studio =
        made.properties().at("services").at("Studio").at("endpoint").as_string();
    ASSERT_TRUE(studio.starts_with("http://127.0.0.1:8080/studio/jobs/" + world.workspace.id +
                                   "/brave_fig_1?"))
        << studio;
    const auto query = *parse_query(studio.substr(studio.find('?') + 1) + "&tid=x");
    EXPECT_TRUE(verify_studio_link(world.authority->link_key(), world.workspace.id, "brave_fig_1",
                                   query, world.loop.now()));
    EXPECT_FALSE(verify_studio_link(world.authority->link_key(), world.workspace.id, "brave_fig_2",
                                    query, world.loop.now()));
    EXPECT_FALSE(verify_studio_link(world.authority->link_key(), world.workspace.id, "brave_fig_1",
                                    query, world.loop.now() + std::chrono::days(32)));

    const JobRecord saved = record("brave_fig_1");
    const agent_protocol::TaskSpec saved_task = task_of("brave_fig_1");
    EXPECT_EQ(saved.compute, "cpu-cluster");
    EXPECT_EQ(saved.meta.experiment, "diabetes-training");
    EXPECT_EQ(saved_task.code->container, code_container(world.workspace.id, "0123"));
    EXPECT_EQ(saved_task.code->prefix, "src/");
    EXPECT_EQ(saved_task.code_hash.size(), 64u);
    EXPECT_EQ(saved_task.artifacts.prefix, "ExperimentRun/dcid.brave_fig_1/");
    EXPECT_EQ(saved_task.cpu_limit_millicores, 2000);
    EXPECT_EQ(saved_task.memory_limit_bytes, std::int64_t{7} << 30);
    EXPECT_EQ(saved_task.mlflow_path, "/mlflow/v2.0" + world.workspace_path());
    EXPECT_FALSE(saved_task.mlflow_experiment_id.empty());
    EXPECT_EQ(saved_task.variables.back(), (std::pair<std::string, std::string>("A", "b")));
    EXPECT_TRUE((*world.tracking.find_run(world.workspace.id, "brave_fig_1"))->of_job);
}

TEST_F(Jobs, WhatIsShownAgainIsNeverOlderThanWhatWasAcknowledged) {
    const Json on = Json::object({{"computeId", world.workspace_path() + "/computes/cpu-cluster"}});
    const auto shown = [&](const std::string& name) {
        const Json one = world.send("GET", "/jobs/" + name).json;
        const Json list = world.send("GET", "/jobs?listViewType=All").json;
        for (const Json& item : list.at("value").items()) {
            if (item.at("name").as_view() == name) {
                EXPECT_EQ(item, one);
            }
        }
        return one.at("properties");
    };
    for (const std::string name : {"one", "two", "three", "four"})
        ASSERT_EQ(put(name, on).status, 201);
    const std::string before = shown("four").at("properties").at("turnout.waiting_for").as_string();
    ASSERT_EQ(world.send("POST", "/jobs/two/cancel").status,
              202);  // another job, and its place changes
    EXPECT_NE(shown("four").at("properties").at("turnout.waiting_for").as_string(), before);
    const auto change = [&](const Json& properties) {
        return world.send("PATCH", "/jobs/four", Json::object({{"properties", properties}})).status;
    };
    ASSERT_EQ(change(Json::object({{"displayName", "new"}})), 200);
    EXPECT_EQ(shown("four").at("displayName").as_string(), "new");
    ASSERT_EQ(world.send("POST", "/jobs/four/cancel").status, 202);
    EXPECT_EQ(shown("four").at("status").as_string(), "Canceled");
    ASSERT_EQ(change(Json::object({{"displayName", "newer"}, {"isArchived", true}})), 200);
    EXPECT_EQ(shown("four").at("displayName").as_string(), "newer");
    EXPECT_EQ(world.send("GET", "/jobs").json.at("value").items().size(), 3u);

    // The links are those of the one who asks.
    const std::string target = world.workspace_path() + "/jobs/four?api-version=2024-01-01-preview";
    const std::string other =
        world.send_raw("GET", target, "", world.user, {{"Host", "other:1"}}).text;
    EXPECT_NE(other.find("https://other:1/"), std::string::npos);
    EXPECT_EQ(other.find("localhost:8443"), std::string::npos);
}

TEST_F(Jobs, InputsAndOutputsFindTheirPlaces) {
    const Json inputs = Json::object({
        {"lit", Json::object({{"jobInputType", "literal"}, {"value", "0.1"}})},
        {"flag", Json::object({{"jobInputType", "literal"}, {"value", true}})},
        {"file", Json::object({{"jobInputType", "uri_file"},
                               {"uri", "azureml://datastores/workspaceblobstore/paths/file.csv"},
                               {"mode", "Download"}})},
        {"dir", Json::object({{"jobInputType", "uri_folder"}, {"uri", "azureml:many@latest"}})},
        {"long",
         Json::object(
             {{"jobInputType", "uri_folder"},
              {"uri",
               "azureml://subscriptions/" + world.workspace.subscription +
                   "/resourcegroups/rg/workspaces/ws/datastores/workspaceblobstore/paths/folder"},
              {"mode", "Direct"}})},
        {"arm", Json::object({{"jobInputType", "uri_file"},
                              {"uri", world.workspace_path() + "/data/table/versions/1"}})},
        {"label",
         Json::object({{"jobInputType", "uri_file"},
                       {"uri", world.workspace_path() + "/data/azureml:table/versions/1"}})},
        {"web", Json::object({{"jobInputType", "uri_file"},
                              {"uri", "https://example.org/x.csv"},
                              {"mode", "Direct"}})},
        {"fetched", Json::object({{"jobInputType", "uri_folder"},
                                  {"uri", "wasbs://box@account.blob.core.windows.net/x/"}})},
    });
    const Json outputs = Json::object({
        {"model", Json::object({{"jobOutputType", "uri_folder"}})},
        {"one", Json::object({{"jobOutputType", "uri_file"}, {"mode", "Upload"}})},
        {"there",
         Json::object({{"jobOutputType", "uri_folder"},
                       {"uri", "azureml://datastores/workspaceblobstore/paths/out/${{name}}/"}})},
    });
    const std::string command =
        "x ${{inputs.lit}} ${{ inputs.file }} $[[--opt ${{inputs.absent}}]] $[[--dir "
        "${{inputs.dir}}]] ${{outputs.model}}";
    const Reply made =
        put("j", Json::object({{"inputs", inputs}, {"outputs", outputs}, {"command", command}}));
    ASSERT_EQ(made.status, 201) << made.text;
    const agent_protocol::TaskSpec task = task_of("j");
    EXPECT_EQ(task.command,
              "x ${{inputs.lit}} ${{ inputs.file }}  --dir ${{inputs.dir}} ${{outputs.model}}");
    ASSERT_EQ(task.inputs.size(), 9u);
    EXPECT_EQ(task.inputs[0].literal, "0.1");
    EXPECT_EQ(task.inputs[1].literal, "True");
    EXPECT_EQ(task.inputs[2].blobs->prefix, "file.csv");
    EXPECT_EQ(task.inputs[2].mode, "download");
    EXPECT_EQ(task.inputs[3].blobs->prefix, "folder/");
    EXPECT_EQ(task.inputs[3].mode, "ro_mount");
    EXPECT_EQ(task.inputs[4].mode, "direct");
    EXPECT_EQ(task.inputs[5].blobs->prefix, "file.csv");
    EXPECT_EQ(task.inputs[6].blobs->prefix, "file.csv");
    EXPECT_FALSE(task.inputs[7].blobs.has_value());
    EXPECT_EQ(task.inputs[7].uri, "https://example.org/x.csv");
    EXPECT_FALSE(task.inputs[7].fetch);
    EXPECT_EQ(task.inputs[8].uri, "wasbs://box@account.blob.core.windows.net/x/");
    EXPECT_TRUE(task.inputs[8].fetch);
    ASSERT_EQ(task.outputs.size(), 3u);
    EXPECT_EQ(task.outputs[0].target.container, store);
    EXPECT_EQ(task.outputs[0].target.prefix, "azureml/j/model/");
    EXPECT_EQ(task.outputs[0].mode, "rw_mount");
    EXPECT_EQ(task.outputs[1].target.prefix, "azureml/j/one");
    EXPECT_EQ(task.outputs[2].target.prefix, "out/j/");
    EXPECT_EQ(record("j").compute, "serverless");

    // Another job's outputs.
    const auto from = [&](std::string uri, std::string type = "uri_folder") {
        return put("next", Json::object(
                               {{"inputs", Json::object({{"x", Json::object({{"jobInputType", type},
                                                                             {"uri", uri}})}})}}));
    };
    EXPECT_NE(from("azureml://jobs/j/outputs/model").message().find("has not ended"),
              std::string::npos);
    EXPECT_NE(from("azureml://jobs/j/outputs/modell").message().find("did you mean 'model'"),
              std::string::npos);
    EXPECT_NE(
        from("azureml://jobs/nobody/outputs/model").message().find("job 'nobody' does not exist"),
        std::string::npos);
    world.put_blob(store, "azureml/j/model/m.pkl", "m");
    const Reply next = from("azureml://jobs/j/outputs/model");
    ASSERT_EQ(next.status, 201) << next.text;
    EXPECT_EQ(task_of("next").inputs[0].blobs->prefix, "azureml/j/model/");
    // As a model they are kept as the place where they are, in the form that clients read.
    const std::string paths = "azureml://subscriptions/" + world.workspace.subscription +
                              "/resourcegroups/" + world.workspace.resource_group + "/workspaces/" +
                              world.workspace.name + "/datastores/";
    const auto model = [&](const std::string& version, const std::string& uri) {
        return world.send("PUT", "/models/m/versions/" + version,
                          Json::object({{"properties", Json::object({{"modelUri", uri}})}}));
    };
    const auto place_of = [&](const std::string& version, const std::string& uri) {
        const Reply reply = model(version, uri);
        EXPECT_LT(reply.status, 300) << reply.text;
        return reply.properties().at("modelUri").as_string();
    };
    EXPECT_EQ(place_of("1", "azureml://jobs/j/outputs/model/"),
              paths + "workspaceblobstore/paths/azureml/j/model/");
    EXPECT_EQ(place_of("2", "azureml://jobs/j/outputs/artifacts/paths/model/"),
              paths + "workspaceartifactstore/paths/ExperimentRun/dcid.j/model");
    EXPECT_EQ(place_of("3", "runs:/j/model"),
              paths + "workspaceartifactstore/paths/ExperimentRun/dcid.j/model");
    EXPECT_EQ(place_of("4", "azureml://datastores/workspaceblobstore/paths/a/b/"),
              paths + "workspaceblobstore/paths/a/b/");
    EXPECT_EQ(place_of("4", paths + "workspaceblobstore/paths/a/b/"),
              paths + "workspaceblobstore/paths/a/b/")
        << "the same place in other words is no other model";
    EXPECT_EQ(model("4", paths + "workspaceblobstore/paths/a/c").status, 409);
    EXPECT_NE(model("5", "runs:/nobody/model").message().find("job 'nobody' does not exist"),
              std::string::npos);
    EXPECT_NE(model("5", "azureml://jobs/j/outputs/modell").message().find("no output 'modell'"),
              std::string::npos);
}

TEST_F(Jobs, AnOutputMayBeTheRootOfADatastore) {
    const Reply made = put(
        "root",
        Json::object(
            {{"outputs",
              Json::object(
                  {{"o", Json::object(
                             {{"uri", "azureml://datastores/workspaceblobstore/paths/"}})}})}}));
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(task_of("root").outputs[0].target.container, store);
    EXPECT_EQ(task_of("root").outputs[0].target.prefix, "");
}

TEST_F(Jobs, InteractiveServicesAreAcceptedAndSaidToHaveNoEffect) {
    const Reply made = put(
        "services",
        Json::object(
            {{"services", Json::object({{"ssh", Json::object({{"jobServiceType", "SSH"}})}})}}));
    ASSERT_EQ(made.status, 201) << made.text;
    const auto notices = task_of("services").environment.notices;
    ASSERT_FALSE(notices.empty());
    EXPECT_EQ(notices.back(),
              "the interactive service 'ssh' (SSH) has no effect yet: the job runs without it");
    EXPECT_FALSE(made.properties().at("services").has("ssh"));
}

TEST_F(Jobs, WhatCanNeverRunIsRefusedAtOnce) {
    const auto input = [](std::string type, std::string uri, std::string mode = "ReadOnlyMount") {
        return Json::object(
            {{"inputs",
              Json::object(
                  {{"x", Json::object({{"jobInputType", type}, {"uri", uri}, {"mode", mode}})}})}});
    };
    const auto output = [](std::string name, Json one) {
        return Json::object({{"outputs", Json::object({{name, std::move(one)}})}});
    };
    const std::string place = "azureml://datastores/workspaceblobstore/paths/";
    struct Row {
        Json more;
        std::string code;
        std::string says;
    };
    const std::vector<Row> table = {
        {Json::object({{"jobType", "Sweep"}}), "InvalidSweep", "searchSpace"},
        {Json::object({{"jobType", "AutoML"}}), "InvalidAutoML", "taskDetails"},
        {Json::object({{"jobType", "Spark"}}), "JobTypeNotSupported", "Spark"},
        {Json::object({{"jobType", Json()}}), "JobTypeNotSupported", "no jobType"},
        {Json::object({{"command", " "}}), "MissingCommand", "command"},
        {Json::object({{"command", Json::array({1})}}), "MissingCommand", "command"},
        {Json::object({{"computeId", "cpu-clster"}}), "ComputeNotFound",
         "did you mean 'cpu-cluster'"},
        {Json::object({{"computeId",
                        "/subscriptions/a/resourceGroups/b/providers/"
                        "Microsoft.MachineLearningServices/workspaces/c/computes/d"}}),
         "ComputeNotFound", "another workspace"},
        {Json::object(
             {{"environmentId", "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpus@latest"}}),
         "EnvironmentNotFound", "did you mean 'AzureML-sklearn-0.24-ubuntu18.04-py37-cpu'"},
        {Json::object({{"environmentId", "azureml:mine:9"}}), "EnvironmentNotFound",
         "has no version '9'"},
        {Json::object({{"environmentId", "azureml:mien@latest"}}), "EnvironmentNotFound",
         "did you mean 'mine'"},
        {Json::object({{"environmentId", "azureml:docker:1"}}), "BuildContextNotFound",
         "in this workspace's storage"},
        {Json::object({{"environmentId", "azureml://registries/other/environments/x/versions/1"}}),
         "EnvironmentNotFound", "registry 'other'"},
        {Json::object({{"environmentId", ""}}), "MissingEnvironment", "environment"},
        {Json::object({{"codeId", world.workspace_path() + "/codes/none/versions/1"}}),
         "CodeNotFound", "'none'"},
        {Json::object({{"codeId", world.workspace_path() + "/codes/empty/versions/1"}}),
         "CodeNotFound", "not there"},
        {Json::object({{"codeId", "https://somewhere/else"}}), "CodeNotFound", "not a code asset"},
        {Json::object({{"command", "x ${{inputs.y}}"}}), "InvalidReference", "inputs.y"},
        {Json::object({{"command", "x ${{outputs.y}}"}}), "InvalidReference", "outputs.y"},
        {Json::object({{"command", "x ${{search_space.y}}"}}), "InvalidReference", "search_space"},
        {Json::object({{"command", "x ${{inputs.y"}}), "InvalidReference", "without '}}'"},
        {input("uri_file", place + "lost.csv"), "InputNotFound", "nothing is there"},
        {input("uri_folder", place + "fold"), "InputNotFound", "nothing is there"},
        {input("uri_file", place + "folder"), "InputTypeMismatch", "is a folder"},
        {input("uri_folder", place + "file.csv"), "InputTypeMismatch", "is a file"},
        {input("uri_file", "azureml://datastores/workspaceblobstor/paths/x"), "DatastoreNotFound",
         "did you mean 'workspaceblobstore'"},
        {input("uri_file", place + "../x"), "InvalidArgument", ""},
        {input("uri_file", "azureml:tabel:1"), "DataNotFound", "did you mean 'table'"},
        {input("uri_file", "azureml:table:2"), "DataNotFound", "no version '2'"},
        {input("uri_file", "azureml:table"), "InvalidArgument", "needs a version"},
        {input("uri_folder", "azureml:table:1"), "InputTypeMismatch", "uri_file"},
        {input("uri_file", "azureml:lost:1"), "InputNotFound", "nothing is there"},
        {input("uri_folder", "https://example.org/x"), "InvalidArgument", "cannot be listed"},
        {input("uri_file", "abfss://box@account/x"), "InvalidArgument", "not from abfss:"},
        {input("uri_file", "./local.csv"), "InvalidInput", "client's machine"},
        {input("uri_file", place + "file.csv", "EvalMount"), "InvalidMode", "EvalMount"},
        {input("uri_file", place + "file.csv", "ReadWriteMount"), "InvalidMode", "ro_mount"},
        {input("uri_file", place + "file.csv", "Downlod"), "InvalidMode",
         "did you mean 'Download'"},
        {input("uri_fil", place + "file.csv"), "InvalidType", "did you mean 'uri_file'"},
        {input("uri_file", ""), "InvalidInput", "no uri"},
        {output("../up", Json::object()), "InvalidName", "output name"},
        {output("a/b", Json::object()), "InvalidName", "output name"},
        {output("o", Json::object({{"uri", "/etc"}})), "InvalidOutput", "datastore"},
        {output("o", Json::object({{"uri", place + "../x"}})), "InvalidArgument", ""},
        {output("o", Json::object({{"mode", "Direct"}})), "InvalidMode", "rw_mount or upload"},
        {output("o", Json::object({{"assetName", "a b"}})), "InvalidOutput", "found 'a b'"},
        {output("o", Json::object({{"assetName", "../a"}})), "InvalidOutput", "found '../a'"},
        {output("o", Json::object({{"assetVersion", "1"}})), "InvalidOutput", "no name"},
        {output("o", Json::object({{"assetName", 3}})), "InvalidArgument", "expected a text"},
        {Json::object({{"resources", Json::object({{"instanceCount", 3}})}}), "TooManyNodes",
         "room for 2 at a time"},
        {Json::object(
             {{"computeId", "cpu-cluster"}, {"resources", Json::object({{"instanceCount", 3}})}}),
         "TooManyNodes", "'cpu-cluster' has at most 2"},
        {Json::object({{"resources", Json::object({{"instanceCount", 0}})}}), "InvalidResources",
         "resources.instanceCount: expected a whole number from 1 to 1,000, found 0"},
        {Json::object({{"resources", Json::object({{"shmSize", "2 gb"}})}}), "InvalidShmSize",
         "found \"2 gb\""},
        {Json::object({{"resources", Json::object({{"shmSize", "0g"}})}}), "InvalidShmSize",
         "above 0"},
        {Json::object({{"computeId", "cpu-cluster"},
                       {"resources", Json::object({{"instanceType", "STANDARD_DS3_V2"}})}}),
         "InstanceTypeNotThere", "nodes of size STANDARD_DS2_V2"},
        {Json::object({{"queueSettings", Json::object({{"priority", 4}})}}), "InvalidQueueSettings",
         "3 (high)"},
        {Json::object({{"queueSettings", Json::object({{"jobTier", "Gold"}})}}),
         "InvalidQueueSettings", "Premium"},
        {Json::object({{"resources", Json::object({{"instanceType", "STANDARD_XX"}})}}),
         "InvalidVmSize", "STANDARD_XX"},
        {Json::object({{"distribution", Json::object({{"distributionType", "Ray"}})}}),
         "DistributionNotSupported", "Ray"},
        {Json::object({{"distribution", Json::object({{"distributionType", "Pytorsch"}})}}),
         "InvalidDistribution", "Pytorsch"},
        {Json::object({{"distribution", Json::object({{"distributionType", "Mpi"},
                                                      {"processCountPerInstance", 0}})}}),
         "InvalidDistribution", "processCountPerInstance"},
        {Json::object({{"resources", Json::object({{"instanceCount", 2}})},
                       {"distribution",
                        Json::object({{"distributionType", "TensorFlow"}, {"workerCount", 1}})}}),
         "InvalidDistribution", "without any"},
        {Json::object({{"limits", Json::object({{"timeout", "-PT1H"}})}}), "InvalidTimeout",
         "timeout"},
        {Json::object({{"limits", Json::object({{"timeout", "PT0S"}})}}), "InvalidTimeout",
         "timeout"},
        {Json::object({{"environmentVariables", Json::object({{"a=b", "c"}})}}), "InvalidVariable",
         "a=b"},
        {Json::object({{"environmentVariables", Json::object({{"LOST", Json()}})}}),
         "InvalidVariable", "'LOST' has no value"},
    };
    for (const Row& row : table) {
        const Reply reply = put("never", row.more);
        EXPECT_EQ(reply.status, 400) << row.more.dump();
        EXPECT_EQ(reply.code(), row.code) << reply.text;
        EXPECT_NE(reply.message().find(row.says), std::string::npos) << reply.message();
    }
    EXPECT_EQ(world.send("GET", "/jobs/never").status, 404);
    EXPECT_EQ(world.send("PUT", "/jobs/a%20b", job()).status, 400);
    EXPECT_EQ(world.send("PUT", "/jobs/x", Json::object()).status, 400);
    EXPECT_EQ(world.send("PUT", "/jobs/x", Json::array({1})).status, 400);
    EXPECT_EQ(world
                  .send_raw("PUT", world.workspace_path() + "/jobs/x?api-version=2024-01-01", "{",
                            world.user)
                  .code(),
              "InvalidRequestContent");
}

// Whatever its members are: a job is made, or refused at a place below its properties.
TEST_F(Jobs, NoDefinitionIsTooOddToBeRefusedAtItsPlace) {
    const std::vector<Json> values = {
        Json(),
        "x",
        5,
        -1,
        1.5,
        true,
        Json::array({"a", Json::object()}),
        Json::object(),
        Json::object({{"a", Json::array({Json::object()})}}),
        Json::object({{"a", Json::object({{"jobInputType", 5}, {"uri", true}})}}),
        std::string(300'000, 'x')};
    int number = 0, refused = 0;
    for (const std::string type : {"Command", "Sweep"})
        for (const std::string member : {"jobType",
                                         "displayName",
                                         "experimentName",
                                         "description",
                                         "tags",
                                         "properties",
                                         "isArchived",
                                         "command",
                                         "codeId",
                                         "environmentId",
                                         "computeId",
                                         "componentId",
                                         "environmentVariables",
                                         "inputs",
                                         "outputs",
                                         "resources",
                                         "distribution",
                                         "limits",
                                         "queueSettings",
                                         "identity",
                                         "services",
                                         "trial",
                                         "searchSpace",
                                         "samplingAlgorithm",
                                         "objective",
                                         "earlyTermination",
                                         "unheard-of"})
            for (const Json& value : values) {
                const std::string name = "odd" + std::to_string(++number);
                const Reply reply = put(name, Json::object({{"jobType", type}, {member, value}}));
                if (reply.status == 201) continue;
                ++refused;
                ASSERT_EQ(reply.status, 400) << member << " " << reply.text;
                EXPECT_TRUE(
                    reply.json.at("error").at("target").as_view().starts_with("properties."))
                    << member << " " << reply.text;
                EXPECT_EQ(world.send("GET", "/jobs/" + name).status, 404);
            }
    EXPECT_GT(refused, 300);
}

TEST_F(Jobs, PutAgainChangesOnlyWhatMayChange) {
    const Reply first = put(
        "j", Json::object(
                 {{"resources",
                   Json::object({{"properties",
                                  Json::object({{"IsLocal", Json::object({{"IsLocal", true}})}})},
                                 {"instanceCount", 1}})}}));
    ASSERT_EQ(first.status, 201) << first.text;
    EXPECT_TRUE(
        first.properties().at("resources").at("properties").at("IsLocal").at("IsLocal").as_bool());
    EXPECT_FALSE(first.properties().at("services").has("Local"));
    // The whole document comes back, with read-only members, tags and a property more.
    Json document = first.json;
    document["properties"]["tags"].set("a", "b");
    document["properties"]["properties"].set("ContentSnapshotId", "s");
    const Reply second = world.send("PUT", "/jobs/j", document);
    ASSERT_EQ(second.status, 200) << second.text;
    EXPECT_EQ(second.properties().at("tags").at("a").as_string(), "b");
    EXPECT_EQ(second.properties().at("properties").at("ContentSnapshotId").as_string(), "s");
    const JobRecord saved = record("j");
    EXPECT_EQ(saved.meta.properties.members().size(), 1u)
        << "what the server says is not stored as the user's";

    Json other = document;
    other["properties"].set("command", "python other.py");
    const Reply refused = world.send("PUT", "/jobs/j", other);
    EXPECT_EQ(refused.status, 409);
    EXPECT_EQ(refused.code(), "ResourceExists");
    // It needs nothing that may have gone since.
    world.send("PUT", "/jobs/j", document);

    EXPECT_EQ(world
                  .send("PATCH", "/jobs/j",
                        Json::object({{"properties", Json::object({{"isArchived", true},
                                                                   {"displayName", "new"}})}}))
                  .properties()
                  .at("displayName")
                  .as_string(),
              "new");
    EXPECT_EQ(world
                  .send("PATCH", "/jobs/j",
                        Json::object({{"properties", Json::object({{"command", "x"}})}}))
                  .status,
              400);
    for (const auto& [member, wrong] : {std::pair<const char*, const char*>{"displayName", "5"},
                                        {"description", "[]"},
                                        {"isArchived", "\"yes\""},
                                        {"tags", "[]"},
                                        {"tags", "{\"a\":5}"},
                                        {"properties", "\"x\""},
                                        {"properties", "{\"a\":{}}"}}) {
        const Reply wrong_type = world.send(
            "PATCH", "/jobs/j",
            Json::object({{"properties", Json::object({{member, *parse_json(wrong)}})}}));
        EXPECT_EQ(wrong_type.status, 400) << member << " " << wrong;
        EXPECT_TRUE(wrong_type.message().starts_with(member) &&
                    wrong_type.message().find("expected ") != std::string::npos)
            << wrong_type.message();
    }
    for (const char* tags : {R"({"a":"1","b":"2"})", R"({"b":null,"c":"3"})"})
        ASSERT_EQ(
            world
                .send("PATCH", "/jobs/j",
                      Json::object({{"properties", Json::object({{"tags", *parse_json(tags)}})}}))
                .status,
            200);
    EXPECT_EQ(record("j").meta.tags.at("a").as_view(), "1");
    EXPECT_EQ(record("j").meta.tags.at("c").as_view(), "3");
    EXPECT_FALSE(record("j").meta.tags.has("b"));
    EXPECT_EQ(world.send("GET", "/jobs/j").properties().at("displayName").as_string(), "new");
    EXPECT_EQ(world.send("GET", "/jobs").json.at("value").items().size(), 0u);
    EXPECT_EQ(world.send("GET", "/jobs?listViewType=ArchivedOnly").json.at("value").items().size(),
              1u);
}

TEST_F(Jobs, PropertiesOfTheServersOwnAreNotTaken) {
    const Json given = Json::object(
        {{"mine", "1"}, {"score", "7"}, {"best_child_run_id", "other_0"}, {"turnout.cause", "x"}});
    ASSERT_EQ(put("command", Json::object({{"properties", given}})).status, 201);
    const Json sweep =
        Json::object({{"jobType", "Sweep"},
                      {"searchSpace", *parse_json(R"({"x":["choice",[[1,2]]]})")},
                      {"samplingAlgorithm", Json::object({{"samplingAlgorithmType", "Grid"}})},
                      {"objective", Json::object({{"goal", "Maximize"}, {"primaryMetric", "acc"}})},
                      {"trial", Json::object({{"command", "train"}, {"environmentId", kCurated}})},
                      {"properties", given}});
    ASSERT_EQ(put("sweep", sweep).status, 201);
    EXPECT_EQ(record("command").meta.properties.dump(),
              R"({"mine":"1","score":"7","best_child_run_id":"other_0"})");
    EXPECT_EQ(record("sweep").meta.properties.dump(), R"({"mine":"1"})");
    ASSERT_EQ(world
                  .send("PATCH", "/jobs/sweep",
                        Json::object({{"properties", Json::object({{"properties", given}})}}))
                  .status,
              200);
    EXPECT_EQ(record("sweep").meta.properties.dump(), R"({"mine":"1"})");
}

TEST_F(Jobs, AreListedNewestFirstInPages) {
    for (int i = 0; i < 120; ++i) {
        world.loop.pass(1s);
        ASSERT_EQ(put("j" + std::to_string(i),
                      Json::object({{"tags", Json::object({{"n", std::to_string(i % 2)}})}}))
                      .status,
                  201);
    }
    const Reply first = world.send("GET", "/jobs");
    ASSERT_EQ(first.json.at("value").items().size(), 100u);
    EXPECT_EQ(first.json.at("value").items()[0].at("name").as_string(), "j119");
    const std::string next = first.json.at("nextLink").as_string();
    ASSERT_FALSE(next.empty());
    const Reply rest = world.send_raw(
        "GET", next.substr(std::string("https://localhost:8443").size()), "", world.user);
    ASSERT_EQ(rest.json.at("value").items().size(), 20u) << rest.text;
    EXPECT_EQ(rest.json.at("value").items()[0].at("name").as_string(), "j19");
    EXPECT_FALSE(rest.json.has("nextLink"));
    EXPECT_EQ(world.send("GET", "/jobs?tag=n=1").json.at("value").items().size(), 60u);
    EXPECT_EQ(world.send("GET", "/jobs?$top=3").json.at("value").items().size(), 3u);
    EXPECT_NE(world.send("GET", "/jobs/j11x").message().find("did you mean"), std::string::npos);
}

TEST_F(Jobs, EndAsTheyAreTold) {
    ASSERT_EQ(put("j").status, 201);
    EXPECT_EQ(world.send("DELETE", "/jobs/j").status, 409);
    const Reply canceled = world.send("POST", "/jobs/j/cancel");
    ASSERT_EQ(canceled.status, 202);
    world.loop.settle();
    const std::string operation(canceled.headers.get("Azure-AsyncOperation"));
    const std::string path = operation.substr(std::string("https://localhost:8443").size());
    EXPECT_EQ(world.send_raw("GET", path, "", world.user).json.at("status").as_string(),
              "Succeeded");
    const std::string location(canceled.headers.get("Location"));
    EXPECT_EQ(world
                  .send_raw("GET", location.substr(std::string("https://localhost:8443").size()),
                            "", world.user)
                  .status,
              200);
    EXPECT_EQ(world.send("GET", "/jobs/j").properties().at("status").as_string(), "Canceled");
    EXPECT_EQ(world.send("POST", "/jobs/j/cancel").status, 200);
    // Twice the same answer; after a change another.
    EXPECT_EQ(world.send("GET", "/jobs/j").text, world.send("GET", "/jobs/j").text);
    EXPECT_EQ(world
                  .send("PATCH", "/jobs/j",
                        Json::object({{"properties", Json::object({{"displayName", "late"}})}}))
                  .status,
              200);
    EXPECT_EQ(world.send("GET", "/jobs/j").properties().at("displayName").as_string(), "late");
    EXPECT_EQ(world.send("DELETE", "/jobs/j").status, 202);
    world.loop.settle();
    EXPECT_EQ(world.send("GET", "/jobs/j").status, 404);
    EXPECT_EQ(world.send("POST", "/jobs/j/cancel").status, 404);
}

// One job has one error, wherever it is asked for.
TEST_F(Jobs, OneThatNeverRanHasNoExitCode) {
    ASSERT_EQ(put("j").status, 201);
    JobRecord job = record("j");
    job.status = JobStatus::Failed;
    job.ended = job.created + 5s;
    job.cause = agent_protocol::Cause::Environment;
    JobAttempt attempt;
    attempt.number = 1;
    attempt.placement = OnNodes{{"node-1"}};
    attempt.leased = job.created + 1s;
    attempt.ended = job.ended;
    attempt.ending = agent_protocol::Ending{job.cause,           -1, 0, "it could not be prepared",
                                            {"no such package"}, 0,  {}};
    job.attempts.push_back(attempt);
    save(job);
    const Json error = world.send("GET", "/jobs/j").properties().at("error");
    EXPECT_EQ(
        error.dump(),
        R"({"code":"UserError","message":"it could not be prepared","details":[)"
        R"({"code":"LastLines","message":"no such package"},{"code":"Cause","message":"environment"}]})");
    Json history =
        world.send_raw("GET", "/history/v1.0" + world.workspace_path() + "/runs/j", "", world.user)
            .json.at("error")
            .at("error");
    history.erase("messageParameters");
    EXPECT_EQ(history.dump(), error.dump());
}

TEST_F(Jobs, FailedOnesSayWhy) {
    ASSERT_EQ(put("j").status, 201);
    JobRecord job = record("j");
    job.status = JobStatus::Failed;
    job.ended = job.created + 5s;
    job.cause = agent_protocol::Cause::UserCode;
    job.error_message = "the command ended with exit code 3";
    JobAttempt attempt;
    attempt.number = 1;
    attempt.placement = OnNodes{{"node-1"}};
    attempt.leased = job.created + 1s;
    attempt.preparing = job.created + 2s;
    attempt.running = job.created + 3s;
    attempt.finalizing = job.created + 4s;
    attempt.ended = job.created + 5s;
    job.attempts.push_back(attempt);
    job.attempts[0].ending = agent_protocol::Ending{agent_protocol::Cause::UserCode, 3, 0, "",
                                                    {"Traceback", "ValueError"},     0, {}};
    save(job);
    const Reply failed = world.send("GET", "/jobs/j");
    EXPECT_EQ(failed.properties().at("error").at("code").as_string(), "UserError");
    EXPECT_EQ(failed.properties().at("error").at("message").as_string(),
              "the command ended with exit code 3");
    const Json& properties = failed.properties().at("properties");
    EXPECT_EQ(properties.at("turnout.exit_code").as_string(), "3");
    EXPECT_EQ(properties.at("turnout.cause").as_string(), "user_code");
    EXPECT_EQ(properties.at("turnout.node").as_string(), "node-1");
    double sum = 0;
    for (const auto& [name, value] : properties.members())
        if (name.starts_with("turnout.ledger.")) sum += std::stod(value.as_string());
    EXPECT_NEAR(sum, 5.0, 1e-6);
}

}  // namespace
}  // namespace turnout::api
