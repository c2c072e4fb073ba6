#include "control/ports.h"

#include <iterator>

namespace turnout {

int Ports::take(int count, std::uint32_t seed, const std::function<bool(int)>& is_free) {
    const int places = kCount - count + 1;
    if (count <= 0 || places <= 0) return 0;
    // The first port that stands in the way of a row from `at`, and where to go on; 0: none.
    const auto next_after = [&](int at) {
        const auto after = taken_.lower_bound(at + count);
        if (after != taken_.begin())
            if (const auto& [first, many] = *std::prev(after); first + many > at)
                return first + many;
        for (int port = at; is_free && port < at + count; ++port)
            if (!is_free(port)) return port + 1;
        return 0;
    };
    int at = kFirst + static_cast<int>(seed % static_cast<std::uint32_t>(places));
    for (int left = 2 * kCount; left > 0;) {
        const int next = next_after(at);
        if (next == 0) {
            taken_[at] = count;
            return at;
        }
        left -= next - at;
        at = next;
        if (at >= kFirst + places) {
            left -= kFirst + kCount - at;
            at = kFirst;
        }
    }
    return 0;
}

}  // namespace turnout
