#include "checker.h"

#include <algorithm>

#include "base/text.h"
#include "checker_words.h"
#include "control/jobs.h"
#include "model/group.h"
#include "model/sweep.h"

namespace turnout::simulation {

namespace ap = agent_protocol;

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
                          (!one->child.group.empty() || kind_of(one->type).group);
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

}  // namespace turnout::simulation
