// HTML that is safe by the way it is made: a piece of it is either a literal of this program
// ("…"_html), text, which is escaped, or an element of such pieces. There is no other way to make
// one, so nothing that came from outside can become markup.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace turnout::api::portal {

class Html {
public:
    Html() = default;
    Html(std::string_view text);  // NOLINT: text is what most of it is
    Html(const std::string& text) : Html(std::string_view(text)) {}
    Html(const char* text) : Html(std::string_view(text)) {}

    Html& operator+=(const Html& more) {
        markup_ += more.markup_;
        return *this;
    }
    bool empty() const { return markup_.empty(); }
    const std::string& markup() const { return markup_; }

private:
    friend Html operator""_html(const char* literal, std::size_t size);
    friend Html element(
        std::string_view name,
        std::initializer_list<std::pair<std::string_view, std::string_view>> attributes,
        const Html& inside);
    std::string markup_;
};

inline Html operator+(Html left, const Html& right) {
    return left += right;
}
// Markup of this program's own: a literal, by its form.
Html operator""_html(const char* literal, std::size_t size);

using Attributes = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// `<name attributes>inside</name>`. Names are this program's; values are escaped, and an attribute
// without a value is left out, but for alt, value-less ones ("download") are given as {"download",
// "download"}.
Html element(std::string_view name, Attributes attributes, const Html& inside = {});
inline Html element(std::string_view name, const Html& inside) {
    return element(name, {}, inside);
}

}  // namespace turnout::api::portal
