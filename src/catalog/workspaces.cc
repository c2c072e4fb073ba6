// Workspaces: what all else belongs to.
#include <algorithm>

#include "base/text.h"
#include "catalog/catalog.h"
#include "catalog/rows.h"
#include "resources/rules.h"

namespace turnout {
namespace {

std::string workspace_key(std::string_view sub, std::string_view rg, std::string_view name) {
    return to_lower(sub) + "/" + to_lower(rg) + "/" + to_lower(name);
}

Json to_json(const Workspace& workspace) {
    Json json = Json::object({
        {"id", workspace.id},
        {"guid", workspace.guid},
        {"subscription", workspace.subscription},
        {"resourceGroup", workspace.resource_group},
        {"name", workspace.name},
        {"location", workspace.location},
        {"friendlyName", workspace.friendly_name},
        {"description", workspace.description},
        {"tags", workspace.tags},
        {"created", workspace.created.micros},
    });
    if (workspace.modified > workspace.created) json.set("modified", workspace.modified.micros);
    put_authorship(json, workspace.made);
    return json;
}

Result<Workspace> workspace_from(const Record& record) {
    const Json json = TURNOUT_TRY(parse_json(record.value));
    Workspace workspace;
    workspace.id = json.at("id").as_string();
    workspace.guid = json.at("guid").as_string();
    workspace.subscription = json.at("subscription").as_string();
    workspace.resource_group = json.at("resourceGroup").as_string();
    workspace.name = json.at("name").as_string();
    workspace.location = json.at("location").as_string();
    workspace.friendly_name = json.at("friendlyName").as_string();
    workspace.description = json.at("description").as_string();
    if (json.at("tags").is_object()) workspace.tags = json.at("tags");
    workspace.created = Instant{json.at("created").as_int()};
    workspace.modified = Instant{json.at("modified").as_int()};
    workspace.made = authorship_of(json);
    return workspace;
}

}  // namespace

Catalog::Catalog(Store& store, const Clock& clock, Random& random)
    : store_(store), clock_(clock), random_(random) {}

Result<std::optional<Workspace>> Catalog::read_workspace(const std::string& key) {
    if (const auto known = workspaces_.find(key); known != workspaces_.end()) return known->second;
    auto record = TURNOUT_TRY(store_.get(Table::Workspace, key));
    if (!record) return std::nullopt;
    Workspace workspace = TURNOUT_TRY(workspace_from(*record));
    workspaces_[key] = workspace;
    return workspace;
}

Result<std::optional<Workspace>> Catalog::find_workspace(std::string_view sub, std::string_view rg,
                                                         std::string_view name) {
    return read_workspace(workspace_key(sub, rg, name));
}

Result<std::optional<Workspace>> Catalog::workspace_by_id(std::string_view wsid) {
    for (const auto& [key, workspace] : workspaces_)
        if (workspace.id == wsid) return workspace;
    for (Workspace& workspace : TURNOUT_TRY(list_workspaces("", "")))
        if (workspace.id == wsid) return std::move(workspace);
    return std::nullopt;
}

Result<std::vector<Workspace>> Catalog::list_workspaces(std::string_view sub, std::string_view rg) {
    std::string prefix;
    if (!sub.empty()) prefix = to_lower(sub) + "/";
    if (!sub.empty() && !rg.empty()) prefix += to_lower(rg) + "/";
    std::vector<Workspace> found;
    for (const Record& record : TURNOUT_TRY(catalog::scan_all(store_, Table::Workspace, prefix))) {
        Workspace workspace = TURNOUT_TRY(workspace_from(record));
        workspaces_[record.key] = workspace;
        if (rg.empty() || equal_ignoring_case(workspace.resource_group, rg))
            found.push_back(std::move(workspace));
    }
    return found;
}

Task<Result<Workspace>> Catalog::create_workspace(Workspace wanted) {
    TURNOUT_CO_TRY_VOID(check_name(resources::kWorkspaceName, wanted.name, "workspace"));
    TURNOUT_CO_TRY_VOID(
        check_name(resources::kResourceGroupName, wanted.resource_group, "resource group"));
    TURNOUT_CO_TRY_VOID(
        check_name(resources::kSubscriptionName, wanted.subscription, "subscription"));
    wanted.id = to_hex(random_.bytes(6));
    wanted.guid = random_.uuid();
    wanted.created = wanted.modified = clock_.now();
    wanted.made.modified = wanted.made.created;
    if (!wanted.tags.is_object()) wanted.tags = Json::object();
    const std::string key = workspace_key(wanted.subscription, wanted.resource_group, wanted.name);
    const auto datastore = [&](std::string container, bool is_default) {
        Json json = Json::object({
            {"datastoreType", "AzureBlob"},
            {"containerName", std::move(container)},
            {"isDefault", is_default},
            {"credentials", Json::object({{"credentialsType", "Sas"}})},
            {"tags", Json::object()},
            {"properties", Json::object()},
            {"created", wanted.created.micros},
        });
        put_authorship(json, wanted.made);
        return json.dump();
    };
    Batch batch;
    batch.put(Table::Workspace, key, to_json(wanted).dump(), kAbsent);
    batch.put(Table::Datastore, wanted.id + "/" + std::string(kBlobStore),
              datastore("azureml-blobstore-" + wanted.id, true), kAbsent);
    batch.put(Table::Datastore, wanted.id + "/" + std::string(kArtifactStore),
              datastore("azureml-" + wanted.id, false), kAbsent);
    auto committed = co_await store_.commit(std::move(batch));
    if (!committed && committed.error().code == Code::Conflict)
        co_return fail(Code::Conflict, "ResourceExists",
                       "workspace '" + wanted.name + "' exists already", "name");
    if (!committed) co_return Failure(std::move(committed).error());
    workspaces_[key] = wanted;
    co_return wanted;
}

Task<Result<Workspace>> Catalog::update_workspace(std::string sub, std::string rg, std::string name,
                                                  WorkspaceChange change) {
    const std::string key = workspace_key(sub, rg, name);
    Turns::Turn turn(turns_, "workspace/" + key);
    co_await turn;
    TURNOUT_CO_TRY(const auto record, store_.get(Table::Workspace, key));
    if (!record) co_return not_found("workspace '" + name + "' does not exist", "name");
    TURNOUT_CO_TRY(const Workspace before, workspace_from(*record));
    Workspace now = before;
    change(now);
    Workspace next = before;
    next.friendly_name = now.friendly_name;
    next.description = now.description;
    next.tags = now.tags;
    next.modified = clock_.now();
    next.made.modified = now.made.modified;
    Batch batch;
    batch.put(Table::Workspace, key, to_json(next).dump(), record->revision);
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    workspaces_[key] = next;
    co_return next;
}

Task<Result<void>> Catalog::delete_workspace(Workspace workspace, std::vector<Write> together) {
    const std::string key =
        workspace_key(workspace.subscription, workspace.resource_group, workspace.name);
    Turns::Turn turn(turns_, "workspace/" + key);
    co_await turn;
    TURNOUT_CO_TRY(const auto record, store_.get(Table::Workspace, key));
    if (!record) co_return not_found("workspace '" + workspace.name + "' does not exist", "name");
    Batch batch;
    batch.writes = std::move(together);
    batch.erase(Table::Workspace, key, record->revision);
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    workspaces_.erase(key);
    co_return Result<void>();
}

}  // namespace turnout
