#include "store/sqlite/database.h"

#include <cerrno>

namespace turnout::sqlite {

Failure failure_of(sqlite3* db, int status, std::string_view what) {
    const int system = db ? sqlite3_system_errno(db) : 0;
    std::string message =
        std::string(what) + ": " + (db ? sqlite3_errmsg(db) : sqlite3_errstr(status));
    switch (status & 0xff) {
        case SQLITE_FULL:
            return fail(Code::ResourceExhausted, "DiskFull",
                        std::move(message) + "; free some space on the data folder's disk");
        case SQLITE_IOERR:
        case SQLITE_CANTOPEN:
            if (system == ENOSPC || system == EDQUOT)
                return fail(Code::ResourceExhausted, "DiskFull",
                            std::move(message) + "; free some space on the data folder's disk");
            return fail(Code::Unavailable, "StorageError", std::move(message));
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return damaged(message);
        case SQLITE_ERROR:
        case SQLITE_MISUSE:
        case SQLITE_RANGE:
        case SQLITE_INTERNAL: return internal(std::move(message));
        default: return fail(Code::Unavailable, "StorageError", std::move(message));
    }
}

Failure damaged(const std::string& what) {
    return fail(Code::Unavailable, "DatabaseDamaged",
                "the database is damaged (" + what +
                    "): stop the server, keep its folder, and restore a backup into another one "
                    "(`turnout restore`)");
}

Result<Database> open_database(const std::string& path, const std::string& vfs, int flags) {
    sqlite3* raw = nullptr;
    const int status =
        sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                        vfs.empty() ? nullptr : vfs.c_str());
    Database db(raw);
    if (status != SQLITE_OK) return failure_of(raw, status, "cannot open '" + path + "'");
    sqlite3_busy_timeout(raw, 10'000);
    int keep = 1;
    sqlite3_file_control(raw, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    return db;
}

Result<void> execute(sqlite3* db, const std::string& sql) {
    const int status = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
    if (status != SQLITE_OK) return failure_of(db, status, "database");
    return {};
}

Result<Statement> prepare(sqlite3* db, std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    const int status = sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()),
                                          SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (status != SQLITE_OK) return failure_of(db, status, "database");
    return Statement(statement);
}

void bind_text(sqlite3_stmt* statement, int index, std::string_view text) {
    sqlite3_bind_text64(statement, index, text.empty() ? "" : text.data(), text.size(),
                        SQLITE_STATIC, SQLITE_UTF8);
}

void bind_blob(sqlite3_stmt* statement, int index, std::string_view bytes) {
    sqlite3_bind_blob64(statement, index, bytes.empty() ? "" : bytes.data(), bytes.size(),
                        SQLITE_STATIC);
}

std::string_view column(sqlite3_stmt* statement, int index) {
    const void* data = sqlite3_column_blob(statement, index);
    const int size = sqlite3_column_bytes(statement, index);
    return data ? std::string_view(static_cast<const char*>(data), static_cast<std::size_t>(size))
                : std::string_view();
}

std::string quoted(std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
        out += c;
        if (c == '\'') out += c;
    }
    return out + "'";
}

}  // namespace turnout::sqlite
