// What a pool of a Kubernetes cluster says of the pods in it, as far as others have to know it.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "model/pool.h"

namespace turnout {

inline constexpr std::string_view kKubernetes = "kubernetes";  // the name of its provider

// The names of `instance_types` in its settings, in their order.
inline std::vector<std::string> instance_types_of(const Pool& pool) {
    std::vector<std::string> names;
    for (const auto& [name, type] : pool.settings.at("instance_types").members())
        names.push_back(name);
    return names;
}

// The name as the pool spells it; nothing: it has none of that name.
inline std::optional<std::string> instance_type_of(const Pool& pool, std::string_view wanted) {
    for (const std::string& name : instance_types_of(pool))
        if (equal_ignoring_case(name, wanted)) return name;
    return std::nullopt;
}

}  // namespace turnout
