// The little of SQLite's C interface that the store needs, as values that clean up.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <sqlite3.h>

#include "base/result.h"

namespace turnout::sqlite {

struct CloseDatabase {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

// What `db` just complained about. Disk full is ResourceExhausted, the rest is Unavailable (reason
// "DatabaseDamaged" where that is what it is), except what can only be a defect of ours.
Failure failure_of(sqlite3* db, int status, std::string_view what);
Failure damaged(const std::string& what);

Result<Database> open_database(const std::string& path, const std::string& vfs, int flags);

Result<void> execute(sqlite3* db, const std::string& sql);
Result<Statement> prepare(sqlite3* db, std::string_view sql);
// The text is borrowed until the statement is reset.
void bind_text(sqlite3_stmt* statement, int index, std::string_view text);
void bind_blob(sqlite3_stmt* statement, int index, std::string_view bytes);
std::string_view column(sqlite3_stmt* statement, int index);

std::string quoted(std::string_view text);  // as an SQL string literal

}  // namespace turnout::sqlite
