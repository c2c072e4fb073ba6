#include "model/time_zone.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"

namespace turnout {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::local_days;
using std::chrono::minutes;
using std::chrono::seconds;

struct Named {
    std::string_view windows, iana;
};

// Windows' names and the zones that Unicode CLDR says they are (its territory 001), by the names
// that tzdata has for them today. The two that CLDR has no more are what they were last.
constexpr std::array kWindows = std::to_array<Named>({
    {"Afghanistan Standard Time", "Asia/Kabul"},
    {"Alaskan Standard Time", "America/Anchorage"},
    {"Aleutian Standard Time", "America/Adak"},
    {"Altai Standard Time", "Asia/Barnaul"},
    {"Arab Standard Time", "Asia/Riyadh"},
    {"Arabian Standard Time", "Asia/Dubai"},
    {"Arabic Standard Time", "Asia/Baghdad"},
    {"Argentina Standard Time", "America/Argentina/Buenos_Aires"},
    {"Astrakhan Standard Time", "Europe/Astrakhan"},
    {"Atlantic Standard Time", "America/Halifax"},
    {"AUS Central Standard Time", "Australia/Darwin"},
    {"Aus Central W. Standard Time", "Australia/Eucla"},
    {"AUS Eastern Standard Time", "Australia/Sydney"},
    {"Azerbaijan Standard Time", "Asia/Baku"},
    {"Azores Standard Time", "Atlantic/Azores"},
    {"Bahia Standard Time", "America/Bahia"},
    {"Bangladesh Standard Time", "Asia/Dhaka"},
    {"Belarus Standard Time", "Europe/Minsk"},
    {"Bougainville Standard Time", "Pacific/Bougainville"},
    {"Canada Central Standard Time", "America/Regina"},
    {"Cape Verde Standard Time", "Atlantic/Cape_Verde"},
    {"Caucasus Standard Time", "Asia/Yerevan"},
    {"Cen. Australia Standard Time", "Australia/Adelaide"},
    {"Central America Standard Time", "America/Guatemala"},
    {"Central Asia Standard Time", "Asia/Almaty"},
    {"Central Brazilian Standard Time", "America/Cuiaba"},
    {"Central Europe Standard Time", "Europe/Budapest"},
    {"Central European Standard Time", "Europe/Warsaw"},
    {"Central Pacific Standard Time", "Pacific/Guadalcanal"},
    {"Central Standard Time", "America/Chicago"},
    {"Central Standard Time (Mexico)", "America/Mexico_City"},
    {"Chatham Islands Standard Time", "Pacific/Chatham"},
    {"China Standard Time", "Asia/Shanghai"},
    {"Cuba Standard Time", "America/Havana"},
    {"Dateline Standard Time", "Etc/GMT+12"},
    {"E. Africa Standard Time", "Africa/Nairobi"},
    {"E. Australia Standard Time", "Australia/Brisbane"},
    {"E. Europe Standard Time", "Europe/Chisinau"},
    {"E. South America Standard Time", "America/Sao_Paulo"},
    {"Easter Island Standard Time", "Pacific/Easter"},
    {"Eastern Standard Time", "America/New_York"},
    {"Eastern Standard Time (Mexico)", "America/Cancun"},
    {"Egypt Standard Time", "Africa/Cairo"},
    {"Ekaterinburg Standard Time", "Asia/Yekaterinburg"},
    {"Fiji Standard Time", "Pacific/Fiji"},
    {"FLE Standard Time", "Europe/Kyiv"},
    {"Georgian Standard Time", "Asia/Tbilisi"},
    {"GMT Standard Time", "Europe/London"},
    {"Greenland Standard Time", "America/Nuuk"},
    {"Greenwich Standard Time", "Atlantic/Reykjavik"},
    {"GTB Standard Time", "Europe/Bucharest"},
    {"Haiti Standard Time", "America/Port-au-Prince"},
    {"Hawaiian Standard Time", "Pacific/Honolulu"},
    {"India Standard Time", "Asia/Kolkata"},
    {"Iran Standard Time", "Asia/Tehran"},
    {"Israel Standard Time", "Asia/Jerusalem"},
    {"Jordan Standard Time", "Asia/Amman"},
    {"Kaliningrad Standard Time", "Europe/Kaliningrad"},
    {"Kamchatka Standard Time", "Asia/Kamchatka"},
    {"Korea Standard Time", "Asia/Seoul"},
    {"Libya Standard Time", "Africa/Tripoli"},
    {"Line Islands Standard Time", "Pacific/Kiritimati"},
    {"Lord Howe Standard Time", "Australia/Lord_Howe"},
    {"Magadan Standard Time", "Asia/Magadan"},
    {"Magallanes Standard Time", "America/Punta_Arenas"},
    {"Marquesas Standard Time", "Pacific/Marquesas"},
    {"Mauritius Standard Time", "Indian/Mauritius"},
    {"Mid-Atlantic Standard Time", "Etc/GMT+2"},
    {"Middle East Standard Time", "Asia/Beirut"},
    {"Montevideo Standard Time", "America/Montevideo"},
    {"Morocco Standard Time", "Africa/Casablanca"},
    {"Mountain Standard Time", "America/Denver"},
    {"Mountain Standard Time (Mexico)", "America/Chihuahua"},
    {"Myanmar Standard Time", "Asia/Yangon"},
    {"N. Central Asia Standard Time", "Asia/Novosibirsk"},
    {"Namibia Standard Time", "Africa/Windhoek"},
    {"Nepal Standard Time", "Asia/Kathmandu"},
    {"New Zealand Standard Time", "Pacific/Auckland"},
    {"Newfoundland Standard Time", "America/St_Johns"},
    {"Norfolk Standard Time", "Pacific/Norfolk"},
    {"North Asia East Standard Time", "Asia/Irkutsk"},
    {"North Asia Standard Time", "Asia/Krasnoyarsk"},
    {"North Korea Standard Time", "Asia/Pyongyang"},
    {"Omsk Standard Time", "Asia/Omsk"},
    {"Pacific SA Standard Time", "America/Santiago"},
    {"Pacific Standard Time", "America/Los_Angeles"},
    {"Pacific Standard Time (Mexico)", "America/Tijuana"},
    {"Pakistan Standard Time", "Asia/Karachi"},
    {"Paraguay Standard Time", "America/Asuncion"},
    {"Qyzylorda Standard Time", "Asia/Qyzylorda"},
    {"Romance Standard Time", "Europe/Paris"},
    {"Russia Time Zone 10", "Asia/Srednekolymsk"},
    {"Russia Time Zone 11", "Asia/Kamchatka"},
    {"Russia Time Zone 3", "Europe/Samara"},
    {"Russian Standard Time", "Europe/Moscow"},
    {"SA Eastern Standard Time", "America/Cayenne"},
    {"SA Pacific Standard Time", "America/Bogota"},
    {"SA Western Standard Time", "America/La_Paz"},
    {"Saint Pierre Standard Time", "America/Miquelon"},
    {"Sakhalin Standard Time", "Asia/Sakhalin"},
    {"Samoa Standard Time", "Pacific/Apia"},
    {"Sao Tome Standard Time", "Africa/Sao_Tome"},
    {"Saratov Standard Time", "Europe/Saratov"},
    {"SE Asia Standard Time", "Asia/Bangkok"},
    {"Singapore Standard Time", "Asia/Singapore"},
    {"South Africa Standard Time", "Africa/Johannesburg"},
    {"South Sudan Standard Time", "Africa/Juba"},
    {"Sri Lanka Standard Time", "Asia/Colombo"},
    {"Sudan Standard Time", "Africa/Khartoum"},
    {"Syria Standard Time", "Asia/Damascus"},
    {"Taipei Standard Time", "Asia/Taipei"},
    {"Tasmania Standard Time", "Australia/Hobart"},
    {"Tocantins Standard Time", "America/Araguaina"},
    {"Tokyo Standard Time", "Asia/Tokyo"},
    {"Tomsk Standard Time", "Asia/Tomsk"},
    {"Tonga Standard Time", "Pacific/Tongatapu"},
    {"Transbaikal Standard Time", "Asia/Chita"},
    {"Turkey Standard Time", "Europe/Istanbul"},
    {"Turks And Caicos Standard Time", "America/Grand_Turk"},
    {"Ulaanbaatar Standard Time", "Asia/Ulaanbaatar"},
    {"US Eastern Standard Time", "America/Indiana/Indianapolis"},
    {"US Mountain Standard Time", "America/Phoenix"},
    {"UTC", "Etc/UTC"},
    {"UTC+12", "Etc/GMT-12"},
    {"UTC+13", "Etc/GMT-13"},
    {"UTC-02", "Etc/GMT+2"},
    {"UTC-08", "Etc/GMT+8"},
    {"UTC-09", "Etc/GMT+9"},
    {"UTC-11", "Etc/GMT+11"},
    {"Venezuela Standard Time", "America/Caracas"},
    {"Vladivostok Standard Time", "Asia/Vladivostok"},
    {"Volgograd Standard Time", "Europe/Volgograd"},
    {"W. Australia Standard Time", "Australia/Perth"},
    {"W. Central Africa Standard Time", "Africa/Lagos"},
    {"W. Europe Standard Time", "Europe/Berlin"},
    {"W. Mongolia Standard Time", "Asia/Hovd"},
    {"West Asia Standard Time", "Asia/Tashkent"},
    {"West Bank Standard Time", "Asia/Hebron"},
    {"West Pacific Standard Time", "Pacific/Port_Moresby"},
    {"Yakutsk Standard Time", "Asia/Yakutsk"},
    {"Yukon Standard Time", "America/Whitehorse"},
});

// Big-endian numbers from the front of `rest`, which the caller knows to be long enough.
std::int64_t take_number(std::string_view& rest, std::size_t bytes) {
    std::uint64_t value = (rest[0] & 0x80) != 0 ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < bytes; ++i)
        value = value << 8 | static_cast<unsigned char>(rest[i]);
    rest.remove_prefix(bytes);
    return static_cast<std::int64_t>(value);
}

struct Counts {
    char version = 0;
    std::size_t utc = 0, standard = 0, leaps = 0, changes = 0, types = 0, letters = 0;
    std::size_t bytes(std::size_t time) const {
        return changes * (time + 1) + types * 6 + letters + leaps * (time + 4) + standard + utc;
    }
};

std::optional<Counts> take_header(std::string_view& rest) {
    if (rest.size() < 44 || !rest.starts_with("TZif")) return std::nullopt;
    Counts counts = {.version = rest[4]};
    rest.remove_prefix(20);
    for (std::size_t* count : {&counts.utc, &counts.standard, &counts.leaps, &counts.changes,
                               &counts.types, &counts.letters}) {
        const std::int64_t value = take_number(rest, 4);
        if (value < 0 || value > 100'000) return std::nullopt;
        *count = static_cast<std::size_t>(value);
    }
    return counts;
}

bool take(std::string_view& rest, char wanted) {
    if (rest.empty() || rest.front() != wanted) return false;
    rest.remove_prefix(1);
    return true;
}

std::optional<int> take_small(std::string_view& rest, int least, int most) {
    int value = 0;
    std::size_t digits = 0;
    while (digits < rest.size() && digits < 4 && is_digit(rest[digits]))
        value = value * 10 + (rest[digits++] - '0');
    if (digits == 0 || value < least || value > most) return std::nullopt;
    rest.remove_prefix(digits);
    return value;
}

// "[+-]hh[:mm[:ss]]"
std::optional<seconds> take_time(std::string_view& rest, int most_hours) {
    const bool negative = take(rest, '-');
    if (!negative) take(rest, '+');
    const auto whole = take_small(rest, 0, most_hours);
    if (!whole) return std::nullopt;
    seconds time = hours(*whole);
    if (take(rest, ':')) {
        const auto more = take_small(rest, 0, 59);
        if (!more) return std::nullopt;
        time += minutes(*more);
        if (take(rest, ':')) {
            const auto last = take_small(rest, 0, 59);
            if (!last) return std::nullopt;
            time += seconds(*last);
        }
    }
    return negative ? -time : time;
}

// "CET" or "<+03>"
bool skip_abbreviation(std::string_view& rest) {
    std::size_t end = 0;
    if (take(rest, '<')) {
        end = rest.find('>');
        if (end == std::string_view::npos) return false;
        rest.remove_prefix(end + 1);
        return end >= 3;
    }
    while (end < rest.size() && ((rest[end] | 0x20) >= 'a' && (rest[end] | 0x20) <= 'z')) ++end;
    rest.remove_prefix(end);
    return end >= 3;
}

Failure refuse_tzif(std::string_view why) {
    return fail(Code::Internal, "InvalidTimeZoneData",
                "the rules of a time zone cannot be read: " + std::string(why));
}

}  // namespace

TimeZone::Local TimeZone::Yearly::in(std::chrono::year year) const {
    using namespace std::chrono;
    const local_days first{year / January / 1};
    if (form == Form::Julian)
        return first + days(day - 1 + (year.is_leap() && day >= 60 ? 1 : 0)) + time;
    if (form == Form::DayOfYear) return first + days(day) + time;
    const auto of = year / std::chrono::month(static_cast<unsigned>(month));
    const std::chrono::weekday on(static_cast<unsigned>(day));
    return (week == 5 ? local_days{of / on[last]}
                      : local_days{of / on[static_cast<unsigned>(week)]}) +
           time;
}

TimeZone::Offset TimeZone::Rule::offset_at(Utc at) const {
    if (!begins) return standard;
    const std::chrono::year_month_day date(
        std::chrono::floor<days>(Local((at + standard).time_since_epoch())));
    Offset offset = standard;
    std::optional<Utc> latest;
    const auto consider = [&](Local change, Offset was, Offset becomes) {
        const Utc moment(change.time_since_epoch() - was);
        if (moment > at || (latest && moment < *latest)) return;
        latest = moment;
        offset = becomes;
    };
    for (const int ahead : {-1, 0, 1}) {
        const std::chrono::year year = date.year() + std::chrono::years(ahead);
        consider(ends->in(year), summer, standard);
        consider(begins->in(year), standard, summer);
    }
    return offset;
}

std::optional<TimeZone::Rule> TimeZone::parse_rule(std::string_view text) {
    Rule rule;
    if (!skip_abbreviation(text)) return std::nullopt;
    const auto west = take_time(text, 24);
    if (!west) return std::nullopt;
    rule.standard = -*west;
    if (text.empty()) return rule;
    if (!skip_abbreviation(text)) return std::nullopt;
    rule.summer = rule.standard + hours(1);
    if (!text.empty() && text.front() != ',') {
        const auto other = take_time(text, 24);
        if (!other) return std::nullopt;
        rule.summer = -*other;
    }
    for (std::optional<Yearly>* change : {&rule.begins, &rule.ends}) {
        if (!take(text, ',')) return std::nullopt;
        Yearly yearly;
        std::optional<int> day;
        if (take(text, 'M')) {
            yearly.form = Yearly::Form::WeekdayOfMonth;
            const auto month = take_small(text, 1, 12);
            if (!month || !take(text, '.')) return std::nullopt;
            const auto week = take_small(text, 1, 5);
            if (!week || !take(text, '.')) return std::nullopt;
            yearly.month = *month;
            yearly.week = *week;
            day = take_small(text, 0, 6);
        } else if (take(text, 'J')) {
            yearly.form = Yearly::Form::Julian;
            day = take_small(text, 1, 365);
        } else {
            day = take_small(text, 0, 365);
        }
        if (!day) return std::nullopt;
        yearly.day = *day;
        yearly.time = hours(2);
        if (take(text, '/')) {
            const auto time = take_time(text, 167);
            if (!time) return std::nullopt;
            yearly.time = *time;
        }
        *change = yearly;
    }
    if (!text.empty()) return std::nullopt;
    return rule;
}

Result<TimeZone> TimeZone::parse(std::string_view tzif) {
    std::string_view rest = tzif;
    auto counts = take_header(rest);
    if (!counts) return refuse_tzif("they are not in the form TZif");
    std::size_t time = 4;
    if (counts->version >= '2') {  // the first part is for readers of version 1
        if (rest.size() < counts->bytes(4)) return refuse_tzif("they end too early");
        rest.remove_prefix(counts->bytes(4));
        counts = take_header(rest);
        if (!counts) return refuse_tzif("their second part is not in the form TZif");
        time = 8;
    }
    if (rest.size() < counts->bytes(time)) return refuse_tzif("they end too early");
    if (counts->types == 0 || counts->types > 256) return refuse_tzif("they have no local time");
    if (counts->leaps != 0)
        return refuse_tzif("they count leap seconds, which the clock of a computer does not");
    std::vector<Utc> moments;
    for (std::size_t i = 0; i < counts->changes; ++i) {
        const std::int64_t at = take_number(rest, time);
        // Some begin at the Big Bang; no calendar goes so far.
        moments.emplace_back(seconds(std::clamp<std::int64_t>(at, -(1LL << 40), 1LL << 40)));
    }
    if (!std::ranges::is_sorted(moments)) return refuse_tzif("their changes are not in order");
    const std::string_view indices = rest.substr(0, counts->changes);
    rest.remove_prefix(counts->changes);
    std::vector<Offset> types;
    for (std::size_t i = 0; i < counts->types; ++i) {
        const std::int64_t offset = take_number(rest, 4);
        if (offset < -26 * 3600 || offset > 26 * 3600)
            return refuse_tzif("an offset is more than a day");
        types.emplace_back(offset);
        rest.remove_prefix(2);
    }
    TimeZone zone(types.front());
    for (std::size_t i = 0; i < moments.size(); ++i) {
        const auto type = static_cast<unsigned char>(indices[i]);
        if (type >= types.size()) return refuse_tzif("a change has no local time");
        zone.changes_.push_back({moments[i], types[type]});
    }
    if (time == 4) return zone;
    rest.remove_prefix(counts->letters + counts->standard + counts->utc);
    const auto end = rest.find('\n', 1);
    if (!take(rest, '\n') || end == std::string_view::npos)
        return refuse_tzif("they have no last line");
    rest = rest.substr(0, end - 1);
    if (rest.empty()) return zone;
    zone.after_ = parse_rule(rest);
    if (!zone.after_) return refuse_tzif("their last line is " + shown(rest));
    return zone;
}

TimeZone::Offset TimeZone::offset_at(Utc at) const {
    const auto after = std::ranges::upper_bound(changes_, at, {}, &Change::at);
    if (after == changes_.end() && after_) return after_->offset_at(at);
    return after == changes_.begin() ? before_ : std::prev(after)->offset;
}

TimeZone::Moments TimeZone::moments_of(Local local) const {
    constexpr auto kReach = hours(26);  // more than any offset
    const Utc as_utc(local.time_since_epoch());
    Utc low = as_utc - kReach, high = as_utc + kReach;
    const Offset before = offset_at(low), after = offset_at(high);
    std::vector<Utc> found;
    for (const Offset offset : {before, after})
        if (const Utc at = as_utc - offset; offset_at(at) == offset) found.push_back(at);
    std::ranges::sort(found);
    if (found.size() == 2 && found[0] != found[1]) return {found[0], found[1]};
    if (!found.empty()) return {found[0], std::nullopt};
    while (high - low > seconds(1)) {
        const Utc middle = low + (high - low) / 2;
        (offset_at(middle) == before ? low : high) = middle;
    }
    return {high, std::nullopt, true};
}

std::optional<TimeZone::Offset> TimeZone::steady_offset(local_days day) const {
    const Utc midnight(day.time_since_epoch());
    const Offset before = offset_at(midnight - hours(26));
    if (offset_at(midnight + hours(12)) != before || offset_at(midnight + hours(50)) != before)
        return std::nullopt;
    return before;
}

Result<std::string> iana_name(std::string_view name) {
    for (const Named& named : kWindows)
        if (equal_ignoring_case(named.windows, name)) return std::string(named.iana);
    const auto refuse = [&] {
        std::vector<std::string> known;
        for (const Named& named : kWindows) {
            known.emplace_back(named.windows);
            known.emplace_back(named.iana);
        }
        return invalid(
            "expected the name of a time zone, such as 'Europe/Berlin' or 'W. Europe "
            "Standard Time', found " +
                shown(name) + did_you_mean(name, known),
            "timeZone");
    };
    if (name.size() > 64 || !checked_relative_path(name, "a time zone")) return refuse();
    for (const char c : name)
        if (!is_digit(c) && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && c != '/' && c != '_' &&
            c != '-' && c != '+')
            return refuse();
    return std::string(name);
}

Result<TimeZone> find_time_zone(std::string_view name, const TimeZones& zones) {
    if (name.empty()) return TimeZone();
    const std::string iana = TURNOUT_TRY(iana_name(name));
    for (const std::string_view utc : {"UTC", "Etc/UTC", "Z", "GMT", "Etc/GMT"})
        if (iana == utc) return TimeZone();
    constexpr std::string_view kFixed = "Etc/GMT";  // "Etc/GMT+11" is 11 hours behind UTC
    if (iana.starts_with(kFixed)) {
        const std::string_view west = std::string_view(iana).substr(kFixed.size());
        const auto whole = parse_whole_number(west.starts_with('+') ? west.substr(1) : west);
        if (whole && *whole >= -14 && *whole <= 12 && west.size() <= 3)
            return TimeZone(-hours(*whole));
    }
    auto zone = zones(iana);
    if (zone) return zone;
    std::vector<std::string> known;
    for (const Named& named : kWindows) known.emplace_back(named.iana);
    return invalid(
        "expected a time zone that this machine knows, such as 'Europe/Berlin' or 'W. "
        "Europe Standard Time', found " +
            shown(name) + did_you_mean(name, known) + ": " + zone.error().message,
        "timeZone");
}

}  // namespace turnout
