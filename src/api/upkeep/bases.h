// Tasks that jobs share (Table::TaskBase), and how those go that no job refers to any more.
#pragma once

#include <cstdint>

#include "api/api.h"

namespace turnout::api::upkeep {

struct BasesGone {
    std::size_t count = 0;
    std::uint64_t bytes = 0;  // inside of the database
};

// Looks at one short row of each job, in turns, and at every task. Nothing is counted anywhere, so
// a server that died in between has nothing to put right. Those that jobs which come meanwhile
// refer to stay (Control::erase_bases).
Task<Result<BasesGone>> erase_unused_bases(Services& services, Turn& turn);

}  // namespace turnout::api::upkeep
