#include "api/login/login_page.h"

#include <string>

#include "api/portal/page.h"
#include "base/text.h"

namespace turnout::api {
namespace {

using portal::element;
using portal::Html;
using portal::operator""_html;

std::string host_in(std::string_view url) {
    const std::size_t begin = url.find("//");
    if (begin == std::string_view::npos) return std::string(url);
    return std::string(url.substr(begin + 2, url.find('/', begin + 2) - begin - 2));
}

}  // namespace

http::Response words_page(Random& random, int status, std::string_view title, const Html& words,
                          std::string_view refresh) {
    const std::string nonce = to_base64url(random.bytes(18));
    http::Response response;
    response.status = status;
    response.headers.set("Content-Type", "text/html; charset=utf-8");
    response.headers.set("Content-Security-Policy",
                         "default-src 'none'; style-src 'nonce-" + nonce +
                             "'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'");
    response.headers.set("X-Content-Type-Options", "nosniff");
    // An address may hold a code. With "no-referrer" browsers would send a form without its origin.
    response.headers.set("Referrer-Policy", "same-origin");
    response.headers.set("Cache-Control", "no-store");
    response.headers.set("X-Robots-Tag", "noindex");
    response.body = portal::render_words(title, words, nonce, refresh);
    return response;
}

http::Response login_page(Random& random, std::string_view issuer, std::string_view to,
                          std::string_view user) {
    Html words = element("h1", "Log in to Turnout");
    if (!user.empty())
        words += element("p", "This browser is logged in as " + std::string(user) + ".");
    if (!issuer.empty())
        words += element(
            "p",
            element("a", {{"class", "button"}, {"href", "/login/oidc?to=" + percent_encode(to)}},
                    "Log in with " + host_in(issuer)));
    words += element("p", issuer.empty() ? "Whoever has a token gets a link that logs this browser "
                                           "in, once:"
                                         : "Or by a link that logs this browser in, once, from "
                                           "where a token is:") +
             element("pre", {{"class", "command"}}, "turnout login --browser");
    return words_page(random, 200, "Log in", words);
}

http::Response once_page(Random& random, std::string_view user, std::string_view code) {
    return words_page(
        random, 200, "Log in",
        element("h1", "Log in to Turnout as " + std::string(user)) +
            element("p", "This link works once. Use it only if you have just made it yourself.") +
            element("form", {{"method", "post"}, {"action", "/login/once"}},
                    element("input", {{"type", "hidden"}, {"name", "code"}, {"value", code}}) +
                        element("button", {{"type", "submit"}}, "Log in")));
}

http::Response refusal_page(Random& random, int status, std::string_view why) {
    return words_page(random, status, "Not logged in",
                      element("h1", "You are not logged in") + element("p", why) +
                          element("p", element("a", {{"href", "/login"}}, "Try again")));
}

http::Response onward_page(Random& random, std::string_view to) {
    return words_page(
        random, 200, "Logged in",
        element("h1", "You are logged in") + element("p", element("a", {{"href", to}}, "Go on")),
        to);
}

}  // namespace turnout::api
