// The computes: what is set of each, and what its queue waits for.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "control/owner.h"
#include "model/compute.h"
#include "schedule/scheduler.h"

namespace turnout::control {

struct PoolState;

// Time in which the queue of a compute waited for something else than its turn. It only grows;
// a job's share is the difference between two moments.
struct Waits {
    Span quota{}, node_start{};
};

struct ComputeState {
    Compute compute;
    PoolState* pool = nullptr;
    std::string unusable;  // it gets no nodes until it is changed: why
    Handle handle = 0;
    std::set<NodeId> nodes;
    Span provision_not_before{};  // backs off after a failure
    int failures = 0;
    Waits waits;
    schedule::Waiting::For waiting_for = schedule::Waiting::For::Nothing;  // since `waiting_at`
    Span waiting_at{};
    std::size_t live_jobs = 0;
    std::string
        image;  // of the job that came last, where nodes have images: the next one begins so
    std::optional<double> price;  // of a node's hour
    // Of a machine that is let go: its provider was asked to clear it; it has.
    bool clearing = false, cleared = false;

    std::string key() const { return row_key(compute.workspace, compute.name); }
};

class Computes : Owner {
public:
    explicit Computes(Owners& all) : Owner(all) {}

    std::map<std::string, ComputeState> by_key;  // "{wsid}/{name}"
    std::unordered_map<Handle, ComputeState*> by_handle;

    ComputeState* find(const std::string& workspace, const std::string& name);
    const ComputeState* find(const std::string& workspace, const std::string& name) const;
    ComputeState& add(Compute compute);
    std::optional<double> price_of(const Compute& compute) const;  // of a node's hour
    ComputeState& serverless(const std::string& workspace);
    // That of the jobs which ask for such containers, made if there is none. It goes by itself.
    ComputeState& of_instances(const std::string& workspace, const ContainerInstance& asked);
    // What that name means: one, or all of container instances.
    std::vector<const ComputeState*> called(const std::string& workspace,
                                            const std::string& name) const;
    void change(std::string workspace, std::string name, const Control::ComputeChange& change,
                Control::Reply<Put> reply, std::vector<Write>* together);
    void remove(const std::string& workspace, const std::string& name, Control::Reply<void> reply);
    void finish_deletions();
    void machine_cleared(const std::string& workspace, const std::string& name,
                         const std::string& left);

    void tell_scheduler(const ComputeState& compute);
    void tell_scheduler();                          // of all
    void hold_provisioning(ComputeState& compute);  // as long as it or its pool is to wait
    void back_off(ComputeState& compute);
    void node_connected(ComputeState& compute);
    // Another price, other settings: it is tried again whatever its pool refused before.
    void pool_changed(ComputeState& compute);
    void cannot_be_had(ComputeState& compute, const std::string& why);
    void book_waits(ComputeState& compute);
    void look_what_it_waits_for(ComputeState& compute);
    std::string why_unusable(const ComputeState& compute) const;  // "" if it is not

    void forget();
    Result<void> recover();
    void write_rows(const Turn& turn, Batch& batch) const;

private:
    void finish_deletion(const std::string& compute_key);
    void forget(const std::string& compute_key);  // and its row
    void release_idle(const ComputeState& compute);
    void look_at_machine(ComputeState& compute);  // whether nodes can be had on it
    bool is_cleared(ComputeState& compute);       // one that is let go

    std::set<std::string> deletions_;  // keys of computes that are being deleted
    std::set<std::string> instances_;  // of those for container instances
};

}  // namespace turnout::control
