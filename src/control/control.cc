#include "control/control.h"

#include <algorithm>
#include <utility>

#include "control/state.h"

namespace turnout {

namespace ap = agent_protocol;

namespace {
constexpr std::string_view kCountersKey = "control";
}

Control::Control(const Clock& clock, Store& store, Effects& effects, Settings settings)
    : state_(std::make_unique<State>(clock, store, effects, settings)) {}

Control::~Control() = default;

// ---------------------------------------------------------------------------------------------
// Turns. While one turn's batch is on its way to the disk the next turns gather, and go together:
// that is the group commit, and it makes a failed commit simple, because nothing that was built on
// it is under way.

void Control::State::end_turn() {
    if (schedule_not_before == Span{}) schedule_all();
    commit_gathered();
}

void Control::State::commit_gathered() {
    while (!in_flight) {
        if (gathering.after.empty() && !gathering.changed()) return;
        auto turn = std::make_shared<Turn>(std::exchange(gathering, {}));
        if (!turn->changed()) {
            release(turn->after);  // everything before is durable, so these may leave at once
            continue;
        }
        in_flight = turn;
        // Shared: the store may answer after this object is gone (shutdown).
        store.commit(serialise(*turn), [this, turn, alive = std::weak_ptr<int>(alive)](Result<std::uint64_t> result) {
            if (alive.lock()) committed(turn, std::move(result));
        });
    }
}

// In order even when what leaves calls back into control.
void Control::State::release(std::vector<std::function<void()>>& leaving) {
    for (auto& one : leaving) outgoing.push_back(std::move(one));
    if (releasing) return;
    releasing = true;
    while (!outgoing.empty()) {
        const std::function<void()> one = std::move(outgoing.front());
        outgoing.pop_front();
        one();
    }
    releasing = false;
}

void Control::State::committed(std::shared_ptr<Turn> turn, Result<std::uint64_t> result) {
    in_flight.reset();
    if (result) {
        forget_ended(*turn);
        release(turn->after);
        commit_gathered();
        return;
    }
    // What was not durable never happened: refuse all who wait on it, and read what is true.
    std::vector<std::function<void(Error)>> refused = std::move(turn->refused);
    for (auto& one : gathering.refused) refused.push_back(std::move(one));
    gathering = {};
    schedule_not_before = clock.since_boot() + 1s;
    if (Result<void> recovered = recover(); !recovered) broken = recovered.error();
    for (auto& one : refused) one(result.error());
    end_turn();
}

Batch Control::State::serialise(const Turn& turn) const {
    Batch batch;
    for (const auto& [job_key, created_keys] : turn.erased_jobs) {  // first: it may have been made anew
        batch.erase(Table::Job, job_key);
        batch.erase(Table::JobLive, job_key);
        for (const std::string& created : created_keys) batch.erase(Table::JobCreated, created);
    }
    batch.writes.insert(batch.writes.end(), turn.together.begin(), turn.together.end());
    for (const std::string& job_key : turn.jobs) {
        const auto found = jobs.find(job_key);
        if (found == jobs.end()) continue;
        const JobRecord& record = found->second.record;
        batch.put(Table::Job, job_key, to_json(record).dump());
        if (is_terminal(record.status)) batch.erase(Table::JobLive, job_key);
        if (turn.new_jobs.contains(job_key)) {
            if (!is_terminal(record.status)) batch.put(Table::JobLive, job_key, "");
            batch.put(Table::JobCreated, created_key(record), "");
        }
    }
    for (const std::string& compute_key : turn.computes) {
        const auto found = computes.find(compute_key);
        if (found == computes.end()) batch.erase(Table::Compute, compute_key);
        else batch.put(Table::Compute, compute_key, to_json(found->second.compute).dump());
    }
    for (const NodeId& id : turn.nodes) {
        const auto found = nodes.find(id);
        if (found == nodes.end()) batch.erase(Table::Node, id);
        else batch.put(Table::Node, id, to_json(found->second.node).dump());
    }
    if (turn.counters) {
        Json counters = Json::object();
        counters.set("nodes", static_cast<std::int64_t>(last_node));
        batch.put(Table::Meta, std::string(kCountersKey), counters.dump());
    }
    return batch;
}

void Control::State::forget_ended(const Turn& turn) {
    for (const std::string& job_key : turn.jobs) {
        const auto found = jobs.find(job_key);
        if (found != jobs.end() && is_terminal(found->second.record.status) && !gathering.jobs.contains(job_key))
            jobs.erase(found);
    }
}

void Control::State::send(const NodeId& node, ap::ToAgent message) {
    effect([this, node, message = std::move(message)] { effects.send(node, message); });
}

// ---------------------------------------------------------------------------------------------
// Recovery

Result<void> Control::State::recover() {
    computes.clear();
    nodes.clear();
    jobs.clear();
    deadlines.clear();
    to_schedule.clear();
    gathering = {};
    last_order = 0;

    const auto each = [this](Table table, const auto& use) -> Result<void> {
        Range range = with_prefix("", 1000);
        for (;;) {
            const std::vector<Record> page = TURNOUT_TRY(store.scan(table, range));
            for (const Record& record : page) TURNOUT_TRY(use(record));
            if (page.size() < range.limit) return {};
            range.from = page.back().key + '\0';
        }
    };

    const std::optional<Record> counters = TURNOUT_TRY(store.get(Table::Meta, kCountersKey));
    if (counters) {
        const Json json = TURNOUT_TRY(parse_json(counters->value));
        last_node = std::max(last_node, static_cast<std::uint64_t>(json.at("nodes").as_int()));
    }
    const auto load_compute = [this](const Record& record) -> Result<void> {
        const Json json = TURNOUT_TRY(parse_json(record.value));
        Compute compute = TURNOUT_TRY(compute_from_json(json));
        computes[record.key].compute = std::move(compute);
        return {};
    };
    TURNOUT_TRY(each(Table::Compute, load_compute));
    const Span now = clock.since_boot();
    const auto load_node = [this, now](const Record& record) -> Result<void> {
        const Json json = TURNOUT_TRY(parse_json(record.value));
        NodeEntry entry;
        entry.node = TURNOUT_TRY(node_from_json(json));
        entry.last_contact = now;  // our own start counts as a renewal
        entry.idle_since = now;
        const std::string compute_key = key(entry.node.workspace, entry.node.compute);
        if (const auto found = computes.find(compute_key); found != computes.end())
            found->second.nodes.insert(record.key);
        nodes.emplace(record.key, std::move(entry));
        return {};
    };
    TURNOUT_TRY(each(Table::Node, load_node));

    std::vector<std::pair<Instant, std::string>> waiting;
    const auto load_live_job = [&](const Record& live) -> Result<void> {
        const std::optional<Record> record = TURNOUT_TRY(store.get(Table::Job, live.key));
        if (!record) return {};
        const Json json = TURNOUT_TRY(parse_json(record->value));
        JobEntry entry;
        entry.record = TURNOUT_TRY(job_from_json(json));
        if (is_terminal(entry.record.status)) return {};
        const JobAttempt* attempt = entry.record.current();
        if (!attempt || attempt->ended) waiting.emplace_back(entry.record.created, live.key);
        jobs.emplace(live.key, std::move(entry));
        return {};
    };
    TURNOUT_TRY(each(Table::JobLive, load_live_job));
    std::sort(waiting.begin(), waiting.end());
    for (const auto& [created, job_key] : waiting) enqueue(job_key, jobs.at(job_key));

    // Say everything again that may have been lost; all of it is idempotent.
    for (auto& [id, entry] : nodes) {
        const Node node = entry.node;
        if (node.state == NodeState::Leaving) effect([this, node] { effects.release(node); });
        else say_provision(id);
        set_deadline(entry, now + 5s);
        effect([this, id = id] { effects.disconnect(id); });  // an agent that is still there says Hello anew
    }
    for (const auto& [compute_key, compute] : computes) to_schedule.insert(compute_key);
    broken.reset();
    return {};
}

Result<void> Control::recover() {
    TURNOUT_TRY(state_->recover());
    state_->end_turn();
    return {};
}

// ---------------------------------------------------------------------------------------------
// From the API

void Control::submit(JobSubmission job, Reply<Put> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string job_key = State::key(job.workspace, job.name);
    Result<State::JobEntry*> known = s.load_job(job_key);
    if (!known) return reply(Failure(known.error()));
    if (State::JobEntry* entry = *known) {
        JobRecord& record = entry->record;
        if (!record.definition.equal_unordered(job.definition)) {
            s.reply<Put>(std::move(reply),
                         fail(Code::Conflict, "Conflict",
                              "job '" + job.name + "' exists with another definition; choose another name", "name"));
        } else if (record.meta == job.meta) {
            s.reply<Put>(std::move(reply), Put::Unchanged);
        } else {
            record.meta = std::move(job.meta);
            s.gathering.jobs.insert(job_key);
            s.reply<Put>(std::move(reply), Put::Updated);
        }
        return s.end_turn();
    }

    std::string compute_key = State::key(job.workspace, job.compute);
    if (job.compute == "serverless") s.serverless(job.workspace);
    const auto compute = s.computes.find(compute_key);
    if (compute == s.computes.end() || compute->second.compute.deleting) {
        s.reply<Put>(std::move(reply),
                     fail(Code::FailedPrecondition, "ComputeNotFound",
                          "compute '" + job.compute + "' does not exist" +
                              (compute == s.computes.end() ? "" : " any more: it is being deleted"),
                          "computeId"));
        return s.end_turn();
    }

    State::JobEntry entry;
    entry.record.workspace = std::move(job.workspace);
    entry.record.name = std::move(job.name);
    entry.record.definition = std::move(job.definition);
    entry.record.meta = std::move(job.meta);
    entry.record.compute = std::move(job.compute);
    entry.record.principal = std::move(job.principal);
    entry.record.task = std::move(job.task);
    entry.record.status = JobStatus::Queued;
    entry.record.created = s.clock.now();
    auto [place, inserted] = s.jobs.insert_or_assign(job_key, std::move(entry));
    s.enqueue(job_key, place->second);
    s.gathering.jobs.insert(job_key);
    s.gathering.new_jobs.insert(job_key);
    for (Write& write : job.together) s.gathering.together.push_back(std::move(write));
    s.reply<Put>(std::move(reply), Put::Created);
    s.end_turn();
}

void Control::update_job(std::string workspace, std::string name, JobMeta meta, Reply<Put> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string job_key = State::key(workspace, name);
    Result<State::JobEntry*> known = s.load_job(job_key);
    if (!known) return reply(Failure(known.error()));
    if (!*known) {
        s.reply<Put>(std::move(reply), not_found("job '" + name + "' does not exist", name));
    } else if ((*known)->record.meta == meta) {
        s.reply<Put>(std::move(reply), Put::Unchanged);
    } else {
        (*known)->record.meta = std::move(meta);
        s.gathering.jobs.insert(job_key);
        s.reply<Put>(std::move(reply), Put::Updated);
    }
    s.end_turn();
}

void Control::cancel_job(std::string workspace, std::string name, Reply<void> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string job_key = State::key(workspace, name);
    Result<State::JobEntry*> known = s.load_job(job_key);
    if (!known) return reply(Failure(known.error()));
    if (!*known) {
        s.reply<void>(std::move(reply), not_found("job '" + name + "' does not exist", name));
    } else {
        if (!is_terminal((*known)->record.status)) s.request_cancel(job_key, **known);
        s.reply<void>(std::move(reply), Result<void>{});
    }
    s.end_turn();
}

void Control::delete_job(std::string workspace, std::string name, Reply<void> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string job_key = State::key(workspace, name);
    Result<State::JobEntry*> known = s.load_job(job_key);
    if (!known) return reply(Failure(known.error()));
    if (!*known) {
        s.reply<void>(std::move(reply), not_found("job '" + name + "' does not exist", name));
    } else if (!is_terminal((*known)->record.status)) {
        s.reply<void>(std::move(reply),
                      fail(Code::FailedPrecondition, "JobNotEnded",
                           "job '" + name + "' has not ended; cancel it first", name));
    } else {
        s.gathering.erased_jobs[job_key].insert(State::created_key((*known)->record));
        s.jobs.erase(job_key);
        s.gathering.jobs.erase(job_key);
        s.gathering.new_jobs.erase(job_key);
        s.reply<void>(std::move(reply), Result<void>{});
    }
    s.end_turn();
}

void Control::put_compute(Compute compute, Reply<Put> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string compute_key = State::key(compute.workspace, compute.name);
    const auto known = s.computes.find(compute_key);
    if (compute.name == "serverless" && !compute.implicit) {
        s.reply<Put>(std::move(reply), invalid("the name 'serverless' is kept for jobs without compute; choose another", "name"));
    } else if (known != s.computes.end() && known->second.compute.deleting) {
        s.reply<Put>(std::move(reply), fail(Code::Conflict, "ComputeBeingDeleted",
                                            "compute '" + compute.name + "' is being deleted; wait until it is gone", compute.name));
    } else {
        const bool created = known == s.computes.end();
        State::ComputeState& state = s.computes[compute_key];
        compute.created = created ? s.clock.now() : state.compute.created;
        compute.modified = s.clock.now();
        state.compute = std::move(compute);
        state.failures = 0;
        state.provision_not_before = Span{};
        s.gathering.computes.insert(compute_key);
        s.to_schedule.insert(compute_key);
        s.reply<Put>(std::move(reply), created ? Put::Created : Put::Updated);
    }
    s.end_turn();
}

void Control::delete_compute(std::string workspace, std::string name, Reply<void> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string compute_key = State::key(workspace, name);
    const auto known = s.computes.find(compute_key);
    if (known == s.computes.end()) {
        s.reply<void>(std::move(reply), not_found("compute '" + name + "' does not exist", name));
        return s.end_turn();
    }
    known->second.compute.deleting = true;
    s.gathering.computes.insert(compute_key);
    s.to_schedule.insert(compute_key);
    std::vector<std::string> affected;
    for (const auto& [job_key, job] : s.jobs)
        if (job.record.workspace == workspace && job.record.compute == name && !is_terminal(job.record.status))
            affected.push_back(job_key);
    std::sort(affected.begin(), affected.end());
    for (const std::string& job_key : affected) {
        State::JobEntry& job = s.jobs.at(job_key);
        job.record.error_message = "compute '" + name + "' was deleted";
        s.request_cancel(job_key, job);
    }
    s.reply<void>(std::move(reply), Result<void>{});
    s.finish_deletion(compute_key);
    s.end_turn();
}

void Control::stop_everything(Reply<void> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    s.stopping = true;
    s.stopped.push_back(std::move(reply));
    std::vector<std::string> live;
    for (const auto& [job_key, job] : s.jobs)
        if (!is_terminal(job.record.status)) live.push_back(job_key);
    std::sort(live.begin(), live.end());
    for (const std::string& job_key : live) s.request_cancel(job_key, s.jobs.at(job_key));
    for (const auto& [compute_key, compute] : s.computes) s.to_schedule.insert(compute_key);
    s.end_turn();
}

// ---------------------------------------------------------------------------------------------
// From the nodes

void Control::agent_connected(const NodeId& id, const ap::Hello& hello) {
    State& s = *state_;
    if (s.broken) return;
    const auto found = s.nodes.find(id);
    if (found == s.nodes.end()) {  // nobody's any more: an orphan of an earlier time
        s.effect([&s, id] { s.effects.send(id, ap::Leave{}); });
        return s.end_turn();
    }
    State::NodeEntry& node = found->second;
    node.connected = true;
    node.tries = 0;
    node.last_contact = s.clock.since_boot();
    s.send(id, ap::Welcome{s.settings.lost_node_after});
    if (node.node.state == NodeState::Leaving) {  // its deadline stays: the release is said again
        s.send(id, ap::Leave{});
        return s.end_turn();
    }
    s.set_deadline(node, Span{});
    if (const auto compute = s.computes.find(State::key(node.node.workspace, node.node.compute)); compute != s.computes.end()) {
        compute->second.failures = 0;
        compute->second.provision_not_before = Span{};
        s.to_schedule.insert(compute->first);
    }

    // Attempts that the node knows and that are not (any more) what it should run.
    bool knows_current = false;
    for (const ap::AttemptId& attempt : hello.attempts) {
        const bool current = attempt.workspace == node.node.workspace && attempt.job == node.node.job &&
                             attempt.attempt == node.node.attempt;
        if (current) knows_current = true;
        else s.send(id, ap::Cancel{attempt, ap::Cause::NodeLost, Span{}});
    }
    const bool rebooted = !node.node.boot_id.empty() && node.node.boot_id != hello.boot_id;
    if (node.node.boot_id != hello.boot_id) {
        node.node.boot_id = hello.boot_id;
        s.gathering.nodes.insert(id);
    }
    node.node.problem.clear();

    if (node.node.job.empty()) {
        node.idle_since = s.clock.since_boot();
        if (node.node.state != NodeState::Idle) s.set_state(node, NodeState::Idle);
    } else {
        const std::string job_key = State::key(node.node.workspace, node.node.job);
        const auto job = s.jobs.find(job_key);
        const JobAttempt* attempt = job == s.jobs.end() ? nullptr : job->second.record.current();
        if (!attempt || attempt->number != node.node.attempt || attempt->ended) {
            node.node.job.clear();
            node.node.attempt = 0;
            s.set_state(node, NodeState::Idle);
            node.idle_since = s.clock.since_boot();
        } else if (!knows_current && (attempt->preparing || rebooted || job->second.record.cancel_requested)) {
            // It had begun and the node does not know it any more: its processes are gone. Or it
            // never got there, and is not wanted any more.
            ap::Ending ending;
            ending.cause = job->second.record.cancel_requested ? ap::Cause::Canceled : ap::Cause::NodeLost;
            ending.exit_code = -1;
            ending.message = rebooted ? "the node was restarted" : "the node lost its state";
            s.end_attempt(job_key, job->second, std::move(ending));
        } else {
            s.resend(node);
        }
    }
    s.end_turn();
}

void Control::agent_disconnected(const NodeId& id) {
    State& s = *state_;
    if (s.broken) return;
    const auto found = s.nodes.find(id);
    if (found == s.nodes.end() || !found->second.connected) return;
    found->second.connected = false;
    found->second.last_contact = s.clock.since_boot();
    s.set_deadline(found->second, s.clock.since_boot() + 1s);
    s.to_schedule.insert(State::key(found->second.node.workspace, found->second.node.compute));
    s.end_turn();
}

void Control::agent_says(const NodeId& id, const ap::ToServer& message) {
    State& s = *state_;
    if (s.broken) return;
    const auto found = s.nodes.find(id);
    if (found == s.nodes.end()) return;
    found->second.last_contact = s.clock.since_boot();
    if (const auto* phase = std::get_if<ap::PhaseReport>(&message)) s.phase_reported(found->second, *phase);
    else if (const auto* end = std::get_if<ap::EndReport>(&message)) s.end_reported(found->second, *end);
    s.end_turn();
}

void Control::node_failed(const NodeId& id, Error why) {
    State& s = *state_;
    if (s.broken) return;
    const auto found = s.nodes.find(id);
    if (found == s.nodes.end()) return;
    State::NodeEntry& node = found->second;
    // A late answer: it leaves anyway, or it was got by another request.
    if (node.node.state == NodeState::Leaving || node.connected) return;
    node.node.problem = why.message;
    s.gathering.nodes.insert(id);
    const auto compute = s.computes.find(State::key(node.node.workspace, node.node.compute));
    if (compute != s.computes.end()) {
        State::ComputeState& state = compute->second;
        state.failures = std::min(state.failures + 1, 10);
        state.provision_not_before = s.clock.since_boot() + 1s * (1 << std::min(state.failures, 6));
        s.to_schedule.insert(compute->first);
    }
    if (node.node.job.empty()) s.release_node(node);
    else s.set_deadline(node, s.clock.since_boot() + 5s);  // it may hold an attempt: keep trying
    s.end_turn();
}

void Control::node_gone(const NodeId& id) {
    State& s = *state_;
    if (s.broken) return;
    s.remove_node(id);
    s.end_turn();
}

// ---------------------------------------------------------------------------------------------
// Time

void Control::tick() {
    State& s = *state_;
    if (s.broken) {
        if (Result<void> recovered = s.recover(); !recovered) return;
    }
    const Span now = s.clock.since_boot();
    if (s.schedule_not_before <= now) s.schedule_not_before = Span{};
    while (!s.deadlines.empty() && s.deadlines.begin()->first <= now) {
        const NodeId id = s.deadlines.begin()->second;
        State::NodeEntry& node = s.nodes.at(id);
        s.set_deadline(node, Span{});
        s.check(node, now);
    }
    for (const auto& [compute_key, compute] : s.computes)
        if (compute.provision_not_before != Span{} && compute.provision_not_before <= now)
            s.to_schedule.insert(compute_key);
    s.end_turn();
}

std::optional<Span> Control::next_tick() const {
    std::optional<Span> next;
    const auto consider = [&](Span at) {
        if (!next || at < *next) next = at;
    };
    if (!state_->deadlines.empty()) consider(state_->deadlines.begin()->first);
    for (const auto& [compute_key, compute] : state_->computes)
        if (compute.provision_not_before != Span{})
            consider(std::max(compute.provision_not_before, state_->schedule_not_before));
    if (state_->schedule_not_before != Span{}) consider(state_->schedule_not_before);
    if (state_->broken) consider(state_->clock.since_boot() + 1s);
    return next;
}

// ---------------------------------------------------------------------------------------------

std::string Control::waiting_for(const std::string& workspace, const std::string& name) const {
    const State& s = *state_;
    const auto found = s.jobs.find(State::key(workspace, name));
    if (found == s.jobs.end() || is_terminal(found->second.record.status)) return "";
    const State::JobEntry& job = found->second;
    if (job.record.status == JobStatus::Running || job.record.status == JobStatus::Finalizing) {
        const auto node = s.nodes.find(job.record.workspace + "/" + job.record.compute + "/" + job.record.current()->node);
        if (node != s.nodes.end() && !node->second.connected)
            return "the node's agent is not reachable; the job goes on there";
        return "";
    }
    if (job.order == 0) {
        const JobAttempt* attempt = job.record.current();
        return attempt && !attempt->detail.empty() ? attempt->detail : "the node prepares the job";
    }
    const auto compute = s.computes.find(job.waits_in);
    if (compute == s.computes.end()) return "";
    const std::size_t ahead = compute->second.queue.order_of_key(job.order);
    std::string text = schedule::explain(s.view(compute->second), s.free_slots(),
                                         static_cast<std::size_t>(s.settings.slots), ahead);
    for (const NodeId& id : compute->second.nodes)
        if (const Node& node = s.nodes.at(id).node; !node.problem.empty()) return text + " (" + node.problem + ")";
    return text;
}

}  // namespace turnout
