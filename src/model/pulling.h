// How a provider begins what it says while an image comes to a node: that may take longer than a
// node has time to start, and is no sign that it does not.
#pragma once

#include <string_view>

namespace turnout {

inline constexpr std::string_view kPulling = "pulling image ";

}  // namespace turnout
