// All owners, and the turn that they share: what Control is made of. Private to control/.
#pragma once

#include "control/bases.h"
#include "control/computes.h"
#include "control/events.h"
#include "control/explain.h"
#include "control/groups.h"
#include "control/job_kinds.h"
#include "control/ledger.h"
#include "control/live_jobs.h"
#include "control/nodes.h"
#include "control/plan.h"
#include "control/pools.h"
#include "control/quotas.h"
#include "control/services.h"
#include "control/turns.h"

namespace turnout::control {

struct Owners final : Turns::Machine {
    Owners(const Clock& clock, Store& store, Effects& effects, Control::Settings settings);

    const Clock& clock;
    Store& store;
    Effects& effects;
    const Control::Settings settings;
    const KindTable& kinds;
    Turns turns;
    Events events;
    Ledger ledger;
    Quotas quotas;
    Pools pools;
    Computes computes;
    Nodes nodes;
    Bases bases;
    LiveJobs jobs;
    Groups groups;
    Services services;
    Plan plan;
    Explain explain;

    // Names of what is in memory, across owners: the scheduler knows things by them. Never given
    // twice until all is forgotten.
    Handle new_handle() { return ++last_handle_; }

    void complete_turn() override;
    bool completion_wanted() const override { return plan.wanted || services.wanted(); }
    void write_rows(Turn& turn, Batch& batch) override;
    void turn_is_durable(const Turn& turn) override;
    void turn_is_released(const Turn& turn) override;
    Result<void> recover() override;

private:
    void forget();
    Result<void> read_store();

    Handle last_handle_ = 0;
};

}  // namespace turnout::control
