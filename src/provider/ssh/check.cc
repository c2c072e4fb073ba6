// What the machines of a pool are like: as they are known, and as a visit finds them.
#include <utility>

#include "provider/ssh/state.h"

namespace turnout {

Task<void> SshProvider::State::check_one(std::shared_ptr<State> self, SshHost host,
                                         std::shared_ptr<Json> into) {
    // Of its own: the file may not be what the server works by, or not be valid yet.
    const auto machine = std::make_shared<Machine>(host);
    ++self->checks[key_of(host)];
    const Result<Json> facts = co_await look(self, machine);
    if (machine->session) machine->session->close();
    if (--self->checks[key_of(host)] == 0) self->checks.erase(key_of(host));
    if (self->over) co_return;
    Json& one = *into;
    one = Json::object({{"host", host.name()}, {"reachable", facts.has_value()}});
    const std::string key = host.host_key.empty() ? self->keys.of(host.name()) : host.host_key;
    if (!key.empty()) one.set("hostKey", key);
    if (facts) {
        if (const auto known = self->machines.find(key_of(host)); known != self->machines.end())
            known->second->facts = *facts;
        one.set("agentStarts", true);  // it is what looked
        for (const char* name : {"system", "os", "cores", "memoryBytes", "gpus", "python",
                                 "containerEngine", "freeBytes", "uv"})
            if (facts->has(name)) one.set(name, facts->at(name));
        one.set("nodes", static_cast<std::int64_t>(facts->at("nodes").items().size()));
    } else {
        one.set("message", facts.error().message);
    }
}

Json SshProvider::describe(const Json& settings) const {
    State& s = *state_;
    Json all = Json::array();
    for (const SshHost& host : ssh_hosts(settings, s.options.base)) {
        const auto found = s.machines.find(State::key_of(host));
        Json one = Json::object({{"host", host.name()}, {"slots", host.slots}});
        const Machine* machine = found == s.machines.end() ? nullptr : found->second.get();
        one.set("nodes", machine ? static_cast<std::int64_t>(machine->nodes.size()) : 0);
        one.set("state", !machine           ? "unused"
                         : machine->trouble ? (refuses(*machine->trouble) ? "refused" : "avoided")
                         : machine->open()  ? "connected"
                                            : "unused");
        if (machine && machine->trouble) one.set("message", machine->trouble->message);
        if (machine && machine->facts.is_object())
            for (const char* name : {"cores", "memoryBytes", "gpus"})
                if (machine->facts.has(name)) one.set(name, machine->facts.at(name));
        all.push(std::move(one));
    }
    return all;
}

Task<Json> SshProvider::check(Json settings) {
    const std::shared_ptr<State> state = state_;
    std::vector<std::shared_ptr<Json>> parts;
    const std::vector<SshHost> hosts = ssh_hosts(settings, state->options.base);
    const auto left = std::make_shared<std::size_t>(hosts.size());
    Later<bool> all;
    for (const SshHost& host : hosts) {
        parts.push_back(std::make_shared<Json>());
        start(State::check_one(state, host, parts.back()), [left, settle = all.settle()] {
            if (--*left == 0) settle(true);
        });
    }
    if (!hosts.empty()) (void)co_await all;
    Json found = Json::array();
    for (const auto& part : parts) found.push(std::move(*part));
    co_return found;
}

}  // namespace turnout
