#include "api/portal/html.h"

#include <algorithm>

#include "base/text.h"

namespace turnout::api::portal {

Html::Html(std::string_view text) : markup_(xml_escape(text)) {}

Html operator""_html(const char* literal, std::size_t size) {
    Html out;
    out.markup_.assign(literal, size);
    return out;
}

Html element(std::string_view name, Attributes attributes, const Html& inside) {
    // Those that HTML closes by themselves, and the shapes of SVG.
    constexpr std::string_view kWithoutEnd[] = {"img",  "input",  "meta",    "line",
                                                "rect", "circle", "polyline"};
    Html out;
    std::string& markup = out.markup_;
    markup.append("<").append(name);
    for (const auto& [attribute, value] : attributes)
        if (!value.empty())
            markup.append(" ")
                .append(attribute)
                .append("=\"")
                .append(xml_escape(value))
                .append("\"");
    if (inside.empty() && std::ranges::find(kWithoutEnd, name) != std::end(kWithoutEnd)) {
        markup += "/>";
        return out;
    }
    markup.append(">").append(inside.markup_).append("</").append(name).append(">");
    return out;
}

}  // namespace turnout::api::portal
