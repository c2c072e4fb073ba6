#include <algorithm>
#include <forward_list>
#include <memory>

#include "api/api.h"
#include "api/audit/audit.h"
#include "api/audit/of_call.h"
#include "api/authority.h"
#include "api/browser.h"
#include "api/run_reach.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/jobs.h"

namespace turnout::api {

// One position in the trie. Literal children win over the parameter, the parameter over the rest.
struct Router::Node {
    std::vector<std::pair<std::string, std::unique_ptr<Node>>> literals;  // in lower case
    std::unique_ptr<Node> parameter;
    std::unique_ptr<Node> rest;
    std::vector<std::size_t> routes;  // that end here, one per method
};

namespace {

constexpr std::size_t kMaxSegments = 64;

std::vector<std::string_view> split_path(std::string_view path) {
    std::vector<std::string_view> segments;
    segments.reserve(16);
    if (!path.empty() && path.front() == '/') path.remove_prefix(1);
    while (true) {
        const std::size_t slash = path.find('/');
        segments.push_back(path.substr(0, slash));
        if (slash == std::string_view::npos) return segments;
        path.remove_prefix(slash + 1);
    }
}

bool is_parameter(std::string_view segment) {
    return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}
bool is_rest(std::string_view segment) {
    return is_parameter(segment) && segment.ends_with("...}");
}

std::string_view name_of_parameter(std::string_view segment) {
    return segment.substr(1, segment.size() - (is_rest(segment) ? 5 : 2));
}

bool is_api_version(std::string_view text) {  // YYYY-MM-DD[-word]
    if (text.size() < 10) return false;
    for (std::size_t i = 0; i < 10; ++i) {
        const bool dash = i == 4 || i == 7;
        if (dash ? text[i] != '-' : (text[i] < '0' || text[i] > '9')) return false;
    }
    const int month = (text[5] - '0') * 10 + (text[6] - '0');
    const int day = (text[8] - '0') * 10 + (text[9] - '0');
    if (month < 1 || month > 12 || day < 1 || day > 31) return false;
    const std::string_view suffix = text.substr(10);
    if (suffix.empty()) return true;
    if (suffix.size() < 2 || suffix.size() > 32 || suffix.front() != '-') return false;
    return std::ranges::all_of(suffix.substr(1), [](char c) { return c >= 'a' && c <= 'z'; });
}

bool is_host(std::string_view host) {
    if (host.empty() || host.size() > 255) return false;
    return std::ranges::all_of(host, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
    });
}

// Decodes every segment once; what could be mistaken for a way out of a folder is refused. The
// segments are views of the path, or of `decoded` if they had escapes.
Result<std::vector<std::string_view>> decode_segments(std::string_view path,
                                                      std::forward_list<std::string>& decoded) {
    std::vector<std::string_view> segments = split_path(path);
    if (segments.size() > kMaxSegments) return invalid("the path has too many parts", "path");
    for (std::string_view& segment : segments) {
        if (segment.find('%') != std::string_view::npos)
            segment = decoded.emplace_front(TURNOUT_TRY(percent_decode(segment)));
        if (segment == "." || segment == "..")
            return invalid("the path has a '.' or '..' part", "path");
        if (!is_utf8(segment)) return invalid("the path is not UTF-8", "path");
        if (std::ranges::any_of(
                segment, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
            return invalid("the path has a control character", "path");
    }
    return segments;
}

Error unauthenticated(std::string message) {
    return Error{Code::Unauthenticated, "AuthenticationFailed", std::move(message), "", nullptr};
}
Error forbidden(std::string message) {
    return Error{Code::PermissionDenied, "AuthorizationFailed", std::move(message), "", nullptr};
}

// The workspace that the path is about, as its id; "" if it names none that exists.
Result<std::string> workspace_of_path(Services& services, const Call& call) {
    if (const std::string& wsid = call.param("wsid"); !wsid.empty()) return wsid;
    if (call.param("ws").empty()) return std::string();
    auto found = TURNOUT_TRY(
        services.assets.find_workspace(call.param("sub"), call.param("rg"), call.param("ws")));
    return found ? found->id : std::string();
}

// It goes on as the user it acts for, whose roles are looked at then; else PermissionDenied.
Result<void> become_user(Services& services, Call& call) {
    auto user = TURNOUT_TRY(user_of(services, call.principal));
    if (!user) return beyond_reach(call.principal);
    call.principal = std::move(*user);
    return {};
}

Result<void> authorize_run(Services& services, const Route& route, Call& call) {
    const Principal& run = call.principal;
    if (run.kind != Principal::Kind::Run || run.workspace.empty() ||
        TURNOUT_TRY(workspace_of_path(services, call)) != run.workspace)
        return Failure(forbidden("this token reaches only the workspace of its job"));
    const Need need = route.need.value_or(Need{Where::Server, ""});
    switch (route.access == Access::Behalf ? access::RunMay::Nothing
                                           : access::run_may(need.action)) {
        case access::RunMay::Catalog:
        case access::RunMay::Places: return {};
        case access::RunMay::Own:
            if (need.run.empty() || TURNOUT_TRY(owns(services, run, call.param(need.run))))
                return {};
            break;
        case access::RunMay::Nothing: break;
    }
    return become_user(services, call);
}

Result<void> authorize(Services& services, const Route& route, Call& call) {
    const Access access = route.access;
    if (access == Access::Open) return {};
    std::string_view token = bearer_of(call.request);
    const bool signed_link = access == Access::Signed && !call.query_value("sig").empty();
    if (token.empty() && signed_link) {
        const std::string_view of_run = token_of_link(call);
        if (of_run.empty()) return {};  // the route looks at it
        call.principal = TURNOUT_TRY(check_token(services, call, of_run));
        if (call.principal.kind != Principal::Kind::Run)
            return Failure(forbidden("this link is not a run's"));
        return {};
    }
    if (token.empty() && !session_cookie_of(call.request).empty() && access != Access::Node) {
        call.principal = TURNOUT_TRY(session_of(services, call));
        return {};
    }
    if (token.empty()) {
        if (access == Access::Signed)
            return Failure(
                unauthenticated("this needs a signed link or an 'Authorization: Bearer' header"));
        return Failure(
            unauthenticated("this needs an 'Authorization: Bearer' header: run the client inside "
                            "'turnout exec' or after 'turnout env'"));
    }
    auto principal = check_token(services, call, token);
    if (!principal) {
        if (signed_link) return {};
        return Failure(std::move(principal).error());
    }
    call.principal = std::move(*principal);
    switch (access) {
        case Access::Open:
        case Access::Signed: return {};
        case Access::User:
            if (call.principal.kind != Principal::Kind::User)
                return Failure(forbidden(
                    "this needs a user's token; the token of a job or node does not reach it"));
            return {};
        case Access::Run:
        case Access::Behalf:
            if (call.principal.kind == Principal::Kind::User) return {};
            return authorize_run(services, route, call);
        case Access::AnyRun:
            if (call.principal.kind == Principal::Kind::User ||
                call.principal.kind == Principal::Kind::Run)
                return {};
            return Failure(forbidden("this needs a user's token or that of a job"));
        case Access::Node:
            if (call.principal.kind != Principal::Kind::Node)
                return Failure(forbidden("this needs a node's token"));
            return {};
    }
    return {};
}

http::Response to_login(const http::Request& request) {
    http::Response response;
    response.status = 303;
    response.headers.set("Location", "/login?to=" + percent_encode(request.path));
    response.headers.set("Cache-Control", "no-store");
    return response;
}

std::int64_t whole_seconds(Span span) {
    return std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(span).count());
}

// Clients sleep for as long as they are told, without a word.
constexpr Span kLongestRetryAfter = 30s;

Failure too_many(Call& call, Span wait, const std::string& why) {
    call.retry_after = std::min<Span>(wait, kLongestRetryAfter);
    return fail(Code::ResourceExhausted, "TooManyRequests",
                why + ": try again in " + std::to_string(whole_seconds(wait)) + " s");
}

// As a GUID is written: 8-4-4-4-12.
std::string request_id(Random& random) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string id(36, '-');
    std::uint64_t bits = 0;
    int left = 0;
    for (std::size_t at = 0; at < id.size(); ++at) {
        if (at == 8 || at == 13 || at == 18 || at == 23) continue;
        if (left == 0) {
            bits = random.next();
            left = 16;
        }
        id[at] = digits[bits & 15];
        bits >>= 4;
        --left;
    }
    return id;
}

void add_request_ids(Services& services, const http::Request& request, http::Response& response) {
    response.headers.set("x-ms-request-id", request_id(services.random));
    const std::string_view client = request.headers.get("x-ms-client-request-id");
    if (!client.empty() && client.size() <= 256 &&
        std::ranges::all_of(client, [](char c) { return c > 0x20 && c < 0x7f; }))
        response.headers.set("x-ms-client-request-id", std::string(client));
}

// "127.0.0.1:8443" or "localhost:8443", with a port that this server listens at.
bool is_own_address(std::string_view host, const ServerInfo& info) {
    const std::size_t colon = host.rfind(':');
    if (colon == std::string_view::npos) return false;
    const std::string_view name = host.substr(0, colon), port = host.substr(colon);
    const bool here =
        equal_ignoring_case(name, "localhost") || name == "[::1]" || name.starts_with("127.");
    return here && (info.tls_origin.ends_with(port) || info.plain_origin.ends_with(port));
}

void set_origins(const ServerInfo& info, Call& call) {
    const http::Request& request = call.request;
    const std::string_view host = request.headers.get("host");
    switch (request.peer.carrier) {
        case http::Carrier::Tls:
            call.origin = is_host(host) ? "https://" + std::string(host) : info.tls_origin;
            break;
        case http::Carrier::Plain:
            call.origin = is_host(host) ? "http://" + std::string(host) : info.plain_origin;
            break;
        case http::Carrier::Unix: call.origin = info.tls_origin; break;
    }
    call.plain_origin =
        request.peer.loopback && !info.plain_origin.empty() ? info.plain_origin : call.origin;
    const bool own = request.peer.carrier == http::Carrier::Unix || is_own_address(host, info);
    call.page_origin = request.peer.through_node ? info.plain_origin
                       : own                     ? call.plain_origin
                                                 : call.origin;
}

// What Azure has in a workspace and this server has not yet.
constexpr std::string_view kNotYet[] = {
    "serverlessEndpoints",        "linkedServices",  "featuresets",
    "featurestoreEntities",       "inferencePools",  "outboundRules",
    "marketplaceSubscriptions",   "capabilityHosts", "managedNetworks",
    "privateEndpointConnections", "connections",     "packages"};

// Says which kind of resource is not served, if it is one of a workspace.
Error no_route(std::span<const std::string_view> segments) {
    std::string message = "there is nothing at this path";
    if (segments.size() > 8 && equal_ignoring_case(segments[0], "subscriptions") &&
        equal_ignoring_case(segments[6], "workspaces")) {
        const std::string_view kind = segments[8];
        if (std::ranges::any_of(kNotYet,
                                [&](auto known) { return equal_ignoring_case(known, kind); }))
            return {Code::NotFound, "NotThereYet",
                    "'" + std::string(kind) +
                        "' of a workspace are not there yet: this server does "
                        "not have what was asked of them",
                    "path", nullptr};
        message = "'" + std::string(kind.substr(0, 64)) +
                  "' of a workspace, or what was asked of it, is not known here";
    }
    return {Code::NotFound, "RouteNotFound", std::move(message), "path", nullptr};
}

const std::string kNone;

Task<Result<Json>> parse_body(http::BodyReader& body, std::size_t limit) {
    TURNOUT_CO_TRY(const std::string text, co_await body.all(limit));
    if (trim(text).empty()) co_return Json();
    auto parsed = parse_json(text);
    if (!parsed)
        co_return fail(Code::InvalidArgument, "InvalidRequestContent",
                       "the body is not JSON: " + parsed.error().message, "body");
    co_return std::move(*parsed);
}

}  // namespace

const std::string& Call::param(std::string_view name) const {
    for (const auto& [key, value] : params)
        if (key == name) return value;
    return kNone;
}

std::string_view Call::query_value(std::string_view name) const {
    for (const auto& [key, value] : query)
        if (equal_ignoring_case(key, name)) return value;
    return {};
}

Task<Result<Json>> Call::json(std::size_t limit) {
    return parse_body(body, limit);
}

void Router::add(std::string method, std::string pattern, Access access, Action action) {
    if (!root_) root_ = std::make_shared<Node>();
    Node* node = root_.get();
    for (const std::string_view segment : split_path(pattern)) {
        TURNOUT_CHECK(!segment.empty() || pattern == "/", "empty part in a route's pattern");
        if (is_rest(segment)) {
            if (!node->rest) node->rest = std::make_unique<Node>();
            node = node->rest.get();
        } else if (is_parameter(segment)) {
            if (!node->parameter) node->parameter = std::make_unique<Node>();
            node = node->parameter.get();
        } else {
            const std::string name = to_lower(segment);
            auto found = std::ranges::find(
                node->literals, name,
                [](const auto& literal) -> const std::string& { return literal.first; });
            if (found == node->literals.end()) {
                node->literals.emplace_back(name, std::make_unique<Node>());
                found = std::prev(node->literals.end());
            }
            node = found->second.get();
        }
    }
    for (const std::size_t other : node->routes)
        TURNOUT_CHECK(routes_[other].method != method, "two routes for " + method + " " + pattern);
    node->routes.push_back(routes_.size());
    Route route{std::move(method), std::move(pattern), access, std::move(action)};
    const auto parts = split_path(route.pattern);
    for (std::size_t i = 0; i < parts.size(); ++i)
        if (is_parameter(parts[i])) route.parameters.emplace_back(i, name_of_parameter(parts[i]));
    route.need = need_of(route.method, route.pattern);
    routes_.push_back(std::move(route));
}

// The node at which the path ends, the most literal one first. A trailing "/" is overlooked, except
// in a {rest...}, where it belongs to a name.
const Router::Node* Router::find(const Node* node, std::span<const std::string_view> segments,
                                 std::size_t at) {
    const bool end = at == segments.size() || (at + 1 == segments.size() && segments[at].empty());
    if (end && !node->routes.empty()) return node;
    if (at == segments.size()) return nullptr;
    const std::string_view segment = segments[at];
    for (const auto& [name, child] : node->literals)
        if (equal_ignoring_case(name, segment))
            if (const Node* found = find(child.get(), segments, at + 1)) return found;
    if (node->parameter && !segment.empty())
        if (const Node* found = find(node->parameter.get(), segments, at + 1)) return found;
    if (node->rest && !segment.empty()) return node->rest.get();
    return nullptr;
}

Result<void> Router::bind(const Route& route, std::span<const std::string_view> segments,
                          Call& call) {
    call.params.reserve(route.parameters.size());
    for (const auto& [at, name] : route.parameters) {
        if (&name == &route.parameters.back().second && route.pattern.ends_with("...}")) {
            std::string joined(segments[at]);
            for (const std::string_view segment : segments.subspan(at + 1))
                joined.append("/").append(segment);
            // Nothing has such a name, and clients ask for it to learn whether something is a
            // folder.
            const bool reads = call.request.method == "GET" || call.request.method == "HEAD";
            if (reads && joined.ends_with('/'))
                return not_found("there is nothing of this name: it ends with '/'", name);
            call.params.emplace_back(name, TURNOUT_TRY(checked_relative_path(joined, name)));
            return {};
        }
        if (segments[at].find('/') != std::string_view::npos)
            return invalid("an encoded '/' is not allowed in this part of the path", name);
        call.params.emplace_back(name, segments[at]);
    }
    return {};
}

Task<http::Response> Router::answer(Services& services, Call& call) const {
    const http::Request& request = call.request;
    std::forward_list<std::string> decoded;
    auto segments = decode_segments(request.path, decoded);
    if (!segments) co_return error_response(segments.error());
    const Node* node = root_ ? find(root_.get(), *segments, 0) : nullptr;
    const bool is_link = request.query.find("sig=") != std::string::npos;
    if (!node && is_link && !workspace_of_container(segments->front()).empty()) {
        // A blob's link as azureml-fsspec's engine writes it: nothing is before the container.
        segments->insert(segments->begin(), "blob");
        node = root_ ? find(root_.get(), *segments, 0) : nullptr;
    }
    if (!node) co_return error_response(no_route(*segments));
    const Route* route = nullptr;
    const Route* get = nullptr;
    std::string allowed;
    for (const std::size_t index : node->routes) {
        const Route& candidate = routes_[index];
        if (candidate.method == request.method) route = &candidate;
        if (candidate.method == "GET") get = &candidate;
        if (!allowed.empty()) allowed += ", ";
        allowed += candidate.method;
    }
    const bool head = !route && get && request.method == "HEAD";
    if (head) route = get;
    if (!route) {
        http::Response response = error_response({Code::InvalidArgument, "MethodNotAllowed",
                                                  "this path takes " + allowed, "method", nullptr});
        response.status = 405;
        response.headers.set("Allow", allowed);
        co_return response;
    }
    call.route = route;
    if (auto bound = bind(*route, *segments, call); !bound) co_return error_response(bound.error());
    auto query = parse_query(request.query);
    if (!query) co_return error_response(query.error());
    call.query = std::move(*query);
    set_origins(services.info, call);
    if (auto allowed_in = authorize(services, *route, call); !allowed_in) {
        // A person who looks at a page logs in first.
        if (allowed_in.error().code == Code::Unauthenticated && wants_page(request) &&
            page_to_go_to(request.path) != "/")
            co_return to_login(request);
        co_return error_response(allowed_in.error());
    }
    if (auto within = spend(services, call, call.principal); !within)
        co_return error_response(within.error());
    if (call.principal.kind == Principal::Kind::User) {
        if (auto permitted = permit(services, call, *route); !permitted) {
            // A signed link says for itself what it opens.
            if (route->access != Access::Signed || call.query_value("sig").empty())
                co_return error_response(permitted.error());
            call.principal = {};
        }
    }
    if (equal_ignoring_case(segments->front(), "subscriptions")) {
        const std::string_view version = call.query_value("api-version");
        if (version.empty())
            co_return error_response(
                {Code::InvalidArgument, "MissingApiVersionParameter",
                 "the query has no 'api-version': add one such as api-version=2024-10-01",
                 "api-version", nullptr});
        if (!is_api_version(version))
            co_return error_response(
                {Code::InvalidArgument, "InvalidApiVersionParameter",
                 "api-version must have the form YYYY-MM-DD or YYYY-MM-DD-preview", "api-version",
                 nullptr});
    }
    auto result = co_await route->action(call);
    http::Response response = result ? std::move(*result) : error_response(result.error());
    if (head && response.status != 101) {
        if (!response.stream) response.length = response.body.size();
        response.stream.reset();
        response.body.clear();
    }
    co_return response;
}

Task<http::Response> Router::handle(Services& services, const http::Request& request,
                                    http::BodyReader& body) const {
    Call call{request, body, {}, {}, {}, {}, {}, {}};
    http::Response response = co_await answer(services, call);
    if (call.retry_after > Span{} && response.status >= 400)
        response.headers.set("Retry-After", std::to_string(whole_seconds(call.retry_after)));
    Result<void> recorded;
    if (call.recorded && call.recorded->first == response.status)
        recorded = co_await call.recorded->second;
    else if (std::optional<Act> act = audit_of(services, call, response.status))
        recorded = co_await services.audit->add(std::move(*act));
    // What is not on record is not given out; what was done is done, and can be done again.
    if (!recorded && response.status < 400) response = error_response(recorded.error());
    add_request_ids(services, request, response);
    if (request.method == "GET" && response.status != 101) close_to_browsers(response);
    co_return response;
}

Result<Principal> check_token(Services& services, Call& call, std::string_view token,
                              std::string_view name) {
    access::Guard* const guard = services.guard;
    if (!guard) return services.authority.check(token);
    // What is good is good at any time: nobody finds a random key by guessing, and many honest
    // people, hosts and nodes share an address with somebody who tries.
    auto principal = services.authority.check(token);
    if (principal) return principal;
    // What has expired or was taken back is no guess.
    if (principal.error().code != Code::Unauthenticated || services.authority.was_given(token))
        return principal;
    const http::Peer& peer = call.request.peer;
    const std::string_view from = peer.host();
    const Span now = services.clock.since_boot();
    if (const Span wait = guard->wait(from, name, now); wait > Span{})
        return too_many(call, wait,
                        "too many tokens that this server does not know came from " +
                            std::string(peer.loopback ? "this machine" : "your address") +
                            (name.empty() ? "" : " or for that name"));
    guard->guessed(from, name, peer.loopback, now);
    return principal;
}

Result<void> spend(Services& services, Call& call, const Principal& who) {
    if (!services.guard) return {};
    std::string of;
    switch (who.kind) {
        case Principal::Kind::Node: return {};
        case Principal::Kind::Nobody:
            // Nobody is known by an address that programs of this machine share.
            if (call.request.peer.loopback) return {};
            of = "address " + std::string(call.request.peer.host());
            break;
        case Principal::Kind::Run: of = "job " + who.workspace + "/" + who.job; break;
        case Principal::Kind::User:
            // Whoever has the data folder's key has the server.
            if (who.name == kAdmin && who.job.empty()) return {};
            of = who.job.empty() ? "user " + who.name : "job " + who.workspace + "/" + who.job;
            break;
    }
    const Span wait = services.guard->spend(of, services.clock.since_boot());
    if (wait == Span{}) return {};
    // Where signed links are taken it is mostly a blob client, which tries again after this alone.
    // What is no route's (api/instances/front.h) takes none.
    if (who.kind == Principal::Kind::Nobody ||
        (call.route && call.route->access == Access::Signed)) {
        call.retry_after = wait;
        return fail(Code::Unavailable, "ServerBusy", of + " asks too fast: try again later");
    }
    const auto& settings = services.guard->settings();
    return too_many(call, wait,
                    of + " asks for more than " +
                        std::to_string(static_cast<std::int64_t>(settings.requests_a_second)) +
                        " things a second, beyond a burst of " +
                        std::to_string(static_cast<std::int64_t>(settings.burst)));
}

std::string_view bearer_of(const http::Request& request) {
    const std::string_view header = request.headers.get("authorization");
    constexpr std::string_view scheme = "bearer ";
    if (header.size() <= scheme.size() ||
        !equal_ignoring_case(header.substr(0, scheme.size()), scheme))
        return {};
    return trim(header.substr(scheme.size()));
}

Result<Author> author_of(Services& services, const Principal& who) {
    if (who.kind == Principal::Kind::User) return Author{who.name, who.job};
    if (who.kind != Principal::Kind::Run) return Author{};
    const auto job = TURNOUT_TRY(read_job(services.store, who.workspace, who.job));
    return Author{job ? job->record.principal : std::string(), who.job};
}

Result<std::int64_t> whole_number_of(const Call& call, std::string_view name, std::int64_t fallback,
                                     std::int64_t least) {
    const std::string_view text = call.query_value(name);
    if (text.empty()) return fallback;
    const std::optional<std::int64_t> number = parse_whole_number(text);
    if (!number || *number < least)
        return invalid(std::string(name) + " is '" + std::string(text.substr(0, 40)) +
                           "': expected a whole number from " + std::to_string(least),
                       std::string(name));
    return *number;
}

namespace {
constexpr Span kLongestTurn = 5ms;
constexpr int kMostSteps = 500;
}  // namespace

Turn::Turn(Services& services, const Call& call)
    : clock_(services.clock),
      loop_(services.loop),
      stop_(call.request.stop),
      began_(clock_.since_boot()) {}

Turn::Turn(Services& services)
    : clock_(services.clock), loop_(services.loop), stop_(nullptr), began_(clock_.since_boot()) {}

bool Turn::over() {
    return ++steps_ >= kMostSteps || clock_.since_boot() - began_ >= kLongestTurn;
}

Task<Result<void>> Turn::pass() {
    Later<bool> turn;
    loop_.post([settle = turn.settle()] { settle(true); });
    co_await turn;
    if (stop_ && stop_->stopped())
        co_return fail(Code::Canceled, "ClientLeft", "whoever asked has left");
    steps_ = 0;
    began_ = clock_.since_boot();
    co_return Result<void>();
}

http::Response json_response(int status, const Json& body) {
    http::Response response;
    response.status = status;
    response.headers.set("Content-Type", "application/json; charset=utf-8");
    body.dump_to(response.body);
    return response;
}

http::Response error_response(const Error& error) {
    Json inner = Json::object();
    inner.set("code", error.reason.empty() ? std::string(name_of(error.code)) : error.reason);
    inner.set("message", error.message);
    if (!error.subject.empty()) inner.set("target", error.subject);
    Json details = Json::array();
    for (const Error* cause = error.cause.get(); cause != nullptr; cause = cause->cause.get())
        details.push(Json::object({{"code", cause->reason}, {"message", cause->message}}));
    inner.set("details", std::move(details));
    int status = http_status(error.code);
    if (error.reason == "RequestEntityTooLarge") status = 413;
    http::Response response = json_response(status, Json::object({{"error", std::move(inner)}}));
    if (error.code == Code::Unauthenticated) response.headers.set("WWW-Authenticate", "Bearer");
    if (error.code == Code::Unavailable) response.headers.set("Retry-After", "1");
    return response;
}

}  // namespace turnout::api
