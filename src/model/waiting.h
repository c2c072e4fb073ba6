// What a provider says of a node that is not there yet and for which nothing can be done.
#pragma once

#include <string_view>

namespace turnout {

// How it begins. Such a node may wait for days, and that is no sign that it does not start. It is
// said again at least every minute, for as long as that is so.
inline constexpr std::string_view kWaiting = "waits in ";

}  // namespace turnout
