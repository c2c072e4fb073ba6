#include <gtest/gtest.h>

#include <set>

#include "api/test_world.h"
#include "base/text.h"

namespace turnout::api {
namespace {

Task<Result<http::Response>> say(std::string text, Call& call) {
    Json params = Json::object();
    for (const auto& [name, value] : call.params) params.set(name, value);
    co_return json_response(200, Json::object({{"row", text},
                                               {"params", params},
                                               {"origin", call.origin},
                                               {"plain", call.plain_origin},
                                               {"page", call.page_origin}}));
}

void add(World& world, const std::string& method, const std::string& pattern) {
    world.router.add(method, pattern, Access::Open,
                     [pattern](Call& call) { return say(pattern, call); });
}

std::string row_of(World& world, const std::string& path, const std::string& method = "GET") {
    const Reply reply = world.send_raw(method, path, "", "");
    return reply.status == 200 ? reply.json.at("row").as_string() : std::to_string(reply.status);
}

TEST(Router, FindsTheMostLiteralRow) {
    World world;
    add(world, "GET", "/t/{x}/b");
    add(world, "GET", "/t/Fixed/b");
    add(world, "GET", "/t/{x}/{y}");
    add(world, "GET", "/t/fixed/{y}/c");
    add(world, "GET", "/t/files/{path...}");
    const std::vector<std::pair<std::string, std::string>> table = {
        {"/t/a/b", "/t/{x}/b"},
        {"/T/FIXED/B", "/t/Fixed/b"},
        {"/t/fixed/z", "/t/{x}/{y}"},  // back from the literal branch
        {"/t/fixed/z/c", "/t/fixed/{y}/c"},
        {"/t/a/b/", "/t/{x}/b"},
        {"/t/files/a/b/c", "/t/files/{path...}"},
        {"/t/files", "404"},
        {"/t/files/", "404"},
        {"/t//b", "404"},
        {"/t", "404"},
        {"/t/a/b/c", "404"},
    };
    for (const auto& [path, row] : table) EXPECT_EQ(row_of(world, path), row) << path;
}

TEST(Router, DecodesOnceAndRefusesWaysOut) {
    World world;
    add(world, "GET", "/t/{x}");
    add(world, "GET", "/f/{path...}");
    EXPECT_EQ(world.send_raw("GET", "/t/a%20b%252e", "", "").json.at("params").at("x").as_string(),
              "a b%2e");
    EXPECT_EQ(
        world.send_raw("GET", "/f/a%2Fb/c%20d", "", "").json.at("params").at("path").as_string(),
        "a/b/c d");
    for (const std::string path : {"/t/..", "/t/%2e%2e", "/t/.", "/t/a%00b", "/t/a%2Fb", "/t/%zz",
                                   "/t/a%0ab", "/t/%ff", "/f/../x", "/f/a/%2e%2e/b", "/f/..%2Fx",
                                   "/f/a%2F..%2F..%2Fb", "/f/%2Fetc", "/f/a//b", "/f/a%5Cb"})
        EXPECT_EQ(world.send_raw("GET", path, "", "").status, 400) << path;
}

TEST(Router, AnswersInArmsShape) {
    World world;
    add(world, "GET", "/f/{path...}");
    add(world, "PUT", "/f/{path...}");
    EXPECT_EQ(world.send_raw("GET", "/f/a/", "", "").status, 404) << "a folder's name is nobody's";
    EXPECT_EQ(world.send_raw("PUT", "/f/a/", "", "").status, 400);
    EXPECT_NE(
        world
            .send_raw("GET", world.workspace_path() + "/featuresets?api-version=2023-06-01-preview",
                      "", world.user)
            .message()
            .find("'featuresets' of a workspace are not there yet"),
        std::string::npos);
    EXPECT_EQ(world
                  .send_raw("GET", world.workspace_path() + "/shcedules?api-version=2023-06-01", "",
                            world.user)
                  .code(),
              "RouteNotFound");
    add(world, "PUT", "/t/{x}");
    add(world, "GET", "/t/{x}");
    const Reply missing = world.send_raw("GET", "/nothing", "", "");
    EXPECT_EQ(missing.status, 404);
    EXPECT_EQ(missing.code(), "RouteNotFound");
    const Reply wrong = world.send_raw("DELETE", "/t/a", "", "");
    EXPECT_EQ(wrong.status, 405);
    EXPECT_EQ(wrong.headers.get("Allow"), "PUT, GET");
    const Reply head = world.send_raw("HEAD", "/t/a", "", "");
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.text, "");
    const Reply echoed =
        world.send_raw("GET", "/t/a", "", "", {{"x-ms-client-request-id", "abc-1"}});
    EXPECT_EQ(echoed.headers.get("x-ms-client-request-id"), "abc-1");
    EXPECT_EQ(echoed.headers.get("x-ms-request-id").size(), 36u);
    EXPECT_FALSE(world.send_raw("GET", "/t/a", "", "", {{"x-ms-client-request-id", "a b"}})
                     .headers.has("x-ms-client-request-id"));
}

TEST(Router, AHandlerHasItsTurnAndEndsWhenItsClientHasLeft) {
    World world;
    TestStop client;
    http::Request request;
    request.stop = &client;
    TextBody body("");
    const Call call{request, body, {}, {}, {}, {}, {}};
    Turn turn(world.services, call);
    EXPECT_FALSE(turn.over());
    world.loop.pass(6ms);
    EXPECT_TRUE(turn.over());
    auto passed = begin(turn.pass());
    EXPECT_FALSE(passed.done()) << "others first";
    world.loop.settle();
    ASSERT_TRUE(passed.done());
    EXPECT_TRUE(*passed);
    EXPECT_FALSE(turn.over());
    for (int i = 0; i < 600; ++i) turn.over();
    EXPECT_TRUE(turn.over()) << "many steps are a turn, too";
    client.stop();
    auto left = begin(turn.pass());
    world.loop.settle();
    ASSERT_TRUE(left.done());
    EXPECT_EQ((*left).error().code, Code::Canceled);
}

TEST(Router, BuildsLinksFromWhatTheClientUsed) {
    World world;
    add(world, "GET", "/t");
    EXPECT_EQ(world.send_raw("GET", "/t", "", "").json.at("origin").as_string(),
              "https://localhost:8443");
    EXPECT_EQ(world.send_raw("GET", "/t", "", "").json.at("plain").as_string(),
              "http://127.0.0.1:8080");
    EXPECT_EQ(
        world.send_raw("GET", "/t", "", "", {{"Host", "evil\"/x"}}).json.at("origin").as_string(),
        "https://127.0.0.1:8443");
    // A page opens without a certificate for who is on this machine; who came by a tunnel or a
    // proxy looks like that, too, but for the address that was asked for.
    const std::vector<std::pair<std::string, std::string>> pages = {
        {"localhost:8443", "http://127.0.0.1:8080"},
        {"127.0.0.1:8443", "http://127.0.0.1:8080"},
        {"127.0.0.1:8080", "http://127.0.0.1:8080"},
        {"[::1]:8443", "http://127.0.0.1:8080"},
        {"localhost:9443", "https://localhost:9443"},
        {"gpu.example:8443", "https://gpu.example:8443"},
        {"localhost", "https://localhost"},
        {"127.0.0.1.example:443", "https://127.0.0.1.example:443"},
    };
    for (const auto& [host, page] : pages)
        EXPECT_EQ(world.send_raw("GET", "/t", "", "", {{"Host", host}}).json.at("page").as_string(),
                  page)
            << host;
}

TEST(Router, WantsAnApiVersionFromArmClients) {
    World world;
    const std::string path = world.workspace_path();
    const std::vector<std::pair<std::string, int>> table = {
        {"?api-version=2024-10-01-preview", 200},
        {"?api-version=2022-05-01", 200},
        {"?API-Version=2099-01-01", 200},
        {"", 400},
        {"?api-version=", 400},
        {"?api-version=v1.0", 400},
        {"?api-version=2024-13-01", 400},
        {"?api-version=2024-10-01preview", 400},
        {"?api-version=2024-10-01-", 400},
        {"?api-version=2024-1-01", 400},
    };
    for (const auto& [query, status] : table)
        EXPECT_EQ(world.send_raw("GET", path + query, "", world.user).status, status) << query;
}

std::string filled(const Route& route, const Workspace& workspace) {
    std::string path;
    for (const std::string& part : split(route.pattern.substr(1), '/')) {
        path += "/";
        if (part == "{sub}")
            path += workspace.subscription;
        else if (part == "{rg}")
            path += workspace.resource_group;
        else if (part == "{ws}")
            path += workspace.name;
        else if (part == "{wsid}")
            path += workspace.id;
        else
            path += part.starts_with("{") ? "x" : part;
    }
    return path + "?api-version=2024-01-01";
}

TEST(Router, EveryRouteWantsItsCredential) {
    World world;
    const Workspace other = world.make_workspace("other");
    JobRecord job = running_job(other.id);
    world.save(job);
    const std::string run = world.token({Principal::Kind::Run, "j", other.id, "j", 1});
    const std::string node = world.token({Principal::Kind::Node, "w/c/n", "", "", 0});
    ASSERT_TRUE(world.authority->check(run));

    std::set<std::string> open, any_run;
    for (const Route& route : world.router.routes()) {
        const std::string path = filled(route, world.workspace);
        const std::string what = route.method + " " + route.pattern;
        if (route.access == Access::Open) {
            open.insert(what);
            continue;
        }
        EXPECT_EQ(world.send_raw(route.method, path, "{}", "").status, 401) << what;
        EXPECT_EQ(world.send_raw(route.method, path, "{}", "").headers.get("WWW-Authenticate"),
                  "Bearer")
            << what;
        EXPECT_EQ(world.send_raw(route.method, path, "{}", "tko_wrong").status, 401) << what;
        if (route.access == Access::Signed) {  // the route itself looks who it is, and at the link
            for (const std::string& bearer : {run, node}) {
                const int status = world.send_raw(route.method, path, "{}", bearer).status;
                EXPECT_TRUE(status == 401 || status == 403) << what << ": " << status;
            }
            EXPECT_EQ(
                world.send_raw(route.method, path + "&se=99999999999&sig=AAAA", "{}", "").status,
                403)
                << what;
            continue;
        }
        if (route.access == Access::AnyRun)
            any_run.insert(what);
        else
            EXPECT_EQ(world.send_raw(route.method, path, "{}", run).status, 403) << what;
        EXPECT_EQ(world.send_raw(route.method, path, "{}", node).status, 403) << what;
    }
    const std::string registry =
        "GET "
        "/mferp/managementfrontend/subscriptions/{sub}/resourceGroups/{rg}/providers/"
        "Microsoft.MachineLearningServices/registries/{registry}/environments";
    EXPECT_EQ(any_run,
              (std::set<std::string>{registry, registry + "/{name}", registry + "/{name}/versions",
                                     registry + "/{name}/versions/{version}"}));
    EXPECT_EQ(open, (std::set<std::string>{
                        "GET /",  // a fixed page that names commands; more for who has a session
                        "GET /adfs/.well-known/openid-configuration",
                        "GET /discovery/workspaces/{name}",
                        "GET /health",
                        // These look at the endpoint's own credentials.
                        "GET /inference/{sub}/{rg}/{ws}/{endpoint}/score",
                        "GET /inference/{sub}/{rg}/{ws}/{endpoint}/swagger.json",
                        // how people get in: each checks what it is shown
                        "GET /login",
                        "GET /login/oidc",
                        "GET /login/once",
                        "GET /metadata/endpoints",
                        // the same fixed page: MLflow's clients print this address
                        "GET "
                        "/mlflow/v1.0/subscriptions/{sub}/resourceGroups/{rg}/providers/"
                        "Microsoft.MachineLearningServices/workspaces/{ws}",
                        "GET /msi/token",
                        "GET /oidc/callback",
                        "GET /registrymanagement/v1.0/registries/{registry}/discovery",
                        "GET /studio",
                        // the portal's own files, which hold no data
                        "GET /studio/static/{path...}",
                        "GET /studio/{page...}",
                        "GET /turnout/login",
                        "POST /adfs/oauth2/token",
                        "POST /adfs/oauth2/v2.0/token",
                        "POST /inference/{sub}/{rg}/{ws}/{endpoint}/score",
                        "POST /login/once",
                        "POST /msi/token",
                        "POST /turnout/login/device",
                        "POST /turnout/login/device/poll",
                    }));
    // The same token reaches its own workspace where runs may go, and only there.
    const std::string own =
        "/subscriptions/" + other.subscription +
        "/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/other";
    EXPECT_EQ(world.send_raw("GET", own + "?api-version=2024-01-01", "", run).status, 200);
    EXPECT_EQ(world.send_raw("GET", own + "/jobs?api-version=2024-01-01", "", run).status, 200);
    const std::string cancel = own + "/jobs/other/cancel?api-version=2024-01-01";
    EXPECT_EQ(world.send_raw("POST", cancel, "", run).status, 403);
    // It acts for its user where that was asked for; not beyond its workspace, and not as an
    // administrator.
    job.definition = Json::object({{"identity", Json::object({{"identityType", "UserIdentity"}})}});
    job.principal = "someone";  // who has no role: no more than they may the job may for them
    world.save(job);
    EXPECT_EQ(world.send_raw("POST", cancel, "", run).status, 403);
    job.principal = "admin";
    world.save(job);
    EXPECT_EQ(world.send_raw("POST", cancel, "", run).status, 404);
    EXPECT_EQ(
        world
            .send_raw("POST", world.workspace_path() + "/jobs/j/cancel?api-version=2024-01-01", "",
                      run)
            .status,
        403);
    EXPECT_EQ(world.send_raw("DELETE", own + "/computes/c?api-version=2024-01-01", "", run).status,
              403);
    EXPECT_EQ(world.send_raw("PATCH", own + "?api-version=2024-01-01", "{}", run).status, 403);
}

// ---- the authority

TEST(Authority, ChecksWhatItIssued) {
    World world;
    const auto checked = world.authority->check(world.user);
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->name, "admin");
    EXPECT_EQ(checked->kind, Principal::Kind::User);

    const auto parts = split(world.user, '.');
    ASSERT_EQ(parts.size(), 3u);
    const Json claims = *parse_json(*from_base64url(parts[1]));
    EXPECT_EQ(claims.at("aud").as_string(), "https://127.0.0.1:8443");
    EXPECT_EQ(claims.at("tid").as_string(), world.authority->tenant());

    // Another algorithm, another signature, another payload, another instance.
    const std::string none = to_base64url(R"({"alg":"none","typ":"JWT"})");
    EXPECT_FALSE(world.authority->check(none + "." + parts[1] + "."));
    EXPECT_FALSE(world.authority->check(none + "." + parts[1] + "." + parts[2]));
    Json forged = claims;
    forged.set("sub", "root");
    EXPECT_FALSE(
        world.authority->check(parts[0] + "." + to_base64url(forged.dump()) + "." + parts[2]));
    EXPECT_FALSE(world.authority->check(parts[0] + "." + parts[1] + "." +
                                        to_base64url(std::string(32, 'x'))));
    EXPECT_FALSE(world.authority->check(""));
    EXPECT_FALSE(world.authority->check(".."));
    const auto stranger =
        make_authority(world.store, world.loop, world.random, make_instance_keys(world.random));
    EXPECT_FALSE(stranger->check(world.user));

    world.loop.pass(2h);
    EXPECT_FALSE(world.authority->check(world.user)) << "expired";
}

TEST(Authority, KeepsOnlyHashesOfApiKeys) {
    World world;
    const auto key = world.wait(world.authority->create_api_key("admin"));
    ASSERT_TRUE(key);
    EXPECT_EQ(world.authority->check(key->reveal())->name, "admin");
    EXPECT_FALSE(world.authority->check(key->reveal() + "x"));
    for (const auto& [name, record] :
         world.store.durable().tables[static_cast<std::size_t>(Table::Token)]) {
        EXPECT_EQ((name + record.value).find(key->reveal()), std::string::npos);
    }
}

TEST(Authority, RunTokensHoldWhileTheirAttemptIsCurrent) {
    World world;
    JobRecord job = running_job(world.workspace.id);
    const auto save = [&] { world.save(job); };
    const std::string token = world.token({Principal::Kind::Run, "j", job.workspace, "j", 1});
    EXPECT_FALSE(world.authority->check(token)) << "no such job";
    save();
    EXPECT_TRUE(world.authority->check(token));
    job.attempts.push_back({2, OnNodes{{"node-2"}}});
    save();
    EXPECT_FALSE(world.authority->check(token)) << "an older attempt";
    const std::string second = world.token({Principal::Kind::Run, "j", job.workspace, "j", 2});
    EXPECT_TRUE(world.authority->check(second));
    job.status = JobStatus::Completed;
    save();
    EXPECT_FALSE(world.authority->check(second)) << "ended";
}

TEST(Authority, ARunsTokenRenewsItselfWhileItLives) {
    World world;
    JobRecord job = running_job(world.workspace.id);
    const auto save = [&] { world.save(job); };
    save();
    const std::string own =
        world.authority->mint({Principal::Kind::Run, "j", job.workspace, "j", 1}, kOwnAudience, 1h)
            .reveal();
    const auto ask = [&](const std::string& key) {
        return world.send_raw("GET", "/msi/token?resource=https%3A%2F%2Fx", "", "",
                              {{"X-IDENTITY-HEADER", key}});
    };
    const std::string token = ask(own).json.at("access_token").as_string();
    const auto checked = world.authority->check(token);
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->kind, Principal::Kind::Run);
    EXPECT_EQ(checked->attempt, 1);
    const Json claims = *parse_json(*from_base64url(split(token, '.')[1]));
    EXPECT_EQ(claims.at("aud").as_view(), "https://x");
    EXPECT_EQ(claims.at("tid").as_view(), world.authority->tenant());
    EXPECT_EQ(ask(world.user).status, 401) << "a user's token does not renew itself";
    job.status = JobStatus::Completed;
    save();
    EXPECT_EQ(ask(own).status, 401);
    EXPECT_EQ(ask(token).status, 401);
}

TEST(Authority, KeyFileComesBack) {
    World world;
    const InstanceKeys keys = make_instance_keys(world.random);
    const auto again = parse_instance_keys(serialize(keys));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->token_key.reveal(), keys.token_key.reveal());
    EXPECT_EQ(again->link_key.reveal(), keys.link_key.reveal());
    EXPECT_EQ(again->tenant, keys.tenant);
    EXPECT_FALSE(parse_instance_keys("{}"));
    EXPECT_FALSE(parse_instance_keys("not json"));
}

}  // namespace
}  // namespace turnout::api
