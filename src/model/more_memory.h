// Memory in words: what a person does whose job had too little of it. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace turnout {

// Where there is more memory than on a node of `size`, on a machine that has `machine` bytes in all
// (0: not known): the next larger size, and the compute among `computes` (name, size) whose nodes
// have the least that is more; or that there is no more. "" if the size is not known.
std::string more_memory_words(std::string_view size, std::int64_t machine,
                              std::span<const std::pair<std::string, std::string>> computes);

// "4 GB", "0.5 GB"
std::string gigabyte_words(double gigabytes);

}  // namespace turnout
