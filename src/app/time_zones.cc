#include "app/time_zones.h"

#include <unistd.h>

#include "io/posix/files.h"

namespace turnout {
namespace {

constexpr const char* kFolder = "/usr/share/zoneinfo";
constexpr std::size_t kLargest = 1 << 20;

}  // namespace

TimeZones machine_time_zones() {
    return [](const std::string& iana) -> Result<TimeZone> {
        const auto bytes = read_file(std::string(kFolder) + "/" + iana, kLargest);
        if (bytes) return TimeZone::parse(*bytes);
        if (::access((std::string(kFolder) + "/Europe").c_str(), F_OK) != 0)
            return not_found("this machine has no rules of time zones but UTC: install tzdata");
        return not_found(std::string(kFolder) + " has none of that name");
    };
}

}  // namespace turnout
