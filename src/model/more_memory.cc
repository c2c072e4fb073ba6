#include "model/more_memory.h"

#include <algorithm>

#include "base/text.h"
#include "model/compute.h"

namespace turnout {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

std::string words(double bytes) {
    return to_size_words(static_cast<std::uint64_t>(bytes));
}

// "28.0 GiB", or what of it the machine has.
std::string here(const VmSize& size, double machine) {
    const double bytes = size.memory_gb * kGiB;
    return words(bytes) + (bytes > machine ? ", of which this machine has " + words(machine) : "");
}

// Of the same family if that has a larger one, as whoever chose the first would choose the next;
// else the one with the least that is more. As many GPUs in either case.
const VmSize* next_larger(const VmSize& size) {
    const VmSize* best = nullptr;
    for (const VmSize& other : vm_sizes()) {
        if (other.memory_gb <= size.memory_gb || other.gpus != size.gpus) continue;
        const bool kin = other.family == size.family,
                   best_is_kin = best && best->family == size.family;
        if (!best || (kin && !best_is_kin) ||
            (kin == best_is_kin && other.memory_gb < best->memory_gb))
            best = &other;
    }
    return best;
}

}  // namespace

std::string gigabyte_words(double gigabytes) {
    std::string text = Json(gigabytes).dump();
    if (text.ends_with(".0")) text.erase(text.size() - 2);
    return text + " GB";
}

std::string more_memory_words(std::string_view size, std::int64_t machine,
                              std::span<const std::pair<std::string, std::string>> computes) {
    const VmSize* const mine = find_vm_size(size);
    if (!mine) return "";
    const double all = machine > 0 ? static_cast<double>(machine) : 1e18;
    if (mine->memory_gb * kGiB >= all)
        return "that is all the memory of this machine, and no size has more here: let the command "
               "hold less at a time, "
               "or run it on a machine with more";
    const std::pair<std::string, std::string>* there = nullptr;
    double least = 0;
    for (const auto& each : computes) {
        const VmSize* const other = find_vm_size(each.second);
        if (!other || other->memory_gb <= mine->memory_gb || other->gpus < mine->gpus) continue;
        if (there && other->memory_gb >= least) continue;
        there = &each;
        least = other->memory_gb;
    }
    std::string out;
    if (const VmSize* const next = next_larger(*mine))
        out = "the next larger size is " + next->name + " with " + here(*next, all);
    else
        out = "no size has more";
    if (there)
        out += "; compute '" + there->first + "' has nodes of " +
               find_vm_size(there->second)->name + " with " +
               here(*find_vm_size(there->second), all);
    return out;
}

}  // namespace turnout
