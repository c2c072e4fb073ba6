#include "protocol/secret_reference.h"

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace turnout::agent_protocol {
namespace {

constexpr std::string_view kOpen = "${{", kClose = "}}", kGroup = "secrets", kFile = ":file";

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Where the next "${{ secrets." begins, and what comes after it.
std::optional<std::size_t> next_reference(std::string_view text, std::size_t& after) {
    for (std::size_t at = text.find(kOpen); at != std::string_view::npos;
         at = text.find(kOpen, at + 1)) {
        std::size_t inside = at + kOpen.size();
        while (inside < text.size() && (text[inside] == ' ' || text[inside] == '\t')) ++inside;
        if (!text.substr(inside).starts_with(kGroup)) continue;
        after = inside + kGroup.size();
        if (after < text.size() && is_letter_or_digit(text[after])) continue;
        return at;
    }
    return std::nullopt;
}

}  // namespace

bool is_secret_name(std::string_view name) {
    return !name.empty() && name.size() <= kMaxSecretName && is_letter_or_digit(name.front()) &&
           std::ranges::all_of(
               name, [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_'; });
}

bool mentions_secrets(std::string_view text) {
    std::size_t after = 0;
    return next_reference(text, after).has_value();
}

Result<std::vector<SecretReference>> secret_references(std::string_view text) {
    std::vector<SecretReference> all;
    std::size_t begin = 0, after = 0;
    while (const auto found = next_reference(text.substr(begin), after)) {
        const std::string_view rest = text.substr(begin);
        const std::size_t end = rest.find(kClose, after);
        std::string_view inside = end == std::string_view::npos
                                      ? std::string_view()
                                      : trim(rest.substr(after, end - after));
        SecretReference one;
        if (inside.starts_with('.')) {
            inside.remove_prefix(1);
            one.file = inside.ends_with(kFile);
            if (one.file) inside.remove_suffix(kFile.size());
            one.name = inside;
        }
        if (!is_secret_name(one.name))
            return invalid("'" + std::string(rest.substr(*found, 60)) +
                           "' names no secret: write ${{secrets.NAME}}, or ${{secrets.NAME:file}} "
                           "for the path of a file, where NAME has letters, digits, '-' and '_'");
        one.at = begin + *found;
        one.size = end + kClose.size() - *found;
        begin = one.at + one.size;
        all.push_back(std::move(one));
    }
    return all;
}

Result<std::string> put_secrets(
    std::string_view text,
    const std::function<Result<std::string>(const SecretReference&)>& value_of) {
    std::string put;
    std::size_t told = 0;
    const auto references = TURNOUT_TRY(secret_references(text));
    for (const SecretReference& one : references) {
        put += text.substr(told, one.at - told);
        put += TURNOUT_TRY(value_of(one));
        told = one.at + one.size;
    }
    put += text.substr(told);
    return put;
}

}  // namespace turnout::agent_protocol
