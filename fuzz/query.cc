// Queries and percent encoding: whatever decodes, encodes and decodes to the same bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    std::string_view text(reinterpret_cast<const char*>(data), size);
    if (auto decoded = percent_decode(text)) {
        TURNOUT_CHECK(
            decoded->find('\0') == std::string::npos || text.find('\0') != std::string_view::npos,
            "an encoded NUL came through");
        auto again = percent_decode(percent_encode(*decoded));
        TURNOUT_CHECK(decoded->find('\0') != std::string::npos || (again && *again == *decoded),
                      "encoding is not the inverse of decoding");
    }
    if (auto pairs = parse_query(text)) {
        for (const auto& [name, value] : *pairs)
            TURNOUT_CHECK(name.size() + value.size() <= size, "a query grew");
    }
    if (auto bytes = from_base64(text))
        TURNOUT_CHECK(from_base64(to_base64(*bytes)) == bytes, "base64");
    if (auto bytes = from_base64url(text))
        TURNOUT_CHECK(from_base64url(to_base64url(*bytes)) == bytes, "base64url");
    if (auto bytes = from_hex(text)) TURNOUT_CHECK(from_hex(to_hex(*bytes)) == bytes, "hex");
    return 0;
}
