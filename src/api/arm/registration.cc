#include "api/arm/registration.h"

#include <utility>

#include "access/actions.h"
#include "api/arm/pipeline.h"
#include "api/data_uri.h"
#include "api/history/run_view.h"
#include "catalog/catalog.h"
#include "submission/draft.h"
#include "submission/reference.h"
#include "submission/refusal.h"

namespace turnout::api::arm {
namespace {

constexpr Span kRegisterAgain = 1s;
constexpr int kTries = 20;  // of a version that somebody else takes at the same time

std::string kind_of_asset(std::string_view type) {
    return submission::asset_kind(submission::Reference{}, type);
}

// Which job and output an asset was made of, among its own properties.
constexpr std::string_view kOfJob = "turnout.job", kOfOutput = "turnout.output";

bool is_of(const AssetVersion& version, std::string_view job, std::string_view output) {
    const Json& own = version.properties.at("properties");
    return own.at(kOfJob).as_view() == job && own.at(kOfOutput).as_view() == output;
}

Result<AssetVersion> asset_of(Services& services, const Workspace& workspace, const JobRecord& job,
                              const std::string& output) {
    const auto found = TURNOUT_TRY(uri_of_output(services, workspace, job.name, output));
    if (!found) return not_found("output '" + output + "' of job '" + job.name + "' has no place");
    const Json& said = job.definition.at("outputs").at(output);
    AssetVersion version;
    version.name = said.at("assetName").as_string();
    Json own = Json::object();
    own.set(kOfJob, job.name);
    own.set(kOfOutput, output);
    if (kind_of_asset(found->type) == "models")
        version.properties = Json::object(
            {{"modelType", found->type}, {"modelUri", found->uri}, {"jobName", job.name}});
    else
        version.properties = Json::object({{"dataType", found->type}, {"dataUri", found->uri}});
    if (const Json& text = said.at("description"); text.is_string())
        version.properties.set("description", text);
    version.properties.set("properties", std::move(own));
    version.made.modified = Author{job.principal, job.name};
    return version;
}

// "" = it was registered before; nothing is written twice.
Task<Result<std::string>> register_one(Services& services, Workspace workspace, JobRecord job,
                                       std::string output, std::vector<Write> together) {
    const Json said = job.definition.at("outputs").at(output);
    TURNOUT_CO_TRY(const AssetVersion asset, asset_of(services, workspace, job, output));
    const std::string kind = kind_of_asset(said.at("jobOutputType").as_view());
    const std::string wanted = said.at("assetVersion").as_string();
    Error last;
    for (int tries = 0; tries < kTries; ++tries) {
        AssetVersion version = asset;
        version.version = wanted;
        if (wanted.empty()) {
            TURNOUT_CO_TRY(const auto container,
                           services.assets.find_container(workspace.id, kind, version.name));
            version.version = container ? container->next_version : "1";
        }
        TURNOUT_CO_TRY(const auto there, services.assets.find_version(
                                             workspace.id, kind, version.name, version.version));
        if (there)
            last = Error(Code::Conflict, "ResourceExists",
                         version.name + ":" + version.version + " is there already");
        if (there && !wanted.empty()) break;
        if (there) continue;
        std::string made = kind + " " + version.name + ":" + version.version;
        const Result<bool> put =
            co_await services.assets.put_version(workspace.id, kind, std::move(version), together);
        if (put) co_return made;
        last = put.error();
        if (last.code != Code::Conflict || !wanted.empty()) break;
    }
    co_return Failure(std::move(last));
}

Task<Result<void>> register_all(Services& services, std::string wsid, std::string name) {
    const std::string key = wsid + "/" + name;
    TURNOUT_CO_TRY(const auto row, services.store.get(Table::Registration, key));
    if (!row) co_return Result<void>();  // somebody did it
    TURNOUT_CO_TRY(const Json state, parse_json(row->value));
    TURNOUT_CO_TRY(const auto job, load_job(services.store, wsid, name));
    TURNOUT_CO_TRY(const auto workspace, services.assets.workspace_by_id(wsid));
    Json done = state.at("done").is_object() ? state.at("done") : Json::object();
    std::uint64_t revision = row->revision;
    if (job && workspace)
        for (const auto& [output, said] : job->definition.at("outputs").members()) {
            if (said.at("assetName").as_view().empty() || done.has(output)) continue;
            // What is done so far is said in the commit that does it.
            Json next = done;
            next.set(output, true);
            const std::vector<Write> together{
                {Table::Registration, key, Json::object({{"done", next}}).dump(), revision}};
            const auto made = co_await register_one(services, *workspace, *job, output, together);
            if (!made && may_work_later(made.error())) co_return Failure(made.error());
            Json properties = Json::object();
            if (made)
                properties.set("turnout.registered." + output, *made);
            else
                properties.set("turnout.not_registered." + output, made.error().message);
            JobMetaChange change;
            change.properties = std::move(properties);
            change.by_server = true;
            services.control.update_job(wsid, name, change, [](Result<Put>) {});
            done = std::move(next);
            TURNOUT_CO_TRY(const auto now, services.store.get(Table::Registration, key));
            if (!now) co_return Result<void>();
            revision = now->revision;
        }
    Batch batch;
    batch.erase(Table::Registration, key, revision);
    const auto erased = co_await services.store.commit(std::move(batch));
    if (!erased) co_return Failure(erased.error());
    co_return Result<void>();
}

Task<void> see_to_it(Services& services, std::string wsid, std::string job) {
    const Result<void> done = co_await register_all(services, wsid, job);
    if (done || done.error().code == Code::Conflict) co_return;
    services.loop.after(kRegisterAgain,
                        [&services, wsid, job] { register_outputs(services, wsid, job); });
}

}  // namespace

Result<void> check_registrations(const Lookup& lookup,
                                 const std::vector<submission::OutputSaid>& outputs) {
    for (const submission::OutputSaid& output : outputs) {
        if (output.asset.empty()) continue;
        const std::string kind = kind_of_asset(output.type);
        TURNOUT_TRY(
            permit(lookup.services, lookup.call,
                   kind == "models" ? access::action::kWriteModels : access::action::kWriteData,
                   lookup.workspace.id));
        if (output.version.empty()) continue;
        const auto there = TURNOUT_TRY(lookup.services.assets.find_version(
            lookup.workspace.id, kind, output.asset, output.version));
        if (there && !is_of(*there, lookup.job, output.name))
            return submission::refuse(
                "ResourceExists",
                "output '" + output.name + "' would become " + output.asset + ":" + output.version +
                    ", which is there already: name another version, or none for "
                    "the next one",
                "outputs." + output.name + ".assetVersion");
    }
    return {};
}

void register_outputs(Services& services, const std::string& wsid, const std::string& job) {
    start(see_to_it(services, wsid, job), [] {});
}

Result<void> register_what_is_left(Services& services) {
    Range range{.limit = 1000};
    while (true) {
        const auto rows = TURNOUT_TRY(services.store.scan(Table::Registration, range));
        for (const Record& row : rows) {
            const std::size_t slash = row.key.find('/');
            register_outputs(services, row.key.substr(0, slash), row.key.substr(slash + 1));
        }
        if (rows.size() < range.limit) return {};
        range.from = rows.back().key + '\0';
    }
}

}  // namespace turnout::api::arm
