#include "provider/local/processors.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace turnout {
namespace {

using List = std::vector<int>;

TEST(ProcessorsTest, NodesHaveTheirOwnWhileThereAreEnough) {
    Processors processors({0, 1, 2, 3, 8, 9});
    EXPECT_EQ(processors.take("ws/a/node-1", 2), (List{0, 1, 2, 3, 8, 9}));
    EXPECT_EQ(processors.take("ws/a/node-3", 2), (List{2, 3, 8, 9, 0, 1}));
    EXPECT_EQ(processors.take("ws/b/node-5", 2), (List{8, 9, 0, 1, 2, 3}));
    EXPECT_EQ(processors.take("ws/a/node-3", 2), (List{2, 3, 0, 1, 8, 9})) << "the same again";
    EXPECT_EQ(processors.own("ws/a/node-3"), (List{2, 3}));
    processors.give_back("ws/a/node-1");
    EXPECT_EQ(processors.own("ws/a/node-1"), List());
    EXPECT_EQ(processors.take("ws/b/node-9", 1).front(), 0);
    EXPECT_EQ(processors.take("ws/b/node-11", 1).front(), 1);
    EXPECT_EQ(processors.take("ws/b/node-13", 1).front(), 0) << "there are none left";
    EXPECT_EQ(processors.take("ws/b/node-15", 1).front(), 1) << "as few as possible share one";
}

TEST(ProcessorsTest, ANodeThatRunsKeepsWhatItHas) {
    Processors processors({4, 5, 6, 7});
    processors.keep("ws/a/node-1", {5, 6});
    EXPECT_EQ(processors.take("ws/a/node-2", 2), (List{4, 7, 5, 6}));
    EXPECT_EQ(processors.take("ws/a/node-1", 2), (List{5, 6, 4, 7}));
    // The server may use others than before: what it may not give is not given.
    processors.keep("ws/a/node-3", {0, 1});
    EXPECT_EQ(processors.own("ws/a/node-3"), List());
    EXPECT_EQ(processors.take("ws/a/node-4", 100).size(), 4u);
    EXPECT_EQ(processors.take("ws/a/node-5", 0).size(), 4u);
    EXPECT_EQ(Processors(List{}).take("ws/a/node-1", 2), List());
}

TEST(ProcessorsTest, NeverTwiceWhileThereAreEnough) {
    for (unsigned seed = 1; seed <= 40; ++seed) {
        std::mt19937 random(seed);
        List usable;
        for (int i = 0; i < 64; ++i)
            if (random() % 2) usable.push_back(i);
        Processors processors(usable);
        std::map<NodeId, std::size_t> nodes;
        std::size_t taken = 0;
        for (int step = 0; step < 200; ++step) {
            const NodeId node = "ws/c/node-" + std::to_string(random() % 20);
            if (const auto found = nodes.find(node); found != nodes.end()) {
                processors.give_back(node);
                taken -= found->second;
                nodes.erase(found);
                continue;
            }
            const std::size_t wanted = 1 + random() % 8;
            if (taken + wanted > usable.size()) continue;
            const List all = processors.take(node, static_cast<int>(wanted));
            EXPECT_EQ(std::set<int>(all.begin(), all.end()),
                      std::set<int>(usable.begin(), usable.end()));
            taken += wanted;
            nodes[node] = wanted;
            std::set<int> distinct;
            for (const auto& [one, size] : nodes)
                for (const int processor : processors.own(one))
                    EXPECT_TRUE(distinct.insert(processor).second) << "seed " << seed;
            EXPECT_EQ(distinct.size(), taken);
        }
    }
}

}  // namespace
}  // namespace turnout
