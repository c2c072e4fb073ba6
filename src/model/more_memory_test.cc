#include "model/more_memory.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "model/compute.h"

namespace turnout {
namespace {

using Computes = std::vector<std::pair<std::string, std::string>>;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;

TEST(MoreMemory, TheNextLargerSizeIsNamed) {
    EXPECT_EQ(more_memory_words("Standard_DS3_v2", 64 * kGiB, {}),
              "the next larger size is STANDARD_DS4_V2 with 28.0 GiB")
        << "of its family, though others lie between";
    EXPECT_EQ(more_memory_words("STANDARD_DS3_V2", 24 * kGiB, {}),
              "the next larger size is STANDARD_DS4_V2 with 28.0 GiB, of which this machine has "
              "24.0 GiB");
    EXPECT_EQ(more_memory_words("STANDARD_DS15_V2", 2'000 * kGiB, {}),
              "the next larger size is STANDARD_F72S_V2 with 144.0 GiB")
        << "its family has none: the least that is more";
    EXPECT_EQ(more_memory_words("STANDARD_DS3_V2", 0, {}),
              "the next larger size is STANDARD_DS4_V2 with 28.0 GiB");
    EXPECT_EQ(more_memory_words("STANDARD_NC6S_V3", 2'000 * kGiB, {})
                  .find("the next larger size is STANDARD_NC"),
              0u)
        << "it keeps its GPU";
}

TEST(MoreMemory, ThatThereIsNoneIsSaid) {
    EXPECT_EQ(more_memory_words("STANDARD_DS3_V2", 14 * kGiB, {})
                  .find("that is all the memory of this machine"),
              0u);
    EXPECT_EQ(more_memory_words("STANDARD_DS15_V2", 8 * kGiB, Computes{{"big", "STANDARD_E64S_V3"}})
                  .find("that is all the memory of this machine"),
              0u);
    EXPECT_EQ(more_memory_words("STANDARD_ND96AMSR_A100_V4", 4'000 * kGiB, {}), "no size has more");
    EXPECT_EQ(more_memory_words("", 8 * kGiB, {}), "");
    EXPECT_EQ(more_memory_words("other", 8 * kGiB, {}), "");
}

TEST(MoreMemory, AComputeThatHasMoreIsNamed) {
    const Computes computes{{"mine", "STANDARD_A1_V2"},
                            {"huge", "STANDARD_E64S_V3"},
                            {"big", "STANDARD_D2_V3"},
                            {"odd", "nothing"}};
    EXPECT_EQ(more_memory_words("STANDARD_A1_V2", 64 * kGiB, computes),
              "the next larger size is STANDARD_A2_V2 with 4.0 GiB; compute 'big' has nodes of "
              "STANDARD_D2_V3 with 8.0 GiB");
}

TEST(MoreMemory, OnlyTheLargestOfAsManyGpusHasNoAnswer) {
    for (const VmSize& size : vm_sizes()) {
        const bool largest =
            std::none_of(vm_sizes().begin(), vm_sizes().end(), [&](const VmSize& other) {
                return other.gpus == size.gpus && other.memory_gb > size.memory_gb;
            });
        EXPECT_EQ(more_memory_words(size.name, 0, {}) == "no size has more", largest) << size.name;
    }
}

}  // namespace
}  // namespace turnout
