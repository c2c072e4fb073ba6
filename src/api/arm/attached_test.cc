// Machines that are attached: what they are told as, and that nothing tells what opens them.
#include <gtest/gtest.h>

#include "api/test_world.h"
#include "vault/machine_secrets.h"

namespace turnout::api {
namespace {

constexpr const char* kKey = "-----BEGIN OPENSSH PRIVATE KEY-----\nwhat opens it\n-----END";

// A provider that believes whatever it is told, and looks when it is let.
class Machines : public ::testing::Test {
protected:
    World world;
    std::vector<Later<Json>::Settle> checks;

    void SetUp() override {
        world.services.machine_of = [](const MachineWanted& wanted) -> Result<AttachedMachine> {
            if (wanted.host.starts_with('-'))
                return invalid("expected a machine", "properties.resourceId");
            AttachedMachine machine;
            machine.provider = "ssh";
            machine.address = wanted.host;
            machine.user = wanted.user;
            machine.port = wanted.port == 0 ? 22 : wanted.port;
            machine.settings =
                Json::object({{"secret", wanted.secret}, {"hostKey", wanted.host_key}});
            return machine;
        };
        world.services.check_machine = [this](const AttachedMachine&) { return look(); };
    }
    // What still looks is answered: nobody else ends it.
    void TearDown() override {
        while (!checks.empty()) found(false);
    }
    Task<Json> look() {
        Later<Json> later;
        checks.push_back(later.settle());
        co_return co_await later;
    }
    void found(bool good) {
        ASSERT_FALSE(checks.empty());
        const auto settle = checks.front();
        checks.erase(checks.begin());
        settle(good ? Json::object({{"reachable", true}, {"os", "Debian 12"}, {"cores", 4}})
                    : Json::object({{"reachable", false}, {"message", "gpu1 does not answer"}}));
        world.loop.settle();
    }
    static Json machine(const Json& account, const std::string& host = "gpu1",
                        const Json& port = Json()) {
        Json inner = Json::object({{"administratorAccount", account}});
        if (!port.is_null()) inner.set("sshPort", port);
        return Json::object(
            {{"location", "westus"},
             {"properties", Json::object({{"computeType", "VirtualMachine"},
                                          {"resourceId",
                                           "/subscriptions/s/resourceGroups/r/providers/"
                                           "Microsoft.Compute/virtualMachines/" +
                                               host},
                                          {"properties", std::move(inner)}})}});
    }
    static Json account(const std::string& user = "ml", const std::string& key = kKey) {
        Json all = Json::object({{"username", user}});
        if (!key.empty()) all.set("privateKeyData", key);
        return all;
    }
    Reply attach(const Json& body) { return world.send("PUT", "/computes/vm", body); }
    std::string state() {
        return world.send("GET", "/computes/vm").properties().at("provisioningState").as_string();
    }
    Json operation() { return world.send("GET", "/operations/attachCompute/vm").json; }
    Reply submit() {
        return world.send(
            "PUT", "/jobs/j",
            Json::object(
                {{"properties",
                  Json::object({{"jobType", "Command"},
                                {"command", "true"},
                                {"environmentId",
                                 "azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest"},
                                {"computeId", "azureml:vm"}})}}));
    }
};

TEST_F(Machines, AttachingIsAnOperationThatEndsWithWhatWasFound) {
    const Reply made = attach(machine(account(), "gpu1", 2222));
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(made.properties().at("provisioningState").as_string(), "Creating");
    EXPECT_TRUE(made.properties().at("isAttachedCompute").as_bool());
    EXPECT_NE(made.headers.get("Azure-AsyncOperation").find("/operations/attachCompute/vm"),
              std::string_view::npos);
    EXPECT_EQ(operation().at("status").as_string(), "InProgress");
    found(true);
    EXPECT_EQ(operation().at("status").as_string(), "Succeeded");
    const Reply got = world.send("GET", "/computes/vm");
    EXPECT_EQ(got.properties().at("provisioningState").as_string(), "Succeeded");
    const Json& inner = got.properties().at("properties");
    EXPECT_EQ(inner.at("address").as_string(), "gpu1");
    EXPECT_EQ(inner.at("sshPort").as_int(), 2222);
    EXPECT_EQ(inner.at("administratorAccount").dump(), R"({"username":"ml"})");
    EXPECT_EQ(inner.at("propertyBag").at("system").at("os").as_string(), "Debian 12");
    EXPECT_FALSE(inner.at("propertyBag").at("system").at("checkedOn").as_string().empty());
}

TEST_F(Machines, WhatOpensThemIsInItsOwnRowAndNowhereElse) {
    ASSERT_EQ(attach(machine(account())).status, 201);
    found(true);
    const std::string secret = "what opens it";
    for (const char* path : {"/computes", "/computes/vm", "/events"})
        EXPECT_EQ(world.send("GET", path).text.find(secret), std::string::npos) << path;
    const Reply keys = world.send("POST", "/computes/vm/listKeys", Json::object());
    EXPECT_EQ(keys.text, R"({"computeType":"VirtualMachine"})");
    for (int i = 0; i <= static_cast<int>(kLastTable); ++i) {
        const Table table = static_cast<Table>(i);
        const auto rows = world.store.scan(table, with_prefix(""));
        ASSERT_TRUE(rows);
        for (const Record& row : *rows)
            EXPECT_EQ(row.value.find(secret), std::string::npos)
                << name_of(table) << " " << row.key;
    }
    const auto kept = read_machine_secret(world.vault, world.store, world.workspace.id + "/vm");
    ASSERT_TRUE(kept && *kept);
    EXPECT_TRUE((*kept)->key.matches(kKey));
    // Nor in what is refused.
    Json wrong = account();
    wrong.set("password", 12345678);
    EXPECT_EQ(attach(machine(wrong)).text.find("12345678"), std::string::npos);
}

TEST_F(Machines, TheSameAgainIsTheSameAndAnotherIsAConflict) {
    ASSERT_EQ(attach(machine(account())).status, 201);
    EXPECT_EQ(attach(machine(account())).status, 200);
    found(true);
    EXPECT_TRUE(checks.empty()) << "it was looked at twice";
    const Reply same = attach(machine(account()));
    EXPECT_EQ(same.status, 200);
    EXPECT_EQ(same.properties().at("provisioningState").as_string(), "Succeeded");
    EXPECT_TRUE(checks.empty());
    EXPECT_EQ(attach(world.send("GET", "/computes/vm").json).status, 200) << "as it was shown";
    for (const Json& other : {machine(account("other")), machine(account(), "gpu2"),
                              machine(account(), "gpu1", 2222)}) {
        const Reply refused = attach(other);
        EXPECT_EQ(refused.status, 409) << refused.text;
        EXPECT_NE(refused.message().find("exists and is the machine ml@gpu1:22, not "),
                  std::string::npos)
            << refused.message();
    }
    const Json cluster = Json::object(
        {{"properties",
          Json::object({{"computeType", "AmlCompute"},
                        {"properties", Json::object({{"vmSize", "STANDARD_DS3_v2"}})}})}});
    EXPECT_EQ(attach(cluster).status, 409);
    EXPECT_EQ(world.send("PUT", "/computes/cc", cluster).status, 201);
    EXPECT_EQ(world.send("PUT", "/computes/cc", machine(account())).status, 409);
    // Another key for the same machine is a change, which is looked at.
    const Reply rotated = attach(machine(account("ml", "another key")));
    EXPECT_EQ(rotated.status, 200) << rotated.text;
    EXPECT_EQ(rotated.properties().at("provisioningState").as_string(), "Creating");
    found(true);
    EXPECT_EQ(state(), "Succeeded");
}

TEST_F(Machines, OneThatDoesNotLetUsInFailsAndMayBeTriedAgain) {
    ASSERT_EQ(attach(machine(account())).status, 201);
    found(false);
    EXPECT_EQ(state(), "Failed");
    const Json over = operation();
    EXPECT_EQ(over.at("status").as_string(), "Failed");
    EXPECT_EQ(over.at("error").at("message").as_string(), "gpu1 does not answer");
    const Reply refused = submit();
    EXPECT_EQ(refused.status, 400);
    EXPECT_NE(refused.message().find("gpu1 does not answer"), std::string::npos) << refused.text;
    const Reply again = attach(machine(account()));
    EXPECT_EQ(again.status, 200);
    EXPECT_EQ(again.properties().at("provisioningState").as_string(), "Creating");
    found(true);
    EXPECT_EQ(state(), "Succeeded");
    const Reply submitted = submit();
    EXPECT_EQ(submitted.status, 201) << submitted.text;
}

TEST_F(Machines, ANodeIsHadWhenItIsKnownToWorkAndAJobWantsOne) {
    ASSERT_EQ(attach(machine(account())).status, 201);
    const Reply submitted = submit();
    ASSERT_EQ(submitted.status, 201) << submitted.text;
    EXPECT_TRUE(world.effects.provisioned.empty());
    EXPECT_NE(world.control.waiting_for(world.workspace.id, "j").find("is being looked at"),
              std::string::npos);
    found(true);
    ASSERT_EQ(world.effects.provisioned.size(), 1u);
    EXPECT_TRUE(world.effects.provisioned.front().starts_with(world.workspace.id + "/vm/"));
    EXPECT_FALSE(world.control.has_several_pools());
    EXPECT_EQ(world.control.pool_names(), std::vector<std::string>{"local"});
    const auto pool = world.control.pool(pool_of_machine(world.workspace.id, "vm"));
    ASSERT_TRUE(pool);
    EXPECT_TRUE(pool->attached);
    EXPECT_EQ(pool->slots, 1);
}

TEST_F(Machines, AreDetachedAndNotDeleted) {
    ASSERT_EQ(attach(machine(account())).status, 201);
    found(true);
    const Reply refused = world.send("DELETE", "/computes/vm?underlyingResourceAction=Delete");
    EXPECT_EQ(refused.status, 400);
    EXPECT_NE(refused.message().find("detach it"), std::string::npos);
    ASSERT_EQ(world.send("DELETE", "/computes/vm?underlyingResourceAction=Detach").status, 202);
    world.loop.settle();
    EXPECT_EQ(world.effects.cleared, std::vector<std::string>{"vm"});
    EXPECT_EQ(state(), "Deleting") << "until its provider has cleared it";
    // What a server that starts anew says again.
    ASSERT_TRUE(world.control.recover());
    world.control.tick();
    world.loop.settle();
    EXPECT_EQ(world.effects.cleared.size(), 2u);
    world.control.machine_cleared(world.workspace.id, "vm", "something may be left");
    world.loop.settle();
    EXPECT_EQ(world.send("GET", "/computes/vm").status, 404);
    const auto kept = read_machine_secret(world.vault, world.store, world.workspace.id + "/vm");
    EXPECT_TRUE(kept && !*kept);
    EXPECT_NE(world.send("GET", "/events").text.find("something may be left"), std::string::npos);
    EXPECT_EQ(world.control.pools().size(), 1u);
    EXPECT_EQ(attach(machine(account())).status, 201) << "the name is free";
}

TEST_F(Machines, TheCheckOfAnEarlierLifeIsBegunAgain) {
    ASSERT_EQ(attach(machine(account())).status, 201);
    const auto earlier = std::exchange(checks, {});
    resume_attachments(world.services);
    world.loop.settle();
    found(true);
    EXPECT_EQ(state(), "Succeeded");
    resume_attachments(world.services);
    EXPECT_TRUE(checks.empty());
    checks = earlier;
}

TEST_F(Machines, WhatIsNoneIsRefusedWithItsPlace) {
    Json nameless = machine(account());
    nameless["properties"].erase("resourceId");
    Json both = account();
    both.set("password", "x");
    Json two = machine(account());
    two["properties"]["properties"].set("address", "gpu2");
    const std::pair<Json, const char*> rows[] = {
        {nameless, "a VirtualMachine is attached, not made"},
        {machine(account(), "-oProxyCommand=x"), "expected a machine"},
        {machine(account(), "gpu1", 0), "sshPort"},
        {machine(account(), "gpu1", 70000), "sshPort"},
        {machine(account(), "gpu1", "ssh"), "sshPort"},
        {machine(Json("root")), "administratorAccount: expected an object"},
        {machine(both), "expected either a password or a private key, found both"},
        {machine(account("ml", std::string(40'000, 'x'))), "privateKeyData: expected at most"},
        {two, "expected one machine"},
    };
    for (const auto& [body, words] : rows) {
        const Reply refused = attach(body);
        EXPECT_EQ(refused.status, 400) << refused.text;
        EXPECT_NE(refused.message().find(words), std::string::npos) << refused.message();
    }
    EXPECT_EQ(world.send("GET", "/computes/vm").status, 404);
}

TEST_F(Machines, TagsAreChangedAndTheTurnOnAndOffIsNotOurs) {
    ASSERT_EQ(attach(machine(account())).status, 201);
    found(true);
    const Reply tagged =
        world.send("PATCH", "/computes/vm", Json::object({{"tags", Json::object({{"a", "b"}})}}));
    EXPECT_EQ(tagged.status, 200) << tagged.text;
    EXPECT_EQ(tagged.json.at("tags").at("a").as_string(), "b");
    EXPECT_EQ(tagged.properties().at("provisioningState").as_string(), "Succeeded");
    EXPECT_EQ(world.send("POST", "/computes/vm/start", Json::object()).status, 400);
}

}  // namespace
}  // namespace turnout::api
