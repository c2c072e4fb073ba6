#include "api/login/logins.h"

#include <gtest/gtest.h>

#include "api/test_world.h"
#include "oidc/test_provider.h"

namespace turnout::api {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

// A server with a provider, and browsers.
class LogIn : public ::testing::Test {
protected:
    LogIn() {
        world.oidc_settings = remote.settings();
        world.oidc_client = [this] { return remote.client(); };
    }
    Reply get(const std::string& path, const std::string& cookie = "", Headers more = {}) {
        if (!cookie.empty()) more.emplace_back("Cookie", cookie);
        return world.send_raw("GET", path, "", "", std::move(more));
    }
    Reply post(const std::string& path, const Json& body, const std::string& bearer = "") {
        return world.send_raw("POST", path, body.dump(), bearer);
    }
    // "name=value" of a cookie that the answer sets.
    static std::string cookie_in(const Reply& reply, const std::string& name) {
        const std::string all = set_cookie(reply, name);
        return all.substr(0, all.find(';'));
    }
    static std::string set_cookie(const Reply& reply, const std::string& name) {
        for (const auto& [header, value] : reply.headers.all())
            if (header == "Set-Cookie" && value.starts_with(name + "=")) return value;
        return {};
    }
    static std::string part_of(const std::string& url, const std::string& name) {
        const std::size_t at = url.find(name + "=") + name.size() + 1;
        return url.substr(at, url.find('&', at) - at);
    }
    // To the provider: what the browser has afterwards.
    struct Going {
        std::string state, cookie;
    };
    Going go(const std::string& to = "/") {
        const Reply reply = get("/login/oidc?to=" + percent_encode(to));
        EXPECT_EQ(reply.status, 303) << reply.text;
        const std::string url(reply.headers.get("Location"));
        remote.challenge = part_of(url, "code_challenge");
        remote.nonce = part_of(url, "nonce");
        return {part_of(url, "state"), cookie_in(reply, "__Host-turnout-login")};
    }
    Reply come_back(const Going& going) {
        return get("/oidc/callback?code=a-code&state=" + going.state, going.cookie);
    }
    std::string session() {
        const Reply reply = come_back(go());
        EXPECT_EQ(reply.status, 200) << reply.text;
        return cookie_in(reply, "__Host-turnout-session");
    }
    // The whole of a login on a terminal.
    Reply on_terminal() {
        const Reply begun = post("/turnout/login/device", Json::object());
        EXPECT_EQ(begun.status, 200) << begun.text;
        const Json asked = Json::object({{"handle", begun.json.at("handle")}, {"machine", "box"}});
        EXPECT_EQ(post("/turnout/login/device/poll", asked).json.at("state").as_view(), "pending");
        remote.nonce.clear();
        remote.device_error = "";
        world.loop.pass(6s);
        return post("/turnout/login/device/poll", asked);
    }
    std::string link() {
        const Reply made = world.send_raw("POST", "/turnout/login-links", "", owner);
        EXPECT_EQ(made.status, 201) << made.text;
        return made.json.at("path").as_string();
    }
    Reply use(const std::string& path, Headers headers = own_page()) {
        headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
        return world.send_raw("POST", "/login/once", path.substr(path.find('?') + 1), "",
                              std::move(headers));
    }
    static Headers own_page() { return {{"Origin", "https://localhost:8443"}}; }

    World world;
    oidc::TestProvider remote{world.loop};
    const std::string owner = world.wait(world.authority->create_api_key("admin"))->reveal();
    std::vector<std::unique_ptr<World::Sent>> waiting;
};

TEST_F(LogIn, AnIdentityProviderInTheBrowser) {
    EXPECT_NE(get("/login").text.find("Log in with login.example"), std::string::npos);
    const Going going = go("/studio/jobs/w/j");
    const Reply back = come_back(going);
    ASSERT_EQ(back.status, 200) << back.text;
    EXPECT_NE(back.text.find("0; url=/studio/jobs/w/j"), std::string::npos) << back.text;
    const std::string whole = set_cookie(back, "__Host-turnout-session");
    EXPECT_NE(whole.find("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200; Secure"),
              std::string::npos)
        << whole;
    const std::string cookie = cookie_in(back, "__Host-turnout-session");
    const Reply me = get("/turnout/me", cookie);
    EXPECT_EQ(me.json.at("name").as_view(), "ann");
    EXPECT_EQ(me.json.at("displayName").as_view(), "Ann Example");
    EXPECT_EQ(me.json.at("roles").items().at(0).at("role").as_view(), "Reader");
    // What it came back with is worth nothing a second time.
    EXPECT_EQ(come_back(going).status, 403);
    // The session's secret is no bearer, and a token is no cookie.
    const std::string secret = cookie.substr(cookie.find('=') + 1);
    EXPECT_EQ(world.send_raw("GET", "/turnout/me", "", secret).status, 401);
    EXPECT_EQ(get("/turnout/me", "__Host-turnout-session=" + owner).status, 401);
    EXPECT_EQ(get("/turnout/me", "turnout-session=" + secret).status, 401) << "not over TLS";
    // Of a page with "no-referrer" browsers send forms with "Origin: null".
    EXPECT_EQ(get("/", cookie).headers.get("Referrer-Policy"), "same-origin");
    EXPECT_EQ(get("/login/once").headers.get("Referrer-Policy"), "same-origin");
    // The front page is theirs.
    EXPECT_NE(get("/", cookie).text.find("Logged in as ann"), std::string::npos);
    EXPECT_EQ(get("/").text.find("Logged in as"), std::string::npos);
}

TEST_F(LogIn, OneThatSomebodyElseBeganIsNotFinished) {
    const Going theirs = go();
    EXPECT_EQ(come_back({theirs.state, ""}).status, 403);
    const Going own = go();
    EXPECT_EQ(come_back({theirs.state, own.cookie}).status, 403);
    EXPECT_EQ(come_back({"none", own.cookie}).status, 403);
    EXPECT_EQ(
        get("/oidc/callback?code=a-code&iss=https%3A%2F%2Fevil&state=" + own.state, own.cookie)
            .status,
        403);
    const Going late = go();
    world.loop.pass(11min);
    EXPECT_EQ(come_back(late).status, 403);
    const Going refused = go();
    const Reply said =
        get("/oidc/callback?error=access_denied&error_description=%3Cb%3E&state=" + refused.state,
            refused.cookie);
    EXPECT_EQ(said.status, 403);
    EXPECT_EQ(said.text.find("<b>"), std::string::npos) << said.text;
}

// Those that were left lock nobody out.
TEST_F(LogIn, ManyThatWereLeft) {
    const Going oldest = go();
    for (int i = 0; i < 29; ++i) {
        world.loop.pass(1s);
        go();
    }
    const Going newest = go();
    EXPECT_EQ(come_back(oldest).status, 403);
    EXPECT_EQ(come_back(newest).status, 200);
    // In all: whoever has the most gives way.
    world.peer_address = "10.0.0.1:1";
    const Going alone = go();
    const std::string challenge = remote.challenge, nonce = remote.nonce;
    for (int i = 0; i < 600; ++i) {
        world.peer_address = "10.0.1." + std::to_string(i % 30) + ":1";
        go();
    }
    world.peer_address = "10.0.0.1:1";
    remote.challenge = challenge;
    remote.nonce = nonce;
    EXPECT_EQ(come_back(alone).status, 200);
}

TEST_F(LogIn, ManyOnTerminalsAtOnce) {
    {
        Turns::Turn held(remote.gate, "");  // the provider is slow
        for (int i = 0; i < 31; ++i)
            waiting.push_back(world.begin_raw("POST", "/turnout/login/device", "{}", ""));
        world.loop.settle();
        const auto done = [](const auto& one) { return one->outcome.done(); };
        EXPECT_EQ(std::ranges::count_if(waiting, done), 1);
        EXPECT_TRUE(waiting.back()->outcome.done());
    }
    world.loop.settle();
    EXPECT_EQ(waiting.back()->reply().status, 429);
    waiting.pop_back();
    for (const auto& one : waiting) EXPECT_EQ(one->reply().status, 200);
    const auto begin_from = [&](const std::string& address) {
        world.peer_address = address;
        return post("/turnout/login/device", Json::object()).status;
    };
    EXPECT_EQ(begin_from("127.0.0.1:5000"), 429);
    for (int i = 0; i < 30; ++i)
        EXPECT_EQ(begin_from("[2001:db8:0:7:" + std::to_string(i) + "::1]:5000"), 200);
    EXPECT_EQ(begin_from("[2001:db8:0:7::9]:5000"), 429) << "the same network";
    EXPECT_EQ(begin_from("[2001:db8:0:8::9]:5000"), 200);
    EXPECT_EQ(begin_from("[2001:db8::7]:5000"), 200);
    // What the provider refused to begin leaves no place taken.
    remote.down = true;
    for (int i = 0; i < 31; ++i) EXPECT_EQ(begin_from("10.0.0.1:1"), 503);
    remote.down = false;
    EXPECT_EQ(begin_from("10.0.0.1:1"), 200);
}

TEST_F(LogIn, SettingsThatChangedMeanwhile) {
    const Going lost = go();
    world.oidc_settings->roles.pop_back();
    Reply back = come_back(lost);
    EXPECT_EQ(back.status, 403);
    EXPECT_EQ(cookie_in(back, "__Host-turnout-session"), "");
    EXPECT_EQ(world.send_raw("GET", "/turnout/users/ann", "", owner).status, 404);
    const Reply begun = post("/turnout/login/device", Json::object());
    remote.nonce.clear();
    remote.device_error = "";
    world.loop.pass(6s);
    world.oidc_settings.reset();
    back = post("/turnout/login/device/poll", Json::object({{"handle", begun.json.at("handle")}}));
    EXPECT_EQ(back.status, 403);
    EXPECT_EQ(back.code(), "SettingsChanged");
}

TEST_F(LogIn, AtTheAddressThatTheProviderKnows) {
    world.oidc_settings->url = "https://localhost:8443";
    session();
    world.oidc_settings->url = "https://gpu.example";
    const Reply sent = get("/login/oidc");
    EXPECT_EQ(sent.status, 303);
    const std::string there(sent.headers.get("Location"));
    EXPECT_TRUE(there.starts_with("https://gpu.example/login/oidc?")) << there;
    // A proxy that does not pass the name on: it is told, and not sent for ever.
    const Reply again = get(there.substr(std::string("https://gpu.example").size()));
    EXPECT_EQ(again.status, 409);
    EXPECT_NE(again.text.find("https://localhost:8443"), std::string::npos) << again.text;
    EXPECT_EQ(get("/login/oidc?sent=1", "", {{"Host", "gpu.example"}}).status, 303);
}

// Another site's page makes a browser ask, with its cookies.
TEST_F(LogIn, AnotherPageGetsNothing) {
    const std::string cookie = session();
    const std::string path = "/turnout/sessions/none";
    const auto status = [&](const std::string& method, Headers headers) {
        headers.emplace_back("Cookie", cookie);
        return world.send_raw(method, path, "", "", std::move(headers)).status;
    };
    EXPECT_EQ(status("DELETE", own_page()), 404) << "there is no such session: it was let in";
    EXPECT_EQ(status("DELETE", {}), 403) << "it does not say where it is from";
    EXPECT_EQ(status("DELETE", {{"Origin", "https://evil.example"}}), 403);
    EXPECT_EQ(status("DELETE", {{"Origin", "null"}}), 403);
    EXPECT_EQ(status("DELETE", {{"Origin", "http://localhost:8443"}}), 403);
    EXPECT_EQ(
        status("DELETE", {{"Origin", "https://localhost:8443"}, {"Sec-Fetch-Site", "same-site"}}),
        403);
    for (const auto& [headers, wanted] :
         std::vector<std::pair<Headers, int>>{{{}, 200},
                                              {own_page(), 200},
                                              {{{"Sec-Fetch-Site", "none"}}, 200},
                                              {{{"Sec-Fetch-Site", "same-site"}}, 403},
                                              {{{"Sec-Fetch-Site", "cross-site"}}, 403},
                                              {{{"Sec-Fetch-Site", "same-site"},
                                                {"Sec-Fetch-Mode", "navigate"},
                                                {"Sec-Fetch-Dest", "document"}},
                                               200},
                                              {{{"Sec-Fetch-Site", "same-site"},
                                                {"Sec-Fetch-Mode", "navigate"},
                                                {"Sec-Fetch-Dest", "iframe"}},
                                               403},
                                              {{{"Origin", "https://evil.example"}}, 403}})
        EXPECT_EQ(get("/turnout/me", cookie, headers).status, wanted);
    // Another name for this server, which somebody made lead here.
    EXPECT_EQ(get("/turnout/me", cookie, {{"Host", "evil.example:8443"}}).status, 401);
    // Nor does it make what lasts longer than itself.
    Headers headers = own_page();
    headers.emplace_back("Cookie", cookie);
    for (const char* more : {"/turnout/tokens", "/turnout/login-links"})
        EXPECT_EQ(world.send_raw("POST", more, R"({"name": "x"})", "", headers).status, 403)
            << more;
}

TEST_F(LogIn, WhatJobsWroteActsInNoBrowser) {
    world.save(running_job(world.workspace.id));
    ASSERT_TRUE(
        world.wait(world.tracking.ensure_job_run(world.workspace.id, "j", "shared", "j", "admin")));
    world.put_blob(artifact_container(world.workspace.id), "ExperimentRun/dcid.j/a.html",
                   "<script>fetch('/turnout/tokens')</script>");
    const std::string cookie = session();
    for (const std::string& path : {"/studio/jobs/" + world.workspace.id + "/j/artifact/a.html",
                                    "/mlflow/v2.0" + world.workspace_path() +
                                        "/api/2.0/mlflow-artifacts/artifacts/j/artifacts/a.html",
                                    std::string("/health")}) {
        const Reply data = get(path, cookie);
        ASSERT_EQ(data.status, 200) << path << data.text;
        const std::string policy(data.headers.get("Content-Security-Policy"));
        EXPECT_TRUE(policy.starts_with("default-src 'none'; ")) << path << policy;
        EXPECT_TRUE(policy.ends_with("sandbox")) << path << policy;
        EXPECT_EQ(policy.find("script"), std::string::npos) << path << policy;
        EXPECT_EQ(data.headers.get("X-Content-Type-Options"), "nosniff") << path;
    }
    EXPECT_EQ(get("/login").headers.get("Content-Security-Policy").find("sandbox"),
              std::string::npos);
}

TEST_F(LogIn, AProviderOnATerminal) {
    const Reply done = on_terminal();
    ASSERT_EQ(done.json.at("state").as_view(), "done") << done.text;
    const std::string token = done.json.at("token").as_string();
    EXPECT_TRUE(token.starts_with("tko_"));
    EXPECT_EQ(world.send_raw("GET", "/turnout/me", "", token).json.at("name").as_view(), "ann");
    EXPECT_TRUE(done.json.at("name").as_view().starts_with("login box "));
    world.loop.pass(31 * 24h);
    EXPECT_EQ(world.send_raw("GET", "/turnout/me", "", token).status, 401);
    EXPECT_EQ(post("/turnout/login/device/poll", Json::object({{"handle", "x"}})).status, 403);
}

TEST_F(LogIn, TheProviderIsNotAskedMoreOftenThanItWants) {
    const Reply begun = post("/turnout/login/device", Json::object());
    const Json asked = Json::object({{"handle", begun.json.at("handle")}});
    const auto poll = [&] { return post("/turnout/login/device/poll", asked).json; };
    for (int i = 0; i < 5; ++i) poll();
    EXPECT_EQ(remote.asked["/token"], 0);
    world.loop.pass(5s);
    remote.device_error = "slow_down";
    EXPECT_EQ(poll().at("interval").as_int(), 10);
    EXPECT_EQ(remote.asked["/token"], 1);
    world.loop.pass(5s);
    poll();
    EXPECT_EQ(remote.asked["/token"], 1);
    remote.down = true;
    world.loop.pass(5s);
    EXPECT_EQ(poll().at("state").as_view(), "pending") << "it comes back";
    remote.down = false;
    remote.device_error = "access_denied";
    world.loop.pass(10s);
    EXPECT_EQ(post("/turnout/login/device/poll", asked).status, 403);
    EXPECT_EQ(post("/turnout/login/device/poll", asked).code(), "LoginExpired");
}

TEST_F(LogIn, GroupsAreRolesAndAreLookedAtAnew) {
    remote.groups = {"lab", "admins"};
    const std::string cookie = session();
    const auto roles = [&] {
        std::string all;
        const Reply me = get("/turnout/me", cookie);
        for (const Json& one : me.json.at("roles").items()) all += one.at("role").as_string() + " ";
        return all;
    };
    EXPECT_NE(roles().find("Owner"), std::string::npos);
    EXPECT_NE(roles().find("Reader"), std::string::npos);
    // One that an Owner gave stays, whatever the groups are.
    ASSERT_EQ(post("/turnout/assignments",
                   Json::object({{"user", "ann"}, {"role", "Contributor"}, {"scope", "/"}}), owner)
                  .status,
              201);
    // So does one that a group gives as well.
    ASSERT_EQ(
        post("/turnout/assignments",
             Json::object(
                 {{"user", "ann"}, {"role", "Reader"}, {"scope", workspace_path(world.workspace)}}),
             owner)
            .status,
        201);
    remote.groups = {};
    session();
    EXPECT_EQ(roles(), "Reader Contributor ") << "at once, in the sessions that she has";
}

// Whoever left the group is out, even where nobody else is Owner: so groups do not count for that.
TEST_F(LogIn, AnOwnerByAGroupIsNotTheLastOne) {
    remote.groups = {"admins"};
    const std::string cookie = session();
    const auto disable = [&](const std::string& bearer) {
        return world.send_raw("PATCH", "/turnout/users/admin", R"({"disabled": true})", bearer);
    };
    EXPECT_EQ(disable(owner).code(), "LastOwner");
    EXPECT_EQ(world.send_raw("DELETE", "/turnout/assignments/first-owner", "", owner).code(),
              "LastOwner");
    remote.groups = {"lab"};
    session();
    const Reply me = get("/turnout/me", cookie);
    ASSERT_EQ(me.json.at("roles").items().size(), 1u) << me.text;
    EXPECT_EQ(me.json.at("roles").items()[0].at("role").as_view(), "Reader");
}

// Whoever somebody was at the provider until now is nobody here with what they have.
TEST_F(LogIn, AnotherSubjectEndsWhatTheFormerOneHas) {
    const std::string cookie = session();
    const std::string token = on_terminal().json.at("token").as_string();
    const std::string made = post("/turnout/tokens", Json::object({{"name", "more"}}), token)
                                 .json.at("token")
                                 .as_string();
    const std::string given =
        post("/turnout/tokens", Json::object({{"name", "given"}, {"user", "ann"}}), owner)
            .json.at("token")
            .as_string();
    const auto link_to = [&](const std::string& subject) {
        return world
            .send_raw("PUT", "/turnout/users/ann/subject",
                      Json::object({{"issuer", remote.issuer}, {"subject", subject}}).dump(), owner)
            .status;
    };
    const auto status = [&](const std::string& bearer) {
        return world.send_raw("GET", "/turnout/me", "", bearer).status;
    };
    EXPECT_EQ(link_to("s-1"), 200);
    EXPECT_EQ(get("/turnout/me", cookie).status, 200) << "it is she still";
    EXPECT_EQ(status(made), 200);
    EXPECT_EQ(link_to("s-2"), 200);
    EXPECT_EQ(get("/turnout/me", cookie).status, 401);
    EXPECT_EQ(status(token), 401);
    EXPECT_EQ(status(made), 401);
    EXPECT_EQ(status(given), 200) << "that is of no login";
    remote.subject = "s-2";
    EXPECT_EQ(get("/turnout/me", session()).json.at("name").as_view(), "ann");
}

TEST_F(LogIn, WhoHasNoRoleIsNobody) {
    remote.groups = {"others"};
    const Reply back = come_back(go());
    EXPECT_EQ(back.status, 403);
    EXPECT_EQ(cookie_in(back, "__Host-turnout-session"), "");
    EXPECT_EQ(on_terminal().code(), "NoRole");
    EXPECT_EQ(world.send_raw("GET", "/turnout/users/ann", "", owner).status, 404);
    // Whoever was somebody is so no more.
    remote.groups = {"lab"};
    const std::string cookie = session();
    remote.groups = {"others"};
    EXPECT_EQ(come_back(go()).status, 403);
    EXPECT_TRUE(get("/turnout/me", cookie).json.at("roles").items().empty());
    for (const char* name : {"", "a b", "../x", "\xc3\xa4nn"}) {
        remote.user = name;
        remote.subject = "other";
        remote.groups = {"lab"};
        const int status = come_back(go()).status;
        EXPECT_TRUE(status == 400 || status == 401) << name << status;
    }
}

TEST_F(LogIn, ALocalUserIsNotTakenOver) {
    ASSERT_EQ(post("/turnout/users", Json::object({{"name", "ann"}}), owner).status, 201);
    EXPECT_EQ(on_terminal().code(), "UserExists");
    remote.user = "admin";
    EXPECT_EQ(on_terminal().code(), "UserExists");
    remote.user = "ann";
    const auto link_her = [&](const std::string& name, const std::string& bearer) {
        return world.send_raw("PUT", "/turnout/users/" + name + "/subject",
                              Json::object({{"issuer", remote.issuer}, {"subject", "s-1"}}).dump(),
                              bearer);
    };
    EXPECT_EQ(link_her("ann", owner).status, 200);
    EXPECT_EQ(link_her("admin", owner).status, 409) << "it is ann";
    const Reply done = on_terminal();
    ASSERT_EQ(done.json.at("user").as_view(), "ann") << done.text;
    EXPECT_EQ(link_her("admin", done.json.at("token").as_string()).status, 403);
    // Another person to whom the provider gives her name is not she.
    remote.subject = "s-2";
    EXPECT_EQ(on_terminal().code(), "UserExists");
    EXPECT_NE(on_terminal().message().find("`turnout user link ann --subject s-2`"),
              std::string::npos);
    remote.subject = "s-2; rm x";
    EXPECT_EQ(on_terminal().message().find("--subject"), std::string::npos);
    // And she stays she under another one.
    remote.subject = "s-1";
    remote.user = "annette";
    EXPECT_EQ(on_terminal().json.at("user").as_view(), "ann");
}

TEST_F(LogIn, WhoIsDisabledStaysOut) {
    const std::string cookie = session();
    const auto disable = [&](bool yes) {
        return world
            .send_raw("PATCH", "/turnout/users/ann", Json::object({{"disabled", yes}}).dump(),
                      owner)
            .status;
    };
    ASSERT_EQ(disable(true), 200);
    EXPECT_EQ(get("/turnout/me", cookie).status, 401);
    EXPECT_EQ(come_back(go()).status, 403);
    EXPECT_EQ(on_terminal().code(), "UserDisabled");
    ASSERT_EQ(disable(false), 200);
    EXPECT_EQ(get("/turnout/me", cookie).status, 401) << "that session is over";
    EXPECT_EQ(get("/turnout/me", session()).status, 200);
}

TEST_F(LogIn, ALinkThatIsGoodOnce) {
    const std::string path = link();
    EXPECT_NE(get(path).text.find("as admin"), std::string::npos);
    EXPECT_NE(get(path).text.find("as admin"), std::string::npos) << "a look does not use it up";
    EXPECT_EQ(use(path, {{"Origin", "https://evil.example"}}).status, 403);
    const Reply used = use(path);
    ASSERT_EQ(used.status, 200) << used.text;
    const std::string cookie = cookie_in(used, "__Host-turnout-session");
    EXPECT_EQ(get("/turnout/me", cookie).json.at("name").as_view(), "admin");
    EXPECT_EQ(use(path).status, 403);
    EXPECT_EQ(get(path).status, 403);
    const std::string old = link();
    world.loop.pass(11min);
    EXPECT_EQ(use(old).status, 403);
    EXPECT_EQ(get("/turnout/me", cookie).status, 200);
    world.loop.pass(12h);
    EXPECT_EQ(get("/turnout/me", cookie).status, 401) << "sessions end";
}

TEST_F(LogIn, ASessionEndsWithTheTokenOfItsLink) {
    const Reply made =
        post("/turnout/tokens", Json::object({{"name", "t"}, {"expires", "2h"}}), owner);
    const std::string token = made.json.at("token").as_string();
    const Reply asked = world.send_raw("POST", "/turnout/login-links", "", token);
    const std::string cookie =
        cookie_in(use(asked.json.at("path").as_string()), "__Host-turnout-session");
    EXPECT_EQ(get("/turnout/me", cookie).status, 200);
    // It is no token, and listed where sessions are.
    EXPECT_EQ(world.send_raw("GET", "/turnout/tokens", "", owner).text.find("browser"),
              std::string::npos);
    const Reply later = world.send_raw("POST", "/turnout/login-links", "", token);
    ASSERT_EQ(
        world.send_raw("DELETE", "/turnout/tokens/" + made.json.at("id").as_string(), "", owner)
            .status,
        204);
    EXPECT_EQ(get("/turnout/me", cookie).status, 401);
    EXPECT_EQ(use(later.json.at("path").as_string()).status, 401);
}

TEST_F(LogIn, SessionsAreListedAndEnded) {
    const std::string anns = session();
    const std::string admins = cookie_in(use(link()), "__Host-turnout-session");
    const auto count = [&](const std::string& cookie) {
        return get("/turnout/sessions", cookie).json.at("value").items().size();
    };
    EXPECT_EQ(count(anns), 1u) << "her own";
    EXPECT_EQ(count(admins), 2u);
    const Reply all = world.send_raw("GET", "/turnout/sessions", "", owner);
    std::string hers, his;
    for (const Json& one : all.json.at("value").items())
        (one.at("user").as_view() == "ann" ? hers : his) = one.at("id").as_string();
    Headers as_ann = own_page();
    as_ann.emplace_back("Cookie", anns);
    EXPECT_EQ(world.send_raw("DELETE", "/turnout/sessions/" + his, "", "", as_ann).status, 404);
    EXPECT_EQ(world.send_raw("DELETE", "/turnout/sessions/" + hers, "", owner).status, 204);
    EXPECT_EQ(get("/turnout/me", anns).status, 401);
    Headers as_admin = own_page();
    as_admin.emplace_back("Cookie", admins);
    const Reply out = world.send_raw("POST", "/logout", "", "", as_admin);
    EXPECT_EQ(out.status, 303);
    EXPECT_NE(set_cookie(out, "__Host-turnout-session").find("Max-Age=0"), std::string::npos);
    EXPECT_EQ(get("/turnout/me", admins).status, 401);
}

TEST_F(LogIn, OfManySessionsTheOldestIsOver) {
    const std::string anns = session();
    std::vector<std::string> admins;
    for (int i = 0; i < 51; ++i) {
        world.loop.pass(1s);
        admins.push_back(cookie_in(use(link()), "__Host-turnout-session"));
    }
    EXPECT_EQ(get("/turnout/me", admins[0]).status, 401);
    EXPECT_EQ(get("/turnout/me", admins[1]).status, 200);
    EXPECT_EQ(get("/turnout/me", admins[50]).status, 200);
    EXPECT_EQ(get("/turnout/me", anns).status, 200) << "hers is not one of them";
}

TEST_F(LogIn, APageForAPersonGoesToTheLogin) {
    const Headers page = {{"Accept", "text/html,application/xhtml+xml"}};
    const std::string path = "/studio/jobs/" + world.workspace.id + "/j";
    const Reply asked = get(path, "", page);
    EXPECT_EQ(asked.status, 303);
    EXPECT_EQ(asked.headers.get("Location"), "/login?to=" + percent_encode(path));
    EXPECT_EQ(get(path).status, 401) << "a program is told";
    world.save(running_job(world.workspace.id));
    EXPECT_EQ(get(path, session(), page).status, 200);
    for (const char* elsewhere :
         {"//evil.example", "https://evil.example", "/studio//evil", "/turnout/me", "/studio/\"x"})
        EXPECT_NE(come_back(go(elsewhere)).text.find("0; url=/\""), std::string::npos) << elsewhere;
}

TEST_F(LogIn, WithoutAProviderOrWithMistakes) {
    EXPECT_TRUE(get("/turnout/login").json.at("oidc").as_bool());
    const auto check = [&] { return post("/turnout/oidc/check", Json::object(), owner); };
    Reply told = check();
    EXPECT_EQ(told.status, 200) << told.text;
    EXPECT_EQ(told.json.at("redirect").as_view(), "https://127.0.0.1:8443/oidc/callback");
    EXPECT_EQ(told.json.at("provider").at("keys").items().size(), 1u);
    world.oidc_settings->roles[0].workspace = "wz";
    told = check();
    EXPECT_EQ(told.status, 404);
    EXPECT_NE(told.message().find("there is no workspace 'wz'"), std::string::npos) << told.text;
    EXPECT_EQ(come_back(go()).status, 403) << "what is not there gives nothing";
    world.oidc_settings.reset();
    EXPECT_FALSE(get("/turnout/login").json.at("oidc").as_bool());
    EXPECT_EQ(post("/turnout/login/device", Json::object()).code(), "NoOidc");
    EXPECT_EQ(get("/login/oidc").status, 409);
    EXPECT_EQ(check().status, 404);
}

// Who got in how is on record.
TEST_F(LogIn, IsInTheAudit) {
    session();
    use(link());
    on_terminal();
    const Reply audit = world.send_raw("GET", "/turnout/audit?limit=1000", "", owner);
    int logins = 0;
    for (const Json& act : audit.json.at("value").items())
        if (act.at("action").as_view() == "Turnout/sessions/login/action") ++logins;
    EXPECT_EQ(logins, 3) << audit.text;
    EXPECT_EQ(audit.text.find("tks_"), std::string::npos);
}

}  // namespace
}  // namespace turnout::api
