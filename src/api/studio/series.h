// The course of a metric in few points; pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/json.h"
#include "tracking/tracking.h"

namespace turnout::api::studio {

struct Zoom {  // steps, both included
    std::int64_t from = std::numeric_limits<std::int64_t>::min();
    std::int64_t to = std::numeric_limits<std::int64_t>::max();
};

// {points, shown, notNumbers, step[], time[], last[]} of at most `buckets` points that are numbers;
// of more also {first[], min[], max[]} of each bucket.
Json course_of(const std::vector<Metric>& points, const Zoom& zoom, std::size_t buckets);

}  // namespace turnout::api::studio
