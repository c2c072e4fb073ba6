// Online endpoints: what is kept, refused and told; and with nodes and models that are only said to
// be there, who is asked and what becomes of a deployment.
#include "api/inference/inference.h"

#include <gtest/gtest.h>

#include "api/gateway/gateway.h"
#include "api/test_world.h"

namespace turnout::api {
namespace {

struct EndpointWorld : World {
    static std::string path(const std::string& rest) { return "/onlineEndpoints" + rest; }
    using World::send;
    Reply send(std::string method, const std::string& of, const std::string& text) {
        const Result<Json> body = parse_json(text);
        EXPECT_TRUE(body) << text;
        return World::send(std::move(method), of, body ? *body : Json());
    }
    Reply put(const std::string& name, const std::string& properties) {
        return send("PUT", path("/" + name),
                    R"({"location":"westus","properties":)" + properties + "}");
    }
    // Where an endpoint is asked, without the server's own credential.
    Reply score(const std::string& name, const std::string& bearer) {
        return send_raw("POST",
                        "/inference/" + workspace.subscription + "/" + workspace.resource_group +
                            "/" + workspace.name + "/" + name + "/score",
                        "{}", bearer);
    }
};

TEST(OnlineEndpoints, AnEndpointHasKeysThatTheStoreDoesNotTell) {
    EndpointWorld w;
    const Reply made = w.put("my-endpoint", R"({"authMode":"Key"})");
    ASSERT_EQ(made.status, 201) << made.text;
    EXPECT_EQ(made.properties().at("provisioningState").as_string(), "Succeeded");
    EXPECT_TRUE(made.properties().at("scoringUri").as_view().ends_with("/my-endpoint/score"));
    EXPECT_EQ(made.text.find("sealed"), std::string::npos);

    const Reply keys = w.send("POST", w.path("/my-endpoint/listKeys"));
    ASSERT_EQ(keys.status, 200) << keys.text;
    const std::string primary = keys.json.at("primaryKey").as_string();
    const std::string secondary = keys.json.at("secondaryKey").as_string();
    EXPECT_GE(primary.size(), 43u);
    EXPECT_NE(primary, secondary);
    EXPECT_EQ(keys.headers.get("Cache-Control"), "no-store");
    for (int table = 0; table <= static_cast<int>(kLastTable); ++table) {
        const auto rows = w.store.scan(static_cast<Table>(table), with_prefix(""));
        ASSERT_TRUE(rows);
        for (const Record& row : *rows) {
            EXPECT_EQ(row.value.find(primary), std::string::npos);
            EXPECT_EQ(row.value.find(secondary), std::string::npos);
        }
    }

    // A key of its own, another one, and nothing: only the first gets further.
    EXPECT_EQ(w.score("my-endpoint", "wrong").status, 401);
    EXPECT_EQ(w.score("my-endpoint", "").status, 401);
    EXPECT_EQ(w.score("my-endpoint", w.user).status, 401);
    EXPECT_EQ(w.score("other", primary).status, 401);  // and nobody learns which there are
    EXPECT_NE(w.score("my-endpoint", primary).status, 401);
    EXPECT_NE(w.score("my-endpoint", secondary).status, 401);

    const Reply again =
        w.send("POST", w.path("/my-endpoint/regenerateKeys"),
               std::string(R"({"keyType":"Primary","keyValue":")" + primary + R"("})"));
    ASSERT_EQ(again.status, 200) << again.text;
    EXPECT_EQ(w.score("my-endpoint", primary).status, 401);
    EXPECT_NE(w.score("my-endpoint", secondary).status, 401);
    EXPECT_EQ(
        w.send("POST", w.path("/my-endpoint/regenerateKeys"), std::string(R"({"keyType":"Third"})"))
            .status,
        400);
    EXPECT_EQ(w.send("POST", w.path("/my-endpoint/regenerateKeys"),
                     std::string(R"({"keyType":"Secondary","keyValue":"of-my-own"})"))
                  .status,
              400);
}

TEST(OnlineEndpoints, KeysAreSealedAnewWithTheVaultsKey) {
    EndpointWorld w;
    ASSERT_EQ(w.put("my-endpoint", R"({"authMode":"Key"})").status, 201);
    const std::string before = w.send("POST", w.path("/my-endpoint/listKeys")).text;
    const std::string row =
        w.store.get(Table::OnlineEndpoint, w.workspace.id + "/my-endpoint")->value().value;
    ASSERT_EQ(w.send_raw("POST", "/turnout/secrets/rotateKey", "", w.user).status, 200);
    EXPECT_NE(w.store.get(Table::OnlineEndpoint, w.workspace.id + "/my-endpoint")->value().value,
              row);
    EXPECT_EQ(w.send("POST", w.path("/my-endpoint/listKeys")).text, before);
}

TEST(OnlineEndpoints, ATokenEndsByItselfAndWithTheKey) {
    EndpointWorld w;
    ASSERT_EQ(w.put("my-endpoint", R"({"authMode":"AMLToken"})").status, 201);
    ASSERT_EQ(w.put("second", R"({"authMode":"AMLToken"})").status, 201);
    EXPECT_EQ(w.send("POST", w.path("/my-endpoint/listKeys")).status, 409);
    const Reply got = w.send("POST", w.path("/my-endpoint/token"));
    ASSERT_EQ(got.status, 200) << got.text;
    const std::string token = got.json.at("accessToken").as_string();
    EXPECT_GT(got.json.at("expiryTimeUtc").as_int(), got.json.at("refreshAfterTimeUtc").as_int());
    EXPECT_NE(w.score("my-endpoint", token).status, 401);
    EXPECT_EQ(w.score("second", token).status, 401);
    std::string later = token;  // says another end than was signed
    later[4] = later[4] == '9' ? '8' : '9';
    EXPECT_EQ(w.score("my-endpoint", later).status, 401);
    const auto endpoint = w.inference.endpoint(w.workspace.id, "my-endpoint");
    ASSERT_TRUE(endpoint && *endpoint);
    const auto old = w.inference.token(**endpoint, w.loop.now() - 1s);
    EXPECT_FALSE(*w.inference.is_token(**endpoint, old->reveal()));
    ASSERT_EQ(w.send("POST", w.path("/my-endpoint/regenerateKeys"),
                     std::string(R"({"keyType":"Primary"})"))
                  .status,
              200);
    EXPECT_EQ(w.score("my-endpoint", token).status, 401);
}

TEST(OnlineEndpoints, WhatIsWrongIsRefusedByItsPlace) {
    EndpointWorld w;
    const auto refused = [&](const std::string& name, const std::string& properties) {
        const Reply reply = w.put(name, properties);
        EXPECT_EQ(reply.status, 400) << reply.text;
        return reply.message();
    };
    EXPECT_NE(refused("ab", R"({"authMode":"Key"})").find("3 to 32"), std::string::npos);
    EXPECT_NE(refused("my-endpoint", R"({"authMode":"None"})").find("properties.authMode"),
              std::string::npos);
    EXPECT_NE(refused("my-endpoint", "{}").find("found nothing"), std::string::npos);
    EXPECT_NE(refused("my-endpoint", R"({"authMode":"Key","traffic":{"blue":100}})")
                  .find("properties.traffic.blue"),
              std::string::npos);
    EXPECT_NE(
        refused("my-endpoint", R"({"authMode":"Key","compute":"k8s"})").find("properties.compute"),
        std::string::npos);
    ASSERT_EQ(w.put("my-endpoint", R"({"authMode":"Key"})").status, 201);
    const auto deployment = [&](const std::string& properties, const std::string& more = "") {
        const Reply reply =
            w.send("PUT", w.path("/my-endpoint/deployments/blue"),
                   R"({"location":"westus")" + more + R"(,"properties":)" + properties + "}");
        EXPECT_EQ(reply.status, 400) << reply.text;
        return reply.message();
    };
    EXPECT_NE(deployment("{}").find("codeConfiguration.scoringScript"), std::string::npos);
    EXPECT_NE(deployment(R"({"model":"azureml:nothing:1"})").find("model 'nothing' does not exist"),
              std::string::npos);
    EXPECT_NE(deployment(R"({"instanceType":"Standard_DS3"})").find("instanceType"),
              std::string::npos);
    EXPECT_NE(deployment(R"({"scaleSettings":{"scaleType":"TargetUtilization"}})")
                  .find("scaleSettings.scaleType"),
              std::string::npos);
    EXPECT_NE(deployment(R"({"endpointComputeType":"Kubernetes"})").find("endpointComputeType"),
              std::string::npos);
    EXPECT_NE(deployment(R"({"requestSettings":{"requestTimeout":"PT1H"}})")
                  .find("requestSettings.requestTimeout"),
              std::string::npos);
    EXPECT_NE(deployment("{}", R"(,"sku":{"capacity":0})").find("sku.capacity"), std::string::npos);
    EXPECT_NE(
        deployment(R"({"codeConfiguration":{"scoringScript":"score.py"}})").find("environmentId"),
        std::string::npos);
    EXPECT_EQ(w.send("GET", w.path("/my-endpoint/deployments/blue")).status, 404);
    EXPECT_EQ(
        w.send("PUT", w.path("/nothing/deployments/blue"), std::string(R"({"properties":{}})"))
            .status,
        404);
}

TEST(OnlineEndpoints, ListsPatchesAndDeletes) {
    EndpointWorld w;
    ASSERT_EQ(w.put("second", R"({"authMode":"Key"})").status, 201);
    ASSERT_EQ(w.put("first", R"({"authMode":"Key","description":"d"})").status, 201);
    EXPECT_EQ(w.put("first", R"({"authMode":"Key","description":"e"})").status, 200);
    const Reply listed = w.send("GET", w.path(""));
    ASSERT_EQ(listed.json.at("value").items().size(), 2u) << listed.text;
    EXPECT_EQ(listed.json.at("value").items()[0].at("name").as_string(), "first");
    const Reply patched = w.send("PATCH", w.path("/first"), std::string(R"({"tags":{"a":"b"}})"));
    ASSERT_EQ(patched.status, 200) << patched.text;
    EXPECT_EQ(patched.json.at("tags").at("a").as_string(), "b");
    EXPECT_EQ(patched.properties().at("description").as_string(), "e");
    const Reply gone = w.send("DELETE", w.path("/first"));
    EXPECT_EQ(gone.status, 202) << gone.text;
    EXPECT_EQ(w.send("GET", w.path("/first")).status, 404);
    EXPECT_EQ(w.send("DELETE", w.path("/first")).status, 404);
    const Reply over = w.send("GET", "/operations/deleteOnlineEndpoint/first");
    EXPECT_EQ(over.json.at("status").as_string(), "Succeeded") << over.text;
}

TEST(OnlineEndpoints, AJobIsRefusedOnTheirCompute) {
    EndpointWorld w;
    const Reply refused =
        w.send("PUT", "/jobs/j",
               R"({"properties":{"jobType":"Command","command":"true","environmentId":)"
               R"("azureml:AzureML-sklearn-0.24-ubuntu18.04-py37-cpu@latest","computeId":")" +
                   w.workspace_path() + R"(/computes/online.local.standard_ds3_v2"}})");
    EXPECT_EQ(refused.status, 400) << refused.text;
    EXPECT_EQ(refused.code(), "ComputeIsForInference") << refused.text;
}

namespace ap = agent_protocol;

// The models: what they were asked, and what they answer when the test says so.
class Models : public http::Client {
public:
    struct Asked {
        http::ClientRequest request;
        Later<Result<http::ClientResponse>>::Settle answer;
        std::string body;
    };
    Task<Result<http::ClientResponse>> send(http::ClientRequest request) override {
        const Later<Result<http::ClientResponse>> answer;
        auto stream = std::move(request.stream);
        asked.push_back({std::move(request), answer.settle(), {}});
        const std::size_t at = asked.size() - 1;
        if (stream) {
            auto all = co_await stream->all(std::size_t{64} << 20);
            EXPECT_TRUE(all);
            if (all) asked[at].body = std::move(*all);
        } else {
            asked[at].body = asked[at].request.body;
        }
        if (at_once) co_return answered();
        co_return co_await answer;
    }
    static http::ClientResponse answered() {
        http::ClientResponse response;
        response.status = 200;
        response.body = std::make_unique<TextBody>("[1]");
        return response;
    }
    std::deque<Asked> asked;
    bool at_once = false;
};

struct ModelWorld : EndpointWorld {
    ModelWorld() {
        auto client = std::make_unique<Models>();
        models = client.get();
        gateway = std::make_unique<Gateway>(std::move(client));
        services.gateway = gateway.get();
        compute = *wait(
            inference.ensure_compute(workspace.id, std::string(kDefaultPool), "standard_ds3_v2"));
        EXPECT_EQ(put("end", R"({"authMode":"Key"})").status, 201);
        key = send("POST", path("/end/listKeys")).json.at("primaryKey").as_string();
    }
    // Deployment "blue" as a program of that command serves it.
    void deploy(std::string command, int instances = 1, RequestSettings requests = {}) {
        ap::TaskSpec task;
        task.command = std::move(command);
        task.service.emplace();
        Inference::DeploymentChange change = [&](OnlineDeployment& now, bool) -> Result<void> {
            now.task = ap::to_json(task);
            now.instances = instances;
            now.compute = compute;
            now.requests = requests;
            return {};
        };
        const auto done =
            wait(inference.change_deployment(workspace.id, "end", "blue", {}, std::move(change)));
        ASSERT_TRUE(done) << done.error().message;
        loop.pass(1s);
        connect();
    }
    // What nodes it has been given, and begins on.
    void connect() {
        while (connected < effects.provisioned.size()) {
            ap::Hello hello;
            hello.node = effects.provisioned[connected++];
            hello.boot_id = "boot";
            control.agent_connected(hello.node, hello);
            loop.settle();
        }
    }
    std::shared_ptr<const OnlineDeployment> row() {
        const auto found = inference.known_deployment(workspace.id, "end", "blue");
        EXPECT_TRUE(found);
        return found ? *found : nullptr;
    }
    Control::ServiceView service() {
        const auto view = control.service(workspace.id, service_of("end", "blue"));
        EXPECT_TRUE(view);
        return view ? *view : Control::ServiceView{};
    }
    std::string state() { return std::string(name_of(row()->state)); }
    void is(const Control::ServiceView::OfReplica& replica, ap::Phase phase) {
        ASSERT_NE(replica.node, "") << replica.job << " waits";
        const std::string node = workspace.id + "/" + compute + "/" + replica.node;
        control.agent_says(
            node, ap::PhaseReport{{workspace.id, replica.job, replica.attempt}, phase, "", {}, {}});
        loop.settle();
    }
    // Those that are stopped end, and the newest of those that are not ready are.
    void all_ready() {
        for (int i = 0; i < 10; ++i) {
            loop.pass(1s);
            connect();
            for (const auto& one : service().replicas) {
                if (one.replica.is == Replica::Is::Stopping)
                    ends(one, ap::Cause::Canceled);
                else if (one.replica.is != Replica::Is::Ready && !one.node.empty())
                    is(one, ap::Phase::Ready);
            }
        }
        loop.pass(1s);
    }
    void ends(const Control::ServiceView::OfReplica& replica, ap::Cause cause) {
        ap::EndReport report;
        report.id = {workspace.id, replica.job, replica.attempt};
        report.ending.cause = cause;
        report.ending.exit_code = 1;
        control.agent_says(workspace.id + "/" + compute + "/" + replica.node, report);
        loop.settle();
    }
    std::unique_ptr<Sent> begin_score(std::string text = "{}",
                                      std::vector<std::pair<std::string, std::string>> headers = {},
                                      std::string method = "POST") {
        headers.emplace_back("azureml-model-deployment", "blue");
        auto sent = begin_raw(std::move(method),
                              "/inference/" + workspace.subscription + "/" +
                                  workspace.resource_group + "/" + workspace.name + "/end/score",
                              std::move(text), key, std::move(headers));
        loop.settle();
        return sent;
    }
    // The whole of the answer, as a client takes it.
    int finish(Sent& sent) {
        wait(sent.outcome);
        if (sent.outcome->stream) {
            EXPECT_TRUE(wait(sent.outcome->stream->all(1 << 20)));
            sent.outcome->stream.reset();
        }
        loop.settle();
        return sent.outcome->status;
    }

    Models* models = nullptr;
    std::unique_ptr<Gateway> gateway;
    std::string compute, key;
    std::size_t connected = 0;
};

TEST(OnlineDeployments, AnUpdateThatFailedStaysFailedWhateverTheStoreDoes) {
    ModelWorld w;
    w.deploy("first");
    w.all_ready();
    ASSERT_EQ(w.state(), "Succeeded");
    w.deploy("second");
    ASSERT_EQ(w.state(), "Updating");
    // That it failed cannot be written down at first.
    w.store.fail_next(Table::OnlineDeployment, Error{Code::Unavailable, "StoreFull", "no room"});
    for (int i = 0; i < 200 && w.state() == "Updating"; ++i) {
        w.loop.pass(1s);
        w.control.tick();
        w.connect();
        for (const auto& one : w.service().replicas) {
            if (one.node.empty()) continue;
            if (one.replica.is == Replica::Is::Stopping)
                w.ends(one, ap::Cause::Canceled);
            else if (one.replica.is != Replica::Is::Ready)
                w.ends(one, ap::Cause::UserCode);
        }
    }
    EXPECT_EQ(w.state(), "Failed");
    EXPECT_EQ(w.row()->good.at("command").as_string(), "first") << "what is gone back to";
    w.all_ready();
    EXPECT_EQ(w.state(), "Failed");
    EXPECT_EQ(w.service().counts.ready, 1);
}

TEST(OnlineDeployments, TheLimitOfAChangeBeginsAnewWithEachInstance) {
    ModelWorld w;
    w.deploy("serve", 2);
    w.loop.pass(29min);
    ASSERT_EQ(w.state(), "Creating");
    w.is(w.service().replicas.front(), ap::Phase::Ready);
    w.loop.pass(29min);
    EXPECT_EQ(w.state(), "Creating");
    // Less and again as many is no progress.
    w.is(w.service().replicas.front(), ap::Phase::Running);
    w.is(w.service().replicas.front(), ap::Phase::Ready);
    w.loop.pass(2min);
    EXPECT_EQ(w.state(), "Failed");
    EXPECT_NE(w.row()->why.find("no instance became ready within 30"), std::string::npos)
        << w.row()->why;
}

TEST(OnlineDeployments, WhatAModelDoesIsToldByTheStatus) {
    ModelWorld w;
    w.deploy("serve");
    w.all_ready();
    struct Case {
        Code code;
        const char *reason, *method;
        int status;
    };
    for (const Case& one : {Case{Code::Ambiguous, "Timeout", "POST", 408},
                            {Code::Ambiguous, "Timeout", "GET", 408},
                            {Code::Ambiguous, "ConnectionLost", "POST", 502},
                            {Code::Unavailable, "Timeout", "POST", 503},
                            {Code::Unavailable, "NotReached", "GET", 503}}) {
        w.models->asked.clear();
        const auto sent = w.begin_score("{}", {}, one.method);
        ASSERT_EQ(w.models->asked.size(), 1u);
        EXPECT_TRUE(w.models->asked[0].request.once);
        w.models->asked[0].answer(fail(one.code, one.reason, "as the test says"));
        w.loop.pass(2s);
        EXPECT_EQ(w.finish(*sent), one.status) << one.reason << " " << one.method;
        EXPECT_EQ(w.models->asked.size(), 1u) << "there is no other instance";
    }
}

TEST(OnlineDeployments, AModelLearnsTheLengthOfWhatCameInChunks) {
    ModelWorld w;
    w.deploy("serve");
    w.all_ready();
    w.models->at_once = true;
    for (const std::size_t size : {std::size_t{0}, std::size_t{100}, std::size_t{5} << 20}) {
        w.models->asked.clear();
        const std::string text(size, 'x');
        const auto sent = w.begin_score(text, {{"Transfer-Encoding", "chunked"}});
        EXPECT_EQ(w.finish(*sent), 200);
        ASSERT_EQ(w.models->asked.size(), 1u);
        const auto& asked = w.models->asked[0];
        EXPECT_EQ(asked.body, text);
        EXPECT_EQ(asked.request.length.value_or(asked.request.body.size()), size);
        EXPECT_FALSE(asked.request.headers.has("Transfer-Encoding"));
    }
}

TEST(OnlineDeployments, BodiesHaveAnEndTogether) {
    ModelWorld w;
    w.deploy("serve");
    w.all_ready();
    Bodies& bodies = w.inference.bodies();
    TextBody nothing("");
    auto most = w.wait(bodies.read(nothing, Inference::kMostHeld - 100, Inference::kMostHeld));
    ASSERT_TRUE(most);
    const auto fits = w.begin_score(std::string(60, 'x'));
    const auto refused = w.begin_score(std::string(60, 'x'));
    EXPECT_EQ(w.finish(*refused), 429);
    EXPECT_TRUE(refused->outcome->headers.has("Retry-After"));
    EXPECT_EQ(w.models->asked.size(), 1u);
    EXPECT_EQ(bodies.held(), Inference::kMostHeld - 40);
    w.models->asked[0].answer(Models::answered());
    EXPECT_EQ(w.finish(*fits), 200);
    EXPECT_EQ(bodies.held(), Inference::kMostHeld - 100);
    most->reset();
    EXPECT_EQ(bodies.held(), 0u);
    EXPECT_EQ(w.finish(*w.begin_score(std::string((10 << 20) + 1, 'x'))), 413);
    EXPECT_EQ(bodies.held(), 0u);
}

TEST(OnlineDeployments, WhoCameFirstGoesFirst) {
    ModelWorld w;
    RequestSettings requests;
    requests.queue = 10s;
    w.deploy("serve", 1, requests);
    w.all_ready();
    std::vector<std::unique_ptr<World::Sent>> sent;
    for (int i = 0; i < 3; ++i)
        sent.push_back(w.begin_score("{}", {{"x-request-id", std::to_string(i)}}));
    for (std::size_t i = 0; i < 3; ++i) {
        ASSERT_EQ(w.models->asked.size(), i + 1) << "one at a time";
        EXPECT_EQ(w.models->asked[i].request.headers.get("x-request-id"), std::to_string(i));
        w.models->asked[i].answer(Models::answered());
        EXPECT_EQ(w.finish(*sent[i]), 200);
    }
    // While none is ready they wait too, and for what becomes ready.
    const auto before = w.service().replicas.front();
    w.is(before, ap::Phase::Running);
    const auto late = w.begin_score();
    w.loop.pass(5s);
    EXPECT_FALSE(late->outcome.done());
    w.is(before, ap::Phase::Ready);
    w.loop.pass(50ms);
    ASSERT_EQ(w.models->asked.size(), 4u);
    w.models->asked[3].answer(Models::answered());
    EXPECT_EQ(w.finish(*late), 200);
    // And no longer than that.
    w.is(before, ap::Phase::Running);
    const auto never = w.begin_score();
    w.loop.pass(9s);
    EXPECT_FALSE(never->outcome.done());
    w.loop.pass(2s);
    EXPECT_EQ(w.finish(*never), 503);
}

TEST(OnlineDeployments, SoManyWaitAndNoMore) {
    ModelWorld w;
    RequestSettings requests;
    requests.concurrency = 600;
    w.deploy("serve", 1, requests);
    w.all_ready();
    const auto places = w.inference.places(*w.row());
    std::vector<Outcome<Result<Place>>> all;
    TestStop stop;
    for (int i = 0; i < 1601; ++i)
        all.push_back(begin(places->take(w.row(), {}, i == 600 ? &stop : nullptr)));
    EXPECT_TRUE(all[599].done() && !all[600].done() && !all[1599].done());
    EXPECT_EQ(places->in_flight(), 600);
    EXPECT_EQ(places->waiting(), 1000u);
    ASSERT_TRUE(all[1600].done());
    EXPECT_EQ((*all[1600]).error().reason, "TooManyRequests");
    EXPECT_LE(w.loop.timers(), 1100u) << "one each, and few for all of them";
    // One leaves before it is its turn.
    stop.stop();
    ASSERT_TRUE(all[600].done());
    EXPECT_EQ((*all[600]).error().code, Code::Canceled);
    **all[0] = Place();
    w.loop.settle();
    EXPECT_TRUE(all[601].done() && *all[601] && !all[602].done());
    w.loop.pass(1s);
    EXPECT_EQ(places->waiting(), 0u);
    ASSERT_TRUE(all[1599].done());
    EXPECT_EQ((*all[1599]).error().reason, "TooManyRequests");
    all.clear();
    EXPECT_EQ(places->in_flight(), 0);
}

TEST(OnlineDeployments, WhatOneAnsweredIsForgottenWithIt) {
    ModelWorld w;
    w.deploy("serve");
    w.all_ready();
    const auto row = w.row();
    const auto late = w.begin_score();
    ASSERT_EQ(w.models->asked.size(), 1u);
    ASSERT_TRUE(w.inference.known_places(*row));
    ASSERT_EQ(w.send("DELETE", w.path("/end/deployments/blue")).status, 202);
    w.loop.pass(1s);
    w.ends(w.service().replicas.front(), ap::Cause::Canceled);
    w.loop.pass(1s);
    ASSERT_FALSE(w.row());
    EXPECT_FALSE(w.inference.known_places(*row));
    w.models->asked[0].answer(Models::answered());
    EXPECT_EQ(w.finish(*late), 200);
    EXPECT_FALSE(w.inference.known_places(*row));
    (void)w.inference.places(*row);  // of a request that was read before
    EXPECT_FALSE(w.inference.known_places(*row));
}

TEST(OnlineEndpoints, OneStaysInItsPool) {
    EndpointWorld w;
    Pool lab = engine_pool("lab");
    bool there = false;
    w.control.set_pools({lab}, [&](Result<void> r) { there = r.has_value(); });
    w.loop.settle();
    ASSERT_TRUE(there);
    const std::string of_it = R"("properties":{"authMode":"Key"})";
    const auto put = [&](const std::string& location) {
        return w.send("PUT", w.path("/far"), "{" + location + of_it + "}");
    };
    ASSERT_EQ(put(R"("location":"lab",)").status, 201);
    const Reply refused = put(R"("location":"westus",)");
    EXPECT_EQ(refused.status, 400) << refused.text;
    EXPECT_NE(refused.message().find("pool 'lab'"), std::string::npos) << refused.message();
    EXPECT_EQ(put(R"("location":"lab",)").status, 200);
    const Reply same = put("");
    EXPECT_EQ(same.status, 200) << same.text;
    EXPECT_EQ(same.json.at("location").as_string(), "lab");
}

}  // namespace
}  // namespace turnout::api
