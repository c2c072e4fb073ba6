#include "api/history/log_link.h"
#include "api/history/run_view.h"
#include "api/mlflow/test_server.h"
#include "api/studio_link.h"

namespace turnout::api {
namespace {

using live::Reply;
using live::TestServer;

std::string path_of(const std::string& url, const std::string& origin) {
    EXPECT_TRUE(url.starts_with(origin + "/")) << url;
    return url.substr(origin.size());
}

TEST(History, DetailsShowTheJobAndLeadToItsLog) {
    TestServer server;
    server.put_job("job-1");
    server.append("job-1", 0, "epoch 1\nepoch 2\n");
    const Json details = server.get(server.history("/runs/job-1/details?api-version=v1.0")).json();
    EXPECT_EQ(details.at("runId").as_view(), "job-1");
    EXPECT_EQ(details.at("status").as_view(), "Running");
    EXPECT_TRUE(details.at("error").is_null());
    EXPECT_TRUE(details.at("properties").is_object());
    EXPECT_TRUE(details.at("warnings").is_array());
    const std::string log =
        path_of(details.at("logFiles").at("user_logs/std_log.txt").as_string(), server.origin);

    const Reply whole = server.send("GET", log);  // no token, as the SDK does
    EXPECT_EQ(whole.status, 200);
    EXPECT_EQ(whole.body, "epoch 1\nepoch 2\n");
    EXPECT_EQ(whole.headers.get("ETag"), "\"16\"");
    EXPECT_EQ(whole.headers.get("X-Turnout-Log-Length"), "16");
    EXPECT_EQ(whole.headers.get("X-Turnout-Log-Complete"), "false");
    EXPECT_EQ(server.send("GET", log + "&offset=8").body, "epoch 2\n");
    EXPECT_EQ(server.send("GET", log + "&offset=99").body, "");
    const Reply part = server.send("GET", log, {}, {}, {{"Range", "bytes=6-6"}});
    EXPECT_EQ(part.status, 206);
    EXPECT_EQ(part.body, "1");
    EXPECT_EQ(part.headers.get("Content-Range"), "bytes 6-6/16");
    EXPECT_EQ(server.send("GET", log, {}, {}, {{"Range", "bytes=16-"}}).status, 416);
    EXPECT_EQ(server.send("GET", log, {}, {}, {{"Range", "bytes=-3"}}).body, " 2\n");
    const Reply head = server.send("HEAD", log);
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.get("Content-Length"), "16");
}

TEST(History, ALogLinkHoldsForItsJobOnly) {
    TestServer server;
    server.put_job("job-1");
    server.put_job("job-2");
    server.append("job-1", 0, "one\n");
    server.append("job-2", 0, "two\n");
    const Secret& key = server.authority->link_key();
    const std::string good = sign_log_link(key, server.workspace.id, "job-1",
                                           "user_logs/std_log.txt", server.clock.now());
    EXPECT_EQ(server.send("GET", good).body, "one\n");
    std::string other = good;
    other.replace(other.find("job-1"), 5, "job-2");
    EXPECT_EQ(server.send("GET", other).status, 403);
    std::string later = good;
    later.replace(later.find("se=1"), 4, "se=2");
    EXPECT_EQ(server.send("GET", later).status, 403);
    EXPECT_EQ(server.send("GET", good.substr(0, good.find('?'))).status, 401);
    EXPECT_EQ(server
                  .send("GET", sign_log_link(key, server.workspace.id, "job-1",
                                             "user_logs/std_log.txt", server.clock.now() - 72h))
                  .status,
              403);
    // With the run token of the job itself, not with another's.
    EXPECT_EQ(
        server.send("GET", good.substr(0, good.find('?')), {}, server.run_token("job-1")).status,
        200);
    EXPECT_EQ(
        server.send("GET", good.substr(0, good.find('?')), {}, server.run_token("job-2")).status,
        403);
    EXPECT_EQ(server
                  .send("GET", "/logs/" + server.workspace.id + "/job-1/..%2f..%2fsecret", {},
                        server.user)
                  .status,
              400);
}

TEST(History, ALongPollWaitsForLinesAndForTheEnd) {
    TestServer server;
    JobRecord job = server.put_job("job-1");
    const std::string log = sign_log_link(server.authority->link_key(), server.workspace.id,
                                          "job-1", "user_logs/std_log.txt", server.clock.now());
    EXPECT_EQ(server.send("GET", log).body, "");  // nothing yet is not an error
    server.loop.after(20ms, [&] {
        server.tracking.append_log(
            {{server.workspace.id, "job-1", 1}, "user_logs/std_log.txt", 0, "first\n"},
            [](auto) {});
    });
    EXPECT_EQ(server.send("GET", log + "&offset=0&wait=30").body, "first\n");
    job.status = JobStatus::Completed;
    job.ended = server.clock.now();
    server.loop.after(20ms, [&] {
        Batch batch;
        turnout::put_job(batch, job);
        server.store.commit(std::move(batch),
                            [&](auto) { server.tracking.job_ended(server.workspace.id, "job-1"); });
    });
    const Reply end = server.send("GET", log + "&offset=6&wait=30");
    EXPECT_EQ(end.body, "");
    EXPECT_EQ(end.headers.get("X-Turnout-Log-Complete"), "true");
}

// azure-ai-ml prints each line that it has not counted before: half of one it would count, too.
TEST(History, WhoReadsAGrowingLogFromItsBeginningGetsWholeLines) {
    TestServer server;
    JobRecord job = server.put_job("job-1");
    server.append("job-1", 0, "half");
    const std::string log = sign_log_link(server.authority->link_key(), server.workspace.id,
                                          "job-1", "user_logs/std_log.txt", server.clock.now());
    EXPECT_EQ(server.send("GET", log).body, "");
    EXPECT_EQ(server.send("GET", log + "&offset=0").body, "half");
    server.append("job-1", 4, " a line\nand more");
    EXPECT_EQ(server.send("GET", log).body, "half a line\n");
    EXPECT_EQ(server.send("GET", log).headers.get("X-Turnout-Log-Length"), "12");
    EXPECT_EQ(server.send("GET", log + "&offset=12").body, "and more");
    const std::string dots(70'000, '.');
    server.append("job-1", 20, dots);
    EXPECT_EQ(server.send("GET", log).body, "half a line\nand more" + dots) << "too long to wait";
    server.append("job-1", 20 + dots.size(), "\nthe end");
    EXPECT_TRUE(server.send("GET", log).body.ends_with(".\n"));
    job.status = JobStatus::Completed;
    job.ended = server.clock.now();
    Batch batch;
    turnout::put_job(batch, job);
    server.store.commit(std::move(batch), [](auto) {});
    EXPECT_TRUE(server.send("GET", log).body.ends_with(".\nthe end"));
}

TEST(History, ALargeLogIsWhole) {
    TestServer server;
    server.put_job("job-1");
    std::string all;
    while (all.size() < 3'000'000) {
        std::string piece(50'000, static_cast<char>('a' + all.size() / 50'000 % 26));
        server.append("job-1", all.size(), piece);
        all += piece;
    }
    const std::string log = sign_log_link(server.authority->link_key(), server.workspace.id,
                                          "job-1", "user_logs/std_log.txt", server.clock.now());
    const Reply whole = server.send("GET", log);
    EXPECT_EQ(whole.headers.get("Content-Length"), std::to_string(all.size()));
    EXPECT_TRUE(whole.body == all);
}

TEST(History, AFailedJobSaysWhy) {
    TestServer server;
    JobRecord job = server.put_job("job-1", JobStatus::Failed);
    job.ended = server.clock.now();
    job.cause = agent_protocol::Cause::UserCode;
    agent_protocol::Ending ending;
    ending.cause = job.cause;
    ending.exit_code = 3;
    ending.message = "the command ended with exit code 3";
    ending.last_lines = {"Traceback", "ValueError: x"};
    job.attempts.back().ending = ending;
    server.save(job);
    const Json error =
        server.get(server.history("/runs/job-1/details")).json().at("error").at("error");
    EXPECT_EQ(error.at("code").as_view(), "UserError");
    EXPECT_EQ(error.at("message").as_view(), "the command ended with exit code 3");
    EXPECT_EQ(error.at("details").items().at(0).at("message").as_view(), "3");
    EXPECT_EQ(error.at("details").items().at(1).at("message").as_view(),
              "Traceback\nValueError: x");
}

TEST(History, RundataNamesOutputsThatResolve) {
    TestServer server;
    JobRecord job = server.put_job("job-1", JobStatus::Completed);
    agent_protocol::TaskOutput output;
    output.name = "model";
    output.type = "uri_folder";
    output.target = {blobstore_container(server.workspace.id), "azureml/job-1/model"};
    job.definition.set("outputs",
                       Json::object({{"model", Json::object({{"jobOutputType", "uri_folder"}})}}));
    agent_protocol::TaskSpec task;
    task.outputs.push_back(output);
    server.save(job, task);
    const Json run = server
                         .post(server.history("/rundata"),
                               Json::object({{"runId", "job-1"}, {"selectRunMetadata", true}}))
                         .json()
                         .at("runMetadata");
    EXPECT_EQ(run.at("status").as_view(), "Completed");
    const std::string id = run.at("outputs").at("model").at("assetId").as_string();
    const std::string at =
        "/data/v1.0" + server.ws_path + "/dataversion/batchGetResolvedUris?api-version=1.5.0";
    const Json resolved =
        server.post(at, Json::object({{"values", Json::array({id})}})).json().at("values").at(id);
    EXPECT_TRUE(resolved.at("uri").as_view().ends_with(
        "/workspaces/main/datastores/workspaceblobstore/paths/azureml/job-1/model/"))
        << resolved.dump();
    EXPECT_EQ(server
                  .post(at, Json::object(
                                {{"values", Json::array({"azureml://jobs/job-1/outputs/none"})}}))
                  .status,
              404);
    EXPECT_EQ(server.post(server.history("/rundata"), Json::object({{"runId", "nobody"}})).status,
              404);
    EXPECT_EQ(server.get(server.history("/runs/job-1/children")).json().at("value").items().size(),
              0u);
    EXPECT_TRUE(server.get(server.history("/runs/job-1/serviceinstances/0"))
                    .json()
                    .at("instances")
                    .is_object());
}

TEST(History, WhichChildrenIsAskedInWholeNumbers) {
    TestServer server;
    server.put_job("job-1");
    const std::string at = server.history("/runs/job-1/children?");
    EXPECT_EQ(server.get(at + "continuationtoken=0&$top=5").status, 200);
    for (const std::string query : {"continuationtoken=-9223372036854775808", "continuationtoken=x",
                                    "$top=0", "$top=1.5", "top=-1"}) {
        const Reply reply = server.get(at + query);
        EXPECT_EQ(reply.status, 400) << query;
        EXPECT_EQ(reply.json().at("error").at("target").as_string(),
                  query.substr(0, query.find('=')))
            << reply.body;
    }
}

TEST(History, ARunIsPatched) {
    TestServer server;
    server.put_job("job-1", JobStatus::Completed);
    EXPECT_TRUE(server.control.recover());
    const std::string at = server.history("/experiments/exp/runs/job-1");
    const Reply patched = server.send(
        "PATCH", at, R"({"displayName":"new","description":"d","tags":{"a":"b"},"hidden":true})",
        server.user);
    EXPECT_EQ(patched.status, 200) << patched.body;
    EXPECT_EQ(patched.json().at("displayName").as_view(), "new");
    const auto job = load_job(server.store, server.workspace.id, "job-1");
    EXPECT_TRUE((*job)->meta.archived);
    EXPECT_EQ((*job)->meta.tags.at("a").as_view(), "b");
    EXPECT_EQ(server.send("PATCH", at, R"({"tags":{"a":[1]}})", server.user).status, 400);
    EXPECT_EQ(
        server
            .send("PATCH", at,
                  R"({"tags":{"a":null,"c":1},"properties":{"turnout.cause":"mine","mine":"1"}})",
                  server.user)
            .status,
        200);
    const auto again = load_job(server.store, server.workspace.id, "job-1");
    EXPECT_EQ((*again)->meta.tags.dump(), R"({"c":"1"})");
    EXPECT_EQ((*again)->meta.properties.dump(), R"({"mine":"1"})");
    server.put_job("job-2");
    EXPECT_EQ(server.send("PATCH", at, "{}", server.run_token("job-2")).status, 403);
    EXPECT_EQ(server.send("PATCH", at, "{}", server.run_token("job-1")).status,
              401);  // its attempt is over
}

TEST(History, ArtifactsHaveSasLinks) {
    TestServer server;
    server.put_job("job-1");
    server.append("job-1", 0, "log");
    BlobPut put;
    put.container = artifact_container(server.workspace.id);
    put.name = "ExperimentRun/dcid.job-1/outputs/model.pkl";
    ASSERT_TRUE(server.loop.run(server.blobs->put_bytes(put, "bytes")));
    const std::string at = server.history("/experiments/exp/runs/job-1/artifacts");
    std::vector<std::string> paths;
    const Json list = server.get(at).json();
    for (const Json& item : list.at("value").items()) paths.push_back(item.at("path").as_string());
    EXPECT_EQ(paths, (std::vector<std::string>{"outputs/model.pkl", "user_logs/std_log.txt"}));
    const Json info = server.get(at + "/contentinfo?path=outputs/model.pkl").json();
    EXPECT_NE(info.at("contentUri")
                  .as_view()
                  .find("/store.blob.store.turnout/" + put.container +
                        "/ExperimentRun/dcid.job-1/outputs/model.pkl?"),
              std::string::npos)
        << info.dump();
    EXPECT_EQ(server.get(at + "/contentinfo?path=outputs/none").status, 404);
    EXPECT_EQ(server.get(at + "/contentinfo?path=../x").status, 400);
    const Reply made = server.send("POST", at + "/batch/metadata",
                                   R"({"paths":[{"path":"a/b.txt"}]})", server.run_token("job-1"));
    EXPECT_EQ(made.json().at("artifactContentInformation").at("a/b.txt").at("container").as_view(),
              "dcid.job-1");
    server.put_job("job-2");
    EXPECT_EQ(server
                  .send("POST", at + "/batch/metadata", R"({"paths":[{"path":"a"}]})",
                        server.run_token("job-2"))
                  .status,
              403);
}

// A job keeps the links it asked for; what others build on when it has ended is not changed by
// them.
TEST(History, ARunsLinksEndWithItsAttempt) {
    TestServer server;
    JobRecord job = server.put_job("job-1");
    const std::string at = server.history("/experiments/exp/runs/job-1/artifacts");
    const auto link_of = [&](const std::string& bearer) {
        return server
            .send("POST", at + "/batch/metadata", R"({"paths":[{"path":"outputs/model.pkl"}]})",
                  bearer)
            .json()
            .at("artifactContentInformation")
            .at("outputs/model.pkl")
            .at("contentUri")
            .as_string();
    };
    const auto put = [&](const std::string& link, std::string bytes) {
        return server.send("PUT", link, std::move(bytes), "", {{"x-ms-blob-type", "BlockBlob"}})
            .status;
    };
    const std::string bearer = server.run_token("job-1"), link = link_of(bearer);
    EXPECT_EQ(put(link, "good"), 201) << link;
    const std::string read =
        server.send("GET", at + "/contentinfo?path=outputs/model.pkl", "", bearer)
            .json()
            .at("contentUri")
            .as_string();
    EXPECT_EQ(server.send("GET", read).body, "good");
    // It is no more than the run: not another's, and nothing of the user's.
    std::string elsewhere = link;
    elsewhere.replace(elsewhere.find("dcid.job-1"), 10, "dcid.job-2");
    EXPECT_EQ(put(elsewhere, "evil"), 403);
    JobRecord again = job;
    again.attempts.push_back(job.attempts[0]);
    again.attempts.back().number = 2;
    server.save(again);
    EXPECT_EQ(put(link, "evil"), 401) << "of the attempt before";
    job.status = JobStatus::Completed;
    server.save(job);
    EXPECT_EQ(put(link, "evil"), 401);
    EXPECT_EQ(server.send("GET", read).status, 401);
    EXPECT_EQ(put(link_of(server.user), "by a person"), 201);
}

TEST(Ranges, AreReadAsHttpMeansThem) {
    using Pair = std::pair<std::uint64_t, std::uint64_t>;
    EXPECT_EQ(**parse_range("bytes=0-", 10), (Pair{0, 10}));
    EXPECT_EQ(**parse_range("bytes=2-3", 10), (Pair{2, 4}));
    EXPECT_EQ(**parse_range("bytes=2-99", 10), (Pair{2, 10}));
    EXPECT_EQ(**parse_range("bytes=-99", 10), (Pair{0, 10}));
    EXPECT_FALSE(parse_range("", 10)->has_value());
    EXPECT_FALSE(parse_range("bytes=1-2,4-5", 10)->has_value());
    EXPECT_FALSE(parse_range("bytes=5-2", 10)->has_value());
    EXPECT_FALSE(parse_range("lines=1-2", 10)->has_value());
    EXPECT_FALSE(parse_range("bytes=10-", 10));
    EXPECT_FALSE(parse_range("bytes=-0", 10));
    EXPECT_FALSE(parse_range("bytes=0-", 0));
}

}  // namespace
}  // namespace turnout::api
