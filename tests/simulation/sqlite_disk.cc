#include "sqlite_disk.h"

namespace turnout::simulation {

std::string SqliteDisk::open() {
    Result<std::unique_ptr<Store>> opened = open_sqlite_store(loop_, "t.db", {.vfs = disk_.name()});
    if (!opened) return "the database cannot be opened: " + opened.error().message;
    store_ = std::move(*opened);
    return "";
}

bool SqliteDisk::write(const Batch& batch) {
    std::optional<bool> done;
    store_->commit(batch, [&done](Result<std::uint64_t> result) { done = result.has_value(); });
    loop_.run_until([&done] { return done.has_value(); });
    return *done;
}

std::string SqliteDisk::lose_power() {
    disk_.cut_after(0);
    store_.reset();
    loop_.drain();
    disk_.power_on();
    return open();
}

std::string SqliteDisk::process_dies() {
    store_.reset();
    loop_.drain();
    std::string trouble = open();
    // A cut that was due in some later write may come while it is closed and opened.
    return !trouble.empty() && disk_.is_cut() ? lose_power() : trouble;
}

std::string SqliteDisk::differs(const MemoryStore::State& state) const {
    for (std::size_t i = 0; i < state.tables.size(); ++i) {
        const Table table = static_cast<Table>(i);
        const Result<std::vector<Record>> found = store_->scan(table, with_prefix("", 1'000'000));
        if (!found)
            return "table " + std::string(name_of(table)) +
                   " cannot be read: " + found.error().message;
        auto expected = state.tables[i].begin();
        for (const Record& record : *found) {
            if (table == Table::Meta && record.key == "schema") continue;  // its own
            if (expected == state.tables[i].end() || expected->first != record.key)
                return "table " + std::string(name_of(table)) + " has or lacks '" + record.key +
                       "'";
            if (expected->second.value != record.value)
                return "table " + std::string(name_of(table)) + " has another '" + record.key + "'";
            ++expected;
        }
        if (expected != state.tables[i].end())
            return "table " + std::string(name_of(table)) + " lacks '" + expected->first + "'";
    }
    return "";
}

}  // namespace turnout::simulation
