// JSON written as text at once, without a tree: for the few rows and frames that are written
// thousands of times a second. Everything else builds a Json.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"

namespace turnout {

// Appends `text` with quotes and escapes; bytes that are not UTF-8 become U+FFFD. (json.cc)
void append_json_string(std::string& out, std::string_view text);

inline void append_number(std::string& out, std::int64_t number) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    out.append(digits, end);
}

// One object: begins at the construction, ends with it. Names are written as they are, so they must
// need no escapes.
//
//     JsonText object(out);
//     object.text("status", "Running").number("attempt", 2);
//     { JsonText inner(object.member("ending")); … }
class JsonText {
public:
    explicit JsonText(std::string& out) : out_(out) { out_ += '{'; }
    ~JsonText() { out_ += '}'; }
    JsonText(const JsonText&) = delete;
    JsonText& operator=(const JsonText&) = delete;

    // Writes the name; the caller appends the value to what is returned.
    std::string& member(std::string_view name) {
        if (out_.back() != '{') out_ += ',';
        out_ += '"';
        out_ += name;
        out_ += "\":";
        return out_;
    }
    JsonText& text(std::string_view name, std::string_view value) {
        append_json_string(member(name), value);
        return *this;
    }
    JsonText& number(std::string_view name, std::int64_t value) {
        append_number(member(name), value);
        return *this;
    }
    JsonText& yes(std::string_view name) {
        member(name) += "true";
        return *this;
    }

private:
    std::string& out_;
};

}  // namespace turnout
