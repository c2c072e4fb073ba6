// Where an endpoint is asked: requests with a good credential go to a replica of one of its
// deployments, and the answer back.
//
//   POST GET /inference/{sub}/{rg}/{ws}/{endpoint}/score
//   GET      /inference/{sub}/{rg}/{ws}/{endpoint}/swagger.json
//
// As Azure's front answers: 401 without a good credential, 404 where no deployment is meant, 408
// when the model takes longer than `request_timeout_ms`, 424 when it answers with anything but 2xx
// (what, is in ms-azureml-model-error-statuscode), 429 when too many requests wait, 503 when no
// instance is ready. A browser's cookie opens nothing here.
#include <algorithm>

#include "access/actions.h"
#include "api/gateway/gateway.h"
#include "api/inference/routes.h"
#include "api/run_reach.h"
#include "base/text.h"

namespace turnout::api::inference {
namespace {

constexpr std::size_t kMostBody = 10 << 20;
constexpr int kMostMirrored = 1000;  // requests at a time
constexpr int kMostReplicas = 3;     // that are tried for one request
constexpr std::size_t kKeptLines = 500;
constexpr std::string_view kDeploymentHeader = "azureml-model-deployment";

// One request of a deployment, from its beginning to the end of its answer.
class Counted {
public:
    Counted(const Clock& clock, std::shared_ptr<Places> places, const http::Request& request,
            std::string id)
        : clock_(&clock),
          places_(std::move(places)),
          what_(request.method + " " + request.path.substr(request.path.rfind('/'))),
          id_(std::move(id)),
          began_(clock.since_boot()) {}
    Counted(Counted&& other) noexcept = default;
    Counted& operator=(Counted&&) = delete;

    void answered(int status, std::string_view replica) {
        const Span took = clock_->since_boot() - began_;
        RequestCounts& counts = places_->counts;
        ++counts.requests;
        if (status < 200 || status > 299) ++counts.errors;
        ++counts.by_status[status];
        counts.latencies.add(took);
        counts.last.push_back(to_iso8601(clock_->now()) + " " + what_ + " " +
                              std::to_string(status) + " " + std::to_string(took.count() / 1000) +
                              " ms " + (replica.empty() ? "-" : std::string(replica)) + " " + id_);
        if (counts.last.size() > kKeptLines) counts.last.pop_front();
    }

private:
    const Clock* clock_;
    std::shared_ptr<Places> places_;  // shared: see Inference
    std::string what_, id_;
    Span began_;
};

// The answer of a replica on its way to the client: the place is given back when it is over.
class Passing final : public http::BodyReader {
public:
    Passing(std::unique_ptr<http::BodyReader> from, Place place, Counted counted, int status)
        : from_(std::move(from)),
          place_(std::move(place)),
          counted_(std::move(counted)),
          status_(status) {}
    ~Passing() override { counted_.answered(status_, place_.job()); }
    Task<Result<std::string>> read() override { return from_->read(); }

private:
    std::unique_ptr<http::BodyReader> from_;
    Place place_;
    Counted counted_;
    int status_;
};

// Nobody learns whether there is such an endpoint without a credential for it.
Failure not_allowed() {
    return fail(Code::Unauthenticated, "AuthenticationFailed",
                "there is no such endpoint, or this needs an 'Authorization: Bearer' header with "
                "a key or token that is good for it");
}

// Who tries keys waits longer each time, as with tokens (access/guard.h).
Failure bad_key(Services& services, Call& call, const std::string& endpoint) {
    access::Guard* const guard = services.guard;
    if (!guard) return not_allowed();
    const http::Peer& peer = call.request.peer;
    const Span now = services.clock.since_boot();
    const std::string name = "endpoint " + endpoint;
    if (const Span wait = guard->wait(peer.host(), name, now); wait > Span{}) {
        call.retry_after = std::min<Span>(wait, 30s);
        return fail(
            Code::ResourceExhausted, "TooManyRequests",
            "too many keys that are not good for this endpoint: try again in " + to_words(wait));
    }
    guard->guessed(peer.host(), name, peer.loopback, now);
    return not_allowed();
}

Result<void> check_credential(Services& services, Call& call, const OnlineEndpoint& endpoint,
                              const Workspace& workspace) {
    const std::string_view token = bearer_of(call.request);
    if (token.empty()) return not_allowed();
    const std::string name = workspace.id + "/" + endpoint.name;
    switch (endpoint.auth) {
        case EndpointAuth::Key: {
            const EndpointKeys keys = TURNOUT_TRY(services.inference->keys(endpoint));
            const bool first = keys.primary.matches(token), second = keys.secondary.matches(token);
            if (first || second) return {};
            return bad_key(services, call, name);
        }
        case EndpointAuth::AmlToken:
            if (TURNOUT_TRY(services.inference->is_token(endpoint, token))) return {};
            return bad_key(services, call, name);
        case EndpointAuth::AadToken: {
            Principal who = TURNOUT_TRY(check_token(services, call, token));
            if (who.kind == Principal::Kind::Run && who.workspace == workspace.id)
                if (auto user = TURNOUT_TRY(user_of(services, who))) who = std::move(*user);
            if (who.kind == Principal::Kind::User &&
                services.authority.may(who, access::action::kScore, {workspace.id, ""}))
                return {};
            return fail(Code::PermissionDenied, "AuthorizationFailed",
                        "'" + who.name + "' may not score with endpoint '" + endpoint.name + "'");
        }
    }
    return not_allowed();
}

// What a program's answer may not do at this server's address.
http::Headers passed_on(const http::Headers& answer) {
    http::Headers headers;
    for (const auto& [name, value] : answer.all())
        if (!equal_ignoring_case(name, "set-cookie")) headers.add(name, value);
    return headers;
}

struct Ask {
    Inference::Known<OnlineDeployment> deployment;
    Bodies::Body body;  // shared with the copy for a mirror
    std::string target, id, origin;
};

// To one replica after the other, as long as none has heard of it.
Task<Result<http::Response>> ask_replica(Services& services, Ask ask,
                                         const http::Request& request) {
    std::set<std::string> tried;
    std::optional<Error> not_reached;
    const auto places = services.inference->places(*ask.deployment);
    Counted counted(services.clock, places, request, ask.id);
    for (int tries = 1;; ++tries) {
        auto place = co_await places->take(ask.deployment, tried, request.stop);
        if (!place) {
            const Code code = place.error().code;
            counted.answered(code == Code::ResourceExhausted ? 429 : 503, "");
            if (not_reached && code == Code::Unavailable) co_return Failure(*not_reached);
            co_return Failure(place.error());
        }
        Forward forward;
        forward.to.node =
            ask.deployment->workspace + "/" + ask.deployment->compute + "/" + place->node();
        forward.to.attempt.workspace = ask.deployment->workspace;
        forward.to.attempt.job = place->job();
        forward.to.attempt.attempt = place->attempt();
        forward.target = ask.target;
        forward.client.origin = ask.origin;
        forward.timeout = ask.deployment->requests.timeout;
        forward.most_body = kMostBody;
        forward.once = true;
        forward.add.set("x-request-id", ask.id);
        HeldBody body(ask.body);
        const std::string job = place->job();
        auto answer = co_await services.gateway->forward(std::move(forward), request, body);
        if (!answer) {
            const Error& why = answer.error();
            const bool late = why.code == Code::Ambiguous && why.reason == "Timeout";
            if (why.code == Code::Unavailable && tries < kMostReplicas) {
                tried.insert(job);
                not_reached = why;
                continue;
            }
            counted.answered(late ? 408 : why.code == Code::Unavailable ? 503 : 502, job);
            if (late)
                co_return fail(Code::Ambiguous, "Timeout",
                               "the model did not answer within " +
                                   to_words(ask.deployment->requests.timeout) +
                                   " (request_settings.request_timeout_ms)");
            co_return Failure(why);
        }
        const int status = answer->status;
        answer->headers = passed_on(answer->headers);
        if (status < 200 || status > 299) {
            answer->headers.set("ms-azureml-model-error-statuscode", std::to_string(status));
            answer->headers.set("ms-azureml-model-error-reason", "model_error");
            answer->status = 424;
        }
        answer->headers.set(kDeploymentHeader, ask.deployment->name);
        answer->headers.set("x-request-id", ask.id);
        const int said = answer->status;
        if (answer->stream)
            answer->stream = std::make_unique<Passing>(std::move(answer->stream), std::move(*place),
                                                       std::move(counted), said);
        else
            counted.answered(said, job);
        co_return std::move(*answer);
    }
}

// A copy for a deployment that is tried out: its answer is nobody's.
Task<void> mirror(Services& services, Ask ask, http::Request request) {
    request.stop = nullptr;
    auto answer = co_await ask_replica(services, std::move(ask), request);
    if (!answer || !answer->stream) co_return;
    while (true) {
        const auto piece = co_await answer->stream->read();
        if (!piece || piece->empty()) break;
    }
}

http::Response failed(Call& call, const Error& why) {
    http::Response response = error_response(why);
    if (why.code == Code::Ambiguous && why.reason == "Timeout") {
        response.status = 408;
    } else if (why.code == Code::ResourceExhausted && why.reason == "TooManyRequests") {
        response.status = 429;
        call.retry_after = 1s;
    } else if (why.code == Code::Ambiguous) {
        response.status = 502;
    }
    return response;
}

Answer carry(Services& services, Call& call, std::string path) {
    TURNOUT_CO_TRY(Inference* const inference, inference_of(services));
    TURNOUT_CO_TRY(
        const auto workspace,
        services.assets.find_workspace(call.param("sub"), call.param("rg"), call.param("ws")));
    if (!workspace) co_return not_allowed();
    TURNOUT_CO_TRY(const auto endpoint,
                   inference->known_endpoint(workspace->id, call.param("endpoint")));
    if (!endpoint) co_return not_allowed();
    TURNOUT_CO_TRY_VOID(check_credential(services, call, *endpoint, *workspace));
    if (!services.gateway)
        co_return fail(Code::Unavailable, "NoGateway", "this server reaches no instances");

    const std::string wanted(call.request.headers.get(kDeploymentHeader));
    const std::uint64_t roll = services.random.next();
    const std::string name = wanted.empty() ? std::string(chosen(endpoint->traffic, roll)) : wanted;
    if (name.empty())
        co_return fail(Code::NotFound, "NoTraffic",
                       "no deployment of endpoint '" + endpoint->name +
                           "' has traffic: give it to one, or name one in the header "
                           "azureml-model-deployment");
    TURNOUT_CO_TRY(const auto deployment,
                   inference->known_deployment(workspace->id, endpoint->name, name));
    if (!deployment)
        co_return fail(
            Code::NotFound, "DeploymentNotFound",
            "endpoint '" + endpoint->name + "' has no deployment '" + name.substr(0, 64) + "'");
    Ask ask;
    ask.deployment = deployment;
    ask.target = path + (call.request.query.empty() ? "" : "?" + call.request.query);
    ask.origin = call.origin;
    ask.id = std::string(call.request.headers.get("x-request-id"));
    if (ask.id.empty() || ask.id.size() > 100 ||
        !std::ranges::all_of(ask.id, [](char c) { return c > 0x20 && c < 0x7f; }))
        ask.id = services.random.uuid();
    auto body =
        co_await inference->bodies().read(call.body, call.request.content_length, kMostBody);
    if (!body) co_return failed(call, body.error());
    ask.body = std::move(*body);
    // Its length is known now, however it was sent: not every program reads a body without.
    http::Request whole = call.request;
    whole.content_length = ask.body->size();

    for (const auto& [mirrored, share] : endpoint->mirror) {
        if (!wanted.empty() || services.random.next() % 100 >= static_cast<unsigned>(share))
            continue;
        const auto copy = inference->known_deployment(workspace->id, endpoint->name, mirrored);
        if (!copy || !*copy) continue;
        const Places* const places = inference->known_places(**copy);
        if (places && places->in_flight() > kMostMirrored) continue;
        Ask other = ask;
        other.deployment = *copy;
        start(mirror(services, std::move(other), whole), [] {});
    }
    auto answer = co_await ask_replica(services, std::move(ask), whole);
    if (!answer) co_return failed(call, answer.error());
    co_return std::move(*answer);
}

}  // namespace
}  // namespace turnout::api::inference

namespace turnout::api {

void add_scoring_routes(Router& router, Services& services) {
    const auto add = [&](const char* method, const std::string& path) {
        router.add(
            method, "/inference/{sub}/{rg}/{ws}/{endpoint}" + path, Access::Open,
            [&services, path](Call& call) { return inference::carry(services, call, path); });
    };
    add("POST", "/score");
    add("GET", "/score");
    add("GET", "/swagger.json");
}

}  // namespace turnout::api
