// Instants and spans in whole microseconds. Pure: nobody reads a clock here (see io/clock.h).
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace turnout {

using Span = std::chrono::microseconds;
using namespace std::chrono_literals;

// Microseconds since 1970-01-01T00:00:00Z by the server's wall clock.
struct Instant {
    std::int64_t micros = 0;
    auto operator<=>(const Instant&) const = default;
};
inline Instant operator+(Instant at, Span span) {
    return {at.micros + span.count()};
}
inline Instant operator-(Instant at, Span span) {
    return {at.micros - span.count()};
}
inline Span operator-(Instant a, Instant b) {
    return Span(a.micros - b.micros);
}

// "2026-11-22T09:30:00.123456Z" (the form ARM and run history use).
std::string to_iso8601(Instant at);
Result<Instant> parse_iso8601(std::string_view text);

// ISO 8601 durations of ARM: "PT2M", "PT1H30M5S", "P1DT2H". Years and months are refused.
Result<Span> parse_duration(std::string_view text);
std::string to_duration(Span span);

// "1 h 3 min", "12.4 s", "340 ms": for people.
std::string to_words(Span span);

}  // namespace turnout
