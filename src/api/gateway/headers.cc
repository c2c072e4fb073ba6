#include "api/gateway/headers.h"

#include <algorithm>
#include <vector>

#include "api/browser.h"
#include "base/text.h"

namespace turnout::api {

namespace {

constexpr std::string_view kBetweenNeighbours[] = {
    "connection", "keep-alive",       "proxy-authenticate", "proxy-authorization",
    "te",         "trailer",          "transfer-encoding",  "upgrade",
    "expect",     "proxy-connection", "http2-settings",     "content-length"};
// Said by us, or by nobody.
constexpr std::string_view kOfWhoAsks[] = {"authorization",
                                           "cookie",
                                           "host",
                                           "forwarded",
                                           "x-forwarded-for",
                                           "x-forwarded-host",
                                           "x-forwarded-proto",
                                           "x-forwarded-port",
                                           "x-forwarded-prefix",
                                           "x-real-ip",
                                           "x-forwarded-server"};
// Of an answer: what would bind the whole host, which is not the program's.
constexpr std::string_view kOfTheHost[] = {
    "strict-transport-security", "public-key-pins", "set-cookie",
    "clear-site-data",           "alt-svc",         "service-worker-allowed"};

template <class List>
bool among(const List& list, std::string_view name) {
    return std::ranges::any_of(
        list, [&](std::string_view one) { return equal_ignoring_case(one, name); });
}

// Names in Connection headers: they too are meant for the neighbour alone.
std::vector<std::string> listed_in_connection(const http::Headers& headers) {
    std::vector<std::string> names;
    for (const auto& [name, value] : headers.all())
        if (equal_ignoring_case(name, "connection"))
            for (const std::string& one : split(value, ',')) names.emplace_back(trim(one));
    return names;
}

std::string_view cookie_name(std::string_view pair) {
    return trim(pair.substr(0, pair.find('=')));
}

}  // namespace

std::string without_own_cookies(std::string_view header) {
    std::string kept;
    for (const std::string& one : split(header, ';')) {
        const std::string_view pair = trim(one);
        if (pair.empty() || is_own_cookie(cookie_name(pair))) continue;
        if (!kept.empty()) kept += "; ";
        kept += pair;
    }
    return kept;
}

bool is_websocket(const http::Request& request) {
    return request.method == "GET" &&
           equal_ignoring_case(request.headers.get("upgrade"), "websocket") &&
           among(listed_in_connection(request.headers), "upgrade");
}

http::Headers headers_to_program(const http::Request& request, const OfClient& client,
                                 const http::Headers& add) {
    const std::vector<std::string> listed = listed_in_connection(request.headers);
    http::Headers passed;
    std::string cookies;
    for (const auto& [name, value] : request.headers.all()) {
        if (equal_ignoring_case(name, "cookie")) {
            const std::string kept = without_own_cookies(value);
            if (!kept.empty()) cookies += (cookies.empty() ? "" : "; ") + kept;
        } else if (!among(kBetweenNeighbours, name) && !among(kOfWhoAsks, name) &&
                   !among(listed, name)) {
            passed.add(name, value);
        }
    }
    if (!cookies.empty()) passed.set("Cookie", cookies);
    const std::size_t scheme = client.origin.find("://");
    const std::string host = client.origin.substr(scheme == std::string::npos ? 0 : scheme + 3);
    passed.set("Host", host);
    passed.set("X-Forwarded-Host", host);
    passed.set("X-Forwarded-Proto", client.origin.starts_with("https://") ? "https" : "http");
    passed.set("X-Forwarded-For", std::string(request.peer.host()));
    if (client.upgrade && is_websocket(request)) {
        passed.set("Connection", "Upgrade");
        passed.set("Upgrade", "websocket");
    }
    for (const auto& [name, value] : add.all()) passed.set(name, value);
    return passed;
}

http::Headers headers_to_client(const http::Headers& answer, bool upgraded) {
    const std::vector<std::string> listed = listed_in_connection(answer);
    http::Headers passed;
    for (const auto& [name, value] : answer.all()) {
        if (equal_ignoring_case(name, "set-cookie")) {
            if (!is_own_cookie(cookie_name(value))) passed.add(name, value);
        } else if (!among(kBetweenNeighbours, name) && !among(kOfTheHost, name) &&
                   !among(listed, name)) {
            passed.add(name, value);
        }
    }
    if (upgraded) {
        passed.set("Connection", "Upgrade");
        passed.set("Upgrade", "websocket");
    }
    return passed;
}

}  // namespace turnout::api
