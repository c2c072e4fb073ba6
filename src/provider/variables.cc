#include "provider/variables.h"

#include <algorithm>

#include "base/text.h"

namespace turnout {

void check_variables(resources::Reading& reading, const std::string& pointer, const Json& value) {
    const auto fits = [](const std::string& name) {
        return !name.empty() && !is_digit(name.front()) && std::ranges::all_of(name, [&](char c) {
            return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        });
    };
    for (const auto& [name, text] : value.at("variables").members())
        if (!fits(name))
            reading.refuse(pointer_to(pointer_to(pointer, "variables"), name),
                           "expected the name of a variable: letters, digits and '_'");
}

}  // namespace turnout
