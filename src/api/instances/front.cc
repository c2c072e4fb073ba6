#include "api/instances/front.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "access/actions.h"
#include "api/browser.h"
#include "api/gateway/gateway.h"
#include "base/hash.h"
#include "base/text.h"
#include "control/control.h"
#include "store/store.h"

namespace turnout::api {

namespace {

constexpr std::string_view kBegin = "/instances/";
// A kernel may say nothing for as long as it computes.
constexpr Span kSilence = 24h;

std::string with_port(std::string_view origin, std::string_view port) {
    const std::size_t scheme = origin.find("://");
    const std::size_t colon = origin.rfind(':');
    const std::size_t bracket = origin.rfind(']');
    const bool has_port = colon != std::string_view::npos && colon > scheme + 2 &&
                          (bracket == std::string_view::npos || colon > bracket);
    return std::string(origin.substr(0, has_port ? colon : origin.size())) + ":" +
           std::string(port);
}

std::string_view port_of(std::string_view origin) {
    return origin.substr(origin.rfind(':') + 1);
}

// The studio as the same client reaches it.
std::string studio_origin(const ServerInfo& info, std::string_view origin) {
    const bool tls = origin.starts_with("https://");
    return with_port(origin, port_of(tls ? info.tls_origin : info.plain_origin));
}

struct Place {
    std::string workspace, compute;
    bool whole = false;  // with the '/' behind it
};

// The path is not decoded: what is behind the names is the program's, as it is.
std::optional<Place> place_of(std::string_view path) {
    if (!path.starts_with(kBegin)) return std::nullopt;
    path.remove_prefix(kBegin.size());
    const auto name = [&]() {
        const std::size_t end = std::min(path.find('/'), path.size());
        const std::string text(path.substr(0, end));
        path.remove_prefix(end);
        return text;
    };
    const auto good = [](const std::string& text) {
        return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](char c) {
            return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                   c == '_';
        });
    };
    Place place;
    place.workspace = name();
    if (path.empty()) return std::nullopt;
    path.remove_prefix(1);
    place.compute = name();
    place.whole = !path.empty();
    if (!good(place.workspace) || !good(place.compute)) return std::nullopt;
    return place;
}

http::Response redirect(std::string to) {
    http::Response response;
    response.status = 303;
    response.headers.set("Location", std::move(to));
    response.headers.set("Cache-Control", "no-store");
    return response;
}

// For a person: what there is to wait for, or to do. It asks again by itself.
http::Response page(int status, std::string_view title, std::string_view text, bool again) {
    http::Response response;
    response.status = status;
    response.headers.set("Content-Type", "text/html; charset=utf-8");
    response.headers.set("Cache-Control", "no-store");
    response.headers.set("Content-Security-Policy",
                         "default-src 'none'; style-src 'unsafe-inline'; sandbox");
    // Not in the page: what is in a sandbox does not go elsewhere by its own wish.
    if (again) response.headers.set("Refresh", "2");
    response.body =
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width\"><title>" +
        xml_escape(title) +
        "</title><body style=\"font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh "
        "auto;padding:0 1rem;color-scheme:light dark\"><h1 style=\"font-size:1.4rem\">" +
        xml_escape(title) + "</h1><p>" + xml_escape(text) + "</p>";
    return response;
}

Result<std::optional<Compute>> instance_at(const Services& services, const Place& place) {
    const auto record =
        TURNOUT_TRY(services.store.get(Table::Compute, place.workspace + "/" + place.compute));
    if (!record) return std::nullopt;
    const Json document = TURNOUT_TRY(parse_json(record->value));
    Compute compute = TURNOUT_TRY(compute_from_json(document));
    if (!compute.personal || compute.deleting) return std::nullopt;
    return compute;
}

// Whether it is there is nobody's business but its owner's, who still has to be let into the
// workspace.
bool is_own(const Services& services, const std::optional<Compute>& compute, const Principal& who,
            const Place& place) {
    return compute && who.kind == Principal::Kind::User && who.job.empty() && !who.read_only &&
           who.name == compute->personal->user &&
           (who.workspace.empty() || who.workspace == place.workspace) &&
           services.authority.may(who, access::action::kReadComputes,
                                  {place.workspace, to_lower(place.compute)});
}

// What was admitted, asked again: what just cannot be known changes nothing.
bool still_admitted(const Services& services, const Place& place, const Secret& token,
                    const Secret& cookie, const std::string& origin,
                    const agent_protocol::AttemptId& replica) {
    const auto unknown = [](const Error& error) {
        return error.code != Code::Unauthenticated && error.code != Code::PermissionDenied &&
               error.code != Code::NotFound;
    };
    const auto who = token.empty() ? services.authority.check_session(cookie.reveal(), origin)
                                   : services.authority.check(token.reveal());
    if (!who) return unknown(who.error());
    const auto compute = instance_at(services, place);
    if (!compute) return unknown(compute.error());
    if (!is_own(services, *compute, *who, place)) return false;
    const auto view = services.control.service(place.workspace, service_of_instance(place.compute));
    return view && std::ranges::any_of(view->replicas, [&](const auto& one) {
               return one.job == replica.job && one.attempt == replica.attempt;
           });
}

// Who asks: a user's own token, or the session of a browser that is logged in at the studio.
Result<Principal> who_asks(Services& services, Call& call) {
    if (const std::string_view token = bearer_of(call.request); !token.empty())
        return check_token(services, call, token);
    const std::string cookie = session_cookie_of(call.request);
    if (cookie.empty())
        return fail(Code::Unauthenticated, "AuthenticationFailed", "this browser is not logged in");
    TURNOUT_TRY(check_own_page(call));
    // Scripts of other pages can open WebSockets, which the browser does not mark as it marks
    // other requests.
    if (is_websocket(call.request) && call.request.headers.get("origin") != call.origin)
        return fail(Code::PermissionDenied, "CrossOrigin",
                    "a WebSocket is opened by pages of " + call.origin + " alone");
    return services.authority.check_session(cookie, studio_origin(services.info, call.origin));
}

std::string text_of(std::string_view name) {
    return "Compute instance " + std::string(name);
}

}  // namespace

std::string path_of_instance(std::string_view wsid, std::string_view compute) {
    return std::string(kBegin) + std::string(wsid) + "/" + std::string(compute) + "/";
}

std::string programs_origin(const ServerInfo& info, const Call& call) {
    const std::string& page = call.page_origin.empty() ? call.origin : call.page_origin;
    return with_port(
        page, page.starts_with("https://") ? info.programs_tls_port : info.programs_plain_port);
}

Secret service_key(const Authority& authority, const agent_protocol::AttemptId& attempt) {
    return Secret(to_base64url(hmac_sha256(
        authority.link_key().reveal(),
        Json::array({"service", attempt.workspace, attempt.job, attempt.attempt}).dump())));
}

Task<Result<http::Response>> Front::answer(Call& call) {
    const auto place = place_of(call.request.path);
    if (!place)
        co_return not_found(
            "there is nothing of this name: expected /instances/{workspace "
            "id}/{compute}/…");
    const auto who = who_asks(services_, call);
    if (!who) {
        if (who.error().code == Code::Unauthenticated && wants_page(call.request) &&
            session_cookie_of(call.request).empty())
            co_return redirect(studio_origin(services_.info, call.origin) + "/studio" +
                               path_of_instance(place->workspace, place->compute));
        co_return Failure(who.error());
    }
    call.principal = *who;
    TURNOUT_CO_TRY_VOID(spend(services_, call, *who));
    TURNOUT_CO_TRY(const auto compute, instance_at(services_, *place));
    if (!is_own(services_, compute, *who, *place))
        co_return fail(Code::PermissionDenied, "AuthorizationFailed",
                       "there is no compute instance '" + place->compute +
                           "' that is assigned to you: only its own user reaches one");
    if (!place->whole) co_return redirect(path_of_instance(place->workspace, place->compute));
    const auto view =
        services_.control.service(place->workspace, service_of_instance(place->compute));
    const Control::ServiceView::OfReplica* ready = nullptr;
    if (view && compute->personal->on)
        for (const auto& one : view->replicas)
            if (one.replica.is == Replica::Is::Ready) ready = &one;
    if (!ready) {
        const bool on = compute->personal->on;
        const std::string why =
            !on ? "It is stopped. Start it with `turnout compute start --name " + place->compute +
                      "`."
            : view && !view->why.empty() ? "It is not ready yet: " + view->why + "."
                                         : "It is not ready yet.";
        if (wants_page(call.request))
            co_return page(on ? 503 : 409, text_of(place->compute), why, on);
        call.retry_after = on ? Span(2s) : Span{};
        co_return fail(on ? Code::Unavailable : Code::Conflict,
                       on ? "NotReady" : "ComputeInstanceStopped", why);
    }
    Forward forward;
    forward.to = {place->workspace + "/" + place->compute + "/" + ready->node,
                  {place->workspace, ready->job, ready->attempt}};
    forward.target = call.request.target;
    forward.client = {call.origin, true};
    forward.timeout = kSilence;
    forward.stop = call.request.stop;
    const agent_protocol::AttemptId replica = forward.to.attempt;
    forward.add.set("Authorization",
                    "token " + service_key(services_.authority, forward.to.attempt).reveal());
    auto response =
        co_await services_.gateway->forward(std::move(forward), call.request, call.body);
    if (response && response->upgraded)
        watch(*response, [&services = services_, place = *place,
                          token = Secret(std::string(bearer_of(call.request))),
                          cookie = Secret(session_cookie_of(call.request)),
                          origin = studio_origin(services_.info, call.origin), replica] {
            return still_admitted(services, place, token, cookie, origin, replica);
        });
    if (response || response.error().code == Code::ResourceExhausted) co_return response;
    if (wants_page(call.request))
        co_return page(503, text_of(place->compute),
                       "It cannot be reached just now: " + response.error().message + ".", true);
    co_return fail(Code::Unavailable, "NotReached", response.error().message);
}

class Front::WatchedStream final : public http::Stream {
public:
    WatchedStream(const std::shared_ptr<Ways>& ways, std::function<bool()> still,
                  std::shared_ptr<http::Stream> client)
        : ways_(ways),
          client_(std::move(client)),
          way_(ways->open.insert(ways->open.end(), Way{std::move(still), client_})) {}
    ~WatchedStream() override {
        if (const auto ways = ways_.lock()) ways->open.erase(way_);
    }
    Task<Result<std::string>> read() override { return client_->read(); }
    Task<Result<void>> write(std::string bytes) override {
        return client_->write(std::move(bytes));
    }
    void close() override { client_->close(); }

private:
    std::weak_ptr<Ways> ways_;
    std::shared_ptr<http::Stream> client_;
    std::list<Way>::iterator way_;
};

void Front::watch(http::Response& response, std::function<bool()> still) {
    response.upgraded =
        [this, alive = std::weak_ptr<Ways>(ways_), still = std::move(still),
         then = std::move(response.upgraded)](std::unique_ptr<http::Stream> client) -> Task<void> {
        if (const auto ways = alive.lock()) {
            client = std::make_unique<WatchedStream>(ways, still, std::move(client));
            look_later();
        }
        return then(std::move(client));
    };
}

void Front::look_later() {
    if (std::exchange(ways_->looking, true)) return;
    services_.loop.after(kOpenIsAskedAgain, [this, alive = std::weak_ptr<Ways>(ways_)] {
        if (!alive.expired()) look();
    });
}

void Front::look() {
    ways_->looking = false;
    std::vector<std::shared_ptr<http::Stream>> over;  // closing one may end it
    for (const Way& way : ways_->open)
        if (!way.still()) over.push_back(way.client);
    for (const auto& stream : over) stream->close();
    if (!ways_->open.empty()) look_later();
}

Task<http::Response> Front::handle(const http::Request& request, http::BodyReader& body) {
    Call call{.request = request, .body = body};
    const std::string_view host = request.headers.get("host");
    if (host.empty() || !request.target.starts_with('/'))
        co_return error_response({Code::InvalidArgument, "BadRequest",
                                  "expected a path, and a Host header", "host", nullptr});
    call.origin =
        (request.peer.carrier == http::Carrier::Tls ? "https://" : "http://") + std::string(host);
    call.page_origin = call.origin;
    auto result = co_await answer(call);
    if (result) co_return std::move(*result);
    http::Response response = error_response(result.error());
    if (call.retry_after > Span{})
        response.headers.set("Retry-After",
                             std::to_string(std::max<std::int64_t>(1, call.retry_after / 1s)));
    close_to_browsers(response);
    co_return response;
}

void Front::add_to(Router& router) {
    router.add("GET", "/studio/instances/{wsid}/{compute}", Access::User,
               [this](Call& call) -> Task<Result<http::Response>> {
                   co_return redirect(programs_origin(services_.info, call) +
                                      path_of_instance(call.param("wsid"), call.param("compute")) +
                                      "lab");
               });
}

}  // namespace turnout::api
