// Signed links to the logs of one job, and the way to send a log that grows.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/api.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/time.h"

namespace turnout::api {

// "/logs/{wsid}/{job}/{path}?se=…&sig=…", to be put behind an origin. Holds for every log of that
// job and for one to two days: the expiry is a whole day, so that the link stays the same.
std::string sign_log_link(const Secret& key, std::string_view wsid, std::string_view job,
                          std::string_view path, Instant now, std::string_view holder = "");

// Such a link for whoever asks; of a run a link that is the run.
std::string log_link(const Services& services, const Call& call, std::string_view wsid,
                     std::string_view job, std::string_view path);

// The holder (as of a studio link); PermissionDenied with the reason if the query (decoded) does
// not hold for that job.
Result<std::string> verify_log_link(const Secret& key, std::string_view wsid, std::string_view job,
                                    const std::vector<std::pair<std::string, std::string>>& query,
                                    Instant now);

// The answer to a request for a log whose right to read was checked: `offset` and `wait` (seconds,
// long poll) of the query, Range, ETag = length, X-Turnout-Log-Length, X-Turnout-Log-Complete. It
// is text: each byte that is no UTF-8 is sent as '?', and a log that grows ends at a whole
// character, or at a whole line for who reads it from its beginning, without offset and Range.
Task<Result<http::Response>> send_log(Services& services, Call& call, std::string wsid,
                                      std::string job, std::string path);

// A "Range: bytes=…" header against a length: [first, last + 1). nullopt: no usable range was asked
// for, send all. One behind the end is InvalidArgument "InvalidRange".
Result<std::optional<std::pair<std::uint64_t, std::uint64_t>>> parse_range(std::string_view header,
                                                                           std::uint64_t length);

void add_log_routes(Router& router, Services& services);         // history/logs.cc
void add_data_plane_routes(Router& router, Services& services);  // history/data_plane.cc
void add_artifact_routes(Router& router, Services& services);    // history/artifacts.cc

}  // namespace turnout::api
