#include "submission/container_instance.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/text.h"
#include "model/compute.h"
#include "submission/refusal.h"

namespace turnout::submission {
namespace {

constexpr const char* kReason = "InvalidContainerInstance";
constexpr std::array<std::string_view, 3> kMembers = {"region", "cpu_cores", "memory_gb"};
constexpr int kMostCores = 10'000;
constexpr double kLeastMemory = 0.1, kMostMemory = 100'000;

// "containerInstance", as somebody may write it where all else is REST's.
bool is_the_word(std::string_view key) {
    std::string word(key);
    std::erase(word, '_');
    return equal_ignoring_case(word, kContainerInstance);
}

std::string place_of(std::string_view member) {
    return std::string(kInstancePlace) + "." + std::string(member);
}

}  // namespace

bool names_container_instance(std::string_view compute_id) {
    constexpr std::string_view prefix = "azureml:";
    std::string_view name = compute_id.substr(compute_id.rfind('/') + 1);
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    return equal_ignoring_case(name, kContainerInstance);
}

Result<InstanceSaid> read_container_instance(const Json& resources) {
    InstanceSaid said;
    const Json* given = nullptr;
    for (const auto& [key, value] : resources.at("properties").members())
        if (is_the_word(key) && !value.is_null()) given = &value;
    if (!given) return said;
    if (!given->is_object())
        return not_as_expected(kReason, std::string(kInstancePlace),
                               "an object with region, cpu_cores and memory_gb", *given);
    for (const auto& [key, value] : given->members())
        if (std::ranges::find(kMembers, key) == kMembers.end())
            return refuse(
                kReason,
                place_of(key.substr(0, 64)) + ": there is no such member" +
                    did_you_mean(key, std::vector<std::string>(kMembers.begin(), kMembers.end())) +
                    " (expected region, cpu_cores or memory_gb)",
                place_of(key.substr(0, 64)));
    if (const Json& region = given->at("region"); !region.is_null()) {
        if (!region.is_string())
            return not_as_expected(kReason, place_of("region"), "the name of a pool of containers",
                                   region);
        said.region = trim(region.as_view());
    }
    if (const Json& cores = given->at("cpu_cores"); !cores.is_null()) {
        // 2.0 is what some clients make of 2.
        const double number = cores.is_number() ? cores.as_double() : 0;
        if (!(number >= 1 && number <= kMostCores) || std::floor(number) != number)
            return not_as_expected(kReason, place_of("cpu_cores"),
                                   "a whole number of cores, at least 1", cores);
        said.cores = static_cast<int>(number);
    }
    if (const Json& memory = given->at("memory_gb"); !memory.is_null()) {
        const double number = memory.is_number() ? memory.as_double() : 0;
        if (!(number >= kLeastMemory && number <= kMostMemory))
            return not_as_expected(kReason, place_of("memory_gb"),
                                   "a number of gigabytes, at least 0.1", memory);
        said.memory_gb = number;
    }
    return said;
}

}  // namespace turnout::submission
