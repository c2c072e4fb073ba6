// Which headers of a request reach a user's program, and which of its answer come back. Pure.
//
// What is between two neighbours (RFC 9110, 7.6.1) is not passed on; nor is what opens this server:
// the Authorization header and its own cookies. Who asked, and as what, is said by ourselves, so
// that nobody can say it before us.
#pragma once

#include <string>
#include <string_view>

#include "io/http.h"

namespace turnout::api {

struct OfClient {
    std::string origin;    // "https://host:port", as the client used it
    bool upgrade = false;  // a WebSocket may be opened
};

// `add` is set after all of that, and replaces what the client said.
http::Headers headers_to_program(const http::Request& request, const OfClient& client,
                                 const http::Headers& add);
// Without our cookies, which a program may neither set nor end. `upgraded`: of an answer 101.
http::Headers headers_to_client(const http::Headers& answer, bool upgraded);

// Whether the request asks for a WebSocket (RFC 6455, 4.2.1).
bool is_websocket(const http::Request& request);

// Of a cookie header those that are not ours (is_own_cookie); "" = none.
std::string without_own_cookies(std::string_view header);

}  // namespace turnout::api
