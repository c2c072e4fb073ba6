// What a clock on the wall of some place shows. A zone's rules are read from the compiled form in
// which every system has them (TZif, RFC 9636), so they are as new as the machine's tzdata; UTC and
// fixed offsets are known without. Pure: who has the files is an argument (`TimeZones`).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace turnout {

class TimeZone {
public:
    using Utc = std::chrono::sys_seconds;
    using Local = std::chrono::local_seconds;
    using Offset = std::chrono::seconds;  // what the local clock is ahead of UTC

    explicit TimeZone(Offset fixed = Offset(0)) : before_(fixed) {}
    static Result<TimeZone> parse(std::string_view tzif);

    Offset offset_at(Utc at) const;
    Local local_at(Utc at) const { return Local((at + offset_at(at)).time_since_epoch()); }

    // When the local clock shows `local`: as a rule once; twice where it is put back; never where
    // it is put forward, and `first` is then the moment at which it is.
    struct Moments {
        Utc first;
        std::optional<Utc> second;
        bool skipped = false;
    };
    Moments moments_of(Local local) const;
    // The offset of the whole of that day, and of a day around it; nothing if it changes.
    std::optional<Offset> steady_offset(std::chrono::local_days day) const;

private:
    struct Change {
        Utc at;
        Offset offset;
    };
    // A day and time of every year at which the clock is changed.
    struct Yearly {
        enum class Form { Julian, DayOfYear, WeekdayOfMonth } form = Form::DayOfYear;
        int day = 0;  // of a Julian 1 to 365 without 29 February; of the others 0 to 365, 0 to 6
        int month = 1, week = 1;
        std::chrono::seconds time{0};
        Local in(std::chrono::year year) const;
    };
    struct Rule {  // what holds after the last change
        Offset standard{0}, summer{0};
        std::optional<Yearly> begins, ends;  // both or none
        Offset offset_at(Utc at) const;
    };
    static std::optional<Rule> parse_rule(std::string_view text);

    Offset before_;
    std::vector<Change> changes_;
    std::optional<Rule> after_;
};

// The IANA name of what is meant by one of either kind: "Europe/Berlin", "W. Europe Standard Time";
// Windows' names by Unicode CLDR, without regard to case. Refused if it cannot be a name.
Result<std::string> iana_name(std::string_view name);

// The rules of a zone by its IANA name; NotFound if this machine has none of that name.
using TimeZones = std::function<Result<TimeZone>(const std::string& iana)>;

// UTC and "Etc/GMT+11" are known without asking `zones`; "" is UTC. InvalidArgument: there is no
// such zone, or nothing that this can use has that name.
Result<TimeZone> find_time_zone(std::string_view name, const TimeZones& zones);

}  // namespace turnout
