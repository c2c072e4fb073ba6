// What is no compute that anybody makes.
#pragma once

#include <string_view>

namespace turnout::resources {

inline constexpr std::string_view kChosenPerRun =
    "a container instance is neither created nor attached: it is chosen per run, by `compute: "
    "containerinstance` in the job";

}  // namespace turnout::resources
