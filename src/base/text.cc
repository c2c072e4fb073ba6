#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace turnout {
namespace {

constexpr char hex_lower[] = "0123456789abcdef";
constexpr char hex_upper[] = "0123456789ABCDEF";
constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

unsigned char byte(char c) {
    return static_cast<unsigned char>(c);
}

// By ASCII, whatever the locale.
char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_alphanumeric(char c) {
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}
bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

int hex_value(char c) {
    if (is_digit(c)) return c - '0';
    const char small = lower(c);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

constexpr char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char base64url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string encode_base64(std::string_view bytes, const char* alphabet, bool padded) {
    std::string out((bytes.size() + 2) / 3 * 4, '=');
    char* to = out.data();
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
        std::uint32_t group = 0;
        for (std::size_t k = 0; k < 3; ++k)
            group = group << 8 | (k < count ? byte(bytes[i + k]) : 0u);
        for (std::size_t k = 0; k <= count; ++k) to[k] = alphabet[group >> (18 - 6 * k) & 63];
        to += 4;
    }
    if (!padded) out.resize((bytes.size() * 4 + 2) / 3);
    return out;
}

// Without padding. Only the one canonical spelling of each value: unused bits are zero.
std::optional<std::string> decode_base64(std::string_view text, const char* alphabet) {
    if (text.size() % 4 == 1) return std::nullopt;
    std::array<signed char, 256> values;
    values.fill(-1);
    for (int i = 0; i < 64; ++i) values[byte(alphabet[i])] = static_cast<signed char>(i);
    std::string out;
    out.reserve(text.size() / 4 * 3 + 2);
    std::uint32_t group = 0;
    unsigned bits = 0;
    for (const char c : text) {
        const int value = values[byte(c)];
        if (value < 0) return std::nullopt;
        group = (group << 6 | static_cast<std::uint32_t>(value)) & 0xFFFFFF;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out += static_cast<char>(group >> bits & 0xFF);
        }
    }
    if ((group & ((1u << bits) - 1)) != 0) return std::nullopt;
    return out;
}

// Edits (insert, delete, replace, swap of neighbours) from a to b, without regard to case.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        now[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const char x = lower(a[i - 1]), y = lower(b[j - 1]);
            now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (x == y ? 0u : 1u)});
            if (i > 1 && j > 1 && x == lower(b[j - 2]) && lower(a[i - 2]) == y)
                now[j] = std::min(now[j], before[j - 2] + 1);
        }
        std::swap(before, last);
        std::swap(last, now);
    }
    return last[b.size()];
}

}  // namespace

std::string to_lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = lower(c);
    return out;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> out;
    while (true) {
        const std::size_t end = text.find(separator);
        out.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) return out;
        text.remove_prefix(end + 1);
    }
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
    std::string out;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (i > 0) out += separator;
        out += parts[i];
    }
    return out;
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
    for (std::size_t at = text.find(what); at != std::string::npos;
         at = text.find(what, at + by.size()))
        text.replace(at, what.size(), by);
}

std::optional<std::int64_t> parse_whole_number(std::string_view text) {
    std::int64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, number);
    if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
    return number;
}

Result<std::string> percent_decode(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        const int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
        if (high < 0 || low < 0) return invalid("broken percent escape in " + shown(text));
        if (high == 0 && low == 0) return invalid("encoded NUL in " + shown(text));
        out += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return out;
}

std::string percent_encode(std::string_view text, std::string_view keep) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        if (is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~' ||
            keep.find(c) != std::string_view::npos) {
            out += c;
        } else {
            out += '%';
            out += hex_upper[byte(c) >> 4];
            out += hex_upper[byte(c) & 15];
        }
    }
    return out;
}

Result<std::vector<std::pair<std::string, std::string>>> parse_query(std::string_view text) {
    const auto decode = [](std::string_view part) {
        std::string plain(part);
        std::replace(plain.begin(), plain.end(), '+', ' ');
        return percent_decode(plain);
    };
    std::vector<std::pair<std::string, std::string>> out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('&'), text.size());
        const std::string_view part = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (part.empty()) continue;
        const std::size_t equals = std::min(part.find('='), part.size());
        std::string key = TURNOUT_TRY(decode(part.substr(0, equals)));
        std::string value = TURNOUT_TRY(decode(part.substr(std::min(equals + 1, part.size()))));
        out.emplace_back(std::move(key), std::move(value));
    }
    return out;
}

std::string_view value_in(const std::vector<std::pair<std::string, std::string>>& pairs,
                          std::string_view name) {
    for (const auto& [key, value] : pairs)
        if (key == name) return value;
    return {};
}

std::string to_hex(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const char c : bytes) {
        out += hex_lower[byte(c) >> 4];
        out += hex_lower[byte(c) & 15];
    }
    return out;
}

std::optional<std::string> from_hex(std::string_view hex) {
    if (hex.size() % 2 != 0) return std::nullopt;
    std::string out;
    out.reserve(hex.size() / 2);
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        const int high = hex_value(hex[i]), low = hex_value(hex[i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        out += static_cast<char>(high * 16 + low);
    }
    return out;
}

std::string to_base64(std::string_view bytes) {
    return encode_base64(bytes, base64_alphabet, true);
}

std::string to_base64url(std::string_view bytes) {
    return encode_base64(bytes, base64url_alphabet, false);
}

std::optional<std::string> from_base64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
    return decode_base64(text, base64_alphabet);
}

std::optional<std::string> from_base64url(std::string_view text) {
    return decode_base64(text, base64url_alphabet);
}

std::size_t utf8_sequence(std::string_view text, std::size_t at) {
    if (at >= text.size()) return 0;
    const unsigned char first = byte(text[at]);
    if (first < 0x80) return 1;
    std::size_t length = 0;
    unsigned char low = 0x80, high = 0xBF;  // bounds of the second byte
    if (first >= 0xC2 && first <= 0xDF) {
        length = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3;
        if (first == 0xE0) low = 0xA0;   // overlong
        if (first == 0xED) high = 0x9F;  // surrogates
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
        if (first == 0xF0) low = 0x90;   // overlong
        if (first == 0xF4) high = 0x8F;  // above U+10FFFF
    } else {
        return 0;
    }
    if (text.size() - at < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        const unsigned char next = byte(text[at + i]);
        if (next < low || next > high) return 0;
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

std::size_t count_characters(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count_if(
        text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string shown(std::string_view text) {
    std::string out = "'";
    std::size_t at = 0;
    while (at < text.size() && at < 120) {
        const std::size_t length = utf8_sequence(text, at);
        if (length == 0 || byte(text[at]) < 0x20 || text[at] == 0x7f)
            out += '?';
        else
            out += text.substr(at, length);
        at += std::max<std::size_t>(length, 1);
    }
    out += at < text.size() ? "...'" : "'";
    return out;
}

std::string shortened(std::string_view text, std::size_t characters) {
    if (count_characters(text) <= characters) return std::string(text);
    std::size_t end = 0;
    for (std::size_t i = 0; i < characters; ++i)
        end += std::max<std::size_t>(1, utf8_sequence(text, end));
    return std::string(text.substr(0, end)) + "…";
}

std::size_t unfinished_utf8(std::string_view text) {
    for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
        const auto lead = static_cast<unsigned char>(text[text.size() - back]);
        if (lead < 0x80) return 0;
        if (lead < 0xC0) continue;
        // With what is missing put in, is it a character? The second byte decides the odd cases.
        std::string whole(text.substr(text.size() - back));
        for (const char second : {'\x80', '\xA0'}) {
            std::string tried = whole;
            if (back == 1) tried += second;
            tried.append(3, '\x80');
            if (utf8_sequence(tried, 0) > back) return back;
        }
        return 0;
    }
    return 0;
}

bool is_utf8(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
        if (text.size() - at >= 8) {  // eight ASCII bytes at a time
            std::uint64_t block;
            std::memcpy(&block, text.data() + at, 8);
            if ((block & 0x8080808080808080u) == 0) {
                at += 8;
                continue;
            }
        }
        const std::size_t length = utf8_sequence(text, at);
        if (length == 0) return false;
        at += length;
    }
    return true;
}

std::optional<std::string> nearest(std::string_view wanted,
                                   std::span<const std::string> candidates) {
    // One edit in three characters, three at most; in one or two characters only the case.
    const std::size_t limit = std::min<std::size_t>(wanted.size() / 3, 3);
    const std::string* best = nullptr;
    std::size_t best_distance = limit + 1;
    for (const std::string& candidate : candidates) {
        const std::size_t apart = candidate.size() > wanted.size()
                                      ? candidate.size() - wanted.size()
                                      : wanted.size() - candidate.size();
        if (apart >= best_distance) continue;
        const std::size_t distance = edit_distance(wanted, candidate);
        if (distance >= best_distance) continue;
        best = &candidate;
        best_distance = distance;
    }
    if (best == nullptr || wanted.empty()) return std::nullopt;
    return *best;
}

std::string did_you_mean(std::string_view wanted, std::span<const std::string> candidates,
                         std::string_view otherwise) {
    const std::optional<std::string> near = nearest(wanted, candidates);
    return near ? ", did you mean '" + *near + "'?" : std::string(otherwise);
}

Result<std::string> checked_relative_path(std::string_view path, std::string_view what) {
    const auto refuse = [path, what](std::string_view why) {
        return invalid(std::string(what) + " " + shown(path) + " " + std::string(why),
                       std::string(what));
    };
    if (path.empty()) return refuse("is empty");
    if (path.size() > 1024) return refuse("is longer than 1,024 bytes");
    for (const char c : path) {
        if (byte(c) < 0x20 || c == 0x7f) return refuse("contains a control character");
        if (c == '\\') return refuse("contains a backslash");
    }
    if (!is_utf8(path)) return refuse("is not valid UTF-8");
    if (path.front() == '/') return refuse("is absolute; give a relative path");
    for (std::size_t at = 0; at <= path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        const std::string_view part = path.substr(at, end - at);
        if (part.empty()) return refuse("contains an empty part");
        if (part == "." || part == "..") return refuse("contains a '.' or '..' part");
        at = end + 1;
    }
    // U+0080..U+009F, the control characters above ASCII.
    for (std::size_t i = 0; i + 1 < path.size(); ++i)
        if (byte(path[i]) == 0xC2 && byte(path[i + 1]) < 0xA0)
            return refuse("contains a control character");
    return std::string(path);
}

std::string quote_for_shell(std::string_view text) {
    constexpr std::string_view plain = "@%+=:,./-_";
    const bool safe = !text.empty() && std::all_of(text.begin(), text.end(), [plain](char c) {
        return is_alphanumeric(c) || plain.find(c) != std::string_view::npos;
    });
    if (safe) return std::string(text);
    std::string out = "'";
    for (const char c : text) {
        if (c == '\'')
            out += "'\\''";
        else
            out += c;
    }
    out += '\'';
    return out;
}

std::string xml_escape(std::string_view text) {
    std::string out;
    out.reserve(text.size() + text.size() / 8);
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = utf8_sequence(text, at);
        const char c = text[at];
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '"')
            out += "&quot;";
        else if (c == '\'')
            out += "&#39;";
        else if (c == '\r')
            out += "&#13;";  // a reader would make it a line feed
        else if (length == 0 || (byte(c) < 0x20 && c != '\t' && c != '\n'))
            out += replacement;
        else
            out += text.substr(at, length);
        at += std::max<std::size_t>(length, 1);
    }
    return out;
}

std::string with_commas(std::int64_t number) {
    std::string out = std::to_string(number);
    const std::size_t first = number < 0 ? 1 : 0;
    for (std::size_t at = out.size(); at > first + 3;) out.insert(at -= 3, ",");
    return out;
}

std::string to_size_words(std::uint64_t bytes) {
    if (bytes < 1024) return std::to_string(bytes) + " B";
    constexpr const char* units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    while (value >= 1023.95 && unit + 1 < std::size(units)) {  // would print as 1024.0
        value /= 1024;
        ++unit;
    }
    char out[32];
    std::snprintf(out, sizeof out, "%.1f %s", value, units[unit]);
    return out;
}

}  // namespace turnout
