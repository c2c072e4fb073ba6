#include "api/login/logins.h"

#include <algorithm>
#include <utility>

#include "access/actions.h"
#include "api/actions.h"
#include "api/browser.h"
#include "api/login/login_page.h"
#include "api/people/people_routes.h"
#include "base/hash.h"
#include "base/text.h"
#include "catalog/catalog.h"

namespace turnout::api {
namespace {

constexpr Span kLoginLife = 10min;
constexpr Span kLinkSession = 12h;  // of a browser that a link logs in
constexpr std::size_t kMostPending = 500, kMostPendingOfOne = 30;
// So long a place is kept for one for which the provider is being asked.
constexpr Span kBeginning = 2min;
// Says in the query that the browser was sent to the address that oidc.yaml names.
constexpr std::string_view kSentHere = "sent";
constexpr std::size_t kMaxLoginBody = 16 << 10;
// A word of the audit: nobody needs it to be allowed.
constexpr std::string_view kLogIn = "Turnout/sessions/login/action";

std::string hash_of(std::string_view secret) {
    return to_hex(sha256(secret));
}

// The address without the port.
std::string place_of(const Call& call) {
    return std::string(call.request.peer.host());
}

// Whom the bounds are for: whoever has one address of IPv6 has all of its /64.
std::string network_of(const Call& call) {
    std::string place = place_of(call);
    std::erase_if(place, [](char c) { return c == '[' || c == ']'; });
    if (place.find(':') == std::string::npos || place.find('.') != std::string::npos) return place;
    const std::size_t gap = place.find("::");
    std::vector<std::string> parts = split(place.substr(0, gap), ':');
    if (gap != std::string::npos) {
        if (gap == 0) parts.clear();
        const std::string rest = place.substr(gap + 2);
        const std::vector<std::string> last =
            rest.empty() ? std::vector<std::string>() : split(rest, ':');
        while (parts.size() + last.size() < 8) parts.emplace_back("0");
        parts.insert(parts.end(), last.begin(), last.end());
    }
    parts.resize(4);
    return join(parts, ":") + "::/64";
}

// What people know it by, in a list of them: what the browser says of itself, in short.
std::string label_of_browser(const Call& call) {
    const std::string agent = to_lower(call.request.headers.get("user-agent").substr(0, 400));
    std::string label = "browser";
    for (const auto& [word, name] :
         {std::pair("edg/", "Edge"), std::pair("firefox/", "Firefox"),
          std::pair("chrome/", "Chrome"), std::pair("safari/", "Safari")})
        if (agent.find(word) != std::string::npos) {
            label = name;
            break;
        }
    for (const auto& [word, name] :
         {std::pair("windows", "Windows"), std::pair("android", "Android"),
          std::pair("iphone", "iPhone"), std::pair("mac os", "macOS"), std::pair("linux", "Linux")})
        if (agent.find(word) != std::string::npos) {
            label += std::string(" on ") + name;
            break;
        }
    return label + " from " + place_of(call);
}

// A host's name as it stands in a token's name.
std::string machine_in(const Json& body) {
    std::string name;
    for (const char c : body.at("machine").as_view().substr(0, 40))
        if (is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.')
            name += c;
    return name.empty() ? "terminal" : name;
}

// A person reads it.
http::Response refused_page(Services& services, const Error& error) {
    return refusal_page(services.random, http_status(error.code), error.message);
}

http::Response used_up(Services& services) {
    return refusal_page(services.random, 403,
                        "This link was used already, or is older than ten minutes: make another "
                        "with `turnout login --browser`.");
}

Json document_of_session(const ApiKey& session, const Call& call) {
    Json json = Json::object({{"id", session.id},
                              {"name", session.name},
                              {"user", session.user},
                              {"origin", session.origin},
                              {"created", to_iso8601(session.created)}});
    if (session.expires) json.set("expires", to_iso8601(*session.expires));
    if (session.row == call.principal.key) json.set("inUse", true);
    return json;
}

}  // namespace

// ---- the provider, and who somebody is here ----

Task<Result<std::shared_ptr<oidc::Provider>>> Logins::provider() {
    const auto none = [] {
        return fail(Code::FailedPrecondition, "NoOidc",
                    "this server has no identity provider (oidc.yaml in its data folder): log in "
                    "with a token");
    };
    if (!sources_.settings) co_return none();
    Result<std::optional<oidc::Settings>> settings = co_await sources_.settings();
    const auto fault = [] {
        return fail(Code::FailedPrecondition, "OidcFault",
                    "this server's oidc.yaml has a mistake, which `turnout oidc check` shows to "
                    "its operator");
    };
    if (!settings) co_return fault();
    if (!*settings) co_return none();
    if (!provider_ || !provider_->settings().same_as(**settings)) {
        auto client = sources_.client(**settings);
        if (!client) co_return fault();
        provider_ = std::make_shared<oidc::Provider>(std::move(**settings), std::move(*client),
                                                     services_.clock);
    }
    co_return provider_;
}

Task<Result<void>> Logins::check_still(std::shared_ptr<oidc::Provider> with) {
    const auto now = co_await provider();
    if (now && *now == with) co_return Result<void>();
    co_return fail(Code::PermissionDenied, "SettingsChanged",
                   "the server's settings of its identity provider changed meanwhile: log in "
                   "again");
}

Result<access::Scope> Logins::scope_of(const oidc::GroupRole& role) {
    if (role.server) return access::Scope{};
    std::vector<std::string> found;
    std::string id;
    for (const Workspace& workspace : TURNOUT_TRY(services_.assets.list_workspaces("", ""))) {
        found.push_back(workspace.name);
        if (!equal_ignoring_case(workspace.name, role.workspace) ||
            (!role.resource_group.empty() &&
             !equal_ignoring_case(workspace.resource_group, role.resource_group)))
            continue;
        if (!id.empty())
            return invalid(role.place + ": several workspaces are called '" + role.workspace +
                               "': say its 'resource_group'",
                           "workspace");
        id = workspace.id;
    }
    if (id.empty())
        return not_found(role.place + ": there is no workspace '" + role.workspace + "'" +
                             did_you_mean(role.workspace, found),
                         "workspace");
    return access::Scope{id, ""};
}

Task<Result<User>> Logins::admit(oidc::Identity who, std::shared_ptr<oidc::Provider> provider) {
    Admission admission{who.issuer, who.subject, to_lower(who.user), who.display_name, {}};
    Directory& people = authority_.people();
    for (const oidc::GroupRole& role : provider->settings().roles) {
        if (role.group != "*" && std::ranges::find(who.groups, role.group) == who.groups.end())
            continue;
        // One that is not there gives nothing; the check of the file tells it.
        const auto known = people.role(role.role);
        const auto scope = scope_of(role);
        if (known && scope) admission.roles.emplace_back(known->name, *scope);
    }
    TURNOUT_CO_TRY(User user, co_await people.admit(std::move(admission)));
    co_return user;
}

template <class Map>
Result<void> Logins::make_room(Map& pending, const std::string& from) {
    const Span now = services_.clock.since_boot();
    std::erase_if(pending, [&](const auto& item) { return item.second.until <= now; });
    const auto own =
        std::ranges::count_if(pending, [&](const auto& item) { return item.second.from == from; });
    if (pending.size() < kMostPending && static_cast<std::size_t>(own) < kMostPendingOfOne)
        return {};
    return fail(Code::ResourceExhausted, "TooManyLogins",
                "too many logins have begun and did not end: try again in some minutes");
}

// Nobody is refused for logins that were left: the oldest of that address goes, and if there are
// too many in all, of the address that has the most.
void Logins::make_room_in_browsers(const std::string& from) {
    const Span now = services_.clock.since_boot();
    std::erase_if(in_browser_, [&](const auto& item) { return item.second.until <= now; });
    std::map<std::string, std::size_t> counts;
    for (const auto& [state, login] : in_browser_) ++counts[login.from];
    std::string whose;
    if (counts[from] >= kMostPendingOfOne)
        whose = from;
    else if (in_browser_.size() >= kMostPending)
        whose = std::ranges::max_element(counts, {}, [](const auto& item) {
                    return item.second;
                })->first;
    else
        return;
    auto oldest = in_browser_.end();
    for (auto item = in_browser_.begin(); item != in_browser_.end(); ++item)
        if (item->second.from == whose &&
            (oldest == in_browser_.end() || item->second.until < oldest->second.until))
            oldest = item;
    in_browser_.erase(oldest);
}

// ---- sessions ----

Task<Result<http::Response>> Logins::begin_session(Call& call, NewApiKey wanted, std::string to) {
    wanted.name = label_of_browser(call);
    wanted.origin = call.origin;
    const Instant expires = *wanted.expires;
    const std::string user = wanted.user;
    TURNOUT_CO_TRY(const MadeApiKey made, co_await authority_.create_session(std::move(wanted)));
    call.principal.kind = Principal::Kind::User;
    call.principal.name = user;
    call.principal.key = made.key.row;
    call.about = "session " + made.key.name;
    call.gave = kLogIn;
    http::Response response = onward_page(services_.random, to);
    response.headers.add("Set-Cookie",
                         session_cookie(call, made.secret, expires - services_.clock.now()));
    response.headers.add("Set-Cookie", login_cookie(call, Secret(), Span{}));
    co_return response;
}

Logins::Answer Logins::log_out(Call& call) {
    if (call.principal.session) {
        TURNOUT_CO_TRY_VOID(co_await authority_.revoke_api_key(call.principal.key));
    }
    http::Response response;
    response.status = 303;
    response.headers.set("Location", "/login");
    response.headers.set("Cache-Control", "no-store");
    response.headers.add("Set-Cookie", session_cookie(call, Secret(), Span{}));
    co_return response;
}

Logins::Answer Logins::list_sessions(Call& call) {
    TURNOUT_CO_TRY(const std::vector<ApiKey> sessions, authority_.sessions());
    const bool others = services_.authority.may(call.principal, access::action::kReadTokens, {});
    Json all = Json::array();
    for (const ApiKey& one : sessions)
        if ((others || one.user == call.principal.name) &&
            (!one.expires || *one.expires > services_.clock.now()))
            all.push(document_of_session(one, call));
    co_return json_response(200, Json::object({{"value", std::move(all)}}));
}

Logins::Answer Logins::end_session(Call& call) {
    const std::string& id = call.param("id");
    const bool others = services_.authority.may(call.principal, access::action::kDeleteTokens, {});
    TURNOUT_CO_TRY(const std::vector<ApiKey> sessions, authority_.sessions());
    const auto found = std::ranges::find_if(sessions, [&](const ApiKey& one) {
        return one.id == id && (others || one.user == call.principal.name);
    });
    if (found == sessions.end())
        co_return not_found(
            "there is no session " + shown(id) + " ('turnout session list' shows all)", "session");
    call.about = "session " + found->id + " of user " + found->user;
    TURNOUT_CO_TRY_VOID(co_await authority_.revoke_api_key(found->row));
    http::Response gone;
    gone.status = 204;
    co_return gone;
}

// ---- by a link ----

std::string Logins::keep(Once once) {
    once.until = services_.clock.since_boot() + kLoginLife;
    const std::string code = to_base64url(services_.random.bytes(32));
    once_[hash_of(code)] = std::move(once);
    return "/login/once?code=" + code;
}

Result<std::string> Logins::link_for_admin() {
    Once once;
    once.who.kind = Principal::Kind::User;
    once.who.name = std::string(kAdmin);
    for (const ApiKey& key : TURNOUT_TRY(authority_.api_keys()))
        if (key.user == kAdmin && key.name == kAdminKey) once.who.key = key.row;
    return keep(std::move(once));
}

Logins::Answer Logins::make_link(Call& call) {
    // What leaks is an access token, and a browser's page: neither makes another way in.
    if (call.principal.exchanged)
        co_return fail(Code::PermissionDenied, "AuthorizationFailed",
                       "an access token makes no links to log in: that takes the key that it was "
                       "got with ('turnout login' keeps it)");
    TURNOUT_CO_TRY_VOID(make_room(once_, network_of(call)));
    Once once;
    once.who = call.principal;
    once.from = network_of(call);
    TURNOUT_CO_TRY(const std::vector<ApiKey> keys, authority_.api_keys());
    for (const ApiKey& key : keys)
        if (key.row == call.principal.key) once.expires = key.expires;
    call.about = "a link to log a browser in";
    http::Response response = json_response(
        201, Json::object({{"path", keep(std::move(once))},
                           {"expires", to_iso8601(services_.clock.now() + kLoginLife)}}));
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

Logins::Answer Logins::show_once(Call& call) {
    const std::string code(call.query_value("code"));
    const auto found = once_.find(hash_of(code));
    if (found == once_.end() || found->second.until <= services_.clock.since_boot())
        co_return used_up(services_);
    co_return once_page(services_.random, found->second.who.name, code);
}

Logins::Answer Logins::use_once(Call& call) {
    if (const auto own = check_own_page(call); !own) co_return refused_page(services_, own.error());
    TURNOUT_CO_TRY(const std::string body, co_await call.body.all(kMaxLoginBody));
    TURNOUT_CO_TRY(const auto form, parse_query(body));
    const auto found = once_.find(hash_of(value_in(form, "code")));
    if (found == once_.end()) co_return used_up(services_);
    const Once once = std::move(found->second);
    once_.erase(found);
    if (once.until <= services_.clock.since_boot()) co_return used_up(services_);
    // Whoever was disabled meanwhile stays out, and what was revoked makes nothing.
    if (const auto good = authority_.check_holder(authority_.holder(once.who)); !good)
        co_return refused_page(services_, good.error());
    NewApiKey wanted;
    wanted.user = once.who.name;
    wanted.by = once.who.key;
    wanted.expires = services_.clock.now() + kLinkSession;
    if (once.expires && *once.expires < *wanted.expires) wanted.expires = once.expires;
    co_return co_await begin_session(call, std::move(wanted), "/");
}

// ---- by the provider, in a browser ----

Logins::Answer Logins::show_ways(Call&) {
    const auto there = co_await provider();
    Json json = Json::object({{"oidc", there.has_value()}});
    if (there) json.set("issuer", (*there)->settings().issuer);
    co_return json_response(200, json);
}

Logins::Answer Logins::show_login(Call& call) {
    const auto there = co_await provider();
    const auto user = session_of(services_, call);
    co_return login_page(services_.random, there ? (*there)->settings().issuer : "",
                         page_to_go_to(call.query_value("to")), user ? user->name : "");
}

Logins::Answer Logins::go_to_provider(Call& call) {
    const auto there = co_await provider();
    if (!there) co_return refused_page(services_, there.error());
    const std::string& url = (*there)->settings().url;
    http::Response response;
    response.status = 303;
    response.headers.set("Cache-Control", "no-store");
    response.headers.set("Referrer-Policy", "no-referrer");
    if (!url.empty() && url != call.origin) {  // the provider knows that one
        if (!call.query_value(kSentHere).empty())
            co_return refusal_page(
                services_.random, 409,
                "This server's oidc.yaml says that browsers reach it at " + url +
                    ", but what comes from there comes as " + shown(call.origin) +
                    ". Its operator sets 'url' to that, or has the proxy before this server pass "
                    "the header 'Host' on and speak https to it.");
        response.headers.set("Location", url + "/login/oidc?" + std::string(kSentHere) + "=1&to=" +
                                             percent_encode(page_to_go_to(call.query_value("to"))));
        co_return response;
    }
    InBrowser begun;
    begun.provider = *there;
    begun.login.state = to_base64url(services_.random.bytes(24));
    begun.login.nonce = to_base64url(services_.random.bytes(24));
    begun.login.verifier = Secret(to_base64url(services_.random.bytes(48)));
    begun.login.redirect = call.origin + "/oidc/callback";
    begun.to = page_to_go_to(call.query_value("to"));
    begun.from = network_of(call);
    begun.until = services_.clock.since_boot() + kLoginLife;
    const Secret browser(to_base64url(services_.random.bytes(24)));
    begun.cookie_hash = hash_of(browser.reveal());
    const auto address = co_await begun.provider->authorization_url(begun.login);
    if (!address) co_return refused_page(services_, address.error());
    response.headers.set("Location", *address);
    response.headers.add("Set-Cookie", login_cookie(call, browser, kLoginLife));
    const std::string state = begun.login.state;
    make_room_in_browsers(begun.from);  // here, because others have begun meanwhile
    in_browser_[state] = std::move(begun);
    co_return response;
}

Logins::Answer Logins::come_back(Call& call) {
    const auto refuse_page = [&](std::string_view why) {
        return refusal_page(services_.random, 403, why);
    };
    const auto found = in_browser_.find(std::string(call.query_value("state")));
    const std::string cookie = login_cookie_of(call.request);
    if (found == in_browser_.end() || found->second.until <= services_.clock.since_boot())
        co_return refuse_page("This login was finished already, or took longer than ten minutes.");
    // Not one that somebody else has begun and sent here.
    if (cookie.empty() || hash_of(cookie) != found->second.cookie_hash)
        co_return refuse_page("This login was begun in another browser.");
    const InBrowser begun = std::move(found->second);
    in_browser_.erase(found);
    const oidc::Settings& settings = begun.provider->settings();
    std::string issuer(call.query_value("iss"));
    if (!issuer.empty() && issuer != settings.issuer)
        co_return refuse_page("The answer is of another identity provider.");
    if (const std::string_view error = call.query_value("error"); !error.empty())
        co_return refuse_page("The identity provider said " + shown(error) + ": " +
                              shown(call.query_value("error_description")));
    std::string code(call.query_value("code"));
    if (code.empty()) co_return refuse_page("The identity provider's answer has no code.");
    if (begun.login.redirect != call.origin + "/oidc/callback")
        co_return refuse_page("This login was begun at another address of this server.");
    Result<oidc::Identity> who =
        co_await begun.provider->finish(begun.login, std::move(code), std::move(issuer));
    if (!who) co_return refused_page(services_, who.error());
    // What it had when it began may not be what its operator wants now.
    const Result<void> still = co_await check_still(begun.provider);
    if (!still) co_return refused_page(services_, still.error());
    const Result<User> user = co_await admit(std::move(*who), begun.provider);
    if (!user) co_return refused_page(services_, user.error());
    NewApiKey wanted;
    wanted.user = user->name;
    wanted.subject = subject_text(*user);
    wanted.expires = services_.clock.now() + settings.session;
    co_return co_await begin_session(call, std::move(wanted), begun.to);
}

// ---- by the provider, on a terminal ----

Logins::Answer Logins::begin_device(Call& call) {
    TURNOUT_CO_TRY(const auto there, co_await provider());
    TURNOUT_CO_TRY_VOID(make_room(on_terminal_, network_of(call)));
    const std::string handle = to_base64url(services_.random.bytes(32));
    const std::string key = hash_of(handle);
    {  // counted before the provider is asked: nobody has the handle yet
        OnTerminal place;
        place.asking = true;
        place.from = network_of(call);
        place.until = services_.clock.since_boot() + kBeginning;
        on_terminal_[key] = std::move(place);
    }
    Result<oidc::DeviceLogin> login = co_await there->begin_device();
    const auto found = on_terminal_.find(key);
    if (found == on_terminal_.end())
        co_return fail(Code::Unavailable, "ProviderUnreachable",
                       "the identity provider took too long: log in again");
    if (!login) {
        on_terminal_.erase(found);
        co_return Failure(login.error());
    }
    OnTerminal& begun = found->second;
    const Span now = services_.clock.since_boot();
    begun.provider = there;
    begun.login = std::move(*login);
    begun.asking = false;
    begun.until = now + begun.login.life;
    begun.next = now + begun.login.interval;
    const auto seconds = [](Span span) {
        return std::chrono::duration_cast<std::chrono::seconds>(span).count();
    };
    Json json = Json::object({{"handle", handle},
                              {"userCode", begun.login.user_code},
                              {"address", begun.login.address},
                              {"completeAddress", begun.login.complete_address},
                              {"interval", seconds(begun.login.interval)},
                              {"expiresIn", seconds(begun.login.life)}});
    http::Response response = json_response(200, json);
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

Logins::Answer Logins::poll_device(Call& call) {
    TURNOUT_CO_TRY(const Json body, co_await call.json(kMaxLoginBody));
    const std::string key = hash_of(body.at("handle").as_view());
    const auto found = on_terminal_.find(key);
    const Span now = services_.clock.since_boot();
    if (found == on_terminal_.end() || found->second.until <= now)
        co_return fail(Code::PermissionDenied, "LoginExpired",
                       "this login has expired, or the server was started anew: log in again");
    const auto pending = [](Span interval) {
        return json_response(
            200,
            Json::object({{"state", "pending"},
                          {"interval",
                           std::chrono::duration_cast<std::chrono::seconds>(interval).count()}}));
    };
    if (found->second.asking || now < found->second.next)
        co_return pending(found->second.login.interval);
    found->second.asking = true;
    const std::shared_ptr<oidc::Provider> with = found->second.provider;
    const Secret device_code = found->second.login.device_code;
    bool slower = false;
    Result<std::optional<oidc::Identity>> who = co_await with->ask_device(device_code, slower);
    const auto again = on_terminal_.find(key);  // others came and went meanwhile
    if (again == on_terminal_.end())
        co_return fail(Code::PermissionDenied, "LoginExpired", "this login has expired");
    again->second.asking = false;
    const bool later = !who && who.error().code == Code::Unavailable;
    if (later || (who && !*who)) {
        if (slower) again->second.login.interval += 5s;  // RFC 8628, 3.5
        again->second.next = services_.clock.since_boot() + again->second.login.interval;
        co_return pending(again->second.login.interval);
    }
    on_terminal_.erase(again);
    if (!who) co_return Failure(who.error());
    TURNOUT_CO_TRY_VOID(co_await check_still(with));
    TURNOUT_CO_TRY(const User user, co_await admit(std::move(**who), with));
    NewApiKey wanted;
    wanted.subject = subject_text(user);
    wanted.user = user.name;
    wanted.name = "login " + machine_in(body) + " " + to_hex(services_.random.bytes(3));
    wanted.expires = services_.clock.now() + with->settings().token;
    call.principal.kind = Principal::Kind::User;
    call.principal.name = user.name;
    call.about = "token " + wanted.name;
    call.gave = kLogIn;
    TURNOUT_CO_TRY(const MadeApiKey made, co_await authority_.create_api_key(std::move(wanted)));
    call.principal.key = made.key.row;
    http::Response response =
        json_response(200, Json::object({{"state", "done"},
                                         {"user", user.name},
                                         {"name", made.key.name},
                                         {"token", made.secret.reveal()},
                                         {"expires", to_iso8601(*made.key.expires)}}));
    response.headers.set("Cache-Control", "no-store");
    co_return response;
}

// ---- for its operator ----

Logins::Answer Logins::check(Call&) {
    if (!sources_.settings) co_return not_found("this server reads no oidc.yaml", "oidc.yaml");
    TURNOUT_CO_TRY(const auto settings, co_await sources_.settings());
    if (!settings)
        co_return not_found("there is no oidc.yaml in the server's data folder", "oidc.yaml");
    Json json = Json::object({{"file", settings->file},
                              {"issuer", settings->issuer},
                              {"clientId", settings->client_id}});
    Json roles = Json::array();
    for (const oidc::GroupRole& role : settings->roles) {
        TURNOUT_CO_TRY(const access::Scope scope, scope_of(role));
        const auto known = authority_.people().role(role.role);
        if (!known) co_return invalid(role.place + ": " + known.error().message, "role");
        roles.push(Json::object(
            {{"group", role.group}, {"role", known->name}, {"scope", id_of(services_, scope)}}));
    }
    TURNOUT_CO_TRY(auto client, sources_.client(*settings));
    const auto fresh =
        std::make_shared<oidc::Provider>(*settings, std::move(client), services_.clock);
    TURNOUT_CO_TRY(const Json found, co_await fresh->look());
    if (found.at("keys").items().empty())
        co_return fail(Code::FailedPrecondition, "NoKeys",
                       "the identity provider has no key for RS256 or ES256: set one of them for "
                       "this client");
    json.set("provider", found);
    json.set("roles", std::move(roles));
    json.set("redirect", (settings->url.empty() ? services_.info.tls_origin : settings->url) +
                             "/oidc/callback");
    co_return json_response(200, json);
}

void Logins::add_to(Router& router) {
    const auto add = [&](const char* method, const char* pattern, Access access,
                         Answer (Logins::*action)(Call&)) {
        router.add(method, pattern, access,
                   [this, action](Call& call) { return (this->*action)(call); });
    };
    add("GET", "/login", Access::Open, &Logins::show_login);
    add("GET", "/login/once", Access::Open, &Logins::show_once);
    add("POST", "/login/once", Access::Open, &Logins::use_once);
    add("GET", "/login/oidc", Access::Open, &Logins::go_to_provider);
    add("GET", "/oidc/callback", Access::Open, &Logins::come_back);
    add("POST", "/logout", Access::User, &Logins::log_out);
    add("POST", "/turnout/login-links", Access::User, &Logins::make_link);
    add("GET", "/turnout/login", Access::Open, &Logins::show_ways);
    add("POST", "/turnout/login/device", Access::Open, &Logins::begin_device);
    add("POST", "/turnout/login/device/poll", Access::Open, &Logins::poll_device);
    add("GET", "/turnout/sessions", Access::User, &Logins::list_sessions);
    add("DELETE", "/turnout/sessions/{id}", Access::User, &Logins::end_session);
    add("POST", "/turnout/oidc/check", Access::User, &Logins::check);
}

}  // namespace turnout::api
