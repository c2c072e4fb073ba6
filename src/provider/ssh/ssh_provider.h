// Nodes on machines that are reached by SSH and need not reach the server: the agent is copied
// there and started without root, and all that it and the server say to each other goes through a
// relay inside of the connection.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/secret.h"
#include "base/task.h"
#include "io/posix/asio_loop.h"
#include "provider/provider.h"
#include "resources/describe.h"

namespace turnout {

struct SshProviderOptions {
    std::string agent;          // the turnout-agent executable that hosts get
    std::string uv;             // the uv that hosts without one get; "": none
    std::string server_socket;  // what the agents there reach as their server
    std::string folder;         // our own: who is where, and which keys hosts have shown
    std::string base;           // where relative paths of pools begin
    std::function<Secret(const NodeId&)> node_token;
    // What opens a machine that was attached, by the name that its settings have; asked for at each
    // connection and not kept.
    std::function<Result<MachineSecret>(const std::string& name)> secret = {};
    Span leaving = 20s;  // then what has not left is killed
    Span connect = 10s;
    Span answer = 30s;     // of a command there
    Span copy = 5min;      // of a program
    Span clearing = 2min;  // so long a machine that is let go may be away
    Span avoided = 60s;    // so long no new node is put on a host that did not work
};

// A node's handle is its host, its folder there and the boot in which it was started. The same is
// in a file `nodes/ID.json` of our folder, written before anything of the node is on that host: so
// `list` leaves out nobody whose host does not answer.
class SshProvider : public Provider {
public:
    // `says`: what is done for a node that starts, for people.
    SshProvider(AsioLoop& loop, SshProviderOptions options, ProviderEvents events);
    ~SshProvider() override;

    // What was there in an earlier life; then the relays of its nodes begin again.
    Result<void> open();
    // The pools that are asked what is there, besides those with nodes.
    void set_pools(std::span<const Pool> pools);

    Capabilities capabilities() const override;
    void provision(const NodeRequest& node) override;
    void release(const NodeId& node, const Json& handle) override;
    void list(Answer answer) override;

    // The hosts of such settings as they are known: {host, slots, nodes, state, message}.
    Json describe(const Json& settings) const;
    // Goes to all of them, and says what it found.
    Task<Json> check(Json settings);
    // A machine that was attached is let go: its nodes end, and all that is ours goes from it, its
    // key here too. What may be left there, if it cannot be reached; "": nothing. `used`: it may
    // have nodes; else one try is enough.
    Task<std::string> clear(Json settings, bool used);

private:
    struct Machine;
    struct Program;
    struct State;
    std::shared_ptr<State> state_;  // shared with its coroutines
};

}  // namespace turnout
