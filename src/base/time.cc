#include "base/time.h"

#include <cstdio>

#include "base/text.h"

namespace turnout {
namespace {

constexpr std::int64_t second = 1'000'000;
constexpr std::int64_t minute = 60 * second;
constexpr std::int64_t hour = 60 * minute;
constexpr std::int64_t day = 24 * hour;

struct Date {
    std::int64_t year;
    int month;
    int day_of_month;
};

// Proleptic Gregorian calendar over the whole range of Instant (std::chrono::year ends at 32767).
// Years are counted from March, so that the leap day is the last of its year.
Date date_of(std::int64_t days) {
    days += 719'468;
    const std::int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
    const std::int64_t in_era = days - era * 146'097;
    const std::int64_t year_in_era =
        (in_era - in_era / 1'460 + in_era / 36'524 - in_era / 146'096) / 365;
    const std::int64_t in_year = in_era - (365 * year_in_era + year_in_era / 4 - year_in_era / 100);
    const std::int64_t month = (5 * in_year + 2) / 153;
    const int real_month = static_cast<int>(month < 10 ? month + 3 : month - 9);
    return {year_in_era + era * 400 + (real_month <= 2 ? 1 : 0), real_month,
            static_cast<int>(in_year - (153 * month + 2) / 5 + 1)};
}

std::int64_t days_of(std::int64_t year, int month, int day_of_month) {
    if (month <= 2) --year;
    const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
    const std::int64_t year_in_era = year - era * 400;
    const std::int64_t in_year =
        (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day_of_month - 1;
    return era * 146'097 + year_in_era * 365 + year_in_era / 4 - year_in_era / 100 + in_year -
           719'468;
}

int days_in_month(std::int64_t year, int month) {
    if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

// Reads from the front of `rest`.
bool take(std::string_view& rest, char wanted) {
    if (rest.empty() || rest.front() != wanted) return false;
    rest.remove_prefix(1);
    return true;
}

bool take_digits(std::string_view& rest, std::size_t count, int& out) {
    if (rest.size() < count) return false;
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (!is_digit(rest[i])) return false;
        value = value * 10 + (rest[i] - '0');
    }
    rest.remove_prefix(count);
    out = value;
    return true;
}

// One digit or more after the point, cut to microseconds.
bool take_fraction(std::string_view& rest, std::int64_t& micros) {
    if (rest.empty() || !is_digit(rest.front())) return false;
    micros = 0;
    std::int64_t unit = second / 10;
    while (!rest.empty() && is_digit(rest.front())) {
        micros += unit * (rest.front() - '0');
        unit /= 10;
        rest.remove_prefix(1);
    }
    return true;
}

std::uint64_t magnitude(Span span) {
    const auto count = static_cast<std::uint64_t>(span.count());
    return span.count() < 0 ? 0 - count : count;
}

}  // namespace

std::string to_iso8601(Instant at) {
    std::int64_t days = at.micros / day;
    std::int64_t rest = at.micros % day;
    if (rest < 0) {
        rest += day;
        --days;
    }
    const Date date = date_of(days);
    if (date.year < 0 || date.year > 9999) {
        char out[64];
        std::snprintf(out, sizeof out, "%04lld-%02d-%02dT%02d:%02d:%02d.%06dZ",
                      static_cast<long long>(date.year), date.month, date.day_of_month,
                      static_cast<int>(rest / hour), static_cast<int>(rest % hour / minute),
                      static_cast<int>(rest % minute / second), static_cast<int>(rest % second));
        return out;
    }
    // Every answer has some of these: by hand it costs a tenth.
    std::string out = "0000-00-00T00:00:00.000000Z";
    const auto put = [&out](std::size_t last, std::int64_t number) {
        for (; number > 0; number /= 10) out[last--] = static_cast<char>('0' + number % 10);
    };
    put(3, date.year);
    put(6, date.month);
    put(9, date.day_of_month);
    put(12, rest / hour);
    put(15, rest % hour / minute);
    put(18, rest % minute / second);
    put(25, rest % second);
    return out;
}

Result<Instant> parse_iso8601(std::string_view text) {
    const auto refuse = [text] {
        return invalid(shown(text) + " is not a time like 2026-11-22T09:30:00Z");
    };
    std::string_view rest = text;
    int year = 0, month = 0, day_of_month = 0, hours = 0, minutes = 0, seconds = 0;
    if (!take_digits(rest, 4, year) || !take(rest, '-') || !take_digits(rest, 2, month) ||
        !take(rest, '-') || !take_digits(rest, 2, day_of_month) ||
        !(take(rest, 'T') || take(rest, 't')) || !take_digits(rest, 2, hours) || !take(rest, ':') ||
        !take_digits(rest, 2, minutes) || !take(rest, ':') || !take_digits(rest, 2, seconds))
        return refuse();
    std::int64_t fraction = 0;
    if (take(rest, '.') && !take_fraction(rest, fraction)) return refuse();
    if (month < 1 || month > 12 || day_of_month < 1 || day_of_month > days_in_month(year, month) ||
        hours > 23 || minutes > 59 || seconds > 59)
        return refuse();
    std::int64_t offset = 0;
    if (!take(rest, 'Z') && !take(rest, 'z')) {
        const bool east = take(rest, '+');
        int offset_hours = 0, offset_minutes = 0;
        if ((!east && !take(rest, '-')) || !take_digits(rest, 2, offset_hours) ||
            !take(rest, ':') || !take_digits(rest, 2, offset_minutes) || offset_hours > 23 ||
            offset_minutes > 59)
            return refuse();
        offset = (offset_hours * hour + offset_minutes * minute) * (east ? 1 : -1);
    }
    if (!rest.empty()) return refuse();
    return Instant{days_of(year, month, day_of_month) * day + hours * hour + minutes * minute +
                   seconds * second + fraction - offset};
}

Result<Span> parse_duration(std::string_view text) {
    const auto refuse = [text](std::string_view why = "is not a duration like PT1H30M or P1DT2H") {
        return invalid(shown(text) + " " + std::string(why));
    };
    struct Unit {
        char letter;
        bool of_time;
        std::int64_t micros;
    };
    static constexpr Unit units[] = {{'W', false, 7 * day},
                                     {'D', false, day},
                                     {'H', true, hour},
                                     {'M', true, minute},
                                     {'S', true, second}};
    std::string_view rest = text;
    if (!take(rest, 'P')) return refuse();
    std::int64_t total = 0;
    std::size_t next_unit = 0;  // units come in falling order, each once
    bool in_time = false;
    bool any = false;  // a part since the last 'P' or 'T'
    while (!rest.empty()) {
        if (!in_time && take(rest, 'T')) {
            in_time = true;
            any = false;
            continue;
        }
        std::int64_t value = 0;
        std::size_t digits = 0;
        while (!rest.empty() && is_digit(rest.front())) {
            if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, rest.front() - '0', &value))
                return refuse("is too long a duration");
            rest.remove_prefix(1);
            ++digits;
        }
        std::int64_t fraction = 0;
        const bool has_fraction = digits > 0 && take(rest, '.');
        if (digits == 0 || (has_fraction && !take_fraction(rest, fraction)) || rest.empty())
            return refuse();
        const char letter = rest.front();
        rest.remove_prefix(1);
        if (!in_time && (letter == 'Y' || letter == 'M'))
            return refuse("has years or months, which have no fixed length; use days");
        while (next_unit < std::size(units) &&
               (units[next_unit].letter != letter || units[next_unit].of_time != in_time))
            ++next_unit;
        if (next_unit == std::size(units) || (has_fraction && letter != 'S')) return refuse();
        if (__builtin_mul_overflow(value, units[next_unit].micros, &value) ||
            __builtin_add_overflow(total, value, &total) ||
            __builtin_add_overflow(total, fraction, &total))
            return refuse("is too long a duration");
        ++next_unit;
        any = true;
    }
    if (!any) return refuse();
    return Span(total);
}

std::string to_duration(Span span) {
    std::uint64_t rest = magnitude(span);
    std::string out = span.count() < 0 ? "-P" : "P";
    const auto part = [&rest, &out](std::int64_t unit, char letter) {
        const std::uint64_t count = rest / static_cast<std::uint64_t>(unit);
        rest %= static_cast<std::uint64_t>(unit);
        if (count > 0) (out += std::to_string(count)) += letter;
    };
    part(day, 'D');
    if (rest == 0 && span.count() != 0) return out;
    out += 'T';
    part(hour, 'H');
    part(minute, 'M');
    if (rest > 0 || span.count() == 0) {
        out += std::to_string(rest / second);
        if (rest % second != 0) {
            std::string fraction =
                std::to_string(second + static_cast<std::int64_t>(rest % second));
            fraction.erase(fraction.find_last_not_of('0') + 1);
            (out += '.') += fraction.substr(1);
        }
        out += 'S';
    }
    return out;
}

std::string to_words(Span span) {
    const std::uint64_t whole = magnitude(span);
    std::string out = span.count() < 0 ? "-" : "";
    // To the nearest, in the unit that the rounded span itself has: 59.98 s are 1 min.
    const auto in = [whole](std::int64_t unit) {
        const auto size = static_cast<std::uint64_t>(unit);
        return whole / size + (whole % size >= size - size / 2 ? 1 : 0);
    };
    const auto two = [&out](std::uint64_t count, std::uint64_t in_big, const char* big_name,
                            const char* small_name) {
        out += std::to_string(count / in_big) + " " + big_name;
        if (count % in_big > 0) out += " " + std::to_string(count % in_big) + " " + small_name;
    };
    if (whole == 0) {
        out += "0 s";
    } else if (whole < 1'000) {
        out += std::to_string(whole) + " us";
    } else if (in(1'000) < 1'000) {
        out += std::to_string(in(1'000)) + " ms";
    } else if (const std::uint64_t tenths = in(second / 10); tenths < 600) {
        out += std::to_string(tenths / 10);
        if (tenths % 10 > 0) out += "." + std::to_string(tenths % 10);
        out += " s";
    } else if (in(second) < 3'600) {
        two(in(second), 60, "min", "s");
    } else if (in(minute) < 1'440) {
        two(in(minute), 60, "h", "min");
    } else {
        two(in(hour), 24, "d", "h");
    }
    return out;
}

}  // namespace turnout
