#include "access/places.h"

namespace turnout::access {
namespace {

std::string key_of(std::string_view container, std::string_view prefix) {
    while (prefix.ends_with('/')) prefix.remove_suffix(1);
    return std::string(container) + "/" + std::string(prefix);
}

}  // namespace

void Places::add(std::string_view container, std::string_view prefix) {
    places_.insert(key_of(container, prefix));
}

bool Places::hold(std::string_view container, std::string_view name) const {
    std::string key = key_of(container, name);
    while (!places_.contains(key)) {
        const std::size_t slash = key.rfind('/');
        if (slash <= container.size()) return places_.contains(std::string(container) + "/");
        key.resize(slash);
    }
    return true;
}

}  // namespace turnout::access
