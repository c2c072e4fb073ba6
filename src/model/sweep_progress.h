// How far a sweep is: what is stored of it while it runs, and shown when it is over.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "protocol/agent_protocol.h"

namespace turnout {

// The facts about a sweep that runs. Trials are created in the order of their index.
struct SweepProgress {
    std::int64_t created = 0;  // indices 0 … created - 1 exist
    std::int64_t completed = 0, failed = 0, canceled = 0;
    std::int64_t stopped_early = 0;  // of the canceled: by the policy
    bool cancel_requested = false;
    bool timed_out = false;
    std::int64_t without_metric = 0;  // of the completed: they have no score
    std::string metric_problem;       // what the first of those logged instead, for people
    bool began = false;               // the command of a trial ran: its environment can be had
    agent_protocol::Cause failed_by =
        agent_protocol::Cause::None;  // of every trial that failed; None: of different ones
    std::string first_failure;        // which trial failed first, and why
    std::int64_t best = -1;           // index of the best completed trial; -1: none has a metric
    double best_score = 0;

    std::int64_t ended() const { return completed + failed + canceled; }
    std::int64_t live() const { return created - ended(); }
    bool operator==(const SweepProgress&) const = default;
};
Json to_json(const SweepProgress& progress);
SweepProgress sweep_progress_from_json(const Json& json);

}  // namespace turnout
