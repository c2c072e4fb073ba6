// Telling a thing once: what somebody was shown already is not shown again.
#pragma once

#include <string>
#include <string_view>

namespace turnout {

// The lines of `text` that are not within `told`; one of both may have marks before them ("cause:
// …").
std::string not_told(std::string_view text, std::string_view told);

}  // namespace turnout
