// Which jobs live, and what is asked of them by name.
#include "control/live_jobs.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "control/owners.h"
#include "model/endpoint.h"

namespace turnout::control {

namespace ap = agent_protocol;

namespace {

std::string name_in_key(const std::string& job_key) {
    return job_key.substr(job_key.find('/') + 1);
}

Error no_such_job(const std::string& job_key) {
    const std::string name = name_in_key(job_key);
    return not_found("job '" + name + "' does not exist", name).error();
}

std::string created_key(std::string_view workspace, std::string_view name, Instant created) {
    return std::string(workspace) + "/" +
           hex16_descending(static_cast<std::uint64_t>(created.micros)) + "/" + std::string(name);
}

// The one place where a job becomes a record: one that was submitted, and a group's child. Its
// task comes when it is known (set_task).
JobRecord record_of(JobSubmission& job, ChildOf child, Instant now) {
    JobRecord record;
    record.workspace = job.workspace;
    record.name = job.name;
    record.type = job.type;
    record.definition = std::move(job.definition);
    record.plan = std::move(job.plan);
    record.meta = std::move(job.meta);
    record.compute = std::move(job.compute);
    record.principal = std::move(job.principal);
    record.created = job.created.micros != 0 ? job.created : now;
    record.priority = job.priority;
    record.child = std::move(child);
    return record;
}

void set_task(JobRecord& record, const ap::TaskSpec& task, const SplitTask& split) {
    record.environment = task.environment.name;
    record.notices = task.environment.notices;
    record.node_count = task.node_count;
    record.ports = ap::ports_needed(task);
    record.task_base = split.hash;
    record.task_own = split.own;
}

}  // namespace

void LiveJobs::submit(JobSubmission job, Control::Reply<Put> reply) {
    const std::string job_key = row_key(job.workspace, job.name);
    Result<std::optional<JobRecord>> known = find_record(job_key);
    if (!known) return reply(Failure(known.error()));
    if (*known && !(*known)->definition.equal_unordered(job.definition)) {
        turns.reply<Put>(
            std::move(reply),
            fail(Code::Conflict, "Conflict",
                 "job '" + job.name + "' exists with another definition; choose another name",
                 "name"));
        return;
    }
    if (*known) {
        JobMetaChange again{job.meta.display_name,
                            job.meta.experiment,
                            job.meta.description,
                            job.meta.archived,
                            true,
                            std::move(job.meta.tags),
                            std::move(job.meta.properties),
                            job.principal};
        change_meta(job_key, std::move(**known), again, std::move(reply));
        return;
    }

    if (job.compute == "serverless") owners.computes.serverless(job.workspace);
    if (job.instance)
        job.compute = owners.computes.of_instances(job.workspace, *job.instance).compute.name;
    const auto compute = owners.computes.by_key.find(row_key(job.workspace, job.compute));
    if (compute == owners.computes.by_key.end() || compute->second.compute.deleting) {
        turns.reply<Put>(std::move(reply), fail(Code::FailedPrecondition, "ComputeNotFound",
                                                "compute '" + job.compute + "' does not exist" +
                                                    (compute == owners.computes.by_key.end()
                                                         ? ""
                                                         : " any more: it is being deleted"),
                                                "computeId"));
        return;
    }

    // What a group makes later waits too, and is not refused.
    if (const Result<void> room = owners.quotas.check_queue(job.principal, job.workspace); !room)
        return turns.reply<Put>(std::move(reply), Failure(room.error()));

    const KindRow& kind = owners.kinds.of(job.type);
    Result<std::unique_ptr<GroupPlan>> plan = kind.plan
                                                  ? kind.plan({job.definition, job.plan}, job.name)
                                                  : Result<std::unique_ptr<GroupPlan>>();
    const std::int64_t children = plan && *plan ? (*plan)->limits().max_total : 0;
    if (const Result<void> named = owners.groups.check_names(job, children); !named) {
        turns.reply<Put>(std::move(reply), Failure(named.error()));
        return;
    }
    const std::string experiment = job.task.mlflow_experiment_id;
    SplitTask task = kind.split(job.task, job.name);
    JobRecord record = record_of(job, {}, clock.now());
    set_task(record, job.task, task);
    if (job.plan.is_null()) compute->second.image = job.task.environment.image;
    JobEntry& entry = begin(record, facts_of(record, job.task.timeout), std::move(job.together));
    entry.base->image = job.task.environment.image;
    owners.bases.store_once(*entry.base, std::move(task.base));
    if (!kind.plan)
        enqueue(entry);
    else if (plan)
        owners.groups.add(entry, record, std::move(*plan), experiment);
    else
        end(entry, JobStatus::Failed, ap::Cause::Input, plan.error().message, record.created);
    turns.reply<Put>(std::move(reply), Put::Created);
}

JobEntry& LiveJobs::begin(const JobRecord& record, JobFacts facts, std::vector<Write> together,
                          JobState state) {
    const std::string job_key = row_key(record.workspace, record.name);
    turns.gathering.definitions[job_key] = definition_json(record).dump();
    turns.gathering.new_jobs[job_key] = to_json(facts).dump();
    drop(job_key);  // an ended one of that name that was deleted in this turn
    JobEntry& entry = add(job_key, std::move(facts), std::move(state));
    for (Write& write : together) turns.gathering.together.push_back(std::move(write));
    owners.events.of_job(entry, "submitted");
    return entry;
}

JobEntry& LiveJobs::add_child(JobSubmission job, ChildOf of, JobFacts derived) {
    const JobRecord record = record_of(job, std::move(of), clock.now());
    if (record.derived()) {
        JobEntry& entry = begin(record, std::move(derived), std::move(job.together));
        enqueue(entry);
        return entry;
    }
    JobState waits;
    waits.status = JobStatus::NotStarted;
    JobEntry& entry =
        begin(record, facts_of(record, Span{}), std::move(job.together), std::move(waits));
    turns.gathering.states.insert(*entry.key);
    return entry;
}

// A task that became known: the job waits for a node from now on.
void LiveJobs::resolve(const std::string& job_key, const Control::TaskOf& task_of,
                       Control::Reply<Put> reply) {
    Result<std::optional<JobRecord>> known = find_record(job_key);
    if (!known) return reply(Failure(known.error()));
    if (!*known) return turns.reply<Put>(std::move(reply), Failure(no_such_job(job_key)));
    const auto found = by_key.find(job_key);
    if (found == by_key.end() || found->second.base || is_terminal(found->second.state.status))
        return turns.reply<Put>(std::move(reply), Put::Unchanged);
    JobEntry& job = found->second;
    JobRecord& record = **known;
    const Result<Control::KnownTask> known_task = task_of(record);
    if (!known_task) {
        end(job, JobStatus::Failed, ap::Cause::Input, known_task.error().message, clock.now());
        return turns.reply<Put>(std::move(reply), Put::Updated);
    }
    const ap::TaskSpec& task = known_task->task;
    SplitTask split = owners.kinds.of(record.type).split(task, record.name);
    set_task(record, task, split);
    record.recipe = known_task->recipe;
    if (!record.recipe.is_null())
        for (std::string& key : step_run_keys(record))
            turns.gathering.together.push_back({Table::StepRun, std::move(key), "1"});
    const JobFacts facts = facts_of(record, task.timeout);
    turns.gathering.definitions[job_key] = definition_json(record).dump();
    turns.gathering.new_jobs[job_key] = to_json(facts).dump();
    job.base = &owners.bases.take(record.workspace, facts.base);
    owners.bases.store_once(*job.base, std::move(split.base));
    if (!known_task->reused_from.empty()) {
        job.state.reused_from = known_task->reused_from;
        end(job, JobStatus::Completed, ap::Cause::None,
            "not run: the outputs of " + known_task->reused_from + " are used again", clock.now());
        return turns.reply<Put>(std::move(reply), Put::Updated);
    }
    job.base->image = job.compute->image = task.environment.image;
    if (!facts.own.members().empty()) job.own = facts.own.dump();
    job.nodes = facts.nodes;
    job.lasts = static_cast<std::uint32_t>(facts.lasts.count());
    job.ports = facts.ports;
    job.state.status = JobStatus::Queued;
    turns.gathering.states.insert(job_key);
    owners.events.of_job(job, "queued");
    enqueue(job);
    turns.reply<Put>(std::move(reply), Put::Updated);
}

JobEntry& LiveJobs::add_replica(JobSubmission job) {
    SplitTask task = base_of_children(job.task, "");  // all of a revision have one
    JobRecord record = record_of(job, {}, clock.now());
    set_task(record, job.task, task);
    JobFacts facts = facts_of(record, Span{});
    facts.stays = true;
    JobEntry& entry = begin(record, std::move(facts), {});
    owners.bases.store_once(*entry.base, std::move(task.base));
    enqueue(entry);
    return entry;
}

void LiveJobs::change_meta(const std::string& job_key, JobRecord job, const JobMetaChange& change,
                           Control::Reply<Put> reply_to) {
    Result<JobMeta> meta = changed(job.meta, job.type, change);
    if (!meta) return turns.reply<Put>(std::move(reply_to), Failure(meta.error()));
    if (*meta == job.meta) return turns.reply<Put>(std::move(reply_to), Put::Unchanged);
    job.meta = std::move(*meta);
    turns.gathering.definitions[job_key] = definition_json(job).dump();
    turns.reply<Put>(std::move(reply_to), Put::Updated);
}

void LiveJobs::update(const std::string& job_key, const JobMetaChange& change,
                      Control::Reply<Put> reply) {
    Result<std::optional<JobRecord>> known = find_record(job_key);
    if (!known) return reply(Failure(known.error()));
    if (*known)
        change_meta(job_key, std::move(**known), change, std::move(reply));
    else
        turns.reply<Put>(std::move(reply), Failure(no_such_job(job_key)));
}

void LiveJobs::cancel(const std::string& job_key, Control::Reply<void> reply) {
    if (const auto live = by_key.find(job_key); live != by_key.end()) {
        request_cancel(live->second);
        turns.reply<void>(std::move(reply), Result<void>{});
        return;
    }
    const Result<std::optional<JobRecord>> known =
        find_record(job_key);  // it has ended, or never was
    if (!known) return reply(Failure(known.error()));
    turns.reply<void>(std::move(reply),
                      *known ? Result<void>{} : Result<void>(Failure(no_such_job(job_key))));
}

void LiveJobs::preempt(const std::string& job_key, Control::Reply<void> reply) {
    const auto live = by_key.find(job_key);
    if (live == by_key.end() || !live->second.state.placed() ||
        live->second.state.cancel_requested) {
        turns.reply<void>(
            std::move(reply),
            fail(Code::FailedPrecondition, "JobNotOnNode",
                 "job '" + name_in_key(job_key) +
                     "' is on no node just now: there is nothing to take away from it",
                 name_in_key(job_key)));
        return;
    }
    preempt(live->second, "asked for by a person");
    turns.reply<void>(std::move(reply), Result<void>{});
}

void LiveJobs::remove(const std::string& job_key, Control::Reply<void> reply) {
    const Result<std::optional<JobRecord>> known = find_record(job_key);
    if (!known) return reply(Failure(known.error()));
    if (!*known) {
        turns.reply<void>(std::move(reply), Failure(no_such_job(job_key)));
    } else if (!is_terminal((*known)->status)) {
        turns.reply<void>(
            std::move(reply),
            fail(Code::FailedPrecondition, "JobNotEnded",
                 "job '" + (*known)->name + "' has not ended; cancel it first", (*known)->name));
    } else {
        turns.gathering.erased_jobs[job_key].insert(
            created_key((*known)->workspace, (*known)->name, (*known)->created));
        if (kind_of((*known)->type).group) owners.ledger.forget_group(**known);
        if (!(*known)->recipe.is_null())
            for (std::string& key : step_run_keys(**known))
                turns.gathering.together.push_back({Table::StepRun, std::move(key), std::nullopt});
        drop(job_key);
        turns.gathering.states.erase(job_key);
        turns.gathering.new_jobs.erase(job_key);
        turns.gathering.definitions.erase(job_key);
        turns.reply<void>(std::move(reply), Result<void>{});
    }
}

Result<std::optional<JobRecord>> LiveJobs::find_record(const std::string& job_key) {
    const auto live = by_key.find(job_key);
    const auto with_state = [&](JobRecord record) {
        if (live != by_key.end()) static_cast<JobState&>(record) = live->second.state;
        return record;
    };
    for (const Turn* turn : turns.open()) {
        if (!turn) continue;
        if (const auto row = turn->definitions.find(job_key); row != turn->definitions.end()) {
            const Json json = TURNOUT_TRY(parse_json(row->second));
            JobRecord record = TURNOUT_TRY(job_from_json(json));
            if (record.derived())
                if (const auto sweep =
                        TURNOUT_TRY(find_record(row_key(record.workspace, record.child.group))))
                    join_trial(record, *sweep);
            if (live == by_key.end()) {  // an ended one whose tags just changed
                const std::optional<Record> state =
                    TURNOUT_TRY(store.get(Table::JobState, job_key));
                if (state) {
                    const Json document = TURNOUT_TRY(parse_json(state->value));
                    static_cast<JobState&>(record) = TURNOUT_TRY(job_state_from_json(document));
                }
            }
            return std::optional(with_state(std::move(record)));
        }
        if (turn->erased_jobs.contains(job_key))
            return std::optional<JobRecord>();  // the store still has it
    }
    const std::optional<Record> row = TURNOUT_TRY(store.get(Table::Job, job_key));
    if (!row) return std::optional<JobRecord>();
    StoredJob stored = TURNOUT_TRY(join_job(store, *row));
    return std::optional(with_state(std::move(stored.record)));
}

// Into memory only: the caller puts it into the queue, or on its nodes.
JobEntry& LiveJobs::add(std::string job_key, JobFacts facts, JobState state) {
    const auto [place, inserted] = by_key.try_emplace(std::move(job_key));
    TURNOUT_CHECK(inserted, "a job is known once: " + place->first);
    JobEntry& job = place->second;
    job.key = &place->first;
    job.handle = owners.new_handle();
    by_handle[job.handle] = &job;
    job.state = std::move(state);
    const std::string workspace(job.workspace());
    ComputeState& compute = owners.computes.by_key[row_key(workspace, facts.compute)];
    job.compute = &compute;
    if (!is_terminal(job.state.status)) ++compute.live_jobs;
    if (!facts.base.empty()) job.base = &owners.bases.take(workspace, std::move(facts.base));
    if (!facts.own.members().empty()) job.own = facts.own.dump();
    if (!facts.group.empty())
        if (const auto sweep = owners.groups.by_key.find(row_key(workspace, facts.group));
            sweep != owners.groups.by_key.end()) {
            job.group = &sweep->second;
            sweep->second.live.emplace(facts.index, &job);
        }
    job.index = facts.index;
    job.created = facts.created.micros;
    Handle& sharer = sharers_[row_key(workspace, facts.sharer)];
    if (sharer == 0) {
        sharer = owners.new_handle();
        const std::size_t bar = facts.sharer.find('/');
        sharer_of_[sharer] = {facts.sharer.substr(bar + 1),
                              owners.quotas.of_user(facts.sharer.substr(0, bar))};
    }
    job.sharer = sharer;
    job.priority = facts.priority;
    job.stays = facts.stays;
    job.registers = facts.registers;
    job.lasts = static_cast<std::uint32_t>(facts.lasts.count());
    job.nodes = facts.nodes;
    job.ports = facts.ports;
    job.type = facts.type;
    return job;
}

void LiveJobs::drop(const std::string& job_key) {
    const auto found = by_key.find(job_key);
    if (found == by_key.end()) return;
    if (kind_of(found->second.type).group) owners.groups.drop(job_key);
    by_handle.erase(found->second.handle);
    TaskBase* const base = found->second.base;
    by_key.erase(found);
    if (base) owners.bases.give_back(*base);
}

schedule::Demand LiveJobs::demand_of(const JobEntry& job) const {
    schedule::Demand demand;
    demand.nodes = job.nodes;
    demand.priority = job.priority;
    demand.sharer = job.sharer;
    demand.account = sharer_of_.at(job.sharer).account;
    demand.order = job.handle;
    // Behind one that stays nothing would ever begin. Where all stay, as many as a node runs at a
    // time may share it; a compute instance has room for what stays up there and for a job.
    const Compute& at = job.compute->compute;
    const bool all_stay = is_inference_compute(at.name) && at.jobs_per_node > 1;
    demand.alone = (job.stays && !all_stay && !at.personal) || at.instances;
    demand.lasts = std::chrono::seconds(job.lasts);
    return demand;
}

std::vector<JobEntry*> LiveJobs::those(const std::function<bool(const JobEntry&)>& which) {
    std::vector<JobEntry*> found;
    for (auto& [job_key, job] : by_key)
        if (!is_terminal(job.state.status) && which(job)) found.push_back(&job);
    std::ranges::sort(found, {}, &JobEntry::handle);
    return found;
}

void LiveJobs::cancel_all(const std::function<bool(const JobEntry&)>& which,
                          const std::string& why) {
    for (JobEntry* const job : those(which)) request_cancel(*job, why);
}

void LiveJobs::give_up_waiting(const ComputeState& compute, const std::string& why) {
    for (JobEntry* const job :
         those([&](const JobEntry& one) { return one.compute == &compute && one.waits; })) {
        dequeue(*job);
        end(*job, JobStatus::Failed, ap::Cause::Environment, why, clock.now());
    }
}

// Every job that lives, in the order of submission.
Result<void> LiveJobs::recover() {
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
    // Groups first: their children have what they share from them, and they wait for no node
    // themselves.
    std::sort(live.begin(), live.end(), [](const Live& a, const Live& b) {
        const bool job_a = !kind_of(a.facts.type).group, job_b = !kind_of(b.facts.type).group;
        return std::tie(job_a, a.facts.created, a.facts.index, a.key) <
               std::tie(job_b, b.facts.created, b.facts.index, b.key);
    });
    by_key.reserve(live.size());
    std::vector<JobEntry*> placed;
    for (Live& one : live) {
        if (!one.facts.group.empty()) {
            const auto group = owners.groups.by_key.find(
                row_key(one.key.substr(0, one.key.find('/')), one.facts.group));
            if (group == owners.groups.by_key.end())
                return internal("stored job '" + one.key + "' without its group");
            if (one.facts.derived)
                one.facts =
                    Groups::derived_facts(group->second, one.facts.index, one.facts.created);
        }
        const std::string compute_key =
            row_key(one.key.substr(0, one.key.find('/')), one.facts.compute);
        if (!owners.computes.by_key.contains(compute_key))
            return internal("stored job '" + one.key + "' without its compute");
        JobEntry& job = add(std::move(one.key), std::move(one.facts), std::move(one.state));
        if (job.base) job.base->stored = true;
        if (kind_of(job.type).group) {
            TURNOUT_TRY(owners.groups.recover(job));
            continue;
        }
        if (job.state.placed())
            placed.push_back(&job);
        else if (job.base)  // else it waits for its task
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
        if (!std::holds_alternative<OnNodes>(attempt.placement))
            return internal("stored job '" + *job->key + "' is with " +
                            words_of(attempt.placement) + ", which this server does not know");
        if (attempt.master_port != 0) ports_.keep(attempt.master_port, job->ports);
        std::vector<Handle> on;
        for (std::size_t rank = 0; rank < attempt.nodes().size(); ++rank) {
            if (std::find(attempt.ended_ranks.begin(), attempt.ended_ranks.end(),
                          static_cast<int>(rank)) != attempt.ended_ranks.end())
                continue;
            const auto node =
                owners.nodes.by_id.find(job->compute->key() + "/" + attempt.nodes()[rank]);
            if (node == owners.nodes.by_id.end())
                return internal("stored job '" + *job->key + "' without its node");
            // Who of several nodes has reported is not stored.
            node->second.leases.push_back(
                {job, attempt.number, static_cast<int>(rank), attempt.preparing.has_value()});
            node->second.retires = job->compute->compute.instances.has_value();
            if (job->state.cancel_requested)
                owners.nodes.expect_end(node->second, node->second.leases.back(),
                                        settings.cancel_grace);
            else if (job->state.preempting())
                owners.nodes.expect_end(node->second, node->second.leases.back(),
                                        settings.preemption_grace);
            else if (attempt.ending)
                owners.nodes.expect_end(node->second, node->second.leases.back(), Span{});
            on.push_back(node->second.handle);
        }
        job->compute->pool->scheduler.restore_task(job->handle, job->compute->handle,
                                                   demand_of(*job), on);
    }
    return owners.groups.recover_metrics();
}

void LiveJobs::turn_is_durable(const Turn& turn) {
    for (const std::string& job_key : turn.states) {
        const auto found = by_key.find(job_key);
        if (found != by_key.end() && is_terminal(found->second.state.status) &&
            !turns.gathering.states.contains(job_key))
            drop(job_key);
    }
}

JobEntry* LiveJobs::find(const std::string& workspace, const std::string& name) {
    const auto found = by_key.find(row_key(workspace, name));
    return found == by_key.end() ? nullptr : &found->second;
}

const JobEntry* LiveJobs::find(const std::string& workspace, const std::string& name) const {
    const auto found = by_key.find(row_key(workspace, name));
    return found == by_key.end() ? nullptr : &found->second;
}

void LiveJobs::forget() {
    by_key.clear();
    by_handle.clear();
    sharers_.clear();
    sharer_of_.clear();
    ports_.clear();
}

void LiveJobs::write_rows(Turn& turn, Batch& batch) const {
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
    for (const auto& [job_key, row] : turn.definitions) batch.put(Table::Job, job_key, row);
    for (auto& [job_key, live] : turn.new_jobs) {
        const auto found = by_key.find(job_key);
        if (found == by_key.end()) continue;
        const JobEntry& job = found->second;
        batch.put(Table::JobLive, job_key, std::move(live));
        // Children are listed with their group only.
        if (!job.is_child())
            batch.put(Table::JobCreated,
                      created_key(job.workspace(), job.name(), Instant{job.created}),
                      std::string(job.group && job.group->plan->own_tasks() ? kOwnTasks : "") +
                          std::string(mark_of_base(job.base->hash)));
    }
    for (const std::string& job_key : turn.states) {
        const auto found = by_key.find(job_key);
        if (found == by_key.end()) continue;
        const JobEntry& job = found->second;
        std::string row = state_text(job.state);
        if (job.group) Groups::add_to_state(job, row);
        batch.put(Table::JobState, job_key, std::move(row));
        if (is_terminal(job.state.status)) batch.erase(Table::JobLive, job_key);
    }
}

}  // namespace turnout::control
