// A whole API over a memory store behind a real HTTP server, with one workspace and one job in it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "api/api.h"
#include "api/authority.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/control.h"
#include "control/test_jobs.h"
#include "io/posix/asio_loop.h"
#include "io/posix/http_client.h"
#include "io/posix/http_server.h"
#include "model/job.h"
#include "store/memory/memory_store.h"
#include "tracking/tracking.h"

namespace turnout::api::live {  // apart from other tests of this program

struct NoEffects : Effects {
    void send(const NodeId&, agent_protocol::ToAgent) override {}
    void provision(const std::string&, const NodeRequest&) override {}
    void release(const std::string&, const NodeId&, const Json&) override {}
    void disconnect(const NodeId&) override {}
};

struct Reply {
    int status = 0;
    http::Headers headers;
    std::string body;
    Json json() const {
        auto parsed = parse_json(body);
        return parsed ? *parsed : Json();
    }
};

class TestServer {
public:
    AsioLoop loop;
    PosixClock clock;
    PosixRandom random;
    MemoryStore store{loop};
    NoEffects effects;
    std::string folder = make_folder();
    std::unique_ptr<Blobs> blobs = std::move(*open_blobs(store, clock, random, loop, folder));
    Catalog assets{store, clock, random};
    Tracking tracking{store, clock, random, loop};
    Control control{clock, store, effects, {}};
    std::unique_ptr<InstanceAuthority> authority =
        make_authority(store, clock, random, make_instance_keys(random));
    Services services{clock,  random, loop,     store,      control,
                      *blobs, assets, tracking, *authority, {}};
    Router router;
    std::unique_ptr<http::Listener> listener;
    std::function<void(const http::Request&)> before;  // it is answered
    Workspace workspace;
    std::string origin;
    std::string ws_path;
    std::string user;  // a user's bearer

    TestServer() {
        blobs->set_virtual(&tracking);
        Workspace wanted;
        wanted.subscription = "00000000-0000-0000-0000-000000000000";
        wanted.resource_group = "turnout";
        wanted.name = "main";
        wanted.location = "local";
        workspace = *loop.run(assets.create_workspace(wanted));
        EXPECT_TRUE(control.recover());
        add_history_routes(router, services);
        add_mlflow_routes(router, services);
        add_portal_routes(router, services);
        add_blob_routes(router, services);
        http::Handler handler = [this](const http::Request& request, http::BodyReader& body) {
            if (before) before(request);
            return router.handle(services, request, body);
        };
        listener = std::move(*http::listen_plain(loop, "127.0.0.1:0", handler));
        origin = "http://" + listener->address();
        services.info.plain_origin = origin;
        ws_path =
            "/subscriptions/" + workspace.subscription +
            "/resourceGroups/turnout/providers/Microsoft.MachineLearningServices/workspaces/main";
        user = authority->mint({Principal::Kind::User, "admin", "", "", 0}, "test", 1h).reveal();
        client = http::make_client(loop, {});
    }
    ~TestServer() {
        client.reset();
        listener.reset();
        std::filesystem::remove_all(folder);
    }

    Reply send(std::string method, const std::string& path, std::string body = {},
               const std::string& token = {},
               std::vector<std::pair<std::string, std::string>> headers = {}) {
        http::ClientRequest request;
        request.method = std::move(method);
        request.url = path.starts_with("http") ? path : origin + path;
        request.body = std::move(body);
        if (!token.empty()) request.headers.set("Authorization", "Bearer " + token);
        for (auto& [name, value] : headers) request.headers.set(name, value);
        return loop.run(exchange(std::move(request)));
    }
    Reply get(const std::string& path) { return send("GET", path, {}, user); }
    Reply post(const std::string& path, const Json& body) {
        return send("POST", path, body.dump(), user);
    }
    std::string mlflow(const std::string& path, const std::string& version = "v2.0") const {
        return "/mlflow/" + version + ws_path + "/api/2.0/mlflow/" + path;
    }
    std::string history(const std::string& path) const { return "/history/v1.0" + ws_path + path; }

    // The Python with the real clients, named by TURNOUT_TEST_PYTHON (mlflow_test.cc).
    static bool has_python();
    // Runs a script with it, while this serves; its status and what it said.
    std::pair<int, std::string> python(const std::string& variables, std::string_view script);

    // A job with its run, written straight into the store.
    JobRecord put_job(const std::string& name, JobStatus status = JobStatus::Running) {
        JobRecord job;
        job.workspace = workspace.id;
        job.name = name;
        job.definition = Json::object({{"jobType", "Command"}, {"command", "python train.py"}});
        job.meta.display_name = "train <b>";
        job.meta.experiment = "exp";
        job.compute = "cpu-cluster";
        job.principal = "admin";
        job.status = status;
        job.created = clock.now() - 100s;
        JobAttempt attempt;
        attempt.number = 1;
        attempt.placement = OnNodes{{"node-1"}};
        attempt.leased = job.created + 10s;
        attempt.preparing = job.created + 11s;
        attempt.running = job.created + 30s;
        job.started = attempt.running;
        job.attempts.push_back(attempt);
        save(job);
        EXPECT_TRUE(loop.run(
            tracking.ensure_job_run(workspace.id, name, "exp", job.meta.display_name, "admin")));
        return job;
    }
    void save(const JobRecord& job, const agent_protocol::TaskSpec& task = {}) {
        Batch batch;
        turnout::put_job(batch, job, task);
        EXPECT_TRUE(loop.run(store.commit(std::move(batch))));
    }
    std::string run_token(const std::string& job) {
        return authority->mint({Principal::Kind::Run, job, workspace.id, job, 1}, "test", 1h)
            .reveal();
    }
    std::uint64_t append(const std::string& job, std::uint64_t offset, std::string bytes) {
        std::optional<Result<std::uint64_t>> length;
        tracking.append_log(
            {{workspace.id, job, 1}, "user_logs/std_log.txt", offset, std::move(bytes)},
            [&](Result<std::uint64_t> result) { length = std::move(result); });
        loop.run_until([&] { return length.has_value(); });
        return length->value_or(0);
    }

private:
    static std::string make_folder() {
        std::string path =
            (std::filesystem::temp_directory_path() / "turnout-test-XXXXXX").string();
        EXPECT_NE(mkdtemp(path.data()), nullptr);
        return path;
    }
    Task<Reply> exchange(http::ClientRequest request) {
        auto response = co_await client->send(std::move(request));
        Reply reply;
        if (!response) {
            reply.body = response.error().message;
            co_return reply;
        }
        reply.status = response->status;
        reply.headers = response->headers;
        for (;;) {
            auto piece = co_await response->body->read();
            if (!piece) reply.status = -1;
            if (!piece || piece->empty()) break;
            reply.body += *piece;
        }
        co_return reply;
    }
    std::unique_ptr<http::Client> client;
};

}  // namespace turnout::api::live
