#include "base/json.h"

#include "base/json_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <system_error>
#include <vector>

#ifdef __SSE2__
#define RAPIDJSON_SSE2
#endif
#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::size_t max_depth = 64;
constexpr std::size_t padding = 32;
constexpr std::size_t small_object = 16;  // up to here a linear search beats a table

// ---- Writer

// How many bytes from here on are written as they are: no quote, backslash, control character or
// UTF-8 sequence. Eight at a time; it may stop early.
std::size_t plain_bytes(std::string_view text) {
    constexpr std::uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    std::size_t at = 0;
    for (; text.size() - at >= 8; at += 8) {
        std::uint64_t block;
        std::memcpy(&block, text.data() + at, 8);
        const std::uint64_t quote = block ^ (ones * '"'), backslash = block ^ (ones * '\\');
        if (((block | (block - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops) != 0)
            break;
    }
    return at;
}

void write_string(std::string& out, std::string_view text) {
    out += '"';
    std::size_t copied = 0;  // everything before is in `out`
    const auto replace = [&](std::size_t at, std::size_t length, std::string_view by) {
        out.append(text, copied, at - copied);
        out += by;
        copied = at + length;
    };
    for (std::size_t at = plain_bytes(text); at < text.size();) {
        const auto c = static_cast<unsigned char>(text[at]);
        std::size_t length = 1;
        if (c >= 0x80) {
            length = utf8_sequence(text, at);
            if (length == 0) {  // what we write is always valid: U+FFFD
                length = 1;
                replace(at, 1, "\xEF\xBF\xBD");
            }
        } else if (c == '"') {
            replace(at, 1, "\\\"");
        } else if (c == '\\') {
            replace(at, 1, "\\\\");
        } else if (c < 0x20) {
            switch (c) {
                case '\b': replace(at, 1, "\\b"); break;
                case '\f': replace(at, 1, "\\f"); break;
                case '\n': replace(at, 1, "\\n"); break;
                case '\r': replace(at, 1, "\\r"); break;
                case '\t': replace(at, 1, "\\t"); break;
                default: {
                    constexpr char digits[] = "0123456789abcdef";
                    const char escape[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
                    replace(at, 1, std::string_view(escape, sizeof escape));
                }
            }
        }
        at += length;
        at += plain_bytes(text.substr(at));
    }
    out.append(text, copied);
    out += '"';
}

void write_double(std::string& out, double value) {
    if (std::isnan(value)) {
        out += "\"NaN\"";
    } else if (std::isinf(value)) {
        out += value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    } else {
        std::array<char, 32> digits;
        const char* const end =
            std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
        const std::string_view text(digits.data(), static_cast<std::size_t>(end - digits.data()));
        out += text;
        // So that it is read back as a double.
        if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
    }
}

void write_int(std::string& out, std::int64_t value) {
    std::array<char, 24> digits;
    out.append(digits.data(),
               std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

// `indent` < 0: compact.
void write(std::string& out, const Json& value, int indent, int depth) {
    const auto new_line = [&](int level) {
        if (indent < 0) return;
        out += '\n';
        out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(level), ' ');
    };
    if (value.is_null()) {
        out += "null";
    } else if (value.is_bool()) {
        out += value.as_bool() ? "true" : "false";
    } else if (value.is_int()) {
        write_int(out, value.as_int());
    } else if (value.is_number()) {
        write_double(out, value.as_double());
    } else if (value.is_string()) {
        write_string(out, value.as_view());
    } else if (value.is_array()) {
        out += '[';
        bool first = true;
        for (const Json& item : value.items()) {
            if (!first) out += ',';
            first = false;
            new_line(depth + 1);
            write(out, item, indent, depth + 1);
        }
        if (!first) new_line(depth);
        out += ']';
    } else {
        out += '{';
        bool first = true;
        for (const auto& [key, member] : value.members()) {
            if (!first) out += ',';
            first = false;
            new_line(depth + 1);
            write_string(out, key);
            out += indent < 0 ? ":" : ": ";
            write(out, member, indent, depth + 1);
        }
        if (!first) new_line(depth);
        out += '}';
    }
}

// ---- Parser

// Of equal keys, the last value stays, at the place of the first (as in Python and JavaScript).
void remove_duplicates(Json::Object& members) {
    std::size_t kept = 0;
    const auto keep_or_merge = [&](std::size_t i, std::size_t first) {
        if (first < kept) {
            members[first].second = std::move(members[i].second);
        } else {
            if (i != kept) members[kept] = std::move(members[i]);
            ++kept;
        }
    };
    if (members.size() <= small_object) {
        for (std::size_t i = 0; i < members.size(); ++i) {
            std::size_t first = 0;
            while (first < kept && members[first].first != members[i].first) ++first;
            keep_or_merge(i, first);
        }
    } else {
        // By sorting, not by hashes that a hostile client could make collide.
        std::vector<std::size_t> order(members.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            const int compared = members[a].first.compare(members[b].first);
            return compared != 0 ? compared < 0 : a < b;
        });
        std::vector<std::size_t> first_of(members.size());
        bool any = false;
        for (std::size_t k = 0; k < order.size(); ++k) {
            const bool again = k > 0 && members[order[k]].first == members[order[k - 1]].first;
            first_of[order[k]] = again ? first_of[order[k - 1]] : order[k];
            any = any || again;
        }
        if (!any) return;
        std::vector<std::size_t> moved_to(members.size());
        for (std::size_t i = 0; i < members.size(); ++i) {
            const bool again = first_of[i] != i;
            moved_to[i] = again ? moved_to[first_of[i]] : kept;
            keep_or_merge(i, moved_to[i]);
        }
    }
    members.erase(members.begin() + static_cast<std::ptrdiff_t>(kept), members.end());
}

// Whether a number that is out of the range of a double is too small (else too large).
bool is_tiny(std::string_view text) {
    if (text.starts_with('-')) text.remove_prefix(1);
    const std::size_t end = std::min(text.find_first_of("eE"), text.size());
    const std::string_view mantissa = text.substr(0, end);
    std::string_view power = text.substr(std::min(end + 1, text.size()));
    if (power.starts_with('+')) power.remove_prefix(1);
    std::int64_t exponent = 0;
    if (std::from_chars(power.data(), power.data() + power.size(), exponent).ec ==
        std::errc::result_out_of_range)
        return power.starts_with('-');
    const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
    const std::size_t first = std::min(mantissa.find_first_of("123456789"), mantissa.size());
    // The text is shorter than 4 GiB, so that this says the sign without overflow.
    return exponent < static_cast<std::int64_t>(first) - static_cast<std::int64_t>(point);
}

// `text` is a number by the grammar of JSON, or begins with NaN, Inf or their negatives.
std::optional<Json> read_number(std::string_view text) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (text.find_first_of("NI") != std::string_view::npos) {
        if (text == "NaN") return Json(std::numeric_limits<double>::quiet_NaN());
        if (text == "Infinity") return Json(infinity);
        if (text == "-Infinity") return Json(-infinity);
        return std::nullopt;  // RapidJSON also takes Inf, -NaN and even NaN.5 and Infe1
    }
    const char* const end = text.data() + text.size();
    if (text.find_first_of(".eE") == std::string_view::npos) {
        std::int64_t whole = 0;
        if (std::from_chars(text.data(), end, whole).ec == std::errc()) return Json(whole);
    }
    double value = 0;
    const auto read = std::from_chars(text.data(), end, value);
    if (read.ec == std::errc() && read.ptr == end && std::isfinite(value)) return Json(value);
    if (read.ec == std::errc::result_out_of_range && is_tiny(text))
        return Json(text.starts_with('-') ? -0.0 : 0.0);
    return std::nullopt;
}

// Builds a Json from RapidJSON's events. Returning false stops the parser; `refusal` says why.
class Builder {
public:
    Json root;
    const char* refusal = nullptr;

    bool Null() { return add(Json()); }
    bool Bool(bool value) { return add(Json(value)); }
    // All numbers come as text, see parse_json.
    bool RawNumber(const char* data, rapidjson::SizeType size, bool) {
        std::optional<Json> value = read_number({data, size});
        return value ? add(std::move(*value)) : refuse("not a number that a double can hold");
    }
    bool Int(int) { return false; }
    bool Uint(unsigned) { return false; }
    bool Int64(std::int64_t) { return false; }
    bool Uint64(std::uint64_t) { return false; }
    bool Double(double) { return false; }
    bool String(const char* data, rapidjson::SizeType size, bool) {
        const std::string_view text(data, size);
        // The raw bytes were checked before, but an escape may still make a lone surrogate.
        if (!is_utf8(text)) return refuse("a string is not valid Unicode");
        return add(Json(text));
    }
    bool Key(const char* data, rapidjson::SizeType size, bool) {
        const std::string_view text(data, size);
        if (!is_utf8(text)) return refuse("a key is not valid Unicode");
        members_.emplace_back(std::string(text), Json());
        return true;
    }
    bool StartObject() { return begin(true); }
    bool StartArray() { return begin(false); }
    bool EndObject(rapidjson::SizeType) {
        Json::Object members = taken(members_);
        remove_duplicates(members);
        return end(Json(std::move(members)));
    }
    bool EndArray(rapidjson::SizeType) { return end(Json(taken(items_))); }

private:
    // What is open has its members or items at the end of the two stacks below, from `first` on: so
    // that each container is allocated once, with the size that it has.
    struct Open {
        bool is_object = false;
        std::size_t first = 0;
    };

    template <class T>
    std::vector<T> taken(std::vector<T>& stack) {
        const auto from = stack.begin() + static_cast<std::ptrdiff_t>(open_.back().first);
        std::vector<T> out(std::make_move_iterator(from), std::make_move_iterator(stack.end()));
        stack.erase(from, stack.end());
        return out;
    }
    bool refuse(const char* why) {
        refusal = why;
        return false;
    }
    bool begin(bool is_object) {
        if (open_.size() >= max_depth) return refuse("nested deeper than 64 levels");
        open_.push_back({is_object, is_object ? members_.size() : items_.size()});
        return true;
    }
    bool end(Json value) {
        open_.pop_back();
        return add(std::move(value));
    }
    bool add(Json value) {
        if (open_.empty()) {
            root = std::move(value);
        } else if (open_.back().is_object) {
            members_.back().second = std::move(value);
        } else {
            items_.emplace_back() = std::move(value);
        }
        return true;
    }

    std::vector<Open> open_;
    Json::Object members_;
    Json::Array items_;
};

// Up to where the text is valid UTF-8.
std::size_t end_of_utf8(std::string_view text) {
    if (is_utf8(text)) return text.size();
    std::size_t at = 0;
    while (const std::size_t length = utf8_sequence(text, at)) at += length;
    return at;
}

Failure refusal_at(std::string_view text, std::size_t offset, std::string why) {
    std::size_t line = 1, column = 1;  // columns count characters
    for (const char c : text.substr(0, offset)) {
        if (c == '\n') {
            ++line;
            column = 1;
        } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
            ++column;
        }
    }
    return invalid("line " + std::to_string(line) + ", column " + std::to_string(column) + ": " +
                   std::move(why));
}

// Every key paired with the place of its value, by key.
std::vector<const Json::Member*> by_key(const Json::Object& members) {
    std::vector<const Json::Member*> out;
    out.reserve(members.size());
    for (const Json::Member& member : members) out.push_back(&member);
    std::stable_sort(out.begin(), out.end(), [](const Json::Member* a, const Json::Member* b) {
        return a->first < b->first;
    });
    return out;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
    write_string(out, text);
}

Json::Json() = default;
Json::Json(const Json& other) = default;
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(const Json& other) = default;
Json& Json::operator=(Json&& other) noexcept = default;
Json::~Json() = default;
Json::Json(std::nullptr_t) {}
Json::Json(bool value) : value_(value) {}
Json::Json(int value) : value_(static_cast<std::int64_t>(value)) {}
Json::Json(unsigned value) : value_(static_cast<std::int64_t>(value)) {}
Json::Json(std::int64_t value) : value_(value) {}
Json::Json(long long value) : value_(static_cast<std::int64_t>(value)) {}
Json::Json(double value) : value_(value) {}
Json::Json(const char* value) : value_(std::string(value)) {}
Json::Json(std::string_view value) : value_(std::string(value)) {}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(Array value) : value_(std::move(value)) {}
Json::Json(Object value) : value_(std::move(value)) {}
Json Json::object(std::initializer_list<Member> members) {
    return Json(Object(members));
}
Json Json::array(std::initializer_list<Json> items) {
    return Json(Array(items));
}
void Json::set(std::string_view key, Json value) {
    (*this)[key] = std::move(value);
}
bool Json::operator==(const Json& other) const = default;
Json::Json(std::uint64_t value) {
    if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        value_ = static_cast<std::int64_t>(value);
    else
        value_ = static_cast<double>(value);
}

bool Json::as_bool(bool fallback) const {
    const bool* value = std::get_if<bool>(&value_);
    return value ? *value : fallback;
}

std::int64_t Json::as_int(std::int64_t fallback) const {
    if (const auto* value = std::get_if<std::int64_t>(&value_)) return *value;
    if (const auto* value = std::get_if<double>(&value_))
        // Both bounds are powers of two: exact.
        if (*value >= -0x1p63 && *value < 0x1p63 && std::trunc(*value) == *value)
            return static_cast<std::int64_t>(*value);
    return fallback;
}

double Json::as_double(double fallback) const {
    if (const auto* value = std::get_if<double>(&value_)) return *value;
    if (const auto* value = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*value);
    return fallback;
}

std::string Json::as_string(std::string fallback) const {
    const auto* value = std::get_if<std::string>(&value_);
    return value ? *value : std::move(fallback);
}

std::string_view Json::as_view() const {
    const auto* value = std::get_if<std::string>(&value_);
    return value ? std::string_view(*value) : std::string_view();
}

const Json::Object& Json::members() const {
    static const Object none;
    const auto* value = std::get_if<Object>(&value_);
    return value ? *value : none;
}

const Json::Array& Json::items() const {
    static const Array none;
    const auto* value = std::get_if<Array>(&value_);
    return value ? *value : none;
}

Json::Object& Json::members() {
    if (is_null()) value_ = Object();
    if (auto* value = std::get_if<Object>(&value_)) return *value;
    thread_local Object scratch;
    scratch.clear();
    return scratch;
}

Json::Array& Json::items() {
    if (is_null()) value_ = Array();
    if (auto* value = std::get_if<Array>(&value_)) return *value;
    thread_local Array scratch;
    scratch.clear();
    return scratch;
}

const Json* Json::find(std::string_view key) const {
    for (const Member& member : members())
        if (member.first == key) return &member.second;
    return nullptr;
}

Json* Json::find(std::string_view key) {
    return const_cast<Json*>(static_cast<const Json*>(this)->find(key));
}

const Json& Json::at(std::string_view key) const {
    static const Json null;
    const Json* value = find(key);
    return value ? *value : null;
}

Json& Json::operator[](std::string_view key) {
    TURNOUT_CHECK(is_object() || is_null(), "a member is set in JSON that is not an object");
    if (Json* value = find(key)) return *value;
    return members().emplace_back(std::string(key), Json()).second;
}

void Json::push(Json item) {
    TURNOUT_CHECK(is_array() || is_null(), "an item is added to JSON that is not an array");
    items().push_back(std::move(item));
}

bool Json::erase(std::string_view key) {
    auto* object = std::get_if<Object>(&value_);
    return object &&
           std::erase_if(*object, [key](const Member& member) { return member.first == key; }) > 0;
}

std::string Json::dump() const {
    std::string out;
    write(out, *this, -1, 0);
    return out;
}

std::string Json::dump_pretty(int indent) const {
    std::string out;
    write(out, *this, std::max(indent, 0), 0);
    return out;
}

void Json::dump_to(std::string& out) const {
    write(out, *this, -1, 0);
}

void Json::merge(const Json& changes) {
    if (!changes.is_object()) {
        *this = changes;
        return;
    }
    if (!is_object()) *this = object();
    for (const auto& [key, value] : changes.members()) {
        if (value.is_null())
            erase(key);
        else
            (*this)[key].merge(value);
    }
}

Json Json::changes_to(const Json& after) const {
    if (!is_object() || !after.is_object()) return after;
    Json changes = object();
    for (const auto& [key, value] : after.members()) {
        const Json* const mine = find(key);
        if (mine && *mine == value) continue;
        changes.set(key, mine ? mine->changes_to(value) : value);
    }
    for (const auto& [key, value] : members())
        if (!after.has(key)) changes.set(key, Json());
    return changes;
}

bool Json::equal_unordered(const Json& other) const {
    if (is_array() && other.is_array())
        return std::equal(items().begin(), items().end(), other.items().begin(),
                          other.items().end(),
                          [](const Json& a, const Json& b) { return a.equal_unordered(b); });
    if (is_object() && other.is_object()) {
        if (members().size() != other.members().size()) return false;
        const auto mine = by_key(members()), theirs = by_key(other.members());
        return std::equal(mine.begin(), mine.end(), theirs.begin(),
                          [](const Member* a, const Member* b) {
                              return a->first == b->first && a->second.equal_unordered(b->second);
                          });
    }
    return *this == other;
}

Result<Json> parse_json(std::string_view text) {
    if (text.size() > std::numeric_limits<rapidjson::SizeType>::max())
        return invalid("line 1, column 1: the document is larger than 4 GiB");
    // All bytes at once: RapidJSON would look at them one by one.
    if (const std::size_t bad = end_of_utf8(text); bad < text.size())
        return refusal_at(text, bad, "not valid UTF-8");
    // Numbers as text, read by std::from_chars: RapidJSON 1.1's own exact reader
    // (kParseFullPrecisionFlag) aborts on NaNe1 and misreads 0.184467440737095516159.
    constexpr unsigned flags = rapidjson::kParseInsituFlag | rapidjson::kParseNumbersAsStringsFlag |
                               rapidjson::kParseNanAndInfFlag;
    // It is parsed where it lies, in a copy; RapidJSON may look 16 bytes further than the end. It
    // recurses, as deep as the builder lets it.
    std::string copy;
    copy.reserve(text.size() + padding);
    copy = text;
    copy.append(padding, '\0');
    rapidjson::InsituStringStream stream(copy.data());
    Builder builder;
    rapidjson::Reader reader;
    const rapidjson::ParseResult parsed = reader.Parse<flags>(stream, builder);
    if (parsed.IsError()) {
        std::string why;
        if (builder.refusal != nullptr) {
            why = builder.refusal;
        } else {
            why = rapidjson::GetParseError_En(parsed.Code());
            if (why.ends_with('.')) why.pop_back();
            if (!why.empty() && why[0] >= 'A' && why[0] <= 'Z')
                why[0] = static_cast<char>(why[0] - 'A' + 'a');
        }
        return refusal_at(text, parsed.Offset(), std::move(why));
    }
    // To RapidJSON a NUL is the end of its input.
    if (stream.Tell() != text.size())
        return refusal_at(text, stream.Tell(),
                          "the document root must not be followed by other values");
    return std::move(builder.root);
}

}  // namespace turnout
