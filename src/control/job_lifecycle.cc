// The life of a job: Queued, an attempt on one node or several, its phases, its end or the next
// attempt.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "control/owners.h"
#include "model/more_memory.h"
#include "protocol/secret_reference.h"

namespace turnout::control {

namespace ap = agent_protocol;

namespace {

std::vector<std::string> texts_of(const Json& list) {
    std::vector<std::string> texts;
    for (const Json& text : list.items()) texts.push_back(text.as_string());
    return texts;
}

// Where to begin to look for its ports.
std::uint32_t port_seed(std::string_view job_key, int attempt) {
    std::uint32_t hash = 2166136261u;
    for (const char c : job_key) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    return hash + static_cast<std::uint32_t>(attempt);
}

// A canceled attempt's message, without the word itself.
std::string what_is_missing(const std::string& message, bool first) {
    constexpr std::string_view kCanceled = "canceled; ";
    return message.starts_with(kCanceled) ? (first ? "" : "; ") + message.substr(kCanceled.size())
                                          : "";
}

}  // namespace

void LiveJobs::enqueue(JobEntry& job) {
    job.waits = true;
    if (job.is_child()) owners.groups.child_waits(job, true);
    owners.computes.book_waits(*job.compute);
    job.waits_from = job.compute->waits;
    job.compute->pool->scheduler.add_task(job.handle, job.compute->handle, demand_of(job));
    owners.plan.changed(*job.compute);
}

void LiveJobs::dequeue(JobEntry& job) {
    if (!std::exchange(job.waits, false)) return;
    if (job.is_child()) owners.groups.child_waits(job, false);
    job.compute->pool->scheduler.remove_task(job.handle);
    owners.plan.changed(*job.compute);
}

void LiveJobs::give(JobEntry& job, const std::vector<Handle>& to) {
    job.waits = false;
    if (job.is_child()) owners.groups.child_waits(job, false);
    owners.computes.book_waits(*job.compute);
    JobAttempt attempt;
    attempt.number = ++job.state.last_attempt;
    if (job.ports > 0)
        attempt.master_port =
            ports_.take(job.ports, port_seed(*job.key, attempt.number), settings.port_is_free);
    attempt.leased = clock.now();
    attempt.price = job.compute->price.value_or(0);
    attempt.waited_quota = job.compute->waits.quota - job.waits_from.quota;
    attempt.waited_node_start = job.compute->waits.node_start - job.waits_from.node_start;
    if (job.compute->compute.instances) {  // which node started for it is known
        const Node& own = owners.nodes.by_handle.at(to.front())->node;
        const Span all = attempt.waited_quota + attempt.waited_node_start;
        attempt.waited_node_start = std::clamp(clock.now() - own.created, Span{}, all);
        attempt.waited_quota = all - attempt.waited_node_start;
    }
    bool at_once = true;
    OnNodes on;
    for (const Handle handle : to) {
        NodeEntry& node = *owners.nodes.by_handle.at(handle);
        on.names.push_back(node.node.name);
        if (node.leases.size() >= static_cast<std::size_t>(job.compute->compute.jobs_per_node))
            at_once = false;
    }
    attempt.placement = std::move(on);
    const int number = attempt.number;
    job.state.attempts.push_back(std::move(attempt));
    // One that waits in a node's backlog has no slot yet.
    job.state.status = at_once ? JobStatus::Preparing : JobStatus::Queued;
    turns.gathering.states.insert(*job.key);
    owners.events.of_job(job, "leased");
    for (std::size_t rank = 0; rank < to.size(); ++rank) {
        NodeEntry& node = *owners.nodes.by_handle.at(to[rank]);
        node.leases.push_back({&job, number, static_cast<int>(rank)});
        node.retires = job.compute->compute.instances.has_value();  // it is for this one alone
        send_lease(node, node.leases.back());
    }
}

// What the node needs to know of a lease: to run it, or that it is to stop.
void LiveJobs::send_lease(NodeEntry& node, const Lease& lease) {
    const ap::AttemptId attempt{node.node.workspace, std::string(lease.job->name()), lease.attempt};
    const NodeId id = node.node.id();
    if (lease.job->state.cancel_requested)
        return send(id, ap::Cancel{attempt, ap::Cause::Canceled, settings.cancel_grace});
    if (lease.job->state.attempts.back().ending)
        return send(id, ap::Cancel{attempt, ap::Cause::Canceled, Span{}});
    turns.effect([this, id, attempt] {
        // While this was on its way to the disk the node may have said Hello anew, and have lost
        // it.
        const auto now = owners.nodes.by_id.find(id);
        const Lease* held = now == owners.nodes.by_id.end() ? nullptr : now->second.find(attempt);
        if (!held || held->job->state.cancel_requested) return;
        if (!now->second.welcomed)
            return;  // it said Hello anew: it is given its leases after the Welcome
        NodeEntry& to = now->second;
        JobEntry& job = *held->job;
        if (to.compute->pool->pool.image == ImagePolicy::Engine && !has_its_image(to, *held))
            return;
        if (job.replica && to.node.protocol < ap::kServicesSince)
            return refuse_old_agent(to, *held, "services");
        std::uint64_t& sent = to.bases[job.base->number];  // 0: never
        if (sent == 0 || to.bases_sent - sent >= ap::kBasesKept) {
            Result<std::optional<Record>> row =
                store.get(Table::TaskBase, row_key(job.base->workspace, job.base->hash));
            const bool absent = row && !*row,
                       too_large = row && *row && (*row)->value.size() > ap::kMaxJson - 1024;
            if (absent || too_large) {  // and always will be: the node is not to wait for it
                ap::Ending ending;
                ending.cause = absent ? ap::Cause::Internal : ap::Cause::Input;
                ending.exit_code = -1;
                ending.message = absent ? "the job's task is not in the store"
                                        : "the job's task is larger than what a node can be told";
                end_rank(to, *held, std::move(ending));
                return turns.end();
            }
            Result<Json> task =
                !row ? Result<Json>(Failure(row.error())) : parse_json((*row)->value);
            if (!task) {
                // It cannot be read just now: the node is asked to say Hello again, and is told
                // then.
                effects.disconnect(id);
                return;
            }
            sent = ++to.bases_sent;
            if (to.bases.size() > 2 * ap::kBasesKept)  // the node has forgotten half of them
                std::erase_if(to.bases, [&](const auto& one) {
                    return one.second == 0 || to.bases_sent - one.second >= ap::kBasesKept;
                });
            job.base->secrets = texts_of(task->at("secrets"));
            effects.send(id, ap::Base{job.base->hash, std::move(*task)});
        }
        Json own = Json::object();
        if (!job.own.empty())
            if (Result<Json> parsed = parse_json(job.own)) own = std::move(*parsed);
        ap::Lease lease_of_it{attempt, {}, job.base->hash, {}};
        const Json* named = own.find("secrets");
        if (const std::vector<std::string> names = named ? texts_of(*named) : job.base->secrets;
            !names.empty()) {
            if (to.node.protocol < ap::kSecretsSince) return refuse_old_agent(to, *held, "secrets");
            auto values = secrets_of(job, attempt, names);
            // What runs has them, and what it was told once it is not told again.
            if (!values && !job.state.attempts.back().running) {
                effects.send(id, ap::Cancel{attempt, ap::Cause::Canceled, Span{}});
                ap::Ending ending;
                ending.cause =
                    values.error().code == Code::NotFound ? ap::Cause::Input : ap::Cause::Internal;
                ending.exit_code = -1;
                ending.message = "its secrets cannot be given to it: " + values.error().message;
                end_rank(to, *held, std::move(ending));
                return turns.end();
            }
            if (values) lease_of_it.secrets = std::move(*values);
        }
        if (settings.run_token) own.set("run_token", settings.run_token(attempt).reveal());
        if (job.nodes > 1) own.set("rank", held->rank);
        if (const int port = job.state.attempts.back().master_port) {
            own.set("master_address",
                    owners.nodes.meeting_address(*job.compute, job.state.attempts.back().nodes()));
            own.set("master_port", port);
        }
        if (attempt.attempt > 1) own.set("prefill_outputs", true);
        lease_of_it.task = std::move(own);
        effects.send(id, std::move(lease_of_it));
    });
}

// A container has one image: what is first on a node says which, and what comes behind it is told
// when its turn has come. False: the node does not have it, or not yet.
bool LiveJobs::has_its_image(NodeEntry& node, const Lease& lease) {
    const Pool& pool = node.compute->pool->pool;
    if (node.node.provider != pool.provider) {  // it is from before the pool was another one
        refuse_node(node, lease,
                    node.node.name + " is a node of provider '" + node.node.provider +
                        "', and its pool has '" + pool.provider + "' now: it is let go");
        return false;
    }
    if (node.leases.front().job != lease.job) return false;
    TaskBase& base = *lease.job->base;
    const NodeId id = node.node.id();
    if (!base.image) {
        const Result<std::optional<Record>> row =
            store.get(Table::TaskBase, row_key(base.workspace, base.hash));
        const Result<Json> task =
            row && *row ? parse_json((*row)->value) : Result<Json>(internal("no row"));
        if (!row ||
            (*row && !task)) {  // it cannot be read just now: it is asked to say Hello again
            effects.disconnect(id);
            return false;
        }
        if (!task) return true;  // whoever sends it says that it is not there
        base.image = task->at("environment").at("image").as_string();
    }
    if (node.node.image == *base.image && node.node.facts.image == *base.image) return true;
    if (node.node.image != *base.image) {
        node.node.image = *base.image;
        turns.gathering.nodes.insert(id);
    }
    owners.nodes.ask_again(id);
    turns.end();
    return false;
}

// An agent of an earlier build would run it without what it needs. It is as if it had not been
// given, and the node is given nothing more: it would come there again.
void LiveJobs::refuse_old_agent(NodeEntry& node, const Lease& lease, std::string_view unknown) {
    refuse_node(node, lease,
                node.node.name + " has an agent of an earlier build, which knows no " +
                    std::string(unknown) + ": it is let go");
}

void LiveJobs::refuse_node(NodeEntry& node, const Lease& lease, std::string why) {
    ap::Ending ending;
    ending.cause = ap::Cause::Preempted;
    ending.exit_code = -1;
    ending.message = std::move(why);
    end_rank(node, lease, std::move(ending));
    owners.nodes.retire(node);
    turns.end();
}

Result<std::vector<ap::SecretValue>> LiveJobs::secrets_of(const JobEntry& job,
                                                          const ap::AttemptId& attempt,
                                                          std::vector<std::string> names) const {
    std::vector<ap::SecretValue> own;
    if (job.replica && settings.service_key && std::erase(names, ap::kServiceKey) > 0)
        own.push_back({std::string(ap::kServiceKey), settings.service_key(attempt)});
    if (names.empty()) return own;
    if (!settings.secrets) return not_found("this server keeps no secrets");
    auto values = settings.secrets(std::string(job.workspace()), names);
    if (values) values->insert(values->end(), own.begin(), own.end());
    return values;
}

// To every node of its attempt that has not ended.
void LiveJobs::tell_stop(const JobEntry& job, ap::Cause cause, Span grace, bool only_if_waiting) {
    if (!job.state.placed()) return;
    const JobAttempt& attempt = job.state.attempts.back();
    for (std::size_t rank = 0; rank < attempt.nodes().size(); ++rank) {
        if (std::find(attempt.ended_ranks.begin(), attempt.ended_ranks.end(),
                      static_cast<int>(rank)) != attempt.ended_ranks.end())
            continue;
        ap::Cancel cancel{
            {std::string(job.workspace()), std::string(job.name()), attempt.number}, cause, grace};
        cancel.only_if_waiting = only_if_waiting;
        const NodeId id = job.compute->key() + "/" + attempt.nodes()[rank];
        if (const auto node = owners.nodes.by_id.find(id);
            node != owners.nodes.by_id.end() && !only_if_waiting)
            if (Lease* const lease = node->second.find(cancel.id))
                owners.nodes.expect_end(node->second, *lease, grace);
        send(id, std::move(cancel));
    }
}

void LiveJobs::preempt(JobEntry& job, std::string_view why) {
    if (std::exchange(job.state.attempts.back().preempting, true)) return;
    turns.gathering.states.insert(*job.key);
    owners.events.of_job(job, "preempting", why);
    tell_stop(job, ap::Cause::Preempted, settings.preemption_grace);
    if (job.replica) owners.services.changed(job);
}

void LiveJobs::request_cancel(JobEntry& job, const std::string& why) {
    if (job.state.cancel_requested || is_terminal(job.state.status)) return;
    job.state.cancel_requested = true;
    if (!why.empty()) job.state.error_message = why;
    turns.gathering.states.insert(*job.key);
    if (kind_of(job.type).group) {
        job.state.status = JobStatus::CancelRequested;
        owners.events.of_job(job, "canceling");
        return owners.groups.cancel(*job.group, why);
    }
    if (!job.state.placed()) {
        dequeue(job);
        return end(job, JobStatus::Canceled, ap::Cause::Canceled, job.state.error_message,
                   clock.now());
    }
    job.state.status = JobStatus::CancelRequested;
    owners.events.of_job(job, "canceling");
    tell_stop(job, ap::Cause::Canceled, settings.cancel_grace);
    if (job.replica) owners.services.changed(job);
}

void LiveJobs::phase_reported(NodeEntry& node, const ap::PhaseReport& report) {
    Lease* lease = node.find(report.id);
    if (!lease)
        return;  // of an attempt that is not this node's any more: its EndReport will be answered
    lease->begun = true;
    if (lease->stop_by != Span{} && report.phase == ap::Phase::Finalizing)
        lease->stop_by = std::min(
            lease->stop_last, std::max(lease->stop_by, clock.since_boot() + settings.stop_margin));
    if (lease->rank != 0) return;  // another one speaks for the job
    JobEntry& job = *lease->job;
    JobAttempt& attempt = job.state.attempts.back();
    const Instant now = clock.now();
    bool changed = attempt.detail != report.detail;
    attempt.detail = report.detail;
    JobStatus status = job.state.status;
    const auto reached = [&](std::optional<Instant>& at, Instant when) {
        if (at) return;
        at = std::max(when, attempt.leased);
        changed = true;
    };
    // What passes quickly is reported late or not at all: its instants follow from the node's
    // durations.
    const ap::Durations& spent = report.durations;
    std::string_view what;
    switch (report.phase) {
        case ap::Phase::Ended:  // the EndReport carries it
        case ap::Phase::Finalizing:
            reached(attempt.finalizing, now - spent.outputs);
            if (spent.user_code > Span{})
                reached(attempt.running, now - spent.outputs - spent.user_code);
            reached(attempt.preparing, now - spent.outputs - spent.user_code - spent.before());
            status = JobStatus::Finalizing;
            what = "finalizing";
            break;
        case ap::Phase::Running:
        case ap::Phase::Ready:
            reached(attempt.running, now - report.running_for);
            reached(attempt.preparing, *attempt.running - spent.before());
            status = JobStatus::Running;
            what = "running";
            break;
        case ap::Phase::Preparing:
            reached(attempt.preparing, now - spent.before());
            status = JobStatus::Preparing;
            what = "preparing";
            break;
    }
    if (attempt.running && !job.state.started) {
        job.state.started = attempt.running;
        if (job.is_child()) owners.groups.child_began(job);
    }
    if (!job.state.cancel_requested && status != job.state.status) {
        job.state.status = status;
        changed = true;
        owners.events.of_job(job, what);
    }
    if (changed) turns.gathering.states.insert(*job.key);
    if (job.replica) owners.services.said(job, report.phase);
}

void LiveJobs::end_reported(NodeEntry& node, const ap::EndReport& report) {
    if (const Lease* lease = node.find(report.id)) {
        ap::Ending ending = report.ending;
        if (ending.cause == ap::Cause::OutOfMemory)
            if (const std::string more = more_memory(node, *lease->job); !more.empty())
                ending.message += "; " + more;
        end_rank(node, *lease, std::move(ending));
    }
    send(node.node.id(),
         ap::EndAck{report.id});  // leaves after the commit: only then may the node forget it
}

std::string LiveJobs::more_memory(const NodeEntry& node, const JobEntry& job) {
    if (const auto& asked = job.compute->compute.instances)
        return "its container had " + gigabyte_words(asked->memory_gb) +
               ": ask for more by resources.properties.container_instance.memory_gb";
    std::string size;
    if (!job.compute->compute.implicit)
        size = job.compute->compute.vm_size;
    else  // the pool's own nodes have the size that the job asks for
        if (const Result<std::optional<JobRecord>> record = find_record(*job.key);
            record && *record)
            size = (*record)->definition.at("resources").at("instanceType").as_string();
    std::vector<std::pair<std::string, std::string>> others;
    for (const auto& [name, compute] : owners.computes.by_key)
        if (compute.compute.workspace == job.workspace() && !compute.compute.implicit &&
            !compute.compute.deleting)
            others.emplace_back(compute.compute.name, compute.compute.vm_size);
    return more_memory_words(size, node.node.facts.usable_memory(), others);
}

void LiveJobs::end_rank(NodeEntry& node, Lease lease, ap::Ending ending) {
    JobEntry& job = *lease.job;
    JobAttempt& attempt = job.state.attempts.back();
    const Span now = clock.since_boot();
    std::erase_if(node.leases, [&](const Lease& one) { return one.job == lease.job; });
    // While its command ran it had the node; before, it may only have waited there for its turn.
    std::optional<Span> ran;
    if (ending.exit_code != -1 || ending.durations.user_code > Span{})
        ran = ending.durations.user_code;
    job.compute->pool->scheduler.left(job.handle, node.handle, now, ran);
    owners.plan.changed(*job.compute);
    if (node.retires && node.leases.empty()) owners.nodes.release(node);
    if (!node.leases.empty() && node.compute->pool->pool.image == ImagePolicy::Engine)
        send_lease(node, node.leases.front());  // its turn has come
    if (attempt.nodes().size() == 1) return end_attempt(job, std::move(ending));

    attempt.ended_ranks.push_back(lease.rank);
    turns.gathering.states.insert(*job.key);
    const bool bad = ending.cause != ap::Cause::None;
    const bool first_bad = bad && !(attempt.ending && attempt.ending->cause != ap::Cause::None);
    if (first_bad) {
        if (!ending.message.empty()) ending.message = node.node.name + ": " + ending.message;
        attempt.ending = ending;
    }
    if (attempt.ended_ranks.size() == attempt.nodes().size()) {
        // Of several good ends the last one's times stand for all.
        ap::Ending last = attempt.ending ? std::move(*attempt.ending) : std::move(ending);
        return end_attempt(job, std::move(last));
    }
    if (!first_bad || job.state.preempting())
        return;  // all of them were told, and have their grace
    // One that fails ends the job: the others would wait for it.
    if (ending.cause == ap::Cause::Preempted)
        preempt(job, ending.message);
    else
        tell_stop(job, ap::Cause::Canceled,
                  job.state.cancel_requested ? settings.cancel_grace : Span(5s));
}

void LiveJobs::end_attempt(JobEntry& job, ap::Ending ending) {
    JobAttempt& attempt = job.state.attempts.back();
    const Instant now = clock.now();
    attempt.ended = now;
    attempt.detail.clear();
    if (const int port = std::exchange(attempt.master_port, 0)) ports_.give_back(port);
    // What is left of the time between the lease and now was the way of its end to us: it counts as
    // outputs, which it waited for.
    if (const ap::Durations& spent = ending.durations; spent.user_code > Span{}) {
        attempt.preparing = attempt.preparing.value_or(attempt.leased);
        if (!attempt.running)
            attempt.running =
                std::max(attempt.leased, std::min(*attempt.preparing + spent.before(),
                                                  now - spent.outputs - spent.user_code));
        if (!job.state.started) job.state.started = attempt.running;
        if (!attempt.finalizing)
            attempt.finalizing =
                std::max(*attempt.running,
                         std::min(*attempt.running + spent.user_code, now - spent.outputs));
    }
    const ap::Cause cause = ending.cause;
    const std::string message = ending.message;
    // Of several nodes one may have begun without a word of it.
    // And of one: a node whose supervisor died at the start knows that it prepared the command, not
    // whether that ran.
    const bool never_began = attempt.nodes().size() == 1 && !attempt.running &&
                             !attempt.preparing &&
                             ending.durations.before() == ending.durations.waiting;
    attempt.ending = std::move(ending);
    turns.gathering.states.insert(*job.key);

    if (!(cause == ap::Cause::Preempted && never_began)) owners.ledger.book_attempt(job, attempt);
    const bool canceled = job.state.cancel_requested;
    switch (cause) {
        case ap::Cause::None:
            if (Services::has_to_stay(job))
                return canceled
                           ? end(job, JobStatus::Canceled, ap::Cause::Canceled,
                                 job.state.error_message, now)
                           : end(job, JobStatus::Failed, ap::Cause::UserCode,
                                 "its command ended with exit code 0, and it is to stay up", now);
            return end(job, JobStatus::Completed, cause, message, now);  // what is missing
        case ap::Cause::Canceled:
            return end(
                job, JobStatus::Canceled, cause,
                job.state.error_message + what_is_missing(message, job.state.error_message.empty()),
                now);
        case ap::Cause::UserCode:
        case ap::Cause::OutOfMemory:
        case ap::Cause::TooManyProcesses:
        case ap::Cause::Timeout:
        case ap::Cause::Environment:
        case ap::Cause::Input:
            if (canceled)  // it was told to stop: how it ended is its own matter
                return end(job, JobStatus::Canceled, ap::Cause::Canceled, job.state.error_message,
                           now);
            return end(job, JobStatus::Failed, cause, message, now);
        case ap::Cause::Preempted:
        case ap::Cause::NodeLost:
        case ap::Cause::Internal: break;
    }
    // Not the user's fault: again, within the limit.
    if (canceled)
        return end(job, JobStatus::Canceled, ap::Cause::Canceled, job.state.error_message, now);
    int failures = 0;
    for (const JobAttempt& one : job.state.attempts)
        if (one.ending && one.ending->cause != ap::Cause::Preempted) ++failures;
    if (failures >= settings.max_attempts)
        return end(job, JobStatus::Failed, cause,
                   message + " (" + std::to_string(failures) + " attempts)", now);
    job.state.status = JobStatus::Queued;
    owners.events.of_job(job, "queued", message);
    // It was only taken out of a node's backlog: as if it had never been given, but for its number,
    // which the node remembers.
    if (cause == ap::Cause::Preempted && never_began) job.state.attempts.pop_back();
    fold_attempts(job.state);
    enqueue(job);
    if (job.replica) owners.services.changed(job);  // another one may have been made meanwhile
}

void LiveJobs::end(JobEntry& job, JobStatus status, ap::Cause cause, std::string message,
                   Instant at) {
    TURNOUT_CHECK(!is_terminal(job.state.status), "a job ends once: " + *job.key);
    job.state.status = status;
    job.state.cause = cause;
    job.state.error_message = std::move(message);
    job.state.ended = std::max(at, Instant{job.created});  // the wall clock may have been set back
    turns.gathering.states.insert(*job.key);
    owners.plan.touched.insert(job.compute);
    owners.events.of_job(job, "ended", job.state.error_message);
    --job.compute->live_jobs;
    owners.ledger.book_job(job);
    owners.plan.wanted = true;
    turns.effect([this, workspace = std::string(job.workspace()), name = std::string(job.name())] {
        effects.job_ended(workspace, name);
    });
    if (status == JobStatus::Completed && job.registers) {
        turns.gathering.together.push_back({Table::Registration, *job.key, "{}"});
        turns.effect([this, workspace = std::string(job.workspace()),
                      name = std::string(job.name())] { effects.to_register(workspace, name); });
    }
    if (job.is_child()) owners.groups.child_over(job);
    if (job.replica) owners.services.over(job);
}

}  // namespace turnout::control
