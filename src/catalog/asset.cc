// How an asset and its versions are changed in their turn, and what of them is written then.
#include "catalog/asset.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "catalog/rows.h"
#include "resources/documents.h"
#include "resources/rules.h"

namespace turnout {
namespace {

// Who made it, and its last change: of a container and of a version alike.
template <class T>
void put_change(Json& row, const T& asset) {
    if (asset.modified > asset.created) row.set("modified", asset.modified.micros);
    put_authorship(row, asset.made);
}
template <class T>
void read_change(const Json& row, T& asset) {
    asset.modified = Instant{row.at("modified").as_int()};
    asset.made = authorship_of(row);
}

Json document_of(const AssetContainer& container) {
    Json json = Json::object({
        {"name", container.name},
        {"latestVersion", container.latest_version},
        {"nextVersion", container.next_version},
        {"archived", container.archived},
        {"properties", container.properties},
        {"created", container.created.micros},
    });
    put_change(json, container);
    return json;
}

Json document_of(const AssetVersion& version) {
    Json json = Json::object({
        {"name", version.name},
        {"version", version.version},
        {"properties", version.properties},
        {"archived", version.archived},
        {"created", version.created.micros},
    });
    put_change(json, version);
    if (!version.content.empty()) json.set("content", version.content);
    return json;
}

// What makes an asset the one it is: all but what may be changed later, what the server adds to its
// answers, and members that say nothing.
Json identity_of(std::string_view kind, const Json& properties) {
    Json identity = Json::object();
    for (const auto& [name, value] : properties.members()) {
        if (value.is_null() || name == "tags" || name == "description" || name == "isArchived" ||
            name == "properties" || name == "stage" || name == "provisioningState" ||
            name == "environmentType" || name == "resolved" || name == "intellectualProperty" ||
            name == "autoDeleteSetting" || name == "jobName")
            continue;
        if (name == "isAnonymous" && !value.as_bool()) continue;
        if (name == "osType" && equal_ignoring_case(value.as_view(), "Linux")) continue;
        if (name == "flavors" && value.members().empty()) continue;
        identity.set(name, value);
    }
    // There such things are said once more, with what made it.
    if (const std::string_view again = catalog::definition_member(kind);
        !again.empty() && identity.has(again))
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

namespace catalog {

Result<AssetContainer> container_from(const Record& record) {
    const Json json = TURNOUT_TRY(parse_json(record.value));
    AssetContainer container;
    container.name = json.at("name").as_string();
    container.latest_version = json.at("latestVersion").as_string();
    container.next_version = json.at("nextVersion").as_string("1");
    container.archived = json.at("archived").as_bool();
    if (json.at("properties").is_object()) container.properties = json.at("properties");
    container.created = Instant{json.at("created").as_int()};
    read_change(json, container);
    return container;
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
    read_change(json, version);
    version.revision = record.revision;
    return version;
}

std::string word_of_asset(std::string_view kind) {
    const resources::DocumentKind* row = resources::kind_of_path(kind);
    return std::string(row != nullptr ? row->one : kind);
}

std::string_view definition_member(std::string_view kind) {
    const resources::DocumentKind* row = resources::kind_of_path(kind);
    return row != nullptr ? row->definition : std::string_view();
}

bool same_definition(std::string_view kind, const Json& one, const Json& other) {
    return identity_of(kind, one).equal_unordered(identity_of(kind, other));
}

}  // namespace catalog

void erase_aliases(AssetContainer& container, std::string_view version) {
    Json aliases = Json::object();
    for (const auto& [alias, of] : container.properties.at(kAliases).members())
        if (of.as_view() != version) aliases.set(alias, of);
    if (container.properties.has(kAliases)) container.properties.set(kAliases, std::move(aliases));
}

Result<void> check_asset_name(std::string_view name, std::string_view what) {
    return check_name(resources::kName, name, what);
}

Asset::Asset(Store& store, Instant now, std::string wsid, AssetKind kind, std::string name,
             Author by)
    : store_(store),
      now_(now),
      wsid_(std::move(wsid)),
      kind_(std::move(kind)),
      name_(std::move(name)),
      by_(std::move(by)) {}

void Asset::make() {
    if (container) return;
    container.emplace();
    container->name = name_;
    container->next_version = "1";
    container->created = now_;
    container->made = {by_, by_};
}

Result<void> Asset::read() {
    record_ = TURNOUT_TRY(store_.get(Table::AssetContainer, key()));
    if (record_) container = TURNOUT_TRY(catalog::container_from(*record_));
    return {};
}

Result<Asset::Row*> Asset::row(const std::string& version) {
    if (const auto known = rows_.find(version); known != rows_.end()) return &known->second;
    Row row;
    row.record = TURNOUT_TRY(store_.get(Table::AssetVersion, key() + "/" + version));
    if (row.record) row.version = TURNOUT_TRY(catalog::version_from(*row.record));
    return &rows_.emplace(version, std::move(row)).first->second;
}

Result<AssetVersion*> Asset::find(const std::string& version) {
    Row* const found = TURNOUT_TRY(row(version));
    return found->version ? &*found->version : nullptr;
}

Result<std::vector<AssetVersion*>> Asset::versions() {
    const std::string prefix = key() + "/";
    for (Record& record : TURNOUT_TRY(catalog::scan_all(store_, Table::AssetVersion, prefix))) {
        const auto [at, is_new] = rows_.try_emplace(record.key.substr(prefix.size()));
        if (!is_new) continue;
        at->second.version = TURNOUT_TRY(catalog::version_from(record));
        at->second.record = std::move(record);
    }
    std::vector<AssetVersion*> found;
    for (auto& [number, row] : rows_)
        if (row.version) found.push_back(&*row.version);
    std::ranges::stable_sort(found, [](const AssetVersion* a, const AssetVersion* b) {
        return a->created > b->created;
    });
    return found;
}

Result<void> Asset::add(AssetVersion version) {
    const std::string word = catalog::word_of_asset(kind_);
    TURNOUT_TRY(check_asset_name(name_, word));
    TURNOUT_TRY(check_asset_name(version.version, word + " version"));
    Row* const place = TURNOUT_TRY(row(version.version));
    if (place->version)
        return fail(Code::Conflict, "ResourceExists",
                    word + " '" + name_ + "' has a version '" + version.version + "'", "version");
    version.name = name_;
    version.created = now_;
    version.made = {by_, by_};
    make();
    container->latest_version = version.version;
    const auto number = as_number(version.version);
    if (number && *number >= as_number(container->next_version).value_or(1))
        container->next_version = std::to_string(*number + 1);
    place->version = std::move(version);
    return {};
}

Result<void> Asset::erase(const std::string& version) {
    Row* const doomed = TURNOUT_TRY(row(version));
    if (!doomed->version)
        return not_found(
            catalog::word_of_asset(kind_) + " '" + name_ + "' has no version '" + version + "'",
            "version");
    doomed->version.reset();
    if (container) erase_aliases(*container, version);
    return {};
}

// Nobody is to be told any more that this code is here.
Result<void> Asset::forget_hash(Batch& batch, const AssetVersion& version) {
    const std::string hash = hash_of_code(version.properties);
    if (kind_ != "codes" || hash.empty()) return {};
    const auto known = TURNOUT_TRY(store_.get(Table::CodeHash, wsid_ + "/" + hash));
    if (!known) return {};
    const Json found = TURNOUT_TRY(parse_json(known->value));
    if (found.at("name").as_view() == version.name &&
        found.at("version").as_view() == version.version)
        batch.erase(Table::CodeHash, known->key, known->revision);
    return {};
}

// Whoever registers the same content next is told that it is here.
Result<void> Asset::remember_hash(Batch& batch, const AssetVersion& version) {
    const std::string hash = hash_of_code(version.properties);
    if (kind_ != "codes" || hash.empty() || hash.find('/') != std::string::npos) return {};
    const auto known = TURNOUT_TRY(store_.get(Table::CodeHash, wsid_ + "/" + hash));
    if (!known)
        batch.put(Table::CodeHash, wsid_ + "/" + hash,
                  Json::object({{"name", version.name}, {"version", version.version}}).dump());
    return {};
}

Result<Batch> Asset::changes() {
    Batch batch;
    bool some_go = false;
    const auto sign = [&](auto& changed) {
        changed.modified = now_;
        changed.made.modified = by_;
    };
    for (auto& [number, row] : rows_) {
        const std::string place = key() + "/" + number;
        if (!row.record) {
            if (!row.version) continue;
            batch.put(Table::AssetVersion, place, document_of(*row.version).dump(), kAbsent);
            TURNOUT_TRY(remember_hash(batch, *row.version));
            continue;
        }
        const AssetVersion before = TURNOUT_TRY(catalog::version_from(*row.record));
        if (!row.version) {
            some_go = true;
            batch.erase(Table::AssetVersion, place, row.record->revision);
            TURNOUT_TRY(forget_hash(batch, before));
            continue;
        }
        if (document_of(*row.version) == document_of(before)) continue;
        if (!catalog::same_definition(kind_, before.properties, row.version->properties))
            return fail(Code::Conflict, "ResourceExists",
                        "the definition of " + catalog::word_of_asset(kind_) + " '" + name_ +
                            "' version '" + number + "' stays as it is: make another version",
                        "version");
        sign(*row.version);
        batch.put(Table::AssetVersion, place, document_of(*row.version).dump(),
                  row.record->revision);
    }
    if (some_go && container) {
        const auto left = TURNOUT_TRY(versions());
        if (left.empty())
            container.reset();
        else
            container->latest_version = left.front()->version;
    }
    if (!container) {
        if (record_) batch.erase(Table::AssetContainer, key(), record_->revision);
    } else if (!record_) {
        TURNOUT_TRY(check_asset_name(name_, catalog::word_of_asset(kind_)));
        batch.put(Table::AssetContainer, key(), document_of(*container).dump(), kAbsent);
    } else if (document_of(*container) !=
               document_of(TURNOUT_TRY(catalog::container_from(*record_)))) {
        sign(*container);
        batch.put(Table::AssetContainer, key(), document_of(*container).dump(), record_->revision);
    }
    if (!batch.writes.empty())
        batch.writes.insert(batch.writes.end(), together.begin(), together.end());
    return batch;
}

}  // namespace turnout
