// One machine as SshProvider knows it, and the programs that machines get. Only provider/ssh/*.cc
// sees this.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/task.h"
#include "io/ssh/session.h"
#include "link/bridge.h"
#include "model/compute.h"
#include "provider/ssh/hosts.h"
#include "provider/ssh/ssh_provider.h"

namespace turnout {

// Used on the loop only. Coroutines hold it, so it may outlive its place among the others.
struct SshProvider::Machine {
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
    Json facts;              // as it was when it was looked at last; null: never
    bool abandoned = false;  // it is cleared: who waits for it waits no more
    std::shared_ptr<link::Bridge> bridge;

    bool open() const { return session && session->is_open(); }
};

// Shared by all machines that get it.
struct SshProvider::Program {
    std::string bytes, name;  // its hash begins the name of its folder
    std::string folder() const { return "bin/" + name; }
};

// Nothing that another try may mend: somebody has to change something first.
inline bool refuses(const Error& why) {
    return why.code == Code::PermissionDenied || why.code == Code::InvalidArgument ||
           why.code == Code::FailedPrecondition;
}
// Of those, what no passing fault looks like: whoever asks is told that there will be no node.
inline bool refuses_for_good(const Error& why) {
    return why.reason == "HostKeyChanged" || why.reason == "OtherMachine" ||
           why.reason == "LongFolder" || why.reason == "NotLetIn";
}

}  // namespace turnout
