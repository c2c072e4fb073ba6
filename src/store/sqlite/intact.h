// Whether a database is whole, and whole copies of it.
//
// What was committed since the last checkpoint is in the log beside the file (`-wal`) alone, and
// SQLite opens a file whose log is gone without a word, as it was then. So the file says of itself,
// by its `user_version` 1, that it is in use and needs its log; that is checkpointed as soon as it
// is written, and 0 again when the store is closed, with the log emptied.
#pragma once

#include <string>

#include "base/result.h"
#include "store/sqlite/database.h"

namespace turnout::sqlite {

// Whether the log of the database at `path` is there and begins as one does. Before it is opened.
Result<bool> has_log(const std::string& path, const std::string& vfs);
// FailedPrecondition, reason "DatabaseLogLost", if the database needs a log and there was none.
Result<void> check_log(sqlite3* db, const std::string& path, bool log_was_there);
// From now on it needs its log.
Result<void> mark_in_use(sqlite3* db);
// Copies the log into the file and empties it: the file alone is the database. As far as that
// works; what does not leaves the log to be read at the next start.
void close_cleanly(sqlite3* db);

}  // namespace turnout::sqlite

namespace turnout {

// A consistent copy into `file`, which must not exist, whether a server uses the database or not.
// Blocks for as long as copying takes. Reasons of errors: "DatabaseLogLost", "DatabaseDamaged",
// "DiskFull".
Result<void> copy_database(const std::string& path, const std::string& file);

// Reads every page and compares every index with its table. Blocks for long (about a second for
// 400 MB). Unavailable, reason "DatabaseDamaged", with SQLite's words about the first fault.
Result<void> verify_database(const std::string& path);

}  // namespace turnout
