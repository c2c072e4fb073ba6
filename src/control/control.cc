#include "control/control.h"

#include <algorithm>
#include <utility>

#include "control/state.h"

namespace turnout {

namespace ap = agent_protocol;

namespace {
constexpr std::string_view kCountersKey = "control";
constexpr std::uint64_t kEventsKept = 200'000;  // rows
constexpr Span kLongestPause = 30s;             // after failed commits
}  // namespace

Control::Control(const Clock& clock, Store& store, Effects& effects, Settings settings)
    : state_(std::make_unique<State>(clock, store, effects, settings)) {}

Control::~Control() = default;

// ---------------------------------------------------------------------------------------------
// Turns. While one turn's batch is on its way to the disk the next turns gather, and go together:
// that is the group commit, and it makes a failed commit simple, because nothing that was built on
// it is under way.

void Control::State::end_turn() {
    commit_gathered();
}

// When the turn that is being gathered may be committed: reports of nodes share a commit, and a
// client waits a moment for those that wrote together with it before. 0 = at once.
Span Control::State::commit_from() const {
    if (gathering.refused.empty()) return commit_not_before;
    return gathering.refused.size() < clients_before ? company_until : Span{};
}

void Control::State::commit_gathered() {
    while (!in_flight) {
        if (const Span from = commit_from();
            (gathering.changed() || plan_wanted) && clock.since_boot() < from) {
            effects.wake(from);
            if (gathering.changed() || gathering.after.empty()) return;
            release(
                std::exchange(gathering.after, {}));  // they rest on nothing that is not durable
            continue;
        }
        advance_sweeps();
        plan();  // once for all the inputs that came since the last commit began
        if (gathering.after.empty() && !gathering.changed()) return;
        auto turn = std::make_shared<Turn>(std::exchange(gathering, {}));
        if (!turn->changed()) {
            release(std::move(
                turn->after));  // everything before is durable, so these may leave at once
            continue;
        }
        in_flight = turn;
        commit_not_before =
            clock.since_boot() +
            (std::exchange(reports, 0) >= 4 ? settings.busy_commit_pause : settings.commit_pause);
        // Shared: the store may answer after this object is gone (shutdown).
        store.commit(serialise(*turn),
                     [this, turn, alive = std::weak_ptr<int>(alive)](Result<std::uint64_t> result) {
                         if (alive.lock()) committed(turn, std::move(result));
                     });
    }
}

// In order even when what leaves calls back into control.
void Control::State::release(std::vector<std::function<void()>> leaving) {
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
        if (std::exchange(failed_commits, 0) > 0) schedule_not_before = Span{};
        if (!turn->refused.empty()) clients_before = turn->refused.size();
        company_until = clock.since_boot() + settings.client_pause;
        forget_ended(*turn);
        release(std::move(turn->after));
        if (turn->event_row != 0 && events_listener) events_listener(turn->event_row);
        commit_gathered();
        return;
    }
    // What was not durable never happened: refuse all who wait on it, and read what is true.
    std::vector<std::function<void(Error)>> refused = std::move(turn->refused);
    for (auto& one : gathering.refused) refused.push_back(std::move(one));
    recover();  // if that fails too, `tick` goes on with it
    hold_back();
    for (auto& one : refused) one(result.error());
    end_turn();
}

// Called when recovery is over, which may take long itself: the processor is to have a rest.
void Control::State::hold_back() {
    const Span pause = std::min<Span>(kLongestPause, 1s * (1 << std::min(failed_commits++, 5)));
    schedule_not_before = commit_not_before = clock.since_boot() + pause;
}

Batch Control::State::serialise(Turn& turn) {
    Batch batch;
    for (const auto& [job_key, created_keys] :
         turn.erased_jobs) {  // first: it may have been made anew
        batch.erase(Table::Job, job_key);
        batch.erase(Table::JobState, job_key);
        batch.erase(Table::JobLive, job_key);
        for (const std::string& created : created_keys) batch.erase(Table::JobCreated, created);
    }
    batch.writes.insert(batch.writes.end(), std::make_move_iterator(turn.together.begin()),
                        std::make_move_iterator(turn.together.end()));
    turn.together.clear();
    for (auto& [base_key, text] : turn.bases) batch.put(Table::TaskBase, base_key, std::move(text));
    for (const auto& [job_key, row] : turn.definitions) batch.put(Table::Job, job_key, row);
    for (auto& [job_key, live] : turn.new_jobs) {
        const auto found = jobs.find(job_key);
        if (found == jobs.end()) continue;
        const JobEntry& job = found->second;
        batch.put(Table::JobLive, job_key, std::move(live));
        // Trials are listed with their sweep only.
        if (!job.is_trial())
            batch.put(Table::JobCreated,
                      created_key(job.workspace(), job.name(), Instant{job.created}), "");
    }
    for (const std::string& job_key : turn.states) {
        const auto found = jobs.find(job_key);
        if (found == jobs.end()) continue;
        const JobState& state = found->second.state;
        std::string row = state_text(state);
        if (found->second.type == JobType::Sweep &&
            found->second.sweep) {  // its progress beside it
            row.back() = ',';
            row += "\"sweep\":" + to_json(found->second.sweep->progress).dump() + "}";
        }
        batch.put(Table::JobState, job_key, std::move(row));
        if (is_terminal(state.status)) batch.erase(Table::JobLive, job_key);
    }
    for (const std::string& totals_key : turn.totals) {
        if (const auto found = totals.find(totals_key); found != totals.end())
            batch.put(Table::Ledger, totals_key, to_json(found->second).dump());
        else
            batch.erase(Table::Ledger, totals_key);
    }
    for (const std::string& compute_key : turn.computes) {
        const auto found = computes.find(compute_key);
        if (found == computes.end())
            batch.erase(Table::Compute, compute_key);
        else
            batch.put(Table::Compute, compute_key, to_json(found->second.compute).dump());
    }
    for (const NodeId& id : turn.nodes) {
        const auto found = nodes.find(id);
        if (found == nodes.end())
            batch.erase(Table::Node, id);
        else
            batch.put(Table::Node, id, to_json(found->second.node).dump());
    }
    if (turn.counters) {
        Json counters = Json::object();
        counters.set("nodes", static_cast<std::int64_t>(last_node));
        batch.put(Table::Meta, std::string(kCountersKey), counters.dump());
    }
    for (const std::string& events : turn.events) {
        turn.event_row = ++last_event;
        batch.put(Table::Event, hex16(last_event), "[" + events + "]");
        if (last_event > kEventsKept) batch.erase(Table::Event, hex16(last_event - kEventsKept));
    }
    return batch;
}

void Control::State::forget_ended(const Turn& turn) {
    for (const std::string& job_key : turn.states) {
        const auto found = jobs.find(job_key);
        if (found != jobs.end() && is_terminal(found->second.state.status) &&
            !gathering.states.contains(job_key))
            drop_job(job_key);
    }
}

void Control::State::send(const NodeId& node, ap::ToAgent message) {
    effect([this, node, message = std::move(message)] { effects.send(node, message); });
}

// ---------------------------------------------------------------------------------------------
// Recovery

void Control::State::forget_all() {
    computes.clear();
    nodes.clear();
    jobs.clear();
    sweeps.clear();
    sweep_deadlines.clear();
    touched_sweeps.clear();
    bases.clear();
    idle_bases.clear();
    compute_of.clear();
    node_of.clear();
    job_of.clear();
    sharers.clear();
    experiment_of.clear();
    deadlines.clear();
    touched.clear();
    deletions.clear();
    gathering = {};
    scheduler.emplace(settings.slots);
    plan_at.reset();
    last_handle = 0;
}

Result<void> Control::State::recover() {
    forget_all();
    Result<void> read = read_store();
    if (read) {
        broken.reset();
        // What was asked for stays asked for, whether the commit that was to record it failed or
        // not.
        if (stopping) cancel_all([](const JobEntry&) { return true; }, "");
        for (auto& [sweep_key, sweep] : sweeps) stop_given_up(sweep);
    } else {
        forget_all();  // half of it would be wrong
        broken = read.error();
    }
    return read;
}

Result<void> Control::State::read_store() {
    const std::optional<Record> counters = TURNOUT_TRY(store.get(Table::Meta, kCountersKey));
    if (counters) {
        const Json json = TURNOUT_TRY(parse_json(counters->value));
        last_node = std::max(last_node, static_cast<std::uint64_t>(json.at("nodes").as_int()));
    }
    Range newest = with_prefix("", 1);
    newest.reverse = true;
    const std::vector<Record> last_row = TURNOUT_TRY(store.scan(Table::Event, newest));
    if (!last_row.empty())
        last_event = std::max<std::uint64_t>(
            last_event, std::strtoull(last_row.front().key.c_str(), nullptr, 16));

    const auto load_compute = [this](const Record& record) -> Result<void> {
        const Json json = TURNOUT_TRY(parse_json(record.value));
        Compute compute = TURNOUT_TRY(compute_from_json(json));
        if (compute.deleting) deletions.insert(record.key);
        add_compute(std::move(compute));
        return {};
    };
    TURNOUT_TRY(each_row(store, Table::Compute, with_prefix(""), load_compute));
    const auto load_node = [this](const Record& record) -> Result<void> {
        const Json json = TURNOUT_TRY(parse_json(record.value));
        Node node = TURNOUT_TRY(node_from_json(json));
        const std::string compute_key = key(node.workspace, node.compute);
        if (!computes.contains(compute_key))
            return internal("stored node '" + record.key + "' without its compute");
        // Our own start counts as a renewal of the contact.
        const schedule::NodeIs is =
            node.state == NodeState::Provisioning ? schedule::NodeIs::Starting
            : node.state == NodeState::Leaving    ? schedule::NodeIs::Leaving
                                                  : schedule::NodeIs::Unreachable;
        add_node(computes.at(compute_key), std::move(node), is);
        return {};
    };
    TURNOUT_TRY(each_row(store, Table::Node, with_prefix(""), load_node));
    TURNOUT_TRY(recover_jobs());
    TURNOUT_TRY(recover_totals());

    // Say everything again that may have been lost; all of it is idempotent.
    const Span now = clock.since_boot();
    for (auto& [id, entry] : nodes) {
        const Node node = entry.node;
        if (node.state == NodeState::Leaving)
            effect([this, node] { effects.release(node); });
        else
            say_provision(id);
        set_deadline(entry, now + 5s);
        effect([this, id = id] {
            effects.disconnect(id);
        });  // an agent that is still there says Hello anew
    }
    plan_wanted = true;
    return {};
}

// Every job that lives, in the order of submission.
Result<void> Control::State::recover_jobs() {
    struct Live {
        std::string key;
        JobFacts facts;
        JobState state;
    };
    std::vector<Live> live;
    const auto load = [&](const Record& row) -> Result<void> {
        const Json json = TURNOUT_TRY(parse_json(row.value));
        Live one{row.key, TURNOUT_TRY(facts_from_json(json)), {}};
        const std::optional<Record> state = TURNOUT_TRY(store.get(Table::JobState, row.key));
        if (state) {
            const Json document = TURNOUT_TRY(parse_json(state->value));
            one.state = TURNOUT_TRY(job_state_from_json(document));
        }
        if (!is_terminal(one.state.status)) live.push_back(std::move(one));
        return {};
    };
    TURNOUT_TRY(each_row(store, Table::JobLive, with_prefix(""), load));
    // Sweeps first: their trials have what they share from them, and they wait for no node
    // themselves.
    std::sort(live.begin(), live.end(), [](const Live& a, const Live& b) {
        const bool job_a = a.facts.type != JobType::Sweep, job_b = b.facts.type != JobType::Sweep;
        return std::tie(job_a, a.facts.created, a.facts.index, a.key) <
               std::tie(job_b, b.facts.created, b.facts.index, b.key);
    });
    jobs.reserve(live.size());
    std::vector<JobEntry*> placed;
    for (Live& one : live) {
        if (!one.facts.sweep.empty()) {
            const auto sweep =
                sweeps.find(key(one.key.substr(0, one.key.find('/')), one.facts.sweep));
            if (sweep == sweeps.end())
                return internal("stored trial '" + one.key + "' without its sweep");
            one.facts = trial_facts(sweep->second, one.facts.index, one.facts.created);
        }
        const std::string compute_key =
            key(one.key.substr(0, one.key.find('/')), one.facts.compute);
        if (!computes.contains(compute_key))
            return internal("stored job '" + one.key + "' without its compute");
        JobEntry& job = add_job(std::move(one.key), std::move(one.facts), std::move(one.state));
        job.base->stored = true;
        if (job.type == JobType::Sweep) {
            TURNOUT_TRY(recover_sweep(job));
            continue;
        }
        if (job.state.placed())
            placed.push_back(&job);
        else
            enqueue(job);
    }
    // A node runs what it has in the order in which it was given.
    std::sort(placed.begin(), placed.end(), [](const JobEntry* a, const JobEntry* b) {
        // Of those that one plan gave, the higher priority came first.
        return std::tie(a->state.attempts.back().leased, b->priority, a->handle) <
               std::tie(b->state.attempts.back().leased, a->priority, b->handle);
    });
    for (JobEntry* job : placed) {
        const JobAttempt& attempt = job->state.attempts.back();
        std::vector<Handle> on;
        for (std::size_t rank = 0; rank < attempt.nodes.size(); ++rank) {
            if (std::find(attempt.ended_ranks.begin(), attempt.ended_ranks.end(),
                          static_cast<int>(rank)) != attempt.ended_ranks.end())
                continue;
            const auto node = nodes.find(job->compute->key() + "/" + attempt.nodes[rank]);
            if (node == nodes.end())
                return internal("stored job '" + *job->key + "' without its node");
            // Who of several nodes has reported is not stored.
            node->second.leases.push_back(
                {job, attempt.number, static_cast<int>(rank), attempt.preparing.has_value()});
            on.push_back(node->second.handle);
        }
        scheduler->restore_task(job->handle, job->compute->handle, demand_of(*job), on);
    }
    for (auto& [sweep_key, sweep] : sweeps) TURNOUT_TRY(recover_metrics(sweep));
    return {};
}

Result<void> Control::recover() {
    Result<void> recovered = state_->recover();
    if (recovered)
        state_->end_turn();
    else
        state_->hold_back();
    return recovered;
}

// ---------------------------------------------------------------------------------------------
// From the API

namespace {

Error no_such_job(const std::string& name) {
    return not_found("job '" + name + "' does not exist", name).error();
}

}  // namespace

void Control::submit(JobSubmission job, Reply<Put> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string job_key = State::key(job.workspace, job.name);
    Result<std::optional<JobRecord>> known = s.find_job(job_key);
    if (!known) return reply(Failure(known.error()));
    if (*known) {
        JobRecord& record = **known;
        if (!record.definition.equal_unordered(job.definition)) {
            s.reply<Put>(
                std::move(reply),
                fail(Code::Conflict, "Conflict",
                     "job '" + job.name + "' exists with another definition; choose another name",
                     "name"));
        } else if (record.meta == job.meta) {
            s.reply<Put>(std::move(reply), Put::Unchanged);
        } else {
            record.meta = std::move(job.meta);
            s.gathering.definitions[job_key] = definition_json(record).dump();
            s.reply<Put>(std::move(reply), Put::Updated);
        }
        return s.end_turn();
    }

    if (job.compute == "serverless") s.serverless(job.workspace);
    const auto compute = s.computes.find(State::key(job.workspace, job.compute));
    if (compute == s.computes.end() || compute->second.compute.deleting) {
        s.reply<Put>(std::move(reply),
                     fail(Code::FailedPrecondition, "ComputeNotFound",
                          "compute '" + job.compute + "' does not exist" +
                              (compute == s.computes.end() ? "" : " any more: it is being deleted"),
                          "computeId"));
        return s.end_turn();
    }

    Result<Sweep> sweep =
        job.type == JobType::Sweep ? parse_sweep(job.definition, job.name) : Result<Sweep>(Sweep{});
    if (const Result<void> named =
            s.check_trial_names(job, sweep ? sweep->limits.max_total_trials : 0);
        !named) {
        s.reply<Put>(std::move(reply), Failure(named.error()));
        return s.end_turn();
    }
    SplitTask task =
        job.type == JobType::Sweep ? base_of_trials(job.task) : split_task(job.task, job.name);
    JobRecord record;
    record.workspace = std::move(job.workspace);
    record.name = std::move(job.name);
    record.type = job.type;
    record.definition = std::move(job.definition);
    record.meta = std::move(job.meta);
    record.compute = std::move(job.compute);
    record.principal = std::move(job.principal);
    record.created = job.created.micros != 0 ? job.created : s.clock.now();
    record.environment = std::move(job.task.environment.name);
    record.notices = std::move(job.task.environment.notices);
    record.node_count = job.task.node_count;
    record.priority = job.priority;
    record.task_base = task.hash;
    record.task_own = std::move(task.own);

    JobFacts facts = facts_of(record);
    s.gathering.definitions[job_key] = definition_json(record).dump();
    s.gathering.new_jobs[job_key] = to_json(facts).dump();
    s.drop_job(job_key);  // an ended one of that name that was deleted in this turn
    State::JobEntry& entry = s.add_job(job_key, std::move(facts), {});
    if (!std::exchange(entry.base->stored, true)) {
        const std::string base_key = State::key(record.workspace, task.hash);
        const Result<std::optional<Record>> there = s.store.get(Table::TaskBase, base_key);
        if (!there || !*there) s.gathering.bases[base_key] = std::move(task.base);
    }
    for (Write& write : job.together) s.gathering.together.push_back(std::move(write));
    s.job_event(entry, "submitted");
    if (entry.type == JobType::Command)
        s.enqueue(entry);
    else if (sweep)
        s.add_sweep(entry, record, std::move(*sweep), {}, job.task.mlflow_experiment_id);
    else
        s.end_job(entry, JobStatus::Failed, ap::Cause::Input, sweep.error().message,
                  record.created);
    s.reply<Put>(std::move(reply), Put::Created);
    s.end_turn();
}

void Control::update_job(std::string workspace, std::string name, JobMeta meta, Reply<Put> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string job_key = State::key(workspace, name);
    Result<std::optional<JobRecord>> known = s.find_job(job_key);
    if (!known) return reply(Failure(known.error()));
    if (!*known) {
        s.reply<Put>(std::move(reply), Failure(no_such_job(name)));
    } else if ((*known)->meta == meta) {
        s.reply<Put>(std::move(reply), Put::Unchanged);
    } else {
        (*known)->meta = std::move(meta);
        s.gathering.definitions[job_key] = definition_json(**known).dump();
        s.reply<Put>(std::move(reply), Put::Updated);
    }
    s.end_turn();
}

void Control::cancel_job(std::string workspace, std::string name, Reply<void> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string job_key = State::key(workspace, name);
    if (const auto live = s.jobs.find(job_key); live != s.jobs.end()) {
        s.request_cancel(live->second);
        s.reply<void>(std::move(reply), Result<void>{});
        return s.end_turn();
    }
    const Result<std::optional<JobRecord>> known =
        s.find_job(job_key);  // it has ended, or never was
    if (!known) return reply(Failure(known.error()));
    s.reply<void>(std::move(reply),
                  *known ? Result<void>{} : Result<void>(Failure(no_such_job(name))));
    s.end_turn();
}

void Control::drilled(const std::string& workspace, const std::string& name,
                      const std::string& what) {
    State& s = *state_;
    const auto live = s.jobs.find(State::key(workspace, name));
    if (s.broken || live == s.jobs.end()) return;
    s.job_event(live->second, "drill", what);
    s.end_turn();
}

void Control::preempt_job(std::string workspace, std::string name, Reply<void> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const auto live = s.jobs.find(State::key(workspace, name));
    if (live == s.jobs.end() || !live->second.state.placed() ||
        live->second.state.cancel_requested) {
        s.reply<void>(
            std::move(reply),
            fail(Code::FailedPrecondition, "JobNotOnNode",
                 "job '" + name + "' is on no node just now: there is nothing to take away from it",
                 name));
        return s.end_turn();
    }
    s.preempt(live->second, "asked for by a person");
    s.reply<void>(std::move(reply), Result<void>{});
    s.end_turn();
}

void Control::delete_job(std::string workspace, std::string name, Reply<void> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    const std::string job_key = State::key(workspace, name);
    const Result<std::optional<JobRecord>> known = s.find_job(job_key);
    if (!known) return reply(Failure(known.error()));
    if (!*known) {
        s.reply<void>(std::move(reply), Failure(no_such_job(name)));
    } else if (!is_terminal((*known)->status)) {
        s.reply<void>(std::move(reply),
                      fail(Code::FailedPrecondition, "JobNotEnded",
                           "job '" + name + "' has not ended; cancel it first", name));
    } else {
        s.gathering.erased_jobs[job_key].insert(
            State::created_key(workspace, name, (*known)->created));
        if ((*known)->type == JobType::Sweep) s.forget_totals(**known);
        s.drop_job(job_key);
        s.gathering.states.erase(job_key);
        s.gathering.new_jobs.erase(job_key);
        s.gathering.definitions.erase(job_key);
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
        s.reply<Put>(
            std::move(reply),
            invalid("the name 'serverless' is kept for jobs without compute; choose another",
                    "name"));
    } else if (known != s.computes.end() && known->second.compute.deleting) {
        s.reply<Put>(std::move(reply),
                     fail(Code::Conflict, "ComputeBeingDeleted",
                          "compute '" + compute.name + "' is being deleted; wait until it is gone",
                          compute.name));
    } else {
        const bool created = known == s.computes.end();
        compute.created = created ? s.clock.now() : known->second.compute.created;
        compute.modified = s.clock.now();
        // Checked where it came in.
        const auto price = price_per_hour(compute);
        if (!created && price && *price != known->second.price) s.book_cost(known->second);
        const bool other_share =
            !created && known->second.compute.jobs_per_node != compute.jobs_per_node;
        State::ComputeState& state = s.add_compute(std::move(compute));
        if (other_share)  // its nodes learn the number when they say Hello
            for (const NodeId& id : state.nodes)
                if (s.nodes.at(id).connected) s.effect([&s, id] { s.effects.disconnect(id); });
        state.failures = 0;
        state.provision_not_before = Span{};
        s.scheduler->hold_provisioning(state.handle, Span{});
        s.touched.insert(&state);
        for (const auto& [sweep_key, sweep] : s.sweeps)  // more nodes may soon need more trials
            if (sweep.job->compute == &state) s.touched_sweeps.insert(sweep.job->handle);
        s.gathering.computes.insert(compute_key);
        s.compute_event(state.compute, created ? "created" : "changed");
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
    State::ComputeState& compute = known->second;
    if (!std::exchange(compute.compute.deleting, true))
        s.compute_event(compute.compute, "deleting");
    s.gathering.computes.insert(compute_key);
    s.deletions.insert(compute_key);
    s.tell_scheduler(compute);
    s.cancel_all([&](const State::JobEntry& job) { return job.compute == &compute; },
                 "compute '" + name + "' was deleted");
    s.reply<void>(std::move(reply), Result<void>{});
    s.end_turn();
}

void Control::State::cancel_all(const std::function<bool(const JobEntry&)>& which,
                                const std::string& why) {
    std::vector<std::pair<Handle, JobEntry*>> found;
    for (auto& [job_key, job] : jobs)
        if (!is_terminal(job.state.status) && which(job)) found.emplace_back(job.handle, &job);
    std::sort(found.begin(), found.end());
    for (const auto& [handle, job] : found) request_cancel(*job, why);
}

void Control::stop_everything(Reply<void> reply) {
    State& s = *state_;
    if (s.broken) return reply(Failure(*s.broken));
    s.stopping = true;
    s.stopped.push_back(std::move(reply));
    for (const auto& [compute_key, compute] : s.computes) s.tell_scheduler(compute);
    s.cancel_all([](const State::JobEntry&) { return true; }, "");
    s.plan_wanted = true;
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
    node.bases.clear();
    node.last_contact = s.clock.since_boot();
    State::ComputeState& compute =
        s.computes.at(State::key(node.node.workspace, node.node.compute));
    node.welcomed = false;
    s.effect(
        [&s, id, welcome = ap::Welcome{s.settings.lost_node_after, compute.compute.jobs_per_node}] {
            if (const auto there = s.nodes.find(id); there != s.nodes.end())
                there->second.welcomed = true;
            s.effects.send(id, welcome);
        });
    if (node.node.state == NodeState::Leaving) {  // its deadline stays: the release is said again
        s.send(id, ap::Leave{});
        return s.end_turn();
    }
    s.set_deadline(node, Span{});
    compute.failures = 0;
    compute.provision_not_before = Span{};
    s.scheduler->hold_provisioning(compute.handle, Span{});
    s.scheduler->node_is(node.handle, schedule::NodeIs::Ready, s.clock.since_boot());
    s.touched.insert(&compute);
    s.plan_wanted = true;

    // Attempts that the node knows and that are not (any more) what it should run.
    std::set<ap::AttemptId> known;
    for (const ap::AttemptId& attempt : hello.attempts) {
        if (node.find(attempt))
            known.insert(attempt);
        else
            s.send(id, ap::Cancel{attempt, ap::Cause::NodeLost, Span{}});
    }
    const bool rebooted = !node.node.boot_id.empty() && node.node.boot_id != hello.boot_id;
    if (node.node.boot_id != hello.boot_id || node.node.state != NodeState::Idle ||
        !node.node.problem.empty()) {
        if (node.node.state == NodeState::Provisioning) {
            s.node_event(node.node, "ready");
            node.node.ready = s.clock.now();
        }
        node.node.boot_id = hello.boot_id;
        node.node.problem.clear();
        s.set_state(node, NodeState::Idle);
    }
    for (const State::Lease& lease : std::vector<State::Lease>(node.leases)) {
        const bool there =
            known.contains({node.node.workspace, std::string(lease.job->name()), lease.attempt});
        const bool canceled = lease.job->state.cancel_requested;
        if (!there && (lease.begun || rebooted || canceled)) {
            // It had begun and the node does not know it any more: its processes are gone. Or it
            // never got there, and is not wanted any more.
            ap::Ending ending;
            ending.cause = canceled ? ap::Cause::Canceled : ap::Cause::NodeLost;
            ending.exit_code = -1;
            ending.message = rebooted ? "the node was restarted" : "the node lost its state";
            s.end_rank(node, lease, std::move(ending));
        } else if (lease.job->state.preempting() && !canceled) {
            s.send(id,
                   ap::Cancel{{node.node.workspace, std::string(lease.job->name()), lease.attempt},
                              ap::Cause::Preempted,
                              s.settings.preemption_grace});
        } else {
            s.send_lease(node, lease);
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
    if (found->second.node.state == NodeState::Idle) {
        s.scheduler->node_is(found->second.handle, schedule::NodeIs::Unreachable,
                             s.clock.since_boot());
        s.plan_wanted = true;
    }
    s.end_turn();
}

void Control::agent_says(const NodeId& id, const ap::ToServer& message) {
    State& s = *state_;
    if (s.broken) return;
    const auto found = s.nodes.find(id);
    if (found == s.nodes.end()) return;
    found->second.last_contact = s.clock.since_boot();
    ++s.reports;
    if (const auto* phase = std::get_if<ap::PhaseReport>(&message))
        s.phase_reported(found->second, *phase);
    else if (const auto* end = std::get_if<ap::EndReport>(&message))
        s.end_reported(found->second, *end);
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
    s.back_off(s.computes.at(State::key(node.node.workspace, node.node.compute)));
    if (node.leases.empty())
        s.release_node(node);
    else
        s.set_deadline(node, s.clock.since_boot() + 5s);  // it may hold an attempt: keep trying
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
    const Span now = s.clock.since_boot();
    if (s.broken) {
        if (now < s.schedule_not_before) return;
        if (!s.recover()) return s.hold_back();
    }
    if (s.schedule_not_before <= now) s.schedule_not_before = Span{};
    while (!s.deadlines.empty() && s.deadlines.begin()->first <= now) {
        const NodeId id = s.deadlines.begin()->second;
        State::NodeEntry& node = s.nodes.at(id);
        s.set_deadline(node, Span{});
        s.check(node, now);
    }
    s.time_out_sweeps();
    s.end_turn();
}

std::optional<Span> Control::next_tick() const {
    if (state_->broken) return state_->schedule_not_before;
    std::optional<Span> next;
    const auto consider = [&](Span at) {
        if (!next || at < *next) next = at;
    };
    if (!state_->deadlines.empty()) consider(state_->deadlines.begin()->first);
    if (!state_->in_flight && (state_->gathering.changed() ||
                               (state_->plan_wanted && state_->schedule_not_before == Span{})))
        consider(state_->commit_from());
    if (!state_->sweep_deadlines.empty()) consider(state_->sweep_deadlines.begin()->first);
    // While a commit is under way nothing is planned; its end does that. Nor before the next one
    // may begin.
    if (state_->plan_at && !state_->in_flight)
        consider(std::max({*state_->plan_at, state_->schedule_not_before, state_->commit_from()}));
    if (state_->schedule_not_before != Span{}) consider(state_->schedule_not_before);
    return next;
}

}  // namespace turnout
