#include "io/loop.h"

#include "base/text.h"

namespace turnout {

std::string Random::uuid() {
    std::string raw = bytes(16);
    raw[6] = static_cast<char>((static_cast<unsigned char>(raw[6]) & 0x0f) | 0x40);
    raw[8] = static_cast<char>((static_cast<unsigned char>(raw[8]) & 0x3f) | 0x80);
    const std::string hex = to_hex(raw);
    return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
           hex.substr(16, 4) + "-" + hex.substr(20);
}

Task<void> Loop::sleep(Span delay) {
    Later<bool> rung;
    after(delay, [settle = rung.settle()] { settle(true); });
    co_await rung;
}

}  // namespace turnout
