// The traffic of an endpoint as somebody sent it: what is taken adds up, and each request goes to
// one of those that have a share; rows that were damaged are refused or read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/endpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    if (size > (16 << 10)) return 0;
    const auto json = parse_json({reinterpret_cast<const char*>(data), size});
    if (!json) return 0;
    if (const auto row = endpoint_of_json(*json)) (void)to_json(*row);
    if (const auto row = deployment_of_json(*json)) {
        const auto again = deployment_of_json(to_json(*row));
        TURNOUT_CHECK(again && to_json(*again) == to_json(*row), "a row changed by being read");
    }
    const auto traffic = traffic_of(json->at("traffic"), "traffic");
    const auto mirror = traffic_of(json->at("mirror"), "mirrorTraffic");
    if (!traffic || !mirror) return 0;
    std::vector<std::string> names;
    for (const Traffic* const shares : {&*traffic, &*mirror})
        for (const auto& [name, share] : *shares)
            if (is_endpoint_name(name)) names.push_back(name);  // as those of deployments are
    if (!check_traffic(*traffic, *mirror, names)) return 0;
    int sum = 0;
    for (const auto& [name, share] : *traffic) sum += share;
    TURNOUT_CHECK(sum == 0 || sum == 100, "shares that do not add up are taken");
    for (std::uint64_t roll = 0; roll < 100; ++roll) {
        const std::string_view to = chosen(*traffic, roll * 0x9e3779b97f4a7c15u);
        TURNOUT_CHECK(to.empty() ? sum == 0 : std::ranges::find(names, to) != names.end(),
                      "a request goes to nobody");
    }
    return 0;
}
