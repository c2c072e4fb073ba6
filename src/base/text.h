// Text, encodings and names. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace turnout {

inline bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
std::string to_lower(std::string_view text);
bool equal_ignoring_case(std::string_view a, std::string_view b);
std::string_view trim(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);
std::string join(std::span<const std::string> parts, std::string_view separator);
// Every `what`, from the left; what it is replaced by is not looked at again.
void replace_all(std::string& text, std::string_view what, std::string_view by);

// "42" or "-7": digits from end to end, of a number that 64 bits hold.
std::optional<std::int64_t> parse_whole_number(std::string_view text);

// %XX decoding, once. A broken escape or an encoded NUL is refused.
Result<std::string> percent_decode(std::string_view text);
// Encodes all but unreserved characters; `keep` names more characters to leave as they are ("/").
std::string percent_encode(std::string_view text, std::string_view keep = "");
// "a=1&b=x%20y" -> pairs, decoded ('+' is a space). Order kept, duplicates kept.
Result<std::vector<std::pair<std::string, std::string>>> parse_query(std::string_view text);
// The first value of that name in such pairs, which it is part of; "" if there is none.
std::string_view value_in(const std::vector<std::pair<std::string, std::string>>& pairs,
                          std::string_view name);

std::string to_hex(std::string_view bytes);
std::optional<std::string> from_hex(std::string_view hex);
std::string to_base64(std::string_view bytes);
std::string to_base64url(std::string_view bytes);  // no padding, as in JWT
std::optional<std::string> from_base64(std::string_view text);
std::optional<std::string> from_base64url(std::string_view text);

bool is_utf8(std::string_view text);
// Characters (code points) of UTF-8, as Python's len() counts them: limits are in these.
std::size_t count_characters(std::string_view text);
// Bytes of the character of UTF-8 that begins at `at`; 0 if none does.
std::size_t utf8_sequence(std::string_view text, std::size_t at);
// How many bytes at the end are the beginning of a character that may still come: 0 to 3.
std::size_t unfinished_utf8(std::string_view text);
// Text from outside in quotation marks, fit for a message: no control characters, not too long.
std::string shown(std::string_view text);
// As it is, or its first so many characters and "…".
std::string shortened(std::string_view text, std::size_t characters);

// The candidate nearest to `wanted` by edit distance, if one is near enough to be meant.
std::optional<std::string> nearest(std::string_view wanted,
                                   std::span<const std::string> candidates);
// ", did you mean 'x'?", or `otherwise`.
std::string did_you_mean(std::string_view wanted, std::span<const std::string> candidates,
                         std::string_view otherwise = "");

// A relative path from outside, made safe: no empty, "." or ".." part, no leading "/", no
// backslash, no NUL or control character, valid UTF-8, at most 1,024 bytes. Already percent-decoded
// exactly once by whoever received it; a remaining "%2e" is an ordinary name.
Result<std::string> checked_relative_path(std::string_view path, std::string_view what);

std::string quote_for_shell(std::string_view text);  // POSIX sh, minimal

std::string xml_escape(std::string_view text);   // also fit for HTML text and attributes
std::string with_commas(std::int64_t number);    // 12,345
std::string to_size_words(std::uint64_t bytes);  // "1.2 MiB"

}  // namespace turnout
