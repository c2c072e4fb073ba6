// What parses, prints and parses again to the same value.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    std::string_view text(reinterpret_cast<const char*>(data), size);
    auto value = parse_json(text);
    if (!value) {
        TURNOUT_CHECK(!value.error().message.empty(), "an error without a text");
        return 0;
    }
    // NaN and infinities are printed as texts: such a value is compared from its second form on.
    auto again = parse_json(value->dump());
    TURNOUT_CHECK(again.has_value(), "what was printed does not parse");
    auto third = parse_json(again->dump_pretty());
    TURNOUT_CHECK(third.has_value() && *third == *again, "printing changed the value");
    return 0;
}
