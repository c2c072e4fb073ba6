// Browsers: the cookie by which one is known, and how it is told from one that another page has
// made ask.
#pragma once

#include <string>
#include <string_view>

#include "api/api.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"
#include "io/http.h"

namespace turnout::api {

// The session that the request names; "" if none.
std::string session_cookie_of(const http::Request& request);

// Sets it for that long, or ends it (an empty secret). Over TLS no other host can have set it, nor
// can a page of plain http.
std::string session_cookie(const Call& call, const Secret& session, Span life);

// A cookie of this server, whatever it is for: programs of users neither see nor set one.
bool is_own_cookie(std::string_view name);

// Another one, for the time of a login at an identity provider, from whose page the browser comes
// back: so, unlike a session, it is sent then.
std::string login_cookie_of(const http::Request& request);
std::string login_cookie(const Call& call, const Secret& login, Span life);

// A browser sends its cookies whoever makes it ask. So what comes with a session has to come from a
// page of this very origin, or from a person who typed an address; and what is no reading has to
// say so. PermissionDenied, "CrossOrigin".
Result<void> check_own_page(const Call& call);

// The user of the session, or why there is none.
Result<Principal> session_of(Services& services, const Call& call);

// A person's browser asks for a page, and no program for data.
bool wants_page(const http::Request& request);

// A path of this server to which a browser may be sent after a login: a page of the studio; "/" for
// all else.
std::string page_to_go_to(std::string_view wanted);

// What an answer may do in a browser: nothing. For answers that do not say it themselves, such as
// files that jobs wrote.
void close_to_browsers(http::Response& response);

}  // namespace turnout::api
