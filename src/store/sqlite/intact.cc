#include "store/sqlite/intact.h"

#include <array>
#include <cstddef>
#include <memory>
#include <new>

namespace turnout::sqlite {
namespace {

constexpr int kLogHeader = 32;
constexpr std::string_view kMagic = "\x37\x7f\x06";  // then 0x82 or 0x83, by the checksums' order

Result<bool> says_in_use(sqlite3* db) {
    Statement query = TURNOUT_TRY(prepare(db, "PRAGMA user_version"));
    const int status = sqlite3_step(query.get());
    if (status != SQLITE_ROW) return failure_of(db, status, "reading from the database");
    return sqlite3_column_int(query.get(), 0) != 0;
}

}  // namespace

// Through SQLite's own file system, so that a simulated disk is asked the same.
Result<bool> has_log(const std::string& path, const std::string& vfs_name) {
    sqlite3_initialize();
    sqlite3_vfs* vfs = sqlite3_vfs_find(vfs_name.empty() ? nullptr : vfs_name.c_str());
    if (!vfs) return internal("there is no file system '" + vfs_name + "'");
    // SQLite wants the name of a log as a parameter of a database's name.
    std::string name(512, '\0');
    if (vfs->xFullPathname(vfs, path.c_str(), static_cast<int>(name.size()), name.data()) !=
        SQLITE_OK)
        return internal("the path of the database '" + path + "' is too long");
    name.resize(name.find('\0'));
    name += "-wal";
    int there = 0;
    if (vfs->xAccess(vfs, name.c_str(), SQLITE_ACCESS_EXISTS, &there) != SQLITE_OK || !there)
        return false;
    const auto memory = std::make_unique<std::max_align_t[]>(
        static_cast<std::size_t>(vfs->szOsFile) / sizeof(std::max_align_t) + 1);
    auto* file = reinterpret_cast<sqlite3_file*>(memory.get());
    file->pMethods = nullptr;
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_JOURNAL;
    const char* named =
        sqlite3_create_filename(name.c_str(), name.c_str(), name.c_str(), 0, nullptr);
    bool whole = false;
    if (vfs->xOpen(vfs, named, file, flags, &flags) == SQLITE_OK) {
        std::array<char, kLogHeader> header{};
        whole = file->pMethods->xRead(file, header.data(), kLogHeader, 0) == SQLITE_OK &&
                std::string_view(header.data(), kMagic.size()) == kMagic;
    }
    if (file->pMethods) file->pMethods->xClose(file);
    sqlite3_free_filename(const_cast<char*>(named));
    return whole;
}

Result<void> check_log(sqlite3* db, const std::string& path, bool log_was_there) {
    if (log_was_there || !TURNOUT_TRY(says_in_use(db))) return {};
    return fail(Code::FailedPrecondition, "DatabaseLogLost",
                "the database '" + path + "' was in use, and its log '" + path +
                    "-wal' is missing or damaged: what was recorded since the last checkpoint is "
                    "not there. Put that file back, or restore a backup (`turnout restore`); to go "
                    "on without what is lost, start once with `turnout up --accept-loss`",
                path);
}

Result<void> mark_in_use(sqlite3* db) {
    if (TURNOUT_TRY(says_in_use(db))) return {};
    TURNOUT_TRY(execute(db, "PRAGMA user_version=1"));
    return execute(db, "PRAGMA wal_checkpoint(PASSIVE)");
}

void close_cleanly(sqlite3* db) {
    sqlite3_busy_timeout(db, 500);  // somebody who copies the database may read it just now
    if (!execute(db, "PRAGMA user_version=0")) return;
    sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
}

}  // namespace turnout::sqlite

namespace turnout {

using namespace sqlite;

Result<void> copy_database(const std::string& path, const std::string& file) {
    const bool log_is_there = TURNOUT_TRY(has_log(path, ""));
    const Database db = TURNOUT_TRY(open_database(path, "", SQLITE_OPEN_READWRITE));
    TURNOUT_TRY(check_log(db.get(), path, log_is_there));
    TURNOUT_TRY(execute(db.get(), "VACUUM INTO " + quoted(file)));
    // A copy needs no log.
    const Database copy = TURNOUT_TRY(open_database(file, "", SQLITE_OPEN_READWRITE));
    return execute(copy.get(), "PRAGMA user_version=0");
}

Result<void> verify_database(const std::string& path) {
    const Database db = TURNOUT_TRY(open_database(path, "", SQLITE_OPEN_READWRITE));
    Statement check = TURNOUT_TRY(prepare(db.get(), "PRAGMA integrity_check(1)"));
    const int status = sqlite3_step(check.get());
    if (status != SQLITE_ROW) return failure_of(db.get(), status, "checking the database");
    const std::string found(column(check.get(), 0));
    if (found == "ok") return {};
    return damaged("'" + path + "': " + found);
}

}  // namespace turnout
