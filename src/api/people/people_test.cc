#include <gtest/gtest.h>

#include <map>
#include <set>

#include "access/actions.h"
#include "api/actions.h"
#include "api/people/people_routes.h"
#include "api/test_world.h"
#include "base/text.h"

namespace turnout::api {
namespace {

// One server, two workspaces, and somebody for each role.
class People : public ::testing::Test {
protected:
    Reply call(const std::string& method, const std::string& path, const std::string& bearer,
               const Json& body = {}) {
        return world.send_raw(method, path, body.is_null() ? "" : body.dump(), bearer);
    }
    // A token of that user, who is made.
    std::string add(const std::string& name) {
        const Reply added =
            call("POST", "/turnout/users", world.user, Json::object({{"name", name}}));
        EXPECT_EQ(added.status, 201) << added.text;
        return token(name, "login");
    }
    std::string token(const std::string& user, const std::string& name,
                      Json more = Json::object()) {
        more.set("user", user);
        more.set("name", name);
        const Reply made = call("POST", "/turnout/tokens", owner, more);
        EXPECT_EQ(made.status, 201) << made.text;
        return made.json.at("token").as_string();
    }
    Reply assign(const std::string& user, const std::string& role, const std::string& scope,
                 const std::string& bearer) {
        return call("POST", "/turnout/assignments", bearer,
                    Json::object({{"user", user}, {"role", role}, {"scope", scope}}));
    }
    std::string give(const std::string& user, const std::string& role, const std::string& scope) {
        const Reply made = assign(user, role, scope, world.user);
        EXPECT_EQ(made.status, 201) << made.text;
        return made.json.at("id").as_string();
    }
    static std::string path_of(const Workspace& workspace) { return workspace_path(workspace); }
    std::string in(const Workspace& workspace, const std::string& rest) {
        return path_of(workspace) + rest + "?api-version=2024-10-01";
    }

    World world;
    const std::string owner = world.wait(world.authority->create_api_key("admin"))->reveal();
    Workspace other = (world.loop.pass(1s), world.make_workspace("other"));  // the younger one
};

std::string filled(const std::string& pattern, const Workspace& workspace) {
    std::string path;
    for (const std::string& part : split(pattern.substr(1), '/')) {
        path += "/";
        if (part == "{sub}")
            path += workspace.subscription;
        else if (part == "{rg}")
            path += workspace.resource_group;
        else if (part == "{ws}")
            path += workspace.name;
        else if (part == "{wsid}")
            path += workspace.id;
        else if (part == "{container}")
            path += blobstore_container(workspace.id);
        else
            path += part.starts_with("{") ? "x" : part;
    }
    return path + "?api-version=2024-01-01";
}

TEST_F(People, EveryRouteIsInTheTableOnce) {
    for (const Route& route : world.router.routes()) {
        const std::string what = route.method + " " + route.pattern;
        ASSERT_TRUE(route.need) << what << " is in no row of actions.cc: nobody but Owners gets in";
        const bool open = route.access == Access::Open, node = route.access == Access::Node;
        EXPECT_EQ(route.need->where == Where::Open, open) << what;
        EXPECT_EQ(route.need->where == Where::Node, node) << what;
        EXPECT_TRUE(route.need->action.empty() || access::is_known(route.need->action)) << what;
        // What changes something is no reading, but for what POST asks.
        const bool changes =
            route.method == "PUT" || route.method == "PATCH" || route.method == "DELETE";
        EXPECT_FALSE(changes && !route.pattern.ends_with("{rest...}") &&
                     access::reads(route.need->action))
            << what;
    }
    EXPECT_FALSE(need_of("GET", "/turnout/no/such/route"));
    EXPECT_FALSE(need_of("DELETE", "/turnout/me"));
}

// Each route as each role in one workspace, in the other one, and with no role at all: it is let in
// exactly where the role's actions say so. What is behind the door is other tests' matter.
TEST_F(People, EveryRouteAsEveryRoleAndAsNobody) {
    const std::string nobody = add("nobody");
    struct Person {
        const access::Role* role;
        std::string token, reader;
    };
    std::vector<Person> people;
    for (const access::Role& role : access::built_in_roles()) {
        const std::string name = "p" + std::to_string(people.size());
        Person person{&role, add(name), ""};
        person.reader = token(name, "reads", Json::object({{"access", "read"}}));
        give(name, role.name, path_of(world.workspace));
        people.push_back(std::move(person));
    }
    const auto denied = [&](const Route& route, const Workspace& workspace,
                            const std::string& bearer) {
        const Reply reply = call(route.method, filled(route.pattern, workspace), bearer);
        EXPECT_NE(reply.status, 401) << route.pattern << reply.text;
        return reply.status == 403 && reply.code() == "AuthorizationFailed";
    };
    for (const Route& route : world.router.routes()) {
        const std::string what = route.method + " " + route.pattern;
        const Need need = *route.need;
        if (route.access == Access::Open || route.access == Access::Node) continue;
        if (need.where == Where::Own || need.where == Where::Handler) continue;
        // A path without a workspace means the oldest, which is the first.
        const bool names_one = route.pattern.find("{ws}") != std::string::npos ||
                               route.pattern.find("{wsid}") != std::string::npos ||
                               route.pattern.find("{container}") != std::string::npos;
        EXPECT_TRUE(denied(route, world.workspace, nobody)) << what;
        for (const Person& person : people) {
            const bool has = need.where != Where::Server && person.role->allows(need.action);
            const std::string who = what + " as " + person.role->name;
            EXPECT_EQ(denied(route, world.workspace, person.reader),
                      !has || !access::reads(need.action))
                << who << ", only reading";
            if (need.where != Where::Somewhere && names_one) {
                EXPECT_TRUE(denied(route, other, person.token)) << who << " elsewhere";
            }
            if (route.method == "DELETE" && has) continue;  // the workspace itself would be gone
            EXPECT_EQ(denied(route, world.workspace, person.token), !has) << who;
        }
    }
}

TEST_F(People, TheRefusalIsAzures) {
    const std::string ann = add("ann");
    const Reply reply = call("GET", in(world.workspace, "/jobs"), ann);
    EXPECT_EQ(reply.status, 403);
    EXPECT_EQ(reply.code(), "AuthorizationFailed");
    EXPECT_EQ(reply.message().find("The client 'ann' with object id '"), 0u) << reply.message();
    for (const std::string& part :
         {std::string("does not have authorization to perform action "
                      "'Microsoft.MachineLearningServices/workspaces/jobs/read' over scope '") +
              path_of(world.workspace) + "'",
          std::string("If access was recently granted, please refresh your credentials.")})
        EXPECT_NE(reply.message().find(part), std::string::npos) << reply.message();
    // Whether a workspace exists is nothing for those who may not look.
    Workspace none = world.workspace;
    none.name = "none";
    EXPECT_EQ(call("GET", in(none, "/jobs"), ann).status, 403);
    EXPECT_EQ(call("PUT", in(none, ""), ann, Json::object({{"location", "local"}})).status, 403);
    EXPECT_EQ(call("GET", in(none, "/jobs"), world.user).status, 404);
}

TEST_F(People, ARoleHoldsWhereItWasGivenAndAtOnce) {
    const std::string ann = add("ann");
    const std::string id = give("ann", "azureml data scientist", path_of(world.workspace));
    EXPECT_EQ(give("ann", "AzureML Data Scientist", path_of(world.workspace)), id) << "no second";
    EXPECT_EQ(call("GET", in(world.workspace, "/jobs"), ann).status, 200);
    EXPECT_EQ(call("GET", in(other, "/jobs"), ann).status, 403);
    // Lists show what may be looked at.
    const std::string of_group = "/subscriptions/" + other.subscription +
                                 "/resourceGroups/rg/providers/Microsoft.MachineLearningServices/"
                                 "workspaces?api-version=2024-10-01";
    const auto names = [&](const std::string& bearer) {
        std::set<std::string> found;
        const Reply list = call("GET", of_group, bearer);
        for (const Json& one : list.json.at("value").items())
            found.insert(one.at("name").as_string());
        return found;
    };
    EXPECT_EQ(names(ann), (std::set<std::string>{"ws"}));
    EXPECT_EQ(names(world.user), (std::set<std::string>{"ws", "other"}));
    const Reply me = call("GET", "/turnout/me", ann);
    EXPECT_EQ(me.json.at("name").as_view(), "ann");
    EXPECT_EQ(me.json.at("token").as_view(), "login");
    ASSERT_EQ(me.json.at("roles").items().size(), 1u) << me.text;
    EXPECT_EQ(me.json.at("roles").items()[0].at("scope").as_view(), path_of(world.workspace));
    EXPECT_EQ(call("DELETE", "/turnout/assignments/" + id, ann).status, 403);
    EXPECT_EQ(call("DELETE", "/turnout/assignments/" + id, world.user).status, 204);
    EXPECT_EQ(call("GET", in(world.workspace, "/jobs"), ann).status, 403);
    // The workspace that is meant, where none is named, is one of theirs.
    give("ann", "Reader", path_of(other));
    EXPECT_EQ(call("GET", "/turnout/workspace", ann).json.at("name").as_view(), "other");
    EXPECT_EQ(call("GET", "/turnout/workspace", world.user).json.at("name").as_view(), "ws");
}

TEST_F(People, OneComputeOnly) {
    const std::string ann = add("ann");
    give("ann", "AzureML Compute Operator", path_of(world.workspace) + "/computes/mine");
    const auto status = [&](const std::string& method, const std::string& name) {
        return call(method, in(world.workspace, "/computes/" + name), ann).status;
    };
    EXPECT_EQ(status("GET", "mine"), 404) << "it may, and there is none";
    EXPECT_EQ(status("GET", "MINE"), 404);
    EXPECT_EQ(status("PUT", "mine"), 400) << "it may, with a body";
    EXPECT_EQ(status("GET", "yours"), 403);
    EXPECT_EQ(status("DELETE", "yours"), 403);
    EXPECT_EQ(call("GET", in(world.workspace, "/computes"), ann).status, 403);
}

// A new compute of that name is another: who could reach the one before cannot reach it.
TEST_F(People, RolesGoWithTheComputeTheyWereOn) {
    const std::string ann = add("ann");
    const std::string compute = "/computes/Mine";
    const Json body = Json::object(
        {{"location", "westus"},
         {"properties",
          Json::object({{"computeType", "AmlCompute"},
                        {"properties", Json::object({{"vmSize", "Standard_DS3_v2"}})}})}});
    const auto as = [&](const std::string& bearer, const std::string& method, const Json& what) {
        return call(method, in(world.workspace, compute), bearer, what).status;
    };
    ASSERT_EQ(as(world.user, "PUT", body), 201);
    give("ann", "AzureML Compute Operator", path_of(world.workspace) + "/computes/mine");
    give("ann", "AzureML Compute Operator", path_of(world.workspace) + "/computes/other");
    EXPECT_EQ(as(ann, "GET", {}), 200);
    ASSERT_EQ(as(world.user, "DELETE", {}), 202);
    world.loop.pass(1s);
    ASSERT_EQ(as(world.user, "PUT", body), 201) << "another one";
    EXPECT_EQ(as(ann, "GET", {}), 403);
    EXPECT_EQ(call("GET", "/turnout/me", ann).json.at("roles").items().size(), 1u)
        << "that on the other compute stays";
}

TEST_F(People, RolesAndTokensGoWithTheWorkspaceTheyWereFor) {
    const std::string ann = add("ann");
    give("ann", "Reader", path_of(other));
    give("ann", "AzureML Compute Operator", path_of(other) + "/computes/c");
    give("ann", "Reader", path_of(world.workspace));
    const std::string there = token("ann", "there", Json::object({{"scope", path_of(other)}}));
    EXPECT_EQ(call("GET", in(other, "/jobs"), there).status, 200);
    const Reply gone = call("DELETE", in(other, ""), world.user);
    ASSERT_EQ(gone.status / 100, 2) << gone.text;
    world.loop.pass(1s);
    EXPECT_EQ(call("GET", "/turnout/me", ann).json.at("roles").items().size(), 1u);
    EXPECT_EQ(call("GET", "/turnout/me", there).status, 401) << "it was for nothing else";
    EXPECT_EQ(call("GET", "/turnout/me", ann).status, 200);
    EXPECT_EQ(call("GET", in(world.workspace, "/jobs"), ann).status, 200);
}

TEST_F(People, OwnersOfAWorkspaceGiveRolesThereAndNowhereElse) {
    const std::string ann = add("ann");
    add("bob");
    give("ann", "Owner", path_of(world.workspace));
    EXPECT_EQ(assign("bob", "Reader", path_of(world.workspace), ann).status, 201);
    EXPECT_EQ(assign("bob", "Reader", path_of(world.workspace) + "/computes/c", ann).status, 201);
    EXPECT_EQ(assign("bob", "Reader", path_of(other), ann).status, 403);
    EXPECT_EQ(assign("bob", "Reader", "/", ann).status, 403);
    EXPECT_EQ(assign("ann", "Owner", "/", ann).status, 403);
    EXPECT_EQ(call("GET", "/turnout/assignments", ann).json.at("value").items().size(), 3u);
    for (const auto& [user, role, scope, status] :
         std::vector<std::tuple<std::string, std::string, std::string, int>>{
             {"nobody", "Reader", "/", 404},
             {"bob", "Writer", "/", 404},
             {"bob", "Reader", "here", 400},
             {"bob", "Reader", path_of(world.workspace) + "x", 404},
             {"bob", "Reader", path_of(world.workspace) + "/jobs/x", 400},
             {"", "Reader", "/", 400}})
        EXPECT_EQ(assign(user, role, scope, world.user).status, status) << user << role << scope;
}

TEST_F(People, WhoeverIsDisabledIsOut) {
    const std::string ann = add("ann");
    give("ann", "Owner", "/");
    const std::string derived = world
                                    .send_raw("GET", "/msi/token?resource=https%3A%2F%2Fx", "", "",
                                              {{"X-IDENTITY-HEADER", ann}})
                                    .json.at("access_token")
                                    .as_string();
    EXPECT_EQ(call("GET", "/turnout/users", derived).status, 200);
    const auto set = [&](const std::string& name, bool disabled, const std::string& bearer) {
        return call("PATCH", "/turnout/users/" + name, bearer,
                    Json::object({{"disabled", disabled}}));
    };
    EXPECT_EQ(set("ann", true, world.user).status, 200);
    for (const std::string& gone : {ann, derived}) {
        const Reply reply = call("GET", "/turnout/me", gone);
        EXPECT_EQ(reply.status, 401);
        EXPECT_NE(reply.message().find("disabled"), std::string::npos) << reply.message();
    }
    // Nobody locks everybody out.
    EXPECT_EQ(set("admin", true, world.user).code(), "LastOwner");
    EXPECT_EQ(call("DELETE", "/turnout/assignments/first-owner", world.user).code(), "LastOwner");
    EXPECT_EQ(set("ann", false, world.user).status, 200);
    EXPECT_EQ(set("admin", true, ann).status, 200);
    EXPECT_EQ(call("GET", "/turnout/me", world.user).status, 401);
    EXPECT_EQ(set("admin", false, ann).status, 200);
}

TEST_F(People, ATokenIsForWhatItSays) {
    const std::string ann = add("ann");
    give("ann", "Owner", "/");
    const std::string reads = token("ann", "reads", Json::object({{"access", "read"}})),
                      here =
                          token("ann", "here", Json::object({{"scope", path_of(world.workspace)}}));
    EXPECT_EQ(call("GET", in(other, "/jobs"), reads).status, 200);
    const Reply refused = call("PATCH", in(other, ""), reads, Json::object());
    EXPECT_EQ(refused.status, 403);
    EXPECT_NE(refused.message().find("only reads"), std::string::npos) << refused.message();
    EXPECT_EQ(call("GET", in(world.workspace, "/jobs"), here).status, 200);
    EXPECT_EQ(call("PATCH", in(world.workspace, ""), here, Json::object()).status, 200);
    EXPECT_EQ(call("GET", in(other, "/jobs"), here).status, 403);
    EXPECT_EQ(call("GET", "/turnout/users", here).status, 403);
    // No token makes one that can do more, whether by itself or by what is got by it.
    for (const std::string& limited : {reads, here}) {
        EXPECT_EQ(call("POST", "/turnout/tokens", limited, Json::object({{"name", "more"}})).status,
                  403);
        EXPECT_EQ(call("POST", "/turnout/tokens/login/rotate", limited).status, 403);
        EXPECT_EQ(assign("ann", "Owner", "/", limited).status, 403);
        const std::string derived = world
                                        .send_raw("GET", "/msi/token?resource=https%3A%2F%2Fx", "",
                                                  "", {{"X-IDENTITY-HEADER", limited}})
                                        .json.at("access_token")
                                        .as_string();
        EXPECT_EQ(call("POST", "/turnout/tokens", derived, Json::object({{"name", "more"}})).status,
                  403);
        EXPECT_EQ(call("PATCH", in(other, ""), derived, Json::object()).status, 403);
    }
    // Rotated it stays what it was.
    const Reply rotated = call("POST", "/turnout/tokens/reads/rotate", ann);
    EXPECT_EQ(rotated.json.at("access").as_view(), "read") << rotated.text;
    EXPECT_EQ(
        call("PATCH", in(other, ""), rotated.json.at("token").as_string(), Json::object()).status,
        403);
}

// Of whose tokens one sees and ends which.
TEST_F(People, TokensAreTheirOwnersAndTheServersOwners) {
    const std::string ann = add("ann"), bob = add("bob");
    give("bob", "Contributor", "/");
    const auto names = [&](const std::string& bearer) {
        std::set<std::string> found;
        const Reply list = call("GET", "/turnout/tokens", bearer);
        for (const Json& one : list.json.at("value").items())
            found.insert(one.at("user").as_string());
        return found;
    };
    EXPECT_EQ(names(ann), (std::set<std::string>{"ann"}));
    EXPECT_EQ(names(world.user), (std::set<std::string>{"admin", "ann", "bob"}));
    const std::string id =
        call("GET", "/turnout/tokens", ann).json.at("value").items()[0].at("id").as_string();
    EXPECT_EQ(call("DELETE", "/turnout/tokens/" + id, bob).status, 404);
    EXPECT_EQ(call("POST", "/turnout/tokens", bob, Json::object({{"name", "x"}, {"user", "admin"}}))
                  .status,
              403)
        << "nobody makes themselves another";
    EXPECT_EQ(call("DELETE", "/turnout/tokens/" + id, world.user).status, 204);
    EXPECT_EQ(call("GET", "/turnout/me", ann).status, 401);
}

// What somebody was given for a while, or for one thing, makes nothing for longer or for more.
TEST_F(People, NothingThatLastsOrDoesMoreIsMade) {
    const std::string ann = add("ann");
    const std::string short_lived = token("ann", "short", Json::object({{"expires", "2h"}}));
    const Reply made = call("POST", "/turnout/tokens", short_lived,
                            Json::object({{"name", "long"}, {"expires", "never"}}));
    ASSERT_EQ(made.status, 201) << made.text;
    world.loop.pass(3h);
    EXPECT_EQ(call("GET", "/turnout/me", made.json.at("token").as_string()).status, 401);
    // An access token is what leaks: no key comes of it.
    const std::string derived = world
                                    .send_raw("GET", "/msi/token?resource=https%3A%2F%2Fx", "", "",
                                              {{"X-IDENTITY-HEADER", ann}})
                                    .json.at("access_token")
                                    .as_string();
    EXPECT_EQ(call("GET", "/turnout/me", derived).status, 200);
    for (const char* path : {"/turnout/tokens", "/turnout/tokens/login/rotate"})
        EXPECT_EQ(call("POST", path, derived, Json::object({{"name", "more"}})).status, 403);
    // Nor does one action make somebody an Owner.
    for (const char* action :
         {"Turnout/tokens/write", "Microsoft.Authorization/roleDefinitions/write"})
        ASSERT_EQ(call("PUT", "/turnout/roles/one", owner,
                       Json::object({{"actions", Json::array({action})}}))
                      .status,
                  200)
            << action;
    ASSERT_EQ(call("PUT", "/turnout/roles/two", owner,
                   Json::object({{"actions", Json::array({"Turnout/*"})}}))
                  .status,
              200);
    for (const char* role : {"one", "two"})
        ASSERT_EQ(assign("ann", role, "/", owner).status, 201) << role;
    EXPECT_EQ(call("POST", "/turnout/tokens", ann, Json::object({{"name", "x"}, {"user", "admin"}}))
                  .status,
              403);
    EXPECT_EQ(
        call("PUT", "/turnout/roles/one", ann, Json::object({{"actions", Json::array({"*"})}}))
            .status,
        403);
    const Reply all = call("GET", "/turnout/tokens", owner);
    for (const Json& one : all.json.at("value").items()) {
        if (one.at("user").as_view() != "admin") continue;
        const std::string path = "/turnout/tokens/" + one.at("id").as_string() + "/rotate";
        EXPECT_EQ(call("POST", path, ann).status, 404) << "not even that it is there";
    }
}

// Whoever has the data folder is never shut out.
TEST_F(People, ANewAdminKeyIsTheKeyOfAnOwner) {
    const std::string ann = add("ann");
    give("ann", "Owner", "/");
    ASSERT_EQ(call("DELETE", "/turnout/assignments/first-owner", ann).status, 204);
    ASSERT_EQ(call("PATCH", "/turnout/users/admin", ann, Json::object({{"disabled", true}})).status,
              200);
    const auto key = world.wait(world.authority->ensure_admin_key(""));
    ASSERT_TRUE(key && *key);
    EXPECT_EQ(call("GET", "/turnout/users", (*key)->reveal()).status, 200);
    EXPECT_EQ(
        call("PATCH", "/turnout/users/ann", (*key)->reveal(), Json::object({{"disabled", true}}))
            .status,
        200);
}

TEST_F(People, RolesOfOnesOwn) {
    const std::string ann = add("ann");
    const auto put = [&](const std::string& name, std::vector<std::string> actions) {
        Json list = Json::array();
        for (const std::string& action : actions) list.push(action);
        return call("PUT", "/turnout/roles/" + name, world.user,
                    Json::object({{"actions", std::move(list)}}));
    };
    const Reply wrong = put("canceler", {"*/jobs/cancel"});
    EXPECT_EQ(wrong.status, 400);
    EXPECT_NE(wrong.message().find("there is no action '*/jobs/cancel'"), std::string::npos);
    EXPECT_EQ(put("Owner", {"*/read"}).status, 409);
    EXPECT_EQ(put("canceler", {"*/jobs/cancel/action"}).status, 200);
    give("ann", "Canceler", path_of(world.workspace));
    EXPECT_EQ(call("POST", in(world.workspace, "/jobs/j/cancel"), ann).status, 404);
    EXPECT_EQ(call("GET", in(world.workspace, "/jobs/j"), ann).status, 403);
    EXPECT_EQ(put("canceler", {"*/jobs/cancel/action", "*/jobs/read"}).status, 200);
    EXPECT_EQ(call("GET", in(world.workspace, "/jobs/j"), ann).status, 404) << "at once";
    EXPECT_EQ(call("DELETE", "/turnout/roles/canceler", world.user).code(), "RoleInUse");
    EXPECT_EQ(call("DELETE", "/turnout/roles/Reader", world.user).code(), "RoleIsBuiltIn");
}

// It is all there after the server's end.
TEST_F(People, ComesBack) {
    add("ann");
    add("bob");
    give("ann", "Reader", path_of(world.workspace));
    ASSERT_EQ(call("PUT", "/turnout/roles/mine", world.user,
                   Json::object({{"actions", Json::array({"*/read"})}}))
                  .status,
              200);
    give("bob", "mine", "/");
    ASSERT_EQ(
        call("PATCH", "/turnout/users/bob", world.user, Json::object({{"disabled", true}})).status,
        200);
    Directory again(world.store, world.loop, world.random);
    EXPECT_TRUE(again.may("admin", {}, "Turnout/users/write", {}));
    EXPECT_TRUE(again.may("ann", {}, access::action::kReadJobs, {world.workspace.id}));
    EXPECT_FALSE(again.may("ann", {}, access::action::kWriteJobs, {world.workspace.id}));
    EXPECT_FALSE(again.may("bob", {}, access::action::kReadJobs, {world.workspace.id}));
    EXPECT_EQ(again.users()->size(), 3u);
    EXPECT_EQ(again.assignments()->size(), 3u);
    ASSERT_TRUE(world.wait(again.set_disabled("bob", false)));
    EXPECT_TRUE(again.may("bob", {}, access::action::kReadJobs, {world.workspace.id}));
    EXPECT_FALSE(world.wait(again.add_user("ann", "", "admin")));
    for (const char* name : {"", "Ann", "a b", "a/b", "-a", "../a", "\xc3\xa4"})
        EXPECT_FALSE(world.wait(again.add_user(name, "", "admin"))) << name;
}

}  // namespace
}  // namespace turnout::api
