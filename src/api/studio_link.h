// The signed link to the page of one job: whoever has it can read that job, and nothing else.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"

namespace turnout::api {

// "/studio/jobs/{wsid}/{job}?se=…&sig=…", to be put behind an origin. Valid for 30 to 31 days: the
// expiry is rounded up to a whole day, so that the same job has the same link for a day.
// `holder`: on whose rights it rests (Authority::holder), "" as of builds that did not say so.
std::string sign_studio_link(const Secret& key, std::string_view wsid, std::string_view job,
                             Instant now, std::string_view holder = "");

// The same with the end of another link, which it is not to outlive: `expiry` is its "se".
std::string sign_studio_link(const Secret& key, std::string_view wsid, std::string_view job,
                             std::string_view expiry, std::string_view holder = "");

// The holder; PermissionDenied with the reason if the query (decoded) does not hold for that job.
Result<std::string> verify_studio_link(
    const Secret& key, std::string_view wsid, std::string_view job,
    const std::vector<std::pair<std::string, std::string>>& query, Instant now);

}  // namespace turnout::api
