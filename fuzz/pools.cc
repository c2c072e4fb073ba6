// A pools.yaml as somebody wrote it: a pool that is added is there, all else says what it said, and
// when it is removed again so is everything.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/pool_file.h"
#include "yaml/yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    if (size > (16 << 10)) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const Json pool =
        Json::object({{"slots", 1}, {"settings", Json::object({{"hosts", Json::array({"a"})}})}});
    const auto with = with_pool(text, "pools.yaml", "added-by-fuzz", pool);
    if (!with) {
        TURNOUT_CHECK(with.error().message.starts_with("pools.yaml"), "an error without its place");
        return 0;
    }
    const auto before = parse_yaml(text, "pools.yaml"), after = parse_yaml(*with, "pools.yaml");
    TURNOUT_CHECK(before && after, "what was changed cannot be read");
    TURNOUT_CHECK(after->value.at("pools").at("added-by-fuzz") == pool, "it says another thing");
    for (const auto& [name, value] : before->value.at("pools").members())
        TURNOUT_CHECK(after->value.at("pools").at(name) == value, "another pool changed");
    const auto without = without_pool(*with, "pools.yaml", "added-by-fuzz");
    if (!without) return 0;
    const auto again = parse_yaml(*without, "pools.yaml");
    TURNOUT_CHECK(
        again && again->value.at("pools").members() == before->value.at("pools").members(),
        "what was there before is not there again");
    return 0;
}
