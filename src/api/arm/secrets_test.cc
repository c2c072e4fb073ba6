// Secrets of workspaces: what the API tells of them, who may do what, and which jobs may name them.
#include <gtest/gtest.h>

#include "api/test_world.h"
#include "base/text.h"
#include "model/job.h"

namespace turnout::api {
namespace {

constexpr std::string_view kPlanted = "planted-secret-77d0";

class Secrets : public ::testing::Test {
protected:
    Secrets() {
        EXPECT_EQ(set("hf-token", std::string(kPlanted)).status, 201);
        const Json cluster = Json::object(
            {{"computeType", "AmlCompute"},
             {"properties",
              Json::object({{"vmSize", "STANDARD_DS2_V2"},
                            {"scaleSettings", Json::object({{"maxNodeCount", 2}})}})}});
        EXPECT_EQ(seen(world.send("PUT", "/computes/cpu-cluster",
                                  Json::object({{"properties", cluster}})))
                      .status,
                  201);
    }
    // No answer ever has the value.
    Reply seen(Reply reply) {
        EXPECT_EQ(reply.text.find(kPlanted), std::string::npos) << reply.text;
        EXPECT_EQ(reply.text.find(to_base64(kPlanted)), std::string::npos) << reply.text;
        return reply;
    }
    Reply set(const std::string& name, const std::string& value) {
        return seen(world.send("PUT", "/secrets/" + name,
                               Json::object({{"properties", Json::object({{"value", value}})}})));
    }
    Reply submit(const std::string& name, const std::string& text, Json more = Json::object()) {
        more.set("jobType", "Command");
        if (!more.has("command")) more.set("command", "python train.py");
        more.set("environmentId", "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest");
        more.set("computeId", "cpu-cluster");
        more.set("environmentVariables", Json::object({{"TOKEN", text}}));
        return seen(world.send("PUT", "/jobs/" + name, Json::object({{"properties", more}})));
    }
    std::string as(const std::string& user, const std::string& role) {
        const auto send = [&](const std::string& path, const Json& body) {
            const Reply made = world.send_raw("POST", path, body.dump(), owner);
            EXPECT_EQ(made.status, 201) << made.text;
            return made;
        };
        send("/turnout/users", Json::object({{"name", user}}));
        if (!role.empty())
            send("/turnout/assignments",
                 Json::object({{"user", user}, {"role", role}, {"scope", world.workspace_path()}}));
        return send("/turnout/tokens", Json::object({{"user", user}, {"name", "login"}}))
            .json.at("token")
            .as_string();
    }
    int status(const std::string& method, const std::string& path, const std::string& bearer) {
        const Json body = Json::object({{"properties", Json::object({{"value", kPlanted}})}});
        return seen(world.send_raw(method, path + "?api-version=2024-10-01",
                                   method == "PUT" ? body.dump() : "", bearer))
            .status;
    }
    std::string stored() {
        std::string all;
        for (int table = 0; table <= static_cast<int>(kLastTable); ++table)
            if (const auto rows = world.store.scan(static_cast<Table>(table), {}))
                for (const Record& row : *rows) all += row.key + row.value;
        return all;
    }

    World world;
    const std::string owner = world.wait(world.authority->create_api_key("admin"))->reveal();
};

TEST_F(Secrets, AreWrittenAndNeverRead) {
    const Reply shown = seen(world.send("GET", "/secrets/hf-token"));
    ASSERT_EQ(shown.status, 200);
    EXPECT_EQ(shown.json.at("type").as_string(),
              "Microsoft.MachineLearningServices/workspaces/secrets");
    EXPECT_EQ(shown.properties().at("reference").as_string(), "${{secrets.hf-token}}");
    EXPECT_EQ(shown.properties().at("createdBy").as_string(), "admin");
    EXPECT_EQ(set("hf-token", std::string(kPlanted) + "2").status, 200);
    EXPECT_EQ(set("other", "x").status, 201);
    const Reply list = seen(world.send("GET", "/secrets"));
    ASSERT_EQ(list.json.at("value").items().size(), 2u);
    EXPECT_EQ(list.json.at("value").items()[0].at("name").as_string(), "hf-token");
    EXPECT_EQ(world.send("DELETE", "/secrets/other").status, 200);
    EXPECT_EQ(world.send("DELETE", "/secrets/other").status, 404);
    const Reply unknown = seen(world.send("GET", "/secrets/hf-tokn"));
    EXPECT_EQ(unknown.status, 404);
    EXPECT_NE(unknown.message().find("'hf-token'"), std::string::npos) << unknown.message();
    EXPECT_EQ(stored().find(kPlanted), std::string::npos);
    EXPECT_EQ(world.vault.reveal(world.workspace.id, "hf-token")->reveal(),
              std::string(kPlanted) + "2");
}

TEST_F(Secrets, AreOfTheirWorkspace) {
    world.workspace = world.make_workspace("other");
    EXPECT_EQ(world.send("GET", "/secrets").json.at("value").items().size(), 0u);
    EXPECT_EQ(world.send("GET", "/secrets/hf-token").status, 404);
}

TEST_F(Secrets, ABodyThatIsRefusedIsNotEchoed) {
    const std::string path = world.workspace_path() + "/secrets/x?api-version=2024-10-01";
    for (const std::string& body :
         {std::string(kPlanted), "{\"properties\": {\"value\": \"" + std::string(kPlanted),
          "{\"value\": \"" + std::string(kPlanted) + "\"}",
          "{\"properties\": {\"value\": [\"" + std::string(kPlanted) + "\"]}}",
          "{\"properties\": {\"encoding\": \"base64\", \"value\": \"" + std::string(kPlanted) +
              "\"}}",
          "{\"properties\": {\"value\": \"" + std::string(kPlanted) + std::string(26'000, 'x') +
              "\"}}"})
        EXPECT_EQ(seen(world.send_raw("PUT", path, body, world.user)).status, 400);
    const Reply binary = world.send(
        "PUT", "/secrets/binary",
        Json::object({{"properties", Json::object({{"encoding", "base64"},
                                                   {"value", to_base64(std::string(9, '\0'))}})}}));
    EXPECT_EQ(binary.status, 201) << binary.text;
    EXPECT_EQ(world.vault.reveal(world.workspace.id, "binary")->reveal(), std::string(9, '\0'));
    EXPECT_EQ(set("no.dots", "x").status, 400);
}

TEST_F(Secrets, WhoMayWhat) {
    const std::string one = world.workspace_path() + "/secrets/hf-token",
                      all = world.workspace_path() + "/secrets";
    struct {
        std::string role;
        int list, put, remove;
    } rows[] = {{"Contributor", 200, 200, 200},
                {"AzureML Data Scientist", 200, 403, 403},
                {"Reader", 200, 403, 403},
                {"AzureML Compute Operator", 403, 403, 403},
                {"", 403, 403, 403}};
    int number = 0;
    for (const auto& row : rows) {
        const std::string bearer = as("user" + std::to_string(++number), row.role);
        EXPECT_EQ(status("GET", all, bearer), row.list) << row.role;
        EXPECT_EQ(status("PUT", one, bearer), row.put) << row.role;
        EXPECT_EQ(status("DELETE", one, bearer), row.remove) << row.role;
        EXPECT_EQ(world.send_raw("POST", "/turnout/secrets/rotateKey", "", bearer).status, 403)
            << row.role << ": of one workspace only";
        set("hf-token", std::string(kPlanted));
    }
    const Reply rotated = world.send_raw("POST", "/turnout/secrets/rotateKey", "", owner);
    EXPECT_EQ(rotated.json.at("secrets").as_int(), 1);
}

TEST_F(Secrets, AJobNamesThemInItsVariables) {
    ASSERT_EQ(submit("j", "Bearer ${{secrets.hf-token}}").status, 201);
    const auto found = read_job(world.store, world.workspace.id, "j");
    const auto task = read_task(world.store, (*found)->record);
    ASSERT_TRUE(task);
    EXPECT_EQ(task->secrets, std::vector<std::string>{"hf-token"});
    EXPECT_NE(stored().find("${{secrets.hf-token}}"), std::string::npos);
    EXPECT_EQ(stored().find(kPlanted), std::string::npos);

    const Reply unknown = submit("k", "${{secrets.hf-tokn}}");
    EXPECT_EQ(unknown.status, 400);
    EXPECT_EQ(unknown.code(), "SecretNotFound");
    EXPECT_NE(unknown.message().find("'hf-token'"), std::string::npos) << unknown.message();
    const Reply broken = submit("k", "${{secrets.hf token}}");
    EXPECT_EQ(broken.status, 400);
    EXPECT_NE(broken.message().find("${{secrets.NAME}}"), std::string::npos) << broken.message();
}

TEST_F(Secrets, ElsewhereInAJobTheyAreRefusedWithTheWayToDoIt) {
    const Json literal = Json::object(
        {{"x", Json::object({{"jobInputType", "literal"}, {"value", "${{ secrets.hf-token }}"}})}});
    const Json address = Json::object(
        {{"x", Json::object({{"jobInputType", "uri_file"},
                             {"uri", "https://example.org/?t=${{secrets.hf-token}}"}})}});
    for (const Json& more :
         {Json::object({{"command", "run ${{secrets.hf-token}}"}}),
          Json::object({{"inputs", literal}}), Json::object({{"inputs", address}})}) {
        const Reply refused = submit("j", "", more);
        EXPECT_EQ(refused.status, 400) << more.dump();
        EXPECT_NE(refused.message().find("environment_variables"), std::string::npos)
            << refused.message();
    }
}

TEST_F(Secrets, WhoMaySubmitJobsAndNotUseSecretsGetsNone) {
    const Reply role = world.send_raw("PUT", "/turnout/roles/submitter",
                                      Json::object({{"actions", Json::array({"*"})},
                                                    {"notActions", Json::array({"*/secrets/*"})}})
                                          .dump(),
                                      owner);
    ASSERT_EQ(role.status, 200) << role.text;
    world.user = as("sam", "submitter");
    const Reply refused = submit("j", "${{secrets.hf-token}}");
    EXPECT_EQ(refused.status, 403) << refused.text;
    EXPECT_NE(refused.message().find("secrets/use/action"), std::string::npos);
    EXPECT_EQ(submit("k", "no secret").status, 201);
}

TEST_F(Secrets, GoWithTheirWorkspace) {
    const Workspace first = std::exchange(world.workspace, world.make_workspace("other"));
    EXPECT_EQ(set("of-other", std::string(kPlanted)).status, 201);
    EXPECT_EQ(world.send("DELETE", "").status, 202);
    for (int i = 0; i < 100; ++i) world.loop.pass(1s);
    EXPECT_TRUE(world.vault.list(world.workspace.id)->empty());
    EXPECT_EQ(world.vault.list(first.id)->size(), 1u);
}

}  // namespace
}  // namespace turnout::api
