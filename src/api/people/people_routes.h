// Users, roles and where they have them. `scope` is an ARM id: a workspace's, a compute's, or "/"
// for the whole server.
//
//   GET    /turnout/me                 who asks, with which roles and by which token
//   GET    /turnout/users[/{name}]     POST /turnout/users {"name", "displayName"}
//   PATCH  /turnout/users/{name}       {"disabled": true}: nothing of theirs opens anything then
//   PUT    /turnout/users/{name}/subject  {"issuer", "subject"}: whom a provider calls so
//   GET    /turnout/roles              PUT, DELETE /turnout/roles/{name}: custom ones
//   GET    /turnout/assignments        POST {"user", "role", "scope"}, DELETE …/{id}
#pragma once

#include "api/api.h"
#include "api/authority.h"
#include "api/people/directory.h"

namespace turnout::api {

// The directory outlives the router.
void add_people_routes(Router& router, Services& services, InstanceAuthority& authority);

// An ARM id as a scope: NotFound if there is no such workspace.
Result<access::Scope> scope_of(Services& services, std::string_view id);
std::string id_of(const Services& services, const access::Scope& scope);

}  // namespace turnout::api
