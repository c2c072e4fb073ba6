// How a node begins: it is placed, written down, and its agent is started there.
#include <utility>

#include "io/apart.h"
#include "io/posix/files.h"
#include "provider/ssh/state.h"

namespace turnout {

Task<void> SshProvider::State::provide(std::shared_ptr<State> self, NodeRequest request) {
    const NodeId id = request.id;
    Result<void> done = co_await provide_one(self, request);
    self->starting.erase(id);
    if (self->over || done) co_return;
    if (!self->leaving.contains(id)) self->events.failed(id, done.error());
}

Task<Result<void>> SshProvider::State::provide_one(std::shared_ptr<State> self,
                                                   NodeRequest request) {
    const NodeId id = request.id;
    if (!self->places.contains(id) && request.handle.at("host").is_object())
        self->place(id, self->machine_of_handle(ssh_host_from_json(request.handle.at("host")),
                                                request.settings));
    std::set<Machine*> tried;
    while (!self->places.contains(id)) {
        const Choice chosen = self->choose(request.settings, request.pool, tried);
        if (!chosen.machine)
            co_return fail(chosen.for_good ? Code::InvalidArgument : Code::ResourceExhausted,
                           "NoHost", chosen.why);
        // It has this one's room from now on.
        const MachinePtr machine = chosen.machine;
        machine->nodes.insert(id);
        const Result<void> ready = co_await equipped(self, machine, id);
        if (self->over) co_return self->ended();
        if (!ready || self->leaving.contains(id)) {
            machine->nodes.erase(id);
            if (self->leaving.contains(id)) co_return self->ended();
            self->say(id, ready.error().message);
            tried.insert(machine.get());
            continue;
        }
        // Before anything of it is there.
        const Json handle = self->handle_of(id, *machine);
        Json record = handle;
        record.set("node", id);
        std::function<Result<void>()> keep = [path = self->record_of(id),
                                              text = record.dump() + "\n"] {
            return write_file_atomically(path, text, 0600);
        };
        const Result<void> kept = co_await apart(self->loop, std::move(keep));
        if (self->over) co_return self->ended();
        if (!kept) {
            machine->nodes.erase(id);
            Error why = kept.error();
            why.code = Code::Unavailable;
            co_return Failure(std::move(why));
        }
        self->place(id, machine);
        if (self->events.handle) self->events.handle(id, handle);
    }
    const MachinePtr machine = self->places.at(id);
    if (self->leaving.contains(id)) co_return self->ended();
    self->keep_relay(machine);
    TURNOUT_CO_TRY_VOID(co_await bring_uv(self, machine, id));
    if (self->over || self->leaving.contains(id)) co_return self->ended();
    std::vector<std::string> words = {"@", "host", "start", "@root", id};
    if (!machine->uv.empty()) words.insert(words.end(), {"--uv", "@/" + machine->uv});
    if (const std::string python = request.settings.at("python").as_string(); !python.empty())
        words.insert(words.end(), {"--python", python});
    // Everybody there can read a command; a variable may be a password.
    std::string input = self->options.node_token(id).reveal();
    for (const auto& [name, value] : request.settings.at("variables").members()) {
        input += '\0';
        input += name + "=" + (value.is_string() ? value.as_string() : value.dump());
    }
    TURNOUT_CO_TRY(const Json began, co_await tell(self, machine, id, std::move(words),
                                                   std::move(input), self->options.answer));
    if (self->over) co_return self->ended();
    if (began.at("began").as_bool()) {
        self->say(id, "its agent was started on " + machine->host.name());
        Json handle = self->handle_of(id, *machine);
        handle.set("folder", began.at("folder"));
        handle.set("bootId", began.at("bootId"));
        if (self->events.handle) self->events.handle(id, std::move(handle));
    }
    co_return Result<void>();
}

void SshProvider::provision(const NodeRequest& node) {
    State& s = *state_;
    if (s.leaving.contains(node.id) || !s.starting.insert(node.id).second) return;
    s.loop.post([state = state_, node] {
        if (!state->over) start(State::provide(state, node), [] {});
    });
}

}  // namespace turnout
