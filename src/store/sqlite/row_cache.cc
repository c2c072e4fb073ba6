#include "store/sqlite/row_cache.h"

#include <utility>

namespace turnout::sqlite {

std::optional<std::optional<Record>> RowCache::find(Table table, std::string_view key,
                                                    Moment& moment) {
    const std::string name = name_in_cache(table, key);
    const std::lock_guard lock(mutex_);
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
        moment = commits_;
        return std::nullopt;
    }
    rows_.splice(rows_.begin(), rows_, found->second);
    return found->second->record;
}

void RowCache::keep(Table table, std::string_view key, const std::optional<Record>& record,
                    Moment moment) {
    if (record && record->value.size() > kMaxRowBytes) return;
    std::string name = name_in_cache(table, key);
    const std::lock_guard lock(mutex_);
    // A commit that began or ended since then may have changed the row, before or after it was
    // read.
    if (moment != commits_ || being_written_.contains(name)) return;
    erase(name);
    rows_.push_front(Row{std::move(name), record});
    by_name_.emplace(rows_.front().name, rows_.begin());
    bytes_ += rows_.front().bytes();
    while (bytes_ > kMaxBytes) erase(std::string(rows_.back().name));
}

bool RowCache::is_empty(Moment& moment) {
    const std::lock_guard lock(mutex_);
    moment = commits_;
    return empty_;
}

void RowCache::keep_empty(Moment moment) {
    const std::lock_guard lock(mutex_);
    empty_ = moment == commits_ && !is_written_;
}

RowCache::Moment RowCache::moment() {
    const std::lock_guard lock(mutex_);
    return commits_;
}

void RowCache::begin_commit(std::vector<std::pair<Table, std::string>> keys) {
    const std::lock_guard lock(mutex_);
    ++commits_;
    for (const auto& [table, key] : keys) {
        if (table == kMostlyEmpty) {
            empty_ = false;
            is_written_ = true;
            continue;
        }
        std::string name = name_in_cache(table, key);
        erase(name);
        being_written_.insert(std::move(name));
    }
}

void RowCache::end_commit() {
    const std::lock_guard lock(mutex_);
    ++commits_;
    is_written_ = false;
    being_written_.clear();
}

void RowCache::erase(const std::string& name) {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) return;
    const auto row = found->second;
    bytes_ -= row->bytes();
    by_name_.erase(found);
    rows_.erase(row);
}

}  // namespace turnout::sqlite
