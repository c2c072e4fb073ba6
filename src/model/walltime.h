// How long the nodes of a pool live at most, where it says that.
#pragma once

#include <optional>

#include "model/pool.h"

namespace turnout {

// What is begun on a node that ends is to be over so long before: logs and outputs have to leave
// it, too.
inline constexpr Span kBeforeNodeEnds = 60s;

// A provider whose nodes end by themselves calls that `walltime` in its settings, in seconds.
inline std::optional<Span> walltime_of(const Pool& pool) {
    const std::int64_t seconds = pool.settings.at("walltime").as_int();
    return seconds > 0 ? std::optional<Span>(std::chrono::seconds(seconds)) : std::nullopt;
}

}  // namespace turnout
