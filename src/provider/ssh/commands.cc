// Commands on a machine: each has its turn, and those for the agent's program its answer.
#include <string_view>
#include <utility>

#include "base/text.h"
#include "provider/ssh/shell.h"
#include "provider/ssh/state.h"

namespace turnout {

namespace {

constexpr int kMostAtOnce = 4;  // commands on one host; OpenSSH takes ten, and the relay is one

}  // namespace

Task<Result<ssh::Ran>> SshProvider::State::ask(std::shared_ptr<State> self, MachinePtr machine,
                                               std::string command, std::string input,
                                               Span timeout) {
    while (machine->running >= kMostAtOnce) {
        Later<bool> turn;
        machine->lane.push_back(turn.settle());
        (void)co_await turn;
    }
    ++machine->running;
    const std::shared_ptr<ssh::Session> session = machine->session;
    Result<ssh::Ran> ran = fail(Code::Unavailable, "ConnectionLost", "");
    if (session) ran = co_await session->run(std::move(command), std::move(input), timeout);
    --machine->running;
    if (!machine->lane.empty()) {
        const auto next = machine->lane.front();
        machine->lane.erase(machine->lane.begin());
        self->loop.post([next] { next(true); });
    }
    // Others go on with it where there was no room for one more.
    if (!ran && session && ran.error().reason != "ChannelRefused") session->close();
    co_return ran;
}

Task<Result<Json>> SshProvider::State::tell(std::shared_ptr<State> self, MachinePtr machine,
                                            NodeId node, std::vector<std::string> words,
                                            std::string input, Span timeout) {
    for (int attempt = 0;; ++attempt) {
        if (self->over) co_return self->ended();
        TURNOUT_CO_TRY_VOID(co_await equipped(self, machine, node));
        std::string command;
        for (const std::string& word : words) {
            std::string text = word;
            if (word == "@") text = self->program_on(*machine);
            if (word.starts_with("@/")) text = machine->root + word.substr(1);
            if (word == "@root") text = machine->root;
            command += (command.empty() ? "" : " ") + quote_for_shell(text);
        }
        Result<ssh::Ran> ran = co_await ask(self, machine, std::move(command), input, timeout);
        if (!ran) {
            // It was idle, and its other end has gone since.
            if (attempt == 0 && ran.error().reason != "Timeout") continue;
            if (!self->over) self->avoid(*machine, ran.error());
            co_return Failure(ran.error());
        }
        const std::string_view said = trim(ran->out);
        Result<Json> answer = parse_json(said.substr(said.rfind('\n') + 1));
        if (ran->code == 0 && answer) {
            machine->trouble.reset();
            machine->avoided_until = Span{};
            co_return answer;
        }
        // Somebody removed it under us.
        if ((ran->code == 127 || ran->code == 126) && attempt == 0) {
            machine->has_agent = false;
            continue;
        }
        const std::string why = first_line(ran->err.empty() ? ran->out : ran->err);
        Error error(Code::Unavailable, "HostFailed",
                    machine->host.name() + ": " +
                        (why.empty() ? "the agent does not start there (exit code " +
                                           std::to_string(ran->code) + ")"
                                     : ssh::fit_for_message(why)));
        self->avoid(*machine, error);
        co_return Failure(std::move(error));
    }
}

std::string SshProvider::State::program_on(const Machine& machine) const {
    return machine.root + "/" + agent->folder() + "/turnout-agent";
}

void SshProvider::State::say(const NodeId& node, std::string text) const {
    if (!over && !node.empty() && events.says) events.says(node, std::move(text));
}

Task<Result<Json>> SshProvider::State::look(std::shared_ptr<State> self, MachinePtr machine) {
    std::vector<std::string> words = {"@", "host", "look", "@root"};
    TURNOUT_CO_TRY(Json facts,
                   co_await tell(self, machine, "", std::move(words), "", self->options.answer));
    machine->looked = true;
    machine->facts = facts;
    co_return facts;
}

}  // namespace turnout
