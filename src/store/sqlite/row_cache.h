// Rows that are read again and again (the job that a client polls, the token that every request
// carries), so that such a read costs no transaction of SQLite's.
//
// Exact, not nearly so: before a group of batches is committed the writer takes its keys out, and
// until the commit is over those keys are read from the database only. So a reader never sees less
// than the database would show it at that moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "store/store.h"

namespace turnout::sqlite {

class RowCache {
public:
    // Nearly always empty, and looked into at every submission.
    static constexpr Table kMostlyEmpty = Table::Removal;

    // Rows of the other tables are many or large, or their owner keeps what it needs of them.
    static bool keeps(Table table) {
        switch (table) {
            case Table::Workspace:
            case Table::Datastore:
            case Table::AssetContainer:
            case Table::AssetVersion:
            case Table::CodeHash:
            case Table::Compute:
            case Table::Job:
            case Table::JobState:
            case Table::TaskBase:
            case Table::Experiment:
            case Table::ExperimentById:
            case Table::Token: return true;
            default: return false;
        }
    }

    // ---- the reader's thread ----

    // When the reading of a row began that is to be kept.
    using Moment = std::uint64_t;
    // The row, or that there is none, as is known; or nothing, and the moment to hand to `keep`
    // with what was then read from the database.
    std::optional<std::optional<Record>> find(Table table, std::string_view key, Moment& moment);
    void keep(Table table, std::string_view key, const std::optional<Record>& record,
              Moment moment);
    // Whether kMostlyEmpty is known to be empty; else the moment to hand to `keep_empty` after it
    // was read and found so.
    bool is_empty(Moment& moment);
    void keep_empty(Moment moment);
    // It changes with every commit: what was read at another moment may be old.
    Moment moment();

    // ---- the writer's thread: around each commit, whatever becomes of it ----

    void begin_commit(std::vector<std::pair<Table, std::string>> keys);
    void end_commit();

private:
    static constexpr std::size_t kMaxBytes = 1 << 20;
    static constexpr std::size_t kMaxRowBytes = 64 << 10;

    struct Row {
        std::string name;              // table and key
        std::optional<Record> record;  // nothing: there is no such row
        std::size_t bytes() const {
            return name.size() + (record ? record->key.size() + record->value.size() : 0) + 200;
        }
    };
    // The table's number before the key.
    static std::string name_in_cache(Table table, std::string_view key) {
        std::string name;
        name.reserve(key.size() + 1);
        name += static_cast<char>(table);
        name += key;
        return name;
    }
    void erase(const std::string& name);

    std::mutex mutex_;
    std::list<Row> rows_;  // the one that was used last in front
    std::unordered_map<std::string_view, std::list<Row>::iterator> by_name_;  // views of Row::name
    std::size_t bytes_ = 0;
    std::unordered_set<std::string> being_written_;
    Moment commits_ = 0;
    bool empty_ = false, is_written_ = false;  // kMostlyEmpty
};

}  // namespace turnout::sqlite
