// What SshProvider holds, and its steps, by the source that has them. Only provider/ssh/*.cc sees
// this.
//
// All of it is used on the loop, which outlives it. Its coroutines hold it as `self`, so it lives
// until the last of them is through, longer than the provider. Once the provider has ended it is
// `over`: the sessions and relays of its machines are closed, so what waits for them ends, and no
// event is told any more, since whoever heard them may be gone. So a coroutine looks at `over`
// after it has waited.
//
// Errors of what is done with a machine: those of ssh::Session, of KnownHosts and of
// `options.secret`; Canceled where the provider has ended; FailedPrecondition where somebody has to
// change something; Unavailable where another try may do. The last one is the machine's `trouble`,
// and while that is young the machine gets no new nodes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "io/posix/asio_loop.h"
#include "io/ssh/session.h"
#include "link/bridge.h"
#include "provider/ssh/hosts.h"
#include "provider/ssh/known_hosts.h"
#include "provider/ssh/machine.h"
#include "provider/ssh/ssh_provider.h"

namespace turnout {

struct SshProvider::State : std::enable_shared_from_this<SshProvider::State> {
    using MachinePtr = std::shared_ptr<Machine>;  // shared with the coroutines that are about it

    static constexpr Span kFirstPause = 200ms, kLongestPause = 5s;  // between tries

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

    Failure ended() const { return fail(Code::Canceled, "Canceled", "the provider has ended"); }

    // ---- places.cc: which machines there are, and who is on which ----
    std::string record_of(std::string node) const;  // its file
    static std::string key_of(const SshHost& host) { return host.name() + ":" + host.folder; }
    // Of what was kept: it makes a machine, but changes none that a pool has described since.
    MachinePtr machine_once_of(const SshHost& host);
    // Of what a pool says today.
    MachinePtr machine_of(SshHost host);
    // The host of a handle, with what its pool says of it today.
    MachinePtr machine_of_handle(const SshHost& host, const Json& settings);
    Json handle_of(const NodeId& node, const Machine& machine) const;
    void place(const NodeId& node, const MachinePtr& machine);
    void forget(const NodeId& node);
    // On another machine, as we know better than whoever lists it.
    bool is_elsewhere(const NodeId& node, const Machine& machine) const;
    struct Choice {
        MachinePtr machine;
        std::string why;        // there is none
        bool for_good = false;  // and will be none until somebody changes something
    };
    // The host with the most room of those that work, as far as is known.
    Choice choose(const Json& settings, const std::string& pool, const std::set<Machine*>& tried);

    // ---- reach.cc: the connection to a machine ----
    // Connected, and known what is there.
    static Task<Result<void>> connected(std::shared_ptr<State> self, MachinePtr machine);
    void avoid(Machine& machine, const Error& why);
    static Task<Result<ssh::Target>> target_of(std::shared_ptr<State> self, SshHost host);
    static Task<Result<void>> connect(std::shared_ptr<State> self, MachinePtr machine);

    // ---- commands.cc: what is run on a machine ----
    // A command there, some at a time.
    static Task<Result<ssh::Ran>> ask(std::shared_ptr<State> self, MachinePtr machine,
                                      std::string command, std::string input, Span timeout);
    // `turnout-agent host …` there, and its answer. All of it may be said twice. Words: "@" is the
    // agent's program there, "@root" our folder there, "@/…" a path in it. `node`: who is told what
    // is done, or "".
    static Task<Result<Json>> tell(std::shared_ptr<State> self, MachinePtr machine, NodeId node,
                                   std::vector<std::string> words, std::string input, Span timeout);
    std::string program_on(const Machine& machine) const;
    void say(const NodeId& node, std::string text) const;
    // What the agent's program finds there.
    static Task<Result<Json>> look(std::shared_ptr<State> self, MachinePtr machine);

    // ---- programs.cc: what is copied to a machine ----
    static Result<std::shared_ptr<const Program>> read_program(const std::string& path);
    static Task<Result<std::shared_ptr<const Program>>> read_in_background(Loop& loop,
                                                                           std::string path);
    static Task<Result<void>> copy(std::shared_ptr<State> self, MachinePtr machine,
                                   std::shared_ptr<const Program> program, std::string name);
    // Connected, and the agent's program is there. `node`: who is told what is done, or "".
    static Task<Result<void>> equipped(std::shared_ptr<State> self, MachinePtr machine,
                                       NodeId node);
    // Where there is no uv, environments could not be built.
    static Task<Result<void>> bring_uv(std::shared_ptr<State> self, MachinePtr machine,
                                       NodeId node);

    // ---- relay.cc: how the nodes of a machine reach the server ----
    // Begins it, unless there is one or nobody needs it; it ends by itself after the last node.
    void keep_relay(const MachinePtr& machine);
    static Task<void> relay(std::shared_ptr<State> self, MachinePtr machine);

    // ---- provision.cc, release.cc, list.cc: the verbs ----
    static Task<void> provide(std::shared_ptr<State> self, NodeRequest request);
    static Task<Result<void>> provide_one(std::shared_ptr<State> self, NodeRequest request);
    static Task<void> let_go(std::shared_ptr<State> self, NodeId id, Json handle);
    static Task<void> look_for(std::shared_ptr<State> self, MachinePtr machine,
                               std::shared_ptr<std::map<NodeId, FoundNode>> found);
    static Task<void> list_all(std::shared_ptr<State> self, Answer answer);

    // ---- check.cc: what a machine is like ----
    // Visits it by a session of its own; what is known of a machine with that name stays as it is.
    static Task<void> check_one(std::shared_ptr<State> self, SshHost host,
                                std::shared_ptr<Json> into);

    // ---- clear.cc: a machine that is let go ----
    // All that is ours there ends and goes.
    static Task<Result<void>> clear_once(std::shared_ptr<State> self, MachinePtr machine,
                                         bool used);
    static Task<std::string> clear(std::shared_ptr<State> self, SshHost host, bool used);
};

}  // namespace turnout
