// Tokens of people: API keys with a name, which they make, look at, replace and revoke.
//
//   GET    /turnout/tokens              those there are
//   POST   /turnout/tokens              {"name", "expires": "30d", a time, or "never"; "access":
//                                       "read" or "write"; "scope": a workspace's ARM id, or "/";
//                                       "user"}: the only answer that shows the token itself
//   POST   /turnout/tokens/{id}/rotate  another token in its place, which is shown
//   DELETE /turnout/tokens/{id}         `id` is an id or a name
#pragma once

#include "api/api.h"
#include "api/authority.h"

namespace turnout::api {

// The authority outlives the router.
void add_token_routes(Router& router, Services& services, InstanceAuthority& authority);

}  // namespace turnout::api
