// Which node has which of the machine's processors. Pure.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/compute.h"

namespace turnout {

// The processors that this process may use, ascending.
std::vector<int> usable_processors();

class Processors {
public:
    explicit Processors(std::vector<int> usable) : usable_(std::move(usable)) {}

    // The processors in the order in which the node's tasks are to take them. The first `wanted`
    // are the node's own: no other node has them while there are enough, else as few as possible.
    // The same again for a node that has them. 0: it may want all.
    std::vector<int> take(const NodeId& node, int wanted);
    // It runs on those already. What is not usable any more does not count.
    void keep(const NodeId& node, const std::vector<int>& own);
    void give_back(const NodeId& node) { own_.erase(node); }
    // Those that `take` gave it for its own.
    std::vector<int> own(const NodeId& node) const;

private:
    std::vector<int> usable_;
    std::map<NodeId, std::vector<int>> own_;
};

// "4,5,6", as an agent is told.
std::string processor_list(const std::vector<int>& processors);

}  // namespace turnout
