// The door to compute instances in one process, without a node: whoever answers behind it is the
// test's.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "access/guard.h"
#include "api/arm/personal.h"
#include "api/gateway/gateway.h"
#include "api/instances/front.h"
#include "api/instances/keeper.h"
#include "api/test_world.h"

namespace turnout::api {

// Two ends of which the test has one.
class Wire final : public http::Stream {
public:
    explicit Wire(bool* closed) : closed_(closed) {}
    Task<Result<std::string>> read() override { co_return co_await silent_; }
    Task<Result<void>> write(std::string) override { co_return Result<void>(); }
    void close() override {
        if (!std::exchange(*closed_, true)) silent_.settle()(Result<std::string>(""));
    }

private:
    bool* closed_;
    const Later<Result<std::string>> silent_;
};

// What runs on the instances, reached without a node.
class Program final : public http::Client {
public:
    Task<Result<http::ClientResponse>> send(http::ClientRequest request) override {
        ++asked;
        stop = request.stop;
        if (silent) co_await *silent;
        http::ClientResponse response;
        if (is_websocket({.method = "GET", .headers = request.headers})) {
            response.status = 101;
            response.headers.set("Upgrade", "websocket");
            response.headers.set("Connection", "Upgrade");
            response.stream = std::make_unique<Wire>(&closed);
        } else {
            response.status = 200;
            response.body = std::make_unique<TextBody>("[]");
        }
        co_return response;
    }
    int asked = 0;
    bool closed = false;
    Stop* stop = nullptr;
    std::optional<Later<bool>> silent;
};

class InstanceDoor : public ::testing::Test {
protected:
    InstanceDoor() {
        world.services.info.programs_tls_port = "9443";
        world.services.info.programs_plain_port = "9080";
        world.services.gateway = &gateway;
        Json properties = Json::object({{"vmSize", "STANDARD_DS3_v2"}});
        const Reply made = put("ci", std::move(properties));
        EXPECT_EQ(made.status, 201) << made.text;
        path = path_of_instance(world.workspace.id, "ci");
        NewApiKey wanted;
        wanted.user = "admin";
        wanted.origin = "https://localhost:8443";
        cookie = "__Host-turnout-session=" +
                 world.wait(world.authority->create_session(wanted))->secret.reveal();
    }
    ~InstanceDoor() override {  // what sees to it ends with it
        EXPECT_EQ(world.send("DELETE", "/computes/ci?underlyingResourceAction=Delete").status, 202);
        for (int i = 0; i < 100; ++i) pass(50ms);
    }
    // Time goes on, and whoever asks has a token that holds.
    void pass(Span span) {
        world.loop.pass(span);
        world.user = world.token({Principal::Kind::User, "admin", "", "", 0});
    }
    Reply put(const std::string& name, Json properties) {
        return world.send(
            "PUT", "/computes/" + name,
            Json::object({{"location", "westus"},
                          {"properties", Json::object({{"computeType", "ComputeInstance"},
                                                       {"properties", std::move(properties)}})}}));
    }
    using Headers = std::vector<std::pair<std::string, std::string>>;
    Reply ask(const std::string& target, Headers headers, std::string method = "GET") {
        const http::Response response = door(target, std::move(headers), std::move(method));
        Reply reply;
        reply.status = response.status;
        reply.headers = response.headers;
        reply.text = response.body;
        if (auto parsed = parse_json(response.body)) reply.json = std::move(*parsed);
        return reply;
    }
    http::Response door(const std::string& target, Headers headers, std::string method = "GET") {
        http::Request request;
        TextBody body("");
        request.stop = &client_left;
        request.method = std::move(method);
        request.target = request.path = target;
        request.peer = {
            .carrier = http::Carrier::Tls, .loopback = true, .address = "127.0.0.1:5000"};
        request.headers.set("Host", "localhost:9443");
        for (auto& [name, value] : headers) request.headers.set(name, value);
        return world.wait(front.handle(request, body));
    }
    Reply send_as(const std::string& user, const std::string& method, const std::string& target) {
        return world.send_raw(method, world.arm_path(target), "", bearer(user).substr(7));
    }
    void add_scientist(const std::string& user) {
        ASSERT_TRUE(world.wait(world.authority->people().add_user(user, "", "admin")));
        ASSERT_TRUE(world.wait(
            world.authority->people().assign(user, "AzureML Data Scientist", {}, "admin")));
    }
    // One of somebody else's.
    Reply put_for(const std::string& user, const std::string& name) {
        const std::string id = world.authority->object_id(
            Principal{.kind = Principal::Kind::User, .name = user, .workspace = {}, .job = {}});
        return put(name, *parse_json(R"({"vmSize":"STANDARD_DS3_v2","personalComputeInstance)"
                                     R"(Settings":{"assignedUser":{"objectId":")" +
                                     id + R"("}}})"));
    }
    Compute row(const std::string& name) {
        const auto record = world.store.get(Table::Compute, world.workspace.id + "/" + name);
        return *compute_from_json(*parse_json((*record)->value));
    }
    void change(const std::string& name, const std::function<void(PersonalInstance&)>& how) {
        world.control.change_compute(
            world.workspace.id, name,
            [&](const std::optional<Compute>& now) -> Result<Compute> {
                Compute changed = *now;
                how(*changed.personal);
                return changed;
            },
            [](const Result<Put>& put) { EXPECT_TRUE(put); });
        pass(1ms);
    }
    agent_protocol::AttemptId replica_of(const std::string& name) {
        const auto view = world.control.service(world.workspace.id, service_of_instance(name));
        if (!view || view->replicas.empty()) return {};
        return {world.workspace.id, view->replicas.back().job, view->replicas.back().attempt};
    }
    NodeId node_of(const std::string& name) {
        const auto nodes = world.control.nodes_of(world.workspace.id, name);
        EXPECT_EQ(nodes.size(), 1u);
        return nodes.empty() ? NodeId() : nodes.front().id();
    }
    // Its node comes, and its notebook server answers.
    void becomes_ready(const std::string& name) {
        pass(200ms);
        agent_protocol::Hello hello;
        hello.node = node_of(name);
        hello.boot_id = "boot-1";
        world.control.agent_connected(hello.node, hello);
        pass(10ms);
        world.control.agent_says(hello.node,
                                 agent_protocol::PhaseReport{
                                     replica_of(name), agent_protocol::Phase::Ready, "", {}, {}});
        pass(200ms);
        EXPECT_EQ(state(name), "Running")
            << hello.node << " " << (*world.store.get(Table::Node, hello.node))->value;
    }
    void replica_ends(const std::string& name) {
        agent_protocol::EndReport report;
        report.id = replica_of(name);
        report.ending.cause = agent_protocol::Cause::Canceled;
        world.control.agent_says(node_of(name), report);
        pass(200ms);
    }
    std::string state(const std::string& name) {
        return std::string(arm::state_of_personal(world.services, row(name)));
    }
    // A WebSocket that was admitted: whether its client sees it closed.
    void open(const std::string& user, bool* closed) {
        http::Response response = door(
            path_of_instance(world.workspace.id, "hers") + "api/kernels/k/channels",
            {{"Authorization", bearer(user)}, {"Connection", "Upgrade"}, {"Upgrade", "websocket"}});
        ASSERT_EQ(response.status, 101) << response.body;
        ASSERT_TRUE(response.upgraded);
        start(response.upgraded(std::make_unique<Wire>(closed)), [] {});
        ASSERT_EQ(front.open_ways(), 1u);
    }
    std::string bearer(const std::string& user) {
        return "Bearer " + world.token({Principal::Kind::User, user, "", "", 0});
    }

    // A notebook server's key comes with its lease.
    static Control::Settings settings() {
        Control::Settings settings = each_input_its_own_commit();
        settings.service_key = [](const agent_protocol::AttemptId&) { return Secret("key"); };
        settings.secrets = [](const std::string&, const std::vector<std::string>&) {
            return std::vector<agent_protocol::SecretValue>();
        };
        return settings;
    }

    World world{settings()};
    TestStop client_left;
    Program* program = new Program;  // the gateway's
    Gateway gateway{std::unique_ptr<http::Client>(program)};
    Front front{world.services};
    std::string path, cookie;
};

}  // namespace turnout::api
