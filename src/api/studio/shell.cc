// GET /studio/{page...}: the portal. It holds no data: what it shows it asks for, as whoever the
// browser is logged in as, or by the link with which it was opened.
#include "api/studio/shell.h"

#include "api/history/run_view.h"
#include "api/studio/pack.h"
#include "api/studio/studio.h"
#include "base/text.h"

namespace turnout::api::studio {
namespace {

constexpr std::string_view kNoncePlace = "__NONCE__";  // in portal/index.html

void harden(http::Response& response) {
    response.headers.set("X-Content-Type-Options", "nosniff");
    // An address may hold a signature: no other server sees it.
    response.headers.set("Referrer-Policy", "same-origin");
}

// Who sends no Accept-Encoding takes any (RFC 9110, 12.5.3).
bool takes_gzip(const http::Request& request) {
    if (!request.headers.has("accept-encoding")) return true;
    for (const std::string& part : split(request.headers.get("accept-encoding"), ',')) {
        const std::vector<std::string> words = split(part, ';');
        const std::string_view name = trim(words.front());
        if (name != "*" && !equal_ignoring_case(name, "gzip")) continue;
        const std::string_view weight = words.size() > 1 ? trim(words[1]) : std::string_view("q=1");
        return weight.find_first_of("123456789") != std::string_view::npos;
    }
    return false;
}

Answer get_shell(Services& services, Call& call) {
    if (!services.portal)
        co_return not_found(
            "this build has no portal: build with -DTURNOUT_PORTAL=ON where npm "
            "reaches its registry",
            call.param("page"));
    co_return shell(services);
}

Answer get_asset(Services& services, Call& call) {
    const std::string path = "static/" + call.param("path");
    const PackedFile* const file = services.portal ? services.portal->find(path) : nullptr;
    if (!file) co_return not_found("the portal has no file '" + path + "'", "path");
    http::Response response;
    harden(response);
    const std::string tag = "\"" + std::string(file->hash.substr(0, 32)) + "\"";
    response.headers.set("ETag", tag);
    response.headers.set("Vary", "Accept-Encoding");
    // The name holds a hash of the content.
    response.headers.set("Cache-Control", "public, max-age=31536000, immutable");
    if (call.request.headers.get("if-none-match") == tag) {
        response.status = 304;
        co_return response;
    }
    if (file->gzip && !takes_gzip(call.request)) {
        response = error_response({Code::InvalidArgument, "NotAcceptable",
                                   "'" + path +
                                       "' is kept as gzip: expected 'gzip' among what "
                                       "Accept-Encoding takes",
                                   "Accept-Encoding", nullptr});
        response.status = 406;
        co_return response;
    }
    response.headers.set("Content-Type", std::string(file->type));
    if (file->gzip) response.headers.set("Content-Encoding", "gzip");
    response.body = file->bytes;
    co_return response;
}

}  // namespace

http::Response shell(Services& services) {
    const std::string nonce = to_base64url(services.random.bytes(18));
    http::Response response;
    response.headers.set("Content-Type", "text/html; charset=utf-8");
    response.headers.set(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-" + nonce +
            "'; img-src 'self' blob: data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'");
    response.headers.set("Cross-Origin-Opener-Policy", "same-origin");
    response.headers.set("Cache-Control", "no-store");  // each has a nonce of its own
    response.headers.set("X-Robots-Tag", "noindex");
    harden(response);
    response.body = services.portal->index().bytes;
    replace_all(response.body, kNoncePlace, nonce);
    return response;
}

void add_shell_routes(Router& router, Services& services) {
    add_row(router, services, "GET", "/studio/static/{path...}", Access::Open, get_asset);
    add_row(router, services, "GET", "/studio/{page...}", Access::Open, get_shell);
}

}  // namespace turnout::api::studio
