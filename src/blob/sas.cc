// Shared access signatures: a query string that is a right. The parameters' names are Azure's,
// because its clients keep only those that they know when they take a URL apart:
//   sv version  sr resource (c)  sp permissions  se expiry  si what it is for:
//   "{container}/{prefix}" skoid for whom  scid the action that they may do
//   sig base64 of HMAC-SHA256 over all the others
#include <algorithm>

#include "base/hash.h"
#include "base/secret.h"
#include "base/text.h"
#include "blob/blobs.h"

namespace turnout {
namespace {

constexpr std::string_view kVersion = "2026-10-06";

std::string to_sign(std::string_view permissions, std::string_view expires, std::string_view target,
                    std::string_view holder, std::string_view action) {
    // Lines of text without line breaks: nothing can move from one field into the next.
    std::string text = "turnout-sas\n";
    text.append(kVersion)
        .append("\nc\n")
        .append(permissions)
        .append("\n")
        .append(expires)
        .append("\n")
        .append(target);
    if (!holder.empty()) text.append("\n").append(holder).append("\n").append(action);
    return text;
}

Failure refused(std::string reason, std::string why) {
    return fail(Code::PermissionDenied, std::move(reason), std::move(why), "sig");
}

}  // namespace

std::string sign_sas(std::string_view key, const SasGrant& grant) {
    const std::string expires = to_iso8601(grant.expires);
    const std::string target = grant.container + "/" + grant.prefix;
    const std::string signature = to_base64(
        hmac_sha256(key, to_sign(grant.permissions, expires, target, grant.holder, grant.action)));
    const std::string whose = grant.holder.empty() ? ""
                                                   : "&skoid=" + percent_encode(grant.holder) +
                                                         "&scid=" + percent_encode(grant.action);
    return "sv=" + std::string(kVersion) + "&sr=c&sp=" + percent_encode(grant.permissions) +
           "&se=" + percent_encode(expires) + "&si=" + percent_encode(target) + whose +
           "&sig=" + percent_encode(signature);
}

Result<SasGrant> verify_sas(std::string_view key,
                            const std::vector<std::pair<std::string, std::string>>& query,
                            Instant now) {
    // Each parameter once: of two, a signature could cover the one that is not used.
    const auto value = [&query](std::string_view name) -> Result<std::string> {
        const auto found = std::ranges::find(
            query, name, [](const auto& pair) -> const std::string& { return pair.first; });
        if (found == query.end())
            return refused("AuthenticationFailed",
                           "the link's signature lacks '" + std::string(name) + "'");
        if (std::any_of(found + 1, query.end(),
                        [&](const auto& pair) { return pair.first == name; }))
            return refused("AuthenticationFailed",
                           "the link's signature has '" + std::string(name) + "' twice");
        if (found->second.find('\n') != std::string::npos)
            return refused("AuthenticationFailed", "the link's signature is not well-formed");
        return found->second;
    };
    const std::string signature = TURNOUT_TRY(value("sig"));
    const std::string version = TURNOUT_TRY(value("sv"));
    const std::string resource = TURNOUT_TRY(value("sr"));
    const std::string permissions = TURNOUT_TRY(value("sp"));
    const std::string expires = TURNOUT_TRY(value("se"));
    const std::string target = TURNOUT_TRY(value("si"));
    const bool held = std::ranges::any_of(
        query, [](const auto& pair) { return pair.first == "skoid" || pair.first == "scid"; });
    const std::string holder = held ? TURNOUT_TRY(value("skoid")) : "";
    const std::string action = held ? TURNOUT_TRY(value("scid")) : "";
    const Secret expected(
        to_base64(hmac_sha256(key, to_sign(permissions, expires, target, holder, action))));
    if (version != kVersion || resource != "c" || !expected.matches(signature))
        return refused("AuthenticationFailed",
                       "the link's signature is wrong: it was changed, or made by another server");
    SasGrant grant;
    const std::size_t slash = target.find('/');
    if (slash == std::string::npos)
        return refused("AuthenticationFailed", "the link's signature is not well-formed");
    grant.container = target.substr(0, slash);
    grant.prefix = target.substr(slash + 1);
    grant.permissions = permissions;
    grant.holder = holder;
    grant.action = action;
    grant.expires = TURNOUT_TRY(parse_iso8601(expires));
    if (grant.expires <= now)
        return refused("AuthenticationFailed",
                       "the link expired at " + expires + "; ask for a new one");
    return grant;
}

bool allows(const SasGrant& grant, std::string_view container, std::string_view name,
            char permission) {
    if (container != grant.container || grant.permissions.find(permission) == std::string::npos)
        return false;
    std::string_view prefix = grant.prefix;
    while (prefix.ends_with('/')) prefix.remove_suffix(1);
    if (prefix.empty()) return true;
    return name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '/');
}

}  // namespace turnout
