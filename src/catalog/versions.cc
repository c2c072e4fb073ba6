// Documents with versions: each version stays as it is; the container counts them.
#include <algorithm>

#include "base/text.h"
#include "catalog/catalog.h"
#include "catalog/rows.h"
#include "resources/documents.h"
#include "resources/rules.h"

namespace turnout {
namespace {

using catalog::container_from;
using catalog::same_definition;
using catalog::version_from;
using catalog::word_of_asset;

// Members that MLflow's doors wrote go from `before` to what is to replace it.
void keep_mlflow_members(const Json& before, Json& next) {
    for (const auto& [name, value] : before.members())
        if (name.starts_with(kMlflowMembers)) {
            if (!next.is_object()) next = Json::object();
            next.set(name, value);
        }
}

}  // namespace

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

Task<Result<void>> Catalog::change(std::string wsid, AssetKind kind, std::string name,
                                   AssetChange change, Author by) {
    Turns::Turn turn(turns_, wsid + "/" + kind + "/" + name);
    co_await turn;
    Asset now(store_, clock_.now(), std::move(wsid), std::move(kind), std::move(name),
              std::move(by));
    TURNOUT_CO_TRY_VOID(now.read());
    TURNOUT_CO_TRY_VOID(change(now));
    TURNOUT_CO_TRY(Batch batch, now.changes());
    if (!batch.writes.empty()) {
        TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
        ++changes_;
    }
    co_return Result<void>();
}

Task<Result<bool>> Catalog::put_container(std::string wsid, AssetKind kind,
                                          AssetContainer container) {
    bool is_new = false;
    AssetChange put = [&](Asset& now) -> Result<void> {
        is_new = !now.container;
        now.make();
        keep_mlflow_members(now.container->properties, container.properties);
        now.container->properties = container.properties;
        now.container->archived = container.archived;
        return {};
    };
    TURNOUT_CO_TRY_VOID(
        co_await change(wsid, kind, container.name, std::move(put), container.made.modified));
    co_return is_new;
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
    if (!version.properties.is_object())
        co_return invalid("the asset needs 'properties'", "properties");
    bool is_new = false;
    AssetChange put = [&](Asset& now) -> Result<void> {
        AssetVersion* const before = TURNOUT_TRY(now.find(version.version));
        is_new = before == nullptr;
        if (is_new) {
            now.together = together;
            return now.add(version);
        }
        if (!same_definition(kind, before->properties, version.properties))
            return fail(Code::Conflict, "ResourceExists",
                        word_of_asset(kind) + " '" + version.name + "' has a version '" +
                            version.version +
                            "' with another definition, which stays as it is: choose another "
                            "version",
                        "version");
        Json& more = version.properties["properties"];
        keep_mlflow_members(before->properties.at("properties"), more);
        if (more.is_null()) version.properties.erase("properties");
        before->properties = version.properties;
        before->archived = version.archived;
        return {};
    };
    TURNOUT_CO_TRY_VOID(
        co_await change(wsid, kind, version.name, std::move(put), version.made.modified));
    co_return is_new;
}

namespace {

Result<void> check_changes(std::string_view kind, bool of_version, const Json& changes) {
    if (!changes.is_object()) return invalid("the changes are no object", "properties");
    const Json document = Json::object({{"properties", changes}});
    TURNOUT_TRY(resources::check_rest(resources::any_document(), document));
    for (const auto& [key, value] : changes.members())
        if (key != "tags" && key != "properties" && key != "description" && key != "isArchived" &&
            !(of_version && (key == "stage" || key == catalog::definition_member(kind))))
            return invalid("properties." + key + ": of " + word_of_asset(kind) +
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
                                   std::string version, Json changes, Author by) {
    TURNOUT_CO_TRY_VOID(check_changes(kind, !version.empty(), changes));
    std::optional<bool> archived;  // null says nothing: clients send members that they do not set
    if (const Json& said = changes.at("isArchived"); said.is_bool()) archived = said.as_bool();
    changes.erase("isArchived");
    const auto merge = [&](auto& row) {
        row.properties.merge(changes);
        row.archived = archived.value_or(row.archived);
    };
    AssetChange patch = [&](Asset& now) -> Result<void> {
        AssetVersion* const there = version.empty() ? nullptr : TURNOUT_TRY(now.find(version));
        if (version.empty() ? !now.container : there == nullptr)
            return not_found(word_of_asset(kind) + " '" + name + "' does not exist" +
                                 (version.empty() ? "" : ", or has no version '" + version + "'"),
                             version.empty() ? "name" : "version");
        if (there)
            merge(*there);
        else
            merge(*now.container);
        return {};
    };
    co_return co_await change(wsid, kind, name, std::move(patch), std::move(by));
}

Task<Result<void>> Catalog::delete_version(std::string wsid, AssetKind kind, std::string name,
                                           std::string version) {
    AssetChange erase = [version](Asset& now) { return now.erase(version); };
    return change(std::move(wsid), std::move(kind), std::move(name), std::move(erase));
}

Task<Result<std::size_t>> Catalog::delete_container(std::string wsid, AssetKind kind,
                                                    std::string name) {
    std::size_t count = 0;
    AssetChange erase = [&](Asset& now) -> Result<void> {
        const auto versions = TURNOUT_TRY(now.versions());
        count = versions.size();
        if (!now.container && versions.empty())
            return not_found(word_of_asset(kind) + " '" + name + "' does not exist", "name");
        for (const AssetVersion* version : versions) {
            const std::string number = version->version;
            TURNOUT_TRY(now.erase(number));
        }
        now.container.reset();
        return {};
    };
    TURNOUT_CO_TRY_VOID(co_await change(wsid, kind, name, std::move(erase)));
    co_return count;
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
