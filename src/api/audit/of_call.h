// What of a call goes into the audit: the one place that decides it, for every route.
#pragma once

#include <optional>

#include "model/audit_chain.h"

namespace turnout::api {

struct Call;
class Router;
struct Services;

// After its answer, in which case the record is to be written before that leaves. Nothing for what
// only reads, and for what is only counted:
//  * every write has a record of its own, and so has every answer that holds a secret;
//  * what a run or a client does again and again (metrics, tags, blobs) has one for the first time
//    and then one an hour that says how often it was done: by whom, with which token, to what;
//  * what was refused, by status 401 or 403, or failed has one a minute likewise, and so have
//    tokens that a key was exchanged for.
std::optional<Act> audit_of(Services& services, const Call& call, int status);

// For a route that is called very often: what the call does is committed next, and its answer will
// have that status. The record is written beside it, as a rule in the same commit, and not once
// more if it is so.
void record_with_change(Services& services, Call& call, int status);

// GET /turnout/audit        ?after=N or since=TIME, limit=, user=, action=: {"value": [rows as they
//                           are kept], "next": N, "more": bool}; without a begin the newest
// GET /turnout/audit/check  {"first", "last", "fault"}
void add_audit_routes(Router& router, Services& services);

}  // namespace turnout::api
