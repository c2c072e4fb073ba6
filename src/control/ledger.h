// What is over is added up here, in the commit that records its end: by compute, by experiment and
// by group.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/owner.h"
#include "model/job.h"

namespace turnout::control {

struct JobEntry;
struct ComputeState;

class Ledger : Owner {
public:
    explicit Ledger(Owners& all) : Owner(all) {}

    void book_job(const JobEntry& job);                                 // it has ended
    void book_attempt(const JobEntry& job, const JobAttempt& attempt);  // it has ended, or was lost
    void book_node(const ComputeState& compute, const Node& node);      // it is gone
    // From now on a node's hour costs that: what its nodes cost so far is booked at the price that
    // each of them had.
    void price_is(const ComputeState& compute, std::optional<double> price);
    // The same of all computes once they are read: a pool may have another price in its file than
    // before.
    void prices_are_read();
    void forget_group(const JobRecord& group);  // it is deleted
    void forget_workspace(const std::string& workspace);
    Control::LiveNodes live_nodes(const ComputeState& compute) const;

    Result<void> recover();
    void write_rows(const Turn& turn, Batch& batch) const;

private:
    Totals& totals_of(const std::string& totals_key);
    std::vector<Totals*> totals_with(const JobEntry& job);

    std::map<std::string, Totals> totals_;  // rows of Table::Ledger
};

}  // namespace turnout::control
