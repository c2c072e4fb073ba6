// How a machine is reached: what opens it, which key it shows, and what is there.
#include <utility>

#include "base/text.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "provider/ssh/shell.h"
#include "provider/ssh/state.h"

namespace turnout {

namespace {

constexpr std::size_t kLongestRoot = 80;  // a Unix socket's path has an end

#if defined(__x86_64__)
constexpr std::string_view kProcessor = "x86_64";
#elif defined(__aarch64__)
constexpr std::string_view kProcessor = "aarch64";
#else
constexpr std::string_view kProcessor = "";
#endif

// $1: the folder, $2: the server's name beneath it, $3: the agent's folder beneath that, $4: its
// size. Writes nothing.
constexpr std::string_view kProbe = R"sh(case "$1" in
/*) d=$1 ;;
*) cd && d=$(pwd -P)/$1 || exit 1 ;;
esac
r=$d/$2
uname -s
uname -m
printf '%s\n' "$r"
if [ -d "$r" ]; then echo yes; else echo no; fi
if [ -x "$r/$3/turnout-agent" ] && [ "$(wc -c <"$r/$3/turnout-agent")" -eq "$4" ]; then echo yes; else echo no; fi
)sh";

}  // namespace

Task<Result<void>> SshProvider::State::connected(std::shared_ptr<State> self, MachinePtr machine) {
    // While it connects again, what was known of it is not known any more.
    if (!machine->connecting && machine->open() && !machine->root.empty()) co_return Result<void>();
    if (machine->connecting) {
        while (machine->connecting) {
            Later<bool> done;
            machine->waiting.push_back(done.settle());
            (void)co_await done;
        }
        if (machine->trouble) co_return Failure(*machine->trouble);
        if (!machine->open())
            co_return fail(Code::Unavailable, "ConnectionLost",
                           "the connection to " + machine->host.name() + " was lost");
        co_return Result<void>();
    }
    machine->connecting = true;
    Result<void> done = co_await connect(self, machine);
    machine->connecting = false;
    if (done) {
        machine->trouble.reset();
        machine->avoided_until = Span{};
    } else {
        // What was not looked at must not pass for connected, with the root of another time.
        if (machine->session) machine->session->close();
        if (!self->over) self->avoid(*machine, done.error());
    }
    for (const auto& one : std::exchange(machine->waiting, {})) one(true);
    co_return done;
}

void SshProvider::State::avoid(Machine& machine, const Error& why) {
    machine.trouble = why;
    machine.avoided_until = clock.since_boot() + options.avoided;
}

Task<Result<ssh::Target>> SshProvider::State::target_of(std::shared_ptr<State> self, SshHost host) {
    ssh::Target target;
    target.host = host.address;
    target.port = static_cast<std::uint16_t>(host.port);
    target.user = host.user;
    target.is_known = [self, host](const std::string& shown_key) {
        return self->keys.check(host, shown_key);
    };
    if (!host.secret.empty()) {
        if (!self->options.secret) co_return internal("nobody knows what opens machines");
        TURNOUT_CO_TRY(const MachineSecret secret, self->options.secret(host.secret));
        target.key = secret.key;
        target.password = secret.password;
        co_return target;
    }
    const bool by_key = !host.key.empty();
    const std::string path = by_key ? host.key : host.password_file;
    std::function<Result<std::string>()> read = [path]() -> Result<std::string> {
        if (path.empty()) return invalid("it has neither key nor password");
        return read_file(path, 64 << 10);
    };
    Result<std::string> secret = co_await apart(self->loop, std::move(read));
    if (!secret)
        co_return fail(secret.error().code == Code::NotFound ||
                               secret.error().code == Code::PermissionDenied ||
                               secret.error().code == Code::InvalidArgument
                           ? Code::FailedPrecondition
                           : Code::Unavailable,
                       "NoSecret", "for " + host.name() + ": " + secret.error().message, path);
    if (by_key)
        target.key = Secret(std::move(*secret));
    else
        target.password = Secret(std::string(trim(*secret)));
    co_return target;
}

Task<Result<void>> SshProvider::State::connect(std::shared_ptr<State> self, MachinePtr machine) {
    if (machine->session) machine->session->close();
    machine->session.reset();
    machine->has_root = machine->has_agent = machine->uv_known = false;
    if (!self->agent) {
        const Result<std::shared_ptr<const Program>> read =
            co_await read_in_background(self->loop, self->options.agent);
        if (!read) co_return Failure(read.error());
        self->agent = *read;
    }
    const SshHost host = machine->host;
    TURNOUT_CO_TRY(ssh::Target target, co_await target_of(self, host));
    std::shared_ptr<ssh::Session> through;
    if (!host.jump.empty()) {
        TURNOUT_CO_TRY(const SshPlace at, parse_ssh_place(host.jump));
        SshHost jump = host;
        jump.address = at.address;
        jump.port = at.port == 0 ? 22 : at.port;
        jump.host_key.clear();
        if (!at.user.empty()) jump.user = at.user;
        TURNOUT_CO_TRY(ssh::Target first, co_await target_of(self, jump));
        TURNOUT_CO_TRY(through, co_await ssh::Session::open(self->loop, std::move(first), nullptr,
                                                            self->options.connect));
    }
    TURNOUT_CO_TRY(auto session, co_await ssh::Session::open(self->loop, std::move(target), through,
                                                             self->options.connect));
    if (self->over) co_return self->ended();
    machine->session = session;
    std::string probe = shell(kProbe, {host.folder, self->instance, self->agent->folder(),
                                       std::to_string(self->agent->bytes.size())});
    TURNOUT_CO_TRY(const ssh::Ran ran,
                   co_await session->run(std::move(probe), "", self->options.answer));
    // A login shell may have said something before.
    std::vector<std::string> lines = split(trim(ran.out), '\n');
    if (ran.code != 0 || lines.size() < 5) {
        const std::string why = first_line(ran.err.empty() ? ran.out : ran.err);
        co_return fail(
            ran.code > 0 ? Code::FailedPrecondition : Code::Unavailable, "NoShell",
            host.name() + " runs no shell as it should" + (why.empty() ? "" : ": " + shown(why)));
    }
    lines.erase(lines.begin(), lines.end() - 5);
    if (lines[0] != "Linux" || lines[1] != kProcessor)
        co_return fail(Code::FailedPrecondition, "OtherMachine",
                       host.name() + " is a machine of " + shown(lines[0] + " " + lines[1]) +
                           ": the agent runs on Linux " + std::string(kProcessor));
    if (lines[2].size() > kLongestRoot)
        co_return fail(Code::FailedPrecondition, "LongFolder",
                       "the folder " + shown(lines[2]) + " of " + host.name() +
                           " is too long for a socket's path: its pool can name a shorter "
                           "`folder`");
    machine->root = lines[2];
    machine->has_root = lines[3] == "yes";
    machine->has_agent = lines[4] == "yes";
    co_return Result<void>();
}

}  // namespace turnout
