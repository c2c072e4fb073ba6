// What must hold of services: tasks that stay up, whose replicas are jobs.
#include "checker.h"

namespace turnout::simulation {

namespace ap = agent_protocol;

// Its row names exactly its live replicas, and never more of them than may be.
void Checker::check_service(const MemoryStore::State& state, const std::string& key) {
    const std::string name = key.substr(key.find('/') + 1);
    const auto row = rows(state, Table::Service).find(key);
    const auto before = services_.find(name);
    const auto& asked = services[name];
    if (row == rows(state, Table::Service).end()) {
        if (before == services_.end()) return;
        require(asked.may_end, [&] { return "service " + name + " vanished"; });
        ++coverage_["service over"];
        for (const auto& [number, revision] : before->second.replicas)
            require(!rows(state, Table::JobLive)
                         .contains(std::string(kWorkspace) + "/" + replica_name(name, number)),
                    [&] { return "service " + name + " is over before its last replica"; });
        services_.erase(before);
        return;
    }
    const Json json = parse_json(row->second.value).value();
    SeenService now;
    now.service = service_of_json(json).value();
    for (const Json& one : json.at("replicas").items())
        now.replicas[one.items()[0].as_int()] = one.items()[1].as_int();
    require(asked.numbers.contains({now.service.wanted, now.service.surge}), [&] {
        return "service " + name + " wants " + std::to_string(now.service.wanted) + " and " +
               std::to_string(now.service.surge) + ", which nobody asked for";
    });
    std::size_t fresh = 0;
    const bool known = before != services_.end();
    if (known) {
        const Service& was = before->second.service;
        require(was.revision <= now.service.revision && was.made <= now.service.made,
                [&] { return "service " + name + " went back: " + row->second.value; });
        require(!was.ending || now.service.ending,
                [&] { return "the wish to end service " + name + " was forgotten"; });
        if (was.revision < now.service.revision) ++coverage_["service revised"];
        if (was.failures < now.service.failures) ++coverage_["service counted a failure"];
    }
    for (const auto& [number, revision] : now.replicas) {
        const std::string replica = replica_name(name, number);
        require(rows(state, Table::JobLive).contains(std::string(kWorkspace) + "/" + replica),
                [&] { return "service " + name + " has replica " + replica + ", which is over"; });
        if (known && before->second.replicas.contains(number)) {
            require(before->second.replicas.at(number) == revision,
                    [&] { return "replica " + replica + " changed its revision"; });
            continue;
        }
        ++fresh;
        require(revision == now.service.revision && !now.service.ending, [&] {
            return "replica " + replica + " was made of an old revision, or at the end";
        });
        Script& script = scripts[replica];
        script = script_of_replica(now.service);
        script.task = ap::task_from_json(json.at("task")).value();
    }
    const std::size_t most = static_cast<std::size_t>(now.service.target() + now.service.surge);
    require(fresh == 0 || now.replicas.size() <= most, [&] {
        return "service " + name + " has " + std::to_string(now.replicas.size()) +
               " replicas, where there may be " + std::to_string(most);
    });
    if (now.replicas.size() > static_cast<std::size_t>(now.service.target()) && fresh > 0)
        ++coverage_["service with one replica more, to replace an old one"];
    if (now.service.ending) ++coverage_["service is ending"];
    services_[name] = std::move(now);
}

// One that was ready is to stop for a new revision: there are others in its place.
void Checker::check_replacement(const std::string& name) {
    const auto found = services_.find(name);
    if (found == services_.end() || found->second.service.surge == 0) return;
    const SeenService& service = found->second;
    int left = 0;
    for (const auto& [number, revision] : service.replicas) {
        const auto job = seen_.find(replica_name(name, number));
        const bool stops = job != seen_.end() && job->second.cancel_requested;
        left += revision == service.service.revision
                    ? were_ready_.contains(replica_name(name, number))
                    : !stops;
    }
    ++coverage_["service replaced one that was ready"];
    require(left >= service.service.target(), [&] {
        return "service " + name + " stops one that was ready, and " + std::to_string(left) +
               " are left of " + std::to_string(service.service.target());
    });
}

void Checker::service_acknowledged(const MemoryStore::State& state, const std::string& name) {
    require(rows(state, Table::Service).contains(std::string(kWorkspace) + "/" + name) ||
                services[name].may_end,
            [&] { return "service " + name + " was acknowledged and is not durable"; });
}

void Checker::service_end_acknowledged(const MemoryStore::State& state, const std::string& name) {
    const auto row = rows(state, Table::Service).find(std::string(kWorkspace) + "/" + name);
    require(row == rows(state, Table::Service).end() ||
                parse_json(row->second.value).value().at("ending").as_bool(),
            [&] { return "the wish to end service " + name + " is not durable"; });
}

bool Checker::is_as_wanted(const Service& service) const {
    int running = 0;
    for (const auto& [job, tasks] : running_) {
        if (!job.starts_with(service.name + ".") || tasks.empty()) continue;
        if (!were_ready_.contains(job)) return false;
        ++running;
    }
    return running == service.target();
}

}  // namespace turnout::simulation
