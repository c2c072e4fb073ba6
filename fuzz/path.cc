// A path from outside: decoded once, then refused or surely beneath the folder it is joined to.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    auto decoded = percent_decode(std::string_view(reinterpret_cast<const char*>(data), size));
    if (!decoded) return 0;
    auto path = checked_relative_path(*decoded, "blob name");
    if (!path) return 0;
    TURNOUT_CHECK(!path->empty() && path->size() <= 1024 && is_utf8(*path), "size or encoding");
    TURNOUT_CHECK(path->find('\0') == std::string::npos && path->find('\\') == std::string::npos,
                  "NUL or backslash");
    for (const auto& part : split(*path, '/'))
        TURNOUT_CHECK(!part.empty() && part != "." && part != "..", "a part that moves");
    return 0;
}
