// The rules of this machine's time zones.
#pragma once

#include "model/time_zone.h"

namespace turnout {

// From the tzdata of the machine, read anew each time: a new one holds without a restart. NotFound
// with what to install where there is none.
TimeZones machine_time_zones();

}  // namespace turnout
