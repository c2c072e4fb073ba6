// The whole API in one process without sockets, under virtual time: requests are values.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/api.h"
#include "api/audit/audit.h"
#include "api/audit/of_call.h"
#include "api/authority.h"
#include "api/batch/batch.h"
#include "api/inference/inference.h"
#include "api/login/logins.h"
#include "api/people/people_routes.h"
#include "api/people/token_routes.h"
#include "api/schedules/schedules.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/control.h"
#include "control/test_jobs.h"
#include "store/memory/memory_store.h"
#include "store/test_world.h"
#include "tracking/tracking.h"
#include "vault/vault.h"

namespace turnout::api {

class NoEffects : public Effects {
public:
    void send(const NodeId&, agent_protocol::ToAgent) override {}
    void provision(const std::string&, const NodeRequest& node) override {
        provisioned.push_back(node.id);
    }
    void release(const std::string&, const NodeId&, const Json&) override {}
    void disconnect(const NodeId&) override {}
    void clear_machine(const std::string&, const std::string& compute,
                       const AttachedMachine&) override {
        cleared.push_back(compute);
    }
    std::vector<NodeId> provisioned;
    std::vector<std::string> cleared;
};

class TextBody : public http::BodyReader {
public:
    explicit TextBody(std::string text) : text_(std::move(text)) {}
    Task<Result<std::string>> read() override { co_return std::exchange(text_, ""); }

private:
    std::string text_;
};

struct Reply {
    int status = 0;
    http::Headers headers;
    std::string text;
    Json json;  // null if the body is not JSON
    const Json& properties() const { return json.at("properties"); }
    std::string code() const { return json.at("error").at("code").as_string(); }
    std::string message() const { return json.at("error").at("message").as_string(); }
};

inline ServerInfo test_info() {
    ServerInfo info;
    info.version = "1.2.3";
    info.tls_origin = "https://127.0.0.1:8443";
    info.plain_origin = "http://127.0.0.1:8080";
    info.machine = {4, 16, 0};
    return info;
}

// They know one zone, in which it never is summer.
inline TimeZones zones_of_tests() {
    return [](const std::string& iana) -> Result<TimeZone> {
        if (iana == "Europe/Berlin") return TimeZone(std::chrono::hours(1));
        return not_found("there is no such zone here");
    };
}

// Whose nodes have the image that a job asks for.
inline Pool engine_pool(std::string name, std::string provider = "container", int slots = 2) {
    Pool pool;
    pool.name = std::move(name);
    pool.provider = std::move(provider);
    pool.slots = slots;
    pool.image = ImagePolicy::Engine;
    return pool;
}

inline Control::Settings each_input_its_own_commit() {
    Control::Settings settings;
    settings.commit_pause = settings.busy_commit_pause = settings.client_pause = Span{};
    return settings;
}

// Job "j" in its first attempt.
inline JobRecord running_job(std::string workspace) {
    JobRecord job;
    job.workspace = std::move(workspace);
    job.name = "j";
    job.status = JobStatus::Running;
    job.attempts.push_back({1, OnNodes{{"node-1"}}});
    return job;
}

class World {
public:
    explicit World(Control::Settings settings = each_input_its_own_commit())
        : folder_(
              std::filesystem::path(::testing::TempDir()) /
              ("api_world_" + std::to_string(::getpid()) + "_" + std::to_string(next_number()))),
          control(loop, store, effects, std::move(settings)),
          assets(store, loop, random),
          tracking(store, loop, random, loop),
          blobs(open(*this)),
          authority(make_authority(store, loop, random, make_instance_keys(random))),
          audit(std::make_unique<Audit>(store, loop, loop, authority->link_key())),
          services{loop,   random, loop,     store,      control,
                   *blobs, assets, tracking, *authority, test_info()},
          logins(services, *authority, login_sources(*this)) {
        EXPECT_TRUE(control.recover());
        EXPECT_TRUE(audit->open());
        services.audit = audit.get();
        blobs->set_virtual(&tracking);
        add_discovery_routes(router, services);
        add_arm_routes(router, services);
        add_history_routes(router, services);
        add_mlflow_routes(router, services);
        add_portal_routes(router, services);
        add_blob_routes(router, services);
        add_upkeep_routes(router, services);
        add_token_routes(router, services, *authority);
        add_people_routes(router, services, *authority);
        logins.add_to(router);
        add_audit_routes(router, services);
        services.vault = &vault;
        add_secret_routes(router, services, vault);
        services.inference = &inference;
        add_endpoint_routes(router, services);
        add_scoring_routes(router, services);
        add_batch_routes(router, services);
        services.zones = zones_of_tests();
        schedules.emplace(services, services.zones);
        add_schedule_routes(router, services, *schedules);
        workspace = make_workspace("ws");
        user = token({Principal::Kind::User, "admin", "", "", 0});
    }
    ~World() {
        blobs.reset();
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }

    template <class T>
    T wait(Task<T> task) {
        auto outcome = begin(std::move(task));
        wait(outcome);
        return std::move(*outcome);
    }
    template <class T>
    void wait(const Outcome<T>& outcome) {
        loop.settle();
        for (int i = 0; i < 100 && !outcome.done(); ++i) loop.pass(1ms);
        EXPECT_TRUE(outcome.done()) << "the task does not end";
    }

    Workspace make_workspace(std::string name) {
        Workspace wanted;
        wanted.subscription = "00000000-1111-2222-3333-444444444444";
        wanted.resource_group = "rg";
        wanted.name = std::move(name);
        wanted.location = "westus";
        return *wait(assets.create_workspace(wanted));
    }
    void save(const JobRecord& job) {
        Batch batch;
        put_job(batch, job);
        ASSERT_TRUE(wait(store.commit(std::move(batch))));
    }
    std::string token(const Principal& principal) {
        return authority->mint(principal, "https://127.0.0.1:8443", 1h).reveal();
    }

    // A request under way: it goes on with the loop.
    struct Sent {
        http::Request request;
        TextBody body;
        Outcome<http::Response> outcome;
        Reply reply() const {
            Reply reply;
            reply.status = outcome->status;
            reply.headers = outcome->headers;
            reply.text = outcome->body;
            if (auto parsed = parse_json(outcome->body)) reply.json = std::move(*parsed);
            return reply;
        }
    };
    std::unique_ptr<Sent> begin_raw(std::string method, std::string target, std::string body,
                                    std::string bearer,
                                    std::vector<std::pair<std::string, std::string>> headers = {}) {
        auto sent = std::make_unique<Sent>(http::Request{}, TextBody(std::move(body)));
        http::Request& request = sent->request;
        request.method = std::move(method);
        request.target = target;
        const std::size_t question = target.find('?');
        request.path = target.substr(0, question);
        if (question != std::string::npos) request.query = target.substr(question + 1);
        request.peer = {.carrier = http::Carrier::Tls, .loopback = true, .address = peer_address};
        request.headers.set("Host", "localhost:8443");
        if (!bearer.empty()) request.headers.set("Authorization", "Bearer " + bearer);
        for (auto& [name, value] : headers) request.headers.set(name, value);
        sent->outcome = begin(router.handle(services, request, sent->body));
        return sent;
    }
    Reply send_raw(std::string method, std::string target, std::string body, std::string bearer,
                   std::vector<std::pair<std::string, std::string>> headers = {}) {
        const auto sent = begin_raw(std::move(method), std::move(target), std::move(body),
                                    std::move(bearer), std::move(headers));
        wait(sent->outcome);
        return sent->reply();
    }
    // A path inside the workspace, as a user, with an api-version.
    Reply send(std::string method, const std::string& path, const Json& body = {}) {
        return send_raw(std::move(method), arm_path(path), body.is_null() ? "" : body.dump(), user);
    }
    std::string arm_path(const std::string& path) const {
        return workspace_path() + path + (path.find('?') == std::string::npos ? "?" : "&") +
               "api-version=2024-01-01-preview";
    }
    std::string mlflow_path(const std::string& path) const {
        return "/mlflow/v2.0" + workspace_path() + "/api/2.0/mlflow/" + path;
    }
    std::string workspace_path() const {
        return "/subscriptions/" + workspace.subscription +
               "/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/" +
               workspace.name;
    }
    void put_blob(const std::string& container, const std::string& name, std::string bytes) {
        BlobPut put;
        put.container = container;
        put.name = name;
        const auto done = wait(blobs->put_bytes(put, std::move(bytes)));
        ASSERT_TRUE(done) << done.error().message;
    }

private:
    static int next_number() {
        static int last = 0;
        return ++last;
    }
    static Task<Result<std::optional<oidc::Settings>>> settings_of(World& world) {
        co_return world.oidc_settings;
    }
    static LoginSources login_sources(World& world) {
        LoginSources sources;
        sources.settings = [&world] { return settings_of(world); };
        sources.client = [&world](const oidc::Settings&) -> Result<std::unique_ptr<http::Client>> {
            return world.oidc_client();
        };
        return sources;
    }
    static std::unique_ptr<Blobs> open(World& world) {
        auto opened =
            open_blobs(world.store, world.loop, world.random, world.loop, world.folder_.string());
        EXPECT_TRUE(opened);
        return std::move(*opened);
    }
    std::filesystem::path folder_;

public:
    ManualLoop loop;
    CountingRandom random;
    MemoryStore store{loop};
    NoEffects effects;
    Control control;
    Catalog assets;
    std::optional<std::string> key_file;  // of the vault
    Vault vault{
        store, loop, random,
        KeyFile{"secrets.key", [this] { return Result<std::optional<std::string>>(key_file); },
                [this](const std::string& text) {
                    key_file = text;
                    return Result<void>();
                }}};
    Tracking tracking;
    std::unique_ptr<Blobs> blobs;
    std::unique_ptr<InstanceAuthority> authority;
    std::unique_ptr<Audit> audit;
    Services services;
    Inference inference{services, vault};
    std::string peer_address = "127.0.0.1:5000";  // of whoever asks
    // Of logins: nothing, until a test says otherwise.
    std::optional<oidc::Settings> oidc_settings;
    std::function<std::unique_ptr<http::Client>()> oidc_client;
    Logins logins;
    std::optional<Schedules> schedules;  // begins nothing until a test says so
    Router router;
    Workspace workspace;
    std::string user;
};

}  // namespace turnout::api
