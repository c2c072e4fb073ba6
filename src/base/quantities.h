// Ages and sizes as people write them.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace turnout {

// "30d", "12h", "90m", "45s", "2w", "0".
Result<Span> parse_age(std::string_view text);
// "20GB", "500 MiB": in bytes.
Result<std::uint64_t> parse_size(std::string_view text);

}  // namespace turnout
