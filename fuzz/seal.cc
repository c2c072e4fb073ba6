// What is sealed: nothing opens but what was sealed by that key for that place; and no file of keys
// does harm.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/hash.h"
#include "io/seal/seal.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace turnout;
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    // The corpus holds what this key has sealed: in its unchanged form alone it opens.
    const SealingKeys keys{{{"0011223344556677", Secret(sha256("a key of the fuzz target"))}}};
    if (const auto opened = unseal(keys, input, "ws/name")) {
        TURNOUT_CHECK(opened->reveal() == "a value of the corpus", "it was not sealed");
        TURNOUT_CHECK(sealed_by(input) == keys.keys[0].id, "by another key");
        TURNOUT_CHECK(!unseal(keys, input, "ws/other"), "it opens in another place");
    }
    if (const auto parsed = parse_sealing_keys(input)) {
        const auto again = parse_sealing_keys(serialize(*parsed));
        TURNOUT_CHECK(again && again->keys.size() == parsed->keys.size(),
                      "what is written is read");
    }
    return 0;
}
