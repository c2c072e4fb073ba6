// Ports on which the processes of a job find each other: each living attempt of a machine has its
// own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

namespace turnout {

class Ports {
public:
    // Below those that systems give to connections of their own.
    static constexpr int kFirst = 20'000, kCount = 10'000;

    // So many in a row that no other attempt has and that `is_free` (nothing: all are), sought from
    // a place that follows from `seed`: servers that share a machine seldom choose the same. The
    // first; 0: there are not so many.
    int take(int count, std::uint32_t seed, const std::function<bool(int)>& is_free = {});
    // An attempt has those already.
    void keep(int first, int count) { taken_[first] = count; }
    void give_back(int first) { taken_.erase(first); }
    void clear() { taken_.clear(); }

private:
    std::map<int, int> taken_;  // first -> how many
};

}  // namespace turnout
