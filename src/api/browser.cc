#include "api/browser.h"

#include <algorithm>

#include "base/text.h"

namespace turnout::api {
namespace {

constexpr std::string_view kSession = "turnout-session", kLogin = "turnout-login";
constexpr std::string_view kHost = "__Host-";

std::string name_of_cookie(const http::Request& request, std::string_view name) {
    return std::string(request.peer.carrier == http::Carrier::Tls ? kHost : "") + std::string(name);
}

std::string cookie_of(const http::Request& request, std::string_view name) {
    const std::string wanted = name_of_cookie(request, name);
    for (const auto& [header, value] : request.headers.all()) {
        if (!equal_ignoring_case(header, "cookie")) continue;
        for (const std::string& part : split(value, ';')) {
            const std::string_view pair = trim(part);
            const std::size_t equals = pair.find('=');
            if (equals != std::string_view::npos && pair.substr(0, equals) == wanted)
                return std::string(pair.substr(equals + 1));
        }
    }
    return {};
}

std::string cookie(const Call& call, std::string_view name, const Secret& value, Span life,
                   std::string_view same_site) {
    const auto seconds = value.empty() ? std::chrono::seconds(0)
                                       : std::chrono::duration_cast<std::chrono::seconds>(life);
    return name_of_cookie(call.request, name) + "=" + value.reveal() +
           "; Path=/; HttpOnly; SameSite=" + std::string(same_site) +
           "; Max-Age=" + std::to_string(seconds.count()) +
           (call.request.peer.carrier == http::Carrier::Tls ? "; Secure" : "");
}

}  // namespace

bool is_own_cookie(std::string_view name) {
    for (const std::string_view prefix : {"__Host-", "__Secure-"})
        if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    return name.starts_with("turnout-");
}

std::string session_cookie_of(const http::Request& request) {
    return cookie_of(request, kSession);
}
std::string session_cookie(const Call& call, const Secret& session, Span life) {
    return cookie(call, kSession, session, life, "Strict");
}
std::string login_cookie_of(const http::Request& request) {
    return cookie_of(request, kLogin);
}
std::string login_cookie(const Call& call, const Secret& login, Span life) {
    return cookie(call, kLogin, login, life, "Lax");
}

Result<void> check_own_page(const Call& call) {
    const http::Headers& headers = call.request.headers;
    const std::string_view origin = headers.get("origin"), site = headers.get("sec-fetch-site");
    const bool reads = call.request.method == "GET" || call.request.method == "HEAD";
    const bool own_origin = origin.empty() ? reads : origin == call.origin;
    // A link on a page elsewhere, which a person follows to see what is here: that page sees
    // nothing of it.
    const bool followed = reads && headers.get("sec-fetch-mode") == "navigate" &&
                          headers.get("sec-fetch-dest") == "document";
    const bool own_site = site.empty() || site == "same-origin" || site == "none" || followed;
    if (own_origin && own_site) return {};
    return fail(Code::PermissionDenied, "CrossOrigin",
                "a session of a browser acts for pages of " + call.origin +
                    " alone: this request comes from " +
                    (origin.empty() ? "a page that does not say where it is from"
                                    : "a page of " + shown(origin)));
}

Result<Principal> session_of(Services& services, const Call& call) {
    const std::string cookie = session_cookie_of(call.request);
    if (cookie.empty())
        return fail(Code::Unauthenticated, "AuthenticationFailed", "this browser is not logged in");
    TURNOUT_TRY(check_own_page(call));
    return services.authority.check_session(cookie, call.origin);
}

bool wants_page(const http::Request& request) {
    return (request.method == "GET" || request.method == "HEAD") &&
           request.headers.get("accept").find("text/html") != std::string_view::npos;
}

std::string page_to_go_to(std::string_view wanted) {
    const bool plain = std::ranges::all_of(wanted, [](char c) {
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '/' ||
               c == '-' || c == '_' || c == '.' || c == '%';
    });
    const bool studio = wanted.starts_with("/studio/") && wanted.size() <= 1024 && plain &&
                        wanted.find("//") == std::string_view::npos;
    return studio ? std::string(wanted) : "/";
}

void close_to_browsers(http::Response& response) {
    if (!response.headers.has("Content-Security-Policy"))
        response.headers.set("Content-Security-Policy", "default-src 'none'; sandbox");
    if (!response.headers.has("X-Content-Type-Options"))
        response.headers.set("X-Content-Type-Options", "nosniff");
}

}  // namespace turnout::api
