// Enumerators and their spelling on the wire, in one table each.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace turnout {

template <class E, std::size_t N>
using Names = std::array<std::pair<E, std::string_view>, N>;

template <class E, std::size_t N>
constexpr std::string_view name_in(const Names<E, N>& names, E value) {
    for (const auto& [candidate, name] : names)
        if (candidate == value) return name;
    return "";
}

template <class E, std::size_t N>
Result<E> parse_in(const Names<E, N>& names, std::string_view text, std::string_view what) {
    std::string known;
    for (const auto& [value, name] : names) {
        if (name == text) return value;
        known += known.empty() ? "" : ", ";
        known += name;
    }
    return invalid("'" + std::string(text) + "' is no " + std::string(what) + " (one of " + known +
                   ")");
}

}  // namespace turnout
