#include "store/sqlite/migrations.h"

#include <charconv>
#include <iterator>

#include <unistd.h>

#include "store/sqlite/database.h"
#include "store/store.h"

namespace turnout::sqlite {
namespace {

// Step i leads from version i + 1 to i + 2. Each is one or more SQL statements, run in the
// transaction that also records the new version.
constexpr const char* kSteps[] = {
    // 2: the row of a job was split into what was submitted, its state, and its task.
    R"(CREATE TABLE job_state(key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE task_base(key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE TEMP TABLE old(key TEXT NOT NULL PRIMARY KEY, json TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO old SELECT key, CAST(value AS TEXT), revision FROM job ORDER BY key;
INSERT INTO task_base SELECT json_extract(json, '$.workspace') || '/of-' || json_extract(json, '$.name'),
    CAST(json_extract(json, '$.task') AS BLOB), revision FROM old WHERE json_type(json, '$.task') = 'object';
INSERT INTO job_state SELECT key, CAST(json_object('status', json_extract(json, '$.status'),
    'started', json_extract(json, '$.started'), 'ended', json_extract(json, '$.ended'),
    'cancelRequested', json(CASE json_extract(json, '$.cancelRequested') WHEN 1 THEN 'true' ELSE 'false' END),
    'attempts', json(json_extract(json, '$.attempts')), 'cause', json_extract(json, '$.cause'),
    'error', coalesce(json_extract(json, '$.error'), '')) AS BLOB), revision FROM old;
UPDATE job SET value = (SELECT CAST(json_remove(json_set(json, '$.taskBase', 'of-' || json_extract(json, '$.name'),
    '$.environment', coalesce(json_extract(json, '$.task.environment.name'), '')), '$.task', '$.status', '$.started', '$.ended',
    '$.cancelRequested', '$.attempts', '$.cause', '$.error', '$.waitingFor') AS BLOB) FROM old WHERE old.key = job.key);
UPDATE job_live SET value = coalesce((SELECT CAST(json_object('compute', json_extract(json, '$.compute'),
    'sharer', json_extract(json, '$.principal') || '/' || json_extract(json, '$.experiment'),
    'created', json_extract(json, '$.created'), 'base', 'of-' || json_extract(json, '$.name')) AS BLOB)
    FROM old WHERE old.key = job_live.key), value);
DROP TABLE old;)",
    nullptr};
static_assert(std::size(kSteps) == kSchemaVersion,
              "one step for each version but the first, then nullptr");

// Tables whose values are tiny and that are mostly scanned: there a row in the key's own tree is
// scanned five times as fast. With values of 2 KB a table with row ids is two to five times cheaper
// to write and read, and the file is smaller (measured with SQLite 3.40, 4 KB pages).
bool has_tiny_values(Table table) {
    switch (table) {
        case Table::Meta:
        case Table::CodeHash:
        case Table::JobCreated:
        case Table::JobLive:
        case Table::ExperimentById:
        case Table::RunCreated:
        case Table::Metric:
        case Table::Blob:
        case Table::Removal:
        case Table::StepRun:
        case Table::Registration:
        case Table::BlobUse: return true;
        case Table::Workspace:
        case Table::Datastore:
        case Table::AssetContainer:
        case Table::AssetVersion:
        case Table::Compute:
        case Table::Node:
        case Table::Job:
        case Table::JobState:
        case Table::TaskBase:
        case Table::Event:
        case Table::Ledger:
        case Table::Experiment:
        case Table::Run:
        case Table::Log:
        case Table::BlobBlock:
        case Table::BlobData:
        case Table::Token:
        case Table::Service:
        case Table::MachineSecret:
        case Table::Audit:
        case Table::Secret:
        case Table::OnlineEndpoint:
        case Table::OnlineDeployment:
        case Table::People: return false;
    }
    return false;
}

Result<bool> table_exists(sqlite3* db, std::string_view name) {
    Statement found =
        TURNOUT_TRY(prepare(db, "SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?1"));
    bind_text(found.get(), 1, name);
    const int status = sqlite3_step(found.get());
    if (status != SQLITE_ROW && status != SQLITE_DONE)
        return failure_of(db, status, "reading the schema");
    return status == SQLITE_ROW;
}

// 0 for a new file.
Result<int> version_of(sqlite3* db) {
    if (!TURNOUT_TRY(table_exists(db, name_of(Table::Meta)))) return 0;
    Statement query = TURNOUT_TRY(prepare(db, "SELECT value FROM meta WHERE key='schema'"));
    const int status = sqlite3_step(query.get());
    if (status == SQLITE_DONE) return 0;
    if (status != SQLITE_ROW) return failure_of(db, status, "reading the schema version");
    const std::string_view text = column(query.get(), 0);
    int version = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), version);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || version < 1)
        return fail(
            Code::FailedPrecondition, "BadSchema",
            "the database's schema version is not a number: it is damaged or not turnout's");
    return version;
}

Result<void> create_tables(sqlite3* db) {
    for (int i = 0; i <= static_cast<int>(kLastTable); ++i) {
        const Table table = static_cast<Table>(i);
        TURNOUT_TRY(execute(db, "CREATE TABLE IF NOT EXISTS " + std::string(name_of(table)) +
                                    "(key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL,"
                                    " revision INTEGER NOT NULL)" +
                                    (has_tiny_values(table) ? " WITHOUT ROWID" : "")));
    }
    // How far revisions are reserved (see the writer): one row.
    return execute(db, "CREATE TABLE IF NOT EXISTS store_revision(reserved INTEGER NOT NULL)");
}

Result<void> in_transaction(sqlite3* db, int version) {
    for (int from = version; from > 0 && from < kSchemaVersion; ++from)
        TURNOUT_TRY(execute(db, kSteps[from - 1]));
    TURNOUT_TRY(create_tables(db));
    if (version != kSchemaVersion)
        TURNOUT_TRY(execute(db, "INSERT OR REPLACE INTO meta VALUES('schema', CAST('" +
                                    std::to_string(kSchemaVersion) + "' AS BLOB), 0)"));
    return execute(db, "COMMIT");
}

}  // namespace

Result<void> migrate(sqlite3* db, const std::string& path) {
    const int version = TURNOUT_TRY(version_of(db));
    if (version > kSchemaVersion)
        return fail(Code::FailedPrecondition, "NewerDatabase",
                    "the database was written by a newer turnout (schema " +
                        std::to_string(version) + ", this one knows " +
                        std::to_string(kSchemaVersion) + "); install that version again");
    if (version > 0 && version < kSchemaVersion && !path.empty()) {
        const std::string copy = path + ".before-" + std::to_string(kSchemaVersion);
        ::unlink(copy.c_str());  // of an attempt that did not finish
        TURNOUT_TRY(execute(db, "VACUUM INTO " + quoted(copy)));
    }
    TURNOUT_TRY(execute(db, "BEGIN IMMEDIATE"));
    auto done = in_transaction(db, version);
    if (!done) sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
    return done;
}

}  // namespace turnout::sqlite
