#include "api/authority.h"

#include <gtest/gtest.h>

#include "api/test_world.h"
#include "base/hash.h"
#include "base/text.h"

namespace turnout::api {
namespace {

TEST(Authority, AnApiKeyHoldsAsLongAsItsRecordDoes) {
    World world;
    const std::string key = world.wait(world.authority->create_api_key("ann"))->reveal();
    const std::string row = to_hex(sha256(key));
    for (int i = 0; i < 2; ++i) {
        const auto principal = world.authority->check(key);
        ASSERT_TRUE(principal);
        EXPECT_EQ(principal->name, "ann");
        EXPECT_EQ(principal->kind, Principal::Kind::User);
    }
    Batch changed;
    changed.put(Table::Token, row, R"({"kind":"user","name":"bob"})");
    ASSERT_TRUE(world.wait(world.store.commit(std::move(changed))));
    EXPECT_EQ(world.authority->check(key)->name, "bob");
    Batch gone;
    gone.erase(Table::Token, row);
    ASSERT_TRUE(world.wait(world.store.commit(std::move(gone))));
    for (int i = 0; i < 2; ++i) {
        const auto refused = world.authority->check(key);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Code::Unauthenticated);
    }
    EXPECT_FALSE(world.authority->check(key + "x"));
}

class SetClock : public Clock {
public:
    Instant now() const override { return at; }
    Span since_boot() const override { return {}; }
    Instant at{1'800'000'000'000'000};
};

// Nodes and jobs go on with the tokens they were given while somebody sets the server's clock.
TEST(Authority, ATokenOutlivesAClockThatIsSetBack) {
    World world;
    SetClock clock;
    const auto authority =
        make_authority(world.store, clock, world.random, make_instance_keys(world.random));
    Principal node;
    node.kind = Principal::Kind::Node;
    node.name = "ws/c/node-1";
    const std::string token = authority->mint(node, "turnout", std::chrono::hours(1)).reveal();
    clock.at.micros -= 48 * 3'600'000'000;
    EXPECT_TRUE(authority->check(token));
    clock.at.micros += 49 * 3'600'000'000;
    EXPECT_FALSE(authority->check(token));
}

// A job that runs for years logs on, and its node finds back to the server.
TEST(Authority, TokensOfAttemptsAndNodesOutliveTheLongestJob) {
    World world;
    SetClock clock;
    const auto authority =
        make_authority(world.store, clock, world.random, make_instance_keys(world.random));
    JobRecord job = running_job(world.workspace.id);
    world.save(job);
    const Principal run{Principal::Kind::Run, "j", world.workspace.id, "j", 1},
        node{Principal::Kind::Node, "ws/c/node-1", "", "", 0};
    const std::string of_run = authority->mint(run, kOwnAudience, kAsLongAsItLives).reveal(),
                      of_node = authority->mint(node, kOwnAudience, kAsLongAsItLives).reveal();
    // What a job's Azure clients get for it is short, and got anew for it at any time.
    std::string hourly = authority->mint(run, "https://management", 1h).reveal();
    for (int years = 0; years < 5; ++years) {
        EXPECT_TRUE(authority->check(of_run)) << years;
        EXPECT_TRUE(authority->check(of_node)) << years;
        EXPECT_EQ(authority->check(hourly).has_value(), years == 0);
        EXPECT_TRUE(authority->check(
            authority->mint(*authority->check(of_run), "https://management", 1h).reveal()));
        clock.at.micros += std::int64_t{365} * 24 * 3'600'000'000;
    }
    job.status = JobStatus::Completed;
    world.save(job);
    EXPECT_FALSE(authority->check(of_run)) << "it ends with its job";
}

// What was got by a key goes with it, at once.
TEST(Authority, ARevokedOrRotatedKeyTakesItsTokensWithIt) {
    World world;
    const auto made = world.wait(world.authority->create_api_key(NewApiKey{"ann", "laptop"}));
    ASSERT_TRUE(made);
    const std::string key = made->secret.reveal();
    EXPECT_EQ(made->key.name, "laptop");
    const auto token_of = [&](const std::string& secret) {
        return world
            .send_raw("GET", "/msi/token?resource=https%3A%2F%2Fx", "", "",
                      {{"X-IDENTITY-HEADER", secret}})
            .json.at("access_token")
            .as_string();
    };
    const std::string token = token_of(key);
    EXPECT_EQ(world.authority->check(token)->name, "ann");
    const auto again = world.wait(world.authority->rotate_api_key(made->key.row));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->key.name, "laptop");
    EXPECT_FALSE(world.authority->check(key));
    EXPECT_FALSE(world.authority->check(token));
    const std::string next = again->secret.reveal(), next_token = token_of(next);
    EXPECT_TRUE(world.authority->check(next_token));
    ASSERT_TRUE(world.wait(world.authority->revoke_api_key(again->key.row)));
    EXPECT_FALSE(world.authority->check(next));
    EXPECT_FALSE(world.authority->check(next_token));
    EXPECT_FALSE(world.wait(world.authority->rotate_api_key(again->key.row)));
    EXPECT_TRUE(world.authority->check(world.user)) << "others stay";
}

TEST(Authority, AKeyEndsWhenItWasToldTo) {
    World world;
    NewApiKey wanted{"ann", "short"};
    wanted.expires = world.loop.now() + 1h;
    const auto made = world.wait(world.authority->create_api_key(wanted));
    ASSERT_TRUE(made);
    const std::string key = made->secret.reveal();
    Principal ann = *world.authority->check(key);
    const std::string token = world.authority->mint(ann, "x", 24h).reveal();
    EXPECT_TRUE(world.authority->check(token));
    EXPECT_FALSE(world.wait(world.authority->create_api_key(wanted))) << "a name of one user";
    world.loop.pass(61min);
    EXPECT_FALSE(world.authority->check(key));
    EXPECT_FALSE(world.authority->check(token));
    const auto late = world.wait(world.authority->rotate_api_key(made->key.row));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().reason, "TokenExpired");
}

// `admin.key` was removed, or holds what is no key any more: there is one that holds, not two.
TEST(Authority, ThereIsOneAdminKey) {
    World world;
    const auto ensure = [&](const std::string& text) {
        return *world.wait(world.authority->ensure_admin_key(text));
    };
    const auto first = ensure("");
    ASSERT_TRUE(first);
    EXPECT_FALSE(ensure(first->reveal() + "\n")) << "it is there and holds";
    // As earlier builds wrote it: no name, and valid for ever beside the next one.
    Batch earlier;
    const std::string old = "tko_old";
    earlier.put(Table::Token, to_hex(sha256(old)), R"({"kind":"user","name":"admin","created":1})");
    ASSERT_TRUE(world.wait(world.store.commit(std::move(earlier))));
    EXPECT_FALSE(ensure(old)) << "a data folder of an earlier build keeps its key";
    const auto ann = world.wait(world.authority->create_api_key(NewApiKey{"ann", "laptop"}));
    ASSERT_TRUE(ann);
    const auto second = ensure("");
    ASSERT_TRUE(second);
    EXPECT_FALSE(world.authority->check(first->reveal()));
    EXPECT_FALSE(world.authority->check(old));
    EXPECT_EQ(world.authority->check(second->reveal())->name, kAdmin);
    EXPECT_TRUE(world.authority->check(ann->secret.reveal()));
    EXPECT_TRUE(ensure("tko_" + std::string(43, 'x'))) << "one that was never given out";
}

TEST(Tokens, AreMadeShownOnceReplacedAndRevoked) {
    World world;
    const std::string owner = world.wait(world.authority->create_api_key("admin"))->reveal();
    const auto call = [&](const char* method, const std::string& path, const std::string& bearer,
                          const Json& body = {}) {
        return world.send_raw(method, "/turnout/tokens" + path, body.is_null() ? "" : body.dump(),
                              bearer);
    };
    Reply made = call("POST", "", owner, Json::object({{"name", "laptop"}, {"expires", "2h"}}));
    ASSERT_EQ(made.status, 201) << made.text;
    const std::string secret = made.json.at("token").as_string(),
                      id = made.json.at("id").as_string();
    EXPECT_EQ(made.headers.get("Cache-Control"), "no-store");
    EXPECT_EQ(made.json.at("user").as_view(), "admin");
    EXPECT_EQ(call("POST", "", owner, Json::object({{"name", "laptop"}})).status, 409);
    const Reply list = call("GET", "", secret);
    ASSERT_EQ(list.json.at("value").items().size(), 2u) << list.text;
    EXPECT_TRUE(list.json.at("value").items()[1].at("inUse").as_bool());
    EXPECT_EQ(list.text.find(secret), std::string::npos);
    EXPECT_EQ(call("POST", "/nothing/rotate", owner).status, 404);
    made = call("POST", "/laptop/rotate", secret);
    ASSERT_EQ(made.status, 200) << made.text;
    EXPECT_TRUE(made.json.at("inUse").as_bool());
    EXPECT_NE(made.json.at("id").as_view(), id);
    EXPECT_EQ(call("GET", "", secret).status, 401);
    const std::string next = made.json.at("token").as_string();
    EXPECT_EQ(call("GET", "", next).status, 200);
    EXPECT_EQ(call("DELETE", "/" + made.json.at("id").as_string(), owner).status, 204);
    EXPECT_EQ(call("GET", "", next).status, 401);
    for (const char* when :
         {"yesterday", "0", "2001-01-01", "4000d", "-3d", "1e9d", "2999-01-01"}) {
        const Reply refused =
            call("POST", "", owner, Json::object({{"name", "n"}, {"expires", when}}));
        EXPECT_EQ(refused.status, 400) << when;
        EXPECT_EQ(refused.json.at("error").at("target").as_view(), "expires") << refused.text;
    }
    for (const char* when : {"never", "30d", "2027-06-30", "2027-06-30T12:00:00Z"})
        EXPECT_EQ(call("POST", "", owner, Json::object({{"name", when}, {"expires", when}})).status,
                  201)
            << when;
    for (const std::string& name :
         {std::string(), std::string("a/b"), std::string(65, 'n'), std::string("line\nline")})
        EXPECT_EQ(call("POST", "", owner, Json::object({{"name", name}})).status, 400) << name;
}

}  // namespace
}  // namespace turnout::api
