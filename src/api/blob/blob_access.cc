#include "api/blob/blob_access.h"

#include "base/text.h"
#include "blob/blobs.h"
#include "control/jobs.h"

namespace turnout::api {
namespace {

constexpr std::string_view kRunOfLink = "turnout_run";

Failure forbidden(std::string message) {
    return fail(Code::PermissionDenied, "AuthorizationFailure", std::move(message));
}

// Is it of a named output that the job declared, as a user submitted it?
Result<bool> is_output(const Services& services, const Principal& run, std::string_view container,
                       std::string_view name) {
    const auto job = TURNOUT_TRY(read_job(services.store, run.workspace, run.job));
    if (!job) return false;
    const auto task = TURNOUT_TRY(read_task(services.store, job->record));
    for (const auto& output : task.outputs) {
        if (output.target.container != container) continue;
        std::string_view prefix = output.target.prefix;
        while (prefix.ends_with('/')) prefix.remove_suffix(1);
        if (prefix.empty() || name == prefix) return true;
        if (name.starts_with(prefix) && name[prefix.size()] == '/') return true;
    }
    return false;
}

Result<bool> run_may(const Services& services, const Principal& run, std::string_view container,
                     std::string_view name, char permission) {
    if (run.workspace.empty() || run.job.empty() ||
        workspace_of_container(container) != run.workspace)
        return false;
    if (permission == 'r' || permission == 'l') return true;
    if (container == artifact_container(run.workspace) &&
        name.starts_with("ExperimentRun/dcid." + run.job + "/"))
        return true;
    if (permission == 'd') return false;
    // Names there are made of the content's hash.
    if (permission == 'c' && container == blobstore_container(run.workspace) &&
        name.starts_with("LocalUpload/"))
        return true;
    return is_output(services, run, container, name);
}

}  // namespace

std::string run_link(const Secret& token) {
    return std::string(kRunOfLink) + "=" + percent_encode(token.reveal()) + "&sig=run";
}

Result<void> authorize_blob(const Services& services, const Call& call, std::string_view container,
                            std::string_view name, char permission) {
    const std::string_view header = call.request.headers.get("authorization");
    if (header.size() >= 9 && equal_ignoring_case(header.substr(0, 9), "SharedKey"))
        return fail(Code::Unauthenticated, "AuthenticationFailed",
                    "account keys are not used here: use a bearer token (DefaultAzureCredential) "
                    "or the signed link that the server gives");
    Principal principal = call.principal;
    if (const std::string_view token = call.query_value(kRunOfLink);
        principal.kind == Principal::Kind::Nobody && !token.empty()) {
        principal = TURNOUT_TRY(services.authority.check(token));
        if (principal.kind != Principal::Kind::Run) return forbidden("this link is not a run's");
    }
    switch (principal.kind) {
        case Principal::Kind::User: return {};
        case Principal::Kind::Run:
            if (TURNOUT_TRY(run_may(services, principal, container, name, permission))) return {};
            return forbidden("the token of job '" + principal.job +
                             "' does not reach this: it reads its workspace's containers, "
                             "writes to its own artifacts and outputs, and adds new assets");
        case Principal::Kind::Node:
            return forbidden("a node's token does not reach blobs; use that of the run");
        case Principal::Kind::Nobody: break;
    }
    if (!call.query_value("sig").empty()) {
        const SasGrant grant = TURNOUT_TRY(
            verify_sas(services.authority.link_key().reveal(), call.query, services.clock.now()));
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
