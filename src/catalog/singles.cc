// Documents without versions.
#include <algorithm>
#include <array>
#include <span>

#include "catalog/catalog.h"
#include "catalog/rows.h"
#include "resources/documents.h"
#include "resources/rules.h"

namespace turnout {
namespace {

// What is particular about a kind of them.
struct SingleRules {
    std::string_view kind;
    Table table;
    const resources::TextRule& name;
    std::string_view default_member;  // of which one in a workspace has it true: the default one
    std::span<const std::string_view> parts_of_workspace;  // they are always there
    std::string_view in_use;                               // why one is not deleted
};

constexpr std::array<std::string_view, 2> kStoresOfWorkspace = {kBlobStore, kArtifactStore};

const SingleRules& rules_of(std::string_view kind) {
    static const SingleRules datastores = {
        "datastores", Table::Datastore,   resources::kDatastoreName,
        "isDefault",  kStoresOfWorkspace, "DatastoreInUse"};
    static const SingleRules others = {"", Table::AssetContainer, resources::kName, "", {}, ""};
    return kind == datastores.kind ? datastores : others;
}

std::string word_of_single(std::string_view kind) {
    const resources::DocumentKind* row = resources::kind_of_path(kind);
    return std::string(row != nullptr ? row->one : kind);
}

std::string prefix_of(const SingleRules& rules, std::string_view wsid, std::string_view kind) {
    // Datastores have a table of their own.
    return std::string(wsid) + "/" + (rules.kind.empty() ? std::string(kind) + "/" : "");
}

}  // namespace

Result<std::optional<Json>> Catalog::find_single(std::string_view wsid, std::string_view kind,
                                                 std::string_view name) {
    const SingleRules& rules = rules_of(kind);
    auto record =
        TURNOUT_TRY(store_.get(rules.table, prefix_of(rules, wsid, kind) + std::string(name)));
    if (!record) return std::nullopt;
    return TURNOUT_TRY(parse_json(record->value));
}

Result<std::vector<std::pair<std::string, Json>>> Catalog::list_singles(std::string_view wsid,
                                                                        std::string_view kind) {
    const SingleRules& rules = rules_of(kind);
    const std::string prefix = prefix_of(rules, wsid, kind);
    std::vector<std::pair<std::string, Json>> found;
    for (const Record& record : TURNOUT_TRY(catalog::scan_all(store_, rules.table, prefix)))
        found.emplace_back(record.key.substr(prefix.size()), TURNOUT_TRY(parse_json(record.value)));
    return found;
}

Task<Result<bool>> Catalog::put_single(std::string wsid, AssetKind kind, std::string name,
                                       Json properties, Author by) {
    const SingleRules& rules = rules_of(kind);
    TURNOUT_CO_TRY_VOID(check_name(rules.name, name, word_of_single(kind)));
    if (!properties.is_object())
        co_return invalid("the " + word_of_single(kind) + " needs 'properties'", "properties");
    Turns::Turn turn(turns_, kind + "//" + wsid);  // of them all: one is the default
    co_await turn;
    const std::string prefix = prefix_of(rules, wsid, kind);
    TURNOUT_CO_TRY(const auto record, store_.get(rules.table, prefix + name));
    Json document = properties;
    const std::int64_t now = clock_.now().micros;
    std::int64_t created = now;
    Authorship made{by, by};
    if (record) {
        TURNOUT_CO_TRY(const Json before, parse_json(record->value));
        created = before.at("created").as_int(created);
        made.created = authorship_of(before).created;
        // The default one stays so until another is made the default.
        if (before.at(rules.default_member).as_bool()) document.set(rules.default_member, true);
    }
    document.set("created", created);
    if (now > created) document.set("modified", now);
    put_authorship(document, made);
    Batch batch;
    if (document.at(rules.default_member).as_bool()) {
        TURNOUT_CO_TRY(const auto others, catalog::scan_all(store_, rules.table, prefix));
        for (const Record& other : others) {
            if (other.key == prefix + name) continue;
            TURNOUT_CO_TRY(Json changed, parse_json(other.value));
            if (!changed.at(rules.default_member).as_bool()) continue;
            changed.set(rules.default_member, false);
            batch.put(rules.table, other.key, changed.dump(), other.revision);
        }
    }
    batch.put(rules.table, prefix + name, document.dump(), record ? record->revision : kAbsent);
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    ++changes_;
    co_return !record.has_value();
}

Task<Result<void>> Catalog::delete_single(std::string wsid, AssetKind kind, std::string name) {
    const SingleRules& rules = rules_of(kind);
    const std::string word = word_of_single(kind);
    if (std::ranges::find(rules.parts_of_workspace, name) != rules.parts_of_workspace.end())
        co_return fail(Code::FailedPrecondition, std::string(rules.in_use),
                       word + " '" + name + "' belongs to the workspace and stays as long as it",
                       "name");
    Turns::Turn turn(turns_, kind + "//" + wsid);
    co_await turn;
    const std::string key = prefix_of(rules, wsid, kind) + name;
    TURNOUT_CO_TRY(const auto record, store_.get(rules.table, key));
    if (!record) co_return not_found(word + " '" + name + "' does not exist", "name");
    TURNOUT_CO_TRY(const Json properties, parse_json(record->value));
    if (properties.at(rules.default_member).as_bool())
        co_return fail(Code::FailedPrecondition, std::string(rules.in_use),
                       word + " '" + name + "' is the default one: make another the default first",
                       "name");
    Batch batch;
    batch.erase(rules.table, key, record->revision);
    TURNOUT_CO_TRY_VOID(co_await store_.commit(std::move(batch)));
    ++changes_;
    co_return Result<void>();
}

}  // namespace turnout
