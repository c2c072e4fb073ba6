// Which machines there are, which nodes are on them, and which one gets another.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "provider/ssh/state.h"

namespace turnout {

std::string SshProvider::State::record_of(std::string node) const {
    std::ranges::replace(node, '/', '_');
    return options.folder + "/nodes/" + node + ".json";
}

SshProvider::State::MachinePtr SshProvider::State::machine_once_of(const SshHost& host) {
    MachinePtr& machine = machines[key_of(host)];
    if (!machine) machine = std::make_shared<Machine>(host);
    return machine;
}

SshProvider::State::MachinePtr SshProvider::State::machine_of(SshHost host) {
    const MachinePtr machine = machine_once_of(host);
    host.slots = machine->host.slots;  // pools count them, not machines
    if (!(machine->host == host)) {
        machine->host = std::move(host);
        machine->trouble.reset();
        machine->avoided_until = Span{};
    }
    return machine;
}

SshProvider::State::MachinePtr SshProvider::State::machine_of_handle(const SshHost& host,
                                                                     const Json& settings) {
    for (const SshHost& one : ssh_hosts(settings, options.base))
        if (one.name() == host.name() && one.folder == host.folder) return machine_of(one);
    return machine_once_of(host);
}

Json SshProvider::State::handle_of(const NodeId& node, const Machine& machine) const {
    std::string name = node;
    std::ranges::replace(name, '/', '_');
    Json handle = Json::object({{"host", to_json(machine.host)}});
    if (!machine.root.empty()) handle.set("folder", machine.root + "/nodes/" + name);
    return handle;
}

void SshProvider::State::place(const NodeId& node, const MachinePtr& machine) {
    places[node] = machine;
    machine->nodes.insert(node);
}

void SshProvider::State::forget(const NodeId& node) {
    const auto found = places.find(node);
    if (found == places.end()) return;
    const MachinePtr machine = found->second;
    places.erase(found);
    machine->nodes.erase(node);
    if (!machine->nodes.empty()) return;
    machine->looked = false;  // somebody may ask what else is there
    if (machine->bridge) machine->bridge->stop();
}

bool SshProvider::State::is_elsewhere(const NodeId& node, const Machine& machine) const {
    return std::ranges::any_of(machines, [&](const auto& one) {
        return one.second.get() != &machine && one.second->nodes.contains(node);
    });
}

SshProvider::State::Choice SshProvider::State::choose(const Json& settings, const std::string& pool,
                                                      const std::set<Machine*>& tried) {
    Choice best;
    int most = 0, full = 0;
    bool all_refuse = true;
    std::vector<std::string> troubles;
    const Span now = clock.since_boot();
    const std::vector<SshHost> hosts = ssh_hosts(settings, options.base);
    for (const SshHost& host : hosts) {
        const MachinePtr machine = machine_of(host);
        const bool off = tried.contains(machine.get()) || now < machine->avoided_until;
        if (off) {
            if (machine->trouble) troubles.push_back(machine->trouble->message);
            if (!machine->trouble || !refuses_for_good(*machine->trouble)) all_refuse = false;
            continue;
        }
        const int room = host.slots - static_cast<int>(machine->nodes.size());
        if (room <= 0) {
            ++full;
            all_refuse = false;
        } else if (room > most) {
            most = room;
            best.machine = machine;
        }
    }
    if (best.machine) return best;
    best.for_good = all_refuse;
    if (hosts.size() == 1 && hosts.front().attached) {
        best.why = full > 0 ? hosts.front().name() + " has its node" : join(troubles, "; ");
        return best;
    }
    best.why = "pool '" + pool + "' has no host for another node";
    if (full > 0)
        best.why += ": " + std::to_string(full) + " of " + std::to_string(hosts.size()) +
                    " have their nodes";
    if (!troubles.empty()) best.why += (full > 0 ? "; " : ": ") + join(troubles, "; ");
    return best;
}

}  // namespace turnout
