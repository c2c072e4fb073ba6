#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "api/mlflow/filter.h"
#include "api/mlflow/test_server.h"
#include "catalog/default_workspace.h"

namespace turnout::api::live {

bool TestServer::has_python() {
    return std::getenv("TURNOUT_TEST_PYTHON") != nullptr;
}

std::pair<int, std::string> TestServer::python(const std::string& variables,
                                               std::string_view script) {
    std::ofstream(folder + "/client.py") << script;
    const std::string command = "cd " + folder + " && " + variables + " " +
                                std::getenv("TURNOUT_TEST_PYTHON") + " client.py >client.log 2>&1";
    int status = -1;
    bool ended = false;
    loop.blocking([&] { status = std::system(command.c_str()); }, [&] { ended = true; });
    loop.run_until([&] { return ended; });
    std::ifstream log(folder + "/client.log");
    return {status, std::string(std::istreambuf_iterator<char>(log), {})};
}

}  // namespace turnout::api::live

namespace turnout::api {
namespace {

using live::Reply;
using live::TestServer;

std::string create_run(TestServer& server, const std::string& experiment = "0") {
    return server
        .post(server.mlflow("runs/create"), Json::object({{"experiment_id", experiment},
                                                          {"start_time", "1700000000000"},
                                                          {"tags", Json::array()}}))
        .json()
        .at("run")
        .at("info")
        .at("run_id")
        .as_string();
}
Json get_run(TestServer& server, const std::string& id) {
    return server.get(server.mlflow("runs/get?run_id=" + id)).json().at("run");
}
std::string value_of(const Json& pairs, std::string_view key) {
    for (const Json& item : pairs.items())
        if (item.at("key").as_view() == key)
            return item.at("value").is_string() ? item.at("value").as_string()
                                                : item.at("value").dump();
    return "(none)";
}

TEST(Mlflow, ExperimentsUnderEveryPrefix) {
    TestServer server;
    const std::string id =
        server.post(server.mlflow("experiments/create"), Json::object({{"name", "a/b c"}}))
            .json()
            .at("experiment_id")
            .as_string();
    for (const std::string& path :
         {server.mlflow("", "v1.0"), server.mlflow("", "v2.0"), std::string("/api/2.0/mlflow/")}) {
        EXPECT_EQ(server.get(path + "experiments/get-by-name?experiment_name=a%2Fb%20c")
                      .json()
                      .at("experiment")
                      .at("experiment_id")
                      .as_view(),
                  id)
            << path;
        EXPECT_EQ(server.get(path + "experiments/get?experiment_id=" + id)
                      .json()
                      .at("experiment")
                      .at("lifecycle_stage")
                      .as_view(),
                  "active");
    }
    const Reply again =
        server.post(server.mlflow("experiments/create"), Json::object({{"name", "a/b c"}}));
    EXPECT_EQ(again.status, 400);
    EXPECT_EQ(again.json().at("error_code").as_view(), "RESOURCE_ALREADY_EXISTS");
    const Reply none = server.get(server.mlflow("experiments/get-by-name?experiment_name=none"));
    EXPECT_EQ(none.status, 404);
    EXPECT_EQ(none.json().at("error_code").as_view(), "RESOURCE_DOES_NOT_EXIST");
    EXPECT_EQ(server.get(server.mlflow("experiments/get?experiment_id=0"))
                  .json()
                  .at("experiment")
                  .at("name")
                  .as_view(),
              "Default");
    EXPECT_EQ(
        server.post(server.mlflow("experiments/delete"), Json::object({{"experiment_id", id}}))
            .json()
            .at("error_code")
            .as_view(),
        "NOT_IMPLEMENTED");
    const Json found = server
                           .post(server.mlflow("experiments/search"),
                                 Json::object({{"max_results", 10}, {"filter", "name LIKE 'a/%'"}}))
                           .json();
    EXPECT_EQ(found.at("experiments").items().size(), 1u);
    EXPECT_EQ(
        server.get(server.mlflow("prompt-optimization/search")).json().at("error_code").as_view(),
        "ENDPOINT_NOT_FOUND");
    EXPECT_EQ(server.send("GET", server.mlflow("experiments/list")).status, 401);
}

// As the server tells its clients. One that is made later and comes first by its name takes
// nobody's place.
TEST(Mlflow, WithoutAWorkspaceInThePathTheOldestIsMeant) {
    TestServer server;
    Workspace later = server.workspace;
    for (const char* name : {"aaa", "zzz"}) {
        later.name = name;
        ASSERT_TRUE(server.loop.run(server.assets.create_workspace(later)));
    }
    EXPECT_EQ(default_workspace(server.assets)->value().name, "main");
    const std::string id =
        server.post("/api/2.0/mlflow/experiments/create", Json::object({{"name", "e"}}))
            .json()
            .at("experiment_id")
            .as_string();
    EXPECT_EQ(server.get(server.mlflow("experiments/get-by-name?experiment_name=e"))
                  .json()
                  .at("experiment")
                  .at("experiment_id")
                  .as_view(),
              id);
}

// What `mlflow server` 3.17.2 answered to the same bodies.
TEST(Mlflow, ParamsAndTagsAreTakenAndRefusedAsByMlflow) {
    TestServer server;
    const auto repeated = [](std::string_view text, int times) {
        std::string out;
        for (int i = 0; i < times; ++i) out += text;
        return out;
    };
    const struct {
        Json key, value;
        int status;
    } table[] = {
        {"k", "", 200},
        {"k", "x", 200},
        {"k", " ", 200},
        {"k", "a\nb", 200},
        {"k", 1, 400},
        {"k", 1.5, 400},
        {"k", true, 400},
        {"k", Json::array(), 400},
        {"k", Json::object(), 400},
        {1, "v", 400},
        {Json(), "v", 400},
        {"", "v", 400},
        {repeated("k", 250), "v", 200},
        {repeated("k", 251), "v", 400},
        {repeated("\u00e9", 250), "v", 200},
        {repeated("\u00e9", 251), "v", 400},
        {"a/b", "v", 200},
        {"/a", "v", 400},
        {"a/", "v", 400},
        {"a//b", "v", 400},
        {"../a", "v", 400},
        {"a/../b", "v", 400},
        {".", "v", 400},
        {"a b", "v", 200},
        {"a:b", "v", 200},
        {"a$b", "v", 400},
        {"a,b", "v", 400},
        {"a@b", "v", 400},
        {"a\nb", "v", 400},
        {"\u65e5\u672c", "v", 200},
    };
    for (const char* route : {"runs/log-parameter", "runs/set-tag"})
        for (const auto& row : table) {
            const Reply reply = server.post(
                server.mlflow(route),
                Json::object(
                    {{"run_id", create_run(server)}, {"key", row.key}, {"value", row.value}}));
            EXPECT_EQ(reply.status, row.status)
                << route << " " << row.key.dump().substr(0, 60) << " "
                << row.value.dump().substr(0, 60) << ": " << reply.body;
            if (row.status == 400) {
                EXPECT_EQ(reply.json().at("error_code").as_view(), "INVALID_PARAMETER_VALUE");
            }
        }
}

TEST(Mlflow, WhatIsLoggedIsReadBack) {
    TestServer server;
    const std::string id = create_run(server);
    ASSERT_FALSE(id.empty());
    EXPECT_EQ(server
                  .post(server.mlflow("runs/log-parameter"),
                        Json::object({{"run_id", id}, {"key", "lr"}, {"value", "0.1"}}))
                  .status,
              200);
    const Reply changed =
        server.post(server.mlflow("runs/log-parameter"),
                    Json::object({{"run_uuid", id}, {"key", "lr"}, {"value", "0.2"}}));
    EXPECT_EQ(changed.status, 400);
    EXPECT_EQ(changed.json().at("error_code").as_view(), "INVALID_PARAMETER_VALUE");
    EXPECT_EQ(server
                  .post(server.mlflow("runs/log-metric"), Json::object({{"run_id", id},
                                                                        {"key", "loss"},
                                                                        {"value", 0.5},
                                                                        {"timestamp", "17"},
                                                                        {"step", "3"}}))
                  .status,
              200);
    // As Python's json writes it: a bare NaN.
    EXPECT_EQ(server
                  .send("POST", server.mlflow("runs/log-metric"),
                        R"({"run_id":")" + id + R"(","key":"nan","value":NaN,"timestamp":1})",
                        server.user)
                  .status,
              200);
    EXPECT_EQ(server
                  .post(server.mlflow("runs/set-tag"),
                        Json::object({{"run_id", id}, {"key", "t"}, {"value", "v"}}))
                  .status,
              200);
    Json metrics = Json::array();
    for (int i = 0; i < 1000; ++i)
        metrics.push(
            Json::object({{"key", "m"}, {"value", i * 0.5}, {"timestamp", i}, {"step", i}}));
    EXPECT_EQ(server
                  .post(server.mlflow("runs/log-batch"),
                        Json::object({{"run_id", id}, {"metrics", metrics}}))
                  .status,
              200);
    metrics.push(Json::object({{"key", "m"}, {"value", 1}, {"timestamp", 1}}));
    EXPECT_EQ(server
                  .post(server.mlflow("runs/log-batch"),
                        Json::object({{"run_id", id}, {"metrics", metrics}}))
                  .status,
              400);

    const Json run = get_run(server, id);
    EXPECT_EQ(run.at("info").at("status").as_view(), "RUNNING");
    EXPECT_EQ(run.at("info").at("start_time").as_int(), 1700000000000);
    EXPECT_EQ(value_of(run.at("data").at("params"), "lr"), "0.1");
    EXPECT_EQ(value_of(run.at("data").at("metrics"), "loss"), "0.5");
    EXPECT_EQ(value_of(run.at("data").at("metrics"), "nan"), "NaN");
    EXPECT_EQ(value_of(run.at("data").at("metrics"), "m"), "499.5");
    EXPECT_EQ(value_of(run.at("data").at("tags"), "t"), "v");
    std::size_t points = 0;
    std::string token;
    do {
        const Json page =
            server
                .get(server.mlflow("metrics/get-history?run_id=" + id +
                                   "&metric_key=m&max_results=300&page_token=" + token))
                .json();
        for (const Json& point : page.at("metrics").items())
            EXPECT_EQ(point.at("step").as_int(), static_cast<std::int64_t>(points++));
        token = page.at("next_page_token").as_string();
    } while (!token.empty());
    EXPECT_EQ(points, 1000u);

    EXPECT_EQ(
        server.post(server.mlflow("runs/delete-tag"), Json::object({{"run_id", id}, {"key", "t"}}))
            .status,
        200);
    EXPECT_EQ(
        server.post(server.mlflow("runs/delete-tag"), Json::object({{"run_id", id}, {"key", "t"}}))
            .status,
        404);
    const Json ended =
        server
            .post(server.mlflow("runs/update"), Json::object({{"run_id", id},
                                                              {"status", "FINISHED"},
                                                              {"end_time", 1700000001000},
                                                              {"run_name", "n"}}))
            .json();
    EXPECT_EQ(ended.at("run_info").at("status").as_view(), "FINISHED");
    EXPECT_EQ(ended.at("run_info").at("run_name").as_view(), "n");
    EXPECT_EQ(server.post(server.mlflow("runs/delete"), Json::object({{"run_id", id}})).status,
              200);
    EXPECT_EQ(server
                  .post(server.mlflow("runs/set-tag"),
                        Json::object({{"run_id", id}, {"key", "t"}, {"value", "v"}}))
                  .status,
              400);
    EXPECT_EQ(server.post(server.mlflow("runs/restore"), Json::object({{"run_id", id}})).status,
              200);
    EXPECT_EQ(server.send("POST", server.mlflow("runs/log-batch"), "[", server.user).status, 400);
    EXPECT_EQ(
        server
            .post(server.mlflow("runs/log-batch"), Json::object({{"run_id", id}, {"metrics", "x"}}))
            .status,
        400);
    EXPECT_EQ(
        server
            .post(server.mlflow("runs/log-metric"),
                  Json::object({{"run_id", id}, {"key", "a"}, {"value", "x"}, {"timestamp", 1}}))
            .status,
        400);
}

TEST(Mlflow, InputsAreKept) {
    TestServer server;
    const std::string id = create_run(server);
    const Json dataset = Json::object({{"name", "d"},
                                       {"digest", "abc/1"},
                                       {"source_type", "local"},
                                       {"source", "{}"},
                                       {"schema", std::string(9000, 'x')}});
    EXPECT_EQ(
        server
            .post(server.mlflow("runs/log-inputs"),
                  Json::object(
                      {{"run_id", id},
                       {"datasets",
                        Json::array({Json::object(
                            {{"dataset", dataset},
                             {"tags", Json::array({Json::object({{"key", "mlflow.data.context"},
                                                                 {"value", "train"}})})}})})}}))
            .status,
        200);
    const Json inputs = get_run(server, id).at("inputs").at("dataset_inputs");
    ASSERT_EQ(inputs.items().size(), 1u);
    EXPECT_EQ(inputs.items()[0].at("dataset").at("digest").as_view(), "abc/1");
    EXPECT_EQ(inputs.items()[0].at("tags").items()[0].at("value").as_view(), "train");
}

TEST(Mlflow, AJobsRunKeepsTheJobsStatus) {
    TestServer server;
    JobRecord job = server.put_job("job-1");
    const std::string token = server.run_token("job-1");
    EXPECT_EQ(server
                  .send("POST", server.mlflow("runs/update"),
                        R"({"run_id":"job-1","status":"FINISHED","end_time":1700000001000})", token)
                  .json()
                  .at("run_info")
                  .at("status")
                  .as_view(),
              "RUNNING");
    EXPECT_EQ(get_run(server, "job-1").at("info").at("end_time").as_int(), 1700000001000);
    EXPECT_EQ(server.get(server.history("/runs/job-1/details")).json().at("status").as_view(),
              "Running");
    EXPECT_EQ(server.post(server.mlflow("runs/delete"), Json::object({{"run_id", "job-1"}})).status,
              400);
    job.status = JobStatus::Canceled;
    job.ended = server.clock.now();
    server.save(job);
    EXPECT_EQ(get_run(server, "job-1").at("info").at("status").as_view(), "KILLED");
}

TEST(Mlflow, AJobWritesItsOwnRunsOnly) {
    TestServer server;
    server.put_job("job-1");
    server.put_job("job-2");
    const std::string one = server.run_token("job-1");
    const auto tag = [&](const std::string& run, const std::string& token) {
        return server
            .send("POST", server.mlflow("runs/set-tag"),
                  R"({"run_id":")" + run + R"(","key":"a","value":"b"})", token)
            .status;
    };
    EXPECT_EQ(tag("job-1", one), 200);
    EXPECT_EQ(tag("job-2", one), 403);
    const std::string child =
        server.send("POST", server.mlflow("runs/create"), R"({"experiment_id":"0"})", one)
            .json()
            .at("run")
            .at("info")
            .at("run_id")
            .as_string();
    EXPECT_EQ(tag(child, one), 200);
    EXPECT_EQ(tag(child, server.run_token("job-2")), 403);
    EXPECT_EQ(tag(child, server.user), 200);
    const std::string artifact = "/mlflow/v1.0" + server.ws_path +
                                 "/api/2.0/mlflow-artifacts/artifacts/job-2/artifacts/x.txt";
    EXPECT_EQ(server.send("PUT", artifact, "x", one).status, 403);
    EXPECT_EQ(server.send("PUT", artifact, "x", server.run_token("job-2")).status, 200);
    EXPECT_EQ(server.send("GET", "/api/2.0/mlflow/experiments/list", {}, one).status,
              403);  // names no workspace
}

TEST(Mlflow, WhatAnAgentRepeatsIsAppliedOnce) {
    TestServer server;
    server.put_job("job-1");
    const std::string token = server.run_token("job-1");
    const auto log = [&](int value, const std::string& sequence) {
        return server
            .send("POST", server.mlflow("runs/log-metric"),
                  R"({"run_id":"job-1","key":"a","timestamp":1,"step":)" + std::to_string(value) +
                      R"(,"value":)" + std::to_string(value) + "}",
                  token, {{"x-turnout-sequence", sequence}})
            .status;
    };
    EXPECT_EQ(log(1, "1:1"), 200);
    EXPECT_EQ(log(2, "1:2"), 200);
    EXPECT_EQ(log(3, "1:2"), 200);
    EXPECT_EQ(log(4, "2:1"), 400);  // not this attempt
    EXPECT_EQ(log(4, "nonsense"), 400);
    EXPECT_EQ(log(4, "1:3:x"), 400);
    EXPECT_EQ(log(5, "1:1:1"), 200);  // another node's first
    EXPECT_EQ(log(6, "1:1:1"), 200);
    EXPECT_EQ(server.tracking.metric_history(server.workspace.id, "job-1", "a", 9)->size(), 3u);
}

TEST(Mlflow, ArtifactsAreOneTreeWithTheJobs) {
    TestServer server;
    server.put_job("job-1");
    server.append("job-1", 0, "log");
    const std::string base =
        "/mlflow/v1.0" + server.ws_path + "/api/2.0/mlflow-artifacts/artifacts";
    EXPECT_EQ(server
                  .send("PUT", base + "/job-1/artifacts/model/weights.bin",
                        std::string(100'000, 'w'), server.run_token("job-1"))
                  .status,
              200);
    EXPECT_EQ(server
                  .send("PUT", base + "/job-1/artifacts/user_logs/std_log.txt", "forged",
                        server.run_token("job-1"))
                  .status,
              403);
    EXPECT_EQ(server.get(base + "/job-1/artifacts/model/weights.bin").body.size(), 100'000u);
    EXPECT_EQ(server.get(base + "/job-1/artifacts/user_logs/std_log.txt").body, "log");
    EXPECT_EQ(server.get(base + "/job-1/artifacts/none").status, 404);
    EXPECT_EQ(server.get(base + "/nobody/artifacts/x").status, 404);
    EXPECT_EQ(server.get(base + "/job-1/other/x").status, 404);
    const Json root = server.get(base + "?path=job-1/artifacts").json().at("files");
    ASSERT_EQ(root.items().size(), 2u);
    EXPECT_EQ(root.items()[0].at("path").as_view(), "model");
    EXPECT_TRUE(root.items()[0].at("is_dir").as_bool());
    const Json files =
        server.get(server.mlflow("artifacts/list?run_id=job-1&path=model")).json().at("files");
    ASSERT_EQ(files.items().size(), 1u);
    EXPECT_EQ(files.items()[0].at("path").as_view(), "model/weights.bin");
    EXPECT_EQ(files.items()[0].at("file_size").as_int(), 100'000);
    EXPECT_TRUE(server.blobs
                    ->head(artifact_container(server.workspace.id),
                           "ExperimentRun/dcid.job-1/model/weights.bin")
                    ->has_value());
}

TEST(Mlflow, RunsAreSearched) {
    TestServer server;
    const std::string experiment =
        server.post(server.mlflow("experiments/create"), Json::object({{"name", "s"}}))
            .json()
            .at("experiment_id")
            .as_string();
    std::vector<std::string> ids;
    for (int i = 0; i < 6; ++i) {
        const std::string id = create_run(server, experiment);
        ids.push_back(id);
        Json batch = Json::object({{"run_id", id}});
        batch.set(
            "metrics",
            Json::array({Json::object({{"key", "acc"}, {"value", i / 10.0}, {"timestamp", 1}})}));
        batch.set(
            "params",
            Json::array({Json::object({{"key", "kind"}, {"value", i % 2 == 0 ? "even" : "odd"}})}));
        batch.set(
            "tags",
            Json::array({Json::object({{"key", "a b"}, {"value", "tag-" + std::to_string(i)}})}));
        ASSERT_EQ(server.post(server.mlflow("runs/log-batch"), batch).status, 200);
    }
    const auto search = [&](std::string filter, Json order = Json::array(), int limit = 100,
                            std::string token = "") {
        Json body = Json::object({{"experiment_ids", Json::array({experiment})},
                                  {"filter", filter},
                                  {"order_by", order},
                                  {"max_results", limit},
                                  {"page_token", token}});
        return server.post(server.mlflow("runs/search"), body).json();
    };
    const auto found = [&](const Json& answer) {
        std::string which;
        for (const Json& run : answer.at("runs").items())
            which += std::to_string(
                std::find(ids.begin(), ids.end(), run.at("info").at("run_id").as_string()) -
                ids.begin());
        return which;
    };
    EXPECT_EQ(found(search("")), "543210");
    EXPECT_EQ(found(search("metrics.acc > 0.2 and params.kind = 'even'")), "4");
    EXPECT_EQ(found(search("tags.`a b` like 'tag-%' and metrics.\"acc\" <= 1e-1")), "10");
    EXPECT_EQ(found(search("params.kind != 'even'", Json::array({"metrics.acc ASC"}))), "135");
    EXPECT_EQ(found(search("attributes.status = 'FINISHED'")), "");
    EXPECT_EQ(found(search("run_id IN ('" + ids[2] + "','" + ids[4] + "')")), "42");
    for (const Json& order : {Json::array(), Json::array({"metrics.acc DESC"})}) {
        std::string seen, token;
        do {
            const Json page = search("", order, 4, token);
            seen += found(page);
            token = page.at("next_page_token").as_string();
        } while (!token.empty());
        EXPECT_EQ(seen, "543210");
    }
    for (const char* bad : {"metrics.acc >", "metrics.acc > 'x'", "params.kind > 'a'",
                            "acc = 'x' or b = 'y'", "params.kind = 'even' or metrics.acc > 1",
                            "datasets.name = 'x'", "params.kind = 'open", "nonsense = 'x'"}) {
        const Json answer = search(bad);
        EXPECT_EQ(answer.at("error_code").as_view(), "INVALID_PARAMETER_VALUE")
            << bad << answer.dump();
    }
    EXPECT_NE(
        search("params.kind = 'even' or metrics.acc > 1").at("message").as_view().find("'or'"),
        std::string::npos);
}

TEST(Filter, Like) {
    const auto matches_like = [](std::string_view text, std::string_view pattern) {
        return mlflow::LikePattern(pattern).matches(text);
    };
    EXPECT_TRUE(matches_like("abc", "a%"));
    EXPECT_TRUE(matches_like("abc", "%b%"));
    EXPECT_TRUE(matches_like("abc", "a_c"));
    EXPECT_TRUE(matches_like("", "%"));
    EXPECT_TRUE(matches_like("aXbXc", "a%b%c"));
    EXPECT_FALSE(matches_like("abc", "b%"));
    EXPECT_FALSE(matches_like("abc", "ab"));
    EXPECT_FALSE(matches_like("", "_"));
    EXPECT_TRUE(matches_like("größe", "gr__e")) << "a character may have several bytes";
    EXPECT_TRUE(matches_like("損失", "_失"));
    EXPECT_FALSE(matches_like("é", "__"));
    EXPECT_TRUE(
        matches_like("a\xff"
                     "b",
                     "a_b"))
        << "what is no UTF-8 counts byte by byte";

    // Against the definition, on every short text and pattern.
    const std::function<bool(std::string_view, std::string_view)> by_definition =
        [&](std::string_view text, std::string_view pattern) {
            if (pattern.empty()) return text.empty();
            if (pattern[0] == '%')
                return by_definition(text, pattern.substr(1)) ||
                       (!text.empty() && by_definition(text.substr(1), pattern));
            return !text.empty() && (pattern[0] == '_' || pattern[0] == text[0]) &&
                   by_definition(text.substr(1), pattern.substr(1));
        };
    const auto word = [](int number, int length, std::string_view letters) {
        std::string out;
        for (; length > 0; --length, number /= static_cast<int>(letters.size()))
            out += letters[static_cast<std::size_t>(number) % letters.size()];
        return out;
    };
    for (int length = 0, patterns = 1; length <= 5; ++length, patterns *= 4)
        for (int p = 0; p < patterns; ++p) {
            const std::string pattern = word(p, length, "ab%_");
            for (int t = 0; t < 64; ++t)
                ASSERT_EQ(matches_like(word(t, 6, "ab"), pattern),
                          by_definition(word(t, 6, "ab"), pattern))
                    << pattern << " and " << word(t, 6, "ab");
        }
    // More than one word of bits, and the patterns that are slow where every way is tried.
    const std::string many = std::string(99, 'a') + "b";
    EXPECT_TRUE(matches_like("c" + std::string(500, 'a') + "b" + std::string(3'000, 'a') + "b",
                             "%" + many + "%" + many));
    EXPECT_FALSE(matches_like("c" + std::string(500, 'a') + "b" + std::string(98, 'a') + "b",
                              "%" + many + "%" + many));
    std::string slow;
    for (int i = 0; i < 3'000; ++i) slow += "%a_";
    for (int i = 0; i < 1'000; ++i)
        ASSERT_FALSE(matches_like(std::string(8'000, 'a'), slow + "b%"));
}

TEST(Search, AnExperimentNamedTwiceIsLookedAtOnce) {
    TestServer server;
    const std::string experiment =
        server.post(server.mlflow("experiments/create"), Json::object({{"name", "once"}}))
            .json()
            .at("experiment_id")
            .as_string();
    server.post(server.mlflow("runs/create"), Json::object({{"experiment_id", experiment}}));
    const Json order = Json::array({"attributes.run_name ASC"});
    const Json found =
        server
            .post(server.mlflow("runs/search"),
                  Json::object({{"experiment_ids", Json::array({experiment, experiment})},
                                {"order_by", order}}))
            .json();
    EXPECT_EQ(found.at("runs").items().size(), 1u) << found.dump();
}

// The real client, when there is one: TURNOUT_TEST_PYTHON names a Python with mlflow-skinny.
TEST(Mlflow, TheRealClient) {
    if (!TestServer::has_python()) GTEST_SKIP() << "TURNOUT_TEST_PYTHON is not set";
    TestServer server;
    server.put_job("job-1");
    const std::string experiment =
        (*server.tracking.experiment_by_name(server.workspace.id, "exp"))->id;
    const auto [status, said] = server.python(
        "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_HTTP_REQUEST_MAX_RETRIES=1 MLFLOW_TRACKING_URI=" +
            server.origin + "/mlflow/v1.0" + server.ws_path + " MLFLOW_TRACKING_TOKEN=" +
            server.run_token("job-1") + " MLFLOW_RUN_ID=job-1 MLFLOW_EXPERIMENT_ID=" + experiment,
        R"py(
import os, math
import mlflow
from mlflow import MlflowClient
mlflow.log_param("lr", 0.1)                       # attaches to the job's run
mlflow.log_params({f"p{i}": i for i in range(250)})
for step in range(5):
    mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
mlflow.log_metrics({"acc": 0.9, "nan": float("nan"), "inf": float("inf")})
mlflow.set_tag("kind", "test")
mlflow.set_tags({"a": "b", "c/d": "e"})
mlflow.log_text("hello", "notes/hello.txt")
mlflow.log_dict({"x": 1}, "config.json")
with open("local.bin", "wb") as f:
    f.write(b"x" * 1000)
mlflow.log_artifact("local.bin", "files")
run = mlflow.active_run()
assert run.info.run_id == "job-1", run.info.run_id
mlflow.end_run()
client = MlflowClient()
data = client.get_run("job-1").data
assert data.params["p249"] == "249" and len(data.params) == 251
assert data.metrics["loss"] == 0.2 and math.isnan(data.metrics["nan"]) and math.isinf(data.metrics["inf"])
assert data.tags["kind"] == "test" and data.tags["c/d"] == "e"
assert [m.value for m in client.get_metric_history("job-1", "loss")] == [1.0, 1/2, 1/3, 1/4, 1/5]
assert sorted(f.path for f in client.list_artifacts("job-1")) == ["config.json", "files", "notes"]
assert [f.path for f in client.list_artifacts("job-1", "files")] == ["files/local.bin"]
assert open(client.download_artifacts("job-1", "files/local.bin"), "rb").read() == b"x" * 1000
assert mlflow.artifacts.load_text("mlflow-artifacts:/job-1/artifacts/notes/hello.txt") == "hello"
try:
    client.log_param("job-1", "lr", "0.2")
    raise SystemExit("a param changed")
except mlflow.exceptions.MlflowException as error:
    assert error.error_code == "INVALID_PARAMETER_VALUE", error.error_code
# After the job's run was closed, a second one is made.
with mlflow.start_run(run_name="second") as second:
    mlflow.log_metric("m", 2)
    with mlflow.start_run(nested=True) as child:
        mlflow.log_metric("m", 3)
assert second.info.run_id != "job-1"
assert client.get_run(second.info.run_id).info.status == "FINISHED"
assert client.get_run("job-1").info.status == "RUNNING"   # the job's record has the last word
mlflow.set_experiment("another one")
with mlflow.start_run():
    mlflow.log_param("q", "z")
found = client.search_runs([client.get_experiment_by_name("another one").experiment_id], "params.q = 'z'")
assert len(found) == 1
assert client.search_experiments(filter_string="name = 'another one'")[0].name == "another one"
assert client.get_experiment_by_name("nothing") is None
# A model of MLflow 3: its files are among the artifacts of the run that made it.
os.makedirs("model", exist_ok=True)
open("model/MLmodel", "w").write("flavors: {}")
experiment = client.get_experiment_by_name("another one").experiment_id
with mlflow.start_run() as maker:
    model = client.create_logged_model(experiment, name="net", source_run_id=maker.info.run_id, params={"depth": "3"}, tags={"x": "y"})
    client.log_model_artifacts(model.model_id, "model")
    client.finalize_logged_model(model.model_id, "READY")
    again = client.create_logged_model(experiment, name="net", source_run_id=maker.info.run_id)
    assert again.artifact_location != model.artifact_location
model = client.get_logged_model(model.model_id)
assert model.status == "READY" and model.params == {"depth": "3"} and model.tags["x"] == "y", model
assert len(client.search_logged_models([experiment], filter_string="name = 'net'")) == 2
assert [f.path for f in client.list_logged_model_artifacts(model.model_id)] == ["MLmodel"]
assert "net" in [f.path for f in client.list_artifacts(maker.info.run_id)]
assert open(os.path.join(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}"), "MLmodel")).read() == "flavors: {}"
assert open(client.download_artifacts(maker.info.run_id, "net/MLmodel")).read() == "flavors: {}"
client.set_logged_model_tags(model.model_id, {"z": "1"})
client.delete_logged_model_tag(model.model_id, "x")
assert client.get_logged_model(model.model_id).tags == {"z": "1"}
client.delete_logged_model(model.model_id)
print("ALL GOOD")
)py");
    EXPECT_EQ(status, 0) << said;
    EXPECT_NE(said.find("ALL GOOD"), std::string::npos) << said;
}

TEST(Registry, ModelVersionsComeInTheOrderThatIsAskedFor) {
    TestServer server;
    for (const std::string name : {"b", "a"}) {
        ASSERT_EQ(
            server.post(server.mlflow("registered-models/create"), Json::object({{"name", name}}))
                .status,
            200);
        for (int i = 0; i < (name == "b" ? 11 : 2); ++i)
            ASSERT_EQ(server
                          .post(server.mlflow("model-versions/create"),
                                Json::object({{"name", name},
                                              {"source",
                                               "azureml://datastores/workspaceblobstore/paths/x"}}))
                          .status,
                      200);
    }
    const auto ask = [&](const std::string& query) {
        const Reply reply = server.get(server.mlflow("model-versions/search?" + query));
        std::string said;
        const Json json = reply.json();
        for (const Json& one : json.at("model_versions").items())
            said += one.at("name").as_string() + one.at("version").as_string() + " ";
        if (reply.status != 200) said = reply.body;
        if (const Json& next = json.at("next_page_token"); !next.is_null())
            said += "then " + next.as_string();
        return said;
    };
    EXPECT_EQ(ask("max_results=4"), "a2 a1 b11 b10 then 4") << "as MLflow does by itself";
    EXPECT_EQ(ask("max_results=3&order_by=version_number%20DESC"), "b11 b10 b9 then 3");
    EXPECT_EQ(ask("max_results=3&page_token=3&order_by=version_number+DESC"), "b8 b7 b6 then 6");
    EXPECT_EQ(ask("max_results=3&page_token=10&order_by=version_number+DESC"), "b2 a1 b1 ")
        << "a2 b2 a1 b1 are the last four";
    EXPECT_EQ(ask("max_results=4&order_by=name+DESC&order_by=version_number"),
              "b1 b2 b3 b4 then 4");
    EXPECT_EQ(ask("max_results=2&order_by=creation_timestamp+DESC&filter=name%3D'a'").size(), 6u);
    EXPECT_NE(ask("order_by=name&order_by=name+DESC").find("twice"), std::string::npos);
    EXPECT_NE(ask("order_by=stage").find("cannot be ordered by"), std::string::npos);

    const Json models =
        server.get(server.mlflow("registered-models/search?order_by=name+DESC")).json();
    EXPECT_EQ(models.at("registered_models").items().at(0).at("name").as_string(), "b");
}

}  // namespace
}  // namespace turnout::api
