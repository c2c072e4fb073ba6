// What all parts of the checker say and ask of attempts and nodes.
#pragma once

#include <algorithm>
#include <string>

#include "checker.h"

namespace turnout::simulation {

inline std::string text(const AttemptId& id) {
    return id.job + "#" + std::to_string(id.attempt);
}
inline std::string text(const AttemptId& id, int rank) {
    return text(id) + (rank == 0 ? "" : " rank " + std::to_string(rank));
}
inline bool live(const JobRecord& job) {
    return job.current() && !job.current()->ended;
}
inline bool has_ended(const JobAttempt& attempt, std::size_t rank) {
    return std::find(attempt.ended_ranks.begin(), attempt.ended_ranks.end(),
                     static_cast<int>(rank)) != attempt.ended_ranks.end();
}
inline NodeId node_id(const JobRecord& job, const std::string& node) {
    return job.workspace + "/" + job.compute + "/" + node;
}
inline std::string compute_of(const NodeId& node) {
    const std::size_t first = node.find('/') + 1;
    return node.substr(first, node.rfind('/') - first);
}

}  // namespace turnout::simulation
