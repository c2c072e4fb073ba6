// The way of a task to its server, with the real loop and sockets.
#include "agent/tls_door.h"

#include <gtest/gtest.h>

#include "agent/azure.h"
#include "agent/files.h"
#include "base/json.h"
#include "io/posix/http_client.h"
#include "io/posix/http_server.h"

namespace turnout::agent {
namespace {

class DoorTest : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/turnout-door-test-XXXXXX";
        folder = mkdtemp(name);
        // What the tunnel leads to: here it speaks plainly, since the node does not look.
        auto far = http::listen_plain(loop, "127.0.0.1:0",
                                      [this](const http::Request& request, http::BodyReader& body) {
                                          return answer(request, body);
                                      });
        ASSERT_TRUE(far);
        behind = std::move(*far);
        auto near = http::listen_unix(
            loop, folder + "/server.sock",
            [this](const http::Request& request, http::BodyReader&) { return handle(request); });
        ASSERT_TRUE(near);
        listener = std::move(*near);
        http::ClientOptions options;
        options.unix_socket = folder + "/server.sock";
        options.origin = "http://turnout";
        server = std::make_unique<Server>(loop, http::make_client(loop, options));
    }
    void TearDown() override {
        door.reset();
        server.reset();
        listener.reset();
        behind.reset();
        loop.run(loop.sleep(20ms));
        remove_tree(folder);
    }

    Task<http::Response> handle(const http::Request& request) {
        http::Response response;
        if (away || request.headers.get("authorization") != "Bearer node-token") {
            response.status = 503;
        } else if (request.path == "/agent/v1/authority") {
            response.body = "AUTHORITY";
        } else if (request.path == "/agent/v1/tls") {
            http::Peer peer;
            peer.through_node = true;
            auto inside = behind->connect_inside(peer);
            auto held = std::make_shared<std::unique_ptr<http::Stream>>(std::move(*inside));
            response.status = 101;
            response.upgraded = [held](std::unique_ptr<http::Stream> outer) {
                return http::join_streams(std::move(outer), std::move(*held));
            };
        }
        co_return response;
    }
    Task<http::Response> answer(const http::Request& request, http::BodyReader& body) {
        http::Response response;
        auto text = co_await body.all(64 << 20);
        response.body = std::string(request.peer.through_node ? "through a node: " : "directly: ") +
                        (text ? *text : "?");
        co_return response;
    }
    void open() {
        door = std::make_unique<TlsDoor>(loop, *server, folder, Secret("node-token"));
        ASSERT_TRUE(door->listen());
    }
    Result<std::string> ask(std::string text) {
        auto client = http::make_client(loop, {.origin = "http://" + door->origin().substr(8)});
        return loop.run(asked(*client, std::move(text)));
    }
    static Task<Result<std::string>> asked(http::Client& client, std::string text) {
        http::ClientRequest request;
        request.method = "POST";
        request.url = "/x";
        request.body = std::move(text);
        TURNOUT_CO_TRY(auto response, co_await client.send(std::move(request)));
        co_return co_await response.body->all(64 << 20);
    }

    AsioLoop loop;
    std::string folder;
    bool away = false;
    std::unique_ptr<http::Listener> behind, listener;
    std::unique_ptr<Server> server;
    std::unique_ptr<TlsDoor> door;
};

TEST_F(DoorTest, BytesGoBothWaysAndTheServerKnowsWhere) {
    open();
    EXPECT_EQ(door->origin(), "") << "nobody knows yet whom to trust";
    ASSERT_TRUE(write_file(folder + "/system.pem", "SYSTEM\n"));
    loop.run(door->learn_authority(folder + "/system.pem"));
    EXPECT_EQ(*read_file(door->bundle()), "AUTHORITY\nSYSTEM\n");
    ASSERT_TRUE(door->origin().starts_with("https://127.0.0.1:"));
    const std::string large(3 << 20, 'x');
    for (const std::string& text : {std::string("a"), large, std::string()}) {
        auto said = ask(text);
        ASSERT_TRUE(said) << said.error().message;
        EXPECT_TRUE(*said == "through a node: " + text) << said->size();
    }
}

TEST_F(DoorTest, ThePortStaysAndAServerThatIsAwayEndsTheConnection) {
    open();
    loop.run(door->learn_authority(""));
    const std::string origin = door->origin();
    ASSERT_NE(origin, "");
    away = true;
    EXPECT_FALSE(ask("x"));
    door.reset();
    loop.run(loop.sleep(1ms));  // its socket is closed by what still waits at it
    open();
    EXPECT_EQ(door->origin(), origin) << "what it learnt is there, although the server is away";
    away = false;
    EXPECT_EQ(*ask("x"), "through a node: x");
}

TEST(Azure, TheVariablesOfATask) {
    agent_protocol::TaskSpec task;
    const Doors doors{"http://127.0.0.1:1", "https://127.0.0.1:2", "/ca.pem"};
    EXPECT_TRUE(azure_variables(task, doors).empty()) << "without a token there is no identity";
    task.run_token = Secret("t.o.k");
    const auto value = [&](std::string_view name, const Doors& of) -> std::string {
        for (const auto& [known, text] : azure_variables(task, of))
            if (known == name) return text;
        return "(none)";
    };
    EXPECT_EQ(value("IDENTITY_ENDPOINT", doors), "http://127.0.0.1:1/msi/token");
    EXPECT_EQ(value("IDENTITY_HEADER", doors), "t.o.k");
    EXPECT_EQ(value("ARM_CLOUD_METADATA_URL", doors),
              "https://127.0.0.1:2/metadata/endpoints?api-version=2019-05-01");
    EXPECT_EQ(value("REQUESTS_CA_BUNDLE", doors), "/ca.pem");
    EXPECT_EQ(value("OBO_ENDPOINT", doors), "(none)");
    EXPECT_EQ(value("REQUESTS_CA_BUNDLE", {doors.plain, doors.tls, ""}), "(none)")
        << "a bundle of ours alone would take the others' place";
    EXPECT_EQ(value("ARM_CLOUD_METADATA_URL", {doors.plain, "", ""}), "(none)");
    task.variables = {{"AZUREML_OBO_ENABLED", "True"}};
    EXPECT_EQ(value("OBO_ENDPOINT", doors), "http://127.0.0.1:1/msi/token/t.o.k");
}

TEST_F(DoorTest, TheWorkspaceIsFoundFromAJobsFolder) {
    agent_protocol::TaskSpec task;
    write_workspace_config(folder, task);
    EXPECT_FALSE(exists(folder + "/config.json"));
    task.mlflow_path = "/mlflow/v2.0/subscriptions/s/resourceGroups/g/providers/P/workspaces/w";
    write_workspace_config(folder, task);
    const auto config = parse_json(*read_file(folder + "/config.json"));
    ASSERT_TRUE(config);
    EXPECT_EQ(
        *config,
        Json::object({{"subscription_id", "s"}, {"resource_group", "g"}, {"workspace_name", "w"}}));
}

}  // namespace
}  // namespace turnout::agent
