// A bounded table by text.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

namespace turnout {

// The value used longest ago leaves first.
template <class T>
class Lru {
public:
    explicit Lru(std::size_t limit) : limit_(limit) {}

    T* find(const std::string& key) {
        const auto at = index_.find(key);
        if (at == index_.end()) return nullptr;
        items_.splice(items_.begin(), items_, at->second);
        return &items_.front().second;
    }
    void put(const std::string& key, T value) {
        if (T* there = find(key)) {
            *there = std::move(value);
            return;
        }
        items_.emplace_front(key, std::move(value));
        index_[key] = items_.begin();
        if (items_.size() > limit_) {
            index_.erase(items_.back().first);
            items_.pop_back();
        }
    }
    void erase(const std::string& key) {
        const auto at = index_.find(key);
        if (at == index_.end()) return;
        items_.erase(at->second);
        index_.erase(at);
    }
    template <class Predicate>
    void erase_if(Predicate predicate) {
        for (auto at = items_.begin(); at != items_.end();) {
            const auto next = std::next(at);
            if (predicate(at->second)) {
                index_.erase(at->first);
                items_.erase(at);
            }
            at = next;
        }
    }

private:
    std::size_t limit_;
    std::list<std::pair<std::string, T>> items_;
    std::unordered_map<std::string, typename std::list<std::pair<std::string, T>>::iterator> index_;
};

}  // namespace turnout
