#include "checker.h"

#include <algorithm>

#include "base/text.h"

namespace turnout::simulation {

namespace ap = agent_protocol;

namespace {
const std::map<std::string, Record, std::less<>>& rows(const MemoryStore::State& state, Table table) {
    return state.tables[static_cast<std::size_t>(table)];
}
std::string text(const AttemptId& id) {
    return id.job + "#" + std::to_string(id.attempt);
}
bool live(const JobRecord& job) {
    return job.current() && !job.current()->ended;
}
std::string six(int number) {
    const std::string digits = std::to_string(number);
    return std::string(6 - digits.size(), '0') + digits;
}
}  // namespace

void Checker::violate(const std::string& what) {
    if (violated()) return;  // the first one counts, the others follow from it
    violation_ = "at " + to_words(timeline_.now()) + ": " + what;
}

std::optional<JobRecord> Checker::job(const MemoryStore::State& state, const std::string& name) {
    const auto found = rows(state, Table::Job).find(std::string(kWorkspace) + "/" + name);
    if (found == rows(state, Table::Job).end()) return std::nullopt;
    JobRecord job = job_from_json(parse_json(found->second.value).value()).value();
    if (const auto became = rows(state, Table::JobState).find(found->first); became != rows(state, Table::JobState).end())
        static_cast<JobState&>(job) = job_state_from_json(parse_json(became->second.value).value()).value();
    return job;
}
std::optional<Node> Checker::node(const MemoryStore::State& state, const std::string& id) {
    const auto found = rows(state, Table::Node).find(id);
    if (found == rows(state, Table::Node).end()) return std::nullopt;
    return node_from_json(parse_json(found->second.value).value()).value();
}

void Checker::persisted(const MemoryStore::State& state, const std::vector<std::pair<Table, std::string>>& written) {
    std::set<std::string> jobs;
    for (const auto& [table, key] : written) {
        if (const auto row = rows(state, table).find(key); row != rows(state, table).end())
            require(row->second.value.find(kPlantedSecret) == std::string::npos, "a secret was stored in table " + std::string(name_of(table)));
        if (table == Table::Job || table == Table::JobState || table == Table::JobLive) jobs.insert(key);
        if (table != Table::Node) continue;
        require(rows(state, Table::Node).size() <= static_cast<std::size_t>(slots_), "a slot was promised twice: " + key);
        if (const auto there = node(state, key)) {
            ++coverage_["node " + std::string(name_of(there->state))];
        }
    }
    for (const std::string& key : jobs) check_job(state, key);
}

void Checker::check_job(const MemoryStore::State& state, const std::string& key) {
    const std::string name = key.substr(key.find('/') + 1);
    const std::optional<JobRecord> now = job(state, name);
    const auto before = seen_.find(name);
    const bool listed_live = rows(state, Table::JobLive).contains(key);
    if (!now) {
        require(!listed_live, "job " + name + " is not there but on the list of live ones");
        if (before == seen_.end()) return;
        require(may_vanish_.contains(name), "job " + name + " vanished");
        seen_.erase(before);
        acknowledged_.erase(name);
        return;
    }
    const std::string status(name_of(now->status));
    const bool over = is_terminal(now->status);
    require(listed_live == !over, "job " + name + " is " + status + " and " + (listed_live ? "" : "not ") + "on the list of live ones");
    require(now->ended.has_value() == over, "job " + name + " is " + status + ", and its end says otherwise");
    for (std::size_t i = 0; i < now->attempts.size(); ++i) {
        require(now->attempts[i].number > (i == 0 ? 0 : now->attempts[i - 1].number), "the attempts of " + name + " are not numbered in order");
        require(i + 1 == now->attempts.size() || now->attempts[i].ended, "job " + name + " has two live attempts");
        require(!now->attempts[i].ended || now->attempts[i].ending.has_value(), "an attempt of " + name + " ended without an ending");
    }
    // One that waits in a node's backlog is Queued and has an attempt.
    require(live(*now) ? !over : over || now->status == JobStatus::Queued, "job " + name + " is " + status + (live(*now) ? " with" : " without") + " a live attempt");
    if (live(*now))
        for (const std::string& on : now->current()->nodes) {
            const auto there = node(state, now->workspace + "/" + now->compute + "/" + on);
            const bool over_there = now->current()->nodes.size() > 1;  // its rank may have ended, and the node gone
            require(over_there || (there && there->state == NodeState::Idle), "the node of " + name + "'s attempt is not there");
        }

    Span sum{};
    for (const auto& [entry, span] : ledger(*now, now->created + 1000h)) {
        require(span >= Span{}, "the ledger of " + name + " has less than nothing for " + std::string(name_of(entry)));
        sum += span;
    }
    require(sum == now->ended.value_or(now->created + 1000h) - now->created, "the ledger of " + name + " does not add up");

    if (before != seen_.end()) {
        const JobRecord& then = before->second;
        // The last one only if it was taken out of a backlog before it began.
        require(then.attempts.size() <= now->attempts.size() || (then.placed() && !then.current()->preparing && then.attempts.size() == now->attempts.size() + 1), "an attempt of " + name + " was forgotten");
        require(then.last_attempt <= now->last_attempt, "the number of an attempt of " + name + " was forgotten");
        require(then.definition == now->definition, "the definition of " + name + " changed");
        require(!then.cancel_requested || now->cancel_requested, "the wish to cancel " + name + " was forgotten");
        for (std::size_t i = 0; i < std::min(then.attempts.size(), now->attempts.size()); ++i)
            require(!then.attempts[i].ended || (then.attempts[i].ended == now->attempts[i].ended && then.attempts[i].number == now->attempts[i].number), "an ended attempt of " + name + " changed");
        if (is_terminal(then.status))
            require(then.status == now->status && then.ended == now->ended && then.cause == now->cause, "job " + name + " was " + std::string(name_of(then.status)) + " and became " + status);
    }
    if (before == seen_.end() || before->second.status != now->status) ++coverage_["status " + status];

    const auto script = scripts.find(name);
    require(script != scripts.end(), "job " + name + " was never asked for");
    if (script != scripts.end()) {
        for (std::size_t i = 0; i < now->attempts.size(); ++i) {
            const JobAttempt& attempt = now->attempts[i];
            const bool known = before != seen_.end() && before->second.attempts.size() > i && before->second.attempts[i].ended;
            if (!attempt.ended || known) continue;
            ++coverage_["attempt ended: " + std::string(ap::name_of(attempt.ending->cause))];
            if (attempt.ending->cause == ap::Cause::None || attempt.ending->cause == ap::Cause::UserCode) check_log(state, *now, attempt);
        }
        if (over && (before == seen_.end() || !is_terminal(before->second.status))) {
            if (now->status == JobStatus::Completed) require(script->second.exit_code == 0 && script->second.fails_in == 0, "job " + name + " fails, and is Completed");
            if (now->status == JobStatus::Canceled) require(may_be_canceled_.contains(name), "job " + name + " is Canceled, and nobody asked for it");
            if (now->status == JobStatus::Failed && now->cause == ap::Cause::UserCode)
                require(script->second.exit_code != 0 || script->second.fails_in == 4, "job " + name + " goes well, and Failed: " + now->error_message);
            if (now->status == JobStatus::Failed && (now->cause == ap::Cause::NodeLost || now->cause == ap::Cause::Internal))
                require(now->attempts.size() >= 3, "job " + name + " Failed after " + std::to_string(now->attempts.size()) + " attempts");
        }
    }
    seen_.insert_or_assign(name, *now);
}

// The whole log of an attempt that ended by itself is durable before its end is.
void Checker::check_log(const MemoryStore::State& state, const JobRecord& job, const JobAttempt& attempt) {
    const AttemptId id{kWorkspace, job.name, attempt.number};
    const std::string prefix = std::string(kWorkspace) + "/" + job.name + "/" + six(attempt.number) + "/" + percent_encode("user_logs/std_log.txt") + "/";
    std::string durable;
    for (auto row = rows(state, Table::Log).lower_bound(prefix); row != rows(state, Table::Log).end() && row->first.starts_with(prefix); ++row) {
        require(row->first == prefix + hex16(durable.size()), "the log of " + text(id) + " has a gap");
        durable += row->second.value;
    }
    const auto written = written_.find(id);
    const std::string truth = written == written_.end() ? "" : written->second;
    // A command that failed has failed, even if the end of its log went down with the machine.
    const bool shortened = attempt.ending->cause != ap::Cause::None && shortened_.contains(id) && truth.starts_with(durable);
    require(durable == truth || shortened, "the log of " + text(id) + " is not what it wrote: " + std::to_string(durable.size()) + " of " + std::to_string(truth.size()) + " bytes, it ended by " + std::string(ap::name_of(attempt.ending->cause)) + ": " + attempt.ending->message);
    const Script& script = scripts.at(job.name);
    if (attempt.ending->cause == ap::Cause::None) {
        std::string all = script.preamble;
        for (int i = 0; i < script.lines; ++i) all += text(id) + " line " + std::to_string(i) + "\n";
        require(durable == all, "the log of " + text(id) + " is not what its script says: it begins with '" + durable.substr(0, 80) + "', not with '" + all.substr(0, 80) + "'");
        ++coverage_["complete log compared"];
    }
    const auto end = ended_.find(id);
    const bool ran = end != ended_.end();
    require(ran || attempt.ending->cause == ap::Cause::UserCode, text(id) + " never ran, and ended well");
    if (ran && end->second.by_itself)
        require(attempt.ending->exit_code == end->second.exit_code, text(id) + " ended with " + std::to_string(end->second.exit_code) + ", and is recorded with " + std::to_string(attempt.ending->exit_code));
}

void Checker::leaves(const MemoryStore::State& state, const NodeId& node_id, const ap::ToAgent& message) {
    if (const auto* lease = std::get_if<ap::Lease>(&message)) {
        ++coverage_[lease->task.dump().find(kPlantedSecret) == std::string::npos ? "lease without token" : "lease with token"];
        const auto there = job(state, lease->id.job);
        require(there && live(*there) && there->current()->number == lease->id.attempt, "a lease of " + text(lease->id) + " left before it was durable");
        const std::string where = node_id.substr(node_id.rfind('/') + 1);
        require(there && live(*there) && std::find(there->current()->nodes.begin(), there->current()->nodes.end(), where) != there->current()->nodes.end(), "a lease of " + text(lease->id) + " went to a node that does not have it");
    } else if (const auto* ack = std::get_if<ap::EndAck>(&message)) {
        const auto there = job(state, ack->id.job);
        if (there && there->current() && there->current()->number == ack->id.attempt)
            require(there->current()->ended.has_value(), "the end of " + text(ack->id) + " was acknowledged before it was durable");
    } else if (const auto* cancel = std::get_if<ap::Cancel>(&message); cancel && cancel->cause == ap::Cause::Canceled) {
        const auto there = job(state, cancel->id.job);
        require(!there || there->cancel_requested || (there->current() && there->current()->ending), "a cancel of " + text(cancel->id) + " left before it was durable");
    }
}

void Checker::provisions(const MemoryStore::State& state, const NodeId& id) {
    require(node(state, id).has_value(), "node " + id + " was requested before it was durable");
}
void Checker::releases(const MemoryStore::State& state, const NodeId& id) {
    const auto there = node(state, id);
    require(!there || there->state == NodeState::Leaving, "node " + id + " was released before that was durable");
}

void Checker::acknowledged(const MemoryStore::State& state, const std::string& name) {
    require(job(state, name).has_value() || may_vanish_.contains(name), "the submission of " + name + " was acknowledged and is not durable");
    acknowledged_.insert(name);
}

void Checker::task_starts(const AttemptId& id, const NodeId& where) {
    ++coverage_["task started"];
    require(++starts_[id] == 1, text(id) + " was started twice");
    const auto other = running_.find(id.job);
    require(other == running_.end(), text(id) + " was started on " + where + " while " + (other == running_.end() ? "" : text(other->second)) + " runs");
    running_.emplace(id.job, id);
    if (!latest_) return;
    const auto there = job(*latest_, id.job);
    require(there && !is_terminal(there->status), text(id) + " was started although the job is over");
    require(!there || (live(*there) && there->current()->number == id.attempt), text(id) + " was started, and is not the job's attempt");
}

void Checker::task_ends(const AttemptId& id, int exit_code, bool by_itself) {
    running_.erase(id.job);
    ended_[id] = {exit_code, by_itself};
}

void Checker::settled(const MemoryStore::State& state) {
    for (const std::string& name : acknowledged_) {
        const auto there = job(state, name);
        if (!there) {
            require(may_vanish_.contains(name), "job " + name + " was acknowledged and is gone");
            continue;
        }
        require(is_terminal(there->status), "job " + name + " never ends: it is " + std::string(name_of(there->status)));
    }
    require(rows(state, Table::JobLive).empty(), "live jobs are left");
    require(running_.empty(), "a task is left: " + (running_.empty() ? "" : text(running_.begin()->second)));
}

}  // namespace turnout::simulation
