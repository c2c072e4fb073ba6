#include "api/blob/blob_access.h"

#include "access/actions.h"
#include "api/run_reach.h"
#include "base/text.h"
#include "blob/blobs.h"

namespace turnout::api {
namespace {

Failure forbidden(std::string message) {
    return fail(Code::PermissionDenied, "AuthorizationFailure", std::move(message));
}

// By its own reach, or as the user it acts for.
Result<bool> run_may(Services& services, const Call& call, std::string_view container,
                     std::string_view name, char permission) {
    namespace action = access::action;
    const Principal& run = call.principal;
    if (run.workspace.empty() || run.job.empty() ||
        workspace_of_container(container) != run.workspace)
        return false;
    if (permission == 'l')
        return TURNOUT_TRY(listed_for(services, call, container, name)) != access::Listed::Nothing;
    if (TURNOUT_TRY(reaches(services, run, container, name, permission))) return true;
    return may_all(services, call,
                   permission == 'r'   ? action::kReadBlobs
                   : permission == 'd' ? action::kDeleteBlobs
                                       : action::kWriteBlobs);
}

}  // namespace

Result<void> authorize_blob(Services& services, const Call& call, std::string_view container,
                            std::string_view name, char permission) {
    const std::string_view header = call.request.headers.get("authorization");
    if (header.size() >= 9 && equal_ignoring_case(header.substr(0, 9), "SharedKey"))
        return fail(Code::Unauthenticated, "AuthenticationFailed",
                    "account keys are not used here: use a bearer token (DefaultAzureCredential) "
                    "or the signed link that the server gives");
    const Principal& principal = call.principal;
    switch (principal.kind) {
        case Principal::Kind::User: return {};
        case Principal::Kind::Run:
            if (TURNOUT_TRY(run_may(services, call, container, name, permission))) return {};
            return forbidden(
                "the token of job '" + principal.job +
                "' does not reach this: it reads what its job names, data, and what is "
                "registered, writes to its own artifacts and outputs, and adds new "
                "assets");
        case Principal::Kind::Node:
            return forbidden("a node's token does not reach blobs; use that of the run");
        case Principal::Kind::Nobody: break;
    }
    if (!call.query_value("sig").empty()) {
        const SasGrant grant = TURNOUT_TRY(
            verify_sas(services.authority.link_key().reveal(), call.query, services.clock.now()));
        TURNOUT_TRY(check_holder(services, grant.holder, {grant.action},
                                 workspace_of_container(grant.container)));
        if (allows(grant, container, name, permission)) return {};
        // Whoever may write may create.
        if (permission == 'c' && allows(grant, container, name, 'w')) return {};
        return forbidden("the signed link does not reach this: it is for '" + grant.container +
                         "/" + grant.prefix + "' with the rights '" + grant.permissions + "'");
    }
    if (!header.empty())
        return fail(Code::Unauthenticated, "InvalidAuthenticationInfo",
                    "the bearer token is not valid here any more; get a new one");
    return fail(Code::Unauthenticated, "NoAuthenticationInformation",
                "this needs a signed link or an 'Authorization: Bearer' header");
}

}  // namespace turnout::api
