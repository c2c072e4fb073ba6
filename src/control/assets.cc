#include "control/assets.h"

#include <algorithm>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::size_t kPage = 1000;
constexpr std::size_t kMaxListed = 200'000;
constexpr int kMaxTries = 8;  // of a read-change-write that others got in between

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

Result<void> check_characters(std::string_view text, std::string_view what, std::string_view more,
                              std::size_t shortest, std::size_t longest) {
    const bool fits = text.size() >= shortest && text.size() <= longest &&
                      (is_letter_or_digit(text.front()) || text.front() == '_') &&
                      std::ranges::all_of(text, [&](char c) {
                          return is_letter_or_digit(c) || more.find(c) != std::string_view::npos;
                      });
    if (fits) return {};
    return fail(Code::InvalidArgument, "InvalidName",
                std::string(what) + " '" + std::string(text.substr(0, 64)) +
                    "' is not a name: use " + std::to_string(shortest) + " to " +
                    std::to_string(longest) + " letters, digits and '" + std::string(more) +
                    "', beginning with a letter or digit",
                "name");
}

std::string workspace_key(std::string_view sub, std::string_view rg, std::string_view name) {
    return to_lower(sub) + "/" + to_lower(rg) + "/" + to_lower(name);
}

Json to_json(const Workspace& workspace) {
    return Json::object({
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
    return workspace;
}

Json to_json(const AssetContainer& container) {
    return Json::object({
        {"name", container.name},
        {"latestVersion", container.latest_version},
        {"nextVersion", container.next_version},
        {"archived", container.archived},
        {"properties", container.properties},
        {"created", container.created.micros},
    });
}

Result<AssetContainer> container_from(const Record& record) {
    const Json json = TURNOUT_TRY(parse_json(record.value));
    AssetContainer container;
    container.name = json.at("name").as_string();
    container.latest_version = json.at("latestVersion").as_string();
    container.next_version = json.at("nextVersion").as_string("1");
    container.archived = json.at("archived").as_bool();
    if (json.at("properties").is_object()) container.properties = json.at("properties");
    container.created = Instant{json.at("created").as_int()};
    return container;
}

Json to_json(const AssetVersion& version) {
    return Json::object({
        {"name", version.name},
        {"version", version.version},
        {"properties", version.properties},
        {"archived", version.archived},
        {"created", version.created.micros},
    });
}

Result<AssetVersion> version_from(const Record& record) {
    const Json json = TURNOUT_TRY(parse_json(record.value));
    AssetVersion version;
    version.name = json.at("name").as_string();
    version.version = json.at("version").as_string();
    if (json.at("properties").is_object()) version.properties = json.at("properties");
    version.archived = json.at("archived").as_bool();
    version.created = Instant{json.at("created").as_int()};
    version.revision = record.revision;
    return version;
}

// Every record of that prefix, in the order of the keys.
Result<std::vector<Record>> scan_all(Store& store, Table table, const std::string& prefix) {
    std::vector<Record> all;
    Range range = with_prefix(prefix, kPage);
    while (all.size() < kMaxListed) {
        auto page = TURNOUT_TRY(store.scan(table, range));
        const std::size_t count = page.size();
        std::ranges::move(page, std::back_inserter(all));
        if (count < kPage) break;
        range.from = all.back().key + '\0';
    }
    return all;
}

// What makes an asset the one it is: all but what may be changed later, what the server adds to its
// answers, and members that say nothing.
Json identity_of(std::string_view kind, const Json& properties) {
    Json identity = Json::object();
    for (const auto& [name, value] : properties.members()) {
        if (value.is_null() || name == "tags" || name == "description" || name == "isArchived" ||
            name == "properties" || name == "stage" || name == "provisioningState" ||
            name == "environmentType" || name == "intellectualProperty" ||
            name == "autoDeleteSetting")
            continue;
        if (name == "isAnonymous" && !value.as_bool()) continue;
        if (name == "osType" && equal_ignoring_case(value.as_view(), "Linux")) continue;
        if (name == "flavors" && value.members().empty()) continue;
        if (name == "jobName" && kind == "models") continue;
        identity.set(name, value);
    }
    return identity;
}

std::optional<std::int64_t> as_number(std::string_view version) {
    const std::optional<std::int64_t> number = parse_whole_number(version);
    return number && *number >= 0 ? number : std::nullopt;
}

Failure busy(std::string_view what) {
    return fail(Code::Unavailable, "TooManyConcurrentWrites",
                std::string(what) + " is being written by others: try again");
}

}  // namespace

Result<void> check_asset_name(std::string_view name, std::string_view what) {
    return check_characters(name, what, "._-", 1, 255);
}

Assets::Assets(Store& store, const Clock& clock, Random& random)
    : store_(store), clock_(clock), random_(random) {}

// ---- workspaces

Result<std::optional<Workspace>> Assets::read_workspace(const std::string& key) {
    if (const auto known = workspaces_.find(key); known != workspaces_.end()) return known->second;
    auto record = TURNOUT_TRY(store_.get(Table::Workspace, key));
    if (!record) return std::nullopt;
    Workspace workspace = TURNOUT_TRY(workspace_from(*record));
    workspaces_[key] = workspace;
    return workspace;
}

Result<std::optional<Workspace>> Assets::find_workspace(std::string_view sub, std::string_view rg,
                                                        std::string_view name) {
    return read_workspace(workspace_key(sub, rg, name));
}

Result<std::optional<Workspace>> Assets::workspace_by_id(std::string_view wsid) {
    for (const auto& [key, workspace] : workspaces_)
        if (workspace.id == wsid) return workspace;
    for (Workspace& workspace : TURNOUT_TRY(list_workspaces("", "")))
        if (workspace.id == wsid) return std::move(workspace);
    return std::nullopt;
}

Result<std::vector<Workspace>> Assets::list_workspaces(std::string_view sub, std::string_view rg) {
    std::string prefix;
    if (!sub.empty()) prefix = to_lower(sub) + "/";
    if (!sub.empty() && !rg.empty()) prefix += to_lower(rg) + "/";
    std::vector<Workspace> found;
    for (const Record& record : TURNOUT_TRY(scan_all(store_, Table::Workspace, prefix))) {
        Workspace workspace = TURNOUT_TRY(workspace_from(record));
        workspaces_[record.key] = workspace;
        if (rg.empty() || equal_ignoring_case(workspace.resource_group, rg))
            found.push_back(std::move(workspace));
    }
    return found;
}

Task<Result<Workspace>> Assets::create_workspace(Workspace wanted) {
    TURNOUT_CO_TRY_VOID(check_characters(wanted.name, "workspace", "_-", 2, 33));
    TURNOUT_CO_TRY_VOID(check_characters(wanted.resource_group, "resource group", "._-()", 1, 90));
    TURNOUT_CO_TRY_VOID(check_characters(wanted.subscription, "subscription", "-", 1, 64));
    wanted.id = to_hex(random_.bytes(6));
    wanted.guid = random_.uuid();
    wanted.created = clock_.now();
    if (!wanted.tags.is_object()) wanted.tags = Json::object();
    const std::string key = workspace_key(wanted.subscription, wanted.resource_group, wanted.name);
    const auto datastore = [&](std::string container, bool is_default) {
        return Json::object({
                                {"datastoreType", "AzureBlob"},
                                {"containerName", std::move(container)},
                                {"isDefault", is_default},
                                {"credentials", Json::object({{"credentialsType", "Sas"}})},
                                {"tags", Json::object()},
                                {"properties", Json::object()},
                                {"created", wanted.created.micros},
                            })
            .dump();
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

Task<Result<Workspace>> Assets::update_workspace(Workspace changed) {
    const std::string key =
        workspace_key(changed.subscription, changed.resource_group, changed.name);
    for (int attempt = 0; attempt < kMaxTries; ++attempt) {
        TURNOUT_CO_TRY(const auto record, store_.get(Table::Workspace, key));
        if (!record) co_return not_found("workspace '" + changed.name + "' does not exist", "name");
        TURNOUT_CO_TRY(Workspace now, workspace_from(*record));
        now.friendly_name = changed.friendly_name;
        now.description = changed.description;
        now.tags = changed.tags;
        Batch batch;
        batch.put(Table::Workspace, key, to_json(now).dump(), record->revision);
        auto committed = co_await store_.commit(std::move(batch));
        if (committed) {
            workspaces_[key] = now;
            co_return now;
        }
        if (committed.error().code != Code::Conflict)
            co_return Failure(std::move(committed).error());
    }
    co_return busy("the workspace");
}

// ---- datastores

Result<std::optional<Json>> Assets::find_datastore(std::string_view wsid, std::string_view name) {
    auto record =
        TURNOUT_TRY(store_.get(Table::Datastore, std::string(wsid) + "/" + std::string(name)));
    if (!record) return std::nullopt;
    return TURNOUT_TRY(parse_json(record->value));
}

Result<std::vector<std::pair<std::string, Json>>> Assets::list_datastores(std::string_view wsid) {
    const std::string prefix = std::string(wsid) + "/";
    std::vector<std::pair<std::string, Json>> found;
    for (const Record& record : TURNOUT_TRY(scan_all(store_, Table::Datastore, prefix)))
        found.emplace_back(record.key.substr(prefix.size()), TURNOUT_TRY(parse_json(record.value)));
    return found;
}

Task<Result<bool>> Assets::put_datastore(std::string wsid, std::string name, Json properties) {
    TURNOUT_CO_TRY_VOID(check_characters(name, "datastore", "_", 1, 255));
    if (!properties.is_object()) co_return invalid("a datastore needs 'properties'", "properties");
    for (int attempt = 0; attempt < kMaxTries; ++attempt) {
        TURNOUT_CO_TRY(const auto record, store_.get(Table::Datastore, wsid + "/" + name));
        Json document = properties;
        std::int64_t created = clock_.now().micros;
        if (record) {
            TURNOUT_CO_TRY(const Json before, parse_json(record->value));
            created = before.at("created").as_int(created);
            // The default one stays so until another is made the default.
            if (before.at("isDefault").as_bool()) document.set("isDefault", true);
        }
        document.set("created", created);
        Batch batch;
        if (document.at("isDefault").as_bool()) {
            const std::string prefix = wsid + "/";
            TURNOUT_CO_TRY(const auto others, scan_all(store_, Table::Datastore, prefix));
            for (const Record& other : others) {
                if (other.key == prefix + name) continue;
                TURNOUT_CO_TRY(Json changed, parse_json(other.value));
                if (!changed.at("isDefault").as_bool()) continue;
                changed.set("isDefault", false);
                batch.put(Table::Datastore, other.key, changed.dump(), other.revision);
            }
        }
        batch.put(Table::Datastore, wsid + "/" + name, document.dump(),
                  record ? record->revision : kAbsent);
        auto committed = co_await store_.commit(std::move(batch));
        if (committed) co_return !record.has_value();
        if (committed.error().code != Code::Conflict)
            co_return Failure(std::move(committed).error());
    }
    co_return busy("the datastore");
}

Task<Result<void>> Assets::delete_datastore(std::string wsid, std::string name) {
    if (name == kBlobStore || name == kArtifactStore)
        co_return fail(Code::FailedPrecondition, "DatastoreInUse",
                       "datastore '" + name + "' belongs to the workspace and stays as long as it",
                       "name");
    TURNOUT_CO_TRY(const auto record, store_.get(Table::Datastore, wsid + "/" + name));
    if (!record) co_return not_found("datastore '" + name + "' does not exist", "name");
    TURNOUT_CO_TRY(const Json properties, parse_json(record->value));
    if (properties.at("isDefault").as_bool())
        co_return fail(
            Code::FailedPrecondition, "DatastoreInUse",
            "datastore '" + name + "' is the default one: make another the default first", "name");
    Batch batch;
    batch.erase(Table::Datastore, wsid + "/" + name, record->revision);
    TURNOUT_CO_TRY([[maybe_unused]] const auto revision, co_await store_.commit(std::move(batch)));
    co_return Result<void>();
}

// ---- versioned assets

Result<std::optional<AssetContainer>> Assets::find_container(std::string_view wsid,
                                                             std::string_view kind,
                                                             std::string_view name) {
    auto record =
        TURNOUT_TRY(store_.get(Table::AssetContainer, std::string(wsid) + "/" + std::string(kind) +
                                                          "/" + std::string(name)));
    if (!record) return std::nullopt;
    return TURNOUT_TRY(container_from(*record));
}

Result<std::vector<AssetContainer>> Assets::list_containers(std::string_view wsid,
                                                            std::string_view kind) {
    std::vector<AssetContainer> found;
    for (const Record& record : TURNOUT_TRY(scan_all(
             store_, Table::AssetContainer, std::string(wsid) + "/" + std::string(kind) + "/")))
        found.push_back(TURNOUT_TRY(container_from(record)));
    return found;
}

Task<Result<bool>> Assets::put_container(std::string wsid, AssetKind kind,
                                         AssetContainer container) {
    TURNOUT_CO_TRY_VOID(check_asset_name(container.name, kind));
    const std::string key = wsid + "/" + kind + "/" + container.name;
    for (int attempt = 0; attempt < kMaxTries; ++attempt) {
        TURNOUT_CO_TRY(const auto record, store_.get(Table::AssetContainer, key));
        AssetContainer next = container;
        next.latest_version.clear();
        next.next_version = "1";
        next.created = clock_.now();
        if (record) {
            TURNOUT_CO_TRY(const AssetContainer before, container_from(*record));
            next.latest_version = before.latest_version;
            next.next_version = before.next_version;
            next.created = before.created;
        }
        Batch batch;
        batch.put(Table::AssetContainer, key, to_json(next).dump(),
                  record ? record->revision : kAbsent);
        auto committed = co_await store_.commit(std::move(batch));
        if (committed) co_return !record.has_value();
        if (committed.error().code != Code::Conflict)
            co_return Failure(std::move(committed).error());
    }
    co_return busy("the asset");
}

Result<std::optional<AssetVersion>> Assets::find_version(std::string_view wsid,
                                                         std::string_view kind,
                                                         std::string_view name,
                                                         std::string_view version) {
    auto record = TURNOUT_TRY(
        store_.get(Table::AssetVersion, std::string(wsid) + "/" + std::string(kind) + "/" +
                                            std::string(name) + "/" + std::string(version)));
    if (!record) return std::nullopt;
    return TURNOUT_TRY(version_from(*record));
}

Result<std::optional<AssetVersion>> Assets::resolve(std::string_view wsid, std::string_view kind,
                                                    std::string_view name,
                                                    std::string_view version_or_label) {
    if (version_or_label != "latest") return find_version(wsid, kind, name, version_or_label);
    const auto container = TURNOUT_TRY(find_container(wsid, kind, name));
    if (!container || container->latest_version.empty()) return std::nullopt;
    return find_version(wsid, kind, name, container->latest_version);
}

Result<std::vector<AssetVersion>> Assets::list_versions(std::string_view wsid,
                                                        std::string_view kind,
                                                        std::string_view name) {
    std::vector<AssetVersion> found;
    for (const Record& record : TURNOUT_TRY(
             scan_all(store_, Table::AssetVersion,
                      std::string(wsid) + "/" + std::string(kind) + "/" + std::string(name) + "/")))
        found.push_back(TURNOUT_TRY(version_from(record)));
    std::ranges::stable_sort(
        found, [](const AssetVersion& a, const AssetVersion& b) { return a.created > b.created; });
    return found;
}

Task<Result<bool>> Assets::put_version(std::string wsid, AssetKind kind, AssetVersion version) {
    TURNOUT_CO_TRY_VOID(check_asset_name(version.name, kind));
    TURNOUT_CO_TRY_VOID(check_asset_name(version.version, kind + " version"));
    if (!version.properties.is_object())
        co_return invalid("the asset needs 'properties'", "properties");
    const std::string container_key = wsid + "/" + kind + "/" + version.name;
    const std::string version_key = container_key + "/" + version.version;
    for (int attempt = 0; attempt < kMaxTries; ++attempt) {
        TURNOUT_CO_TRY(const auto record, store_.get(Table::AssetVersion, version_key));
        AssetVersion next = version;
        next.created = clock_.now();
        Batch batch;
        if (record) {
            TURNOUT_CO_TRY(const AssetVersion before, version_from(*record));
            if (!identity_of(kind, before.properties)
                     .equal_unordered(identity_of(kind, version.properties)))
                co_return fail(
                    Code::Conflict, "ResourceExists",
                    kind + " '" + version.name + "' has a version '" + version.version +
                        "' with another definition, which stays as it is: choose another version",
                    "version");
            next.created = before.created;
            if (before.archived == next.archived && before.properties == next.properties)
                co_return false;
        } else {
            TURNOUT_CO_TRY(const auto container_record,
                           store_.get(Table::AssetContainer, container_key));
            AssetContainer container;
            container.name = version.name;
            container.next_version = "1";
            container.created = next.created;
            if (container_record) {
                TURNOUT_CO_TRY(container, container_from(*container_record));
            }
            container.latest_version = version.version;
            const auto number = as_number(version.version);
            if (number && *number >= as_number(container.next_version).value_or(1))
                container.next_version = std::to_string(*number + 1);
            batch.put(Table::AssetContainer, container_key, to_json(container).dump(),
                      container_record ? container_record->revision : kAbsent);
            if (kind == "codes") {
                const std::string hash =
                    to_lower(version.properties.at("properties").at("hash_sha256").as_view());
                TURNOUT_CO_TRY(const auto known, store_.get(Table::CodeHash, wsid + "/" + hash));
                if (!hash.empty() && hash.find('/') == std::string::npos && !known)
                    batch.put(Table::CodeHash, wsid + "/" + hash,
                              Json::object({{"name", version.name}, {"version", version.version}})
                                  .dump());
            }
        }
        batch.put(Table::AssetVersion, version_key, to_json(next).dump(),
                  record ? record->revision : kAbsent);
        auto committed = co_await store_.commit(std::move(batch));
        if (committed) co_return !record.has_value();
        if (committed.error().code != Code::Conflict)
            co_return Failure(std::move(committed).error());
    }
    co_return busy("the asset");
}

Result<std::optional<AssetVersion>> Assets::code_by_hash(std::string_view wsid,
                                                         std::string_view sha256) {
    auto record =
        TURNOUT_TRY(store_.get(Table::CodeHash, std::string(wsid) + "/" + to_lower(sha256)));
    if (!record) return std::nullopt;
    const Json found = TURNOUT_TRY(parse_json(record->value));
    return find_version(wsid, "codes", found.at("name").as_view(), found.at("version").as_view());
}

}  // namespace turnout
