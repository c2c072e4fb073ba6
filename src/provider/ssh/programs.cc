// What is copied to a machine: the agent, and uv where there is none.
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "provider/ssh/shell.h"
#include "provider/ssh/state.h"

namespace turnout {

namespace {

// $1: the folder, $2: the name, $3: the size. A copy that was cut off never gets its name.
constexpr std::string_view kCopy = R"sh(umask 077
mkdir -p -- "$1" || exit 1
t=$1/.$2.$$
trap 'rm -f -- "$t"' EXIT
cat >"$t" || exit 1
n=$(wc -c <"$t")
if [ "$n" -ne "$3" ]; then
  echo "only $n of $3 bytes arrived" >&2
  exit 1
fi
chmod 700 "$t" && mv -f -- "$t" "$1/$2"
)sh";

}  // namespace

Result<std::shared_ptr<const SshProvider::Program>> SshProvider::State::read_program(
    const std::string& path) {
    Program program;
    program.bytes = TURNOUT_TRY(read_file(path));
    program.name = to_hex(sha256(program.bytes)).substr(0, 16);
    return std::make_shared<const Program>(std::move(program));
}

Task<Result<std::shared_ptr<const SshProvider::Program>>> SshProvider::State::read_in_background(
    Loop& loop, std::string path) {
    std::function<Result<std::shared_ptr<const Program>>()> read = [path] {
        return read_program(path);
    };
    co_return co_await apart(loop, std::move(read));
}

Task<Result<void>> SshProvider::State::copy(std::shared_ptr<State> self, MachinePtr machine,
                                            std::shared_ptr<const Program> program,
                                            std::string name) {
    std::string command = shell(kCopy, {machine->root + "/" + program->folder(), name,
                                        std::to_string(program->bytes.size())});
    TURNOUT_CO_TRY(const ssh::Ran ran, co_await ask(self, machine, std::move(command),
                                                    program->bytes, self->options.copy));
    if (ran.code != 0)
        co_return fail(Code::Unavailable, "NotCopied",
                       name + " cannot be copied to " + machine->host.name() + ": " +
                           shown(first_line(ran.err)));
    co_return Result<void>();
}

Task<Result<void>> SshProvider::State::equipped(std::shared_ptr<State> self, MachinePtr machine,
                                                NodeId node) {
    if (!machine->open()) self->say(node, "connecting to " + machine->host.name());
    TURNOUT_CO_TRY_VOID(co_await connected(self, machine));
    if (machine->has_agent) co_return Result<void>();
    self->say(node, "copying the agent to " + machine->host.name() + " (" +
                        to_size_words(self->agent->bytes.size()) + ")");
    Result<void> copied = co_await copy(self, machine, self->agent, "turnout-agent");
    if (!copied) {
        self->avoid(*machine, copied.error());
        co_return copied;
    }
    machine->has_root = machine->has_agent = true;
    co_return Result<void>();
}

Task<Result<void>> SshProvider::State::bring_uv(std::shared_ptr<State> self, MachinePtr machine,
                                                NodeId node) {
    if (machine->uv_known || self->options.uv.empty()) co_return Result<void>();
    TURNOUT_CO_TRY(const Json facts, co_await look(self, machine));
    if (facts.at("uv").as_string().empty()) {
        if (!self->uv) {
            const Result<std::shared_ptr<const Program>> read =
                co_await read_in_background(self->loop, self->options.uv);
            if (!read) {  // it has gone from here: the agent gets one itself, if it can
                machine->uv_known = true;
                co_return Result<void>();
            }
            self->uv = *read;
        }
        const std::string place = self->uv->folder() + "/uv";
        TURNOUT_CO_TRY(const ssh::Ran there,
                       co_await ask(self, machine,
                                    "exec test -x " + quote_for_shell(machine->root + "/" + place),
                                    "", self->options.answer));
        if (there.code != 0) {
            self->say(node, "copying uv to " + machine->host.name() + " (" +
                                to_size_words(self->uv->bytes.size()) + ")");
            Result<void> copied = co_await copy(self, machine, self->uv, "uv");
            if (!copied) {
                self->avoid(*machine, copied.error());
                co_return copied;
            }
        }
        machine->uv = place;
    }
    machine->uv_known = true;
    co_return Result<void>();
}

}  // namespace turnout
