#include "resources/rules.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "base/text.h"

namespace turnout::resources {
namespace {

bool is_ascii_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// So many of letters, digits and `more`.
bool is_made_of(std::string_view text, std::string_view more, std::size_t least, std::size_t most) {
    return text.size() >= least && text.size() <= most && std::ranges::all_of(text, [&](char c) {
               return is_ascii_letter(c) || is_digit(c) || more.find(c) != std::string_view::npos;
           });
}

bool begins_well(std::string_view text) {
    return !text.empty() && (is_ascii_letter(text[0]) || is_digit(text[0]) || text[0] == '_');
}

}  // namespace

const TextRule kName = {
    "1 to 255 letters, digits, '.', '_' and '-', beginning with a letter, a digit or '_'",
    [](std::string_view text) { return begins_well(text) && is_made_of(text, "._-", 1, 255); }};

const TextRule kComputeName = {
    "2 to 32 letters, digits and '-', beginning with a letter and not ending with '-'",
    [](std::string_view text) {
        return is_made_of(text, "-", 2, 32) && is_ascii_letter(text[0]) && text.back() != '-';
    }};

const TextRule kDatastoreName = {"1 to 255 letters, digits and '_'", [](std::string_view text) {
                                     return is_made_of(text, "_", 1, 255);
                                 }};

const TextRule kWorkspaceName = {
    "2 to 33 letters, digits, '_' and '-', beginning with a letter, a digit or '_'",
    [](std::string_view text) { return begins_well(text) && is_made_of(text, "_-", 2, 33); }};

const TextRule kResourceGroupName = {
    "1 to 90 letters, digits, '.', '_', '-', '(' and ')', beginning with a letter, a digit or '_'",
    [](std::string_view text) { return begins_well(text) && is_made_of(text, "._-()", 1, 90); }};

const TextRule kSubscriptionName = {
    "1 to 64 letters, digits and '-', beginning with a letter or a digit",
    [](std::string_view text) { return begins_well(text) && is_made_of(text, "-", 1, 64); }};

const TextRule kMemorySize = {
    "a number above 0 and one of b, k, m, g, such as 2g",
    [](std::string_view text) { return text.empty() || parse_memory_size(text); }};

Result<void> check_name(const TextRule& rule, std::string_view text, std::string_view what) {
    if (rule.fits(text)) return {};
    return fail(Code::InvalidArgument, "InvalidName",
                std::string(what) + " '" + std::string(text.substr(0, 64)) + "': expected " +
                    std::string(rule.expected),
                "name");
}

std::optional<std::int64_t> parse_memory_size(std::string_view text) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string unit =
        to_lower(std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end)));
    constexpr std::string_view units = "bkmg";
    const std::size_t place = unit.empty() ? 0 : units.find(unit);
    if (error != std::errc() || number <= 0 || unit.size() > 1 || place == std::string_view::npos ||
        number > (std::int64_t{1} << 50) >> (10 * place))
        return std::nullopt;
    return number << (10 * place);
}

}  // namespace turnout::resources
