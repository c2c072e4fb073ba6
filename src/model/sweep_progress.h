// How far a sweep is: what is stored of it while it runs, and shown when it is over.
#pragma once

#include <cstdint>

#include "base/json.h"

namespace turnout {

// The facts about a sweep that runs. Trials are created in the order of their index.
struct SweepProgress {
    std::int64_t created = 0;  // indices 0 … created - 1 exist
    std::int64_t completed = 0, failed = 0, canceled = 0;
    std::int64_t stopped_early = 0;  // of the canceled: by the policy
    bool cancel_requested = false;
    bool timed_out = false;
    std::int64_t best = -1;  // index of the best completed trial; -1: none has a metric
    double best_score = 0;

    std::int64_t ended() const { return completed + failed + canceled; }
    std::int64_t live() const { return created - ended(); }
    bool operator==(const SweepProgress&) const = default;
};
Json to_json(const SweepProgress& progress);
SweepProgress sweep_progress_from_json(const Json& json);

}  // namespace turnout
