// What must hold of what leaves the server, and of the processes that nodes start and end.
#include <algorithm>

#include "agent/node_core.h"
#include "base/text.h"
#include "checker.h"
#include "checker_words.h"
#include "control/jobs.h"

namespace turnout::simulation {

namespace ap = agent_protocol;

void Checker::leaves(const MemoryStore::State& state, const NodeId& node_id,
                     const ap::ToAgent& message) {
    const std::string where = node_id.substr(node_id.rfind('/') + 1);
    if (std::holds_alternative<ap::Welcome>(message)) {
        // Hellos that the server took in while one commit was under way are answered one after the
        // other, all on the newest link: what the first answer brought, counts. (An agent that was
        // not told a base has its job never end, which is found as well.)
        Bases& bases = bases_[node_id];
        if (!bases.welcome || timeline_.now() - *bases.welcome > 1s) bases.sent.clear();
        bases.welcome = timeline_.now();
    } else if (const auto* base = std::get_if<ap::Base>(&message)) {
        auto& sent = bases_[node_id].sent;
        if (std::find(sent.begin(), sent.end(), base->hash) != sent.end())
            ++coverage_["base sent once more on a link"];
        sent.push_back(base->hash);
        if (sent.size() <= ap::kBasesKept) return;
        sent.pop_front();
        ++coverage_["more bases than a node keeps"];
    } else if (const auto* lease = std::get_if<ap::Lease>(&message)) {
        ++coverage_[lease->task.dump().find(kPlantedSecret) == std::string::npos
                        ? "lease without token"
                        : "lease with token"];
        const JobRecord* there = job(state, lease->id.job);
        const bool current = there && live(*there) && there->current()->number == lease->id.attempt;
        require(current,
                [&] { return "a lease of " + text(lease->id) + " left before it was durable"; });
        if (!current) return;
        const auto& nodes = there->current()->nodes();
        const auto place = std::find(nodes.begin(), nodes.end(), where);
        require(place != nodes.end(), [&] {
            return "a lease of " + text(lease->id) + " went to a node that does not have it";
        });
        require(lease->task.at("rank").as_int(0) == place - nodes.begin(),
                [&] { return "a lease of " + text(lease->id) + " has a wrong rank"; });
        require(!there->cancel_requested, [&] {
            return "a lease of " + text(lease->id) + " left although it is to be canceled";
        });
        const auto& sent = bases_[node_id].sent;
        require(
            lease->base.empty() || std::find(sent.begin(), sent.end(), lease->base) != sent.end(),
            [&] { return "a lease of " + text(lease->id) + " left before what it stands on"; });
    } else if (const auto* ack = std::get_if<ap::EndAck>(&message)) {
        const JobRecord* there = job(state, ack->id.job);
        if (!there || !there->current() || there->current()->number != ack->id.attempt) return;
        const JobAttempt& attempt = *there->current();
        const auto place = std::find(attempt.nodes().begin(), attempt.nodes().end(), where);
        require(attempt.ended || place == attempt.nodes().end() ||
                    has_ended(attempt, static_cast<std::size_t>(place - attempt.nodes().begin())),
                [&] {
                    return "the end of " + text(ack->id) + " on " + where +
                           " was acknowledged before it was durable";
                });
    } else if (const auto* cancel = std::get_if<ap::Cancel>(&message);
               cancel && cancel->cause == ap::Cause::Canceled) {
        const JobRecord* there = job(state, cancel->id.job);
        // Of an attempt of several nodes that failed: it may have ended everywhere in the same
        // turn.
        const bool over =
            there && there->current() &&
            (there->current()->ending || there->current()->number > cancel->id.attempt);
        require(!there || there->cancel_requested || over,
                [&] { return "a cancel of " + text(cancel->id) + " left before it was durable"; });
    }
}

void Checker::provisions(const MemoryStore::State& state, const NodeId& id) {
    require(node(state, id).has_value(),
            [&] { return "node " + id + " was requested before it was durable"; });
}
void Checker::releases(const MemoryStore::State& state, const NodeId& id) {
    const auto there = node(state, id);
    require(!there || there->state == NodeState::Leaving,
            [&] { return "node " + id + " was released before that was durable"; });
}

void Checker::acknowledged(const MemoryStore::State& state, const std::string& name) {
    require(job(state, name) || may_vanish_.contains(name),
            [&] { return "the submission of " + name + " was acknowledged and is not durable"; });
    acknowledged_.insert(name);
}

void Checker::cancel_acknowledged(const MemoryStore::State& state, const std::string& name) {
    const JobRecord* there = job(state, name);
    require(!there || there->cancel_requested || is_terminal(there->status),
            [&] { return "the wish to cancel " + name + " was acknowledged and is not durable"; });
}

// ---------------------------------------------------------------------------------------------
// Processes

// The server cut the task into what is shared and what is its own, and the node put it together.
void Checker::task_arrived(const AttemptId& id, const ap::TaskSpec& task) {
    ap::TaskSpec asked = scripts.at(id.job).task, got = task;
    if (asked.service) {  // its port is put in, and its name
        asked.master_port = got.master_port;
        asked = ap::expand_task(asked, Json::object(), id).value();
        asked.master_port = 0;
    }
    require(got.rank < asked.node_count && (ap::ports_needed(asked) > 0) == (got.master_port > 0),
            [&] { return "rank and master of " + text(id) + " cannot be"; });
    const auto meets_at = meetings_.try_emplace(id, got.master_port).first->second;
    require(meets_at == got.master_port, [&] {
        return "ranks of " + text(id) + " were told to meet at ports " + std::to_string(meets_at) +
               " and " + std::to_string(got.master_port);
    });
    require(got.run_token.reveal() == kPlantedSecret,
            [&] { return text(id) + " came to its node without its token"; });
    require(got.prefill_outputs == (id.attempt > 1),
            [&] { return text(id) + " does not know whether there was an attempt before it"; });
    got.rank = got.master_port = 0;
    got.master_address.clear();
    got.run_token = Secret();
    got.prefill_outputs = false;
    const std::string there = ap::to_json(got).dump();
    require(there == ap::to_json(asked).dump(), [&] {
        return "the task of " + text(id) + " is not the one that was submitted: " + there;
    });
}

void Checker::task_starts(const AttemptId& id, int rank, const NodeId& where) {
    ++coverage_[scripts.at(id.job).nodes > 1 ? "task of a gang started" : "task started"];
    require(starts_.emplace(Rank{id, rank}, where).second,
            [&] { return text(id, rank) + " was started twice"; });
    auto& others = running_[id.job];
    for (const auto& [other_rank, other] : others)
        require(other == id && other_rank != rank, [&] {
            return text(id, rank) + " was started on " + where + " while " +
                   text(other, other_rank) + " runs";
        });
    others.emplace(rank, id);
    started_[{id, rank}] = timeline_.now();

    auto& here = on_[where];
    const bool gang = scripts.at(id.job).nodes > 1 || is_replica(id.job) ||
                      scripts.at(id.job).instance.has_value();
    require(here.emplace(id.job, gang).second,
            [&] { return "two tasks of " + text(id) + " run on " + where; });
    require(
        here.size() == 1 ||
            std::none_of(here.begin(), here.end(), [](const auto& one) { return one.second; }),
        [&] {
            return text(id, rank) + " was started on " + where + " beside " +
                   (here.begin()->first == id.job ? here.rbegin()->first : here.begin()->first) +
                   ", and one of them has the node alone";
        });
    require(here.size() <= at_a_time(compute_of(where)),
            [&] { return std::to_string(here.size()) + " tasks run at a time on " + where; });
    if (here.size() > 1) ++coverage_["several tasks at a time on a node"];

    require(!scripts.at(id.job).reused,
            [&] { return text(id, rank) + " was started, and has its outputs already"; });
    if (!latest_) return;
    for (const std::string& before : scripts.at(id.job).after) {
        const JobRecord* step = job(*latest_, before);
        ++coverage_["step started after another"];
        require(step && step->status == JobStatus::Completed, [&] {
            return text(id, rank) + " was started, and " + before +
                   ", whose outputs it takes, has not completed";
        });
    }
    const JobRecord* there = job(*latest_, id.job);
    require(there && !is_terminal(there->status),
            [&] { return text(id, rank) + " was started although the job is over"; });
    if (!there) return;
    require(live(*there) && there->current()->number == id.attempt,
            [&] { return text(id, rank) + " was started, and is not the job's attempt"; });
    if (!live(*there)) return;
    const auto& nodes = there->current()->nodes();
    require(
        static_cast<std::size_t>(rank) < nodes.size() &&
            node_id(*there, nodes[static_cast<std::size_t>(rank)]) == where,
        [&] { return text(id, rank) + " was started on " + where + ", which is not its node"; });
}

void Checker::task_ends(const AttemptId& id, int rank, const NodeId& where, int exit_code,
                        bool by_itself) {
    running_[id.job].erase(rank);
    on_[where].erase(id.job);
    const Span ran = timeline_.now() - started_[{id, rank}],
               limit = scripts.at(id.job).task.timeout;
    ended_[{id, rank}] = {exit_code, by_itself, ran};
    const auto found = supervisor_stopped_.find(id);
    const Span stopped = found == supervisor_stopped_.end() ? Span{} : found->second;
    require(limit == Span{} || ran <= (limit + agent::kTimeoutGrace) * 102 / 100 + stopped, [&] {
        return text(id, rank) + " ran " + to_words(ran) + ", with a limit of " + to_words(limit);
    });
}

void Checker::settled(const MemoryStore::State& state) {
    for (const std::string& name : acknowledged_) {
        const JobRecord* there = job(state, name);
        if (!there) {
            require(may_vanish_.contains(name),
                    [&] { return "job " + name + " was acknowledged and is gone"; });
            continue;
        }
        require(is_terminal(there->status), [&] {
            return "job " + name + " never ends: it is " + std::string(name_of(there->status));
        });
        require(heard_[name].ended, [&] { return "no event says that " + name + " ended"; });
    }
    require(rows(state, Table::JobLive).empty(), "live jobs are left");
    for (const auto& [key, row] : rows(state, Table::Compute))
        require(!is_instance(key.substr(key.find('/') + 1)),
                [&] { return "the compute of container instances is left: " + key; });
    for (const auto& [name, tasks] : running_)
        require(tasks.empty(), [&] { return "a task is left of " + name; });
    for (const auto& [node, jobs] : leases_)
        require(jobs.empty(), [&] { return "a lease is left on " + node; });
}

}  // namespace turnout::simulation
