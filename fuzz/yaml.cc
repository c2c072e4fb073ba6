// YAML from users: parsed or refused with a place, and what is printed parses to the same value.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "yaml/yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    std::string_view text(reinterpret_cast<const char*>(data), size);
    YamlLimits limits;
    limits.nodes = 5'000;  // keeps one exploding document from eating the whole run
    auto document = parse_yaml(text, "fuzz.yml", limits);
    if (!document) {
        TURNOUT_CHECK(document.error().message.starts_with("fuzz.yml:"),
                      "an error without its place");
        return 0;
    }
    for (const auto& [pointer, mark] : document->marks) {
        TURNOUT_CHECK(part_at(document->value, pointer) != nullptr, "a mark of nothing");
        TURNOUT_CHECK(mark.line >= 0 && mark.column >= 0, "a mark outside the file");
    }
    auto again = parse_yaml(to_yaml(document->value), "again.yml");
    TURNOUT_CHECK(again && again->value == document->value, "printing changed the value");
    return 0;
}
