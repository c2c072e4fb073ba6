// Documents with versions: each version stays as it is; the container counts them.
#include <algorithm>

#include "base/text.h"
#include "catalog/catalog.h"
#include "catalog/rows.h"
#include "resources/documents.h"
#include "resources/rules.h"

namespace turnout {
namespace {

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
    Json json = Json::object({
        {"name", version.name},
        {"version", version.version},
        {"properties", version.properties},
        {"archived", version.archived},
        {"created", version.created.micros},
    });
    if (!version.content.empty()) json.set("content", version.content);
    return json;
}

Result<AssetVersion> version_from(const Record& record) {
    const Json json = TURNOUT_TRY(parse_json(record.value));
    AssetVersion version;
    version.name = json.at("name").as_string();
    version.version = json.at("version").as_string();
    if (json.at("properties").is_object()) version.properties = json.at("properties");
    version.archived = json.at("archived").as_bool();
    version.content = json.at("content").as_string();
    version.created = Instant{json.at("created").as_int()};
    version.revision = record.revision;
    return version;
}

// "data asset" for "data".
std::string word_of(std::string_view kind) {
    const resources::DocumentKind* row = resources::kind_of_path(kind);
    return std::string(row != nullptr ? row->one : kind);
}

// The member of its properties that says it once more; "" if it has none.
std::string_view definition_of(std::string_view kind) {
    const resources::DocumentKind* row = resources::kind_of_path(kind);
    return row != nullptr ? row->definition : std::string_view();
}

// What makes an asset the one it is: all but what may be changed later, what the server adds to its
// answers, and members that say nothing.
Json identity_of(std::string_view kind, const Json& properties) {
    Json identity = Json::object();
    for (const auto& [name, value] : properties.members()) {
        if (value.is_null() || name == "tags" || name == "description" || name == "isArchived" ||
            name == "properties" || name == "stage" || name == "provisioningState" ||
            name == "environmentType" || name == "intellectualProperty" ||
            name == "autoDeleteSetting" || name == "jobName")
            continue;
        if (name == "isAnonymous" && !value.as_bool()) continue;
        if (name == "osType" && equal_ignoring_case(value.as_view(), "Linux")) continue;
        if (name == "flavors" && value.members().empty()) continue;
        identity.set(name, value);
    }
    // There such things are said once more, with what made it.
    if (const std::string_view again = definition_of(kind); !again.empty() && identity.has(again))
        for (const std::string_view name : {"display_name", "description", "tags", "properties",
                                            "_source", "$schema", "id", "creation_context"})
            identity[again].erase(name);
    return identity;
}

std::string hash_of_code(const Json& properties) {
    return to_lower(properties.at("properties").at("hash_sha256").as_view());
}

std::optional<std::int64_t> as_number(std::string_view version) {
    const std::optional<std::int64_t> number = parse_whole_number(version);
    return number && *number >= 0 ? number : std::nullopt;
}

}  // namespace

Result<void> check_asset_name(std::string_view name, std::string_view what) {
    return check_name(resources::kName, name, what);
}

Result<std::optional<AssetContainer>> Catalog::find_container(std::string_view wsid,
                                                              std::string_view kind,
                                                              std::string_view name) {
    auto record =
        TURNOUT_TRY(store_.get(Table::AssetContainer, std::string(wsid) + "/" + std::string(kind) +
                                                          "/" + std::string(name)));
    if (!record) return std::nullopt;
    return TURNOUT_TRY(container_from(*record));
}

Result<std::vector<AssetContainer>> Catalog::list_containers(std::string_view wsid,
                                                             std::string_view kind) {
    std::vector<AssetContainer> found;
    for (const Record& record : TURNOUT_TRY(catalog::scan_all(
             store_, Table::AssetContainer, std::string(wsid) + "/" + std::string(kind) + "/")))
        found.push_back(TURNOUT_TRY(container_from(record)));
    return found;
}

Task<Result<bool>> Catalog::put_container(std::string wsid, AssetKind kind,
                                          AssetContainer container) {
    TURNOUT_CO_TRY_VOID(check_asset_name(container.name, word_of(kind)));
    const std::string key = wsid + "/" + kind + "/" + container.name;
    Turns::Turn turn(turns_, key);
    co_await turn;
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
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    co_return !record.has_value();
}

Result<std::optional<AssetVersion>> Catalog::find_version(std::string_view wsid,
                                                          std::string_view kind,
                                                          std::string_view name,
                                                          std::string_view version) {
    auto record = TURNOUT_TRY(
        store_.get(Table::AssetVersion, std::string(wsid) + "/" + std::string(kind) + "/" +
                                            std::string(name) + "/" + std::string(version)));
    if (!record) return std::nullopt;
    return TURNOUT_TRY(version_from(*record));
}

Result<std::optional<AssetVersion>> Catalog::resolve(std::string_view wsid, std::string_view kind,
                                                     std::string_view name,
                                                     std::string_view version_or_label) {
    if (version_or_label != "latest") return find_version(wsid, kind, name, version_or_label);
    const auto container = TURNOUT_TRY(find_container(wsid, kind, name));
    if (!container || container->latest_version.empty()) return std::nullopt;
    return find_version(wsid, kind, name, container->latest_version);
}

Result<std::vector<AssetVersion>> Catalog::list_versions(std::string_view wsid,
                                                         std::string_view kind,
                                                         std::string_view name) {
    std::vector<AssetVersion> found;
    for (const Record& record : TURNOUT_TRY(catalog::scan_all(
             store_, Table::AssetVersion,
             std::string(wsid) + "/" + std::string(kind) + "/" + std::string(name) + "/")))
        found.push_back(TURNOUT_TRY(version_from(record)));
    std::ranges::stable_sort(
        found, [](const AssetVersion& a, const AssetVersion& b) { return a.created > b.created; });
    return found;
}

Task<Result<bool>> Catalog::put_version(std::string wsid, AssetKind kind, AssetVersion version,
                                        std::vector<Write> together) {
    TURNOUT_CO_TRY_VOID(check_asset_name(version.name, word_of(kind)));
    TURNOUT_CO_TRY_VOID(check_asset_name(version.version, word_of(kind) + " version"));
    if (!version.properties.is_object())
        co_return invalid("the asset needs 'properties'", "properties");
    const std::string container_key = wsid + "/" + kind + "/" + version.name;
    const std::string version_key = container_key + "/" + version.version;
    Turns::Turn turn(turns_, container_key);
    co_await turn;
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
                word_of(kind) + " '" + version.name + "' has a version '" + version.version +
                    "' with another definition, which stays as it is: choose another version",
                "version");
        next.created = before.created;
        next.content = before.content;
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
        batch.writes.insert(batch.writes.end(), together.begin(), together.end());
        if (kind == "codes") {
            const std::string hash = hash_of_code(version.properties);
            TURNOUT_CO_TRY(const auto known, store_.get(Table::CodeHash, wsid + "/" + hash));
            if (!hash.empty() && hash.find('/') == std::string::npos && !known)
                batch.put(
                    Table::CodeHash, wsid + "/" + hash,
                    Json::object({{"name", version.name}, {"version", version.version}}).dump());
        }
    }
    batch.put(Table::AssetVersion, version_key, to_json(next).dump(),
              record ? record->revision : kAbsent);
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    co_return !record.has_value();
}

namespace {

Result<void> check_changes(std::string_view kind, bool of_version, const Json& changes) {
    if (!changes.is_object()) return invalid("the changes are no object", "properties");
    const Json document = Json::object({{"properties", changes}});
    TURNOUT_TRY(resources::check_rest(resources::any_document(), document));
    for (const auto& [key, value] : changes.members())
        if (key != "tags" && key != "properties" && key != "description" && key != "isArchived" &&
            !(of_version && (key == "stage" || key == definition_of(kind))))
            return invalid("properties." + key + ": of " + word_of(kind) +
                               " only description, tags and isArchived can change",
                           "properties." + key);
    for (const std::string name : {"tags", "properties"})
        for (const auto& [key, value] : changes.at(name).members())
            if (!value.is_string() && !value.is_null())
                return invalid("properties." + name + "." + key + ": expected a text, found " +
                                   value.dump().substr(0, 80),
                               "properties." + name + "." + key);
    return {};
}

}  // namespace

Task<Result<void>> Catalog::update(std::string wsid, AssetKind kind, std::string name,
                                   std::string version, Json changes) {
    TURNOUT_CO_TRY_VOID(check_changes(kind, !version.empty(), changes));
    const std::string container_key = wsid + "/" + kind + "/" + name;
    const Table table = version.empty() ? Table::AssetContainer : Table::AssetVersion;
    const std::string row_key = version.empty() ? container_key : container_key + "/" + version;
    Turns::Turn turn(turns_, container_key);
    co_await turn;
    TURNOUT_CO_TRY(const auto record, store_.get(table, row_key));
    if (!record)
        co_return not_found(word_of(kind) + " '" + name + "' does not exist" +
                                (version.empty() ? "" : ", or has no version '" + version + "'"),
                            version.empty() ? "name" : "version");
    std::optional<bool> archived;  // null says nothing: clients send members that they do not set
    if (const Json& said = changes.at("isArchived"); said.is_bool()) archived = said.as_bool();
    changes.erase("isArchived");
    Batch batch;
    if (version.empty()) {
        TURNOUT_CO_TRY(AssetContainer container, container_from(*record));
        container.properties.merge(changes);
        container.archived = archived.value_or(container.archived);
        batch.put(table, row_key, to_json(container).dump(), record->revision);
    } else {
        TURNOUT_CO_TRY(AssetVersion next, version_from(*record));
        const Json before = identity_of(kind, next.properties);
        next.properties.merge(changes);
        if (!before.equal_unordered(identity_of(kind, next.properties)))
            co_return fail(Code::Conflict, "ResourceExists",
                           "the definition of " + word_of(kind) + " '" + name + "' version '" +
                               version + "' stays as it is: make another version",
                           "version");
        next.archived = archived.value_or(next.archived);
        batch.put(table, row_key, to_json(next).dump(), record->revision);
    }
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    co_return Result<void>();
}

Task<Result<void>> Catalog::delete_version(std::string wsid, AssetKind kind, std::string name,
                                           std::string version) {
    const std::string container_key = wsid + "/" + kind + "/" + name;
    Turns::Turn turn(turns_, container_key);
    co_await turn;
    TURNOUT_CO_TRY(const auto record,
                   store_.get(Table::AssetVersion, container_key + "/" + version));
    if (!record)
        co_return not_found(word_of(kind) + " '" + name + "' has no version '" + version + "'",
                            "version");
    TURNOUT_CO_TRY(const AssetVersion doomed, version_from(*record));
    TURNOUT_CO_TRY(const auto container_record, store_.get(Table::AssetContainer, container_key));
    TURNOUT_CO_TRY(const auto versions, list_versions(wsid, kind, name));
    Batch batch;
    batch.erase(Table::AssetVersion, record->key, record->revision);
    if (container_record && versions.size() <= 1) {
        batch.erase(Table::AssetContainer, container_key, container_record->revision);
    } else if (container_record) {
        TURNOUT_CO_TRY(AssetContainer container, container_from(*container_record));
        for (const AssetVersion& other : versions)  // the newest first
            if (other.version != version) {
                container.latest_version = other.version;
                break;
            }
        batch.put(Table::AssetContainer, container_key, to_json(container).dump(),
                  container_record->revision);
    }
    TURNOUT_CO_TRY_VOID(forget_hash(batch, wsid, kind, doomed));
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    co_return Result<void>();
}

Task<Result<std::size_t>> Catalog::delete_container(std::string wsid, AssetKind kind,
                                                    std::string name) {
    const std::string container_key = wsid + "/" + kind + "/" + name;
    Turns::Turn turn(turns_, container_key);
    co_await turn;
    TURNOUT_CO_TRY(const auto record, store_.get(Table::AssetContainer, container_key));
    TURNOUT_CO_TRY(const auto versions, list_versions(wsid, kind, name));
    if (!record && versions.empty())
        co_return not_found(word_of(kind) + " '" + name + "' does not exist", "name");
    Batch batch;
    if (record) batch.erase(Table::AssetContainer, container_key, record->revision);
    for (const AssetVersion& version : versions) {
        batch.erase(Table::AssetVersion, container_key + "/" + version.version, version.revision);
        TURNOUT_CO_TRY_VOID(forget_hash(batch, wsid, kind, version));
    }
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    co_return versions.size();
}

// Nobody is to be told any more that this code is here.
Result<void> Catalog::forget_hash(Batch& batch, const std::string& wsid, const std::string& kind,
                                  const AssetVersion& version) {
    const std::string hash = hash_of_code(version.properties);
    if (kind != "codes" || hash.empty()) return {};
    const auto known = TURNOUT_TRY(store_.get(Table::CodeHash, wsid + "/" + hash));
    if (!known) return {};
    const Json found = TURNOUT_TRY(parse_json(known->value));
    if (found.at("name").as_view() == version.name &&
        found.at("version").as_view() == version.version)
        batch.erase(Table::CodeHash, known->key, known->revision);
    return {};
}

Result<std::optional<AssetVersion>> Catalog::code_by_hash(std::string_view wsid,
                                                          std::string_view sha256) {
    auto record =
        TURNOUT_TRY(store_.get(Table::CodeHash, std::string(wsid) + "/" + to_lower(sha256)));
    if (!record) return std::nullopt;
    const Json found = TURNOUT_TRY(parse_json(record->value));
    return find_version(wsid, "codes", found.at("name").as_view(), found.at("version").as_view());
}

}  // namespace turnout
