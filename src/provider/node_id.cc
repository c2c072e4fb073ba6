#include "provider/node_id.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/text.h"

namespace turnout {

bool fits_as_node(std::string_view id) {
    const std::vector<std::string> parts = split(id, '/');
    constexpr std::string_view last = "node-";
    return id.size() <= 200 && parts.size() == 3 && !parts[0].empty() && !parts[1].empty() &&
           parts[2].starts_with(last) && parts[2].size() > last.size() &&
           std::ranges::all_of(parts[2].substr(last.size()), is_digit) &&
           std::ranges::all_of(id, [](char c) {
               return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                      c == '/';
           });
}

}  // namespace turnout
