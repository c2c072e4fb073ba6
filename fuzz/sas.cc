// Signed links: no query but one that we signed is accepted, whatever surrounds it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/text.h"
#include "blob/blobs.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    auto query = parse_query(std::string_view(reinterpret_cast<const char*>(data), size));
    if (!query) return 0;
    // The corpus holds links of this key, good until 2100: their unchanged forms are accepted.
    Instant now{1'800'000'000'000'000};
    auto grant = verify_sas("a key of the fuzz target", *query, now);
    if (!grant) return 0;
    TURNOUT_CHECK(grant->container == "container" && grant->prefix == "folder/file",
                  "a link to something else");
    TURNOUT_CHECK(grant->permissions == "rl", "a link that allows something else");
    TURNOUT_CHECK(grant->expires > now, "an expired link");
    TURNOUT_CHECK(allows(*grant, "container", "folder/file", 'r') &&
                      !allows(*grant, "container", "folder/file", 'w') &&
                      !allows(*grant, "other", "folder/file", 'r'),
                  "what it allows");
    return 0;
}
