// What must be true at every moment, seen by somebody who sees everything: the durable store, every
// process of every machine, and what the client was told.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/control.h"
#include "store/memory/memory_store.h"
#include "timeline.h"

namespace turnout::simulation {

using agent_protocol::AttemptId;

inline constexpr const char* kWorkspace = "ws";
// The token of every attempt: on its way to a node, and nowhere else.
inline constexpr std::string_view kPlantedSecret = "planted-secret-5d1f";

// What a job's command does, decided at submission.
struct Script {
    int exit_code = 0;
    Span runs{};
    int lines = 0;
    bool ignores_term = false;
    int fails_in = 0;  // 1 snapshot, 2 environment, 3 inputs, 4 outputs; 0 nowhere
    std::string preamble;
};

// How often something happened: a simulation in which nothing happens proves nothing.
using Coverage = std::map<std::string, std::uint64_t>;

class Checker {
public:
    Checker(const Timeline& timeline, Coverage& coverage, int slots) : timeline_(timeline), coverage_(coverage), slots_(slots) {}

    const std::string& violation() const { return violation_; }
    bool violated() const { return !violation_.empty(); }
    void violate(const std::string& what);
    void require(bool holds, const std::string& what) {
        if (!holds) violate(what);
    }

    // ---- the store: called after every durable step, with the keys that were written ----
    void persisted(const MemoryStore::State& state, const std::vector<std::pair<Table, std::string>>& written);

    // Where the durable state is to be found now.
    void durable_is(const MemoryStore::State* state) { latest_ = state; }

    // ---- what leaves the server ----
    void leaves(const MemoryStore::State& state, const NodeId& node, const agent_protocol::ToAgent& message);
    void provisions(const MemoryStore::State& state, const NodeId& node);
    void releases(const MemoryStore::State& state, const NodeId& node);

    // ---- what the client was told, and what it asked for ----
    void acknowledged(const MemoryStore::State& state, const std::string& job);
    void wants_deleted(const std::string& job) { may_vanish_.insert(job); }
    bool may_vanish(const std::string& job) const { return may_vanish_.contains(job); }
    void wants_ended(const std::string& job) { may_be_canceled_.insert(job); }

    // ---- the processes ----
    void task_starts(const AttemptId& id, const NodeId& node);
    void task_ends(const AttemptId& id, int exit_code, bool by_itself);
    void wrote(const AttemptId& id, std::string_view bytes) { written_[id] += bytes; }
    void bytes_lost(const AttemptId& id) { shortened_.insert(id); }  // with the machine

    // ---- at the end, after the faults stopped ----
    void settled(const MemoryStore::State& state);

    std::map<std::string, Script> scripts;  // by job

private:
    void check_job(const MemoryStore::State& state, const std::string& key);
    void check_log(const MemoryStore::State& state, const JobRecord& job, const JobAttempt& attempt);
    static std::optional<JobRecord> job(const MemoryStore::State& state, const std::string& name);
    static std::optional<Node> node(const MemoryStore::State& state, const std::string& id);

    struct Ended {
        int exit_code = 0;
        bool by_itself = false;
    };
    const Timeline& timeline_;
    Coverage& coverage_;
    int slots_;
    std::string violation_;
    std::map<std::string, JobRecord> seen_;       // the last durable form of every job
    std::set<std::string> acknowledged_, may_vanish_, may_be_canceled_;
    std::map<AttemptId, int> starts_;
    std::map<std::string, AttemptId> running_;    // the live task of a job
    std::map<AttemptId, Ended> ended_;
    std::map<AttemptId, std::string> written_;    // every byte of std_log, in order
    std::set<AttemptId> shortened_;
    const MemoryStore::State* latest_ = nullptr;
};

}  // namespace turnout::simulation
