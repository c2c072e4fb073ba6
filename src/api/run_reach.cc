#include "api/run_reach.h"

#include <algorithm>

#include "access/actions.h"
#include "api/authority.h"
#include "api/data_uri.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "control/jobs.h"
#include "resources/documents.h"
#include "submission/reference.h"
#include "tracking/tracking.h"

namespace turnout::api {
namespace {

using access::Listed;
using access::Places;
using access::RunReach;
using submission::Reference;

constexpr std::string_view kRunOfLink = "turnout_run";

access::WorkspaceContainers containers_of(const std::string& wsid) {
    return {wsid, artifact_container(wsid), blobstore_container(wsid), fetched_container(wsid)};
}

// What of a job does not change as long as it is there. Valid until the next call.
Result<const KnownRun*> known_run(Services& services, const Principal& run) {
    const std::string key = run.workspace + "/" + run.job;
    const auto row = TURNOUT_TRY(services.store.get(Table::Job, key));
    const std::uint64_t revision = row ? row->revision : 0;
    KnownRun* known = services.runs.find(key);
    if (known && known->revision == revision) return known;
    KnownRun fresh;
    fresh.revision = revision;
    fresh.reach.job = run.job;
    fresh.reach.containers = containers_of(run.workspace);
    const auto job = TURNOUT_TRY(read_job(services.store, run.workspace, run.job));
    // Of a job that is being deleted there is nothing more than its own artifacts.
    const auto task = job ? read_task(services.store, job->record)
                          : Result<agent_protocol::TaskSpec>(agent_protocol::TaskSpec{});
    if (task) {
        if (task->code) fresh.reach.reads.add(task->code->container, task->code->prefix);
        for (const auto& input : task->inputs)
            if (input.blobs) fresh.reach.reads.add(input.blobs->container, input.blobs->prefix);
        for (const auto& output : task->outputs)
            fresh.reach.writes.add(output.target.container, output.target.prefix);
    }
    if (job &&
        equal_ignoring_case(job->record.definition.at("identity").at("identityType").as_view(),
                            "UserIdentity"))
        fresh.acts_for = job->record.principal;
    services.runs.put(key, std::move(fresh));
    return services.runs.find(key);
}

}  // namespace

Result<std::optional<agent_protocol::BlobFolder>> place_of(Services& services,
                                                           const Workspace& workspace,
                                                           std::string_view uri) {
    using Place = std::optional<agent_protocol::BlobFolder>;
    const auto reference = submission::parse_reference(uri, workspace);
    if (!reference) return Place();
    if (reference->form == Reference::Form::Path) {
        const auto store =
            TURNOUT_TRY(services.assets.find_datastore(workspace.id, reference->datastore));
        if (!store) return Place();
        return Place({store->at("containerName").as_string(), reference->path});
    }
    if (reference->form == Reference::Form::JobOutput) {
        const auto output =
            TURNOUT_TRY(uri_of_output(services, workspace, reference->job, reference->output));
        if (!output) return Place();
        return place_of(services, workspace, output->uri + reference->path);
    }
    return submission::blob_of_url(uri);
}

namespace {

// What data assets and models of the workspace point at.
Result<const Places*> registered_in(Services& services, const std::string& wsid) {
    const std::uint64_t changes = services.assets.changes();
    Registered* known = services.registered.find(wsid);
    if (known && known->changes == changes) return &known->places;
    Registered fresh;
    fresh.changes = changes;
    const auto workspace = TURNOUT_TRY(services.assets.workspace_by_id(wsid));
    const access::WorkspaceContainers containers = containers_of(wsid);
    for (const resources::DocumentKind& kind : resources::document_kinds()) {
        if (!workspace || kind.location.empty()) continue;
        for (const AssetContainer& asset :
             TURNOUT_TRY(services.assets.list_containers(wsid, kind.path)))
            for (const AssetVersion& version :
                 TURNOUT_TRY(services.assets.list_versions(wsid, kind.path, asset.name))) {
                const auto place = TURNOUT_TRY(
                    place_of(services, *workspace, version.properties.at(kind.location).as_view()));
                if (place && access::may_be_registered(containers, place->container, place->prefix))
                    fresh.places.add(place->container, place->prefix);
            }
    }
    services.registered.put(wsid, std::move(fresh));
    return &services.registered.find(wsid)->places;
}

}  // namespace

Failure beyond_reach(const Principal& run) {
    return fail(Code::PermissionDenied, "AuthorizationFailed",
                "the token of job '" + run.job +
                    "' does not reach this: a job reads what its definition names and what its "
                    "workspace has registered, and writes to its own run and those it made; with "
                    "'identity: {type: user_identity}' it acts for the user who submitted it");
}

Result<std::optional<Principal>> user_of(Services& services, const Principal& run) {
    const KnownRun* known = TURNOUT_TRY(known_run(services, run));
    if (known->acts_for.empty()) return std::optional<Principal>();
    Principal user{Principal::Kind::User, known->acts_for, run.workspace, run.job, 0};
    user.exchanged = true;
    return std::optional(std::move(user));
}

Result<bool> owns(Services& services, const Principal& run, std::string_view id) {
    if (id == run.job) return true;
    if (const auto made = TURNOUT_TRY(services.tracking.find_run(run.workspace, id));
        made && !made->of_job && made->tags.at(kCreatorTag).as_view() == run.job)
        return true;
    const auto job = TURNOUT_TRY(read_job(services.store, run.workspace, id));
    return job && !job->record.child.group.empty() && job->record.child.group == run.job;
}

Result<bool> may_all(Services& services, const Call& call, std::string_view action) {
    if (call.principal.kind != Principal::Kind::Run) return true;
    const auto user = TURNOUT_TRY(user_of(services, call.principal));
    return user && services.authority.may(*user, action, {call.principal.workspace, ""});
}

Result<void> check_owns(Services& services, const Call& call, std::string_view action,
                        std::string_view id) {
    if (call.principal.kind != Principal::Kind::Run ||
        TURNOUT_TRY(owns(services, call.principal, id)) ||
        TURNOUT_TRY(may_all(services, call, action)))
        return {};
    return beyond_reach(call.principal);
}

Result<bool> reaches(Services& services, const Principal& run, std::string_view container,
                     std::string_view name, char permission) {
    static const Places none;
    const KnownRun* known = TURNOUT_TRY(known_run(services, run));
    if (known->reach.may(container, name, permission, none)) return true;
    // What a run that it made has logged.
    constexpr std::string_view artifacts = "ExperimentRun/dcid.";
    if (container == known->reach.containers.artifacts && name.starts_with(artifacts)) {
        const std::string_view rest = name.substr(artifacts.size());
        if (const std::string_view id = rest.substr(0, rest.find('/'));
            id.size() < rest.size() && TURNOUT_TRY(owns(services, run, id)))
            return true;
    }
    if (permission != 'r') return false;
    const Places* registered = TURNOUT_TRY(registered_in(services, run.workspace));
    return known->reach.may(container, name, permission, *registered);
}

namespace {

Result<Listed> listed_by_run(Services& services, const Principal& run, std::string_view container,
                             std::string_view prefix) {
    static const Places none;
    const KnownRun* known = TURNOUT_TRY(known_run(services, run));
    if (const Listed own = known->reach.listed(container, prefix, none); own != Listed::Nothing)
        return own;
    constexpr std::string_view artifacts = "ExperimentRun/dcid.";
    if (container == known->reach.containers.artifacts && prefix.starts_with(artifacts)) {
        const std::string_view rest = prefix.substr(artifacts.size());
        const std::size_t slash = rest.find('/');
        if (TURNOUT_TRY(owns(services, run, rest.substr(0, slash))))
            return slash == std::string_view::npos ? Listed::ThatAndBeneath : Listed::Everything;
    }
    const Places* registered = TURNOUT_TRY(registered_in(services, run.workspace));
    return known->reach.listed(container, prefix, *registered);
}

Result<bool> reads_all_of(Services& services, const Principal& run, std::string_view container,
                          std::string_view prefix) {
    const Listed listed = TURNOUT_TRY(listed_by_run(services, run, container, prefix));
    return listed == Listed::Everything || listed == Listed::ThatAndBeneath;
}

}  // namespace

Result<Listed> listed_for(Services& services, const Call& call, std::string_view container,
                          std::string_view prefix) {
    if (call.principal.kind != Principal::Kind::Run) return Listed::Everything;
    const Principal& run = call.principal;
    if (workspace_of_container(container) != run.workspace) return Listed::Nothing;
    const Listed listed = TURNOUT_TRY(listed_by_run(services, run, container, prefix));
    const bool all = listed == Listed::Everything ||
                     TURNOUT_TRY(may_all(services, call, access::action::kReadBlobs));
    return all ? Listed::Everything : listed;
}

Result<void> check_reads_place(Services& services, const Call& call, std::string_view container,
                               std::string_view prefix) {
    if (TURNOUT_TRY(may_all(services, call, access::action::kReadBlobs))) return {};
    if (workspace_of_container(container) == call.principal.workspace &&
        TURNOUT_TRY(reads_all_of(services, call.principal, container, prefix)))
        return {};
    return beyond_reach(call.principal);
}

Result<void> check_reads_artifacts(Services& services, const Call& call, std::string_view run,
                                   std::string_view path) {
    if (call.principal.kind != Principal::Kind::Run ||
        TURNOUT_TRY(owns(services, call.principal, run)) ||
        TURNOUT_TRY(may_all(services, call, access::action::kReadRuns)))
        return {};
    return check_reads_place(services, call, artifact_container(call.principal.workspace),
                             "ExperimentRun/dcid." + std::string(run) + "/" + std::string(path));
}

Result<void> check_reads_uri(Services& services, const Call& call, const Workspace& workspace,
                             std::string_view uri) {
    if (TURNOUT_TRY(may_all(services, call, access::action::kReadBlobs))) return {};
    const Principal& run = call.principal;
    const auto reference = submission::parse_reference(uri, workspace);
    if (!reference) return {};  // whoever reads it next says what is wrong
    const bool of_job = reference->form == Reference::Form::JobOutput;
    const auto place = TURNOUT_TRY(place_of(services, workspace, uri));
    // Whether a job of others exists is nothing for it either.
    if (!place)
        return of_job && !TURNOUT_TRY(owns(services, run, reference->job)) ? beyond_reach(run)
                                                                           : Result<void>();
    return check_reads_place(services, call, place->container, place->prefix);
}

Result<void> check_holder(Services& services, std::string_view holder,
                          std::initializer_list<std::string_view> actions,
                          const std::string& wsid) {
    if (holder.empty()) return {};
    const auto principal = services.authority.check_holder(holder);
    if (!principal)
        return fail(Code::PermissionDenied, "AuthenticationFailed",
                    "this link does not hold any more: " + principal.error().message, "sig");
    if (principal->kind == Principal::Kind::Run
            ? principal->workspace == wsid
            : std::ranges::any_of(actions, [&](auto action) {
                  return services.authority.may(*principal, action, {wsid, ""});
              }))
        return {};
    return fail(
        Code::PermissionDenied, "AuthenticationFailed",
        "this link does not hold any more: '" + principal->name + "' may not read this any more",
        "sig");
}

std::string run_link(const Secret& token) {
    return std::string(kRunOfLink) + "=" + percent_encode(token.reveal()) + "&sig=run";
}

std::string_view token_of_link(const Call& call) {
    return call.query_value(kRunOfLink);
}

std::string link_of_run(const Services& services, const Principal& run) {
    return run_link(services.authority.mint(run, kOwnAudience, kAsLongAsItLives));
}

}  // namespace turnout::api
