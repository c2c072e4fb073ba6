#include "provider/ssh/ssh_provider.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/text.h"
#include "io/posix/files.h"
#include "io/ssh/session.h"
#include "link/bridge.h"
#include "provider/ssh/hosts.h"

namespace turnout {

namespace {

constexpr int kMostAtOnce = 4;  // commands on one host; OpenSSH takes ten, and the relay is one
constexpr std::size_t kLongestRoot = 80;  // a Unix socket's path has an end
constexpr Span kFirstPause = 200ms, kLongestPause = 5s, kLongestRetry = 30s;
constexpr Span kRelayWorked = 10s;
constexpr std::size_t kMostListed = 300;  // nodes of one host

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

// $1: what is ours on it. The folder around it goes if nobody else has something there.
constexpr std::string_view kRemove = R"sh(cd / && rm -rf -- "$1" || exit 1
rmdir -- "${1%/*}" 2>/dev/null || :
)sh";

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

std::string shell(std::string_view script, std::initializer_list<std::string> arguments) {
    std::string command = "exec sh -c " + quote_for_shell(script) + " sh";
    for (const std::string& one : arguments) command += " " + quote_for_shell(one);
    return command;
}

std::string first_line(std::string_view text) {
    text = trim(text);
    return std::string(text.substr(0, text.find('\n')));
}

struct Program {
    std::string bytes, name;  // its hash begins the name of its folder
    std::string folder() const { return "bin/" + name; }
};

Result<std::shared_ptr<const Program>> read_program(const std::string& path) {
    Program program;
    program.bytes = TURNOUT_TRY(read_file(path));
    program.name = to_hex(sha256(program.bytes)).substr(0, 16);
    return std::make_shared<const Program>(std::move(program));
}

// A host may say anything: WORKSPACE/COMPUTE/node-N.
bool fits_as_node(std::string_view id) {
    const std::vector<std::string> parts = split(id, '/');
    constexpr std::string_view last = "node-";
    return id.size() <= 200 && parts.size() == 3 && !parts[0].empty() && !parts[1].empty() &&
           parts[2].starts_with(last) && parts[2].size() > last.size() &&
           std::ranges::all_of(parts[2].substr(last.size()), is_digit) &&
           std::ranges::all_of(id, [](char c) {
               return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                      c == '/';
           });
}

// Nothing that another try may mend: somebody has to change something first.
bool refuses(const Error& why) {
    return why.code == Code::PermissionDenied || why.code == Code::InvalidArgument ||
           why.code == Code::FailedPrecondition;
}
// Of those, what no passing fault looks like: whoever asks is told that there will be no node.
bool refuses_for_good(const Error& why) {
    return why.reason == "HostKeyChanged" || why.reason == "OtherMachine" ||
           why.reason == "LongFolder" || why.reason == "NotLetIn";
}

}  // namespace

struct SshProvider::State : std::enable_shared_from_this<SshProvider::State> {
    struct Machine {
        explicit Machine(SshHost a_host) : host(std::move(a_host)) {}
        SshHost host;
        std::shared_ptr<ssh::Session> session;
        bool connecting = false, has_root = false, has_agent = false;
        std::vector<Later<bool>::Settle> waiting;  // until the attempt to connect is over
        std::optional<Error> trouble;              // of the last attempt
        Span avoided_until{};
        std::string root, uv;  // there; the uv that we brought
        bool uv_known = false;
        int running = 0;  // commands
        std::vector<Later<bool>::Settle> lane;
        std::set<NodeId> nodes;  // of which something may be there
        bool relaying = false, looked = false;
        bool abandoned = false;  // it is cleared: who waits for it waits no more
        std::shared_ptr<link::Bridge> bridge;
        Json facts;

        bool open() const { return session && session->is_open(); }
    };
    using MachinePtr = std::shared_ptr<Machine>;

    State(AsioLoop& a_loop, SshProviderOptions an_options, ProviderEvents some_events)
        : loop(a_loop),
          options(std::move(an_options)),
          events(std::move(some_events)),
          keys(a_loop, options.folder + "/known_hosts.json") {}

    AsioLoop& loop;
    PosixClock clock;
    const SshProviderOptions options;
    const ProviderEvents events;
    KnownHosts keys;
    std::string instance;  // our name beneath the folder of a host
    link::Offers offers;
    std::map<std::string, MachinePtr> machines;
    std::map<NodeId, MachinePtr> places;
    std::set<NodeId> starting, leaving;
    std::map<std::string, int> checks;  // under way, by machine
    std::shared_ptr<const Program> agent, uv;
    bool over = false;

    // ---- what is kept

    std::string record_of(std::string node) const {
        std::ranges::replace(node, '/', '_');
        return options.folder + "/nodes/" + node + ".json";
    }
    static std::string key_of(const SshHost& host) { return host.name() + ":" + host.folder; }
    // Of what was kept: it makes a machine, but changes none that a pool has described since.
    MachinePtr machine_once_of(const SshHost& host) {
        MachinePtr& machine = machines[key_of(host)];
        if (!machine) machine = std::make_shared<Machine>(host);
        return machine;
    }
    // Of what a pool says today.
    MachinePtr machine_of(SshHost host) {
        const MachinePtr machine = machine_once_of(host);
        host.slots = machine->host.slots;  // pools count them, not machines
        if (!(machine->host == host)) {
            machine->host = std::move(host);
            machine->trouble.reset();
            machine->avoided_until = Span{};
        }
        return machine;
    }
    Json handle_of(const NodeId& node, const Machine& machine) const {
        std::string name = node;
        std::ranges::replace(name, '/', '_');
        Json handle = Json::object({{"host", to_json(machine.host)}});
        if (!machine.root.empty()) handle.set("folder", machine.root + "/nodes/" + name);
        return handle;
    }
    void place(const NodeId& node, const MachinePtr& machine) {
        places[node] = machine;
        machine->nodes.insert(node);
    }
    void forget(const NodeId& node) {
        const auto found = places.find(node);
        if (found == places.end()) return;
        const MachinePtr machine = found->second;
        places.erase(found);
        machine->nodes.erase(node);
        if (!machine->nodes.empty()) return;
        machine->looked = false;  // somebody may ask what else is there
        if (machine->bridge) machine->bridge->stop();
    }

    // On another machine, as we know better than whoever lists it.
    bool is_elsewhere(const NodeId& node, const Machine& machine) const {
        return std::ranges::any_of(machines, [&](const auto& one) {
            return one.second.get() != &machine && one.second->nodes.contains(node);
        });
    }

    // `work` on a thread of the pool. (Whoever calls has it in a variable: g++ 12 destroys twice
    // what a function object that is made within a co_await expression has captured.)
    template <class T>
    static Task<T> in_background(Loop& loop, std::function<T()> work) {
        const auto outcome = std::make_shared<std::optional<T>>();  // shared with that thread
        Later<bool> done;
        loop.blocking([outcome, work = std::move(work)] { outcome->emplace(work()); },
                      [settle = done.settle()] { settle(true); });
        (void)co_await done;
        co_return std::move(**outcome);
    }

    static Task<Result<std::shared_ptr<const Program>>> read_in_background(Loop& loop,
                                                                           std::string path) {
        std::function<Result<std::shared_ptr<const Program>>()> read = [path] {
            return read_program(path);
        };
        co_return co_await in_background(loop, std::move(read));
    }

    // ---- to a host

    Failure ended() const { return fail(Code::Canceled, "Canceled", "the provider has ended"); }

    // Connected, and known what is there.
    static Task<Result<void>> connected(std::shared_ptr<State> self, MachinePtr machine) {
        // While it connects again, what was known of it is not known any more.
        if (!machine->connecting && machine->open() && !machine->root.empty())
            co_return Result<void>();
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
    void avoid(Machine& machine, const Error& why) {
        machine.trouble = why;
        machine.avoided_until = clock.since_boot() + options.avoided;
    }

    static Task<Result<ssh::Target>> target_of(std::shared_ptr<State> self, SshHost host) {
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
        Result<std::string> secret = co_await in_background(self->loop, std::move(read));
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

    static Task<Result<void>> connect(std::shared_ptr<State> self, MachinePtr machine) {
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
            TURNOUT_CO_TRY(through, co_await ssh::Session::open(self->loop, std::move(first),
                                                                nullptr, self->options.connect));
        }
        TURNOUT_CO_TRY(auto session, co_await ssh::Session::open(self->loop, std::move(target),
                                                                 through, self->options.connect));
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
            co_return fail(ran.code > 0 ? Code::FailedPrecondition : Code::Unavailable, "NoShell",
                           host.name() + " runs no shell as it should" +
                               (why.empty() ? "" : ": " + shown(why)));
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

    // A command there, some at a time.
    static Task<Result<ssh::Ran>> ask(std::shared_ptr<State> self, MachinePtr machine,
                                      std::string command, std::string input, Span timeout) {
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

    static Task<Result<void>> copy(std::shared_ptr<State> self, MachinePtr machine,
                                   std::shared_ptr<const Program> program, std::string name) {
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

    // Connected, and the agent's program is there. `node`: who is told what is done, or "".
    static Task<Result<void>> equipped(std::shared_ptr<State> self, MachinePtr machine,
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

    // `turnout-agent host …` there, and its answer. All of it may be said twice.
    static Task<Result<Json>> tell(std::shared_ptr<State> self, MachinePtr machine, NodeId node,
                                   std::vector<std::string> words, std::string input,
                                   Span timeout) {
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
    std::string program_on(const Machine& machine) const {
        return machine.root + "/" + agent->folder() + "/turnout-agent";
    }
    void say(const NodeId& node, std::string text) const {
        if (!over && !node.empty() && events.says) events.says(node, std::move(text));
    }

    static Task<Result<Json>> look(std::shared_ptr<State> self, MachinePtr machine) {
        std::vector<std::string> words = {"@", "host", "look", "@root"};
        TURNOUT_CO_TRY(Json facts, co_await tell(self, machine, "", std::move(words), "",
                                                 self->options.answer));
        machine->facts = facts;
        machine->looked = true;
        co_return facts;
    }

    // ---- the relay of a host with nodes

    void keep_relay(const MachinePtr& machine) {
        if (over || machine->relaying || machine->nodes.empty() || machine->abandoned) return;
        machine->relaying = true;
        start(relay(shared_from_this(), machine), [] {});
    }
    static Task<void> relay(std::shared_ptr<State> self, MachinePtr machine) {
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

    // ---- the verbs

    struct Choice {
        MachinePtr machine;
        std::string why;        // there is none
        bool for_good = false;  // and will be none until somebody changes something
    };
    // The host with the most room of those that work, as far as is known.
    Choice choose(const Json& settings, const std::string& pool, const std::set<Machine*>& tried) {
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

    static Task<void> provide(std::shared_ptr<State> self, NodeRequest request) {
        const NodeId id = request.id;
        Result<void> done = co_await provide_one(self, request);
        self->starting.erase(id);
        if (self->over || done) co_return;
        if (!self->leaving.contains(id)) self->events.failed(id, done.error());
    }
    static Task<Result<void>> provide_one(std::shared_ptr<State> self, NodeRequest request) {
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
            const Result<void> kept = co_await in_background(self->loop, std::move(keep));
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
    // The host of a handle, with what its pool says of it today.
    MachinePtr machine_of_handle(const SshHost& host, const Json& settings) {
        for (const SshHost& one : ssh_hosts(settings, options.base))
            if (one.name() == host.name() && one.folder == host.folder) return machine_of(one);
        return machine_once_of(host);
    }

    // Where there is no uv, environments could not be built.
    static Task<Result<void>> bring_uv(std::shared_ptr<State> self, MachinePtr machine,
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
            TURNOUT_CO_TRY(
                const ssh::Ran there,
                co_await ask(self, machine,
                             "exec test -x " + quote_for_shell(machine->root + "/" + place), "",
                             self->options.answer));
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

    static Task<void> let_go(std::shared_ptr<State> self, NodeId id, Json handle) {
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
                const Result<Json> gone =
                    co_await tell(self, machine, "", std::move(words), "",
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
        (void)co_await in_background(self->loop, std::move(remove));
        if (self->over) co_return;
        self->forget(id);
        self->leaving.erase(id);
        self->events.gone(id);
    }

    static Task<void> look_for(std::shared_ptr<State> self, MachinePtr machine,
                               std::shared_ptr<std::map<NodeId, FoundNode>> found) {
        // Nobody may be left out of whom something may run.
        const auto add = [&](const NodeId& id, FoundNode::Is is) {
            (*found)[id] = {is, id, self->handle_of(id, *machine)};
        };
        const std::set<NodeId> before = machine->nodes;
        bool looked = false;
        if (self->clock.since_boot() >= machine->avoided_until) {
            const Result<void> there = co_await connected(self, machine);
            if (self->over) co_return;
            if (there && !machine->has_root) {
                looked = machine->looked = true;
            } else if (there) {
                const Result<Json> facts = co_await look(self, machine);
                if (self->over) co_return;
                if (facts) {
                    looked = true;
                    std::size_t listed = 0;
                    for (const Json& one : facts->at("nodes").items()) {
                        const NodeId id = one.at("id").as_string();
                        if (!fits_as_node(id) || self->is_elsewhere(id, *machine)) continue;
                        // Its own are never too many.
                        if (!machine->nodes.contains(id) && ++listed > kMostListed) continue;
                        add(id, one.at("alive").as_bool() ? FoundNode::Is::Alive
                                                          : FoundNode::Is::Unknown);
                    }
                }
            }
            if (machine->nodes.empty() && !machine->relaying && machine->running == 0 &&
                !machine->connecting && machine->session)
                machine->session->close();
        }
        if (!looked)
            for (const NodeId& id : before) add(id, FoundNode::Is::Unknown);
        for (const NodeId& id : machine->nodes)
            if (self->leaving.contains(id))
                add(id, FoundNode::Is::Ending);
            else if (self->starting.contains(id) && !found->contains(id))
                add(id, FoundNode::Is::Starting);
    }
    static Task<void> list_all(std::shared_ptr<State> self, Answer answer) {
        const auto found = std::make_shared<std::map<NodeId, FoundNode>>();
        std::vector<MachinePtr> asked;
        for (const auto& [name, machine] : self->machines)
            if (!machine->abandoned && (!machine->nodes.empty() || !machine->looked))
                asked.push_back(machine);
        const auto left = std::make_shared<std::size_t>(asked.size());
        Later<bool> all;
        if (!asked.empty()) {
            for (const MachinePtr& machine : asked)
                start(look_for(self, machine, found), [left, settle = all.settle()] {
                    if (--*left == 0) settle(true);
                });
            (void)co_await all;
        } else {
            co_await self->loop.sleep(Span(0));
        }
        if (self->over) co_return;
        std::vector<FoundNode> nodes;
        for (auto& [id, one] : *found) nodes.push_back(std::move(one));
        answer(std::move(nodes));
    }

    static Task<void> check_one(std::shared_ptr<State> self, SshHost host,
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
            for (const char* name :
                 {"system", "os", "cores", "memoryBytes", "gpus", "python", "freeBytes", "uv"})
                if (facts->has(name)) one.set(name, facts->at(name));
            one.set("nodes", static_cast<std::int64_t>(facts->at("nodes").items().size()));
        } else {
            one.set("message", facts.error().message);
        }
    }

    // ---- a machine that is let go

    // All that is ours there ends and goes.
    static Task<Result<void>> clear_once(std::shared_ptr<State> self, MachinePtr machine,
                                         bool used) {
        TURNOUT_CO_TRY_VOID(co_await connected(self, machine));
        if (!machine->has_root) co_return Result<void>();
        const Result<Json> facts = co_await look(self, machine);
        if (!facts && (used || facts.error().reason != "HostFailed"))
            co_return Failure(facts.error());
        if (facts)
            for (const Json& one : facts->at("nodes").items()) {
                std::vector<std::string> words = {
                    "@", "host", "end", "@root", one.at("id").as_string(), "0"};
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
    static Task<std::string> clear(std::shared_ptr<State> self, SshHost host, bool used) {
        const std::string key = key_of(host);
        const MachinePtr machine = self->machine_of(host);
        machine->abandoned = true;
        if (machine->bridge) machine->bridge->stop();
        // Nobody brings the agent there any more.
        const auto busy = [&] {
            return self->checks.contains(key) || machine->relaying ||
                   std::ranges::any_of(machine->nodes, [&](const NodeId& id) {
                       return self->starting.contains(id);
                   });
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
};

SshProvider::SshProvider(AsioLoop& loop, SshProviderOptions options, ProviderEvents events)
    : state_(std::make_shared<State>(loop, std::move(options), std::move(events))) {}

SshProvider::~SshProvider() {
    state_->over = true;
    for (const auto& [name, machine] : state_->machines) {
        if (machine->bridge) machine->bridge->stop();
        if (machine->session) machine->session->close();
    }
}

Result<void> SshProvider::open() {
    State& s = *state_;
    TURNOUT_TRY(make_directories(s.options.folder + "/nodes", 0700));
    TURNOUT_TRY(s.keys.read());
    const std::string name_file = s.options.folder + "/instance";
    if (access(name_file.c_str(), F_OK) != 0) {
        PosixRandom random;
        TURNOUT_TRY(write_file_atomically(name_file, to_hex(random.bytes(6)) + "\n", 0600));
    }
    const std::string name = TURNOUT_TRY(read_file(name_file));
    s.instance = std::string(trim(name));
    s.offers["server"] = TURNOUT_TRY(http::unix_address(s.options.server_socket));
    for (const DirectoryEntry& entry : TURNOUT_TRY(list_directory(s.options.folder + "/nodes"))) {
        if (!entry.name.ends_with(".json")) continue;  // of a write that was cut off
        const std::string text = TURNOUT_TRY(read_file(s.options.folder + "/nodes/" + entry.name));
        const Json record = TURNOUT_TRY(parse_json(text));
        if (const NodeId id = record.at("node").as_string(); !id.empty())
            s.place(id, s.machine_once_of(ssh_host_from_json(record.at("host"))));
    }
    for (const auto& [key, machine] : s.machines) s.keep_relay(machine);
    return {};
}

void SshProvider::set_pools(std::span<const Pool> pools) {
    State& s = *state_;
    for (const Pool& pool : pools)
        for (const SshHost& host : ssh_hosts(pool.settings, s.options.base)) s.machine_of(host);
}

Capabilities SshProvider::capabilities() const {
    Capabilities can;
    can.handles = true;
    return can;
}

void SshProvider::provision(const NodeRequest& node) {
    State& s = *state_;
    if (s.leaving.contains(node.id) || !s.starting.insert(node.id).second) return;
    s.loop.post([state = state_, node] {
        if (!state->over) start(State::provide(state, node), [] {});
    });
}

void SshProvider::release(const NodeId& node, const Json& handle) {
    State& s = *state_;
    if (!s.leaving.insert(node).second) return;
    s.loop.post([state = state_, node, handle] {
        if (!state->over) start(State::let_go(state, node, handle), [] {});
    });
}

void SshProvider::list(Answer answer) {
    state_->loop.post([state = state_, answer = std::move(answer)] {
        if (!state->over) start(State::list_all(state, answer), [] {});
    });
}

Json SshProvider::describe(const Json& settings) const {
    State& s = *state_;
    Json all = Json::array();
    for (const SshHost& host : ssh_hosts(settings, s.options.base)) {
        const auto found = s.machines.find(State::key_of(host));
        Json one = Json::object({{"host", host.name()}, {"slots", host.slots}});
        const State::Machine* machine = found == s.machines.end() ? nullptr : found->second.get();
        one.set("nodes", machine ? static_cast<std::int64_t>(machine->nodes.size()) : 0);
        one.set("state", !machine           ? "unused"
                         : machine->trouble ? (refuses(*machine->trouble) ? "refused" : "avoided")
                         : machine->open()  ? "connected"
                                            : "unused");
        if (machine && machine->trouble) one.set("message", machine->trouble->message);
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

Task<std::string> SshProvider::clear(Json settings, bool used) {
    const std::shared_ptr<State> state = state_;
    const std::vector<SshHost> hosts = ssh_hosts(settings, state->options.base);
    if (hosts.empty()) co_return std::string();
    co_return co_await State::clear(state, hosts.front(), used);
}

}  // namespace turnout
