// How fast something comes, over the last seconds: for the lines that people look at while they
// wait.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "base/time.h"

namespace turnout {

class Progress {
public:
    // So much is there at that moment; by a clock that never goes back.
    void note(Span now, std::uint64_t done);
    double bytes_per_second() const;  // 0 if it is not known yet
    // "1.2 GiB of 2.0 GiB, 45 MiB/s, 18 s left"; `total` 0 = not known. "" if nothing is known.
    std::string words(std::uint64_t total) const;

private:
    std::deque<std::pair<Span, std::uint64_t>> samples_;
};

}  // namespace turnout
