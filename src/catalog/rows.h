// How the catalog reads its tables.
#pragma once

#include <string>
#include <vector>

#include "store/store.h"

namespace turnout::catalog {

// Every record of that prefix, in the order of the keys.
Result<std::vector<Record>> scan_all(Store& store, Table table, const std::string& prefix);

}  // namespace turnout::catalog
