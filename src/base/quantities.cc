#include "base/quantities.h"

#include <charconv>

#include "base/text.h"

namespace turnout {

Result<Span> parse_age(std::string_view text) {
    if (text == "0") return Span{};
    std::int64_t unit = 0;
    for (const auto& [letter, seconds] :
         {std::pair{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86'400}, {'w', 7 * 86'400}})
        if (text.ends_with(letter)) unit = seconds;
    const std::optional<std::int64_t> number =
        parse_whole_number(text.substr(0, text.empty() ? 0 : text.size() - 1));
    if (unit == 0 || !number || *number < 0 || *number > 100'000'000 ||
        *number * unit > std::int64_t{200} * 365 * 86'400)
        return invalid("'" + std::string(text.substr(0, 40)) +
                           "' is not an age: expected a number with s, m, h, d or w, such as 30d",
                       std::string(text.substr(0, 40)));
    return Span(std::chrono::seconds(*number * unit));
}

Result<std::uint64_t> parse_size(std::string_view text) {
    const std::size_t end = text.find_first_not_of("0123456789.");
    const std::string unit =
        to_lower(trim(end == std::string_view::npos ? std::string_view() : text.substr(end)));
    double factor = 0;
    for (const auto& [name, value] : {std::pair{"", 1.0},
                                      {"b", 1.0},
                                      {"kb", 1e3},
                                      {"mb", 1e6},
                                      {"gb", 1e9},
                                      {"tb", 1e12},
                                      {"kib", 1024.0},
                                      {"mib", 1048576.0},
                                      {"gib", 1073741824.0},
                                      {"tib", 1099511627776.0},
                                      {"k", 1024.0},
                                      {"m", 1048576.0},
                                      {"g", 1073741824.0},
                                      {"t", 1099511627776.0}})
        if (unit == name) factor = value;
    const std::string_view digits = text.substr(0, end);
    double number = -1;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const double value =
        read.ec == std::errc() && read.ptr == digits.data() + digits.size() ? number * factor : -1;
    if (factor == 0 || !(value >= 0 && value < 1e18))
        return invalid("'" + std::string(text.substr(0, 40)) +
                           "' is not a size: expected such as 20GB or 500MiB",
                       std::string(text.substr(0, 40)));
    return static_cast<std::uint64_t>(value);
}

}  // namespace turnout
