// JSON: one value type, one parser (RapidJSON; doubles exact), one writer. Objects keep the order
// of their members, so that what a client sent is what it gets back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace turnout {

class Json {
public:
    using Array = std::vector<Json>;
    using Member = std::pair<std::string, Json>;
    using Object = std::vector<Member>;

    // None of these is inline: documents are written in a thousand places.
    Json();  // null
    Json(const Json& other);
    Json(Json&& other) noexcept;
    Json& operator=(const Json& other);
    Json& operator=(Json&& other) noexcept;
    ~Json();
    Json(std::nullptr_t);
    Json(bool value);
    Json(int value);
    Json(unsigned value);
    Json(std::int64_t value);
    Json(long long value);
    Json(std::uint64_t value);  // above int64 it becomes a double
    Json(double value);
    Json(const char* value);
    Json(std::string_view value);
    Json(std::string value);
    Json(Array value);
    Json(Object value);

    static Json object(std::initializer_list<Member> members = {});
    static Json array(std::initializer_list<Json> items = {});

    bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
    bool is_bool() const { return std::holds_alternative<bool>(value_); }
    bool is_int() const { return std::holds_alternative<std::int64_t>(value_); }
    bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
    bool is_string() const { return std::holds_alternative<std::string>(value_); }
    bool is_array() const { return std::holds_alternative<Array>(value_); }
    bool is_object() const { return std::holds_alternative<Object>(value_); }

    // Lenient readers: the value if it has that type, else the fallback.
    bool as_bool(bool fallback = false) const;
    std::int64_t as_int(std::int64_t fallback = 0) const;  // a whole double counts
    double as_double(double fallback = 0) const;
    std::string as_string(std::string fallback = {}) const;
    std::string_view as_view() const;  // "" unless a string

    // Members and items; empty for other types.
    const Object& members() const;
    const Array& items() const;
    // The same for a value that is not const: null becomes an object/array; of any other type they
    // give an empty scratch container that is not part of the value (so reading is always safe).
    Object& members();
    Array& items();

    // Object access. `at` of an absent member is null; `operator[]` creates it (null -> object).
    // `operator[]`, `set` and `push` on a value of another type end the process: to read what a
    // client sent, use `at` and `find`.
    const Json* find(std::string_view key) const;
    Json* find(std::string_view key);
    const Json& at(std::string_view key) const;
    bool has(std::string_view key) const { return find(key) != nullptr; }
    Json& operator[](std::string_view key);
    void set(std::string_view key, Json value);
    bool erase(std::string_view key);
    // RFC 7396: members of `changes` take the place of mine, or are merged where both are objects;
    // null takes one away.
    void merge(const Json& changes);
    // What merges me into `after`.
    Json changes_to(const Json& after) const;
    void push(Json item);

    std::string dump()
        const;  // compact; NaN and infinities as strings "NaN", "Infinity", "-Infinity"
    std::string dump_pretty(int indent = 4) const;
    void dump_to(std::string& out) const;  // appends compact text

    bool operator==(const Json& other) const;       // order of members matters
    bool equal_unordered(const Json& other) const;  // order of members does not

private:
    std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

// Strict JSON, UTF-8 checked, nesting at most 64, duplicate keys: the last wins. The error names
// the line and column. `NaN` and `Infinity` literals are accepted (Python's json writes them).
Result<Json> parse_json(std::string_view text);

}  // namespace turnout
