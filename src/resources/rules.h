// What names and values must be, each rule said once. Descriptions check YAML, flags and REST
// documents by them; the server asks for one by its name where a name comes in a path.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace turnout::resources {

struct TextRule {
    std::string_view expected;  // what to say to whoever did not keep it
    bool (*fits)(std::string_view text);
};

extern const TextRule kName;  // of jobs and assets, and of an asset's versions
extern const TextRule kComputeName;
extern const TextRule kDatastoreName;
extern const TextRule kWorkspaceName;
extern const TextRule kResourceGroupName;
extern const TextRule kSubscriptionName;
extern const TextRule kMemorySize;  // "2g"

// InvalidArgument "InvalidName" with the target "name"; `what` is for the message: "environment".
Result<void> check_name(const TextRule& rule, std::string_view text, std::string_view what);

// Bytes of "2g": a number and one of b, k, m, g, as docker takes it; nothing if it is none.
std::optional<std::int64_t> parse_memory_size(std::string_view text);

inline constexpr std::int64_t kMostNodes = 1000;     // of a cluster, and of a job
inline constexpr std::int64_t kMostProcesses = 256;  // of a job, on one node
inline constexpr std::int64_t kLongestIdleSeconds = 7 * 24 * 3600;

}  // namespace turnout::resources
