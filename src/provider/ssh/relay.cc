// The relay of a machine with nodes: by it they and the server talk.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "provider/ssh/state.h"

namespace turnout {

namespace {

constexpr Span kRelayWorked = 10s;

}  // namespace

void SshProvider::State::keep_relay(const MachinePtr& machine) {
    if (over || machine->relaying || machine->nodes.empty() || machine->abandoned) return;
    machine->relaying = true;
    start(relay(shared_from_this(), machine), [] {});
}

Task<void> SshProvider::State::relay(std::shared_ptr<State> self, MachinePtr machine) {
    Span pause = kFirstPause;
    while (!self->over && !machine->nodes.empty() && !machine->abandoned) {
        const Result<void> there = co_await equipped(self, machine, "");
        if (self->over || machine->abandoned) break;
        if (!there && refuses(there.error())) {
            // Somebody has to change something; whoever asks too many times is locked out.
            self->avoid(*machine, there.error());
            const std::set<NodeId> nodes = machine->nodes;
            for (const NodeId& id : nodes) self->say(id, there.error().message);
            const Span until = self->clock.since_boot() + self->options.avoided;
            while (!self->over && !machine->nodes.empty() && !machine->open() &&
                   !machine->abandoned && self->clock.since_boot() < until)
                co_await self->loop.sleep(kLongestPause);
            continue;
        }
        if (there) {
            const Span began = self->clock.since_boot();
            const auto session = machine->session;
            auto stream = co_await session->begin(
                quote_for_shell(self->program_on(*machine)) + " relay --stdio --socket " +
                    quote_for_shell(machine->root + "/server.sock"),
                self->options.answer);
            if (self->over) break;
            if (stream) {
                const auto bridge = std::make_shared<link::Bridge>(
                    self->loop, self->clock, std::move(*stream), self->offers);
                machine->bridge = bridge;
                const Error why = co_await bridge->run();
                machine->bridge.reset();
                if (why.code == Code::Canceled) break;  // ours: no node is left
                // What it said itself; a connection that is lost shows when it is made again.
                if (!self->over && why.reason == "Ended") self->avoid(*machine, why);
            } else {
                self->avoid(*machine, stream.error());
            }
            if (stream || stream.error().reason != "ChannelRefused") session->close();
            if (self->clock.since_boot() - began > kRelayWorked) pause = kFirstPause;
        }
        if (self->over || machine->nodes.empty() || machine->abandoned) break;
        co_await self->loop.sleep(pause);
        pause = std::min(kLongestPause, pause * 2);
    }
    machine->relaying = false;
    if (self->over) co_return;
    if (machine->abandoned) co_return;
    if (!machine->nodes.empty()) co_return self->keep_relay(machine);
    if (machine->running == 0 && machine->session) machine->session->close();
}

}  // namespace turnout
