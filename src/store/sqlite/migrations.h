// The schema's version and the way from an older one to this one. Migrations go forward only, after
// a backup; a newer database is refused.
#pragma once

#include <string>

#include <sqlite3.h>

#include "base/result.h"

namespace turnout::sqlite {

inline constexpr int kSchemaVersion = 2;

// Brings `db` to kSchemaVersion. Tables that the version has but the file lacks are created, so a
// new table is no new version; a changed meaning of keys or values is. `path` names the backup
// "{path}.before-{version}"; with "" there is none (simulated disks).
Result<void> migrate(sqlite3* db, const std::string& path);

}  // namespace turnout::sqlite
