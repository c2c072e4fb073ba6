#include "provider/local/processors.h"

#include <sched.h>

#include <algorithm>

#include "base/text.h"

namespace turnout {

std::vector<int> usable_processors() {
    std::vector<int> usable;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return usable;
    for (int i = 0; i < CPU_SETSIZE; ++i)
        if (CPU_ISSET(i, &allowed)) usable.push_back(i);
    return usable;
}

std::vector<int> Processors::take(const NodeId& node, int wanted) {
    const std::size_t count =
        wanted <= 0 ? usable_.size() : std::min(usable_.size(), static_cast<std::size_t>(wanted));
    std::vector<int>& own = own_[node];
    if (own.size() != count) own.clear();
    std::map<int, int> holders;
    for (const auto& [other, held] : own_)
        if (other != node)
            for (const int one : held) ++holders[one];
    std::vector<int> order = usable_;
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return holders[a] < holders[b]; });
    if (own.empty()) own.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
    std::vector<int> all = own;
    for (const int one : order)
        if (std::find(own.begin(), own.end(), one) == own.end()) all.push_back(one);
    return all;
}

void Processors::keep(const NodeId& node, const std::vector<int>& own) {
    std::vector<int>& kept = own_[node];
    kept.clear();
    for (const int one : own)
        if (std::find(usable_.begin(), usable_.end(), one) != usable_.end()) kept.push_back(one);
    if (kept.empty()) own_.erase(node);
}

std::vector<int> Processors::own(const NodeId& node) const {
    const auto found = own_.find(node);
    return found == own_.end() ? std::vector<int>() : found->second;
}

std::string processor_list(const std::vector<int>& processors) {
    std::vector<std::string> words;
    for (const int one : processors) words.push_back(std::to_string(one));
    return join(words, ",");
}

}  // namespace turnout
