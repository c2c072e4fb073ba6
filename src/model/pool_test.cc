#include "model/pool.h"

#include <gtest/gtest.h>

#include "resources/describe.h"

namespace turnout {
namespace {

const resources::Description kLocal = {
    .kind = "settings",
    .type = "",
    .title = "a pool of this machine",
    .help = "",
    .fields = {{.yaml = "python", .rest = "", .kind = resources::Kind::Text, .help = ""}}};

Result<std::vector<Pool>> read(std::string_view text) {
    const PoolProvider providers[] = {{"local", kLocal, true}, {"far", kLocal}};
    return read_pools(text, "pools.yaml", providers);
}
std::string told(std::string_view text) {
    const auto pools = read(text);
    return pools ? "" : pools.error().message;
}

TEST(Pools, TheDefaultOneIsThereWhateverTheFileSays) {
    for (const std::string_view text : {"", "pools:\n", "# nothing\n", "pools: {}\n"}) {
        const auto pools = read(text);
        ASSERT_TRUE(pools) << pools.error().message;
        ASSERT_EQ(pools->size(), 1u);
        EXPECT_EQ(pools->front().name, "local");
        EXPECT_EQ(pools->front().provider, "local");
        EXPECT_FALSE(pools->front().slots);
    }
}

TEST(Pools, HaveWhatIsWritten) {
    const auto pools = read(
        "pools:\n"
        "  big:\n"
        "    provider: local\n"
        "    slots: 3\n"
        "    lost_node_time: 600\n"
        "    image: host\n"
        "    settings:\n"
        "      python: /usr/bin/python3\n"
        "  small-2:\n"
        "    provider: far\n"
        "  local:\n"
        "    slots: 4\n");
    ASSERT_TRUE(pools) << pools.error().message;
    ASSERT_EQ(pools->size(), 3u);
    EXPECT_EQ(pools->at(0).name, "local");
    EXPECT_EQ(pools->at(0).slots, 4);
    EXPECT_EQ(pools->at(1).name, "big");
    EXPECT_EQ(pools->at(1).slots, 3);
    EXPECT_EQ(pools->at(1).lost_node_after, Span(600s));
    EXPECT_EQ(pools->at(1).settings.at("python").as_string(), "/usr/bin/python3");
    EXPECT_EQ(pools->at(2).name, "small-2");
    EXPECT_FALSE(pools->at(2).slots);
}

TEST(Pools, APoolSaysWhatItsNodesCostAndHowTheyAreKeptApart) {
    const auto pools = read(
        "pools:\n"
        "  local:\n"
        "    price_per_hour: {dedicated: 1.5, low_priority: 0}\n"
        "    isolation: shared_uid\n"
        "  far:\n"
        "    slots: 1\n"
        "    isolation: workspace_uid\n"
        "    image: host\n"
        "  near: {slots: 1, isolation: workspace_namespaces}\n");
    ASSERT_TRUE(pools) << pools.error().message;
    EXPECT_EQ(pools->at(0).price.dedicated, 1.5);
    EXPECT_EQ(pools->at(0).price.low_priority, 0.0);
    EXPECT_FALSE(pools->at(1).price.dedicated);
    EXPECT_EQ(pools->at(0).isolation, Isolation::SharedUid);
    EXPECT_EQ(pools->at(1).isolation, Isolation::WorkspaceUid);
    EXPECT_EQ(pools->at(2).isolation, Isolation::WorkspaceNamespaces);
    const std::string all = told(
        "pools:\n"
        "  local:\n"
        "    price_per_hour: {dedicated: -1, low: 3}\n"
        "    isolation: container\n"
        "    image: venv\n"
        "  far:\n"
        "    slots: 1\n"
        "    price_per_hour: 3\n"
        "    isolation: none\n");
    for (const char* part :
         {"pools.local.price_per_hour.dedicated: expected a price from 0",
          "pools.local.price_per_hour.low: is not a key of ",
          "pools.yaml:4:5: pools.local.isolation: ", "workspace_uid",
          "pools.yaml:5:5: pools.local.image: ", "is what `host` does",
          "pools.far.price_per_hour: expected a mapping", "pools.yaml:9:5: pools.far.isolation: "})
        EXPECT_NE(all.find(part), std::string::npos) << part << "\nin\n" << all;
}

TEST(Pools, WhatIsWrongIsToldWithPlaceValueAndWhatWasExpected) {
    const std::string all = told(
        "pool: 1\n"
        "pools:\n"
        "  Big:\n"
        "    slots: none\n"
        "    lost_node_tim: 5\n"
        "  far:\n"
        "    image: engine\n"
        "    lost_node_time: 5\n");
    for (const char* part :
         {"pools.yaml:1:1: pool: is not a key of this file: expected 'pools'",
          "pools.yaml:3:3: pools.Big: expected a pool's name",
          "pools.yaml:4:5: pools.Big.slots: expected a whole number from 1 to 10,000, found ",
          "pools.yaml:5:5: pools.Big.lost_node_tim: ", "did you mean 'lost_node_time'?",
          "pools.yaml:7:5: pools.far.image: expected host, found 'engine'",
          "pools.yaml:8:5: pools.far.lost_node_time: expected "
          "a whole number of seconds from 60"})
        EXPECT_NE(all.find(part), std::string::npos) << part << "\nin\n" << all;
    EXPECT_NE(
        told("pools:\n  a:\n    provider: lokal\n")
            .find("pools.yaml:3:5: pools.a.provider: expected local or far, found 'lokal', did you "
                  "mean 'local'?"),
        std::string::npos)
        << told("pools:\n  a:\n    provider: lokal\n");
    EXPECT_NE(told("pools:\n  a:\n    settings: {pyton: x}\n")
                  .find("pools.yaml:3:16: pools.a.settings.pyton: "),
              std::string::npos)
        << told("pools:\n  a:\n    settings: {pyton: x}\n");
    EXPECT_NE(told("pools:\n  a:\n").find("pools.yaml:2:3: pools.a: expected 'slots'"),
              std::string::npos)
        << told("pools:\n  a:\n");
    EXPECT_NE(told("- a\n").find("pools.yaml:1:1: "), std::string::npos);
    EXPECT_NE(told("pools: [a]\n").find("pools: expected a mapping"), std::string::npos)
        << told("pools: [a]\n");
    EXPECT_NE(told("pools: {a: 1}\n").find("pools.a: expected a mapping"), std::string::npos);
    EXPECT_NE(told("pools: {").find("pools.yaml:1:"), std::string::npos);
}

}  // namespace
}  // namespace turnout
