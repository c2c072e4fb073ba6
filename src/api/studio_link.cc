#include "api/studio_link.h"

#include <charconv>

#include "base/hash.h"
#include "base/text.h"

namespace turnout::api {
namespace {

constexpr std::int64_t kDay = 86'400;

std::string signature(const Secret& key, std::string_view wsid, std::string_view job,
                      std::string_view expiry, std::string_view holder) {
    // Newlines cannot be in any of them.
    std::string message = "studio-job\n";
    message.append(wsid).append("\n").append(job).append("\n").append(expiry);
    if (!holder.empty()) message.append("\n").append(holder);
    return to_base64url(hmac_sha256(key.reveal(), message));
}

}  // namespace

std::string sign_studio_link(const Secret& key, std::string_view wsid, std::string_view job,
                             Instant now, std::string_view holder) {
    return sign_studio_link(key, wsid, job,
                            std::to_string((now.micros / 1'000'000 / kDay + 31) * kDay), holder);
}

std::string sign_studio_link(const Secret& key, std::string_view wsid, std::string_view job,
                             std::string_view expiry, std::string_view holder) {
    return "/studio/jobs/" + percent_encode(wsid) + "/" + percent_encode(job) +
           "?se=" + percent_encode(expiry) +
           (holder.empty() ? "" : "&skoid=" + percent_encode(holder)) +
           "&sig=" + signature(key, wsid, job, expiry, holder);
}

Result<std::string> verify_studio_link(
    const Secret& key, std::string_view wsid, std::string_view job,
    const std::vector<std::pair<std::string, std::string>>& query, Instant now) {
    std::string_view expiry, given, holder;
    for (const auto& [name, value] : query) {
        if (name == "se") expiry = value;
        if (name == "sig") given = value;
        if (name == "skoid") holder = value;
    }
    std::int64_t until = 0;
    const auto parsed = std::from_chars(expiry.data(), expiry.data() + expiry.size(), until);
    if (expiry.empty() || parsed.ec != std::errc() || parsed.ptr != expiry.data() + expiry.size() ||
        !Secret(signature(key, wsid, job, expiry, holder)).matches(given))
        return fail(Code::PermissionDenied, "AuthenticationFailed",
                    "this link is not signed for this page: take studio_url of the job anew",
                    "sig");
    if (now.micros / 1'000'000 >= until)
        return fail(Code::PermissionDenied, "AuthenticationFailed",
                    "this link has expired: take studio_url of the job anew", "se");
    return std::string(holder);
}

}  // namespace turnout::api
