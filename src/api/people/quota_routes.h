// What users and workspaces may have, and how much of it they have.
//
//   GET    /turnout/quotas   everybody's; who may not see that gets their own, what holds for every
//                            user, and those of the workspaces that they may read
//   PUT    /turnout/quotas   {"user": name} or {"workspace": ARM id} or {"everyUser": true}, and of
//                            "slots", "runningJobs", "queuedJobs", "storedBytes" those that change:
//                            a number, "unlimited", or null
//   DELETE /turnout/quotas   ?user=NAME, ?workspace=ARM id or ?everyUser=true
#pragma once

#include "api/api.h"
#include "api/people/directory.h"

namespace turnout::api {

// The directory outlives the router.
void add_quota_routes(Router& router, Services& services, Directory& people);

}  // namespace turnout::api
