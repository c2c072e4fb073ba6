// A machine that is let go: all that is ours there ends and goes.
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "provider/ssh/shell.h"
#include "provider/ssh/state.h"

namespace turnout {

namespace {

// $1: what is ours on it. The folder around it goes if nobody else has something there.
constexpr std::string_view kRemove = R"sh(cd / && rm -rf -- "$1" || exit 1
rmdir -- "${1%/*}" 2>/dev/null || :
)sh";

}  // namespace

Task<Result<void>> SshProvider::State::clear_once(std::shared_ptr<State> self, MachinePtr machine,
                                                  bool used) {
    TURNOUT_CO_TRY_VOID(co_await connected(self, machine));
    if (!machine->has_root) co_return Result<void>();
    const Result<Json> facts = co_await look(self, machine);
    if (!facts && (used || facts.error().reason != "HostFailed")) co_return Failure(facts.error());
    if (facts)
        for (const Json& one : facts->at("nodes").items()) {
            std::vector<std::string> words = {"@", "host", "end", "@root", one.at("id").as_string(),
                                              "0"};
            TURNOUT_CO_TRY(
                [[maybe_unused]] const Json ended,
                co_await tell(self, machine, "", std::move(words), "", self->options.answer));
        }
    // What others asked of it before is over: it might make a folder anew.
    while (!self->over && machine->running > 0) co_await self->loop.sleep(20ms);
    if (self->over) co_return self->ended();
    std::string remove = shell(kRemove, {machine->root});
    TURNOUT_CO_TRY(const ssh::Ran ran,
                   co_await ask(self, machine, std::move(remove), "", self->options.copy));
    if (ran.code == 0) co_return Result<void>();
    co_return fail(Code::Unavailable, "NotRemoved",
                   machine->host.name() + ": " + ssh::fit_for_message(first_line(ran.err)));
}

Task<std::string> SshProvider::State::clear(std::shared_ptr<State> self, SshHost host, bool used) {
    const std::string key = key_of(host);
    const MachinePtr machine = self->machine_of(host);
    machine->abandoned = true;
    if (machine->bridge) machine->bridge->stop();
    // Nobody brings the agent there any more.
    const auto busy = [&] {
        return self->checks.contains(key) || machine->relaying ||
               std::ranges::any_of(machine->nodes,
                                   [&](const NodeId& id) { return self->starting.contains(id); });
    };
    while (!self->over && busy()) co_await self->loop.sleep(20ms);
    const Span until = self->clock.since_boot() + (used ? self->options.clearing : Span{});
    Span pause = kFirstPause;
    Result<void> done;
    while (!self->over) {
        done = co_await clear_once(self, machine, used);
        // Whoever asks too many times is locked out.
        if (done || refuses(done.error()) || self->clock.since_boot() >= until) break;
        co_await self->loop.sleep(pause);
        pause = std::min(kLongestPause, pause * 2);
    }
    if (self->over) co_return std::string();
    const std::set<NodeId> nodes = machine->nodes;
    for (const NodeId& id : nodes) {
        ::unlink(self->record_of(id).c_str());
        self->forget(id);
    }
    if (machine->session) machine->session->close();
    self->machines.erase(key);
    if (std::ranges::none_of(self->machines, [&](const auto& other) {
            return other.second->host.name() == host.name();
        }))
        self->keys.forget(host.name());
    if (done || !used) co_return std::string();
    co_return "the folder '" + host.folder + "' may be left on " + host.name() + ": " +
        done.error().message;
}

Task<std::string> SshProvider::clear(Json settings, bool used) {
    const std::shared_ptr<State> state = state_;
    const std::vector<SshHost> hosts = ssh_hosts(settings, state->options.base);
    if (hosts.empty()) co_return std::string();
    co_return co_await State::clear(state, hosts.front(), used);
}

}  // namespace turnout
