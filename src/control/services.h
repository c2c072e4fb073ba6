// The services: tasks that stay up (model/service.h says what is wanted of one, and what follows).
// A service is a row of its own, with its task and the list of its replicas, written in the commit
// that makes, stops or records the end of one. A replica is a job that control submits itself:
// "name.12", of the first kind, listed and removed like any other.
//
// While the server drains or stops everything all replicas are stopped, and none is made; the
// services are wanted all the same, and come back when work is resumed or the server starts anew.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/owner.h"
#include "model/service.h"

namespace turnout::control {

struct ComputeState;
struct JobEntry;
struct NodeEntry;
struct ServiceState;

struct ReplicaState {
    ServiceState* service = nullptr;
    Replica seen;             // as it was looked at last
    JobEntry* job = nullptr;  // alive as long as the replica is
    // As its node says over the link that stands; nothing: it has not said it yet.
    std::optional<bool> ready;
    std::optional<Span> ready_for;  // how long it was, last
};

struct ServiceState {
    Service service;
    std::string compute, principal, experiment;
    int priority = 0;
    Json task;                                      // TaskSpec of the newest revision
    std::map<std::int64_t, ReplicaState> replicas;  // by number
    std::optional<Span> look_at;

    std::string key() const { return row_key(service.workspace, service.name); }
};

class Services : Owner {
public:
    explicit Services(Owners& all) : Owner(all) {}

    std::map<std::string, ServiceState> by_key;  // "{wsid}/{name}"

    // ---- inputs of the API ----
    void put(ServiceSubmission wish, Control::Reply<Put> reply);
    void want(const std::string& key, int wanted, Control::Reply<Put> reply);
    void end(const std::string& key, Control::Reply<void> reply);

    // ---- what happens ----
    void said(JobEntry& replica, agent_protocol::Phase phase);
    void changed(JobEntry& replica);  // it is to stop
    void over(JobEntry& replica);
    void link_changed(NodeEntry& node);  // what its replicas are is not known any more
    void compute_removed(const ComputeState& compute);
    void look_at_all();
    // Whether a good end of its command is none of the replica: it is to stay up.
    static bool has_to_stay(const JobEntry& replica);

    bool wanted() const { return !touched_.empty(); }
    void advance();  // replicas are made and stopped

    void tick();
    std::optional<Span> next_tick() const;
    void forget();
    void write(Json& counters) const;
    Result<void> recover(const Json& counters);  // when all jobs are there
    void write_rows(const Turn& turn, Batch& batch) const;

    Control::ServiceView view(const ServiceState& state) const;
    std::size_t replicas_on(const ComputeState& compute) const;  // that live
    std::vector<Control::ReadyReplica> ready(const ServiceState& state) const;

private:
    void advance(ServiceState& state);
    bool start(ServiceState& state);  // false: the store cannot be read just now
    Replica look(ReplicaState& replica);
    Replica::Is is_now(const ReplicaState& replica) const;
    void touch(ServiceState& state) { touched_.insert(state.key()); }
    void row_changed(ServiceState& state) { turns.gathering.services.insert(state.key()); }
    void set_look_at(ServiceState& state, std::optional<Span> at);

    std::set<std::string> touched_;  // keys: something may follow
    std::set<std::pair<Span, std::string>> looks_;
    std::int64_t last_replica_ = 0;  // of all services, stored: names are never used twice
};

}  // namespace turnout::control
