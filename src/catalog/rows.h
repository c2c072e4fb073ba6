// How the catalog reads its tables.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "catalog/asset.h"
#include "store/store.h"

namespace turnout::catalog {

// Every record of that prefix, in the order of the keys.
Result<std::vector<Record>> scan_all(Store& store, Table table, const std::string& prefix);

Result<AssetContainer> container_from(const Record& record);
Result<AssetVersion> version_from(const Record& record);

// "data asset" for "data".
std::string word_of_asset(std::string_view kind);
// The member of its properties that says the definition once more; "" if it has none.
std::string_view definition_member(std::string_view kind);
// Whether two versions' properties make them one and the same asset: what may be changed later,
// what the server adds to its answers, and members that say nothing do not count.
bool same_definition(std::string_view kind, const Json& one, const Json& other);

}  // namespace turnout::catalog
