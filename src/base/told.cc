#include "base/told.h"

#include "base/text.h"

namespace turnout {

namespace {

bool is_told(std::string_view words, std::string_view told) {
    if (told.find(words) != std::string_view::npos) return true;
    // Or only what comes after a mark of its own: "cause: …".
    constexpr std::size_t kShort = 20;  // letters that may be anywhere
    const std::size_t mark = words.find(": ");
    return mark != std::string_view::npos && words.size() > mark + 2 + kShort &&
           told.find(words.substr(mark + 2)) != std::string_view::npos;
}

}  // namespace

std::string not_told(std::string_view text, std::string_view told) {
    std::string rest;
    for (const auto& line : split(text, '\n'))
        if (const std::string_view words = trim(line); !words.empty() && !is_told(words, told))
            rest += (rest.empty() ? "" : "\n") + line;
    return rest;
}

}  // namespace turnout
