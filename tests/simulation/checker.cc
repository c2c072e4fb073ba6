#include "checker.h"

#include "agent/node_core.h"
#include "control/jobs.h"
#include "model/group.h"
#include "model/sweep.h"

#include <algorithm>

#include "base/text.h"

namespace turnout::simulation {

namespace ap = agent_protocol;

namespace {
std::string text(const AttemptId& id) {
    return id.job + "#" + std::to_string(id.attempt);
}
std::string text(const AttemptId& id, int rank) {
    return text(id) + (rank == 0 ? "" : " rank " + std::to_string(rank));
}
bool live(const JobRecord& job) {
    return job.current() && !job.current()->ended;
}
// For a node: a step that has no task yet waits for others.
bool waits(const JobRecord& job) {
    return !live(job) && !is_terminal(job.status) && job.status != JobStatus::NotStarted;
}
bool has_ended(const JobAttempt& attempt, std::size_t rank) {
    return std::find(attempt.ended_ranks.begin(), attempt.ended_ranks.end(),
                     static_cast<int>(rank)) != attempt.ended_ranks.end();
}
NodeId node_id(const JobRecord& job, const std::string& node) {
    return job.workspace + "/" + job.compute + "/" + node;
}
std::string compute_of(const NodeId& node) {
    const std::size_t first = node.find('/') + 1;
    return node.substr(first, node.rfind('/') - first);
}
std::string six(int number) {
    const std::string digits = std::to_string(number);
    return std::string(6 - digits.size(), '0') + digits;
}
}  // namespace

std::string log_stream(int nodes, int rank) {
    return nodes == 1 ? "user_logs/std_log.txt"
                      : "user_logs/std_log_process_" + std::to_string(rank) + ".txt";
}

std::string Checker::line(const AttemptId& id, int rank, int number) {
    return text(id, rank) + " line " + std::to_string(number) + "\n";
}

void Checker::violate(const std::string& what) {
    if (violated()) return;  // the first one counts, the others follow from it
    violation_ = "at " + to_words(timeline_.now()) + ": " + what;
}

// nullptr if there is none. Valid until the rows change.
const JobRecord* Checker::job(const MemoryStore::State& state, const std::string& name) {
    const std::string key = std::string(kWorkspace) + "/" + name;
    const auto found = rows(state, Table::Job).find(key);
    if (found == rows(state, Table::Job).end()) {
        parsed_.erase(name);
        return nullptr;
    }
    const auto became = rows(state, Table::JobState).find(key);
    const std::uint64_t revision =
        became == rows(state, Table::JobState).end() ? 0 : became->second.revision;
    Parsed& parsed = parsed_[name];
    if (parsed.definition != found->second.revision) {
        parsed.job = job_from_json(parse_json(found->second.value).value()).value();
        if (parsed.job.derived())
            if (const auto sweep =
                    rows(state, Table::Job)
                        .find(std::string(kWorkspace) + "/" + parsed.job.child.group);
                sweep != rows(state, Table::Job).end())
                join_trial(parsed.job,
                           job_from_json(parse_json(sweep->second.value).value()).value());
        parsed.definition = found->second.revision;
        parsed.state = 0;
    }
    if (parsed.state != revision) {
        const Json document = parse_json(became->second.value).value();
        static_cast<JobState&>(parsed.job) = job_state_from_json(document).value();
        parsed.job.sweep = sweep_progress_from_json(document.at("sweep"));
    }
    parsed.state = revision;
    return &parsed.job;
}

std::optional<Node> Checker::node(const MemoryStore::State& state, const std::string& id) {
    const auto found = rows(state, Table::Node).find(id);
    if (found == rows(state, Table::Node).end()) return std::nullopt;
    return node_from_json(parse_json(found->second.value).value()).value();
}

std::size_t Checker::at_a_time(const std::string& compute) const {
    const auto found = at_a_time_.find(compute);
    return found == at_a_time_.end() ? 1 : static_cast<std::size_t>(found->second);
}

// ---------------------------------------------------------------------------------------------
// The store

void Checker::persisted(const MemoryStore::State& state,
                        const std::vector<std::pair<Table, std::string>>& written) {
    std::set<std::string> jobs, told;
    for (const auto& [table, key] : written)
        if (table == Table::Service) check_service(state, key);
    for (const auto& [table, key] : written) {
        if (const auto row = rows(state, table).find(key); row != rows(state, table).end()) {
            require(row->second.value.find(kPlantedSecret) == std::string::npos,
                    [&] { return "a secret was stored in table " + std::string(name_of(table)); });
            if (table == Table::Event) told.merge(check_events(key, row->second.value));
        }
        if (table == Table::Job || table == Table::TaskBase) check_base(state, table, key);
        if (table == Table::Job || table == Table::JobState || table == Table::JobLive)
            jobs.insert(key.substr(key.find('/') + 1));
        if (table != Table::Node) continue;
        const auto& nodes = rows(state, Table::Node);
        std::size_t there_are = nodes.size();
        if (far_slots > 0) {
            const auto far = static_cast<std::size_t>(std::ranges::count_if(
                nodes, [this](const auto& row) { return is_far(row.first); }));
            there_are -= far;
            if (there_are > 0 && far > 0) ++coverage_["both pools have nodes"];
            require(far <= static_cast<std::size_t>(far_slots),
                    [&] { return "a slot of the other pool was promised twice: " + key; });
        }
        require(there_are <= std::max(static_cast<std::size_t>(slots), allowed_),
                [&] { return "a slot was promised twice: " + key; });
        allowed_ = std::max(static_cast<std::size_t>(slots), std::min(allowed_, there_are));
        if (const auto there = node(state, key))
            ++coverage_["node " + std::string(name_of(there->state))];
    }
    std::vector<std::string> leased;
    for (const std::string& name : jobs) {
        const auto before = seen_.find(name);
        const int attempts = before == seen_.end() ? 0 : before->second.last_attempt;
        check_job(state, name, told.contains(name));
        if (const auto now = seen_.find(name);
            now != seen_.end() && live(now->second) && now->second.last_attempt > attempts)
            leased.push_back(name);
    }
    for (const std::string& service : std::exchange(replaced_, {})) check_replacement(service);
    check_instances(state, leased, written);
    check_order(leased);
    check_limits(leased);
    require(leased.empty() || !draining, [&] {
        return "job " + leased.front() + " got a node, and the server is being drained";
    });
    for (const std::string& name : leased)
        for (const NodeId& on : leased_[name]) {
            const auto& there = leases_[on];
            const bool gang =
                std::any_of(there.begin(), there.end(), [](const auto& one) { return one.second; });
            require(!gang || there.size() == 1, [&] {
                return "node " + on + " was given to what has it alone, and not to it alone";
            });
            const std::size_t at_once = at_a_time(compute_of(on));
            require(there.size() <= at_once + kDeepestBacklog, [&] {
                return std::to_string(there.size()) + " tasks were given to node " + on;
            });
            if (there.size() > at_once) ++coverage_["given to a backlog"];
            if (there.size() > at_once + 8) ++coverage_["deep backlog"];
        }
}

bool Checker::is_far(const NodeId& node) const {
    const std::string compute = compute_of(node);
    return compute == kFarCompute || far_instances.contains(compute);
}

// A container that is made for one job is given to no other, and goes with it; and what they belong
// to is there as long as one of them, or a job that waits for one.
void Checker::check_instances(const MemoryStore::State& state,
                              const std::vector<std::string>& leased,
                              const std::vector<std::pair<Table, std::string>>& written) {
    for (const std::string& name : leased) {
        const AttemptId id{kWorkspace, name, seen_.at(name).last_attempt};
        for (const NodeId& on : leased_[name]) {
            if (!is_instance(compute_of(on))) continue;
            const auto [given, first] = instances_.emplace(on, id);
            require(first, [&] {
                return "container instance " + on + " was given to " + text(id) +
                       ", and it is that of " + text(given->second);
            });
            instances_there_.insert(on);
            if (is_far(on)) ++coverage_["container instance of another pool"];
            if (!seen_.at(name).child.group.empty()) ++coverage_["container instance of a trial"];
        }
    }
    for (const NodeId& on : std::set<NodeId>(instances_there_)) {
        if (!leases_[on].empty()) continue;
        const auto there = node(state, on);
        require(!there || there->state == NodeState::Leaving, [&] {
            return "container instance " + on + " stays, and " + text(instances_.at(on)) +
                   " is over";
        });
        instances_there_.erase(on);
        ++coverage_["container instance ended, and went"];
    }
    for (const auto& [table, key] : written) {
        const std::string compute = key.substr(key.find('/') + 1);
        if (table != Table::Compute || !is_instance(compute)) continue;
        if (rows(state, Table::Compute).contains(key)) continue;
        ++coverage_["computes of container instances went"];
        for (const auto& [name, one] : seen_)
            require(one.compute != compute || is_terminal(one.status), [&] {
                return "what job " + name + " runs in was forgotten, and it is " +
                       std::string(name_of(one.status));
            });
        const auto left = rows(state, Table::Node).lower_bound(key + "/");
        require(left == rows(state, Table::Node).end() || !left->first.starts_with(key + "/"),
                [&] { return "node " + left->first + " is there, and its compute is not"; });
    }
    for (const auto& [compute, levels] : waiting_)
        if (is_instance(compute) && !levels.empty() && !instances_there_.empty())
            ++coverage_["container instance waits for a slot"];
}

// Whatever is erased, a job's task is there as long as the job is.
void Checker::check_base(const MemoryStore::State& state, Table table, const std::string& key) {
    const auto& bases = rows(state, Table::TaskBase);
    const auto require_base = [&](const std::string& job_key) {
        const JobRecord* const one = job(state, job_key.substr(job_key.find('/') + 1));
        // One that never had its task has none that could go.
        const bool none = one && one->task_base.empty() && one->attempts.empty() &&
                          (!one->child.group.empty() || one->type == JobType::Pipeline);
        require(!one || none || bases.contains(std::string(kWorkspace) + "/" + one->task_base),
                [&] { return "the task of job " + job_key + " is gone"; });
    };
    if (table == Table::Job) return require_base(key);
    if (bases.contains(key)) return;
    ++coverage_["a base went"];
    for (const auto& [job_key, row] : rows(state, Table::Job)) require_base(job_key);
}

void Checker::no_leases(const std::string& name) {
    for (const NodeId& on : std::exchange(leased_[name], {})) leases_[on].erase(name);
}

void Checker::count_leases(const JobRecord& job) {
    no_leases(job.name);
    if (!live(job)) return;
    const JobAttempt& attempt = *job.current();
    for (std::size_t rank = 0; rank < attempt.nodes().size(); ++rank) {
        if (has_ended(attempt, rank)) continue;
        leased_[job.name].push_back(node_id(job, attempt.nodes()[rank]));
        leases_[leased_[job.name].back()][job.name] =
            attempt.nodes().size() > 1 || is_replica(job.name) || is_instance(job.compute);
    }
}

// Nobody was given a node beyond what its user may have.
void Checker::check_limits(const std::vector<std::string>& leased) {
    for (const auto& [user, may_be] : limits_) {
        const bool any = std::ranges::any_of(
            leased, [&](const std::string& name) { return seen_.at(name).principal == user; });
        if (!any) continue;
        int running = 0;
        for (const auto& [name, on] : leased_)
            running += !on.empty() && seen_.contains(name) && seen_.at(name).principal == user;
        const int most = *std::max_element(may_be.begin(), may_be.end());
        require(running <= most, [&] {
            return std::to_string(running) + " jobs of " + user + " are on nodes, and " +
                   std::to_string(most) + " may be";
        });
        if (running == most) ++coverage_["a user has as much as they may"];
    }
}

// Nobody of a lower priority came to a node while a higher one waits, in the same cluster, but for
// users with a limit. (One of several nodes may have to wait for the last of them.)
void Checker::check_order(const std::vector<std::string>& leased) {
    for (const std::string& name : leased) {
        const JobRecord& job = seen_.at(name);
        const auto& waiting = waiting_[job.compute];
        for (auto level = waiting.upper_bound(scripts.at(name).priority); level != waiting.end();
             ++level)
            for (const std::string& one : level->second)
                require(limits_.contains(seen_.at(one).principal), [&] {
                    return "job " + name + " got a node, and " + one +
                           " of a higher priority waits";
                });
        if (waiting.size() > 1) ++coverage_["leased while others of several priorities wait"];
    }
}

void Checker::check_job(const MemoryStore::State& state, const std::string& name, bool told) {
    const auto before = seen_.find(name);
    const JobRecord* found = job(state, name);
    const bool listed_live =
        rows(state, Table::JobLive).contains(std::string(kWorkspace) + "/" + name);
    if (before != seen_.end() && waits(before->second) && before->second.node_count == 1 &&
        before->second.type == JobType::Command) {
        auto& waiting = waiting_[before->second.compute];
        const auto level = waiting.find(scripts.at(name).priority);
        level->second.erase(name);
        if (level->second.empty()) waiting.erase(level);
    }
    if (!found) {
        require(!listed_live,
                [&] { return "job " + name + " is not there but on the list of live ones"; });
        if (before == seen_.end()) return;
        require(may_vanish_.contains(name), [&] { return "job " + name + " vanished"; });
        no_leases(name);
        seen_.erase(before);
        acknowledged_.erase(name);
        return;
    }
    const JobRecord& now = *found;
    const std::string status(name_of(now.status));
    const bool over = is_terminal(now.status);
    const auto script = scripts.find(name);
    if (script == scripts.end()) return violate("job " + name + " was never asked for");
    if (is_replica(name) && !over) {
        const auto service = services_.find(name.substr(0, name.find('.')));
        require(service != services_.end() &&
                    service->second.replicas.contains(std::stoll(name.substr(name.find('.') + 1))),
                [&] { return "replica " + name + " lives, and its service does not know it"; });
    }
    require(listed_live == !over, [&] {
        return "job " + name + " is " + status + " and " + (listed_live ? "" : "not ") +
               "on the list of live ones";
    });
    require(now.ended.has_value() == over,
            [&] { return "job " + name + " is " + status + ", and its end says otherwise"; });
    for (std::size_t i = 0; i < now.attempts.size(); ++i) {
        const JobAttempt& attempt = now.attempts[i];
        require(attempt.number > (i == 0 ? 0 : now.attempts[i - 1].number),
                [&] { return "the attempts of " + name + " are not numbered in order"; });
        require(i + 1 == now.attempts.size() || attempt.ended,
                [&] { return "job " + name + " has two live attempts"; });
        require(!attempt.ended || attempt.ending.has_value(),
                [&] { return "an attempt of " + name + " ended without an ending"; });
        require(attempt.nodes().size() == static_cast<std::size_t>(script->second.nodes), [&] {
            return "an attempt of " + name + " is on " + std::to_string(attempt.nodes().size()) +
                   " nodes, not on " + std::to_string(script->second.nodes);
        });
        require(std::set<std::string>(attempt.nodes().begin(), attempt.nodes().end()).size() ==
                    attempt.nodes().size(),
                [&] { return "two ranks of " + name + " are on one node"; });
    }
    if (now.type == JobType::Sweep)
        check_sweep(state, now);
    else if (now.type == JobType::Pipeline)
        check_pipeline(state, now);
    // One that waits in a node's backlog is Queued and has an attempt.
    else
        require(live(now) ? !over
                          : over || now.status == JobStatus::Queued ||
                                (now.status == JobStatus::NotStarted && now.task_base.empty()),
                [&] {
                    return "job " + name + " is " + status + (live(now) ? " with" : " without") +
                           " a live attempt";
                });
    check_nodes_of(state, now);

    Span sum{};
    for (const auto& [entry, span] : ledger(now, now.created + 1000h)) {
        require(span >= Span{}, [&] {
            return "the ledger of " + name + " has less than nothing for " +
                   std::string(name_of(entry));
        });
        sum += span;
    }
    require(sum == now.ended.value_or(now.created + 1000h) - now.created,
            [&] { return "the ledger of " + name + " does not add up"; });

    if (is_replica(name) && now.cancel_requested && were_ready_.contains(name) &&
        now.error_message == words_of(ServicePlan::Stop::Why::Replaced) &&
        (before == seen_.end() || !before->second.cancel_requested))
        replaced_.insert(name.substr(0, name.find('.')));
    if (before != seen_.end()) check_change(before->second, now);
    if (before == seen_.end() || before->second.status != now.status) {
        ++coverage_["status " + status];
        require(told && heard_[name].status == status, [&] {
            return "job " + name + " became " + status + ", and its events say " +
                   (told ? heard_[name].status : "nothing");
        });
    }
    for (std::size_t i = 0; i < now.attempts.size(); ++i) {
        const JobAttempt& attempt = now.attempts[i];
        const bool known = before != seen_.end() && before->second.attempts.size() > i &&
                           before->second.attempts[i].ended;
        if (attempt.ended && !known) check_attempt_end(state, now, attempt);
    }
    if (over && (before == seen_.end() || !is_terminal(before->second.status))) check_end(now);
    count_leases(now);
    if (waits(now) && now.node_count == 1 && now.type == JobType::Command)
        waiting_[now.compute][script->second.priority].insert(name);
    seen_.insert_or_assign(name, now);
}

void Checker::check_nodes_of(const MemoryStore::State& state, const JobRecord& job) {
    if (!live(job)) return;
    const JobAttempt& attempt = *job.current();
    std::set<int> ranks;
    for (const int rank : attempt.ended_ranks) {
        require(rank >= 0 && rank < job.node_count && ranks.insert(rank).second, [&] {
            return "rank " + std::to_string(rank) + " of " + job.name + " ended twice, or is none";
        });
        ++coverage_["a rank ended before the others"];
    }
    require(ranks.size() < attempt.nodes().size(),
            [&] { return "all ranks of " + job.name + " have ended, and the attempt has not"; });
    for (std::size_t rank = 0; rank < attempt.nodes().size(); ++rank) {
        if (has_ended(attempt, rank)) continue;
        const auto there = node(state, node_id(job, attempt.nodes()[rank]));
        // One that does not stop what it was told to stop, does not work or is lost is ended by its
        // provider, with all that is on it, and says why.
        const bool given_up =
            there && there->state == NodeState::Leaving && !there->problem.empty();
        if (given_up &&
            there->problem.find("did not stop job '" + job.name + "'") != std::string::npos)
            ++coverage_["a node was given up with what it did not stop"];
        require(there && (there->state == NodeState::Idle || given_up), [&] {
            return "a node of " + job.name + "'s attempt is not there: " + attempt.nodes()[rank];
        });
    }
}

void Checker::check_change(const JobRecord& then, const JobRecord& now) {
    const std::string& name = now.name;
    for (std::size_t i = 0; i < then.attempts.size(); ++i) {
        const JobAttempt& was = then.attempts[i];
        if (i < now.attempts.size() && now.attempts[i].number == was.number) continue;
        // It was taken out of a backlog before it began, and left no trace but its number.
        require(!was.ended && !was.preparing && now.attempts.size() <= then.attempts.size(), [&] {
            return "attempt " + std::to_string(was.number) + " of " + name + " was forgotten";
        });
        const auto started = starts_.lower_bound({{kWorkspace, name, was.number}, 0});
        require(started == starts_.end() ||
                    started->first.first != AttemptId{kWorkspace, name, was.number},
                [&] {
                    return "attempt " + std::to_string(was.number) + " of " + name +
                           " was forgotten, and it had begun";
                });
        ++coverage_["attempt taken back before it began"];
    }
    require(then.last_attempt <= now.last_attempt,
            [&] { return "the number of an attempt of " + name + " was forgotten"; });
    require(!then.cancel_requested || then.last_attempt == now.last_attempt,
            [&] { return "job " + name + " got a new attempt although it is to be canceled"; });
    require(then.definition == now.definition,
            [&] { return "the definition of " + name + " changed"; });
    require(!then.cancel_requested || now.cancel_requested,
            [&] { return "the wish to cancel " + name + " was forgotten"; });
    for (std::size_t i = 0; i < std::min(then.attempts.size(), now.attempts.size()); ++i) {
        const JobAttempt &was = then.attempts[i], &is = now.attempts[i];
        if (was.number != is.number) continue;  // the last one was taken back, and there is another
        require(was.placement == is.placement && was.leased == is.leased,
                [&] { return "an attempt of " + name + " moved to other nodes"; });
        require(
            std::all_of(was.ended_ranks.begin(), was.ended_ranks.end(),
                        [&](int rank) { return has_ended(is, static_cast<std::size_t>(rank)); }),
            [&] { return "the end of a rank of " + name + " was forgotten"; });
        require(!was.preempting || is.preempting || is.ended,
                [&] { return "that " + name + " is to give way was forgotten"; });
        require(!was.ended || (was.ended == is.ended && was.ending->cause == is.ending->cause),
                [&] { return "an ended attempt of " + name + " changed"; });
    }
    if (is_terminal(then.status))
        require(then.status == now.status && then.ended == now.ended && then.cause == now.cause,
                [&] {
                    return "job " + name + " was " + std::string(name_of(then.status)) +
                           " and became " + std::string(name_of(now.status));
                });
}

// What it counts is what became of its trials, in every durable state.
void Checker::check_sweep(const MemoryStore::State& state, const JobRecord& sweep) {
    const SweepProgress& progress = sweep.sweep;
    const auto before = seen_.find(sweep.name);
    require(before == seen_.end() || before->second.sweep.created <= progress.created,
            [&] { return "trials of " + sweep.name + " were forgotten"; });
    std::int64_t completed = 0, failed = 0, canceled = 0;
    for (std::int64_t index = 0; index < progress.created; ++index) {
        const JobRecord* trial = job(state, trial_name(sweep.name, index));
        require(trial != nullptr, [&] {
            return "trial " + std::to_string(index) + " of " + sweep.name + " is not there";
        });
        if (!trial) continue;
        require(trial->child.index == index, [&] { return trial->name + " is another trial"; });
        completed += trial->status == JobStatus::Completed;
        failed += trial->status == JobStatus::Failed;
        canceled += trial->status == JobStatus::Canceled;
    }
    require(completed == progress.completed && failed == progress.failed &&
                canceled == progress.canceled,
            [&] { return "sweep " + sweep.name + " counts wrong: " + to_json(progress).dump(); });
    if (!is_terminal(sweep.status)) return;
    require(progress.live() == 0,
            [&] { return "sweep " + sweep.name + " is over before its trials"; });
    require(!job(state, trial_name(sweep.name, progress.created)),
            [&] { return "sweep " + sweep.name + " has a trial more than it knows"; });
    const auto total = parse_sweep(sweep.definition, sweep.name)->limits.max_total_trials;
    if (sweep.status == JobStatus::Completed)
        require(progress.completed > 0 && progress.created == total,
                [&] { return "sweep " + sweep.name + " is Completed too early"; });
    if (sweep.status == JobStatus::Failed)
        require(progress.completed == 0 && (progress.created == total || gives_up(progress)),
                [&] { return "sweep " + sweep.name + " Failed too early"; });
    ++coverage_["sweep " + std::string(name_of(sweep.status))];
    require(sweep.status == JobStatus::Canceled || !sweep.error_message.empty(),
            [&] { return "sweep " + sweep.name + " is over, and does not say why"; });
    if (sweep.status != JobStatus::Failed || !environment_fails(progress)) return;
    ++coverage_["sweep Failed in its environment"];
    require(sweep.cause == ap::Cause::Environment, [&] {
        return "sweep " + sweep.name + " failed in its environment, and says " +
               std::string(ap::name_of(sweep.cause));
    });
}

// The same of a pipeline; and that it ends as its steps say.
void Checker::check_pipeline(const MemoryStore::State& state, const JobRecord& pipeline) {
    const SweepProgress& progress = pipeline.sweep;
    const auto total = static_cast<std::int64_t>(pipeline.plan.at("steps").items().size());
    std::int64_t completed = 0, failed = 0, canceled = 0;
    for (std::int64_t index = 0; index < progress.created; ++index) {
        const JobRecord* step = job(state, child_name(pipeline.name, index));
        require(step != nullptr, [&] {
            return "step " + std::to_string(index) + " of " + pipeline.name + " is not there";
        });
        if (!step) continue;
        require(step->child.index == index && step->child.group == pipeline.name,
                [&] { return step->name + " is another step"; });
        completed += step->status == JobStatus::Completed;
        failed += step->status == JobStatus::Failed;
        canceled += step->status == JobStatus::Canceled;
    }
    require(completed == progress.completed && failed == progress.failed &&
                canceled == progress.canceled,
            [&] { return "pipeline " + pipeline.name + " counts wrong"; });
    if (!is_terminal(pipeline.status)) return;
    require(progress.live() == 0,
            [&] { return "pipeline " + pipeline.name + " is over before its steps"; });
    const std::string status(name_of(pipeline.status));
    ++coverage_["pipeline " + status];
    require(pipeline.status != JobStatus::Completed || completed == total,
            [&] { return "pipeline " + pipeline.name + " is Completed, and not all its steps"; });
    require(pipeline.status != JobStatus::Failed || failed > 0,
            [&] { return "pipeline " + pipeline.name + " Failed without a step that did"; });
    require(pipeline.status != JobStatus::Canceled || canceled > 0 ||
                may_be_canceled_.contains(pipeline.name),
            [&] { return "pipeline " + pipeline.name + " is Canceled, and nobody asked for it"; });
    require(completed < total || pipeline.status == JobStatus::Completed ||
                may_be_canceled_.contains(pipeline.name),
            [&] { return "all steps of " + pipeline.name + " completed, and it is " + status; });
}

void Checker::check_end(const JobRecord& job) {
    const Script& script = scripts.at(job.name);
    if (is_replica(job.name)) {
        ++coverage_["replica " + std::string(name_of(job.status)) + ": " +
                    std::string(ap::name_of(job.cause))];
        require(job.status != JobStatus::Canceled || !job.error_message.empty() ||
                    may_be_canceled_.contains(job.name),
                [&] { return "replica " + job.name + " is Canceled, and nobody says why"; });
        if (job.status != JobStatus::Failed || job.cause == ap::Cause::UserCode) return;
    }
    if (kind_of(job.type).group && job.status != JobStatus::Canceled) return;  // check_sweep …
    if (job.type == JobType::Pipeline) return;
    const bool is_step = !job.child.group.empty() && !job.derived();
    // What failed before is looked at with its pipeline.
    if (is_step && job.status == JobStatus::Canceled && job.error_message.starts_with("step '")) {
        ++coverage_["step given up"];
        require(!starts_.contains({AttemptId{kWorkspace, job.name, 1}, 0}) ||
                    job.error_message.ends_with("goes no further"),
                [&] { return "step " + job.name + " began before what it needs"; });
        return;
    }
    if (job.status == JobStatus::Completed)
        require(script.exit_code == 0 && script.fails_in == 0 && script.ends_supervisor == 0 &&
                    !script.unreadable && !script.unreadable_end,
                [&] { return "job " + job.name + " fails, and is Completed"; });
    if (job.status == JobStatus::Canceled)
        require(may_be_canceled_.contains(job.name) ||
                    (script.fails_in == 2 && !job.child.group.empty() &&
                     job.error_message.starts_with("not tried: ")),
                [&] { return "job " + job.name + " is Canceled, and nobody asked for it"; });
    if (job.status != JobStatus::Failed) return;
    if (job.cause == ap::Cause::UserCode)
        require(script.exit_code != 0 || script.fails_in == 4,
                [&] { return "job " + job.name + " goes well, and Failed: " + job.error_message; });
    require(job.cause != ap::Cause::Preempted,
            [&] { return "job " + job.name + " Failed because its node was needed elsewhere"; });
    if (job.cause != ap::Cause::NodeLost && job.cause != ap::Cause::Internal) return;
    const auto failures =
        std::count_if(job.attempts.begin(), job.attempts.end(), [](const JobAttempt& one) {
            return one.ending && one.ending->cause != ap::Cause::Preempted;
        });
    require(failures >= 3, [&] {
        return "job " + job.name + " Failed after " + std::to_string(failures) +
               " attempts: " + job.error_message;
    });
}

void Checker::check_attempt_end(const MemoryStore::State& state, const JobRecord& job,
                                const JobAttempt& attempt) {
    const bool gang = attempt.nodes().size() > 1;
    const ap::Cause cause = attempt.ending->cause;
    ++coverage_["attempt " + std::string(gang ? "of several nodes " : "") +
                "ended: " + std::string(ap::name_of(cause))];
    const AttemptId id{kWorkspace, job.name, attempt.number};
    // Which rank of a gang it was that failed first is not recorded; that all went well says it of
    // each.
    if (cause == ap::Cause::UserCode && !gang) check_log(state, job, attempt, 0);
    if (cause == ap::Cause::Timeout) {
        const Span limit = scripts.at(job.name).task.timeout;
        Span ran{};
        for (int rank = 0; rank < static_cast<int>(attempt.nodes().size()); ++rank)
            ran = std::max(ran, ended_[{id, rank}].ran);
        require(limit > Span{} && ran >= limit * 98 / 100,
                [&] { return text(id) + " ended at its time limit after " + to_words(ran); });
    }
    if (cause != ap::Cause::None) return;
    require(!gang || attempt.ended_ranks.size() == attempt.nodes().size(),
            [&] { return text(id) + " ended before all its ranks did"; });
    for (int rank = 0; rank < static_cast<int>(attempt.nodes().size()); ++rank)
        check_log(state, job, attempt, rank);
}

// The whole log of an attempt that ended by itself is durable before its end is.
void Checker::check_log(const MemoryStore::State& state, const JobRecord& job,
                        const JobAttempt& attempt, int rank) {
    const AttemptId id{kWorkspace, job.name, attempt.number};
    const std::string prefix = std::string(kWorkspace) + "/" + job.name + "/" +
                               six(attempt.number) + "/" +
                               percent_encode(log_stream(job.node_count, rank)) + "/";
    std::string durable;
    for (auto row = rows(state, Table::Log).lower_bound(prefix);
         row != rows(state, Table::Log).end() && row->first.starts_with(prefix); ++row) {
        require(row->first == prefix + hex16(durable.size()),
                [&] { return "the log of " + text(id, rank) + " has a gap"; });
        durable += row->second.value;
    }
    const auto written = written_.find({id, rank});
    const std::string truth = written == written_.end() ? "" : written->second;
    // A command that failed has failed, even if the end of its log went down with the machine.
    const bool shortened = attempt.ending->cause != ap::Cause::None &&
                           shortened_.contains({id, rank}) && truth.starts_with(durable);
    require(durable == truth || shortened, [&] {
        return "the log of " + text(id, rank) +
               " is not what it wrote: " + std::to_string(durable.size()) + " of " +
               std::to_string(truth.size()) + " bytes, it ended by " +
               std::string(ap::name_of(attempt.ending->cause)) + ": " + attempt.ending->message;
    });
    const Script& script = scripts.at(job.name);
    if (attempt.ending->cause == ap::Cause::None) {
        std::string all = script.preamble;
        for (int i = 0; i < script.lines; ++i) all += line(id, rank, i);
        require(durable == all, [&] {
            return "the log of " + text(id, rank) +
                   " is not what its script says: it begins with '" + durable.substr(0, 80) +
                   "', not with '" + all.substr(0, 80) + "'";
        });
        ++coverage_[script.nodes > 1 ? "complete log of a rank compared" : "complete log compared"];
    }
    const auto end = ended_.find({id, rank});
    const bool ran = end != ended_.end();
    require(ran || attempt.ending->cause == ap::Cause::UserCode,
            [&] { return text(id, rank) + " never ran, and ended well"; });
    if (!ran || !end->second.by_itself) return;
    require(attempt.ending->exit_code == end->second.exit_code, [&] {
        return text(id, rank) + " ended with " + std::to_string(end->second.exit_code) +
               ", and is recorded with " + std::to_string(attempt.ending->exit_code);
    });
}

// One row: what one commit changed. Gives the jobs that it tells of.
std::set<std::string> Checker::check_events(const std::string& key, const std::string& row) {
    static const std::set<std::string, std::less<>> kWhat{
        "submitted", "queued",    "leased",  "preparing", "running",  "finalizing", "ended",
        "canceling", "requested", "ready",   "lost",      "leaving",  "gone",       "preempting",
        "warning",   "refused",   "created", "changed",   "deleting", "deleted"};
    std::set<std::string> told;
    if (key <= last_event_) return told;  // of a batch that was refused
    last_event_ = key;
    const Result<Json> events = parse_json(row);
    if (!events || !events->is_array() || events->items().empty()) {
        violate("event " + key + " cannot be read: " + row);
        return told;
    }
    for (const Json& event : events->items()) {
        const std::string kind = event.at("kind").as_string(), name = event.at("name").as_string(),
                          what = event.at("what").as_string();
        require((kind == "job" || kind == "node" || kind == "compute") && !name.empty() &&
                    kWhat.contains(what) && event.at("at").is_number() &&
                    event.at("workspace").as_view() == kWorkspace,
                [&] { return "event " + key + " is not in its form: " + event.dump(); });
        ++coverage_["event: " + kind + " " + what];
        if (kind != "job") continue;
        told.insert(name);
        const auto [place, first] = heard_.try_emplace(name);
        Heard& heard = place->second;
        require(first == (what == "submitted"), [&] {
            return "the events of " + name + " do not begin with its submission, or it comes twice";
        });
        require(!heard.ended, [&] {
            return "job " + name + " has ended, and then this happened: " + event.dump();
        });
        heard.ended = what == "ended";
        heard.status = event.at("status").as_string();
        const Result<JobStatus> status = parse_job_status(heard.status);
        require(status && is_terminal(*status) == heard.ended,
                [&] { return "an event of " + name + " says what cannot be: " + event.dump(); });
        const std::int64_t attempt = event.at("attempt").as_int(0);
        // It ends of the last attempt that left a trace.
        require(what == "leased" ? attempt > heard.attempt
                                 : attempt == 0 || attempt == heard.attempt ||
                                       (what == "ended" && attempt < heard.attempt),
                [&] {
                    return "an event of " + name + " is of attempt " + std::to_string(attempt) +
                           " after one of attempt " + std::to_string(heard.attempt) + ": " +
                           event.dump();
                });
        heard.attempt = std::max(heard.attempt, attempt);
    }
    return told;
}

// ---------------------------------------------------------------------------------------------
// What leaves the server

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
