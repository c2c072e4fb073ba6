#include "store/memory/memory_store.h"

#include <algorithm>

namespace turnout {

Result<std::optional<Record>> MemoryStore::get(Table table, std::string_view key) {
    const auto& rows = state_.tables[static_cast<std::size_t>(table)];
    const auto found = rows.find(key);
    if (found == rows.end()) return std::nullopt;
    return found->second;
}

Result<std::vector<Record>> MemoryStore::scan(Table table, const Range& range) {
    const auto& rows = state_.tables[static_cast<std::size_t>(table)];
    std::vector<Record> records;
    if (!range.to.empty() && range.to <= range.from) return records;
    const auto first = rows.lower_bound(range.from);
    const auto last = range.to.empty() ? rows.end() : rows.lower_bound(range.to);
    if (!range.reverse) {
        for (auto at = first; at != last && records.size() < range.limit; ++at)
            records.push_back(at->second);
    } else {
        for (auto at = last; at != first && records.size() < range.limit;)
            records.push_back((--at)->second);
    }
    return records;
}

void MemoryStore::commit(Batch batch, Done done) {
    const bool refused = refusals_ > 0;
    refusals_ -= refused;
    queue_.push_back({std::move(batch), std::move(done), refused});
    if (!loop_) return;
    loop_->post([this, alive = std::weak_ptr<char>(alive_)] {
        if (!alive.expired()) flush(1);
    });
}

std::size_t MemoryStore::flush(std::size_t n) {
    const std::size_t count = persist(n);
    deliver();
    return count;
}

std::size_t MemoryStore::persist(std::size_t n) {
    const std::size_t count = std::min(n, queue_.size());
    for (std::size_t i = 0; i < count; ++i) {
        Waiting next = std::move(queue_.front());
        queue_.pop_front();
        if (next.refused)
            settled_.push_back(
                [batch = std::move(next.batch), done = std::move(next.done)]() mutable {
                    refuse(std::move(batch), std::move(done));
                });
        else
            settled_.push_back(
                [done = std::move(next.done), result = apply(std::move(next.batch))]() mutable {
                    done(std::move(result));
                });
    }
    return count;
}

void MemoryStore::deliver() {
    // A `done` may commit, crash or even destroy this store.
    const std::weak_ptr<char> alive = alive_;
    for (std::size_t count = settled_.size(); count > 0; --count) {
        const auto tell = std::move(settled_.front());
        settled_.pop_front();
        tell();
        if (alive.expired() || settled_.empty()) return;
    }
}

MemoryStore::State MemoryStore::crash() {
    queue_.clear();
    settled_.clear();
    failures_.clear();
    failures_of_.clear();
    refusals_ = 0;
    return std::exchange(state_, State{});
}

Result<std::uint64_t> MemoryStore::apply(Batch batch) {
    if (!failures_.empty()) {
        Error error = std::move(failures_.front());
        failures_.pop_front();
        return Failure(std::move(error));
    }
    for (const Write& write : batch.writes)
        if (auto failure = failures_of_.extract(write.table))
            return Failure(std::move(failure.mapped()));
    for (const Write& write : batch.writes) {
        if (!write.expect) continue;
        const auto& rows = state_.tables[static_cast<std::size_t>(write.table)];
        const auto found = rows.find(write.key);
        const std::uint64_t revision = found == rows.end() ? kAbsent : found->second.revision;
        if (revision != *write.expect) return conflict_at(write.table, write.key);
    }
    const std::uint64_t revision = ++state_.revision;
    for (Write& write : batch.writes) {
        auto& rows = state_.tables[static_cast<std::size_t>(write.table)];
        if (write.value)
            rows[write.key] = Record{write.key, std::move(*write.value), revision};
        else
            rows.erase(write.key);
    }
    return revision;
}

}  // namespace turnout
