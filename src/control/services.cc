#include "control/services.h"

#include <algorithm>

#include "base/text.h"
#include "control/owners.h"

namespace turnout::control {

namespace ap = agent_protocol;

namespace {

constexpr std::string_view kCounter = "replicas";
constexpr Span kLookAgain = 1s;  // where the store could not be read

Json service_row(const ServiceState& state) {
    Json json = to_json(state.service);
    json.set("compute", state.compute);
    json.set("principal", state.principal);
    json.set("experiment", state.experiment);
    if (state.priority != 0) json.set("priority", state.priority);
    json.set("task", state.task);
    Json replicas = Json::array();
    for (const auto& [number, replica] : state.replicas)
        replicas.push(Json::array({number, replica.seen.revision}));
    json.set("replicas", std::move(replicas));
    return json;
}

Result<void> check_service(const ServiceSubmission& wish) {
    const auto good = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
    };
    if (wish.name.empty() || wish.name.size() > kMaxServiceName ||
        !std::all_of(wish.name.begin(), wish.name.end(), good))
        return invalid("the name of a service is '" + wish.name.substr(0, 300) +
                           "'; expected 1 to " + std::to_string(kMaxServiceName) +
                           " letters, digits, '-' and '_'",
                       "name");
    for (const auto& [name, value] : {std::pair("wanted", wish.wanted), {"surge", wish.surge}})
        if (value < 0 || value > kMaxReplicas)
            return invalid(std::string(name) + " is " + std::to_string(value) + "; expected 0 to " +
                               std::to_string(kMaxReplicas) + " replicas",
                           name);
    if (!wish.task.service)
        return invalid("the task of service '" + wish.name + "' does not say how it is a service",
                       "task.service");
    if (wish.task.node_count != 1 || wish.task.processes != 1 || !wish.task.distribution.empty())
        return invalid("the task of service '" + wish.name +
                           "' has several processes; expected one, on one node",
                       "task");
    return {};
}

Error no_such_service(const std::string& key) {
    const std::string name = key.substr(key.find('/') + 1);
    return not_found("service '" + name + "' does not exist", name).error();
}

}  // namespace

void Services::put(ServiceSubmission wish, Control::Reply<Put> reply) {
    if (const Result<void> checked = check_service(wish); !checked)
        return turns.reply<Put>(std::move(reply), Failure(checked.error()));
    if (wish.compute == "serverless") owners.computes.serverless(wish.workspace);
    const ComputeState* compute = owners.computes.find(wish.workspace, wish.compute);
    if (!compute || compute->compute.deleting)
        return turns.reply<Put>(std::move(reply),
                                fail(Code::FailedPrecondition, "ComputeNotFound",
                                     "compute '" + wish.compute + "' does not exist" +
                                         (compute ? " any more: it is being deleted" : ""),
                                     "compute"));
    const std::string key = row_key(wish.workspace, wish.name);
    const ap::ServiceSpec spec = *wish.task.service;
    wish.task.run_token = Secret();  // each attempt has its own
    Json task = ap::to_json(wish.task);
    const auto known = by_key.find(key);
    if (known == by_key.end()) {
        ServiceState& state = by_key[key];
        state.service.workspace = std::move(wish.workspace);
        state.service.name = std::move(wish.name);
        state.service.wanted = wish.wanted;
        state.service.surge = wish.surge;
        state.service.spec = spec;
        state.compute = std::move(wish.compute);
        state.principal = std::move(wish.principal);
        state.experiment = std::move(wish.experiment);
        state.priority = wish.priority;
        state.task = std::move(task);
        row_changed(state);
        touch(state);
        return turns.reply<Put>(std::move(reply), Put::Created);
    }
    ServiceState& state = known->second;
    if (state.service.ending)
        return turns.reply<Put>(
            std::move(reply),
            fail(Code::Conflict, "ServiceBeingEnded",
                 "service '" + wish.name + "' is being ended; wait until it is gone", wish.name));
    if (state.compute != wish.compute)
        return turns.reply<Put>(std::move(reply),
                                fail(Code::FailedPrecondition, "ComputeOfService",
                                     "service '" + wish.name + "' is on compute '" + state.compute +
                                         "' and stays there; end it, or give the one on '" +
                                         wish.compute + "' another name",
                                     "compute"));
    const bool other_task = state.task != task;
    if (!other_task && state.service.wanted == wish.wanted && state.service.surge == wish.surge &&
        state.priority == wish.priority && state.experiment == wish.experiment)
        return turns.reply<Put>(std::move(reply), Put::Unchanged);
    if (other_task) {
        want_revision(state.service, spec);
        state.task = std::move(task);
        state.principal = std::move(wish.principal);  // who says what runs is whose it is
    }
    if (state.service.wanted != wish.wanted) want_replicas(state.service, wish.wanted);
    state.service.surge = wish.surge;
    state.priority = wish.priority;
    state.experiment = std::move(wish.experiment);
    row_changed(state);
    touch(state);
    turns.reply<Put>(std::move(reply), Put::Updated);
}

void Services::want(const std::string& key, int wanted, Control::Reply<Put> reply) {
    const auto known = by_key.find(key);
    if (known == by_key.end())
        return turns.reply<Put>(std::move(reply), Failure(no_such_service(key)));
    ServiceState& state = known->second;
    if (state.service.ending || state.service.wanted == wanted)
        return turns.reply<Put>(std::move(reply), Put::Unchanged);
    want_replicas(state.service, wanted);
    row_changed(state);
    touch(state);
    turns.reply<Put>(std::move(reply), Put::Updated);
}

void Services::end(const std::string& key, Control::Reply<void> reply) {
    const auto known = by_key.find(key);
    if (known == by_key.end())
        return turns.reply<void>(std::move(reply), Failure(no_such_service(key)));
    known->second.service.ending = true;
    row_changed(known->second);
    touch(known->second);
    turns.reply<void>(std::move(reply), Result<void>{});
}

void Services::compute_removed(const ComputeState& compute) {
    for (auto& [key, state] : by_key) {
        if (state.service.workspace != compute.compute.workspace ||
            state.compute != compute.compute.name || state.service.ending)
            continue;
        state.service.ending = true;
        state.service.trouble = "compute '" + state.compute + "' was deleted";
        row_changed(state);
        touch(state);
    }
}

void Services::look_at_all() {
    for (auto& [key, state] : by_key) touch(state);
}

// ---- what is seen ----

Replica::Is Services::is_now(const ReplicaState& replica) const {
    const JobEntry& job = *replica.job;
    if (job.state.cancel_requested || job.state.preempting()) return Replica::Is::Stopping;
    if (!job.state.placed() || job.state.status == JobStatus::Queued) return Replica::Is::Waiting;
    const JobAttempt& attempt = job.state.attempts.back();
    if (attempt.finalizing) return Replica::Is::Ending;
    if (!attempt.running) return Replica::Is::Starting;
    if (!replica.ready) return Replica::Is::Unknown;
    return *replica.ready ? Replica::Is::Ready : Replica::Is::Unready;
}

Replica Services::look(ReplicaState& replica) {
    const Replica::Is is = is_now(replica);
    if (is == replica.seen.is) return replica.seen;
    const Span now = clock.since_boot();
    if (replica.seen.is == Replica::Is::Ready) replica.ready_for = now - replica.seen.since;
    replica.seen.is = is;
    replica.seen.since = now;
    return replica.seen;
}

void Services::said(JobEntry& job, ap::Phase phase) {
    ReplicaState& replica = *job.replica;
    if (phase == ap::Phase::Running || phase == ap::Phase::Ready)
        replica.ready = phase == ap::Phase::Ready;
    else
        replica.ready.reset();
    const Replica::Is before = replica.seen.is;
    if (look(replica).is != before) touch(*replica.service);
}

void Services::changed(JobEntry& job) {
    touch(*job.replica->service);
}

void Services::link_changed(NodeEntry& node) {
    for (const Lease& lease : node.leases) {
        if (!lease.job->replica) continue;
        lease.job->replica->ready.reset();
        look(*lease.job->replica);
        touch(*lease.job->replica->service);
    }
}

void Services::over(JobEntry& job) {
    ReplicaState& replica = *job.replica;
    ServiceState& state = *replica.service;
    ReplicaEnd end;
    end.number = replica.seen.number;
    end.revision = replica.seen.revision;
    end.told = job.state.cancel_requested;
    end.cause = job.state.cause;
    end.message = job.state.error_message;
    end.ready_for = replica.seen.is == Replica::Is::Ready ? clock.since_boot() - replica.seen.since
                                                          : replica.ready_for;
    job.replica = nullptr;
    state.replicas.erase(replica.seen.number);
    replica_gone(state.service, end, clock.since_boot());
    row_changed(state);
    touch(state);
}

bool Services::has_to_stay(const JobEntry& job) {
    return job.replica &&
           job.replica->service->service.spec.restart.when == ap::Restart::When::Always;
}

// ---- what follows ----

void Services::advance() {
    if (turns.resting()) return;
    while (!touched_.empty()) {
        const std::string key = std::move(touched_.extract(touched_.begin()).value());
        if (const auto found = by_key.find(key); found != by_key.end()) advance(found->second);
    }
}

void Services::advance(ServiceState& state) {
    const Span now = clock.since_boot();
    std::vector<Replica> replicas;
    for (auto& [number, replica] : state.replicas) replicas.push_back(look(replica));
    Service wish = state.service;
    if (owners.plan.draining() || owners.plan.stopping()) wish.wanted = 0;
    const ServicePlan plan = plan_service(wish, replicas, now);
    set_look_at(state, plan.look_at);
    for (const ServicePlan::Stop& stop : plan.stop) {
        std::string why(words_of(stop.why));
        if (stop.why == ServicePlan::Stop::Why::Unready) {
            const std::string& detail =
                state.replicas.at(stop.number).job->state.attempts.back().detail;
            why += detail.empty() ? "" : " (" + detail + ")";
            replica_failed(state.service, stop.number, why, now);
            row_changed(state);
            touch(state);
        }
        owners.jobs.request_cancel(*state.replicas.at(stop.number).job, why);
    }
    for (int i = 0; i < plan.start; ++i)
        if (!start(state)) {
            set_look_at(state, now + kLookAgain);
            break;
        }
    if (!plan.over) return;
    row_changed(state);
    touched_.erase(state.key());
    by_key.erase(state.key());
}

bool Services::start(ServiceState& state) {
    const ComputeState* compute = owners.computes.find(state.service.workspace, state.compute);
    Result<ap::TaskSpec> task = ap::task_from_json(state.task);
    if (!compute || compute->compute.deleting || !task) return true;
    while (true) {
        turns.gathering.counters = true;
        state.service.made = ++last_replica_;
        const Result<std::optional<JobRecord>> there = owners.jobs.find_record(
            row_key(state.service.workspace, replica_name(state.service.name, last_replica_)));
        if (!there) return false;
        if (!*there) break;  // else it is a user's job, whose name may have a dot too
    }
    JobSubmission job;
    job.workspace = state.service.workspace;
    job.name = replica_name(state.service.name, last_replica_);
    job.definition =
        Json::object({{"service", state.service.name}, {"revision", state.service.revision}});
    // As a job says it: then its token acts for whose it is.
    for (const auto& [name, value] : task->variables)
        if (name == ap::kOnBehalf && value == "True")
            job.definition.set("identity", Json::object({{"identityType", "UserIdentity"}}));
    job.meta.display_name = job.name;
    job.meta.experiment = state.experiment;
    job.compute = state.compute;
    job.priority = state.priority;
    job.task = std::move(*task);
    job.principal = state.principal;
    JobEntry& entry = owners.jobs.add_replica(std::move(job));
    ReplicaState& replica = state.replicas[last_replica_];
    replica.service = &state;
    replica.seen = {last_replica_, state.service.revision, Replica::Is::Waiting,
                    clock.since_boot()};
    replica.job = &entry;
    entry.replica = &replica;
    row_changed(state);
    return true;
}

void Services::set_look_at(ServiceState& state, std::optional<Span> at) {
    if (state.look_at) looks_.erase({*state.look_at, state.key()});
    state.look_at = at;
    if (at) looks_.emplace(*at, state.key());
}

void Services::tick() {
    const Span now = clock.since_boot();
    while (!looks_.empty() && looks_.begin()->first <= now) {
        const std::string key = looks_.begin()->second;
        looks_.erase(looks_.begin());
        ServiceState& state = by_key.at(key);
        state.look_at.reset();
        touch(state);
    }
}

std::optional<Span> Services::next_tick() const {
    if (looks_.empty()) return std::nullopt;
    return looks_.begin()->first;
}

// ---- rows ----

void Services::forget() {
    by_key.clear();
    touched_.clear();
    looks_.clear();
}

void Services::write(Json& counters) const {
    if (last_replica_ > 0) counters.set(kCounter, last_replica_);
}

Result<void> Services::recover(const Json& counters) {
    last_replica_ = std::max(last_replica_, counters.at(kCounter).as_int());
    const Span now = clock.since_boot();
    return each_row(store, Table::Service, with_prefix(""), [&](const Record& row) -> Result<void> {
        const Json json = TURNOUT_TRY(parse_json(row.value));
        ServiceState& state = by_key[row.key];
        state.service = TURNOUT_TRY(service_of_json(json));
        // How much of the last pause went by nobody knows.
        state.service.not_before =
            now + pause_after(state.service.spec.restart, state.service.failures);
        state.compute = json.at("compute").as_string();
        state.principal = json.at("principal").as_string();
        state.experiment = json.at("experiment").as_string();
        state.priority = static_cast<int>(json.at("priority").as_int());
        state.task = json.at("task");
        for (const Json& one : json.at("replicas").items()) {
            const Json::Array& parts = one.items();
            if (parts.size() != 2) return internal("stored service '" + row.key + "' is damaged");
            const std::int64_t number = parts[0].as_int();
            JobEntry* job =
                owners.jobs.find(state.service.workspace, replica_name(state.service.name, number));
            if (!job)
                return internal("stored service '" + row.key + "' without its replica " +
                                std::to_string(number));
            ReplicaState& replica = state.replicas[number];
            replica.service = &state;
            replica.seen = {number, parts[1].as_int(), Replica::Is::Waiting, now};
            replica.job = job;
            job->replica = &replica;
            look(replica);
        }
        touch(state);
        return {};
    });
}

void Services::write_rows(const Turn& turn, Batch& batch) const {
    for (const std::string& key : turn.services) {
        if (const auto found = by_key.find(key); found != by_key.end())
            batch.put(Table::Service, key, service_row(found->second).dump());
        else
            batch.erase(Table::Service, key);
    }
}

// ---- for who asks them ----

std::vector<Control::ReadyReplica> Services::ready(const ServiceState& state) const {
    std::vector<Control::ReadyReplica> ready;
    for (const auto& [number, replica] : state.replicas) {
        if (is_now(replica) != Replica::Is::Ready) continue;
        const JobAttempt& attempt = replica.job->state.attempts.back();
        ready.push_back({replica.job->name(), attempt.nodes().front(), attempt.number});
    }
    return ready;
}

// ---- for people ----

std::size_t Services::replicas_on(const ComputeState& compute) const {
    std::size_t count = 0;
    for (const auto& [key, state] : by_key)
        if (state.service.workspace == compute.compute.workspace &&
            state.compute == compute.compute.name)
            count += state.replicas.size();
    return count;
}

Control::ServiceView Services::view(const ServiceState& state) const {
    Control::ServiceView view;
    view.service = state.service;
    view.compute = state.compute;
    std::vector<Replica> replicas;
    const ReplicaState* waits = nullptr;
    const ReplicaState* unready = nullptr;
    for (const auto& [number, replica] : state.replicas) {
        Replica seen = replica.seen;
        seen.is = is_now(replica);
        replicas.push_back(seen);
        Control::ServiceView::OfReplica one;
        one.replica = seen;
        one.job = replica.job->name();
        if (replica.job->state.placed()) {
            const JobAttempt& attempt = replica.job->state.attempts.back();
            one.attempt = attempt.number;
            one.node = attempt.nodes().front();
            one.port = state.service.spec.port != 0 ? state.service.spec.port : attempt.master_port;
            one.detail = attempt.detail;
        }
        if (seen.is == Replica::Is::Waiting && !waits) waits = &replica;
        if (seen.is == Replica::Is::Unready && !unready) unready = &replica;
        view.replicas.push_back(std::move(one));
    }
    view.counts = count_replicas(state.service, replicas);
    view.why = why_not_ready(state.service, replicas, clock.since_boot());
    if (view.why.empty()) return view;
    const auto add = [&](const ReplicaState& replica, const std::string& words) {
        if (!words.empty()) view.why += "; " + std::string(replica.job->name()) + ": " + words;
    };
    if (waits)
        add(*waits,
            owners.explain.waiting_for(state.service.workspace, std::string(waits->job->name())));
    if (unready) add(*unready, unready->job->state.attempts.back().detail);
    if (owners.plan.draining()) view.why += "; the server is being drained: nothing is begun";
    return view;
}

}  // namespace turnout::control
