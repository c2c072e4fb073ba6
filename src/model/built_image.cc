#include "model/built_image.h"

#include <algorithm>

#include "base/text.h"

namespace turnout {

std::string name_of(const BuiltImage& image) {
    return std::string(kBuiltImages) + image.environment + "/" + image.version + "@" +
           image.context;
}

std::optional<BuiltImage> read_built_image(std::string_view name) {
    if (!name.starts_with(kBuiltImages)) return std::nullopt;
    name.remove_prefix(kBuiltImages.size());
    const std::size_t slash = name.find('/'), at = name.rfind('@');
    if (slash == std::string_view::npos || at == std::string_view::npos || at < slash)
        return std::nullopt;
    BuiltImage image{std::string(name.substr(0, slash)),
                     std::string(name.substr(slash + 1, at - slash - 1)),
                     std::string(name.substr(at + 1))};
    const bool hex = std::ranges::all_of(
        image.context, [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
    if (image.environment.empty() || image.version.empty() || image.context.empty() || !hex)
        return std::nullopt;
    return image;
}

std::string shown_name(const BuiltImage& image) {
    return image.environment + ":" + image.version;
}

bool builds_images(const Pool& pool) {
    return pool.provider == "container";
}

}  // namespace turnout
