#include <gtest/gtest.h>

#include "api/people/people_routes.h"
#include "api/test_world.h"
#include "api/upkeep/stored_use.h"

namespace turnout::api {
namespace {

class QuotaRoutes : public ::testing::Test {
protected:
    QuotaRoutes() {
        world.services.stored = &stored;
        for (const char* name : {"ada", "bob"}) {
            world.wait(world.authority->people().add_user(name, "", "admin")).value();
            world
                .wait(world.authority->people().assign(name, "AzureML Data Scientist",
                                                       {world.workspace.id, ""}, "admin"))
                .value();
            tokens[name] = world.wait(world.authority->create_api_key(name))->reveal();
        }
    }
    Reply call(const std::string& method, const std::string& bearer, const Json& body = {},
               const std::string& query = "") {
        return world.send_raw(method, "/turnout/quotas" + query, body.is_null() ? "" : body.dump(),
                              bearer);
    }
    Reply set(Json body) { return call("PUT", world.user, body); }
    const Json& row(const Reply& reply, const std::string& member, const std::string& is) {
        for (const Json& one : reply.json.at("value").items())
            if (one.at(member).as_string() == is) return one;
        static const Json none;
        return none;
    }
    Reply put_blob(const std::string& user, const std::string& name, const std::string& bytes) {
        auto sent = std::make_unique<World::Sent>(http::Request{}, TextBody(bytes));
        http::Request& request = sent->request;
        request.method = "PUT";
        request.target = request.path =
            "/blob/" + blobstore_container(world.workspace.id) + "/" + name;
        request.content_length = bytes.size();
        request.peer = {
            .carrier = http::Carrier::Tls, .loopback = true, .address = "127.0.0.1:5000"};
        request.headers.set("Host", "localhost:8443");
        request.headers.set("Authorization", "Bearer " + tokens[user]);
        request.headers.set("x-ms-blob-type", "BlockBlob");
        sent->outcome = begin(world.router.handle(world.services, request, sent->body));
        world.wait(sent->outcome);
        return sent->reply();
    }

    World world;
    StoredUse stored;
    std::map<std::string, std::string> tokens;
};

TEST_F(QuotaRoutes, AreSetChangedShownAndRemoved) {
    Reply put = set(Json::object({{"user", "ada"}, {"runningJobs", 4}, {"slots", 8}}));
    EXPECT_EQ(put.status, 200) << put.text;
    EXPECT_EQ(put.json.at("limits").dump(), R"({"slots":8,"runningJobs":4})");
    put = set(Json::object({{"user", "ada"}, {"slots", Json()}}));
    EXPECT_EQ(put.json.at("limits").dump(), R"({"runningJobs":4})");
    set(Json::object({{"everyUser", true}, {"queuedJobs", 100}, {"runningJobs", 2}}));
    set(Json::object({{"workspace", world.workspace_path()}, {"slots", 16}}));
    const Reply all = call("GET", world.user);
    EXPECT_EQ(row(all, "user", "ada").at("holds").dump(), R"({"runningJobs":4,"queuedJobs":100})");
    EXPECT_EQ(row(all, "user", "ada").at("used").at("runningJobs").as_int(-1), 0);
    EXPECT_EQ(row(all, "workspace", world.workspace_path()).at("limits").at("slots").as_int(), 16);
    EXPECT_EQ(call("DELETE", world.user, {}, "?user=ada").status, 204);
    EXPECT_EQ(call("DELETE", world.user, {}, "?user=ada").status, 404);
    EXPECT_EQ(call("DELETE", world.user, {}, "?everyUser=true").status, 204);
}

TEST_F(QuotaRoutes, WhatIsWrongIsNamed) {
    Reply wrong = set(Json::object({{"user", "ida"}, {"slots", 1}}));
    EXPECT_EQ(wrong.status, 404);
    EXPECT_NE(wrong.text.find("there is no user 'ida'"), std::string::npos) << wrong.text;
    wrong = set(Json::object({{"user", "ada"}, {"slots", -1}}));
    EXPECT_EQ(wrong.status, 400);
    EXPECT_NE(wrong.text.find("'slots' is -1: expected"), std::string::npos) << wrong.text;
    wrong = set(Json::object({{"user", "ada"}, {"gpus", 1}}));
    EXPECT_NE(wrong.text.find("'gpus' is no limit"), std::string::npos) << wrong.text;
    EXPECT_EQ(set(Json::object({{"slots", 1}})).status, 400);
    EXPECT_EQ(set(Json::object({{"user", "ada"}, {"everyUser", true}})).status, 400);
    EXPECT_EQ(set(Json::object({{"workspace", "/"}, {"slots", 1}})).status, 400);
}

TEST_F(QuotaRoutes, OnlyAnOwnerOfTheServerSetsThemAndEverybodySeesTheirOwn) {
    set(Json::object({{"user", "ada"}, {"runningJobs", 4}}));
    set(Json::object({{"user", "bob"}, {"runningJobs", 5}}));
    const Json more = Json::object({{"user", "ada"}, {"runningJobs", 400}});
    EXPECT_EQ(call("PUT", tokens["ada"], more).status, 403);
    EXPECT_EQ(call("DELETE", tokens["ada"], {}, "?user=ada").status, 403);
    world.wait(world.authority->people().assign("bob", "Contributor", {}, "admin")).value();
    EXPECT_EQ(call("PUT", tokens["bob"], more).status, 403) << "Contributors set none";
    const Reply seen = call("GET", tokens["ada"]);
    EXPECT_EQ(row(seen, "user", "ada").at("holds").at("runningJobs").as_int(), 4);
    EXPECT_TRUE(row(seen, "user", "bob").is_null()) << seen.text;
    EXPECT_FALSE(row(call("GET", tokens["bob"]), "user", "ada").is_null());
}

TEST_F(QuotaRoutes, WhatIsStoredCountsForWhoStoredItAndIsRefusedBeyond) {
    set(Json::object({{"user", "ada"}, {"storedBytes", 100}}));
    EXPECT_EQ(put_blob("ada", "a", std::string(60, 'a')).status, 201);
    const Reply refused = put_blob("ada", "b", std::string(60, 'b'));
    EXPECT_EQ(refused.status, 409) << refused.text;
    EXPECT_NE(refused.text.find("QuotaExceeded"), std::string::npos);
    EXPECT_NE(refused.text.find("user ada has 60 B of 100 B stored, and this asks for 60 B more"),
              std::string::npos)
        << refused.text;
    EXPECT_EQ(put_blob("bob", "b", std::string(60, 'b')).status, 201);
    // What goes is room again, at the latest when somebody is refused.
    world.loop.pass(StoredUse::kFresh + 1s);
    EXPECT_TRUE(world.wait(world.blobs->remove(blobstore_container(world.workspace.id), "a")));
    EXPECT_EQ(put_blob("ada", "c", std::string(60, 'c')).status, 201);
    EXPECT_EQ(row(call("GET", world.user), "user", "ada").at("used").at("storedBytes").as_int(),
              60);
    // The same content under another name counts once.
    world.loop.pass(StoredUse::kFresh + 1s);
    set(Json::object({{"workspace", world.workspace_path()}, {"storedBytes", 200}}));
    EXPECT_EQ(put_blob("bob", "d", std::string(60, 'c')).status, 201);
    EXPECT_TRUE(world.wait(stored.count(world.services)));
    EXPECT_EQ(stored.of({QuotaOwner::Is::Workspace, world.workspace.id, ""}), 120u);
    EXPECT_EQ(stored.of({QuotaOwner::Is::User, "bob", ""}), 120u);
    EXPECT_EQ(put_blob("bob", "e", std::string(90, 'e')).status, 409);
}

// ---- who guesses, and who floods

class Guarded : public QuotaRoutes {
protected:
    Guarded() { world.services.guard = &guard; }
    static access::Guard::Settings few() {
        access::Guard::Settings settings;
        settings.requests_a_second = 10;
        settings.burst = 20;
        return settings;
    }
    Reply from(const std::string& address, const std::string& bearer, bool here = false) {
        auto sent = std::make_unique<World::Sent>(http::Request{}, TextBody(""));
        sent->request.method = "GET";
        sent->request.target = sent->request.path = "/turnout/me";
        sent->request.peer = {
            .carrier = http::Carrier::Tls, .loopback = here, .address = address + ":5000"};
        sent->request.headers.set("Host", "localhost:8443");
        sent->request.headers.set("Authorization", "Bearer " + bearer);
        sent->outcome = begin(world.router.handle(world.services, sent->request, sent->body));
        world.wait(sent->outcome);
        return sent->reply();
    }
    access::Guard guard{few()};
};

TEST_F(Guarded, WhoGuessesIsLockedOutForATimeAndNobodyElseIs) {
    for (int i = 0; i < 10; ++i)
        EXPECT_EQ(from("10.0.0.7", "tko_guess" + std::to_string(i)).status, 401);
    const Reply locked = from("10.0.0.7", "tko_guess");
    EXPECT_EQ(locked.status, 429);
    EXPECT_EQ(locked.json.at("error").at("code").as_string(), "TooManyRequests");
    EXPECT_EQ(locked.headers.get("Retry-After"), "1");
    EXPECT_EQ(from("10.0.0.7", tokens["bob"]).status, 200) << "a good one from the same address";
    EXPECT_EQ(from("10.0.0.8", "tko_guess").status, 401) << "elsewhere nobody waits";
    world.loop.pass(1s);
    EXPECT_EQ(from("10.0.0.7", "tko_guess").status, 401) << "one try, then a longer wait";
    EXPECT_EQ(from("10.0.0.7", "tko_guess").headers.get("Retry-After"), "2");
    for (int i = 0; i < 20; ++i) {
        world.loop.pass(15min);
        from("10.0.0.7", "tko_guess");
    }
    const Reply longest = from("10.0.0.7", "tko_guess");
    EXPECT_EQ(longest.status, 429);
    EXPECT_EQ(longest.headers.get("Retry-After"), "30") << "no client sleeps for longer";
}

TEST_F(Guarded, OnThisMachineWhatIsGoodIsGoodAtAnyTime) {
    for (int i = 0; i < 50; ++i) from("127.0.0.1", "tko_guess" + std::to_string(i), true);
    EXPECT_EQ(from("127.0.0.1", "tko_guess", true).status, 429);
    EXPECT_EQ(from("127.0.0.1", tokens["ada"], true).status, 200);
}

TEST_F(Guarded, WhatHasExpiredIsNoGuess) {
    const std::string old =
        world.authority->mint({Principal::Kind::User, "ada", "", "", 0}, "x", 1s).reveal();
    world.loop.pass(1h);
    for (int i = 0; i < 30; ++i) EXPECT_EQ(from("10.0.0.7", old).status, 401);
    EXPECT_EQ(from("10.0.0.7", tokens["ada"]).status, 200);
}

TEST_F(Guarded, OneUsersFloodSlowsThatUser) {
    int went = 0;
    Reply last;
    for (int i = 0; i < 60; ++i) {
        last = from("10.0.0.7", tokens["ada"]);
        went += last.status == 200;
    }
    EXPECT_EQ(went, 20);
    EXPECT_EQ(last.status, 429);
    EXPECT_EQ(last.headers.get("Retry-After"), "1");
    EXPECT_NE(last.text.find("user ada asks for more than 10 things a second"), std::string::npos);
    EXPECT_EQ(from("10.0.0.7", tokens["bob"]).status, 200) << "from the same address";
    for (int i = 0; i < 60; ++i)
        EXPECT_EQ(from("127.0.0.1", world.user, true).status, 200) << "whoever has the server";
    world.loop.pass(1s);
    EXPECT_EQ(from("10.0.0.7", tokens["ada"]).status, 200);
}

}  // namespace
}  // namespace turnout::api
