#include "control/ports.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace turnout {
namespace {

TEST(PortsTest, NoTwoAttemptsHaveTheSame) {
    for (unsigned seed = 1; seed <= 50; ++seed) {
        std::mt19937 random(seed);
        Ports ports;
        std::map<int, int> held;
        for (int step = 0; step < 2000; ++step) {
            if (!held.empty() && random() % 3 == 0) {
                const auto gone =
                    std::next(held.begin(), static_cast<std::ptrdiff_t>(random() % held.size()));
                ports.give_back(gone->first);
                held.erase(gone);
                continue;
            }
            const int count = 1 + static_cast<int>(random() % 20);
            const auto few = static_cast<std::uint32_t>(
                random() % 50);  // attempts whose names lead to the same place
            const int first = ports.take(count, few);
            if (first == 0) continue;
            ASSERT_GE(first, Ports::kFirst);
            ASSERT_LE(first + count, Ports::kFirst + Ports::kCount);
            const auto after = held.lower_bound(first);
            ASSERT_TRUE(after == held.end() || first + count <= after->first) << "seed " << seed;
            ASSERT_TRUE(after == held.begin() ||
                        std::prev(after)->first + std::prev(after)->second <= first)
                << "seed " << seed;
            held[first] = count;
        }
    }
}

TEST(PortsTest, WhatOthersOfTheMachineUseIsLeftOut) {
    Ports ports;
    const int first = ports.take(1, 7);
    ports.give_back(first);
    EXPECT_EQ(ports.take(3, 7, [&](int port) { return port != first + 1; }), first + 2)
        << "three in a row";
    EXPECT_EQ(ports.take(1, 7, [&](int port) { return port != first; }), first + 1);
    EXPECT_EQ(ports.take(1, 7, [](int) { return false; }), 0);
}

TEST(PortsTest, AllOfThemAndNotOneMore) {
    Ports ports;
    ports.keep(Ports::kFirst + 5000, 1);
    std::set<int> taken;
    for (int i = 1; i < Ports::kCount; ++i)
        EXPECT_TRUE(taken.insert(ports.take(1, static_cast<std::uint32_t>(i) * 7919)).second);
    EXPECT_FALSE(taken.contains(Ports::kFirst + 5000));
    EXPECT_EQ(ports.take(1, 1), 0);
    ports.give_back(Ports::kFirst + 17);
    EXPECT_EQ(ports.take(2, 1), 0);
    EXPECT_EQ(ports.take(1, 1), Ports::kFirst + 17);
    EXPECT_EQ(Ports().take(Ports::kCount + 1, 1), 0);
    EXPECT_EQ(Ports().take(Ports::kCount, 1), Ports::kFirst);
}

}  // namespace
}  // namespace turnout
