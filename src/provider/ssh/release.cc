// How a node ends: until nothing of it can run any more.
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "io/apart.h"
#include "provider/ssh/state.h"

namespace turnout {

namespace {

constexpr Span kLongestRetry = 30s;

}  // namespace

Task<void> SshProvider::State::let_go(std::shared_ptr<State> self, NodeId id, Json handle) {
    while (self->starting.contains(id) && !self->over) co_await self->loop.sleep(20ms);
    if (self->over) co_return;
    if (!self->places.contains(id) && handle.at("host").is_object())
        self->place(id, self->machine_once_of(ssh_host_from_json(handle.at("host"))));
    Span pause = 1s;
    for (;;) {
        const auto found = self->places.find(id);
        if (found == self->places.end()) break;
        const MachinePtr machine = found->second;
        if (machine->abandoned) break;  // all that is on it goes
        // What is told to the agent goes through the relay.
        self->keep_relay(machine);
        const Result<void> there = co_await connected(self, machine);
        if (self->over) co_return;
        if (machine->abandoned || (there && !machine->has_root)) break;
        if (there) {
            const auto seconds = std::max<std::int64_t>(0, self->options.leaving / 1s);
            std::vector<std::string> words = {"@",     "host", "end",
                                              "@root", id,     std::to_string(seconds)};
            const Result<Json> gone = co_await tell(self, machine, "", std::move(words), "",
                                                    self->options.leaving + self->options.answer);
            if (self->over) co_return;
            if (gone) break;
        }
        co_await self->loop.sleep(pause);
        if (self->over) co_return;
        pause = std::min(kLongestRetry, pause * 2);
    }
    std::function<bool()> remove = [path = self->record_of(id)] {
        return ::unlink(path.c_str()) == 0;
    };
    (void)co_await apart(self->loop, std::move(remove));
    if (self->over) co_return;
    self->forget(id);
    self->leaving.erase(id);
    self->events.gone(id);
}

void SshProvider::release(const NodeId& node, const Json& handle) {
    State& s = *state_;
    if (!s.leaving.insert(node).second) return;
    s.loop.post([state = state_, node, handle] {
        if (!state->over) start(State::let_go(state, node, handle), [] {});
    });
}

}  // namespace turnout
