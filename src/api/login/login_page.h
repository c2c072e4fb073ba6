// The pages of a login.
#pragma once

#include <string>
#include <string_view>

#include "api/portal/html.h"
#include "io/http.h"
#include "io/loop.h"

namespace turnout::api {

// A page of words without scripts, whose forms go to this server alone, and which no search engine
// keeps. `refresh`: the page to which it goes on by itself, "" = it stays.
http::Response words_page(Random& random, int status, std::string_view title,
                          const portal::Html& words, std::string_view refresh = "");
// What there is to log in by; `issuer` "" = no identity provider. `to`: the page afterwards.
http::Response login_page(Random& random, std::string_view issuer, std::string_view to,
                          std::string_view user);
// The button of a link that is good once.
http::Response once_page(Random& random, std::string_view user, std::string_view code);
// Why somebody is not logged in.
http::Response refusal_page(Random& random, int status, std::string_view why);
// Goes on to a page of this server: by the page itself, because a browser sends no session with a
// way that began at another site.
http::Response onward_page(Random& random, std::string_view to);

}  // namespace turnout::api
