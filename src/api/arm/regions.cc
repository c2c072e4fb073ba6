#include "api/arm/regions.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"
#include "model/pool.h"

namespace turnout::api::arm {
namespace {

constexpr std::array<std::string_view, 72> kRegions = {
    "local",
    "global",
    "eastus",
    "eastus2",
    "centralus",
    "northcentralus",
    "southcentralus",
    "westcentralus",
    "westus",
    "westus2",
    "westus3",
    "eastus2euap",
    "centraluseuap",
    "canadacentral",
    "canadaeast",
    "brazilsouth",
    "brazilsoutheast",
    "mexicocentral",
    "chilecentral",
    "northeurope",
    "westeurope",
    "francecentral",
    "francesouth",
    "germanynorth",
    "germanywestcentral",
    "italynorth",
    "norwayeast",
    "norwaywest",
    "polandcentral",
    "spaincentral",
    "swedencentral",
    "swedensouth",
    "switzerlandnorth",
    "switzerlandwest",
    "austriaeast",
    "belgiumcentral",
    "uksouth",
    "ukwest",
    "asiapacific",
    "eastasia",
    "southeastasia",
    "australiacentral",
    "australiacentral2",
    "australiaeast",
    "australiasoutheast",
    "centralindia",
    "southindia",
    "westindia",
    "jioindiacentral",
    "jioindiawest",
    "indonesiacentral",
    "japaneast",
    "japanwest",
    "koreacentral",
    "koreasouth",
    "malaysiawest",
    "newzealandnorth",
    "taiwannorth",
    "taiwannorthwest",
    "southafricanorth",
    "southafricawest",
    "israelcentral",
    "qatarcentral",
    "uaecentral",
    "uaenorth",
    "usgovarizona",
    "usgovtexas",
    "usgovvirginia",
    "chinaeast",
    "chinaeast2",
    "chinanorth",
    "chinanorth2",
};

}  // namespace

Result<std::string> checked_location(std::string_view location) {
    Location found = TURNOUT_TRY(find_location(location, {}));
    return std::move(found.name);
}

Result<Location> find_location(std::string_view location, const std::vector<std::string>& pools) {
    std::string name = to_lower(location);
    std::erase(name, ' ');
    if (std::ranges::find(pools, name) != pools.end()) return Location{name, name};
    if (name.empty() || std::ranges::find(kRegions, name) != kRegions.end())
        return Location{name, std::string(kDefaultPool)};
    std::vector<std::string> candidates = pools;
    candidates.insert(candidates.end(), kRegions.begin(), kRegions.end());
    return fail(Code::InvalidArgument, "LocationNotAvailable",
                "location '" + std::string(location.substr(0, 64)) +
                    "' is neither a pool of this server nor a region of Azure" +
                    did_you_mean(name, candidates) + " (leave it out for this machine)",
                "location");
}

}  // namespace turnout::api::arm
