#include "api/run_reach.h"

#include <gtest/gtest.h>

#include <set>

#include "access/actions.h"
#include "api/actions.h"
#include "api/test_world.h"
#include "base/text.h"

namespace turnout::api {
namespace {

// Jobs "mine", whose token is used, and "theirs", which is another's.
class RunReachTest : public ::testing::Test {
protected:
    RunReachTest() {
        mine = start("mine");
        start("theirs");
        put(artifact_container(wsid), "ExperimentRun/dcid.theirs/outputs/model/w", "secret");
        put(blobstore_container(wsid), "azureml/theirs/out/x", "secret");
    }
    std::string start(const std::string& name, Json definition = Json::object()) {
        JobRecord job = running_job(wsid);
        job.name = name;
        job.principal = "admin";
        job.meta.experiment = "shared";
        job.definition = std::move(definition);
        world.save(job);
        EXPECT_TRUE(world.wait(world.tracking.ensure_job_run(wsid, name, "shared", name, "admin")));
        return world.token({Principal::Kind::Run, name, wsid, name, 1});
    }
    void put(const std::string& container, const std::string& name, std::string bytes) {
        world.put_blob(container, name, std::move(bytes));
    }
    Reply call(const std::string& method, const std::string& path, const std::string& bearer,
               const Json& body = {}) {
        return world.send_raw(method, path, body.is_null() ? "" : body.dump(), bearer);
    }
    Reply mlflow(const std::string& method, const std::string& rest, const std::string& bearer,
                 const Json& body = {}) {
        return call(method, "/mlflow/v2.0" + world.workspace_path() + "/api/2.0/mlflow/" + rest,
                    bearer, body);
    }
    std::string in(const std::string& rest) {
        return world.workspace_path() + rest + (rest.find('?') == std::string::npos ? "?" : "&") +
               "api-version=2024-10-01";
    }
    Reply put_model(const std::string& name, const std::string& uri, const std::string& bearer) {
        return call("PUT", in("/models/" + name + "/versions/1"), bearer,
                    Json::object({{"properties", Json::object({{"modelUri", uri},
                                                               {"modelType", "custom_model"}})}}));
    }

    World world;
    const std::string wsid = world.workspace.id;
    std::string mine;
};

// A request that is about that run wherever one can be named.
struct About {
    std::string path;
    Json body;
};
About about(const Route& route, const Workspace& workspace, const std::string& run) {
    const std::string place = "ExperimentRun/dcid." + run + "/x";
    const bool of_artifacts = route.pattern.find("/mlflow-artifacts/") != std::string::npos;
    std::string path;
    for (const std::string& part : split(route.pattern.substr(1), '/')) {
        path += "/";
        if (part == "{sub}")
            path += workspace.subscription;
        else if (part == "{rg}")
            path += workspace.resource_group;
        else if (part == "{ws}")
            path += workspace.name;
        else if (part == "{wsid}")
            path += workspace.id;
        else if (part == "{container}")
            path += artifact_container(workspace.id);
        else if (part == "{name...}")
            path += place;
        else if (part == "{path...}")
            path += of_artifacts ? run + "/artifacts/x" : "x";
        else if (part == "{id}" || part == "{job}" || part == "{model_id}" ||
                 part == "{" + std::string(route.need->run) + "}")
            path += run;
        else if (part == "{kind}")
            path += "cancelJob";
        else if (part == "{name}" && route.pattern.find("/operation") != std::string::npos)
            path += run;
        else
            path += part.starts_with("{") ? "x" : part;
    }
    path += "?api-version=2024-01-01&metric_key=k&restype=container&comp=list&run_id=" + run +
            "&prefix=" + place + "&name=" + place + "&path=" + run + "/artifacts";
    const Json paths = Json::array({Json::object({{"path", "a"}})});
    return {path, Json::object({{"run_id", run},
                                {"runId", run},
                                {"source_run_id", run},
                                {"experiment_id", "0"},
                                {"name", "n"},
                                {"key", "k"},
                                {"value", "1"},
                                {"timestamp", 1},
                                {"step", 0},
                                {"model_json", "{}"},
                                {"paths", paths}})};
}

// Each route as a run, about another job and about its own: it is let in exactly where the table
// says so. What is behind the door is other tests' matter.
TEST_F(RunReachTest, EveryRouteAsARun) {
    // These name no run: what they show and take is looked at below.
    const std::set<std::string> without = {"runs/create", "runs/search", "logged-models/search"};
    std::size_t asked = 0;
    for (const Route& route : world.router.routes()) {
        const std::string what = route.method + " " + route.pattern;
        if (route.access == Access::Open || route.access == Access::Node ||
            route.access == Access::AnyRun)
            continue;
        const auto refused = [&](const std::string& run) {
            const About request = about(route, world.workspace, run);
            const bool read = route.method == "GET" || route.method == "HEAD";
            const Reply reply =
                call(route.method, request.path, mine, read ? Json() : request.body);
            EXPECT_NE(reply.status, 401) << what << reply.text;
            EXPECT_EQ(reply.text.find("secret"), std::string::npos) << what;
            return reply.status == 403;
        };
        const bool page = route.pattern.starts_with("/studio/");  // opened by its link alone
        const bool of_runs =
            route.access == Access::Run || (route.access == Access::Signed && !page);
        // MLflow's plain paths name no workspace: they are no run's.
        const bool placed = route.pattern.find("{ws") != std::string::npos ||
                            route.pattern.find("{container}") != std::string::npos;
        const access::RunMay may =
            of_runs && placed ? access::run_may(route.need->action) : access::RunMay::Nothing;
        if (may == access::RunMay::Nothing) {
            EXPECT_TRUE(refused("mine")) << what;
            EXPECT_TRUE(refused("theirs")) << what;
            continue;
        }
        const bool names_none =
            route.pattern.ends_with("{rest...}") || route.pattern.ends_with("/jobs") ||
            std::ranges::any_of(without,
                                [&](const auto& end) { return route.pattern.ends_with(end); });
        if (may == access::RunMay::Catalog &&
            route.pattern.find("/operation") == std::string::npos) {
            if (!route.pattern.ends_with("set-experiment-tag") &&
                !route.pattern.ends_with("experiments/update")) {
                EXPECT_FALSE(refused("theirs")) << what;
            }
            continue;
        }
        if (names_none) {
            EXPECT_FALSE(refused("theirs")) << what;
            continue;
        }
        ++asked;
        EXPECT_TRUE(refused("theirs")) << what;
        if (route.method == "PUT" && route.pattern.ends_with("{container}")) continue;
        EXPECT_FALSE(refused("mine")) << what;
    }
    EXPECT_GT(asked, 50u);
}

TEST_F(RunReachTest, ListsShowItsOwn) {
    const auto names = [&](const std::string& filter) {
        std::set<std::string> found;
        const Reply list = call("GET", in("/jobs" + filter), mine);
        for (const Json& one : list.json.at("value").items())
            found.insert(one.at("name").as_string());
        return found;
    };
    EXPECT_EQ(names(""), (std::set<std::string>{"mine"}));
    EXPECT_EQ(names("?status=Running"), (std::set<std::string>{"mine"}));
    EXPECT_EQ(names("?status=Queued"), (std::set<std::string>{}));
    EXPECT_EQ(names("?createdBy=admin"), (std::set<std::string>{"mine"}));
    const std::string experiment =
        mlflow("GET", "experiments/get-by-name?experiment_name=shared", mine)
            .json.at("experiment")
            .at("experiment_id")
            .as_string();
    const Reply child = mlflow("POST", "runs/create", mine,
                               Json::object({{"experiment_id", experiment}, {"run_name", "c"}}));
    ASSERT_EQ(child.status, 200) << child.text;
    const std::string id = child.json.at("run").at("info").at("run_id").as_string();
    for (const char* order : {"start_time DESC", "metrics.x ASC"}) {
        std::set<std::string> found;
        const Reply runs = mlflow("POST", "runs/search", mine,
                                  Json::object({{"experiment_ids", Json::array({experiment})},
                                                {"order_by", Json::array({order})}}));
        for (const Json& run : runs.json.at("runs").items())
            found.insert(run.at("info").at("run_id").as_string());
        EXPECT_EQ(found, (std::set<std::string>{"mine", id})) << order;
    }
    const Json set = Json::object({{"run_id", id}, {"key", "a"}, {"value", "b"}});
    EXPECT_EQ(mlflow("POST", "runs/set-tag", mine, set).status, 200);
    const Json give = Json::object({{"run_id", id}, {"key", "turnout.job"}, {"value", "theirs"}});
    EXPECT_EQ(mlflow("POST", "runs/set-tag", mine, give).status, 400) << "whose it is, stays";
    EXPECT_EQ(mlflow("POST", "runs/delete-tag", mine, give).status, 400);
    const std::string theirs = world.token({Principal::Kind::Run, "theirs", wsid, "theirs", 1});
    EXPECT_EQ(mlflow("POST", "runs/set-tag", theirs, set).status, 403);
    EXPECT_EQ(mlflow("GET", "runs/get?run_id=" + id, theirs).status, 403);
    EXPECT_EQ(mlflow("GET", "runs/get?run_id=nothing", theirs).status, 403)
        << "nor whether it exists";
    // An experiment that others run in is not the job's; one that it made is.
    const auto tag = [&](const std::string& of) {
        return mlflow("POST", "experiments/set-experiment-tag", mine,
                      Json::object({{"experiment_id", of}, {"key", "k"}, {"value", "v"}}))
            .status;
    };
    EXPECT_EQ(tag(experiment), 403);
    const std::string own =
        mlflow("POST", "experiments/create", mine, Json::object({{"name", "own"}}))
            .json.at("experiment_id")
            .as_string();
    EXPECT_EQ(tag(own), 200);
    ASSERT_EQ(
        mlflow("POST", "experiments/create", world.user, Json::object({{"name", "else"}})).status,
        200);
    std::set<std::string> seen;
    const Reply list = mlflow("GET", "experiments/list", mine);
    for (const Json& one : list.json.at("experiments").items())
        seen.insert(one.at("name").as_string());
    EXPECT_EQ(seen, (std::set<std::string>{"shared", "own"}));
}

// What is registered is there for all; what is another job's cannot be made so by a run.
TEST_F(RunReachTest, RegisteringOpensNothing) {
    const std::string model = "ExperimentRun/dcid.theirs/outputs/model",
                      uri = "azureml://datastores/workspaceartifactstore/paths/" + model,
                      blob = "/blob/" + artifact_container(wsid) + "/" + model + "/w";
    for (const std::string& place :
         {uri, std::string("azureml://jobs/theirs/outputs/artifacts/paths/outputs/model"),
          std::string("azureml://jobs/nothing/outputs/artifacts"),
          std::string("runs:/theirs/outputs/model"),
          std::string("azureml://datastores/workspaceblobstore/paths/azureml/theirs/out"),
          std::string("azureml://datastores/workspaceblobstore/paths/azureml/"),
          std::string("azureml://datastores/workspaceblobstore/paths/"),
          "https://localhost:8443/blob/" + artifact_container(wsid) + "/" + model}) {
        const Reply reply = put_model("stolen", place, mine);
        EXPECT_EQ(reply.status, 403) << place << reply.text;
    }
    ASSERT_EQ(
        mlflow("POST", "registered-models/create", mine, Json::object({{"name", "m"}})).status,
        200);
    for (const std::string& source :
         {std::string("runs:/theirs/outputs/model"),
          std::string("mlflow-artifacts:/theirs/artifacts/outputs/model"), uri})
        EXPECT_EQ(mlflow("POST", "model-versions/create", mine,
                         Json::object({{"name", "m"}, {"source", source}}))
                      .status,
                  403)
            << source;
    for (const char* source : {"mlflow-artifacts:/", "mlflow-artifacts:///", "mlflow-artifacts://"})
        EXPECT_EQ(mlflow("POST", "model-versions/create", mine,
                         Json::object({{"name", "m"}, {"source", source}}))
                      .status,
                  400)
            << source;
    for (const char* id :
         {"azureml://jobs/theirs/outputs/default/x", "azureml://jobs/theirs/outputs/default",
          "azureml://jobs/nothing/outputs/default/x"}) {
        const Reply resolved = call("POST",
                                    "/data/v1.0" + world.workspace_path() +
                                        "/dataversion/batchGetResolvedUris?api-version=1.5.0",
                                    mine, Json::object({{"values", Json::array({id})}}));
        EXPECT_EQ(resolved.text.find("\"uri\""), std::string::npos) << id << resolved.text;
    }
    EXPECT_EQ(call("GET", blob, mine).status, 403);
    // A user registers it: from then on every job of the workspace may read it, and nothing beside.
    ASSERT_EQ(put_model("good", uri, world.user).status, 201);
    EXPECT_EQ(call("GET", blob, mine).text, "secret");
    EXPECT_EQ(mlflow("GET", "artifacts/list?run_id=theirs&path=outputs/model", mine).status, 200);
    EXPECT_EQ(mlflow("GET", "artifacts/list?run_id=theirs", mine).status, 403);
    const std::string artifacts = "/mlflow/v2.0" + world.workspace_path() +
                                  "/api/2.0/mlflow-artifacts/artifacts/theirs/artifacts/outputs/";
    EXPECT_EQ(call("GET", artifacts + "model/w", mine).status, 200);
    EXPECT_EQ(call("GET", artifacts + "model2", mine).status, 403);
    EXPECT_EQ(call("PUT", artifacts + "model/w", mine, Json("x")).status, 403);
    const Reply link = call("GET",
                            "/history/v1.0" + world.workspace_path() +
                                "/runs/theirs/artifacts/contentinfo?path=outputs/model/w",
                            mine);
    ASSERT_EQ(link.status, 200) << link.text;
    const std::string target = link.json.at("contentUri").as_string().substr(22);
    EXPECT_EQ(call("GET", target, "").text, "secret") << target;
    ASSERT_EQ(call("DELETE", in("/models/good/versions/1"), world.user).status, 200);
    EXPECT_EQ(call("GET", blob, mine).status, 403) << "at once";
    EXPECT_EQ(call("GET", target, "").status, 403);
    // What is its own it may register, and others then read it.
    put(artifact_container(wsid), "ExperimentRun/dcid.mine/outputs/model/w", "good");
    EXPECT_EQ(put_model("own",
                        "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.mine/"
                        "outputs/model",
                        mine)
                  .status,
              201);
    const std::string theirs = world.token({Principal::Kind::Run, "theirs", wsid, "theirs", 1});
    EXPECT_EQ(call("GET",
                   "/blob/" + artifact_container(wsid) + "/ExperimentRun/dcid.mine/outputs/model/w",
                   theirs)
                  .text,
              "good");
}

// Code of others, by a place for an upload that is theirs.
TEST_F(RunReachTest, AnUploadOfOthersIsNotItsOwn) {
    const std::string path = in("/codes/c/versions/1/startPendingUpload");
    const auto container = [](const Reply& reply) {
        const std::string uri =
            reply.json.at("blobReferenceForConsumption").at("blobUri").as_string();
        return uri.substr(uri.rfind('/') + 1);
    };
    const Reply theirs = call("POST", path, world.user, Json::object());
    ASSERT_EQ(theirs.status, 200) << theirs.text;
    put(container(theirs), "train.py", "code");
    EXPECT_EQ(call("POST", path, mine, Json::object()).status, 403);
    const auto code = [&](const std::string& name, const std::string& of) {
        return call("PUT", in("/codes/" + name + "/versions/1"), mine,
                    Json::object(
                        {{"properties",
                          Json::object({{"codeUri", "https://localhost:8443/blob/" + of}})}}))
            .status;
    };
    EXPECT_EQ(code("d", container(theirs)), 403);
    const Reply own =
        call("POST", in("/codes/d/versions/1/startPendingUpload"), mine, Json::object());
    ASSERT_EQ(own.status, 200) << own.text;
    EXPECT_EQ(code("d", container(own)), 201);
}

// A link is worth what the token is by which it was got: nothing after that was revoked, and
// nothing more than its user may.
TEST_F(RunReachTest, ALinkEndsWithTheTokenItWasGotBy) {
    const auto ok = [&](const Reply& reply) { EXPECT_LT(reply.status, 300) << reply.text; };
    ok(call("POST", "/turnout/users", world.user, Json::object({{"name", "ann"}})));
    const auto give = [&] {
        const Reply given = call("POST", "/turnout/assignments", world.user,
                                 Json::object({{"user", "ann"},
                                               {"role", "AzureML Data Scientist"},
                                               {"scope", world.workspace_path()}}));
        ok(given);
        return given.json.at("id").as_string();
    };
    std::string role = give();
    const auto key = [&](const std::string& name) {
        return world.wait(world.authority->create_api_key(NewApiKey{"ann", name}));
    };
    const auto lost = key("lost"), kept = key("kept");
    ASSERT_TRUE(lost && kept);
    put(artifact_container(wsid), "ExperimentRun/dcid.theirs/a", "a");
    put(blobstore_container(wsid), "data/x", "x");
    const auto links_of = [&](const std::string& bearer) {
        std::vector<std::string> links;
        const auto path_of = [](const std::string& url) {
            return url.substr(url.find('/', url.find("://") + 3));
        };
        const std::string history = "/history/v1.0" + world.workspace_path() + "/runs/theirs";
        links.push_back(path_of(call("GET", history + "/details", bearer)
                                    .json.at("logFiles")
                                    .members()[0]
                                    .second.as_string()));
        links.push_back(path_of(call("GET", in("/jobs/theirs"), bearer)
                                    .properties()
                                    .at("services")
                                    .at("Studio")
                                    .at("endpoint")
                                    .as_string()));
        links.push_back(path_of(call("GET", history + "/artifacts/contentinfo?path=a", bearer)
                                    .json.at("contentUri")
                                    .as_string()));
        links.push_back(
            "/blob/" + blobstore_container(wsid) + "/data/x?" +
            call("POST", in("/datastores/workspaceblobstore/listSecrets"), bearer, Json::object())
                .json.at("sasToken")
                .as_string());
        links.push_back(
            "/blob/" + blobstore_container(wsid) + "/data/x?" +
            call("GET",
                 "/datastore/v1.0" + world.workspace_path() + "/datastores/workspaceblobstore",
                 bearer)
                .json.at("azureStorageSection")
                .at("sasToken")
                .as_string());
        return links;
    };
    const auto all = [&](const std::vector<std::string>& links, bool open) {
        for (const std::string& link : links) {
            const int status = call("GET", link, "").status;
            // The log itself is not there.
            if (open) {
                EXPECT_TRUE(status == 200 || status == 404) << status << link;
            } else {
                EXPECT_EQ(status, 403) << link;
            }
        }
    };
    const auto of_lost = links_of(lost->secret.reveal()), of_kept = links_of(kept->secret.reveal());
    all(of_lost, true);
    all(of_kept, true);
    ASSERT_TRUE(world.wait(world.authority->revoke_api_key(lost->key.row)));
    all(of_lost, false);
    all(of_kept, true);
    ok(call("DELETE", "/turnout/assignments/" + role, world.user));
    all(of_kept, false);
    role = give();
    all(of_kept, true);
    // What a job was told of its own page is its user's, and ends with the job's user.
    const std::string page = call("GET", in("/jobs/mine"), mine)
                                 .properties()
                                 .at("services")
                                 .at("Studio")
                                 .at("endpoint")
                                 .as_string();
    EXPECT_EQ(call("GET", page.substr(page.find("/studio")), "").status, 200);
    ok(call("PATCH", "/turnout/users/ann", world.user, Json::object({{"disabled", true}})));
    all(of_kept, false);
    // Those of builds that named nobody go on to their end.
    const SasGrant grant{blobstore_container(wsid), "data", "r", world.loop.now() + 1h};
    all({"/blob/" + blobstore_container(wsid) + "/data/x?" +
         sign_sas(world.authority->link_key().reveal(), grant)},
        true);
}

// With user_identity it is also the user: by their roles, in this workspace alone.
TEST_F(RunReachTest, ForItsUser) {
    const std::string agent = start(
        "agent", Json::object({{"identity", Json::object({{"identityType", "UserIdentity"}})}}));
    EXPECT_EQ(call("GET", in("/jobs/theirs"), agent).status, 200);
    EXPECT_EQ(call("GET", in("/jobs"), agent).json.at("value").items().size(), 0u)
        << "none of these was submitted";
    EXPECT_EQ(mlflow("GET", "runs/get?run_id=theirs", agent).status, 200);
    EXPECT_EQ(
        call("GET", "/blob/" + blobstore_container(wsid) + "/azureml/theirs/out/x", agent).text,
        "secret");
    EXPECT_EQ(call("PUT", in("/jobs/new"), agent, Json::object()).status, 400)
        << "it may, with a body";
    EXPECT_EQ(call("PUT", in("/computes/c"), agent, Json::object()).status, 403) << "a user's own";
    world.loop.pass(1s);
    const Workspace other = world.make_workspace("other");
    EXPECT_EQ(call("GET", workspace_path(other) + "/jobs?api-version=2024-10-01", agent).status,
              403);
    // Of a user who may nothing any more nothing is left but the run.
    ASSERT_EQ(call("POST", "/turnout/users", world.user, Json::object({{"name", "ann"}})).status,
              201);
    ASSERT_EQ(call("POST", "/turnout/assignments", world.user,
                   Json::object({{"user", "ann"}, {"role", "Owner"}, {"scope", "/"}}))
                  .status,
              201);
    const std::string ann = world.token({Principal::Kind::User, "ann", "", "", 0});
    ASSERT_EQ(call("PATCH", "/turnout/users/admin", ann, Json::object({{"disabled", true}})).status,
              200);
    EXPECT_EQ(call("GET", in("/jobs/theirs"), agent).status, 403);
    EXPECT_EQ(mlflow("GET", "runs/get?run_id=theirs", agent).status, 403);
    EXPECT_EQ(call("GET", in("/jobs/agent"), agent).status, 200);
}

}  // namespace
}  // namespace turnout::api
